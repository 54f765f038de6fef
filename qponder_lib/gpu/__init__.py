"""Large machines: checks before GPU time is spent, and trained models for others to serve."""

"""Large machines: checks before GPU time is spent, and millions of images on a cluster."""

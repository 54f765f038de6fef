"""Execute notebooks as a run, share stages between runs, compare runs."""

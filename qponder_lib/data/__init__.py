"""The embedded benchmark and the public sets."""

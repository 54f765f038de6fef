"""Rewards of the two papers: one equation is one small function, numpy only."""

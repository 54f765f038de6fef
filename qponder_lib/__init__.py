"""Reproduction kit for Q-Ponder and PreResQ-R1, two reasoning-based quality assessors."""

__version__ = "0.1.0"

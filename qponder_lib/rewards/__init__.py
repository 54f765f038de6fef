"""Rewards of the two papers: one equation is one small function, numpy only."""

from qponder_lib.rewards import preresq as preresq
from qponder_lib.rewards import qponder as qponder

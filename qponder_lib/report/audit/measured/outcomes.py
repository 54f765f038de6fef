"""What a run shows about a claim, before it is called a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from qponder_lib.report.audit.measured.files import Number
from qponder_lib.report.audit.printed import Interval

Z_95 = 1.959963984540054
"""Half-width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        sentence: The numbers, with intervals, in words.
        holds: Whether the direction that is claimed shows; None if the intervals hold both.
        file: The file that the numbers stand in.
        fits: Whether every reported number lies in the interval of the measured one; only asked
            of runs in the paper's setting. None if the claim has no number to compare.
    """

    sentence: str
    holds: bool | None
    file: Path
    fits: bool | None = None


def together(directions: Sequence[bool | None]) -> bool | None:
    """Join directions: all must show; one that goes the other way decides.

    Example:
        >>> together([True, True]), together([True, None]), together([True, None, False])
        (True, None, False)
    """
    if any(direction is False for direction in directions):
        return False
    return True if all(directions) else None


def lies_in(reported: Interval, measured: Number) -> bool | None:
    """Say whether a printed number lies in a measured interval; None if there is none."""
    if measured.low is None or measured.high is None:
        return None
    return reported.low <= measured.high and measured.low <= reported.high


def fifths(values: Sequence[float]) -> list[Sequence[float]]:
    """Cut a history in five parts of equal length, the last taking what is left over.

    Raises:
        ValueError: If there are fewer than ten values.
    """
    if len(values) < 10:
        raise ValueError(f"expected ten steps or more, got {len(values)}")
    size = len(values) // 5
    return [values[i * size : (i + 1) * size if i < 4 else len(values)] for i in range(5)]


def change(later: Sequence[float], earlier: Sequence[float]) -> Number:
    """Return how the mean changed, with a 95 % interval as if steps were independent.

    Example:
        >>> change([3.0, 3.0], [1.0, 1.0])
        Number(value=2.0, low=2.0, high=2.0)
    """
    value = fmean(later) - fmean(earlier)
    error = Z_95 * math.hypot(*(stdev(part) / math.sqrt(len(part)) for part in (later, earlier)))
    return Number(value, value - error, value + error)

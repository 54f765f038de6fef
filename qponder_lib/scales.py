"""MOS scales and their directions, severity bins, tags.

The kit's own scale is 0 to 100, higher is better. Every conversion from a published scale is
declared with a `LabelScale`, and a label outside its declared range is an error, never clipped.
"""

from __future__ import annotations

import math
from typing import get_args

from pydantic import BaseModel, ConfigDict

from qponder_lib.records import Severity

MOS_MIN = 0.0
MOS_MAX = 100.0
ASPECT_SCALE = (1.0, 5.0)
"""PreResQ-R1's scale of aspects, scores and labels."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Names of the five equal parts of the MOS range, lowest MOS first."""


def linear_rescale(
    value: float, source: tuple[float, float], target: tuple[float, float] = (MOS_MIN, MOS_MAX)
) -> float:
    """Map a value linearly from one range to another.

    Args:
        value: A value inside `source`, ends included.
        source: Lower and upper end of the scale the value is on.
        target: Lower and upper end of the scale wanted.

    Returns:
        The value on the target scale.

    Raises:
        ValueError: If a range is empty or the value lies outside `source`.

    Example:
        >>> linear_rescale(3.0, (1.0, 5.0))
        50.0
    """
    low, high = source
    if not low < high:
        raise ValueError(f"expected a range with low < high, got {source}")
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"label {value} is outside the declared range {low} to {high}")
    share = (value - low) / (high - low)
    return target[0] + share * (target[1] - target[0])


class LabelScale(BaseModel):
    """The declared scale of a data set's labels.

    Example:
        >>> dmos = LabelScale(low=0.0, high=1.0, higher_is_better=False)
        >>> dmos.to_mos(0.25), dmos.std_to_mos(0.1)
        (75.0, 10.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float
    high: float
    higher_is_better: bool = True

    def to_mos(self, raw: float) -> float:
        """Return the label on 0 to 100, higher is better."""
        mos = linear_rescale(raw, (self.low, self.high))
        return mos if self.higher_is_better else MOS_MAX - mos

    def std_to_mos(self, std: float) -> float:
        """Return a standard deviation in MOS units (a flip does not change it)."""
        if not (math.isfinite(std) and std >= 0.0):
            raise ValueError(f"expected a standard deviation of 0 or more, got {std}")
        return std * (MOS_MAX - MOS_MIN) / (self.high - self.low)


def severity_of(mos: float) -> Severity:
    """Name the severity bin of the MOS range that a score lies in.

    Args:
        mos: Mean opinion score, 0 to 100. A score on a border belongs to the better part.

    Returns:
        One of `SEVERITIES`; "extreme" below 20, "slight" from 80.

    Raises:
        ValueError: If the score is outside 0 to 100.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1: five levels "based on an equal partitioning of
        the MOS range [0, 1]". On which side a border belongs is not stated; ours.

    Example:
        >>> severity_of(19.9), severity_of(20.0), severity_of(100.0)
        ('extreme', 'severe', 'slight')
    """
    share = linear_rescale(mos, (MOS_MIN, MOS_MAX), (0.0, 1.0))
    return SEVERITIES[min(int(share * len(SEVERITIES)), len(SEVERITIES) - 1)]


def distortion_tag(mos: float, name: str) -> str:
    """Write a distortion with its severity as one tag.

    Args:
        mos: Mean opinion score of the image, 0 to 100.
        name: Distortion name in snake case.

    Returns:
        A tag such as `Severe_Blur`.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 2 and section 3.2.

    Example:
        >>> distortion_tag(30.0, "motion_blur")
        'Severe_Motion_Blur'
    """
    words = [severity_of(mos), *name.replace(" ", "_").split("_")]
    return "_".join(word[:1].upper() + word[1:] for word in words if word)

"""The offline expert for clips: measures all frames, and says what it found in two sentences.

It is to the clips what `teacher.expert` is to the images: it sees pixels alone, no label and no
list of damage. Thresholds are ours, set by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qponder_lib.scales import SEVERITIES
from qponder_lib.teacher.expert import diagnose, measure

Pixels = NDArray[np.uint8]

STILL = 0.25
"""Share of the usual change between frames below which the picture stands still."""
_HELD = (0.04, 0.12, 0.25, 0.4, 0.55)
_FLICKER = (0.03, 0.07, 0.12, 0.18, 0.26)
"""Value at which a defect is slight, moderate, noticeable, severe, extreme."""
_LONG_RUN = 2
_NAMED = 2


@dataclass(frozen=True, slots=True)
class Motion:
    """What happens between the frames of a clip.

    Attributes:
        held: Share of the gaps between frames in which the picture stands still.
        longest: Longest run of such gaps.
        flicker: Mean change of the brightness from frame to frame, as a share of it.
    """

    held: float
    longest: int
    flicker: float


@dataclass(frozen=True, slots=True)
class Description:
    """What an expert says of a clip: its motion, and its frames."""

    over_time: str | None
    in_frames: str | None


def measure_motion(frames: Sequence[Pixels]) -> Motion:
    """Measure how evenly a clip moves and shines.

    Args:
        frames: H x W x 3, uint8, in time order.

    Returns:
        The measures; of a single frame, no motion and nothing held.
    """
    luma = [frame.astype(np.float32).mean(axis=-1) for frame in frames]
    if len(luma) < 2:
        return Motion(0.0, 0, 0.0)
    # The change of brightness is taken out first: flicker is no motion.
    plain = [one - one.mean() for one in luma]
    changes = np.array([np.abs(b - a).mean() for a, b in pairwise(plain)])
    usual = float(np.quantile(changes, 0.75))
    return motion_of(changes < STILL * usual, frames)


def motion_of(still: NDArray[np.bool_], frames: Sequence[Pixels]) -> Motion:
    """Sum up the gaps between frames in which the picture stands still, and measure flicker."""
    bright = np.array([float(frame.mean()) for frame in frames])
    flicker = float(np.abs(np.diff(bright)).mean() / max(float(bright.mean()), 1.0))
    return Motion(float(still.mean()), _longest_run(still), flicker)


def describe(frames: Sequence[Pixels]) -> Description:
    """Say in words what was measured of a clip.

    Args:
        frames: All frames of the clip, in time order.

    Returns:
        One sentence on its motion and one on its frames, of which the middle one is looked at.
    """
    over_time = say_motion(measure_motion(frames))
    if all((frame == frames[0]).all() for frame in frames[1:]):
        over_time = "Over time: no motion."
    seen = diagnose(measure(frames[len(frames) // 2]))[:_NAMED]
    defects = [f"{one.severity} {one.name.replace('_', ' ')}" for one in seen]
    return Description(over_time, f"Frames: {', '.join(defects) or 'no defect'}.")


def say_motion(motion: Motion) -> str:
    """Put measures of motion into a sentence."""
    found = []
    if held := _word(motion.held, _HELD):
        found.append(f"{held} {'stutter' if motion.longest > _LONG_RUN else 'dropped frames'}")
    if flicker := _word(motion.flicker, _FLICKER):
        found.append(f"{flicker} flicker")
    return f"Over time: {', '.join(found) or 'smooth motion'}."


def _word(value: float, thresholds: tuple[float, ...]) -> str | None:
    """Name a strength, or None below the first threshold."""
    reached = sum(value >= threshold for threshold in thresholds)
    return SEVERITIES[len(SEVERITIES) - reached] if reached else None


def _longest_run(flags: NDArray[np.bool_]) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest

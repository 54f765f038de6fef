"""The ground truth of the clips: likeness of the frames, times likeness of the motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qponder_lib.data.pseudo_mos import RATING_EXPONENT, similarity

Pixels = NDArray[np.uint8]

MOTION_CONSTANT = 4.0


def motion_similarity(filmed: Pixels, seen: Pixels) -> float:
    """How like the filmed motion the seen one is, in [0, 1].

    The change from each frame to the next, a and b, in grey levels, is compared as gradients are
    in space: the mean of (2ab + c) / (a^2 + b^2 + c). A freeze has no change, a jump too much.

    Args:
        filmed: Undamaged frames, n x H x W x 3, uint8, n at least 2.
        seen: What is on the screen at the same times, the same shape.

    Returns:
        1 for the same changes, falling towards 0.

    Raises:
        ValueError: If the shapes differ or there is no change to compare.
    """
    if filmed.shape != seen.shape or len(filmed) < 2:
        raise ValueError(f"expected two frames of one shape, got {filmed.shape} and {seen.shape}")
    first, second = _changes(filmed), _changes(seen)
    terms = (2.0 * first * second + MOTION_CONSTANT) / (first**2 + second**2 + MOTION_CONSTANT)
    return float(terms.mean())


def clip_quality(filmed: Pixels, seen: Pixels, shown: NDArray[np.intp]) -> float:
    """Quality of a clip on the MOS scale, 0 to 100, before any rater looks at it.

    Args:
        filmed: Undamaged frames.
        seen: Decoded frames of the damaged file, the same shape.
        shown: Filmed frame that each seen one shows: frames are compared with what they show, so
            a freeze harms the motion alone.

    Returns:
        100 * (mean likeness of frames * likeness of motion) ** 0.8.
    """
    likeness = np.mean([similarity(filmed[at], one) for at, one in zip(shown, seen, strict=True)])
    return float(100.0 * (likeness * motion_similarity(filmed, seen)) ** RATING_EXPONENT)


def _changes(frames: Pixels) -> NDArray[np.float64]:
    luma = frames.astype(np.float32).mean(axis=-1)
    return np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2), dtype=np.float64)

"""Aspect scores and labels as arrays, checked once.

Axes are always images (B), answers to one image (K), aspects (D). An answer that could not be
read is NaN in all its aspects; it takes part in no comparison.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Mode = Literal["repaired", "released"]

_DIGITS = 9  # scores that differ by less come from the order of a sum, and are equal


def aspect_array(aspects: ArrayLike) -> FloatArray:
    """Return aspect scores of shape (B, K, D).

    Raises:
        ValueError: If the shape has not three axes, one is empty, a score is infinite, or an
            answer has some of its aspects only.
    """
    array = np.asarray(aspects, dtype=np.float64)
    if array.ndim != 3 or not array.size:
        raise ValueError(f"expected aspects of shape (images, answers, aspects), got {array.shape}")
    if np.isinf(array).any():
        raise ValueError("expected finite aspect scores, or NaN throughout an unread answer")
    missing = np.isnan(array)
    if (missing.any(axis=-1) != missing.all(axis=-1)).any():
        raise ValueError("an answer has some of its aspects only; unread answers are NaN in all")
    return array


def label_array(labels: ArrayLike, n_images: int) -> FloatArray:
    """Return labels of shape (B,).

    Raises:
        ValueError: If there is not one finite label per image.
    """
    array = np.asarray(labels, dtype=np.float64)
    if array.shape != (n_images,):
        raise ValueError(f"expected {n_images} labels, one per image, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite labels, got {array}")
    return array


def score_array(scores: ArrayLike) -> FloatArray:
    """Return scores of shape (B, K), equal where they differ by rounding only.

    Raises:
        ValueError: If the shape has not two axes, one is empty, or a score is infinite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or not array.size or np.isinf(array).any():
        raise ValueError(f"expected finite scores of shape (images, answers), got {array.shape}")
    return array.round(_DIGITS)


def check_mode(mode: str, read: NDArray[np.bool_]) -> None:
    """Refuse an unknown mode, and in `released` a batch with unread answers.

    Raises:
        ValueError: As said.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"expected mode 'repaired' or 'released', got {mode!r}")
    if mode == "released" and not read.all():
        raise ValueError(
            f"{int((~read).sum())} of {read.size} answers are unread; the release fills them with "
            "made-up scores, which is not done here: use mode 'repaired'"
        )


def scores_of(aspects: ArrayLike) -> FloatArray:
    """Average the aspects of each answer.

    Args:
        aspects: Aspect scores, shape (B, K, D), NaN throughout an unread answer.

    Returns:
        Scores, shape (B, K), NaN for an unread answer.

    Source:
        PreResQ-R1, released code: the score of a response is the mean of its aspect scores.

    Example:
        >>> scores_of([[[4.0, 3.0], [2.0, 2.5]]])
        array([[3.5 , 2.25]])
    """
    return score_array(aspect_array(aspects).mean(axis=-1))

"""The ground truth of the embedded benchmark: a full-reference similarity seen by simulated raters.

It stands in for human labels where no dataset can be shipped. Nothing that is trained or that
teaches sees anything but the finished MOS of training and validation images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]

N_SCALES = 3
GRADIENT_CONSTANT = 170.0
STRUCTURE_EXPONENT = 4.0
CHROMA_TOLERANCE = 50.0
LUMA_TOLERANCE = 70.0
RATING_EXPONENT = 0.8

RATER_BIAS = 4.0
RATER_NOISE = 9.0

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def similarity(reference: Pixels, distorted: Pixels) -> float:
    """How like its reference a distorted image is, in [0, 1].

    The geometric mean over three scales of the mean gradient similarity, to the fourth power,
    times exponentials of the mean local shift in chroma and in luma. Exponents and tolerances are
    ours: each distortion type spans about the same range of quality over its five levels. They
    were chosen among some 13 forms partly because types and levels predict the result well
    (decision D13).

    Args:
        reference: Undistorted pixels, H x W x 3, uint8.
        distorted: Distorted pixels of the same shape.

    Returns:
        1 for identical images, falling towards 0.

    Raises:
        ValueError: If the shapes differ.

    Source:
        Gradient similarity: Xue et al. (2014), "Gradient magnitude similarity deviation", Eq. 3.

    Example:
        >>> ramp = np.tile(np.arange(32, dtype=np.uint8)[:, None, None], (1, 32, 3))
        >>> similarity(ramp, ramp)
        1.0
    """
    if reference.shape != distorted.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {distorted.shape}")
    first, second = reference.astype(np.float32), distorted.astype(np.float32)
    luma_first, luma_second = first @ _LUMA, second @ _LUMA
    chroma = (first - luma_first[..., None]) - (second - luma_second[..., None])
    chroma_shift = np.linalg.norm(ndimage.uniform_filter(chroma[..., ::2], (5, 5, 0)), axis=-1)
    luma_shift = np.abs(ndimage.uniform_filter(luma_first - luma_second, 8))
    structure = 1.0
    for _ in range(N_SCALES):
        structure *= float(_gradient_similarity(luma_first, luma_second).mean())
        luma_first, luma_second = _halve(luma_first), _halve(luma_second)
    loss = float(chroma_shift.mean()) / CHROMA_TOLERANCE + float(luma_shift.mean()) / LUMA_TOLERANCE
    return float(structure ** (STRUCTURE_EXPONENT / N_SCALES) * np.exp(-loss))


def true_quality(reference: Pixels, distorted: Pixels) -> float:
    """Quality on the MOS scale, 0 to 100, before any rater looks at it."""
    return 100.0 * similarity(reference, distorted) ** RATING_EXPONENT


def recruit(n_raters: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a panel of raters who differ in severity.

    Returns:
        One constant shift per rater, MOS units, shape (n_raters,).

    Raises:
        ValueError: If there are fewer than two raters: they have no spread.
    """
    if n_raters < 2:
        raise ValueError(f"a panel needs at least 2 raters, got {n_raters}")
    return rng.normal(0.0, RATER_BIAS, n_raters)


def rate(
    quality: float, raters: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, float]:
    """Rate one image: quality plus each rater's shift and noise, clipped to 0-100.

    Returns:
        Mean and sample standard deviation of the ratings, on 0 to 100.
    """
    noise = rng.normal(0.0, RATER_NOISE, raters.size)
    ratings = np.clip(quality + raters + noise, 0.0, 100.0)
    return float(ratings.mean()), float(ratings.std(ddof=1))


def _halve(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = (side // 2 * 2 for side in luma.shape)
    return luma[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def _gradient_similarity(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float32]:
    one, two = _gradient(first), _gradient(second)
    return (2 * one * two + GRADIENT_CONSTANT) / (one**2 + two**2 + GRADIENT_CONSTANT)


def _gradient(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.hypot(ndimage.prewitt(luma, 0), ndimage.prewitt(luma, 1)) / 3.0

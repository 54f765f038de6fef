"""What the offline expert teacher measures: plain numbers read off the pixels.

Nothing here sees a label. Each measure is a textbook statistic with a unit; `expert.py` decides
what is said about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_NEARLY_WHITE, _NEARLY_BLACK = 250, 6
_MAD_TO_SIGMA = 0.6745
_JPEG_BLOCK = 8
_CELL = 16


@dataclass(frozen=True)
class Measures:
    """Measures of one image.

    Attributes:
        brightness: Mean luma, grey levels 0 to 255.
        clipped_high: Share of channel values at or above 250, 0 to 1.
        clipped_low: Share of channel values at or below 6, 0 to 1.
        contrast: Distance between the 2nd and 98th percentile of luma, grey levels.
        edge_width: Typical width of edges, px; grows with blur.
        edge_anisotropy: How much wider edges are along one direction, 1 = equal; grows with motion.
        noise: Robust deviation of the finest detail where the image is calmest, grey levels.
        blockiness: Mean luma step across the 8-px grid over the mean step inside blocks, 1 = none.
        flat_runs: Share of horizontal neighbours that are equal, 0 to 1; grows with pixelation.
        cast: Largest distance of a channel's mean from the mean of all, relative to it.
        saturation: Mean of (maximum - minimum) over maximum of the channels, 0 to 1.
        balance: Distance of the centre of detail from the middle, share of the half diagonal.
        background_detail: Mean luma step in the border over that in the middle.
    """

    brightness: float
    clipped_high: float
    clipped_low: float
    contrast: float
    edge_width: float
    edge_anisotropy: float
    noise: float
    blockiness: float
    flat_runs: float
    cast: float
    saturation: float
    balance: float
    background_detail: float


def measure(image: Pixels) -> Measures:
    """Measure an image.

    Args:
        image: H x W x 3, uint8, at least 32 px on each side.

    Returns:
        The measures.

    Raises:
        ValueError: If the image is too small or not RGB uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected H x W x 3 uint8 pixels, got {image.shape} {image.dtype}")
    if min(image.shape[:2]) < 32:
        raise ValueError(f"expected at least 32 px on each side, got {image.shape[:2]}")
    values = image.astype(np.float32)
    luma = values @ _LUMA
    low, high = np.percentile(luma, (2, 98))
    means = values.mean(axis=(0, 1))
    largest, smallest = values.max(axis=2), values.min(axis=2)
    width, anisotropy = _edge_width(luma)
    balance, background = _layout(luma)
    return Measures(
        brightness=float(luma.mean()),
        clipped_high=float((image >= _NEARLY_WHITE).mean()),
        clipped_low=float((image <= _NEARLY_BLACK).mean()),
        contrast=float(high - low),
        edge_width=width,
        edge_anisotropy=anisotropy,
        noise=_noise(luma),
        blockiness=_blockiness(luma),
        flat_runs=float((np.abs(np.diff(luma, axis=1)) < 0.5).mean()),
        cast=float(np.abs(means - means.mean()).max() / max(float(means.mean()), 1.0)),
        saturation=float(((largest - smallest) / np.maximum(largest, 1.0)).mean()),
        balance=balance,
        background_detail=background,
    )


def _noise(luma: Plane) -> float:
    """Deviation of the finest diagonal Haar detail in the calmest fifth of the 16-px cells."""
    height, width = (side // _CELL * _CELL for side in luma.shape)
    cut = luma[:height, :width]
    diagonal = (cut[::2, ::2] - cut[1::2, ::2] - cut[::2, 1::2] + cut[1::2, 1::2]) / 2.0
    half = _CELL // 2
    cells = np.abs(diagonal).reshape(height // _CELL, half, width // _CELL, half)
    return float(np.percentile(np.median(cells, axis=(1, 3)), 20)) / _MAD_TO_SIGMA


def _edge_width(luma: Plane) -> tuple[float, float]:
    """Local luma range over the steepest slope at strong edges, for four directions.

    A step between two flat areas that is ``w`` px wide has a slope of range / w.
    """
    widths = []
    for down, right in ((0, 1), (1, 1), (1, 0), (1, -1)):
        shifted = np.roll(luma, (-down, -right), axis=(0, 1))
        step = np.abs(shifted - luma)[2:-2, 2:-2]
        coarse = np.roll(luma, (-4 * down, -4 * right), axis=(0, 1))
        span = np.abs(coarse - luma)[2:-2, 2:-2]
        strong = np.percentile(step, 97)
        wide = np.percentile(span, 97)
        widths.append(wide / max(float(strong), 0.25))
    widths = np.asarray(widths)
    if widths.min() <= 0.0:
        return 0.0, 1.0  # nothing but flat areas: no edge to measure
    return float(widths.min()), float(widths.max() / widths.min())


def _blockiness(luma: Plane) -> float:
    ratios = []
    for plane in (luma, luma.T):
        step = np.abs(np.diff(plane, axis=1)).mean(axis=0)
        at_grid = np.arange(step.size) % _JPEG_BLOCK == _JPEG_BLOCK - 1
        ratios.append(step[at_grid].mean() / max(float(step[~at_grid].mean()), 0.05))
    return float(np.mean(ratios))


def _layout(luma: Plane) -> tuple[float, float]:
    gradient = np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1)) + 1e-3
    height, width = gradient.shape
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    total = float(gradient.sum())
    centre = (gradient.sum(1) @ rows / total, gradient.sum(0) @ columns / total)
    inner = gradient[height // 4 : -height // 4, width // 4 : -width // 4]
    border = (total - float(inner.sum())) / (gradient.size - inner.size)
    return float(np.hypot(*centre) / np.hypot(0.5, 0.5)), border / float(inner.mean())

"""Image distortions of known type at five levels.

Every distortion takes an ``H x W x 3`` uint8 image, a level from 1 (slight) to 5 (extreme) and a
``numpy.random.Generator``, and returns a new ``H x W x 3`` uint8 image. The same generator state
gives the same pixels. The levels are rows of ``LEVELS``; they are ours, chosen so that level 1 is
just visible and level 5 dominates the image at 128 px.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qponder_lib.records import Distortion

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

N_LEVELS = 5

TRAINED = (
    *("blur", "motion_blur", "noise", "jpeg", "low_contrast", "overexposure", "underexposure"),
    *("color_cast", "pixelation"),
)
"""Types that the training set and the base weights may see."""

UNSEEN = ("lens_blur", "impulse_noise", "posterization", "oversharpening")
"""Types kept for one test set; nothing is ever trained on them."""

_DISPLAY_GAMMA = 2.2


def apply(image: Pixels, name: str, level: int, rng: Rng) -> Pixels:
    """Distort an image.

    Args:
        image: Pixels, H x W x 3, uint8.
        name: Type, a key of ``LEVELS``.
        level: 1 (slight) to 5 (extreme).
        rng: Source of randomness; advanced by the types that need it.

    Returns:
        The distorted pixels, same shape, uint8.

    Raises:
        ValueError: If the type is unknown, the level is not 1 to 5, or the image is not RGB uint8.

    Example:
        >>> grey = np.full((8, 8, 3), 100, dtype=np.uint8)
        >>> int(apply(grey, "low_contrast", 5, np.random.default_rng(0))[0, 0, 0])
        100
    """
    if name not in LEVELS:
        raise ValueError(f"unknown distortion {name!r}; known: {', '.join(LEVELS)}")
    if level not in range(1, N_LEVELS + 1):
        raise ValueError(f"level must be 1 to {N_LEVELS}, got {level!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected H x W x 3 uint8 pixels, got {image.shape} {image.dtype}")
    function, levels = _DISTORTIONS[name]
    return function(image, levels[level - 1], rng)


def apply_all(image: Pixels, recipe: Iterable[Distortion], rng: Rng) -> Pixels:
    """Apply distortions one after another."""
    for distortion in recipe:
        image = apply(image, distortion.name, distortion.level, rng)
    return image


def _to_uint8(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blur(image: Pixels, sigma: float, rng: Rng) -> Pixels:
    return _to_uint8(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)))


def _convolve(image: Pixels, kernel: NDArray[np.float32]) -> Pixels:
    return _to_uint8(ndimage.convolve(image.astype(np.float32), kernel[:, :, None], mode="reflect"))


def _motion_blur(image: Pixels, length: float, rng: Rng) -> Pixels:
    angle = rng.uniform(0.0, np.pi)
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    steps = np.linspace(-length / 2, length / 2, 8 * half + 1)
    rows = half + steps * np.sin(angle)
    columns = half + steps * np.cos(angle)
    np.add.at(kernel, (np.rint(rows).astype(int), np.rint(columns).astype(int)), 1.0)
    return _convolve(image, kernel / kernel.sum())


def _lens_blur(image: Pixels, radius: float, rng: Rng) -> Pixels:
    half = int(np.ceil(radius))
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    edge = radius + 0.5 - np.hypot(rows, columns)
    kernel = np.clip(edge, 0.0, 1.0).astype(np.float32)
    return _convolve(image, kernel / kernel.sum())


def _noise(image: Pixels, sigma: float, rng: Rng) -> Pixels:
    return _to_uint8(image + rng.normal(0.0, sigma, image.shape).astype(np.float32))


def _impulse_noise(image: Pixels, share: float, rng: Rng) -> Pixels:
    draw = rng.random(image.shape[:2])
    result = image.copy()
    result[draw < share / 2] = 0
    result[draw > 1 - share / 2] = 255
    return result


def _jpeg(image: Pixels, quality: float, rng: Rng) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


def _low_contrast(image: Pixels, share: float, rng: Rng) -> Pixels:
    mean = image.mean(axis=(0, 1), dtype=np.float32).mean()
    return _to_uint8(mean + share * (image.astype(np.float32) - mean))


def _exposure(image: Pixels, gain: float, rng: Rng) -> Pixels:
    linear = (image.astype(np.float32) / 255.0) ** _DISPLAY_GAMMA
    return _to_uint8(255.0 * np.clip(linear * gain, 0.0, 1.0) ** (1.0 / _DISPLAY_GAMMA))


def _color_cast(image: Pixels, share: float, rng: Rng) -> Pixels:
    gain = np.ones(3, dtype=np.float32)
    raised, lowered = rng.permutation(3)[:2]
    gain[raised] += share
    gain[lowered] -= share
    return _to_uint8(image.astype(np.float32) * gain)


def _pixelation(image: Pixels, side: float, rng: Rng) -> Pixels:
    height, width = image.shape[:2]
    small = (max(1, round(width / side)), max(1, round(height / side)))
    reduced = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.NEAREST))


def _posterization(image: Pixels, levels: float, rng: Rng) -> Pixels:
    step = 255.0 / (levels - 1)
    return _to_uint8(np.rint(image.astype(np.float32) / step) * step)


def _oversharpening(image: Pixels, amount: float, rng: Rng) -> Pixels:
    sharp = image.astype(np.float32)
    return _to_uint8(sharp + amount * (sharp - ndimage.gaussian_filter(sharp, (1.0, 1.0, 0))))


_DISTORTIONS: dict[str, tuple[Callable[[Pixels, float, Rng], Pixels], tuple[float, ...]]] = {
    "blur": (_blur, (0.7, 1.1, 1.7, 2.6, 4.0)),  # Gaussian sigma, px
    "motion_blur": (_motion_blur, (3.0, 5.0, 8.0, 12.0, 18.0)),  # length of the path, px
    "noise": (_noise, (5.0, 10.0, 18.0, 30.0, 48.0)),  # Gaussian standard deviation, grey levels
    "jpeg": (_jpeg, (38.0, 22.0, 13.0, 8.0, 4.0)),  # JPEG quality setting
    "low_contrast": (_low_contrast, (0.72, 0.55, 0.40, 0.27, 0.16)),  # share of contrast left
    "overexposure": (_exposure, (1.35, 1.7, 2.2, 3.0, 4.2)),  # gain on the linear signal, clipped
    "underexposure": (_exposure, (0.62, 0.42, 0.27, 0.16, 0.08)),  # gain on the linear signal
    "color_cast": (_color_cast, (0.10, 0.18, 0.28, 0.40, 0.55)),  # channel gain moved by so much
    "pixelation": (_pixelation, (1.5, 2.0, 3.0, 4.5, 7.0)),  # side of a block, px
    "lens_blur": (_lens_blur, (1.0, 1.6, 2.4, 3.6, 5.5)),  # radius of the disc, px
    "impulse_noise": (_impulse_noise, (0.008, 0.02, 0.05, 0.10, 0.20)),  # share of pixels hit
    "posterization": (_posterization, (24.0, 14.0, 8.0, 5.0, 3.0)),  # grey levels per channel
    "oversharpening": (_oversharpening, (0.8, 1.6, 3.0, 5.0, 8.0)),  # amount of unsharp masking
}
LEVELS = {name: levels for name, (_, levels) in _DISTORTIONS.items()}
"""Strength of the levels 1 to 5 of each type."""

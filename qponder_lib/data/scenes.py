"""Undamaged scenes: crops of photographs that ship with installed packages, and synthetic ones.

A crop is only taken where the picture has detail: on an empty patch blur cannot be seen, by a
person or by a model. ``PHOTOGRAPHS`` says which photograph serves which split; none serves two.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

_SKIMAGE = ("skimage", "data")
_SKLEARN = ("sklearn", "datasets/images")
_MATPLOTLIB = ("matplotlib", "mpl-data/sample_data")

PHOTOGRAPHS: dict[str, dict[str, tuple[str, str]]] = {
    "train": {
        "chelsea.png": _SKIMAGE,
        "china.jpg": _SKLEARN,
        "motorcycle_left.png": _SKIMAGE,
        "hubble_deep_field.jpg": _SKIMAGE,
        "ihc.png": _SKIMAGE,
        "retina.jpg": _SKIMAGE,
        "grass.png": _SKIMAGE,
        "coins.png": _SKIMAGE,
        "rocket.jpg": _SKIMAGE,
    },
    "validation": {
        "grace_hopper.jpg": _MATPLOTLIB,
        "gravel.png": _SKIMAGE,
        "page.png": _SKIMAGE,
    },
    "test": {
        "astronaut.png": _SKIMAGE,
        "coffee.png": _SKIMAGE,
        "flower.jpg": _SKLEARN,
        "camera.png": _SKIMAGE,
        "brick.png": _SKIMAGE,
    },
}
"""Split -> file name -> package that ships it and the folder inside it."""

_GRID = 8
_MIN_DETAIL = 4.0
_MAX_TRIES = 40
_MAX_REDUCTION = 4.0


def photograph_path(name: str, package: str, folder: str) -> Path:
    """Where an installed package keeps a photograph.

    Raises:
        FileNotFoundError: If the package is not installed or no longer ships the file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name} ships with {package}, which is not installed")
    path = Path(spec.origin).parent / folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{package} does not ship {folder}/{name}; see requirements.lock")
    return path


@cache
def load_photograph(name: str, package: str, folder: str) -> Pixels:
    """Decode a photograph once. Returns H x W x 3 uint8, read-only."""
    with Image.open(photograph_path(name, package, folder)) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels.flags.writeable = False
    return pixels


@cache
def _summed_gradient(name: str, package: str, folder: str) -> NDArray[np.float64]:
    """Summed-area table of a photograph's luma gradient, one row and column longer than it."""
    luma = load_photograph(name, package, folder).mean(axis=2, dtype=np.float32)
    gradient = np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1)) / 8.0
    return np.pad(gradient.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))


def _detail(table: NDArray[np.float64], top: int, left: int, side: int) -> float:
    """Median over an 8 x 8 grid of cells of the mean gradient, grey levels per source pixel."""
    rows = top + np.arange(_GRID + 1) * side // _GRID
    columns = left + np.arange(_GRID + 1) * side // _GRID
    corners = table[np.ix_(rows, columns)]
    sums = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    return float(np.median(sums) * _GRID**2 / side**2)


def photograph_scene(split: str, size: int, rng: Rng) -> tuple[Pixels, str]:
    """Crop a photograph of a split.

    The crop covers 1 to 4 source pixels per output pixel and is flipped at random; of at most 40
    places the first with enough detail is taken, or else the one with most.

    Args:
        split: "train", "validation" or "test".
        size: Side of the square crop, px.
        rng: Source of randomness.

    Returns:
        The crop, size x size x 3 uint8, and the photograph's file name.
    """
    names = sorted(PHOTOGRAPHS[split])
    name = names[rng.integers(len(names))]
    source = load_photograph(name, *PHOTOGRAPHS[split][name])
    table = _summed_gradient(name, *PHOTOGRAPHS[split][name])
    best, best_detail = (0, 0, size), -1.0
    reduction = min(_MAX_REDUCTION, min(source.shape[:2]) / size)
    for _ in range(_MAX_TRIES):
        side = round(size * rng.uniform(1.0, reduction))
        top = rng.integers(source.shape[0] - side + 1)
        left = rng.integers(source.shape[1] - side + 1)
        found = _detail(table, top, left, side)
        if found > best_detail:
            best, best_detail = (top, left, side), found
        if found >= _MIN_DETAIL:
            break
    top, left, side = best
    image = Image.fromarray(source[top : top + side, left : left + side])
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(pixels[:, :: rng.choice((-1, 1))]), name


def dead_leaves_scene(size: int, rng: Rng) -> Pixels:
    """Overlapping textured discs whose radii follow a power law, as in dead-leaves models.

    The colours are scattered around grey, so that a colour cast or a wrong exposure shows.

    Returns:
        size x size x 3 uint8.

    Source:
        Lee, Mumford & Huang (2001), "Occlusion models for natural images", section 3; the
        textures, gradients and colours of the discs are ours.
    """
    spread = rng.uniform(0.15, 0.9)
    canvas = _colours(_cloud(size, rng.uniform(1.0, 1.6), rng), spread, rng)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    for radius in np.sort(_power_law(rng, int(rng.integers(40, 160)), size))[::-1]:
        top, left = rng.uniform(0, size, 2)
        squeeze, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        box = tuple(
            slice(int(max(0, middle - radius)), int(min(size, middle + radius + 1)))
            for middle in (top, left)
        )
        down, right = rows[box] - top, columns[box] - left
        along = down * np.cos(angle) + right * np.sin(angle)
        across = -down * np.sin(angle) + right * np.cos(angle)
        inside = (along**2 + (across / squeeze) ** 2) < radius**2
        if inside.any():
            canvas[box][inside] = _leaf_colours(along, across, radius, spread, rng)[inside]
    return np.clip(ndimage.gaussian_filter(canvas, (0.5, 0.5, 0)), 0, 255).astype(np.uint8)


def generated_scene(size: int, rng: Rng) -> Pixels:
    """A picture of another kind: fractal sky, polygons with stripes and rings, and small glyphs.

    Stands in the role of a set of AI-generated images: its look is never trained on.

    Returns:
        size x size x 3 uint8.
    """
    canvas = _colours(_cloud(size, rng.uniform(1.3, 2.0), rng), 0.6, rng)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(rng.integers(5, 10)):
        centre = rng.uniform(0, size, 2)
        sides = rng.integers(3, 7)
        turn = rng.uniform(0, 2 * np.pi)
        reach = size * rng.uniform(0.12, 0.38)
        inside = np.ones((size, size), dtype=bool)
        for k in range(sides):
            angle = turn + 2 * np.pi * k / sides
            offset = (rows - centre[0]) * np.sin(angle) + (columns - centre[1]) * np.cos(angle)
            inside &= offset < reach
        distance = np.hypot(rows - centre[0], columns - centre[1])
        wave = distance if rng.random() < 0.5 else rows * np.sin(turn) + columns * np.cos(turn)
        stripes = 0.5 + 0.5 * np.sign(np.sin(wave * rng.uniform(0.25, 1.1)))
        first, second = _colour(0.7, rng), _colour(0.7, rng)
        pattern = first + (second - first) * stripes[..., None] * rng.uniform(0.2, 1.0)
        canvas[inside] = pattern[inside]
    for _ in range(rng.integers(20, 60)):
        top, left = rng.integers(0, size - 7, 2)
        glyph = rng.random((5, 5)) < 0.5
        canvas[top : top + 5, left : left + 5][glyph] = rng.uniform(0, 255, 3)
    return np.clip(ndimage.gaussian_filter(canvas, (0.5, 0.5, 0)), 0, 255).astype(np.uint8)


def _power_law(rng: Rng, count: int, size: int, exponent: float = 2.4) -> NDArray[np.float64]:
    low, high = 3.0, size / 2.2
    power = 1.0 - exponent
    return (low**power + rng.random(count) * (high**power - low**power)) ** (1.0 / power)


def _cloud(size: int, slope: float, rng: Rng) -> NDArray[np.float32]:
    """A random field with a 1/f**slope amplitude spectrum, zero mean, unit deviation."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**slope
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return field / max(float(field.std()), 1e-6)


def _colour(spread: float, rng: Rng) -> NDArray[np.float32]:
    """A colour around grey; spread 0 is grey, 1 is as colourful as it gets."""
    luma = rng.uniform(15, 240)
    return np.clip(luma + spread * rng.uniform(-110, 110, 3), 0, 255).astype(np.float32)


def _colours(field: NDArray[np.float32], spread: float, rng: Rng) -> NDArray[np.float32]:
    swing = rng.uniform(15, 50)
    return _colour(spread, rng) + swing * field[..., None]


def _leaf_colours(
    along: NDArray[np.float32],
    across: NDArray[np.float32],
    radius: float,
    spread: float,
    rng: Rng,
) -> NDArray[np.float32]:
    shade = 1.0 + rng.uniform(-0.4, 0.4) * along / radius
    kind = rng.integers(5)
    pitch = rng.uniform(0.4, 1.8)
    if kind == 0:
        shade = shade + rng.uniform(0.05, 0.4) * np.sin(across * pitch)
    elif kind == 1:
        shade = shade + rng.uniform(0.05, 0.3) * np.sin(along * pitch) * np.sin(across * pitch)
    elif kind == 2:
        shade = shade + rng.uniform(0.1, 0.4) * np.sin(np.hypot(along, across) * pitch)
    return _colour(spread, rng) * np.maximum(shade, 0.0)[..., None].astype(np.float32)

"""A camera that pans and zooms over a photograph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qponder_lib.data.scenes import PHOTOGRAPHS, load_photograph

Pixels = NDArray[np.uint8]
Rng = np.random.Generator
Box = tuple[float, float, float, float]

REACH = (0.25, 0.6)  # of the free way, so that the motion can be seen and does not blur by itself
_ZOOM = (0.85, 1.0)
_SIDE = (0.4, 0.6)  # of the picture's shorter side


def film(
    split: str, size: int, n_frames: int, rng: Rng, reach: tuple[float, float] = REACH
) -> tuple[Pixels, str]:
    """Film a photograph of a split: a straight pan at constant speed with a slow zoom.

    Args:
        split: "train", "validation" or "test"; the photographs of `scenes.PHOTOGRAPHS`.
        size: Side of a frame, pixels, even (the codec halves the colour).
        n_frames: Frames in the clip.
        rng: Source of randomness.
        reach: Shortest and longest path of the camera, as shares of the free way.

    Returns:
        Frames, n_frames x size x size x 3 uint8, and the photograph's file name.

    Raises:
        ValueError: If the size is odd or there are fewer than two frames.
    """
    if size % 2 or size < 16 or n_frames < 2:
        raise ValueError(f"expected an even size from 16 and 2 frames, got {size} and {n_frames}")
    names = sorted(PHOTOGRAPHS[split])
    name = names[rng.integers(len(names))]
    source = Image.fromarray(load_photograph(name, *PHOTOGRAPHS[split][name]))
    return film_picture(source, size, n_frames, rng, reach), name


def film_picture(
    source: Image.Image, size: int, n_frames: int, rng: Rng, reach: tuple[float, float] = REACH
) -> Pixels:
    """Film one picture as `film` does; any size, even or not."""
    side = rng.uniform(*_SIDE) * min(source.size)
    free = np.array(source.size) - side
    angle = rng.uniform(0.0, 2.0 * np.pi)
    way = rng.uniform(*reach) * free.min() * np.array([np.cos(angle), np.sin(angle)])
    low, high = np.maximum(0.0, -way), free - np.maximum(0.0, way)
    start = rng.uniform(low, high)
    zoom = rng.uniform(*_ZOOM)
    boxes = []
    for share in np.linspace(0.0, 1.0, n_frames):
        left, top = start + share * way
        edge = side * (1.0 - (1.0 - zoom) * share)
        boxes.append((left, top, left + edge, top + edge))
    return _seen_through(source, boxes, size)


def cut_through(source: Image.Image, size: int, n_frames: int, rng: Rng) -> Pixels:
    """Show another part of a picture in every frame, as a film of cuts: the largest motion."""
    boxes = []
    for _ in range(n_frames):
        side = rng.uniform(*_SIDE) * min(source.size)
        left, top = rng.uniform(0.0, np.array(source.size) - side)
        boxes.append((left, top, left + side, top + side))
    return _seen_through(source, boxes, size)


def _seen_through(source: Image.Image, boxes: Sequence[Box], size: int) -> Pixels:
    frames = [
        np.asarray(source.resize((size, size), Image.Resampling.BICUBIC, box=box)) for box in boxes
    ]
    return np.stack(frames)

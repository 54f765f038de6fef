"""Damage of clips: in every frame, or in time, where each single frame stays clean.

Levels 1 to 5 as for images; the strengths are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qponder_lib.data import distortions
from qponder_lib.records import Distortion

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

SPATIAL = ("blur", "noise", "low_contrast", "color_cast", "pixelation")
TEMPORAL = ("stutter", "frame_drops", "flicker")
COMPRESSION = "compression"

_FREEZE_SHARE = (0.08, 0.15, 0.25, 0.38, 0.55)
_N_FREEZES = 2
_DROP_SHARE = (0.10, 0.20, 0.35, 0.50, 0.70)
_FLICKER_GAIN = (0.05, 0.09, 0.14, 0.21, 0.30)


def shown_at(n_frames: int, recipe: tuple[Distortion, ...], rng: Rng) -> NDArray[np.intp]:
    """Say which filmed frame is on the screen at each tick.

    Stutter freezes the picture twice and then jumps; dropped frames are bridged by the frame
    before. The clip keeps its length, and every frame shown is a filmed one.

    Args:
        n_frames: Frames of the clip.
        recipe: Its damage; only stutter and frame_drops matter here.
        rng: Source of randomness.

    Returns:
        Places of filmed frames, never falling, shape (n_frames,).
    """
    shown = np.arange(n_frames)
    for one in recipe:
        held = np.zeros(n_frames, dtype=bool)
        if one.name == "stutter":
            length = max(1, round(_FREEZE_SHARE[one.level - 1] * n_frames / _N_FREEZES))
            for part in range(_N_FREEZES):
                first = part * n_frames // _N_FREEZES + 1
                last = (part + 1) * n_frames // _N_FREEZES - length
                begin = int(rng.integers(first, max(first, last) + 1))
                held[begin : begin + length] = True
        elif one.name == "frame_drops":
            count = round(_DROP_SHARE[one.level - 1] * (n_frames - 1))
            held[1 + rng.choice(n_frames - 1, count, replace=False)] = True
        shown = np.maximum.accumulate(np.where(held, 0, shown))
    return shown


def spoil_frames(frames: Pixels, recipe: tuple[Distortion, ...], rng: Rng) -> Pixels:
    """Apply the damage of pixels, frame by frame: that of images, and flicker.

    What a lens or a setting does is the same in every frame; noise is new in each.

    Args:
        frames: n x H x W x 3, uint8.
        recipe: Damage; what concerns time or the codec is left to others.
        rng: Source of randomness.

    Returns:
        Damaged frames of the same shape.
    """
    for one in recipe:
        if one.name in SPATIAL:
            seeds = rng.integers(2**32, size=len(frames))
            if one.name != "noise":
                seeds[:] = seeds[0]
            frames = np.stack(
                [
                    distortions.apply(frame, one.name, one.level, np.random.default_rng(seed))
                    for frame, seed in zip(frames, seeds, strict=True)
                ]
            )
        elif one.name == "flicker":
            gains = 1.0 + _FLICKER_GAIN[one.level - 1] * rng.choice((-1.0, 1.0), len(frames))
            lit = frames.astype(np.float32) * gains[:, None, None, None]
            frames = np.clip(lit.round(), 0, 255).astype(np.uint8)
    return frames

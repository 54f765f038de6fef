"""Fresh mosaics for the warm-up of the mini student, with what is known of their cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qponder_lib.data.clips import (
    LADDERS,
    SPATIAL,
    cut_through,
    distort_frames,
    film_image,
    shown_at,
)
from qponder_lib.data.distortions import N_LEVELS
from qponder_lib.data.scenes import PHOTOGRAPHS, load_photograph, varied_scene
from qponder_lib.records import Distortion
from qponder_lib.student.architecture import IMAGE_SIDE

FILMS_PER_SCENE = 8
N_HELD_OUT = 192
_SCENE_SIDE = 256
_GRAIN = (0.5, 1.5, 4.0)
_SHARE_WITHOUT, _SHARE_FLICKER, _SHARE_SPATIAL = 0.1, 0.3, 0.2

Pixels = NDArray[np.uint8]
Flags = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Mosaics:
    """Makes mosaics and says which of their cells repeat the cell before.

    Attributes:
        cells: Cells in a row, and in a column.
        reach: Shortest and longest path of the camera, as shares of the free way.
    """

    cells: int
    reach: tuple[float, float]

    def of(self, scene: Pixels, rng: Rng, *, cuts: bool) -> tuple[Pixels, Flags]:
        """Film a scene, hold some frames, and lay them side by side.

        Args:
            scene: H x W x 3, uint8.
            rng: Source of randomness.
            cuts: Show another part of the scene in every frame, not a moving camera; then at
                least the third level of stutter or drops, and no other damage.

        Returns:
            The mosaic, 128 x 128 x 3 uint8, and one flag per cell, 1 where it repeats.
        """
        n_frames, side = self.cells**2, IMAGE_SIDE // self.cells
        source = Image.fromarray(scene)
        if cuts:
            frames = cut_through(source, side, n_frames, rng)
        else:
            frames = film_image(source, side, n_frames, rng, self.reach)
        shown = np.arange(n_frames)
        if rng.random() >= _SHARE_WITHOUT:
            level = int(rng.integers(3 if cuts else 1, N_LEVELS + 1))
            held = Distortion(name=str(rng.choice(LADDERS)), level=level)
            shown = shown_at(n_frames, (held,), rng)
        frames = frames[shown] if cuts else distort_frames(frames[shown], _other_damage(rng), rng)
        grainy = frames + rng.normal(0.0, rng.choice(_GRAIN), frames.shape)
        frames = np.clip(grainy.round(), 0, 255).astype(np.uint8)
        rows = [np.hstack(frames[at : at + self.cells]) for at in range(0, n_frames, self.cells)]
        return np.vstack(rows), np.r_[0, np.diff(shown) == 0].astype(np.float32)

    def batch(self, count: int, share_of_cuts: float, rng: Rng) -> tuple[Pixels, Flags]:
        """Film fresh scenes, several films of each."""
        made = []
        for number in range(count):
            if number % FILMS_PER_SCENE == 0:
                scene = varied_scene(_SCENE_SIDE, rng)
            made.append(self.of(scene, rng, cuts=bool(rng.random() < share_of_cuts)))
        return np.stack([one for one, _ in made]), np.stack([flags for _, flags in made])

    def held_out(self, rng: Rng) -> tuple[Pixels, Flags]:
        """Film the validation photographs by the camera alone."""
        photographs = sorted(PHOTOGRAPHS["validation"].items())
        made = []
        for number in range(N_HELD_OUT):
            name, box = photographs[number % len(photographs)]
            made.append(self.of(load_photograph(name, *box), rng, cuts=False))
        return np.stack([one for one, _ in made]), np.stack([flags for _, flags in made])


def cells_of(mosaic: Pixels, cells: int) -> Pixels:
    """Cut a mosaic into its cells, in time order: cells^2 x side x side x 3."""
    side = mosaic.shape[0] // cells
    grid = mosaic.reshape(cells, side, cells, side, 3).swapaxes(1, 2)
    return grid.reshape(cells**2, side, side, 3)


def _other_damage(rng: Rng) -> tuple[Distortion, ...]:
    """What may happen beside: flicker, or damage of the frames."""
    drawn = []
    for share, names in ((_SHARE_FLICKER, ("flicker",)), (_SHARE_SPATIAL, SPATIAL)):
        if rng.random() < share:
            level = int(rng.integers(1, N_LEVELS + 1))
            drawn.append(Distortion(name=str(rng.choice(names)), level=level))
    return tuple(drawn)

"""Which scenes and which damage make up each set of the embedded benchmark.

Six test sets stand in the roles of the paper's six columns (section 4.1 of Q-Ponder): three of
in-the-wild pictures, of which the first is the training domain, two of synthetic damage with a
known type and level, and one of generated pictures. Each has a mirror for choosing and tuning:
the same mixture, other photographs, other raters, other random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qponder_lib.data import distortions, scenes
from qponder_lib.records import Distortion, Split

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

ORDER = (
    "lens_blur",
    "blur",
    "motion_blur",
    "overexposure",
    "underexposure",
    "low_contrast",
    "color_cast",
    "noise",
    "impulse_noise",
    "posterization",
    "oversharpening",
    "pixelation",
    "jpeg",
)
"""Damage happens in the order of a camera: optics, exposure, sensor, processing, compression."""


@dataclass(frozen=True)
class Mixture:
    """How one set is drawn.

    Attributes:
        name: Set name; every embedded set starts with ``mini-``.
        stands_for: The public set in whose role it stands.
        scenes: Share of each kind of scene: "photograph", "dead_leaves", "generated".
        counts: Probability of 0, 1, 2, ... distortions in one image.
        types: Distortion types in use, with relative weights.
        levels: Relative weights of the levels 1 to 5.
        photographs: Split whose photographs it shows; None for the split of each image.
    """

    name: str
    stands_for: str
    scenes: dict[str, float]
    counts: tuple[float, ...]
    types: dict[str, float]
    levels: tuple[float, float, float, float, float] = (1, 1, 1, 1, 1)
    photographs: Split | None = None


def _equal(names: tuple[str, ...]) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


IN_DOMAIN = Mixture(
    "mini-koniq",
    "KonIQ-10k",
    {"photograph": 0.6, "dead_leaves": 0.4},
    (0.06, 0.54, 0.40),
    _equal(distortions.TRAINED),
)

MIXTURES: tuple[Mixture, ...] = (
    IN_DOMAIN,
    Mixture(
        "mini-spaq",
        "SPAQ",
        {"photograph": 1.0},
        (0.08, 0.32, 0.40, 0.20),
        {"noise": 2, "underexposure": 2, "motion_blur": 2, "jpeg": 2, "blur": 1, "color_cast": 1},
    ),
    Mixture(
        "mini-livew",
        "LIVE-in-the-Wild",
        {"photograph": 1.0},
        (0.10, 0.60, 0.30),
        {"blur": 2, "motion_blur": 2, "overexposure": 2, "low_contrast": 2, "pixelation": 1},
        (2, 2, 2, 1, 1),
    ),
    Mixture(
        "mini-kadid",
        "KADID-10k",
        {"photograph": 1.0},
        (0.0, 1.0),
        _equal(distortions.TRAINED),
    ),
    Mixture(
        "mini-csiq",
        "CSIQ",
        {"photograph": 1.0},
        (0.0, 1.0),
        _equal((*distortions.UNSEEN, "noise", "jpeg")),
    ),
    Mixture(
        "mini-agiqa",
        "AGIQA-3K",
        {"generated": 1.0},
        (0.10, 0.55, 0.35),
        _equal(distortions.TRAINED),
    ),
)


def mirror_of(name: str) -> str:
    """Return the name of a set's mirror.

    Example:
        >>> mirror_of("mini-csiq")
        'mini-valid-csiq'
    """
    return name.replace("mini-", "mini-valid-", 1)


MIRRORS: tuple[Mixture, ...] = tuple(
    replace(mixture, name=mirror_of(mixture.name), photographs="validation") for mixture in MIXTURES
)
"""Like the test sets, from the validation photographs; whoever chooses by them has seen no test
image. Their rows are the test part of their set, so that they are predicted as any other set."""


def mixture_named(name: str) -> Mixture:
    """Look a mixture up, mirrors included. Raises KeyError naming the sets that exist."""
    known = (*MIXTURES, *MIRRORS)
    for mixture in known:
        if mixture.name == name:
            return mixture
    raise KeyError(f"no embedded set {name!r}; there are {', '.join(m.name for m in known)}")


def draw_scene(mixture: Mixture, split: str, size: int, rng: Rng) -> tuple[Pixels, str]:
    """Draw an undamaged scene of a mixture.

    Returns:
        Pixels, size x size x 3 uint8, and the reference: the photograph's name, or the kind of
        scene (each generated scene is its own reference, so the caller numbers them).
    """
    kind = str(rng.choice(list(mixture.scenes), p=_shares(mixture.scenes)))
    if kind == "photograph":
        return scenes.photograph_scene(mixture.photographs or split, size, rng)
    draw = {"dead_leaves": scenes.dead_leaves_scene, "generated": scenes.generated_scene}[kind]
    return draw(size, rng), kind


def draw_damage(mixture: Mixture, rng: Rng) -> tuple[Distortion, ...]:
    """Draw which distortions an image gets, in the order in which they happen."""
    count = int(rng.choice(len(mixture.counts), p=mixture.counts))
    names = rng.choice(list(mixture.types), count, replace=False, p=_shares(mixture.types))
    weights = np.asarray(mixture.levels) / sum(mixture.levels)
    levels = rng.choice(np.arange(1, distortions.N_LEVELS + 1), count, p=weights)
    drawn = [
        Distortion(name=str(name), level=int(level))
        for name, level in zip(names, levels, strict=True)
    ]
    return tuple(sorted(drawn, key=lambda one: ORDER.index(one.name)))


def damage(image: Pixels, recipe: tuple[Distortion, ...], rng: Rng) -> Pixels:
    """Apply distortions one after another."""
    for distortion in recipe:
        image = distortions.apply(image, distortion.name, distortion.level, rng)
    return image


def _shares(weights: dict[str, float]) -> NDArray[np.float64]:
    values = np.asarray(list(weights.values()), dtype=np.float64)
    return values / values.sum()

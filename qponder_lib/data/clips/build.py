"""Makes a set of clips with its rows, as the embedded images are made."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from qponder_lib.artifacts import write_bytes_atomic, write_jsonl
from qponder_lib.data.clips.damage import (
    COMPRESSION,
    SPATIAL,
    TEMPORAL,
    Pixels,
    shown_at,
    spoil_frames,
)
from qponder_lib.data.clips.encoding import decode_clip, encode_clip
from qponder_lib.data.clips.motion import REACH, film
from qponder_lib.data.clips.quality import clip_quality
from qponder_lib.data.distortions import N_LEVELS
from qponder_lib.data.pseudo_mos import RaterPanel
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, Split
from qponder_lib.scales import severity_of

CLIP_SET = "mini-clips"
LADDER_SET = "mini-clips-time"
VALIDATION_LADDERS = "mini-clips-time-valid"
"""The same of validation photographs: choices are made by these."""
LADDERS = ("stutter", "frame_drops")
"""Damage of which no single frame shows anything."""
_KINDS = ("none", "space", "time", "both")
_SHARES = (0.08, 0.32, 0.36, 0.24)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Counts and sizes of a set of clips.

    Attributes:
        n_train, n_validation, n_test: Clips in each split.
        size: Side of a frame, pixels, even.
        n_frames: Frames in a clip.
        fps: Frames per second.
        n_raters: Simulated raters per clip.
        seed: Seed of clips and raters.
        reach: Shortest and longest path of the camera, as shares of the free way.
        n_ladders: Scenes of the set of ladders.
        n_validation_ladders: Scenes of that made of validation photographs.
    """

    n_train: int = 400
    n_validation: int = 80
    n_test: int = 160
    size: int = 96
    n_frames: int = 48
    fps: int = 25
    n_raters: int = 20
    seed: int = 0
    reach: tuple[float, float] = REACH
    n_ladders: int = 0
    n_validation_ladders: int = 0


def build_clips(
    settings: ClipSettings, paths: RunPaths, *, progress: bool = True
) -> dict[Split, list[ImageRecord]]:
    """Make every clip of the set and write its rows.

    Args:
        settings: Counts, sizes, seed.
        paths: The run folder; clips go to ``data/mini-clips/images``, rows beside it.
        progress: Show a bar.

    Returns:
        The rows by split; ``image`` is the clip's file, ``reference`` the photograph it films.
        No photograph serves two splits.
    """
    paths.images(CLIP_SET).mkdir(parents=True, exist_ok=True)
    counts: dict[Split, int] = {
        "train": settings.n_train,
        "validation": settings.n_validation,
        "test": settings.n_test,
    }
    made: dict[Split, list[ImageRecord]] = {split: [] for split in counts}
    with tqdm(total=sum(counts.values()), desc="clips", disable=not progress, mininterval=5) as bar:
        for split, count in counts.items():
            for number in range(count):
                made[split].append(_make(settings, paths, split, number))
                bar.update()
            write_jsonl(paths.split(CLIP_SET, split), made[split])
    return made


def draw_recipe(rng: np.random.Generator) -> tuple[Distortion, ...]:
    """Draw the damage of a clip: none, one in space, one in time, or one of each.

    Returns:
        Damage in the order in which it happens: frames, time, codec.
    """
    kind = str(rng.choice(_KINDS, p=_SHARES))
    names = []
    if kind in ("space", "both"):
        names.append(str(rng.choice((*SPATIAL, COMPRESSION))))
    if kind in ("time", "both"):
        names.append(str(rng.choice(TEMPORAL)))
    drawn = [Distortion(name=one, level=int(rng.integers(1, N_LEVELS + 1))) for one in names]
    return tuple(sorted(drawn, key=lambda one: one.name == COMPRESSION))


def build_ladders(
    settings: ClipSettings, paths: RunPaths, *, progress: bool = True
) -> list[ImageRecord]:
    """Film photographs, and show each scene clean and at every level of stutter and of drops.

    Args:
        settings: Sizes, seed, numbers of scenes.
        paths: The run folder; clips go to ``data/mini-clips-time/images``, those of validation
            photographs to ``data/mini-clips-time-valid/images``, rows beside them.
        progress: Show a bar.

    Returns:
        The rows, test photographs first, scene after scene; ``reference`` names the scene and the
        photograph it films.
    """
    rows: list[ImageRecord] = []
    scenes = [("test", scene) for scene in range(settings.n_ladders)]
    scenes += [("validation", scene) for scene in range(settings.n_validation_ladders)]
    for split, scene in tqdm(scenes, desc="ladders", disable=not progress, mininterval=5):
        rows += _ladder(settings, paths, split, scene)
    for dataset, split in ((LADDER_SET, "test"), (VALIDATION_LADDERS, "validation")):
        write_jsonl(paths.split(dataset, split), [row for row in rows if row.split == split])
    return rows


def _ladder(settings: ClipSettings, paths: RunPaths, split: Split, scene: int) -> list[ImageRecord]:
    """One scene, clean and damaged; every scene has its own generator."""
    dataset, stream = (LADDER_SET, 2) if split == "test" else (VALIDATION_LADDERS, 3)
    paths.images(dataset).mkdir(parents=True, exist_ok=True)
    steps: list[tuple[Distortion, ...]] = [()]
    steps += [
        (Distortion(name=name, level=level),)
        for name in LADDERS
        for level in range(1, N_LEVELS + 1)
    ]
    rng = np.random.default_rng([settings.seed, stream, scene])
    filmed, photograph = film(split, settings.size, settings.n_frames, rng, settings.reach)
    rows = []
    for step, recipe in enumerate(steps):
        name = f"{dataset}-{scene:03d}-{step:02d}"
        place = Place(dataset, split, name, f"{scene:03d} {photograph}")
        rows.append(_write(filmed, recipe, settings, (paths, place), rng))
    return rows


def _make(settings: ClipSettings, paths: RunPaths, split: Split, number: int) -> ImageRecord:
    """Each clip has its own generator, so the set is the same in any order of making."""
    rng = np.random.default_rng([settings.seed, zlib.crc32(split.encode()), number])
    filmed, photograph = film(split, settings.size, settings.n_frames, rng, settings.reach)
    place = Place(CLIP_SET, split, f"{CLIP_SET}-{split}-{number:05d}", photograph)
    return _write(filmed, draw_recipe(rng), settings, (paths, place), rng)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clip belongs: set, split, name, and what is drawn together in intervals."""

    dataset: str
    split: Split
    clip_id: str
    reference: str


def _write(
    filmed: Pixels,
    recipe: tuple[Distortion, ...],
    settings: ClipSettings,
    target: tuple[RunPaths, Place],
    rng: np.random.Generator,
) -> ImageRecord:
    """Damage, encode, rate and write what was filmed."""
    paths, place = target
    panel = RaterPanel.recruit(settings.n_raters, np.random.default_rng([settings.seed, 1]))
    shown = shown_at(len(filmed), recipe, rng)
    spoiled = spoil_frames(filmed[shown], recipe, rng)
    level = next((one.level for one in recipe if one.name == COMPRESSION), None)
    content = encode_clip(spoiled, fps=settings.fps, level=level)
    opinion = panel.rate(clip_quality(filmed, decode_clip(content), shown), rng)
    path = paths.images(place.dataset) / f"{place.clip_id}.mp4"
    write_bytes_atomic(path, content)
    return ImageRecord(
        image_id=place.clip_id,
        image=path.relative_to(paths.data).as_posix(),
        dataset=place.dataset,
        split=place.split,
        mos=opinion.mos,
        mos_raw=opinion.mos,
        mos_std=opinion.std,
        severity=severity_of(opinion.mos),
        distortions=recipe,
        sha256=hashlib.sha256(content).hexdigest(),
        reference=place.reference,
    )

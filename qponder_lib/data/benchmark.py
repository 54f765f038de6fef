"""The embedded benchmark: which scenes and distortions make up each set, and how sets are built.

Six test sets stand in the roles of the paper's six columns (section 4.1 of Q-Ponder): three of
in-the-wild photographs, of which the first is the training domain, two of synthetic distortions
with a known type and level, and one of generated images. Each has a mirror for choosing and tuning:
the same mixture, other photographs, other raters, other random numbers.

Every image is drawn from its own generator, seeded by the run's seed, its set, its split and its
number, so the benchmark is the same on any number of processes. Every image is written as PNG and
named in ``data/<set>/<split>.jsonl``.

The ground truth is a full-reference similarity seen by simulated raters. It stands in for human
labels where no data set can be shipped. Nothing that is trained or that teaches sees anything but
the finished MOS of training and validation images.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from qponder_lib.artifacts import write_bytes_atomic, write_csv, write_jsonl
from qponder_lib.config import DataConfig
from qponder_lib.data import distortions, scenes
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, Split
from qponder_lib.scales import severity_of

Pixels = NDArray[np.uint8]
Rng = np.random.Generator
Task = tuple[str, Split, int]
"""Set, split and number of one image."""

ORDER = (
    *("lens_blur", "blur", "motion_blur", "overexposure", "underexposure", "low_contrast"),
    *("color_cast", "noise", "impulse_noise", "posterization", "oversharpening"),
    *("pixelation", "jpeg"),
)
"""Distortions in the order of a camera: optics, exposure, sensor, processing, compression."""
_PNG_COMPRESSION = 1
_CHUNK = 25
IMAGE_SIZE = 128
"""Side of an image that is made, in pixels."""

N_SCALES = 3
GRADIENT_CONSTANT = 170.0
STRUCTURE_EXPONENT = 4.0
CHROMA_TOLERANCE = 50.0
LUMA_TOLERANCE = 70.0
RATING_EXPONENT = 0.8

RATER_BIAS = 4.0
RATER_NOISE = 9.0

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


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


_TRAINED = dict.fromkeys(distortions.TRAINED, 1.0)
_PHOTOGRAPHS = {"photograph": 1.0}
IN_DOMAIN = Mixture(
    "mini-koniq",
    "KonIQ-10k",
    {"photograph": 0.6, "dead_leaves": 0.4},
    (0.06, 0.54, 0.40),
    _TRAINED,
)
MIXTURES: tuple[Mixture, ...] = (
    IN_DOMAIN,
    Mixture(
        "mini-spaq",
        "SPAQ",
        _PHOTOGRAPHS,
        (0.08, 0.32, 0.40, 0.20),
        {"noise": 2, "underexposure": 2, "motion_blur": 2, "jpeg": 2, "blur": 1, "color_cast": 1},
    ),
    Mixture(
        "mini-livew",
        "LIVE-in-the-Wild",
        _PHOTOGRAPHS,
        (0.10, 0.60, 0.30),
        {"blur": 2, "motion_blur": 2, "overexposure": 2, "low_contrast": 2, "pixelation": 1},
        (2, 2, 2, 1, 1),
    ),
    Mixture("mini-kadid", "KADID-10k", _PHOTOGRAPHS, (0.0, 1.0), _TRAINED),
    Mixture(
        "mini-csiq",
        "CSIQ",
        _PHOTOGRAPHS,
        (0.0, 1.0),
        dict.fromkeys((*distortions.UNSEEN, "noise", "jpeg"), 1.0),
    ),
    Mixture("mini-agiqa", "AGIQA-3K", {"generated": 1.0}, (0.10, 0.55, 0.35), _TRAINED),
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
    """Look a mixture up, mirrors included. Raises ValueError naming the sets that exist."""
    known = {mixture.name: mixture for mixture in (*MIXTURES, *MIRRORS)}
    if name not in known:
        raise ValueError(f"no embedded set {name!r}; there are {', '.join(known)}")
    return known[name]


def draw_scene(mixture: Mixture, split: str, size: int, rng: Rng) -> tuple[Pixels, str]:
    """Draw an undistorted scene of a mixture.

    Returns:
        Pixels, size x size x 3 uint8, and the reference: the photograph's name, or the kind of
        scene (each generated scene is its own reference, so the caller numbers them).
    """
    kind = str(rng.choice(list(mixture.scenes), p=_shares(mixture.scenes)))
    if kind == "photograph":
        return scenes.photograph_scene(mixture.photographs or split, size, rng)
    draw = {"dead_leaves": scenes.dead_leaves_scene, "generated": scenes.generated_scene}[kind]
    return draw(size, rng), kind


def draw_distortions(mixture: Mixture, rng: Rng) -> tuple[Distortion, ...]:
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


def _shares(weights: dict[str, float]) -> NDArray[np.float64]:
    values = np.asarray(list(weights.values()), dtype=np.float64)
    return values / values.sum()


def build(config: DataConfig, paths: RunPaths, *, progress: bool = True) -> list[dict[str, object]]:
    """Make every set of the benchmark, and the mirrors where the settings ask for them.

    Args:
        config: Seed, counts, side of an image, number of raters.
        paths: The run folder to write into.
        progress: Show a bar.

    Returns:
        One row per set and split, as in ``tables/benchmark.csv``: counts, the spread of the MOS
        and the ceiling, which is the SRCC and PLCC of a predictor that knows the true quality,
        limited by the raters' noise alone. Those of the mirrors are in ``data/mirrors.csv``.
    """
    counts: dict[Split, int] = {"train": config.n_train, "validation": config.n_validation}
    tasks = [(IN_DOMAIN.name, split, k) for split, count in counts.items() for k in range(count)]
    tasks += [(mixture.name, "test", k) for mixture in MIXTURES for k in range(config.n_test)]
    rows = _make_all(tasks, config, paths, progress)
    write_csv(paths.tables / "benchmark.csv", rows, list(rows[0]))
    if config.n_mirror:
        tasks = [(mixture.name, "test", k) for mixture in MIRRORS for k in range(config.n_mirror)]
        mirrors = _make_all(tasks, config, paths, progress)
        write_csv(paths.data / "mirrors.csv", mirrors, list(mirrors[0]))
    return rows


def _make_all(
    tasks: Sequence[Task], config: DataConfig, paths: RunPaths, progress: bool
) -> list[dict[str, object]]:
    groups: dict[tuple[str, Split], list[tuple[ImageRecord, float]]] = {}
    workers = min(os.cpu_count() or 1, 8)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        made = pool.map(partial(_make, config, paths), tasks, chunksize=_CHUNK)
        bar = tqdm(made, total=len(tasks), desc="images", mininterval=5, disable=not progress)
        for record, quality in bar:
            groups.setdefault((record.dataset, record.split), []).append((record, quality))
    rows = []
    for (dataset, split), group in groups.items():
        records, quality = (list(column) for column in zip(*group, strict=True))
        write_jsonl(paths.split(dataset, split), records)
        stands_for = mixture_named(dataset).stands_for
        rows.append(summary_row(dataset, stands_for, split, records, quality))
    return rows


def _make(config: DataConfig, paths: RunPaths, task: Task) -> tuple[ImageRecord, float]:
    """Make one image; returns its row, and its quality before the raters saw it, 0 to 100."""
    dataset, split, number = task
    mixture = mixture_named(dataset)
    rng = np.random.default_rng(_seeds(config.seed, dataset, split, number))
    panel_rng = np.random.default_rng(_seeds(config.seed, dataset, "panel", 0))
    raters = recruit(config.n_raters, panel_rng)
    if split == "train":
        scene, reference = scenes.varied_scene(IMAGE_SIZE, rng), "varied"
    else:
        scene, reference = draw_scene(mixture, split, IMAGE_SIZE, rng)
    recipe = draw_distortions(mixture, rng)
    pixels = distortions.apply_all(scene, recipe, rng)
    quality = true_quality(scene, pixels)
    opinion = rate(quality, raters, rng)
    image_id = f"{dataset}-{split}-{number:05d}"
    if "." not in reference:
        reference = f"{reference}-{image_id}"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_COMPRESSION)
    names = {"dataset": dataset, "split": split, "image_id": image_id, "reference": reference}
    return write_made(paths, buffer.getvalue(), ".png", opinion, recipe, names), quality


def write_made(
    paths: RunPaths,
    content: bytes,
    suffix: str,
    opinion: tuple[float, float],
    recipe: tuple[Distortion, ...],
    names: dict[str, str],
) -> ImageRecord:
    """Write an image or clip that was made, and return its row.

    Args:
        paths: The run folder.
        content: The file.
        suffix: Suffix of its name.
        opinion: MOS and standard deviation of its ratings.
        recipe: Its distortions.
        names: dataset, split, image_id and reference of the row.
    """
    path = paths.images(names["dataset"]) / f"{names['image_id']}{suffix}"
    write_bytes_atomic(path, content)
    return ImageRecord(
        **names,
        image=path.relative_to(paths.data).as_posix(),
        mos=opinion[0],
        mos_raw=opinion[0],
        mos_std=opinion[1],
        severity=severity_of(opinion[0]),
        distortions=recipe,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _seeds(seed: int, dataset: str, purpose: str, number: int) -> list[int]:
    return [seed, zlib.crc32(dataset.encode()), zlib.crc32(purpose.encode()), number]


def summary_row(
    dataset: str,
    stands_for: str,
    split: str,
    records: Sequence[ImageRecord],
    quality: Sequence[float] = (),
) -> dict[str, object]:
    """Describe a part of a set, as a row of ``tables/benchmark.csv``.

    The ceilings are empty where nobody knows the true quality.
    """
    from scipy.stats import pearsonr, spearmanr

    mos = np.array([record.mos for record in records if record.mos is not None])
    spreads = [record.mos_std for record in records if record.mos_std is not None]
    known = len(quality) > 2
    return {
        "set": dataset,
        "stands_for": stands_for,
        "split": split,
        "n": len(records),
        "n_references": len({record.reference for record in records if record.reference}),
        "mos_mean": float(mos.mean()) if len(mos) else None,
        "mos_std": float(mos.std(ddof=1)) if len(mos) > 2 else None,
        "rater_std": float(np.mean(spreads)) if spreads else None,
        "ceiling_srcc": float(spearmanr(quality, mos).statistic) if known else None,
        "ceiling_plcc": float(pearsonr(quality, mos).statistic) if known else None,
    }


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

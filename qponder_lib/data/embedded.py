"""Builds the embedded benchmark and reads it back.

Every image is drawn from its own generator, seeded by the run's seed, its set, its split and its
number, so the benchmark is the same on any number of processes. Every image is written as PNG and
named in ``data/<set>/<split>.jsonl``.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from qponder_lib.artifacts import read_jsonl, write_bytes_atomic, write_csv, write_jsonl
from qponder_lib.config import DataConfig
from qponder_lib.data import mixtures
from qponder_lib.data.images import decode_rgb
from qponder_lib.data.mixtures import IN_DOMAIN, MIRRORS, MIXTURES, Mixture
from qponder_lib.data.pseudo_mos import RaterPanel, true_quality
from qponder_lib.data.varied_scenes import varied_scene
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Split
from qponder_lib.scales import severity_of

Pixels = NDArray[np.uint8]

_PNG_COMPRESSION = 1
_CHUNK = 25


@dataclass(frozen=True)
class Task:
    """One image to make."""

    mixture: str
    split: Split
    number: int


@dataclass(frozen=True)
class Made:
    """One image as made: its row, and its quality before the raters saw it."""

    record: ImageRecord
    quality: float


@dataclass(frozen=True)
class BuildReport:
    """What `build` made.

    Attributes:
        n_images: Images in all sets.
        rows: One row per set and split, as in ``tables/benchmark.csv``.
    """

    n_images: int
    rows: tuple[dict[str, object], ...]


def tasks(config: DataConfig) -> list[Task]:
    """List the images of every set and split."""
    listed = []
    sizes: dict[Split, int] = {"train": config.n_train, "validation": config.n_validation}
    for split, count in sizes.items():
        listed += [Task(IN_DOMAIN.name, split, number) for number in range(count)]
    for mixture in MIXTURES:
        listed += [Task(mixture.name, "test", number) for number in range(config.n_test)]
    return listed


def build(config: DataConfig, paths: RunPaths, *, progress: bool = True) -> BuildReport:
    """Make every set of the benchmark, and the mirrors where the settings ask for them.

    Args:
        config: Seed, counts, side of an image, number of raters.
        paths: The run folder to write into.
        progress: Show a bar.

    Returns:
        Counts and, per set, the spread of the MOS and the ceiling: the SRCC and PLCC of a
        predictor that knows the true quality, limited by the raters' noise alone.
    """
    report = _make(tasks(config), config, paths, progress)
    paths.tables.mkdir(parents=True, exist_ok=True)
    write_csv(paths.tables / "benchmark.csv", report.rows, list(report.rows[0]))
    if config.n_mirror:
        build_mirrors(config, config.n_mirror, paths, progress=progress)
    return report


def build_mirrors(
    config: DataConfig, n: int, paths: RunPaths, *, progress: bool = True
) -> BuildReport:
    """Make the mirrors of the six test sets, also in a run that was made without them.

    Nothing that lies there is touched; ``data/mirrors.csv`` describes them.

    Args:
        config: Seed, side of an image, number of raters.
        n: Images in each mirror. The first of a longer mirror are those of a shorter one.
        paths: The run folder to write into.
        progress: Show a bar.

    Returns:
        As from `build`.

    Example:
        >>> [mixture.name for mixture in MIRRORS][:2]
        ['mini-valid-koniq', 'mini-valid-spaq']
    """
    todo = [Task(mixture.name, "test", number) for mixture in MIRRORS for number in range(n)]
    report = _make(todo, config, paths, progress)
    write_csv(paths.data / "mirrors.csv", report.rows, list(report.rows[0]))
    return report


def _make(todo: Sequence[Task], config: DataConfig, paths: RunPaths, progress: bool) -> BuildReport:
    for name in {task.mixture for task in todo}:
        paths.images(name).mkdir(parents=True, exist_ok=True)
    workers = min(os.cpu_count() or 1, 8)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(_Maker(config, paths), todo, chunksize=_CHUNK)
        bar = tqdm(results, total=len(todo), desc="images", mininterval=5, disable=not progress)
        made = list(bar)
    rows = []
    for (dataset, split), group in _grouped(made):
        write_jsonl(paths.split(dataset, split), [one.record for one in group])
        rows.append(_summary(dataset, split, group))
    return BuildReport(len(made), tuple(rows))


def load_records(paths: RunPaths, dataset: str, split: str) -> list[ImageRecord]:
    """Read the rows of one split of one set."""
    return read_jsonl(paths.split(dataset, split), ImageRecord)


def load_pil(paths: RunPaths, record: ImageRecord) -> Image.Image:
    """Decode an image of a run as upright RGB; prepared sets lie behind a link."""
    return decode_rgb((paths.data / record.image).read_bytes())


def load_pixels(paths: RunPaths, record: ImageRecord) -> Pixels:
    """Decode an image of a run. Returns H x W x 3, uint8."""
    return np.asarray(load_pil(paths, record))


@dataclass(frozen=True)
class _Maker:
    config: DataConfig
    paths: RunPaths

    def __call__(self, task: Task) -> Made:
        mixture = mixtures.mixture_named(task.mixture)
        rng = np.random.default_rng(_seeds(self.config.seed, mixture, task.split, task.number))
        panel_rng = np.random.default_rng(_seeds(self.config.seed, mixture, "panel", 0))
        panel = RaterPanel.recruit(self.config.n_raters, panel_rng)
        scene, reference = self._scene(mixture, task.split, rng)
        recipe = mixtures.draw_damage(mixture, rng)
        pixels = mixtures.damage(scene, recipe, rng)
        quality = true_quality(scene, pixels)
        opinion = panel.rate(quality, rng)
        image_id = f"{task.mixture}-{task.split}-{task.number:05d}"
        if "." not in reference:
            reference = f"{reference}-{image_id}"
        content = _png(pixels)
        path = self.paths.images(task.mixture) / f"{image_id}.png"
        write_bytes_atomic(path, content)
        record = ImageRecord(
            image_id=image_id,
            image=path.relative_to(self.paths.data).as_posix(),
            dataset=task.mixture,
            split=task.split,
            mos=opinion.mos,
            mos_raw=opinion.mos,
            mos_std=opinion.std,
            severity=severity_of(opinion.mos),
            distortions=recipe,
            sha256=hashlib.sha256(content).hexdigest(),
            reference=reference,
        )
        return Made(record, quality)

    def _scene(
        self, mixture: Mixture, split: Split, rng: np.random.Generator
    ) -> tuple[Pixels, str]:
        if split == "train" and self.config.train_scenes == "varied":
            return varied_scene(self.config.image_size, rng), "varied"
        return mixtures.draw_scene(mixture, split, self.config.image_size, rng)


def _seeds(seed: int, mixture: Mixture, purpose: str, number: int) -> list[int]:
    return [seed, zlib.crc32(mixture.name.encode()), zlib.crc32(purpose.encode()), number]


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_COMPRESSION)
    return buffer.getvalue()


def _grouped(made: Iterable[Made]) -> list[tuple[tuple[str, Split], list[Made]]]:
    groups: dict[tuple[str, Split], list[Made]] = {}
    for one in made:
        groups.setdefault((one.record.dataset, one.record.split), []).append(one)
    return list(groups.items())


def _summary(dataset: str, split: str, group: Sequence[Made]) -> dict[str, object]:
    from scipy.stats import pearsonr, spearmanr

    mos = np.array([one.record.mos for one in group])
    quality = np.array([one.quality for one in group])
    enough = len(group) > 2
    return {
        "set": dataset,
        "stands_for": mixtures.mixture_named(dataset).stands_for,
        "split": split,
        "n": len(group),
        "n_references": len({one.record.reference for one in group}),
        "mos_mean": float(mos.mean()),
        "mos_std": float(mos.std(ddof=1)) if enough else None,
        "rater_std": float(np.mean([one.record.mos_std for one in group])),
        "ceiling_srcc": float(spearmanr(quality, mos).statistic) if enough else None,
        "ceiling_plcc": float(pearsonr(quality, mos).statistic) if enough else None,
    }

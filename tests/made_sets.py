"""Copies of the six public sets with labels of our making, in official layouts and full length.

Unlike the copies of `replicas`, whose writers they use, they need no label tables of others. All
names are links to one tiny picture; `draw` puts real pictures in the places of the rows that a
rehearsal takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import replicas
from PIL import Image

from qponder_lib.data import benchmark, catalog, distortions
from qponder_lib.data.check import examine, load_labels
from qponder_lib.data.prepare import assign, thin

WRITERS: dict[str, Callable[[Path], None]] = {
    "koniq": replicas.koniq,
    "spaq": replicas.spaq,
    "livew": replicas.livew,
    "kadid": replicas.kadid,
    "csiq": replicas.csiq,
    "agiqa": replicas.agiqa,
}
SPLITS = {"koniq": "koniq-7k-2k", "kadid": "kadid-reference-65-16"}
SIZES = ((160, 120), (120, 160), (128, 128), (192, 108), (96, 150))
CSIQ_KINDS = ("AWGN", "BLUR", "fnoise", "JPEG", "jpeg2000")


def write(name: str, root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write a set in its official layout."""
    patch.setattr(replicas, "scores_by_path", made_scores)
    patch.setattr(replicas, "agiqa_scores", made_agiqa)
    root.mkdir(parents=True)
    WRITERS[name](root)


def spread(n: int, low: float, high: float) -> list[float]:
    """As many labels, all over the scale, in no order."""
    return np.random.default_rng(n).permutation(np.linspace(low, high, n)).tolist()


def made_scores(table: str) -> list[tuple[str, float, str]]:
    """Path, label and reference as in the label tables."""
    return {
        "KonIQ-10k.txt": _koniq,
        "SPAQ.txt": _spaq,
        "LIVE_Challenge.txt": _livew,
        "KADID-10k.txt": _kadid,
        "CSIQ.txt": _csiq,
    }[table]()


def made_agiqa() -> list[list[str]]:
    labels = spread(2982, 0.0, 100.0)
    return [[f"made_{n:04}.jpg", str(label), "0.4"] for n, label in enumerate(labels)]


def _koniq() -> list[tuple[str, float, str]]:
    left_out = [*replicas.LEFT_OUT_OF_TRAIN, *replicas.LEFT_OUT_OF_TEST]
    names = [*left_out, *(str(10**9 + n) for n in range(10073 - len(left_out)))]
    labels = spread(10073, 1.09615384615385, 4.31)
    return [(f"1024x768/{n}.jpg", label, "") for n, label in zip(names, labels, strict=True)]


def _spaq() -> list[tuple[str, float, str]]:
    labels = spread(11125, 2.0, 96.0)
    # Names below 99,999 that no published label is known of.
    return [(f"Dataset/TestImage/{n + 20000}.jpg", one, "") for n, one in enumerate(labels)]


def _livew() -> list[tuple[str, float, str]]:
    return [(f"Images/m{n}.bmp", one, "") for n, one in enumerate(spread(1161, 3.42, 92.432))]


def _kadid() -> list[tuple[str, float, str]]:
    rows = []
    for reference in range(1, 82):
        for kind in range(1, 26):
            for level in range(1, 6):
                label = 4.93 - (level - 1) * 0.9 - (reference % 9) * 0.02
                name = f"images/I{reference:02}_{kind:02}_{level:02}.png"
                rows.append((name, label, f"I{reference:02}.png"))
    anchored = catalog.spec_named("kadid").labels[0].anchors
    return [(path, anchored.get(Path(path).name, one), ref) for path, one, ref in rows]


def _csiq() -> list[tuple[str, float, str]]:
    rows = []
    for original in range(30):
        kinds = [(kind, level) for kind in CSIQ_KINDS for level in range(1, 6)]
        kinds += [("contrast", level) for level in range(1, 5) if level < 4 or original < 26]
        for kind, level in kinds:
            label = (level - 1) * 0.22 + original * 0.004
            rows.append((f"dst/made{original:02}.{kind}.{level}.png", label, ""))
    return rows


def draw(name: str, root: Path, at_most: int) -> int:
    """Put pictures, the worse the label the more damaged, where a rehearsal will look."""
    spec = catalog.spec_named(name)
    labels = examine(load_labels(spec, root), decode=False)
    parts = thin(assign(labels.rows, spec.splits[SPLITS.get(name, "whole")]), at_most, seed=0)
    ends = labels.range
    rows = [row for part in parts.values() for _, row in part.iterrows()]
    for number, row in enumerate(rows):
        share = (row["label"] - ends[0]) / (ends[1] - ends[0])
        better = labels.label.scale.higher_is_better
        _replace(root / row["path"], share if better else 1.0 - share, number)
    return len(rows)


def _replace(place: Path, quality: float, number: int) -> None:
    rng = np.random.default_rng([number, len(str(place.name)), sum(place.name.encode())])
    mixture = benchmark.mixture_named("mini-koniq")
    scene, _ = benchmark.draw_scene(mixture, "test", 192, rng)
    width, height = SIZES[number % len(SIZES)]
    pixels = scene[:height, :width]
    level = 5 - int(quality * 5.999)
    if level:
        kind = str(rng.choice(sorted(distortions.TRAINED)))
        pixels = distortions.apply(pixels, kind, level, rng)
    kind = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}[place.suffix.lower()]
    place.unlink()
    Image.fromarray(pixels).save(place, kind)


def at_once(names: Iterable[str], folder: Path, patch: pytest.MonkeyPatch, at_most: int) -> None:
    """Write and draw several sets, each in a folder of its name."""
    for name in names:
        write(name, folder / name, patch)
        print(name, draw(name, folder / name, at_most), "pictures", file=sys.stderr)

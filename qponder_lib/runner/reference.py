"""Publish the small part of a run that others compare theirs with, and compare.

A number with an interval has moved if it lies outside the interval that the reference has for it.
A number without one has moved if it differs by more than a declared tolerance. A number that is
there on one side only is missing or new, never moved.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from qponder_lib import artifacts, paths
from qponder_lib.paths import RunPaths
from qponder_lib.runner.notebooks import relink

KEPT = (
    "manifest.json",
    "profile.yaml",
    "executed/*.ipynb",
    "tables/*",
    "figures/*",
    "eval/scores.csv",
    "eval/differences.csv",
    "eval/judged.csv",
    "cases/cases.jsonl",
    "cases/images/*",
    "sft/*/history.csv",
    "grpo/*/history.csv",
    "grpo/*/completions.jsonl",
    "video/*/history.csv",
    "video/*/words.csv",
    "video/*/completions.jsonl",
    "eval/video_*.csv",
)
LARGEST_DRAWING = 500_000
"""Bytes; a larger PDF stays behind, its PNG and its numbers are kept."""
LARGEST_PNG = 120_000
"""Bytes; a larger PNG is kept with 256 colours, in executed notebooks too."""


# ---- publish


def keep_reference(run: RunPaths, reference: Path) -> list[Path]:
    """Replace a reference folder by the kept files of a finished run.

    Args:
        run: A run folder with a manifest.
        reference: Folder to replace, such as `papermill_runs/reference/mini`.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: If the run has no manifest: it has not finished.
    """
    if not run.manifest.is_file():
        raise FileNotFoundError(f"{run.root} has no manifest.json; let the run finish first")
    shutil.rmtree(reference, ignore_errors=True)
    written = []
    for source in sorted(file for pattern in KEPT for file in run.root.glob(pattern)):
        if source.suffix == ".pdf" and source.stat().st_size > LARGEST_DRAWING:
            continue
        target = reference / source.relative_to(run.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if source.suffix == ".png":
            target.write_bytes(smaller_png(source.read_bytes()))
        elif source.suffix == ".ipynb":
            _shrink_outputs(target)
            relink(target, paths.repository_root())
        written.append(target)
    if (run.report / "index.html").is_file():
        from qponder_lib.report.page import write_report  # pandas, which a run does not need

        written.append(write_report(RunPaths(reference)))  # its links are to what was kept
    return written


def smaller_png(png: bytes) -> bytes:
    """Return a PNG with 256 colours if it is over `LARGEST_PNG` and that makes it smaller."""
    from PIL import Image

    if len(png) <= LARGEST_PNG:
        return png
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    return min(png, buffer.getvalue(), key=len)


def _shrink_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                small = smaller_png(base64.b64decode(data["image/png"]))
                data["image/png"] = base64.b64encode(small).decode("ascii")
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# ---- compare

State = Literal["moved", "missing", "new", "within"]
_SHARE = {"value": 0.02}
COMPARED: tuple[tuple[str, tuple[str, ...], Mapping[str, float]], ...] = (
    ("eval/scores.csv", ("model", "dataset", "decoding", "metric", "protocol"), _SHARE),
    (
        "eval/differences.csv",
        ("model_a", "model_b", "dataset", "decoding", "protocol", "metric"),
        _SHARE,
    ),
    ("eval/judged.csv", ("judge", "model", "dataset", "aspect"), {"value": 0.1}),
    (
        "tables/filter.csv",
        ("selection",),
        {"n": 0.0, "plcc": 0.01, "srcc": 0.01, "mae": 0.5},
    ),
    ("tables/breakdown.csv", ("model", "dataset", "kind", "group", "metric"), _SHARE),
    ("tables/statements.csv", ("model", "dataset"), _SHARE),
    (
        "tables/benchmark.csv",
        ("set", "split"),
        {"n": 0.0, "mos_mean": 1e-6, "ceiling_srcc": 1e-6, "ceiling_plcc": 1e-6},
    ),
)
"""File, columns that name a row, and columns compared, each with how far it may move where there
is no interval: 0.02 of a correlation or share, 0.1 of a rating, 0.5 MOS units of an error, nothing
for counts and images. The interval of `value` is `ci_low` to `ci_high`, of others `<name>_low` to
`<name>_high`."""
TOLERANCE_BY_METRIC = {"mae": 0.5, "rmse": 0.5}
"""MOS units, for a row of these metrics that has no interval."""


@dataclass(frozen=True)
class Compared:
    """One number on both sides.

    Attributes:
        file: Where it stands.
        name: What names its row, joined by commas, and its column if that is not `value`.
        state: moved, missing (in the run), new (not in the reference) or within tolerance.
        run: The number of the run; None if it has none.
        reference: The number of the reference; None if it has none.
        low: Least that counts as not moved; None where there is nothing to hold it against.
        high: Most that counts as not moved.
        why: One sentence.
    """

    file: str
    name: str
    state: State
    run: float | None
    reference: float | None
    low: float | None
    high: float | None
    why: str


class _Number(NamedTuple):
    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    tolerance: float

    def __str__(self) -> str:
        return f"none ({self.reason})" if self.value is None else f"{self.value:.4g}"


def compare(run: RunPaths, reference: RunPaths) -> list[Compared]:
    """Hold every compared number of a run against a reference.

    Args:
        run: A run folder.
        reference: A run folder, or the small files kept of one.

    Returns:
        One row per number that is there on at least one side, in the order of the reference.

    Raises:
        FileNotFoundError: If a folder is not there, or has none of the files compared.
        ArtifactError: If a file is damaged.
        ValueError: If a row is there twice or a number cannot be read.
    """
    files = [file for file, _, _ in COMPARED]
    for folder in (run, reference):
        if not any((folder.root / file).is_file() for file in files):
            raise FileNotFoundError(f"{folder.root} has none of {', '.join(files)}")
    rows = []
    for file, keys, tolerances in COMPARED:
        new, old = (dict(_numbers(one.root / file, keys, tolerances)) for one in (run, reference))
        for name in dict.fromkeys([*old, *new]):
            rows.append(_compared(file, name, new.get(name), old.get(name)))
    return rows


def _numbers(
    file: Path, keys: Sequence[str], tolerances: Mapping[str, float]
) -> Iterator[tuple[str, _Number]]:
    seen = set()
    for line, row in enumerate(artifacts.read_csv(file) if file.is_file() else [], start=2):
        if not set(keys) <= set(row):
            raise ValueError(f"{file}: expected the columns {sorted(set(keys) - set(row))}")
        key = ", ".join(str(row[name]) for name in keys)
        if key in seen:
            raise ValueError(f"{file}, line {line}: a second row for {key}")
        seen.add(key)
        for column, tolerance in tolerances.items():
            stem = "ci" if column == "value" else column
            values = [_read(row, one) for one in (column, f"{stem}_low", f"{stem}_high")]
            tolerance = TOLERANCE_BY_METRIC.get(str(row.get("metric")), tolerance)
            name = key if column == "value" else f"{key}, {column}"
            yield name, _Number(*values, reason=row.get("reason"), tolerance=tolerance)


def _read(row: Mapping[str, str | None], column: str) -> float | None:
    text = row.get(column)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise ValueError(f"expected a number in column {column!r}, got {text!r}") from error


def _compared(file: str, name: str, new: _Number | None, old: _Number | None) -> Compared:
    if new is None or old is None:
        state, side = ("missing", "run") if new is None else ("new", "reference")
        numbers = (new and new.value, old and old.value)
        return Compared(file, name, state, *numbers, None, None, f"the {side} has no such row")
    if new.value is None or old.value is None:
        if new.value == old.value and new.reason == old.reason:
            return Compared(file, name, "within", None, None, None, None, "no value on either side")
        why = f"run: {new}; reference: {old}"
        return Compared(file, name, "moved", new.value, old.value, None, None, why)
    if old.low is not None and old.high is not None:
        low, high, what = old.low, old.high, "the reference's interval"
    else:
        low, high = old.value - old.tolerance, old.value + old.tolerance
        what = f"the tolerance of {old.tolerance:g}"
    slack = 1e-9 * max(1.0, abs(old.value))  # a CSV may round the last digit
    inside = low - slack <= new.value <= high + slack
    state, where = ("within", "inside") if inside else ("moved", "outside")
    return Compared(file, name, state, new.value, old.value, low, high, f"{where} {what}")

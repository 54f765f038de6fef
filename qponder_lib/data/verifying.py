"""Holds prepared rows of a run against the files they name, before anything is made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qponder_lib.artifacts import read_jsonl, write_csv
from qponder_lib.data.catalog import SPECS
from qponder_lib.data.findings import DatasetError, Finding
from qponder_lib.data.images import Scanned, scan_images
from qponder_lib.data.leaks import shared_in_rows
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Split

COLUMNS = (
    "set",
    "stands_for",
    "split",
    "n",
    "n_references",
    "mos_mean",
    "mos_std",
    "rater_std",
    "ceiling_srcc",
    "ceiling_plcc",
)
"""Of ``tables/benchmark.csv``. The ceilings are empty: nobody knows the true quality."""

Placed = tuple[str, ImageRecord]


def verify_prepared(
    paths: RunPaths, train_set: str, test_sets: Sequence[str], *, progress: bool = True
) -> tuple[dict[str, object], ...]:
    """Check the rows that a run needs and describe them in ``tables/benchmark.csv``.

    Args:
        paths: The run folder.
        train_set: Its training and validation rows are needed.
        test_sets: Their test rows are needed.
        progress: Show a bar.

    Returns:
        The rows of the table: one per set and part.

    Raises:
        FileNotFoundError: If a part was not prepared; the message names the command.
        DatasetError: If a row does not fit its place, an id is there twice, a file is missing,
            changed or unreadable, or test rows share an image or a reference with training rows.
    """
    needed: list[tuple[str, Split]] = [(train_set, "train"), (train_set, "validation")]
    needed += [(name, "test") for name in test_sets]
    parts: dict[str, list[Placed]] = {"train": [], "validation": [], "test": []}
    table = []
    for name, part in needed:
        rows = _rows(paths, name, part)
        file = paths.relative(paths.split(name, part))
        parts[part] += [(file, row) for row in rows]
        table.append(_summary(name, part, rows))
    every = [row.image for rows in parts.values() for _, row in rows]
    scanned = scan_images(paths.data, every, confined=False, progress=progress)
    found = [*_row_findings(parts, scanned), *shared_in_rows(parts, scanned)]
    if found:
        raise DatasetError(f"the prepared rows in {paths.data} cannot be used:", found)
    write_csv(paths.tables / "benchmark.csv", table, COLUMNS)
    return tuple(table)


def _rows(paths: RunPaths, name: str, part: Split) -> list[ImageRecord]:
    file = paths.split(name, part)
    if not file.is_file():
        more = " --validation N" if part == "validation" else ""
        raise FileNotFoundError(
            f"{file} is not there: run `qponder data prepare {name} --root DIR --run RUN{more}`"
        )
    rows = read_jsonl(file, ImageRecord)
    if not rows:
        raise DatasetError(f"{file} has no rows", ())
    return rows


def _row_findings(
    parts: Mapping[str, Sequence[Placed]], scanned: Mapping[str, Scanned]
) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for part, rows in parts.items():
        number = {file: 0 for file, _ in rows}
        for file, row in rows:
            number[file] += 1
            where = {"file": file, "row": number[file], "level": "error"}
            if row.split != part or f"data/{row.dataset}/" not in file:
                message = f"{row.image_id} says {row.dataset}, {row.split}"
                yield Finding(kind="inconsistent", message=message, **where)
            if row.mos is None:
                yield Finding(kind="missing_label", message=f"{row.image_id} has no mos", **where)
            if row.image_id in seen:
                message = f"id {row.image_id} is also in {seen[row.image_id]}"
                yield Finding(kind="duplicate_name", message=message, **where)
            seen.setdefault(row.image_id, f"{file}, row {number[file]}")
            if scanned[row.image].sha256 not in (None, row.sha256):
                message = f"{row.image} has changed since its row was written"
                yield Finding(kind="inconsistent", message=message, **where)


def _summary(name: str, part: str, rows: Sequence[ImageRecord]) -> dict[str, object]:
    mos = np.array([row.mos for row in rows if row.mos is not None])
    spreads = [row.mos_std for row in rows if row.mos_std is not None]
    titles = {spec.name: spec.title for spec in SPECS}
    return {
        "set": name,
        "stands_for": titles.get(name, name),
        "split": part,
        "n": len(rows),
        "n_references": len({row.reference for row in rows if row.reference}),
        "mos_mean": float(mos.mean()) if len(mos) else None,
        "mos_std": float(mos.std(ddof=1)) if len(mos) > 2 else None,
        "rater_std": float(np.mean(spreads)) if spreads else None,
        "ceiling_srcc": None,
        "ceiling_plcc": None,
    }

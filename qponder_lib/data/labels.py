"""Loads the labels of a copy, in the layout that lies there, and says what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from qponder_lib.data import metas
from qponder_lib.data.copies import LabelRow
from qponder_lib.data.findings import Finding
from qponder_lib.data.layouts import read_official
from qponder_lib.data.reading import Reader
from qponder_lib.data.specs import DatasetSpec, LabelColumn

Source = Literal["official", "metas"]
_MIN_CORRELATION = 0.1
_ANCHOR_TOLERANCE = 0.002  # of the scale: published copies round labels


@dataclass(frozen=True)
class Labels:
    """The labels of a copy.

    Attributes:
        spec: The set.
        column: The kind of label.
        source: Which layout was read.
        rows: One per entry, extras included, in the order of the files.
        findings: What was found while reading and checking.
    """

    spec: DatasetSpec
    column: LabelColumn
    source: Source
    rows: tuple[LabelRow, ...]
    findings: tuple[Finding, ...]

    @property
    def labelled(self) -> list[LabelRow]:
        """Rows that belong to the set and have a label."""
        return [row for row in self.rows if not row.extra and row.label is not None]

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest label that is there."""
        values = [row.label for row in self.labelled]
        return (min(values), max(values)) if values else None


def load_labels(
    spec: DatasetSpec, root: Path, label: str | None = None, source: Source | None = None
) -> Labels:
    """Read and check the labels of a copy.

    Args:
        spec: The set.
        root: Folder of the copy.
        label: Kind of label; the default one without.
        source: Layout; without, the metas if their folder is there, else the official one.

    Returns:
        Rows and findings; a copy with faults is read as far as it goes.

    Raises:
        ValueError: If the root is no folder or the set has no such label.
    """
    if not root.is_dir():
        raise ValueError(f"expected the folder of {spec.title}, got {root}")
    column = spec.label(label)
    chosen = source or ("official" if metas.base_folder(spec, root) is None else "metas")
    reader = Reader(root)
    read = metas.read_metas if chosen == "metas" else read_official
    rows = read(spec, column, reader)
    _check_names(rows, reader)
    _check_scale(rows, column, reader)
    labels = Labels(spec, column, chosen, tuple(rows), ())
    if labels.labelled:
        if chosen == "official":
            _check_counts(labels, reader)
        _check_anchors(labels, reader)
        _check_direction(labels, reader)
    return Labels(spec, column, chosen, tuple(rows), tuple(reader.findings))


def _check_names(rows: Sequence[LabelRow], reader: Reader) -> None:
    seen: dict[str, LabelRow] = {}
    for row in rows:
        first = seen.setdefault(row.image.lower(), row)
        if first is not row:
            message = f"{row.image} is labelled before, in {first.file}, row {first.row}"
            reader.add("duplicate_name", message, row.file, row.row)


def _check_scale(rows: Sequence[LabelRow], column: LabelColumn, reader: Reader) -> None:
    low, high = column.scale.low, column.scale.high
    for row in rows:
        if row.label is not None and not row.extra and not low <= row.label <= high:
            message = f"label {row.label:g} of {row.image} is outside {low:g} to {high:g}"
            reader.add("off_scale", message, row.file, row.row)
        if row.std is not None and row.std < 0:
            message = f"the spread {row.std:g} of {row.image} is below 0"
            reader.add("off_scale", message, row.file, row.row)


def _check_counts(labels: Labels, reader: Reader) -> None:
    spec, rows = labels.spec, [row for row in labels.rows if not row.extra]
    file = rows[0].file
    if len(rows) != spec.n_images:
        reader.add("count", f"expected {spec.n_images} labelled images, got {len(rows)}", file)
    references = {row.reference for row in rows if row.reference}
    if spec.n_references is not None and len(references) != spec.n_references:
        message = f"expected {spec.n_references} references, got {len(references)}"
        reader.add("count", message, file)
    counted = Counter(row.kind for row in rows)
    for kind, expected in spec.type_counts.items():
        if counted[kind] != expected:
            reader.add("count", f"expected {expected} images of {kind}, got {counted[kind]}", file)
    if spec.name == "koniq" and any(row.split for row in rows):
        unsplit = [row for row in rows if row.split is None]
        if unsplit:
            message = f"{len(unsplit)} images are in no set, first {unsplit[0].image}"
            reader.add("inconsistent", message, file, unsplit[0].row)
    if labels.column.published is not None and labels.range is not None:
        _check_range(labels, file, reader)


def _check_range(labels: Labels, file: str, reader: Reader) -> None:
    for which, found, expected in zip(
        ("smallest", "largest"), labels.range, labels.column.published, strict=True
    ):
        if abs(found - expected) > labels.column.tolerance:
            row = next(row for row in labels.labelled if row.label == found)
            message = f"{which} label is {found:g} ({row.image}), published {expected:g}"
            reader.add("range", message, file, row.row, "warning")


def _check_anchors(labels: Labels, reader: Reader) -> None:
    """Compare the labels of single images with the published ones."""
    scale = labels.column.scale
    by_name = {row.image.lower(): row for row in labels.labelled}
    for anchor in labels.column.anchors:
        row = by_name.get(anchor.image.lower())
        if row is None:
            continue
        if abs(row.label - anchor.label) > _ANCHOR_TOLERANCE * (scale.high - scale.low):
            message = f"{row.image} has {row.label:g}, published {anchor.label:g}"
            reader.add("anchor", message, row.file, row.row)


def _check_direction(labels: Labels, reader: Reader) -> None:
    """Say so where labels run against the declared direction, as far as the data decide it."""
    sign = 1.0 if labels.column.scale.higher_is_better else -1.0
    better = "higher is better" if sign > 0 else "higher is worse"
    for evidence, agreement, row in evidence_of_direction(labels):
        if agreement * (1.0 if evidence == "published labels" else sign) < -_MIN_CORRELATION:
            message = f"declared: {better}; {evidence} say the reverse ({agreement:+.2f})"
            reader.add("wrong_direction", message, row.file, row.row)


def evidence_of_direction(labels: Labels) -> list[tuple[str, float, LabelRow]]:
    """Return what speaks for a direction.

    Returns:
        For each kind of evidence its name, a correlation and an example. It is with the
        published labels for those, and with quality for all others: undamaged originals, counted
        ratings, levels (fewer is better).
    """
    rows, found = labels.labelled, []
    by_name = {row.image.lower(): row for row in rows}
    anchors = [
        (a, by_name[a.image.lower()]) for a in labels.column.anchors if a.image.lower() in by_name
    ]
    if len(anchors) >= 3:
        published = [anchor.label for anchor, _ in anchors]
        value = _correlation(published, [row.label for _, row in anchors])
        found.append(("published labels", value, anchors[0][1]))
    levelled = [row for row in rows if row.level is not None]
    if levelled:
        value = _correlation([-row.level for row in levelled], [row.label for row in levelled])
        found.append(("levels of distortion", value, levelled[0]))
    rated = [row for row in rows if row.rating is not None]
    if rated:
        value = _correlation([row.rating for row in rated], [row.label for row in rated])
        found.append(("counts of ratings", value, rated[0]))
    originals = [
        row for row in labels.rows if row.extra and row.reference and row.label is not None
    ]
    if originals:
        mixed = [*originals, *rows]
        value = _correlation([float(row.extra) for row in mixed], [row.label for row in mixed])
        found.append(("copies of undamaged originals", value, originals[0]))
    return found


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's correlation, or 0 where one side is constant."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])

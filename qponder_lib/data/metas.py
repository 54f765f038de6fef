"""The JSON metas of Data-DeQA-Score: the split of KonIQ and others that most MLLM papers use."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from qponder_lib.data.copies import LabelRow
from qponder_lib.data.names import parse_name
from qponder_lib.data.reading import Reader
from qponder_lib.data.specs import DatasetSpec, LabelColumn
from qponder_lib.scales import linear_rescale

FIVE_POINT = (1.0, 5.0)
_NORM_TOLERANCE = 4.5e-3  # some metas hold labels to few digits


def five_point(label: float, published: tuple[float, float], *, higher_is_better: bool) -> float:
    """Map a published label to 1 to 5 by the smallest and largest label of the whole set.

    Args:
        label: As published.
        published: Smallest and largest label of the whole set.
        higher_is_better: Direction of the label.

    Returns:
        4 (label - min) / (max - min) + 1, and 6 minus that for labels whose direction is down.

    Source:
        Data-DeQA-Score, field gt_score_norm.

    Example:
        >>> round(five_point(0.061989, (0.0, 1.0), higher_is_better=False), 5)
        4.75204
    """
    value = linear_rescale(label, published, FIVE_POINT)
    return value if higher_is_better else sum(FIVE_POINT) - value


def base_folder(spec: DatasetSpec, root: Path) -> str | None:
    """Return where below the root a set's metas lie, "" for the root itself, or None."""
    if spec.metas is None:
        return None
    for base in (spec.metas.folder, ""):
        if any((root / base / "metas" / meta.file).is_file() for meta in spec.metas.files):
            return base
    return None


def read_metas(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read the metas of a set; a row's number is its place in the list, from 1."""
    base = base_folder(spec, reader.root)
    rows: list[LabelRow] = []
    if spec.metas is None or base is None:
        return rows
    for meta in spec.metas.files:
        file = (PurePosixPath(base) / "metas" / meta.file).as_posix()
        listed = _listed(file, reader)
        if listed is not None and len(listed) != meta.n:
            reader.add("count", f"expected {meta.n} rows, got {len(listed)}", file)
        for number, one in enumerate(listed or (), start=1):
            row = _row(one, meta.split, (spec, label), reader, (file, number))
            rows += [] if row is None else [row]
    return rows


def _listed(file: str, reader: Reader) -> list[Any] | None:
    lines = reader.text_lines(file)
    if not lines:
        return None
    try:
        listed = json.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:
        reader.add("unreadable_table", f"not JSON: {error}", file)
        return None
    if not isinstance(listed, list):
        reader.add("layout", f"expected a list of rows, got {type(listed).__name__}", file)
        return None
    return listed


def _row(
    one: Any,
    split: str,
    kind: tuple[DatasetSpec, LabelColumn],
    reader: Reader,
    where: tuple[str, int],
) -> LabelRow | None:
    spec, label = kind
    if not isinstance(one, dict) or not isinstance(one.get("image"), str):
        reader.add("layout", "expected an object with image and gt_score", *where)
        return None
    score = reader.number(one.get("gt_score"), *where, "gt_score")
    if score is not None and not label.scale.higher_is_better:
        score = -score  # the metas state the negative of a DMOS
    norm = reader.number(one.get("gt_score_norm"), *where, "gt_score_norm")
    if norm is not None and not FIVE_POINT[0] <= norm <= FIVE_POINT[1]:
        reader.add("off_scale", f"gt_score_norm {norm} is outside 1 to 5", *where)
    elif None not in (score, norm, label.published):
        _compare(score, norm, label, reader, where)
    std, image = one.get("std"), PurePosixPath(one["image"])
    named = parse_name(spec, image.name)
    return LabelRow(
        image=image.name,
        places=(image.parent.as_posix(), "images"),
        label=score,
        std=None if std is None else reader.number(std, *where, "std"),
        file=where[0],
        row=where[1],
        reference=named.reference if named else None,
        kind=named.kind if named else None,
        level=named.level if named else None,
        split=split,
        five_point=norm,
    )


def _compare(
    score: float, norm: float, label: LabelColumn, reader: Reader, where: tuple[str, int]
) -> None:
    """Hold gt_score_norm against gt_score and the range of the whole set."""
    low, high = label.published
    slack = 1e-3 * (high - low)  # some metas hold labels to five digits
    inside = min(max(score, low), high)
    if abs(inside - score) > slack:
        reader.add("off_scale", f"gt_score {score} is outside {low} to {high}", *where)
        return
    expected = five_point(inside, label.published, higher_is_better=label.scale.higher_is_better)
    if abs(expected - norm) > _NORM_TOLERANCE:
        message = f"gt_score_norm {norm}; {expected:.5f} follows from gt_score {score}"
        reader.add("inconsistent", message, *where)

"""Which column is the id, which the score, which the label: declared, or the only one it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qponder_lib.evaluation.external.tables import NUMBER, SubmissionError, Table

Role = Literal["id", "score", "mos", "reference"]
NAMES: dict[Role, tuple[str, ...]] = {
    "id": (
        "id",
        "image_id",
        "image",
        "image_name",
        "image_path",
        "img",
        "img_name",
        "img_path",
        "dis_img_path",
        "dist",
        "filename",
        "file_name",
        "name",
    ),
    "score": (
        "score",
        "pred",
        "prediction",
        "predicted",
        "pred_score",
        "predicted_score",
        "pred_mos",
        "predicted_mos",
    ),
    "mos": ("mos", "gt_score", "gt", "gt_mos", "ground_truth", "label", "dmos"),
    "reference": ("reference", "ref", "ref_img", "ref_img_path", "ref_name"),
}
"""Names that are taken for a column's role where none is declared, whatever their case."""
METAS = {"image", "gt_score"}
"""Columns of the JSON metas; `id` there is a label beside the image's path."""
LOGITS = {"img_path", "gt_score", "logit_good", "logit_poor"}
"""Columns of Q-Bench's output files."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Declared columns; None: found by name."""

    id: str | None = None
    score: str | None = None
    mos: str | None = None


def id_column(table: Table, declared: str | None) -> str:
    """Return the column that names the image."""
    if declared is None and set(table.columns) >= METAS:
        return "image"
    return _required(table, "id", declared or _only_column(table, number=False))


def score_column(table: Table, declared: str | None) -> str:
    """Return the column that holds the prediction."""
    return _required(table, "score", declared or _only_column(table, number=True))


def label_column(table: Table, declared: str | None) -> str:
    """Return the column of a label file that holds the label, which may be called score there."""
    declared = declared or _only_column(table, number=True)
    if declared is None and not _named(table, "mos"):
        return _required(table, "score", None, "--mos")
    return _required(table, "mos", declared)


def optional_column(table: Table, role: Role, declared: str | None = None) -> str | None:
    """Return a column that a file may lack."""
    if declared is None and not _named(table, role):
        return None
    return _required(table, role, declared)


def _only_column(table: Table, *, number: bool) -> str | None:
    """Return the one column of a table without header that starts with a number, or does not."""
    if table.shape != "table without header":
        return None
    first = table.rows[0].cells
    found = [name for name in table.columns if bool(NUMBER.fullmatch(first[name])) == number]
    return found[0] if len(found) == 1 else None


def _named(table: Table, role: Role) -> list[str]:
    return [name for name in table.columns if name.lower() in NAMES[role]]


def _required(table: Table, role: Role, declared: str | None, option: str | None = None) -> str:
    option = option or f"--{role}"
    if declared is not None:
        if declared not in table.columns:
            raise SubmissionError(
                f"{table.path}: no column {declared!r}; there are {list(table.columns)}"
            )
        return declared
    found = _named(table, role)
    if len(found) == 1:
        return found[0]
    came = f"several can be it: {found}" if found else f"none of {list(table.columns)} is known"
    raise SubmissionError(f"{table.path}: which column is the {role}? {came}; say {option} COLUMN")

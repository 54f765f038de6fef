"""Make a `Submission` of a file of predictions, and `Labels` of a file of human scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qponder_lib.artifacts import ArtifactError, read_jsonl
from qponder_lib.evaluation.external.columns import (
    LOGITS,
    METAS,
    Columns,
    id_column,
    label_column,
    optional_column,
    score_column,
)
from qponder_lib.evaluation.external.tables import NUMBER, Row, SubmissionError, Table, read_table
from qponder_lib.records import PredictionRecord

OWN = {"image_id", "parse_status", "score", "sample", "mos"}
_EMPTY = {"", "nan", "na", "none", "null"}
_EXAMPLES = 5


@dataclass(frozen=True)
class Labels:
    """Human scores by image id.

    Attributes:
        path: Where they came from.
        mos: Score by image id, as published: neither rescaled nor turned round.
        references: Photograph each image was made of, by image id; empty where not stated.
        states: How many rows are ok, and how many not and why.
        examples: The first rows that are not ok, in words.
        column: Name of the column.
    """

    path: Path
    mos: Mapping[str, float]
    references: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    column: str = "mos"


@dataclass(frozen=True)
class Submission:
    """Predictions of one model for one set of images.

    Attributes:
        path: Where they came from.
        layout: How the file is laid out, in words.
        samples: Score by image id, once per sample of each image; None where there is none.
        labels: Human scores that the file itself holds, or None.
        states: How many predictions are ok, and how many not and why.
        examples: The first predictions that are not ok, in words.
        softmax: For logits, the softmax share of *good*, which has the same ranks as `samples`.
    """

    path: Path
    layout: str
    samples: tuple[Mapping[str, float | None], ...]
    labels: Labels | None
    states: Mapping[str, int]
    examples: tuple[str, ...] = ()
    softmax: Mapping[str, float | None] | None = None


def read_submission(path: Path, columns: Columns | None = None) -> Submission:
    """Read a file of predictions.

    Args:
        path: Our own prediction rows; Q-Bench's output (logits of *good* and *poor*); or any JSON
            or text table with an id and a score, such as rows of the JSON metas with one added.
        columns: Declared columns; None finds them by name.

    Returns:
        The predictions. A score that is missing, not a number or not finite is None and counted.

    Raises:
        SubmissionError: If the file cannot be read, a column is not clear, or an id is there twice.
    """
    table, declared = read_table(path), columns or Columns()
    if set(table.columns) >= OWN and declared == Columns():
        return _own(table)
    if set(table.columns) >= LOGITS and declared.score is None:
        return _logits(table, declared)
    id_name, score_name = id_column(table, declared.id), score_column(table, declared.score)
    scores, states, examples = _numbers(table, id_name, score_name)
    layout = f"{table.shape}, id from {id_name!r}, score from {score_name!r}"
    labels = _inner_labels(table, id_name, declared.mos)
    return Submission(path, layout, (scores,), labels, states, examples)


def read_labels(path: Path, columns: Columns | None = None) -> Labels:
    """Read a file of human scores; errors and arguments as for `read_submission`.

    Rows whose label is missing, not a number or not finite are left out and counted.
    """
    table, declared = read_table(path), columns or Columns()
    known_id = declared.id if declared.id in table.columns else None
    id_name, mos_name = id_column(table, known_id), label_column(table, declared.mos)
    return _labels(table, id_name, mos_name)


def number_of(value: Any, *, is_text: bool) -> tuple[float | None, str]:
    """Read a number as it stands, or name why it is none.

    Args:
        value: A cell.
        is_text: Whether text is the only form the file has for numbers; in JSON a number between
            quotation marks is not one.

    Returns:
        The number and "ok", or None and "missing", "not_finite", "text_not_number" or
        "not_a_number".

    Example:
        >>> number_of("3.5", is_text=True), number_of("3,5", is_text=True)
        ((3.5, 'ok'), (None, 'not_a_number'))
        >>> number_of("3.5", is_text=False), number_of(float("inf"), is_text=False)
        ((None, 'text_not_number'), (None, 'not_finite'))
    """
    if value is None:
        return None, "missing"
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _EMPTY:
            return None, "missing"
        if text.lower().lstrip("+-") in ("inf", "infinity"):
            return None, "not_finite"
        if not NUMBER.fullmatch(text):
            return None, "not_a_number"
        if not is_text:
            return None, "text_not_number"
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "not_a_number"
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None, "not_finite"
    return (number, "ok") if math.isfinite(number) else (None, "not_finite")


def _own(table: Table) -> Submission:
    try:
        rows = read_jsonl(table.path, PredictionRecord)
    except ArtifactError as error:
        raise SubmissionError(str(error)) from error
    mos: dict[str, float] = {}
    samples: dict[int, dict[str, float | None]] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{table.path}, line {number}: image {row.image_id!r}"
        answers = samples.setdefault(row.sample, {})
        if row.image_id in answers:
            raise SubmissionError(f"{where} is answered twice in sample {row.sample}")
        answers[row.image_id] = row.score
        if row.mos is not None and mos.setdefault(row.image_id, row.mos) != row.mos:
            raise SubmissionError(f"{where} has two mos values")
    ordered = tuple(samples[number] for number in sorted(samples))
    for number, answers in zip(sorted(samples), ordered, strict=True):
        if lacking := sorted(set(ordered[0]) ^ set(answers)):
            raise SubmissionError(
                f"{table.path}: samples {min(samples)} and {number} answer different images, "
                f"such as {lacking[:3]}"
            )
    states = Counter(row.parse_status for row in rows)
    layout = f"prediction rows of this kit, {len(samples)} per image"
    labels = Labels(table.path, mos, states={"ok": len(mos)}) if mos else None
    return Submission(table.path, layout, ordered, labels, dict(states))


def _logits(table: Table, declared: Columns) -> Submission:
    """Read Q-Bench's rows; the score is the difference of the logits, see decision D25."""
    id_name = declared.id or "img_path"
    good, states, examples = _numbers(table, id_name, "logit_good")
    poor, poor_states, poor_examples = _numbers(table, id_name, "logit_poor")
    scores: dict[str, float | None] = {}
    for image_id, high in good.items():
        low = poor[image_id]
        scores[image_id] = None if high is None or low is None else high - low
    softmax = {i: None if d is None else 0.5 * (1 + math.tanh(d / 2)) for i, d in scores.items()}
    if set(poor_states) != {"ok"} or set(states) != {"ok"}:
        n_none = sum(score is None for score in scores.values())
        states = {"ok": len(scores) - n_none, "no_logit": n_none}
    layout = f"Q-Bench output ({table.shape}), score = logit of good - logit of poor"
    labels = _inner_labels(table, id_name, declared.mos)
    found = (examples + poor_examples)[:_EXAMPLES]
    return Submission(table.path, layout, (scores,), labels, states, found, softmax)


def _inner_labels(table: Table, id_name: str, declared: str | None) -> Labels | None:
    name = optional_column(table, "mos", declared)
    return None if name is None else _labels(table, id_name, name)


def _labels(table: Table, id_name: str, mos_name: str) -> Labels:
    # Q-Bench and the JSON metas write some labels between quotation marks.
    known = set(table.columns) >= LOGITS or set(table.columns) >= METAS
    numbers, states, examples = _numbers(table, id_name, mos_name, known and mos_name == "gt_score")
    reference = optional_column(table, "reference")
    references = {}
    if reference is not None:
        references = {_id(table, row, id_name): str(row.cells[reference]) for row in table.rows}
    mos = {image_id: value for image_id, value in numbers.items() if value is not None}
    return Labels(table.path, mos, references, states, examples, mos_name)


def _numbers(
    table: Table, id_name: str, name: str, text_too: bool = False
) -> tuple[dict[str, float | None], dict[str, int], tuple[str, ...]]:
    """Read one column: number by id, count by state, and the first rows that are not ok."""
    numbers: dict[str, float | None] = {}
    rows_of: dict[str, int] = {}
    states: Counter[str] = Counter()
    examples: list[str] = []
    for row in table.rows:
        image_id = _id(table, row, id_name)
        if image_id in rows_of:
            raise SubmissionError(
                f"{table.path}: {image_id!r} is there twice, in rows {rows_of[image_id]} and "
                f"{row.number}; expected one row per image"
            )
        rows_of[image_id] = row.number
        value = row.cells.get(name)
        numbers[image_id], state = number_of(value, is_text=table.is_text or text_too)
        states[state] += 1
        if state != "ok" and len(examples) < _EXAMPLES:
            examples.append(f"row {row.number}, {name}: {str(value)[:40]!r} is {state}")
    return numbers, dict(states), tuple(examples)


def _id(table: Table, row: Row, id_name: str) -> str:
    value = row.cells.get(id_name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise SubmissionError(
            f"{table.path}, row {row.number}: expected an id in {id_name!r}, got {value!r}"
        )
    return str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")

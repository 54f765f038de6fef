"""Make a `Submission` of a file of predictions, and `Labels` of a file of human scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qponder_lib.artifacts import ArtifactError, read_jsonl
from qponder_lib.data.tabular import Table, TableError, read_table
from qponder_lib.records import PredictionRecord

OWN = {"image_id", "parse_status", "score", "sample", "mos"}
LOGITS = {"img_path", "gt_score", "logit_good", "logit_poor"}
"""Columns of Q-Bench's output files."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Columns:
    """Declared columns; None: found by name."""

    id: str | None = None
    score: str | None = None
    mos: str | None = None


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
        TableError: If the file cannot be read, a column is not clear, or an id is there twice.
    """
    table, declared = read_table(path), columns or Columns()
    if set(table.frame.columns) >= OWN and declared == Columns():
        return _own(table)
    if set(table.frame.columns) >= LOGITS and declared.score is None:
        return _logits(table, declared)
    id_name, score_name = table.column("id", declared.id), table.column("score", declared.score)
    scores, states, examples = _numbers(table, id_name, score_name)
    layout = f"{table.layout}, id from {id_name!r}, score from {score_name!r}"
    labels = _inner_labels(table, id_name, declared.mos)
    return Submission(path, layout, (scores,), labels, states, examples)


def read_labels(path: Path, columns: Columns | None = None) -> Labels:
    """Read a file of human scores; errors and arguments as for `read_submission`.

    Rows whose label is missing, not a number or not finite are left out and counted.
    """
    table, declared = read_table(path), columns or Columns()
    known_id = declared.id if declared.id in table.frame.columns else None
    id_name, mos_name = table.column("id", known_id), declared.mos
    if mos_name is None and not table.named("mos"):  # it may be called score there
        mos_name = table.column("score", option="--mos")
    return _labels(table, id_name, table.column("mos", mos_name))


def _own(table: Table) -> Submission:
    try:
        rows = read_jsonl(table.path, PredictionRecord)
    except ArtifactError as error:
        raise TableError(table.path, str(error)) from error
    mos: dict[str, float] = {}
    samples: dict[int, dict[str, float | None]] = {}
    for number, row in enumerate(rows, start=1):
        answers = samples.setdefault(row.sample, {})
        if row.image_id in answers:
            message = f"image {row.image_id!r} is answered twice in sample {row.sample}"
            raise TableError(table.path, message, number)
        answers[row.image_id] = row.score
        if row.mos is not None and mos.setdefault(row.image_id, row.mos) != row.mos:
            raise TableError(table.path, f"image {row.image_id!r} has two mos values", number)
    ordered = tuple(samples[number] for number in sorted(samples))
    for number, answers in zip(sorted(samples), ordered, strict=True):
        if lacking := sorted(set(ordered[0]) ^ set(answers)):
            which = f"samples {min(samples)} and {number} answer different images"
            raise TableError(table.path, f"{which}, such as {lacking[:3]}")
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
    layout = f"Q-Bench output ({table.layout}), score = logit of good - logit of poor"
    labels = _inner_labels(table, id_name, declared.mos)
    found = (examples + poor_examples)[:_EXAMPLES]
    return Submission(table.path, layout, (scores,), labels, states, found, softmax)


def _inner_labels(table: Table, id_name: str, declared: str | None) -> Labels | None:
    name = table.optional("mos", declared)
    return None if name is None else _labels(table, id_name, name)


def _labels(table: Table, id_name: str, mos_name: str) -> Labels:
    # Q-Bench and the JSON metas write some labels between quotation marks.
    numbers, states, examples = _numbers(table, id_name, mos_name, mos_name == "gt_score")
    reference = table.optional("reference")
    references = {}
    if reference is not None:
        cells = table.frame[reference]
        references = {i: str(cell) for i, cell in zip(table.ids(id_name), cells, strict=True)}
    mos = {image_id: value for image_id, value in numbers.items() if value is not None}
    return Labels(table.path, mos, references, states, examples, mos_name)


def _numbers(
    table: Table, id_name: str, name: str, text_too: bool = False
) -> tuple[dict[str, float | None], dict[str, int], tuple[str, ...]]:
    """Read one column: number by id, count by state, and the first rows that are not ok."""
    values, states = table.numbers(name, text_too=text_too)
    numbers = [None if math.isnan(value) else value for value in values.tolist()]
    by_id = dict(zip(table.ids(id_name), numbers, strict=True))
    return by_id, dict(Counter(states.tolist())), table.examples(name, states)

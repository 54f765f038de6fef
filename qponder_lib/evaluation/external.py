"""Predictions that nobody here wrote: read, join with labels by id, measure, compare.

Ids are joined by what they have in common at the end, since every machine has folders of its own;
whatever finds no partner is counted and named. Labels stay as published, neither rescaled nor
turned round.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qponder_lib.data.catalog import named_references
from qponder_lib.data.tabular import InputTable, TableError, read_table, shown
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.joining import arrange, lost_ids, match_ids
from qponder_lib.evaluation.scoring import RAW, Predictions, Wanted
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Difference, Estimate
from qponder_lib.metrics.statistics import FloatArray
from qponder_lib.scales import MOS_MAX, MOS_MIN

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("srcc", "plcc", "krcc", "rmse", "mae")
_SINGLE = tuple((metric, RAW) for metric in METRICS)
_OWN = {"image_id", "parse_status", "score", "sample", "mos"}
_LOGITS = ("logit_good", "logit_poor")
"""Columns of Q-Bench's output files."""
_EXAMPLES = 5

Source = "Path | str | pd.DataFrame"


@dataclass(frozen=True, eq=False)
class Labels:
    """Human scores by image id, as published.

    Attributes:
        path: Where they came from.
        sha256: Hash of what was read.
        column: Name of the column.
        ids: Image ids, shape (n,), of the rows that hold a score.
        mos: Their scores, shape (n,).
        references: Photograph each image was made of, shape (n,), empty where not stated; or None.
        states: How many rows are ok, and how many not and why; such rows are left out.
        examples: The first rows that are not ok, in words.
    """

    path: Path
    sha256: str
    column: str
    ids: tuple[str, ...]
    mos: FloatArray
    references: tuple[str, ...] | None = None
    states: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scores:
    """Predictions of one model for one set of images.

    Attributes:
        path: Where they came from.
        sha256: Hash of what was read.
        layout: How the file is laid out, in words.
        ids: Image ids, shape (n,).
        samples: Scores, shape (k, n), once per sample of each image; NaN where there is none.
        labels: Human scores that the file itself holds, or None.
        states: How many predictions are ok, and how many not and why.
        examples: The first predictions that are not ok, in words.
        logits: Whether scores are differences of two logits; the softmax has the same ranks.
        scale: Ends of the scale where it is known, as that of this kit's rows; None elsewhere.
    """

    path: Path
    sha256: str
    layout: str
    ids: tuple[str, ...]
    samples: FloatArray
    labels: Labels | None
    states: Mapping[str, int]
    examples: tuple[str, ...] = ()
    logits: bool = False
    scale: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Joined:
    """Predictions with their labels.

    Attributes:
        scores: The predictions.
        labels: The labels.
        predictions: Both, for the images that are in both, in the order of the predictions' ids.
        label_ids: The id that each of these images has among the labels.
        by: How many images were joined by what: see `joining.match_ids`.
        without_label: Images that have a prediction only, by the likely reason.
        without_prediction: Images that have a label only, by the likely reason.
        named_as: The public set whose file names say the references, or None.
    """

    scores: Scores
    labels: Labels
    predictions: Predictions
    label_ids: tuple[str, ...]
    by: Mapping[str, int]
    without_label: Mapping[str, tuple[str, ...]]
    without_prediction: Mapping[str, tuple[str, ...]]
    named_as: str | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found: what was joined, and the numbers by metric and protocol."""

    joined: Joined
    numbers: Mapping[Wanted, Estimate]

    def rows(self) -> list[dict[str, object]]:
        """Return one row per number: metric, protocol, and the fields of an `Estimate`."""
        return _rows(self.numbers)

    def table(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        return self.table().to_html(index=False)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        joined: What was joined of the first and of the second.
        only: Images with a label that only the first, and that only the second has.
        first: Numbers of the first, on the images that both predict.
        second: Numbers of the second.
        numbers: First minus second; those of rmse and mae are better below 0.
    """

    joined: tuple[Joined, Joined]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    first: Mapping[Wanted, Estimate]
    second: Mapping[Wanted, Estimate]
    numbers: Mapping[Wanted, Difference]

    def rows(self) -> list[dict[str, object]]:
        """Return one row per difference, with the values of both."""
        return [
            {**row, "first": self.first[key].value, "second": self.second[key].value}
            for row, key in zip(_rows(self.numbers), self.numbers, strict=True)
        ]

    def table(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        return self.table().to_html(index=False)


def evaluate(
    predictions: Source | Scores,
    labels: Source | Labels | None = None,
    *,
    protocols: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure predictions, whoever wrote them, against human scores.

    Args:
        predictions: A file or a data frame of ids and scores; what `read_scores` returns, where
            columns have to be declared.
        labels: A file or a data frame of ids and human scores; None for those among the
            predictions.
        protocols: Also measure after a logistic fit and, for logits, after the softmax. With
            several samples per image there is no fit.
        progress: See `bootstrap.draw`.

    Returns:
        SRCC, PLCC, KRCC, RMSE and MAE with intervals, images of one reference drawn together. RMSE
        and MAE have no value where scores are on another scale than the labels.

    Raises:
        TableError: If a table cannot be used, there are no labels, or not one id is in both.

    Source:
        Decisions D25, D26 and D27.
    """
    joined = join(_scores_of(predictions), _labels_of(labels))
    wanted = list(_SINGLE)
    if protocols and joined.scores.logits:
        wanted.append(("plcc", "softmax"))
    if protocols and len(joined.scores.samples) == 1:
        wanted += [(metric, f"logistic{n}") for n in (4, 5) for metric in ("plcc", "rmse")]
    return Evaluation(joined, scoring.score(joined.predictions, wanted, progress=progress))


def compare(
    first: Source | Scores,
    second: Source | Scores,
    labels: Source | Labels | None = None,
) -> Comparison:
    """Compare the predictions of two models on the images that both predict.

    Args:
        first: Predictions of one model; as for `evaluate`.
        second: Predictions of another.
        labels: Human scores; None for those among the predictions, which must agree.

    Returns:
        First minus second, with paired bootstrap intervals and p values.

    Raises:
        TableError: If a table cannot be used, the two share no image, or state different labels.
    """
    scores, human = [_scores_of(one) for one in (first, second)], _labels_of(labels)
    if human is None:
        _require_same_labels(*scores)
        human = scores[0].labels or scores[1].labels
    sides = (join(scores[0], human), join(scores[1], human))
    places = [{name: k for k, name in enumerate(side.label_ids)} for side in sides]
    shared = [name for name in places[0] if name in places[1]]
    if not shared:
        raise TableError(scores[0].path, f"no image with a label is in {scores[1].path} too")
    pair = [
        side.predictions.select(np.array([place[name] for name in shared]))
        for side, place in zip(sides, places, strict=True)
    ]
    answered = np.flatnonzero(pair[0].answered & pair[1].answered)
    clusters = pair[0].clusters or pair[1].clusters
    both = [replace(one, clusters=clusters).select(answered) for one in pair]
    numbers = [scoring.score(one, _SINGLE) for one in both]
    n_excluded = len(shared) - len(answered)
    return Comparison(
        sides,
        tuple(tuple(sorted(places[k].keys() - places[1 - k].keys())) for k in (0, 1)),
        *numbers,
        {
            key: bootstrap.difference(numbers[0][key], numbers[1][key], n_excluded=n_excluded)
            for key in _SINGLE
        },
    )


def _scores_of(source: Source | Scores) -> Scores:
    return source if isinstance(source, Scores) else read_scores(source)


def _labels_of(source: Source | Labels | None) -> Labels | None:
    return source if isinstance(source, Labels | None) else read_labels(source)


def join(scores: Scores, labels: Labels | None = None) -> Joined:
    """Join predictions with labels by id.

    Args:
        scores: The predictions.
        labels: The labels; None for those among the predictions.

    Raises:
        TableError: If there are no labels, or not one image is in both.
    """
    labels = labels or scores.labels
    if labels is None:
        raise TableError(scores.path, "holds no label column; say --labels FILE or --mos COLUMN")
    pairs, by = match_ids(scores.ids, labels.ids)
    lost = lost_ids(scores.ids, labels.ids, pairs)
    if not pairs:
        names = f"{shown(scores.ids, 3)} against {shown(labels.ids, 3)}"
        why = ", ".join(lost[0])
        raise TableError(scores.path, f"no id is in {labels.path} too ({why}): {names}")
    places = sorted(pairs, key=lambda place: scores.ids[place])
    partners = [pairs[place] for place in places]
    ids = tuple(scores.ids[place] for place in places)
    named_as, references = None, labels.references and [labels.references[k] for k in partners]
    if not references or not all(references):
        named_as, references = named_references(ids)
    predictions = Predictions(
        ids,
        labels.mos[partners],
        scores.samples[:, places],
        tuple(references) or None,
        _same_scale(scores, labels),
    )
    label_ids = tuple(labels.ids[k] for k in partners)
    return Joined(scores, labels, predictions, label_ids, by, *lost, named_as)


def _same_scale(scores: Scores, labels: Labels) -> bool:
    if scores.logits:
        return False
    if scores.scale is None:
        return not on_other_scale(scores.samples, labels.mos)
    low, high = scores.scale
    return bool(low <= labels.mos.min() and high / 10.0 < labels.mos.max() <= high)


def on_other_scale(samples: FloatArray, mos: FloatArray) -> bool:
    """Tell whether scores cannot be on the scale of the labels.

    They are not if more than half of them lie outside the range of the labels; nor if more than
    half lie outside the middle 90 % of the labels and all but a tenth within a span less than 0.15
    times theirs, as scores of 1 to 5 do beside labels of 0 to 100.

    Example:
        >>> on_other_scale(np.array([[2.0, 3.0, 4.0]]), np.arange(101.0))
        True
        >>> on_other_scale(np.array([[52.0, 55.0, 58.0]]), np.arange(101.0))
        False
    """
    stated = samples[~np.isnan(samples)]
    if not stated.size:
        return False
    low, high = np.quantile(mos, [0.05, 0.95])
    beyond = ((stated < mos.min()) | (stated > mos.max())).mean() > 0.5
    aside = ((stated < low) | (stated > high)).mean() > 0.5
    narrow = np.ptp(np.quantile(stated, [0.05, 0.95])) < 0.15 * (high - low)
    return bool(beyond or (aside and narrow))


def _require_same_labels(first: Scores, second: Scores) -> None:
    if first.labels is None or second.labels is None:
        return
    pairs, _ = match_ids(first.labels.ids, second.labels.ids)
    for place, other in pairs.items():
        one, two = first.labels.mos[place], second.labels.mos[other]
        if one != two:
            name = first.labels.ids[place]
            message = f"image {name!r} has the labels {one:g} here and {two:g} in {second.path}"
            raise TableError(first.path, f"{message}; say --labels FILE")


def _rows(numbers: Mapping[Wanted, Estimate | Difference]) -> list[dict[str, object]]:
    return [
        {"metric": metric, "protocol": protocol, **bootstrap.cells(one)}
        for (metric, protocol), one in numbers.items()
    ]


def read_scores(
    source: Source, *, id: str | None = None, score: str | None = None, mos: str | None = None
) -> Scores:
    """Read predictions.

    Args:
        source: Prediction rows of this kit; Q-Bench's output (logits of *good* and *poor*); or
            any table with an id and a score.
        id: Column of the image; None finds it by its name.
        score: Column of the prediction.
        mos: Column of a human score among the predictions.

    Returns:
        The predictions. A score that is missing, not a number or not finite is NaN and counted.

    Raises:
        TableError: If the table cannot be read, a column is not clear, or an id is there twice.
    """
    table = _open(source)
    columns = set(table.frame.columns)
    if columns >= _OWN and id is score is mos is None:
        return _own_rows(table)
    id_name = table.column("id", id)
    ids = tuple(table.ids(id_name))
    logits = columns >= set(_LOGITS) and score is None
    names = _LOGITS if logits else (table.column("score", score),)
    read = [table.numbers(name) for name in names]
    values, states = read[0]
    layout = f"{table.layout}, id from {id_name!r}, score from {names[0]!r}"
    if logits:
        values = values - read[1][0]
        states = np.where(np.isnan(values), "no_logit", "ok")
        layout = f"Q-Bench output ({table.layout}), score = logit of good - logit of poor"
    examples = [line for name, one in zip(names, read) for line in table.examples(name, one[1])]
    named = table.optional("mos", mos)
    labels = None if named is None else _labels(table, ids, named)
    return Scores(
        *(table.path, table.sha256, layout, ids, values[None], labels, _counted(states)),
        examples=tuple(examples[:_EXAMPLES]),
        logits=logits,
    )


def read_labels(source: Source, *, id: str | None = None, mos: str | None = None) -> Labels:
    """Read human scores; errors and arguments as for `read_scores`.

    Rows whose label is missing, not a number or not finite are left out and counted.
    """
    table = _open(source)
    if mos is None and not table.named("mos"):  # it may be called score there
        mos = table.column("score", option="--mos")
    ids = table.ids(table.column("id", id, option="--labels-id"))
    return _labels(table, ids, table.column("mos", mos))


def _open(source: Source) -> InputTable:
    if isinstance(source, str | Path):
        return read_table(Path(source))
    frame = source.reset_index() if any(source.index.names) else source
    frame = frame.astype(object).where(frame.notna(), None).rename(columns=str)
    frame.index = range(1, len(frame) + 1)
    if frame.empty:
        raise TableError("data frame", "no rows")
    return InputTable(Path("data frame"), "data frame", frame)


def _own_rows(table: InputTable) -> Scores:
    """Read prediction rows of this kit: of a run, or as `qponder score --json` prints them."""
    values, states = table.numbers("score")
    frame = table.frame.assign(score=[None if math.isnan(v) else v for v in values.tolist()])
    rows = frame[["image_id", "sample", "score", "mos"]].astype(object).itertuples(index=False)
    try:
        ids, samples, mos = arrange(rows)
    except ValueError as error:
        raise TableError(table.path, str(error)) from error
    parsed = np.where(np.isnan(values), frame["parse_status"].to_numpy(str), states)
    layout = f"prediction rows of this kit, {len(samples)} per image"
    there, labels = np.flatnonzero(~np.isnan(mos)), None
    if len(there):
        known = tuple(ids[k] for k in there)
        origin = (table.path, table.sha256, "mos")
        labels = Labels(*origin, known, mos[there], states={"ok": len(there)})
    return Scores(
        *(table.path, table.sha256, layout, ids, samples, labels, _counted(parsed)),
        scale=(MOS_MIN, MOS_MAX),
    )


def _labels(table: InputTable, ids: Sequence[str], name: str) -> Labels:
    # Q-Bench and the JSON metas write some labels between quotation marks.
    values, states = table.numbers(name, text_too=name == "gt_score")
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        found = ", ".join(f"{n} {state}" for state, n in _counted(states).items())
        raise TableError(table.path, f"not one label in {name!r} is a number: {found}")
    reference = table.optional("reference")
    cells = [] if reference is None else table.frame[reference].tolist()
    return Labels(
        *(table.path, table.sha256, name),
        ids=tuple(ids[k] for k in there),
        mos=values[there],
        references=tuple(str(cells[k] or "") for k in there) if cells else None,
        states=_counted(states),
        examples=table.examples(name, states),
    )


def _counted(states: Iterable[str]) -> dict[str, int]:
    return {str(state): n for state, n in Counter(states).most_common()}

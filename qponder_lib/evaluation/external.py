"""Predictions that nobody here wrote: read, join with labels by id, measure, compare.

Ids are joined by what they have in common at the end, since every machine has folders of its own;
whatever finds no partner is counted and named. Labels stay as published, neither rescaled nor
turned round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qponder_lib.data.catalog import named_references
from qponder_lib.data.tabular import Table, TableError, read_table, shown
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.joining import lost_ids, match_ids
from qponder_lib.evaluation.scoring import RAW, Predictions, Wanted
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Difference, Estimate
from qponder_lib.metrics.statistics import FloatArray
from qponder_lib.scales import MOS_MAX, MOS_MIN

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("srcc", "plcc", "krcc", "rmse", "mae")
_FITTED = tuple((m, f"logistic{n}") for n in (4, 5) for m in ("plcc", "rmse"))
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
        column: Name of the column.
        sha256: Hash of what was read.
        ids: Image ids, shape (n,), of the rows that hold a score.
        mos: Their scores, shape (n,).
        references: Photograph each image was made of, shape (n,), empty where not stated; or None.
        states: How many rows are ok, and how many not and why; such rows are left out.
        examples: The first rows that are not ok, in words.
    """

    path: Path
    column: str
    sha256: str
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
        layout: How the file is laid out, in words.
        sha256: Hash of what was read.
        ids: Image ids, shape (n,).
        samples: Scores, shape (k, n), once per sample of each image; NaN where there is none.
        labels: Human scores that the file itself holds, or None.
        states: How many predictions are ok, and how many not and why.
        examples: The first predictions that are not ok, in words.
        logits: Whether scores are differences of two logits; the softmax has the same ranks.
        scale: Ends of the scale where it is known, as that of this kit's rows; None elsewhere.
    """

    path: Path
    layout: str
    sha256: str
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
        predictions: Scores and labels in the order of the prediction's ids.
        label_ids: The id that each image has among the labels.
        by: How many images were joined by what: the whole id, a path ending, or one in which the
            form of letters (NFC), their case or percent-encoding was ignored.
        n_predictions: Images in the predictions.
        n_labels: Images with a label.
        without_label: Images that have a prediction only, by the likely reason.
        without_prediction: Images that have a label only, by the likely reason.
        label_range: Lowest and highest label of the whole file.
        named_as: The public set whose file names say the references, or None.
        logits: As in `Scores`.
    """

    predictions: Predictions
    label_ids: tuple[str, ...]
    by: Mapping[str, int]
    n_predictions: int
    n_labels: int
    without_label: Mapping[str, tuple[str, ...]]
    without_prediction: Mapping[str, tuple[str, ...]]
    label_range: tuple[float, float]
    named_as: str | None = None
    logits: bool = False


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found: the predictions, the labels, what joined, and the numbers."""

    scores: Scores
    labels: Labels
    joined: Joined
    estimates: Mapping[Wanted, Estimate]

    def table(self) -> pd.DataFrame:
        """Return one row per number: metric, protocol, and the fields of an `Estimate`."""
        return _table(self.estimates)

    def _repr_html_(self) -> str:
        return self.table().to_html(index=False)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        first: Numbers of the first model, on the images that both answer.
        second: Numbers of the second.
        differences: First minus second; those of rmse and mae are better below 0.
        joined: What joined of the first and of the second.
        only: Images with a label that only the first, and that only the second has.
    """

    first: Mapping[Wanted, Estimate]
    second: Mapping[Wanted, Estimate]
    differences: Mapping[Wanted, Difference]
    joined: tuple[Joined, Joined]
    only: tuple[tuple[str, ...], tuple[str, ...]]

    def table(self) -> pd.DataFrame:
        """Return one row per difference, with the values of both."""
        both = {
            key: {"first": self.first[key].value, "second": self.second[key].value}
            for key in self.differences
        }
        return _table(self.differences, both)

    def _repr_html_(self) -> str:
        return self.table().to_html(index=False)


def evaluate(
    predictions: Source | Scores,
    labels: Source | Labels | None = None,
    *,
    protocols: bool = False,
    n_resamples: int | None = None,
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
        n_resamples: None for `bootstrap.N_RESAMPLES`.
        progress: See `bootstrap.draw`.

    Returns:
        SRCC, PLCC, KRCC, RMSE and MAE with intervals, images of one reference drawn together. RMSE
        and MAE have no value where scores are on another scale than the labels.

    Raises:
        TableError: If a table cannot be used, there are no labels, or not one id is in both.

    Source:
        Decisions D25, D26 and D27.
    """
    scores = predictions if isinstance(predictions, Scores) else read_scores(predictions)
    human = labels if isinstance(labels, Labels | None) else read_labels(labels)
    human = human or scores.labels
    joined = join(scores, human)
    wanted = [(metric, RAW) for metric in METRICS]
    if protocols:
        wanted += [("plcc", "softmax")] if joined.logits else []
        wanted += _FITTED if len(scores.samples) == 1 else []
    options = {"n_resamples": n_resamples, "progress": progress}
    estimates = scoring.score(joined.predictions, wanted, **options)
    return Evaluation(scores, human, joined, estimates)


def compare(
    first: Source | Scores,
    second: Source | Scores,
    labels: Source | Labels | None = None,
    *,
    n_resamples: int | None = None,
) -> Comparison:
    """Compare the predictions of two models on the images that both answer.

    Args:
        first: Predictions of one model; as for `evaluate`.
        second: Predictions of another.
        labels: Human scores; None for those among the predictions, which must agree.
        n_resamples: None for `bootstrap.N_RESAMPLES`.

    Returns:
        First minus second, with paired bootstrap intervals and p values.

    Raises:
        TableError: If a table cannot be used, the two share no image, or state different labels.
    """
    both = [one if isinstance(one, Scores) else read_scores(one) for one in (first, second)]
    human = labels if isinstance(labels, Labels | None) else read_labels(labels)
    if human is None and all(one.labels for one in both):
        _require_same_labels(*both)
    human = human or both[0].labels or both[1].labels
    sides = [join(one, human) for one in both]
    places = [{name: k for k, name in enumerate(side.label_ids)} for side in sides]
    shared = [name for name in sides[0].label_ids if name in places[1]]
    if not shared:
        message = f"not one image with a label is also in {both[1].path}"
        raise TableError(both[0].path, message)
    pair = [
        side.predictions.select(np.array([place[name] for name in shared]))
        for side, place in zip(sides, places, strict=True)
    ]
    clusters = pair[0].clusters or pair[1].clusters
    answered = np.flatnonzero(pair[0].answered & pair[1].answered)
    wanted = [(metric, RAW) for metric in METRICS]
    scored = [
        scoring.score(
            replace(one, clusters=clusters).select(answered), wanted, n_resamples=n_resamples
        )
        for one in pair
    ]
    n_excluded = len(shared) - len(answered)
    return Comparison(
        first=scored[0],
        second=scored[1],
        differences={
            key: bootstrap.difference(scored[0][key], scored[1][key], n_excluded=n_excluded)
            for key in wanted
        },
        joined=(sides[0], sides[1]),
        only=tuple(
            tuple(name for name in side.label_ids if name not in other)
            for side, other in zip(sides, reversed(places), strict=True)
        ),
    )


def join(scores: Scores, labels: Labels | None) -> Joined:
    """Join predictions with labels by id.

    Raises:
        TableError: If there are no labels, or not one image is in both.
    """
    if labels is None:
        raise TableError(scores.path, "holds no label column; say --labels FILE or --mos COLUMN")
    pairs, by = match_ids(scores.ids, labels.ids)
    lost = lost_ids(scores.ids, labels.ids, pairs)
    if not pairs:
        names = f"{shown(scores.ids, 3)} against {shown(labels.ids, 3)}"
        why = ", ".join(lost[0])
        raise TableError(scores.path, f"no id is in {labels.path} too ({why}): {names}")
    ordered = sorted(pairs, key=lambda place: scores.ids[place])
    partners = np.array([pairs[place] for place in ordered])
    ids = tuple(scores.ids[place] for place in ordered)
    label_ids = tuple(labels.ids[place] for place in partners)
    references = labels.references and tuple(labels.references[place] for place in partners)
    named_as = None
    if not references or not all(references):
        named_as, references = named_references(ids)
    samples, mos = scores.samples[:, ordered], labels.mos[partners]
    return Joined(
        predictions=Predictions(
            ids=ids,
            mos=mos,
            samples=samples,
            clusters=tuple(references) or None,
            same_scale=_same_scale(scores, labels),
        ),
        label_ids=label_ids,
        by=by,
        n_predictions=len(scores.ids),
        n_labels=len(labels.ids),
        without_label=lost[0],
        without_prediction=lost[1],
        label_range=(float(labels.mos.min()), float(labels.mos.max())),
        named_as=named_as,
        logits=scores.logits,
    )


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
    pairs, _ = match_ids(first.labels.ids, second.labels.ids)
    for place, other in pairs.items():
        stated = first.labels.mos[place], second.labels.mos[other]
        if stated[0] != stated[1]:
            raise TableError(
                first.path,
                f"image {first.labels.ids[place]!r} has the labels {stated[0]:g} here and "
                f"{stated[1]:g} in {second.path}; say --labels FILE",
            )


def _table(
    numbers: Mapping[Wanted, Estimate | Difference], more: Mapping[Wanted, dict] | None = None
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {"metric": key[0], "protocol": key[1]}
            | (more or {}).get(key, {})
            | bootstrap.cells(one)
            for key, one in numbers.items()
        ]
    )


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
    if columns >= _OWN and (id, score, mos) == (None, None, None):
        return _own_rows(table)
    logits = columns >= set(_LOGITS) and score is None
    id_name = table.column("id", id)
    ids = tuple(table.ids(id_name))
    if logits:
        read = [table.numbers(name) for name in _LOGITS]
        values = read[0][0] - read[1][0]
        states = np.where(np.isnan(values), "no_logit", "ok")
        examples = [line for name, (_, s) in zip(_LOGITS, read) for line in table.examples(name, s)]
        layout = f"Q-Bench output ({table.layout}), score = logit of good - logit of poor"
    else:
        name = table.column("score", score)
        values, states = table.numbers(name)
        examples = table.examples(name, states)
        layout = f"{table.layout}, id from {id_name!r}, score from {name!r}"
    labels = None
    if (named := table.optional("mos", mos)) is not None:
        labels = _labels(table, ids, named)
    return Scores(
        path=table.path,
        layout=layout,
        sha256=table.sha256,
        ids=ids,
        samples=values[None],
        labels=labels,
        states=_counted(states),
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


def _open(source: Source) -> Table:
    if isinstance(source, str | Path):
        return read_table(Path(source))
    frame = source.reset_index() if any(source.index.names) else source
    frame = frame.astype(object).where(frame.notna(), None).rename(columns=str)
    frame.index = range(1, len(frame) + 1)
    if frame.empty:
        raise TableError("data frame", "no rows")
    return Table(Path("data frame"), "data frame", frame)


def _own_rows(table: Table) -> Scores:
    """Read prediction rows of this kit: of a run, or as `qponder score --json` prints them."""
    frame = table.frame
    if (twice := frame.duplicated(["image_id", "sample"])).any():
        row = frame[twice].iloc[0]
        message = f"image {row['image_id']!r} is answered twice in sample {row['sample']}"
        raise TableError(table.path, message, int(frame.index[twice][0]))
    values, states = table.numbers("score")
    parsed = np.where(np.isnan(values), frame["parse_status"].to_numpy(str), states)
    by_sample = {
        number: dict(
            zip(rows["image_id"], values[frame.index.get_indexer(rows.index)], strict=True)
        )
        for number, rows in frame.groupby("sample", sort=True)
    }
    numbers = list(by_sample)
    ids = tuple(map(str, by_sample[numbers[0]]))
    for number, answers in by_sample.items():
        if lacking := sorted(set(ids) ^ set(answers)):
            which = f"samples {numbers[0]} and {number} answer different images"
            raise TableError(table.path, f"{which}, such as {shown(lacking, 3)}")
    samples = np.array([[answers[name] for name in ids] for answers in by_sample.values()])
    layout = f"prediction rows of this kit, {len(samples)} per image"
    labels = None
    if frame["mos"].notna().any():
        first = frame.drop_duplicates("image_id")
        if len(frame.drop_duplicates(["image_id", "mos"])) > len(first):
            raise TableError(table.path, "an image has two mos values")
        labels = _labels(replace(table, frame=first), list(first["image_id"]), "mos")
    return Scores(
        path=table.path,
        layout=layout,
        sha256=table.sha256,
        ids=ids,
        samples=samples,
        labels=labels,
        states=_counted(parsed),
        scale=(MOS_MIN, MOS_MAX),
    )


def _labels(table: Table, ids: Sequence[str], name: str) -> Labels:
    # Q-Bench and the JSON metas write some labels between quotation marks.
    values, states = table.numbers(name, text_too=name == "gt_score")
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        found = ", ".join(f"{n} {state}" for state, n in _counted(states).items())
        raise TableError(table.path, f"not one label in {name!r} is a number: {found}")
    reference = table.optional("reference")
    cells = [] if reference is None else table.frame[reference].tolist()
    return Labels(
        path=table.path,
        column=name,
        sha256=table.sha256,
        ids=tuple(ids[k] for k in there),
        mos=values[there],
        references=tuple(str(cells[k] or "") for k in there) if cells else None,
        states=_counted(states),
        examples=table.examples(name, states),
    )


def _counted(states: Iterable[str]) -> dict[str, int]:
    return {str(state): n for state, n in Counter(states).most_common()}

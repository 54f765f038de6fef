"""Scores against human opinion: one scorer and one comparer for whoever wrote the predictions.

A run's own predictions, a stranger's file and clips all become `Predictions`. Every number has its
interval, how many images and photographs stand behind it and how many predictions were unparsed;
nothing is filled in. Images of one reference photograph are drawn together.

Protocols: "raw" is the metric on single predictions (with k samples per image the mean over them),
"mean_of_k" and "median_of_k" that of an image's parsed samples, "softmax" that of the share of
*good* where scores are differences of two logits, "logistic4" and "logistic5" after a fitted curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qponder_lib import artifacts
from qponder_lib.evaluation.joining import arrange
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import NO_INTERVAL, Difference, Estimate, Key, Number, Runs
from qponder_lib.metrics.statistics import (
    METRICS,
    MIN_N,
    STATISTICS,
    DegenerateInputError,
    FloatArray,
    Statistic,
    checked,
    fit_logistic,
    krcc,
    map_logistic,
    mean_statistic,
    on_images,
)
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import Decoding, ImageRecord, PredictionRecord, Split

MEAN = "mean"
"""Name of the set that stands for the mean over all sets."""
RAW = "raw"
MEAN_OF_K = "mean_of_k"
LOGISTIC_FIT_FAILED = "logistic_fit_failed"
OTHER_SCALE = "other_scale"
_ERRORS = ("mae", "rmse")

Wanted = tuple[str, str]
"""A metric and the protocol it is measured by."""
SINGLE: tuple[Wanted, ...] = tuple((metric, RAW) for metric in METRICS)
"""What is measured of single predictions, in the order of the rows."""
SCORED: dict[Decoding, tuple[Wanted, ...]] = {
    "greedy": (*SINGLE, ("plcc", "logistic4"), ("plcc", "logistic5")),
    "sampled": (*SINGLE, *((metric, MEAN_OF_K) for metric in METRICS[:-1])),
}
"""What is measured of a run's models."""
COMPARED: dict[Decoding, tuple[Wanted, ...]] = {"greedy": SINGLE, "sampled": SCORED["sampled"]}
"""What a run's models are compared by."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The scores of one model for the images of one set, beside their MOS.

    Attributes:
        ids: Image ids, shape (n,).
        mos: Mean opinion scores, shape (n,).
        samples: Scores, shape (k, n), once per sample of each image; NaN where a prediction could
            not be read.
        clusters: Reference photograph of each image, shape (n,), or None to draw images singly.
        same_scale: Whether scores are on the scale of the MOS; else there is no MAE or RMSE.
    """

    ids: tuple[str, ...]
    mos: FloatArray
    samples: FloatArray
    clusters: tuple[str, ...] | None = None
    same_scale: bool = True

    @classmethod
    def of_scores(
        cls,
        scores: Sequence[float | None],
        mos: Sequence[float],
        clusters: Sequence[str] | None = None,
    ) -> Self:
        """Take one score per image, in the order of the MOS; None where there is none.

        Raises:
            ValueError: If lengths differ.
        """
        samples = np.array([scores], dtype=np.float64)
        if samples.shape != (1, len(mos)):
            raise ValueError(f"expected one score per mos, got {len(scores)} and {len(mos)}")
        ids = tuple(str(k) for k in range(len(mos)))
        groups = None if clusters is None else tuple(clusters)
        return cls(ids, np.asarray(mos, dtype=np.float64), samples, groups)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[PredictionRecord],
        references: Mapping[str, str] | None = None,
        readout: str = "score",
    ) -> Self:
        """Sort prediction rows by sample and image, the images by id.

        Args:
            rows: Predictions of one model for one set. Images without a MOS are left out.
            references: Photograph by image id, or None.
            readout: The field that is measured: "score" or "expectation".

        Raises:
            ValueError: If no row has a MOS, a sample lacks an image, a prediction is there twice,
                or the MOS of one image differs between rows.
        """
        known = ((row.image_id, row.sample, getattr(row, readout), row.mos) for row in rows)
        ids, samples, mos = arrange(row for row in known if row[3] is not None)
        if not ids:
            raise ValueError("no prediction has a mos")
        clusters = None if references is None else tuple(references[name] for name in ids)
        return cls(ids, mos, samples, clusters)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether at least one prediction was parsed, shape (n,)."""
        return ~np.isnan(self.samples).all(axis=0)

    def select(self, places: NDArray[np.integer]) -> Self:
        """Take the images at some places."""
        chosen = places.tolist()
        return replace(
            self,
            ids=tuple(self.ids[k] for k in chosen),
            mos=self.mos[places],
            samples=self.samples[:, places],
            clusters=self.clusters and tuple(self.clusters[k] for k in chosen),
        )


def score(
    predictions: Predictions,
    wanted: Sequence[Wanted] = SINGLE,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[Wanted, Estimate]:
    """Measure one model on one set, every number on the same resamples.

    Args:
        predictions: Scores with their MOS.
        wanted: Metrics by protocol. The interval of a fitted PLCC leaves out the uncertainty of
            the fit, which is made once, on all images.
        seed: Seed of the resamples.
        progress: See `bootstrap.draw`.

    Returns:
        The estimates. Degenerate data give no value and a reason, never 0. KRCC has no interval: a
        resample of it costs a sort. If a fit fails the PLCC is the raw one and the reason says so.

    Raises:
        ValueError: If a metric or a protocol is unknown.

    Example:
        >>> predictions = Predictions.of_scores([*range(11), None], range(2, 14))
        >>> found = score(predictions, [("mae", "raw")])["mae", "raw"]
        >>> found.value, found.n, found.n_unparsed
        (2.0, 11, 1)
    """
    views = {name: _view(predictions, name) for name in {name for _, name in wanted}}
    statistics: dict[Wanted, Statistic] = {}
    found: dict[Wanted, Estimate] = {}
    for metric, protocol in wanted:
        view, failed = views[protocol]
        counts = _counts(view)
        try:
            if metric == "krcc":
                value = float(np.mean([krcc(x, y) for _, x, y in _parsed(view)]))
                found[metric, protocol] = Estimate(value, None, None, **counts, reason=NO_INTERVAL)
            elif metric in _ERRORS and (failed or not view.same_scale):
                found[metric, protocol] = bootstrap.missing(failed or OTHER_SCALE, **counts)
            else:
                statistics[metric, protocol] = _statistic(view, metric)
        except DegenerateInputError as error:
            found[metric, protocol] = bootstrap.missing(error.reason, **counts)
    ids, clusters = predictions.ids, predictions.clusters
    drawn = bootstrap.estimates(statistics, len(ids), clusters, seed=seed, progress=progress)
    for (metric, protocol), one in drawn.items():
        view, failed = views[protocol]
        found[metric, protocol] = replace(one, **_counts(view), reason=failed or one.reason)
    return {key: found[key] for key in wanted}


def compare(
    first: Predictions | Sequence[Predictions],
    second: Predictions | Sequence[Predictions],
    wanted: Sequence[Wanted] = SINGLE,
    *,
    runs: Runs = "fixed",
    seed: int = 0,
) -> dict[Wanted, Difference]:
    """Compare two models on the same images; every resample draws the same images for both.

    Args:
        first: Scores of one model, or of several training runs of a method.
        second: Scores of the other, for the same images; as many runs, in the order of the seeds
            that both sides share. A model that all runs started from is given once for each.
        wanted: Metrics by protocol.
        runs: Whether intervals hold for these trained models ("fixed") or for the methods
            ("resampled"); see `bootstrap.mean_over_runs`.
        seed: Seed of the resamples.

    Returns:
        First minus second, the mean over runs. Parse rates are compared on all images, all else on
        those for which both models of a run have a parsed prediction; `n` counts the images
        that are compared in at least one run.

    Raises:
        ValueError: If the two were scored on different images or with different MOS, differ in the
            number of runs, or runs are to be resampled and there is only one.
    """
    sides = [[one] if isinstance(one, Predictions) else list(one) for one in (first, second)]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"expected as many runs of both, got {len(sides[0])}, {len(sides[1])}")
    whole = sides[0][0]
    for run in (*sides[0], *sides[1]):
        if run.ids != whole.ids or not np.array_equal(run.mos, whole.mos):
            raise ValueError("the models were scored on different images, or with different MOS")
    pairs = list(zip(*sides, strict=True))
    rates = [key for key in wanted if key[0] == "parse_rate"]
    others = [key for key in wanted if key[0] != "parse_rate"]
    everywhere = [np.full(len(whole.ids), True) for _ in pairs]
    answered = [a.answered & b.answered for a, b in pairs]
    found = _differences(pairs, everywhere, rates, runs, seed)
    found |= _differences(pairs, answered, others, runs, seed)
    return {key: found[key] for key in wanted}


def _differences(
    pairs: Sequence[tuple[Predictions, Predictions]],
    compared: Sequence[NDArray[np.bool_]],
    wanted: Sequence[Wanted],
    runs: Runs,
    seed: int,
) -> dict[Wanted, Difference]:
    """Compare pairs of runs, each on the images that it is to be compared on."""
    places = np.flatnonzero(np.any(compared, axis=0))
    by_run = []
    for pair, there in zip(pairs, compared, strict=True):
        masked = (replace(one, samples=np.where(there, one.samples, np.nan)) for one in pair)
        first, second = (score(one.select(places), wanted, seed=seed) for one in masked)
        by_run.append({key: bootstrap.difference(first[key], second[key]) for key in wanted})
    clusters = pairs[0][0].select(places).clusters
    counts = {
        "n": len(places),
        "n_references": len(places) if clusters is None else len(set(clusters)),
        "n_excluded": len(compared[0]) - len(places),
    }
    return {
        key: replace(bootstrap.mean_over_runs([run[key] for run in by_run], runs), **counts)
        for key in wanted
    }


def with_mean(
    by_set: Mapping[str, Mapping[Key, Number]],
) -> dict[str, Mapping[Key, Number]]:
    """Add to what was measured on each set the plain mean over the sets, as the set `MEAN`.

    Args:
        by_set: Numbers by set, measured with a seed of its own for each set, or all would draw
            the images at the same places.

    Returns:
        What came, with the mean; one set alone has none.
    """
    if len(by_set) < 2:
        return dict(by_set)
    keys = next(iter(by_set.values()))
    mean = {
        key: bootstrap.mean_over_sets({name: numbers[key] for name, numbers in by_set.items()})
        for key in keys
    }
    return {**by_set, MEAN: mean}


def evaluate_run(run: Run) -> list[Path]:
    """Score every model of a run on every set, and compare the models that the papers compare.

    Args:
        run: Its `eval/predictions/` and test images are read; models and sets come from its
            profile.

    Returns:
        The files written: `eval/scores.csv` and `eval/differences.csv`.

    Raises:
        FileNotFoundError: If a model has no predictions for a set.
    """
    every_set, scores, differences = run.profile.predict.sets, [], []
    for decoding in SCORED:
        predictions = _predictions(run, decoding)
        for model, by_set in predictions.items():
            found = {
                name: score(one, SCORED[decoding], seed=place)
                for place, (name, one) in enumerate(by_set.items())
            }
            scores += _rows_with_mean(found, every_set, model=model, decoding=decoding)
        for a, b in compared_models(predictions, run.profile.grpo.start_from):
            pairs = {name: (one, predictions[b][name]) for name, one in predictions[a].items()}
            differences += compare_sets(pairs, every_set, decoding, model_a=a, model_b=b)
    names = ("dataset", "decoding", "metric", "protocol")
    columns = (*names, *bootstrap.ESTIMATE_COLUMNS), (*names, *bootstrap.DIFFERENCE_COLUMNS)
    artifacts.write_csv(run.paths.scores, scores, ("model", *columns[0]))
    artifacts.write_csv(run.paths.differences, differences, ("model_a", "model_b", *columns[1]))
    return [run.paths.scores, run.paths.differences]


def _predictions(run: Run, decoding: Decoding) -> dict[str, dict[str, Predictions]]:
    predict = run.profile.predict
    models, sets = predict.models, predict.sets
    if decoding == "sampled":
        models, sets = predict.sampled_models, predict.sampled_sets
    return {
        model: {name: read_predictions(run.paths, model, name, decoding) for name in sets}
        for model in models
    }


def compare_sets(
    pairs: Mapping[str, Sequence[Predictions | Sequence[Predictions]]],
    every_set: Sequence[str],
    decoding: Decoding,
    runs: Runs = "fixed",
    **names: str,
) -> list[dict[str, object]]:
    """Compare two models on each set, and on average if they predicted every one.

    Args:
        pairs: First and second by set; see `compare`.
        every_set: The sets that the average is over.
        decoding: Which predictions these are.
        runs: See `compare`.
        **names: First cells of every row of the result.
    """
    found = {
        dataset: compare(*pair, COMPARED[decoding], runs=runs, seed=place)
        for place, (dataset, pair) in enumerate(pairs.items())
    }
    return _rows_with_mean(found, every_set, **names, decoding=decoding)


def _rows_with_mean(
    found: Mapping[str, Mapping[Wanted, Number]], every_set: Sequence[str], **names: str
) -> list[dict[str, object]]:
    return rows_of(with_mean(found) if set(found) == set(every_set) else found, **names)


def read_predictions(
    paths: RunPaths,
    model: str,
    dataset: str,
    decoding: Decoding = "greedy",
    split: Split = "test",
    readout: str = "score",
) -> Predictions:
    """Read the predictions of a run's model for a set, with the photographs of its images.

    Raises:
        FileNotFoundError: If the model has no predictions for the set.
    """
    path = paths.predictions(model, dataset, sampled=decoding == "sampled")
    if not path.is_file():
        raise FileNotFoundError(
            f"{model} has no {decoding} predictions for {dataset}: expected {path}; "
            "run notebook 07 first"
        )
    images = artifacts.read_jsonl(paths.split(dataset, split), ImageRecord)
    rows = artifacts.read_jsonl(path, PredictionRecord)
    photographs = {image.image_id: image.photograph for image in images}
    return Predictions.of_rows(rows, photographs, readout)


def compared_models(models: Iterable[str], start_from: str = "long") -> list[tuple[str, str]]:
    """Return the pairs that are compared, of those models that are there.

    Example:
        >>> compared_models(["base", "ci-long", "qponder"])
        [('qponder', 'ci-long'), ('ci-long', 'base')]
    """
    pairs = [
        ("qponder", f"ci-{start_from}"),
        ("qponder", "ci-long"),
        ("qponder", "ci-short"),
        ("ci-long", "ci-short"),
        ("ci-long", "ci-none"),
        ("ci-short", "ci-none"),
        ("ci-long", "base"),
        ("qponder", "teacher"),
        ("qponder", "handcrafted"),
    ]
    there = set(models)
    return [pair for pair in dict.fromkeys(pairs) if there.issuperset(pair)]


def rows_of(
    found: Mapping[str, Mapping[Wanted, Estimate | Difference]], **names: str
) -> list[dict[str, object]]:
    """Return numbers by set, metric and protocol as the rows of a table, led by `names`."""
    return [
        {**names, "dataset": dataset, "metric": metric, "protocol": protocol}
        | bootstrap.cells(number)
        for dataset, numbers in found.items()
        for (metric, protocol), number in numbers.items()
    ]


def _view(predictions: Predictions, protocol: str) -> tuple[Predictions, str | None]:
    """Return the scores of a protocol; the raw ones and a reason if a fit fails."""
    scores = predictions.samples
    if protocol == RAW:
        return predictions, None
    if protocol == MEAN_OF_K:
        there = ~np.isnan(scores)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no sample could be read
            mean = np.where(there, scores, 0.0).sum(axis=0) / there.sum(axis=0)
        return replace(predictions, samples=mean[None]), None
    if protocol == "median_of_k":
        there = predictions.answered
        median = np.nanmedian(np.where(there, scores, 0.0), axis=0)
        return replace(predictions, samples=np.where(there, median, np.nan)[None]), None
    if protocol == "softmax":
        return replace(predictions, samples=0.5 * (1.0 + np.tanh(scores / 2.0))), None
    if protocol not in ("logistic4", "logistic5"):
        raise ValueError(f"unknown protocol {protocol!r}")
    try:
        (_, x, y), *_ = _parsed(predictions)
        curve = fit_logistic(x, y, int(protocol[-1]))
    except DegenerateInputError:
        return predictions, None  # the raw estimate names the reason
    if curve is None:
        return predictions, LOGISTIC_FIT_FAILED
    return replace(predictions, samples=map_logistic(scores, curve), same_scale=True), None


def _parsed(predictions: Predictions) -> list[tuple[NDArray[np.intp], FloatArray, FloatArray]]:
    """Return, per sample, the places of parsed predictions, their scores and their MOS."""
    places = [np.flatnonzero(~np.isnan(sample)) for sample in predictions.samples]
    return [
        (kept, sample[kept], predictions.mos[kept])
        for kept, sample in zip(places, predictions.samples, strict=True)
    ]


def _statistic(predictions: Predictions, metric: str) -> Statistic:
    """Prepare a metric that is computed per sample, on its parsed predictions, and averaged."""
    n = len(predictions.ids)
    if metric == "parse_rate":
        if n < MIN_N:
            raise DegenerateInputError("too_few", f"{n} images, at least {MIN_N} needed")
        return mean_statistic((~np.isnan(predictions.samples)).mean(axis=0))
    if metric not in STATISTICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {METRICS}")
    prepared = []
    for kept, scores, mos in _parsed(predictions):
        one = STATISTICS[metric](*checked(metric, scores, mos))
        prepared.append(one if len(kept) == n else on_images(one, kept))
    return lambda counts: np.mean([one(counts) for one in prepared], axis=0)


def _counts(predictions: Predictions) -> dict[str, int]:
    """Count images with a parsed prediction, their photographs, and predictions without a score."""
    there, clusters = predictions.answered, predictions.clusters
    n = int(there.sum())
    named = clusters and {clusters[k] for k in np.flatnonzero(there).tolist()}
    n_references = n if named is None else len(named)
    n_unparsed = int(np.isnan(predictions.samples).sum())
    return {"n": n, "n_references": n_references, "n_unparsed": n_unparsed}

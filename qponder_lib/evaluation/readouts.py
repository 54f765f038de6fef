"""Other readouts of the same weights, and what a model's samples leave for GRPO to gain.

A greedy score is one mode. The expectation over the distribution at its place, and the mean or the
median of k samples, are other numbers for the same image. And GRPO can only make probable what is
sampled now and then: the best of k samples bounds what it could turn into greedy accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import RAW, Predictions, read_predictions, score, with_mean
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.statistics import FloatArray, mean_statistic
from qponder_lib.pipeline import Run

SAMPLED = ("mean_of_k", "median_of_k")
METRICS = ("srcc", "plcc", "mae")
MEASURES = ("best_of_k", "coverage", "headroom")
_NAMES = ("model", "dataset", "readout", "metric", "score", "greedy")


def evaluate_readouts(run: Run) -> list[Path]:
    """Compare readouts with greedy scores, and measure the headroom of every sampled model.

    Args:
        run: Its `eval/predictions/` and test images are read.

    Returns:
        `tables/readouts.csv` (score: of the readout; greedy: on the same images; value: the first
        minus the second) and `tables/headroom.csv` (a row per model, set, k and measure).
    """
    predict, readouts, headroom = run.profile.predict, [], []
    for model in predict.models:
        greedy = {name: read_predictions(run.paths, model, name) for name in predict.sets}
        sides = {
            name: read_predictions(run.paths, model, name, readout="expectation")
            for name in predict.sets
        }
        if any(one.answered.any() for one in sides.values()):
            names = {"model": model, "readout": "expectation"}
            readouts += [names | row for row in _against(sides, greedy)]
        for name in predict.of(model).sampled_sets:
            samples = read_predictions(run.paths, model, name, "sampled")
            for readout in SAMPLED:
                rows = _against({name: samples}, greedy, readout)
                readouts += [{"model": model, "readout": readout} | row for row in rows]
            headroom += [
                {"model": model, "dataset": name} | row
                for row in measure_headroom(samples, greedy[name])
            ]
    files = [run.paths.tables / "readouts.csv", run.paths.tables / "headroom.csv"]
    artifacts.write_csv(files[0], readouts, (*_NAMES, *bootstrap.DIFFERENCE_COLUMNS))
    columns = ("model", "dataset", "k", "measure", *bootstrap.ESTIMATE_COLUMNS)
    artifacts.write_csv(files[1], headroom, columns)
    return files


def _against(
    readout: Mapping[str, Predictions], greedy: Mapping[str, Predictions], protocol: str = RAW
) -> list[dict[str, object]]:
    """Compare a readout with greedy scores, on the images that have both; with the mean of sets."""
    found = {}
    for seed, (name, one) in enumerate(readout.items()):
        there = one.answered & greedy[name].answered
        found[name] = {
            (side, metric): number
            for side, said, way in (("readout", one, protocol), ("greedy", greedy[name], RAW))
            for (metric, _), number in score(
                replace(said, samples=np.where(there, said.samples, np.nan)),
                [(metric, way) for metric in METRICS],
                seed=seed,
            ).items()
        }
    rows = []
    for name, numbers in with_mean(found).items():
        for metric in METRICS:
            first, second = numbers["readout", metric], numbers["greedy", metric]
            gap = bootstrap.difference(first, second, n_excluded=first.n_unparsed)
            names = {"dataset": name, "metric": metric}
            levels = {"score": first.value, "greedy": second.value}
            rows.append(names | levels | bootstrap.cells(gap))
    return rows


def measure_headroom(samples: Predictions, greedy: Predictions) -> list[dict[str, object]]:
    """Measure best-of-k error, coverage and headroom for k = 1, 2, 4, ... of a model's samples.

    Args:
        samples: Several predictions per image.
        greedy: The greedy ones for the same images.

    Returns:
        Rows with k, measure and an estimate each, on the images with a greedy score and a sampled
        one: mean best-of-k absolute error, share of images whose samples span the MOS, and
        headroom, the greedy error minus the best-of-k one.
    """
    known = np.flatnonzero(samples.answered & greedy.answered)
    samples, greedy = samples.select(known), greedy.select(known)
    n_samples = len(samples.samples)
    rows = []
    for k in (2**power for power in range(n_samples.bit_length())):
        best = best_of_k(np.abs(samples.samples - samples.mos), k)
        gained = np.abs(greedy.samples[0] - greedy.mos) - best
        values = (best, coverage(samples.samples - samples.mos, k), gained)
        statistics = dict(zip(MEASURES, map(mean_statistic, values), strict=True))
        unparsed = int(np.isnan(samples.samples).sum())
        found = (
            bootstrap.estimates(statistics, len(known), samples.clusters, n_unparsed=unparsed)
            if len(known)
            else dict.fromkeys(MEASURES, bootstrap.missing("too_few"))
        )
        rows += [{"k": k, "measure": m} | bootstrap.cells(one) for m, one in found.items()]
    return rows


def best_of_k(errors: FloatArray, k: int) -> FloatArray:
    """Average the smallest of k errors over all choices of k of an image's samples.

    Args:
        errors: Absolute errors, shape (samples, images); NaN where a sample was not parsed.
        k: Samples that are chosen.

    Returns:
        Shape (images,): the exact mean over those choices that hold a parsed sample.

    Example:
        >>> best_of_k(np.array([[1.0], [4.0], [7.0]]), 2).tolist()  # pairs: 1, 1, 4
        [2.0]
    """
    n = len(errors)
    weights = np.array([comb(n - place, k - 1) for place in range(1, n + 1)], dtype=np.float64)
    ordered = np.sort(errors, axis=0)  # NaN last
    weights = np.where(np.isnan(ordered), 0.0, weights[:, None])
    return (weights * np.nan_to_num(ordered)).sum(axis=0) / weights.sum(axis=0)


def coverage(gaps: FloatArray, k: int) -> FloatArray:
    """Return the share of choices of k of an image's samples that span its MOS.

    Args:
        gaps: Score minus MOS, shape (samples, images); NaN where a sample was not parsed.
        k: Samples that are chosen.

    Returns:
        Shape (images,): the exact share of choices with a score at or below the MOS and one at or
        above it.

    Example:
        >>> coverage(np.array([[-1.0], [4.0], [7.0]]), 2).round(3).tolist()  # two of three pairs
        [0.667]
    """
    n, choices = len(gaps), np.array([comb(left, k) for left in range(len(gaps) + 1)])
    below, above = (gaps <= 0.0).sum(axis=0), (gaps >= 0.0).sum(axis=0)
    neither = np.isnan(gaps).sum(axis=0)
    missed = choices[n - below] + choices[n - above] - choices[neither]
    return 1.0 - missed / comb(n, k)

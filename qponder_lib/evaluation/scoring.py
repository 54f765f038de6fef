"""The rows of `eval/scores.csv`: every metric of one model on every set and on their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from qponder_lib import metrics
from qponder_lib.config import EvaluateConfig
from qponder_lib.evaluation.answers import (
    COMPARED,
    MEAN,
    MEAN_OF_K,
    Answers,
    mean_part,
    named_reasons,
    plan_of,
    resampled,
)
from qponder_lib.metrics import resampling
from qponder_lib.metrics.scores import RAW
from qponder_lib.records import Decoding, PredictionRecord, ScoreRow


def model_rows(
    model: str,
    decoding: Decoding,
    predictions: Mapping[str, Sequence[PredictionRecord]],
    settings: EvaluateConfig,
    *,
    with_mean: bool = True,
) -> list[ScoreRow]:
    """Score one model on each set and on the mean over the sets.

    Args:
        model: Name for the rows.
        decoding: How the answers were sampled.
        predictions: Prediction rows by set.
        settings: Resamples, confidence, seed and least n.
        with_mean: Add the mean over the sets (if there are several).

    Returns:
        One row per set, metric and protocol. If one set has no value, neither has the mean, and
        the reason names the set.
    """
    rows: list[ScoreRow] = []
    protocols = {RAW: {name: Answers.of(found) for name, found in predictions.items()}}
    for name, found in predictions.items():
        what = metrics.Evaluated(model, name, decoding)
        rows += metrics.score_rows(found, what, resampling=plan_of(settings), min_n=settings.min_n)
    if decoding == "sampled":
        protocols[MEAN_OF_K] = {name: a.mean_of_samples() for name, a in protocols[RAW].items()}
        for name, answers in protocols[MEAN_OF_K].items():
            rows += _mean_of_k_rows(metrics.Evaluated(model, name, decoding), answers, settings)
    if with_mean and len(predictions) > 1:
        for protocol, metric in dict.fromkeys((row.protocol, row.metric) for row in rows):
            sets = [row for row in rows if (row.protocol, row.metric) == (protocol, metric)]
            rows.append(_mean_row(sets, protocols.get(protocol), settings))
    return rows


def _mean_of_k_rows(
    evaluated: metrics.Evaluated, answers: Answers, settings: EvaluateConfig
) -> list[ScoreRow]:
    """Score the mean of each image's samples; here an image counts as unparsed, not an answer."""
    ids = sorted(answers.mos)
    scores = [answers.samples[0][image_id] for image_id in ids]
    mos = [answers.mos[image_id] for image_id in ids]
    rows = []
    for metric in ("plcc", "srcc", "krcc", "mae", "rmse"):
        result = metrics.estimate(
            metric, scores, mos, resampling=plan_of(settings), min_n=settings.min_n
        )
        names = asdict(evaluated) | {"metric": metric, "protocol": MEAN_OF_K}
        rows.append(ScoreRow(**names, **asdict(result)))
    return rows


def _mean_row(
    sets: Sequence[ScoreRow], answers: Mapping[str, Answers] | None, settings: EvaluateConfig
) -> ScoreRow:
    """Average the rows of one metric; where it can be resampled, with an interval."""
    n, n_unparsed = sum(row.n for row in sets), sum(row.n_unparsed for row in sets)
    common = {"dataset": MEAN, "n": n, "n_unparsed": n_unparsed}
    nothing = {"value": None, "ci_low": None, "ci_high": None}
    missing = {row.dataset: row.reason for row in sets if row.value is None}
    if missing:
        return sets[0].model_copy(
            update=common | nothing | {"reason": named_reasons(missing, len(sets))}
        )
    value = float(np.mean([row.value for row in sets]))
    if answers is None or sets[0].metric not in COMPARED:
        odd = {row.dataset: row.reason for row in sets if row.reason not in (None, "no_interval")}
        reason = "; ".join(filter(None, ["no_interval", named_reasons(odd, len(sets))]))
        return sets[0].model_copy(update=common | nothing | {"value": value, "reason": reason})
    interval = _interval_of_mean(sets[0].metric, answers, settings)
    ends = {"ci_low": interval.low, "ci_high": interval.high, "reason": interval.reason}
    return sets[0].model_copy(update=common | {"value": value} | ends)


def _interval_of_mean(
    metric: str, answers: Mapping[str, Answers], settings: EvaluateConfig
) -> metrics.Interval:
    resampled_parts, kendall_parts = [], []
    for position, found in enumerate(answers.values()):
        ids = sorted(found.mos)
        samples = [[sample[image_id] for image_id in ids] for sample in found.samples]
        mos = [found.mos[image_id] for image_id in ids]
        if metric == "krcc":
            terms = metrics.tau_b_terms(samples, mos, 1.0, settings.min_n)
            kendall_parts.append(metrics.combined_tau_b(terms, len(ids)))
        else:
            statistic = metrics.mean_over_samples(metric, samples, mos, settings.min_n)
            resampled_parts.append(resampled(statistic, len(ids), settings, position))
    if kendall_parts:
        return metrics.mean_of_sets(kendall_parts).within_one(settings.confidence)
    return resampling.percentiles(mean_part(resampled_parts).draws, plan_of(settings))

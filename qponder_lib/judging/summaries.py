"""From single judgements to the tables: means, the filter, agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qponder_lib.judging import agreement
from qponder_lib.metrics import Estimate, Resampling
from qponder_lib.metrics.agreement import FloatArray
from qponder_lib.metrics.resampling import bootstrap_interval, draw, percentiles
from qponder_lib.records import ASPECTS, JudgementRecord

Row = dict[str, str | int | float | None]

JUDGED_COLUMNS = (
    "judge",
    "model",
    "dataset",
    "aspect",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_failed",
    "reason",
)
FILTER_COLUMNS = (
    "judge",
    "selection",
    "aspect",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_failed",
    "reason",
)
AGREEMENT_COLUMNS = (
    "statistic",
    "aspect",
    "judge_a",
    "judge_b",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_failed",
    "reason",
)
NEARNESS_COLUMNS = ("judge", "model", *JUDGED_COLUMNS[4:])
MEAN = "mean"
ALL = "all"


def judged_rows(judgements: Sequence[JudgementRecord], resampling: Resampling) -> list[Row]:
    """Average ratings per judge, model, set and aspect, and over the sets.

    Args:
        judgements: Of any judges, models and sets; repeats after the first are left out.
        resampling: How intervals are made: texts are drawn within each set.

    Returns:
        Rows of `eval/judged.csv`. The set "mean" is the plain mean over the sets; it has no value
        where a set has none.
    """
    groups: dict[tuple[str, str], dict[str, list[JudgementRecord]]] = {}
    for row in _first(judgements):
        groups.setdefault((row.judge, row.model), {}).setdefault(row.dataset, []).append(row)
    table: list[Row] = []
    for (judge, model), by_set in groups.items():
        for aspect in ASPECTS:
            ratings = {name: _ratings(rows, aspect) for name, rows in by_set.items()}
            estimates = {
                name: agreement.mean_rating(these, resampling) for name, these in ratings.items()
            }
            estimates[MEAN] = _mean_over_sets(ratings, estimates, resampling)
            table += [
                {"judge": judge, "model": model, "dataset": name, "aspect": aspect}
                | _cells(estimate)
                for name, estimate in estimates.items()
            ]
    return table


def filter_rows(
    judgements: Sequence[JudgementRecord],
    selections: Mapping[str, Sequence[int]],
    resampling: Resampling,
) -> list[Row]:
    """Compare selections of the distilled texts with all of them.

    Args:
        judgements: One judge's ratings of all distilled texts.
        selections: By name the places in `judgements` of the texts selected; the first is the
            whole, the others are compared with it.
        resampling: How intervals are made; the selection is held fixed.

    Returns:
        Rows of `tables/filter_judged.csv`: each selection's mean, and each difference to the
        whole on the same resamples, named such as "filtered - unfiltered".
    """
    names = list(selections)
    table: list[Row] = []
    for aspect in ASPECTS:
        ratings = _ratings(judgements, aspect)
        for name in names:
            chosen = [ratings[place] for place in selections[name]]
            table.append(
                {"judge": judgements[0].judge, "selection": name, "aspect": aspect}
                | _cells(agreement.mean_rating(chosen, resampling))
            )
        for name in names[1:]:
            estimate = _difference(ratings, selections[name], selections[names[0]], resampling)
            table.append(
                {
                    "judge": judgements[0].judge,
                    "selection": f"{name} - {names[0]}",
                    "aspect": aspect,
                }
                | _cells(estimate)
            )
    return table


def nearness_rows(
    judgements: Sequence[JudgementRecord],
    errors: Mapping[tuple[str, str, str], float],
    resampling: Resampling,
) -> list[Row]:
    """Measure whether answers with nearer scores are judged more accurate.

    Args:
        judgements: One judge's ratings; repeats after the first are left out.
        errors: |score - MOS| by model, set and image, of answers that have both.
        resampling: How intervals are made.

    Returns:
        Rows of `tables/judge_nearness.csv`: per model the rank correlation, over all sets
        together, of rated accuracy and nearness of the score to the MOS; n_failed counts answers
        that lack one of them. It is what Q-Ponder draws in its first figure, part (b).
    """
    by_model: dict[str, list[JudgementRecord]] = {}
    for row in _first(judgements):
        by_model.setdefault(row.model, []).append(row)
    table: list[Row] = []
    for model, rows in by_model.items():
        found = [errors.get((model, row.dataset, row.image_id)) for row in rows]
        nearness = [None if error is None else -error for error in found]
        result = agreement.rank_correlation(_ratings(rows, "accuracy"), nearness, resampling)
        table.append({"judge": rows[0].judge, "model": model} | _cells(result))
    return table


def agreement_rows(
    by_judge: Mapping[str, Sequence[JudgementRecord]], resampling: Resampling
) -> list[Row]:
    """Measure agreement of judges, their constancy, and how far they follow length.

    Args:
        by_judge: Each judge's judgements of the same texts, repeats included, in one order.
        resampling: How intervals are made.

    Returns:
        Rows of `tables/judge_agreement.csv`: per aspect quadratic_kappa and srcc of each pair of
        judges, alpha_ordinal of all judges, self_consistency and length_srcc of each judge. With
        one judge the first three have no value and the reason "one_judge".
    """
    judges = list(by_judge)
    first = {judge: _first(rows) for judge, rows in by_judge.items()}
    table: list[Row] = []

    def add(statistic: str, aspect: str, pair: tuple[str, str | None], result: Estimate) -> None:
        names = {"statistic": statistic, "aspect": aspect, "judge_a": pair[0], "judge_b": pair[1]}
        table.append(names | _cells(result))

    pairs = [(a, b) for i, a in enumerate(judges) for b in judges[i + 1 :]]
    for aspect in ASPECTS:
        ratings = {judge: _ratings(first[judge], aspect) for judge in judges}
        for a, b in pairs:
            kappa = agreement.quadratic_kappa(ratings[a], ratings[b], resampling)
            order = agreement.rank_correlation(ratings[a], ratings[b], resampling)
            add("quadratic_kappa", aspect, (a, b), kappa)
            add("srcc", aspect, (a, b), order)
        if pairs:
            units = list(zip(*ratings.values(), strict=True))
            alpha = agreement.krippendorff_alpha(units, "ordinal", resampling)
            add("alpha_ordinal", aspect, (ALL, None), alpha)
        else:
            none = Estimate(None, None, None, 0, 0, agreement.ONE_JUDGE)
            for statistic in ("quadratic_kappa", "srcc", "alpha_ordinal"):
                add(statistic, aspect, (judges[0], None), none)
        for judge in judges:
            again = agreement.self_consistency(_repeats(by_judge[judge], aspect), resampling)
            if again.value is None and again.reason == "too_few":
                again = Estimate(None, None, None, again.n, again.n_unparsed, "not_repeated")
            add("self_consistency", aspect, (judge, None), again)
            lengths = [row.n_words for row in first[judge]]
            follows = agreement.rank_correlation(ratings[judge], lengths, resampling)
            add("length_srcc", aspect, (judge, None), follows)
    return table


def _cells(estimate: Estimate) -> Row:
    return {
        "value": estimate.value,
        "ci_low": estimate.ci_low,
        "ci_high": estimate.ci_high,
        "n": estimate.n,
        "n_failed": estimate.n_unparsed,
        "reason": estimate.reason,
    }


def _first(rows: Sequence[JudgementRecord]) -> list[JudgementRecord]:
    return [row for row in rows if row.repeat == 0]


def _ratings(rows: Sequence[JudgementRecord], aspect: str) -> list[int | None]:
    return [getattr(row, aspect) for row in rows]


def _repeats(rows: Sequence[JudgementRecord], aspect: str) -> list[list[int | None]]:
    """Ratings by text; a text is found again by its author, image and hash."""
    units: dict[tuple[str, str, str, str | None], list[int | None]] = {}
    seen: set[tuple[str, int]] = set()
    for row in rows:
        key = (row.model, row.dataset, row.image_id, row.text_sha256)
        if (row.judgement_id, row.repeat) not in seen:
            seen.add((row.judgement_id, row.repeat))
            units.setdefault(key, []).append(getattr(row, aspect))
    return list(units.values())


def _mean_over_sets(
    ratings: Mapping[str, Sequence[int | None]],
    estimates: Mapping[str, Estimate],
    resampling: Resampling,
) -> Estimate:
    n = sum(estimate.n for estimate in estimates.values())
    n_failed = sum(estimate.n_unparsed for estimate in estimates.values())
    values = [estimate.value for estimate in estimates.values()]
    if any(value is None for value in values):
        return Estimate(None, None, None, n, n_failed, "a_set_has_no_value")
    draws = []
    for place, these in enumerate(ratings.values()):
        there = np.array([rating for rating in these if rating is not None], dtype=np.float64)
        own = Resampling(resampling.n_resamples, resampling.confidence, resampling.seed + place)
        draws.append(draw(agreement.mean_statistic(there), len(there), own))
    ends = percentiles(np.mean(draws, axis=0), resampling)
    return Estimate(float(np.mean(values)), ends.low, ends.high, n, n_failed, ends.reason)


def _difference(
    ratings: Sequence[int | None],
    chosen: Sequence[int],
    whole: Sequence[int],
    resampling: Resampling,
) -> Estimate:
    there = [place for place in whole if ratings[place] is not None]
    values = np.array([ratings[place] for place in there], dtype=np.float64)
    selected = set(chosen)
    inside = np.array([place in selected for place in there], dtype=np.float64)
    n, n_failed = int(inside.sum()), sum(ratings[place] is None for place in chosen)
    if n < agreement.MIN_N:
        return Estimate(None, None, None, n, n_failed, "too_few")
    statistic = _difference_statistic(values, inside)
    value = float(statistic(np.ones((1, len(values))))[0])
    interval = bootstrap_interval(statistic, len(values), resampling)
    return Estimate(value, interval.low, interval.high, n, n_failed, interval.reason)


def _difference_statistic(
    values: FloatArray, inside: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    def statistic(counts: FloatArray) -> FloatArray:
        drawn = counts @ inside
        mean = (counts @ (inside * values)) / np.where(drawn > 0.0, drawn, np.nan)
        return mean - (counts @ values) / counts.sum(axis=1)

    return statistic

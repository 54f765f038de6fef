"""From single judgements to the tables: means, the filter, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from qponder_lib.evaluation.scoring import with_mean
from qponder_lib.judging import agreement
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Estimate
from qponder_lib.metrics.statistics import mean_statistic, on_images
from qponder_lib.records import ASPECTS, JudgementRecord

Row = dict[str, str | int | float | None]
References = Mapping[tuple[str, str], str]
"""Photograph by set and image id."""

JUDGED_COLUMNS = (
    "judge",
    "model",
    "dataset",
    "aspect",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_references",
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
    "n_references",
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
    "n_references",
    "n_failed",
    "reason",
)
NEARNESS_COLUMNS = ("judge", "model", *JUDGED_COLUMNS[4:])
ALL = "all"


def judged_rows(judgements: Sequence[JudgementRecord], references: References) -> list[Row]:
    """Average ratings per judge, model, set and aspect, and over the sets.

    Args:
        judgements: Of any judges, models and sets; repeats after the first are left out.
        references: What the judged images were made of.

    Returns:
        Rows of `eval/judged.csv`. The set "mean" is the plain mean over the sets; it has no value
        where a set has none.
    """
    groups: dict[tuple[str, str], dict[str, list[JudgementRecord]]] = {}
    for row in _first(judgements):
        groups.setdefault((row.judge, row.model), {}).setdefault(row.dataset, []).append(row)
    table: list[Row] = []
    for (judge, model), by_set in groups.items():
        found = {
            name: {
                aspect: agreement.mean_rating(
                    _ratings(rows, aspect), _photographs(rows, references), seed=seed
                )
                for aspect in ASPECTS
            }
            for seed, (name, rows) in enumerate(by_set.items())
        }
        means = with_mean(found)
        table += [
            {"judge": judge, "model": model, "dataset": name, "aspect": aspect}
            | _cells(means[name][aspect])
            for aspect in ASPECTS
            for name in means
        ]
    return table


def filter_rows(
    judgements: Sequence[JudgementRecord],
    selections: Mapping[str, Sequence[int]],
    references: References,
) -> list[Row]:
    """Compare selections of the distilled texts with all of them.

    Args:
        judgements: One judge's ratings of all distilled texts.
        selections: By name the places in `judgements` of the texts selected; the first is the
            whole, the others are compared with it. The selection is held fixed.
        references: What the judged images were made of.

    Returns:
        Rows of `tables/filter_judged.csv`: each selection's mean, and each difference to the
        whole on the same resamples, named such as "filtered - unfiltered".
    """
    photographs, names = _photographs(judgements, references), list(selections)
    table: list[Row] = []
    for aspect in ASPECTS:
        ratings = _ratings(judgements, aspect)
        means = {
            name: _mean_of_selection(ratings, places, photographs)
            for name, places in selections.items()
        }
        gains = {
            f"{name} - {names[0]}": replace(
                bootstrap.difference(means[name], means[names[0]]),
                n_excluded=means[name].n_unparsed,
            )
            for name in names[1:]
        }
        table += [
            {"judge": judgements[0].judge, "selection": name, "aspect": aspect} | _cells(number)
            for name, number in {**means, **gains}.items()
        ]
    return table


def _mean_of_selection(
    ratings: Sequence[int | None], places: Sequence[int], photographs: Sequence[str]
) -> Estimate:
    """Average the ratings at some places, on resamples of all texts, so that gains are paired."""
    there = np.array([place for place in places if ratings[place] is not None], dtype=int)
    n_missing = len(places) - len(there)
    n_references = len({photographs[place] for place in there})
    if len(there) < agreement.MIN_N:
        return bootstrap.missing("too_few", len(there), n_references, n_missing)
    mean = mean_statistic(np.array([ratings[place] for place in there], dtype=np.float64))
    found = bootstrap.estimate(on_images(mean, there), len(ratings), photographs)
    return replace(found, n=len(there), n_references=n_references, n_unparsed=n_missing)


def nearness_rows(
    judgements: Sequence[JudgementRecord],
    errors: Mapping[tuple[str, str, str], float],
    references: References,
) -> list[Row]:
    """Measure whether answers with nearer scores are judged more accurate.

    Args:
        judgements: One judge's ratings; repeats after the first are left out.
        errors: |score - MOS| by model, set and image, of answers that have both.
        references: What the judged images were made of.

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
        ratings, photographs = _ratings(rows, "accuracy"), _photographs(rows, references)
        result = agreement.rank_correlation(ratings, nearness, photographs)
        table.append({"judge": rows[0].judge, "model": model} | _cells(result))
    return table


def agreement_rows(
    by_judge: Mapping[str, Sequence[JudgementRecord]], references: References
) -> list[Row]:
    """Measure agreement of judges, their constancy, and how far they follow length.

    Args:
        by_judge: Each judge's judgements of the same texts, repeats included, in one order.
        references: What the judged images were made of.

    Returns:
        Rows of `tables/judge_agreement.csv`: per aspect quadratic_kappa and srcc of each pair of
        judges, alpha_ordinal of all judges, self_consistency and length_srcc of each judge. With
        one judge the first three have no value and the reason "one_judge".
    """
    judges = list(by_judge)
    first = {judge: _first(rows) for judge, rows in by_judge.items()}
    photographs = _photographs(first[judges[0]], references)
    table: list[Row] = []

    def add(statistic: str, aspect: str, pair: tuple[str, str | None], result: Estimate) -> None:
        names = {"statistic": statistic, "aspect": aspect, "judge_a": pair[0], "judge_b": pair[1]}
        table.append(names | _cells(result))

    pairs = [(a, b) for i, a in enumerate(judges) for b in judges[i + 1 :]]
    for aspect in ASPECTS:
        ratings = {judge: _ratings(first[judge], aspect) for judge in judges}
        for a, b in pairs:
            kappa = agreement.quadratic_kappa(ratings[a], ratings[b], photographs)
            order = agreement.rank_correlation(ratings[a], ratings[b], photographs)
            add("quadratic_kappa", aspect, (a, b), kappa)
            add("srcc", aspect, (a, b), order)
        if pairs:
            units = list(zip(*ratings.values(), strict=True))
            alpha = agreement.krippendorff_alpha(units, "ordinal", photographs)
            add("alpha_ordinal", aspect, (ALL, None), alpha)
        else:
            for statistic in ("quadratic_kappa", "srcc", "alpha_ordinal"):
                add(statistic, aspect, (judges[0], None), bootstrap.missing(agreement.ONE_JUDGE))
        for judge in judges:
            repeats, theirs = _repeats(by_judge[judge], aspect, references)
            again = agreement.self_consistency(repeats, theirs)
            if again.reason == "too_few":
                again = replace(again, reason="not_repeated")
            add("self_consistency", aspect, (judge, None), again)
            lengths = [row.n_words for row in first[judge]]
            follows = agreement.rank_correlation(ratings[judge], lengths, photographs)
            add("length_srcc", aspect, (judge, None), follows)
    return table


def _cells(number: Estimate | bootstrap.Difference) -> Row:
    cells = bootstrap.cells(number)
    failed = cells.get("n_unparsed", cells.get("n_excluded"))
    kept = ("value", "ci_low", "ci_high", "n", "n_references", "reason")
    return {name: cells[name] for name in kept} | {"n_failed": failed}


def _first(rows: Sequence[JudgementRecord]) -> list[JudgementRecord]:
    return [row for row in rows if row.repeat == 0]


def _ratings(rows: Sequence[JudgementRecord], aspect: str) -> list[int | None]:
    return [getattr(row, aspect) for row in rows]


def _photographs(rows: Sequence[JudgementRecord], references: References) -> list[str]:
    """Return what each judged image was made of, named apart from those of other sets."""
    return [f"{row.dataset}/{references[row.dataset, row.image_id]}" for row in rows]


def _repeats(
    rows: Sequence[JudgementRecord], aspect: str, references: References
) -> tuple[list[list[int | None]], list[str]]:
    """Ratings by text, which is found again by author, image and hash, and its photograph."""
    units: dict[tuple[str, str, str, str | None], list[int | None]] = {}
    photographs: dict[tuple[str, str, str, str | None], str] = {}
    seen: set[tuple[str, int]] = set()
    for row, photograph in zip(rows, _photographs(rows, references), strict=True):
        key = (row.model, row.dataset, row.image_id, row.text_sha256)
        if (row.judgement_id, row.repeat) not in seen:
            seen.add((row.judgement_id, row.repeat))
            units.setdefault(key, []).append(getattr(row, aspect))
            photographs[key] = photograph
    return list(units.values()), list(photographs.values())

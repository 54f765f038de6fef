"""Tables of judgements: means, the filter, agreement; by hand, by law, and against scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from qponder_lib.judging import stage
from qponder_lib.metrics import bootstrap
from qponder_lib.records import ASPECTS

RATING = st.integers(1, 5)
UP, DOWN = [1, 2, 3, 4, 5] * 3, [5, 4, 3, 2, 1] * 3


def rows(
    ratings: Sequence[float | None], judge: str = "j", dataset: str = "a", **more: object
) -> pd.DataFrame:
    """Judgements of texts about photographs of their own, the same rating in every aspect."""
    n = len(ratings)
    values = {
        "judge": judge,
        "model": "m",
        "dataset": dataset,
        "text": range(n),
        "repeat": 0,
        "photograph": [f"{dataset}/{k}" for k in range(n)],
        "error": np.nan,
        "n_words": range(10, 10 + n),
        **{aspect: pd.Series(ratings, dtype=float) for aspect in ASPECTS},
    }
    return pd.DataFrame(values | more)


def agreement_of(statistic, first, second):
    photographs = pd.Series([str(k) for k in range(len(first))])
    return statistic(pd.Series(first, dtype=float), pd.Series(second, dtype=float), photographs)


def kappa(first, second):
    return agreement_of(stage.quadratic_kappa, first, second)


def ranks(first, second):
    return agreement_of(stage.rank_correlation, first, second)


def by(table, *names):
    return {tuple(row[name] for name in names): row for row in table}


# ---- agreement


@given(st.lists(st.tuples(RATING, RATING), min_size=10, max_size=60))
@settings(max_examples=60, deadline=None)
def test_kappa_is_scikit_learns(pairs):
    first, second = zip(*pairs, strict=True)
    mine = kappa(first, second)
    if len({*first, *second}) == 1:
        assert (mine.value, mine.reason) == (None, "constant_ratings")
    else:
        theirs = cohen_kappa_score(first, second, weights="quadratic", labels=[1, 2, 3, 4, 5])
        assert mine.value == pytest.approx(theirs)


def test_the_interval_of_kappa_is_that_of_scikit_learns_on_the_same_resamples():
    rng = np.random.default_rng(0)
    first = rng.integers(1, 6, 40)
    second = np.clip(first + rng.integers(-1, 2, 40), 1, 5)
    mine = kappa(first, second)
    (counts,) = bootstrap.resample_counts(40, [str(k) for k in range(40)], n_resamples=300)
    theirs = [
        cohen_kappa_score(first, second, weights="quadratic", sample_weight=row) for row in counts
    ]
    assert [mine.ci_low, mine.ci_high] == pytest.approx(np.quantile(theirs, [0.025, 0.975]))


@given(st.lists(st.tuples(RATING, RATING), min_size=10, max_size=40), st.randoms())
@settings(max_examples=40, deadline=None)
def test_kappa_depends_neither_on_the_order_of_texts_nor_on_that_of_judges(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    turned = [(b, a) for a, b in shuffled]
    for other in (shuffled, turned):
        assert kappa(*zip(*pairs, strict=True)).value == pytest.approx(
            kappa(*zip(*other, strict=True)).value
        )


def test_equal_ratings_agree_fully_and_reversed_ones_worse_than_chance():
    for statistic in (kappa, ranks):
        assert statistic(UP, UP).value == pytest.approx(1.0)
        assert statistic(UP, DOWN).value == pytest.approx(-1.0)


def test_a_hard_judge_keeps_the_order_and_loses_agreement():
    """One point less throughout: E(a - b)^2 = 1; by chance 2 * 1.01 + 1 with variance 1.01."""
    mild = [2, 3, 4, 5, 3, 4, 5, 2, 4, 5]
    hard = [rating - 1 for rating in mild]
    variance = np.var(mild)
    assert kappa(mild, hard).value == pytest.approx(1 - 1 / (2 * variance + 1))
    assert ranks(mild, hard).value == pytest.approx(1.0)


def test_missing_ratings_are_left_out_and_counted():
    assert kappa([*UP, None], [*UP, 3]).n_unparsed == 1
    assert ranks([*UP, 3], [*UP, None]).n_unparsed == 1
    mean = stage.mean_rating(rows([*UP, None]), "accuracy")
    assert (mean.value, mean.n, mean.n_unparsed) == (3.0, 15, 1)


def test_too_few_and_constant_ratings_have_a_reason_and_no_value():
    for statistic in (kappa, ranks):
        assert statistic([1] * 9, [2] * 9).reason == "too_few"
        assert statistic([4] * 12, [4] * 12).reason == "constant_ratings"
    assert stage.mean_rating(rows([None] * 20), "accuracy").reason == "too_few"


def test_self_consistency_is_the_share_of_equal_pairs():
    """4 4 5 has one equal pair of three, 2 2 2 all; 1 - - has no pair."""
    repeats = [rows([4, 2, 1] * 10), rows([4, 2, None] * 10), rows([5, 2, None] * 10)]
    found = stage.self_consistency(pd.concat(repeats), "accuracy")
    assert (found.value, found.n, found.n_unparsed) == (pytest.approx((1 / 3 + 1) / 2), 20, 10)


def test_the_interval_of_a_mean_covers_what_a_plain_bootstrap_covers(monkeypatch):
    monkeypatch.setattr(bootstrap, "N_RESAMPLES", 4000)
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, 300)
    mine = stage.mean_rating(rows(ratings), "accuracy")
    plain = [rng.choice(ratings, 300).mean() for _ in range(4000)]
    assert np.allclose([mine.ci_low, mine.ci_high], np.quantile(plain, [0.025, 0.975]), atol=0.02)


# ---- rows of the tables


def test_the_mean_over_sets_weighs_sets_not_texts():
    both = pd.concat([rows([2] * 10), rows([4] * 30 + [None], dataset="b")])
    table = by(stage.judged_rows(both), "dataset", "aspect")
    mean = table["mean", "accuracy"]
    assert (mean["value"], mean["n"], mean["n_failed"]) == (3.0, 40, 1)
    assert set(mean) == set(stage.JUDGED_COLUMNS)


def test_texts_about_one_photograph_are_drawn_together():
    ratings = [2 + 2 * (k // 20) for k in range(40)]
    fives = [f"photograph-{k // 5}" for k in range(40)]
    singly, together = (
        stage.judged_rows(one)[0] for one in (rows(ratings), rows(ratings, photograph=fives))
    )
    assert (singly["n_references"], together["n_references"]) == (40, 8)
    widths = [row["ci_high"] - row["ci_low"] for row in (singly, together)]
    assert widths[1] > 1.5 * widths[0]


def test_a_set_without_ratings_leaves_the_mean_open():
    both = pd.concat([rows([2] * 10), rows([None], dataset="b")])
    table = by(stage.judged_rows(both), "dataset", "aspect")
    assert table["mean", "accuracy"]["reason"] == "b: too_few"
    assert table["b", "accuracy"]["reason"] == "too_few"


def test_one_judge_alone_has_no_agreement_and_says_so():
    table = by(stage.agreement_rows(rows(UP)), "statistic", "aspect")
    assert table["quadratic_kappa", "accuracy"]["reason"] == "one_judge"
    assert table["srcc", "accuracy"]["reason"] == "one_judge"
    assert table["self_consistency", "accuracy"]["reason"] == "not_repeated"


def test_length_bias_shows_where_ratings_follow_length():
    table = stage.agreement_rows(rows([1 + k // 4 for k in range(20)]))
    follows = [row["value"] for row in table if row["statistic"] == "length_srcc"]
    assert all(value > 0.95 for value in follows)


def test_agreement_of_three_judges_has_a_row_per_pair_and_aspect():
    nearly = [1 + (k + (k == 3)) % 5 for k in range(20)]
    judges = {"a": [1 + k % 5 for k in range(20)], "b": nearly, "c": nearly}
    table = stage.agreement_rows(pd.concat([rows(r, judge=name) for name, r in judges.items()]))
    kappas = [row for row in table if row["statistic"] == "quadratic_kappa"]
    pairs = [(row["judge_a"], row["judge_b"]) for row in kappas if row["aspect"] == "accuracy"]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(0.9 < row["value"] <= 1.0 for row in kappas)
    assert {tuple(row) for row in table} == {stage.AGREEMENT_COLUMNS}


def test_the_gain_of_a_selection_by_hand():
    """Half rated 5, half 3: the whole has 4, the better half 5, a gain of 1."""
    selections = {"unfiltered": list(range(40)), "filtered": list(range(20))}
    frame = rows([5 if k < 20 else 3 for k in range(40)])
    table = by(stage.filter_rows(frame, selections), "selection", "aspect")
    assert table["unfiltered", "accuracy"]["value"] == 4.0
    assert table["filtered", "accuracy"]["value"] == 5.0
    gain = table["filtered - unfiltered", "accuracy"]
    assert gain["value"] == 1.0
    assert 0.6 < gain["ci_low"] < 1.0 < gain["ci_high"] < 1.4
    assert set(gain) == set(stage.FILTER_COLUMNS)


def test_smaller_errors_with_better_ratings_correlate_and_gaps_are_counted():
    """Ratings 5 5 5 5 4 ... against errors 0 1 2 ...; one error is not known."""
    frame = rows([5 - k // 4 for k in range(20)], error=[*map(float, range(19)), np.nan])
    (row,) = stage.error_rows(frame)
    assert row["value"] > 0.95
    assert (row["n"], row["n_failed"], row["model"]) == (19, 1, "m")
    assert set(row) == set(stage.ERROR_COLUMNS)

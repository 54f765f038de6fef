"""Agreement of judges by hand, from the definition, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from qponder_lib.judging import agreement, summaries
from qponder_lib.metrics import bootstrap
from qponder_lib.records import JudgementRecord

RATING = st.integers(1, 5)

# Four observers, twelve units, some missing. Worked by hand below:
# pairable values n = 40 (the last unit has one rating and drops out), of the ratings 1 to 5
# n_1 = 9, n_2 = 13, n_3 = 10, n_4 = 5, n_5 = 3. Units that disagree: 2 2 3 2, 1 2 3 4, 1 1 2 1;
# with weight 1 / (m - 1) = 1/3 the first adds 1 to (2,3) and 1 to (3,2), the second 1/3 to each
# of twelve cells, the third 1 to (1,2) and 1 to (2,1).
FOUR = list(
    zip(
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("level", "by_hand"),
    [
        # Seen 2 + 4 + 2 = 8; by chance (40^2 - 9^2 - 13^2 - 10^2 - 5^2 - 3^2) / 39 = 1216 / 39.
        ("nominal", 1 - 8 * 39 / 1216),
        # Seen 2 + 40/3 + 2 = 52/3; by chance 2 (40 * 306 - 100^2) / 39 with sums 100 and 306.
        ("interval", 1 - (52 / 3) * 39 / 4480),
        # Places of the ratings: 4.5, 15.5, 27, 34.5, 38.5. Seen 2 * 11.5^2 + 2 * 11^2
        # + 2/3 (11^2 + 22.5^2 + 30^2 + 11.5^2 + 19^2 + 7.5^2) = 1891; by chance 2 * 199740 / 39.
        ("ordinal", 1 - 1891 * 39 / 399480),
    ],
)
def test_alpha_of_four_observers_with_missing_data_by_hand(level, by_hand):
    result = agreement.krippendorff_alpha(FOUR, level)
    assert result.value == pytest.approx(by_hand, abs=1e-12)
    assert (result.n, result.n_unparsed) == (11, 1)


def test_alpha_of_two_observers_and_two_values_by_hand():
    """4 of 10 units differ: seen 8 of 20. 14 zeros, 6 ones: by chance 2 * 14 * 6 / 19 of 20."""
    units = zip([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0], strict=True)
    value = agreement.krippendorff_alpha(list(units), "nominal").value
    assert value == pytest.approx(1 - 8 * 19 / 168)


def test_alpha_of_two_observers_and_five_names_by_hand():
    """3 of 12 units differ: seen 6 of 24. Counts 4, 6, 6, 6, 2: by chance (576 - 128) / 23."""
    pairs = zip("aabbdcccedda", "babbbccceddd", strict=True)
    units = [(ord(a), ord(b)) for a, b in pairs]
    value = agreement.krippendorff_alpha(units, "nominal").value
    assert value == pytest.approx(1 - 6 * 23 / 448)


@given(st.lists(st.lists(RATING | st.none(), min_size=3, max_size=3), min_size=10, max_size=20))
@settings(max_examples=40, deadline=None)
def test_alpha_is_one_less_the_disagreement_of_pairs_in_a_text_over_that_of_all_pairs(units):
    """The definition, pair by pair."""
    rated = [[r for r in unit if r is not None] for unit in units]
    rated = [unit for unit in rated if len(unit) > 1]
    pool = [r for unit in rated for r in unit]
    if len(rated) < 10 or len(set(pool)) == 1:
        return

    def pairs(ratings):
        square = [
            (a - b) ** 2 for i, a in enumerate(ratings) for j, b in enumerate(ratings) if i != j
        ]
        return sum(square) / (len(ratings) - 1)

    seen, chance = sum(map(pairs, rated)) / len(pool), pairs(pool) / len(pool)
    value = agreement.krippendorff_alpha(units, "interval").value
    assert value == pytest.approx(1 - seen / chance)


@given(st.lists(st.tuples(RATING, RATING), min_size=10, max_size=60))
@settings(max_examples=60, deadline=None)
def test_kappa_is_scikit_learns(pairs):
    first, second = zip(*pairs, strict=True)
    mine = agreement.quadratic_kappa(first, second)
    if len({*first, *second}) == 1:
        assert (mine.value, mine.reason) == (None, "constant_ratings")
    else:
        theirs = cohen_kappa_score(first, second, weights="quadratic", labels=[1, 2, 3, 4, 5])
        assert mine.value == pytest.approx(theirs)


@given(st.lists(st.tuples(RATING, RATING), min_size=10, max_size=40), st.randoms())
@settings(max_examples=40, deadline=None)
def test_agreement_depends_neither_on_the_order_of_texts_nor_on_that_of_judges(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    turned = [(b, a) for a, b in shuffled]
    for one, other in ((pairs, shuffled), (pairs, turned)):
        assert agreement.krippendorff_alpha(one).value == pytest.approx(
            agreement.krippendorff_alpha(other).value
        )
        assert agreement.quadratic_kappa(*zip(*one, strict=True)).value == pytest.approx(
            agreement.quadratic_kappa(*zip(*other, strict=True)).value
        )


def test_equal_ratings_agree_fully_and_reversed_ones_worse_than_chance():
    up, down = [1, 2, 3, 4, 5] * 3, [5, 4, 3, 2, 1] * 3
    for statistic in (agreement.quadratic_kappa, agreement.rank_correlation):
        assert statistic(up, up).value == pytest.approx(1.0)
        assert statistic(up, down).value == pytest.approx(-1.0)
    assert agreement.krippendorff_alpha(list(zip(up, up, strict=True))).value == 1.0


def test_missing_ratings_are_left_out_and_counted():
    first, second = [1, 2, 3, 4, 5] * 3 + [None], [1, 2, 3, 4, 5] * 3 + [3]
    assert agreement.quadratic_kappa(first, second).n_unparsed == 1
    mean = agreement.mean_rating([*first])
    assert (mean.value, mean.n, mean.n_unparsed) == (3.0, 15, 1)


def test_too_few_and_constant_ratings_have_a_reason_and_no_value():
    for statistic in (agreement.quadratic_kappa, agreement.rank_correlation):
        assert statistic([1] * 9, [2] * 9).reason == "too_few"
        assert statistic([4] * 12, [4] * 12).reason == "constant_ratings"
    assert agreement.krippendorff_alpha([[4, 4]] * 12).reason == "constant_ratings"
    assert agreement.mean_rating([None] * 20).reason == "too_few"


def test_a_rating_off_the_scale_is_refused():
    with pytest.raises(ValueError, match="6"):
        agreement.quadratic_kappa([1, 6] * 6, [1, 5] * 6)


def test_self_consistency_is_the_share_of_equal_pairs():
    """4 4 5 has one equal pair of three; 2 2 2 has all; 1 None has no pair."""
    result = agreement.self_consistency([[4, 4, 5], [2, 2, 2], [1, None]], min_n=2)
    assert (result.value, result.n, result.n_unparsed) == (pytest.approx((1 / 3 + 1) / 2), 2, 1)


def test_the_interval_of_a_mean_covers_what_a_plain_bootstrap_covers(monkeypatch):
    monkeypatch.setattr(bootstrap, "N_RESAMPLES", 4000)
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, 300)
    mine = agreement.mean_rating(ratings.tolist())
    plain = [rng.choice(ratings, 300).mean() for _ in range(4000)]
    assert np.allclose([mine.ci_low, mine.ci_high], np.quantile(plain, [0.025, 0.975]), atol=0.02)


# ---- rows of the tables


def judgement(judge: str, dataset: str, number: int, rating: int | None, **more) -> JudgementRecord:
    values = {
        "judgement_id": f"{judge}{dataset}{number}",
        "judge": judge,
        "version": None,
        "model": "m",
        "dataset": dataset,
        "image_id": str(number),
        "completeness": rating,
        "accuracy": rating,
        "reasonableness": rating,
        "reasons": {} if rating else dict.fromkeys(agreement_aspects(), "no_text"),
        "n_words": 10 + number,
        "text_sha256": str(number),
    }
    return JudgementRecord(**(values | more))


def alone(rows: list[JudgementRecord]) -> dict[tuple[str, str], str]:
    """Let every image have a photograph of its own."""
    return {(row.dataset, row.image_id): row.image_id for row in rows}


def agreement_aspects() -> tuple[str, ...]:
    return ("completeness", "accuracy", "reasonableness")


def test_the_mean_over_sets_weighs_sets_not_texts():
    rows = [judgement("j", "a", i, 2) for i in range(10)]
    rows += [judgement("j", "b", i, 4) for i in range(30)] + [judgement("j", "b", 99, None)]
    table = {
        (row["dataset"], row["aspect"]): row for row in summaries.judged_rows(rows, alone(rows))
    }
    mean = table["mean", "accuracy"]
    assert (mean["value"], mean["n"], mean["n_failed"]) == (3.0, 40, 1)
    assert set(mean) == set(summaries.JUDGED_COLUMNS)


def test_texts_about_one_photograph_are_drawn_together():
    rows = [judgement("j", "a", i, 2 + 2 * (i // 20)) for i in range(40)]
    pairs = {("a", str(i)): f"photograph-{i // 5}" for i in range(40)}
    singly, together = (
        next(row for row in summaries.judged_rows(rows, references))
        for references in (alone(rows), pairs)
    )
    assert (singly["n_references"], together["n_references"]) == (40, 8)
    widths = [row["ci_high"] - row["ci_low"] for row in (singly, together)]
    assert widths[1] > 1.5 * widths[0]


def test_a_set_without_ratings_leaves_the_mean_open():
    rows = [judgement("j", "a", i, 2) for i in range(10)] + [judgement("j", "b", 1, None)]
    table = {
        (row["dataset"], row["aspect"]): row for row in summaries.judged_rows(rows, alone(rows))
    }
    assert table["mean", "accuracy"]["reason"] == "b: too_few"
    assert table["b", "accuracy"]["reason"] == "too_few"


def test_one_judge_alone_has_no_agreement_and_says_so():
    rows = [judgement("j", "a", i, 1 + i % 5) for i in range(20)]
    table = summaries.agreement_rows({"j": rows}, alone(rows))
    reasons = {row["statistic"]: row["reason"] for row in table}
    assert reasons["alpha_ordinal"] == reasons["quadratic_kappa"] == "one_judge"
    assert reasons["self_consistency"] == "not_repeated"


def test_length_bias_shows_where_ratings_follow_length():
    rows = [judgement("j", "a", i, 1 + i // 4) for i in range(20)]
    table = summaries.agreement_rows({"j": rows}, alone(rows))
    follows = [row["value"] for row in table if row["statistic"] == "length_srcc"]
    assert all(value > 0.95 for value in follows)


def test_agreement_of_two_judges_has_a_row_per_pair_and_aspect():
    one = [judgement("a", "s", i, 1 + i % 5) for i in range(20)]
    two = [judgement("b", "s", i, 1 + (i + (i == 3)) % 5) for i in range(20)]
    table = summaries.agreement_rows({"a": one, "b": two}, alone(one))
    kappas = [row for row in table if row["statistic"] == "quadratic_kappa"]
    assert [(row["judge_a"], row["judge_b"]) for row in kappas] == [("a", "b")] * 3
    assert all(0.9 < row["value"] < 1.0 for row in kappas)


def test_the_gain_of_a_selection_by_hand():
    """Half rated 5, half 3: the whole has 4, the better half 5, a gain of 1."""
    rows = [judgement("j", "a", i, 5 if i < 20 else 3) for i in range(40)]
    selections = {"unfiltered": list(range(40)), "filtered": list(range(20))}
    table = {
        (row["selection"], row["aspect"]): row
        for row in summaries.filter_rows(rows, selections, alone(rows))
    }
    assert table["unfiltered", "accuracy"]["value"] == 4.0
    assert table["filtered", "accuracy"]["value"] == 5.0
    gain = table["filtered - unfiltered", "accuracy"]
    assert gain["value"] == 1.0
    assert 0.6 < gain["ci_low"] < 1.0 < gain["ci_high"] < 1.4


def test_nearer_scores_with_better_ratings_correlate_and_gaps_are_counted():
    """Ratings 5 5 4 4 ... against errors 0 1 2 ...: the order is kept; one error is not known."""
    rows = [judgement("j", "a", i, 5 - i // 4) for i in range(20)]
    errors = {("m", "a", str(i)): float(i) for i in range(19)}
    again = judgement("j", "a", 0, 1, repeat=1)
    (row,) = summaries.nearness_rows([*rows, again], errors, alone(rows))
    assert row["value"] > 0.95
    assert (row["n"], row["n_failed"], row["model"]) == (19, 1, "m")
    assert set(row) == set(summaries.NEARNESS_COLUMNS)

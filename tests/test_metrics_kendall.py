"""Intervals of Kendall's tau-b and of its differences, against resamples and what must be so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qponder_lib.metrics import Asymptotic, Resampling, estimate, mean_of_sets, paired_difference
from qponder_lib.metrics.kendall import tau_b_influence

TIED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=10, max_size=40)
PLAN = Resampling(1)  # no resample is drawn for this metric


def noisy(n, noise, seed=0):
    rng = np.random.default_rng(seed)
    mos = rng.uniform(0.0, 100.0, n)
    return mos + rng.normal(0.0, noise, n), mos


def ends(result):
    return np.array([result.ci_low, result.ci_high])


@settings(deadline=None)
@given(TIED)
def test_influences_belong_to_scipys_tau_b_and_sum_to_nothing(pairs):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    tau, influence = tau_b_influence(x, y)
    assert tau == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert influence.sum() == pytest.approx(0.0, abs=1e-9)


def test_influences_of_three_images_by_hand():
    """Scores 1 2 3, MOS 1 3 2: the first image is in two concordant pairs, the others in one of

    each kind. Shares of 3: 2/3, 0, 0; untied 2/3 everywhere; tau (2/9) / (2/3) = 1/3; influence
    2 (1 - 1/3) = 4/3 and 2 (0 - 1/3) = -2/3.
    """
    tau, influence = tau_b_influence(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    assert tau == pytest.approx(1 / 3)
    assert influence == pytest.approx([4 / 3, -2 / 3, -2 / 3])


@settings(deadline=None)
@given(TIED)
def test_influence_is_the_slope_of_tau_b_in_the_weight_of_an_image(pairs):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    sx, sy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def tau(weights):
        pairs = np.outer(weights, weights)
        scale = np.sqrt((pairs * sx**2).sum() * (pairs * sy**2).sum())
        return (pairs * sx * sy).sum() / scale

    step, n = 1e-6, len(x)
    first = np.eye(n)[0] - 1.0 / n  # moves a share of the weight to the first image
    slope = (tau(1 / n + step * first) - tau(1 / n - step * first)) / (2 * step)
    assert tau_b_influence(x, y)[1][0] == pytest.approx(slope, abs=1e-5)


@pytest.mark.parametrize("noise", [10.0, 30.0, 300.0])
@pytest.mark.parametrize("digits", [6, -1])
def test_interval_is_that_of_scipys_bootstrap(noise, digits):
    """With and without ties; a fifth of the width is what chance and few images leave open."""
    x, y = (np.round(values, digits) for values in noisy(150, noise))
    drawn = stats.bootstrap(
        (x, y),
        lambda a, b: stats.kendalltau(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=600,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    result = estimate("krcc", x, y, resampling=PLAN)
    assert result.reason is None
    assert ends(result) == pytest.approx(np.array(drawn), abs=0.2 * (drawn.high - drawn.low))


def test_95_percent_intervals_hold_the_true_tau_of_normal_scores_about_that_often():
    """Tau of two normal variables is 2 / pi * arcsin(r); 600 draws scatter by 0.9 percent."""
    rng, r, held = np.random.default_rng(0), 0.8, 0
    for _ in range(600):
        x, y = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], 60).T
        low, high = ends(estimate("krcc", x, y, resampling=PLAN))
        held += low < 2 / np.pi * np.arcsin(r) < high
    assert 0.92 < held / 600 < 0.985


def test_copies_of_an_image_drawn_together_tell_no_more_than_the_image():
    x, y = noisy(40, 30.0)
    once = estimate("krcc", x, y, resampling=PLAN)
    groups = [f"r{k // 10}" for k in range(400)]
    copies = np.repeat(x, 10), np.repeat(y, 10)
    together = estimate("krcc", *copies, resampling=PLAN, clusters=groups)
    assert ends(together) == pytest.approx(ends(once))
    alone = estimate("krcc", *copies, resampling=PLAN)
    assert np.ptp(ends(together)) > 2.5 * np.ptp(ends(alone))


def test_clusters_of_one_change_nothing():
    x, y = noisy(40, 30.0)
    single = estimate("krcc", x, y, resampling=PLAN, clusters=[str(k) for k in range(40)])
    assert single == estimate("krcc", x, y, resampling=PLAN)


def test_one_cluster_has_a_value_and_no_interval_with_the_reason():
    result = estimate("krcc", *noisy(40, 30.0), resampling=PLAN, clusters=["r"] * 40)
    assert (result.ci_low, result.ci_high, result.reason) == (None, None, "one_cluster")
    assert result.value is not None


def test_perfect_order_has_the_interval_that_srcc_has():
    for sign in (1.0, -1.0):
        both = [
            estimate(name, sign * np.arange(20.0), np.arange(20.0), resampling=Resampling(50))
            for name in ("krcc", "srcc")
        ]
        assert ends(both[0]) == pytest.approx([sign, sign])
        assert ends(both[0]) == pytest.approx(ends(both[1]))


def test_the_same_sample_twice_tells_no_more_and_another_one_does():
    first, mos = noisy(60, 30.0)
    once = estimate("krcc", first, mos, resampling=PLAN)
    assert ends(estimate("krcc", [first, first], mos, resampling=PLAN)) == pytest.approx(ends(once))
    second = mos + np.random.default_rng(9).normal(0.0, 30.0, 60)
    both = estimate("krcc", [first, second], mos, resampling=PLAN)
    assert np.ptp(ends(both)) < np.ptp(ends(once))


def test_unread_answers_change_the_interval_only_by_their_absence():
    x, y = noisy(60, 30.0)
    some = [None] * 10 + list(x[10:])
    clusters = [str(k) for k in range(60)]
    result = estimate("krcc", some, y, resampling=PLAN, clusters=clusters)
    assert ends(result) == pytest.approx(ends(estimate("krcc", x[10:], y[10:], resampling=PLAN)))


def test_without_a_plan_there_is_a_value_and_no_complaint():
    result = estimate("krcc", *noisy(60, 30.0))
    assert (result.ci_low, result.reason) == (None, None)


def test_more_coverage_means_a_wider_interval():
    x, y = noisy(60, 30.0)
    widths = [
        np.ptp(ends(estimate("krcc", x, y, resampling=Resampling(1, confidence))))
        for confidence in (0.5, 0.95, 0.999)
    ]
    assert widths == sorted(widths)


# ---- differences and means


def gap(first, second, mos, **more):
    ids = [f"{k:04d}" for k in range(len(mos))]
    by_id = [dict(zip(ids, values, strict=True)) for values in (first, second, mos)]
    return paired_difference("krcc", *by_id, **more)


def two_models(n=150):
    first, mos = noisy(n, 20.0)
    second = 0.5 * first + 0.5 * mos + np.random.default_rng(5).normal(0.0, 30.0, n)
    return first.tolist(), second.tolist(), mos.tolist()


def test_interval_of_a_paired_difference_is_that_of_scipys_bootstrap():
    first, second, mos = (np.array(values) for values in two_models())
    drawn = stats.bootstrap(
        (first, second, mos),
        lambda a, b, y: stats.kendalltau(a, y).statistic - stats.kendalltau(b, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=600,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    result = gap(*two_models())
    assert result.value == pytest.approx(
        stats.kendalltau(first, mos).statistic - stats.kendalltau(second, mos).statistic
    )
    assert ends(result) == pytest.approx(np.array(drawn), abs=0.2 * (drawn.high - drawn.low))
    assert result.p_value < 0.05
    assert result.ci_low > 0.0


def test_swapping_the_models_turns_the_difference_round():
    first, second, mos = two_models(60)
    forth, back = gap(first, second, mos), gap(second, first, mos)
    assert (-back.ci_high, -back.ci_low) == pytest.approx(ends(forth))
    assert (-back.value, back.p_value) == pytest.approx((forth.value, forth.p_value))


def test_a_model_does_not_differ_from_itself():
    first, _, mos = two_models(60)
    result = gap(first, first, mos)
    assert (result.value, result.ci_low, result.ci_high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_copies_drawn_together_tell_no_more_of_a_difference_either():
    models = two_models(40)
    copies = [np.repeat(values, 10).tolist() for values in models]
    clusters = {f"{k:04d}": f"r{k // 10}" for k in range(400)}
    assert ends(gap(*copies, clusters=clusters)) == pytest.approx(ends(gap(*models)))


def test_perfect_order_against_its_reverse_has_no_spread_and_says_so():
    mos = list(range(20))
    result = gap(mos, mos[::-1], mos)
    assert (result.value, result.p_value, result.reason) == (2.0, None, "no_spread")


def test_images_that_one_model_leaves_out_are_left_out_of_the_difference():
    first, second, mos = two_models(60)
    silent = gap([None, *first[1:]], second, mos)
    assert (silent.n, silent.n_excluded) == (59, 1)
    alone = gap(first[1:], second[1:], mos[1:])
    assert ends(silent) == pytest.approx(ends(alone))


def test_constant_scores_have_no_difference_and_a_reason():
    first, _, mos = two_models(60)
    assert gap(first, [5.0] * 60, mos).reason == "constant_scores"


def test_mean_of_k_like_sets_is_known_better_by_the_root_of_k():
    one = Asymptotic(0.5, 0.08)
    assert mean_of_sets([one] * 4) == Asymptotic(0.5, 0.04)
    unknown = Asymptotic(0.7, None, "one_cluster")
    assert mean_of_sets([one, unknown]).within_one(0.95).reason == "one_cluster"

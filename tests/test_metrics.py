"""Agreement and its intervals, against scipy and against what must be so."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qponder_lib.evaluation.scoring import Predictions, compare, score
from qponder_lib.metrics import bootstrap, statistics
from qponder_lib.metrics.bootstrap import estimate, resample_counts
from qponder_lib.metrics.statistics import (
    STATISTICS,
    fit_logistic,
    map_logistic,
    mean_statistic,
    spearman_statistic,
)

N = 200
TIED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=10, max_size=40)


def noisy(n=N, noise=15.0, seed=0):
    rng = np.random.default_rng(seed)
    mos = rng.uniform(0.0, 100.0, n)
    return mos + rng.normal(0.0, noise, n), mos


def measured(metric, scores, mos, clusters=None, protocol="raw", **options):
    """Measure one metric of one sample of scores, or of several."""
    samples = scores if np.ndim(scores[0] if len(scores) else 0) else [scores]
    predictions = Predictions.of_scores(samples[0], mos, clusters)
    both = np.array(samples, dtype=np.float64)
    whole = Predictions(predictions.ids, predictions.mos, both, predictions.clusters)
    return score(whole, [(metric, protocol)], **options)[metric, protocol]


def gap(metric, first, second, mos, clusters=None, **options):
    """Compare two models by one metric."""
    both = (Predictions.of_scores(one, mos, clusters) for one in (first, second))
    return compare(*both, [(metric, "raw")], **options)[metric, "raw"]


@settings(deadline=None)
@given(TIED)
def test_correlations_equal_scipys_on_heavy_ties(pairs):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    assert statistics.srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert statistics.plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert statistics.krcc(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_errors_by_hand():
    assert statistics.mae([3, 5], [0, 9], min_n=2) == 3.5
    assert statistics.rmse([3, 5], [0, 9], min_n=2) == pytest.approx(math.sqrt(12.5))


def test_srcc_is_unchanged_by_a_monotone_map_and_keeps_its_sign():
    scores, mos = noisy()
    mapped = statistics.srcc(np.exp(scores / 20.0), mos)
    assert mapped == pytest.approx(statistics.srcc(scores, mos))
    assert statistics.srcc(-scores, mos) == pytest.approx(-statistics.srcc(scores, mos))


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([50.0] * N, "constant_scores"),
        ((1e8 + 1e-7 * np.random.default_rng(0).normal(size=N)), "near_constant_scores"),
        ([*range(N - 1), math.inf], "not_finite"),
        ([*range(N - 1), math.nan], "not_finite"),
        ([str(k) for k in range(N)], "not_numeric"),
        (np.arange(N).astype(str), "not_numeric"),
        ([*range(N - 1), True], "not_numeric"),
        (list(range(9)), "too_few"),
        ([], "too_few"),
    ],
)
@pytest.mark.parametrize("metric", ["plcc", "srcc", "krcc"])
def test_degenerate_scores_have_no_value_but_a_reason(metric, scores, reason):
    with pytest.raises(statistics.DegenerateInputError) as error:
        getattr(statistics, metric)(scores, noisy()[1][: len(scores)])
    assert error.value.reason == reason


def test_constant_or_too_few_scores_are_a_missing_number_with_a_reason():
    mos = noisy()[1]
    for scores, reason in (([50.0] * N, "constant_scores"), ([None] * N, "too_few")):
        for metric in ("plcc", "srcc", "krcc"):
            result = measured(metric, scores, mos)
            assert (result.value, result.ci_low, result.ci_high) == (None, None, None)
            assert result.reason == reason
    with pytest.raises(ValueError, match="needs a reason"):
        bootstrap.Estimate(None, None, None, 0, 0, 0)


def test_constant_mos_has_no_correlation_but_an_error():
    assert measured("srcc", range(20), [50.0] * 20).reason == "constant_mos"
    assert measured("mae", range(20), [0.0] * 20).value == 9.5


def test_lengths_must_agree_and_metrics_and_protocols_be_known():
    with pytest.raises(ValueError, match="one score per mos"):
        measured("plcc", [1.0] * 11, [1.0] * 12)
    with pytest.raises(ValueError, match="unknown metric"):
        measured("r2", range(12), range(12))
    with pytest.raises(ValueError, match="unknown protocol"):
        measured("plcc", range(12), range(12), protocol="isotonic")


def test_unreadable_answers_are_left_out_and_counted():
    scores, mos = noisy()
    answers = [None if k < 20 else one for k, one in enumerate(scores)]
    result = measured("srcc", answers, mos)
    assert result.value == pytest.approx(stats.spearmanr(scores[20:], mos[20:]).statistic)
    assert (result.n, result.n_references, result.n_unparsed) == (N - 20, N - 20, 20)
    assert measured("parse_rate", answers, mos).value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("metric", "oracle"),
    [
        ("plcc", lambda x, y: stats.pearsonr(x, y).statistic),
        ("srcc", lambda x, y: stats.spearmanr(x, y).statistic),
        ("mae", lambda x, y: np.mean(np.abs(x - y))),
        ("rmse", lambda x, y: np.sqrt(np.mean((x - y) ** 2))),
    ],
)
def test_every_resample_has_the_value_scipy_gives_it(metric, oracle):
    """The counts are replayed as real resamples, with ties in scores and MOS."""
    scores, mos = (np.round(values, -1) for values in noisy(60))
    statistic = STATISTICS[metric](scores, mos)
    for counts in resample_counts(60, seed=3, n_resamples=20):
        for row, value in zip(counts, statistic(counts), strict=True):
            drawn = np.repeat(np.arange(60), row.astype(int))
            assert len(drawn) == 60
            assert value == pytest.approx(oracle(scores[drawn], mos[drawn]), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 60), st.integers(1, 6))
def test_ranks_of_tied_resamples_are_scipys_to_the_last_digits(seed, n, levels):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, levels + 1, (2, n)).astype(float)
    statistic = spearman_statistic(x, y)
    for counts in resample_counts(n, seed=seed, n_resamples=5):
        for row, value in zip(counts, statistic(counts), strict=True):
            drawn = np.repeat(np.arange(n), row.astype(int))
            if np.ptp(x[drawn]) == 0.0 or np.ptp(y[drawn]) == 0.0:
                assert np.isnan(value)
            else:
                expected = stats.spearmanr(x[drawn], y[drawn]).statistic
                assert value == pytest.approx(expected, abs=1e-13)


def test_ranks_of_many_images_do_not_overflow():
    """Beyond 46,340 images a count times a rank may pass 32 bits: here one image is drawn n times.

    The two halves swap places: 1 - 6 sum(d^2) / n^3 with every d = n/2 is -1/2 for large n.
    """
    n = 60_000
    x = np.arange(n, dtype=float)
    statistic = spearman_statistic(x, np.roll(x, n // 2))
    counts = np.ones((2, n))
    counts[1] = 0.0
    counts[1, 0] = counts[1, 1] = n / 2  # both orders agree on this pair
    assert statistic(counts) == pytest.approx([1.0 - 1.5 * n * n / (n * n - 1.0), 1.0], abs=1e-12)


def test_resamples_depend_neither_on_memory_nor_on_threads(monkeypatch):
    scores, mos = noisy(50)
    clusters = [f"r{k % 17}" for k in range(50)]
    together = [spearman_statistic(scores, mos), mean_statistic(scores)]
    options = {"clusters": clusters, "n_resamples": 40}
    expected = bootstrap.draw(together, 50, **options)
    assert (bootstrap.draw(together[1:], 50, **options) == expected[:, 1:]).all()
    monkeypatch.setattr(bootstrap, "_CHUNK_ELEMENTS", 50 * 3)
    done = []
    for threads_from in (1, 10**9):
        monkeypatch.setattr(bootstrap, "_THREADS_FROM", threads_from)
        again = bootstrap.draw(together, 50, **options, progress=done.append)
        assert again == pytest.approx(expected, rel=1e-12)
    assert sum(done) == 2 * 40


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(bootstrap, "_THREADS_FROM", 1)

    def broken(counts):
        raise FloatingPointError("broken")

    with pytest.raises(FloatingPointError, match="broken"):
        estimate(broken, 50)


@pytest.mark.parametrize(("metric", "tolerance"), [("plcc", 0.01), ("srcc", 0.01)])
@pytest.mark.usefixtures("many_resamples")
def test_interval_equals_scipys_bootstrap_within_chance(metric, tolerance):
    scores, mos = noisy()
    result = measured(metric, scores, mos)
    oracle = {"plcc": stats.pearsonr, "srcc": stats.spearmanr}[metric]
    expected = stats.bootstrap(
        (scores, mos),
        lambda x, y: oracle(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=1500,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert result.ci_low == pytest.approx(expected.low, abs=tolerance)
    assert result.ci_high == pytest.approx(expected.high, abs=tolerance)
    assert result.ci_low < result.value < result.ci_high


@pytest.mark.usefixtures("many_resamples")
def test_interval_of_the_mean_error_equals_the_normal_one():
    scores, mos = noisy(1000)
    errors = np.abs(scores - mos)
    half = 1.96 * errors.std() / math.sqrt(1000)
    result = measured("mae", scores, mos)
    assert result.ci_low == pytest.approx(errors.mean() - half, abs=0.06)
    assert result.ci_high == pytest.approx(errors.mean() + half, abs=0.06)


def test_same_seed_gives_the_same_interval_and_another_seed_another():
    scores, mos = noisy()
    first, again, other = (measured("srcc", scores, mos, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.ci_low != other.ci_low


def test_interval_is_none_when_a_resample_is_degenerate():
    scores = [0.0] * 19 + [1.0]  # a third of the resamples draw no 1.0
    result = measured("srcc", scores, list(range(20)))
    assert result.value is not None
    assert (result.ci_low, result.reason) == (None, "degenerate_resamples")


@pytest.mark.usefixtures("many_resamples")
def test_images_of_one_photograph_drawn_together_widen_the_interval():
    scores, mos = noisy(40)
    scores, mos = np.repeat(scores, 10), np.repeat(mos, 10)
    clusters = [f"photo{k // 10}" for k in range(400)]
    alone = measured("srcc", scores, mos)
    together = measured("srcc", scores, mos, clusters)
    forty = measured("srcc", scores[::10], mos[::10])
    assert together.value == alone.value
    assert (alone.n_references, together.n_references) == (400, 40)
    assert together.ci_high - together.ci_low > 2.0 * (alone.ci_high - alone.ci_low)
    assert together.ci_low == pytest.approx(forty.ci_low, abs=0.03)


def test_clusters_of_one_change_nothing_but_the_draw():
    scores, mos = noisy()
    ids = [f"photo{k:03d}" for k in range(N)]
    assert measured("srcc", scores, mos, ids) == measured("srcc", scores, mos)


def test_one_photograph_has_a_value_and_no_interval_with_the_reason():
    result = measured("mae", *noisy(40), ["r"] * 40)
    assert (result.ci_low, result.reason) == (None, "one_reference")
    assert result.value is not None


def test_krcc_has_a_value_and_no_interval():
    scores, mos = noisy()
    result = measured("krcc", scores, mos)
    assert result.value == pytest.approx(stats.kendalltau(scores, mos).statistic, abs=1e-12)
    assert (result.ci_low, result.reason) == (None, "no_interval")


def test_sampled_answers_are_measured_per_sample_and_averaged():
    (first, mos), (second, _) = noisy(seed=0), noisy(seed=0, noise=60.0)
    both = measured("srcc", [first, second], mos)
    single = [measured("srcc", scores, mos).value for scores in (first, second)]
    assert both.value == pytest.approx(np.mean(single))
    assert both.value != pytest.approx(measured("srcc", (first + second) / 2.0, mos).value)
    assert both.ci_low < both.value < both.ci_high


def test_samples_may_miss_different_answers():
    scores, mos = noisy()
    samples = [[None, *scores[1:]], [*scores[:-2], None, None]]
    result = measured("mae", samples, mos)
    expected = [np.mean(np.abs(scores - mos)[part]) for part in (slice(1, N), slice(0, N - 2))]
    assert result.value == pytest.approx(np.mean(expected))
    assert (result.n, result.n_unparsed) == (N, 3)
    assert measured("parse_rate", samples, mos).value == pytest.approx(1.0 - 3.0 / (2 * N))


def test_better_model_is_better_beyond_chance_and_the_sign_is_first_minus_second():
    (good, mos), (bad, _) = noisy(noise=10.0), noisy(noise=40.0)
    result = gap("srcc", good, bad, mos)
    assert result.ci_low > 0.0
    assert result.p_value < 0.01
    flipped = gap("srcc", bad, good, mos)
    assert (flipped.ci_low, flipped.value) == pytest.approx((-result.ci_high, -result.value))
    assert gap("mae", good, bad, mos).ci_high < 0.0


def test_model_compared_with_itself_differs_by_nothing():
    scores, mos = noisy()
    result = gap("plcc", scores, scores, mos)
    assert (result.value, result.ci_low, result.ci_high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_gives_a_narrower_interval_than_two_separate_ones():
    scores, mos = noisy(noise=30.0)
    near = scores + np.random.default_rng(5).normal(0.0, 3.0, N)
    paired, single = gap("srcc", scores, near, mos), measured("srcc", scores, mos)
    assert paired.ci_high - paired.ci_low < 0.5 * (single.ci_high - single.ci_low)


def test_copies_drawn_together_tell_no_more_of_a_difference_either():
    (first, mos), (second, _) = noisy(40, 20.0), noisy(40, 40.0)
    copies = [np.repeat(values, 10) for values in (first, second, mos)]
    clusters = [f"r{k // 10:02d}" for k in range(400)]
    many, few = gap("srcc", *copies, clusters), gap("srcc", first, second, mos)
    assert (many.n_references, few.n_references) == (40, 40)
    assert (many.ci_low, many.ci_high) == pytest.approx((few.ci_low, few.ci_high), abs=0.02)


def test_comparison_uses_images_both_answered():
    scores, mos = noisy()
    result = gap("mae", [None, *scores[1:]], [*scores[:-1], None], mos)
    assert (result.value, result.n, result.n_excluded) == (0.0, N - 2, 2)
    rate = gap("parse_rate", [None, *scores[1:]], scores, mos)
    assert (rate.value, rate.n) == (pytest.approx(-1.0 / N), N)


def test_comparison_of_degenerate_answers_has_a_reason():
    scores, mos = noisy()
    result = gap("srcc", scores, [50.0] * N, mos)
    assert (result.value, result.p_value, result.reason) == (None, None, "constant_scores")


def test_numbers_of_other_resamples_are_not_subtracted():
    scores, mos = noisy()
    first, other = (measured("srcc", scores, mos, seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match="same resamples"):
        bootstrap.difference(first, other)


def test_logistic_mapping_straightens_a_curve():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.0, 100.0, 300)
    mos = 10.0 + 80.0 / (1.0 + np.exp(-(scores - 50.0) / 6.0)) + rng.normal(0.0, 1.0, 300)
    raw = statistics.plcc(scores, mos)
    for protocol in ("logistic4", "logistic5"):
        fitted = measured("plcc", scores, mos, protocol=protocol)
        assert fitted.value > 0.999 > raw
        assert fitted.ci_low < fitted.value
        assert fitted.reason is None
    parameters = fit_logistic(scores, mos, 4)
    assert parameters[2] == pytest.approx(50.0, abs=0.5)
    assert map_logistic(scores, parameters).max() < 91.0


def test_logistic_mapping_follows_scores_that_run_backwards():
    scores, mos = noisy()
    forwards = measured("plcc", scores, mos, protocol="logistic4").value
    backwards = measured("plcc", -scores, mos, protocol="logistic4").value
    assert backwards == pytest.approx(forwards, abs=1e-3)


def test_failed_fit_gives_the_raw_plcc_and_says_so(monkeypatch):
    scores, mos = noisy()

    def diverge(*_args, **_kwargs):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr("scipy.optimize.curve_fit", diverge)
    result = measured("plcc", scores, mos, protocol="logistic4")
    assert result.value == pytest.approx(statistics.plcc(scores, mos))
    assert result.reason == "logistic_fit_failed"
    error = measured("rmse", scores, mos, protocol="logistic4")
    assert (error.value, error.reason) == (None, "logistic_fit_failed")


def test_logistic_plcc_of_degenerate_scores_has_the_raw_reason():
    found = measured("plcc", [50.0] * 20, range(20), protocol="logistic4")
    assert found.reason == "constant_scores"
    with pytest.raises(ValueError, match="4 or 5"):
        fit_logistic(range(20), range(20), 3)


def test_interval_at_full_size_is_narrow():
    result = measured("srcc", *noisy(10_000))
    assert result.ci_high - result.ci_low < 0.02


def test_no_image_at_all_is_too_few_and_not_an_error():
    found = measured("srcc", [], [])
    assert (found.value, found.reason, found.n) == (None, "too_few", 0)

"""Agreement, intervals and differences, against scipy and against what must be so."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qponder_lib import metrics
from qponder_lib.metrics import Resampling, estimate, paired_difference
from qponder_lib.metrics.agreement import STATISTICS
from qponder_lib.metrics.resampling import resample_counts
from qponder_lib.records import PredictionRecord

N = 200
TIED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=10, max_size=40)


def noisy(n=N, noise=15.0, seed=0):
    rng = np.random.default_rng(seed)
    mos = rng.uniform(0.0, 100.0, n)
    return mos + rng.normal(0.0, noise, n), mos


def by_id(values):
    return {f"i{k:04d}": (None if v is None else float(v)) for k, v in enumerate(values)}


@settings(deadline=None)
@given(TIED)
def test_correlations_equal_scipys_on_heavy_ties(pairs):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    assert metrics.srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert metrics.plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert metrics.krcc(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_errors_by_hand():
    assert metrics.mae([3, 5], [0, 9], min_n=2) == 3.5
    assert metrics.rmse([3, 5], [0, 9], min_n=2) == pytest.approx(math.sqrt(12.5))


def test_srcc_is_unchanged_by_a_monotone_map_and_keeps_its_sign():
    scores, mos = noisy()
    assert metrics.srcc(np.exp(scores / 20.0), mos) == pytest.approx(metrics.srcc(scores, mos))
    assert metrics.srcc(-scores, mos) == pytest.approx(-metrics.srcc(scores, mos))


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
        ([None] * (N - 9) + list(range(9)), "too_few"),
        ([None] * N, "too_few"),
    ],
)
def test_degenerate_scores_have_no_value_but_a_reason(scores, reason):
    for metric in ("plcc", "srcc", "krcc"):
        result = estimate(metric, scores, noisy()[1], resampling=Resampling(50))
        assert (result.value, result.ci_low, result.ci_high) == (None, None, None)
        assert result.reason == reason


def test_constant_mos_has_no_correlation_but_an_error():
    assert estimate("srcc", range(20), [50.0] * 20).reason == "constant_mos"
    assert estimate("mae", range(20), [0.0] * 20).value == 9.5


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one score per mos"):
        estimate("plcc", [1.0] * 11, [1.0] * 12)
    with pytest.raises(ValueError, match="unknown metric"):
        estimate("r2", range(12), range(12))


def test_unreadable_answers_are_left_out_and_counted():
    scores, mos = noisy()
    answers = [None if k < 20 else score for k, score in enumerate(scores)]
    result = estimate("srcc", answers, mos)
    assert result.value == pytest.approx(stats.spearmanr(scores[20:], mos[20:]).statistic)
    assert (result.n, result.n_unparsed) == (N - 20, 20)
    assert estimate("parse_rate", answers, mos).value == pytest.approx(0.9)


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
    plan = Resampling(20, seed=3)
    for counts in resample_counts(60, plan):
        for row, value in zip(counts, statistic(counts), strict=True):
            drawn = np.repeat(np.arange(60), row.astype(int))
            assert len(drawn) == 60
            assert value == pytest.approx(oracle(scores[drawn], mos[drawn]), abs=1e-12)


@pytest.mark.parametrize(("metric", "tolerance"), [("plcc", 0.01), ("srcc", 0.01)])
def test_interval_equals_scipys_bootstrap_within_chance(metric, tolerance):
    scores, mos = noisy()
    result = estimate(metric, scores, mos, resampling=Resampling(4000))
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


def test_interval_of_the_mean_error_equals_the_normal_one():
    scores, mos = noisy(1000)
    errors = np.abs(scores - mos)
    half = 1.96 * errors.std() / math.sqrt(1000)
    result = estimate("mae", scores, mos, resampling=Resampling(4000))
    assert result.ci_low == pytest.approx(errors.mean() - half, abs=0.06)
    assert result.ci_high == pytest.approx(errors.mean() + half, abs=0.06)


def test_same_seed_gives_the_same_interval_and_another_seed_another():
    scores, mos = noisy()
    first, again, other = (
        estimate("srcc", scores, mos, resampling=Resampling(200, seed=s)) for s in (1, 1, 2)
    )
    assert first == again
    assert first.ci_low != other.ci_low


def test_interval_is_none_when_a_resample_is_degenerate():
    scores = [0.0] * 19 + [1.0]  # a third of the resamples draw no 1.0
    result = estimate("srcc", scores, list(range(20)), resampling=Resampling(200))
    assert result.value is not None
    assert (result.ci_low, result.reason) == (None, "degenerate_resamples")


def test_images_of_one_photograph_drawn_together_widen_the_interval():
    scores, mos = noisy(40)
    scores, mos = np.repeat(scores, 10), np.repeat(mos, 10)
    clusters = [f"photo{k // 10}" for k in range(400)]
    alone = estimate("srcc", scores, mos, resampling=Resampling(1000))
    together = estimate("srcc", scores, mos, resampling=Resampling(1000), clusters=clusters)
    forty = estimate("srcc", scores[::10], mos[::10], resampling=Resampling(1000))
    assert together.value == alone.value
    assert together.ci_high - together.ci_low > 2.0 * (alone.ci_high - alone.ci_low)
    assert together.ci_low == pytest.approx(forty.ci_low, abs=0.03)


def test_clusters_of_one_change_nothing_but_the_draw():
    scores, mos = noisy()
    ids = [f"photo{k:03d}" for k in range(N)]
    plan = Resampling(100)
    single = estimate("srcc", scores, mos, resampling=plan, clusters=ids)
    assert single == estimate("srcc", scores, mos, resampling=plan)


def test_sampled_answers_are_measured_per_sample_and_averaged():
    (first, mos), (second, _) = noisy(seed=0), noisy(seed=0, noise=60.0)
    both = estimate("srcc", [first, second], mos, resampling=Resampling(200))
    single = [estimate("srcc", scores, mos).value for scores in (first, second)]
    assert both.value == pytest.approx(np.mean(single))
    assert both.value != pytest.approx(estimate("srcc", (first + second) / 2.0, mos).value)
    assert both.ci_low < both.value < both.ci_high


def test_samples_may_miss_different_answers():
    scores, mos = noisy()
    samples = [[None, *scores[1:]], [*scores[:-2], None, None]]
    result = estimate("mae", samples, mos)
    expected = [np.mean(np.abs(scores - mos)[part]) for part in (slice(1, N), slice(0, N - 2))]
    assert result.value == pytest.approx(np.mean(expected))
    assert (result.n, result.n_unparsed) == (N, 3)
    assert estimate("parse_rate", samples, mos).value == pytest.approx(1.0 - 3.0 / (2 * N))


def test_better_model_is_better_beyond_chance_and_the_sign_is_first_minus_second():
    (good, mos), (bad, _) = noisy(noise=10.0), noisy(noise=40.0)
    result = paired_difference("srcc", by_id(good), by_id(bad), by_id(mos))
    assert result.ci_low > 0.0
    assert result.p_value < 0.01
    flipped = paired_difference("srcc", by_id(bad), by_id(good), by_id(mos))
    assert (flipped.ci_low, flipped.value) == pytest.approx((-result.ci_high, -result.value))
    assert paired_difference("mae", by_id(good), by_id(bad), by_id(mos)).ci_high < 0.0


def test_model_compared_with_itself_differs_by_nothing():
    scores, mos = noisy()
    result = paired_difference("plcc", by_id(scores), by_id(scores), by_id(mos))
    assert (result.value, result.ci_low, result.ci_high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_gives_a_narrower_interval_than_two_separate_ones():
    scores, mos = noisy(noise=30.0)
    near = scores + np.random.default_rng(5).normal(0.0, 3.0, N)
    paired = paired_difference("srcc", by_id(scores), by_id(near), by_id(mos))
    single = estimate("srcc", scores, mos, resampling=Resampling())
    assert paired.ci_high - paired.ci_low < 0.5 * (single.ci_high - single.ci_low)


def test_comparison_joins_by_id_and_uses_images_both_answered():
    scores, mos = noisy()
    first = by_id([None, *scores[1:]])
    second = dict(reversed(by_id([*scores[:-1], None]).items()))
    result = paired_difference("mae", first, second, by_id(mos))
    assert (result.value, result.n, result.n_excluded) == (0.0, N - 2, 2)
    rate = paired_difference("parse_rate", first, by_id(scores), by_id(mos))
    assert rate.value == pytest.approx(-1.0 / N)


def test_comparison_of_different_images_is_an_error():
    scores, mos = noisy()
    with pytest.raises(ValueError, match="missing"):
        paired_difference("mae", by_id(scores[1:]), by_id(scores), by_id(mos))


def test_comparison_of_degenerate_answers_has_a_reason():
    scores, mos = noisy()
    result = paired_difference("srcc", by_id(scores), by_id([50.0] * N), by_id(mos))
    assert (result.value, result.p_value, result.reason) == (None, None, "constant_scores")


def test_logistic_mapping_straightens_a_curve():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.0, 100.0, 300)
    mos = 10.0 + 80.0 / (1.0 + np.exp(-(scores - 50.0) / 6.0)) + rng.normal(0.0, 1.0, 300)
    raw = metrics.plcc(scores, mos)
    for n_parameters in (4, 5):
        fitted = metrics.plcc_logistic(scores, mos, n_parameters, resampling=Resampling(100))
        assert fitted.value > 0.999 > raw
        assert fitted.ci_low < fitted.value
        assert fitted.reason is None
    assert metrics.fit_logistic(scores, mos, 4).parameters[2] == pytest.approx(50.0, abs=0.5)


def test_logistic_mapping_follows_scores_that_run_backwards():
    scores, mos = noisy()
    forwards = metrics.plcc_logistic(scores, mos).value
    assert metrics.plcc_logistic(-scores, mos).value == pytest.approx(forwards, abs=1e-3)


def test_failed_fit_gives_the_raw_plcc_and_says_so(monkeypatch):
    scores, mos = noisy()

    def diverge(*_args, **_kwargs):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr("scipy.optimize.curve_fit", diverge)
    result = metrics.plcc_logistic(scores, mos)
    assert result.value == pytest.approx(metrics.plcc(scores, mos))
    assert result.reason == "logistic_fit_failed"


def test_logistic_plcc_of_degenerate_scores_has_the_raw_reason():
    assert metrics.plcc_logistic([50.0] * 20, range(20)).reason == "constant_scores"
    with pytest.raises(ValueError, match="4 or 5"):
        metrics.fit_logistic(range(20), range(20), 3)


def prediction(image_id, score, sample=0, mos=None):
    status = "ok" if score is not None else "no_answer"
    target = float(image_id[1:]) if mos is None else mos
    return PredictionRecord(
        image_id=image_id, text="", score=score, parse_status=status, mos=target, sample=sample
    )


GREEDY = metrics.Evaluated("qponder", "mini-koniq", "greedy")


def test_score_rows_hold_every_metric_by_its_protocol():
    rows = [prediction(f"i{k}", None if k == 3 else k + 1.0) for k in range(20)]
    table = metrics.score_rows(rows[::-1], GREEDY, resampling=Resampling(100))
    found = {(row.metric, row.protocol): row for row in table}
    assert [row.metric for row in table[:6]] == list(metrics.EVALUATED)
    assert {("plcc", "logistic4"), ("plcc", "logistic5")} < set(found)
    assert found["srcc", "raw"].value == pytest.approx(1.0)
    assert found["mae", "raw"].value == pytest.approx(1.0)
    assert found["parse_rate", "raw"].value == pytest.approx(0.95)
    assert all((row.n, row.n_unparsed) == (19, 1) for row in table)
    assert {row.model for row in table} == {"qponder"}


def test_sampled_score_rows_average_over_samples_and_skip_the_fitted_protocols():
    rows = [prediction(f"i{k}", k + 1.0 + s, sample=s) for k in range(20) for s in range(3)]
    sampled = metrics.Evaluated("qponder", "mini-koniq", "sampled")
    table = {row.metric: row for row in metrics.score_rows(rows, sampled)}
    assert table["mae"].value == pytest.approx(2.0)  # errors 1, 2, 3
    assert {row.protocol for row in table.values()} == {"raw"}


def test_score_rows_of_a_model_that_never_parses_have_no_value_and_a_reason():
    rows = [prediction(f"i{k}", None) for k in range(20)]
    table = {row.metric: row for row in metrics.score_rows(rows, GREEDY)}
    assert table["srcc"].value is None
    assert table["srcc"].reason == "too_few"
    assert table["parse_rate"].value == 0.0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (prediction("i3", 3.0), "answered twice"),
        (prediction("i3", 3.0, sample=1), "lacks images"),
        (prediction("i3", 3.0, sample=1, mos=99.0), "two mos values"),
    ],
)
def test_predictions_that_do_not_fit_together_are_errors(extra, message):
    rows = [prediction(f"i{k}", float(k)) for k in range(20)]
    with pytest.raises(ValueError, match=message):
        metrics.score_rows([*rows, extra], GREEDY)


def test_interval_at_full_size_is_narrow():
    scores, mos = noisy(10_000)
    result = estimate("srcc", scores, mos, resampling=Resampling(1000))
    assert result.ci_high - result.ci_low < 0.02


def test_no_image_at_all_is_too_few_and_not_an_error():
    found = metrics.estimate("srcc", [], [], resampling=metrics.Resampling(100))
    assert (found.value, found.reason, found.n) == (None, "too_few", 0)

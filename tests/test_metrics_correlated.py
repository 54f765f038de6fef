"""Steiger's Z and Zou's interval by hand and by simulation, and ranks that stay exact."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qponder_lib import metrics
from qponder_lib.metrics import Overlapping, Resampling, resampling, steiger_z, zou_interval
from qponder_lib.metrics.agreement import spearman_statistic
from qponder_lib.metrics.resampling import resample_counts

CORRELATION = st.floats(-0.5, 0.5)

# Chosen so that a pencil does: artanh(0.6) = ln 2, and n - 3 = 100.
PENCIL = Overlapping(0.6, 0.0, 0.5, 103)


def test_steigers_z_by_hand():
    """Pooled r is 0.3, its square 0.09.

    psi = 0.5 (1 - 0.18) - 0.045 (1 - 0.18 - 0.25) = 0.41 - 0.02565 = 0.38435; the variance is
    2 - 2 * 0.38435 / 0.91^2 = 1.071730, and Z = ln 2 * 10 / sqrt(1.071730).
    """
    z, p_value = steiger_z(PENCIL)
    assert z == pytest.approx(6.931472 / 1.035244, abs=1e-4)
    assert p_value < 1e-10


def test_zous_interval_by_hand():
    """h = 0.1959964, and tanh(ln 2 + h) = (4 e^2h - 1) / (4 e^2h + 1).

    The limits of 0.6 are 0.459873 and 0.710970, those of 0 are -+0.193526. The correlation of both
    is (0.5 (1 - 0.36 - 0.25) + 0.125) / 0.64 = 0.5, so the lower arm is
    sqrt(0.140127^2 + 0.193526^2 - 0.140127 * 0.193526) = 0.173118, the upper one
    sqrt(0.110970^2 + 0.193526^2 - 0.110970 * 0.193526) = 0.168198.
    """
    assert zou_interval(PENCIL) == pytest.approx((0.426882, 0.768198), abs=2e-6)


def normal_triples(first, second, between, n, times):
    """Sample correlations (first, second, between) of normal variables, shape (3, times)."""
    true = np.array([[1, first, between], [first, 1, second], [between, second, 1]])
    x, y, z = np.random.default_rng(0).multivariate_normal([0] * 3, true, (times, n)).T
    x, y, z = ((v - v.mean(axis=0)) / v.std(axis=0) for v in (x, y, z))
    return (x * y).mean(axis=0), (z * y).mean(axis=0), (x * z).mean(axis=0)


@pytest.mark.parametrize("between", [0.1, 0.4, 0.9])
def test_equal_correlations_of_normal_scores_give_a_standard_normal_z(between):
    """3,000 draws scatter the variance by 2.6 percent and the share beyond 1.96 by 0.4 percent."""
    triples = normal_triples(0.5, 0.5, between, 103, 3000)
    z = np.array([steiger_z(Overlapping(*r, 103))[0] for r in zip(*triples, strict=True)])
    assert z.var() == pytest.approx(1.0, abs=0.1)
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.05, abs=0.014)


def test_zous_95_percent_intervals_hold_the_true_difference_about_that_often():
    triples = normal_triples(0.6, 0.3, 0.5, 60, 3000)
    ends = np.array([zou_interval(Overlapping(*r, 60)) for r in zip(*triples, strict=True)])
    held = (ends[:, 0] < 0.3) & (ends[:, 1] > 0.3)
    assert held.mean() == pytest.approx(0.95, abs=0.014)


@settings(deadline=None)
@given(CORRELATION, CORRELATION)
def test_exchanging_the_two_turns_the_sign(first, second):
    one, other = (Overlapping(a, b, 0.3, 100) for a, b in ((first, second), (second, first)))
    assert steiger_z(one)[0] == pytest.approx(-steiger_z(other)[0], abs=1e-9)
    low, high = zou_interval(one)
    assert (-high, -low) == pytest.approx(zou_interval(other), abs=1e-9)
    assert low <= first - second <= high


def test_uncorrelated_scores_of_equal_worth_have_the_variance_of_two_samples():
    """With r = 0 throughout, z has the variance 2 / (n - 3) of two separate samples."""
    z, p_value = steiger_z(Overlapping(0.0, 0.0, 0.0, 103))
    assert (z, p_value) == (0.0, 1.0)
    half = 1.959964 * math.sqrt(2.0) / 10.0
    low, high = zou_interval(Overlapping(0.0, 0.0, 0.0, 103))
    assert (low, high) == pytest.approx((-half, half), abs=0.005)


@pytest.mark.parametrize(
    "wrong",
    [
        (1.0, 0.5, 0.5, 50),
        (0.5, math.nan, 0.5, 50),
        (0.5, 0.5, 1.2, 50),
        (0.5, 0.4, 0.5, 3),
        (0.9, 0.9, 0.1, 50),  # two scores that near to the MOS cannot be that far apart
    ],
)
def test_correlations_that_have_no_test_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Overlapping(*wrong)


def test_the_same_scores_twice_have_no_test():
    with pytest.raises(ValueError, match="nothing to test"):
        steiger_z(Overlapping(0.5, 0.5, 1.0, 50))


def test_textbook_and_bootstrap_agree_on_normal_scores():
    rng = np.random.default_rng(0)
    mos, noise = rng.normal(size=2000), rng.normal(size=(2, 2000))
    first, second = mos + 0.8 * noise[0], mos + noise[1] + 0.3 * noise[0]
    ids = [f"{k:04d}" for k in range(2000)]
    by_id = [dict(zip(ids, values.tolist(), strict=True)) for values in (first, second, mos)]
    boot = metrics.paired_difference("plcc", *by_id, resampling=Resampling(4000))
    correlations = [metrics.plcc(*pair) for pair in ((first, mos), (second, mos), (first, second))]
    textbook = zou_interval(Overlapping(*correlations, 2000))
    assert (boot.ci_low, boot.ci_high) == pytest.approx(textbook, abs=0.004)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 60), st.integers(1, 6))
def test_ranks_of_tied_resamples_are_scipys_to_the_last_digits(seed, n, levels):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, levels + 1, (2, n)).astype(float)
    statistic = spearman_statistic(x, y)
    for counts in resample_counts(n, Resampling(5, seed=seed)):
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


def test_resamples_do_not_depend_on_how_many_are_held_in_memory(monkeypatch):
    counts = np.concatenate(list(resample_counts(50, Resampling(40))))
    monkeypatch.setattr(resampling, "_CHUNK_ELEMENTS", 50 * 7)
    again = np.concatenate(list(resample_counts(50, Resampling(40))))
    assert (counts == again).all()

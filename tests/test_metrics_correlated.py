"""Steiger's Z and Zou's interval against worked values, and ranks that stay exact."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qponder_lib import metrics
from qponder_lib.metrics import Overlapping, Resampling, resampling, steiger_z, zou_interval
from qponder_lib.metrics.agreement import spearman_statistic
from qponder_lib.metrics.resampling import resample_counts

CORRELATION = st.floats(-0.5, 0.5)

# first, second, between, n as printed by the R package cocor with its results; inputs have four
# digits, so Z agrees to about a thousandth of itself.
COCOR = [
    (Overlapping(-0.1741, 0.2015, 0.3734, 646), -8.6124, (-0.4568, -0.2921)),
    (Overlapping(0.0228, 0.3522, 0.3718, 553), -7.1345, None),
    (Overlapping(0.2493, 0.3395, 0.4082, 553), -2.0660, None),
]


@pytest.mark.parametrize(("compared", "z", "interval"), COCOR)
def test_steiger_and_zou_equal_the_values_printed_by_cocor(compared, z, interval):
    assert steiger_z(compared)[0] == pytest.approx(z, rel=3e-4)
    if interval:
        assert zou_interval(compared) == pytest.approx(interval, abs=1e-4)


def test_p_value_equals_the_one_printed_by_cocor():
    assert steiger_z(COCOR[2][0])[1] == pytest.approx(0.0388, abs=1e-4)


def test_zous_own_example():
    """Zou (2007), overlapping correlations: .396 and .179, .088 between them, 66 persons."""
    low, high = zou_interval(Overlapping(0.396, 0.179, 0.088, 66))
    assert (round(low, 3), round(high, 3)) == (-0.093, 0.517)


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

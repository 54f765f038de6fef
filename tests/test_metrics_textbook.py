"""The paired bootstrap against the textbook: Steiger's Z and Zou's interval on normal scores.

Both assume normal variables and images drawn one by one, so they check the bootstrap and do not
replace it.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest

from qponder_lib.evaluation.scoring import Predictions, compare
from qponder_lib.metrics.statistics import plcc


def steiger_p(first, second, between, n):
    """Steiger (1980), Psychological Bulletin 87, 245-251: p value of two overlapping correlations.

    The mean of both correlations stands in the covariance.
    """
    square = ((first + second) / 2.0) ** 2
    psi = between * (1.0 - 2.0 * square) - 0.5 * square * (1.0 - 2.0 * square - between**2)
    gap = math.atanh(first) - math.atanh(second)
    z = gap * math.sqrt((n - 3) / (2.0 - 2.0 * psi / (1.0 - square) ** 2))
    return 2.0 * NormalDist().cdf(-abs(z))


def zou_interval(r1, r2, r12, n):
    """Zou (2007), Psychological Methods 12, 399-413: 95 % interval of their difference."""
    half = NormalDist().inv_cdf(0.975) / math.sqrt(n - 3)
    (low1, high1), (low2, high2) = (
        (math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)) for r in (r1, r2)
    )
    shared = (r12 - 0.5 * r1 * r2) * (1.0 - r1**2 - r2**2 - r12**2) + r12**3
    c = shared / ((1.0 - r1**2) * (1.0 - r2**2))
    below = math.sqrt((r1 - low1) ** 2 + (high2 - r2) ** 2 - 2 * c * (r1 - low1) * (high2 - r2))
    above = math.sqrt((high1 - r1) ** 2 + (r2 - low2) ** 2 - 2 * c * (high1 - r1) * (r2 - low2))
    return r1 - r2 - below, r1 - r2 + above


def test_zous_interval_by_hand():
    """artanh(0.6) = ln 2, h = 0.1959964, and tanh(ln 2 + h) = (4 e^2h - 1) / (4 e^2h + 1).

    The limits of 0.6 are 0.459873 and 0.710970, those of 0 are -+0.193526. The correlation of both
    is (0.5 (1 - 0.36 - 0.25) + 0.125) / 0.64 = 0.5, so the lower arm is
    sqrt(0.140127^2 + 0.193526^2 - 0.140127 * 0.193526) = 0.173118, the upper one
    sqrt(0.110970^2 + 0.193526^2 - 0.110970 * 0.193526) = 0.168198.
    """
    assert zou_interval(0.6, 0.0, 0.5, 103) == pytest.approx((0.426882, 0.768198), abs=2e-6)


def test_steigers_p_by_hand():
    """Pooled r is 0.25, its square 0.0625; psi = 0.5 * 0.875 - 0.03125 * (0.875 - 0.25) = 0.41797.

    The variance is 2 - 2 * 0.41797 / 0.9375^2 = 1.04889; Z = (0.30952 - 0.20273) sqrt(200 /
    1.04889) = 1.4746, and the normal distribution leaves 0.0702 beyond it on either side.
    """
    assert steiger_p(0.3, 0.2, 0.5, 203) == pytest.approx(0.1403, abs=2e-4)


@pytest.mark.usefixtures("many_resamples")
@pytest.mark.parametrize("noise", [0.95, 1.0, 1.1])
def test_bootstrap_has_the_interval_and_p_value_of_the_textbook_on_normal_scores(noise):
    rng = np.random.default_rng(0)
    mos, shared, own = rng.normal(size=(3, 2000))
    first, second = mos + 0.9 * shared, mos + noise * own + 0.3 * shared
    both = (Predictions.of_scores(scores, mos) for scores in (first, second))
    boot = compare(*both, [("plcc", "raw")])["plcc", "raw"]
    correlations = plcc(first, mos), plcc(second, mos), plcc(first, second)
    textbook = zou_interval(*correlations, 2000)
    assert (boot.ci_low, boot.ci_high) == pytest.approx(textbook, abs=0.004)
    assert boot.p_value == pytest.approx(steiger_p(*correlations, 2000), abs=0.03)

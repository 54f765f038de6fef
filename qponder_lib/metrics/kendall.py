"""Intervals of Kendall's tau-b, its means and its differences, from asymptotic standard errors.

A resample costs a sort, and 10,000 of them on 10,000 images minutes; what one image adds to tau-b
costs a single sort. Summed over images that share a reference it gives a clustered error too.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from qponder_lib.metrics.agreement import FloatArray
from qponder_lib.metrics.resampling import Interval

ONE_CLUSTER = "one_cluster"


def tau_b_influence(x: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    """Compute tau-b and by how much each image moves it.

    Args:
        x: Scores, shape (n,), not constant.
        y: Mean opinion scores, shape (n,), not constant.

    Returns:
        Tau-b, and the influence of each image, shape (n,); these sum to 0, and the mean of their
        squares is n times the asymptotic variance.

    Source:
        The asymptotic variance of Brown and Benedetti (1977), Journal of the American Statistical
        Association 72, 309-315; the tests derive it as the slope of tau-b in an image's weight.

    Example:
        >>> tau, influence = tau_b_influence(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
        >>> round(tau, 4), influence.round(4).tolist()
        (0.3333, [1.3333, -0.6667, -0.6667])
    """
    n = len(x)
    concordance = _concordance(x, y) / n
    untied_x, untied_y = _untied(x) / n, _untied(y) / n
    pairs_x, pairs_y = untied_x.mean(), untied_y.mean()
    scale = math.sqrt(pairs_x * pairs_y)
    tau = float(np.clip(concordance.mean() / scale, -1.0, 1.0))
    ties = tau / 2.0 * (untied_x / pairs_x + untied_y / pairs_y)
    return tau, 2.0 * (concordance / scale - ties)


@dataclass(frozen=True, slots=True)
class Term:
    """One tau-b in a sum: its weight, the places of its images, their scores and their MOS."""

    weight: float
    kept: NDArray[np.integer]
    scores: FloatArray
    mos: FloatArray


@dataclass(frozen=True, slots=True)
class Asymptotic:
    """A value with its asymptotic standard error.

    Attributes:
        value: The value.
        error: Its standard error, or None with a reason.
        reason: Why there is none.
    """

    value: float
    error: float | None
    reason: str | None = None

    def within_one(self, confidence: float) -> Interval:
        """Make the interval of a coefficient on Fisher's scale, where it cannot leave -1 to 1."""
        if self.error is None:
            return Interval(None, None, self.reason)
        if abs(self.value) > 1.0 - 1e-12:
            return Interval(self.value, self.value)
        place, reach = math.atanh(self.value), _reach(confidence) * self.error
        reach /= 1.0 - self.value**2
        return Interval(math.tanh(place - reach), math.tanh(place + reach))

    def around(self, confidence: float) -> Interval:
        """Make the symmetric interval of a difference."""
        if self.error is None:
            return Interval(None, None, self.reason)
        reach = _reach(confidence) * self.error
        return Interval(self.value - reach, self.value + reach)

    def two_sided_p(self) -> float | None:
        """Test that the value is 0; None where its error is 0 and it is not, or where it has none.

        Example:
            >>> round(Asymptotic(0.1, 0.05).two_sided_p(), 4), Asymptotic(0.0, 0.0).two_sided_p()
            (0.0455, 1.0)
        """
        if self.error is None or (self.error == 0.0 and self.value != 0.0):
            return None
        distance = abs(self.value) / self.error if self.error else 0.0
        return 2.0 * NormalDist().cdf(-distance)


def combined_tau_b(
    terms: Sequence[Term], n: int, clusters: Sequence[str] | None = None
) -> Asymptotic:
    """Add up weighted tau-b of the same images: a mean over samples, or a difference.

    What one image adds to the sum is the sum of what it adds to the terms, so images that two
    models rank alike cancel.

    Args:
        terms: What is added.
        n: Images in all.
        clusters: Group of each image, or None for images that are independent.

    Returns:
        The sum. No error, with reason "one_cluster", if there is only one group.

    Raises:
        ValueError: If there is not one cluster per image.

    Source:
        Decision D73.
    """
    value, influence = 0.0, np.zeros(n)
    for term in terms:
        tau, moved = tau_b_influence(term.scores, term.mos)
        value += term.weight * tau
        influence[term.kept] += term.weight * moved / len(term.kept)
    answered = np.zeros(n, dtype=bool)
    answered[np.concatenate([term.kept for term in terms])] = True
    codes = np.arange(n) if clusters is None else np.unique(list(clusters), return_inverse=True)[1]
    if codes.shape != (n,):
        raise ValueError(f"expected a cluster for each of {n} images, got {codes.shape}")
    n_units = len(np.unique(codes[answered]))
    if n_units < 2:
        return Asymptotic(value, None, ONE_CLUSTER)
    by_unit = np.bincount(codes, weights=influence)
    return Asymptotic(value, math.sqrt(float(by_unit @ by_unit) * n_units / (n_units - 1)))


def mean_of_sets(parts: Sequence[Asymptotic]) -> Asymptotic:
    """Average over sets that share no image: their variances add up.

    Example:
        >>> mean_of_sets([Asymptotic(0.5, 0.03), Asymptotic(0.7, 0.04)])
        Asymptotic(value=0.6, error=0.025, reason=None)
    """
    value = float(np.mean([part.value for part in parts]))
    missing = [part.reason for part in parts if part.error is None]
    if missing:
        return Asymptotic(value, None, missing[0])
    return Asymptotic(value, math.hypot(*(part.error for part in parts)) / len(parts))


def _reach(confidence: float) -> float:
    return NormalDist().inv_cdf((1.0 + confidence) / 2.0)


def _untied(values: FloatArray) -> FloatArray:
    """Count for each value those that differ from it."""
    _, group_of, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (len(values) - sizes[group_of]).astype(np.float64)


def _concordance(x: FloatArray, y: FloatArray) -> FloatArray:
    """Count for each image the concordant less the discordant pairs it is part of.

    Images come in order of x; among those already there, the ones below and above in y are
    counted once before those of the same x join, and once after.
    """
    everywhere = sorted(y.tolist())
    balance = np.empty(len(x))
    there: list[float] = []
    order = np.argsort(x, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(x[order])) + 1):
        ys = y[group].tolist()
        before = [_below_less_above(there, value) for value in ys]
        for value in ys:
            insort(there, value)
        after = [_below_less_above(there, value) for value in ys]
        total = [_below_less_above(everywhere, value) for value in ys]
        balance[group] = np.array(before) + np.array(after) - np.array(total)
    return balance


def _below_less_above(ordered: list[float], value: float) -> int:
    return bisect_left(ordered, value) + bisect_right(ordered, value) - len(ordered)

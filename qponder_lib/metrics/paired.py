"""Differences of two models on the same images, with their intervals and p values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from qponder_lib.metrics.agreement import MIN_N, DegenerateInputError, FloatArray, Statistic
from qponder_lib.metrics.estimates import mean_over_samples, samples_of, tau_b_terms
from qponder_lib.metrics.kendall import Asymptotic, Term, combined_tau_b
from qponder_lib.metrics.resampling import Resampling, draw, percentiles, two_sided_p

ScoresById = Mapping[str, float | None]
NO_SPREAD = "no_spread"


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of a metric between two models on the same images: first minus second.

    Attributes:
        metric: Name of the metric.
        value: First minus second, or None with a reason.
        ci_low: Lower end of the paired interval, or None.
        ci_high: Upper end of the paired interval, or None.
        p_value: Two-sided p value of no difference, or None.
        n: Images that both models answered readably.
        n_excluded: Images that at least one of them did not.
        reason: Why something is missing; None if all is well.
    """

    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    n: int
    n_excluded: int
    reason: str | None = None

    @classmethod
    def missing(cls, metric: str, reason: str | None, counts: Mapping[str, int]) -> Self:
        """State why there is no difference."""
        return cls(metric, None, None, None, None, **counts, reason=reason)

    @classmethod
    def of_draws(
        cls,
        metric: str,
        value: float,
        draws: FloatArray,
        plan: Resampling,
        counts: Mapping[str, int],
    ) -> Self:
        """Take interval and p value from the values on the resamples."""
        interval = percentiles(draws, plan)
        p_value = None if interval.reason else two_sided_p(draws)
        ends = interval.low, interval.high
        return cls(metric, value, *ends, p_value, **counts, reason=interval.reason)

    @classmethod
    def asymptotic(
        cls, metric: str, part: Asymptotic, confidence: float, counts: Mapping[str, int]
    ) -> Self:
        """Take interval and p value from the standard error."""
        interval, p_value = part.around(confidence), part.two_sided_p()
        reason = interval.reason or (NO_SPREAD if p_value is None else None)
        ends = interval.low, interval.high
        return cls(metric, part.value, *ends, p_value, **counts, reason=reason)


@dataclass(frozen=True, slots=True)
class PairedStatistic:
    """A difference of two models that waits for its interval.

    Attributes:
        ids: Images that are compared; counts and terms have them in this order.
        statistic: First minus second as a function of counts; None for krcc, or with a reason.
        terms: For krcc what is added up to first minus second.
        reason: Why there is neither.
    """

    ids: tuple[str, ...]
    statistic: Statistic | None
    reason: str | None = None
    terms: tuple[Term, ...] = ()

    @property
    def defined(self) -> bool:
        """Whether there is a difference."""
        return self.statistic is not None or bool(self.terms)

    def difference(
        self, metric: str, plan: Resampling, clusters: Sequence[str] | None, n_excluded: int
    ) -> Difference:
        """Make the interval.

        Args:
            metric: Name of the metric.
            plan: How it is made.
            clusters: Group of each of `ids`, or None.
            n_excluded: Images that are not compared.
        """
        n = len(self.ids)
        counts = {"n": n, "n_excluded": n_excluded}
        if not self.defined:
            return Difference.missing(metric, self.reason, counts)
        if self.statistic is None:
            part = combined_tau_b(self.terms, n, clusters)
            return Difference.asymptotic(metric, part, plan.confidence, counts)
        value = float(self.statistic(np.ones((1, n)))[0])
        draws = draw(self.statistic, n, plan, clusters)
        return Difference.of_draws(metric, value, draws, plan, counts)


def paired_difference(
    metric: str,
    first: ScoresById | Sequence[ScoresById],
    second: ScoresById | Sequence[ScoresById],
    mos: Mapping[str, float],
    *,
    resampling: Resampling | None = None,
    clusters: Mapping[str, str] | None = None,
) -> Difference:
    """Compare two models on the same images; every resample draws the same images for both.

    Args:
        metric: One of `agreement.METRICS`.
        first: Scores by image id, or one such mapping per sample. None: could not be read.
        second: The same of the other model.
        mos: MOS by image id; the images compared.
        resampling: How the interval is made; None for the defaults. Interval and p value of krcc
            are asymptotic and take only the coverage from here.
        clusters: Photograph or reference by image id, or None.

    Returns:
        First minus second. For every metric but parse_rate, on the images for which both have a
        readable answer (in at least one sample).

    Raises:
        ValueError: If a model's ids are not exactly those of `mos`, or the metric is unknown.
    """
    compared = paired_statistic(metric, first, second, mos)
    groups = None if clusters is None else [clusters[image_id] for image_id in compared.ids]
    plan = resampling or Resampling()
    return compared.difference(metric, plan, groups, len(mos) - len(compared.ids))


def paired_statistic(
    metric: str,
    first: ScoresById | Sequence[ScoresById],
    second: ScoresById | Sequence[ScoresById],
    mos: Mapping[str, float],
    *,
    min_n: int = MIN_N,
) -> PairedStatistic:
    """Prepare the difference of `paired_difference`; arguments as there."""
    ids = sorted(mos)
    sides = [
        [_answers_by_id(sample, ids) for sample in samples_of(side)] for side in (first, second)
    ]
    if metric != "parse_rate":
        answered = [
            [any(s[i] is not None for s in side) for i in range(len(ids))] for side in sides
        ]
        common = [i for i in range(len(ids)) if answered[0][i] and answered[1][i]]
        sides = [[[sample[i] for i in common] for sample in side] for side in sides]
        ids = [ids[i] for i in common]
    targets = [mos[image_id] for image_id in ids]
    try:
        if metric == "krcc":
            plus, minus = (
                tau_b_terms(side, targets, sign, min_n)
                for side, sign in zip(sides, (1.0, -1.0), strict=True)
            )
            return PairedStatistic(tuple(ids), None, terms=(*plus, *minus))
        both = [mean_over_samples(metric, side, targets, min_n) for side in sides]
    except DegenerateInputError as error:
        return PairedStatistic(tuple(ids), None, error.reason)
    return PairedStatistic(tuple(ids), lambda weights: both[0](weights) - both[1](weights))


def _answers_by_id(scores: ScoresById, ids: Sequence[str]) -> list[float | None]:
    if set(scores) != set(ids):
        missing, unknown = sorted(set(ids) - set(scores)), sorted(set(scores) - set(ids))
        raise ValueError(
            f"ids differ from those of mos: missing {missing[:5]}, unknown {unknown[:5]}"
        )
    return [scores[image_id] for image_id in ids]

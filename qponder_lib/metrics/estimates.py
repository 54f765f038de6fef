"""Estimates with their intervals: what a cell of a table needs.

Intervals come from resampling images, or the photographs they were made of. Answers that could
not be read come in as None; they are counted and left out, never filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qponder_lib.metrics.agreement import (
    MIN_N,
    STATISTICS,
    DegenerateInputError,
    FloatArray,
    Statistic,
    checked,
    krcc,
    mean_statistic,
)
from qponder_lib.metrics.kendall import Term, combined_tau_b
from qponder_lib.metrics.resampling import Interval, Resampling, bootstrap_interval

Answers = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number.

    Attributes:
        value: The number, or None with a reason.
        ci_low: Lower end of the interval, or None.
        ci_high: Upper end of the interval, or None.
        n: Images with at least one answer that could be read.
        n_unparsed: Answers that could not be read (over all samples of all images).
        reason: Why the value or its interval is missing or how it deviates; None if all is well.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_unparsed: int
    reason: str | None = None


def estimate(
    metric: str,
    scores: Answers | Sequence[Answers],
    mos: Sequence[float],
    *,
    resampling: Resampling | None = None,
    clusters: Sequence[str] | None = None,
    min_n: int = MIN_N,
) -> Estimate:
    """Measure one metric with its interval.

    Args:
        metric: One of `agreement.METRICS`.
        scores: One answer per image, or several lists of them (the k samples of sampled
            decoding: the metric is computed per sample and averaged). None: could not be read.
        mos: Mean opinion score per image.
        resampling: How the interval is made; None for a value without interval. That of krcc is
            asymptotic and takes only its coverage from here.
        clusters: Photograph or reference of each image, if images that share one are to be drawn
            together; None draws images one by one.
        min_n: Fewest readable answers (in every sample) for which a value is given.

    Returns:
        The estimate; degenerate data give no value and a reason, never 0.

    Raises:
        ValueError: If the metric is unknown or lengths differ.

    Example:
        >>> estimate("mae", [50.0, None, 70.0], [40.0, 50.0, 75.0], min_n=2).value
        7.5
        >>> estimate("srcc", [50.0] * 12, range(12)).reason
        'constant_scores'
    """
    samples = samples_of(scores)
    readable = np.array(
        [[answer is not None for answer in sample] for sample in samples], dtype=bool
    )
    n, n_unparsed = int(readable.any(axis=0).sum()), int((~readable).sum())
    if readable.shape[1:] != (len(mos),):
        raise ValueError(f"expected one score per mos, got {readable.shape} for {len(mos)} mos")
    try:
        if metric == "krcc":
            value, interval = _kendall(samples, mos, resampling, clusters, min_n)
            return Estimate(value, interval.low, interval.high, n, n_unparsed, interval.reason)
        statistic = mean_over_samples(metric, samples, mos, min_n)
    except DegenerateInputError as error:
        return Estimate(None, None, None, n, n_unparsed, error.reason)
    value = float(statistic(np.ones((1, len(mos))))[0])
    if resampling is None:
        return Estimate(value, None, None, n, n_unparsed)
    interval = bootstrap_interval(statistic, len(mos), resampling, clusters)
    return Estimate(value, interval.low, interval.high, n, n_unparsed, interval.reason)


def agreement(
    scores: Sequence[float], mos: Sequence[float], resampling: Resampling | None = None
) -> dict[str, float | None]:
    """Measure PLCC and SRCC as cells of a table: plcc, plcc_low, plcc_high, srcc, ...

    Example:
        >>> sorted(agreement(range(20), range(20)))
        ['plcc', 'plcc_high', 'plcc_low', 'srcc', 'srcc_high', 'srcc_low']
    """
    cells: dict[str, float | None] = {}
    for metric in ("plcc", "srcc"):
        result = estimate(metric, scores, mos, resampling=resampling or Resampling())
        cells |= {metric: result.value, f"{metric}_low": result.ci_low}
        cells |= {f"{metric}_high": result.ci_high}
    return cells


def mean_over_samples(
    metric: str, samples: Sequence[Answers], mos: Sequence[float], min_n: int
) -> Statistic:
    """Prepare a metric that is computed per sample, on its readable answers, and averaged."""
    if metric == "parse_rate":
        readable = [[answer is not None for answer in sample] for sample in samples]
        if len(mos) < min_n:
            raise DegenerateInputError("too_few", f"{len(mos)} images, at least {min_n} needed")
        return mean_statistic(np.mean(np.array(readable, dtype=np.float64), axis=0))
    if metric not in STATISTICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {tuple(STATISTICS)}")
    prepared = []
    for sample in samples:
        x, y = checked(metric, *_readable(sample, mos), min_n)
        prepared.append((_places(sample), STATISTICS[metric](x, y)))

    def statistic(counts: FloatArray) -> FloatArray:
        values = [
            one(counts if len(kept) == counts.shape[1] else counts.take(kept, axis=1))
            for kept, one in prepared
        ]
        return np.mean(values, axis=0)

    return statistic


def tau_b_terms(
    samples: Sequence[Answers], mos: Sequence[float], weight: float, min_n: int
) -> list[Term]:
    """Prepare the mean of tau-b over samples, on their readable answers, times a weight.

    Raises:
        DegenerateInputError: If a sample has no tau-b.
    """
    return [
        Term(
            weight / len(samples), _places(sample), *checked("krcc", *_readable(sample, mos), min_n)
        )
        for sample in samples
    ]


def _kendall(
    samples: Sequence[Answers],
    mos: Sequence[float],
    resampling: Resampling | None,
    clusters: Sequence[str] | None,
    min_n: int,
) -> tuple[float, Interval]:
    """Measure tau-b, and its interval if one is asked for."""
    if resampling is None:
        values = [krcc(*_readable(sample, mos), min_n=min_n) for sample in samples]
        return float(np.mean(values)), Interval(None, None)
    found = combined_tau_b(tau_b_terms(samples, mos, 1.0, min_n), len(mos), clusters)
    return found.value, found.within_one(resampling.confidence)


def _places(sample: Answers) -> NDArray[np.integer]:
    return np.array([i for i, answer in enumerate(sample) if answer is not None], dtype=int)


def _readable(sample: Answers, mos: Sequence[float]) -> tuple[list[float], list[float]]:
    pairs = [(s, m) for s, m in zip(sample, mos, strict=True) if s is not None]
    return [s for s, _ in pairs], [m for _, m in pairs]


def samples_of(scores: object) -> list:
    """Take one sample for a list of one."""
    if isinstance(scores, Mapping):
        return [scores]
    items = list(scores)
    nested = items and isinstance(items[0], Mapping | Sequence | np.ndarray)
    return items if nested and not isinstance(items[0], str) else [items]

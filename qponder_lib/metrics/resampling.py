"""Resampling with replacement: how often each image is drawn, and what intervals follow.

A percentile interval of a statistic needs its value on thousands of resamples. A resample is a
row of counts, and the statistics of `agreement` take whole matrices of counts, so no loop over
resamples is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qponder_lib.metrics.agreement import FloatArray, Statistic

_CHUNK_ELEMENTS = 1 << 15  # 256 KiB of counts, and what is made of them, stay in the cache


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made: number of resamples, coverage of the interval, seed."""

    n_resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_resamples < 1 or not 0.0 < self.confidence < 1.0:
            raise ValueError(f"expected n_resamples >= 1 and confidence in (0, 1), got {self}")


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval, or the reason why there is none."""

    low: float | None
    high: float | None
    reason: str | None = None


def bootstrap_interval(
    statistic: Statistic,
    n: int,
    resampling: Resampling,
    clusters: Sequence[str] | None = None,
) -> Interval:
    """Make the percentile interval of a prepared statistic.

    Args:
        statistic: Function of counts, as those of `agreement.STATISTICS`.
        n: Number of images.
        resampling: Number of resamples, coverage, seed.
        clusters: Group of each image to be drawn together, or None.

    Returns:
        The interval; none, with reason "degenerate_resamples", if the statistic is undefined on
        even one resample.
    """
    return percentiles(draw(statistic, n, resampling, clusters), resampling)


def resample_counts(
    n: int, resampling: Resampling, clusters: Sequence[str] | None = None
) -> Iterator[FloatArray]:
    """Yield how often each image is drawn, in chunks of shape (resamples, n)."""
    codes = None if clusters is None else np.unique(list(clusters), return_inverse=True)[1]
    if codes is not None and codes.shape != (n,):
        raise ValueError(f"expected a cluster for each of {n} images, got {codes.shape}")
    n_units = n if codes is None else int(codes.max()) + 1
    rng = np.random.default_rng(resampling.seed)
    n_rows = max(1, _CHUNK_ELEMENTS // n)
    for start in range(0, resampling.n_resamples, n_rows):
        rows = min(n_rows, resampling.n_resamples - start)
        drawn = rng.integers(0, n_units, size=(rows, n_units))
        drawn += np.arange(rows)[:, None] * n_units
        counts = np.bincount(drawn.ravel(), minlength=rows * n_units).reshape(rows, n_units)
        counts = counts.astype(np.float64)
        yield counts if codes is None else counts.take(codes, axis=1)


def draw(
    statistic: Statistic,
    n: int,
    resampling: Resampling,
    clusters: Sequence[str] | None = None,
) -> FloatArray:
    """Compute a statistic on every resample, shape (resamples,); arguments as above."""
    chunks = resample_counts(n, resampling, clusters)
    return np.concatenate([statistic(counts) for counts in chunks])


def percentiles(draws: FloatArray, resampling: Resampling) -> Interval:
    """Cut equal tails off the values of the resamples."""
    if not np.isfinite(draws).all():
        return Interval(None, None, "degenerate_resamples")
    tail = (1.0 - resampling.confidence) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def two_sided_p(draws: FloatArray) -> float:
    """Twice the smaller share of draws beyond 0; the 1 added keeps it above 0."""
    smaller = min(int((draws <= 0.0).sum()), int((draws >= 0.0).sum()))
    return min(1.0, 2.0 * (smaller + 1) / (len(draws) + 1))

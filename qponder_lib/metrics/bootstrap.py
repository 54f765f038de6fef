"""Numbers with intervals: the bootstrap over photographs and over training runs, differences.

A resample draws photographs with replacement, each with all images that were made of it, and is a
row of counts: how often each image is in it. The statistics of `metrics.statistics` take whole
matrices of counts, so no loop over resamples is left. Statistics that are computed on the same
counts are paired: their difference has an interval of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from qponder_lib.metrics.statistics import FloatArray, Statistic

N_RESAMPLES = 10_000
"""Resamples of every interval of the kit."""
CONFIDENCE = 0.95
"""Coverage of every interval of the kit."""
Z_95 = 1.959963984540054
"""Half-width of a normal 95 % interval in standard errors."""

NO_INTERVAL = "no_interval"
ONE_REFERENCE = "one_reference"
DEGENERATE_RESAMPLES = "degenerate_resamples"

_CHUNK_ELEMENTS = 1 << 15  # 256 KiB of counts, and what is made of them, stay in the cache
_THREADS_FROM = 50_000  # images; below, a thread costs more than it saves

Runs = Literal["fixed", "resampled"]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its interval.

    Attributes:
        value: The number, or None with a reason.
        ci_low: Lower end of the interval, or None with a reason.
        ci_high: Upper end of the interval, or None.
        n: Images that the number is computed on.
        n_references: Photographs that these images were made of; `n` where each has its own.
        n_unparsed: Predictions without a score (over all samples of all images).
        reason: Why value or interval is missing, or how it deviates; None if all is well.
        draws: Value on every resample, shape (resamples,), or None without an interval.
        plan: Seed, photographs and images of the resamples; equal plans drew the same images.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_references: int
    n_unparsed: int
    reason: str | None = None
    draws: FloatArray | None = field(default=None, repr=False, compare=False)
    plan: tuple[int, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.value is None or self.ci_low is None) and not self.reason:
            raise ValueError("a missing number needs a reason")


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two numbers measured on the same images, first minus second.

    Attributes:
        value: First minus second, or None with a reason.
        ci_low: Lower end of the paired interval, or None with a reason.
        ci_high: Upper end of the paired interval, or None.
        p_value: Two-sided p value of no difference, or None.
        n: Images for which both predictions were parsed.
        n_references: Photographs that these images were made of.
        n_excluded: Images for which at least one prediction is missing or unparsed.
        n_runs: Training runs that the value is the mean of.
        reason: Why something is missing, or how it deviates; None if all is well.
        draws: Value on every resample, shape (resamples,), or None without an interval.
        plan: As in `Estimate`.
    """

    value: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    n: int
    n_references: int
    n_excluded: int
    n_runs: int = 1
    reason: str | None = None
    draws: FloatArray | None = field(default=None, repr=False, compare=False)
    plan: tuple[int, ...] = field(default=(), repr=False, compare=False)


Number = TypeVar("Number", Estimate, Difference)
_HIDDEN = ("draws", "plan")
ESTIMATE_COLUMNS = tuple(f.name for f in fields(Estimate) if f.name not in _HIDDEN)
DIFFERENCE_COLUMNS = tuple(f.name for f in fields(Difference) if f.name not in _HIDDEN)


def cells(number: Estimate | Difference) -> dict[str, Any]:
    """Return a number as the cells of a table row, without its draws."""
    return {f.name: getattr(number, f.name) for f in fields(number) if f.name not in _HIDDEN}


def missing(reason: str, n: int = 0, n_references: int = 0, n_unparsed: int = 0) -> Estimate:
    """State why there is no number."""
    return Estimate(None, None, None, n, n_references, n_unparsed, reason)


def estimate(
    statistic: Statistic,
    n: int,
    clusters: Sequence[str] | None = None,
    *,
    seed: int = 0,
    n_unparsed: int = 0,
) -> Estimate:
    """Measure a statistic with its interval.

    Args:
        statistic: Function of counts, as those of `metrics.statistics`.
        n: Number of images.
        clusters: Photograph of each image; images of one are drawn together. None draws images.
        seed: Seed of the resamples.
        n_unparsed: Predictions that were left out, for the record.

    Returns:
        The estimate. It has no interval, with the reason "degenerate_resamples", if the statistic
        is undefined on even one resample, and with "one_reference" if there is one photograph.

    Example:
        >>> from qponder_lib.metrics.statistics import mean_statistic
        >>> found = estimate(mean_statistic(np.arange(40.0)), 40)
        >>> found.value, found.ci_low < 19.5 < found.ci_high
        (19.5, True)
    """
    return estimates({"": statistic}, n, clusters, seed=seed, n_unparsed=n_unparsed)[""]


def estimates(
    statistics: Mapping[Key, Statistic],
    n: int,
    clusters: Sequence[str] | None = None,
    *,
    seed: int = 0,
    n_unparsed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[Key, Estimate]:
    """Measure several statistics of the same images on the same resamples; as `estimate`."""
    together = list(statistics.values())
    drawn = draw(together, n, clusters, seed=seed, progress=progress)
    n_references = n if clusters is None else len(set(clusters))
    plan = (seed, n_references, n, len(drawn))
    found = {}
    for values, (key, statistic) in zip(drawn.T, statistics.items(), strict=True):
        value, counts = float(statistic(np.ones((1, n)))[0]), (n, n_references, n_unparsed)
        if n_references < 2 or not np.isfinite(values).all():
            reason = ONE_REFERENCE if n_references < 2 else DEGENERATE_RESAMPLES
            found[key] = Estimate(value, None, None, *counts, reason, plan=plan)
        else:
            found[key] = Estimate(value, *_interval(values), *counts, None, values, plan)
    return found


def difference(first: Estimate, second: Estimate, *, n_excluded: int = 0) -> Difference:
    """Subtract two numbers that were measured on the same resamples.

    Args:
        first: A number.
        second: What is subtracted from it.
        n_excluded: Images that were left out, for the record.

    Returns:
        First minus second with the paired interval and p value; n as of the first.

    Raises:
        ValueError: If the two were not measured on the same resamples.
    """
    drawn = first.draws is not None and second.draws is not None
    if drawn and first.plan != second.plan:
        raise ValueError(f"expected numbers of the same resamples: {first.plan}, {second.plan}")
    value = None if None in (first.value, second.value) else first.value - second.value
    counts, reason = (first.n, first.n_references, n_excluded), first.reason or second.reason
    found = Difference(value, None, None, None, *counts, 1, reason, plan=first.plan)
    return _with_draws(found, first.draws - second.draws) if drawn else found


def mean_over_sets(by_set: Mapping[str, Number]) -> Number:
    """Average a number over sets; resamples are drawn within each set.

    Args:
        by_set: The number by set. Its seeds differ from set to set, or all sets would draw the
            images at the same places.

    Returns:
        The plain mean; counts are summed. If one set has no value, neither has the mean, and the
        reason names the set.
    """
    numbers = list(by_set.values())
    summed = {"n", "n_references", "n_unparsed", "n_excluded"} & set(cells(numbers[0]))
    counts = {name: sum(getattr(one, name) for one in numbers) for name in summed}
    lacking = {name: one.reason for name, one in by_set.items() if one.value is None}
    odd = lacking or {name: one.reason for name, one in by_set.items() if one.reason}
    value = None if lacking else float(np.mean([one.value for one in numbers]))
    mean = replace(numbers[0], value=value, reason=named_reasons(odd, len(by_set)), **counts)
    unknown = any(one.draws is None for one in numbers)
    return _with_draws(mean, None if unknown else np.mean([one.draws for one in numbers], axis=0))


def mean_over_runs(by_run: Sequence[Difference], runs: Runs = "fixed") -> Difference:
    """Average a difference over training runs that were measured on the same resamples.

    Args:
        by_run: The difference of each run (of both sides, if both were trained with its seed).
        runs: "fixed" for a statement about these trained models: the interval is over images
            alone. "resampled" for a statement about the method that trained them: it is over runs
            too. Images and runs are crossed, every run predicts for every image, so each resample
            draws both, independently of each other. Of R runs R - 1 are drawn, without which the
            variance between runs would come out too small by (R - 1) / R.

    Returns:
        The mean; its counts are those of the first run.

    Raises:
        ValueError: If runs are to be resampled and there is only one: how far another one would
            lie is not known then.

    Source:
        Two-level resampling: Davison and Hinkley, Bootstrap Methods and their Application (1997),
        section 3.8; crossed factors: Owen, The pigeonhole bootstrap, Annals of Applied Statistics
        1 (2007), 386-411; runs of reinforcement learning: Agarwal et al. (NeurIPS 2021, rliable);
        R - 1 of R: McCarthy and Snowden (1985).
    """
    if runs == "resampled" and len(by_run) < 2:
        raise ValueError(
            "one training run does not say how far another would lie: expected at least two runs "
            'to resample, or runs="fixed" for a statement about this one'
        )
    odd = next((one for one in by_run if one.value is None), None) or next(
        (one for one in by_run if one.draws is None), by_run[0]
    )
    value = None if odd.value is None else float(np.mean([one.value for one in by_run]))
    mean = replace(odd, value=value, n_runs=len(by_run))
    if odd.draws is None:
        return mean
    draws = np.stack([one.draws for one in by_run], axis=1)
    if runs == "resampled":  # the same runs for all sets, since a run predicts for all of them
        rng = np.random.default_rng(len(by_run))
        chosen = rng.integers(0, len(by_run), size=(len(draws), len(by_run) - 1))
        draws = np.take_along_axis(draws, chosen, axis=1)
    return _with_draws(mean, draws.mean(axis=1))


def over_training(
    value: ArrayLike, low: ArrayLike, high: ArrayLike, sd: ArrayLike, n: ArrayLike, runs: int = 1
) -> tuple[FloatArray, FloatArray]:
    """Widen intervals over images by the spread of training, to speak about a method.

    A normal combination: the variance over images, by the width of the interval, plus sd^2 / runs.
    As the spread comes from few runs, the quantile is Student's, with the degrees of freedom of
    Welch and Satterthwaite (Satterthwaite 1946, Biometrics Bulletin 2, 110-114).

    Args:
        value: Numbers, each the mean over the runs that were measured.
        low: Lower ends of their 95 % intervals over images.
        high: Upper ends.
        sd: Standard deviations over training runs; NaN where none is known.
        n: Runs behind these.
        runs: Runs that were measured.

    Returns:
        The ends of the wider intervals; NaN where no spread is known.

    Example:
        >>> low, high = over_training(0.0, -3 * Z_95, 3 * Z_95, sd=4.0, n=1e9)
        >>> round(float(high / Z_95), 3)  # 3, 4, 5
        5.0
    """
    from scipy import stats

    images = ((np.asarray(high) - np.asarray(low)) / (2.0 * Z_95)) ** 2
    training = np.asarray(sd, dtype=float) ** 2 / runs
    with np.errstate(divide="ignore", invalid="ignore"):  # without a spread it is the images alone
        freedom = (images + training) ** 2 / (training**2 / (np.asarray(n, dtype=float) - 1.0))
    tail = stats.t.isf((1.0 - CONFIDENCE) / 2.0, freedom)
    half = tail * np.sqrt(images + training)
    return np.asarray(value) - half, np.asarray(value) + half


def named_reasons(reasons: Mapping[str, str | None], n_sets: int) -> str | None:
    """Write which sets have no value, and why.

    Example:
        >>> named_reasons({"a": "too_few"}, 2), named_reasons({"a": "too_few", "b": "too_few"}, 2)
        ('a: too_few', 'every set: too_few')
    """
    if len(reasons) == n_sets and len(set(reasons.values())) == 1:
        return f"every set: {next(iter(reasons.values()))}"
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or None


def draw(
    statistics: Sequence[Statistic],
    n: int,
    clusters: Sequence[str] | None = None,
    *,
    seed: int = 0,
    n_resamples: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> FloatArray:
    """Compute statistics on every resample, in chunks that fit the cache, on two threads if large.

    Args:
        statistics: Functions of counts.
        n: Number of images.
        clusters: Photograph of each image, or None.
        seed: Seed of the resamples.
        n_resamples: Number of resamples; None for `N_RESAMPLES`.
        progress: Called now and then with the number of resamples that were done since.

    Returns:
        Values, shape (resamples, statistics).
    """
    n_resamples = n_resamples or N_RESAMPLES
    draws = np.empty((n_resamples, len(statistics)))
    if not statistics:
        return draws
    chunks = resample_counts(n, clusters, seed=seed, n_resamples=n_resamples)
    starts = iter(range(0, n_resamples, _rows_at_once(n)))
    taking, stopped = threading.Lock(), threading.Event()

    def work() -> None:
        while not stopped.is_set():
            with taking:
                start, counts = next(starts, None), next(chunks, None)
            if counts is None:
                return
            for column, statistic in enumerate(statistics):
                draws[start : start + len(counts), column] = statistic(counts)
            if progress is not None:
                progress(len(counts))

    n_threads = min(2, os.cpu_count() or 1) if n >= _THREADS_FROM else 1
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for worker in [pool.submit(work) for _ in range(n_threads)]:
                worker.result()
        finally:
            stopped.set()
    return draws


def resample_counts(
    n: int,
    clusters: Sequence[str] | None = None,
    *,
    seed: int = 0,
    n_resamples: int | None = None,
) -> Iterator[FloatArray]:
    """Yield how often each image is drawn, in chunks of shape (resamples, n)."""
    codes = None if clusters is None else _codes(clusters)
    if codes is not None and codes.shape != (n,):
        raise ValueError(f"expected a cluster for each of {n} images, got {codes.shape}")
    n_units = n if codes is None else int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    n_resamples = n_resamples or N_RESAMPLES
    for start in range(0, n_resamples, _rows_at_once(n)):
        rows = min(_rows_at_once(n), n_resamples - start)
        drawn = rng.integers(0, n_units, size=(rows, n_units))
        drawn += np.arange(rows)[:, None] * n_units
        counts = np.bincount(drawn.ravel(), minlength=rows * n_units).reshape(rows, n_units)
        counts = counts.astype(np.float64)
        yield counts if codes is None else counts.take(codes, axis=1)


def two_sided_p(draws: FloatArray) -> float:
    """Twice the smaller share of draws beyond 0; the 1 added keeps it above 0."""
    smaller = min(int((draws <= 0.0).sum()), int((draws >= 0.0).sum()))
    return min(1.0, 2.0 * (smaller + 1) / (len(draws) + 1))


def _rows_at_once(n: int) -> int:
    return max(2, _CHUNK_ELEMENTS // n)


def _codes(clusters: Sequence[str]) -> np.ndarray:
    """Number clusters in the order of their names."""
    place = {name: k for k, name in enumerate(sorted(set(clusters)))}
    return np.fromiter((place[name] for name in clusters), dtype=np.intp, count=len(clusters))


def _interval(draws: FloatArray) -> tuple[float, float]:
    """Cut equal tails off the values of the resamples."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


def _with_draws(number: Number, draws: FloatArray | None) -> Number:
    """Put draws, and the interval and p value that follow from them, into a number."""
    low, high = (None, None) if draws is None else _interval(draws)
    changed: dict[str, Any] = {"ci_low": low, "ci_high": high, "draws": draws}
    if isinstance(number, Difference):
        changed["p_value"] = None if draws is None else two_sided_p(draws)
    return replace(number, **changed)

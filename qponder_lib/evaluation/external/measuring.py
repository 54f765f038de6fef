"""Every metric of joined predictions with its interval, all from the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from qponder_lib import metrics
from qponder_lib.evaluation.external.joining import Joined
from qponder_lib.metrics import Resampling, resampling
from qponder_lib.metrics.agreement import MIN_N, DegenerateInputError, FloatArray, Statistic
from qponder_lib.metrics.logistic import LOGISTIC_FIT_FAILED
from qponder_lib.metrics.scores import RAW
from qponder_lib.records import Record

SOFTMAX = "softmax"
OTHER_SCALE = "other_scale"
_ERRORS = ("rmse", "mae")


class Measured(Record):
    """One number with its interval, or the reason why there is none.

    Attributes:
        metric: srcc, plcc, krcc, rmse or mae.
        protocol: raw; softmax, for logits; logistic4 or logistic5, after that fit.
        n: Images with a readable prediction.
        n_unparsed: Predictions without a score.
    """

    metric: str
    protocol: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int
    n_unparsed: int
    reason: str | None = None


@dataclass(frozen=True)
class _Prepared:
    """A statistic that waits for its resamples; without one there is a reason."""

    metric: str
    protocol: str
    statistic: Statistic | None
    reason: str | None = None


def measure(
    joined: Joined, plan: Resampling | None = None, *, min_n: int = MIN_N
) -> list[Measured]:
    """Measure joined predictions.

    Args:
        joined: Predictions with labels. Images that share a reference are drawn together.
        plan: How intervals are made; None for 10,000 resamples.
        min_n: Fewest readable predictions for which a value is given.

    Returns:
        SRCC, PLCC, KRCC, RMSE and MAE of the raw scores, and PLCC and RMSE after the 4- and the
        5-parameter logistic fit. RMSE and MAE of raw scores have no value, with the reason
        "other_scale", if more than half of the scores lie outside the range of the labels. The
        interval of KRCC is asymptotic (`metrics.kendall`); the others are resampled. With several
        samples per image each number is the mean over samples, and the fitted protocols are left
        out.

    Source:
        Decisions D25 and D26.
    """
    plan = plan or Resampling(10_000)
    prepared = _raw(joined, min_n) + (_fitted(joined, min_n) if len(joined.samples) == 1 else [])
    readable = np.array([[score is not None for score in s] for s in joined.samples])
    counts = {"n": int(readable.any(axis=0).sum()), "n_unparsed": int((~readable).sum())}
    rows = _with_intervals(prepared, joined, plan, counts)
    krcc = metrics.estimate(
        "krcc",
        list(joined.samples),
        joined.mos,
        resampling=plan,
        clusters=joined.clusters,
        min_n=min_n,
    )
    rows.append(Measured(metric="krcc", protocol=RAW, **asdict(krcc)))
    return rows


def on_other_scale(scores: Sequence[float | None], mos: Sequence[float]) -> bool:
    """Tell whether more than half of the scores lie outside the range of the labels.

    Example:
        >>> on_other_scale([-3.0, -2.0, 1.5], [1.0, 5.0, 2.0])
        True
    """
    values = np.array([score for score in scores if score is not None])
    outside = (values < min(mos)) | (values > max(mos))
    return bool(len(values) > 0 and outside.mean() > 0.5)


def _raw(joined: Joined, min_n: int) -> list[_Prepared]:
    prepared = [
        _prepare(metric, RAW, joined.samples, joined.mos, min_n)
        for metric in ("srcc", "plcc", *_ERRORS)
    ]
    if any(on_other_scale(sample, joined.mos) for sample in joined.samples):
        prepared = [
            _Prepared(p.metric, RAW, None, p.reason or OTHER_SCALE) if p.metric in _ERRORS else p
            for p in prepared
        ]
    if joined.softmax is not None:
        prepared.append(_prepare("plcc", SOFTMAX, [joined.softmax], joined.mos, min_n))
    return prepared


def _fitted(joined: Joined, min_n: int) -> list[_Prepared]:
    prepared = []
    for n_parameters in (4, 5):
        protocol, sample = f"logistic{n_parameters}", joined.samples[0]
        mapped = metrics.mapped_scores(sample, joined.mos, n_parameters, min_n=min_n)
        for metric in ("plcc", "rmse"):
            if mapped is not None:
                prepared.append(_prepare(metric, protocol, [mapped], joined.mos, min_n))
                continue
            raw = _prepare("plcc", protocol, [sample], joined.mos, min_n)
            statistic = raw.statistic if metric == "plcc" else None
            reason = raw.reason or LOGISTIC_FIT_FAILED
            prepared.append(_Prepared(metric, protocol, statistic, reason))
    return prepared


def _prepare(
    metric: str,
    protocol: str,
    samples: Sequence[Sequence[float | None]],
    mos: Sequence[float],
    min_n: int,
) -> _Prepared:
    try:
        statistic = metrics.mean_over_samples(metric, samples, mos, min_n)
    except DegenerateInputError as error:
        return _Prepared(metric, protocol, None, error.reason)
    return _Prepared(metric, protocol, statistic)


def _with_intervals(
    prepared: Sequence[_Prepared], joined: Joined, plan: Resampling, counts: dict[str, int]
) -> list[Measured]:
    defined = [p for p in prepared if p.statistic is not None]
    values, draws = draw_together([p.statistic for p in defined], joined, plan)
    rows = []
    for p in prepared:
        names = {"metric": p.metric, "protocol": p.protocol, **counts}
        if p.statistic is None:
            rows.append(Measured(**names, value=None, reason=p.reason))
            continue
        k = defined.index(p)
        interval = resampling.percentiles(draws[:, k], plan)
        ends = {"ci_low": interval.low, "ci_high": interval.high}
        reason = p.reason or interval.reason
        rows.append(Measured(**names, value=float(values[k]), **ends, reason=reason))
    return rows


def draw_together(
    statistics: Sequence[Statistic], joined: Joined, plan: Resampling
) -> tuple[FloatArray, FloatArray]:
    """Compute several statistics on the same resamples, which are drawn once.

    Returns:
        Their values, shape (statistics,), and their draws, shape (resamples, statistics).
    """
    if not statistics:
        return np.empty(0), np.empty((0, 0))

    def together(counts: FloatArray) -> FloatArray:
        return np.stack([statistic(counts) for statistic in statistics], axis=1)

    n = len(joined.ids)
    return together(np.ones((1, n)))[0], resampling.draw(together, n, plan, joined.clusters)

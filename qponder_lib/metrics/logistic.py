"""PLCC after a fitted monotone mapping: the second protocol found in the literature.

Many papers fit a logistic curve from scores to MOS on the test set itself before they compute the
PLCC. It is a different number from the raw PLCC, so it gets a different protocol name.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qponder_lib.metrics.agreement import MIN_N, DegenerateInputError, FloatArray, checked
from qponder_lib.metrics.estimates import Estimate, estimate
from qponder_lib.metrics.resampling import Resampling

LOGISTIC_FIT_FAILED = "logistic_fit_failed"


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A curve from scores to MOS; `parameters` is None if the fit did not converge."""

    parameters: tuple[float, ...] | None

    @property
    def converged(self) -> bool:
        """Whether there is a curve."""
        return self.parameters is not None

    def map(self, scores: FloatArray) -> FloatArray:
        """Map scores to the MOS scale; without a curve they come back as they are."""
        if self.parameters is None:
            return scores
        return _CURVES[len(self.parameters)](scores, *self.parameters)


def fit_logistic(
    scores: Sequence[float], mos: Sequence[float], n_parameters: int = 4, *, min_n: int = MIN_N
) -> LogisticFit:
    """Fit a logistic curve from scores to MOS by least squares.

    Args:
        scores: Predicted scores, shape (n,).
        mos: Mean opinion scores, shape (n,).
        n_parameters: 4 for the VQEG curve, 5 for the one with a linear term.
        min_n: Fewest images for which a curve is fitted.

    Returns:
        The curve, or one that says it did not converge.

    Raises:
        DegenerateInputError: If the data have no correlation to begin with.
        ValueError: If n_parameters is neither 4 nor 5.

    Source:
        4: (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2, VQEG phase I (2000). 5: b1 (1/2 - 1 / (1 +
        exp(b2 (x - b3)))) + b4 x + b5, Sheikh, Sabir and Bovik (2006).
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    if n_parameters not in _CURVES:
        raise ValueError(f"expected 4 or 5 logistic parameters, got {n_parameters}")
    x, y = checked("plcc", scores, mos, min_n)
    sign = 1.0 if np.corrcoef(x, y)[0, 1] >= 0.0 else -1.0
    top, bottom = (y.max(), y.min()) if sign > 0 else (y.min(), y.max())
    start = {
        4: [top, bottom, x.mean(), x.std()],
        5: [np.ptp(y) * sign, 1.0 / x.std(), x.mean(), 0.0, y.mean()],
    }[n_parameters]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)  # only the covariance, which is not used
        try:
            fitted, _ = curve_fit(_CURVES[n_parameters], x, y, p0=start, maxfev=20_000)
        except RuntimeError:  # curve_fit's word for "did not converge"
            return LogisticFit(None)
    return LogisticFit(tuple(float(b) for b in fitted) if np.isfinite(fitted).all() else None)


def plcc_logistic(
    scores: Sequence[float | None],
    mos: Sequence[float],
    n_parameters: int = 4,
    *,
    resampling: Resampling | None = None,
    clusters: Sequence[str] | None = None,
    min_n: int = MIN_N,
) -> Estimate:
    """Measure the PLCC between fitted scores and MOS.

    Args:
        scores: One score per image; None could not be read.
        mos: Mean opinion score per image.
        n_parameters: 4 or 5.
        resampling: How the interval is made, or None. The curve is fitted once, on all images,
            and stays fixed; so the interval leaves out the uncertainty of the fit.
        clusters: Photograph or reference of each image, or None.
        min_n: Fewest readable scores for which a value is given.

    Returns:
        The estimate. If the fit does not converge or makes every score the same, the value is the
        raw PLCC and the reason says so.
    """
    mapped = mapped_scores(scores, mos, n_parameters, min_n=min_n)
    failed = mapped is None
    mapped = list(scores) if mapped is None else mapped
    result = estimate("plcc", mapped, mos, resampling=resampling, clusters=clusters, min_n=min_n)
    if failed and result.value is not None:
        return Estimate(
            result.value,
            result.ci_low,
            result.ci_high,
            result.n,
            result.n_unparsed,
            LOGISTIC_FIT_FAILED,
        )
    return result


def mapped_scores(
    scores: Sequence[float | None],
    mos: Sequence[float],
    n_parameters: int = 4,
    *,
    min_n: int = MIN_N,
) -> list[float | None] | None:
    """Map scores to the MOS scale by a curve fitted to those that are readable.

    Returns:
        One score per image, None where it was None; or None if there is no such curve: degenerate
        data, a fit that does not converge or one that makes every score the same.
    """
    readable = [i for i, score in enumerate(scores) if score is not None]
    kept = [scores[i] for i in readable]
    try:
        fit = fit_logistic(kept, [mos[i] for i in readable], n_parameters, min_n=min_n)
    except DegenerateInputError:
        return None  # the raw estimate names the reason
    values = fit.map(np.array(kept, dtype=np.float64))
    if not fit.converged or not np.isfinite(values).all() or np.ptp(values) == 0.0:
        return None
    mapped: list[float | None] = list(scores)
    for position, value in zip(readable, values, strict=True):
        mapped[position] = float(value)
    return mapped


def _logistic4(x: FloatArray, b1: float, b2: float, b3: float, b4: float) -> FloatArray:
    return (b1 - b2) * _sigmoid((x - b3) / abs(b4)) + b2


def _logistic5(x: FloatArray, b1: float, b2: float, b3: float, b4: float, b5: float) -> FloatArray:
    return b1 * (_sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5


def _sigmoid(z: FloatArray) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


_CURVES = {4: _logistic4, 5: _logistic5}

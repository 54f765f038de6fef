"""The monotone curve that many papers fit from scores to MOS, on the test set itself, before PLCC.

The PLCC after the fit is a different number from the raw PLCC, so it is a protocol of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from qponder_lib.metrics.statistics import FloatArray, checked


def fit_logistic(
    scores: Sequence[float], mos: Sequence[float], n_parameters: int = 4
) -> tuple[float, ...] | None:
    """Fit a logistic curve from scores to MOS by least squares.

    Args:
        scores: Predicted scores, shape (n,).
        mos: Mean opinion scores, shape (n,).
        n_parameters: 4 for the VQEG curve, 5 for the one with a linear term.

    Returns:
        The curve's parameters; None if the fit does not converge or makes every score the same.

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
    x, y = checked("plcc", scores, mos)
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
            return None
        mapped = map_logistic(x, fitted)
    usable = np.isfinite(mapped).all() and np.ptp(mapped) > 0.0
    return tuple(float(b) for b in fitted) if usable else None


def map_logistic(scores: FloatArray, parameters: Sequence[float]) -> FloatArray:
    """Map scores to the MOS scale by the curve of `fit_logistic`.

    Example:
        >>> map_logistic(np.array([0.0, 50.0]), [100.0, 0.0, 50.0, 10.0]).round(2).tolist()
        [0.67, 50.0]
    """
    return _CURVES[len(parameters)](scores, *parameters)


def _logistic4(x: FloatArray, b1: float, b2: float, b3: float, b4: float) -> FloatArray:
    return (b1 - b2) * _sigmoid((x - b3) / abs(b4)) + b2


def _logistic5(x: FloatArray, b1: float, b2: float, b3: float, b4: float, b5: float) -> FloatArray:
    return b1 * (_sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5


def _sigmoid(z: FloatArray) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


_CURVES = {4: _logistic4, 5: _logistic5}

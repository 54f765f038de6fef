"""How well scores agree with human opinion, as functions of how often each image is counted.

A bootstrap resample draws images with replacement; all that matters is how often each was drawn.
So every statistic here is prepared once for its data and then takes a matrix of counts, one row
per resample, and the plain value is the same formula with every image counted once. Ranks need no
sorting per resample: the order of the images is fixed, and cumulative counts along it give them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""Counts, shape (resamples, images) -> values, shape (resamples,); NaN where undefined."""

MIN_N = 10
NEAR_CONSTANT = 1e-13
"""Spread below this share of the mean is rounding noise (the limit that scipy warns at)."""


class DegenerateInputError(ValueError):
    """The data have no such statistic; `reason` is the name that goes into the table."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def plcc(scores: Sequence[float], mos: Sequence[float], *, min_n: int = MIN_N) -> float:
    """Compute the Pearson linear correlation, without any fitted mapping.

    Args:
        scores: Predicted scores, shape (n,).
        mos: Mean opinion scores of the same images, shape (n,).
        min_n: Fewest images for which a value is given.

    Returns:
        The correlation with its sign, -1 to 1.

    Raises:
        DegenerateInputError: If the data have no correlation, with the reason.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1.

    Example:
        >>> round(plcc([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], min_n=3), 4)
        0.982
    """
    return _value("plcc", scores, mos, min_n)


def srcc(scores: Sequence[float], mos: Sequence[float], *, min_n: int = MIN_N) -> float:
    """Compute the Spearman rank correlation with mid-ranks for ties; as `plcc` otherwise.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1.

    Example:
        >>> srcc([1.0, 2.0, 30.0], [1.0, 2.0, 4.0], min_n=3)
        1.0
    """
    return _value("srcc", scores, mos, min_n)


def mae(scores: Sequence[float], mos: Sequence[float], *, min_n: int = MIN_N) -> float:
    """Compute the mean absolute error in MOS units; arguments as for `plcc`.

    Example:
        >>> mae([50.0, 70.0], [40.0, 75.0], min_n=2)
        7.5
    """
    return _value("mae", scores, mos, min_n)


def rmse(scores: Sequence[float], mos: Sequence[float], *, min_n: int = MIN_N) -> float:
    """Compute the root mean square error in MOS units; arguments as for `plcc`.

    Example:
        >>> round(rmse([50.0, 70.0], [47.0, 74.0], min_n=2), 4)
        3.5355
    """
    return _value("rmse", scores, mos, min_n)


def krcc(scores: Sequence[float], mos: Sequence[float], *, min_n: int = MIN_N) -> float:
    """Compute Kendall's tau-b; arguments as for `plcc`.

    Example:
        >>> round(krcc([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], min_n=3), 4)
        0.3333
    """
    from scipy.stats import kendalltau  # scipy.stats takes a second to import

    x, y = checked("krcc", scores, mos, min_n)
    return float(kendalltau(x, y).statistic)


def checked(
    metric: str, scores: Sequence[float], mos: Sequence[float], min_n: int = MIN_N
) -> tuple[FloatArray, FloatArray]:
    """Turn both sides into arrays for which the metric is defined.

    Raises:
        DegenerateInputError: With reason "not_numeric", "not_finite", "too_few", "constant_scores",
            "near_constant_scores", "constant_mos" or "near_constant_mos".
        ValueError: If lengths differ.
    """
    x, y = numeric(scores, "scores"), numeric(mos, "mos")
    if x.shape != y.shape:
        raise ValueError(f"expected one score per mos, got {x.shape} and {y.shape}")
    if len(x) < min_n:
        raise DegenerateInputError("too_few", f"{len(x)} images, at least {min_n} needed")
    if metric in ("plcc", "srcc", "krcc"):
        _require_spread(x, "scores")
        _require_spread(y, "mos")
    return x, y


def numeric(values: Sequence[float], name: str) -> FloatArray:
    """Take numbers only: strings of digits, booleans and None are refused, and so is infinity.

    Raises:
        DegenerateInputError: With reason "not_numeric" or "not_finite".
        ValueError: If the values are not one-dimensional.
    """
    raw = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=object)
    if raw.ndim != 1:
        raise ValueError(f"expected one-dimensional {name}, got shape {raw.shape}")
    if raw.dtype == object:
        wrong = [
            v for v in raw if isinstance(v, bool) or not isinstance(v, int | float | np.number)
        ]
        if wrong:
            raise DegenerateInputError("not_numeric", f"{name} hold {wrong[0]!r}")
    elif raw.dtype.kind not in "fiu":
        raise DegenerateInputError("not_numeric", f"{name} have type {raw.dtype}")
    array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        raise DegenerateInputError("not_finite", f"{name} hold NaN or infinity")
    return array


def pearson_statistic(x: FloatArray, y: FloatArray) -> Statistic:
    """Prepare the Pearson correlation of x and y."""
    x, y = x - x.mean(), y - y.mean()
    moments = np.stack([x, y, x * x, y * y, x * y], axis=1)
    tolerance = 1e-12 * np.abs(moments[:, 2:4]).max(axis=0)

    def statistic(counts: FloatArray) -> FloatArray:
        n = _drawn(counts)
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = (counts @ moments).T / n
        var_x, var_y = mean_xx - mean_x**2, mean_yy - mean_y**2
        defined = (var_x > tolerance[0]) & (var_y > tolerance[1])
        scale = np.sqrt(np.where(defined, var_x * var_y, np.nan))
        return np.clip((mean_xy - mean_x * mean_y) / scale, -1.0, 1.0)

    return statistic


def spearman_statistic(x: FloatArray, y: FloatArray) -> Statistic:
    """Prepare the Spearman correlation of x and y, with mid-ranks for ties.

    Ranks are kept as whole numbers, twice the distance of the mid-rank from the mean rank; every
    sum below is then exact up to some 200,000 images, whatever the ties.
    """
    by_x, starts_x, _ = _tied_groups(x)
    by_y, starts_y, group_y = _tied_groups(y[by_x])

    def statistic(counts: FloatArray) -> FloatArray:
        small = np.uint8 if counts.max() < 256 else np.int32  # a small table stays in the cache
        drawn = counts.astype(small).take(by_x, axis=1)  # from here on in the order of x
        ranks_x, spread_x = _doubled_ranks(_summed(drawn, starts_x))
        ranks_y, spread_y = _doubled_ranks(_summed(drawn.take(by_y, axis=1), starts_y))
        weighted = np.multiply(drawn, ranks_y.take(group_y, axis=1), dtype=np.float64)
        cov = np.einsum("rg,rg->r", _summed(weighted, starts_x, np.float64), ranks_x)
        scale = np.sqrt(np.where((spread_x > 0.0) & (spread_y > 0.0), spread_x * spread_y, np.nan))
        return np.clip(cov / scale, -1.0, 1.0)

    return statistic


def mean_statistic(values: FloatArray) -> Statistic:
    """Prepare the mean of one value per image."""

    def statistic(counts: FloatArray) -> FloatArray:
        return (counts @ values) / _drawn(counts)

    return statistic


def ratio_statistic(numerator: FloatArray, denominator: FloatArray) -> Statistic:
    """Prepare the sum of one value per image over the sum of another."""

    def statistic(counts: FloatArray) -> FloatArray:
        below = counts @ denominator
        return (counts @ numerator) / np.where(below > 0.0, below, np.nan)

    return statistic


def squared_error_statistic(x: FloatArray, y: FloatArray) -> Statistic:
    """Prepare the root mean square difference of x and y."""
    mean_square = mean_statistic((x - y) ** 2)
    return lambda counts: np.sqrt(mean_square(counts))


STATISTICS: dict[str, Callable[[FloatArray, FloatArray], Statistic]] = {
    "plcc": pearson_statistic,
    "srcc": spearman_statistic,
    "mae": lambda x, y: mean_statistic(np.abs(x - y)),
    "rmse": squared_error_statistic,
}
METRICS = ("plcc", "srcc", "krcc", "mae", "rmse", "parse_rate")
"""What a model is measured by on a set; mae and rmse are better when lower."""


def on_images(statistic: Statistic, places: NDArray[np.integer]) -> Statistic:
    """Take a statistic of some images for one of all: of the counts it sees those at `places`."""
    return lambda counts: statistic(counts.take(places, axis=1))


def _tied_groups(
    values: FloatArray,
) -> tuple[NDArray[np.intp], NDArray[np.intp] | None, NDArray[np.intp]]:
    """Return the order of the values, where a group of ties starts in it, the group of each value.

    There are no starts where no two values are tied.
    """
    _, group_of, sizes = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(group_of, kind="stable")
    tied = len(sizes) < len(values)
    return order, np.concatenate([[0], np.cumsum(sizes)[:-1]]) if tied else None, group_of


def _summed(
    values: NDArray[Any], starts: NDArray[np.intp] | None, dtype: type = np.int32
) -> NDArray[Any]:
    """Add up the groups that start at some places, shape (resamples, groups)."""
    return values if starts is None else np.add.reduceat(values, starts, axis=1, dtype=dtype)


def _doubled_ranks(in_group: NDArray[np.integer]) -> tuple[NDArray[np.int32], FloatArray]:
    """Return twice the centred mid-rank of each group of ties, and their sum of squares.

    The sum of squares needs no ranks: it is (n^3 - sum of t^3) / 3 for tied groups of t.
    """
    last = np.cumsum(in_group, axis=1, dtype=np.int32)
    n, t = last[:, -1:].copy(), in_group.astype(np.float64)
    squares = (n[:, 0].astype(np.float64) ** 3 - np.einsum("rg,rg,rg->r", t, t, t)) / 3.0
    last *= 2  # twice: last - (t - 1)/2 - (n + 1)/2
    last -= in_group
    last -= n
    return last, squares


def _drawn(counts: FloatArray) -> FloatArray:
    """Count the images drawn in each resample; NaN, not 0, where there are none."""
    n = counts.sum(axis=1)
    return np.where(n > 0.0, n, np.nan)


def _value(metric: str, scores: Sequence[float], mos: Sequence[float], min_n: int) -> float:
    x, y = checked(metric, scores, mos, min_n)
    return float(STATISTICS[metric](x, y)(np.ones((1, len(x))))[0])


def _require_spread(values: FloatArray, name: str) -> None:
    if values.min() == values.max():
        raise DegenerateInputError(f"constant_{name}", f"every value is {values[0]}")
    mean = values.mean()
    if np.linalg.norm(values - mean) < NEAR_CONSTANT * abs(mean):
        raise DegenerateInputError(
            f"near_constant_{name}", f"values differ by rounding around {mean}"
        )


# ---- the monotone curve that many papers fit from scores to MOS, on the test set itself, before
# PLCC: another number than the raw PLCC, so a protocol of its own


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

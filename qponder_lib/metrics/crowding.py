"""How stated scores crowd on few values, as functions of how often each image is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from qponder_lib.metrics.agreement import FloatArray, Statistic

Crowding = Literal["modal_share", "effective"]


def crowding_statistic(scores: Sequence[float], kind: Crowding) -> Statistic:
    """Prepare a measure of crowding for resampling.

    A resample leaves some values out, so it crowds more than the data do: `modal_share` is higher
    and `effective` lower. In differences of two models that cancels, more or less.

    Args:
        scores: Stated scores, shape (n,); equal where they are the same number.
        kind: modal_share: share of the commonest score; effective: how many equally frequent
            scores would have the same entropy.

    Returns:
        Function of counts, shape (resamples, n), to values, shape (resamples,).

    Raises:
        ValueError: If there is no score, or one is not finite.

    Example:
        >>> count = np.ones((1, 4))
        >>> crowding_statistic([60.0, 60.0, 60.0, 65.0], "modal_share")(count)
        array([0.75])
        >>> crowding_statistic([60.0, 60.0, 65.0, 65.0], "effective")(count).round(6)
        array([2.])
    """
    stated = np.asarray(scores, dtype=np.float64)
    if stated.ndim != 1 or not stated.size or not np.isfinite(stated).all():
        raise ValueError(f"expected finite scores, at least one, got shape {stated.shape}")
    values, place = np.unique(stated, return_inverse=True)
    member = np.zeros((len(stated), len(values)))
    member[np.arange(len(stated)), place] = 1.0

    def statistic(counts: FloatArray) -> FloatArray:
        shares = counts @ member / counts.sum(axis=1, keepdims=True)
        if kind == "modal_share":
            return shares.max(axis=1)
        logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        return np.exp(-(shares * logs).sum(axis=1))

    return statistic

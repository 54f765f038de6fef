"""How far judges agree, with each other and with themselves, and what their ratings follow.

Every statistic is a function of how often each text is counted, as in `qponder_lib.metrics`, so
that intervals come from the same resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from qponder_lib import metrics
from qponder_lib.metrics import Estimate, Resampling
from qponder_lib.metrics.agreement import FloatArray, Statistic, mean_statistic
from qponder_lib.metrics.resampling import bootstrap_interval

Level = Literal["nominal", "ordinal", "interval"]
Ratings = Sequence[float | None]

RATINGS = (1, 2, 3, 4, 5)
ONE_JUDGE = "one_judge"
MIN_N = 10


def mean_rating(ratings: Ratings, resampling: Resampling, *, min_n: int = MIN_N) -> Estimate:
    """Average the ratings that are there; how many are missing is `n_unparsed`.

    Example:
        >>> mean_rating([4, None, 5] * 5, Resampling(100)).value
        4.5
    """
    there = np.array([rating for rating in ratings if rating is not None], dtype=np.float64)
    n_missing = len(ratings) - len(there)
    if len(there) < min_n:
        return Estimate(None, None, None, len(there), n_missing, "too_few")
    return _estimate(mean_statistic(there), len(there), n_missing, resampling)


def quadratic_kappa(
    first: Ratings, second: Ratings, resampling: Resampling | None = None, *, min_n: int = MIN_N
) -> Estimate:
    """Measure agreement of two judges beyond chance, a disagreement weighed by its square.

    Args:
        first: Ratings 1 to 5 by one judge, None where there is none.
        second: By the other, of the same texts in the same order.
        resampling: How the interval is made, or None.
        min_n: Fewest texts that both rated.

    Returns:
        Cohen's weighted kappa: 1 for equal ratings, 0 for chance. No value, with the reason
        "constant_ratings", where both gave one and the same rating throughout: then nothing could
        have been disagreed about.

    Example:
        >>> quadratic_kappa([1, 5] * 5, [1, 5] * 5).value
        1.0
    """
    both = _pairs(first, second)
    n_missing = len(first) - len(both)
    if len(both) < min_n:
        return Estimate(None, None, None, len(both), n_missing, "too_few")
    if len(np.unique(both)) == 1:
        return Estimate(None, None, None, len(both), n_missing, "constant_ratings")
    cells = np.zeros((len(both), len(RATINGS) ** 2))
    cells[np.arange(len(both)), (both[:, 0] - 1) * len(RATINGS) + both[:, 1] - 1] = 1.0
    return _estimate(_kappa_statistic(cells), len(both), n_missing, resampling)


def rank_correlation(
    first: Ratings, second: Ratings, resampling: Resampling | None = None, *, min_n: int = MIN_N
) -> Estimate:
    """Measure whether two judges, or a judge and a length, put texts in the same order (SRCC)."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    result = metrics.estimate(
        "srcc", [a for a, _ in pairs], [b for _, b in pairs], resampling=resampling, min_n=min_n
    )
    reason = result.reason
    if reason is not None and reason.startswith(("constant", "near_constant")):
        reason = "constant_ratings"
    n_missing = len(first) - len(pairs)
    return Estimate(result.value, result.ci_low, result.ci_high, result.n, n_missing, reason)


def krippendorff_alpha(
    units: Sequence[Ratings],
    level: Level = "ordinal",
    resampling: Resampling | None = None,
    *,
    min_n: int = MIN_N,
) -> Estimate:
    """Measure agreement of any number of judges, ratings missing here and there.

    alpha = 1 - D_o / D_e, the disagreement seen over the one expected if ratings were dealt out
    by chance. A text rated by m >= 2 judges adds each ordered pair of its ratings with weight
    1 / (m - 1); a text with fewer ratings adds nothing.

    Args:
        units: Per text one rating per judge, None where there is none.
        level: What a difference of two ratings weighs: nominal (any difference alike), ordinal
            (by how many ratings lie between them), interval (by its square).
        resampling: How the interval is made, by drawing texts, or None.
        min_n: Fewest texts with two ratings or more.

    Returns:
        The estimate; 1 is perfect agreement, 0 chance. No value, with the reason
        "constant_ratings", where all ratings are equal.

    Source:
        K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), for the definition;
        the tests work examples out by hand.

    Example:
        >>> krippendorff_alpha([[1, 1], [2, 2], [3, 3], [3, 4]], "nominal", min_n=4).value
        0.6956521739130435
    """
    pairable = [[r for r in unit if r is not None] for unit in units]
    pairable = [unit for unit in pairable if len(unit) > 1]
    n_left_out = len(units) - len(pairable)
    if len(pairable) < min_n:
        return Estimate(None, None, None, len(pairable), n_left_out, "too_few")
    values = sorted({rating for unit in pairable for rating in unit})
    if len(values) == 1:
        return Estimate(None, None, None, len(pairable), n_left_out, "constant_ratings")
    statistic = _alpha_statistic(pairable, np.array(values, dtype=np.float64), level)
    return _estimate(statistic, len(pairable), n_left_out, resampling)


def self_consistency(
    repeats: Sequence[Ratings], resampling: Resampling | None = None, *, min_n: int = MIN_N
) -> Estimate:
    """Measure how often a judge rates a text the same again.

    Args:
        repeats: Per text the ratings of one judge, None where one is missing.
        resampling: How the interval is made, or None.
        min_n: Fewest texts with two ratings or more.

    Returns:
        The mean over texts of the share of pairs of ratings that are equal.

    Example:
        >>> self_consistency([[4, 4], [4, 5]], min_n=2).value
        0.5
    """
    shares = []
    for unit in repeats:
        there = [rating for rating in unit if rating is not None]
        n_pairs = len(there) * (len(there) - 1) / 2
        if n_pairs:
            equal = sum(a == b for i, a in enumerate(there) for b in there[i + 1 :])
            shares.append(equal / n_pairs)
    if len(shares) < min_n:
        return Estimate(None, None, None, len(shares), len(repeats) - len(shares), "too_few")
    statistic = mean_statistic(np.array(shares))
    return _estimate(statistic, len(shares), len(repeats) - len(shares), resampling)


def _estimate(
    statistic: Statistic, n: int, n_missing: int, resampling: Resampling | None
) -> Estimate:
    value = float(statistic(np.ones((1, n)))[0])
    if resampling is None:
        return Estimate(value, None, None, n, n_missing)
    interval = bootstrap_interval(statistic, n, resampling)
    return Estimate(value, interval.low, interval.high, n, n_missing, interval.reason)


def _pairs(first: Ratings, second: Ratings) -> np.ndarray:
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    wrong = [pair for pair in pairs if not set(pair) <= set(RATINGS)]
    if wrong:
        raise ValueError(f"expected ratings from {RATINGS}, got {wrong[0]}")
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _kappa_statistic(cells: FloatArray) -> Statistic:
    """Prepare kappa from the cell of the table of both judges that each text falls in."""
    size = len(RATINGS)
    weights = np.subtract.outer(np.arange(size), np.arange(size)).astype(np.float64) ** 2

    def statistic(counts: FloatArray) -> FloatArray:
        table = (counts @ cells).reshape(-1, size, size)
        seen = np.einsum("rij,ij->r", table, weights)
        chance = np.einsum("ri,rj,ij->r", table.sum(axis=2), table.sum(axis=1), weights)
        chance /= counts.sum(axis=1)
        return 1.0 - seen / np.where(chance > 0.0, chance, np.nan)

    return statistic


def _alpha_statistic(units: list[list[float]], values: FloatArray, level: Level) -> Statistic:
    """Prepare alpha from what each text adds to the table of coincidences."""
    size = len(values)
    adds = np.zeros((len(units), size, size))
    for number, unit in enumerate(units):
        held = np.array([unit.count(value) for value in values], dtype=np.float64)
        adds[number] = (np.outer(held, held) - np.diag(held)) / (len(unit) - 1)
    flat = adds.reshape(len(units), -1)

    def statistic(counts: FloatArray) -> FloatArray:
        table = (counts @ flat).reshape(-1, size, size)
        margins = table.sum(axis=2)
        n = margins.sum(axis=1)
        weights = _differences(values, margins, level)
        seen = np.einsum("rij,rij->r", table, weights)
        chance = np.einsum("ri,rj,rij->r", margins, margins, weights) / (n - 1.0)
        return 1.0 - seen / np.where(chance > 0.0, chance, np.nan)

    return statistic


def _differences(values: FloatArray, margins: FloatArray, level: Level) -> FloatArray:
    """Squared differences of ratings, shape (resamples, ratings, ratings)."""
    if level == "nominal":
        square = 1.0 - np.eye(len(values))
        return np.broadcast_to(square, (len(margins), *square.shape))
    if level == "interval":
        square = np.subtract.outer(values, values) ** 2
        return np.broadcast_to(square, (len(margins), *square.shape))
    # Ordinal: the ratings between two values, the values themselves counted half.
    places = np.cumsum(margins, axis=1) - margins / 2.0
    return (places[:, :, None] - places[:, None, :]) ** 2

"""How far judges agree, with each other and with themselves, and what their ratings follow.

Every statistic is a function of how often each text is counted, as in `qponder_lib.metrics`, so
that intervals come from the same resampling: by photograph, which several texts may be about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from qponder_lib.evaluation.scoring import Predictions, score
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Estimate, missing
from qponder_lib.metrics.statistics import FloatArray, Statistic, mean_statistic

Level = Literal["nominal", "ordinal", "interval"]
Ratings = Sequence[float | None]
Photographs = Sequence[str] | None

RATINGS = (1, 2, 3, 4, 5)
ONE_JUDGE = "one_judge"
MIN_N = 10


def mean_rating(
    ratings: Ratings, photographs: Photographs = None, *, seed: int = 0, min_n: int = MIN_N
) -> Estimate:
    """Average the ratings that are there; how many are missing is `n_unparsed`.

    Args:
        ratings: One rating per text, None where there is none.
        photographs: What each text's image was made of; None draws texts one by one.
        seed: Seed of the resamples.
        min_n: Fewest ratings.

    Example:
        >>> mean_rating([4, None, 5] * 5).value
        4.5
    """
    there = [place for place, rating in enumerate(ratings) if rating is not None]
    if len(there) < min_n:
        return _too_few(len(there), len(ratings))
    values = np.array([ratings[place] for place in there], dtype=np.float64)
    return _estimate(mean_statistic(values), there, len(ratings), photographs, seed)


def quadratic_kappa(
    first: Ratings, second: Ratings, photographs: Photographs = None, *, min_n: int = MIN_N
) -> Estimate:
    """Measure agreement of two judges beyond chance, a disagreement weighed by its square.

    Args:
        first: Ratings 1 to 5 by one judge, None where there is none.
        second: By the other, of the same texts in the same order.
        photographs: As for `mean_rating`.
        min_n: Fewest texts that both rated.

    Returns:
        Cohen's weighted kappa: 1 for equal ratings, 0 for chance. No value, with the reason
        "constant_ratings", where both gave one and the same rating throughout: then nothing could
        have been disagreed about.

    Example:
        >>> quadratic_kappa([1, 5] * 5, [1, 5] * 5).value
        1.0
    """
    there, pairs = _pairs(first, second)
    wrong = pairs[~np.isin(pairs, RATINGS).all(axis=1)]
    if len(wrong):
        raise ValueError(f"expected ratings from {RATINGS}, got {wrong[0].tolist()}")
    both = pairs.astype(int)
    if len(both) < min_n:
        return _too_few(len(both), len(first))
    if len(np.unique(both)) == 1:
        return missing("constant_ratings", len(both), n_unparsed=len(first) - len(both))
    cells = np.zeros((len(both), len(RATINGS) ** 2))
    cells[np.arange(len(both)), (both[:, 0] - 1) * len(RATINGS) + both[:, 1] - 1] = 1.0
    return _estimate(_kappa_statistic(cells), there, len(first), photographs)


def rank_correlation(
    first: Ratings, second: Ratings, photographs: Photographs = None, *, min_n: int = MIN_N
) -> Estimate:
    """Measure whether two judges, or a judge and a length, put texts in the same order (SRCC)."""
    there, pairs = _pairs(first, second)
    both = Predictions.of_scores(pairs[:, 0], pairs[:, 1], _chosen(photographs, there))
    result = score(both, [("srcc", "raw")], min_n=min_n)["srcc", "raw"]
    constant = (result.reason or "").startswith(("constant", "near_constant"))
    reason = "constant_ratings" if constant else result.reason
    return replace(result, n_unparsed=len(first) - len(pairs), reason=reason)


def krippendorff_alpha(
    units: Sequence[Ratings],
    level: Level = "ordinal",
    photographs: Photographs = None,
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
        photographs: As for `mean_rating`.
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
    rated = [[r for r in unit if r is not None] for unit in units]
    there = [place for place, unit in enumerate(rated) if len(unit) > 1]
    pairable = [rated[place] for place in there]
    if len(pairable) < min_n:
        return _too_few(len(pairable), len(units))
    values = sorted({rating for unit in pairable for rating in unit})
    if len(values) == 1:
        n_left_out = len(units) - len(pairable)
        return missing("constant_ratings", len(pairable), n_unparsed=n_left_out)
    statistic = _alpha_statistic(pairable, np.array(values, dtype=np.float64), level)
    return _estimate(statistic, there, len(units), photographs)


def self_consistency(
    repeats: Sequence[Ratings], photographs: Photographs = None, *, min_n: int = MIN_N
) -> Estimate:
    """Measure how often a judge rates a text the same again.

    Args:
        repeats: Per text the ratings of one judge, None where one is missing.
        photographs: As for `mean_rating`.
        min_n: Fewest texts with two ratings or more.

    Returns:
        The mean over texts of the share of pairs of ratings that are equal.

    Example:
        >>> self_consistency([[4, 4], [4, 5]], min_n=2).value
        0.5
    """
    shares: dict[int, float] = {}
    for place, unit in enumerate(repeats):
        there = [rating for rating in unit if rating is not None]
        n_pairs = len(there) * (len(there) - 1) / 2
        if n_pairs:
            equal = sum(a == b for i, a in enumerate(there) for b in there[i + 1 :])
            shares[place] = equal / n_pairs
    if len(shares) < min_n:
        return _too_few(len(shares), len(repeats))
    statistic = mean_statistic(np.array(list(shares.values())))
    return _estimate(statistic, list(shares), len(repeats), photographs)


def _too_few(n: int, n_all: int) -> Estimate:
    return missing("too_few", n, n_unparsed=n_all - n)


def _estimate(
    statistic: Statistic,
    there: Sequence[int],
    n_all: int,
    photographs: Photographs,
    seed: int = 0,
) -> Estimate:
    """Measure a statistic of the texts at the places `there` of all."""
    n, chosen = len(there), _chosen(photographs, there)
    return bootstrap.estimate(statistic, n, chosen, seed=seed, n_unparsed=n_all - n)


def _chosen(photographs: Photographs, there: Sequence[int]) -> list[str] | None:
    return None if photographs is None else [photographs[place] for place in there]


def _pairs(first: Ratings, second: Ratings) -> tuple[list[int], np.ndarray]:
    pairs = zip(first, second, strict=True)
    both = {i: (a, b) for i, (a, b) in enumerate(pairs) if a is not None and b is not None}
    return list(both), np.array(list(both.values()), dtype=np.float64).reshape(-1, 2)


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

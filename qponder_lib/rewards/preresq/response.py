"""Terms that look at one image: spread of aspects, agreement of answers, nearness to the label."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from qponder_lib.rewards.preresq.arrays import (
    FloatArray,
    Mode,
    aspect_array,
    check_mode,
    label_array,
    score_array,
)

LEAST_SPREAD = 0.5
SPREAD_WEIGHT = 0.5
BALANCE_WEIGHT = 0.5
CLOSE = 0.05
EXACT = 0.02


def std_penalty(
    aspects: ArrayLike, *, least: float = LEAST_SPREAD, weight: float = SPREAD_WEIGHT
) -> FloatArray:
    """Penalise an answer whose aspect scores collapse to one number.

    Args:
        aspects: Aspect scores, shape (B, K, D), NaN throughout an unread answer.
        least: Standard deviation over the aspects from which on nothing is deducted.
        weight: Deduction per unit of missing deviation.

    Returns:
        weight * max(least - std, 0) with the population standard deviation, shape (B, K); to be
        subtracted. NaN for an unread answer.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Std Penalty; formula and constants from the released code.

    Example:
        >>> std_penalty([[[3.0, 3.0], [2.0, 4.0]]])
        array([[0.25, 0.  ]])
    """
    spread = aspect_array(aspects).std(axis=-1)
    return weight * np.maximum(least - spread, 0.0)


def response_balance(
    aspects: ArrayLike, *, close: float = CLOSE, mode: Mode = "repaired"
) -> FloatArray:
    """Reward answers to one image that stand in the middle of others, or close to the middle.

    Of every three answers and in every aspect the middle value gains 1; the lower and the higher
    one gain 1 only if they are nearer to it than `close`.

    Args:
        aspects: Aspect scores, shape (B, K, D), NaN throughout an unread answer.
        close: Distance below which an outer value counts as the middle one.
        mode: `released` leaves out the fifth of five aspects.

    Returns:
        0.5 * share of gains, in [0, 0.5], shape (B, K). Repaired: 0 where an image has fewer than
        three read answers. NaN for an unread answer.

    Raises:
        ValueError: In `released`, if there are fewer than three answers or one is unread.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Response Ranking Balance; formula from the released code,
        whose image reward skips the fifth aspect (decision D43); few answers: decision D44.

    Example:
        >>> response_balance([[[1.0], [2.0], [2.01]]])
        array([[0. , 0.5, 0.5]])
    """
    values = aspect_array(aspects)
    read = ~np.isnan(values[..., 0])
    check_mode(mode, read)
    n_answers = values.shape[1]
    if mode == "released":
        if n_answers < 3:
            raise ValueError(f"the release needs three answers per image, got {n_answers}")
        values = values[..., :4] if values.shape[-1] == 5 else values
    if n_answers < 3:
        return np.where(read, 0.0, np.nan)
    triples = np.array(list(combinations(range(n_answers), 3)))
    whole = read[:, triples].all(axis=-1)  # (B, T)
    three = values[:, triples]  # (B, T, 3, D)
    order = three.argsort(axis=2, kind="stable")
    low, middle, high = np.moveaxis(np.take_along_axis(three, order, axis=2), 2, 0)
    gains = np.stack([middle - low < close, np.ones_like(low), high - middle < close], axis=2)
    given_back = np.empty_like(gains)
    np.put_along_axis(given_back, order, gains, axis=2)
    gained = given_back.sum(axis=-1) * whole[..., None]  # (B, T, 3)
    member = (triples[..., None] == np.arange(n_answers)).astype(np.float64)  # (T, 3, K)
    total = np.tensordot(gained, member, axes=([1, 2], [0, 1]))
    possible = whole @ member.sum(axis=1) * values.shape[-1]
    share = np.divide(total, possible, out=np.zeros_like(total), where=possible > 0)
    return np.where(read, BALANCE_WEIGHT * share, np.nan)


def response_truth_rank(
    scores: ArrayLike, labels: ArrayLike, *, exact: float = EXACT, mode: Mode = "repaired"
) -> FloatArray:
    """Reward an answer by the number of other answers between it and the label.

    The K read scores of an image and its label are sorted together.

    Args:
        scores: Scores, shape (B, K), NaN for an unread answer.
        labels: Labels on the same scale, shape (B,).
        exact: Distance below which a score counts as the label itself.
        mode: Equal values stand at the place of the first of them in `released`, at the mean of
            their places in `repaired`.

    Returns:
        1 for an exact score, else exp(-places between score and label / (K + 1)), shape (B, K).
        NaN for an unread answer.

    Source:
        PreResQ-R1, response-to-truth rank of the released image reward; the term is not in the
        paper's figure of its rewards. Ties: decision D45.

    Example:
        >>> response_truth_rank([[3.0, 4.0]], [4.0]).round(4)
        array([[0.6065, 1.    ]])
    """
    values = score_array(scores)
    truth = label_array(labels, len(values))
    read = ~np.isnan(values)
    check_mode(mode, read)
    pool = np.concatenate([values, truth[:, None].round(9)], axis=1)  # (B, K + 1)
    places = (pool[:, None, :] < pool[:, :, None]).sum(axis=-1).astype(np.float64)
    if mode == "repaired":
        places += ((pool[:, None, :] == pool[:, :, None]).sum(axis=-1) - 1) / 2
    apart = np.abs(places[:, :-1] - places[:, -1:])
    size = read.sum(axis=1, keepdims=True) + 1
    reward = np.where(np.abs(values - truth[:, None]) < exact, 1.0, np.exp(-apart / size))
    return np.where(read, reward, np.nan)

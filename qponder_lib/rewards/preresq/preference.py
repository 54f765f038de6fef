"""Terms that compare an image with the other images of the generation batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qponder_lib.rewards.preresq.arrays import (
    FloatArray,
    Mode,
    check_mode,
    label_array,
    score_array,
)

EQUAL_LABEL_GAP = 0.02
_SAME = 1e-9


def pairwise_score_rank(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    equal_label_gap: float = EQUAL_LABEL_GAP,
    mode: Mode = "repaired",
) -> FloatArray:
    """Reward a score by order and by error against every other image.

    The r-th lowest answer to an image is compared with the r-th lowest answer to each other
    image. With c = 1 where scores and labels have the same order (above, equal, below), else 0,
    and margin m = gap of labels / (gap of labels + both errors), the reward is
    sqrt(c m) + sqrt((1 - c)(1 - m)). In a wrong order it grows with the error, as published.

    Args:
        scores: Scores, shape (B, K), NaN for an unread answer.
        labels: Labels on the same scale, shape (B,).
        equal_label_gap: Repaired: gap that stands in for that of equal labels, for which every
            order counts as right, so that the errors alone decide.
        mode: `released` gives NaN for equal labels without error, and for other equal labels 1 to
            a strict order and 0 to a tie.

    Returns:
        Mean over the other images, in [0, 1], shape (B, K); 0 where there is none. NaN for an
        unread answer.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Pairwise Score-and-Ranking; formula from the released
        code. Repaired: images with another number of read answers are met at the same
        share of their range, equal answers at the mean of their places (decisions D44, D45).

    Example:
        >>> pairwise_score_rank([[4.0], [2.0]], [4.0, 2.0])
        array([[1.],
               [1.]])
    """
    values = score_array(scores)
    truth = label_array(labels, len(values))
    read = ~np.isnan(values)
    check_mode(mode, read)
    partners = _partners(values, averaged=mode == "repaired")
    signs = np.sign(truth[:, None] - truth[None, :])[:, None, :]  # (B, 1, B)
    gap = np.abs(truth[:, None] - truth[None, :])[:, None, :]
    right = np.sign(values[..., None] - partners) == signs
    if mode == "repaired":
        equal = gap < _SAME
        right = right | equal
        gap = np.where(equal, equal_label_gap, gap)
    errors = np.abs(values - truth[:, None])[..., None] + np.abs(partners - truth)
    with np.errstate(invalid="ignore"):
        margin = gap / (gap + errors)
    reward = np.where(right, np.sqrt(margin), np.sqrt(1.0 - margin))
    met = _others(read)
    n_met = met.sum(axis=-1)
    total = np.where(met, reward, 0.0).sum(axis=-1)
    mean = np.divide(total, n_met, out=np.zeros_like(total), where=n_met > 0)
    return np.where(read, mean, np.nan)


def triplet_ranking(scores: ArrayLike, labels: ArrayLike, *, mode: Mode = "repaired") -> FloatArray:
    """Reward a score by the orders it takes part in with every two other images.

    Args:
        scores: Scores, shape (B, K), NaN for an unread answer.
        labels: Labels, shape (B,).
        mode: In `released`, answer k meets the k-th answers to the other images, and an order
            agrees if "greater" has the same truth value. In `repaired`, answers meet as in
            `pairwise_score_rank`, an order agrees if it has the same sign, and equal labels have
            no order that could be missed.

    Returns:
        Mean share of the three orders of (image, other, other) that agree, in [0, 1], shape
        (B, K). With fewer than three images NaN in `released`, 0 in `repaired`. NaN for an
        unread answer.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Triplet Ranking; formula from the released code; few
        images: decision D44, ties: decision D45.

    Example:
        >>> triplet_ranking([[4.0], [2.0], [3.0]], [4.0, 2.5, 1.0]).ravel().round(3)
        array([0.667, 0.667, 0.667])
    """
    values = score_array(scores)
    truth = label_array(labels, len(values))
    read = ~np.isnan(values)
    check_mode(mode, read)
    if mode == "released":
        partners = np.broadcast_to(values.T[None], (len(values), values.shape[1], len(values)))
        agree = _same_truth
    else:
        partners = _partners(values, averaged=True)
        agree = _same_sign
    met = _others(read)
    rewards = np.full(values.shape, np.nan)
    for image in range(len(values)):
        rewards[image] = _mean_of_triplets(
            values[image], partners[image], truth, met[image], (image, agree)
        )
    if mode == "repaired":
        rewards = np.where(np.isnan(rewards), 0.0, rewards)
    return np.where(read, rewards, np.nan)


def _mean_of_triplets(
    own: FloatArray,
    partners: FloatArray,
    truth: FloatArray,
    met: NDArray[np.bool_],
    image_and_rule: tuple,
) -> FloatArray:
    """Share of agreeing orders of one image with every two others, shape (K,)."""
    image, agree = image_and_rule
    with_image = agree(own[:, None] - partners, (truth[image] - truth)[None])  # (K, B)
    between = agree(
        partners[:, :, None] - partners[:, None, :], (truth[:, None] - truth[None, :])[None]
    )  # (K, B, B)
    pair = np.triu(met[:, :, None] & met[:, None, :], k=1)
    agreeing = (
        with_image[:, :, None].astype(np.float64) + with_image[:, None, :].astype(np.float64)
    ) + between
    n_pairs = pair.sum(axis=(1, 2))
    total = np.where(pair, agreeing, 0.0).sum(axis=(1, 2)) / 3.0
    return np.divide(total, n_pairs, out=np.full(total.shape, np.nan), where=n_pairs > 0)


def _same_truth(predicted: FloatArray, labelled: FloatArray) -> NDArray[np.bool_]:
    return (predicted > 0) == (labelled > 0)


def _same_sign(predicted: FloatArray, labelled: FloatArray) -> NDArray[np.bool_]:
    return (np.abs(labelled) < _SAME) | (np.sign(predicted) == np.sign(labelled))


def _partners(values: FloatArray, *, averaged: bool) -> FloatArray:
    """Score that answer k to image i meets in image z, shape (B, K, B); NaN if z has none.

    An answer stands at the share of its group's places that lie below it. In a group of another
    size it meets the value at the same share, between two answers if need be; a single answer
    stands in the middle.
    """
    read = ~np.isnan(values)
    count = read.sum(axis=1)
    if averaged:
        below = (values[:, None, :] < values[:, :, None]).sum(axis=-1)
        tied = (values[:, None, :] == values[:, :, None]).sum(axis=-1)
        place = below + (tied - 1) / 2.0
    else:
        place = values.argsort(axis=1, kind="stable").argsort(axis=1).astype(np.float64)
    last = np.maximum(count - 1, 0)
    share = np.where(last[:, None] > 0, place / np.maximum(last, 1)[:, None], 0.5)
    wanted = np.clip(share[..., None] * last, 0, last)  # (B, K, B)
    # A share of thirds or fifths times the same size must give back the whole place.
    whole = wanted.round()
    wanted = np.where(np.abs(wanted - whole) < _SAME, whole, wanted)
    lower = np.floor(wanted).astype(np.intp)
    upper = np.ceil(wanted).astype(np.intp)
    ordered = np.sort(values, axis=1)  # unread answers, NaN, come last
    images = np.arange(len(values))
    low, high = ordered[images, lower], ordered[images, upper]
    return (low + (high - low) * (wanted - lower)).round(9)


def _others(read: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which images z an answer k to image i is compared with, shape (B, K, B)."""
    met = read.any(axis=1)[None, :] & ~np.eye(len(read), dtype=bool)
    return met[:, None, :] & read[..., None]

"""PreResQ-R1's rewards: five terms, the image and the video total, and the format rewards.

Arrays have the axes images (B), completions of one image (K), aspects (D). A completion that
could not be parsed is NaN in all its aspects; it takes part in no comparison.

`released` is what the authors' published code computes on complete batches. `repaired`, the
default, has the same formulas, uses every aspect and is defined where the release is not: few
images or completions, equal labels, ties, unparsed completions (decisions D43 to D46).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qponder_lib.text.parsing import has_numbers_format

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Mode = Literal["repaired", "released"]

LEAST_SPREAD = 0.5
SPREAD_WEIGHT = 0.5
BALANCE_WEIGHT = 0.5
CLOSE = 0.05
EXACT = 0.02
EQUAL_LABEL_GAP = 0.02

WEIGHT_PAIRWISE = 0.375
WEIGHT_BALANCE = 0.5
WEIGHT_TRIPLET = 0.125
IMAGE_DIVISOR = 3.0

UNPARSED_IMAGE_REWARD = 0.0
"""What an unparsed completion earns for an image: less than any parsed one (decision D46)."""
UNPARSED_VIDEO_REWARD = -0.5
"""Likewise for a video, where a parsed completion earns -0.25 or more."""

IMAGE_NUMBERS = 5
VIDEO_NUMBERS = 2
_DIGITS = 9  # scores that differ by less come from the order of a sum, and are equal
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class PreResqRewards:
    """Rewards of a generation batch; arrays of shape (B, K).

    Attributes:
        std_penalty: Deduction for aspects that collapse; 0 throughout in the second stage.
        balance: Response ranking balance, its factor 0.5 included.
        pairwise: Pairwise score-and-rank.
        triplet: Triplet ranking.
        truth_rank: Rank between response and label; None in the video reward.
        total: What is learnt from. The terms are NaN for an unparsed completion, the total never
            is in `repaired`.
    """

    std_penalty: FloatArray
    balance: FloatArray
    pairwise: FloatArray
    triplet: FloatArray
    truth_rank: FloatArray | None
    total: FloatArray


def image_rewards(
    aspects: ArrayLike,
    labels: ArrayLike,
    *,
    penalise_spread: bool = True,
    mode: Mode = "repaired",
) -> PreResqRewards:
    """Reward the completions of a batch of images.

    Args:
        aspects: Aspect scores, 1 to 5, shape (B, K, D), NaN throughout an unparsed completion.
            All images of the generation batch, over all processes.
        labels: Labels, 1 to 5, shape (B,).
        penalise_spread: Deduct the std penalty: stage 1 of the training. In the release always.
        mode: `released` reproduces the published code; it needs every completion parsed, and
            three completions per image.

    Returns:
        Terms and totals: (0.375 pairwise - penalty + 0.5 balance + 0.125 triplet + truth rank)/3.

    Raises:
        ValueError: If shapes do not fit, a label is missing, or `released` cannot be computed.

    Source:
        PreResQ-R1, image total of the released code; the weights in the paper are not known.
        Unparsed completions: decision D46.

    Example:
        >>> exact = [[[3.0, 5.0]] * 3, [[1.0, 3.0]] * 3, [[2.0, 4.0]] * 3]
        >>> image_rewards(exact, [4.0, 2.0, 3.0]).total[0].round(4)
        array([0.5833, 0.5833, 0.5833])
    """
    *terms, total = _shared_terms(aspects, labels, penalise_spread, mode)
    truth_rank = response_truth_rank(scores_of(aspects), labels, mode=mode)
    total = (total + truth_rank) / IMAGE_DIVISOR
    total = np.where(np.isnan(scores_of(aspects)), UNPARSED_IMAGE_REWARD, total)
    return PreResqRewards(*terms, truth_rank, total)


def video_rewards(
    aspects: ArrayLike,
    labels: ArrayLike,
    *,
    penalise_spread: bool = True,
    mode: Mode = "repaired",
) -> PreResqRewards:
    """Reward the completions of a batch of videos.

    Args:
        aspects: Global and local score, 1 to 5, shape (B, K, 2), NaN throughout an unparsed
            completion.
        labels: Labels, 1 to 5, shape (B,).
        penalise_spread: Deduct the std penalty: stage 1 of the training. In the release always.
        mode: As in `image_rewards`.

    Returns:
        Terms and totals: 0.375 pairwise - penalty + 0.5 balance + 0.125 triplet.

    Raises:
        ValueError: If shapes do not fit, a label is missing, or `released` cannot be computed.

    Source:
        PreResQ-R1, video total of the released code. Unparsed completions: decision D46.

    Example:
        >>> exact = [[[3.0, 5.0]] * 3, [[1.0, 3.0]] * 3, [[2.0, 4.0]] * 3]
        >>> video_rewards(exact, [4.0, 2.0, 3.0]).total[0]
        array([0.75, 0.75, 0.75])
    """
    *terms, total = _shared_terms(aspects, labels, penalise_spread, mode)
    total = np.where(np.isnan(scores_of(aspects)), UNPARSED_VIDEO_REWARD, total)
    return PreResqRewards(*terms, None, total)


def _shared_terms(
    aspects: ArrayLike, labels: ArrayLike, penalise_spread: bool, mode: Mode
) -> tuple[FloatArray, ...]:
    """The four terms that both totals have, and their weighted sum."""
    scores = scores_of(aspects)
    penalty = std_penalty(aspects) * float(penalise_spread)
    balance = response_balance(aspects, mode=mode)
    pairwise = pairwise_score_rank(scores, labels, mode=mode)
    triplet = triplet_ranking(scores, labels, mode=mode)
    total = WEIGHT_PAIRWISE * pairwise - penalty
    total = total + WEIGHT_BALANCE * balance + WEIGHT_TRIPLET * triplet
    return penalty, balance, pairwise, triplet, total


def image_format_reward(text: str | None) -> float:
    r"""Reward a completion that reasons and then gives five numbers, one per line.

    Returns:
        1.0 if `parsing.has_numbers_format` for five numbers, else 0.0.

    Source:
        PreResQ-R1, format reward of the released code for images.

    Example:
        >>> image_format_reward("<think>Soft.</think><answer>3.1\n3\n2.5\n4\n3.30</answer>")
        1.0
    """
    return 1.0 if has_numbers_format(text, IMAGE_NUMBERS) else 0.0


def video_format_reward(text: str | None) -> float:
    r"""Reward a completion that reasons and then gives two numbers, each ending its line.

    Returns:
        1.0 if `parsing.has_numbers_format` for two numbers and a last line end, else 0.0.

    Source:
        PreResQ-R1, format reward of the released code for videos.

    Example:
        >>> video_format_reward("<think>It stutters.</think><answer>3.1\n3\n</answer>")
        1.0
    """
    return 1.0 if has_numbers_format(text, VIDEO_NUMBERS, last_line_ends=True) else 0.0


def scores_of(aspects: ArrayLike) -> FloatArray:
    """Average the aspects of each completion.

    Args:
        aspects: Aspect scores, shape (B, K, D), NaN throughout an unparsed completion.

    Returns:
        Scores, shape (B, K), NaN for an unparsed completion.

    Source:
        PreResQ-R1, released code: the score of a response is the mean of its aspect scores.

    Example:
        >>> scores_of([[[4.0, 3.0], [2.0, 2.5]]])
        array([[3.5 , 2.25]])
    """
    return _aspect_array(aspects).mean(axis=-1).round(_DIGITS)


def std_penalty(aspects: ArrayLike) -> FloatArray:
    """Penalise a completion whose aspect scores collapse to one number.

    Args:
        aspects: Aspect scores, shape (B, K, D), NaN throughout an unparsed completion.

    Returns:
        0.5 * max(0.5 - std, 0) with the population standard deviation, shape (B, K); to be
        subtracted. NaN for an unparsed completion.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Std Penalty; formula and constants from the released code.

    Example:
        >>> std_penalty([[[3.0, 3.0], [2.0, 4.0]]])
        array([[0.25, 0.  ]])
    """
    spread = _aspect_array(aspects).std(axis=-1)
    return SPREAD_WEIGHT * np.maximum(LEAST_SPREAD - spread, 0.0)


def response_balance(aspects: ArrayLike, *, mode: Mode = "repaired") -> FloatArray:
    """Reward completions of one image that stand in the middle of others, or close to the middle.

    Of every three completions and in every aspect the middle value gains 1; the lower and the
    higher one gain 1 only if they are nearer to it than 0.05.

    Args:
        aspects: Aspect scores, shape (B, K, D), NaN throughout an unparsed completion.
        mode: `released` leaves out the fifth of five aspects.

    Returns:
        0.5 * share of gains, in [0, 0.5], shape (B, K). Repaired: 0 where an image has fewer than
        three parsed completions. NaN for an unparsed completion.

    Raises:
        ValueError: In `released`, if there are fewer than three completions or one is unparsed.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Response Ranking Balance; formula from the released code,
        whose image reward skips the fifth aspect (decision D43); few completions: decision D44.

    Example:
        >>> response_balance([[[1.0], [2.0], [2.01]]])
        array([[0. , 0.5, 0.5]])
    """
    values = _aspect_array(aspects)
    parsed = ~np.isnan(values[..., 0])
    _check_mode(mode, parsed)
    n = values.shape[1]
    if mode == "released":
        if n < 3:
            raise ValueError(f"the release needs three completions per image, got {n}")
        values = values[..., :4] if values.shape[-1] == 5 else values
    if n < 3:
        return np.where(parsed, 0.0, np.nan)
    triples = np.array(list(combinations(range(n), 3)))
    complete = parsed[:, triples].all(axis=-1)  # (B, T)
    three = values[:, triples]  # (B, T, 3, D)
    order = three.argsort(axis=2, kind="stable")
    low, middle, high = np.moveaxis(np.take_along_axis(three, order, axis=2), 2, 0)
    gains = np.stack([middle - low < CLOSE, np.ones_like(low), high - middle < CLOSE], axis=2)
    by_member = np.empty_like(gains)
    np.put_along_axis(by_member, order, gains, axis=2)
    gained = by_member.sum(axis=-1) * complete[..., None]  # (B, T, 3)
    member = (triples[..., None] == np.arange(n)).astype(np.float64)  # (T, 3, K)
    total = np.tensordot(gained, member, axes=([1, 2], [0, 1]))
    possible = complete @ member.sum(axis=1) * values.shape[-1]
    share = np.divide(total, possible, out=np.zeros_like(total), where=possible > 0)
    return np.where(parsed, BALANCE_WEIGHT * share, np.nan)


def response_truth_rank(
    scores: ArrayLike, labels: ArrayLike, *, mode: Mode = "repaired"
) -> FloatArray:
    """Reward a completion by the number of other completions between it and the label.

    The K parsed scores of an image and its label are sorted together.

    Args:
        scores: Scores, shape (B, K), NaN for an unparsed completion.
        labels: Labels on the same scale, shape (B,).
        mode: Equal values stand at the place of the first of them in `released`, at the mean of
            their places in `repaired`.

    Returns:
        1 for an error below 0.02, else exp(-places between score and label / (K + 1)), shape
        (B, K). NaN for an unparsed completion.

    Source:
        PreResQ-R1, response-to-truth rank of the released image reward; the term is not in the
        paper's figure of its rewards. Ties: decision D45.

    Example:
        >>> response_truth_rank([[3.0, 4.0]], [4.0]).round(4)
        array([[0.6065, 1.    ]])
    """
    values, truth, parsed = _compared(scores, labels, mode)
    pool = np.concatenate([values, truth[:, None].round(_DIGITS)], axis=1)  # (B, K + 1)
    places = (pool[:, None, :] < pool[:, :, None]).sum(axis=-1).astype(np.float64)
    if mode == "repaired":
        places += ((pool[:, None, :] == pool[:, :, None]).sum(axis=-1) - 1) / 2
    apart = np.abs(places[:, :-1] - places[:, -1:])
    size = parsed.sum(axis=1, keepdims=True) + 1
    reward = np.where(np.abs(values - truth[:, None]) < EXACT, 1.0, np.exp(-apart / size))
    return np.where(parsed, reward, np.nan)


def pairwise_score_rank(
    scores: ArrayLike, labels: ArrayLike, *, mode: Mode = "repaired"
) -> FloatArray:
    """Reward a score by order and by error against every other image.

    The r-th lowest completion of an image is compared with the r-th lowest of each other image.
    With c = 1 where scores and labels have the same order (above, equal, below), else 0, and
    margin m = gap of labels / (gap of labels + both errors), the reward is
    sqrt(c m) + sqrt((1 - c)(1 - m)). In a wrong order it grows with the error, as published.

    Args:
        scores: Scores, shape (B, K), NaN for an unparsed completion.
        labels: Labels on the same scale, shape (B,).
        mode: For equal labels, `repaired` counts every order as right and takes 0.02 for the gap,
            so that the errors alone decide; `released` gives NaN without error, else 1 to a
            strict order and 0 to a tie.

    Returns:
        Mean over the other images, in [0, 1], shape (B, K); 0 where there is none. NaN for an
        unparsed completion.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Pairwise Score-and-Ranking; formula from the released
        code. Repaired: images with another number of parsed completions are met at the same
        share of their range, equal completions at the mean of their places (decisions D44, D45).

    Example:
        >>> pairwise_score_rank([[4.0], [2.0]], [4.0, 2.0])
        array([[1.],
               [1.]])
    """
    values, truth, parsed = _compared(scores, labels, mode)
    partners = _partners(values, averaged=mode == "repaired")
    signs = np.sign(truth[:, None] - truth[None, :])[:, None, :]  # (B, 1, B)
    gap = np.abs(truth[:, None] - truth[None, :])[:, None, :]
    right = np.sign(values[..., None] - partners) == signs
    if mode == "repaired":
        equal = gap < _SAME
        right = right | equal
        gap = np.where(equal, EQUAL_LABEL_GAP, gap)
    errors = np.abs(values - truth[:, None])[..., None] + np.abs(partners - truth)
    with np.errstate(invalid="ignore"):
        margin = gap / (gap + errors)
    reward = np.where(right, np.sqrt(margin), np.sqrt(1.0 - margin))
    met = _met(parsed)
    n_met = met.sum(axis=-1)
    total = np.where(met, reward, 0.0).sum(axis=-1)
    mean = np.divide(total, n_met, out=np.zeros_like(total), where=n_met > 0)
    return np.where(parsed, mean, np.nan)


def triplet_ranking(scores: ArrayLike, labels: ArrayLike, *, mode: Mode = "repaired") -> FloatArray:
    """Reward a score by the orders it takes part in with every two other images.

    Args:
        scores: Scores, shape (B, K), NaN for an unparsed completion.
        labels: Labels, shape (B,).
        mode: In `released`, completion k meets the k-th completions of the other images, and an
            order agrees if "greater" has the same truth value. In `repaired`, completions meet as
            in `pairwise_score_rank`, an order agrees if it has the same sign, and equal labels
            have no order that could be missed.

    Returns:
        Mean share of the three orders of (image, other, other) that agree, in [0, 1], shape
        (B, K). With fewer than three images NaN in `released`, 0 in `repaired`. NaN for an
        unparsed completion.

    Source:
        PreResQ-R1 (arXiv:2511.05393), Triplet Ranking; formula from the released code; few
        images: decision D44, ties: decision D45.

    Example:
        >>> triplet_ranking([[4.0], [2.0], [3.0]], [4.0, 2.5, 1.0]).ravel().round(3)
        array([0.667, 0.667, 0.667])
    """
    values, truth, parsed = _compared(scores, labels, mode)
    if mode == "released":
        partners = np.broadcast_to(values.T, (len(values), *values.T.shape))
    else:
        partners = _partners(values, averaged=True)
    met = _met(parsed)
    without = 0.0 if mode == "repaired" else np.nan  # of an image without two others
    rewards = np.full(values.shape, np.nan)
    label_gaps = truth[:, None] - truth[None, :]
    for image, mine in enumerate(partners):  # (K, B)
        with_image = _agree(values[image][:, None] - mine, label_gaps[image], mode)
        between = _agree(mine[:, :, None] - mine[:, None, :], label_gaps, mode)  # (K, B, B)
        pair = np.triu(met[image][:, :, None] & met[image][:, None, :], k=1)
        agreeing = with_image[:, :, None] + with_image[:, None, :] + between
        n_pairs = pair.sum(axis=(1, 2))
        total = np.where(pair, agreeing, 0.0).sum(axis=(1, 2)) / 3.0
        rewards[image] = np.divide(
            total, n_pairs, out=np.full(total.shape, without), where=n_pairs > 0
        )
    return np.where(parsed, rewards, np.nan)


def _agree(predicted: FloatArray, labelled: FloatArray, mode: Mode) -> FloatArray:
    """1 where gaps between scores and between labels have the same order, else 0."""
    if mode == "released":
        return ((predicted > 0) == (labelled > 0)).astype(np.float64)
    same_sign = np.sign(predicted) == np.sign(labelled)
    return ((np.abs(labelled) < _SAME) | same_sign).astype(np.float64)


def _partners(values: FloatArray, *, averaged: bool) -> FloatArray:
    """Score that completion k of image i meets in image z, shape (B, K, B); NaN if z has none.

    A completion stands at the share of its group's places that lie below it. In a group of
    another size it meets the value at the same share, between two completions if need be; a
    single completion stands in the middle.
    """
    count = (~np.isnan(values)).sum(axis=1)
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
    ordered = np.sort(values, axis=1)  # unparsed completions, NaN, come last
    images = np.arange(len(values))
    low, high = ordered[images, lower], ordered[images, upper]
    return (low + (high - low) * (wanted - lower)).round(_DIGITS)


def _met(parsed: BoolArray) -> BoolArray:
    """Which images z a completion k of image i is compared with, shape (B, K, B)."""
    others = parsed.any(axis=1)[None, :] & ~np.eye(len(parsed), dtype=bool)
    return others[:, None, :] & parsed[..., None]


def _aspect_array(aspects: ArrayLike) -> FloatArray:
    array = np.asarray(aspects, dtype=np.float64)
    if array.ndim != 3 or not array.size:
        raise ValueError(
            f"expected aspects of shape (images, completions, aspects), got {array.shape}"
        )
    if np.isinf(array).any():
        raise ValueError("expected finite aspect scores, or NaN throughout an unparsed completion")
    missing = np.isnan(array)
    if (missing.any(axis=-1) != missing.all(axis=-1)).any():
        raise ValueError("a completion has some of its aspects only; unparsed ones are NaN in all")
    return array


def checked_batch(scores: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return scores (B, K) and labels (B,) as arrays; ValueError where they do not fit."""
    values, truth = (np.asarray(one, dtype=np.float64) for one in (scores, labels))
    if values.ndim != 2 or not values.size or np.isinf(values).any():
        raise ValueError(
            f"expected finite scores of shape (images, completions), got {values.shape}"
        )
    if truth.shape != values.shape[:1] or not np.isfinite(truth).all():
        raise ValueError(f"expected {len(values)} finite labels, one per image, got {truth}")
    return values, truth


def _compared(
    scores: ArrayLike, labels: ArrayLike, mode: Mode
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Scores without the noise of sums, labels, and which completions are parsed."""
    values, truth = checked_batch(scores, labels)
    parsed = ~np.isnan(values)
    _check_mode(mode, parsed)
    return values.round(_DIGITS), truth, parsed


def _check_mode(mode: str, parsed: BoolArray) -> None:
    if mode not in get_args(Mode):
        raise ValueError(f"expected mode 'repaired' or 'released', got {mode!r}")
    if mode == "released" and not parsed.all():
        raise ValueError(
            f"{int((~parsed).sum())} of {parsed.size} completions are unparsed; the release fills "
            "them with made-up scores, which is not done here: use mode 'repaired'"
        )

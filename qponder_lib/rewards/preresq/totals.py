"""The five terms added up, for images and for videos, and the format rewards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qponder_lib.rewards.preresq.arrays import (
    FloatArray,
    Mode,
    aspect_array,
    check_mode,
    label_array,
    scores_of,
)
from qponder_lib.rewards.preresq.preference import pairwise_score_rank, triplet_ranking
from qponder_lib.rewards.preresq.response import (
    SPREAD_WEIGHT,
    response_balance,
    response_truth_rank,
    std_penalty,
)
from qponder_lib.text.parsing import has_numbers_format

WEIGHT_PAIRWISE = 0.375
WEIGHT_BALANCE = 0.5
WEIGHT_TRIPLET = 0.125
WEIGHT_TRUTH_RANK = 1.0
IMAGE_DIVISOR = 3.0

UNREAD_IMAGE_REWARD = 0.0
"""What an unread answer to an image earns: less than any read one (decision D46)."""
UNREAD_VIDEO_REWARD = -0.5
"""What an unread answer to a video earns: less than any read one, which earns -0.25 or more."""

IMAGE_NUMBERS = 5
VIDEO_NUMBERS = 2


@dataclass(frozen=True, slots=True)
class PreResqRewards:
    """Rewards of a generation batch; arrays of shape (B, K).

    Attributes:
        std_penalty: Deduction for aspects that collapse; 0 throughout in the second stage.
        balance: Response ranking balance, its factor 0.5 included.
        pairwise: Pairwise score-and-rank.
        triplet: Triplet ranking.
        truth_rank: Rank between response and label; None in the video reward.
        total: What is learnt from. The terms are NaN for an unread answer, the total never is in
            `repaired`.
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
    """Reward the answers to a batch of images.

    Args:
        aspects: Aspect scores, 1 to 5, shape (B, K, D), NaN throughout an unread answer. All
            images of the generation batch, over all processes.
        labels: Labels, 1 to 5, shape (B,).
        penalise_spread: Deduct the std penalty: stage 1 of the training. In the release always.
        mode: `released` reproduces the published code; it needs every answer read, and three
            answers per image.

    Returns:
        Terms and totals: (0.375 pairwise - penalty + 0.5 balance + 0.125 triplet + truth rank)/3.

    Raises:
        ValueError: If shapes do not fit, a label is missing, or `released` cannot be computed.

    Source:
        PreResQ-R1, image total of the released code; the weights in the paper are not known.
        Unread answers: decision D46.

    Example:
        >>> exact = [[[3.0, 5.0]] * 3, [[1.0, 3.0]] * 3, [[2.0, 4.0]] * 3]
        >>> image_rewards(exact, [4.0, 2.0, 3.0]).total[0].round(4)
        array([0.5833, 0.5833, 0.5833])
    """
    terms = _shared_terms(aspects, labels, penalise_spread, mode)
    truth_rank = response_truth_rank(scores_of(aspects), labels, mode=mode)
    total = (_shared_sum(terms) + WEIGHT_TRUTH_RANK * truth_rank) / IMAGE_DIVISOR
    return PreResqRewards(*terms, truth_rank, _unread_earn(total, aspects, UNREAD_IMAGE_REWARD))


def video_rewards(
    aspects: ArrayLike,
    labels: ArrayLike,
    *,
    penalise_spread: bool = True,
    mode: Mode = "repaired",
) -> PreResqRewards:
    """Reward the answers to a batch of videos.

    Args:
        aspects: Global and local score, 1 to 5, shape (B, K, 2), NaN throughout an unread answer.
        labels: Labels, 1 to 5, shape (B,).
        penalise_spread: Deduct the std penalty: stage 1 of the training. In the release always.
        mode: As in `image_rewards`.

    Returns:
        Terms and totals: 0.375 pairwise - penalty + 0.5 balance + 0.125 triplet.

    Raises:
        ValueError: If shapes do not fit, a label is missing, or `released` cannot be computed.

    Source:
        PreResQ-R1, video total of the released code. Unread answers: decision D46.

    Example:
        >>> exact = [[[3.0, 5.0]] * 3, [[1.0, 3.0]] * 3, [[2.0, 4.0]] * 3]
        >>> video_rewards(exact, [4.0, 2.0, 3.0]).total[0]
        array([0.75, 0.75, 0.75])
    """
    terms = _shared_terms(aspects, labels, penalise_spread, mode)
    total = _unread_earn(_shared_sum(terms), aspects, UNREAD_VIDEO_REWARD)
    return PreResqRewards(*terms, None, total)


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


def _shared_terms(
    aspects: ArrayLike, labels: ArrayLike, penalise_spread: bool, mode: Mode
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    values = aspect_array(aspects)
    truth = label_array(labels, len(values))
    scores = scores_of(values)
    check_mode(mode, ~np.isnan(scores))
    return (
        std_penalty(values, weight=SPREAD_WEIGHT if penalise_spread else 0.0),
        response_balance(values, mode=mode),
        pairwise_score_rank(scores, truth, mode=mode),
        triplet_ranking(scores, truth, mode=mode),
    )


def _shared_sum(terms: tuple[FloatArray, FloatArray, FloatArray, FloatArray]) -> FloatArray:
    penalty, balance, pairwise, triplet = terms
    return (
        WEIGHT_PAIRWISE * pairwise - penalty + WEIGHT_BALANCE * balance + WEIGHT_TRIPLET * triplet
    )


def _unread_earn(total: FloatArray, aspects: ArrayLike, reward: float) -> FloatArray:
    unread = np.isnan(np.asarray(aspects, dtype=np.float64)[..., 0])
    return np.where(unread, reward, total)

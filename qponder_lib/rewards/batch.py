"""One generation batch through any of the rewards, in the form in which training takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qponder_lib.rewards import neighbours, preresq
from qponder_lib.rewards.preresq.totals import VIDEO_NUMBERS
from qponder_lib.rewards.qponder import ALPHA, UNPARSED_REWARD, accuracy_reward, format_reward
from qponder_lib.scales import ASPECT_SCALE, linear_rescale
from qponder_lib.text.prompts import AnswerForm

FloatArray = NDArray[np.float64]
RewardName = Literal["qponder", "preresq", "preresq_video", "threshold", "fidelity", "gaussian"]
PRERESQ_TERMS = ("std_penalty", "balance", "pairwise", "triplet", "truth_rank")
"""Terms of PreResQ-R1's reward, by which its history is logged."""
PUBLISHED_WEIGHTS: Mapping[RewardName, tuple[float, float]] = {
    "qponder": (2.0, 1.0),
    "preresq": (1.0, 1.0),
    "preresq_video": (1.0, 1.0),
    "threshold": (1.0, 1.0),
    "fidelity": (1.0, 1.0),
    "gaussian": (1.0, 1.0),
}
"""Weights of accuracy and format in each reward's source.

Source: Q-Ponder (arXiv:2506.05384), section 4.1; PreResQ-R1, Q-Insight and VisualQuality-R1 add
both in their released code; VQAThinker's are not known, 1 and 1 is ours (decision D68).
"""
PRERESQ_VIDEO_TERMS = PRERESQ_TERMS[:-1]


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """Which reward, and its constants.

    Attributes:
        name: "qponder" is the exponential reward; "preresq_video" is PreResQ-R1's for clips, of
            which answers state a global and a local score.
        alpha: Tolerance of "qponder", MOS units of the 0 to 100 scale.
        threshold: Error on the 1 to 5 scale from which "threshold" earns nothing.
        gaussian_width: Deviation of the bell of "gaussian" on the 1 to 5 scale.
        penalise_spread: Deduct PreResQ-R1's std penalty, where answers state several scores.
    """

    name: RewardName = "qponder"
    alpha: float = ALPHA
    threshold: float = neighbours.THRESHOLD
    gaussian_width: float = neighbours.GAUSSIAN_WIDTH
    penalise_spread: bool = False


@dataclass(frozen=True, slots=True)
class BatchRewards:
    """Rewards of shape (B, K), and the mean over read answers of each term they are made of."""

    total: FloatArray
    terms: Mapping[str, float] = field(default_factory=dict)


def reward_batch(scores: ArrayLike, mos: ArrayLike, settings: RewardSettings) -> BatchRewards:
    """Reward the answers to all images of a generation batch.

    Args:
        scores: Stated scores on the 0 to 100 scale, shape (B, K, D); D is 1 where an answer
            states one score, and its aspects elsewhere. NaN throughout an unread answer.
        mos: Mean opinion scores, 0 to 100, shape (B,).
        settings: The reward and its constants.

    Returns:
        The rewards; "preresq" also gives its terms.

    Raises:
        ValueError: If shapes do not fit, a MOS is missing, or the reward is unknown.

    Example:
        >>> reward_batch([[[60.0], [70.0]]], [60.0], RewardSettings()).total.round(4)
        array([[1.    , 0.3679]])
    """
    stated = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(mos, dtype=np.float64)
    if settings.name == "qponder":
        return BatchRewards(_exponential(stated.mean(axis=-1), truth, settings.alpha))
    low = ASPECT_SCALE[0]
    per_point = linear_rescale(low + 1.0, ASPECT_SCALE)
    # Rounding undoes what the way to 0 to 100 and back did to the last digits.
    aspects, labels = (low + stated / per_point).round(9), (low + truth / per_point).round(9)
    means = aspects.mean(axis=-1)
    if settings.name == "threshold":
        return BatchRewards(
            neighbours.threshold_rewards(means, labels, threshold=settings.threshold)
        )
    if settings.name == "gaussian":
        return BatchRewards(
            neighbours.gaussian_rewards(means, labels, width=settings.gaussian_width)
        )
    if settings.name == "fidelity":
        return BatchRewards(neighbours.fidelity_rewards(means, labels))
    if settings.name == "preresq":
        return _preresq(aspects, labels, settings.penalise_spread)
    if settings.name == "preresq_video":
        return _preresq_video(aspects, labels, settings.penalise_spread)
    raise ValueError(f"unknown reward {settings.name!r}")


def form_reward(text: str | None, form: AnswerForm) -> float:
    """Reward an answer for the form that its prompt asked for.

    Args:
        text: The answer.
        form: From `prompts.answer_form`: one, two or five scores.

    Returns:
        1.0 or 0.0, by Q-Ponder's Eq. 6 or PreResQ-R1's two forms.

    Example:
        >>> form_reward("<think>Soft.</think><answer>62</answer>", AnswerForm(1, 0.0, 100.0, 0))
        1.0
    """
    if form.n_scores == 1:
        return format_reward(text)
    several = preresq.image_format_reward if form.n_scores == 5 else preresq.video_format_reward
    return several(text)


def _preresq(aspects: FloatArray, labels: FloatArray, penalise_spread: bool) -> BatchRewards:
    """One score has no spread between aspects, so nothing is deducted for it."""
    penalised = penalise_spread and aspects.shape[-1] > 1
    rewards = preresq.image_rewards(aspects, labels, penalise_spread=penalised)
    return _with_terms(rewards, PRERESQ_TERMS, ~np.isnan(aspects[..., 0]))


def _preresq_video(aspects: FloatArray, labels: FloatArray, penalise_spread: bool) -> BatchRewards:
    """The reward of clips has no term of rank between response and label."""
    if aspects.shape[-1] != VIDEO_NUMBERS:
        raise ValueError(
            f"reward preresq_video is for answers with {VIDEO_NUMBERS} scores, got "
            f"{aspects.shape[-1]}"
        )
    rewards = preresq.video_rewards(aspects, labels, penalise_spread=penalise_spread)
    return _with_terms(rewards, PRERESQ_VIDEO_TERMS, ~np.isnan(aspects[..., 0]))


def _with_terms(
    rewards: preresq.PreResqRewards, names: tuple[str, ...], read: NDArray[np.bool_]
) -> BatchRewards:
    if not read.any():
        return BatchRewards(rewards.total)
    terms = {name: float(getattr(rewards, name)[read].mean()) for name in names}
    return BatchRewards(rewards.total, terms)


def _exponential(scores: FloatArray, mos: FloatArray, alpha: float) -> FloatArray:
    return np.array(
        [
            [
                UNPARSED_REWARD if np.isnan(score) else accuracy_reward(score, truth, alpha=alpha)
                for score in row
            ]
            for row, truth in zip(scores.tolist(), mos.tolist(), strict=True)
        ]
    )

"""One generation batch through any of the rewards: as training takes it, and to compare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qponder_lib.rewards import preresq
from qponder_lib.rewards.alternatives import fidelity_rewards, gaussian_rewards, threshold_rewards
from qponder_lib.rewards.qponder import ALPHA, UNPARSED_REWARD, accuracy_reward, format_reward
from qponder_lib.scales import ASPECT_SCALE
from qponder_lib.text.prompts import AnswerForm

FloatArray = NDArray[np.float64]
RewardName = Literal["qponder", "preresq", "preresq_video", "threshold", "fidelity", "gaussian"]
TITLES: Mapping[RewardName, str] = {
    "qponder": "exponential (Q-Ponder)",
    "threshold": "threshold (Q-Insight)",
    "gaussian": "Gaussian (VQAThinker)",
    "fidelity": "fidelity (VisualQuality-R1)",
    "preresq": "PreResQ-R1",
}
"""Names for readers; the first three look at one completion, the last two at the whole batch."""
PRERESQ_TERMS = ("std_penalty", "balance", "pairwise", "triplet", "truth_rank")
"""Terms of PreResQ-R1's reward, by which its history is logged; clips have all but the last."""
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
MOS_UNITS = 25.0
"""Points of the 0 to 100 scale in one point of the 1 to 5 scale."""
_ALTERNATIVES = {
    "threshold": threshold_rewards,
    "gaussian": gaussian_rewards,
    "fidelity": fidelity_rewards,
}


def reward_batch(
    scores: ArrayLike,
    mos: ArrayLike,
    reward: RewardName = "qponder",
    *,
    alpha: float = ALPHA,
    penalise_spread: bool = False,
) -> tuple[FloatArray, dict[str, float]]:
    """Reward the completions of all images of a generation batch.

    Args:
        scores: Stated scores on the 0 to 100 scale, shape (B, K, D); D is 1 where a completion
            states one score, and the number of its aspects elsewhere. NaN throughout an unparsed
            completion.
        mos: Mean opinion scores, 0 to 100, shape (B,).
        reward: "qponder" is the exponential reward; "preresq_video" is PreResQ-R1's for clips,
            whose completions state a global and a local score.
        alpha: Tolerance of "qponder", MOS units of the 0 to 100 scale.
        penalise_spread: Deduct PreResQ-R1's std penalty, where completions state several scores.

    Returns:
        The rewards, shape (B, K), and for PreResQ-R1 the mean over parsed completions of each
        term that they consist of.

    Raises:
        ValueError: If shapes do not fit, a MOS is missing, or the reward is unknown.

    Example:
        >>> reward_batch([[[60.0], [70.0]]], [60.0])
        (array([[1.        , 0.36787944]]), {})
    """
    stated = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(mos, dtype=np.float64)
    if reward == "qponder":
        return _exponential(stated.mean(axis=-1), truth, alpha), {}
    # Rounding undoes what the way to 0 to 100 and back did to the last digits.
    aspects, labels = ((ASPECT_SCALE[0] + one / MOS_UNITS).round(9) for one in (stated, truth))
    if reward in ("preresq", "preresq_video"):
        return _preresq(aspects, labels, reward == "preresq_video", penalise_spread)
    if reward not in _ALTERNATIVES:
        raise ValueError(f"unknown reward {reward!r}; expected one of {list(PUBLISHED_WEIGHTS)}")
    return _ALTERNATIVES[reward](aspects.mean(axis=-1), labels), {}


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


def _preresq(
    aspects: FloatArray, labels: FloatArray, video: bool, penalise_spread: bool
) -> tuple[FloatArray, dict[str, float]]:
    """One score has no spread between aspects, so nothing is deducted for it."""
    n = aspects.shape[-1]
    if video and n != preresq.VIDEO_NUMBERS:
        raise ValueError(f"reward preresq_video is for completions with 2 scores, got {n}")
    rewards = preresq.video_rewards if video else preresq.image_rewards
    found = rewards(aspects, labels, penalise_spread=penalise_spread and n > 1)
    parsed = ~np.isnan(aspects[..., 0])
    terms = {name: getattr(found, name) for name in PRERESQ_TERMS if parsed.any()}
    means = {name: float(v[parsed].mean()) for name, v in terms.items() if v is not None}
    return found.total, means


def form_reward(text: str | None, form: AnswerForm) -> float:
    """Reward a completion for the form that its prompt asked for.

    Args:
        text: The completion.
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


def compare_rewards(
    scores: ArrayLike, labels: ArrayLike, *, alpha: float = ALPHA
) -> dict[RewardName, FloatArray]:
    """Give the same completions to every reward; no format reward is added.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unparsed completion.
        labels: Labels, 1 to 5, shape (B,).
        alpha: As in `reward_batch`.

    Returns:
        Rewards by the names of `TITLES`, shape (B, K).

    Example:
        >>> found = compare_rewards([[3.0, 3.4]], [3.0])
        >>> found["qponder"].round(4), found["threshold"]
        (array([[1.    , 0.3679]]), array([[1., 0.]]))
    """
    low = ASPECT_SCALE[0]
    stated = (np.asarray(scores, dtype=np.float64) - low) * MOS_UNITS
    mos = (np.asarray(labels, dtype=np.float64) - low) * MOS_UNITS
    return {name: reward_batch(stated[..., None], mos, name, alpha=alpha)[0] for name in TITLES}

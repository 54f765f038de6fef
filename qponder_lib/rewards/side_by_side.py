"""The same answers through several rewards, to be compared; scores and labels are 1 to 5 here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from qponder_lib.rewards.batch import FloatArray, RewardSettings, reward_batch
from qponder_lib.rewards.neighbours import MOS_UNITS
from qponder_lib.rewards.qponder import group_advantages
from qponder_lib.scales import ASPECT_SCALE

TITLES = {
    "qponder": "exponential (Q-Ponder)",
    "threshold": "threshold (Q-Insight)",
    "gaussian": "Gaussian (VQAThinker)",
    "fidelity": "fidelity (VisualQuality-R1)",
    "preresq": "PreResQ-R1",
}
"""Names for readers; the first three look at one answer, the last two at the whole batch."""


def settings_of(**constants: float) -> dict[str, RewardSettings]:
    """Return the settings of all rewards.

    Args:
        constants: `alpha`, `threshold` and `gaussian_width`, as in `RewardSettings`.
    """
    return {name: RewardSettings(name, **constants) for name in TITLES}


def accuracy_of(scores: ArrayLike, labels: ArrayLike, settings: RewardSettings) -> FloatArray:
    """Reward the answers of a batch; no format reward is added.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unread answer.
        labels: Labels, 1 to 5, shape (B,).
        settings: The reward and its constants.

    Returns:
        Rewards, shape (B, K).

    Example:
        >>> accuracy_of([[3.0, 3.4]], [3.0], RewardSettings(alpha=10.0)).round(4)
        array([[1.    , 0.3679]])
    """
    low = ASPECT_SCALE[0]
    stated = (np.asarray(scores, dtype=np.float64) - low) * MOS_UNITS
    truth = (np.asarray(labels, dtype=np.float64) - low) * MOS_UNITS
    return reward_batch(stated[..., None], truth, settings).total


def sweep(
    scores: ArrayLike,
    labels: ArrayLike,
    settings: RewardSettings,
    grid: ArrayLike,
    place: tuple[int, int] = (0, 0),
) -> FloatArray:
    """Let one answer state every score of a grid, all others as they are.

    Args:
        scores: As in `accuracy_of`.
        labels: As in `accuracy_of`.
        settings: The reward and its constants.
        grid: Scores to state, shape (n,).
        place: Image and answer.

    Returns:
        What that answer earns, shape (n,).

    Example:
        >>> sweep([[0.0]], [3.0], RewardSettings("threshold"), [2.6, 2.7, 3.0])
        array([0., 1., 1.])
    """
    changed = np.array(scores, dtype=np.float64)
    earned = []
    for value in np.asarray(grid, dtype=np.float64):
        changed[place] = value
        earned.append(accuracy_of(changed, labels, settings)[place])
    return np.array(earned)


def advantages_of(
    scores: ArrayLike, labels: ArrayLike, settings: Mapping[str, RewardSettings]
) -> dict[str, FloatArray]:
    """What each reward teaches: rewards less their group's mean, over its deviation.

    Returns:
        Advantages by reward, shape (B, K); all 0 where a group earns the same.
    """
    return {
        name: np.stack([group_advantages(row) for row in accuracy_of(scores, labels, one)])
        for name, one in settings.items()
    }

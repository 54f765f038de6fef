"""Accuracy rewards of other systems for the same task, each one equation, on the 1 to 5 scale.

They answer "why this reward and not another". An unparsed completion is NaN and earns 0, which no
parsed one earns less than.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from qponder_lib.rewards.preresq import FloatArray, checked_batch

THRESHOLD = 0.35
GAUSSIAN_WIDTH = 0.5

_FLOOR = 1e-6


def threshold_rewards(scores: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Reward a score that is near enough to the label, all or nothing.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unparsed completion.
        labels: Labels, 1 to 5, shape (B,).

    Returns:
        1 where |score - label| < 0.35, else 0, shape (B, K).

    Raises:
        ValueError: If shapes do not fit or a label is missing.

    Source:
        Q-Insight (https://github.com/bytedance/Q-Insight), score reward, threshold 0.35.

    Example:
        >>> threshold_rewards([[3.0, 3.3, 3.4]], [3.0])
        array([[1., 1., 0.]])
    """
    values, truth = checked_batch(scores, labels)
    return (np.abs(values - truth[:, None]) < THRESHOLD).astype(np.float64)


def gaussian_rewards(scores: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Reward a score by a bell around the label: flat on top, nothing far away.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unparsed completion.
        labels: Labels, 1 to 5, shape (B,).

    Returns:
        exp(-(score - label)^2 / (2 0.5^2)), in [0, 1], shape (B, K).

    Raises:
        ValueError: If shapes do not fit or a label is missing.

    Source:
        VQAThinker (https://github.com/clh124/VQAThinker), regression reward, width 0.5, without
        its factor for fewer than two decimals.

    Example:
        >>> gaussian_rewards([[3.0, 3.5]], [3.0]).round(4)
        array([[1.    , 0.6065]])
    """
    values, truth = checked_batch(scores, labels)
    errors = np.abs(values - truth[:, None])
    return np.nan_to_num(np.exp(-(errors**2) / (2.0 * GAUSSIAN_WIDTH**2)), nan=0.0)


def fidelity_rewards(scores: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Reward a score by how well it orders its image among the others, by Thurstone's model.

    The scores of each image have mean mu and variance v (n - 1). Completion k of image i is above
    image j with probability p = Phi((q_ik - mu_j) / sqrt(v_i + v_j + 1e-6)); by the labels it
    should be with t = 1, 0.5 or 0. The reward is sqrt(t p + 1e-6) + sqrt((1-t)(1-p) + 1e-6).

    Args:
        scores: Scores, shape (B, K), NaN for an unparsed completion. All images of the generation
            batch, over all processes.
        labels: Labels, shape (B,).

    Returns:
        Mean over the other images that have a parsed completion, from 0 to a little above 1,
        shape (B, K); 0 where there is none. The variance of a single parsed completion is 0.

    Raises:
        ValueError: If shapes do not fit or a label is missing.

    Source:
        VisualQuality-R1 (https://github.com/TianheWu/VisualQuality-R1), fidelity reward. Unparsed
        completions and single images are ours (decision D47).

    Example:
        >>> fidelity_rewards([[4.0, 4.2], [2.0, 2.2]], [4.0, 2.0]).round(2)
        array([[1., 1.],
               [1., 1.]])
    """
    values, truth = checked_batch(scores, labels)
    parsed = ~np.isnan(values)
    count = parsed.sum(axis=1)
    mean = np.where(parsed, values, 0.0).sum(axis=1) / np.maximum(count, 1)
    squares = np.where(parsed, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
    variance = squares / np.maximum(count - 1, 1)
    scale = np.sqrt(variance[:, None] + variance[None, :] + _FLOOR)  # (B, B)
    above = _normal_cdf((values[:, :, None] - mean) / scale[:, None, :])  # (B, K, B)
    should = (0.5 * (1.0 + np.sign(truth[:, None] - truth[None, :])))[:, None, :]
    reward = np.sqrt(should * above + _FLOOR) + np.sqrt((1 - should) * (1 - above) + _FLOOR)
    met = (count > 0)[None, :] & ~np.eye(len(values), dtype=bool)
    n_met = met.sum(axis=1)[:, None]
    total = np.where(met[:, None, :], reward, 0.0).sum(axis=-1)
    rewards = np.divide(total, n_met, out=np.zeros_like(total), where=n_met > 0)
    return np.where(parsed, rewards, 0.0)


def _normal_cdf(values: FloatArray) -> FloatArray:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return 0.5 * (1.0 + erf(values / math.sqrt(2.0)))

"""Rewards of other systems for the same task, each one equation, on the 1 to 5 scale.

They answer "why this reward and not another". Q-Ponder's own dense reward is
`rewards.qponder.accuracy_reward`; `exponential_rewards` is the same function on arrays, on this
scale. An unread answer is NaN and earns `UNREAD_REWARD`, which no read answer earns less than.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

THRESHOLD = 0.35
GAUSSIAN_WIDTH = 0.5
MOS_UNITS = 25.0
"""Points of the 0 to 100 scale in one point of the 1 to 5 scale."""
UNREAD_REWARD = 0.0

_FLOOR = 1e-6


def threshold_rewards(
    scores: ArrayLike, labels: ArrayLike, *, threshold: float = THRESHOLD
) -> FloatArray:
    """Reward a score that is near enough to the label, all or nothing.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unread answer.
        labels: Labels, 1 to 5, shape (B,).
        threshold: Error from which on nothing is earned, above 0.

    Returns:
        1 where |score - label| < threshold, else 0, shape (B, K).

    Raises:
        ValueError: If shapes do not fit, a label is missing, or the threshold is not positive.

    Source:
        Q-Insight (https://github.com/bytedance/Q-Insight), score reward, threshold 0.35.

    Example:
        >>> threshold_rewards([[3.0, 3.3, 3.4]], [3.0])
        array([[1., 1., 0.]])
    """
    _check_positive("threshold", threshold)
    errors = _errors(scores, labels)
    return _unread_earn_nothing(np.where(errors < threshold, 1.0, 0.0), errors)


def gaussian_rewards(
    scores: ArrayLike, labels: ArrayLike, *, width: float = GAUSSIAN_WIDTH
) -> FloatArray:
    """Reward a score by a bell around the label: flat on top, nothing far away.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unread answer.
        labels: Labels, 1 to 5, shape (B,).
        width: Standard deviation of the bell, above 0.

    Returns:
        exp(-(score - label)^2 / (2 width^2)), in [0, 1], shape (B, K).

    Raises:
        ValueError: If shapes do not fit, a label is missing, or the width is not positive.

    Source:
        VQAThinker (https://github.com/clh124/VQAThinker), regression reward, width 0.5, without
        its factor for fewer than two decimals.

    Example:
        >>> gaussian_rewards([[3.0, 3.5]], [3.0]).round(4)
        array([[1.    , 0.6065]])
    """
    _check_positive("width", width)
    errors = _errors(scores, labels)
    return _unread_earn_nothing(np.exp(-(errors**2) / (2.0 * width**2)), errors)


def exponential_rewards(scores: ArrayLike, labels: ArrayLike, *, alpha: float) -> FloatArray:
    """Reward a score by a peak at the label.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unread answer.
        labels: Labels, 1 to 5, shape (B,).
        alpha: Tolerance in MOS units of the 0 to 100 scale, above 0.

    Returns:
        exp(-|score - label| * 25 / alpha), in (0, 1], shape (B, K).

    Raises:
        ValueError: If shapes do not fit, a label is missing, or alpha is not positive.

    Source:
        The dense reward of `rewards.qponder.accuracy_reward`, 4 points being 100.

    Example:
        >>> exponential_rewards([[3.0, 3.4]], [3.0], alpha=10.0).round(4)
        array([[1.    , 0.3679]])
    """
    _check_positive("alpha", alpha)
    errors = _errors(scores, labels)
    return _unread_earn_nothing(np.exp(-errors * MOS_UNITS / alpha), errors)


def fidelity_rewards(scores: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Reward a score by how well it orders its image among the others, by Thurstone's model.

    The scores of each image have mean mu and variance v (n - 1). Answer k to image i is above
    image j with probability p = Phi((q_ik - mu_j) / sqrt(v_i + v_j + 1e-6)); by the labels it
    should be with t = 1, 0.5 or 0. The reward is sqrt(t p + 1e-6) + sqrt((1-t)(1-p) + 1e-6).

    Args:
        scores: Scores, shape (B, K), NaN for an unread answer. All images of the generation
            batch, over all processes.
        labels: Labels, shape (B,).

    Returns:
        Mean over the other images that have a read answer, from 0 to a little above 1, shape
        (B, K); 0 where there is none. The variance of a single read answer is 0.

    Raises:
        ValueError: If shapes do not fit or a label is missing.

    Source:
        VisualQuality-R1 (https://github.com/TianheWu/VisualQuality-R1), fidelity reward. Unread
        answers and single images are ours (decision D47).

    Example:
        >>> fidelity_rewards([[4.0, 4.2], [2.0, 2.2]], [4.0, 2.0]).round(2)
        array([[1., 1.],
               [1., 1.]])
    """
    values, truth = _checked(scores, labels)
    read = ~np.isnan(values)
    count = read.sum(axis=1)
    mean = np.where(read, values, 0.0).sum(axis=1) / np.maximum(count, 1)
    squares = np.where(read, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
    variance = squares / np.maximum(count - 1, 1)
    scale = np.sqrt(variance[:, None] + variance[None, :] + _FLOOR)  # (B, B)
    above = _normal_cdf((values[:, :, None] - mean) / scale[:, None, :])  # (B, K, B)
    should = (0.5 * (1.0 + np.sign(truth[:, None] - truth[None, :])))[:, None, :]
    reward = np.sqrt(should * above + _FLOOR) + np.sqrt((1 - should) * (1 - above) + _FLOOR)
    met = (count > 0)[None, :] & ~np.eye(len(values), dtype=bool)
    n_met = met.sum(axis=1)[:, None]
    total = np.where(met[:, None, :], reward, 0.0).sum(axis=-1)
    rewards = np.divide(total, n_met, out=np.zeros_like(total), where=n_met > 0)
    return _unread_earn_nothing(rewards, values)


def _normal_cdf(values: FloatArray) -> FloatArray:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return 0.5 * (1.0 + erf(values / math.sqrt(2.0)))


def _errors(scores: ArrayLike, labels: ArrayLike) -> FloatArray:
    values, truth = _checked(scores, labels)
    return np.abs(values - truth[:, None])


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, FloatArray]:
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.float64)
    if values.ndim != 2 or not values.size or np.isinf(values).any():
        raise ValueError(f"expected finite scores of shape (images, answers), got {values.shape}")
    if truth.shape != values.shape[:1] or not np.isfinite(truth).all():
        raise ValueError(f"expected {len(values)} finite labels, one per image, got {truth}")
    return values, truth


def _unread_earn_nothing(rewards: FloatArray, scores: FloatArray) -> FloatArray:
    return np.where(np.isnan(scores), UNREAD_REWARD, rewards)


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"expected {name} above 0, got {value}")

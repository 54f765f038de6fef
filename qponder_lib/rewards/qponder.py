"""Q-Ponder's rewards, advantages and objective: Eqs. 2 to 7.

Everything here is arithmetic on floats and arrays. During training the same functions give the
rewards; the advantages and the loss are computed by TRL, and these are their readable twins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qponder_lib.text.parsing import is_format_compliant, parse_answer

ALPHA = 10.0
WEIGHT_ACCURACY = 2.0
WEIGHT_FORMAT = 1.0
EPSILON = 0.2
BETA = 0.04
STD_FLOOR = 1e-4
UNPARSED_REWARD = 0.0
"""What a completion without a score earns in Eq. 5: less than any score, which earns above 0."""

FloatArray = NDArray[np.float64]


def accuracy_reward(score: float, mos: float, *, alpha: float = ALPHA) -> float:
    """Reward a stated score by how near it is to the human one.

    Args:
        score: Score stated in the completion, 0 to 100.
        mos: Mean opinion score of the same image, 0 to 100, higher is better.
        alpha: Tolerance in MOS units, above 0; the reward at an error of alpha is 1/e.

    Returns:
        `exp(-|score - mos| / alpha)`, in (0, 1].

    Raises:
        ValueError: If alpha is not positive or a value is not finite.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 5; alpha from section 4.1.

    Example:
        >>> round(accuracy_reward(60.0, 70.0), 4)
        0.3679
    """
    _check_alpha(alpha)
    if not (math.isfinite(score) and math.isfinite(mos)):
        raise ValueError(f"expected finite score and mos, got {score} and {mos}")
    return math.exp(-abs(score - mos) / alpha)


def accuracy_rewards(
    texts: Sequence[str | None], mos: ArrayLike, *, alpha: float = ALPHA
) -> FloatArray:
    """Reward each completion for the score it states.

    Args:
        texts: Completions, one per entry of `mos`.
        mos: Mean opinion score of each completion's image, 0 to 100, shape (n,).
        alpha: Tolerance in MOS units, above 0.

    Returns:
        Eq. 5 for every completion that states a score, `UNPARSED_REWARD` for every other,
        shape (n,). A completion that cannot be parsed is a fault of the policy, so it is
        punished and not left out of its group.

    Raises:
        ValueError: If lengths differ, alpha is not positive or a MOS is not finite.

    Source:
        Q-Ponder, Eq. 5; what a completion without a score earns is not stated; ours.

    Example:
        >>> accuracy_rewards(["<answer>70</answer>", "seventy"], [70.0, 70.0])
        array([1., 0.])
    """
    _check_alpha(alpha)
    targets = _finite("mos", mos)
    if targets.shape != (len(texts),):
        raise ValueError(f"expected one mos per text, got {len(texts)} texts and {targets.shape}")
    scores = [parse_answer(text).score for text in texts]
    return np.array(
        [
            UNPARSED_REWARD if score is None else accuracy_reward(score, float(target), alpha=alpha)
            for score, target in zip(scores, targets, strict=True)
        ],
        dtype=np.float64,
    )


def format_reward(text: str | None) -> float:
    """Reward a completion that is one reasoning block followed by one answer block.

    Returns:
        1.0 if `parsing.is_format_compliant`, else 0.0.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 6.

    Example:
        >>> format_reward("<think>Soft edges.</think><answer>62</answer>")
        1.0
    """
    return 1.0 if is_format_compliant(text) else 0.0


def format_rewards(texts: Sequence[str | None]) -> FloatArray:
    """Give `format_reward` of every completion, shape (n,)."""
    return np.array([format_reward(text) for text in texts], dtype=np.float64)


def total_reward(
    accuracy: ArrayLike,
    format: ArrayLike,
    *,
    weight_accuracy: float = WEIGHT_ACCURACY,
    weight_format: float = WEIGHT_FORMAT,
) -> FloatArray:
    """Add the two reward terms with their weights.

    Args:
        accuracy: Accuracy rewards, any shape.
        format: Format rewards, the same shape.
        weight_accuracy: lambda_acc.
        weight_format: lambda_fmt.

    Returns:
        lambda_acc * accuracy + lambda_fmt * format, the same shape.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 7; weights 2 and 1 from section 4.1.

    Example:
        >>> float(total_reward(0.5, 1.0))
        2.0
    """
    return weight_accuracy * _finite("accuracy", accuracy) + weight_format * _finite(
        "format", format
    )


def group_advantages(
    rewards: ArrayLike, *, baseline: Literal["mean", "max"] = "mean"
) -> FloatArray:
    """Compare each reward with the others of its group.

    Args:
        rewards: Rewards of one group, shape (n,), or of several, shape (groups, n); n at least 2.
        baseline: "mean" is the z-score that the paper's text names and that TRL computes. "max"
            is Eq. 3 as printed, by which no completion ever has a positive advantage.

    Returns:
        (reward - baseline) / (std + 1e-4) with the sample standard deviation (n - 1), the same
        shape. A group of equal rewards has advantages of exactly 0 in both variants.

    Raises:
        ValueError: If a group has fewer than two rewards, or one is not finite.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 3 and the sentence before it. The 1e-4 and the n - 1 are
        TRL's; not stated in the paper.

    Example:
        >>> group_advantages([1.0, 2.0, 3.0]).round(3)
        array([-1.,  0.,  1.])
        >>> group_advantages([1.0, 2.0, 3.0], baseline="max").round(3)
        array([-2., -1.,  0.])
    """
    values = _finite("rewards", rewards)
    if values.ndim == 0 or values.shape[-1] < 2:
        raise ValueError(f"expected groups of at least 2 rewards, got shape {values.shape}")
    if baseline == "mean":
        reference = values.mean(axis=-1, keepdims=True)
    elif baseline == "max":
        reference = values.max(axis=-1, keepdims=True)
    else:
        raise ValueError(f"expected baseline 'mean' or 'max', got {baseline!r}")
    std = values.std(axis=-1, ddof=1, keepdims=True)
    equal = values.max(axis=-1, keepdims=True) == values.min(axis=-1, keepdims=True)
    return np.where(equal, 0.0, (values - reference) / (std + STD_FLOOR))


def kl_estimate(logp: ArrayLike, logp_reference: ArrayLike) -> FloatArray:
    """Estimate how far the policy has moved from the reference, from one sample.

    Args:
        logp: Log-probability under the policy, of outputs or of tokens, any shape.
        logp_reference: Log-probability of the same under the reference model, the same shape.

    Returns:
        r - log r - 1 with r = p_reference / p_policy: 0 where they agree, above 0 elsewhere.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 4 (the "k3" estimator).

    Example:
        >>> float(kl_estimate(-1.0, -1.0))
        0.0
    """
    log_ratio = _finite("logp_reference", logp_reference) - _finite("logp", logp)
    return np.expm1(log_ratio) - log_ratio


def clipped_surrogate(
    ratio: ArrayLike, advantages: ArrayLike, *, epsilon: float = EPSILON
) -> FloatArray:
    """Weigh advantages by the policy ratio, without reward for moving it beyond the clip.

    Args:
        ratio: p_policy / p_old, any shape.
        advantages: Advantages that broadcast against `ratio`.
        epsilon: Half-width of the clip range, above 0.

    Returns:
        min(ratio * A, clip(ratio, 1 - epsilon, 1 + epsilon) * A).

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 2, inner bracket.

    Example:
        >>> clipped_surrogate([0.5, 1.5, 1.5], [1.0, 1.0, -1.0])
        array([ 0.5,  1.2, -1.5])
    """
    if not epsilon > 0.0:
        raise ValueError(f"expected epsilon above 0, got {epsilon}")
    ratios, gains = _finite("ratio", ratio), _finite("advantages", advantages)
    return np.minimum(ratios * gains, np.clip(ratios, 1.0 - epsilon, 1.0 + epsilon) * gains)


def clipped_objective(
    logp: ArrayLike,
    logp_old: ArrayLike,
    logp_reference: ArrayLike,
    advantages: ArrayLike,
    *,
    epsilon: float = EPSILON,
    beta: float = BETA,
) -> float:
    """Compute the objective that GRPO maximises, for the completions of a batch.

    Args:
        logp: Log-probability under the policy. Shape (n,): of whole outputs, as Eq. 2 prints it.
            Shape (n, tokens): of tokens, as TRL computes it with ``loss_type="grpo"``; NaN marks
            the positions after the end of a completion.
        logp_old: The same under the policy that sampled the outputs.
        logp_reference: The same under the frozen reference model.
        advantages: One per output, shape (n,).
        epsilon: Half-width of the clip range.
        beta: Weight of the KL term.

    Returns:
        The mean over outputs of (clipped surrogate - beta * KL estimate); with tokens, first the
        mean over the tokens of an output. TRL's loss is minus this number.

    Raises:
        ValueError: If shapes do not match, or an output has no token.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 2.

    Example:
        >>> clipped_objective([-1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0], [1.0, -0.5])
        0.25
    """
    policy = np.asarray(logp, dtype=np.float64)
    old, reference = (np.asarray(x, dtype=np.float64) for x in (logp_old, logp_reference))
    gains = _finite("advantages", advantages)
    if policy.ndim not in (1, 2) or not policy.shape == old.shape == reference.shape:
        raise ValueError(f"shapes differ: {policy.shape}, {old.shape}, {reference.shape}")
    if gains.shape != policy.shape[:1]:
        raise ValueError(f"expected {policy.shape[:1]} advantages, got {gains.shape}")
    if policy.ndim == 1:
        policy, old, reference = (x[:, None] for x in (policy, old, reference))
    counted = ~np.isnan(policy)
    if not counted.any(axis=1).all():
        raise ValueError("an output has no token")
    policy, old, reference = (np.where(counted, x, 0.0) for x in (policy, old, reference))
    surrogate = clipped_surrogate(np.exp(policy - old), gains[:, None], epsilon=epsilon)
    gain = np.where(counted, surrogate - beta * kl_estimate(policy, reference), 0.0)
    return float((gain.sum(axis=1) / counted.sum(axis=1)).mean())


def _check_alpha(alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha > 0.0):
        raise ValueError(f"expected alpha above 0 in MOS units, got {alpha}")


def _finite(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite {name}, got {array}")
    return array

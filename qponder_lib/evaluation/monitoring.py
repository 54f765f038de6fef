"""Says from the log of reinforcement learning when it cannot be learning, why, and what to do.

The limits are ours: no paper states any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 10
"""Logged rows at the start and at the end that are averaged and compared."""
LIMITS = {
    "parse_rate": 0.5,
    "zero_variance_share": 0.5,
    "modal_share": 0.5,
    "clipped_ratio": 0.3,
    "kl": 0.5,
}
"""Column -> level that the mean of the last rows must not pass; ``parse_rate`` from above."""
LEAST_RISE = 0.02
LEAST_DISTINCT = 1.5
LEAST_LENGTH = 0.5
MOST_SRCC_LOST = 0.05

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Alarm:
    """One sign that a run does not learn.

    Attributes:
        column: Column of ``history.csv`` that shows it.
        said: What is seen, with its number.
        cause: What most often lies behind it.
        remedy: What to change or to look at.
        first_step: First optimiser step that it was read from.
        last_step: Last one.
    """

    column: str
    said: str
    cause: str
    remedy: str
    first_step: int
    last_step: int

    def __str__(self) -> str:
        return f"{self.said}; cause: {self.cause}; remedy: {self.remedy}"


_RULES: dict[str, tuple[Callable[[float, float], bool], str, str, str]] = {
    "reward_format": (
        lambda _, now: now == 0.0,
        "the format reward is 0: no completion has the asked form",
        "the cold start did not teach the form, or completions are cut off before they close it",
        "check the cold start and max_completion_length",
    ),
    "parse_rate": (
        lambda _, now: now < LIMITS["parse_rate"],
        "only {now:.0%} of the completions hold a score that can be read",
        "the model drifts away from the form, or completions are cut off",
        "raise weight_format, lower the learning rate, check max_completion_length",
    ),
    "zero_variance_share": (
        lambda _, now: now > LIMITS["zero_variance_share"],
        "{now:.0%} of the groups earn one reward only and teach nothing",
        "all completions for an image are alike, or all are too far off to earn anything",
        "raise the temperature or num_generations, or make alpha larger",
    ),
    "distinct_scores": (
        lambda _, now: now < LEAST_DISTINCT,
        "a group holds {now:.1f} different scores on average",
        "sampling finds no other score, so no group can tell a better one from a worse one",
        "raise the temperature, or start from a cold start trained for fewer steps",
    ),
    "modal_share": (
        lambda _, now: now > LIMITS["modal_share"],
        "{now:.0%} of the scores are the same number: the scores collapsed",
        "one safe score earns enough for every image, and the policy stays there",
        "lower the learning rate or raise beta",
    ),
    "clipped_ratio": (
        lambda _, now: now > LIMITS["clipped_ratio"],
        "{now:.0%} of the completions are cut off at the longest length",
        "max_completion_length is too short, or the model repeats itself",
        "raise max_completion_length; if completions.jsonl shows repetition, lower the learning "
        "rate",
    ),
    "kl": (
        lambda _, now: now > LIMITS["kl"],
        "the KL to the start is {now:.2f} nats per token",
        "the policy has left the model it started from, and may speak no sound language",
        "lower the learning rate or raise beta",
    ),
    "completion_length": (
        lambda before, now: now < LEAST_LENGTH * before,
        "completions shrank from {before:.0f} to {now:.0f} tokens",
        "short completions earn as much as reasoned ones, and are easier to get right",
        "read completions.jsonl; raise beta or lower the learning rate",
    ),
    "reward": (
        lambda before, now: now - before < LEAST_RISE,
        "the reward changed by {change:+.3f} over {n} logged steps: nothing is learnt",
        "the learning rate is too low, the steps too few, or the reward does not tell the "
        "completions apart",
        "check the learning rate, max_steps, alpha and the zero-variance share",
    ),
}
"""Column -> when the means of its first and last rows are an alarm, what is said, cause, remedy."""
WATCHED = (*_RULES, "validation_srcc")
"""Columns that an alarm is read from."""


def alarms(history: Rows, names: Mapping[str, str] | None = None) -> list[Alarm]:
    """Check a finished or running history.

    What is not logged is not judged; `missing` names it.

    Args:
        history: One mapping per logged step with ``step``, as ``history.csv`` or the trainer's
            log holds it.
        names: Column of ``history.csv`` -> its name in these mappings, where they differ.

    Returns:
        The alarms; empty when nothing is wrong, or while there are fewer than two windows.

    Example:
        >>> rows = [{"step": n, "modal_share": 0.8} for n in range(20)]
        >>> [alarm.said for alarm in alarms(rows)]
        ['80% of the scores are the same number: the scores collapsed']
    """
    if not long_enough(history):
        return []
    names, found = names or {}, []
    for column, (fires, said, cause, remedy) in _RULES.items():
        name = names.get(column, column)
        before, now = _mean(history[:WINDOW], name), _mean(history[-WINDOW:], name)
        if now is None or (before is None and column in ("completion_length", "reward")):
            continue
        if fires(before, now):
            rows = history if column == "reward" else history[-WINDOW:]
            change = 0.0 if before is None else now - before
            told = said.format(before=before, now=now, change=change, n=len(history))
            found.append(Alarm(column, told, cause, remedy, *_steps(rows)))
    return found + _overfit(history, names.get("validation_srcc", "validation_srcc"))


def long_enough(history: Rows) -> bool:
    """Tell whether a history has the two windows that alarms compare."""
    return len(history) >= 2 * WINDOW


def missing(history: Rows) -> list[str]:
    """Name the watched columns of ``history.csv`` that hold no number at all."""
    return [name for name in WATCHED if _mean(history, name) is None]


def _overfit(history: Rows, name: str) -> list[Alarm]:
    """Compare the last validation with the best one."""
    measured = [row for row in history if _is_number(row.get(name))]
    if len(measured) < 2:
        return []
    best, last = max(measured, key=lambda row: float(row[name])), measured[-1]
    if float(best[name]) - float(last[name]) <= MOST_SRCC_LOST:
        return []
    said = (
        f"the validation SRCC fell from {float(best[name]):.3f} at step {int(best['step'])} to "
        f"{float(last[name]):.3f}"
    )
    cause = "the policy learns what the reward pays for on the training images, not to rank"
    remedy = "stop at the best checkpoint, lower the learning rate or raise beta"
    return [Alarm("validation_srcc", said, cause, remedy, *_steps([best, last]))]


def _steps(rows: Rows) -> tuple[int, int]:
    return int(rows[0]["step"]), int(rows[-1]["step"])


def _mean(rows: Rows, name: str) -> float | None:
    values = [float(row[name]) for row in rows if _is_number(row.get(name))]
    return float(np.mean(values)) if values else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

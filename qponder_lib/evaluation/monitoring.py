"""Says from the log of reinforcement learning when it cannot be learning, why, and what to do.

The limits are ours: no paper states any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
WATCHED = (
    "reward",
    "reward_format",
    "parse_rate",
    "zero_variance_share",
    "distinct_scores",
    "modal_share",
    "completion_length",
    "clipped_ratio",
    "kl",
    "validation_srcc",
)
"""Columns that an alarm is read from."""

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


_CAUSES = {
    "reward_format": (
        "the cold start did not teach the form, or answers are cut off before they close it",
        "check the cold start and max_completion_length",
    ),
    "parse_rate": (
        "the model drifts away from the form, or answers are cut off",
        "raise weight_format, lower the learning rate, check max_completion_length",
    ),
    "zero_variance_share": (
        "all answers to an image are alike, or all are too far off to earn anything",
        "raise the temperature or num_generations, or make alpha larger",
    ),
    "distinct_scores": (
        "sampling finds no other score, so no group can tell a better one from a worse one",
        "raise the temperature, or start from a cold start trained for fewer steps",
    ),
    "modal_share": (
        "one safe score earns enough for every image, and the policy stays there",
        "lower the learning rate or raise beta",
    ),
    "completion_length": (
        "short answers earn as much as reasoned ones, and are easier to get right",
        "read completions.jsonl; raise beta or lower the learning rate",
    ),
    "clipped_ratio": (
        "max_completion_length is too short, or the model repeats itself",
        "raise max_completion_length; if completions.jsonl shows repetition, lower the "
        "learning rate",
    ),
    "kl": (
        "the policy has left the model it started from, and may speak no sound language",
        "lower the learning rate or raise beta",
    ),
    "reward": (
        "the learning rate is too low, the steps too few, or the reward does not tell the "
        "answers apart",
        "check the learning rate, max_steps, alpha and the zero-variance share",
    ),
    "validation_srcc": (
        "the policy learns what the reward pays for on the training images, not to rank",
        "stop at the best checkpoint, lower the learning rate or raise beta",
    ),
}


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
    names = names or {}
    first, last = history[:WINDOW], history[-WINDOW:]
    start = {column: _mean(first, names.get(column, column)) for column in WATCHED}
    end = {column: _mean(last, names.get(column, column)) for column in WATCHED}
    found = [
        _alarm(column, said, last)
        for column, said in (*_levels(end), *_shrinking(start, end))
        if said
    ]
    if start["reward"] is not None and end["reward"] is not None:
        rise = end["reward"] - start["reward"]
        if rise < LEAST_RISE:
            said = f"the reward changed by {rise:+.3f} over {len(history)} logged steps: nothing is"
            found.append(_alarm("reward", f"{said} learnt", history))
    return found + _validation(history, names.get("validation_srcc", "validation_srcc"))


def long_enough(history: Rows) -> bool:
    """Tell whether a history has the two windows that alarms compare."""
    return len(history) >= 2 * WINDOW


def missing(history: Rows) -> list[str]:
    """Name the watched columns of ``history.csv`` that hold no number at all."""
    return [name for name in WATCHED if _mean(history, name) is None]


def _levels(end: Mapping[str, float | None]) -> list[tuple[str, str]]:
    def passed(column: str) -> bool:
        value = end[column]
        return value is not None and value > LIMITS[column]

    parsed, distinct = end["parse_rate"], end["distinct_scores"]
    said = {
        "reward_format": "the format reward is 0: no answer has the asked form"
        if end["reward_format"] == 0.0
        else "",
        "parse_rate": f"only {parsed:.0%} of the answers hold a score that can be read"
        if parsed is not None and parsed < LIMITS["parse_rate"]
        else "",
        "zero_variance_share": f"{end['zero_variance_share']:.0%} of the groups earn one reward "
        "only and teach nothing"
        if passed("zero_variance_share")
        else "",
        "distinct_scores": f"a group holds {distinct:.1f} different scores on average"
        if distinct is not None and distinct < LEAST_DISTINCT
        else "",
        "modal_share": f"{end['modal_share']:.0%} of the scores are the same number: the scores "
        "collapsed"
        if passed("modal_share")
        else "",
        "clipped_ratio": f"{end['clipped_ratio']:.0%} of the answers are cut off at the longest "
        "length"
        if passed("clipped_ratio")
        else "",
        "kl": f"the KL to the start is {end['kl']:.2f} nats per token" if passed("kl") else "",
    }
    return list(said.items())


def _shrinking(
    start: Mapping[str, float | None], end: Mapping[str, float | None]
) -> list[tuple[str, str]]:
    before, after = start["completion_length"], end["completion_length"]
    if before is None or after is None or after >= LEAST_LENGTH * before:
        return []
    return [("completion_length", f"answers shrank from {before:.0f} to {after:.0f} tokens")]


def _validation(history: Rows, name: str) -> list[Alarm]:
    measured = [row for row in history if _is_number(row.get(name))]
    if len(measured) < 2:
        return []
    best, last = max(measured, key=lambda row: float(row[name])), measured[-1]
    lost = float(best[name]) - float(last[name])
    if lost <= MOST_SRCC_LOST:
        return []
    said = (
        f"the validation SRCC fell from {float(best[name]):.3f} at step {int(best['step'])} to "
        f"{float(last[name]):.3f}"
    )
    return [_alarm("validation_srcc", said, [best, last])]


def _alarm(column: str, said: str, rows: Rows) -> Alarm:
    return Alarm(column, said, *_CAUSES[column], int(rows[0]["step"]), int(rows[-1]["step"]))


def _mean(rows: Rows, name: str) -> float | None:
    values = [float(row[name]) for row in rows if _is_number(row.get(name))]
    return float(np.mean(values)) if values else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

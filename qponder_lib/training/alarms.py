"""Says when reinforcement learning cannot be learning, and what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_WINDOW = 10
_MOST_ZERO_VARIANCE = 0.5
_MOST_MODAL = 0.5
_LEAST_RISE = 0.02


def alarms(history: Sequence[Mapping[str, object]], names: Mapping[str, str]) -> list[str]:
    """Check a finished or running history.

    Args:
        history: One mapping per logged step, as the trainer logged it.
        names: Column of ``history.csv`` -> the trainer's own name, where they differ.

    Returns:
        One line per alarm, with cause and remedy; empty when nothing is wrong.
    """
    if len(history) < 2 * _WINDOW:
        return []
    found = []
    last = {
        column: _mean(history[-_WINDOW:], names.get(column, column))
        for column in ("reward_format", "zero_variance_share", "modal_share")
    }
    if last["reward_format"] == 0.0:
        found.append(
            "the format reward is 0 throughout: no answer has the form <think>...</think> "
            "<answer>...</answer>; check the cold start and max_completion_length"
        )
    if last["zero_variance_share"] > _MOST_ZERO_VARIANCE:
        found.append(
            f"{last['zero_variance_share']:.0%} of the groups earn one reward only and teach "
            "nothing; raise the temperature or num_generations, or make alpha larger"
        )
    if last["modal_share"] > _MOST_MODAL:
        found.append(
            f"{last['modal_share']:.0%} of the scores are the same number: the scores collapsed; "
            "lower the learning rate or raise beta"
        )
    rise = _mean(history[-_WINDOW:], "reward") - _mean(history[:_WINDOW], "reward")
    if rise < _LEAST_RISE:
        found.append(
            f"the reward rose by {rise:.3f} over {len(history)} logged steps: nothing is learnt; "
            "check the learning rate, alpha and the zero-variance share"
        )
    return found


def _mean(rows: Sequence[Mapping[str, object]], name: str) -> float:
    values = [float(row[name]) for row in rows if isinstance(row.get(name), int | float)]
    return float(np.mean(values)) if values else 0.0

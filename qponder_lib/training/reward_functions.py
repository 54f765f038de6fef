"""The paper's rewards in the form in which TRL calls them, with what RL's health is read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qponder_lib.artifacts import write_text_atomic
from qponder_lib.config import GrpoConfig
from qponder_lib.parsing import ParsedAnswer, parse_answer
from qponder_lib.records import Record
from qponder_lib.rewards.qponder import (
    accuracy_reward,
    format_reward,
    group_advantages,
    total_reward,
)

GROUPS_LOGGED = 1


class Rollout(Record):
    """One sampled answer with what it earned.

    Attributes:
        step: Optimiser steps done when it was sampled; None outside training.
        reward: ``weight_accuracy * reward_accuracy + weight_format * reward_format``.
        advantage: z-score of the reward in its group, as TRL computes it.
    """

    step: int | None
    image_id: str
    mos: float
    text: str
    score: float | None
    parse_status: str
    reward_accuracy: float
    reward_format: float
    reward: float
    advantage: float


def score_rollouts(
    texts: Sequence[str],
    mos: Sequence[float],
    image_ids: Sequence[str],
    config: GrpoConfig,
    step: int | None = None,
) -> list[Rollout]:
    """Reward answers, group by group.

    Args:
        texts: Answers; each ``config.num_generations`` in a row belong to one image.
        mos: Ground truth of the image of each answer.
        image_ids: Image of each answer.
        config: Tolerance, weights and group size.
        step: Optimiser steps done so far.

    Returns:
        One rollout per answer, in their order.
    """
    answers = [parse_answer(text) for text in texts]
    accuracy = [_accuracy(one, truth, config) for one, truth in zip(answers, mos, strict=True)]
    shape = [format_reward(text) for text in texts]
    weights = {"weight_accuracy": config.weight_accuracy, "weight_format": config.weight_format}
    totals = [total_reward(a, f, **weights) for a, f in zip(accuracy, shape, strict=True)]
    groups = np.asarray(totals).reshape(-1, config.num_generations)
    advantages = np.concatenate([group_advantages(group) for group in groups])
    return [
        Rollout(
            step=step,
            image_id=image_ids[index],
            mos=mos[index],
            text=texts[index],
            score=answers[index].score,
            parse_status=answers[index].status,
            reward_accuracy=accuracy[index],
            reward_format=shape[index],
            reward=totals[index],
            advantage=float(advantages[index]),
        )
        for index in range(len(texts))
    ]


class RewardFunctions:
    """The accuracy and format rewards of one training run, and its log of sampled answers.

    Args:
        config: The run's settings.
        log_path: JSONL file of sampled answers; rows of steps that a resumed run does again are
            replaced.
    """

    def __init__(self, config: GrpoConfig, log_path: Path) -> None:
        self.config = config
        self.log_path = log_path
        self.rows: dict[int, list[str]] = {}
        if log_path.is_file():
            for line in log_path.read_text(encoding="utf-8").splitlines():
                self.rows.setdefault(Rollout.model_validate_json(line).step or 0, []).append(line)

    def functions(self) -> tuple[list[Any], list[float]]:
        """The reward functions and their weights, as ``GRPOTrainer`` takes them."""
        return [self.accuracy, self.format], [
            self.config.weight_accuracy,
            self.config.weight_format,
        ]

    def accuracy(
        self,
        completions: Sequence[Sequence[dict[str, str]]],
        mos: Sequence[float],
        image_id: Sequence[str],
        trainer_state: Any,
        log_metric: Any,
        **_: Any,
    ) -> list[float]:
        """R_acc of every answer; also logs parse rate, spread and a few answers.

        Source:
            Q-Ponder (arXiv:2506.05384), Eq. 5.
        """
        step = int(trainer_state.global_step)
        texts = [one[0]["content"] for one in completions]
        rollouts = score_rollouts(texts, mos, image_id, self.config, step)
        for name, value in health(rollouts, self.config.num_generations).items():
            log_metric(name, value)
        self._log(step, rollouts[: GROUPS_LOGGED * self.config.num_generations])
        return self._control([one.reward_accuracy for one in rollouts], step)

    def format(
        self, completions: Sequence[Sequence[dict[str, str]]], trainer_state: Any, **_: Any
    ) -> list[float]:
        """R_fmt of every answer.

        Source:
            Q-Ponder (arXiv:2506.05384), Eq. 6.
        """
        values = [format_reward(one[0]["content"]) for one in completions]
        return self._control(values, int(trainer_state.global_step))

    def _control(self, values: list[float], step: int) -> list[float]:
        """In the control run, rewards go to answers drawn at random, the same for both terms."""
        if not self.config.shuffle_rewards:
            return values
        order = np.random.default_rng([self.config.seed, step]).permutation(len(values))
        return [values[index] for index in order]

    def _log(self, step: int, rollouts: Sequence[Rollout]) -> None:
        self.rows = {old: lines for old, lines in self.rows.items() if old < step}
        self.rows[step] = [one.model_dump_json() for one in rollouts]
        lines = [line for old in sorted(self.rows) for line in self.rows[old]]
        write_text_atomic(self.log_path, "\n".join(lines) + "\n")


def health(rollouts: Sequence[Rollout], group_size: int) -> dict[str, float]:
    """What tells a group of answers that can teach from one that cannot.

    Args:
        rollouts: Answers, group after group.
        group_size: Answers per image.

    Returns:
        ``parse_rate``; ``distinct_scores``: mean number of different scores in a group;
        ``modal_share``: share of all parsed scores that are the commonest one.
    """
    scores = [one.score for one in rollouts if one.score is not None]
    groups = [rollouts[start : start + group_size] for start in range(0, len(rollouts), group_size)]
    distinct = [len({one.score for one in group if one.score is not None}) for group in groups]
    commonest = Counter(scores).most_common(1)
    return {
        "parse_rate": len(scores) / len(rollouts),
        "distinct_scores": float(np.mean(distinct)),
        "modal_share": commonest[0][1] / len(scores) if commonest else 1.0,
    }


def _accuracy(answer: ParsedAnswer, mos: float, config: GrpoConfig) -> float:
    if answer.score is None:
        return 0.0
    return accuracy_reward(answer.score, mos, alpha=config.alpha)

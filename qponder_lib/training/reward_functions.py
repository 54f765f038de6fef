"""The papers' rewards in the form in which TRL calls them, with what RL's health is read from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import distributed

from qponder_lib.artifacts import read_jsonl, write_text_atomic
from qponder_lib.config import GrpoConfig
from qponder_lib.records import Record
from qponder_lib.rewards.batch import PUBLISHED_WEIGHTS, form_reward, reward_batch
from qponder_lib.rewards.qponder import group_advantages, total_reward
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form

Row = TypeVar("Row")


class Rollout(Record):
    """One sampled completion with what it earned.

    Attributes:
        step: Optimiser steps done when it was sampled; None outside training.
        score: Stated score, or the mean of the stated aspects, on 0 to 100.
        aspects: Stated scores on their own scale, where a completion states several.
        reward: ``weight_accuracy * reward_accuracy + weight_format * reward_format``.
        advantage: z-score of the reward in its group, as TRL computes it.
    """

    step: int | None
    image_id: str
    mos: float
    text: str
    score: float | None
    aspects: tuple[float, ...] | None = None
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
    *,
    prompt_id: str = "student_short",
    penalise_spread: bool = False,
    step: int | None = None,
) -> tuple[list[Rollout], Mapping[str, float]]:
    """Reward completions, group by group.

    Args:
        texts: Completions; each ``config.num_generations`` in a row belong to one image. Rewards
            that compare images compare all of these.
        mos: Ground truth of the image of each completion.
        image_ids: Image of each completion.
        config: Reward, its constants, weights and group size.
        prompt_id: What was asked for.
        penalise_spread: Deduct PreResQ-R1's std penalty.
        step: Optimiser steps done so far.

    Returns:
        One rollout per completion, in their order, and the means of the reward's terms.

    Raises:
        ValueError: If a group holds completions of more than one image.
    """
    size, form = config.num_generations, answer_form(prompt_id)
    for start in range(0, len(texts), size):
        if len(set(image_ids[start : start + size])) != 1 or start + size > len(texts):
            raise ValueError(f"completions {start} to {start + size - 1} are not one image's group")
    parsed = [parse_answer(one, form) for one in texts]
    stated = [
        [math.nan] * form.n_scores
        if one.scores is None
        else [form.to_mos(score) for score in one.scores]
        for one in parsed
    ]
    rewards, terms = reward_batch(
        np.reshape(stated, (-1, size, form.n_scores)),
        mos[::size],
        config.reward,
        alpha=config.alpha,
        penalise_spread=penalise_spread,
    )
    accuracy, shape = rewards.ravel(), np.array([form_reward(text, form) for text in texts])
    weights = {"weight_accuracy": config.weight_accuracy, "weight_format": config.weight_format}
    total = total_reward(accuracy, shape, **weights)
    advantages = group_advantages(total.reshape(-1, size)).ravel()
    rollouts = [
        Rollout(
            step=step,
            image_id=image_ids[index],
            mos=mos[index],
            text=texts[index],
            score=one.score,
            aspects=one.scores if form.n_scores > 1 else None,
            parse_status=one.status,
            reward_accuracy=accuracy[index],
            reward_format=shape[index],
            reward=total[index],
            advantage=advantages[index],
        )
        for index, one in enumerate(parsed)
    ]
    return rollouts, terms


class RewardFunctions:
    """The accuracy and format rewards of one training, and its log of sampled completions.

    Args:
        config: The training's settings.
        log_path: JSONL file of sampled completions, those of the first group of each step; rows of
            steps that a resumed run does again are replaced.
        prompt_id: The student's prompt, which says what form completions have.
        penalise_spread: Deduct PreResQ-R1's std penalty.
    """

    def __init__(
        self,
        config: GrpoConfig,
        log_path: Path,
        prompt_id: str = "student_short",
        *,
        penalise_spread: bool = False,
    ) -> None:
        self.config, self.log_path = config, log_path
        self.asked = {"prompt_id": prompt_id, "penalise_spread": penalise_spread}
        self.logged = read_jsonl(log_path, Rollout) if log_path.is_file() else []

    def accuracy(
        self,
        completions: Sequence[Sequence[dict[str, str]]],
        mos: Sequence[float],
        image_id: Sequence[str],
        trainer_state: Any,
        log_metric: Any,
        **_: Any,
    ) -> list[float]:
        """R_acc of every completion; also logs parse rate, spread and a few completions.

        Source:
            Q-Ponder (arXiv:2506.05384), Eq. 5.
        """
        step, size = int(trainer_state.global_step), self.config.num_generations
        texts = [one[0]["content"] for one in completions]
        rows, own = gather_rows(list(zip(texts, mos, image_id, strict=True)))
        rollouts, terms = score_rollouts(
            *zip(*rows, strict=True), self.config, step=step, **self.asked
        )
        logged = health(rollouts, size) | {f"term_{name}": one for name, one in terms.items()}
        for name, value in logged.items():
            log_metric(name, value)
        if getattr(trainer_state, "is_world_process_zero", True):
            self._log(step, rollouts[:size])
        return self._control([one.reward_accuracy for one in rollouts], step)[own]

    def format(
        self, completions: Sequence[Sequence[dict[str, str]]], trainer_state: Any, **_: Any
    ) -> list[float]:
        """R_fmt of every completion.

        Source:
            Q-Ponder (arXiv:2506.05384), Eq. 6.
        """
        form = answer_form(self.asked["prompt_id"])
        rows, own = gather_rows([form_reward(one[0]["content"], form) for one in completions])
        return self._control(rows, int(trainer_state.global_step))[own]

    def _control(self, values: list[float], step: int) -> list[float]:
        """In the control run, rewards go to completions drawn at random, alike for both terms."""
        if not self.config.shuffle_rewards:
            return values
        order = np.random.default_rng([self.config.seed, step]).permutation(len(values))
        return [values[index] for index in order]

    def _log(self, step: int, rollouts: Sequence[Rollout]) -> None:
        self.logged = [one for one in self.logged if one.step < step] + list(rollouts)
        lines = [one.model_dump_json() + "\n" for one in self.logged]
        write_text_atomic(self.log_path, "".join(lines))


def weights_note(config: GrpoConfig) -> str | None:
    """Say so where accuracy and format are weighed otherwise than in the reward's source.

    Example:
        >>> weights_note(GrpoConfig()) is None
        True
        >>> weights_note(GrpoConfig(reward="preresq"))
        'grpo.weight_accuracy and weight_format are 2 and 1; the source of preresq has 1 and 1'
    """
    stated = (config.weight_accuracy, config.weight_format)
    published = PUBLISHED_WEIGHTS[config.reward]
    if stated == published:
        return None
    said, source = ("{:g} and {:g}".format(*pair) for pair in (stated, published))
    what = f"grpo.weight_accuracy and weight_format are {said}"
    return f"{what}; the source of {config.reward} has {source}"


def health(rollouts: Sequence[Rollout], group_size: int) -> dict[str, float]:
    """What tells a group of completions that can teach from one that cannot.

    Args:
        rollouts: Completions, group after group.
        group_size: Completions per image.

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


def gather_rows(rows: list[Row]) -> tuple[list[Row], slice]:
    """Collect rows from every process, in the order of the processes.

    TRL calls reward functions with the completions of one process. A group may be spread over two
    of them, and rewards that compare images need those of all.

    Args:
        rows: Rows of this process; anything that can be pickled.

    Returns:
        The rows of all processes, the same list everywhere, and where those of this one stand.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows, slice(0, len(rows))
    parts: list[list[Row]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, rows)
    start = sum(len(part) for part in parts[: distributed.get_rank()])
    return [row for part in parts for row in part], slice(start, start + len(rows))

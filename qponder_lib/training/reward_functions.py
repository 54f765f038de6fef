"""The papers' rewards in the form in which TRL calls them, with what RL's health is read from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qponder_lib.artifacts import write_text_atomic
from qponder_lib.config import GrpoConfig
from qponder_lib.records import Record
from qponder_lib.rewards.batch import PUBLISHED_WEIGHTS, form_reward, reward_batch
from qponder_lib.rewards.qponder import group_advantages, total_reward
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import AnswerForm, answer_form
from qponder_lib.training.gathering import gather_rows

GROUPS_LOGGED = 1
ONE_SCORE = answer_form("student_short")


class Rollout(Record):
    """One sampled answer with what it earned.

    Attributes:
        step: Optimiser steps done when it was sampled; None outside training.
        score: Stated score, or the mean of the stated aspects, on 0 to 100.
        aspects: Stated scores on their own scale, where an answer states several.
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
    step: int | None = None,
    form: AnswerForm = ONE_SCORE,
) -> list[Rollout]:
    """Reward answers, group by group.

    Args:
        texts: Answers; each ``config.num_generations`` in a row belong to one image. Rewards that
            compare images compare all of these.
        mos: Ground truth of the image of each answer.
        image_ids: Image of each answer.
        config: Reward, its constants, weights and group size.
        step: Optimiser steps done so far.
        form: What the prompt asked for.

    Returns:
        One rollout per answer, in their order.

    Raises:
        ValueError: If a group holds answers to more than one image.
    """
    return _score(texts, mos, image_ids, config, (step, form))[0]


def _score(
    texts: Sequence[str],
    mos: Sequence[float],
    image_ids: Sequence[str],
    config: GrpoConfig,
    step_and_form: tuple[int | None, AnswerForm],
) -> tuple[list[Rollout], Mapping[str, float]]:
    step, form = step_and_form
    size = config.num_generations
    for start in range(0, len(texts), size):
        if len(set(image_ids[start : start + size])) != 1 or start + size > len(texts):
            raise ValueError(f"answers {start} to {start + size - 1} are not one image's group")
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
        penalise_spread=config.penalise_spread,
    )
    accuracy = rewards.ravel().tolist()
    shape = [form_reward(text, form) for text in texts]
    weights = {"weight_accuracy": config.weight_accuracy, "weight_format": config.weight_format}
    totals = [total_reward(a, f, **weights) for a, f in zip(accuracy, shape, strict=True)]
    groups = np.asarray(totals).reshape(-1, size)
    advantages = np.concatenate([group_advantages(group) for group in groups])
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
            reward=totals[index],
            advantage=float(advantages[index]),
        )
        for index, one in enumerate(parsed)
    ]
    return rollouts, terms


class RewardFunctions:
    """The accuracy and format rewards of one training run, and its log of sampled answers.

    Args:
        config: The run's settings.
        log_path: JSONL file of sampled answers; rows of steps that a resumed run does again are
            replaced.
        prompt_id: The student's prompt, which says what form answers have.
    """

    def __init__(
        self, config: GrpoConfig, log_path: Path, prompt_id: str = "student_short"
    ) -> None:
        self.config = config
        self.form = answer_form(prompt_id)
        if (note := weights_note(config)) is not None:
            print(f"NOTE: {note}", flush=True)
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
        rows, own = gather_rows(list(zip(texts, mos, image_id, strict=True)))
        rollouts, terms = _score(*zip(*rows, strict=True), self.config, (step, self.form))
        for name, value in health(rollouts, self.config.num_generations).items():
            log_metric(name, value)
        for name, value in terms.items():
            log_metric(f"term_{name}", value)
        if getattr(trainer_state, "is_world_process_zero", True):
            self._log(step, rollouts[: GROUPS_LOGGED * self.config.num_generations])
        return self._control([one.reward_accuracy for one in rollouts], step)[own]

    def format(
        self, completions: Sequence[Sequence[dict[str, str]]], trainer_state: Any, **_: Any
    ) -> list[float]:
        """R_fmt of every answer.

        Source:
            Q-Ponder (arXiv:2506.05384), Eq. 6.
        """
        values = [form_reward(one[0]["content"], self.form) for one in completions]
        rows, own = gather_rows(values)
        return self._control(rows, int(trainer_state.global_step))[own]

    def _control(self, values: list[float], step: int) -> list[float]:
        """In the control run, rewards go to answers drawn at random, the same for both terms."""
        if not np.isfinite(values).all():
            raise ValueError(
                f"a reward is not finite at step {step}: look at mos, alpha and weights"
            )
        if not self.config.shuffle_rewards:
            return values
        order = np.random.default_rng([self.config.seed, step]).permutation(len(values))
        return [values[index] for index in order]

    def _log(self, step: int, rollouts: Sequence[Rollout]) -> None:
        self.rows = {old: lines for old, lines in self.rows.items() if old < step}
        self.rows[step] = [one.model_dump_json() for one in rollouts]
        lines = [line for old in sorted(self.rows) for line in self.rows[old]]
        write_text_atomic(self.log_path, "\n".join(lines) + "\n")


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
    return (
        f"grpo.weight_accuracy and weight_format are {said}; the source of {config.reward} has "
        f"{source}"
    )


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

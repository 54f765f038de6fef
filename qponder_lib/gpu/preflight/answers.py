"""Do prompt, format check, parser and reward fit each other? Answers are written to find out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from qponder_lib.config import GrpoConfig
from qponder_lib.gpu.preflight.checks import Finding
from qponder_lib.rewards.batch import form_reward, reward_batch
from qponder_lib.rewards.qponder import total_reward
from qponder_lib.scales import MOS_MAX, MOS_MIN
from qponder_lib.text.prompts import answer_form
from qponder_lib.text.sft_format import SftFormat, answer_text, completion_text

_TAG_PAIR = re.compile(r"<([a-z]+)>[^<]*</\1>")
_RANGE = re.compile(r"(?:between|from) (\d+) (?:and|to) (\d+)")
_NEAR = 1e-6
_REASONING = "Sharp, with faint noise in the dark parts."
_EXAMPLE_MOS = 73.0
_RIGHT = (MOS_MIN, 25.0, 50.0, MOS_MAX)
_ERRORS = (0.0, 10.0, 20.0, 30.0)
_COMPARING = ("preresq", "fidelity")
ONE_SCORE = "student_short"
Parse = Callable[[str], float | None]
Reward = Callable[[Sequence[Sequence[str]], Sequence[float]], NDArray[np.float64]]


def own_example(prompt: str, answer: str = f"{_EXAMPLE_MOS:g}") -> str:
    r"""Write an answer in the very form that a prompt asks for.

    Args:
        prompt: Text of the prompt.
        answer: What stands in its answer tag, the scores.

    Returns:
        The tag pairs of the prompt in their order, filled in; where it names none, the form of
        the cold start's answers.

    Example:
        >>> own_example("Wrap all in <think>...</think>, then <answer>...</answer>.")
        '<think>Sharp, with faint noise in the dark parts.</think>\n<answer>73</answer>'
    """
    tags = list(dict.fromkeys(match.group(1) for match in _TAG_PAIR.finditer(prompt)))
    if not tags:
        return completion_text(_REASONING, answer)
    filled = {"think": _REASONING}
    return "\n".join(f"<{tag}>{filled.get(tag, answer)}</{tag}>" for tag in tags)


def check_example(
    prompt: str, is_compliant: Callable[[str], bool], parse: Parse, prompt_id: str = ONE_SCORE
) -> Finding:
    """Does an answer in the form of the prompt pass the format check and the parser?

    Args:
        prompt: Text of the prompt.
        is_compliant: The format check of the reward.
        parse: Reads the score on the scale of the labels, or None.
        prompt_id: Says how many scores on which scale the prompt asks for.
    """
    example = own_example(prompt, answer_text(_EXAMPLE_MOS, SftFormat(prompt_id=prompt_id)))
    if not is_compliant(example):
        return Finding(
            "example",
            "problem",
            f"the prompt's own example fails the format check: {example!r}",
            "let prompt and format check ask for the same tags in the same order",
        )
    found = parse(example)
    if found is None or abs(found - _EXAMPLE_MOS) > _NEAR:
        return Finding(
            "example",
            "problem",
            f"the parser reads {found} from the prompt's own example {example!r}, which states "
            f"{_EXAMPLE_MOS:g} of {MOS_MAX:g}",
            "let prompt and parser name the same answer tag and the same scale",
        )
    return Finding("example", "ok", "the prompt's own example has the form and is read")


def check_scale_of_prompt(prompt: str, prompt_id: str = ONE_SCORE) -> Finding:
    """Does the prompt ask for the scale on which its answers are read?"""
    form = answer_form(prompt_id)
    read = f"{form.low:g} to {form.high:g}"
    asked = {(float(low), float(high)) for low, high in _RANGE.findall(prompt)}
    if not asked:
        return Finding("prompt scale", "unknown", "the prompt names no range of scores")
    if asked != {(form.low, form.high)}:
        said = ", ".join(f"{low:g} to {high:g}" for low, high in sorted(asked))
        return Finding(
            "prompt scale",
            "problem",
            f"the prompt asks for {said}, answers are read and rewarded as {read}",
            "name one range in the prompt, the one that answers are read on",
        )
    return Finding("prompt scale", "ok", f"{read} in prompt, parser and reward")


def reward_of(config: GrpoConfig, prompt_id: str, parse: Parse) -> Reward:
    """The reward of a profile with its weights, as training computes it for a batch.

    Args:
        config: Reward, its constants and weights.
        prompt_id: Says which form earns the format reward.
        parse: Reads an answer's score on the scale of the labels; None where it has none.

    Returns:
        A function from texts, one row per image, and the images' MOS to rewards. All scores of an
        answer are taken as its mean, so deductions for unequal scores do not come in.
    """
    form = answer_form(prompt_id)
    weights = {
        "weight_accuracy": config.weight_accuracy,
        "weight_format": config.weight_format,
    }

    def reward(texts: Sequence[Sequence[str]], mos: Sequence[float]) -> NDArray[np.float64]:
        read = [[parse(text) for text in row] for row in texts]
        scores = np.array(read, dtype=float)[:, :, None].repeat(form.n_scores, axis=2)
        near, _ = reward_batch(scores, mos, config.reward, alpha=config.alpha)
        shape = [[form_reward(text, form) for text in row] for row in texts]
        pairs = zip(near.tolist(), shape, strict=True)
        return np.array(
            [[total_reward(a, f, **weights) for a, f in zip(*row, strict=True)] for row in pairs]
        )

    return reward


def check_perfect_answer(config: GrpoConfig, reward: Reward, prompt_id: str = ONE_SCORE) -> Finding:
    """Does the right score in the right form earn the most, at both ends of the scale and between?

    A reward that looks at one answer must give all there is; one that compares images must give
    no wrong answer as much (decision D57).
    """
    most = config.weight_accuracy + config.weight_format
    if most <= 0.0:
        return Finding("perfect answer", "problem", "both weights are 0", "set one above 0")
    form = SftFormat(prompt_id=prompt_id)
    texts = [
        [completion_text(_REASONING, answer_text(_off(mos, by), form)) for by in _ERRORS]
        for mos in _RIGHT
    ]
    for mos, row in zip(_RIGHT, reward(texts, _RIGHT).tolist(), strict=True):
        right, best_wrong = row[0], max(row[1:])
        absolute = config.reward not in _COMPARING
        if right <= best_wrong or (absolute and abs(right - most) > _NEAR):
            return Finding(
                "perfect answer",
                "problem",
                f"the right answer to a MOS of {mos:g} earns {right:g} of {most:g}, a wrong one "
                f"up to {best_wrong:g}",
                "let prompt, parser, reward and scale fit each other",
            )
    how = f"{most:g}, the most there is" if config.reward not in _COMPARING else "more than any"
    return Finding("perfect answer", "ok", f"the right answer earns {how} with {config.reward}")


def check_compared(config: GrpoConfig, reward: Reward, prompt_id: str = ONE_SCORE) -> Finding:
    """Does a reward that compares images tell answers apart with the images of one step?"""
    n = config.images_per_step
    if config.reward not in _COMPARING:
        return Finding("compared images", "ok", f"{config.reward} looks at one image at a time")
    labels = np.linspace(MOS_MIN, MOS_MAX, n + 2).round()[1:-1].tolist()
    form = SftFormat(prompt_id=prompt_id)
    texts = [
        [completion_text(_REASONING, answer_text(_off(mos, by), form)) for by in _ERRORS]
        for mos in labels
    ]
    if np.ptp(reward(texts, labels), axis=1).max() <= _NEAR:
        return Finding(
            "compared images",
            "problem",
            f"{config.reward} compares images, and grpo.images_per_step is {n}: right and wrong "
            "answers earn the same, so nothing is learnt",
            "raise grpo.images_per_step",
        )
    return Finding("compared images", "ok", f"{config.reward} compares the {n} images of a step")


def _off(mos: float, error: float) -> float:
    return mos + error if mos < (MOS_MIN + MOS_MAX) / 2 else mos - error

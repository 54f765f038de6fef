"""Says in seconds, on a CPU and without weights, whether a profile can work."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qponder_lib.artifacts import ArtifactError, read_jsonl
from qponder_lib.config import GrpoConfig, Profile, SettingsError
from qponder_lib.gpu.sizes import (
    Lengths,
    Machine,
    Shape,
    hours,
    lengths,
    memory,
    shape_of,
    token_counter,
)
from qponder_lib.paths import RunPaths
from qponder_lib.records import FilteredResponse, ImageRecord
from qponder_lib.rewards.batch import form_reward, reward_batch
from qponder_lib.rewards.qponder import total_reward
from qponder_lib.scales import MOS_MAX, MOS_MIN
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form, student_messages
from qponder_lib.text.sft_format import SftFormat, answer_text, completion_text, replace_score
from qponder_lib.training import grpo, sft

Verdict = Literal["ok", "problem", "unknown"]
Parse = Callable[[str], float | None]
Reward = Callable[[Sequence[Sequence[str]], Sequence[float]], NDArray[np.float64]]

_LEAST_SPAN = 0.1
_NEAR = 1e-6
_TAG_PAIR = re.compile(r"<([a-z]+)>[^<]*</\1>")
_RANGE = re.compile(r"(?:between|from) (\d+) (?:and|to) (\d+)")
_REASONING = "Sharp, with faint noise in the dark parts."
_EXAMPLE_MOS = 73.0
_RIGHT = (MOS_MIN, 25.0, 50.0, MOS_MAX)
_ERRORS = (0.0, 10.0, 20.0, 30.0)
_COMPARING = ("preresq", "fidelity")
ONE_SCORE = "student_short"


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, the verdict, and what to change."""

    check: str
    verdict: Verdict
    said: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What a preflight found.

    Attributes:
        profile: Name of the profile.
        findings: Every check with its verdict.
        memory_gib: Stage -> part -> GiB on each GPU; empty if the model's sizes are not known.
        hours: Stage -> hours; None if no throughput was stated.
    """

    profile: str
    findings: tuple[Check, ...]
    memory_gib: dict[str, dict[str, float]]
    hours: dict[str, float] | None

    @property
    def ok(self) -> bool:
        """True if no check found a problem."""
        return all(finding.verdict != "problem" for finding in self.findings)


def preflight(profile: Profile, run: RunPaths, machine: Machine) -> Report:
    """Check a profile, and what its run folder already holds.

    Args:
        profile: The settings.
        run: Run folder; rows and responses in it are looked at where they exist.
        machine: GPUs to estimate for.

    Returns:
        Every finding, memory and hours.
    """
    labels, broken = _labels(profile, run)
    findings = [
        *_consistency(profile),
        broken or check_labels(labels),
        check_steps(profile, len(labels) or profile.data.n_train, machine),
        check_saves(profile),
        check_trainer_arguments(profile),
    ]
    shape = shape_of(profile.student.model)
    if shape is None:
        said = f"the sizes of {profile.student.model} are not on this machine"
        findings.append(Check("model", "unknown", said, "fetch its config.json"))
        return Report(profile.name, tuple(findings), {}, None)
    tokens = lengths(profile, shape)
    findings += check_lengths(profile, shape, tokens)
    limit = profile.grpo.max_completion_length
    findings.append(check_completions_fit(_longest_taught(profile, run), limit))
    needed = {name: memory(profile, shape, tokens, machine, stage=name) for name in ("sft", "grpo")}
    findings += _fits(needed, machine)
    return Report(profile.name, tuple(findings), needed, hours(profile, tokens, machine))


def refused(name: str, error: ValueError) -> Report:
    """A report of a profile that cannot be read, one finding for each broken setting."""
    said = error.problems if isinstance(error, SettingsError) else [str(error)]
    findings = tuple(Check("settings", "problem", line, "change the profile") for line in said)
    return Report(name, findings, {}, None)


# ---- labels, steps, lengths, memory


def _labels(profile: Profile, run: RunPaths) -> tuple[list[float], Check | None]:
    file = run.split(profile.data.train_set, "train")
    if not file.is_file():
        return [], None
    try:
        rows = read_jsonl(file, ImageRecord)
    except ArtifactError as error:
        return [], Check("labels", "problem", str(error), "correct the row, or its scale")
    missing = sum(row.mos is None for row in rows)
    if missing:
        said = f"{missing} of {len(rows)} rows in {file} have no mos"
        return [], Check("labels", "problem", said, "label them or leave them out")
    return [row.mos for row in rows if row.mos is not None], None


def check_labels(labels: Sequence[float]) -> Check:
    """Do the labels use their scale? That none lies outside was seen when they were read."""
    if not labels:
        return Check("labels", "unknown", "no rows of the training set yet (stage 01)")
    low, high = min(labels), max(labels)
    said = f"{len(labels)} labels from {low:g} to {high:g} on a scale {MOS_MIN:g} to {MOS_MAX:g}"
    if high - low < _LEAST_SPAN * (MOS_MAX - MOS_MIN):
        said += ": less than a tenth of it, as labels of another scale (1 to 5) would"
        remedy = "rescale: mos = 100 x (raw - low) / (high - low), with the ends of their own scale"
        return Check("labels", "problem", said, remedy)
    return Check("labels", "ok", said)


def check_steps(profile: Profile, n_images: int, machine: Machine) -> Check:
    """Do images and devices give steps?"""
    config = profile.grpo
    if n_images < config.images_per_step:
        said = (
            f"{n_images} images are fewer than grpo.images_per_step {config.images_per_step}: "
            "TRL would run 0 steps and report success"
        )
        return Check("steps", "problem", said, "lower grpo.images_per_step or add images")
    try:
        config.batch(machine.gpus)
    except ValueError as error:
        remedy = "let grpo.images_per_step be a multiple of the GPUs"
        return Check("steps", "problem", str(error), remedy)
    steps = config.steps(n_images)
    epochs = steps * config.images_per_step / n_images
    said = f"GRPO: {steps} steps x {config.images_per_step} images = {epochs:.2f} epochs"
    return Check("steps", "ok", said)


def check_saves(profile: Profile) -> Check:
    """Is a checkpoint written before training ends?"""
    for name, section in (("sft", profile.sft), ("grpo", profile.grpo)):
        every, steps = section.save_steps, section.max_steps
        if 0 < steps < every:
            said = f"{name}.save_steps {every} is beyond {name}.max_steps {steps}: none is written"
            return Check("checkpoints", "problem", said, "save more often")
    return Check("checkpoints", "ok", "written where a killed run resumes exactly")


def check_trainer_arguments(profile: Profile) -> Check:
    """Does TRL take the settings that are passed through to it?"""
    try:
        sft.trainer_arguments(profile.sft, Path("work"))
        grpo.trainer_arguments(profile.grpo, Path("work"))
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        return Check("trainer arguments", "problem", said, "change sft or grpo in the profile")
    return Check("trainer arguments", "ok", "TRL takes the settings of sft and grpo")


def check_lengths(profile: Profile, shape: Shape, tokens: Lengths) -> list[Check]:
    """Do prompt, image and completion fit what bounds them?"""
    how = "counted" if tokens.counted else "estimated from letters, the tokenizer is not here"
    parts = f"prompt {tokens.prompt} ({how}) + image {tokens.image}"
    whole = f"{parts} + completion {tokens.completion} = {tokens.whole} tokens"
    remedy = "lower student.max_pixels, or raise the limit (null: none)"
    found = []
    for name, limit in (
        ("the model's positions", shape.text.max_position_embeddings),
        ("sft.max_length", profile.sft.max_length),
    ):
        if limit is None:
            continue
        if tokens.prompt + tokens.image >= limit:
            said = f"{parts} leave no room for a completion in {name}, {limit}"
            found.append(Check("lengths", "problem", said, remedy))
        elif tokens.whole > limit:
            said = f"{whole}, more than {name}, {limit}: completions are cut off"
            found.append(Check("lengths", "problem", said, remedy))
        else:
            found.append(Check("lengths", "ok", f"{whole}, within {name}, {limit}"))
    return found


def _longest_taught(profile: Profile, run: RunPaths) -> int | None:
    if not run.kept.is_file():
        return None
    form = SftFormat(profile.grpo.start_from, profile.student.prompt_id)
    texts = []
    for row in read_jsonl(run.kept, FilteredResponse):
        try:
            texts.append(replace_score(row.text or "", 50.0, form))
        except ValueError:
            continue  # training skips it too, and counts it
    count, _ = token_counter(profile.student.model, profile.student.revision)
    return max(map(count, texts), default=None)


def check_completions_fit(longest: int | None, limit: int) -> Check:
    """May the student write as much in GRPO as it was taught to write?"""
    if longest is None:
        said = "no filtered responses to measure yet (stage 03)"
        return Check("completion length", "unknown", said)
    said = f"the longest text taught has {longest} tokens, grpo.max_completion_length is {limit}"
    if longest > limit:
        remedy = "raise grpo.max_completion_length above it"
        return Check("completion length", "problem", said, remedy)
    return Check("completion length", "ok", said)


def _fits(needed: dict[str, dict[str, float]], machine: Machine) -> list[Check]:
    found = []
    for stage, parts in needed.items() if machine.gpu_gib is not None else ():
        said = f"{stage} needs about {parts['peak']:.1f} GiB on each GPU of {machine.gpu_gib:g}"
        fits = parts["peak"] <= machine.gpu_gib
        remedy = "" if fits else "shard over more GPUs, or take adapters (full-80gb, full-24gb)"
        found.append(Check("memory", "ok" if fits else "problem", said, remedy))
    return found


# ---- do prompt, format check, parser and reward fit each other? completions are written to see


def _consistency(profile: Profile) -> list[Check]:
    prompt_id = profile.student.prompt_id
    form = answer_form(prompt_id)
    prompt = "\n".join(one["content"] for one in student_messages(prompt_id))

    def parse(text: str) -> float | None:
        return parse_answer(text, form).score

    def is_compliant(text: str) -> bool:
        return form_reward(text, form) == 1.0

    reward = reward_of(profile.grpo, prompt_id, parse)
    found = [
        check_example(prompt, is_compliant, parse, prompt_id),
        check_scale_of_prompt(prompt, prompt_id),
        check_perfect_answer(profile.grpo, reward, prompt_id),
        check_compared(profile.grpo, reward, prompt_id),
    ]
    if profile.grpo.start_from == "none" and profile.grpo.weight_format:
        said = "grpo.start_from is none: that cold start never reasons, so no text has the form"
        found.append(Check("cold start", "problem", said, "start from short or long"))
    return found


def own_example(prompt: str, answer: str = f"{_EXAMPLE_MOS:g}") -> str:
    r"""Write a completion in the very form that a prompt asks for.

    Args:
        prompt: Text of the prompt.
        answer: What stands in its answer tag, the scores.

    Returns:
        The tag pairs of the prompt in their order, filled in; where it names none, the form of
        the cold start's texts.

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
) -> Check:
    """Does a completion in the form of the prompt pass the format check and the parser?

    Args:
        prompt: Text of the prompt.
        is_compliant: The format check of the reward.
        parse: Reads the score on the scale of the labels, or None.
        prompt_id: Says how many scores on which scale the prompt asks for.
    """
    example = own_example(prompt, answer_text(_EXAMPLE_MOS, SftFormat(prompt_id=prompt_id)))
    if not is_compliant(example):
        said = f"the prompt's own example fails the format check: {example!r}"
        remedy = "let prompt and format check ask for the same tags in the same order"
        return Check("example", "problem", said, remedy)
    found = parse(example)
    if found is None or abs(found - _EXAMPLE_MOS) > _NEAR:
        said = (
            f"the parser reads {found} from the prompt's own example {example!r}, which states "
            f"{_EXAMPLE_MOS:g} of {MOS_MAX:g}"
        )
        remedy = "let prompt and parser name the same answer tag and the same scale"
        return Check("example", "problem", said, remedy)
    return Check("example", "ok", "the prompt's own example has the form and is read")


def check_scale_of_prompt(prompt: str, prompt_id: str = ONE_SCORE) -> Check:
    """Does the prompt ask for the scale on which its completions are read?"""
    form = answer_form(prompt_id)
    read = f"{form.low:g} to {form.high:g}"
    asked = {(float(low), float(high)) for low, high in _RANGE.findall(prompt)}
    if not asked:
        return Check("prompt scale", "unknown", "the prompt names no range of scores")
    if asked != {(form.low, form.high)}:
        ranges = ", ".join(f"{low:g} to {high:g}" for low, high in sorted(asked))
        said = f"the prompt asks for {ranges}, completions are read and rewarded as {read}"
        remedy = "name one range in the prompt, the one that completions are read on"
        return Check("prompt scale", "problem", said, remedy)
    return Check("prompt scale", "ok", f"{read} in prompt, parser and reward")


def reward_of(config: GrpoConfig, prompt_id: str, parse: Parse) -> Reward:
    """The reward of a profile with its weights, as training computes it for a batch.

    Args:
        config: Reward, its constants and weights.
        prompt_id: Says which form earns the format reward.
        parse: Reads a completion's score on the scale of the labels; None where it has none.

    Returns:
        A function from texts, one row per image, and the images' MOS to rewards. All scores of a
        completion are taken as its mean, so deductions for unequal scores do not come in.
    """
    form = answer_form(prompt_id)
    weights = {"weight_accuracy": config.weight_accuracy, "weight_format": config.weight_format}

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


def check_perfect_answer(config: GrpoConfig, reward: Reward, prompt_id: str = ONE_SCORE) -> Check:
    """Does the right score in the right form earn the most, at both ends of the scale and between?

    A reward that looks at one completion must give all there is; one that compares images must
    give no wrong score as much (decision D57).
    """
    most = config.weight_accuracy + config.weight_format
    if most <= 0.0:
        return Check("perfect completion", "problem", "both weights are 0", "set one above 0")
    rewards = reward(_right_and_wrong(_RIGHT, prompt_id), _RIGHT).tolist()
    absolute = config.reward not in _COMPARING
    for mos, (right, *wrong) in zip(_RIGHT, rewards, strict=True):
        if right <= max(wrong) or (absolute and abs(right - most) > _NEAR):
            said = (
                f"the right completion for a MOS of {mos:g} earns {right:g} of {most:g}, "
                f"a wrong one up to {max(wrong):g}"
            )
            remedy = "let prompt, parser, reward and scale fit each other"
            return Check("perfect completion", "problem", said, remedy)
    how = f"{most:g}, the most there is" if absolute else "more than any"
    return Check(
        "perfect completion", "ok", f"the right completion earns {how} with {config.reward}"
    )


def check_compared(config: GrpoConfig, reward: Reward, prompt_id: str = ONE_SCORE) -> Check:
    """Does a reward that compares images tell completions apart with the images of one step?"""
    n = config.images_per_step
    if config.reward not in _COMPARING:
        return Check("compared images", "ok", f"{config.reward} looks at one image at a time")
    labels = np.linspace(MOS_MIN, MOS_MAX, n + 2).round()[1:-1].tolist()
    if np.ptp(reward(_right_and_wrong(labels, prompt_id), labels), axis=1).max() <= _NEAR:
        said = (
            f"{config.reward} compares images, and grpo.images_per_step is {n}: right and wrong "
            "completions earn the same, so nothing is learnt"
        )
        return Check("compared images", "problem", said, "raise grpo.images_per_step")
    return Check("compared images", "ok", f"{config.reward} compares the {n} images of a step")


def _right_and_wrong(labels: Sequence[float], prompt_id: str) -> list[list[str]]:
    """Write for each MOS the completion with the right score, then some with growing errors."""
    form, middle = SftFormat(prompt_id=prompt_id), (MOS_MIN + MOS_MAX) / 2
    return [
        [
            completion_text(_REASONING, answer_text(mos + by if mos < middle else mos - by, form))
            for by in _ERRORS
        ]
        for mos in labels
    ]

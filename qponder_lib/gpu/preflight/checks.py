"""What must hold before a run can teach anything; each check says what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qponder_lib.config import GrpoConfig, Profile
from qponder_lib.gpu.preflight.lengths import Lengths
from qponder_lib.gpu.preflight.memory import Machine
from qponder_lib.gpu.preflight.shapes import Shape
from qponder_lib.scales import MOS_MAX, MOS_MIN

Verdict = Literal["ok", "problem", "unknown"]
_LEAST_SPAN = 0.1


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, the verdict, and what to change."""

    check: str
    verdict: Verdict
    said: str
    remedy: str = ""


def check_lengths(profile: Profile, shape: Shape, tokens: Lengths) -> list[Finding]:
    """Do prompt, image and answer fit what bounds them?"""
    how = "counted" if tokens.counted else "estimated from letters, the tokenizer is not here"
    parts = f"prompt {tokens.prompt} ({how}) + image {tokens.image}"
    whole = f"{parts} + answer {tokens.completion} = {tokens.whole} tokens"
    found = []
    for name, limit in (
        ("the model's positions", shape.positions),
        ("sft.max_length", profile.sft.max_length),
    ):
        if limit is None:
            continue
        before_answer = tokens.prompt + tokens.image
        if before_answer >= limit:
            said = f"{parts} leave no room for an answer in {name}, {limit}"
        elif tokens.whole > limit:
            said = f"{whole}, more than {name}, {limit}: answers are cut off"
        else:
            found.append(Finding("lengths", "ok", f"{whole}, within {name}, {limit}"))
            continue
        remedy = "lower student.max_pixels, or raise the limit (null: none)"
        found.append(Finding("lengths", "problem", said, remedy))
    return found


def check_answers_fit(longest: int | None, limit: int) -> Finding:
    """May the student write as much in GRPO as it was taught to write?"""
    if longest is None:
        return Finding("answer length", "unknown", "no filtered answers to measure yet (stage 03)")
    said = f"the longest answer taught has {longest} tokens, grpo.max_completion_length is {limit}"
    if longest > limit:
        return Finding(
            "answer length", "problem", said, "raise grpo.max_completion_length above it"
        )
    return Finding("answer length", "ok", said)


def check_steps(profile: Profile, n_images: int, machine: Machine) -> list[Finding]:
    """Do batches, groups and devices give steps, and are checkpoints where a run can resume?"""
    grpo, gpus = profile.grpo, machine.gpus
    found = [_group(grpo)]
    if n_images < grpo.images_per_step:
        found.append(
            Finding(
                "steps",
                "problem",
                f"{n_images} images are fewer than grpo.images_per_step {grpo.images_per_step}: "
                "TRL would run 0 steps and report success",
                "lower grpo.images_per_step or add images",
            )
        )
    elif grpo.images_per_step % gpus or (grpo.images_per_step // gpus) % min(
        grpo.images_per_device, grpo.images_per_step // gpus
    ):
        found.append(
            Finding(
                "steps",
                "problem",
                f"grpo.images_per_step {grpo.images_per_step} does not divide over {gpus} GPUs "
                f"with {grpo.images_per_device} images each",
                "let it be a multiple of GPUs x grpo.images_per_device",
            )
        )
    else:
        epochs = grpo.max_steps * grpo.images_per_step / n_images
        said = f"GRPO: {grpo.max_steps} steps x {grpo.images_per_step} images = {epochs:.2f} epochs"
        found.append(Finding("steps", "ok", said))
    return [*found, *_saves(profile)]


def _group(grpo: GrpoConfig) -> Finding:
    if grpo.num_generations < 2:
        return Finding(
            "group",
            "problem",
            f"grpo.num_generations is {grpo.num_generations}: an answer that is compared with "
            "itself has advantage 0, so nothing is learnt",
            "set it to 2 or more; the paper has 8",
        )
    return Finding("group", "ok", f"{grpo.num_generations} answers for each image")


def _saves(profile: Profile) -> list[Finding]:
    grpo, sft = profile.grpo, profile.sft
    found = []
    if grpo.save_steps % grpo.num_iterations:
        found.append(
            Finding(
                "checkpoints",
                "problem",
                f"grpo.save_steps {grpo.save_steps} is off the boundary of a generation, which "
                f"lasts grpo.num_iterations {grpo.num_iterations} steps: a resumed run would be "
                "another run",
                "let it be a multiple of grpo.num_iterations",
            )
        )
    for name, every, steps in (
        ("grpo", grpo.save_steps, grpo.max_steps),
        ("sft", sft.save_steps, sft.max_steps),
    ):
        if 0 < steps < every:
            said = f"{name}.save_steps {every} is beyond {name}.max_steps {steps}: none is written"
            found.append(Finding("checkpoints", "problem", said, "save more often"))
    return found or [Finding("checkpoints", "ok", "written where a killed run resumes exactly")]


def check_labels(labels: Sequence[float] | None) -> Finding:
    """Do the labels lie on the scale, and do they use it?"""
    if not labels:
        return Finding("labels", "unknown", "no rows of the training set yet (stage 01)")
    low, high = min(labels), max(labels)
    said = f"{len(labels)} labels from {low:g} to {high:g} on a scale {MOS_MIN:g} to {MOS_MAX:g}"
    if low < MOS_MIN or high > MOS_MAX:
        return Finding("labels", "problem", said, "rescale the labels to the declared scale")
    if high - low < _LEAST_SPAN * (MOS_MAX - MOS_MIN):
        return Finding(
            "labels",
            "problem",
            f"{said}: less than a tenth of it, as labels of another scale (1 to 5) would",
            "rescale: mos = 100 x (raw - low) / (high - low) with the limits of their own scale",
        )
    return Finding("labels", "ok", said)

"""Says in seconds, on a CPU and without weights, whether a profile can work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from qponder_lib.scales import MOS_MAX, MOS_MIN
from qponder_lib.text.sft_format import SftFormat, replace_score
from qponder_lib.training import grpo, sft

Verdict = Literal["ok", "problem", "unknown"]

_LEAST_SPAN = 0.1


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
        check_reward(profile.grpo),
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


# ---- reward, labels, steps, lengths, memory


def check_reward(config: GrpoConfig) -> Check:
    """Can the reward be earned, and does it tell completions apart?"""
    if config.weight_accuracy + config.weight_format <= 0.0:
        return Check("reward", "problem", "both weights are 0", "set one above 0")
    if config.reward == "fidelity" and config.images_per_step == 1:
        said = (
            "fidelity compares images, and grpo.images_per_step is 1: right and wrong completions "
            "earn the same, so nothing is learnt"
        )
        return Check("reward", "problem", said, "raise grpo.images_per_step")
    if config.start_from == "none" and config.weight_format:
        said = "grpo.start_from is none: that cold start never reasons, so no text has the form"
        return Check("reward", "problem", said, "start from short or long")
    return Check("reward", "ok", f"{config.reward} tells completions apart")


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

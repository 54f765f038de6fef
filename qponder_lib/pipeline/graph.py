"""The graph of stages as data, their keys, and the plan that follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qponder_lib import artifacts, paths
from qponder_lib.config import Profile
from qponder_lib.paths import RunPaths

# These change how fast a stage runs or which stages there are, never what a stage leaves behind.
_NOT_IN_KEYS = {
    "distill": {"concurrency", "timeout_s", "max_attempts"},
    "sft": {"variants"},
    "judge": {"concurrency", "timeout_s", "max_attempts"},
    "launch": {"accelerate"},
}


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    Attributes:
        name: Such as `filter` or `sft-long`.
        notebook: Number of the notebook that runs it, such as `03`.
        sections: Sections of the profile it depends on.
        inputs: Stages whose files it reads.
        sealed_by_runner: True for a notebook that only shows things: its one file is the
            executed copy, which the runner seals.
    """

    name: str
    notebook: str
    sections: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    sealed_by_runner: bool = False


def stages(profile: Profile) -> tuple[Stage, ...]:
    """Return the stages of a profile in an order in which they can run."""
    sft = [f"sft-{variant}" for variant in profile.sft.variants]
    grpo = f"grpo-{profile.grpo.reward}"
    models = {model_stage(name, profile) for name in profile.predict.models}
    trained = tuple(name for name in (*sft, grpo) if name in models)
    teacher = ("distill",) if "teacher" in profile.predict.models else ()
    return (
        Stage("overview", "00", sealed_by_runner=True),
        Stage("data", "01", ("data",)),
        Stage("distill", "02", ("distill",), ("data",)),
        Stage("filter", "03", ("filter",), ("data", "distill")),
        *(Stage(name, "04", ("student", "sft", "launch"), ("data", "filter")) for name in sft),
        Stage("rewards", "05", ("grpo",), sealed_by_runner=True),
        *_reinforced(profile),
        Stage("predict", "07", ("student", "predict", *teacher), ("data", *trained)),
        Stage("evaluate", "08", ("evaluate",), ("data", "predict")),
        Stage("judge", "09", ("judge",), ("data", "predict", "filter")),
        Stage("tables", "10", (), ("filter", grpo, "evaluate", "judge")),
        Stage("cases", "11", ("evaluate",), ("data", "predict")),
        *_video(profile),
    )


def _video(profile: Profile) -> tuple[Stage, ...]:
    """The video model, where a profile asks for one; it goes on from the image model."""
    if profile.clips is None or profile.video is None:
        return ()
    start = f"grpo-{profile.grpo.reward}"
    warmed: tuple[Stage, ...] = ()
    if profile.warms_up_on_mosaics:
        warmed = (Stage("video-motion", "13", ("student", "clips", "motion"), (start,)),)
        start = "video-motion"
    return (
        Stage("clips", "13", ("clips",)),
        *warmed,
        Stage("video-sft", "13", ("student", "sft", "video"), ("clips", start)),
        Stage("video-grpo", "13", ("student", "grpo", "video"), ("clips", "video-sft")),
        Stage("video-scores", "13", ("evaluate", "video"), ("clips", "video-sft", "video-grpo")),
    )


def _reinforced(profile: Profile) -> tuple[Stage, ...]:
    """One stage of reinforcement learning, or an exploration that a second one goes on from."""
    last = f"grpo-{profile.grpo.reward}"
    names = (f"{last}-explore", last) if profile.grpo.exploration_steps else (last,)
    starts = (f"sft-{profile.grpo.start_from}", *names)
    return tuple(
        Stage(name, "06", ("student", "grpo", "launch"), ("data", start))
        for name, start in zip(names, starts, strict=False)
    )


def model_stage(model: str, profile: Profile) -> str | None:
    """Return the stage that trains a model of `predict.models`, or None if none does.

    Raises:
        ValueError: If no stage of this profile makes such a model.
    """
    if model in ("base", "teacher", "handcrafted"):
        return None
    if model.startswith("qponder"):
        return f"grpo-{profile.grpo.reward}"
    variant = model.removeprefix("ci-")
    if model.startswith("ci-") and variant in profile.sft.variants:
        return f"sft-{variant}"
    raise ValueError(
        f"predict.models has {model!r}; expected base, teacher, handcrafted, qponder or "
        f"{', '.join('ci-' + name for name in profile.sft.variants)}"
    )


def model_folder(model: str, profile: Profile, run: RunPaths) -> Path | None:
    """Return the folder a trained model of `predict.models` lies in, or None for the others."""
    stage = model_stage(model, profile)
    if stage is None:
        return None
    kind, _, name = stage.partition("-")
    return run.sft(name) if kind == "sft" else run.grpo(name)


def stage_named(name: str, profile: Profile) -> Stage:
    """Return a stage by its name.

    Raises:
        ValueError: If the profile has no such stage; the message lists those it has.
    """
    known = {stage.name: stage for stage in stages(profile)}
    if name not in known:
        raise ValueError(f"no stage {name!r} in profile {profile.name!r}; there are {list(known)}")
    return known[name]


def with_dependants(names: Iterable[str], profile: Profile) -> list[str]:
    """Return stages and all that read what they leave behind, in running order.

    Raises:
        ValueError: If the profile has no such stage.
    """
    chosen = {stage_named(name, profile).name for name in names}
    for stage in stages(profile):
        if chosen & set(stage.inputs):
            chosen.add(stage.name)
    return [stage.name for stage in stages(profile) if stage.name in chosen]


def stage_config(stage: Stage, profile: Profile) -> dict[str, Any]:
    """Return the settings that decide what a stage leaves behind, by section.

    Where the shipped mini student is used, its checksum is one of them.
    """
    config = {}
    for name in stage.sections:
        section = getattr(profile, name)
        left_out = _NOT_IN_KEYS.get(name, set()) | section.unstated()
        stated = section.model_dump(mode="json", exclude=left_out)
        config |= {name: stated} if stated else {}
    if config.get("student", {}).get("model") == "builtin:mini":
        config["student"]["weights_sha256"] = paths.MINI_CHECKSUM.read_text("ascii").split()[0]
    return config


def stage_key(stage: Stage, profile: Profile, input_keys: Mapping[str, str]) -> str:
    """Return the digest of a stage's name, settings and inputs."""
    inputs = {name: input_keys[name] for name in stage.inputs}
    return artifacts.digest(
        {"stage": stage.name, "config": stage_config(stage, profile), "inputs": inputs}
    )


def stage_keys(profile: Profile) -> dict[str, str]:
    """Return the key of every stage, computed from the profile alone."""
    keys: dict[str, str] = {}
    for stage in stages(profile):
        keys[stage.name] = stage_key(stage, profile, keys)
    return keys


@dataclass(frozen=True)
class PlannedStage:
    """What a runner will do with a stage, and why."""

    stage: Stage
    key: str
    action: Literal["run", "skip", "stale"]
    why: str


def plan(profile: Profile, run: RunPaths) -> list[PlannedStage]:
    """Compare the keys of a profile with the seals in a run folder.

    Returns:
        One entry per stage in running order: `skip` where it is done, `stale` where it was made
        from other settings or inputs or its files changed, `run` where it has no seal.
    """
    keys = stage_keys(profile)
    planned = []
    for stage in stages(profile):
        action, why = _verdict(stage, keys, profile, run)
        planned.append(PlannedStage(stage, keys[stage.name], action, why))
    return planned


def _verdict(
    stage: Stage, keys: Mapping[str, str], profile: Profile, run: RunPaths
) -> tuple[Literal["run", "skip", "stale"], str]:
    seal = artifacts.read_seal(run.seal(stage.name))
    if seal is None:
        return "run", "not done yet"
    if seal.key != keys[stage.name]:
        return "stale", _difference(seal, stage, keys, profile)
    problems = artifacts.verify_seal(run.seal(stage.name), run.root)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return "stale", problems[0] + more
    return "skip", f"done {seal.created}"


def _difference(
    seal: artifacts.Seal, stage: Stage, keys: Mapping[str, str], profile: Profile
) -> str:
    """Say in words why a seal's key is not the planned one."""
    old = _flat(seal.config)
    new = _flat(stage_config(stage, profile))
    changed = [
        f"{name} {old.get(name, 'unset')} -> {new.get(name, 'unset')}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    changed += [f"new {name}" for name in stage.inputs if seal.inputs.get(name) != keys[name]]
    return ", ".join(changed) or "made by another version of the pipeline"


def _flat(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, values in config.items()
        for name, value in values.items()
    }

"""The graph of stages as data, their keys, and the two calls a notebook makes.

A stage's key is a digest of its name, its settings and the keys of its inputs, so the whole plan
is known before anything runs: change one setting and exactly the stages that depend on it have
new keys. A stage is done when its seal carries its key and its files are as they were sealed.

In a notebook:

    run = pipeline.open_run(globals())
    config = pipeline.notebook_config(globals(), "filter")
    with pipeline.stage_run(run, "filter", config) as stage:
        if not stage.done:
            ...
            stage.outputs(run.paths.kept, run.paths.rejected)
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from qponder_lib import artifacts
from qponder_lib.config import SECTIONS, Profile, Section, load_profile
from qponder_lib.paths import RunPaths

log = logging.getLogger(__name__)

# These change how fast a stage runs or which stages there are, never what a stage leaves behind.
_LOCK_PATIENCE_S = 15.0  # a kernel whose runner was killed needs a moment to go
_NOT_IN_KEYS = {
    "distill": {"concurrency", "timeout_s", "max_attempts"},
    "sft": {"variants"},
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
        *(Stage(name, "04", ("student", "sft"), ("data", "filter")) for name in sft),
        Stage("rewards", "05", ("grpo",), sealed_by_runner=True),
        Stage(grpo, "06", ("student", "grpo"), ("data", f"sft-{profile.grpo.start_from}")),
        Stage("predict", "07", ("student", "predict", *teacher), ("data", *trained)),
        Stage("evaluate", "08", ("evaluate",), ("data", "predict")),
        Stage("tables", "10", (), ("filter", grpo, "evaluate")),
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
    """Return the settings that decide what a stage leaves behind, by section."""
    return {
        name: getattr(profile, name).model_dump(mode="json", exclude=_NOT_IN_KEYS.get(name))
        for name in stage.sections
    }


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


# ---- what a notebook uses


@dataclass(frozen=True)
class Run:
    """A run folder and the profile that a notebook works with.

    Attributes:
        paths: The named places in the run folder.
        profile: The profile with the notebook's own parameters applied.
    """

    paths: RunPaths
    profile: Profile


def open_run(namespace: Mapping[str, Any]) -> Run:
    """Read a notebook's parameters.

    Args:
        namespace: The notebook's `globals()`: `profile` (name or path of a profile), `run_dir`
            (absolute, or relative to the repository) and any `<section>_<field>` parameters,
            such as `filter_gamma`, which win over the profile.

    Raises:
        KeyError: If `profile` or `run_dir` is missing.
        ValueError: If a value does not fit its field.
    """
    overrides = {
        f"{section}.{name}": namespace[f"{section}_{name}"]
        for section, model in SECTIONS.items()
        for name in model.model_fields
        if f"{section}_{name}" in namespace
    }
    profile = load_profile(namespace["profile"]).with_overrides(overrides)
    return Run(RunPaths.at(namespace["run_dir"]), profile)


def notebook_config(namespace: Mapping[str, Any], section: str) -> Any:
    """Return one section of a notebook's profile, its own parameters applied.

    Args:
        namespace: The notebook's `globals()`.
        section: Name of the section, such as `filter`.

    Returns:
        The section's model, such as a `FilterConfig`.
    """
    return getattr(open_run(namespace).profile, section)


@dataclass
class StageRun:
    """A stage at work.

    Attributes:
        stage: The stage.
        key: Digest of its settings and the inputs that are there now.
        done: True if it is sealed with this key: nothing is left to do.
        work: Scratch folder for this key (checkpoints); a killed stage finds its own again.
    """

    stage: Stage
    key: str
    done: bool
    work: Path
    files: list[Path] = field(default_factory=list)

    def outputs(self, *paths: Path) -> None:
        """Name files, or folders with all they hold, that the stage leaves behind."""
        self.files.extend(paths)


@contextmanager
def stage_run(run: Run, name: str, config: Section | None = None) -> Iterator[StageRun]:
    """Run a stage, or find that it is done; seal it when the block ends without an error.

    Args:
        run: From `open_run`.
        name: Name of the stage, such as `filter` or `sft-long`.
        config: Section to use in place of the run's own, if given.

    Raises:
        FileNotFoundError: If a stage it reads from has not been sealed; the message says which
            notebook to run first.
        RuntimeError: If another process is at work on this stage.
        ValueError: If the block ends without naming its outputs.
    """
    profile = run.profile if config is None else _with_section(run.profile, config)
    stage = stage_named(name, profile)
    inputs = _sealed_inputs(stage, run.paths, profile)
    key = stage_key(stage, profile, inputs)
    work = run.paths.work(name) / key[:12]
    if _is_done(run.paths, name, key):
        log.info("%s: done, nothing to do", name)
        yield StageRun(stage, key, True, work)
        return
    with _only_one(run.paths, name):
        _break_seal(run.paths, name)
        work.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        current = StageRun(stage, key, False, work)
        yield current
        if not current.files:
            raise ValueError(f"stage {name!r} named no outputs; call stage.outputs(...)")
        seal_stage(run.paths, stage, profile, inputs, current.files, time.monotonic() - started)
        shutil.rmtree(run.paths.work(name))


def seal_stage(
    paths: RunPaths,
    stage: Stage,
    profile: Profile,
    inputs: Mapping[str, str],
    files: list[Path],
    seconds: float,
) -> None:
    """Write the seal of a stage whose files are complete."""
    seal = artifacts.Seal(
        stage=stage.name,
        key=stage_key(stage, profile, inputs),
        config=stage_config(stage, profile),
        inputs=dict(inputs),
        outputs=artifacts.hash_outputs(paths.root, files),
        created=artifacts.now(),
        seconds=round(seconds, 3),
        versions=artifacts.package_versions(),
    )
    artifacts.write_seal(paths.seal(stage.name), seal)


def _break_seal(paths: RunPaths, name: str) -> None:
    """Remove an old seal, so that a kill in the middle does not leave it over half-new files.

    Files that another run of a study has by a hard link go too, or writing would change its copy.
    """
    old = artifacts.read_seal(paths.seal(name))
    paths.seal(name).unlink(missing_ok=True)
    for output in old.outputs if old is not None else ():
        file = paths.root / output
        if file.is_file() and file.stat().st_nlink > 1:
            file.unlink()


def _with_section(profile: Profile, config: Section) -> Profile:
    for name, model in SECTIONS.items():
        if type(config) is model:
            return profile.model_copy(update={name: config})
    raise TypeError(f"expected a section of a profile, got {type(config).__name__}")


def _is_done(paths: RunPaths, name: str, key: str) -> bool:
    seal = artifacts.read_seal(paths.seal(name))
    if seal is None or seal.key != key:
        return False
    return not artifacts.verify_seal(paths.seal(name), paths.root)


def _sealed_inputs(stage: Stage, paths: RunPaths, profile: Profile) -> dict[str, str]:
    keys = {}
    for name in stage.inputs:
        seal = artifacts.read_seal(paths.seal(name))
        if seal is None:
            notebook = stage_named(name, profile).notebook
            raise FileNotFoundError(
                f"stage {stage.name!r} reads what {name!r} leaves in {paths.root}, which is not "
                f"done: run notebook {notebook} first, or `qponder run {profile.name}`"
            )
        keys[name] = seal.key
    return keys


@contextmanager
def _only_one(paths: RunPaths, name: str) -> Iterator[None]:
    paths.work(name).mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.seal(name).with_suffix(".lock"))
    paths.seal(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=_LOCK_PATIENCE_S)
    except Timeout as error:
        raise RuntimeError(f"stage {name!r} is being run by another process") from error
    try:
        yield
    finally:
        lock.release()

"""The graph of stages, their keys, the plan that follows, and the stages a notebook runs.

A stage's key is a digest of its name, its settings and the keys of its inputs, so the whole plan
is known before anything runs: change one setting and exactly the stages that depend on it have
new keys. Settings at their default stand in no key, so that a setting which is added later leaves
older runs complete. A stage is complete when its record carries its key and its files are
as it says.

In a notebook:

    run = runs.open_run(globals(), "03")
    with pipeline.stage_run(run, "filter") as stage:
        if not stage.done:
            ...
            stage.outputs(run.paths.kept, run.paths.rejected)
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qponder_lib import artifacts, paths
from qponder_lib.config import Profile, Section
from qponder_lib.paths import RunPaths

log = logging.getLogger(__name__)

State = Literal["complete", "outdated", "missing"]
IMAGE_MODELS, CLIP_MODELS = ("grpo", "sft"), ("video",)
TRAINED_ON_CLIPS = ("video-sft", "video-grpo")
_PASSED = re.compile(r"^smoke$|-whatif-")
_LOCK_PATIENCE_S = 15.0  # a kernel whose runner was killed needs a moment to go


# ---- the graph


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    Attributes:
        name: Such as `filter` or `sft-long`.
        notebook: Number of the notebook that runs it, such as `03`.
        sections: Settings that decide what it leaves behind, by section of the profile.
        inputs: Stages whose files it reads.
        only_shows: True for a notebook that only shows things: its one file is the executed
            copy, which the runner records.
    """

    name: str
    notebook: str
    sections: Mapping[str, Section] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    only_shows: bool = False

    @property
    def config(self) -> dict[str, dict[str, Any]]:
        """Its settings as JSON values; the shipped student's weights are one of them."""
        config = {
            name: one.model_dump(mode="json", exclude=set(one.PACE))
            for name, one in self.sections.items()
        }
        if config.get("student", {}).get("model") == "builtin:mini":
            config["student"]["weights_sha256"] = paths.MINI_CHECKSUM.read_text("ascii").split()[0]
        return config

    def key(self, input_keys: Mapping[str, str]) -> str:
        """Return the digest of its name, its settings and the keys of its inputs."""
        stated = {}
        for name, values in self.config.items():
            usual = type(self.sections[name])().model_dump(mode="json")
            stated[name] = {k: v for k, v in values.items() if k not in usual or v != usual[k]}
        inputs = {name: input_keys[name] for name in self.inputs}
        return artifacts.digest({"stage": self.name, "config": stated, "inputs": inputs})


def stages(profile: Profile) -> tuple[Stage, ...]:
    """Return the stages of a profile in an order in which they can run."""
    uses = profile.sections
    grpo = f"grpo-{profile.grpo.reward}"
    predicted = tuple(f"predict-{model}" for model in profile.predict.models)
    judged = tuple(
        f"predict-{model}" for model in profile.judge.models if model in profile.predict.models
    )
    return (
        Stage("overview", "00", only_shows=True),
        Stage("data", "01", uses("data")),
        Stage("distill", "02", uses("distill"), ("data",)),
        Stage("filter", "03", uses("filter"), ("data", "distill")),
        *(_cold_start(variant, profile) for variant in profile.sft.variants),
        Stage("rewards", "05", uses("grpo"), only_shows=True),
        *_reinforced(profile),
        *(_prediction(model, profile) for model in profile.predict.models),
        Stage("evaluate", "08", {}, ("data", *predicted)),
        Stage("judge", "09", uses("judge"), ("data", "filter", *judged)),
        Stage("tables", "10", {}, ("filter", grpo, "evaluate", "judge")),
        Stage("cases", "11", {}, ("data", *predicted)),
        *_video(profile),
    )


def _cold_start(variant: str, profile: Profile) -> Stage:
    sections = profile.sections("student", "launch") | {"sft": _sft(profile, variant)}
    return Stage(f"sft-{variant}", "04", sections, ("data", "filter"))


def _sft(profile: Profile, *variants: str) -> Section:
    """The settings of the cold start as some variants alone need them."""
    return profile.sft.model_copy(update={"variants": variants})


def _reinforced(profile: Profile) -> tuple[Stage, ...]:
    """One stage of reinforcement learning, or an exploration that a second one goes on from."""
    last = f"grpo-{profile.grpo.reward}"
    names = (f"{last}-explore", last) if profile.grpo.exploration_steps else (last,)
    starts = (f"sft-{profile.grpo.start_from}", *names)
    sections = profile.sections("student", "grpo", "launch")
    return tuple(
        Stage(name, "06", sections, ("data", start))
        for name, start in zip(names, starts, strict=False)
    )


def _prediction(model: str, profile: Profile) -> Stage:
    """What one model says about the test images; the teacher responds as it is asked there."""
    who = {"teacher": "distill", "handcrafted": "data"}.get(model, "student")
    trained_by = model_stage(model, profile)
    return Stage(
        f"predict-{model}",
        "07",
        profile.sections(who) | {"predict": profile.predict.of(model)},
        ("data", trained_by) if trained_by else ("data",),
    )


def _video(profile: Profile) -> tuple[Stage, ...]:
    """The video model, where a profile asks for one; it goes on from the image model."""
    if profile.clips is None or profile.video is None:
        return ()
    uses = profile.sections
    start = f"grpo-{profile.grpo.reward}"
    warmed: tuple[Stage, ...] = ()
    if profile.warms_up_on_mosaics:
        warmed = (Stage("video-motion", "13", uses("student", "clips", "motion"), (start,)),)
        start = "video-motion"
    return (
        Stage("clips", "13", uses("clips")),
        *warmed,
        Stage(
            "video-sft", "13", uses("student", "video") | {"sft": _sft(profile)}, ("clips", start)
        ),
        Stage("video-grpo", "13", uses("student", "grpo", "video"), ("clips", "video-sft")),
        Stage("video-scores", "13", uses("video"), ("clips", "video-sft", "video-grpo")),
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


def latest_model(place: Path, kinds: Sequence[str] = IMAGE_MODELS) -> Path:
    """Return the model that was trained last and whose files are as they were left.

    Args:
        place: The folder of one run, or that of all runs; there study runs, which hold controls,
            lie deeper and are not looked at, and smoke runs and what-ifs are passed over.
        kinds: Folders of a run that hold models, the first that has one counts.

    Raises:
        FileNotFoundError: If there is none.
    """
    one_run = (place / "profile.yaml").is_file()
    runs = [place] if one_run else [run for run in place.glob("*/") if not _PASSED.search(run.name)]
    for kind in kinds:
        records = {
            found.parent: artifacts.read_record(found.parent)
            for run in runs
            for found in run.glob(f"{kind}/*/{artifacts.RECORD_NAME}")
        }
        trained = [
            (record.created, folder)
            for folder, record in records.items()
            if record is not None and (kinds != CLIP_MODELS or record.stage in TRAINED_ON_CLIPS)
        ]
        for _, folder in sorted(trained, reverse=True):
            problems = artifacts.verify_record(folder)
            if not problems:
                return folder
            log.warning("passed over %s: %s", folder, problems[0])
    kind, command = (
        ("video model", "video --run mini") if kinds == CLIP_MODELS else ("model", "mini")
    )
    raise FileNotFoundError(f"no trained {kind} in {place}; `qponder run {command}` trains one")


def stage_named(name: str, profile: Profile) -> Stage:
    """Return a stage by its name.

    Raises:
        ValueError: If the profile has no such stage; the message lists those it has.
    """
    known = {stage.name: stage for stage in stages(profile)}
    if name not in known:
        raise ValueError(
            f"no stage {name!r} in profile {profile.name!r}{paths.instead(name, known)}"
        )
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


def stage_keys(profile: Profile) -> dict[str, str]:
    """Return the key of every stage, computed from the profile alone."""
    keys: dict[str, str] = {}
    for stage in stages(profile):
        keys[stage.name] = stage.key(keys)
    return keys


# ---- the plan


@dataclass(frozen=True)
class PlannedStage:
    """A stage as a profile asks for it, its state in a run folder, and why it has that state."""

    stage: Stage
    key: str
    state: State
    why: str


def plan(profile: Profile, run: RunPaths) -> list[PlannedStage]:
    """Compare the keys of a profile with the stage records in a run folder.

    Returns:
        One entry per stage in running order: `complete`; `outdated` where it was made from other
        settings or inputs or its files changed; `missing` where it has no record.
    """
    keys = stage_keys(profile)
    return [
        PlannedStage(stage, keys[stage.name], *stage_state(stage, keys, run))
        for stage in stages(profile)
    ]


def stage_state(stage: Stage, keys: Mapping[str, str], run: RunPaths) -> tuple[State, str]:
    """Return the state of a stage, and why; `keys` are those of its inputs."""
    record = artifacts.read_record(run.record(stage.name))
    if record is None:
        return "missing", "not done yet"
    old, new = _flat(record.config), _flat(stage.config)
    changed = [f"{k} {old[k]} -> {new[k]}" for k in new if k in old and old[k] != new[k]]
    if record.key != stage.key(keys):
        changed += [f"new {name}" for name in stage.inputs if record.inputs.get(name) != keys[name]]
        changed = changed or ["made by another version of the kit"]
    changed = changed or artifacts.verify_record(run.record(stage.name), run.root)
    if changed:
        return "outdated", ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
    return "complete", f"since {record.created}"


def _flat(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, values in config.items()
        for name, value in values.items()
    }


# ---- what a notebook uses


class NotReady(RuntimeError):
    """A notebook cannot work yet; a kernel shows the message, which says what to do, alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not ready: {self}"]


@dataclass(frozen=True)
class Run:
    """A run folder and the profile that a notebook works with.

    Attributes:
        paths: The named places in the run folder.
        profile: The profile with the notebook's own parameters applied.
    """

    paths: RunPaths
    profile: Profile


@dataclass
class StageRun:
    """A stage at work.

    Attributes:
        done: True if it is complete: nothing is left to do.
        work: Scratch folder for its key (checkpoints); a killed stage finds its own again.
    """

    done: bool
    work: Path
    files: list[Path] = field(default_factory=list)

    def outputs(self, *paths: Path) -> None:
        """Name files, or folders with all they hold, that the stage leaves behind."""
        self.files.extend(paths)


@contextmanager
def stage_run(run: Run, name: str) -> Iterator[StageRun]:
    """Run a stage, or find that it is complete; record it when the block ends without an error.

    Args:
        run: From `runs.open_run`.
        name: Name of the stage, such as `filter` or `sft-long`.

    Raises:
        NotReady: If a stage it reads from is not done, the folder cannot be written, or another
            process is at work on this stage; the message says what to do.
        ValueError: If the block ends without naming its outputs.
    """
    stage = stage_named(name, run.profile)
    inputs = input_keys(stage, run)
    work = run.paths.work(name) / stage.key(inputs)[:12]
    state, since = stage_state(stage, inputs, run.paths)
    if state == "complete":
        print(f"{name}: complete {since}, reused")
        yield StageRun(True, work)
        return
    with _only_one(run.paths, name):
        _drop_record(run.paths, name)
        work.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        current = StageRun(False, work)
        yield current
        if not current.files:
            raise ValueError(f"stage {name!r} named no outputs; call stage.outputs(...)")
        record_stage(run.paths, stage, inputs, current.files, time.monotonic() - started)
        shutil.rmtree(run.paths.work(name))


def record_stage(
    run: RunPaths, stage: Stage, inputs: Mapping[str, str], files: Iterable[Path], seconds: float
) -> None:
    """Write the record of a stage whose files are complete."""
    record = artifacts.StageRecord(
        stage=stage.name,
        key=stage.key(inputs),
        config=stage.config,
        inputs=dict(inputs),
        outputs=artifacts.hash_outputs(run.root, files),
        seconds=round(seconds, 3),
    )
    artifacts.write_json(run.record(stage.name), record)


def _drop_record(run: RunPaths, name: str) -> None:
    """Remove an old record, so that a kill in the middle does not leave it over half-new files.

    Files that another run has by a hard link go too, or writing would change its copy.
    """
    old = artifacts.read_record(run.record(name))
    run.record(name).unlink(missing_ok=True)
    for output in old.outputs if old is not None else ():
        file = run.root / output
        if file.is_file() and file.stat().st_nlink > 1:
            file.unlink()


def input_keys(stage: Stage, run: Run) -> dict[str, str]:
    """Return the recorded keys of what a stage reads, or raise `NotReady`."""
    keys = {}
    for name in stage.inputs:
        record = artifacts.read_record(run.paths.record(name))
        if record is None:
            notebook = stage_named(name, run.profile).notebook
            raise NotReady(
                f"stage {stage.name!r} reads what {name!r} leaves in {paths.shown(run.paths.root)},"
                f" which is not done: run notebook {notebook} first, or "
                f"`qponder run {run.profile.name}`"
            )
        keys[name] = record.key
    return keys


@contextmanager
def _only_one(run: RunPaths, name: str) -> Iterator[None]:
    try:
        run.work(name).mkdir(parents=True, exist_ok=True)
        run.record(name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotReady(
            f"stage {name!r} has to be made, but {run.root} cannot be written "
            f"({error.strerror}): set run_dir to a folder of yours"
        ) from error
    lock = artifacts.OwnedLock(run.record(name).with_suffix(".lock"))
    try:
        lock.acquire(_LOCK_PATIENCE_S)
    except artifacts.HeldError as error:
        raise NotReady(f"stage {name!r} is being run by another process: {error}") from error
    try:
        yield
    finally:
        lock.release()

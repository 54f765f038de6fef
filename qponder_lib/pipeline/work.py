"""What a notebook uses: its settings, and a stage that is done once or not at all."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qponder_lib import artifacts
from qponder_lib.config import ALL_SECTIONS, Profile, Section, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline.graph import Stage, stage_config, stage_key, stage_named

log = logging.getLogger(__name__)

_LOCK_PATIENCE_S = 15.0  # a kernel whose runner was killed needs a moment to go


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
        for section, model in ALL_SECTIONS.items()
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
        seconds=round(seconds, 3),
    )
    artifacts.write_json(paths.seal(stage.name), seal)


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
    for name, model in ALL_SECTIONS.items():
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
    lock = artifacts.OwnedLock(paths.seal(name).with_suffix(".lock"))
    paths.seal(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(_LOCK_PATIENCE_S)
    except artifacts.HeldError as error:
        raise RuntimeError(f"stage {name!r} is being run by another process: {error}") from error
    try:
        yield
    finally:
        lock.release()

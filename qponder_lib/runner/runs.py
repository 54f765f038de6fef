"""Plan a run, execute the notebooks that have something left to do, check, record.

The plan is computed from the profile before anything runs. A notebook is executed when one of its
stages has no fitting seal. Killed at any moment, the same command goes on where it stopped.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from qponder_lib import artifacts, paths, pipeline
from qponder_lib.config import Profile, dump_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import PlannedStage
from qponder_lib.runner import execution
from qponder_lib.runner.manifest import write_manifest
from qponder_lib.runner.progress import Progress, clock, shown

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_LOCKED = 75
EXIT_INTERRUPTED = 130


class Locked(RuntimeError):
    """Another runner works in the same run folder."""


class NotebookFailed(RuntimeError):
    """A notebook did not do what it declares."""


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        profile: The settings.
        paths: The run folder.
        redo: Stages to run again though they are done, and with them what depends on them.
        copies: Whether a notebook whose stages are all done is executed for its copy alone.
    """

    profile: Profile
    paths: RunPaths
    redo: tuple[str, ...] = ()
    copies: bool = True


@dataclass(frozen=True)
class PlannedNotebook:
    """A notebook file, its stages, and whether it has to be executed."""

    file: Path
    stages: tuple[PlannedStage, ...]
    execute: bool


def run(job: Job) -> int:
    """Bring a run folder up to date with a profile.

    Returns:
        The exit code: 0 done, 1 failed, 75 locked by another runner, 130 interrupted.
    """
    started = time.monotonic()
    try:
        with _run_lock(job.paths), _terminate_as_interrupt():
            return _run_locked(job, started)
    except Locked as error:
        print(error, file=sys.stderr)
        return EXIT_LOCKED
    except NotebookFailed as error:
        print(f"\nFAILED {error}", file=sys.stderr)
        print("The same command goes on from here.", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run_locked(job: Job, started: float) -> int:
    for name in pipeline.with_dependants(job.redo, job.profile):
        job.paths.seal(name).unlink(missing_ok=True)
    planned = pipeline.plan(job.profile, job.paths)
    print(describe_plan(planned, job), flush=True)
    notebooks = plan_notebooks(planned, job)
    todo = [notebook for notebook in notebooks if notebook.execute]
    if not todo:
        if not job.paths.manifest.exists():
            write_manifest(job.profile, job.paths, planned, "complete")
        if not (job.paths.report / "index.html").exists():
            _report(job.paths)
        print(f"nothing to do ({time.monotonic() - started:.1f} s)")
        return EXIT_OK
    job.paths.manifest.unlink(missing_ok=True)
    artifacts.write_text_atomic(job.paths.profile, dump_profile(job.profile))
    try:
        for number, notebook in enumerate(todo, start=1):
            print(f"\n[{number}/{len(todo)}] {notebook.file.name}", flush=True)
            _run_notebook(notebook, job)
    except KeyboardInterrupt:
        write_manifest(job.profile, job.paths, planned, "interrupted")
        raise
    except NotebookFailed:
        write_manifest(job.profile, job.paths, planned, "failed")
        raise
    write_manifest(job.profile, job.paths, planned, "complete")
    _report(job.paths)
    print(f"\ndone in {clock(time.monotonic() - started)}: {shown(job.paths.root)}", flush=True)
    return EXIT_OK


def plan_notebooks(planned: Sequence[PlannedStage], job: Job) -> list[PlannedNotebook]:
    """Group stages by the notebook that runs them.

    Raises:
        NotebookFailed: If a notebook file is missing or a number is used twice.
    """
    notebooks = []
    for number in sorted({entry.stage.notebook for entry in planned}):
        found = sorted(paths.notebooks_root().glob(f"{number}_*.ipynb"))
        if len(found) != 1:
            names = [file.name for file in found] or "none"
            raise NotebookFailed(f"expected one notebook {number}_*.ipynb, found {names}")
        mine = tuple(entry for entry in planned if entry.stage.notebook == number)
        no_copy = job.copies and not (job.paths.executed / found[0].name).exists()
        left = any(entry.state != "complete" for entry in mine)
        notebooks.append(PlannedNotebook(found[0], mine, left or no_copy))
    return notebooks


def describe_plan(planned: Sequence[PlannedStage], job: Job) -> str:
    """Return the plan as lines: stage, notebook, action, why."""
    width = max(len(entry.stage.name) for entry in planned)
    lines = [f"plan of {job.profile.name} in {shown(job.paths.root)}"]
    lines += [
        f"  {entry.stage.name:<{width}}  {entry.stage.notebook}  {entry.state:<8}  {entry.why}"
        for entry in planned
    ]
    return "\n".join(lines)


def _run_notebook(notebook: PlannedNotebook, job: Job) -> None:
    root = paths.repository_root()
    stem = notebook.file.stem
    partial = job.paths.executed / f"{stem}.partial.ipynb"
    copy = job.paths.executed / notebook.file.name
    try:
        parameters = execution.notebook_parameters(
            notebook.file,
            job.profile,
            profile_file=shown(job.paths.profile),
            run_dir=shown(job.paths.root),
        )
    except ValueError as error:
        raise NotebookFailed(str(error)) from error
    progress = Progress(stem, notebook.file)
    log_file = job.paths.logs / f"{stem}.log"
    outcome = execution.execute(notebook.file, partial, parameters, log_file, root, progress)
    progress.finish()
    if outcome.state == "completed":
        missing = _unsealed(notebook, job)
        if missing:
            outcome = execution.Outcome("failed", f"it left no seal of {missing}", outcome.seconds)
    if outcome.state != "completed":
        if partial.exists():
            os.replace(partial, job.paths.logs / f"{stem}.failed.ipynb")
        raise NotebookFailed(
            f"{notebook.file.name}: {outcome.state}: {outcome.message}\n"
            f"log: {shown(log_file)}, notebook: {shown(job.paths.logs / f'{stem}.failed.ipynb')}"
        )
    os.replace(partial, copy)
    for entry in notebook.stages:
        if entry.stage.only_shows:
            pipeline.seal_stage(job.paths, entry.stage, {}, [copy], outcome.seconds)
    print(f"  completed in {clock(outcome.seconds)}", flush=True)


def _report(run_paths: RunPaths) -> None:
    from qponder_lib.report.page import write_report  # pandas, which a plan does not need

    try:
        write_report(run_paths)
    except (ValueError, OSError) as error:
        raise NotebookFailed(f"the stages are done, but not the report: {error}") from error


def _unsealed(notebook: PlannedNotebook, job: Job) -> list[str]:
    """Name the declared stages that the notebook did not seal with the planned key."""
    missing = []
    for entry in notebook.stages:
        seal = artifacts.read_seal(job.paths.seal(entry.stage.name))
        if not entry.stage.only_shows and (seal is None or seal.key != entry.key):
            missing.append(entry.stage.name)
    return missing


# ---- locks and signals


@contextmanager
def _run_lock(run_paths: RunPaths) -> Iterator[None]:
    """Hold the run folder; the system frees it when the process dies, however it dies."""
    run_paths.root.mkdir(parents=True, exist_ok=True)
    lock = artifacts.OwnedLock(run_paths.lock)
    try:
        lock.acquire()
    except artifacts.HeldError as error:
        raise Locked(f"{shown(run_paths.root)} is locked by {error}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Schedulers end jobs with SIGTERM; end the notebook as Ctrl-C would."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""Plan a run, execute the notebooks that have something left to do, check, record.

The plan is computed from the profile before anything runs. A notebook is executed when one of its
stages is not complete. Killed at any moment, the same command goes on where it stopped.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from qponder_lib import __version__, artifacts, paths, pipeline
from qponder_lib.config import Profile, dump_profile
from qponder_lib.paths import RunPaths, shown
from qponder_lib.pipeline import PlannedStage
from qponder_lib.runner import notebooks
from qponder_lib.runner.notebooks import NotebookFailed, clock

EXIT_OK, EXIT_FAILED, EXIT_LOCKED, EXIT_INTERRUPTED = 0, 1, 75, 130
_EXPENSIVE = ("distill", "sft", "grpo", "predict", "judge")
_GOES_ON = "The same command goes on from here."


def run(
    profile: Profile,
    folder: RunPaths,
    *,
    redo: Sequence[str] = (),
    copies: bool = True,
    first: str | None = None,
    last: str | None = None,
) -> int:
    """Bring a run folder up to date with a profile.

    Args:
        profile: The settings.
        folder: The run folder.
        redo: Stages to run again though they are complete, and with them what depends on them.
        copies: Whether a notebook whose stages are all complete is executed for its copy alone.
        first: Stage with whose notebook it begins; None for the first one.
        last: Stage with whose notebook it ends; None for the last one.

    Returns:
        The exit code: 0 done, 1 failed, 75 locked by another runner, 130 interrupted.

    Raises:
        OSError: If the folder cannot be written, or the disk is full.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    try:
        with artifacts.OwnedLock(folder.lock), _terminate_as_interrupt():
            _bring_up_to_date(profile, folder, redo, copies, first, last)
    except artifacts.HeldError as error:
        print(f"{shown(folder.root)} is locked by {error}", file=sys.stderr)
        return EXIT_LOCKED
    except NotebookFailed as error:
        print(f"\nFAILED {error}\n{_GOES_ON}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_GOES_ON}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK


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


def _bring_up_to_date(
    profile: Profile,
    folder: RunPaths,
    redo: Sequence[str],
    copies: bool,
    first: str | None,
    last: str | None,
) -> None:
    started = time.monotonic()
    for name in pipeline.with_dependants(redo, profile):
        folder.record(name).unlink(missing_ok=True)
    planned = pipeline.plan(profile, folder)
    print(f"plan of {profile.name} in {shown(folder.root)}\n{describe_plan(planned)}", flush=True)
    begin, end = (one and pipeline.stage_named(one, profile).notebook for one in (first, last))
    within = [one for one in planned if (begin or "") <= one.stage.notebook <= (end or "99")]
    todo = _notebooks_to_execute(within, folder, copies)
    state = "failed" if todo else "complete"
    if todo:
        folder.manifest.unlink(missing_ok=True)
        artifacts.write_text_atomic(folder.profile, dump_profile(profile))
    try:
        for number, (notebook, stages) in enumerate(todo, start=1):
            print(f"\n[{number}/{len(todo)}] {notebook.name}", flush=True)
            _stop_unless_ready(profile, folder, stages)
            seconds = execute_notebook(notebook, profile, folder, shown(folder.profile), stages)
            print(f"  completed in {clock(seconds)}", flush=True)
        state = "complete" if within == planned else f"partial: {first or ''} to {last or ''}"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        if todo or not folder.manifest.exists():
            _write_manifest(profile, folder, planned, state)
    if within == planned and (todo or not (folder.report / "index.html").exists()):
        _write_report(folder)
    said = f"done: {shown(folder.root)}" if todo else "nothing to do"
    print(f"\n{said} ({clock(time.monotonic() - started)})", flush=True)


def _stop_unless_ready(profile: Profile, folder: RunPaths, stages: Sequence[PlannedStage]) -> None:
    """Look, before hours are spent, for what the stages of a notebook need.

    Raises:
        NotebookFailed: If something is not there; the message says what to do.
    """
    asks = profile.distill.teacher == "server" or profile.judge.base_urls
    asks = asks or profile.predict.base_url
    undone = [one.stage for one in stages if one.state != "complete"]
    dear = [one for one in undone if one.name.split("-")[0] in _EXPENSIVE]
    if not dear or not (asks or profile.launch.processes > 1):
        return
    from qponder_lib.gpu import ready  # torch, which other profiles do not need here

    if found := ready.problems(profile, folder, dear):
        lines = [f"{one.check}: {one.said}\n  do: {one.remedy}" for one in found]
        raise NotebookFailed("\n".join(["is not begun", *lines]))


def describe_plan(planned: Sequence[PlannedStage]) -> str:
    """Return a plan as lines: stage, notebook, state, why."""
    width = max(len(entry.stage.name) for entry in planned)
    return "\n".join(
        f"  {entry.stage.name:<{width}}  {entry.stage.notebook}  {entry.state:<8}  {entry.why}"
        for entry in planned
    )


def _notebooks_to_execute(
    planned: Sequence[PlannedStage], folder: RunPaths, copies: bool
) -> list[tuple[Path, list[PlannedStage]]]:
    """Return notebooks in their order, each with its stages.

    Raises:
        NotebookFailed: If a notebook file is missing or a number is used twice.
    """
    todo = []
    for number in sorted({entry.stage.notebook for entry in planned}):
        file = notebook_numbered(number)
        stages = [entry for entry in planned if entry.stage.notebook == number]
        no_copy = copies and not (folder.executed / file.name).exists()
        if no_copy or any(entry.state != "complete" for entry in stages):
            todo.append((file, stages))
    return todo


def notebook_numbered(number: str) -> Path:
    """Return the notebook file of a number, such as `03`.

    Raises:
        NotebookFailed: If there is none, or more than one.
    """
    found = sorted(paths.notebooks_root().glob(f"{number}_*.ipynb"))
    if len(found) != 1:
        names = [file.name for file in found] or "none"
        raise NotebookFailed(f"expected one notebook {number}_*.ipynb, found {names}")
    return found[0]


def execute_notebook(
    notebook: Path,
    profile: Profile,
    folder: RunPaths,
    profile_file: str,
    stages: Sequence[PlannedStage] = (),
) -> float:
    """Execute a notebook for a run into its `executed/`.

    Args:
        notebook: What to execute.
        profile: The settings that it gets as parameters.
        folder: The run folder.
        profile_file: Name or path of the profile, for the notebook to read.
        stages: What it has to complete, or the stage that its executed copy is.

    Returns:
        How long it took, seconds.

    Raises:
        NotebookFailed: If it declares other parameters, did not reach its end or left a stage
            undone; its copy is then in `logs/`.
    """
    partial = folder.executed / f"{notebook.stem}.partial.ipynb"
    failed = folder.logs / f"{notebook.stem}.failed.ipynb"
    log_file = folder.logs / f"{notebook.stem}.log"
    try:
        parameters = notebooks.parameters_of(
            notebook, profile, profile_file=profile_file, run_dir=shown(folder.root)
        )
    except ValueError as error:
        raise NotebookFailed(str(error)) from error
    try:
        seconds = notebooks.execute(
            notebook, partial, parameters, log_file, paths.repository_root()
        )
        undone = [entry.stage.name for entry in stages if not _is_done(entry, folder)]
        if undone:
            raise NotebookFailed(f"failed: it left {', '.join(undone)} undone")
    except NotebookFailed as error:
        if partial.exists():
            os.replace(partial, failed)
        where = f"log: {shown(log_file)}, notebook: {shown(failed)}"
        raise NotebookFailed(f"{notebook.name}: {error}\n{where}") from None
    copy = folder.executed / notebook.name
    os.replace(partial, copy)
    notebooks.relink(copy, paths.repository_root())
    for entry in stages:
        if entry.stage.only_shows:
            pipeline.record_stage(folder, entry.stage, {}, [copy], seconds)
    return seconds


def _is_done(entry: PlannedStage, folder: RunPaths) -> bool:
    """Tell whether a notebook completed a stage with the planned key."""
    record = artifacts.read_record(folder.record(entry.stage.name))
    return entry.stage.only_shows or (record is not None and record.key == entry.key)


def _write_report(folder: RunPaths) -> None:
    from qponder_lib.report.page import write_report  # pandas, which a plan does not need

    try:
        write_report(folder)
    except ValueError as error:
        raise NotebookFailed(f"the stages are done, but not the report: {error}") from error


def _write_manifest(
    profile: Profile, folder: RunPaths, planned: Sequence[PlannedStage], state: str
) -> None:
    """Write what ran, from which code and settings, on what machine, and how it ended."""
    entries = []
    for entry in planned:
        record = artifacts.read_record(folder.record(entry.stage.name))
        done = record if record is not None and record.key == entry.key else None
        entries.append(
            {
                "name": entry.stage.name,
                "notebook": entry.stage.notebook,
                "key": entry.key,
                "state": entry.state,
                "why": entry.why,
                "done": done is not None,
                "seconds": done.seconds if done else None,
                "created": done.created if done else None,
            }
        )
    manifest = {
        "exit_state": state,
        "written": artifacts.now(),
        "kit": {"version": __version__, **_git()},
        "profile": profile,
        "stages": entries,
        "versions": artifacts.package_versions(),
        "machine": _machine(),
    }
    artifacts.write_json(folder.manifest, manifest)


def _machine() -> dict[str, object]:
    """Describe what rounding depends on: processor, instruction set of torch's kernels, threads."""
    import torch  # not before there is a run to describe

    listed = Path("/proc/cpuinfo")  # Linux; elsewhere platform knows the processor
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "system": platform.platform(),
        "architecture": platform.machine(),
        "cpu": models[0] if models else platform.processor(),
        "cpu_count": os.cpu_count(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _git() -> dict[str, object]:
    def ask(*words: str) -> str:
        command = ["git", "-C", str(paths.repository_root()), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None, "reason": "not a git clone, or git is missing"}

"""Trains a stage in this process, or hands over to as many processes as the profile says.

Nothing of a launcher is written here: several processes are started by ``torchrun`` or, where the
model is shared out, by ``accelerate launch``; each runs

    python -m qponder_lib.training.launch STAGE --config PROFILE

By itself this trains here, or starts as many as the profile says; under ``torchrun`` or
``accelerate launch`` it is one of them. Either way ``qponder run`` finds the stage complete.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from qponder_lib.artifacts import write_text_atomic
from qponder_lib.config import LaunchConfig, dump_profile, load_profile
from qponder_lib.paths import RunPaths, instead, repository_root, runs_root, safe_name
from qponder_lib.pipeline import Run, stage_run
from qponder_lib.training import grpo, sft
from qponder_lib.training.checkpoints import Training, sharded, world_size

MODULE = "qponder_lib.training.launch"
_FAILED, _USAGE = 1, 2
_PATIENCE_S = 45.0  # torchrun gives its processes 30 s to end
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_LINES_TOLD = 12
_OWN_ERROR = "Error: "


def train(run: Run, stage: str, work: Path) -> Path:
    """Train a stage here, if one process is asked for or this is one of several, else hand over.

    Args:
        run: Profile and folder.
        stage: Such as "sft-long" or "grpo-qponder".
        work: Folder for checkpoints, of a stage that the caller holds.

    Returns:
        The model folder.

    Raises:
        ValueError: If no such stage trains, or there are more or fewer processes than the profile
            says.
        ChildProcessError: If the processes end with an error; the message ends with what they said.
    """
    training = training_of(run, stage)
    if run.profile.launch.processes > 1 and not launched():
        return hand_over(run, training, work)
    check_processes(run.profile.launch)
    trainer = sft if stage.startswith("sft-") else grpo
    return trainer.train(run, training, work)


def training_of(run: Run, stage: str) -> Training:
    """Return what a stage trains. Raises ValueError if it trains nothing."""
    known = {one.stage: one for one in (*sft.trainings(run), *grpo.trainings(run))}
    if stage not in known:
        raise ValueError(f"no stage {stage!r} that trains{instead(stage, known)}")
    return known[stage]


def launched() -> bool:
    """Tell whether a launcher started this process."""
    return "LOCAL_RANK" in os.environ


def check_processes(launch: LaunchConfig) -> None:
    """Raise ValueError if other processes train, or share otherwise, than the profile says."""
    there = world_size()
    if launch.processes != there:
        raise ValueError(
            f"launch.processes is {launch.processes}, but the number of processes started is "
            f"{there}: a batch, and so the trained model, depends on it; start as many, or change "
            "the profile"
        )
    if launch.accelerate and not sharded():
        raise ValueError(
            f"launch.accelerate is {launch.accelerate!r}, but the processes share nothing out: "
            "start them by `accelerate launch --config_file` with that file, not by torchrun"
        )


def hand_over(run: Run, training: Training, work: Path) -> Path:
    """Start the processes that train, show what they print, and wait for their end.

    The command and the log go to ``logs/<stage>.log`` too. An interrupt here is passed on, and the
    processes have ended when it is raised again. Arguments and errors as in `train`.
    """
    config = work / "profile.yaml"
    write_text_atomic(config, dump_profile(run.profile))
    arguments = ["--config", str(config), "--run-dir", str(run.paths.root), "--work", str(work)]
    command = launch_command(run.profile.launch, [training.stage, *arguments])
    log_file = run.paths.logs / f"{training.stage}.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    last: list[str] = []
    with log_file.open("a", encoding="utf-8") as log:

        def show(line: str) -> None:
            print(line, flush=True)
            log.write(line + "\n")
            last.append(line)
            del last[:-200]

        show(shlex.join(command))
        code = follow(command, show)
    if code:
        errors = [line for line in last if _OWN_ERROR in line]
        said = errors[0] if errors else "\n".join(last[-_LINES_TOLD:])
        raise ChildProcessError(
            f"{training.stage} in {run.profile.launch.processes} processes ended with exit code "
            f"{code}; log: {log_file}\n{said}"
        )
    return training.folder


def launch_command(launch: LaunchConfig, arguments: list[str]) -> list[str]:
    """Return the command that starts a training in the stated number of processes.

    Args:
        launch: Number of processes, and the file for ``accelerate``.
        arguments: The stage and its options.

    Example:
        >>> launch_command(LaunchConfig(processes=2), ["sft-long", "--config", "mini"])[1:6]
        ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    """
    count = str(launch.processes)
    if launch.accelerate:
        file = str(accelerate_file(launch.accelerate))
        starter = ["accelerate.commands.launch", "--config_file", file, "--num_processes", count]
        starter += ["--main_process_port", "0"]  # any free one
    else:
        starter = ["torch.distributed.run", "--standalone", "--nproc_per_node", count]
    return [sys.executable, "-m", *starter, "-m", MODULE, *arguments]


def accelerate_file(name: str) -> Path:
    """Return a file for ``accelerate``: a name in `papermill_runs/accelerate`, or a path to YAML.

    Raises:
        FileNotFoundError: If there is none; the message lists the files there are.
    """
    folder = runs_root() / "accelerate"
    is_path = name.endswith((".yaml", ".yml"))
    file = repository_root() / name if is_path else folder / f"{safe_name(name)}.yaml"
    if not file.is_file():
        known = [one.stem for one in sorted(folder.glob("*.yaml"))]
        raise FileNotFoundError(f"launch.accelerate: no {name!r} at {file}{instead(name, known)}")
    return file


def follow(command: list[str], show: Callable[[str], None]) -> int:
    """Run a command to its end and show its lines; an interrupt is passed on first.

    Returns:
        Its exit code, negative for a signal.
    """
    package = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([package, *filter(None, known)])
    process = subprocess.Popen(
        command,
        cwd=repository_root(),
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
        preexec_fn=_prepare,
    )
    try:
        for line in process.stdout or ():
            show(line.rstrip("\n"))
        return process.wait()
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[str]) -> None:
    """Interrupt the launcher, which ends its processes; they are not of its process group."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(sign)
            try:
                process.wait(timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue


def _prepare() -> None:
    """In the launcher: take interrupts, which a background job ignores, and end with the parent.

    On Linux a killed notebook ends the launcher, by a signal that lets it end its processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 done, 1 failed, 2 usage error."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("stage", help="such as sft-long or grpo-qponder")
    parser.add_argument("--config", required=True, help="name or path of a profile")
    parser.add_argument("--run-dir", help="run folder; default: papermill_runs/<profile>")
    parser.add_argument(
        "--work", type=Path, help="for checkpoints, of a stage that the caller holds and completes"
    )
    given = parser.parse_args(arguments)
    try:
        profile = load_profile(given.config)
        at = RunPaths.at(given.run_dir) if given.run_dir else RunPaths.named(profile.name)
        run = Run(at, profile)
        training_of(run, given.stage)
        if launched():
            check_processes(profile.launch)
    except (FileNotFoundError, ValueError) as error:
        print(f"qponder: {error}", file=sys.stderr)
        return _USAGE
    state = None
    if launched():
        # A disk that takes long over a checkpoint must not look like a process that is lost.
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=2))
    try:
        if given.work is not None:
            train(run, given.stage, given.work)
            return 0
        return _whole_stage(run, given.stage, state)
    except ChildProcessError as error:
        print(f"qponder: {error}", file=sys.stderr)
        return _FAILED
    finally:
        if state is not None:
            state.destroy_process_group()


def _whole_stage(run: Run, stage: str, state: PartialState | None) -> int:
    """Train and complete a stage; of several processes, the first alone holds it."""
    with ExitStack() as held:
        holder = None
        if state is None or state.is_main_process:
            try:
                holder = held.enter_context(stage_run(run, stage))
            except (FileNotFoundError, RuntimeError) as error:
                print(f"qponder: {error}", file=sys.stderr)
                return _USAGE
        told = [(holder.done, holder.work) if holder is not None else None]
        if state is not None:
            broadcast_object_list(told)
        done, work = told[0]
        made = None if done else train(run, stage, work)
        if holder is not None:
            holder.outputs(*filter(None, [made]))
            print(f"{stage}: {'was complete' if done else 'complete'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Trains in this process, or hands over to as many processes as the profile says.

Nothing of a launcher is written here: several processes are started by ``torchrun`` or, where the
model is shared out, by ``accelerate launch``; each runs ``python -m qponder_lib.training``.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from qponder_lib import paths
from qponder_lib.artifacts import write_text_atomic
from qponder_lib.config import LaunchConfig, dump_profile
from qponder_lib.paths import repository_root, runs_root
from qponder_lib.pipeline import Run
from qponder_lib.training import grpo as grpo_training
from qponder_lib.training import sft as sft_training
from qponder_lib.training.checkpoints import world_size
from qponder_lib.training.phases import Phase, phases

MODULE = "qponder_lib.training"
_PATIENCE_S = 45.0  # torchrun gives its processes 30 s to end
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_LINES_TOLD = 12
_OWN_ERROR = "Error: "


class LaunchError(RuntimeError):
    """The processes that were started to train ended with an error."""


@dataclass(frozen=True)
class Training:
    """One training of a run: a variant of the cold start, or a phase of reinforcement learning."""

    kind: Literal["sft", "grpo"]
    name: str

    @property
    def stage(self) -> str:
        """Return the name of the stage in the graph."""
        return f"{self.kind}-{self.name}"


def sft(run: Run, variant: str, work: Path) -> Path:
    """Fine-tune one variant, here or in several processes. Arguments as in `sft.train`."""
    return train(run, Training("sft", variant), work)


def grpo(run: Run, work: Path, phase: Phase | None = None) -> Path:
    """Train one phase, here or in several processes. Arguments as in `grpo.train`."""
    return train(run, Training("grpo", (phase or phases(run)[-1]).name), work)


def train(run: Run, training: Training, work: Path) -> Path:
    """Train here, if one process is asked for or this is one of several, else hand over."""
    several = run.profile.launch.processes > 1 and not launched()
    return hand_over(run, training, work) if several else train_here(run, training, work)


def launched() -> bool:
    """Tell whether a launcher started this process."""
    return "LOCAL_RANK" in os.environ


def train_here(run: Run, training: Training, work: Path) -> Path:
    """Train in this process, which may be one of several.

    Raises:
        ValueError: If there are more or fewer processes than the profile says, or no such phase.
    """
    check_processes(run.profile.launch)
    if training.kind == "sft":
        return sft_training.train(run, training.name, work)
    known = {phase.name: phase for phase in phases(run)}
    if training.name not in known:
        raise ValueError(f"no phase {training.name!r} of GRPO; there are {', '.join(known)}")
    return grpo_training.train(run, work, known[training.name])


def check_processes(launch: LaunchConfig) -> None:
    """Raise ValueError if more or fewer processes train together than the profile says."""
    there = world_size()
    if launch.processes != there:
        raise ValueError(
            f"launch.processes is {launch.processes}, but the number of processes started is "
            f"{there}: a batch, and so the trained model, depends on it; start as many, or change "
            "the profile"
        )


def hand_over(run: Run, training: Training, work: Path) -> Path:
    """Start the processes that train, show what they print, and wait for their end.

    The command and the log go to ``logs/<stage>.log`` too. An interrupt here is passed on, and the
    processes have ended when it is raised again.

    Args:
        run: Profile and folder.
        training: What to train.
        work: Folder for checkpoints, of a stage that the caller holds.

    Returns:
        The model folder.

    Raises:
        FileNotFoundError: If there is no such file for ``accelerate``.
        LaunchError: If the processes end with an error; the message ends with what they said.
    """
    config = work / "profile.yaml"
    write_text_atomic(config, dump_profile(run.profile))
    arguments = ["--config", str(config), "--run-dir", str(run.paths.root)]
    arguments += ["--variant" if training.kind == "sft" else "--phase", training.name]
    command = launch_command(run.profile.launch, training.kind, [*arguments, "--work", str(work)])
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
        raise LaunchError(
            f"{training.stage} in {run.profile.launch.processes} processes ended with exit code "
            f"{code}; log: {log_file}\n{_told(last)}"
        )
    return run.paths.sft(training.name) if training.kind == "sft" else run.paths.grpo(training.name)


def launch_command(launch: LaunchConfig, kind: str, arguments: list[str]) -> list[str]:
    """Return the command that starts a training in the stated number of processes.

    Args:
        launch: Number of processes, and the file for ``accelerate``.
        kind: "sft" or "grpo".
        arguments: What follows it.

    Example:
        >>> launch_command(LaunchConfig(processes=2), "sft", ["--config", "mini"])[1:6]
        ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    """
    count = str(launch.processes)
    if launch.accelerate:
        file = str(accelerate_file(launch.accelerate))
        starter = ["accelerate.commands.launch", "--config_file", file, "--num_processes", count]
        starter += ["--main_process_port", "0"]  # any free one
    else:
        starter = ["torch.distributed.run", "--standalone", "--nproc_per_node", count]
    return [sys.executable, "-m", *starter, "-m", MODULE, kind, *arguments]


def accelerate_file(name: str) -> Path:
    """Return a file for ``accelerate``: a name in `papermill_runs/accelerate`, or a path to YAML.

    Raises:
        FileNotFoundError: If there is none; the message lists the files there are.
    """
    folder = runs_root() / "accelerate"
    is_path = name.endswith((".yaml", ".yml"))
    file = repository_root() / name if is_path else folder / f"{paths.safe_name(name)}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
        raise FileNotFoundError(f"launch.accelerate: no {name!r} at {file}; there are {known}")
    return file


def follow(command: list[str], show: Callable[[str], None]) -> int:
    """Run a command to its end and show its lines; an interrupt is passed on first.

    Returns:
        Its exit code, negative for a signal.
    """
    package = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([package, *filter(None, known)]),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        command,
        cwd=repository_root(),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
        preexec_fn=_prepare,
    )
    try:
        _copy(process.stdout, show)
        return process.wait()
    except BaseException:
        _end(process)
        raise


def _copy(lines: IO[str] | None, show: Callable[[str], None]) -> None:
    for line in lines or ():
        show(line.rstrip("\n"))


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


def _told(lines: list[str]) -> str:
    """The first error that a process named, or else the last lines."""
    errors = [line for line in lines if _OWN_ERROR in line]
    return errors[0] if errors else "\n".join(lines[-_LINES_TOLD:])

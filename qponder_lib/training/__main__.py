"""Trains one stage of a run: ``python -m qponder_lib.training sft|grpo --config PROFILE``.

By itself it trains in this process, or starts as many as the profile says. Under ``torchrun`` or
``accelerate launch`` it is one of them. Either way the stage is sealed at the end, so that
``qponder run`` finds it done.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from qponder_lib.config import load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run, stage_named, stage_run
from qponder_lib.training import launch
from qponder_lib.training.launch import Training
from qponder_lib.training.phases import phases

_FAILED = 1
_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 done, 1 failed, 2 usage error."""
    given = _parser().parse_args(arguments)
    try:
        profile = load_profile(given.config)
        at = RunPaths.at(given.run_dir) if given.run_dir else RunPaths.named(profile.name)
        run = Run(at, profile)
        name = given.variant or profile.grpo.start_from if given.kind == "sft" else given.phase
        training = Training(given.kind, name or phases(run)[-1].name)
        stage_named(training.stage, profile)
        if launch.launched():
            launch.check_processes(profile.launch)
    except (FileNotFoundError, ValueError) as error:
        return _refuse(error)
    state = PartialState(cpu=not torch.cuda.is_available()) if launch.launched() else None
    try:
        if given.work is not None:
            launch.train(run, training, given.work)
            return 0
        return _whole_stage(run, training, state)
    except launch.LaunchError as error:
        print(f"qponder: {error}", file=sys.stderr)
        return _FAILED
    finally:
        if state is not None:
            state.destroy_process_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {launch.MODULE}", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, option, said in (
        ("sft", "--variant", "reasoning in the answers; default: grpo.start_from"),
        ("grpo", "--phase", "folder below grpo/; default: the last phase"),
    ):
        one = kinds.add_parser(kind)
        one.add_argument("--config", required=True, help="name or path of a profile")
        one.add_argument("--run-dir", help="run folder; default: papermill_runs/<profile>")
        one.add_argument(option, help=said)
        one.add_argument(
            "--work", type=Path, help="for checkpoints, of a stage that the caller holds and seals"
        )
    return parser


def _whole_stage(run: Run, training: Training, state: PartialState | None) -> int:
    """Train and seal; of several processes, the first alone holds the stage."""
    with ExitStack() as held:
        stage = None
        if state is None or state.is_main_process:
            try:
                stage = held.enter_context(stage_run(run, training.stage))
            except (FileNotFoundError, RuntimeError) as error:
                return _refuse(error)
        told = [(stage.done, stage.work) if stage is not None else None]
        if state is not None:
            broadcast_object_list(told)
        done, work = told[0]
        made = None if done else launch.train(run, training, work)
        if stage is not None:
            stage.outputs(*filter(None, [made]))
            print(f"{training.stage}: {'was done' if done else 'done'}", flush=True)
    return 0


def _refuse(error: Exception) -> int:
    print(f"qponder: {error}", file=sys.stderr)
    return _USAGE


if __name__ == "__main__":
    sys.exit(main())

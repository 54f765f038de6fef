"""Checkpoints that a killed run can trust.

A checkpoint counts only when a seal with the hash of every file was written after it. The seal
also says what the run was: settings, data, start and number of processes. Resuming loads the
weights with ``from_pretrained`` before the trainer restores optimizer, schedule, data order and
random state: transformers 5 restores full Qwen2.5-VL weights under other names than it saves
them, and says so only in a log line.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qponder_lib.artifacts import digest, file_sha256, read_seal, seal_folder, verify_seal
from qponder_lib.config import GrpoConfig, SftConfig
from qponder_lib.pipeline import Run

log = logging.getLogger(__name__)

SEAL = "SEALED.json"
_REFERENCE = "ref"
_THREADS = "threads"


class SealCheckpoints(TrainerCallback):
    """Seals every checkpoint once all of its files are there.

    Args:
        identity: What the run is, from `run_identity`.
    """

    def __init__(self, identity: Mapping[str, Any] | None = None) -> None:
        self.identity = dict(identity or {})

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **given: Any,
    ) -> None:
        """Called by the trainer, in every process, after it wrote a checkpoint.

        Raises:
            ValueError: If a weight is not a number; the checkpoint stays without a seal.
        """
        check_finite(given.get("model"), state.global_step)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every process writes a random state of its own
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not (state.is_world_process_zero and folder.is_dir()):
            return
        # Beside TRL's frozen copy of an adapter, transformers would not restore the trained one.
        shutil.rmtree(folder / _REFERENCE, ignore_errors=True)
        seal_folder(
            folder,
            stage="checkpoint",
            key=str(state.global_step),
            config={**self.identity, _THREADS: torch.get_num_threads()},
            seconds=0.0,
        )


def check_finite(model: torch.nn.Module | None, step: int) -> None:
    """Raise ValueError if a trained weight is not a finite number."""
    for name, weight in model.named_parameters() if model is not None else ():
        if weight.requires_grad and not bool(torch.isfinite(_own_part(weight)).all()):
            raise ValueError(
                f"{name} is not finite after step {step}: lower the learning rate, or use "
                "bfloat16 in place of float16; the last sealed checkpoint is from before"
            )


def _own_part(weight: torch.Tensor) -> torch.Tensor:
    """What this process holds of a weight that FSDP2 or ZeRO-3 shares out over all."""
    part = getattr(weight, "ds_tensor", weight)
    return part.to_local() if isinstance(part, DTensor) else part


def run_identity(
    run: Run, section: SftConfig | GrpoConfig, start: Path | None, rows: Sequence[Path]
) -> dict[str, Any]:
    """What must not change between a run and its resumption.

    Args:
        run: Profile and folder.
        section: The trainer's settings.
        start: Folder the training starts from, or None for the base weights.
        rows: Files of the rows that are trained on; the rows of images hold their hashes.

    Returns:
        Settings of trainer and student by name, digests of data and start, and the number of
        processes.
    """
    seal = read_seal(start) if start is not None else None
    stated = section.model_dump(mode="json")
    return {
        **{f"training.{name}": value for name, value in stated.items()},
        **{
            f"student.{name}": value
            for name, value in run.profile.student.model_dump(mode="json").items()
        },
        "data": digest({"rows": [file_sha256(path) for path in rows]}),
        "start": digest(_weights(seal.outputs)) if seal else str(start),
        "processes": world_size(),
    }


def world_size() -> int:
    """Number of processes that train together, as torchrun and accelerate launch state it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _weights(outputs: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in outputs.items() if name.endswith(".safetensors")}


def last_checkpoint(work: Path, identity: Mapping[str, Any] | None = None) -> Path | None:
    """The newest checkpoint in a folder that is complete, undamaged and of this run.

    Later ones that are incomplete or damaged are passed over, with a warning that says why; so is
    another number of threads warned of, with which the run does not end in the very same weights.

    Args:
        work: Folder of the checkpoints.
        identity: What the run is, from `run_identity`; None resumes from any.

    Returns:
        The checkpoint's folder, or None if there is none to trust.

    Raises:
        ValueError: If the checkpoint is of a run with other settings, data or processes.
    """
    steps = {
        int(folder.name.removeprefix("checkpoint-")): folder
        for folder in work.glob("checkpoint-*")
        if folder.name.removeprefix("checkpoint-").isdecimal()
    }
    for step in sorted(steps, reverse=True):
        folder = steps[step]
        if not (folder / SEAL).is_file():
            log.warning("%s has no seal: the run was killed while it was written", folder)
            continue
        problems = verify_seal(folder / SEAL, folder)
        if not problems:
            _check_same_run(folder, identity)
            return folder
        log.warning("%s is damaged and not used: %s", folder, problems[0])
    return None


def _check_same_run(folder: Path, identity: Mapping[str, Any] | None) -> None:
    seal = read_seal(folder)
    if identity is None or seal is None:
        return
    was = dict(seal.config)
    threads = was.pop(_THREADS, torch.get_num_threads())
    changed = [
        f"{name} {was.get(name)!r} -> {identity.get(name)!r}"
        for name in sorted({*was, *identity})
        if was.get(name) != identity.get(name)
    ]
    if changed:
        raise ValueError(
            f"{folder} is of another run: {', '.join(changed)}. Resumed, it would be neither; "
            f"restore what was, or remove {folder.parent} to start again"
        )
    if threads != torch.get_num_threads():
        log.warning(
            "%s was written with %s threads and goes on with %d: sums are taken in another order, "
            "so the weights will differ in their last digits from an uninterrupted run's; "
            "OMP_NUM_THREADS=%s repeats it",
            folder,
            threads,
            torch.get_num_threads(),
            threads,
        )

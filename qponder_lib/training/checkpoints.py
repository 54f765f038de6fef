"""What a training starts from, what a killed one resumes from, and what it leaves behind.

A checkpoint counts only when it is complete: its record, with the hash of every file, was written
after it. The record also says what the run was: settings, data, start and number of processes.
Resuming loads the weights with ``from_pretrained`` before the trainer restores optimizer, schedule,
data order and random state: transformers 5 restores full Qwen2.5-VL weights under other names than
it saves them, and says so only in a log line.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel
from torch.distributed.tensor import DTensor
from transformers import Trainer

from qponder_lib.artifacts import (
    RECORD_NAME,
    digest,
    file_sha256,
    read_record,
    record_folder,
    verify_record,
    write_csv,
)
from qponder_lib.config import GrpoConfig, Section, SftConfig
from qponder_lib.pipeline import Run, stage_keys
from qponder_lib.student.model import Student, base_of, load_to_train, note_base

log = logging.getLogger(__name__)

THREADS = "threads"


@dataclass(frozen=True)
class Training:
    """One training of a run.

    Attributes:
        stage: Its name in the graph, such as "sft-long".
        settings: Sections that decide its result; "student", "training" and whatever else does.
        start: Model folder that it starts from; None for the base weights.
        folder: Model folder that it leaves behind.
        files: Files of the rows it is trained on; the rows of images hold their hashes.
        dataset: Makes the rows in the form that TRL takes.
        prompt_id: What its completions are asked for.
        penalise_spread: Its reward deducts the std penalty, as in stage 1 of PreResQ-R1.
    """

    stage: str
    settings: Mapping[str, Section]
    start: Path | None
    folder: Path
    files: Sequence[Path]
    dataset: Callable[[], Dataset]
    prompt_id: str
    penalise_spread: bool = False

    @property
    def config(self) -> SftConfig | GrpoConfig:
        """Its own settings."""
        return self.settings["training"]


def identity(training: Training) -> dict[str, Any]:
    """What must not change between a run and its resumption.

    Returns:
        Settings by section and name, digests of data and start, and the number of processes.
    """
    record = read_record(training.start) if training.start is not None else None
    weights = (
        {k: v for k, v in record.outputs.items() if k.endswith(".safetensors")} if record else {}
    )
    return {
        **{
            f"{section}.{name}": value
            for section, stated in training.settings.items()
            for name, value in stated.model_dump(mode="json").items()
        },
        "data": digest({"rows": [file_sha256(path) for path in training.files]}),
        "start": digest(weights) if record else str(training.start),
        "processes": world_size(),
    }


def world_size() -> int:
    """Number of processes that train together, as torchrun and accelerate launch state it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def last_checkpoint(work: Path, identity: Mapping[str, Any] | None = None) -> Path | None:
    """The newest checkpoint in a folder that is complete, undamaged and of this run.

    Later ones that are incomplete or damaged are passed over, with a warning that says why; so is
    another number of threads warned of, with which the run does not end in the very same weights.

    Args:
        work: Folder of the checkpoints.
        identity: What the run is; None resumes from any.

    Returns:
        The checkpoint's folder, or None if there is none to trust.

    Raises:
        ValueError: If the checkpoint is of a run with other settings, data or processes.
    """
    for _, folder in sorted(checkpoints(work).items(), reverse=True):
        problem = problem_of(folder)
        if problem is None:
            _check_same_run(folder, identity)
            return folder
        log.warning("%s is not used: %s", folder, problem)
    return None


def checkpoints(work: Path) -> dict[int, Path]:
    """Return the checkpoints of a folder by their steps, complete or not."""
    found = {one.name.removeprefix("checkpoint-"): one for one in work.glob("checkpoint-*")}
    return {int(step): one for step, one in sorted(found.items()) if step.isdecimal()}


def problem_of(checkpoint: Path) -> str | None:
    """Say why a checkpoint cannot be trusted, or None if it can."""
    if not (checkpoint / RECORD_NAME).is_file():
        return "it has no record: the run was killed while it was written"
    problems = verify_record(checkpoint / RECORD_NAME, checkpoint)
    return f"it is damaged: {problems[0]}" if problems else None


def _check_same_run(folder: Path, identity: Mapping[str, Any] | None) -> None:
    record = read_record(folder)
    if identity is None or record is None:
        return
    was = dict(record.config)
    threads = was.pop(THREADS, torch.get_num_threads())
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


def check_finite(model: torch.nn.Module | None, step: int) -> None:
    """Raise ValueError if a trained weight is not a finite number."""
    for name, weight in model.named_parameters() if model is not None else ():
        # What this process holds of a weight that ZeRO-3 or FSDP2 shares out over all.
        part = getattr(weight, "ds_tensor", weight)
        part = part.to_local() if isinstance(part, DTensor) else part
        if weight.requires_grad and not bool(torch.isfinite(part).all()):
            raise ValueError(
                f"{name} is not finite after step {step}: lower the learning rate, or use "
                "bfloat16 in place of float16; the last complete checkpoint is from before"
            )


def check_same_everywhere(model: torch.nn.Module | None, step: int) -> None:
    """Raise ValueError if processes that each hold the whole model hold different weights."""
    trained = [one for one in model.parameters() if one.requires_grad] if model is not None else []
    if sharded() or world_size() == 1 or not trained:
        return
    sums = gather_object([sum(one.detach().double().sum().item() for one in trained)])
    if len(set(sums)) > 1:
        raise ValueError(
            f"the processes hold different weights after step {step}, of sums {sums}: their "
            "gradients were not averaged"
        )


def sharded() -> bool:
    """Tell whether FSDP2 or ZeRO-3 shares the model out, as accelerate launch states it."""
    return any(
        os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true"
        for name in ("FSDP", "DEEPSPEED")
    )


def train_in_float32(trainer: Trainer) -> None:
    """Hold what is trained in float32, as FSDP2 and ZeRO-3 do by themselves.

    In bfloat16 an update of 1e-5 is lost on most weights. TRL 1.16 puts adapters of 4-bit weights
    into it, and whole weights are loaded as the profile says (decision D76).
    """
    for weight in trainer.model.parameters():
        if weight.requires_grad and not sharded():
            weight.data = weight.data.float()


def common_arguments(config: SftConfig | GrpoConfig, work: Path) -> dict[str, Any]:
    """What both trainers are given: settings under TRL's names, and what the machine decides.

    On a GPU bfloat16 and gradient checkpointing are on; on a CPU everything is float32. Losses
    that are not numbers are logged as they are, so that they are noticed.
    """
    on_gpu = torch.cuda.is_available()
    return {
        "save_total_limit": 2,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": on_gpu,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        **config.trl,
        "output_dir": str(work),
        "seed": config.seed,
        "data_seed": config.seed,
    }


def load_start(training: Training, checkpoint: Path | None) -> Student:
    """Load what is trained, with the vision tower frozen where it is to stay as it is."""
    config = training.config
    student = load_to_train(training.settings["student"], training.start, checkpoint, config.seed)
    if config.freeze_vision and not isinstance(student.model, PeftModel):
        student.model.get_submodule("model.visual").requires_grad_(False)
    return student


def save_model(trainer: Trainer, training: Training) -> None:
    """Write weights or adapter, configuration and tokenizer over an older model.

    Args:
        trainer: Trainer whose work is done; called in every process.
        training: What it did.
    """
    folder, first = training.folder, trainer.is_world_process_zero()
    if first:
        (folder / RECORD_NAME).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.safetensors*"):
            old.unlink()
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        trainer.save_model(str(folder))  # gathers the shards, so every process takes part
    elif first and isinstance(model, PeftModel):
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
    elif first:
        model.save_pretrained(folder)
    if first:
        if isinstance(model, PeftModel):
            model = training.settings["student"].model
            note_base(folder, base_of(training.start, model) or model)
        trainer.processing_class.tokenizer.save_pretrained(folder)


def record_model(training: Training, run: Run, seconds: float) -> None:
    """Write the record of a model folder whose files are complete.

    Args:
        training: What trained it; its settings are noted.
        run: Profile and folder.
        seconds: Wall time of the training in this process.
    """
    stated = {name: section.model_dump() for name, section in training.settings.items()}
    key = stage_keys(run.profile).get(training.stage, "")
    record_folder(training.folder, stage=training.stage, key=key, config=stated, seconds=seconds)


def write_history(
    log_history: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    path: Path,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write one row per logged step.

    Args:
        log_history: What the trainer logged, in its state; complete over resumed runs.
        columns: Columns of the file, "step" first; a column that was not logged stays empty.
        path: The CSV to write.
        names: Column -> the trainer's own name, where they differ.

    Raises:
        ValueError: If nothing was logged (no step ran).
    """
    named = {column: (names or {}).get(column, column) for column in columns}
    logged = [entry for entry in log_history if "loss" in entry]
    if not logged:
        raise ValueError(
            "training logged no step: there are fewer rows than one batch takes, or fewer steps "
            "than logging_steps; lower the batch size or logging_steps, or add images"
        )
    rows = [
        {column: _number(entry.get(name)) for column, name in named.items()} for entry in logged
    ]
    write_csv(path, rows, columns)


def _number(value: Any) -> float | int | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, int) else float(value)

"""What both trainers do before the first and after the last step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, Trainer

from qponder_lib.artifacts import SEAL_NAME, seal_folder, write_csv
from qponder_lib.pipeline import Run, stage_keys
from qponder_lib.student.model import note_base


def freeze_vision(model: PreTrainedModel | PeftModel) -> None:
    """Keep the vision tower as it is; adapters never reach it."""
    if not isinstance(model, PeftModel):
        model.get_submodule("model.visual").requires_grad_(False)


def save_model(trainer: Trainer, folder: Path, base: str | Path) -> None:
    """Write weights or adapter, configuration and tokenizer of a trained model, over an older one.

    Args:
        trainer: Trainer whose work is done; called in every process.
        folder: The model folder.
        base: What an adapter stands on; not used where all weights were trained.
    """
    first = trainer.is_world_process_zero()
    if first:
        (folder / SEAL_NAME).unlink(missing_ok=True)
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
            note_base(folder, base)
        trainer.processing_class.tokenizer.save_pretrained(folder)


def seal_model(folder: Path, stage: str, run: Run, seconds: float) -> None:
    """Seal a model folder whose files are complete.

    Args:
        folder: Model, tokenizer and history.
        stage: Stage that trained it, such as "sft-long".
        run: Profile and folder; its settings are noted in the seal.
        seconds: Wall time of the training in this process.
    """
    profile = run.profile
    section = profile.grpo if stage.startswith("grpo") else profile.sft
    config = {"student": profile.student.model_dump(), "training": section.model_dump()}
    key = stage_keys(profile).get(stage, "")
    seal_folder(folder, stage=stage, key=key, config=config, seconds=seconds)


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
        ValueError: If nothing was logged (no step ran) or a loss is not a number.
    """
    names = names or {}
    rows = []
    for entry in log_history:
        if "loss" not in entry:
            continue
        row = {column: _number(entry.get(names.get(column, column))) for column in columns}
        if not math.isfinite(float(entry["loss"])):
            raise ValueError(f"the loss is {entry['loss']} at step {entry['step']}; lower the rate")
        rows.append(row)
    if not rows:
        raise ValueError(
            "training logged no step: there are fewer rows than one batch takes, or fewer steps "
            "than logging_steps; lower the batch size or logging_steps, or add images"
        )
    write_csv(path, rows, columns)


def _number(value: Any) -> float | int | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, int) else float(value)

"""Which weights a training starts from, with or without adapters."""

from __future__ import annotations

from pathlib import Path

from qponder_lib.config import GrpoConfig, SftConfig, StudentConfig
from qponder_lib.student import model as adapters
from qponder_lib.student.model import Student, load_base, load_student


def student_to_train(
    config: StudentConfig,
    section: SftConfig | GrpoConfig,
    start: Path | None,
    checkpoint: Path | None,
) -> Student:
    """Load what a trainer is given.

    Without adapters, the weights come from the checkpoint, if there is one: transformers would
    restore them under wrong names. With adapters, the checkpoint's are left to the trainer; they
    stand on the start, whose own adapter, if it has one, is trained on.

    Args:
        config: The student.
        section: Rank, scale and seed of the adapters; rank 0 trains all weights.
        start: Folder of the weights to start from, or None for the base weights.
        checkpoint: Checkpoint to resume from, or None.

    Raises:
        ValueError: If the start is an adapter and other adapters, or none, are to be trained.
    """
    started_by_adapter = start is not None and adapters.is_adapter(start)
    if not section.lora_rank:
        if started_by_adapter:
            raise ValueError(f"{start} is an adapter; lora_rank 0 cannot train it: set its rank")
        return load_student(config, checkpoint or start)
    if not started_by_adapter:
        base = load_base(config, start)
        rank, alpha = section.lora_rank, section.lora_alpha
        model = adapters.new_adapter(base.model, rank, alpha, section.seed)
        return Student(model, base.processor, base.source)
    base = load_base(config, adapters.base_of(start, config.model))
    model = adapters.load_adapter(base.model, start, trainable=True)
    found = model.peft_config["default"]
    if (found.r, found.lora_alpha) != (section.lora_rank, section.lora_alpha):
        raise ValueError(
            f"{start} has adapters of rank {found.r} and alpha {found.lora_alpha}; the profile "
            f"says {section.lora_rank} and {section.lora_alpha}"
        )
    return Student(model, base.processor, base.source)


def base_to_note(config: StudentConfig, start: Path | None) -> str | Path:
    """What an adapter that is trained from `start` stands on: a name, or a folder of weights."""
    if start is None:
        return config.model
    if not adapters.is_adapter(start):
        return start
    return adapters.base_of(start, config.model) or config.model

"""The cold start: supervised fine-tuning on kept reasoning, by TRL's ``SFTTrainer``."""

from __future__ import annotations

import time
from pathlib import Path

from transformers import PrinterCallback
from trl import SFTConfig as TrlSftConfig
from trl import SFTTrainer

from qponder_lib.config import SftConfig
from qponder_lib.pipeline import Run
from qponder_lib.training.arguments import shared_arguments
from qponder_lib.training.checkpoints import SealCheckpoints, last_checkpoint, run_identity
from qponder_lib.training.data import sft_dataset
from qponder_lib.training.finish import freeze_vision, save_model, seal_model, write_history
from qponder_lib.training.guards import StopAtNonsense, check_labels
from qponder_lib.training.progress import StepProgress
from qponder_lib.training.students import base_to_note, student_to_train

HISTORY = ("step", "loss", "learning_rate", "grad_norm", "mean_token_accuracy", "epoch", "seconds")


def train(run: Run, variant: str, work: Path) -> Path:
    """Fine-tune the base student on one variant of the kept responses.

    Args:
        run: Profile and folder; reads ``distill/kept.jsonl`` and the training images.
        variant: Row of Table 3: "none", "short" or "long".
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, ``sft/<variant>/``, with the last weights, ``history.csv`` and a seal;
        where `sft.select` asks for other weights, `selection.choose` puts them there.

    Raises:
        ValueError: If there is nothing to train on, an answer is cut off, a checkpoint is of
            another run, or the loss stops being a number.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.2 and section 4.1.
    """
    began = time.monotonic()
    config = run.profile.sft
    rows = [run.paths.kept, run.paths.split(run.profile.data.train_set, "train")]
    identity = run_identity(run, config, None, rows)
    checkpoint = last_checkpoint(work, identity)
    arguments = trainer_arguments(config, work)  # before the weights, which ZeRO-3 shares out
    student = student_to_train(run.profile.student, config, None, checkpoint)
    if config.freeze_vision:
        freeze_vision(student.model)
    trainer = SFTTrainer(
        model=student.model,
        args=arguments,
        train_dataset=sft_dataset(run, variant),
        processing_class=student.processor,
        callbacks=[StopAtNonsense(), SealCheckpoints(identity), StepProgress(f"sft {variant}")],
    )
    trainer.remove_callback(PrinterCallback)
    weigh_all_tokens_alike(trainer)
    check_labels(trainer, config.max_length)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    folder = run.paths.sft(variant)
    save_model(trainer, folder, base_to_note(run.profile.student, None))
    if trainer.is_world_process_zero():
        write_history(trainer.state.log_history, HISTORY, folder / "history.csv")
        seal_model(folder, f"sft-{variant}", run, time.monotonic() - began)
    return folder


def weigh_all_tokens_alike(trainer: SFTTrainer) -> None:
    """Let a step's loss be the mean over the tokens of all its answers, wherever they are read.

    Qwen2.5-VL tells transformers that its own loss takes no count of tokens, so each process and
    each accumulated part would have a mean of its own. TRL's loss, which is used, takes the count.

    Source:
        The papers do not say; ours (decision D51).
    """
    trainer.model_accepts_loss_kwargs = True


def trainer_arguments(config: SftConfig, work: Path) -> TrlSftConfig:
    """The profile's settings under TRL's names; nothing stated is left to a default."""
    return TrlSftConfig(
        **(shared_arguments(config, work) | _kept(config)),
        num_train_epochs=config.num_train_epochs,
        per_device_train_batch_size=config.per_device_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        weight_decay=config.weight_decay,
        max_length=config.max_length,
        packing=False,
    )


def _kept(config: SftConfig) -> dict[str, None]:
    """Every checkpoint stays where one of them is to be chosen."""
    return {} if config.select == "last" else {"save_total_limit": None}

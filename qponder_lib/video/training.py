"""The video model: the image model goes on with clips, first supervised, then on its rewards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, Trainer
from trl import GRPOTrainer, SFTTrainer

from qponder_lib.artifacts import seal_folder, write_text_atomic
from qponder_lib.config import GrpoConfig, SftConfig
from qponder_lib.data.clips import CLIP_SET
from qponder_lib.pipeline import Run, stage_keys
from qponder_lib.rewards.batch import PRERESQ_TERMS
from qponder_lib.student.architecture import use_fast_vision
from qponder_lib.training import grpo, sft
from qponder_lib.training.checkpoints import SealCheckpoints, last_checkpoint, run_identity
from qponder_lib.training.finish import freeze_vision, save_model, write_history
from qponder_lib.training.guards import StopAtNonsense, check_labels
from qponder_lib.training.progress import StepProgress
from qponder_lib.training.reward_functions import RewardFunctions
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer
from qponder_lib.training.students import base_to_note, student_to_train
from qponder_lib.video.rows import grpo_dataset, sft_dataset, video_config

SFT_STAGE, GRPO_STAGE = "video-sft", "video-grpo"
HISTORY = tuple(name for name in grpo.HISTORY if name not in grpo.VALIDATED)
TERMS = tuple(f"term_{name}" for name in PRERESQ_TERMS[:-1])


def sft_settings(run: Run) -> SftConfig:
    """The profile's settings of SFT with those of the video model in their place."""
    config = video_config(run)
    changed = {
        "freeze_vision": config.freeze_vision,
        "learning_rate": config.sft_learning_rate,
        "max_steps": config.sft_max_steps,
        "per_device_batch_size": config.sft_clips_per_step,
        "warmup_steps": config.sft_warmup_steps,
        "save_steps": config.save_steps,
        "logging_steps": 1,
        "seed": config.seed,
    }
    return run.profile.sft.model_copy(update=changed)


def grpo_settings(run: Run) -> GrpoConfig:
    """The profile's settings of GRPO with those of the video model in their place.

    Source:
        PreResQ-R1, released code: both rewards have weight 1.
    """
    config = video_config(run)
    changed = {
        "reward": "preresq_video",
        "penalise_spread": config.penalise_spread,
        "freeze_vision": config.freeze_vision,
        "prompt_pool": False,
        "exploration_steps": 0,
        "weight_accuracy": 1.0,
        "weight_format": 1.0,
        "num_generations": config.grpo_num_generations,
        "learning_rate": config.grpo_learning_rate,
        "max_steps": config.grpo_max_steps,
        "images_per_step": config.grpo_clips_per_step,
        "images_per_device": config.grpo_clips_per_step,
        "answers_per_pass": 0,
        "warmup_steps": config.grpo_warmup_steps,
        "max_completion_length": config.max_completion_length,
        "save_steps": config.save_steps,
        "logging_steps": 1,
        "seed": config.seed,
    }
    return GrpoConfig.model_validate(run.profile.grpo.model_dump() | changed)


def train_sft(run: Run, work: Path) -> Path:
    """Teach the image model the form of the answers about clips.

    Args:
        run: Profile and folder; reads the image model that GRPO left, warmed up on mosaics if the
            profile says so, and the training clips.
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, ``video/sft/``, with ``history.csv`` and a seal.

    Raises:
        ValueError: If the profile has no video model, or the loss stops being a number.

    Source:
        PreResQ-R1: the video model starts from the image model. The released training has no
        supervised part (decision D62).
    """
    began = time.monotonic()
    config = sft_settings(run)
    start = run.paths.grpo(run.profile.grpo.reward)
    if run.profile.warms_up_on_mosaics:
        start = run.paths.video("motion")
    identity = _identity(run, config, start)
    checkpoint = last_checkpoint(work, identity)
    student = student_to_train(run.profile.student, config, start, checkpoint)
    if config.freeze_vision:
        freeze_vision(student.model)
    trainer = SFTTrainer(
        model=student.model,
        args=sft.trainer_arguments(config, work),
        train_dataset=sft_dataset(run),
        processing_class=student.processor,
        callbacks=[StopAtNonsense(), SealCheckpoints(identity), StepProgress(SFT_STAGE)],
    )
    trainer.remove_callback(PrinterCallback)
    sft.weigh_all_tokens_alike(trainer)
    check_labels(trainer, config.max_length)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    folder = run.paths.video("sft")
    save_model(trainer, folder, base_to_note(run.profile.student, start))
    if trainer.is_world_process_zero():
        write_history(trainer.state.log_history, sft.HISTORY, folder / "history.csv")
        _seal(folder, SFT_STAGE, run, config, began)
    return folder


def train_grpo(run: Run, work: Path) -> Path:
    """Train the video model on the rewards of its own sampled answers.

    Args:
        run: Profile and folder; reads ``video/sft/`` and the training clips.
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, ``video/grpo/``, with ``history.csv``, ``completions.jsonl``, a seal.

    Raises:
        ValueError: If the profile has no video model, or the loss stops being a number.

    Source:
        PreResQ-R1 (arXiv:2511.05393), video total and format reward of the released code.
    """
    began = time.monotonic()
    config = grpo_settings(run)
    start = run.paths.video("sft")
    identity = _identity(run, config, start)
    checkpoint = last_checkpoint(work, identity)
    student = student_to_train(run.profile.student, config, start, checkpoint)
    # TRL loads the reference model from this name: the start, not the checkpoint.
    student.model.config._name_or_path = str(start)
    if config.freeze_vision:
        freeze_vision(student.model)
    rewards = RewardFunctions(config, work / "completions.jsonl", video_config(run).prompt_id)
    functions, weights = rewards.functions()
    trainer = (SharedPrefixTrainer if config.shared_prefix else GRPOTrainer)(
        model=student.model,
        reward_funcs=functions,
        args=grpo.trainer_arguments(config, weights, work),
        train_dataset=grpo_dataset(run),
        processing_class=student.processor,
        callbacks=[StopAtNonsense(), SealCheckpoints(identity), StepProgress(GRPO_STAGE)],
    )
    if trainer.ref_model is not None and run.profile.student.model.startswith("builtin:"):
        use_fast_vision(trainer.ref_model)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    folder = run.paths.video("grpo")
    save_model(trainer, folder, base_to_note(run.profile.student, start))
    if trainer.is_world_process_zero():
        _write_log(trainer, rewards, folder)
        _seal(folder, GRPO_STAGE, run, config, began)
    return folder


def _write_log(trainer: Trainer, rewards: RewardFunctions, folder: Path) -> None:
    write_history(
        trainer.state.log_history, (*HISTORY, *TERMS), folder / "history.csv", grpo.LOGGED
    )
    write_text_atomic(folder / "completions.jsonl", rewards.log_path.read_text(encoding="utf-8"))


def _identity(run: Run, config: SftConfig | GrpoConfig, start: Path) -> dict[str, Any]:
    rows = [run.paths.split(CLIP_SET, "train")]
    rows.append(rows[0].with_name("train.pictures.jsonl"))
    identity = run_identity(run, config, start, rows)
    stated = video_config(run).model_dump(mode="json")
    return identity | {f"video.{name}": value for name, value in stated.items()}


def _seal(folder: Path, stage: str, run: Run, config: SftConfig | GrpoConfig, began: float) -> None:
    stated = {
        "student": run.profile.student.model_dump(),
        "training": config.model_dump(),
        "video": video_config(run).model_dump(),
    }
    key = stage_keys(run.profile)[stage]
    seconds = time.monotonic() - began
    seal_folder(folder, stage=stage, key=key, config=stated, seconds=seconds)

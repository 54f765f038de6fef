"""The video model: the image model goes on with clips, first supervised, then on its rewards."""

from __future__ import annotations

from pathlib import Path

from qponder_lib.config import GrpoConfig, SftConfig
from qponder_lib.data.clips import CLIP_SET
from qponder_lib.pipeline import Run
from qponder_lib.training import grpo, sft
from qponder_lib.training.checkpoints import Training
from qponder_lib.video.rows import grpo_dataset, sft_dataset, video_config

SFT_STAGE, GRPO_STAGE = "video-sft", "video-grpo"
TERMS = grpo.TERMS["preresq_video"]


def sft_settings(run: Run) -> SftConfig:
    """The profile's settings of SFT with those of the video model in their place."""
    config = video_config(run)
    changed = {
        "freeze_vision": config.freeze_vision,
        "learning_rate": config.sft_learning_rate,
        "max_steps": config.sft_max_steps,
        "per_device_train_batch_size": config.sft_clips_per_step,
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
        "freeze_vision": config.freeze_vision,
        "exploration_steps": 0,
        "weight_accuracy": 1.0,
        "weight_format": 1.0,
        "num_generations": config.grpo_num_generations,
        "learning_rate": config.grpo_learning_rate,
        "max_steps": config.grpo_max_steps,
        "images_per_step": config.grpo_clips_per_step,
        "warmup_steps": config.grpo_warmup_steps,
        "max_completion_length": config.max_completion_length,
        "save_steps": config.save_steps,
        "logging_steps": 1,
        "seed": config.seed,
    }
    stated = run.profile.grpo.model_dump() | changed
    stated.pop("per_device_train_batch_size", None)  # all clips of a step at once
    return GrpoConfig.model_validate(stated)


def train_sft(run: Run, work: Path) -> Path:
    """Teach the image model the form of the responses about clips.

    Args:
        run: Profile and folder; reads the image model that GRPO left, warmed up on mosaics if the
            profile says so, and the training clips.
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, ``video/sft/``, with ``history.csv`` and a record.

    Raises:
        ValueError: If the profile has no video model, or the loss stops being a number.

    Source:
        PreResQ-R1: the video model starts from the image model. The released training has no
        supervised part (decision D62).
    """
    start = run.paths.grpo(run.profile.grpo.reward)
    if run.profile.warms_up_on_mosaics:
        start = run.paths.video("motion")
    made = _training(run, SFT_STAGE, sft_settings(run), start)
    return sft.train(run, made, work)


def train_grpo(run: Run, work: Path) -> Path:
    """Train the video model on the rewards of its own sampled completions.

    Args:
        run: Profile and folder; reads ``video/sft/`` and the training clips.
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, ``video/grpo/``, with ``history.csv``, ``completions.jsonl``, a record.

    Raises:
        ValueError: If the profile has no video model, or the loss stops being a number.

    Source:
        PreResQ-R1 (arXiv:2511.05393), video total and format reward of the released code.
    """
    made = _training(run, GRPO_STAGE, grpo_settings(run), run.paths.video("sft"))
    return grpo.train(run, made, work, validate=False)


def _training(run: Run, stage: str, config: SftConfig | GrpoConfig, start: Path) -> Training:
    video = video_config(run)
    rows = run.paths.split(CLIP_SET, "train")
    return Training(
        stage=stage,
        settings={"student": run.profile.student, "training": config, "video": video},
        start=start,
        folder=run.paths.video(stage.removeprefix("video-")),
        files=(rows, rows.with_name("train.pictures.jsonl")),
        dataset=lambda: (sft_dataset if stage == SFT_STAGE else grpo_dataset)(run),
        prompt_id=video.prompt_id,
        penalise_spread=video.penalise_spread,
    )

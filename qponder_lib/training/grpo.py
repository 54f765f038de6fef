"""Reinforcement fine-tuning by TRL's ``GRPOTrainer`` with the paper's two rewards."""

from __future__ import annotations

import gc
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, Image
from transformers import PrinterCallback
from trl import GRPOConfig as TrlGrpoConfig
from trl import GRPOTrainer

from qponder_lib.config import GrpoConfig
from qponder_lib.data.images import load_image, load_records
from qponder_lib.evaluation.monitoring import alarms
from qponder_lib.pipeline import Run
from qponder_lib.rewards.batch import PRERESQ_TERMS
from qponder_lib.student.architecture import use_fast_vision
from qponder_lib.student.generation import generate
from qponder_lib.student.model import BUILTIN, Student, load_student
from qponder_lib.text.prompts import PRERESQ_POOL, preresq_messages
from qponder_lib.text.sft_format import grpo_rows
from qponder_lib.training import vllm
from qponder_lib.training.callbacks import (
    AverageTheHead,
    RecordCheckpoints,
    StepProgress,
    StopAtNonsense,
    Validation,
)
from qponder_lib.training.checkpoints import (
    Training,
    common_arguments,
    identity,
    last_checkpoint,
    load_start,
    record_model,
    save_model,
    sharded,
    train_in_float32,
    world_size,
    write_history,
)
from qponder_lib.training.reward_functions import (
    RewardFunctions,
    Rollout,
    score_rollouts,
    weights_note,
)
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer, base_model

LOGGED = {
    "reward_accuracy": "rewards/accuracy/mean",
    "reward_format": "rewards/format/mean",
    "zero_variance_share": "frac_reward_zero_std",
    "completion_length": "completions/mean_length",
    "clipped_ratio": "completions/clipped_ratio",
}
"""Columns of the history whose name in TRL's log is another."""
HISTORY = (
    "step",
    "reward",
    "reward_std",
    "reward_accuracy",
    "reward_format",
    "parse_rate",
    "zero_variance_share",
    "distinct_scores",
    "modal_share",
    "completion_length",
    "clipped_ratio",
    "kl",
    "entropy",
    "loss",
    "grad_norm",
    "learning_rate",
    "seconds",
)
VALIDATED = ("validation_srcc", "validation_plcc", "validation_mae", "validation_parse_rate")
TERMS = {
    "preresq": tuple(f"term_{name}" for name in PRERESQ_TERMS),
    "preresq_video": tuple(f"term_{name}" for name in PRERESQ_TERMS[:-1]),
}
SEED_STEP = 1000
"""Added to the seed for the second stage (decision D69)."""


def trainings(run: Run) -> list[Training]:
    """Return the RL runs of a profile in their order; the last one leaves the model that counts.

    With ``grpo.exploration_steps`` there are two: exploration draws one of five prompts for each
    image and deducts the std penalty; stability goes on from its model for the other steps, with
    the student's own prompt and without the penalty. Each has its own schedule.

    The second has another seed: with the same one it would draw the first one's images again.

    Source:
        PreResQ-R1, "Exploration-to-Stability" (figure and released code); the switch lies at about
        half of the steps. The schedule of the learning rate across the switch is not known: a
        schedule for each is ours (decision D49).
    """
    config, cold_start = run.profile.grpo, run.paths.sft(run.profile.grpo.start_from)
    if not config.exploration_steps:
        return [_training(run, config.reward, config, cold_start)]
    first = {"max_steps": config.exploration_steps, "exploration_steps": 0}
    second = {
        "max_steps": config.max_steps - config.exploration_steps,
        "exploration_steps": 0,
        "seed": config.seed + SEED_STEP,
    }
    explore = _training(
        run,
        f"{config.reward}-explore",
        config.model_copy(update=first),
        cold_start,
        explores=True,
    )
    config = config.model_copy(update=second)
    return [explore, _training(run, config.reward, config, explore.folder)]


def _training(
    run: Run, name: str, config: GrpoConfig, start: Path, *, explores: bool = False
) -> Training:
    return Training(
        stage=f"grpo-{name}",
        settings={"student": run.profile.student, "training": config},
        start=start,
        folder=run.paths.grpo(name),
        files=(run.paths.split(run.profile.data.train_set, "train"),),
        dataset=lambda: grpo_dataset(run, prompt_pool=explores),
        prompt_id=run.profile.student.prompt_id,
        penalise_spread=explores,
    )


def train(run: Run, training: Training, work: Path) -> Path:
    """Train a student on the rewards of its own sampled completions.

    Args:
        run: Profile and folder.
        training: One of `trainings`, or another whose rows have a prompt, a MOS and an image id.
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, with ``history.csv``, ``completions.jsonl`` and a record.

    Raises:
        ValueError: If there are fewer images than one step takes, or the loss is not a number.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.3, Eqs. 2-7, and section 4.1.
    """
    began = time.monotonic()
    config = training.config
    vllm.check_installed(config)
    dataset = training.dataset()
    if len(dataset) < config.images_per_step:
        raise ValueError(
            f"{len(dataset)} training images are fewer than grpo.images_per_step "
            f"{config.images_per_step}: no step would run"
        )
    if (note := weights_note(config)) is not None:
        print(f"NOTE: {note}", flush=True)
    rewards = RewardFunctions(
        config,
        work / "completions.jsonl",
        training.prompt_id,
        penalise_spread=training.penalise_spread,
    )
    same_run = identity(training)
    checkpoint = last_checkpoint(work, same_run)
    arguments = trainer_arguments(config, work)  # before the weights, which ZeRO-3 shares out
    student = load_start(training, checkpoint)
    # TRL loads the reference model from this name: the start, not the checkpoint.
    student.model.config._name_or_path = str(training.start)
    if config.use_vllm:
        _let_vllm_read(student, training, work)
    validation = [Validation(run, student.processor)] if config.n_validation else []
    trainer = (SharedPrefixTrainer if config.shared_prefix else GRPOTrainer)(
        model=student.model,
        reward_funcs=[rewards.accuracy, rewards.format],
        args=arguments,
        train_dataset=dataset,
        processing_class=student.processor,
        callbacks=[
            StopAtNonsense(),
            AverageTheHead(),
            *validation,
            RecordCheckpoints(same_run),
            StepProgress(training.stage),
        ],
    )
    if trainer.ref_model is not None and training.settings["student"].model == BUILTIN:
        use_fast_vision(trainer.ref_model)
    if trainer.is_fsdp_enabled:
        # transformers keeps the processes in step while they sample only for FSDP of its own.
        base_model(trainer.model)._is_fsdp_managed_module = True
    trainer.remove_callback(PrinterCallback)
    train_in_float32(trainer)
    if config.use_vllm and config.vllm_mode == "colocate":
        vllm.one_token_per_image(trainer.vllm_generation, student.model.config.image_token_id)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    save_model(trainer, training)
    if trainer.is_world_process_zero():
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
        columns = (*HISTORY, *(VALIDATED if validation else ()), *TERMS.get(config.reward, ()))
        write_history(history, columns, training.folder / "history.csv", LOGGED)
        shutil.copy(rewards.log_path, training.folder)
        record_model(training, run, time.monotonic() - began)
        for line in alarms(history, LOGGED):
            print(f"ALARM: {line}", flush=True)
    return training.folder


def grpo_dataset(run: Run, *, prompt_pool: bool = False) -> Dataset:
    """One prompt per labelled image of the training set.

    Args:
        run: Profile and folder.
        prompt_pool: Draw one of the five prompts for aspects for each image, once, by the seed of
            ``grpo``, in place of the student's own prompt.
    """
    records = load_records(run.paths, run.profile.data.train_set, "train")
    rows = grpo_rows(
        records,
        lambda record: str(run.paths.data / record.image),
        run.profile.student.prompt_id,
    )
    if prompt_pool:
        rng = np.random.default_rng(run.profile.grpo.seed)
        for row, number in zip(rows, rng.integers(len(PRERESQ_POOL), size=len(rows)), strict=True):
            row["prompt"] = preresq_messages(int(number))
    return Dataset.from_list(rows).cast_column("image", Image(mode="RGB"))


def trainer_arguments(config: GrpoConfig, work: Path) -> TrlGrpoConfig:
    """The profile's settings as TRL takes them.

    Everything that decides the algorithm is stated there: TRL's defaults differ from the paper in
    loss type, KL weight and KL correction, and have moved between versions.
    """
    rows, accumulated = config.batch(world_size())
    given = {"log_multimodal": False, "logging_first_step": True, **common_arguments(config, work)}
    if sharded():
        # TRL 1.16 would put the reference model of every FSDP2 process over all GPUs.
        given |= {"model_init_kwargs": {"device_map": None}}
    given |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulated}
    return TrlGrpoConfig(**given, reward_weights=[config.weight_accuracy, config.weight_format])


def _let_vllm_read(student: Student, training: Training, work: Path) -> None:
    """Name a folder for vLLM in place of the one that the weights came from."""
    config, settings = training.config, training.settings["student"]
    if config.vllm_mode == "colocate":
        vllm.check_images_fit(student.processor)
    with PartialState().main_process_first():
        folder = vllm.save_rollout_model(student, settings, training.start, work / "rollout-model")
    student.model.name_or_path = str(folder)
    if config.vllm_mode == "server" and PartialState().is_main_process:
        print(f"the server of completions: {vllm.serve_command(config, folder)}", flush=True)


def open_batch(run: Run, *, n_images: int = 3, seed: int = 0) -> list[Rollout]:
    """Sample and reward one group of completions per image from the cold start, without training.

    Args:
        run: Profile and folder.
        n_images: Training images to look at.
        seed: Seed of the choice of images and of the sampling.

    Returns:
        ``num_generations`` rollouts per image, image after image.
    """
    config, prompt_id = run.profile.grpo, run.profile.student.prompt_id
    student = load_student(run.profile.student, run.paths.sft(config.start_from))
    records = load_records(run.paths, run.profile.data.train_set, "train")
    torch.manual_seed(seed)
    chosen = [records[index] for index in torch.randperm(len(records))[:n_images].tolist()]
    repeated = [record for record in chosen for _ in range(config.num_generations)]
    completions = generate(
        student,
        [load_image(run.paths, record) for record in repeated],
        prompt_id,
        max_new_tokens=config.max_completion_length,
        temperature=config.temperature,
    )
    del student  # a model of 7B would keep its GPU full while others train there
    gc.collect()
    torch.cuda.empty_cache()
    rollouts, _ = score_rollouts(
        [one.text for one in completions],
        [float(record.mos) for record in repeated],
        [record.image_id for record in repeated],
        config,
        prompt_id=prompt_id,
    )
    return rollouts

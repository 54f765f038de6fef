"""Reinforcement fine-tuning by TRL's ``GRPOTrainer`` with the paper's two rewards."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import PrinterCallback
from trl import GRPOConfig as TrlGrpoConfig
from trl import GRPOTrainer

from qponder_lib.artifacts import write_text_atomic
from qponder_lib.config import GrpoConfig, StudentConfig
from qponder_lib.data.images import load_image, load_records
from qponder_lib.evaluation.monitoring import alarms
from qponder_lib.pipeline import Run
from qponder_lib.rewards.batch import PRERESQ_TERMS
from qponder_lib.student.architecture import use_fast_vision
from qponder_lib.student.generation import generate
from qponder_lib.student.model import Student, load_student
from qponder_lib.text.prompts import answer_form
from qponder_lib.training.arguments import shared_arguments
from qponder_lib.training.checkpoints import (
    SealCheckpoints,
    last_checkpoint,
    run_identity,
    world_size,
)
from qponder_lib.training.data import grpo_dataset
from qponder_lib.training.finish import freeze_vision, save_model, seal_model, write_history
from qponder_lib.training.guards import StopAtNonsense
from qponder_lib.training.phases import Phase, phases
from qponder_lib.training.progress import StepProgress
from qponder_lib.training.reward_functions import RewardFunctions, Rollout, score_rollouts
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer, base_model
from qponder_lib.training.students import base_to_note, student_to_train
from qponder_lib.training.validation import Validation
from qponder_lib.training.vllm_rollouts import (
    check_images_fit,
    check_installed,
    save_rollout_model,
    serve_command,
    vllm_arguments,
)

LOGGED = {
    "reward_accuracy": "rewards/accuracy/mean",
    "reward_format": "rewards/format/mean",
    "zero_variance_share": "frac_reward_zero_std",
    "completion_length": "completions/mean_length",
    "clipped_ratio": "completions/clipped_ratio",
}
VALIDATED = (
    "validation_srcc",
    "validation_plcc",
    "validation_mae",
    "validation_parse_rate",
)
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
    *VALIDATED,
)
TERMS = tuple(f"term_{name}" for name in PRERESQ_TERMS)


def train(run: Run, work: Path, phase: Phase | None = None) -> Path:
    """Train the cold-started student on the rewards of its own sampled answers.

    Args:
        run: Profile and folder; reads the SFT model it starts from and the training images.
        work: Folder for checkpoints; a killed run continues from the last good one there.
        phase: One of `phases.phases`; the last one if it is not given.

    Returns:
        The model folder, ``grpo/<phase>/``, with ``history.csv``, ``completions.jsonl``.

    Raises:
        ValueError: If there are fewer images than one step takes, or the loss is not a number.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.3, Eqs. 2-7, and section 4.1.
    """
    began = time.monotonic()
    phase = phase or phases(run)[-1]
    config = phase.config
    check_installed(config)
    dataset = grpo_dataset(run, prompt_pool=config.prompt_pool)
    if len(dataset) < config.images_per_step:
        raise ValueError(
            f"{len(dataset)} training images are fewer than grpo.images_per_step "
            f"{config.images_per_step}: no step would run"
        )
    start = phase.start
    rows = [run.paths.split(run.profile.data.train_set, "train")]
    identity = run_identity(run, config, start, rows)
    checkpoint = last_checkpoint(work, identity)
    rewards = RewardFunctions(config, work / "completions.jsonl", run.profile.student.prompt_id)
    functions, weights = rewards.functions()
    arguments = trainer_arguments(config, weights, work)  # before the weights: ZeRO-3 shares them
    student = student_to_train(run.profile.student, config, start, checkpoint)
    # TRL loads the reference model from this name: the start, not the checkpoint.
    student.model.config._name_or_path = str(start)
    if config.vllm_mode != "none":
        _let_vllm_read(student, run.profile.student, phase, work)
    if config.freeze_vision:
        freeze_vision(student.model)
    validation = Validation(run, student.processor)
    trainer = (SharedPrefixTrainer if config.shared_prefix else GRPOTrainer)(
        model=student.model,
        reward_funcs=functions,
        args=arguments,
        train_dataset=dataset,
        processing_class=student.processor,
        callbacks=[
            StopAtNonsense(),
            validation,
            SealCheckpoints(identity),
            StepProgress(f"grpo {phase.name}"),
        ],
    )
    if trainer.ref_model is not None and run.profile.student.model.startswith("builtin:"):
        use_fast_vision(trainer.ref_model)
    if trainer.is_fsdp_enabled:
        # transformers keeps the processes in step while they sample only for FSDP of its own.
        base_model(trainer.model)._is_fsdp_managed_module = True
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    folder = run.paths.grpo(phase.name)
    save_model(trainer, folder, base_to_note(run.profile.student, start))
    if not trainer.is_world_process_zero():
        return folder
    history = with_validation(trainer.state.log_history)
    terms = TERMS if config.reward == "preresq" else ()
    write_history(history, (*HISTORY, *terms), folder / "history.csv", LOGGED)
    write_text_atomic(folder / "completions.jsonl", rewards.log_path.read_text(encoding="utf-8"))
    seal_model(folder, phase.stage, run, time.monotonic() - began)
    for line in alarms(history, LOGGED):
        print(f"ALARM: {line}", flush=True)
    return folder


def _let_vllm_read(student: Student, settings: StudentConfig, phase: Phase, work: Path) -> None:
    """Name a folder for vLLM in place of the one that the weights came from."""
    check_images_fit(phase.config, student.processor)
    with PartialState().main_process_first():
        folder = save_rollout_model(student, settings, phase.start, work / "rollout-model")
    student.model.name_or_path = str(folder)
    if phase.config.vllm_mode == "server" and PartialState().is_main_process:
        print(f"the server of the answers: {serve_command(phase.config, folder)}", flush=True)


def trainer_arguments(config: GrpoConfig, weights: list[float], work: Path) -> TrlGrpoConfig:
    """The profile's settings under TRL's names.

    Everything that decides the algorithm is written out: TRL's defaults differ from the paper in
    loss type, KL weight and KL correction, and have moved between versions.
    """
    devices = world_size()
    if config.images_per_step % devices:
        raise ValueError(
            f"grpo.images_per_step {config.images_per_step} does not divide over {devices} devices"
        )
    mine = config.images_per_step // devices * config.num_generations
    rows = min(config.images_per_device * config.num_generations, mine)
    rows = config.answers_per_pass or rows
    return TrlGrpoConfig(
        **shared_arguments(config, work),
        reward_weights=weights,
        num_generations=config.num_generations,
        beta=config.beta,
        epsilon=config.epsilon,
        num_iterations=config.num_iterations,
        loss_type=config.loss_type,
        scale_rewards=config.scale_rewards,
        use_bias_correction_kl=config.use_bias_correction_kl,
        multi_objective_aggregation="sum_then_normalize",
        mask_truncated_completions=False,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=mine // rows,
        temperature=config.temperature,
        top_p=config.top_p,
        max_completion_length=config.max_completion_length,
        log_multimodal=False,
        **vllm_arguments(config),
    )


def open_batch(run: Run, *, n_images: int = 3, seed: int = 0) -> list[Rollout]:
    """Sample and reward one group of answers per image from the start model, without training.

    Args:
        run: Profile and folder.
        n_images: Training images to look at.
        seed: Seed of the choice of images and of the sampling.

    Returns:
        ``num_generations`` rollouts per image, image after image.
    """
    config = run.profile.grpo
    student = load_student(run.profile.student, run.paths.sft(config.start_from))
    records = load_records(run.paths, run.profile.data.train_set, "train")
    torch.manual_seed(seed)
    chosen = [records[index] for index in torch.randperm(len(records))[:n_images].tolist()]
    repeated = [record for record in chosen for _ in range(config.num_generations)]
    answers = generate(
        student,
        [load_image(run.paths, record) for record in repeated],
        run.profile.student.prompt_id,
        max_new_tokens=config.max_completion_length,
        temperature=config.temperature,
    )
    return score_rollouts(
        [answer.text for answer in answers],
        [float(record.mos) for record in repeated if record.mos is not None],
        [record.image_id for record in repeated],
        config,
        form=answer_form(run.profile.student.prompt_id),
    )


def with_validation(log_history: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Join the validation rows of a log to the training rows of the same step."""
    validated = {
        entry["step"]: {name: entry[name] for name in VALIDATED if name in entry}
        for entry in log_history
        if "validation_srcc" in entry
    }
    return [
        {**entry, **validated.get(entry["step"], {})} for entry in log_history if "loss" in entry
    ]

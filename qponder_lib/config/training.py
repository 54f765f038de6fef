"""The sections of training: supervised, reinforcement, and how many processes do it.

Each field says its unit, its meaning and where the paper states it; "paper" is Q-Ponder
(arXiv:2506.05384).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from qponder_lib.config.base import OURS, Section, Variant

Scheduler = Literal["constant", "constant_with_warmup", "linear", "cosine"]


class SftConfig(Section):
    """Supervised fine-tuning on the kept answers."""

    variants: tuple[Variant, ...] = Field(
        ("none", "short", "long"), description="reasoning in the answers; section 4.3, Table 3"
    )
    learning_rate: float = Field(1e-3, gt=0.0, description=f"peak; {OURS}")
    max_steps: int = Field(360, description="optimiser steps, -1: epochs; section 4.1: within 300")
    num_train_epochs: float = Field(1.0, gt=0.0, description=f"used if max_steps is -1; {OURS}")
    per_device_batch_size: int = Field(32, ge=1, description=f"images per device; {OURS}")
    gradient_accumulation_steps: int = Field(1, ge=1, description=OURS)
    warmup_steps: int = Field(20, ge=0, description=f"optimiser steps; {OURS}")
    weight_decay: float = Field(0.01, ge=0.0, description=OURS)
    lr_scheduler_type: Scheduler = Field("cosine", description=OURS)
    max_length: int | None = Field(
        None, description="tokens; None, since a limit cuts answers off silently"
    )
    save_steps: int = Field(60, ge=1, description=f"optimiser steps between checkpoints; {OURS}")
    logging_steps: int = Field(5, ge=1, description=f"optimiser steps between log rows; {OURS}")
    freeze_vision: bool = Field(False, description=f"keep the vision tower as it is; {OURS}")
    lora_rank: int = Field(0, ge=0, description=f"0: train all weights; {OURS}")
    lora_alpha: int = Field(32, ge=1, description=f"adapters times alpha / rank; {OURS}")
    select: Literal["last", "held_out", "test_sets"] = Field(
        "last",
        description="the checkpoint that counts; held_out: best on select_sets, none of them "
        "tested on; test_sets: best on test sets, optimistic; section 4.1: best out of domain",
    )
    select_sets: tuple[str, ...] = Field(
        (),
        description="sets that choose; held_out without names: the mini-valid sets out of domain, "
        f"or the training set's validation part; {OURS}",
    )
    select_images: int = Field(300, ge=10, description=f"first images of each that choose; {OURS}")
    seed: int = Field(0, ge=0, description=OURS)


class GrpoConfig(Section):
    """Reinforcement fine-tuning."""

    reward: Literal["qponder", "preresq", "preresq_video", "threshold", "fidelity", "gaussian"] = (
        Field("qponder", description="reward of scores; qponder: exponential, Eqs. 5-7")
    )
    start_from: Variant = Field("long", description="SFT variant to start from; section 4.3")
    alpha: float = Field(30.0, gt=0.0, description="MOS units, tolerance; Eq. 5, section 4.1: 10")
    penalise_spread: bool = Field(
        False, description="deduct the std penalty; reward preresq, its stage 1"
    )
    prompt_pool: bool = Field(
        False, description="draw one of five prompts per image; PreResQ-R1, its stage 1"
    )
    exploration_steps: int = Field(
        0, ge=0, description="of max_steps, PreResQ-R1's stage 1; there about half; 0: one stage"
    )
    weight_accuracy: float = Field(2.0, ge=0.0, description="lambda_acc; Eq. 7, section 4.1")
    weight_format: float = Field(1.0, ge=0.0, description="lambda_fmt; Eq. 7, section 4.1")
    num_generations: int = Field(8, ge=2, description="answers per image, n; Eq. 2, section 4.1")
    beta: float = Field(0.04, ge=0.0, description="weight of the KL term; Eq. 2, section 4.1")
    epsilon: float = Field(0.2, gt=0.0, description="clip of the ratio; Eq. 2, section 4.1")
    num_iterations: int = Field(1, ge=1, description=f"updates per generation; {OURS}")
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = Field(
        "grpo", description="average within an answer, then over answers; nearest to Eq. 2"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="divide by the group's deviation; Eq. 3 and its text"
    )
    use_bias_correction_kl: bool = Field(
        False, description="weight the KL term by the ratio; Eq. 2 does not"
    )
    learning_rate: float = Field(1.5e-4, gt=0.0, description="peak; section 4.1: 2e-5")
    lr_scheduler_type: Scheduler = Field("cosine", description="section 4.1")
    warmup_steps: int = Field(10, ge=0, description=f"optimiser steps; {OURS}")
    max_steps: int = Field(60, ge=1, description="optimiser steps; section 4.1: one epoch")
    images_per_step: int = Field(
        16, ge=1, description="images per optimiser step, all devices; section 4.1: batch size 1"
    )
    images_per_device: int = Field(
        16, ge=1, description=f"images at once on a device, the rest is accumulated; {OURS}"
    )
    answers_per_pass: int = Field(
        0, ge=0, description=f"answers in a forward and backward pass, 0: all at once; {OURS}"
    )
    temperature: float = Field(0.7, gt=0.0, description=f"of the sampled answers; {OURS}")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description=f"of the sampled answers; {OURS}")
    max_completion_length: int = Field(160, ge=1, description=f"tokens; {OURS}")
    save_steps: int = Field(20, ge=1, description=f"optimiser steps between checkpoints; {OURS}")
    logging_steps: int = Field(1, ge=1, description=f"optimiser steps between log rows; {OURS}")
    validation_steps: int = Field(20, ge=1, description=f"steps between validations; {OURS}")
    n_validation: int = Field(200, ge=0, description=f"validation images scored; {OURS}")
    shared_prefix: bool = Field(
        True, description=f"run image and prompt once per group of answers, where exact; {OURS}"
    )
    vllm_mode: Literal["none", "colocate", "server"] = Field(
        "none", description=f"who samples: transformers, a vLLM in the training, a server; {OURS}"
    )
    vllm_server_base_url: str | None = Field(
        None, description="address of the vLLM server, without credentials; mode server"
    )
    vllm_gpu_memory_utilization: float = Field(
        0.3, gt=0.0, lt=1.0, description=f"share of each GPU for vLLM; mode colocate; {OURS}"
    )
    vllm_tensor_parallel_size: int = Field(
        1, ge=1, description=f"GPUs that one vLLM is spread over; {OURS}"
    )
    vllm_max_model_length: int | None = Field(
        None, ge=1, description=f"tokens of prompt and answer, None: as the model; {OURS}"
    )
    vllm_enable_sleep_mode: bool = Field(
        False, description=f"vLLM frees its memory while weights are updated; {OURS}"
    )
    vllm_importance_sampling_correction: bool = Field(
        True, description=f"weigh for vLLM's rounding of probabilities, which Eq. 2 has not; {OURS}"
    )
    shuffle_rewards: bool = Field(False, description="control: rewards permuted in the batch")
    freeze_vision: bool = Field(True, description=f"keep the vision tower as it is; {OURS}")
    lora_rank: int = Field(0, ge=0, description=f"0: train all weights; {OURS}")
    lora_alpha: int = Field(32, ge=1, description=f"adapters times alpha / rank; {OURS}")
    seed: int = Field(0, ge=0, description=OURS)

    @model_validator(mode="after")
    def _saves_between_generations(self) -> Self:
        at_once = min(self.images_per_device, self.images_per_step)
        if self.images_per_step % at_once:
            raise ValueError(
                f"images_per_step {self.images_per_step} must be a multiple of images_per_device "
                f"{self.images_per_device}"
            )
        if self.exploration_steps >= self.max_steps:
            raise ValueError(
                f"exploration_steps {self.exploration_steps} must leave steps of max_steps "
                f"{self.max_steps} for the second stage"
            )
        if self.answers_per_pass and at_once * self.num_generations % self.answers_per_pass:
            raise ValueError(
                f"answers_per_pass {self.answers_per_pass} must divide the {at_once} x "
                f"{self.num_generations} answers of a device"
            )
        if (self.vllm_mode == "server") != (self.vllm_server_base_url is not None):
            raise ValueError(
                f"vllm_mode is {self.vllm_mode!r} and vllm_server_base_url "
                f"{self.vllm_server_base_url!r}: the mode server, and it alone, has an address"
            )
        if self.save_steps % self.num_iterations:
            raise ValueError(
                f"save_steps {self.save_steps} must be a multiple of num_iterations "
                f"{self.num_iterations}: a run resumed inside a generation is another run"
            )
        return self


class LaunchConfig(Section):
    """How many processes train together, and how a model is shared out over them."""

    PACE = frozenset({"accelerate"})

    processes: int = Field(1, ge=1, description="one on each GPU; section 4.1: 8 GPUs")
    accelerate: str = Field(
        "",
        description="file in papermill_runs/accelerate, or a path to YAML, that shares the model "
        f"out over the processes; empty: a whole copy in each; {OURS}",
    )

    @model_validator(mode="after")
    def _one_process_shares_nothing(self) -> Self:
        if self.accelerate and self.processes == 1:
            raise ValueError(
                f"launch.accelerate is {self.accelerate!r}, but launch.processes is 1: nothing is "
                "shared out; state the processes, or leave accelerate empty"
            )
        return self

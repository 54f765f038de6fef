"""The sections of training: settings of ours, and TRL's own taken through under TRL's names.

What TRL's `SFTConfig` and `GRPOConfig` accept can be stated in `sft` and `grpo` (with what they
inherit from transformers' `TrainingArguments`). `DEFAULTS` are the values of the `mini` profile;
what neither states is as TRL has it. "Paper" is Q-Ponder (arXiv:2506.05384).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Union

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from qponder_lib.config.sections import OURS, Section, Variant
from qponder_lib.paths import instead

_SIMPLE = {"bool": bool, "int": int, "float": float, "str": str, "None": None}
_DERIVED = frozenset({"output_dir", "data_seed"})
_ABOVE_0 = (
    *("learning_rate", "num_train_epochs", "save_steps", "logging_steps", "num_iterations"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "max_completion_length"),
    *("epsilon", "temperature", "top_p"),
)


@cache
def trl_settings(trainer: Literal["sft", "grpo"]) -> dict[str, str]:
    """Return the names and types of the settings of one of TRL's trainers.

    They are read from the installed files: to import them takes torch.
    """
    classes = {
        ("transformers", "training_args.py"): "TrainingArguments",
        ("trl", "trainer/base_config.py"): "_BaseConfig",
        ("trl", f"trainer/{trainer}_config.py"): f"{trainer.upper()}Config",
    }
    found = {}
    for (package, file), name in classes.items():
        folder = Path(find_spec(package).origin).parent
        body = ast.parse((folder / file).read_text(encoding="utf-8")).body
        (made,) = (one for one in body if isinstance(one, ast.ClassDef) and one.name == name)
        for one in made.body:
            if isinstance(one, ast.AnnAssign):
                found[one.target.id] = ast.unparse(one.annotation)
    return found


def _checked(name: str, value: Any, stated_type: str) -> Any:
    """Check a value whose type is plain, since YAML reads 1e-4 as a text; TRL checks the rest."""
    parts = stated_type.split(" | ")
    if not set(parts) <= set(_SIMPLE):
        return value
    plain = Union[tuple(_SIMPLE[part] for part in parts)]  # noqa: UP007  # known at run time only
    try:
        found = TypeAdapter(plain, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}: expected {stated_type}, got {value!r}") from error
    return value if isinstance(value, int) else found


class TrainerSection(Section):
    """Settings of ours, and any of TRL's beside them, which `trl` returns."""

    model_config = ConfigDict(extra="allow")

    TRAINER: ClassVar[Literal["sft", "grpo"]]
    DEFAULTS: ClassVar[Mapping[str, Any]]
    DERIVED: ClassVar[frozenset[str]] = _DERIVED
    """Settings of TRL's that the kit derives from others."""

    @classmethod
    def names(cls) -> set[str]:
        """Names that may be stated, ours and TRL's."""
        return {*cls.model_fields, *trl_settings(cls.TRAINER)} - cls.DERIVED

    @model_validator(mode="before")
    @classmethod
    def _take_through(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        given = dict(values)
        for name in set(given) - set(cls.model_fields):
            if name not in cls.names():
                usual = [*cls.model_fields, *cls.DEFAULTS, "and what else TRL has"]
                near = instead(name, cls.names(), else_listed=usual)
                why = "; the kit derives it" if name in cls.DERIVED else near
                raise ValueError(f"unknown setting {cls.TRAINER}.{name}{why}")
            given[name] = _checked(name, given[name], trl_settings(cls.TRAINER)[name])
        return {**cls.DEFAULTS, **given}

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        for name in _ABOVE_0:
            if not self.trl.get(name, 1) > 0:
                where = f"{self.TRAINER}.{name}"
                raise ValueError(f"{where}: expected a number above 0, got {self.trl[name]}")
        if self.max_steps == 0:
            raise ValueError("max_steps 0: expected at least 1, or -1 for num_train_epochs")
        return self

    @property
    def trl(self) -> dict[str, Any]:
        """Settings that TRL takes as they are."""
        return dict(self.model_extra or {})


class SftConfig(TrainerSection):
    """Supervised fine-tuning on the kept responses."""

    TRAINER = "sft"
    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "max_steps": 360,
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": 32,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 20,
        "weight_decay": 0.01,
        "max_length": None,  # a limit would cut responses off
        "save_steps": 60,
        "logging_steps": 5,
    }

    variants: tuple[Variant, ...] = Field(
        ("none", "short", "long"), description="reasoning in the responses; section 4.3, Table 3"
    )
    freeze_vision: bool = Field(False, description=f"keep the vision tower as it is; {OURS}")
    select_sets: tuple[str, ...] = Field(
        (),
        description="sets whose best checkpoint counts, by its test images, or by its validation "
        "images where it is the training set; empty: the last; section 4.1: best out of domain",
    )
    seed: int = Field(0, ge=0, description=OURS)


class GrpoConfig(TrainerSection):
    """Reinforcement fine-tuning."""

    TRAINER = "grpo"
    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "num_generations": 8,  # n of Eq. 2, section 4.1
        "beta": 0.04,  # of the KL term; Eq. 2, section 4.1
        "epsilon": 0.2,  # of the clip; Eq. 2, section 4.1
        "num_iterations": 1,
        "loss_type": "grpo",  # averages within a completion, then over them; nearest to Eq. 2
        "scale_rewards": "group",  # Eq. 3 and its text
        "use_bias_correction_kl": False,  # Eq. 2 does not weight the KL term by the ratio
        "multi_objective_aggregation": "sum_then_normalize",
        "mask_truncated_completions": False,
        "learning_rate": 1e-4,  # section 4.1: 2e-5
        "lr_scheduler_type": "cosine",  # section 4.1
        "warmup_steps": 10,
        "max_steps": 120,  # section 4.1: one epoch
        "temperature": 0.7,
        "top_p": 1.0,
        "repetition_penalty": 1.0,  # Qwen2.5-VL publishes 1.05, which spares the digit 9 alone
        "max_completion_length": 160,
        "save_steps": 20,
        "logging_steps": 1,
        "use_vllm": False,
        "vllm_mode": "colocate",
        "vllm_importance_sampling_mode": "token_truncate",  # TRL's would drop whole completions
    }
    DERIVED = _DERIVED | {"gradient_accumulation_steps", "reward_weights"}

    reward: Literal["qponder", "preresq", "preresq_video", "threshold", "fidelity", "gaussian"] = (
        Field("qponder", description="reward of scores; qponder: exponential, Eqs. 5-7")
    )
    start_from: Variant = Field("short", description="SFT variant to start from; section 4.3: long")
    alpha: float = Field(
        30.0,
        gt=0.0,
        description="MOS units, tolerance; Eq. 5, section 4.1: 10, which suits an error of about "
        "5; the mini student's is about 15",
    )
    weight_accuracy: float = Field(2.0, ge=0.0, description="lambda_acc; Eq. 7, section 4.1")
    weight_format: float = Field(1.0, ge=0.0, description="lambda_fmt; Eq. 7, section 4.1")
    exploration_steps: int = Field(
        0, ge=0, description="of max_steps, PreResQ-R1's stage 1; there about half; 0: one stage"
    )
    images_per_step: int = Field(
        16,
        ge=1,
        description="images per optimiser step, all devices; section 4.1: batch size 1. With "
        "per_device_train_batch_size, TRL's completions in one pass of a device (default: all of "
        "its step), it decides gradient_accumulation_steps",
    )
    validation_steps: int = Field(20, ge=1, description=f"steps between validations; {OURS}")
    n_validation: int = Field(200, ge=0, description=f"validation images scored; {OURS}")
    shared_prefix: bool = Field(
        True, description=f"run image and prompt once per group, where that is exact; {OURS}"
    )
    shuffle_rewards: bool = Field(False, description="control: rewards permuted in the batch")
    freeze_vision: bool = Field(True, description=f"keep the vision tower as it is; {OURS}")
    seed: int = Field(0, ge=0, description=OURS)

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.num_generations < 2:
            raise ValueError(
                f"grpo.num_generations is {self.num_generations}: a completion that is compared "
                "with itself has advantage 0, so nothing is learnt; the paper has 8"
            )
        if self.exploration_steps and self.exploration_steps >= self.max_steps:
            raise ValueError(
                f"exploration_steps {self.exploration_steps} must leave steps of max_steps "
                f"{self.max_steps} for the second stage"
            )
        if self.save_steps % self.num_iterations:
            raise ValueError(
                f"save_steps {self.save_steps} must be a multiple of num_iterations "
                f"{self.num_iterations}: a run resumed inside a generation is another run"
            )
        return self

    def steps(self, n_images: int) -> int:
        """Return the optimiser steps on so many images; ``max_steps`` -1 counts epochs."""
        epochs = self.trl.get("num_train_epochs", 3.0)  # TRL's default
        return (
            self.max_steps if self.max_steps > 0 else int(epochs * n_images / self.images_per_step)
        )

    def batch(self, processes: int) -> tuple[int, int]:
        """Return how the completions of a step fall into passes.

        Args:
            processes: That train together.

        Returns:
            TRL's ``per_device_train_batch_size`` and ``gradient_accumulation_steps``.

        Raises:
            ValueError: If images do not divide over processes, or completions over passes.

        Example:
            >>> GrpoConfig().batch(2), GrpoConfig(per_device_train_batch_size=4).batch(1)
            ((64, 1), (4, 32))
        """
        images, rest = divmod(self.images_per_step, processes)
        completions = images * self.num_generations
        in_a_pass = self.trl.get("per_device_train_batch_size", completions)
        if rest:
            raise ValueError(
                f"grpo.images_per_step {self.images_per_step} does not divide over {processes} "
                "processes"
            )
        if completions % in_a_pass:
            raise ValueError(
                f"grpo.per_device_train_batch_size {in_a_pass} must divide the {images} x "
                f"{self.num_generations} completions of a device's step"
            )
        return in_a_pass, completions // in_a_pass


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

"""One frozen model per stage, of flat literals.

Each field says its unit, its meaning and where the paper states it; "paper" is Q-Ponder
(arXiv:2506.05384).
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

OURS = "not stated; ours"
Scheduler = Literal["constant", "constant_with_warmup", "linear", "cosine"]
Variant = Literal["none", "short", "long"]


class Section(BaseModel):
    """Settings of one stage: flat literals, frozen, nothing unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Settings that older runs do not have: they ran as the default now says."""

    def unstated(self) -> set[str]:
        """Return the added settings at their default: keys leave them out, so older runs stay done.

        Example:
            >>> DataConfig().unstated(), DataConfig(n_mirror=300).unstated()
            ({'n_mirror'}, set())
        """
        fields = type(self).model_fields
        return {name for name in self.ADDED if getattr(self, name) == fields[name].default}


class DataConfig(Section):
    """The image sets."""

    ADDED = frozenset({"n_mirror"})

    seed: int = Field(0, ge=0, description=f"seed of images and raters; {OURS}")
    source: Literal["embedded", "prepared"] = Field(
        "embedded",
        description="embedded: make the mini sets; prepared: data/<set>/<split>.jsonl lie there",
    )
    train_set: str = Field("mini-koniq", description="set that training draws on; section 4.1")
    n_train: int = Field(12000, ge=1, description="training images; section 4.1: about 5,600")
    n_validation: int = Field(300, ge=1, description=f"validation images; {OURS}")
    n_test: int = Field(300, ge=1, description=f"images in each test set; {OURS}")
    image_size: int = Field(128, ge=28, description=f"pixels, side of an image; {OURS}")
    n_raters: int = Field(20, ge=2, description=f"simulated raters per image; {OURS}")
    train_scenes: Literal["own", "varied"] = Field(
        "varied",
        description="embedded training pictures show the set's own scenes, or many kinds more "
        f"that are made of them; {OURS}",
    )
    n_mirror: int = Field(
        0, ge=0, description=f"images in each mini-valid set, made to choose and tune by; {OURS}"
    )


class DistillConfig(Section):
    """The teacher's answers."""

    teacher: Literal["expert", "server"] = Field(
        "expert", description="expert: offline, measures pixels; server: OpenAI-compatible"
    )
    teacher_model: str = Field(
        "expert-v1", description="name of the teacher; Table 4: Qwen2.5-VL-72B"
    )
    base_url: str | None = Field(None, description="address of the server, without credentials")
    hint: bool = Field(True, description="give severity tags where known; section 3.2")
    temperature: float = Field(0.7, ge=0.0, le=2.0, description=f"sampling; {OURS}")
    max_tokens: int = Field(1536, ge=1, description=f"tokens per answer; {OURS}")
    concurrency: int = Field(16, ge=1, description=f"requests in flight; {OURS}")
    timeout_s: float = Field(120.0, gt=0.0, description=f"seconds per request; {OURS}")
    max_attempts: int = Field(5, ge=1, description=f"attempts per request; {OURS}")
    seed: int = Field(0, ge=0, description=f"seed of the teacher's wording; {OURS}")


class FilterConfig(Section):
    """Which answers are kept."""

    gamma: float = Field(0.8, gt=0.0, le=1.0, description="share kept; Eq. 1, section 3.2")
    sweep: tuple[float, ...] = Field(
        (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), description=f"shares compared in filter_sweep.csv; {OURS}"
    )
    seed: int = Field(0, ge=0, description=f"seed of the random-keep control; {OURS}")


class StudentConfig(Section):
    """The model that learns."""

    model: str = Field(
        "builtin:mini", description="builtin:mini, a hub name or a folder; section 4.1: 7B"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description=OURS)
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description=OURS
    )
    min_pixels: int = Field(16384, ge=784, description=f"pixels of an image, at least; {OURS}")
    max_pixels: int = Field(16384, ge=784, description=f"pixels of an image, at most; {OURS}")
    image_backend: Literal["pil", "torchvision"] = Field(
        "pil", description=f"image processor; the two give different pixels; {OURS}"
    )
    prompt_id: str = Field("student_short", description=f"the student's prompt; {OURS}")
    quantization: Literal["none", "nf4"] = Field(
        "none", description=f"nf4: language model in 4 bits, trained by adapters only; {OURS}"
    )

    @model_validator(mode="after")
    def _pixels_in_order(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} > max_pixels {self.max_pixels}")
        return self


class SftConfig(Section):
    """Supervised fine-tuning on the kept answers."""

    ADDED = frozenset({"select", "select_sets", "select_images"})

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

    ADDED = frozenset(
        {
            "vllm_mode",
            "vllm_server_base_url",
            "vllm_gpu_memory_utilization",
            "vllm_tensor_parallel_size",
            "vllm_max_model_length",
            "vllm_enable_sleep_mode",
            "vllm_importance_sampling_correction",
        }
    )

    reward: Literal["qponder", "preresq", "preresq_video", "threshold", "fidelity", "gaussian"] = (
        Field("qponder", description="reward of scores; qponder: exponential, Eqs. 5-7")
    )
    start_from: Variant = Field("long", description="SFT variant to start from; section 4.3")
    alpha: float = Field(30.0, gt=0.0, description="MOS units, tolerance; Eq. 5, section 4.1: 10")
    threshold: float = Field(0.35, gt=0.0, description="of 1 to 5; reward threshold; Q-Insight")
    gaussian_width: float = Field(
        0.5, gt=0.0, description="of 1 to 5, deviation; reward gaussian; VQAThinker"
    )
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


class PredictConfig(Section):
    """Which model answers for which images."""

    models: tuple[str, ...] = Field(
        ("base", "ci-none", "ci-short", "ci-long", "qponder", "teacher", "handcrafted"),
        description="models of Tables 1 and 3",
    )
    sets: tuple[str, ...] = Field(
        ("mini-koniq", "mini-spaq", "mini-livew", "mini-kadid", "mini-csiq", "mini-agiqa"),
        description="test sets in the roles of section 4.1",
    )
    batch_size: int = Field(64, ge=1, description=f"images per batch; {OURS}")
    max_new_tokens: int = Field(192, ge=1, description=f"tokens per answer; {OURS}")
    n_samples: int = Field(4, ge=1, description=f"sampled answers per image; {OURS}")
    sampling_temperature: float = Field(0.7, gt=0.0, description=f"of sampled answers; {OURS}")
    sampled_models: tuple[str, ...] = Field(
        ("ci-long", "qponder"), description=f"models that also answer by sampling; {OURS}"
    )
    sampled_sets: tuple[str, ...] = Field(
        ("mini-koniq",), description=f"sets that are also sampled on; {OURS}"
    )
    seed: int = Field(0, ge=0, description=f"seed of sampled answers; {OURS}")

    @model_validator(mode="after")
    def _sampled_are_predicted(self) -> Self:
        for name in ("models", "sets"):
            extra = set(getattr(self, f"sampled_{name}")) - set(getattr(self, name))
            if extra:
                raise ValueError(f"sampled_{name} has {sorted(extra)}, which {name} has not")
        return self


class EvaluateConfig(Section):
    """Correlations, errors and their intervals."""

    n_resamples: int = Field(2000, ge=100, description=f"bootstrap resamples; {OURS}")
    confidence: float = Field(0.95, gt=0.0, lt=1.0, description=f"of the intervals; {OURS}")
    seed: int = Field(0, ge=0, description=f"seed of the resamples; {OURS}")
    min_n: int = Field(10, ge=3, description=f"fewest images a correlation is given for; {OURS}")


class JudgeConfig(Section):
    """Who rates the reasoning, and which texts."""

    judges: tuple[str, ...] = Field(
        ("rubric-v1",),
        description="rubric-v1: offline; others: models behind servers; section 3.1: one, "
        "Gemini-1.5-Pro",
    )
    base_urls: tuple[str, ...] = Field(
        (), description="address of each judge behind a server, in order, without credentials"
    )
    models: tuple[str, ...] = Field(
        ("ci-short", "ci-long", "qponder", "teacher"),
        description="whose answers are judged, as far as they are predicted; Tables 2 and 4",
    )
    sets: tuple[str, ...] = Field(
        ("mini-koniq", "mini-spaq", "mini-livew", "mini-kadid", "mini-csiq", "mini-agiqa"),
        description="test sets, as far as they are predicted; Table 2",
    )
    distilled: bool = Field(
        True, description="judge the teacher's answers before and after the filter; section 3.2"
    )
    max_images: int | None = Field(
        None, ge=1, description=f"images per set that are judged, null: all; {OURS}"
    )
    answer_format: Literal["json_schema", "xml"] = Field(
        "json_schema", description="how a server's verdict is constrained; xml: Table 6's own form"
    )
    repeats: int = Field(1, ge=1, description=f"times each text is rated; {OURS}")
    max_tokens: int = Field(256, ge=16, description=f"tokens per verdict; {OURS}")
    concurrency: int = Field(16, ge=1, description=f"requests in flight per judge; {OURS}")
    timeout_s: float = Field(120.0, gt=0.0, description=f"seconds per request; {OURS}")
    max_attempts: int = Field(5, ge=1, description=f"attempts per request; {OURS}")
    n_resamples: int = Field(2000, ge=100, description=f"bootstrap resamples; {OURS}")
    confidence: float = Field(0.95, gt=0.0, lt=1.0, description=f"of the intervals; {OURS}")
    seed: int = Field(0, ge=0, description=f"seed of the resamples and of requests; {OURS}")

    @model_validator(mode="after")
    def _every_server_has_an_address(self) -> Self:
        servers = [name for name in self.judges if not name.startswith("rubric-")]
        if len(servers) != len(self.base_urls) or len(set(self.judges)) != len(self.judges):
            raise ValueError(
                f"expected different judges and one of base_urls for each of {servers}, got "
                f"{list(self.judges)} and {list(self.base_urls)}"
            )
        return self


class LaunchConfig(Section):
    """How many processes train together, and how a model is shared out over them."""

    ADDED = frozenset({"processes", "accelerate"})

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


SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "distill": DistillConfig,
    "filter": FilterConfig,
    "student": StudentConfig,
    "sft": SftConfig,
    "grpo": GrpoConfig,
    "predict": PredictConfig,
    "evaluate": EvaluateConfig,
    "judge": JudgeConfig,
    "launch": LaunchConfig,
}

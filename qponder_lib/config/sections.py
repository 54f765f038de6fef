"""One frozen model per stage, of flat literals; those of training are in `training`.

Each field says its unit, its meaning and where the paper states it; "paper" is Q-Ponder
(arXiv:2506.05384), "PreResQ-R1" arXiv:2511.05393 and its released code.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

OURS = "not stated; ours"
NO_STUDENTS = ("teacher", "handcrafted")
Variant = Literal["none", "short", "long"]


class Section(BaseModel):
    """Settings of one stage: flat literals, frozen, nothing unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    PACE: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how fast a stage runs, never what it leaves behind."""

    @classmethod
    def names(cls) -> set[str]:
        """Names of the settings that may be stated."""
        return set(cls.model_fields)


class DataConfig(Section):
    """The image sets."""

    seed: int = Field(0, ge=0, description=f"seed of images and raters; {OURS}")
    source: Literal["embedded", "prepared"] = Field(
        "embedded",
        description="embedded: make the mini sets; prepared: data/<set>/<split>.jsonl lie there",
    )
    train_set: str = Field("mini-koniq", description="set that training draws on; section 4.1")
    n_train: int = Field(12000, ge=1, description="training images; section 4.1: about 5,600")
    n_validation: int = Field(300, ge=1, description=f"validation images; {OURS}")
    n_test: int = Field(300, ge=1, description=f"images in each test set; {OURS}")
    n_raters: int = Field(20, ge=2, description=f"simulated raters per image; {OURS}")
    n_mirror: int = Field(
        0, ge=0, description=f"images in each mini-valid set, made to choose and tune by; {OURS}"
    )


class DistillConfig(Section):
    """The teacher's responses."""

    PACE = frozenset({"concurrency"})

    teacher: Literal["expert", "server"] = Field(
        "expert", description="expert: offline, measures pixels; server: OpenAI-compatible"
    )
    teacher_model: str = Field(
        "expert-v1", description="name of the teacher; Table 4: Qwen2.5-VL-72B"
    )
    base_url: str | None = Field(None, description="address of the server, without credentials")
    hint: bool = Field(True, description="give severity tags where known; section 3.2")
    temperature: float = Field(0.7, ge=0.0, le=2.0, description=f"sampling; {OURS}")
    max_tokens: int = Field(1536, ge=1, description=f"tokens per response; {OURS}")
    concurrency: int = Field(16, ge=1, description=f"requests in flight; {OURS}")


class FilterConfig(Section):
    """Which responses are kept."""

    gamma: float = Field(0.8, gt=0.0, le=1.0, description="share kept; Eq. 1, section 3.2")
    sweep: tuple[float, ...] = Field(
        (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), description=f"shares compared in filter_sweep.csv; {OURS}"
    )


class StudentConfig(Section):
    """The model that learns."""

    model: str = Field(
        "builtin:mini", description="builtin:mini, a hub name or a folder; section 4.1: 7B"
    )
    revision: str = Field("main", description=f"commit of a model on the hub; {OURS}")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description=OURS)
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description=OURS
    )
    min_pixels: int = Field(16384, ge=784, description=f"pixels of an image, at least; {OURS}")
    max_pixels: int = Field(16384, ge=784, description=f"pixels of an image, at most; {OURS}")
    prompt_id: str = Field("student_short", description=f"the student's prompt; {OURS}")
    quantization: Literal["none", "nf4"] = Field(
        "none", description=f"nf4: language model in 4 bits, trained by adapters only; {OURS}"
    )
    lora_rank: int = Field(
        0, ge=0, description=f"of adapters on the language model; 0: train all weights; {OURS}"
    )
    lora_alpha: int = Field(32, ge=1, description=f"adapters times alpha / rank; {OURS}")

    @model_validator(mode="after")
    def _pixels_in_order(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} > max_pixels {self.max_pixels}")
        return self

    @model_validator(mode="after")
    def _four_bits_are_trained_by_adapters(self) -> Self:
        if self.quantization != "none" and not self.lora_rank:
            raise ValueError(
                "student.quantization is nf4: 4-bit weights are trained by adapters only; set "
                "student.lora_rank"
            )
        return self


class PredictConfig(Section):
    """Which model predicts for which images."""

    PACE = frozenset({"concurrency"})

    models: tuple[str, ...] = Field(
        ("base", "ci-none", "ci-short", "ci-long", "qponder", "teacher", "handcrafted"),
        description="models of Tables 1 and 3",
    )
    sets: tuple[str, ...] = Field(
        ("mini-koniq", "mini-spaq", "mini-livew", "mini-kadid", "mini-csiq", "mini-agiqa"),
        description="test sets in the roles of section 4.1",
    )
    batch_size: int = Field(64, ge=1, description=f"images per batch; {OURS}")
    max_new_tokens: int = Field(192, ge=1, description=f"tokens per prediction; {OURS}")
    n_samples: int = Field(8, ge=1, description=f"sampled predictions per image; {OURS}")
    sampling_temperature: float = Field(0.7, gt=0.0, description=f"of sampled predictions; {OURS}")
    sampled_sets: tuple[str, ...] = Field(
        ("mini-koniq",),
        description=f"sets on which cold starts and qponder are also sampled; {OURS}",
    )
    base_url: str | None = Field(
        None, description="address of a server that has the students; null: in this process"
    )
    concurrency: int = Field(64, ge=1, description=f"requests in flight at that server; {OURS}")

    @model_validator(mode="after")
    def _sampled_are_predicted(self) -> Self:
        extra = set(self.sampled_sets) - set(self.sets)
        if extra:
            raise ValueError(f"sampled_sets has {sorted(extra)}, which sets has not")
        return self

    @property
    def sampled_models(self) -> tuple[str, ...]:
        """Models that are also sampled, on `sampled_sets`."""
        if not self.sampled_sets:
            return ()
        return tuple(one for one in self.models if one.startswith(("ci-", "qponder")))

    def of(self, model: str) -> PredictConfig:
        """Return the settings that decide what one model predicts.

        That a server computes it is one of them (in bfloat16, by kernels of its own); where that
        server is found is not.
        """
        sets = self.sampled_sets if model in self.sampled_models else ()
        served = self.base_url is not None and model not in NO_STUDENTS
        changes = {"models": (model,), "sampled_sets": sets}
        return self.model_copy(update=changes | {"base_url": "served" if served else None})

    def files(self, model: str) -> list[tuple[str, bool]]:
        """List the files of predictions of a model: the set, and whether they are sampled."""
        asked = [(dataset, False) for dataset in self.sets]
        return asked + [(dataset, True) for dataset in self.of(model).sampled_sets]


class JudgeConfig(Section):
    """Who rates the reasoning, and which texts."""

    PACE = frozenset({"concurrency"})

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
        description="whose predictions are judged, as far as they are predicted; Tables 2 and 4",
    )
    sets: tuple[str, ...] = Field(
        ("mini-koniq", "mini-spaq", "mini-livew", "mini-kadid", "mini-csiq", "mini-agiqa"),
        description="test sets, as far as they are predicted; Table 2",
    )
    distilled: bool = Field(
        True, description="judge the teacher's responses before and after the filter; section 3.2"
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

    @model_validator(mode="after")
    def _every_server_has_an_address(self) -> Self:
        servers = [name for name in self.judges if not name.startswith("rubric-")]
        if len(servers) != len(self.base_urls) or len(set(self.judges)) != len(self.judges):
            raise ValueError(
                f"expected different judges and one of base_urls for each of {servers}, got "
                f"{list(self.judges)} and {list(self.base_urls)}"
            )
        return self


# ---- sections of the video model, which a profile may leave out; what they do not state, such as
# the weight decay, is as in `sft` and `grpo`


class ClipsConfig(Section):
    """The embedded set of clips, and the images that a model is shown of a clip."""

    n_train: int = Field(640, ge=1, description=f"training clips; {OURS}")
    n_test: int = Field(120, ge=1, description=f"test clips; {OURS}")
    n_ladders: int = Field(
        16,
        ge=1,
        description="scenes of test and as many of validation photographs, filmed clean and at "
        f"each level of stutter and drops; {OURS}",
    )
    size: int = Field(128, ge=16, multiple_of=2, description=f"pixels, side of a frame; {OURS}")
    rows: int = Field(4, ge=1, description="of the mosaic; PreResQ-R1, figures: 4")
    columns: int = Field(4, ge=1, description="of the mosaic; PreResQ-R1, figures: 4")
    long_side: int = Field(128, ge=28, description=f"pixels, of each image at most; {OURS}")
    seed: int = Field(0, ge=0, description=f"seed of clips, raters and warm-up; {OURS}")


class MotionConfig(Section):
    """The warm-up of the mini student on fresh mosaics, before the video model (D75)."""

    steps: int = Field(
        1000, ge=0, description=f"optimiser steps; 0 for a model that has seen videos; {OURS}"
    )
    learning_rate: float = Field(1.0e-3, gt=0.0, description=f"peak; {OURS}")
    word_steps: int = Field(
        200, ge=0, description=f"steps of the language model, that captions mosaics; {OURS}"
    )


class VideoConfig(Section):
    """The video model, trained from the image model that the profile's GRPO leaves."""

    prompt_id: Literal["video_short", "preresq_video"] = Field(
        "video_short", description=f"question about a clip; {OURS}"
    )
    frames_only_share: float = Field(
        0.25, ge=0.0, lt=1.0, description=f"of training rows without the mosaic; {OURS}"
    )
    sft_learning_rate: float = Field(5.0e-4, gt=0.0, description=f"peak; {OURS}")
    sft_max_steps: int = Field(320, ge=1, description=f"optimiser steps; {OURS}")
    sft_clips_per_step: int = Field(16, ge=1, description=f"clips per optimiser step; {OURS}")
    grpo_learning_rate: float = Field(2.0e-5, gt=0.0, description=f"peak; {OURS}; released: 1e-6")
    grpo_max_steps: int = Field(30, ge=1, description=f"optimiser steps; {OURS}")
    grpo_clips_per_step: int = Field(
        5, ge=1, description="clips per optimiser step; PreResQ-R1, script: 5 per GPU"
    )
    grpo_num_generations: int = Field(
        5,
        ge=3,
        description="completions per clip, from 3, by which the balance term is defined; "
        "PreResQ-R1, script: 5",
    )
    max_completion_length: int = Field(64, ge=8, description=f"tokens; {OURS}")
    seed: int = Field(0, ge=0, description=OURS)

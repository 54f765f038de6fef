"""Settings of the clips, of the video model and its warm-up: sections a profile may leave out.

"PreResQ-R1" is arXiv:2511.05393 and its released code. What a section does not state, such as the
weight decay, is as in the profile's `sft` and `grpo`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from qponder_lib.config.sections import OURS, Section


class ClipsConfig(Section):
    """The embedded set of clips, and how a clip becomes pictures."""

    n_train: int = Field(640, ge=1, description=f"training clips; {OURS}")
    n_validation: int = Field(48, ge=1, description=f"validation clips; {OURS}")
    n_test: int = Field(120, ge=1, description=f"test clips; {OURS}")
    n_ladders: int = Field(
        16, ge=1, description=f"scenes filmed clean and at each level of stutter and drops; {OURS}"
    )
    n_validation_ladders: int = Field(
        16, ge=1, description=f"as many of validation photographs, to choose by; {OURS}"
    )
    size: int = Field(128, ge=16, multiple_of=2, description=f"pixels, side of a frame; {OURS}")
    n_frames: int = Field(16, ge=2, description=f"frames of a clip; {OURS}")
    fps: int = Field(8, ge=1, description=f"frames per second; {OURS}")
    reach: tuple[float, float] = Field(
        (0.7, 1.0), description=f"of the free way, shortest and longest path of the camera; {OURS}"
    )
    n_raters: int = Field(20, ge=2, description=f"simulated raters per clip; {OURS}")
    rows: int = Field(4, ge=1, description="of the mosaic; PreResQ-R1, figures: 4")
    columns: int = Field(4, ge=1, description="of the mosaic; PreResQ-R1, figures: 4")
    long_side: int = Field(128, ge=28, description=f"pixels, of each picture at most; {OURS}")
    seed: int = Field(0, ge=0, description=f"seed of clips and raters; {OURS}")

    @model_validator(mode="after")
    def _reach_is_a_range(self) -> Self:
        if not 0.0 < self.reach[0] <= self.reach[1] <= 1.0:
            raise ValueError(f"expected 0 < shortest <= longest <= 1 as reach, got {self.reach}")
        return self


class VideoConfig(Section):
    """The video model, trained from the image model that the profile's GRPO leaves."""

    prompt_id: Literal["video_short", "preresq_video"] = Field(
        "video_short", description=f"question about a clip; {OURS}"
    )
    frames_only_share: float = Field(
        0.25, ge=0.0, lt=1.0, description=f"of training rows without the mosaic; {OURS}"
    )
    sft_learning_rate: float = Field(5.0e-4, gt=0.0, description=f"peak; {OURS}")
    freeze_vision: bool = Field(
        True, description=f"keep the tower as the warm-up on mosaics left it; {OURS}"
    )
    sft_max_steps: int = Field(320, ge=1, description=f"optimiser steps; {OURS}")
    sft_clips_per_step: int = Field(16, ge=1, description=f"clips per optimiser step; {OURS}")
    sft_warmup_steps: int = Field(10, ge=0, description=f"optimiser steps; {OURS}")
    grpo_learning_rate: float = Field(2.0e-5, gt=0.0, description=f"peak; {OURS}; released: 1e-6")
    grpo_max_steps: int = Field(30, ge=1, description=f"optimiser steps; {OURS}")
    grpo_clips_per_step: int = Field(
        5, ge=1, description="clips per optimiser step; PreResQ-R1, script: 5 per GPU"
    )
    grpo_num_generations: int = Field(
        5,
        ge=3,
        description="answers per clip, from 3, by which the balance term is defined; "
        "PreResQ-R1, script: 5",
    )
    grpo_warmup_steps: int = Field(3, ge=0, description=f"optimiser steps; {OURS}")
    penalise_spread: bool = Field(
        False, description="deduct the std penalty; PreResQ-R1, figures: in stage 1 alone"
    )
    max_completion_length: int = Field(64, ge=8, description=f"tokens; {OURS}")
    save_steps: int = Field(10, ge=1, description=f"optimiser steps between checkpoints; {OURS}")
    seed: int = Field(0, ge=0, description=OURS)


class MotionConfig(Section):
    """The warm-up of the mini student on fresh mosaics, before the video model (D75)."""

    steps: int = Field(
        1000, ge=0, description=f"optimiser steps; 0 for a model that has seen videos; {OURS}"
    )
    mosaics_per_step: int = Field(32, ge=1, description=f"fresh mosaics per step; {OURS}")
    stills_per_step: int = Field(
        16, ge=1, description=f"single pictures per step, whose tokens are to stay; {OURS}"
    )
    stills_weight: float = Field(0.5, ge=0.0, description=f"of their term in the loss; {OURS}")
    learning_rate: float = Field(1.0e-3, gt=0.0, description=f"peak; {OURS}")
    warmup_steps: int = Field(60, ge=1, description=f"optimiser steps; {OURS}")
    word_steps: int = Field(
        200, ge=0, description=f"steps of the language model, that says what cells do; {OURS}"
    )
    word_learning_rate: float = Field(6.0e-4, gt=0.0, description=f"peak; {OURS}")
    save_steps: int = Field(100, ge=1, description=f"optimiser steps between checkpoints; {OURS}")
    seed: int = Field(0, ge=0, description=OURS)

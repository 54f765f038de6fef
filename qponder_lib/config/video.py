"""Settings of the clips, of the video model and its warm-up: sections a profile may leave out.

"PreResQ-R1" is arXiv:2511.05393 and its released code. What a section does not state, such as the
weight decay or the steps between checkpoints, is as in the profile's `sft` and `grpo`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qponder_lib.config.sections import OURS, Section


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

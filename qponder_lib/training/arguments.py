"""Settings that both trainers take alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qponder_lib.config import GrpoConfig, SftConfig


def shared_arguments(config: SftConfig | GrpoConfig, work: Path) -> dict[str, Any]:
    """The profile's settings that SFT and GRPO share, under transformers' names.

    On a GPU bfloat16 and gradient checkpointing are on; on a CPU everything is float32. Losses
    that are not numbers are logged as they are, so that they are noticed.
    """
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(work),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_scheduler_type,
        "warmup_steps": config.warmup_steps,
        "max_steps": config.max_steps,
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "logging_steps": config.logging_steps,
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": on_gpu,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
    }

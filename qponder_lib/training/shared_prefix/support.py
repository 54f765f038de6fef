"""When a shared prefix would be exact, and why it would not."""

from __future__ import annotations

import torch
import trl
from packaging.version import Version
from transformers import PreTrainedModel

MODELS = {"qwen2_5_vl"}
TESTED_TRL = "1.16"


def why_stock(model: torch.nn.Module, base: PreTrainedModel, settings: dict[str, bool]) -> str:
    """Why TRL's own way must be taken; empty where the shared prefix gives the same numbers.

    Args:
        model: The policy, with its adapters.
        base: The policy's transformers model.
        settings: Names of trainer settings that a shared prefix cannot follow, and whether they
            are on.
    """
    text = base.config.get_text_config()
    release = ".".join(str(part) for part in Version(trl.__version__).release[:2])
    reasons = {
        f"it is tested with TRL {TESTED_TRL}, this is {trl.__version__}": release != TESTED_TRL,
        f"model type {base.config.model_type} is not known": base.config.model_type not in MODELS,
        f"attention is {text._attn_implementation}, not sdpa": text._attn_implementation
        not in ("sdpa", "shared_prefix_sdpa"),
        "a layer attends through a sliding window": set(getattr(text, "layer_types", []))
        != {"full_attention"},
        "dropout would differ between the answers of a group": _drops(model, text),
        **{f"{name} is on": on for name, on in settings.items()},
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)


def _drops(model: torch.nn.Module, text: object) -> bool:
    layers = any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules())
    return layers or getattr(text, "attention_dropout", 0.0) > 0

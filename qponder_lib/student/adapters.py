"""Low-rank adapters and 4-bit weights, on the language model and nowhere else.

The vision tower sees the damage that is to be rated. Its layers share names with those of the
language model, so a list of layer names adapts it too, and a quantiser that is told nothing rounds
it; both are found out here by counting.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import BitsAndBytesConfig, PreTrainedModel

from qponder_lib.artifacts import read_json, write_json

ADAPTED = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
LAYERS_PER_BLOCK = 7
KEPT_WHOLE = ["model.visual", "lm_head"]
"""What is never rounded to 4 bits. "visual" alone matches nothing in transformers 5."""
_CONFIG = "adapter_config.json"


class ReachError(RuntimeError):
    """Adapters or 4-bit weights are where they must not be, or miss where they must be."""


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter and not a whole model."""
    return (folder / _CONFIG).is_file()


def new_adapter(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> PeftModel:
    """Put fresh adapters on every linear layer of the language model.

    Args:
        model: A Qwen2.5-VL; changed in place.
        rank: Rank of each adapter, at least 1.
        alpha: Scale; what an adapter adds is multiplied by ``alpha / rank``.
        seed: Seed of the random half; the other half is zero, so that the first answers are
            those of the model.

    Raises:
        ReachError: If a layer of the vision tower was adapted, or one of the language model not.
    """
    torch.manual_seed(seed)
    # Dropout would make the same answer's probability differ between two passes of GRPO.
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=ADAPTED)
    adapted = get_peft_model(model, config)
    check_reach(adapted)
    return adapted


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool) -> PeftModel:
    """Put the adapter of a folder on its base model.

    Raises:
        ReachError: As in `new_adapter`.
    """
    adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    check_reach(adapted)
    return adapted


def check_reach(model: PeftModel) -> int:
    """Count the adapted layers.

    Returns:
        Their number: seven for each block of the language model.

    Raises:
        ReachError: If there is one in the vision tower, or not seven for each block.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    seeing = [name for name in names if ".visual." in name]
    blocks = model.get_base_model().config.text_config.num_hidden_layers
    if seeing or len(names) != LAYERS_PER_BLOCK * blocks:
        raise ReachError(
            f"{len(names)} layers are adapted, {len(seeing)} of them in the vision tower; expected "
            f"{LAYERS_PER_BLOCK} in each of {blocks} blocks of the language model and none there"
        )
    return len(names)


def four_bit(dtype: str) -> BitsAndBytesConfig:
    """How 4-bit weights are loaded: NF4, their scales rounded too, sums in `dtype`.

    Raises:
        ReachError: If bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401  # an optional package
    except ImportError as error:
        raise ReachError(
            "student.quantization is nf4, which needs bitsandbytes: pip install 'qponder[gpu]'"
        ) from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        llm_int8_skip_modules=KEPT_WHOLE,
    )


def check_four_bit(model: torch.nn.Module) -> int:
    """Count the layers that are rounded to 4 bits.

    Returns:
        Their number.

    Raises:
        ReachError: If none is, or the vision tower or the head is among them.
    """
    rounded = [
        name
        for name, one in model.named_modules()
        if type(one).__name__ == "Linear4bit" and not isinstance(one, LoraLayer)
    ]
    wrong = [name for name in rounded if ".visual." in f".{name}" or "lm_head" in name]
    if wrong or not rounded:
        raise ReachError(
            f"{len(rounded)} layers are in 4 bits, {len(wrong)} of them in the vision tower or the "
            f"head, such as {wrong[:1]}"
        )
    return len(rounded)


def note_base(folder: Path, base: str | Path) -> None:
    """Name in an adapter folder what the adapter was trained on.

    Args:
        folder: The adapter's folder.
        base: ``builtin:mini``, a hub name, or a folder, which is noted relative to the adapter's,
            so that a run folder can be moved.
    """
    config = read_json(folder / _CONFIG)
    named = os.path.relpath(base, folder) if isinstance(base, Path) else base
    write_json(folder / _CONFIG, {**config, "base_model_name_or_path": named})


def base_of(folder: Path, default: str) -> Path | None:
    """Return the folder of the weights an adapter was trained on.

    Args:
        folder: The adapter's folder.
        default: The profile's own model.

    Returns:
        A folder of trained weights, or None where the adapter is on the profile's own model.

    Raises:
        FileNotFoundError: If the noted base is neither.
    """
    noted = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    if noted == default:
        return None
    base = (folder / noted).resolve()
    if not base.is_dir():
        raise FileNotFoundError(
            f"the adapter in {folder} is for {noted!r}; that is no folder beside it, and the "
            f"profile's model is {default!r}"
        )
    return base

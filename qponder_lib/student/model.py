"""Loads the student: the shipped mini weights, a trained folder, or a hub model; with adapters.

Low-rank adapters and 4-bit weights reach the language model and nothing else: the vision tower sees
the distortions that are to be rated. Its layers share names with those of the language model, so a
list of layer names adapts it too, and a quantiser that is told nothing rounds it; both are found
out here by counting.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.utils import logging as transformers_logging

from qponder_lib.artifacts import file_sha256, read_json, write_json
from qponder_lib.config import StudentConfig
from qponder_lib.paths import MINI_WEIGHTS, PACKAGED
from qponder_lib.student.architecture import use_fast_vision

BUILTIN = "builtin:mini"
ADAPTED = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
LAYERS_PER_BLOCK = 7
KEPT_WHOLE = ["model.visual", "lm_head"]
"""What is never rounded to 4 bits. "visual" alone matches nothing in transformers 5."""
_ADAPTER_CONFIG = "adapter_config.json"


class WeightsError(ValueError):
    """Weights are damaged, or adapters or 4-bit weights are not exactly where they must be."""


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without its video part, which wants torchvision.

    Images always go through PIL: the PIL and torchvision backends give different pixels, and a
    score must not depend on which of them happens to be installed.
    """

    def __init__(
        self,
        image_processor: Qwen2VLImageProcessorPil | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that are saved and loaded."""
        return ["image_processor", "tokenizer"]


@dataclass(frozen=True)
class Student:
    """A model with its processor, and the folder or hub name that both came from."""

    model: PreTrainedModel | PeftModel
    processor: ImageTextProcessor
    source: str


def load_student(config: StudentConfig, folder: Path | None = None) -> Student:
    """Load a student for inference, or for the training of all weights.

    Args:
        config: Which model, its precision, attention and pixel limits.
        folder: A folder of trained weights or of an adapter; None for the base weights of
            ``config.model``.

    Returns:
        The student, on the CPU, or where its 4-bit weights are. An adapter is added into the
        weights, unless they are in 4 bits, which cannot hold it.

    Raises:
        WeightsError: If the shipped weights do not match their checksum, or an adapter or 4-bit
            weights reach the vision tower.
        OSError: If a hub model is neither cached nor reachable.
    """
    student = load_base(config, base_of(folder, config.model))
    if folder is None or not is_adapter(folder):
        return student
    adapted = load_adapter(student.model, folder, trainable=False)
    model = adapted.merge_and_unload() if config.quantization == "none" else adapted
    return Student(model, student.processor, str(folder))


def load_base(config: StudentConfig, folder: Path | None = None) -> Student:
    """Load whole weights, without adapters. Arguments and errors as in `load_student`."""
    builtin = config.model == BUILTIN
    if builtin and folder in (None, PACKAGED):
        check_mini_weights(folder or MINI_WEIGHTS)
    base = MINI_WEIGHTS if builtin else config.model
    source = str(folder or base)
    rounded = config.quantization == "nf4"
    transformers_logging.disable_progress_bar()
    model = AutoModelForImageTextToText.from_pretrained(
        source,
        revision=config.revision,
        dtype=getattr(torch, config.dtype),
        attn_implementation=config.attn_implementation,
        quantization_config=_four_bit(config.dtype) if rounded else None,
    )
    if rounded:
        check_four_bit(model)
    if builtin:
        use_fast_vision(model)
    return Student(model, _processor(config, str(base), model), source)


def as_seen(config: StudentConfig) -> Callable[[Image.Image], Image.Image]:
    """Return what brings an image to the size at which a student sees it, resampled as for it.

    A server with the same limits leaves such an image alone. Limits so close together that it
    would not are left to the server.
    """
    base = MINI_WEIGHTS if config.model == BUILTIN else config.model
    tower = AutoConfig.from_pretrained(base, revision=config.revision).vision_config
    limits = tower.patch_size * tower.spatial_merge_size, config.min_pixels, config.max_pixels

    def resize(image: Image.Image) -> Image.Image:
        height, width = smart_resize(image.height, image.width, *limits)
        if smart_resize(height, width, *limits) != (height, width):
            return image
        return image.resize((width, height), Image.Resampling.BICUBIC)

    return resize


def _processor(config: StudentConfig, base: str, model: PreTrainedModel) -> ImageTextProcessor:
    vision = model.config.vision_config
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels},
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
    )
    tokenizer = AutoTokenizer.from_pretrained(base, revision=config.revision, padding_side="left")
    return ImageTextProcessor(images, tokenizer, chat_template=tokenizer.chat_template)


def check_mini_weights(folder: Path = MINI_WEIGHTS) -> None:
    """Compare the shipped weights with their checksum. Raises WeightsError."""
    expected = (folder / "SHA256").read_text(encoding="ascii").split()[0]
    found = file_sha256(folder / "model.safetensors")
    if found != expected:
        raise WeightsError(
            f"{folder / 'model.safetensors'} has SHA-256 {found[:12]}…, expected {expected[:12]}…; "
            "restore it with git checkout"
        )


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter and not a whole model."""
    return (folder / _ADAPTER_CONFIG).is_file()


def new_adapter(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> PeftModel:
    """Put fresh adapters on every linear layer of the language model.

    Args:
        model: A Qwen2.5-VL; changed in place.
        rank: Rank of each adapter, at least 1.
        alpha: Scale; what an adapter adds is multiplied by ``alpha / rank``.
        seed: Seed of the random half; the other half is zero, so that the first completions are
            those of the model.

    Raises:
        WeightsError: If a layer of the vision tower was adapted, or one of the language model not.
    """
    torch.manual_seed(seed)
    # Dropout would make the same completion's probability differ between two passes of GRPO.
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=ADAPTED)
    adapted = get_peft_model(model, config)
    check_reach(adapted)
    return adapted


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool) -> PeftModel:
    """Put the adapter of a folder on its base model.

    Raises:
        WeightsError: As in `new_adapter`.
    """
    adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    check_reach(adapted)
    return adapted


def check_reach(model: PeftModel) -> int:
    """Count the adapted layers.

    Returns:
        Their number: seven for each block of the language model.

    Raises:
        WeightsError: If there is one in the vision tower, or not seven for each block.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    seeing = [name for name in names if ".visual." in name]
    blocks = model.get_base_model().config.text_config.num_hidden_layers
    if seeing or len(names) != LAYERS_PER_BLOCK * blocks:
        raise WeightsError(
            f"{len(names)} layers are adapted, {len(seeing)} of them in the vision tower; expected "
            f"{LAYERS_PER_BLOCK} in each of {blocks} blocks of the language model and none there"
        )
    return len(names)


def _four_bit(dtype: str) -> BitsAndBytesConfig:
    """How 4-bit weights are loaded: NF4, their scales rounded too, sums in `dtype`.

    Raises:
        WeightsError: If bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401  # an optional package
    except ImportError as error:
        raise WeightsError(
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
        WeightsError: If none is, or the vision tower or the head is among them.
    """
    rounded = [
        name
        for name, one in model.named_modules()
        if type(one).__name__ == "Linear4bit" and not isinstance(one, LoraLayer)
    ]
    wrong = [name for name in rounded if ".visual." in f".{name}" or "lm_head" in name]
    if wrong or not rounded:
        raise WeightsError(
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
    config = read_json(folder / _ADAPTER_CONFIG)
    named = os.path.relpath(base, folder) if isinstance(base, Path) else base
    write_json(folder / _ADAPTER_CONFIG, {**config, "base_model_name_or_path": named})


def base_of(folder: Path | None, default: str) -> Path | None:
    """Return the folder of the whole weights that a model folder holds, or its adapter is on.

    Args:
        folder: The model folder; None for the profile's own model.
        default: The profile's own model.

    Returns:
        A folder of whole weights, or None where they are the profile's own model.

    Raises:
        FileNotFoundError: If the base that an adapter names is neither.
    """
    if folder is None or not is_adapter(folder):
        return folder
    noted = read_json(folder / _ADAPTER_CONFIG)["base_model_name_or_path"]
    if noted == default:
        return None
    base = (folder / noted).resolve()
    if not base.is_dir():
        raise FileNotFoundError(
            f"the adapter in {folder} is for {noted!r}; that is no folder beside it, and the "
            f"profile's model is {default!r}"
        )
    return base


def load_to_train(
    config: StudentConfig, start: Path | None, checkpoint: Path | None, seed: int
) -> Student:
    """Load what a trainer is given.

    Without adapters, the weights come from the checkpoint, if there is one: transformers would
    restore them under wrong names. With adapters, the checkpoint's are left to the trainer; they
    stand on the start, whose own adapter, if it has one, is trained on.

    Args:
        config: The student; ``lora_rank`` 0 trains all weights.
        start: Folder of the weights to start from, or None for the base weights.
        checkpoint: Checkpoint to resume from, or None.
        seed: Of new adapters.

    Raises:
        ValueError: If the start is an adapter and other adapters, or none, are to be trained.
    """
    on_adapter = start is not None and is_adapter(start)
    if not config.lora_rank:
        if on_adapter:
            raise ValueError(f"{start} is an adapter; student.lora_rank 0 cannot train it")
        return load_base(config, checkpoint or start)
    base = load_base(config, base_of(start, config.model))
    if not on_adapter:
        model = new_adapter(base.model, config.lora_rank, config.lora_alpha, seed)
        return Student(model, base.processor, base.source)
    model = load_adapter(base.model, start, trainable=True)
    found = (model.peft_config["default"].r, model.peft_config["default"].lora_alpha)
    if found != (config.lora_rank, config.lora_alpha):
        raise ValueError(
            f"{start} has adapters of rank and alpha {found}; the profile says "
            f"{(config.lora_rank, config.lora_alpha)}"
        )
    return Student(model, base.processor, base.source)

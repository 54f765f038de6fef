"""What training a Qwen2.5-VL takes: tokens, memory of a GPU, hours.

No weights are loaded and nothing is fetched: transformers builds a model of its configuration on
torch's meta device, which holds no memory, and tokens are counted with the tokenizer's file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, Qwen2_5_VLConfig

from qponder_lib import paths
from qponder_lib.config import Profile
from qponder_lib.text.prompts import student_messages

BUILTIN = "builtin:mini"
LETTERS_PER_TOKEN = 3.0
"""English has above four in Qwen's vocabulary; three keeps the estimate on the safe side."""
_TOKENS_PER_MESSAGE = 5  # <|im_start|>, role, line end; <|im_end|>, line end
_DEFAULT_SYSTEM = "You are a helpful assistant."
GIB = 1024**3
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_NF4_BYTES = 4.127 / 8
"""NF4 with a rounded scale for each 64 weights: QLoRA (arXiv:2305.14314), section 3."""
TILE_TOKENS, TILE_WORDS = 4096, 32768
"""Of the head's scores that TRL 1.16 computes at once."""
_TRAINED_ADAPTER_BYTES = 16
"""Weight, gradient and two moments of AdamW in float32."""


# ---- a model

# Published widths, for a machine on which the model has not been fetched yet.
_WIDTHS = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"),
    *("num_key_value_heads", "vocab_size", "tie_word_embeddings"),
)
_PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": (36, 2048, 11008, 16, 2, 151936, True),
    "Qwen/Qwen2.5-VL-7B-Instruct": (28, 3584, 18944, 28, 4, 152064, False),
    "Qwen/Qwen2.5-VL-72B-Instruct": (80, 8192, 29568, 64, 8, 152064, False),
}
_PUBLISHED_POSITIONS = 128000


@dataclass(frozen=True)
class Shape:
    """How large a model is.

    Attributes:
        text: Configuration of the language model: layers, widths, vocabulary, positions.
        tower: Configuration of the vision tower.
        parameters: All weights.
        vision: Weights of the vision tower and the merger.
        linear: Inputs and outputs of each linear layer of the language blocks, which are what 4
            bits and adapters reach.
    """

    text: PreTrainedConfig
    tower: PreTrainedConfig
    parameters: int
    vision: int
    linear: tuple[tuple[int, int], ...]

    def adapter(self, rank: int) -> int:
        """Weights of adapters of a rank on all linear layers of the language blocks."""
        return rank * sum(inputs + outputs for inputs, outputs in self.linear)

    def image_tokens(self, pixels: int) -> int:
        """Tokens of an image of so many pixels, at most."""
        return pixels // (self.tower.patch_size * self.tower.spatial_merge_size) ** 2


def shape_of(model: str) -> Shape | None:
    """Return the sizes of a model, or None if they are not known on this machine.

    Args:
        model: ``builtin:mini``, a folder, or a hub name; nothing is fetched.

    Example:
        >>> round(shape_of("Qwen/Qwen2.5-VL-7B-Instruct").parameters / 1e9, 2)
        8.29
    """
    file = model_file(model, "config.json")
    if file is None and model not in _PUBLISHED:
        return None
    config = AutoConfig.from_pretrained(file.parent) if file is not None else _published(model)
    with torch.device("meta"):
        made = AutoModelForImageTextToText.from_config(config)
    parts = made.model.language_model.layers.modules()
    return Shape(
        text=config.text_config,
        tower=config.vision_config,
        parameters=sum(weight.numel() for weight in made.parameters()),
        vision=sum(weight.numel() for weight in made.model.visual.parameters()),
        linear=tuple(
            (one.in_features, one.out_features) for one in parts if isinstance(one, torch.nn.Linear)
        ),
    )


def _published(model: str) -> Qwen2_5_VLConfig:
    text: dict[str, Any] = dict(zip(_WIDTHS, _PUBLISHED[model], strict=True))
    tower = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3456 if "72B" in model else 3420,
        "out_hidden_size": text["hidden_size"],
    }
    return Qwen2_5_VLConfig(
        text_config=text | {"max_position_embeddings": _PUBLISHED_POSITIONS},
        vision_config=tower,
        tie_word_embeddings=text["tie_word_embeddings"],
    )


def model_file(model: str, name: str, revision: str = "main") -> Path | None:
    """Return a file of a model if it lies on this machine."""
    folder = paths.MINI_WEIGHTS if model == BUILTIN else Path(model)
    if (folder / name).is_file():
        return folder / name
    if folder.is_dir() or model.count("/") != 1:
        return None
    found = try_to_load_from_cache(model, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


# ---- tokens


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest sequence.

    Attributes:
        prompt: Text of the prompt with the chat's control tokens.
        image: The largest image that ``student.max_pixels`` allows.
        completion: ``grpo.max_completion_length``.
        counted: True if the model's tokenizer counted, False if letters were divided.
    """

    prompt: int
    image: int
    completion: int
    counted: bool

    @property
    def whole(self) -> int:
        """Prompt, image and completion."""
        return self.prompt + self.image + self.completion


def token_counter(model: str, revision: str = "main") -> tuple[Callable[[str], int], bool]:
    """Return what counts the tokens of a text, and whether that is the model's own tokenizer.

    Where that is not on this machine, letters are divided.
    """
    file = model_file(model, "tokenizer.json", revision)
    if file is None:
        return lambda text: math.ceil(len(text) / LETTERS_PER_TOKEN), False
    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids), True


def lengths(profile: Profile, shape: Shape) -> Lengths:
    """Count what one sequence of GRPO holds at most."""
    count, counted = token_counter(profile.student.model, profile.student.revision)
    messages = student_messages(profile.student.prompt_id)
    texts = [message["content"] for message in messages]
    if messages[0]["role"] != "system":
        texts.append(_DEFAULT_SYSTEM)  # Qwen's template adds it
    controls = _TOKENS_PER_MESSAGE * len(texts) + 3 + 2  # the assistant's turn, image borders
    return Lengths(
        prompt=sum(count(text) for text in texts) + controls,
        image=shape.image_tokens(profile.student.max_pixels),
        completion=profile.grpo.max_completion_length,
        counted=counted,
    )


# ---- memory and hours


@dataclass(frozen=True)
class Machine:
    """Where a profile is to run.

    Attributes:
        gpus: Number of GPUs that train together.
        sharded: What spreads weights, gradients and moments over them: "zero3", "fsdp2", or "".
        gpu_gib: Memory of each, GiB, or None to compare with nothing.
        train_tokens_per_s: Tokens that one GPU trains on in a second, or None.
        generate_tokens_per_s: Tokens that one GPU samples in a second, or None.
    """

    gpus: int = 1
    sharded: str = ""
    gpu_gib: float | None = None
    train_tokens_per_s: float | None = None
    generate_tokens_per_s: float | None = None


def memory(
    profile: Profile, shape: Shape, tokens: Lengths, machine: Machine, *, stage: str
) -> dict[str, float]:
    """Estimate what one GPU holds at the peak of a stage of stock TRL, without a shared prefix.

    Args:
        profile: The settings.
        shape: Sizes of the model.
        tokens: Tokens of the longest sequence.
        machine: GPUs and whether weights are spread over them.
        stage: "sft" or "grpo".

    Returns:
        GiB by part; weights, reference, gradients and optimizer are divided by the GPUs if they
        are sharded. What is trained is float32, with a copy in the profile's type under ZeRO-3:

        - weights: bytes x parameters; in 4 bits 0.516 x linear layers of the language model +
          bytes x the rest; for trained ones the bytes of float32.
        - reference: bytes x parameters if beta > 0 and all weights are trained; with adapters a
          copy of the adapter.
        - gradients: 4 x trained parameters.
        - optimizer: 8 x trained parameters, the two moments of AdamW.
        - adapter: 16 x adapter parameters.
        - gathered: what is whole on every GPU for a while. ZeRO-3: the weights, to sample. FSDP2:
          the reference, which TRL cuts up as one piece, with its copy, and the head in float32.
        - activations: see `activations`.
        - cache: keys and values of the completions of a step on the GPU.
        - peak: what stands, and the larger of activations and the cache with what is gathered.
    """
    section = profile.sft if stage == "sft" else profile.grpo
    size = _BYTES[profile.student.dtype]
    share = machine.gpus if machine.sharded else 1
    rank = profile.student.lora_rank
    trained = 0 if rank else shape.parameters
    if section.freeze_vision and trained:
        trained -= shape.vision
    adapter = shape.adapter(rank)
    rows = _rows_at_once(profile, machine, stage)
    found = {
        "weights": (_weights(profile, shape) + _float32(trained, size, machine)) / share,
        "reference": 0.0,
        "gradients": 4 * trained / share,
        "optimizer": 8 * trained / share,
        "adapter": float(_TRAINED_ADAPTER_BYTES * adapter),
    }
    if stage == "grpo" and profile.grpo.beta > 0:
        found["reference"] = 4.0 * adapter or size * shape.parameters / share
    standing = sum(found.values())
    found["activations"] = activations(shape, tokens, rows, size, head_trained=trained > 0)
    sampled = _sampled_at_once(profile, machine) if stage == "grpo" else 0
    found["cache"] = cache(shape, sampled, tokens.whole, size)
    found["gathered"] = _gathered(shape, size, machine, stage) if trained else 0.0
    found["peak"] = standing + max(found["activations"], found["cache"] + found["gathered"])
    return {name: value / GIB for name, value in found.items()}


def activations(
    shape: Shape, tokens: Lengths, rows: int, size: int, *, head_trained: bool = True
) -> float:
    """Bytes that a step with checkpointing holds at most during its backward pass.

    Each block keeps its input; one block at a time is done again and holds about eight tensors
    of its width and three of its inner one, with as much for their gradients. The head's scores
    exist in tiles only (TRL 1.16), its gradients in float32. `tests/benchmarks/memory_estimate.py`
    sets this beside what a step allocates.
    """
    text, tower = shape.text, shape.tower
    completions = rows * tokens.completion
    seen = size * rows * tokens.whole
    patches = size * rows * tokens.image * tower.spatial_merge_size**2
    kept = seen * text.num_hidden_layers * text.hidden_size
    kept += patches * tower.depth * tower.hidden_size
    head = size * min(completions, TILE_TOKENS) * TILE_WORDS
    head += 4 * text.hidden_size * (completions + (text.vocab_size if head_trained else 0))
    again = (
        n * 2 * (8 * one.hidden_size + 3 * one.intermediate_size)
        for n, one in ((seen, text), (patches, tower))
    )
    return float(kept + max(head, *again))


def cache(shape: Shape, rows: int, tokens: int, size: int) -> float:
    """Bytes of keys and values of so many sequences."""
    text = shape.text
    head = text.hidden_size // text.num_attention_heads
    return 2.0 * size * rows * tokens * text.num_hidden_layers * text.num_key_value_heads * head


def hours(profile: Profile, tokens: Lengths, machine: Machine) -> dict[str, float] | None:
    """Estimate hours of SFT (all variants) and GRPO from a stated throughput.

    Returns:
        Hours, or None if no throughput is stated. SFT trains on steps x images x tokens for each
        variant. GRPO samples steps x images x completions / GPUs and trains on them once, or 4/3
        times with a reference, whose forward pass is a third of a trained one.
    """
    if machine.train_tokens_per_s is None or machine.generate_tokens_per_s is None:
        return None
    sft, grpo = profile.sft, profile.grpo
    images = sft.per_device_train_batch_size * sft.gradient_accumulation_steps
    steps = sft.max_steps
    if steps < 0:
        steps = round(profile.data.n_train * sft.num_train_epochs / (images * machine.gpus))
    sft_seconds = len(sft.variants) * steps * images * tokens.whole / machine.train_tokens_per_s
    steps = grpo.steps(profile.data.n_train)
    completions = steps * grpo.images_per_step * grpo.num_generations / machine.gpus
    passes = 4 / 3 if grpo.beta > 0 else 1
    each = passes * tokens.whole / machine.train_tokens_per_s
    each += tokens.completion / machine.generate_tokens_per_s
    return {"sft": sft_seconds / 3600, "grpo": completions * each / 3600}


def _rows_at_once(profile: Profile, machine: Machine, stage: str) -> int:
    if stage == "sft":
        return profile.sft.per_device_train_batch_size
    sampled = _sampled_at_once(profile, machine)
    return min(profile.grpo.trl.get("per_device_train_batch_size", sampled), sampled)


def _sampled_at_once(profile: Profile, machine: Machine) -> int:
    """TRL samples the completions of a whole optimiser step in one go."""
    grpo = profile.grpo
    return max(grpo.images_per_step // machine.gpus, 1) * grpo.num_generations


def _float32(trained: int, size: int, machine: Machine) -> int:
    """Bytes that float32 adds to the weights as they are loaded."""
    return (4 if machine.sharded == "zero3" else 4 - size) * trained


def _gathered(shape: Shape, size: int, machine: Machine, stage: str) -> float:
    whole = float(size * shape.parameters) if stage == "grpo" else 0.0
    if machine.sharded == "fsdp2":
        return 2 * whole + 2 * 4.0 * shape.text.hidden_size * shape.text.vocab_size
    return whole if machine.sharded else 0.0


def _weights(profile: Profile, shape: Shape) -> float:
    size = _BYTES[profile.student.dtype]
    in_4_bits = 0
    if profile.student.quantization != "none":
        in_4_bits = sum(inputs * outputs for inputs, outputs in shape.linear)
    return size * (shape.parameters - in_4_bits) + _NF4_BYTES * in_4_bits

"""Sizes of a Qwen2.5-VL, and what follows from them: tokens, memory of a GPU, hours.

Nothing is loaded and nothing is fetched: sizes are read from a configuration, tokens are counted
with the tokenizer's file; memory and hours come from formulas that are shown with their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from tokenizers import Tokenizer

from qponder_lib import paths
from qponder_lib.artifacts import read_json
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
FORMULAS = {
    "weights": "bytes x parameters; in 4 bits 0.516 x linear layers of the language model + bytes "
    "x the rest; / GPUs if sharded",
    "reference": "bytes x parameters if beta > 0 and all weights are trained, / GPUs if sharded; "
    "with adapters a copy of the adapter",
    "gradients": "bytes x trained parameters, / GPUs if sharded",
    "optimizer": "2 x bytes x trained parameters (AdamW keeps two moments in the weights' type), "
    "/ GPUs if sharded",
    "adapter": "16 x adapter parameters: weight, gradient, two moments in float32",
    "activations": "with checkpointing: bytes x tokens x layers x hidden, the same for the vision "
    "tower, + the largest of: one block done again, bytes x tokens x 2 x (8 hidden + 3 inner), of "
    "either; the head, bytes x min(completion tokens, 4096) x 32768 + 4 x hidden x (completion "
    "tokens + vocabulary if trained)",
    "cache": "2 x bytes x completions of a step on the GPU x tokens x layers x kv_heads x head",
    "peak": "weights + reference + adapter + gradients + optimizer + the larger of activations "
    "and cache",
}

HOURS_FORMULAS = {
    "sft": "variants x steps x images x tokens / (GPUs x trained tokens per second)",
    "grpo": "steps x images x completions x (passes x tokens / trained tokens per second + "
    "completion tokens / sampled tokens per second) / GPUs; passes is 4/3 with a reference, whose "
    "forward pass is a third of a trained one, else 1",
}


# ---- a model


@dataclass(frozen=True)
class Shape:
    """Widths and depths of a model.

    Attributes:
        layers: Blocks of the language model; `hidden`, `inner`: their widths.
        heads: Query heads; `kv_heads` those of keys and values; `head` the width of each.
        vocabulary: Tokens.
        tied: True if the head is the embedding.
        positions: Tokens a sequence may have.
        vision_layers: Blocks of the vision tower; `vision_hidden`, `vision_inner`: their widths.
        patch: Pixels of a patch's side; `merge` patches a side make one image token.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    positions: int
    vision_layers: int
    vision_hidden: int
    vision_inner: int
    patch: int
    merge: int

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads

    @property
    def language_linear(self) -> int:
        """Weights of the linear layers of all language blocks: what 4 bits and adapters reach."""
        query = self.hidden * self.hidden
        key = self.hidden * self.kv_heads * self.head
        return self.layers * (2 * query + 2 * key + 3 * self.hidden * self.inner)

    @property
    def language(self) -> int:
        """Weights of the language model, embedding and head included."""
        biases = self.hidden + 2 * self.kv_heads * self.head
        norms = 2 * self.hidden
        tokens = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.language_linear + self.layers * (biases + norms) + self.hidden + tokens

    @property
    def vision(self) -> int:
        """Weights of the vision tower and the merger."""
        width, inner = self.vision_hidden, self.vision_inner
        attention = 4 * width * width + 4 * width
        feed_forward = 3 * width * inner + 2 * inner + width
        blocks = self.vision_layers * (attention + feed_forward + 2 * width)
        patches = 3 * 2 * self.patch**2 * width
        merged = width * self.merge**2
        merger = width + merged * merged + merged + merged * self.hidden + self.hidden
        return patches + blocks + merger

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language + self.vision

    def adapter(self, rank: int) -> int:
        """Weights of adapters of a rank on the seven linear layers of every language block."""
        key = self.kv_heads * self.head
        ends = 2 * (2 * self.hidden) + 2 * (self.hidden + key) + 3 * (self.hidden + self.inner)
        return rank * self.layers * ends

    def image_tokens(self, pixels: int) -> int:
        """Tokens of an image of so many pixels, at most."""
        return pixels // (self.patch * self.merge) ** 2


# Published configurations, for a machine on which the model has not been fetched yet.
_PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(
        36, 2048, 11008, 16, 2, 151936, True, 128000, 32, 1280, 3420, 14, 2
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(
        28, 3584, 18944, 28, 4, 152064, False, 128000, 32, 1280, 3420, 14, 2
    ),
    "Qwen/Qwen2.5-VL-72B-Instruct": Shape(
        80, 8192, 29568, 64, 8, 152064, False, 128000, 32, 1280, 3456, 14, 2
    ),
}


def shape_of(model: str) -> Shape | None:
    """Return the sizes of a model, or None if they are not known on this machine.

    Args:
        model: ``builtin:mini``, a folder, or a hub name; nothing is fetched.

    Example:
        >>> round(shape_of("Qwen/Qwen2.5-VL-7B-Instruct").parameters / 1e9, 2)
        8.29
    """
    file = model_file(model, "config.json")
    return shape_from_config(read_json(file)) if file is not None else _PUBLISHED.get(model)


def shape_from_config(config: Mapping[str, Any]) -> Shape:
    """Read sizes from a `config.json`; older ones state the language model at the top."""
    text, vision = config.get("text_config", config), config["vision_config"]
    return Shape(
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        inner=text["intermediate_size"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        vocabulary=text["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        positions=text["max_position_embeddings"],
        vision_layers=vision["depth"],
        vision_hidden=vision["hidden_size"],
        vision_inner=vision["intermediate_size"],
        patch=vision["patch_size"],
        merge=vision["spatial_merge_size"],
    )


def model_file(model: str, name: str) -> Path | None:
    """Return a file of a model if it lies on this machine."""
    folder = paths.MINI_WEIGHTS if model == BUILTIN else Path(model)
    if (folder / name).is_file():
        return folder / name
    if folder.is_dir() or model.count("/") != 1:
        return None
    found = try_to_load_from_cache(model, name)
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


class Counter:
    """Counts tokens with a model's tokenizer, or from letters where it is not on this machine."""

    def __init__(self, model: str) -> None:
        file = model_file(model, "tokenizer.json")
        self.tokenizer = Tokenizer.from_file(str(file)) if file is not None else None

    def __call__(self, text: str) -> int:
        """Tokens of a text, at least roughly."""
        if self.tokenizer is None:
            return math.ceil(len(text) / LETTERS_PER_TOKEN)
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def longest(self, texts: Iterable[str]) -> int:
        """Tokens of the longest of some texts, 0 if there are none."""
        return max((self(text) for text in texts), default=0)


def lengths(profile: Profile, shape: Shape) -> Lengths:
    """Count what one sequence of GRPO holds at most."""
    counter = Counter(profile.student.model)
    messages = student_messages(profile.student.prompt_id)
    texts = [message["content"] for message in messages]
    if messages[0]["role"] != "system":
        texts.append(_DEFAULT_SYSTEM)  # Qwen's template adds it
    text_tokens = sum(counter(text) for text in texts)
    controls = _TOKENS_PER_MESSAGE * len(texts) + 3 + 2  # the assistant's turn, image borders
    return Lengths(
        prompt=text_tokens + controls,
        image=shape.image_tokens(profile.student.max_pixels),
        completion=profile.grpo.max_completion_length,
        counted=counter.tokenizer is not None,
    )


# ---- memory and hours


@dataclass(frozen=True)
class Machine:
    """Where a profile is to run.

    Attributes:
        gpus: Number of GPUs that train together.
        sharded: True if FSDP2 or ZeRO-3 spreads weights, gradients and moments over them.
        gpu_gib: Memory of each, GiB, or None to compare with nothing.
        train_tokens_per_s: Tokens that one GPU trains on in a second, or None.
        generate_tokens_per_s: Tokens that one GPU samples in a second, or None.
    """

    gpus: int = 1
    sharded: bool = False
    gpu_gib: float | None = None
    train_tokens_per_s: float | None = None
    generate_tokens_per_s: float | None = None


def memory(
    profile: Profile, shape: Shape, tokens: Lengths, machine: Machine, *, stage: str
) -> dict[str, float]:
    """Estimate what one GPU holds at the peak of a stage.

    Args:
        profile: The settings.
        shape: Sizes of the model.
        tokens: Tokens of the longest sequence.
        machine: GPUs and whether weights are spread over them.
        stage: "sft" or "grpo".

    Returns:
        GiB by the names of `FORMULAS`; stock TRL, so without a shared prefix.
    """
    section = profile.sft if stage == "sft" else profile.grpo
    size = _BYTES[profile.student.dtype]
    share = machine.gpus if machine.sharded else 1
    rows = _rows_at_once(profile, machine, stage)
    rank = profile.student.lora_rank
    trained = 0 if rank else shape.parameters
    if section.freeze_vision and trained:
        trained -= shape.vision
    adapter = shape.adapter(rank)
    found = {
        "weights": _weights(profile, shape) / share,
        "reference": 0.0,
        "gradients": size * trained / share,
        "optimizer": 2 * size * trained / share,
        "adapter": float(_TRAINED_ADAPTER_BYTES * adapter),
        "activations": activations(shape, tokens, rows, size, head_trained=trained > 0),
        "cache": 0.0,
    }
    if stage == "grpo":
        found["cache"] = cache(shape, _sampled_at_once(profile, machine), tokens.whole, size)
        if profile.grpo.beta > 0:
            found["reference"] = 4.0 * adapter or size * shape.parameters / share
    standing = sum(found[name] for name in ("weights", "reference", "adapter"))
    standing += found["gradients"] + found["optimizer"]
    found["peak"] = standing + max(found["activations"], found["cache"])
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
    answers = rows * tokens.completion
    text = size * rows * tokens.whole
    seen = size * rows * tokens.image * shape.merge**2
    kept = text * shape.layers * shape.hidden + seen * shape.vision_layers * shape.vision_hidden
    head = size * min(answers, TILE_TOKENS) * TILE_WORDS
    head += 4 * shape.hidden * (answers + (shape.vocabulary if head_trained else 0))
    block = text * 2 * (8 * shape.hidden + 3 * shape.inner)
    vision_block = seen * 2 * (8 * shape.vision_hidden + 3 * shape.vision_inner)
    return float(kept + max(block, vision_block, head))


def cache(shape: Shape, rows: int, tokens: int, size: int) -> float:
    """Bytes of keys and values of so many sequences."""
    return 2.0 * size * rows * tokens * shape.layers * shape.kv_heads * shape.head


def hours(profile: Profile, tokens: Lengths, machine: Machine) -> dict[str, float] | None:
    """Estimate hours of SFT (all variants) and GRPO from a stated throughput.

    Returns:
        Hours by the names of `HOURS_FORMULAS`, or None if no throughput is stated.
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
    answers = steps * grpo.images_per_step * grpo.num_generations / machine.gpus
    passes = 4 / 3 if grpo.beta > 0 else 1
    each = passes * tokens.whole / machine.train_tokens_per_s
    each += tokens.completion / machine.generate_tokens_per_s
    return {"sft": sft_seconds / 3600, "grpo": answers * each / 3600}


def _rows_at_once(profile: Profile, machine: Machine, stage: str) -> int:
    if stage == "sft":
        return profile.sft.per_device_train_batch_size
    sampled = _sampled_at_once(profile, machine)
    return min(profile.grpo.trl.get("per_device_train_batch_size", sampled), sampled)


def _sampled_at_once(profile: Profile, machine: Machine) -> int:
    """TRL samples the completions of a whole optimiser step in one go."""
    grpo = profile.grpo
    return max(grpo.images_per_step // machine.gpus, 1) * grpo.num_generations


def _weights(profile: Profile, shape: Shape) -> float:
    size = _BYTES[profile.student.dtype]
    if profile.student.quantization == "none":
        return float(size * shape.parameters)
    whole = shape.parameters - shape.language_linear
    return size * whole + _NF4_BYTES * shape.language_linear

"""Memory per GPU and hours, by formulas that are shown with their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from qponder_lib.config import Profile
from qponder_lib.gpu.preflight.lengths import Lengths
from qponder_lib.gpu.preflight.shapes import Shape

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
    "either; the head, bytes x min(answer tokens, 4096) x 32768 + 4 x hidden x (answer tokens + "
    "vocabulary if trained)",
    "cache": "2 x bytes x answers of a step on the GPU x tokens x layers x kv_heads x head",
    "peak": "weights + reference + adapter + gradients + optimizer + the larger of activations "
    "and cache",
}

HOURS_FORMULAS = {
    "sft": "variants x steps x images x tokens / (GPUs x trained tokens per second)",
    "grpo": "steps x images x answers x (passes x tokens / trained tokens per second + answer "
    "tokens / sampled tokens per second) / GPUs; passes is 4/3 with a reference, whose forward "
    "pass is a third of a trained one, else 1",
}


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
    trained = 0 if section.lora_rank else shape.parameters
    if section.freeze_vision and trained:
        trained -= shape.vision
    adapter = shape.adapter(section.lora_rank)
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
    images = sft.per_device_batch_size * sft.gradient_accumulation_steps
    steps = sft.max_steps
    if steps < 0:
        steps = round(profile.data.n_train * sft.num_train_epochs / (images * machine.gpus))
    sft_seconds = len(sft.variants) * steps * images * tokens.whole / machine.train_tokens_per_s
    answers = grpo.max_steps * grpo.images_per_step * grpo.num_generations / machine.gpus
    passes = 4 / 3 if grpo.beta > 0 else 1
    each = passes * tokens.whole / machine.train_tokens_per_s
    each += tokens.completion / machine.generate_tokens_per_s
    return {"sft": sft_seconds / 3600, "grpo": answers * each / 3600}


def _rows_at_once(profile: Profile, machine: Machine, stage: str) -> int:
    if stage == "sft":
        return profile.sft.per_device_batch_size
    grpo = profile.grpo
    images = min(grpo.images_per_device, max(grpo.images_per_step // machine.gpus, 1))
    return grpo.answers_per_pass or images * grpo.num_generations


def _sampled_at_once(profile: Profile, machine: Machine) -> int:
    """TRL samples the answers of a whole optimiser step in one go."""
    grpo = profile.grpo
    return max(grpo.images_per_step // machine.gpus, 1) * grpo.num_generations


def _weights(profile: Profile, shape: Shape) -> float:
    size = _BYTES[profile.student.dtype]
    if profile.student.quantization == "none":
        return float(size * shape.parameters)
    whole = shape.parameters - shape.language_linear
    return size * whole + _NF4_BYTES * shape.language_linear

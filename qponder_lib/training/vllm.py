"""Completions sampled by vLLM: what it needs, and the model folder that it reads."""

from __future__ import annotations

import json
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import snapshot_download

from qponder_lib.artifacts import write_json
from qponder_lib.config import GrpoConfig, StudentConfig
from qponder_lib.paths import MINI_WEIGHTS
from qponder_lib.student.model import (
    BUILTIN,
    ImageTextProcessor,
    Student,
    base_of,
)

TOKENS_AT_ONCE = 4096
"""What TRL lets a vLLM inside the training read at once; an image must fit in."""
_PROCESSOR_FILES = {"preprocessor_config.json", "processor_config.json"}
STOCK = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}


def check_installed(config: GrpoConfig) -> None:
    """Raise ValueError if vLLM is to sample and is not there; TRL would say so hours later."""
    if config.use_vllm and find_spec("vllm") is None:
        raise ValueError(
            "grpo.use_vllm is true, but vllm is not installed here, where the trainer needs it: "
            "install requirements-gpu.lock (or 'qponder[vllm]'), or set grpo.use_vllm to false"
        )


def check_images_fit(processor: ImageTextProcessor) -> None:
    """Raise ValueError if the largest image has more tokens than vLLM reads at once."""
    images = processor.image_processor
    side = images.patch_size * images.merge_size
    tokens = images.size["longest_edge"] // side**2
    if tokens >= TOKENS_AT_ONCE:
        raise ValueError(
            f"student.max_pixels {images.size['longest_edge']} makes {tokens} tokens of an image; "
            f"a vLLM in the training reads {TOKENS_AT_ONCE} at once: at most "
            f"{TOKENS_AT_ONCE * side**2 - side**2} pixels"
        )


def one_token_per_image(generation: Any, image_token: int) -> None:
    """Let a vLLM in the training get each image as one token, which it expands by itself.

    TRL 1.16 hands over prompts in which images are expanded already; vLLM would expand them again
    and sample from a prompt that holds the image's place twice (huggingface/trl issue 6294).

    Args:
        generation: The trainer's ``vllm_generation``; changed in place.
        image_token: Id of the token that stands for an image, or a part of one.
    """
    expand = generation.generate

    def generate(prompts: list[list[int]], **rest: Any) -> Any:
        short = [
            [
                one
                for one, before in zip(ids, [None, *ids], strict=False)
                if one != image_token or before != image_token
            ]
            for ids in prompts
        ]
        return expand(prompts=short, **rest)

    generation.generate = generate


def save_rollout_model(student: Student, config: StudentConfig, start: Path, folder: Path) -> Path:
    """Write the folder from which vLLM reads model and processor.

    vLLM makes tokens of an image by itself, from the processor's file. With other pixel limits
    than the trainer's it would count other tokens and read the prompt wrongly, so the limits are
    in that file. The weights are links; TRL sends the trained ones before it samples.

    Args:
        student: The student in training.
        config: Its settings.
        start: Model folder that the training starts from, whole weights or an adapter.
        folder: Where to; written again where it is there.

    Returns:
        The folder.

    Source:
        The papers do not say; ours (decision D54).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in _weights_of(config, start).iterdir():
        link = folder / file.name
        if file.is_file() and file.name not in _PROCESSOR_FILES and not link.exists():
            link.symlink_to(file.resolve())
    stated = json.loads(student.processor.image_processor.to_json_string())
    write_json(folder / "preprocessor_config.json", stated | STOCK)
    return folder


def _weights_of(config: StudentConfig, start: Path) -> Path:
    """Folder of whole weights: the start, what its adapter stands on, or the profile's model."""
    if (found := base_of(start, config.model)) is not None:
        return found
    if config.model == BUILTIN:
        return MINI_WEIGHTS
    known = Path(config.model)
    return (
        known if known.is_dir() else Path(snapshot_download(config.model, revision=config.revision))
    )


def serve_command(config: GrpoConfig, folder: Path) -> str:
    """Return the command that starts the server for ``vllm_mode: server``, on other GPUs."""
    address = urlsplit(config.trl.get("vllm_server_base_url") or "http://localhost:8002")
    stated = {
        "--tensor-parallel-size": config.trl.get("vllm_tensor_parallel_size", 1),
        "--port": address.port or 8002,
        "--max-model-len": config.trl.get("vllm_max_model_length") or TOKENS_AT_ONCE,
        "--dtype": "bfloat16",
        "--limit-mm-per-prompt": '{"image":1,"video":0}',
    }
    command = ["vllm", "serve", str(folder), "--enable-scale-out"]  # TRL's way to send images
    command += [str(part) for pair in stated.items() for part in pair]
    command += ["--weight-transfer-config", '{"backend":"nccl"}']
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    return f"VLLM_SERVER_DEV_MODE=1 {shlex.join(command)}"

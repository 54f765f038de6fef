"""Loads the student: the shipped mini base weights, a trained folder, or a hub model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import logging as transformers_logging

from qponder_lib.artifacts import file_sha256
from qponder_lib.config import StudentConfig
from qponder_lib.paths import MINI_WEIGHTS
from qponder_lib.student import adapters
from qponder_lib.student.processor import ImageTextProcessor, load_processor
from qponder_lib.student.vision_attention import use_fast_vision

BUILTIN = "builtin:mini"


class DamagedWeights(RuntimeError):
    """The shipped weights are not the file their checksum names."""


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
        DamagedWeights: If the shipped weights do not match their checksum.
        OSError: If a hub model is neither cached nor reachable.
        adapters.ReachError: If an adapter or 4-bit weights reach the vision tower.
    """
    if folder is None or not adapters.is_adapter(folder):
        return load_base(config, folder)
    student = load_base(config, adapters.base_of(folder, config.model))
    adapted = adapters.load_adapter(student.model, folder, trainable=False)
    model = adapted.merge_and_unload() if config.quantization == "none" else adapted
    return Student(model, student.processor, str(folder))


def load_base(config: StudentConfig, folder: Path | None = None) -> Student:
    """Load whole weights, without adapters. Arguments and errors as in `load_student`."""
    builtin = config.model == BUILTIN
    if builtin and folder is None:
        check_mini_weights()
    base = MINI_WEIGHTS if builtin else config.model
    source = str(folder or base)
    rounded = config.quantization == "nf4"
    transformers_logging.disable_progress_bar()
    model = AutoModelForImageTextToText.from_pretrained(
        source,
        dtype=getattr(torch, config.dtype),
        attn_implementation=config.attn_implementation,
        quantization_config=adapters.four_bit(config.dtype) if rounded else None,
    )
    if rounded:
        adapters.check_four_bit(model)
    if builtin:
        use_fast_vision(model)
    return Student(model, _processor(config, str(base), model), source)


def _processor(config: StudentConfig, base: str, model: PreTrainedModel) -> ImageTextProcessor:
    vision = model.config.vision_config
    return load_processor(
        base,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
    )


def check_mini_weights(folder: Path = MINI_WEIGHTS) -> None:
    """Compare the shipped weights with their checksum. Raises DamagedWeights."""
    expected = (folder / "SHA256").read_text(encoding="ascii").split()[0]
    found = file_sha256(folder / "model.safetensors")
    if found != expected:
        raise DamagedWeights(
            f"{folder / 'model.safetensors'} has SHA-256 {found[:12]}…, expected {expected[:12]}…; "
            "restore it with git checkout"
        )

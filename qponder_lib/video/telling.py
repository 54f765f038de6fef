"""Second half of the warm-up on mosaics: the language model learns to say what the tower sees.

It reads fresh mosaics and writes the sentence on motion that the offline expert would write; the
tower is held fixed. No MOS, no score, no validation or test photograph.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from qponder_lib.config import MotionConfig
from qponder_lib.student.model import Student
from qponder_lib.student.pretraining import Pretraining, fit
from qponder_lib.text.prompts import video_blocks
from qponder_lib.video.describing import motion_of, say_motion
from qponder_lib.video.mosaics import Flags, Mosaics, Pixels, cells_of

_LABEL = "video-motion, words"
_LOG_STEPS = 25
_IGNORED = -100


def sentences(pixels: Pixels, flags: Flags, cells: int) -> list[str]:
    """Say of each mosaic how its cells move and shine, from what is known of it.

    Args:
        pixels: batch x side x side x 3, uint8.
        flags: batch x cells, 1 where a cell repeats the one before.
        cells: Cells in a row.
    """
    return [
        say_motion(motion_of(held[1:] > 0, cells_of(mosaic, cells)))
        for mosaic, held in zip(pixels, flags, strict=True)
    ]


def teach_words(
    student: Student, mosaics: Mosaics, config: MotionConfig, prompt_id: str, work: Path
) -> list[dict[str, float]]:
    """Train the language model in place; every step draws from a generator of its own.

    Args:
        student: Model whose tower has been warmed up.
        mosaics: Maker of the mosaics.
        config: Steps, rate, mosaics per step, seed.
        prompt_id: Question about a clip, here with its mosaic alone.
        work: Folder of the checkpoint; a killed run goes on from it.

    Returns:
        Rows of the history: step, loss, share of right tokens on films of validation photographs.
    """
    if not config.word_steps:
        return []
    model = student.model
    model.requires_grad_(True)
    model.get_submodule("model.visual").requires_grad_(False)
    weights = [one for one in model.parameters() if one.requires_grad]
    groups = [{"params": weights, "peak": config.word_learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    held_out = _held_out(student, mosaics, config, prompt_id)
    model.train()

    def fresh(step: int) -> dict[str, Any]:
        rng = np.random.default_rng([config.seed, 6, step])
        pixels, flags = mosaics.batch(config.mosaics_per_step, 0.0, rng)
        return _batch(student, prompt_id, pixels, sentences(pixels, flags, mosaics.cells))

    return fit(
        _LABEL,
        {"model": model},
        optimizer,
        lambda done: (fresh(step) for step in count(done + 1)),
        lambda batch: _loss(model, batch),
        Pretraining(config.word_steps, config.warmup_steps, 0.05, _LOG_STEPS, config.save_steps),
        work,
        lambda: {"held_out_tokens": _share_of_right_tokens(model, held_out)},
    )


def _held_out(
    student: Student, mosaics: Mosaics, config: MotionConfig, prompt_id: str
) -> list[dict[str, Any]]:
    pixels, flags = mosaics.held_out(np.random.default_rng([config.seed, 7]))
    said = sentences(pixels, flags, mosaics.cells)
    parts = np.array_split(np.arange(len(pixels)), 4)
    return [_batch(student, prompt_id, pixels[at], [said[k] for k in at]) for at in parts]


def _loss(
    model: torch.nn.Module, batch: dict[str, Any]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = model(**batch).loss
    return loss, {"loss": loss}


def _batch(student: Student, prompt_id: str, pixels: Pixels, said: list[str]) -> dict[str, Any]:
    """Inputs with labels on the sentence alone; the prompt is as long in every row."""
    processor = student.processor
    messages = [{"role": "user", "content": video_blocks(prompt_id, 0)}]
    asked = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    pictures = [[Image.fromarray(one)] for one in pixels]
    options = {"return_tensors": "pt", "padding": True, "padding_side": "right"}
    alone = processor(text=[asked], images=pictures[:1], **options)
    texts = [f"{asked}<think>{one}" for one in said]
    batch = dict(processor(text=texts, images=pictures, **options))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, _IGNORED)
    labels[:, : alone["input_ids"].shape[1]] = _IGNORED
    return batch | {"labels": labels}


@torch.no_grad()
def _share_of_right_tokens(model: torch.nn.Module, batches: list[dict[str, Any]]) -> float:
    right = counted = 0
    for batch in batches:
        guessed = model(**batch).logits[:, :-1].argmax(-1)
        wanted = batch["labels"][:, 1:]
        right += int(((guessed == wanted) & (wanted != _IGNORED)).sum())
        counted += int((wanted != _IGNORED).sum())
    return right / counted

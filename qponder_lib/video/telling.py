"""Second half of the warm-up on mosaics: the language model learns to say what the tower sees.

It reads fresh mosaics and writes the sentence on motion that the offline expert would write; the
tower is held fixed. No MOS, no score, no validation or test photograph.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from qponder_lib.config import MotionConfig
from qponder_lib.student.load import Student
from qponder_lib.student.warmup_state import load_state, save_state
from qponder_lib.student.warmup_vision import WarmupConfig, learning_rate_at
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
    work.mkdir(parents=True, exist_ok=True)
    model = student.model
    model.requires_grad_(True)
    model.get_submodule("model.visual").requires_grad_(False)
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    first, rows = load_state(work, {"model": model}, optimizer)
    held_out = _held_out(student, mosaics, config, prompt_id)
    schedule = WarmupConfig(
        steps=config.word_steps,
        learning_rate=config.word_learning_rate,
        last_rate_share=0.05,
        warmup_steps=config.warmup_steps,
    )
    began, losses = time.monotonic(), []
    model.train()
    for step in range(first + 1, config.word_steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step - 1, schedule)
        rng = np.random.default_rng([config.seed, 6, step])
        pixels, flags = mosaics.batch(config.mosaics_per_step, 0.0, rng)
        said = sentences(pixels, flags, mosaics.cells)
        losses.append(_update(model, optimizer, _batch(student, prompt_id, pixels, said)))
        ends = step % config.save_steps == 0 or step == config.word_steps
        if step % _LOG_STEPS == 0 or ends:
            numbers = {
                "loss": round(float(np.mean(losses)), 4),
                "held_out_tokens": _share_of_right_tokens(model, held_out),
            }
            rows.append({"step": step, **numbers})
            left = (time.monotonic() - began) / (step - first) * (config.word_steps - step)
            where = f"{_LABEL}: step {step}/{config.word_steps}, {left:.0f} s left"
            print(where, *(f"{name} {value}" for name, value in numbers.items()), flush=True)
            losses.clear()
        if ends:
            save_state(work, {"model": model}, optimizer, rows)
    return rows


def _held_out(
    student: Student, mosaics: Mosaics, config: MotionConfig, prompt_id: str
) -> list[dict[str, Any]]:
    pixels, flags = mosaics.held_out(np.random.default_rng([config.seed, 7]))
    said = sentences(pixels, flags, mosaics.cells)
    parts = np.array_split(np.arange(len(pixels)), 4)
    return [_batch(student, prompt_id, pixels[at], [said[k] for k in at]) for at in parts]


def _update(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Any]
) -> float:
    loss = model(**batch).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    return float(loss.item())


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
    return round(right / counted, 4)

"""Second half of the recipe behind the mini student's base weights: seeing and saying.

The language model learns English about pictures, through the vision tower that
``warmup_vision`` made: which damage there is, how strong in plain words, how bright and colourful
the picture is. It never sees a MOS, a score, a severity word, a ``<think>`` or an ``<answer>``,
nor a validation or test photograph.

Run it with ``python -m qponder_lib.student.warmup_language --vision DIR --out DIR``; the result is
a model folder that transformers loads.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from qponder_lib.artifacts import (
    file_sha256,
    package_versions,
    write_json,
    write_text_atomic,
)
from qponder_lib.data.mixtures import IN_DOMAIN, damage, draw_damage, draw_scene
from qponder_lib.student.architecture import IMAGE_SIDE, PATCH_SIDE, build_mini, mini_config
from qponder_lib.student.tokenizer import TURN_END, special_ids, train_tokenizer
from qponder_lib.student.warmup_state import load_state, save_state, write_rows
from qponder_lib.student.warmup_vision import (
    TYPES,
    FreshImages,
    WarmupConfig,
    patches,
    statistics,
)
from qponder_lib.teacher.expert import DEFECT_NOUNS, ExpertTeacher
from qponder_lib.text import prompts

STRENGTH_WORDS = ("very weak", "weak", "medium", "strong", "very strong")
QUESTIONS = (
    "Describe this image.",
    "What can you say about this picture?",
    "How does this image look?",
    "What is the condition of this picture?",
)
N_IMAGE_TOKENS = (IMAGE_SIDE // PATCH_SIDE // 2) ** 2
_IGNORED = -100


@dataclass(frozen=True)
class LanguageConfig:
    """Settings of the language warm-up; the defaults made the shipped weights."""

    steps: int = 700
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    vision_learning_rate: float = 3e-4
    warmup_steps: int = 100
    seed: int = 11
    workers: int = 1
    log_steps: int = 50
    save_steps: int = 100
    tokenizer_texts: int = 1000


def describe(
    levels: NDArray[np.int64], numbers: NDArray[np.float32], rng: np.random.Generator
) -> str:
    """Say in plain English what is known about an image.

    Args:
        levels: Level of each type of ``TYPES``, 0 for absent.
        numbers: The image's statistics, from ``warmup_vision.statistics``.
        rng: Chooses order and wording.

    Returns:
        Two to six short sentences.
    """
    light = ("dark", "bright")[int(numbers[0] > 0)]
    tones = ("flat", "deep")[int(numbers[1] > -0.1)]
    colors = ("pale", "vivid")[int(numbers[3] > 0)]
    sentences = [f"The picture is {light} with {tones} tones and {colors} colors."]
    for index in rng.permutation(np.flatnonzero(levels)):
        noun = DEFECT_NOUNS[TYPES[index]]
        word = STRENGTH_WORDS[levels[index] - 1]
        article = "a " if noun == "color cast" else ""
        start = rng.choice(("There is", "The image shows"))
        sentences.append(f"{start} {article}{word} {noun}.")
    if not levels.any():
        sentences.append("It looks clean and natural.")
    return " ".join(rng.permutation(sentences))


def tokenizer_for_kit(count: int, seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on what students read and write: prompts, descriptions, reasoning."""
    rng = np.random.default_rng(seed)
    teacher = ExpertTeacher()
    texts = [prompts.STUDENT_SHORT, *QUESTIONS] * 20
    stream = iter(FreshImages(seed))
    for _ in range(count):
        scene, _ = draw_scene(IN_DOMAIN, "train", IMAGE_SIDE, rng)
        image = damage(scene, draw_damage(IN_DOMAIN, rng), rng)
        texts.append(teacher.answer(Image.fromarray(image), None, rng).text or "")
        pixels, levels = next(stream)
        texts.append(describe(levels, statistics(pixels[None])[0], rng))
    return train_tokenizer(texts)


class Descriptions(IterableDataset):
    """Endless stream of (pixels, token ids, labels) for fresh images."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.tokenizer, self.seed = tokenizer, seed

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], list[int], list[int]]]:
        worker = torch.utils.data.get_worker_info()
        number = 0 if worker is None else worker.id
        rng = np.random.default_rng([self.seed, number])
        for pixels, levels in FreshImages(self.seed):
            question = [
                {
                    "role": "user",
                    "content": [{"type": "image"}, {"type": "text", "text": rng.choice(QUESTIONS)}],
                }
            ]
            prompt = self.tokenizer.apply_chat_template(
                question, add_generation_prompt=True, tokenize=False
            ).replace("<|image_pad|>", "<|image_pad|>" * N_IMAGE_TOKENS)
            answer = describe(levels, statistics(pixels[None])[0], rng) + TURN_END
            before, after = self.tokenizer(prompt).input_ids, self.tokenizer(answer).input_ids
            yield pixels, before + after, [_IGNORED] * len(before) + after


def collate(
    rows: list[tuple[NDArray[np.uint8], list[int], list[int]]], pad_id: int
) -> dict[str, torch.Tensor]:
    """Pad on the right and cut patches."""
    longest = max(len(ids) for _, ids, _ in rows)
    side = IMAGE_SIDE // PATCH_SIDE
    batch = {
        "input_ids": torch.full((len(rows), longest), pad_id),
        "labels": torch.full((len(rows), longest), _IGNORED),
        "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
    }
    for row, (_, ids, labels) in enumerate(rows):
        batch["input_ids"][row, : len(ids)] = torch.tensor(ids)
        batch["labels"][row, : len(ids)] = torch.tensor(labels)
        batch["attention_mask"][row, : len(ids)] = 1
    batch["pixel_values"] = patches(np.stack([pixels for pixels, _, _ in rows]))
    batch["image_grid_thw"] = torch.tensor([[1, side, side]] * len(rows))
    return batch


def train(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    config: LanguageConfig,
    out: Path,
) -> None:
    """Train in place; writes ``language_history.csv`` into ``out``.

    A run that was cut short goes on from its last checkpoint, with images that it has not seen.
    """
    torch.manual_seed(config.seed)
    tower = list(model.model.visual.parameters())
    rest = [one for name, one in model.named_parameters() if ".visual." not in name]
    optimizer = torch.optim.AdamW(
        [
            {"params": rest, "peak": config.learning_rate},
            {"params": tower, "peak": config.vision_learning_rate},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=True,
    )
    first, rows = load_state(out, {"model": model}, optimizer)
    for block in model.model.visual.blocks:
        block.compile()
    image_id = special_ids(tokenizer)["image"]
    pad_id = special_ids(tokenizer)["pad"]
    stream = DataLoader(
        Descriptions(tokenizer, config.seed + 1000 * first),
        config.batch_size,
        num_workers=config.workers,
        prefetch_factor=8 if config.workers else None,
        collate_fn=lambda rows: collate(rows, pad_id),
    )
    began, earlier = time.perf_counter(), rows[-1]["minutes"] if rows else 0.0
    losses: list[float] = []
    for step, batch in enumerate(stream, start=first + 1):
        if step > config.steps:
            break
        rise = min(1.0, step / config.warmup_steps)
        fall = 0.5 * (1 + np.cos(np.pi * step / config.steps))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rise * fall
        batch["mm_token_type_ids"] = (batch["input_ids"] == image_id).long()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % config.log_steps == 0:
            minutes = round(earlier + (time.perf_counter() - began) / 60, 2)
            mean = round(float(np.mean(losses[-config.log_steps :])), 4)
            rows.append({"step": step, "minutes": minutes, "loss": mean})
            print(rows[-1], flush=True)
        if step % config.save_steps == 0:
            save_state(out, {"model": model}, optimizer, rows)
    write_rows(out / "language_history.csv", rows)


def main() -> None:
    """Command line of the recipe's second half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vision", type=Path, required=True, help="folder of warmup_vision")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--steps", type=int, default=LanguageConfig.steps)
    arguments = parser.parse_args()
    config = LanguageConfig(steps=arguments.steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_for_kit(config.tokenizer_texts, config.seed)
    model = build_mini(mini_config(len(tokenizer), special_ids(tokenizer)), config.seed)
    model.model.visual.load_state_dict(load_file(arguments.vision / "vision.safetensors"))
    train(model, tokenizer, config, arguments.out)
    write_folder(model, tokenizer, arguments.vision, arguments.out)


def write_folder(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    vision: Path,
    out: Path,
) -> None:
    """Write half-precision weights, tokenizer, checksum, both logs and the recipe's settings."""
    model.to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    shutil.copyfile(vision / "history.csv", out / "vision_history.csv")
    recipe = {
        "vision_history.csv": asdict(WarmupConfig()),
        "language_history.csv": asdict(LanguageConfig()),
        "versions": package_versions(),
    }
    write_json(out / "recipe.json", recipe)
    checksum = file_sha256(out / "model.safetensors")
    write_text_atomic(out / "SHA256", f"{checksum}  model.safetensors\n")


if __name__ == "__main__":
    main()

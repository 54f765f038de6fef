"""Pre-training of the mini student's base weights: the vision tower, then the language model.

The tower learns, on images made fresh for every step, which distortions are present and how strong
they are, and a few plain statistics of the pixels; its heads are discarded. Then the language
model learns to caption such images: which distortion there is, how strong in plain words, how
bright and colourful the image is. Neither sees a MOS, a score, a severity word, a ``<think>`` or an
``<answer>``, a validation or test photograph, nor a distortion that is kept unseen.

``python -m qponder_lib.student.pretraining --out DIR`` writes a model folder that transformers
loads; cut short, it goes on from its last checkpoint, with images that it has not seen.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from qponder_lib.artifacts import (
    file_sha256,
    package_versions,
    write_csv,
    write_json,
    write_text_atomic,
)
from qponder_lib.data import distortions, scenes
from qponder_lib.data.benchmark import IN_DOMAIN, Mixture, draw_distortions, draw_scene
from qponder_lib.student.architecture import (
    IMAGE_SIDE,
    MERGE,
    PATCH_SIDE,
    TEMPORAL_PATCH,
    TEXT_WIDTH,
    TURN_END,
    build_mini,
    mini_config,
    special_ids,
    start_as_energy_detector,
    train_tokenizer,
)
from qponder_lib.teacher.expert import WORDING, ExpertTeacher
from qponder_lib.text import prompts

Pixels = NDArray[np.uint8]
Levels = NDArray[np.int64]

TYPES = distortions.TRAINED
N_LEVELS = distortions.N_LEVELS + 1  # 0 is absent
N_STATISTICS = 6
VARIANTS_PER_SCENE = 6
STATISTICS_WEIGHT = 0.2
HELD_OUT = 600
SAMPLE = 256
N_TOKENIZER_TEXTS = 1000
N_IMAGE_TOKENS = (IMAGE_SIDE // PATCH_SIDE // MERGE) ** 2
STRENGTH_WORDS = ("very weak", "weak", "medium", "strong", "very strong")
QUESTIONS = (
    "Describe this image.",
    "What can you say about this picture?",
    "How does this image look?",
    "What is the condition of this picture?",
)
_STATE = "state.pt"
_IGNORED = -100
PRETRAINING_MIXTURE = Mixture(
    "pre-training",
    "none",
    scenes.VARIED_SHARES,
    (0.10, 0.50, 0.30, 0.10),
    dict.fromkeys(TYPES, 1.0),
)
HELD_OUT_MIXTURE = Mixture(
    "held-out", "none", {"photograph": 1.0}, (0, 1), dict.fromkeys(TYPES, 1.0)
)


@dataclass(frozen=True)
class Pretraining:
    """Settings of one pre-training; the peak of each rate stands in the optimizer's groups.

    Attributes:
        steps, warmup_steps: Optimiser steps, and those of the linear rise.
        last_rate_share: Share of the peak at which the cosine ends.
        log_steps, save_steps: Steps between rows of the history, and between checkpoints.
        batch_size, seed: Images per step; of weights and images.
        workers: Processes that make images; 0 makes them in this one.
    """

    steps: int
    warmup_steps: int
    last_rate_share: float
    log_steps: int
    save_steps: int
    batch_size: int = 64
    seed: int = 0
    workers: int = 1


VISION = Pretraining(8000, 200, 0.1, log_steps=200, save_steps=400, seed=7)
LANGUAGE = Pretraining(700, 100, 0.0, log_steps=50, save_steps=100, seed=11)


def learning_rate_at(step: int, peak: float, config: Pretraining) -> float:
    """Linear rise, then half a cosine down to ``last_rate_share`` of the peak; steps from 0."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    fall = 0.5 * (1 + np.cos(np.pi * step / config.steps))
    share = config.last_rate_share + (1 - config.last_rate_share) * fall
    return peak * rise * float(share)


def fit(
    name: str,
    modules: Mapping[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    batches: Callable[[int], Iterator[Any]],
    losses: Callable[[Any], tuple[torch.Tensor, Mapping[str, torch.Tensor]]],
    config: Pretraining,
    work: Path,
    evaluate: Callable[[], Mapping[str, float]] = dict,
) -> list[dict[str, float]]:
    """Train modules in place from the last checkpoint in a folder, or from the start.

    Args:
        name: Beginning of the lines that are printed.
        modules: What is trained and saved.
        optimizer: Over their weights; each group holds its peak rate as ``peak``.
        batches: From the number of steps done to the batches of the next ones.
        losses: From a batch to the loss and the terms to log.
        config: Steps and schedule.
        work: Folder of the checkpoint.
        evaluate: Numbers for a row of the history.

    Returns:
        The history: step, mean of each term since the row before, numbers of `evaluate`.
    """
    done, rows = _load_state(work, modules, optimizer)
    weights = [one for group in optimizer.param_groups for one in group["params"]]
    began = time.monotonic()
    logged: list[Mapping[str, torch.Tensor]] = []
    for step, batch in zip(range(done + 1, config.steps + 1), batches(done), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step - 1, group["peak"], config)
        loss, terms = losses(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        logged.append({term: value.item() for term, value in terms.items()})
        saves = step % config.save_steps == 0 or step == config.steps
        if saves or step % config.log_steps == 0:
            means = {term: np.mean([one[term] for one in logged]) for term in logged[0]}
            numbers = {key: round(float(v), 4) for key, v in {**means, **evaluate()}.items()}
            rows.append({"step": step, **numbers})
            left = (time.monotonic() - began) / (step - done) * (config.steps - step)
            said = " ".join(f"{key} {value}" for key, value in numbers.items())
            print(f"{name}: step {step}/{config.steps}, {left:.0f} s left, {said}", flush=True)
            logged.clear()
        if saves:
            _save_state(work, modules, optimizer, rows)
    return rows


def _load_state(
    work: Path, modules: Mapping[str, torch.nn.Module], optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, Any]]]:
    """Load the checkpoint of a folder, if there is one; return its steps and history."""
    if not (work / _STATE).is_file():
        return 0, []
    state = torch.load(work / _STATE, weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
    optimizer.load_state_dict(state["optimizer"])
    return state["rows"][-1]["step"], state["rows"]


def _save_state(
    work: Path,
    modules: Mapping[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    rows: list[dict[str, Any]],
) -> None:
    """A kill leaves the checkpoint before it whole."""
    state = {name: module.state_dict() for name, module in modules.items()}
    partial = work / f"{_STATE}.partial"
    work.mkdir(parents=True, exist_ok=True)
    torch.save({**state, "optimizer": optimizer.state_dict(), "rows": rows}, partial)
    partial.replace(work / _STATE)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a history as CSV."""
    write_csv(path, rows, list(rows[0]) if rows else ["step"])


# --- the vision tower


def patches(images: Pixels) -> torch.Tensor:
    """Cut images as the Qwen2-VL image processor does.

    Args:
        images: batch x side x side x 3, uint8; the side a multiple of 32.

    Returns:
        Shape (batch * patches, 3 * 2 * 16 * 16), float32, normalised.
    """
    batch, side = images.shape[0], images.shape[1]
    grid = side // PATCH_SIDE // MERGE
    cut = torch.tensor(images).view(batch, grid, MERGE, PATCH_SIDE, grid, MERGE, PATCH_SIDE, 3)
    cut = cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 3, 1, PATCH_SIDE**2)
    mean, std = (
        torch.tensor(part, dtype=torch.float32)[:, None, None]
        for part in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    )
    values = cut.float().mul_(1.0 / (255.0 * std)).sub_(mean / std)
    return values.expand(-1, -1, TEMPORAL_PATCH, -1).flatten(1)


def statistics(images: Pixels) -> NDArray[np.float32]:
    """Plain statistics per image, each roughly in [-1, 1]: shape (batch, 6).

    Mean and deviation of luma, log mean luma step, mean chroma, shares of black and white values.
    """
    red, green, blue = (images[..., channel] for channel in range(3))
    luma = (red.astype(np.float32) + green + blue) / 765.0
    step = np.abs(np.diff(luma, axis=1)).mean(axis=(1, 2))
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    columns = (
        2 * luma.mean(axis=(1, 2)) - 1,
        4 * luma.std(axis=(1, 2)) - 1,
        np.log(step + 1e-3) / 3 + 1,
        (largest - smallest).mean(axis=(1, 2)) / 64.0 - 1,
        2 * (smallest < 5).mean(axis=(1, 2)),
        2 * (largest > 250).mean(axis=(1, 2)),
    )
    return np.stack(columns, axis=1).astype(np.float32)


class FreshImages(IterableDataset):
    """Endless stream of (image, level per type), six ways to distort each fresh scene.

    Args:
        seed: Another number gives other images.
        held_out: One distortion each on photographs of the validation split.
    """

    def __init__(self, seed: int, *, held_out: bool = False) -> None:
        self.seed, self.held_out = seed, held_out

    def __iter__(self) -> Iterator[tuple[Pixels, Levels]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, 0 if worker is None else worker.id])
        mixture = HELD_OUT_MIXTURE if self.held_out else PRETRAINING_MIXTURE
        while True:
            if self.held_out:
                scene, _ = draw_scene(mixture, "validation", IMAGE_SIDE, rng)
            else:
                scene = scenes.varied_scene(IMAGE_SIDE, rng)
            for _ in range(VARIANTS_PER_SCENE):
                recipe = draw_distortions(mixture, rng)
                levels = np.zeros(len(TYPES), dtype=np.int64)
                for one in recipe:
                    levels[TYPES.index(one.name)] = one.level
                yield distortions.apply_all(scene, recipe, rng).copy(), levels


class DistortionHead(torch.nn.Module):
    """Reads the mean visual token: six classes (absent, level 1-5) per type, and statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(TEXT_WIDTH)
        self.levels = torch.nn.Linear(TEXT_WIDTH, len(TYPES) * N_LEVELS)
        self.statistics = torch.nn.Linear(TEXT_WIDTH, N_STATISTICS)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From batch x tokens x width to logits, batch x types x 6, and batch x statistics."""
        pooled = self.norm(tokens.float().mean(dim=1))
        return self.levels(pooled).view(-1, len(TYPES), N_LEVELS), self.statistics(pooled)


def tower_tokens(tower: torch.nn.Module, images: Pixels) -> torch.Tensor:
    """Visual tokens of square images of one size: batch x tokens x width."""
    side = images.shape[1] // PATCH_SIDE
    grid = torch.tensor([[1, side, side]] * len(images))
    with torch.autocast("cpu", torch.bfloat16):
        tokens = tower(patches(images), grid_thw=grid).pooler_output
    return tokens.view(len(images), -1, TEXT_WIDTH)


def pretrain_vision(
    tower: torch.nn.Module, work: Path, config: Pretraining = VISION
) -> list[dict[str, float]]:
    """Train a vision tower in place to tell distortions; returns the history."""
    torch.manual_seed(config.seed)
    head = DistortionHead()
    modules = {"tower": tower, "head": head}
    optimizer = torch.optim.AdamW(
        [{"params": [*tower.parameters(), *head.parameters()], "peak": 1e-3}],
        betas=(0.9, 0.98),
        weight_decay=0.02,
    )
    sample = np.stack([image for image, _ in islice(FreshImages(config.seed + 2), SAMPLE)])
    start_as_energy_detector(tower, patches(sample))
    for block in tower.blocks:
        block.compile()
    held_out = list(islice(FreshImages(config.seed + 1, held_out=True), HELD_OUT))
    held_images, held_levels = (np.stack(part) for part in zip(*held_out, strict=True))

    def batches(done: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(_loader(FreshImages(config.seed + 1000 * done), config))

    def losses(
        batch: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        images, levels = batch[0].numpy(), batch[1]
        logits, guessed = head(tower_tokens(tower, images))
        of_levels = cross_entropy(logits.flatten(0, 1), levels.flatten())
        of_statistics = mse_loss(guessed, torch.from_numpy(statistics(images)))
        terms = {"loss_levels": of_levels, "loss_statistics": of_statistics}
        return of_levels + STATISTICS_WEIGHT * of_statistics, terms

    def evaluate() -> dict[str, float]:
        return _held_out_scores(tower, head, held_images, torch.from_numpy(held_levels))

    return fit("vision", modules, optimizer, batches, losses, config, work, evaluate)


@torch.no_grad()
def _held_out_scores(
    tower: torch.nn.Module, head: DistortionHead, images: Pixels, levels: torch.Tensor
) -> dict[str, float]:
    """Type accuracy and mean level error on validation photographs with one distortion each."""
    parts = [head(tower_tokens(tower, part))[0] for part in np.split(images, 10)]
    expected = torch.cat(parts).softmax(-1) @ torch.arange(N_LEVELS, dtype=torch.float32)
    truth = levels.argmax(1)
    error = (expected.gather(1, truth[:, None])[:, 0] - levels.max(1).values).abs()
    return {
        "held_out_type_accuracy": float((expected.argmax(1) == truth).float().mean()),
        "held_out_level_error": float(error.mean()),
    }


def _loader(data: IterableDataset, config: Pretraining, **options: Any) -> DataLoader:
    ahead = 8 if config.workers else None
    size, workers = config.batch_size, config.workers
    return DataLoader(data, size, num_workers=workers, prefetch_factor=ahead, **options)


# --- the language model


def caption(levels: Levels, numbers: NDArray[np.float32], rng: np.random.Generator) -> str:
    """Say in plain English what is known about an image.

    Args:
        levels: Level of each type of ``TYPES``, 0 for absent.
        numbers: The image's statistics, from `statistics`.
        rng: Chooses order and wording.

    Returns:
        Two to six short sentences.
    """
    light = ("dark", "bright")[int(numbers[0] > 0)]
    tones = ("flat", "deep")[int(numbers[1] > -0.1)]
    colors = ("pale", "vivid")[int(numbers[3] > 0)]
    sentences = [f"The picture is {light} with {tones} tones and {colors} colors."]
    for index in rng.permutation(np.flatnonzero(levels)):
        noun = WORDING[TYPES[index]].noun
        word = STRENGTH_WORDS[levels[index] - 1]
        article = "a " if noun == "color cast" else ""
        start = rng.choice(("There is", "The image shows"))
        sentences.append(f"{start} {article}{word} {noun}.")
    if not levels.any():
        sentences.append("It looks clean and natural.")
    return " ".join(rng.permutation(sentences))


def tokenizer_for_kit(seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on what students read and write: prompts, captions, reasoning."""
    rng = np.random.default_rng(seed)
    teacher = ExpertTeacher()
    texts = [prompts.STUDENT_SHORT, *QUESTIONS] * 20
    for pixels, levels in islice(FreshImages(seed), N_TOKENIZER_TEXTS):
        scene, _ = draw_scene(IN_DOMAIN, "train", IMAGE_SIDE, rng)
        image = distortions.apply_all(scene, draw_distortions(IN_DOMAIN, rng), rng)
        texts.append(teacher.respond(Image.fromarray(image), None, rng).text or "")
        texts.append(caption(levels, statistics(pixels[None])[0], rng))
    return train_tokenizer(texts)


class Captions(IterableDataset):
    """Endless stream of (pixels, token ids, labels) for fresh images."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.tokenizer, self.seed = tokenizer, seed

    def __iter__(self) -> Iterator[tuple[Pixels, list[int], list[int]]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, 0 if worker is None else worker.id])
        for pixels, levels in FreshImages(self.seed):
            blocks = [{"type": "image"}, {"type": "text", "text": rng.choice(QUESTIONS)}]
            prompt = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": blocks}], add_generation_prompt=True, tokenize=False
            ).replace("<|image_pad|>", "<|image_pad|>" * N_IMAGE_TOKENS)
            answer = caption(levels, statistics(pixels[None])[0], rng) + TURN_END
            before, after = self.tokenizer(prompt).input_ids, self.tokenizer(answer).input_ids
            yield pixels, before + after, [_IGNORED] * len(before) + after


def collate(
    rows: list[tuple[Pixels, list[int], list[int]]], pad_id: int, image_id: int
) -> dict[str, torch.Tensor]:
    """Pad on the right and cut patches."""
    pixels, ids, labels = zip(*rows, strict=True)
    side = IMAGE_SIDE // PATCH_SIDE
    input_ids = pad_sequence([torch.tensor(one) for one in ids], True, pad_id)
    longest = torch.arange(input_ids.shape[1])
    return {
        "input_ids": input_ids,
        "labels": pad_sequence([torch.tensor(one) for one in labels], True, _IGNORED),
        "attention_mask": (longest < torch.tensor([len(one) for one in ids])[:, None]).long(),
        "mm_token_type_ids": (input_ids == image_id).long(),
        "pixel_values": patches(np.stack(pixels)),
        "image_grid_thw": torch.tensor([[1, side, side]] * len(rows)),
    }


def pretrain_language(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    work: Path,
    config: Pretraining = LANGUAGE,
) -> list[dict[str, float]]:
    """Train a model whose tower is pre-trained in place to caption; returns the history."""
    torch.manual_seed(config.seed)
    rest = [one for name, one in model.named_parameters() if ".visual." not in name]
    groups = [
        {"params": rest, "peak": 1.5e-3},
        {"params": list(model.model.visual.parameters()), "peak": 3e-4},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    for block in model.model.visual.blocks:
        block.compile()
    ids = special_ids(tokenizer)

    def batches(done: int) -> Iterator[dict[str, torch.Tensor]]:
        captions = Captions(tokenizer, config.seed + 1000 * done)
        pad = partial(collate, pad_id=ids["pad"], image_id=ids["image"])
        return iter(_loader(captions, config, collate_fn=pad))

    def losses(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        return loss, {"loss": loss}

    return fit("language", {"model": model}, optimizer, batches, losses, config, work)


def main() -> None:
    """Pre-train tower and language model; write weights, tokenizer, checksum and both histories."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    out = parser.parse_args().out
    tokenizer = tokenizer_for_kit(LANGUAGE.seed)
    model = build_mini(mini_config(len(tokenizer), special_ids(tokenizer)), LANGUAGE.seed)
    tower = build_mini(model.config, VISION.seed).model.visual
    write_rows(out / "vision_history.csv", pretrain_vision(tower, out / "work-vision"))
    model.model.visual.load_state_dict(tower.state_dict())
    history = pretrain_language(model, tokenizer, out / "work-language")
    write_rows(out / "language_history.csv", history)
    model.to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    recipe = {"vision_history.csv": asdict(VISION), "language_history.csv": asdict(LANGUAGE)}
    write_json(out / "recipe.json", {**recipe, "versions": package_versions()})
    checksum = file_sha256(out / "model.safetensors")
    write_text_atomic(out / "SHA256", f"{checksum}  model.safetensors\n")
    for work in out.glob("work-*"):
        shutil.rmtree(work)


if __name__ == "__main__":
    main()

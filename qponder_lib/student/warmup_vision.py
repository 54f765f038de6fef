"""First half of the recipe behind the mini student's base weights: the vision tower.

The tower learns, on images made fresh for every step, which damage is present and how strong it
is, and a few plain statistics of the pixels. It sees no MOS, no score, no severity word, no
validation or test photograph and none of the damage types kept unseen. Its heads are thrown away.

Run it with ``python -m qponder_lib.student.warmup_vision --out DIR``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, IterableDataset

from qponder_lib.data import distortions, varied_scenes
from qponder_lib.data.mixtures import Mixture, damage, draw_damage, draw_scene
from qponder_lib.student.architecture import (
    IMAGE_SIDE,
    MERGE,
    PATCH_SIDE,
    TEMPORAL_PATCH,
    TEXT_WIDTH,
    start_as_energy_detector,
)
from qponder_lib.student.warmup_state import load_state, save_state, write_rows

TYPES = distortions.TRAINED
VARIANTS_PER_SCENE = 6
N_STATISTICS = 6
HELD_OUT = 600
SAMPLE = 256

WARMUP_MIXTURE = Mixture(
    "warm-up",
    "none",
    varied_scenes.SHARES,
    (0.10, 0.50, 0.30, 0.10),
    dict.fromkeys(TYPES, 1.0),
)
SINGLE_MIXTURE = Mixture("held-out", "none", {"photograph": 1.0}, (0, 1), dict.fromkeys(TYPES, 1.0))

PIXEL_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
PIXEL_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
"""Of the Qwen2-VL image processor."""


@dataclass(frozen=True)
class WarmupConfig:
    """Settings of the vision warm-up; the defaults made the shipped weights."""

    steps: int = 8000
    batch_size: int = 64
    learning_rate: float = 1e-3
    last_rate_share: float = 0.1
    weight_decay: float = 0.02
    warmup_steps: int = 200
    statistics_weight: float = 0.2
    seed: int = 7
    workers: int = 1
    log_steps: int = 200
    save_steps: int = 400


def patches(images: NDArray[np.uint8]) -> torch.Tensor:
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
    mean, std = (torch.from_numpy(part)[:, None, None] for part in (PIXEL_MEAN, PIXEL_STD))
    values = cut.float().mul_(1.0 / (255.0 * std)).sub_(mean / std)
    return values.expand(-1, -1, TEMPORAL_PATCH, -1).flatten(1)


def statistics(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Plain statistics per image, each roughly in [-1, 1]: shape (batch, 6).

    Mean and deviation of luma, logarithm of the mean luma step, mean chroma, and the shares of
    nearly black and nearly white values.
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
    """Endless stream of (image, level per type), six ways of damage for each fresh scene.

    Args:
        seed: Another number gives other images.
        mixture: Which damage; for held-out images which scenes too.
        held_out: Take undistorted scenes of the validation split instead of warm-up scenes.
    """

    def __init__(
        self, seed: int, mixture: Mixture = WARMUP_MIXTURE, held_out: bool = False
    ) -> None:
        self.seed, self.mixture, self.held_out = seed, mixture, held_out

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, 0 if worker is None else worker.id])
        while True:
            if self.held_out:
                scene, _ = draw_scene(self.mixture, "validation", IMAGE_SIDE, rng)
            else:
                scene = varied_scenes.varied_scene(IMAGE_SIDE, rng)
            for _ in range(VARIANTS_PER_SCENE):
                recipe = draw_damage(self.mixture, rng)
                levels = np.zeros(len(TYPES), dtype=np.int64)
                for one in recipe:
                    levels[TYPES.index(one.name)] = one.level
                yield damage(scene, recipe, rng).copy(), levels


class DamageHead(torch.nn.Module):
    """Reads the mean visual token: six classes (absent, level 1-5) per type, and statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(TEXT_WIDTH)
        self.levels = torch.nn.Linear(TEXT_WIDTH, len(TYPES) * (distortions.N_LEVELS + 1))
        self.statistics = torch.nn.Linear(TEXT_WIDTH, N_STATISTICS)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From batch x tokens x width to logits batch x types x 6, and batch x statistics."""
        pooled = self.norm(tokens.float().mean(dim=1))
        logits = self.levels(pooled).view(-1, len(TYPES), distortions.N_LEVELS + 1)
        return logits, self.statistics(pooled)


def tower_tokens(tower: torch.nn.Module, images: NDArray[np.uint8]) -> torch.Tensor:
    """Visual tokens of square images of one size: batch x tokens x width."""
    side = images.shape[1] // PATCH_SIDE
    grid = torch.tensor([[1, side, side]] * len(images))
    with torch.autocast("cpu", torch.bfloat16):
        tokens = tower(patches(images), grid_thw=grid).pooler_output
    return tokens.view(len(images), -1, TEXT_WIDTH)


def held_out_scores(
    tower: torch.nn.Module, head: DamageHead, images: NDArray[np.uint8], levels: torch.Tensor
) -> dict[str, float]:
    """Type accuracy and mean level error on validation photographs with one damage each."""
    with torch.no_grad():
        parts = [head(tower_tokens(tower, part))[0] for part in np.split(images, 10)]
    share = torch.cat(parts).softmax(-1)
    expected = share @ torch.arange(distortions.N_LEVELS + 1, dtype=torch.float32)
    guess = expected.argmax(1)
    truth = levels.argmax(1)
    error = (expected.gather(1, truth[:, None])[:, 0] - levels.max(1).values).abs()
    return {
        "held_out_type_accuracy": round(float((guess == truth).float().mean()), 4),
        "held_out_level_error": round(float(error.mean()), 4),
    }


def learning_rate_at(step: int, config: WarmupConfig) -> float:
    """Linear rise, then half a cosine down to ``last_rate_share`` of the peak."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    fall = 0.5 * (1 + np.cos(np.pi * step / config.steps))
    share = config.last_rate_share + (1 - config.last_rate_share) * fall
    return config.learning_rate * rise * float(share)


def train(tower: torch.nn.Module, config: WarmupConfig, out: Path) -> DamageHead:
    """Train the tower in place; writes ``history.csv`` and checkpoints into ``out``.

    A run that was cut short goes on from its last checkpoint, with images that it has not seen.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    head = DamageHead()
    weights = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        weights, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    modules = {"tower": tower, "head": head}
    first, rows = load_state(out, modules, optimizer)
    if first == 0:
        sample = np.stack([image for image, _ in _take(FreshImages(config.seed + 2), SAMPLE)])
        start_as_energy_detector(tower, patches(sample))
    for block in tower.blocks:
        block.compile()
    held_out = list(_take(FreshImages(config.seed + 1, SINGLE_MIXTURE, held_out=True), HELD_OUT))
    held_images = np.stack([image for image, _ in held_out])
    held_levels = torch.from_numpy(np.stack([levels for _, levels in held_out]))
    stream = DataLoader(
        FreshImages(config.seed + 1000 * first),
        config.batch_size,
        num_workers=config.workers,
        prefetch_factor=8 if config.workers else None,
    )
    began, earlier = time.perf_counter(), rows[-1]["minutes"] if rows else 0.0
    for step, (images, levels) in enumerate(stream, start=first + 1):
        if step > config.steps:
            break
        losses = _step(tower, head, optimizer, (images.numpy(), levels), step - 1, config)
        if step % config.log_steps == 0:
            row = {
                "step": step,
                "images": step * config.batch_size,
                "minutes": round(earlier + (time.perf_counter() - began) / 60, 2),
                **losses,
                **held_out_scores(tower, head, held_images, held_levels),
            }
            rows.append(row)
            print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        if step % config.save_steps == 0 or step == config.steps:
            save_state(out, modules, optimizer, rows)
    write_rows(out / "history.csv", rows)
    save_file(tower.state_dict(), out / "vision.safetensors")
    return head


def _step(
    tower: torch.nn.Module,
    head: DamageHead,
    optimizer: torch.optim.Optimizer,
    batch: tuple[NDArray[np.uint8], torch.Tensor],
    step: int,
    config: WarmupConfig,
) -> dict[str, float]:
    """One optimiser step; returns the two losses."""
    pixels, levels = batch
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, config)
    logits, guessed = head(tower_tokens(tower, pixels))
    loss_levels = cross_entropy(logits.flatten(0, 1), levels.flatten())
    loss_statistics = mse_loss(guessed, torch.from_numpy(statistics(pixels)))
    optimizer.zero_grad()
    (loss_levels + config.statistics_weight * loss_statistics).backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    return {
        "loss_levels": round(loss_levels.item(), 4),
        "loss_statistics": round(loss_statistics.item(), 4),
    }


def _take(stream: FreshImages, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    for _, item in zip(range(count), stream, strict=False):
        yield item


def main() -> None:
    """Command line of the recipe's first half."""
    from qponder_lib.student.architecture import build_mini, mini_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=WarmupConfig.steps)
    arguments = parser.parse_args()
    ids = dict.fromkeys(("image", "video", "vision_start", "vision_end", "eos", "pad"), 0)
    config = WarmupConfig(steps=arguments.steps)
    tower = build_mini(mini_config(64, ids), config.seed).model.visual
    train(tower, config, arguments.out)


if __name__ == "__main__":
    main()

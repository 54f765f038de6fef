"""What a tower that has seen videos brings and the mini student's does not: seeing a picture stand.

Qwen2.5-VL was pre-trained on videos. The mini student's tower knows single pictures alone, and
answers do not teach it to compare the cells of a mosaic (decision D75). So it first learns, on
mosaics made fresh for every step, which cells repeat the one before. It sees no MOS, no score, no
word, no validation or test photograph. On single pictures its tokens are held to what they were.
The head is thrown away.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from qponder_lib.artifacts import SEAL_NAME, seal_folder
from qponder_lib.config import ClipsConfig, MotionConfig
from qponder_lib.distortions import N_LEVELS
from qponder_lib.iqa_datasets.clips import LADDERS, SPATIAL, shown_at, spoil_frames
from qponder_lib.iqa_datasets.clips.motion import cut_through, film_picture
from qponder_lib.iqa_datasets.scenes import PHOTOGRAPHS, load_photograph
from qponder_lib.iqa_datasets.varied_scenes import varied_scene
from qponder_lib.pipeline import Run, stage_keys
from qponder_lib.records import Distortion
from qponder_lib.student.architecture import IMAGE_SIDE, MERGE, PATCH_SIDE, TEXT_WIDTH
from qponder_lib.student.load import load_student
from qponder_lib.student.warmup_state import load_state, save_state, write_rows
from qponder_lib.student.warmup_vision import (
    FreshImages,
    WarmupConfig,
    learning_rate_at,
    tower_tokens,
)

STAGE = "video-motion"
CUTS_UNTIL = 0.6
"""Share of the steps in which films of cuts give way to the camera's: large changes come first."""
FILMS_PER_SCENE = 8
N_HELD_OUT = 192
_SCENE_SIDE = 256
_LOG_STEPS = 50
_GRAIN = (0.5, 1.5, 4.0)
_SHARE_WITHOUT, _SHARE_FLICKER, _SHARE_SPATIAL = 0.1, 0.3, 0.2

Pixels = NDArray[np.uint8]
Flags = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Mosaics:
    """Makes mosaics and says which of their cells repeat the cell before.

    Attributes:
        cells: Cells in a row, and in a column.
        reach: Shortest and longest path of the camera, as shares of the free way.
    """

    cells: int
    reach: tuple[float, float]

    def of(self, scene: Pixels, rng: Rng, *, cuts: bool) -> tuple[Pixels, Flags]:
        """Film a scene, hold some frames, and lay them side by side.

        Args:
            scene: H x W x 3, uint8.
            rng: Source of randomness.
            cuts: Show another part of the scene in every frame, not a moving camera; then at
                least the third level of stutter or drops, and no other damage.

        Returns:
            The mosaic, 128 x 128 x 3 uint8, and one flag per cell, 1 where it repeats.
        """
        n_frames, side = self.cells**2, IMAGE_SIDE // self.cells
        source = Image.fromarray(scene)
        if cuts:
            frames = cut_through(source, side, n_frames, rng)
        else:
            frames = film_picture(source, side, n_frames, rng, self.reach)
        shown = np.arange(n_frames)
        if rng.random() >= _SHARE_WITHOUT:
            level = int(rng.integers(3 if cuts else 1, N_LEVELS + 1))
            held = Distortion(name=str(rng.choice(LADDERS)), level=level)
            shown = shown_at(n_frames, (held,), rng)
        frames = frames[shown] if cuts else spoil_frames(frames[shown], _other_damage(rng), rng)
        grainy = frames + rng.normal(0.0, rng.choice(_GRAIN), frames.shape)
        frames = np.clip(grainy.round(), 0, 255).astype(np.uint8)
        rows = [np.hstack(frames[at : at + self.cells]) for at in range(0, n_frames, self.cells)]
        return np.vstack(rows), np.r_[0, np.diff(shown) == 0].astype(np.float32)

    def batch(self, count: int, share_of_cuts: float, rng: Rng) -> tuple[Pixels, Flags]:
        """Film fresh scenes, several films of each."""
        made = []
        for number in range(count):
            if number % FILMS_PER_SCENE == 0:
                scene = varied_scene(_SCENE_SIDE, rng)
            made.append(self.of(scene, rng, cuts=bool(rng.random() < share_of_cuts)))
        return np.stack([one for one, _ in made]), np.stack([flags for _, flags in made])

    def held_out(self, rng: Rng) -> tuple[Pixels, Flags]:
        """Film the validation photographs by the camera alone."""
        photographs = sorted(PHOTOGRAPHS["validation"].items())
        made = []
        for number in range(N_HELD_OUT):
            name, box = photographs[number % len(photographs)]
            made.append(self.of(load_photograph(name, *box), rng, cuts=False))
        return np.stack([one for one, _ in made]), np.stack([flags for _, flags in made])


class RepeatHead(torch.nn.Module):
    """Reads the visual tokens of each cell: does it repeat the one before?"""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.norm = torch.nn.LayerNorm(TEXT_WIDTH)
        self.repeats = torch.nn.Linear(TEXT_WIDTH, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """From batch x tokens x width to logits, batch x cells."""
        inside = IMAGE_SIDE // (PATCH_SIDE * MERGE) // self.cells
        grid = tokens.float().view(-1, self.cells, inside, self.cells, inside, TEXT_WIDTH)
        pooled = self.norm(grid.mean(dim=(2, 4)).flatten(1, 2))
        return self.repeats(pooled)[..., 0]


def train_motion(run: Run, work: Path) -> Path:
    """Teach the image model's tower to see which cells of a mosaic repeat.

    Args:
        run: Profile and folder; reads the image model that GRPO left.
        work: Folder for checkpoints; a killed run continues from the last one there, on the
            mosaics that an uninterrupted run sees.

    Returns:
        The model folder, ``video/motion/``, with ``history.csv`` and a seal. Its language model
        is the image model's.

    Raises:
        ValueError: If the profile has no warm-up, the student is not the mini one, or the cells
            of the mosaic are not whole tokens.
    """
    began = time.monotonic()
    config, mosaics = _settings(run)
    student = load_student(run.profile.student, run.paths.grpo(run.profile.grpo.reward))
    tower = student.model.get_submodule("model.visual")
    key = stage_keys(run.profile)[STAGE]
    rows = _train(tower, mosaics, config, work / key[:16])
    folder = run.paths.video("motion")
    (folder / SEAL_NAME).unlink(missing_ok=True)
    student.model.save_pretrained(folder)
    student.processor.tokenizer.save_pretrained(folder)
    write_rows(folder / "history.csv", rows)
    stated = {"student": run.profile.student.model_dump(), "training": config.model_dump()}
    seconds = time.monotonic() - began
    seal_folder(folder, stage=STAGE, key=key, config=stated, inputs={}, seconds=seconds)
    return folder


def _settings(run: Run) -> tuple[MotionConfig, Mosaics]:
    profile = run.profile
    if profile.motion is None or profile.clips is None or not profile.motion.steps:
        raise ValueError(f"profile {profile.name} has no warm-up for videos: set motion.steps")
    if not profile.student.model.startswith("builtin:"):
        raise ValueError(
            f"motion warms up the mini student, not {profile.student.model}: set motion.steps to 0"
        )
    return profile.motion, Mosaics(_cells(profile.clips), profile.clips.reach)


def _cells(clips: ClipsConfig) -> int:
    tokens = IMAGE_SIDE // (PATCH_SIDE * MERGE)
    if clips.rows != clips.columns or clips.rows < 2 or tokens % clips.rows:
        raise ValueError(
            f"motion needs as many rows as columns, 2 or {tokens}, for each cell of the mosaic to "
            f"be whole tokens; clips has {clips.rows} and {clips.columns}"
        )
    return clips.rows


def _train(
    tower: torch.nn.Module, mosaics: Mosaics, config: MotionConfig, work: Path
) -> list[dict[str, float]]:
    """Train the tower in place; every step draws from a generator of its own."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    before = copy.deepcopy(tower).requires_grad_(False)
    tower.requires_grad_(True)
    modules = {"tower": tower, "head": RepeatHead(mosaics.cells)}
    weights = [one for module in modules.values() for one in module.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    first, rows = load_state(work, modules, optimizer)
    pixels, flags = mosaics.held_out(np.random.default_rng([config.seed, 5]))
    schedule = WarmupConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        last_rate_share=0.05,
        warmup_steps=config.warmup_steps,
    )
    began = time.monotonic()
    sums = np.zeros(2)
    for step in range(first + 1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step - 1, schedule)
        sums += _step(modules, before, optimizer, _fresh(mosaics, config, step), config)
        ends = step % config.save_steps == 0 or step == config.steps
        if step % _LOG_STEPS == 0 or ends:
            count = step - (rows[-1]["step"] if rows else 0)
            found = held_out_scores(modules, pixels, flags)
            losses = {"loss": sums[0] / count, "stills": sums[1] / count}
            rows.append(
                {"step": step, **{k: round(float(v), 4) for k, v in (losses | found).items()}}
            )
            left = (time.monotonic() - began) / (step - first) * (config.steps - step)
            numbers = " ".join(f"{name} {value}" for name, value in list(rows[-1].items())[1:])
            print(f"{STAGE}: step {step}/{config.steps}, {left:.0f} s left, {numbers}", flush=True)
            sums[:] = 0.0
        if ends:
            save_state(work, modules, optimizer, rows)
    return rows


def _fresh(mosaics: Mosaics, config: MotionConfig, step: int) -> tuple[Pixels, Flags, Pixels]:
    share = max(0.0, 1.0 - step / (CUTS_UNTIL * config.steps))
    rng = np.random.default_rng([config.seed, 4, step])
    pixels, flags = mosaics.batch(config.mosaics_per_step, share, rng)
    stills = islice(FreshImages(int(rng.integers(2**31))), config.stills_per_step)
    return pixels, flags, np.stack([image for image, _ in stills])


def _step(
    modules: dict[str, torch.nn.Module],
    before: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    fresh: tuple[Pixels, Flags, Pixels],
    config: MotionConfig,
) -> tuple[float, float]:
    """One optimiser step; returns both terms of the loss."""
    pixels, flags, stills = fresh
    logits = modules["head"](tower_tokens(modules["tower"], pixels))
    repeats = binary_cross_entropy_with_logits(logits[:, 1:], torch.from_numpy(flags)[:, 1:])
    with torch.no_grad():
        wanted = tower_tokens(before, stills).float()
    changed = mse_loss(tower_tokens(modules["tower"], stills).float(), wanted) / wanted.var()
    optimizer.zero_grad()
    (repeats + config.stills_weight * changed).backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    return repeats.item(), changed.item()


def held_out_scores(
    modules: dict[str, torch.nn.Module], pixels: Pixels, flags: Flags
) -> dict[str, float]:
    """How well repeats are told from changes on films of validation photographs.

    Returns:
        ``held_out_auc``, over the cells whose forerunner stands beside them in their row, and
        ``held_out_auc_wrapped``, over those whose forerunner ends the row above.
    """
    with torch.no_grad():
        parts = np.array_split(pixels, max(1, len(pixels) // 64))
        logits = torch.cat([modules["head"](tower_tokens(modules["tower"], x)) for x in parts])
    cells = modules["head"].cells
    places = np.arange(flags.shape[1])
    begins_row = places % cells == 0
    names = {"held_out_auc": ~begins_row, "held_out_auc_wrapped": begins_row & (places > 0)}
    return {
        name: float(roc_auc_score(flags[:, at].ravel(), logits.numpy()[:, at].ravel()))
        for name, at in names.items()
    }


def _other_damage(rng: Rng) -> tuple[Distortion, ...]:
    """What may happen beside: flicker, or damage of the frames."""
    drawn = []
    for share, names in ((_SHARE_FLICKER, ("flicker",)), (_SHARE_SPATIAL, SPATIAL)):
        if rng.random() < share:
            level = int(rng.integers(1, N_LEVELS + 1))
            drawn.append(Distortion(name=str(rng.choice(names)), level=level))
    return tuple(drawn)

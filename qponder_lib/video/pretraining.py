"""Warm-up of the mini student on mosaics: to see an image stand still, then to say so.

Qwen2.5-VL was pre-trained on videos. The mini student's tower knows single images alone, and
completions do not teach it to compare the cells of a mosaic (decision D75). So it first learns, on
mosaics made fresh for every step, which cells repeat the one before; on single images its tokens
are held to what they were, and its head is thrown away. Then the language model learns to caption
fresh mosaics with the sentence on motion that the offline expert would write, while the tower is
held fixed. Neither sees a MOS, a score, a validation or a test photograph.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from qponder_lib.artifacts import RECORD_NAME, record_folder
from qponder_lib.data.clips import (
    LADDERS,
    SPATIAL,
    cut_through,
    distort_frames,
    film_image,
    shown_at,
)
from qponder_lib.data.distortions import N_LEVELS
from qponder_lib.data.scenes import PHOTOGRAPHS, load_photograph, varied_scene
from qponder_lib.pipeline import Run, stage_keys
from qponder_lib.records import Distortion
from qponder_lib.student.architecture import IMAGE_SIDE, MERGE, PATCH_SIDE, TEXT_WIDTH
from qponder_lib.student.model import BUILTIN, Student, load_student
from qponder_lib.student.pretraining import (
    FreshImages,
    Pretraining,
    fit,
    tower_tokens,
    write_rows,
)
from qponder_lib.text.prompts import video_blocks
from qponder_lib.video.dataset import say_motion
from qponder_lib.video.frames import Pixels, mosaic

Flags = NDArray[np.float32]
Rng = np.random.Generator

STAGE = "video-motion"
SEE = Pretraining(1000, 60, 0.05, log_steps=50, save_steps=100, batch_size=32)
SAY = Pretraining(200, 60, 0.05, log_steps=25, save_steps=100, batch_size=32)
"""Settings of both halves; the profile states steps, the seed is that of its clips."""
SAY_LEARNING_RATE = 6.0e-4
N_SINGLE, SINGLE_WEIGHT = 16, 0.5
"""Single images per step, whose tokens are to stay, and the weight of their term in the loss."""
CUTS_UNTIL = 0.6
"""Share of the steps in which films of cuts give way to the camera's: large changes come first."""
N_HELD_OUT = 192
FILMS_PER_SCENE = 8
TOKENS_PER_SIDE = IMAGE_SIDE // (PATCH_SIDE * MERGE)
_SCENE_SIDE = 256
_GRAIN = (0.5, 1.5, 4.0)
_SHARE_WITHOUT, _SHARE_FLICKER, _SHARE_SPATIAL = 0.1, 0.3, 0.2
_IGNORED = -100


def train_motion(run: Run, work: Path) -> Path:
    """Teach the image model to see, then to say, which cells of a mosaic repeat.

    Args:
        run: Profile and folder; reads the image model that GRPO left.
        work: Folder for checkpoints; a killed run continues from the last one there, on the
            mosaics that an uninterrupted run sees.

    Returns:
        The model folder, ``video/motion/``, with ``history.csv``, ``words.csv`` and a record.

    Raises:
        ValueError: If the student is not the mini one, or the cells of the mosaic are not whole
            tokens.
    """
    began = time.monotonic()
    config, clips = run.profile.motion, run.profile.clips
    if run.profile.student.model != BUILTIN:
        raise ValueError(
            f"motion warms up the mini student, not {run.profile.student.model}: set motion.steps "
            "to 0"
        )
    if clips.rows != clips.columns or clips.rows < 2 or TOKENS_PER_SIDE % clips.rows:
        raise ValueError(
            f"motion needs as many rows as columns, 2 or {TOKENS_PER_SIDE}, for each cell of the "
            f"mosaic to be whole tokens; clips has {clips.rows} and {clips.columns}"
        )
    student = load_student(run.profile.student, run.paths.grpo(run.profile.grpo.reward))
    see = replace(SEE, steps=config.steps, seed=clips.seed)
    say = replace(SAY, steps=config.word_steps, seed=clips.seed)
    tower = student.model.get_submodule("model.visual")
    seen = learn_to_see(tower, clips.rows, config.learning_rate, see, work / "tower")
    said = learn_to_say(student, clips.rows, say, work / "words") if say.steps else []
    folder = run.paths.video("motion")
    (folder / RECORD_NAME).unlink(missing_ok=True)
    student.model.save_pretrained(folder)
    student.processor.tokenizer.save_pretrained(folder)
    write_rows(folder / "history.csv", seen)
    write_rows(folder / "words.csv", said)
    stated = {"student": run.profile.student.model_dump(), "training": config.model_dump()}
    key, seconds = stage_keys(run.profile)[STAGE], time.monotonic() - began
    record_folder(folder, stage=STAGE, key=key, config=stated, seconds=seconds)
    return folder


# --- mosaics


def film_mosaic(scene: Pixels, cells: int, rng: Rng, *, cuts: bool) -> tuple[Pixels, Flags]:
    """Film a scene, hold some frames, and lay them side by side.

    Args:
        scene: H x W x 3, uint8.
        cells: Cells in a row, and in a column.
        rng: Source of randomness.
        cuts: Show another part of the scene in every frame, not a moving camera; then at least
            the third level of stutter or drops, and no other distortion.

    Returns:
        The mosaic, 128 x 128 x 3 uint8, and one flag per cell, 1 where it repeats the one before.
    """
    n_frames, side = cells**2, IMAGE_SIDE // cells
    frames = (cut_through if cuts else film_image)(Image.fromarray(scene), side, n_frames, rng)
    shown = np.arange(n_frames)
    if rng.random() >= _SHARE_WITHOUT:
        level = int(rng.integers(3 if cuts else 1, N_LEVELS + 1))
        held = Distortion(name=str(rng.choice(LADDERS)), level=level)
        shown = shown_at(n_frames, (held,), rng)
    frames = frames[shown] if cuts else distort_frames(frames[shown], _other_distortions(rng), rng)
    grainy = frames + rng.normal(0.0, rng.choice(_GRAIN), frames.shape)
    frames = np.clip(grainy.round(), 0, 255).astype(np.uint8)
    pixels = np.asarray(mosaic(frames, cells, IMAGE_SIDE))
    return pixels, np.r_[0, np.diff(shown) == 0].astype(np.float32)


def fresh_mosaics(n: int, cells: int, share_of_cuts: float, rng: Rng) -> tuple[Pixels, Flags]:
    """Film fresh scenes, several films of each; returns n mosaics and their flags."""
    made = []
    for number in range(n):
        if number % FILMS_PER_SCENE == 0:
            scene = varied_scene(_SCENE_SIDE, rng)
        made.append(film_mosaic(scene, cells, rng, cuts=bool(rng.random() < share_of_cuts)))
    return np.stack([one for one, _ in made]), np.stack([flags for _, flags in made])


def held_out_mosaics(cells: int, rng: Rng) -> tuple[Pixels, Flags]:
    """Film the validation photographs by the camera alone; returns mosaics and their flags."""
    photographs = sorted(PHOTOGRAPHS["validation"].items())
    made = []
    for name, box in islice(cycle(photographs), N_HELD_OUT):
        made.append(film_mosaic(load_photograph(name, *box), cells, rng, cuts=False))
    return np.stack([one for one, _ in made]), np.stack([flags for _, flags in made])


def cells_of(pixels: Pixels, cells: int) -> Pixels:
    """Cut a mosaic into its cells, in time order: cells^2 x side x side x 3."""
    side = pixels.shape[0] // cells
    grid = pixels.reshape(cells, side, cells, side, 3).swapaxes(1, 2)
    return grid.reshape(cells**2, side, side, 3)


def _other_distortions(rng: Rng) -> tuple[Distortion, ...]:
    """What may happen beside: flicker, or distortions of the frames."""
    drawn = []
    for share, names in ((_SHARE_FLICKER, ("flicker",)), (_SHARE_SPATIAL, SPATIAL)):
        if rng.random() < share:
            level = int(rng.integers(1, N_LEVELS + 1))
            drawn.append(Distortion(name=str(rng.choice(names)), level=level))
    return tuple(drawn)


def _adam(weights: Iterable[torch.nn.Parameter], peak: float) -> torch.optim.AdamW:
    groups = [{"params": list(weights), "peak": peak}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)


# --- first half: the tower sees


class RepeatHead(torch.nn.Module):
    """Reads the visual tokens of each cell: does it repeat the one before?"""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.norm = torch.nn.LayerNorm(TEXT_WIDTH)
        self.repeats = torch.nn.Linear(TEXT_WIDTH, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """From batch x tokens x width to logits, batch x cells."""
        inside = TOKENS_PER_SIDE // self.cells
        grid = tokens.float().view(-1, self.cells, inside, self.cells, inside, TEXT_WIDTH)
        pooled = self.norm(grid.mean(dim=(2, 4)).flatten(1, 2))
        return self.repeats(pooled)[..., 0]


def learn_to_see(
    tower: torch.nn.Module, cells: int, peak: float, config: Pretraining, work: Path
) -> list[dict[str, float]]:
    """Train the tower in place; every step draws from a generator of its own.

    Args:
        tower: Vision tower of the student.
        cells: Cells in a row of the mosaic, and in a column.
        peak: Learning rate at its peak.
        config: Steps, mosaics per step, seed.
        work: Folder of the checkpoint; a killed run goes on from it.

    Returns:
        The history: step, both terms of the loss, and how well repeats are told from changes on
        films of validation photographs (`held_out_scores`).
    """
    torch.manual_seed(config.seed)
    before = copy.deepcopy(tower).requires_grad_(False)
    tower.requires_grad_(True)
    modules = {"tower": tower, "head": RepeatHead(cells)}
    weights = [one for module in modules.values() for one in module.parameters()]
    pixels, flags = held_out_mosaics(cells, np.random.default_rng([config.seed, 5]))
    return fit(
        STAGE,
        modules,
        _adam(weights, peak),
        lambda done: (mosaics_to_see(step, cells, config) for step in count(done + 1)),
        lambda batch: _see_losses(modules, before, batch),
        config,
        work,
        lambda: held_out_scores(modules, pixels, flags),
    )


def mosaics_to_see(step: int, cells: int, config: Pretraining) -> tuple[Pixels, Flags, Pixels]:
    """Make the mosaics of a step, with their flags, and its single images."""
    share = max(0.0, 1.0 - step / (CUTS_UNTIL * config.steps))
    rng = np.random.default_rng([config.seed, 4, step])
    pixels, flags = fresh_mosaics(config.batch_size, cells, share, rng)
    single = islice(FreshImages(int(rng.integers(2**31))), N_SINGLE)
    return pixels, flags, np.stack([image for image, _ in single])


def _see_losses(
    modules: dict[str, torch.nn.Module],
    before: torch.nn.Module,
    batch: tuple[Pixels, Flags, Pixels],
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    pixels, flags, single = batch
    logits = modules["head"](tower_tokens(modules["tower"], pixels))
    repeats = binary_cross_entropy_with_logits(logits[:, 1:], torch.from_numpy(flags)[:, 1:])
    with torch.no_grad():
        wanted = tower_tokens(before, single).float()
    changed = mse_loss(tower_tokens(modules["tower"], single).float(), wanted) / wanted.var()
    return repeats + SINGLE_WEIGHT * changed, {"loss": repeats, "stills": changed}


@torch.no_grad()
def held_out_scores(
    modules: dict[str, torch.nn.Module], pixels: Pixels, flags: Flags
) -> dict[str, float]:
    """How well repeats are told from changes on films of validation photographs.

    Returns:
        ``held_out_auc``, over the cells whose forerunner stands beside them in their row, and
        ``held_out_auc_wrapped``, over those whose forerunner ends the row above.
    """
    parts = np.array_split(pixels, max(1, len(pixels) // 64))
    logits = torch.cat([modules["head"](tower_tokens(modules["tower"], x)) for x in parts]).numpy()
    places = np.arange(flags.shape[1])
    begins_row = places % modules["head"].cells == 0
    names = {"held_out_auc": ~begins_row, "held_out_auc_wrapped": begins_row & (places > 0)}
    return {
        name: float(roc_auc_score(flags[:, at].ravel(), logits[:, at].ravel()))
        for name, at in names.items()
    }


# --- second half: the language model says


def captions(pixels: Pixels, flags: Flags, cells: int) -> list[str]:
    """Say of each mosaic how its cells move and shine, from what is known of it.

    Args:
        pixels: batch x side x side x 3, uint8.
        flags: batch x cells, 1 where a cell repeats the one before.
        cells: Cells in a row.
    """
    return [
        say_motion(held[1:] > 0, cells_of(one, cells))
        for one, held in zip(pixels, flags, strict=True)
    ]


def learn_to_say(
    student: Student, cells: int, config: Pretraining, work: Path
) -> list[dict[str, float]]:
    """Train the language model in place to caption mosaics; arguments as of `learn_to_see`.

    Returns:
        The history: step, loss, share of right tokens on films of validation photographs.
    """
    model = student.model
    model.requires_grad_(True)
    model.get_submodule("model.visual").requires_grad_(False)
    weights = [one for one in model.parameters() if one.requires_grad]
    pixels, flags = held_out_mosaics(cells, np.random.default_rng([config.seed, 7]))
    said = captions(pixels, flags, cells)
    parts = np.array_split(np.arange(len(pixels)), 4)
    held_out = [caption_batch(student, pixels[at], [said[k] for k in at]) for at in parts]
    model.train()

    def batches(done: int) -> Iterator[dict[str, Any]]:
        for step in count(done + 1):
            rng = np.random.default_rng([config.seed, 6, step])
            pixels, flags = fresh_mosaics(config.batch_size, cells, 0.0, rng)
            yield caption_batch(student, pixels, captions(pixels, flags, cells))

    return fit(
        f"{STAGE}, words",
        {"model": model},
        _adam(weights, SAY_LEARNING_RATE),
        batches,
        lambda batch: _say_losses(model, batch),
        config,
        work,
        lambda: {"held_out_tokens": _share_of_right_tokens(model, held_out)},
    )


def _say_losses(
    model: torch.nn.Module, batch: dict[str, Any]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = model(**batch).loss
    return loss, {"loss": loss}


def caption_batch(student: Student, pixels: Pixels, said: list[str]) -> dict[str, Any]:
    """Inputs with labels on the captions alone; the prompt is as long in every row."""
    processor = student.processor
    messages = [{"role": "user", "content": video_blocks("video_short", 0)}]
    asked = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    images = [[Image.fromarray(one)] for one in pixels]
    options = {"return_tensors": "pt", "padding": True, "padding_side": "right"}
    prompt = processor(text=[asked], images=images[:1], **options)
    texts = [f"{asked}<think>{one}" for one in said]
    batch = dict(processor(text=texts, images=images, **options))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, _IGNORED)
    labels[:, : prompt["input_ids"].shape[1]] = _IGNORED
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

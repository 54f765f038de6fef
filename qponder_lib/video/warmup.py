"""What a tower that has seen videos brings and the mini student's does not: seeing a picture stand.

Qwen2.5-VL was pre-trained on videos. The mini student's tower knows single pictures alone, and
answers do not teach it to compare the cells of a mosaic (decision D75). So it first learns, on
mosaics made fresh for every step, which cells repeat the one before; on single pictures its tokens
are held to what they were, and its head is discarded. Then the language model learns to say it
(`telling`). Neither sees a MOS, a score, a validation or a test photograph.
"""

from __future__ import annotations

import copy
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from qponder_lib.artifacts import SEAL_NAME, seal_folder
from qponder_lib.config import ClipsConfig, MotionConfig
from qponder_lib.pipeline import Run, stage_keys
from qponder_lib.student.architecture import IMAGE_SIDE, MERGE, PATCH_SIDE, TEXT_WIDTH
from qponder_lib.student.model import load_student
from qponder_lib.student.pretraining import (
    FreshImages,
    Pretraining,
    fit,
    tower_tokens,
    write_rows,
)
from qponder_lib.video.mosaics import Flags, Mosaics, Pixels
from qponder_lib.video.rows import video_config
from qponder_lib.video.telling import teach_words

STAGE = "video-motion"
CUTS_UNTIL = 0.6
"""Share of the steps in which films of cuts give way to the camera's: large changes come first."""
_LOG_STEPS = 50


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
    """Teach the image model to see, then to say, which cells of a mosaic repeat.

    Args:
        run: Profile and folder; reads the image model that GRPO left.
        work: Folder for checkpoints; a killed run continues from the last one there, on the
            mosaics that an uninterrupted run sees.

    Returns:
        The model folder, ``video/motion/``, with ``history.csv``, ``words.csv`` and a seal.

    Raises:
        ValueError: If the profile has no warm-up, the student is not the mini one, or the cells
            of the mosaic are not whole tokens.
    """
    began = time.monotonic()
    config, mosaics = _settings(run)
    student = load_student(run.profile.student, run.paths.grpo(run.profile.grpo.reward))
    tower = student.model.get_submodule("model.visual")
    rows = _train(tower, mosaics, config, work / "tower")
    words = teach_words(student, mosaics, config, video_config(run).prompt_id, work / "words")
    folder = run.paths.video("motion")
    (folder / SEAL_NAME).unlink(missing_ok=True)
    student.model.save_pretrained(folder)
    student.processor.tokenizer.save_pretrained(folder)
    write_rows(folder / "history.csv", rows)
    write_rows(folder / "words.csv", words)
    stated = {"student": run.profile.student.model_dump(), "training": config.model_dump()}
    key, seconds = stage_keys(run.profile)[STAGE], time.monotonic() - began
    seal_folder(folder, stage=STAGE, key=key, config=stated, seconds=seconds)
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
    torch.manual_seed(config.seed)
    before = copy.deepcopy(tower).requires_grad_(False)
    tower.requires_grad_(True)
    modules = {"tower": tower, "head": RepeatHead(mosaics.cells)}
    weights = [one for module in modules.values() for one in module.parameters()]
    groups = [{"params": weights, "peak": config.learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    pixels, flags = mosaics.held_out(np.random.default_rng([config.seed, 5]))
    return fit(
        STAGE,
        modules,
        optimizer,
        lambda done: (_fresh(mosaics, config, step) for step in count(done + 1)),
        lambda batch: _losses(modules, before, batch, config.stills_weight),
        Pretraining(config.steps, config.warmup_steps, 0.05, _LOG_STEPS, config.save_steps),
        work,
        lambda: held_out_scores(modules, pixels, flags),
    )


def _fresh(mosaics: Mosaics, config: MotionConfig, step: int) -> tuple[Pixels, Flags, Pixels]:
    share = max(0.0, 1.0 - step / (CUTS_UNTIL * config.steps))
    rng = np.random.default_rng([config.seed, 4, step])
    pixels, flags = mosaics.batch(config.mosaics_per_step, share, rng)
    stills = islice(FreshImages(int(rng.integers(2**31))), config.stills_per_step)
    return pixels, flags, np.stack([image for image, _ in stills])


def _losses(
    modules: dict[str, torch.nn.Module],
    before: torch.nn.Module,
    fresh: tuple[Pixels, Flags, Pixels],
    stills_weight: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of one step and both of its terms."""
    pixels, flags, stills = fresh
    logits = modules["head"](tower_tokens(modules["tower"], pixels))
    repeats = binary_cross_entropy_with_logits(logits[:, 1:], torch.from_numpy(flags)[:, 1:])
    with torch.no_grad():
        wanted = tower_tokens(before, stills).float()
    changed = mse_loss(tower_tokens(modules["tower"], stills).float(), wanted) / wanted.var()
    return repeats + stills_weight * changed, {"loss": repeats, "stills": changed}


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

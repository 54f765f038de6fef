"""Training rows of clips, in the format of TRL's trainers: several pictures in one message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset, Image, List

from qponder_lib.config import VideoConfig
from qponder_lib.data.clips import CLIP_SET
from qponder_lib.data.images import load_records
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord
from qponder_lib.text.prompts import video_blocks
from qponder_lib.text.sft_format import SftFormat, replace_score
from qponder_lib.video.pictures import ClipPictures, load_pictures


def sft_dataset(run: Run) -> Dataset:
    """What the expert said of each training clip, with the label as both scores.

    Raises:
        ValueError: If a clip has no label or no description.
    """
    config = video_config(run)
    rows = []
    for record, pictures, mosaic in _training_clips(run, config):
        if record.mos is None or pictures.over_time is None or pictures.in_frames is None:
            raise ValueError(f"clip {record.image_id} has no label or no description")
        said = f"{pictures.over_time} {pictures.in_frames}" if mosaic else pictures.in_frames
        answer = replace_score(
            f"<think>{said}</think>", record.mos, SftFormat(prompt_id=config.prompt_id)
        )
        row = _row(run.paths, pictures, config.prompt_id, mosaic)
        rows.append({**row, "completion": [{"role": "assistant", "content": answer}]})
    return _with_pictures(rows)


def grpo_dataset(run: Run) -> Dataset:
    """One prompt per training clip, with its label for the rewards."""
    config = video_config(run)
    rows = []
    for record, pictures, mosaic in _training_clips(run, config):
        if record.mos is None:
            raise ValueError(f"clip {record.image_id} has no label; GRPO needs one per prompt")
        rows.append({**_row(run.paths, pictures, config.prompt_id, mosaic), "mos": record.mos})
    return _with_pictures(rows)


def video_config(run: Run) -> VideoConfig:
    """Return the settings of the video model.

    Raises:
        ValueError: If the profile has none.
    """
    if run.profile.video is None:
        raise ValueError(f"profile {run.profile.name} has no section video; `video` has one")
    return run.profile.video


def _training_clips(run: Run, config: VideoConfig) -> list[tuple[ImageRecord, ClipPictures, bool]]:
    """Training clips with their pictures, and whether the mosaic is shown (decision D63)."""
    records = load_records(run.paths, CLIP_SET, "train")
    pictures = load_pictures(run.paths, CLIP_SET, "train")
    drawn = np.random.default_rng([config.seed, 3]).random(len(records))
    return [
        (record, pictures[record.image_id], bool(share >= config.frames_only_share))
        for record, share in zip(records, drawn, strict=True)
    ]


def _row(
    paths: RunPaths, pictures: ClipPictures, prompt_id: str, mosaic: bool
) -> Mapping[str, Any]:
    blocks = video_blocks(prompt_id, len(pictures.local), mosaic=mosaic)
    shown = pictures.pictures if mosaic else pictures.pictures[1:]
    return {
        "prompt": [{"role": "user", "content": blocks}],
        "images": [str(paths.data / name) for name in shown],
        "image_id": pictures.image_id,
    }


def _with_pictures(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    made = Dataset.from_list([dict(row) for row in rows])
    return made.cast_column("images", List(Image(mode="RGB")))

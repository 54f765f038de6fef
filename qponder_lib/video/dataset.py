"""The clips of a run: packed into images, described by an offline expert, as rows for TRL.

The expert is to the clips what `teacher.expert` is to the images: it measures all frames and sees
pixels alone, no label and no list of distortions. Its thresholds are ours, set by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from datasets import Dataset, List
from datasets import Image as ImageFeature
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from qponder_lib.artifacts import read_jsonl, write_jsonl
from qponder_lib.config import ClipsConfig, VideoConfig
from qponder_lib.data import clips
from qponder_lib.data.clips import CLIP_SET, LADDER_SET, VALIDATION_LADDERS
from qponder_lib.data.images import load_records, read_rgb
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Record
from qponder_lib.scales import SEVERITIES
from qponder_lib.teacher.expert import diagnose, measure
from qponder_lib.text.prompts import video_blocks
from qponder_lib.text.sft_format import SftFormat, answer_text, completion_text
from qponder_lib.video.frames import Pixels, pack_video, read_frames

MEASURED = ((CLIP_SET, "test"), (LADDER_SET, "test"), (VALIDATION_LADDERS, "validation"))
"""Sets that the video model is asked about, with their one split."""
SPLITS = ((CLIP_SET, "train"), *MEASURED)

STILL = 0.25
"""Share of the usual change between frames below which the image stands still."""
_HELD = (0.04, 0.12, 0.25, 0.4, 0.55)
_FLICKER = (0.03, 0.07, 0.12, 0.18, 0.26)
"""Value at which a defect is slight, moderate, noticeable, severe, extreme."""
_LONG_RUN = 2
_N_NAMED = 2


class PackedClip(Record):
    """The images of a clip, as training and prediction take them.

    Attributes:
        pictures: The mosaic, then the still frames, relative to the run's data folder.
        mosaic, local: Frames they show, by their places in the order of showing.
        n_frames: Frames of the clip.
        truncated: The file breaks off.
        over_time, in_frames: What the expert says of the clip; None outside training.
    """

    image_id: str
    pictures: tuple[str, ...]
    mosaic: tuple[int, ...]
    local: tuple[int, ...]
    n_frames: int
    truncated: bool
    over_time: str | None = None
    in_frames: str | None = None


def build(config: ClipsConfig, paths: RunPaths, *, progress: bool = True) -> list[Path]:
    """Make the clips of a run, with the images that a model is shown of them.

    Args:
        config: Counts, sizes, seed, and the layout of the images.
        paths: The run folder.
        progress: Show bars.

    Returns:
        The folders of the sets: clips, images and rows.
    """
    clips.build_clips(config, paths, progress=progress)
    clips.build_ladders(config, paths, progress=progress)
    for dataset, split in SPLITS:
        records = load_records(paths, dataset, split)
        bar = tqdm(records, desc=f"images {split}", disable=not progress, mininterval=5)
        write_jsonl(packed_rows(paths, dataset, split), [_pack(one, config, paths) for one in bar])
    return [paths.data / dataset for dataset, _ in MEASURED]


def packed_rows(paths: RunPaths, dataset: str, split: str) -> Path:
    """Return the file that names the images of each clip of a split."""
    return paths.data / dataset / f"{split}.pictures.jsonl"


def load_packed(paths: RunPaths, dataset: str, split: str) -> dict[str, PackedClip]:
    """Read the rows of a split by clip."""
    rows = read_jsonl(packed_rows(paths, dataset, split), PackedClip)
    return {row.image_id: row for row in rows}


def open_images(paths: RunPaths, clip: PackedClip, *, mosaic: bool = True) -> list[Image.Image]:
    """Read the images of a clip, the still frames alone if so wanted."""
    return [read_rgb(paths.data / name) for name in clip.pictures[not mosaic :]]


def _pack(record: ImageRecord, config: ClipsConfig, paths: RunPaths) -> PackedClip:
    clip = paths.data / record.image
    packed = pack_video(clip, rows=config.rows, columns=config.columns, long_side=config.long_side)
    folder = paths.data / record.dataset / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{record.image_id}_{number}.png" for number in range(len(packed.images))]
    for file, image in zip(files, packed.images, strict=True):
        image.save(file)
    over_time = in_frames = None
    n_frames = len(packed.timeline.times)
    if record.split == "train":
        over_time, in_frames = describe(list(read_frames(clip, range(n_frames)).values()))
    return PackedClip(
        image_id=record.image_id,
        pictures=tuple(file.relative_to(paths.data).as_posix() for file in files),
        mosaic=packed.mosaic,
        local=packed.local,
        n_frames=n_frames,
        truncated=packed.timeline.truncated,
        over_time=over_time,
        in_frames=in_frames,
    )


# --- what the expert says


def describe(frames: Sequence[Pixels]) -> tuple[str, str]:
    """Say in words what is measured of a clip.

    Args:
        frames: All frames of the clip, in time order; H x W x 3, uint8.

    Returns:
        One sentence on its motion and one on its frames, of which the middle one is looked at.
    """
    over_time = say_motion(still_gaps(frames), frames)
    if all((frame == frames[0]).all() for frame in frames[1:]):
        over_time = "Over time: no motion."
    seen = diagnose(measure(frames[len(frames) // 2]))[:_N_NAMED]
    defects = [f"{one.severity} {one.name.replace('_', ' ')}" for one in seen]
    return over_time, f"Frames: {', '.join(defects) or 'no defect'}."


def still_gaps(frames: Sequence[Pixels]) -> NDArray[np.bool_]:
    """Tell of each gap between frames whether the image stands still.

    A gap is still if less than `STILL` of what usually changes does, apart from the brightness:
    flicker is no motion.

    Args:
        frames: H x W x 3, uint8, in time order.

    Returns:
        Shape (frames - 1,).
    """
    luma = [frame.astype(np.float32).mean(axis=-1) for frame in frames]
    plain = [one - one.mean() for one in luma]
    changes = np.array([np.abs(b - a).mean() for a, b in pairwise(plain)])
    return changes < STILL * float(np.quantile(changes, 0.75)) if changes.size else changes > 0


def say_motion(still: NDArray[np.bool_], frames: Sequence[Pixels]) -> str:
    """Say how evenly a clip moves and shines, in a sentence.

    Args:
        still: Of each gap between frames, whether the image stands still.
        frames: The frames; flicker is the mean change of their brightness, as a share of it.
    """
    found = []
    if still.any() and (held := _severity(still.mean(), _HELD)):
        longest = max(len(list(run)) for one, run in groupby(still) if one)
        found.append(f"{held} {'stutter' if longest > _LONG_RUN else 'dropped frames'}")
    bright = np.array([float(frame.mean()) for frame in frames])
    change = np.abs(np.diff(bright)).mean() / max(bright.mean(), 1.0) if still.size else 0.0
    if flicker := _severity(change, _FLICKER):
        found.append(f"{flicker} flicker")
    return f"Over time: {', '.join(found) or 'smooth motion'}."


def _severity(value: float, thresholds: tuple[float, ...]) -> str | None:
    """Name a strength, or None below the first threshold."""
    reached = sum(value >= threshold for threshold in thresholds)
    return SEVERITIES[len(SEVERITIES) - reached] if reached else None


# --- rows for training


def training_rows(config: VideoConfig, paths: RunPaths) -> Dataset:
    """Training clips in the format of TRL's trainers: several images in one message.

    Args:
        config: Prompt, share of rows without the mosaic (decision D63), seed.
        paths: The run folder.

    Returns:
        A row per clip: prompt, images, image_id, mos, and as the completion what the expert says
        of what is shown, with the label as both scores.
    """
    records = load_records(paths, CLIP_SET, "train")
    packed = load_packed(paths, CLIP_SET, "train")
    drawn = np.random.default_rng([config.seed, 3]).random(len(records))
    sft_format = SftFormat(prompt_id=config.prompt_id)
    rows = []
    for record, mosaic in zip(records, (drawn >= config.frames_only_share).tolist(), strict=True):
        clip = packed[record.image_id]
        said = f"{clip.over_time} {clip.in_frames}" if mosaic else str(clip.in_frames)
        text = completion_text(said, answer_text(float(record.mos), sft_format))
        blocks = video_blocks(config.prompt_id, len(clip.local), mosaic=mosaic)
        rows.append(
            {
                "prompt": [{"role": "user", "content": blocks}],
                "completion": [{"role": "assistant", "content": text}],
                "images": [str(paths.data / name) for name in clip.pictures[not mosaic :]],
                "image_id": record.image_id,
                "mos": record.mos,
            }
        )
    return Dataset.from_list(rows).cast_column("images", List(ImageFeature(mode="RGB")))

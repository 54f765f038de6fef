"""The clips of a run: made, packed into pictures, and described for the cold start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from qponder_lib.artifacts import read_jsonl, write_jsonl
from qponder_lib.config import ClipsConfig
from qponder_lib.data import clips
from qponder_lib.data.clips import CLIP_SET, LADDER_SET, VALIDATION_LADDERS
from qponder_lib.data.images import load_records
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Record
from qponder_lib.video.decoding import read_frames
from qponder_lib.video.describing import Description, describe
from qponder_lib.video.packing import pack_video

MEASURED = ((CLIP_SET, "test"), (LADDER_SET, "test"), (VALIDATION_LADDERS, "validation"))
"""Sets that the video model is asked about, with their one split."""
SPLITS = ((CLIP_SET, "train"), (CLIP_SET, "validation"), *MEASURED)


class ClipPictures(Record):
    """The pictures of a clip, as training and prediction take them.

    Attributes:
        pictures: The mosaic, then the single frames, relative to the run's data folder.
        mosaic, local: Frames they show, by their places in the order of showing.
        n_frames: Frames of the clip.
        truncated: The file breaks off.
        over_time, in_frames: What was measured of the clip, in words; None outside training.
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
    """Make the clips of a run, with their pictures.

    Args:
        config: Counts, sizes, seed, and the layout of the pictures.
        paths: The run folder.
        progress: Show bars.

    Returns:
        The folders of the sets: clips, pictures and rows.
    """
    clips.build_clips(config, paths, progress=progress)
    clips.build_ladders(config, paths, progress=progress)
    for dataset, split in SPLITS:
        records = load_records(paths, dataset, split)
        bar = tqdm(records, desc=f"pictures {split}", disable=not progress, mininterval=5)
        rows = [_pack(record, config, paths) for record in bar]
        write_jsonl(_rows_path(paths, dataset, split), rows)
    return [paths.data / dataset for dataset in (CLIP_SET, LADDER_SET, VALIDATION_LADDERS)]


def load_pictures(paths: RunPaths, dataset: str, split: str) -> dict[str, ClipPictures]:
    """Read the rows of the pictures of a split, by clip."""
    rows = read_jsonl(_rows_path(paths, dataset, split), ClipPictures)
    return {row.image_id: row for row in rows}


def open_pictures(paths: RunPaths, row: ClipPictures, *, mosaic: bool = True) -> list[Image.Image]:
    """Read the pictures of a clip, the single frames alone if so wanted."""
    names = row.pictures if mosaic else row.pictures[1:]
    opened = []
    for name in names:
        with Image.open(paths.data / name) as picture:
            opened.append(picture.convert("RGB"))
    return opened


def _rows_path(paths: RunPaths, dataset: str, split: str) -> Path:
    return paths.data / dataset / f"{split}.pictures.jsonl"


def _pack(record: ImageRecord, config: ClipsConfig, paths: RunPaths) -> ClipPictures:
    clip = paths.data / record.image
    packed = pack_video(clip, rows=config.rows, columns=config.columns, long_side=config.long_side)
    folder = paths.data / record.dataset / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for number, picture in enumerate(packed.pictures):
        file = folder / f"{record.image_id}_{number}.png"
        picture.save(file)
        names.append(file.relative_to(paths.data).as_posix())
    n_frames = len(packed.timeline.times)
    said = Description(None, None)
    if record.split == "train":
        said = _described(clip, range(n_frames))
    return ClipPictures(
        image_id=record.image_id,
        pictures=tuple(names),
        mosaic=packed.choice.mosaic,
        local=packed.choice.local,
        n_frames=n_frames,
        truncated=packed.timeline.truncated,
        over_time=said.over_time,
        in_frames=said.in_frames,
    )


def _described(clip: Path, places: Sequence[int]) -> Description:
    frames = read_frames(clip, places)
    return describe([frames[place] for place in places])

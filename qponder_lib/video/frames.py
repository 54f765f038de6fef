"""Video files by PyAV, and the images that a model is shown of one: a mosaic and still frames.

A file is decoded twice, once for the times and once for the chosen frames, so that memory holds
those alone. What a damaged container says about itself is not believed: frames are counted.

The paper does not state which frames are taken, nor their size. Here each image stands for an
equal part of the time, and shows the frame on the screen in the middle of that part; the choice
is recorded with the images (decision D50).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

N_STILL = 3
"""Still frames beside the mosaic."""
_UNEVEN = 0.1  # share of the usual gap by which gaps of a constant rate may differ (rounded times)


class VideoProblem(ValueError):
    """A file of which no frame can be shown, with the name of what is wrong with it.

    Attributes:
        kind: "unreadable": no video container, or one whose index is cut off; "no_video": sound
            alone; "no_frames": a video stream without a frame that can be decoded.
    """

    def __init__(
        self, kind: Literal["unreadable", "no_video", "no_frames"], path: Path, message: str
    ) -> None:
        self.kind = kind
        super().__init__(f"{path}: {message}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the frames of a file are shown.

    Attributes:
        times: Seconds at which each decodable frame appears, from 0 for the first, ascending.
        duration: Seconds until the last frame ends; it is taken to last as long as the usual one.
        width, height: Of the upright image, pixels.
        truncated: The file breaks off: decoding failed, or fewer frames came than were declared.
        variable_rate: Gaps between frames differ.
    """

    times: tuple[float, ...]
    duration: float
    width: int
    height: int
    truncated: bool
    variable_rate: bool


@dataclass(frozen=True)
class Packed:
    """The images of a clip and the record of where they come from.

    Attributes:
        images: The mosaic, then the still frames; RGB.
        mosaic: Frame in each cell, by its place in the order of showing; it may repeat where a
            clip has few frames.
        local: Frame in each still, likewise.
        timeline: When frames are shown, and what is unusual about the file.
    """

    images: tuple[Image.Image, ...]
    mosaic: tuple[int, ...]
    local: tuple[int, ...]
    timeline: Timeline

    def record(self) -> dict[str, object]:
        """Return the choice and the file's properties as JSON values."""
        times = self.timeline.times
        return {
            "mosaic": self.mosaic,
            "local": self.local,
            "mosaic_seconds": [round(times[place], 6) for place in self.mosaic],
            "local_seconds": [round(times[place], 6) for place in self.local],
            "n_frames": len(times),
            "seconds": round(self.timeline.duration, 6),
            "width": self.timeline.width,
            "height": self.timeline.height,
            "truncated": self.timeline.truncated,
            "variable_rate": self.timeline.variable_rate,
            "repeated": len(self.mosaic) - len(set(self.mosaic)),
        }


def pack_video(path: Path, *, rows: int = 4, columns: int = 4, long_side: int = 896) -> Packed:
    """Read a clip and make the images that a model is shown.

    Args:
        path: A video file.
        rows: Rows of the mosaic.
        columns: Columns of the mosaic; cells are filled row by row in time order.
        long_side: Longest side of each image, pixels; smaller frames are not enlarged.

    Returns:
        The mosaic and three still frames, with the record of the choice.

    Raises:
        VideoProblem: If no frame can be shown.
        FileNotFoundError: If there is no such file.

    Source:
        PreResQ-R1: a mosaic of frames over the whole clip, 4 x 4 in the figures, and three single
        frames; which ones is not stated (decision D50).
    """
    timeline = read_timeline(path)
    cells = on_screen(timeline.times, timeline.duration, rows * columns)
    stills = on_screen(timeline.times, timeline.duration, N_STILL)
    frames = read_frames(path, {*cells, *stills})
    images = [mosaic([frames[place] for place in cells], columns, long_side)]
    for place in stills:
        images.append(Image.fromarray(frames[place]))
        images[-1].thumbnail((long_side, long_side), Image.Resampling.BOX)
    return Packed(tuple(images), cells, stills, timeline)


def on_screen(times: Sequence[float], duration: float, parts: int) -> tuple[int, ...]:
    """Choose the frame on the screen in the middle of each equal part of the time.

    Args:
        times: Seconds at which frames appear, ascending from 0; gaps may differ.
        duration: Seconds until the last frame ends.
        parts: Number of parts.

    Returns:
        Places of the frames. A clip with fewer frames than parts shows some again.

    Example:
        >>> on_screen([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 0.6, 3)
        (1, 3, 5)
    """
    moments = [(part + 0.5) * duration / parts for part in range(parts)]
    # Times are sums of rounded steps: a frame due now counts as shown.
    return tuple(max(bisect_right(times, moment + 1e-6) - 1, 0) for moment in moments)


def mosaic(frames: Sequence[Pixels], columns: int, long_side: int) -> Image.Image:
    """Lay frames of one size side by side, row by row.

    Args:
        frames: H x W x 3, uint8, as many as fill whole rows.
        columns: Cells in a row.
        long_side: Longest side of the result, at most, pixels.

    Returns:
        The image; every cell has the same whole number of pixels.

    Raises:
        ValueError: If the last row is not full or the frames differ in size.
    """
    rows, rest = divmod(len(frames), columns)
    if not rows or rest or len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"expected whole rows of {columns} frames of one size, got {len(frames)}")
    height, width = frames[0].shape[:2]
    scale = min(1.0, long_side / max(height * rows, width * columns))
    cell = (max(1, int(width * scale)), max(1, int(height * scale)))
    small = [np.asarray(Image.fromarray(one).resize(cell, Image.Resampling.BOX)) for one in frames]
    lines = [np.hstack(small[row * columns : (row + 1) * columns]) for row in range(rows)]
    return Image.fromarray(np.vstack(lines))


def read_timeline(path: Path) -> Timeline:
    """Decode a file once and note when each frame is shown.

    Args:
        path: A video file; its first video stream counts.

    Returns:
        The times of all frames up to the first that cannot be decoded.

    Raises:
        VideoProblem: If there is no frame to show.
        FileNotFoundError: If there is no such file.
    """
    times: list[float] = []
    size = (0, 0)
    broken = False
    with _stream(path) as (container, stream):
        declared = stream.frames
        try:
            for frame in container.decode(stream):
                if not times:
                    turned = frame.rotation % 180 != 0
                    size = (frame.height, frame.width) if turned else (frame.width, frame.height)
                times.append(frame.time if frame.time is not None else float(len(times)))
        except av.FFmpegError:
            broken = True
    if not times:
        raise VideoProblem("no_frames", path, "no frame of its video stream can be decoded")
    shown = np.sort(np.asarray(times)) - min(times)
    gaps = np.diff(shown)
    usual = float(np.median(gaps)) if gaps.size else 0.0
    return Timeline(
        times=tuple(shown.tolist()),
        duration=float(shown[-1] + usual),
        width=size[0],
        height=size[1],
        truncated=broken or len(times) < declared,
        variable_rate=bool(gaps.size and np.abs(gaps - usual).max() > _UNEVEN * usual),
    )


def read_frames(path: Path, wanted: Collection[int]) -> dict[int, Pixels]:
    """Decode chosen frames.

    Args:
        path: A video file.
        wanted: Places in the order of showing, from 0.

    Returns:
        H x W x 3, uint8, upright, by place.

    Raises:
        VideoProblem: If there is no video stream.
        IndexError: If a frame is not there.
    """
    missing, frames = set(wanted), {}
    with _stream(path) as (container, stream):
        try:
            for place, frame in enumerate(container.decode(stream)):
                if place in missing:
                    turns = round(frame.rotation / 90) % 4  # counter-clockwise
                    upright = np.rot90(frame.to_ndarray(format="rgb24"), k=turns)
                    frames[place] = np.ascontiguousarray(upright)
                    missing.discard(place)
                if not missing:
                    break
        except av.FFmpegError:
            pass  # what is missing is told below
    if missing:
        raise IndexError(f"{path}: frames {sorted(missing)} are not there, or cannot be decoded")
    return frames


@contextmanager
def _stream(
    path: Path,
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no video file {path}")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise VideoProblem("unreadable", path, f"no video container that opens: {error}") from error
    with container:
        if not container.streams.video:
            raise VideoProblem("no_video", path, "it has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # frame threads hold back frames before an error
        yield container, stream

"""Video files by PyAV: when each frame is shown, and the chosen frames as upright RGB.

A file is decoded twice, once for the times and once for the chosen frames, so that memory holds
those alone. What a damaged container says about itself is not believed: frames are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
ProblemKind = Literal["unreadable", "no_video", "no_frames"]

_UNEVEN = 0.1  # share of the usual gap by which gaps of a constant rate may differ (rounded times)


class VideoProblem(ValueError):
    """A file of which no frame can be shown, with the name of what is wrong with it.

    Attributes:
        kind: "unreadable": no video container, or one whose index is cut off; "no_video": sound
            alone; "no_frames": a video stream without a frame that can be decoded.
    """

    def __init__(self, kind: ProblemKind, path: Path, message: str) -> None:
        self.kind = kind
        super().__init__(f"{path}: {message}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the frames of a file are shown.

    Attributes:
        times: Seconds at which each decodable frame appears, from 0 for the first, ascending.
        duration: Seconds until the last frame ends; it is taken to last as long as the usual one.
        width, height: Of the upright picture, pixels.
        truncated: The file breaks off: decoding failed, or fewer frames came than were declared.
        variable_rate: Gaps between frames differ.
    """

    times: tuple[float, ...]
    duration: float
    width: int
    height: int
    truncated: bool
    variable_rate: bool


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
    with _stream(path) as (container, stream):
        declared = stream.frames
        broken = False
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
    uneven = bool(gaps.size and np.abs(gaps - usual).max() > _UNEVEN * usual)
    return Timeline(
        times=tuple(shown.tolist()),
        duration=float(shown[-1] + usual),
        width=size[0],
        height=size[1],
        truncated=broken or len(times) < declared,
        variable_rate=uneven,
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
    missing = set(wanted)
    frames: dict[int, Pixels] = {}
    with _stream(path) as (container, stream):
        try:
            for place, frame in enumerate(container.decode(stream)):
                if place in missing:
                    frames[place] = upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                    missing.discard(place)
                if not missing:
                    break
        except av.FFmpegError as error:
            if missing:
                raise IndexError(f"{path}: frames {sorted(missing)} cannot be decoded") from error
    if missing:
        raise IndexError(f"{path}: there are no frames {sorted(missing)}")
    return frames


def upright(pixels: Pixels, rotation: int) -> Pixels:
    """Turn a picture counter-clockwise by a display rotation in degrees, in quarters.

    Example:
        >>> upright(np.zeros((2, 3, 3), np.uint8), 90).shape
        (3, 2, 3)
    """
    return np.ascontiguousarray(np.rot90(pixels, k=round(rotation / 90) % 4))


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

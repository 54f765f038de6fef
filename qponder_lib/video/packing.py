"""Which frames of a clip a model sees, and how: one mosaic over time and single frames.

The paper does not state which frames are taken, nor their size. Here each picture stands for an
equal part of the time, and shows the frame on the screen in the middle of that part; the choice
is recorded with the pictures (decision D50).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from qponder_lib.text.prompts import video_blocks
from qponder_lib.video.decoding import Pixels, Timeline, read_frames, read_timeline

ROWS = COLUMNS = 4
N_LOCAL = 3
LONG_SIDE = 896


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """The frames that are shown, by their places in the order of showing.

    Attributes:
        mosaic: One per cell, in time order; a frame may repeat where a clip has few.
        local: One per single picture, in time order.
    """

    mosaic: tuple[int, ...]
    local: tuple[int, ...]


@dataclass(frozen=True)
class Packed:
    """The pictures of a clip and the record of where they come from.

    Attributes:
        pictures: The mosaic, then the single frames; RGB.
        choice: Frames they show.
        timeline: When frames are shown, and what is unusual about the file.
    """

    pictures: tuple[Image.Image, ...]
    choice: FrameChoice
    timeline: Timeline

    def record(self) -> dict[str, object]:
        """Return the choice and the file's properties as JSON values, for a row or a sidecar."""
        times = self.timeline.times
        return {
            **asdict(self.choice),
            "mosaic_seconds": [round(times[place], 6) for place in self.choice.mosaic],
            "local_seconds": [round(times[place], 6) for place in self.choice.local],
            "n_frames": len(times),
            "seconds": round(self.timeline.duration, 6),
            "width": self.timeline.width,
            "height": self.timeline.height,
            "truncated": self.timeline.truncated,
            "variable_rate": self.timeline.variable_rate,
            "repeated": len(self.choice.mosaic) - len(set(self.choice.mosaic)),
        }


def choose_frames(
    times: Sequence[float],
    duration: float,
    *,
    n_mosaic: int = ROWS * COLUMNS,
    n_local: int = N_LOCAL,
) -> FrameChoice:
    """Choose the frame on the screen in the middle of each equal part of the time.

    Args:
        times: Seconds at which frames appear, ascending from 0; gaps may differ.
        duration: Seconds until the last frame ends.
        n_mosaic: Cells of the mosaic.
        n_local: Single frames.

    Returns:
        Places of the frames. A clip with fewer frames than parts shows some again.

    Raises:
        ValueError: If there is no frame, or a count is not positive.

    Source:
        PreResQ-R1: a mosaic of frames over the whole clip and three single frames; which ones is
        not stated (decision D50).

    Example:
        >>> choose_frames([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 0.6, n_mosaic=3, n_local=1)
        FrameChoice(mosaic=(1, 3, 5), local=(3,))
    """
    if not times or n_mosaic < 1 or n_local < 1:
        raise ValueError(f"expected frames to choose from, got {len(times)}, {n_mosaic}, {n_local}")

    def on_screen(parts: int) -> tuple[int, ...]:
        moments = [(part + 0.5) * duration / parts for part in range(parts)]
        # Times are sums of rounded steps: a frame due now counts as shown.
        return tuple(max(bisect_right(times, moment + 1e-6) - 1, 0) for moment in moments)

    return FrameChoice(on_screen(n_mosaic), on_screen(n_local))


def pack_video(
    path: Path, *, rows: int = ROWS, columns: int = COLUMNS, long_side: int = LONG_SIDE
) -> Packed:
    """Read a clip and make the pictures that a model is shown.

    Args:
        path: A video file.
        rows: Rows of the mosaic.
        columns: Columns of the mosaic; cells are filled row by row in time order.
        long_side: Longest side of each picture, pixels; smaller frames are not enlarged.

    Returns:
        The mosaic and three single frames, with the record of the choice.

    Raises:
        VideoProblem: If no frame can be shown.
    """
    timeline = read_timeline(path)
    choice = choose_frames(timeline.times, timeline.duration, n_mosaic=rows * columns)
    frames = read_frames(path, {*choice.mosaic, *choice.local})
    cells = [frames[place] for place in choice.mosaic]
    pictures = [mosaic(cells, columns, long_side)]
    pictures += [_fitted(frames[place], long_side) for place in choice.local]
    return Packed(tuple(pictures), choice, timeline)


def mosaic(frames: Sequence[Pixels], columns: int, long_side: int = LONG_SIDE) -> Image.Image:
    """Lay frames of one size side by side, row by row.

    Args:
        frames: H x W x 3, uint8, as many as fill whole rows.
        columns: Cells in a row.
        long_side: Longest side of the result, at most, pixels.

    Returns:
        The picture; every cell has the same whole number of pixels.

    Raises:
        ValueError: If the last row is not full or the frames differ in size.
    """
    if not frames or len(frames) % columns or len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"expected whole rows of {columns} frames of one size, got {len(frames)}")
    rows = len(frames) // columns
    height, width = frames[0].shape[:2]
    scale = min(1.0, long_side / max(height * rows, width * columns))
    cell = (max(1, int(width * scale)), max(1, int(height * scale)))
    small = [np.asarray(Image.fromarray(one).resize(cell, Image.Resampling.BOX)) for one in frames]
    lines = [np.hstack(small[row * columns : (row + 1) * columns]) for row in range(rows)]
    return Image.fromarray(np.vstack(lines))


def video_content(packed: Packed, prompt_id: str = "preresq_video") -> list[dict[str, object]]:
    """Write the user's message with its pictures in place, as chat templates take it.

    Source:
        PreResQ-R1, released code: names and order of the pictures (`prompts.video_blocks`).
    """
    pictures = iter(packed.pictures)
    return [
        {**block, "image": next(pictures)} if block["type"] == "image" else dict(block)
        for block in video_blocks(prompt_id, len(packed.pictures) - 1)
    ]


def _fitted(frame: Pixels, long_side: int) -> Image.Image:
    picture = Image.fromarray(frame)
    picture.thumbnail((long_side, long_side), Image.Resampling.BOX)
    return picture

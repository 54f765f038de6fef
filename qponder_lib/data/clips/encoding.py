"""Clips as H.264 files in memory, by PyAV."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

FINE = 14
_COARSE = (30, 35, 40, 45, 50)
"""Constant rate factors of the five levels of compression; higher is coarser."""


def rate_factor(level: int | None) -> int:
    """Return the rate factor of a level of compression; None is compression that is hardly seen."""
    return FINE if level is None else _COARSE[level - 1]


def encode_clip(frames: Pixels, *, fps: int = 25, level: int | None = None) -> bytes:
    """Encode frames as an MP4 file; the same frames give the same bytes with one build of FFmpeg.

    Args:
        frames: n x H x W x 3, uint8, with even sides.
        fps: Frames per second.
        level: Level of compression, 1 to 5, or None.

    Returns:
        The content of the file.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        # With vector code, or several threads, x264 does not give the same bytes every time.
        options = {
            "crf": str(rate_factor(level)),
            "preset": "veryfast",
            "x264-params": "asm=0:threads=1:lookahead-threads=1:sliced-threads=0",
        }
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_clip(content: bytes) -> Pixels:
    """Decode a file written by `encode_clip`. Returns n x H x W x 3, uint8."""
    with av.open(io.BytesIO(content)) as container:
        return np.stack([one.to_ndarray(format="rgb24") for one in container.decode(video=0)])

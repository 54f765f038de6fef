"""Videos as the pictures a model is shown: a mosaic of the whole clip and a few single frames.

`decoding` reads files, `packing` chooses frames and lays out the pictures and the message.
"""

from qponder_lib.video.decoding import Timeline, VideoProblem, read_frames, read_timeline
from qponder_lib.video.packing import FrameChoice, Packed, choose_frames, pack_video, video_content

__all__ = [
    "FrameChoice",
    "Packed",
    "Timeline",
    "VideoProblem",
    "choose_frames",
    "pack_video",
    "read_frames",
    "read_timeline",
    "video_content",
]

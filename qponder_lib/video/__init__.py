"""Videos as the pictures a model is shown, and the video model.

A clip becomes a mosaic of frames over its whole time and a few single frames. `decoding` reads
files, `packing` chooses frames and lays out pictures and message; `pictures` does so for the clips
of a run, of which `describing` says what an expert measures. `rows` and `training` make the video
model of the image model, `scoring` asks it, `comparing` measures what the mosaic is worth.
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

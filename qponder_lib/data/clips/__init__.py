"""Clips with known damage: a camera over photographs, a real codec, splits by photograph.

`motion` films a photograph, `damage` harms it in space and in time, `encoding` writes and reads
files, `quality` is the ground truth, `build` makes a set.
"""

from qponder_lib.data.clips.build import (
    CLIP_SET,
    LADDER_SET,
    LADDERS,
    VALIDATION_LADDERS,
    ClipSettings,
    build_clips,
    build_ladders,
    draw_recipe,
)
from qponder_lib.data.clips.damage import SPATIAL, TEMPORAL, shown_at, spoil_frames
from qponder_lib.data.clips.encoding import decode_clip, encode_clip
from qponder_lib.data.clips.motion import film
from qponder_lib.data.clips.quality import clip_quality, motion_similarity

__all__ = [
    "CLIP_SET",
    "LADDERS",
    "LADDER_SET",
    "SPATIAL",
    "TEMPORAL",
    "VALIDATION_LADDERS",
    "ClipSettings",
    "build_clips",
    "build_ladders",
    "clip_quality",
    "decode_clip",
    "draw_recipe",
    "encode_clip",
    "film",
    "motion_similarity",
    "shown_at",
    "spoil_frames",
]

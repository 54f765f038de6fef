"""Clips with known distortions: a camera over photographs, a real codec, splits by photograph.

A photograph is filmed, its frames are distorted in space and in time, the clip is encoded as H.264
by PyAV, and a simulated panel rates it: likeness of the frames, times likeness of the motion.
Levels 1 to 5 are as for images; the strengths are ours.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from qponder_lib.artifacts import write_jsonl
from qponder_lib.config import ClipsConfig
from qponder_lib.data import benchmark, distortions
from qponder_lib.data.distortions import N_LEVELS
from qponder_lib.data.scenes import PHOTOGRAPHS, load_photograph
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, Split

Pixels = NDArray[np.uint8]
Rng = np.random.Generator
Box = tuple[float, float, float, float]
Recipe = tuple[Distortion, ...]

CLIP_SET = "mini-clips"
LADDER_SET = "mini-clips-time"
"""Ladders: scenes filmed clean and at each level of the distortions in `LADDERS`."""
VALIDATION_LADDERS = "mini-clips-time-valid"
"""The same of validation photographs: choices are made by these."""

SPATIAL = ("blur", "noise", "low_contrast", "color_cast", "pixelation")
TEMPORAL = ("stutter", "frame_drops", "flicker")
COMPRESSION = "compression"
LADDERS = ("stutter", "frame_drops")
"""Distortions of which no single frame shows anything."""

REACH = (0.7, 1.0)
"""Of the free way, shortest and longest path of the camera."""
FPS = 8
N_RATERS = 20
_ZOOM = (0.85, 1.0)
_SIDE = (0.4, 0.6)  # of the photograph's shorter side
_KINDS, _SHARES = ("none", "space", "time", "both"), (0.08, 0.32, 0.36, 0.24)
_FREEZE_SHARE, _N_FREEZES = (0.08, 0.15, 0.25, 0.38, 0.55), 2
_DROP_SHARE = (0.10, 0.20, 0.35, 0.50, 0.70)
_FLICKER_GAIN = (0.05, 0.09, 0.14, 0.21, 0.30)
_FINE, _COARSE = 14, (30, 35, 40, 45, 50)
"""Constant rate factors without compression that is seen, and of its levels; higher is coarser."""
MOTION_CONSTANT = 4.0


def film(split: str, size: int, n_frames: int, rng: Rng) -> tuple[Pixels, str]:
    """Film a photograph of a split: a straight pan at constant speed with a slow zoom.

    Args:
        split: "train", "validation" or "test"; the photographs of `scenes.PHOTOGRAPHS`.
        size: Side of a frame, pixels, even (the codec halves the colour).
        n_frames: Frames in the clip.
        rng: Source of randomness.

    Returns:
        Frames, n_frames x size x size x 3 uint8, and the photograph's file name.

    Raises:
        ValueError: If the size is odd or there are fewer than two frames.
    """
    if size % 2 or size < 16 or n_frames < 2:
        raise ValueError(f"expected an even size from 16 and 2 frames, got {size} and {n_frames}")
    names = sorted(PHOTOGRAPHS[split])
    name = names[rng.integers(len(names))]
    source = Image.fromarray(load_photograph(name, *PHOTOGRAPHS[split][name]))
    return film_image(source, size, n_frames, rng), name


def film_image(source: Image.Image, size: int, n_frames: int, rng: Rng) -> Pixels:
    """Film one image as `film` does; any size, even or not."""
    side = rng.uniform(*_SIDE) * min(source.size)
    free = np.array(source.size) - side
    angle = rng.uniform(0.0, 2.0 * np.pi)
    way = rng.uniform(*REACH) * free.min() * np.array([np.cos(angle), np.sin(angle)])
    low, high = np.maximum(0.0, -way), free - np.maximum(0.0, way)
    start = rng.uniform(low, high)
    zoom = rng.uniform(*_ZOOM)
    boxes = []
    for share in np.linspace(0.0, 1.0, n_frames):
        left, top = start + share * way
        edge = side * (1.0 - (1.0 - zoom) * share)
        boxes.append((left, top, left + edge, top + edge))
    return _seen_through(source, boxes, size)


def cut_through(source: Image.Image, size: int, n_frames: int, rng: Rng) -> Pixels:
    """Show another part of an image in every frame, as a film of cuts: the largest motion."""
    boxes = []
    for _ in range(n_frames):
        side = rng.uniform(*_SIDE) * min(source.size)
        left, top = rng.uniform(0.0, np.array(source.size) - side)
        boxes.append((left, top, left + side, top + side))
    return _seen_through(source, boxes, size)


def _seen_through(source: Image.Image, boxes: Sequence[Box], size: int) -> Pixels:
    frames = [
        np.asarray(source.resize((size, size), Image.Resampling.BICUBIC, box=box)) for box in boxes
    ]
    return np.stack(frames)


def shown_at(n_frames: int, recipe: Recipe, rng: Rng) -> NDArray[np.intp]:
    """Say which filmed frame is on the screen at each tick.

    Stutter freezes the image twice and then jumps; dropped frames are bridged by the frame
    before. The clip keeps its length, and every frame shown is a filmed one.

    Args:
        n_frames: Frames of the clip.
        recipe: Its distortions; only stutter and frame_drops matter here.
        rng: Source of randomness.

    Returns:
        Places of filmed frames, never falling, shape (n_frames,).
    """
    shown = np.arange(n_frames)
    for one in recipe:
        held = np.zeros(n_frames, dtype=bool)
        if one.name == "stutter":
            length = max(1, round(_FREEZE_SHARE[one.level - 1] * n_frames / _N_FREEZES))
            for part in range(_N_FREEZES):
                first = part * n_frames // _N_FREEZES + 1
                last = (part + 1) * n_frames // _N_FREEZES - length
                begin = int(rng.integers(first, max(first, last) + 1))
                held[begin : begin + length] = True
        elif one.name == "frame_drops":
            count = round(_DROP_SHARE[one.level - 1] * (n_frames - 1))
            held[1 + rng.choice(n_frames - 1, count, replace=False)] = True
        shown = np.maximum.accumulate(np.where(held, 0, shown))
    return shown


def distort_frames(frames: Pixels, recipe: Recipe, rng: Rng) -> Pixels:
    """Apply the distortions of pixels, frame by frame: those of images, and flicker.

    What a lens or a setting does is the same in every frame; noise is new in each.

    Args:
        frames: n x H x W x 3, uint8.
        recipe: Distortions; what concerns time or the codec is left to others.
        rng: Source of randomness.

    Returns:
        Distorted frames of the same shape.
    """
    for one in recipe:
        if one.name in SPATIAL:
            seeds = rng.integers(2**32, size=len(frames))
            if one.name != "noise":
                seeds[:] = seeds[0]
            frames = np.stack(
                [
                    distortions.apply(frame, one.name, one.level, np.random.default_rng(seed))
                    for frame, seed in zip(frames, seeds, strict=True)
                ]
            )
        elif one.name == "flicker":
            gains = 1.0 + _FLICKER_GAIN[one.level - 1] * rng.choice((-1.0, 1.0), len(frames))
            lit = frames.astype(np.float32) * gains[:, None, None, None]
            frames = np.clip(lit.round(), 0, 255).astype(np.uint8)
    return frames


def encode_clip(frames: Pixels, *, level: int | None = None) -> bytes:
    """Encode frames as an MP4 file; the same frames give the same bytes with one build of FFmpeg.

    Args:
        frames: n x H x W x 3, uint8, with even sides; `FPS` are shown in a second.
        level: Level of compression, 1 to 5, or None.

    Returns:
        The content of the file.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        # With vector code, or several threads, x264 does not give the same bytes every time.
        options = {
            "crf": str(_FINE if level is None else _COARSE[level - 1]),
            "preset": "veryfast",
            "x264-params": "asm=0:threads=1:lookahead-threads=1:sliced-threads=0",
        }
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_clip(content: bytes) -> Pixels:
    """Decode a file written by `encode_clip`. Returns n x H x W x 3, uint8."""
    with av.open(io.BytesIO(content)) as container:
        return np.stack([one.to_ndarray(format="rgb24") for one in container.decode(video=0)])


def motion_similarity(filmed: Pixels, seen: Pixels) -> float:
    """How like the filmed motion the seen one is, in [0, 1].

    The change from each frame to the next, a and b, in grey levels, is compared as gradients are
    in space: the mean of (2ab + c) / (a^2 + b^2 + c). A freeze has no change, a jump too much.

    Args:
        filmed: Undistorted frames, n x H x W x 3, uint8, n at least 2.
        seen: What is on the screen at the same times, the same shape.

    Returns:
        1 for the same changes, falling towards 0.

    Raises:
        ValueError: If the shapes differ or there is no change to compare.
    """
    if filmed.shape != seen.shape or len(filmed) < 2:
        raise ValueError(f"expected two frames of one shape, got {filmed.shape} and {seen.shape}")
    first, second = _changes(filmed), _changes(seen)
    terms = (2.0 * first * second + MOTION_CONSTANT) / (first**2 + second**2 + MOTION_CONSTANT)
    return float(terms.mean())


def clip_quality(filmed: Pixels, seen: Pixels, shown: NDArray[np.intp]) -> float:
    """Quality of a clip on the MOS scale, 0 to 100, before any rater looks at it.

    Args:
        filmed: Undistorted frames.
        seen: Decoded frames of the distorted file, the same shape.
        shown: Filmed frame that each seen one shows: frames are compared with what they show, so
            a freeze harms the motion alone.

    Returns:
        100 * (mean likeness of frames * likeness of motion) ** 0.8.
    """
    pairs = zip(shown, seen, strict=True)
    likeness = np.mean([benchmark.similarity(filmed[at], one) for at, one in pairs])
    return float(100.0 * (likeness * motion_similarity(filmed, seen)) ** benchmark.RATING_EXPONENT)


def _changes(frames: Pixels) -> NDArray[np.float64]:
    luma = frames.astype(np.float32).mean(axis=-1)
    return np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2), dtype=np.float64)


def build_clips(
    config: ClipsConfig, paths: RunPaths, *, progress: bool = True
) -> dict[Split, list[ImageRecord]]:
    """Make every clip of the set, one frame for each cell of the mosaic, and write its rows.

    Args:
        config: Counts, sizes, seed.
        paths: The run folder; clips go to ``data/mini-clips/images``, rows beside it.
        progress: Show a bar.

    Returns:
        The rows by split, train and test (choices are made by `VALIDATION_LADDERS`); ``image`` is
        the clip's file, ``reference`` the photograph it films. No photograph serves two splits.
    """
    counts: dict[Split, int] = {"train": config.n_train, "test": config.n_test}
    todo = [(split, number) for split, count in counts.items() for number in range(count)]
    made: dict[Split, list[ImageRecord]] = {split: [] for split in counts}
    for split, number in tqdm(todo, desc="clips", disable=not progress, mininterval=5):
        made[split].append(_make(config, paths, split, number))
    for split, rows in made.items():
        write_jsonl(paths.split(CLIP_SET, split), rows)
    return made


def draw_recipe(rng: np.random.Generator) -> Recipe:
    """Draw the distortions of a clip: none, one in space, one in time, or one of each.

    Returns:
        Distortions in the order in which they happen: frames, time, codec.
    """
    kind = str(rng.choice(_KINDS, p=_SHARES))
    names = []
    if kind in ("space", "both"):
        names.append(str(rng.choice((*SPATIAL, COMPRESSION))))
    if kind in ("time", "both"):
        names.append(str(rng.choice(TEMPORAL)))
    drawn = [Distortion(name=one, level=int(rng.integers(1, N_LEVELS + 1))) for one in names]
    return tuple(sorted(drawn, key=lambda one: one.name == COMPRESSION))


def build_ladders(
    config: ClipsConfig, paths: RunPaths, *, progress: bool = True
) -> list[ImageRecord]:
    """Film photographs, and show each scene clean and at every level of stutter and of drops.

    Args:
        config: Sizes, seed, numbers of scenes.
        paths: The run folder; clips go to ``data/mini-clips-time/images``, those of validation
            photographs to ``data/mini-clips-time-valid/images``, rows beside them.
        progress: Show a bar.

    Returns:
        The rows, test photographs first, scene after scene; ``reference`` names the scene and the
        photograph it films.
    """
    rows: list[ImageRecord] = []
    splits: tuple[Split, ...] = ("test", "validation")
    scenes = [(split, scene) for split in splits for scene in range(config.n_ladders)]
    for split, scene in tqdm(scenes, desc="ladders", disable=not progress, mininterval=5):
        rows += _ladder(config, paths, split, scene)
    for dataset, split in ((LADDER_SET, "test"), (VALIDATION_LADDERS, "validation")):
        write_jsonl(paths.split(dataset, split), [row for row in rows if row.split == split])
    return rows


def _ladder(config: ClipsConfig, paths: RunPaths, split: Split, scene: int) -> list[ImageRecord]:
    """One scene, clean and distorted; every scene has its own generator."""
    dataset, stream = (LADDER_SET, 2) if split == "test" else (VALIDATION_LADDERS, 3)
    levels = range(1, N_LEVELS + 1)
    steps: list[Recipe] = [()]
    steps += [(Distortion(name=name, level=level),) for name in LADDERS for level in levels]
    rng = np.random.default_rng([config.seed, stream, scene])
    filmed, photograph = film(split, config.size, config.rows * config.columns, rng)
    rows = []
    for step, recipe in enumerate(steps):
        names = {"dataset": dataset, "split": split, "reference": f"{scene:03d} {photograph}"}
        names["image_id"] = f"{dataset}-{scene:03d}-{step:02d}"
        rows.append(_write(filmed, recipe, config, paths, rng, names))
    return rows


def _make(config: ClipsConfig, paths: RunPaths, split: Split, number: int) -> ImageRecord:
    """Each clip has its own generator, so the set is the same in any order of making."""
    rng = np.random.default_rng([config.seed, zlib.crc32(split.encode()), number])
    filmed, photograph = film(split, config.size, config.rows * config.columns, rng)
    names = {"dataset": CLIP_SET, "split": split, "reference": photograph}
    names["image_id"] = f"{CLIP_SET}-{split}-{number:05d}"
    return _write(filmed, draw_recipe(rng), config, paths, rng, names)


def _write(
    filmed: Pixels,
    recipe: Recipe,
    config: ClipsConfig,
    paths: RunPaths,
    rng: Rng,
    names: dict[str, str],
) -> ImageRecord:
    """Distort, encode, rate and write what was filmed; the names are those of its row."""
    raters = benchmark.recruit(N_RATERS, np.random.default_rng([config.seed, 1]))
    shown = shown_at(len(filmed), recipe, rng)
    distorted = distort_frames(filmed[shown], recipe, rng)
    level = next((one.level for one in recipe if one.name == COMPRESSION), None)
    content = encode_clip(distorted, level=level)
    quality = clip_quality(filmed, decode_clip(content), shown)
    opinion = benchmark.rate(quality, raters, rng)
    return benchmark.write_made(paths, content, ".mp4", opinion, recipe, names)

"""The rows of a run's sets, and the one place where images and clips are opened.

Whatever is trained on, predicted, shown to a teacher or scored is decoded by `decode_rgb`: upright
RGB, or refused by name, the same everywhere. Content is hashed after decoding, so that the same
pixels are known again under another name or format.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from qponder_lib.artifacts import file_sha256, read_jsonl
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
CLIP_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_ASPECT = 200.0
"""Longer images are refused by the processors of the models."""
MAX_PIXELS = 200_000_000
"""The largest photographs that phones make; more is taken for an attack."""
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns above it, and refuses twice as many


class ImageError(ValueError):
    """An image that cannot be used.

    Attributes:
        kind: What is wrong: missing_image, empty_image, changed_image, truncated_image,
            oversized_image, extreme_aspect or invalid_image.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def images_in(folder: Path) -> list[Path]:
    """Return the image files in a folder, by name. Raises ValueError if there is none."""
    found = sorted(one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"no image in {folder}: looked for {', '.join(SUFFIXES)}")
    return found


def load_records(paths: RunPaths, dataset: str, split: str) -> list[ImageRecord]:
    """Read the rows of one split of one set."""
    return read_jsonl(paths.split(dataset, split), ImageRecord)


def load_image(paths: RunPaths, record: ImageRecord) -> Image.Image:
    """Read an image of a run as `read_rgb` does; prepared sets lie behind a link."""
    return read_rgb(paths.data / record.image)


def load_pixels(paths: RunPaths, record: ImageRecord) -> NDArray[np.uint8]:
    """Read an image of a run. Returns H x W x 3, uint8."""
    return np.asarray(load_image(paths, record))


def read_rgb(path: Path, sha256: str | None = None) -> Image.Image:
    """Decode an image file as `decode_rgb` does; the error names the file.

    Args:
        path: The file.
        sha256: Hash that it must have, as in its `ImageRecord`; None for any.

    Raises:
        ImageError: If it is missing, has another hash or cannot be used.
    """
    try:
        content = path.read_bytes()
        if sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise ImageError("changed_image", "the file has changed since its row was written")
        return decode_rgb(content)
    except OSError as error:
        raise ImageError("missing_image", f"{path}: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error


def decode_rgb(content: bytes) -> Image.Image:
    """Decode the bytes of an image file.

    Args:
        content: A PNG, JPEG, WebP or BMP file with one frame. Of 16 bits of a colour the upper 8
            are read; grey with 16 bits, whose range may be any, is refused. A JPEG with further
            images in it (depth, gain map, preview), as phones write it, is the one photograph
            that comes first.

    Returns:
        Upright RGB (EXIF orientation applied) without metadata; transparent parts lie on white.

    Raises:
        ImageError: If the file is empty, cut off, of another format or depth, animated, larger
            than 200 megapixels, or more than 200 times as long as wide.
    """
    if not content:
        raise ImageError("empty_image", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", "Image appears to be a malformed MPO file")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.format != "PNG":
                    return plain_rgb(image)
                image.verify()  # decoding does not look at the check sums, and this uses it up
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return plain_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"more than {MAX_PIXELS:,} pixels, which no camera makes: {error}"
        raise ImageError("oversized_image", message) from error
    except UnidentifiedImageError as error:
        message = f"no {', '.join(FORMATS)} image; it starts with {content[:8]!r}"
        raise ImageError("invalid_image", message) from error
    except (OSError, SyntaxError, ValueError) as error:  # PIL calls a broken PNG a SyntaxError
        if isinstance(error, ImageError):
            raise
        cut = isinstance(error, OSError) and "truncated" in str(error).lower()
        raise ImageError("truncated_image" if cut else "invalid_image", str(error)) from error


def plain_rgb(image: Image.Image) -> Image.Image:
    """Turn a decoded image upright and into RGB, as `decode_rgb` describes. Raises ImageError."""
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError("extreme_aspect", f"{width} x {height} is longer than 200 to 1")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ImageError("invalid_image", f"expected one frame, got {image.n_frames}")
    if image.mode.startswith(("I", "F")):
        # convert("RGB") would clip 16-bit values to white instead of scaling them.
        message = f"expected 8 bits per channel, got mode {image.mode}"
        raise ImageError("invalid_image", message)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    plain = image.convert("RGB")
    plain.info = {}
    return plain


def scaled_down(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """Scale an image of more than ``max_pixels`` down to so many, its shape kept; None: never."""
    width, height = image.size
    if max_pixels is None or width * height <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / (width * height))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def at_least(image: Image.Image, side: int) -> Image.Image:
    """Enlarge an image whose shorter side is below `side` pixels, its shape kept.

    Example:
        >>> [at_least(Image.new("RGB", size), 32).size for size in ((2, 6), (40, 50))]
        [(32, 96), (40, 50)]
    """
    scale = max(1.0, side / min(image.size))
    if scale == 1.0:
        return image
    return image.resize([round(scale * one) for one in image.size], Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Scanned:
    """What a file turned out to be.

    Attributes:
        path: Relative to the root it was looked for in.
        sha256: Hash of the file, or None if it could not be read.
        content: Hash of the decoded pixels and their shape, or None if they could not be decoded;
            the same for a PNG and a BMP of one image.
        problem: Why it cannot be used, one of the kinds of `ImageError` or outside_root; or None.
        message: The same in words.
        constant: Whether all its pixels are of one colour.
    """

    path: str
    sha256: str | None = None
    content: str | None = None
    problem: str | None = None
    message: str = ""
    constant: bool = False


def scan(
    root: Path,
    paths: Iterable[str],
    *,
    confined: bool = True,
    progress: bool = True,
    label: str = "files",
) -> dict[str, Scanned]:
    """Read, decode and hash images and clips below a root.

    Args:
        root: Folder of the set.
        paths: Relative to it; clips are known by their suffix.
        confined: Refuse links that lead out of the root.
        progress: Show a bar.
        label: What the bar says.

    Returns:
        One entry per path, in their order.
    """
    todo = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        results = pool.map(lambda path: _scan_file(root, path, confined), todo)
        done = list(tqdm(results, total=len(todo), desc=label, disable=not progress))
    return {one.path: one for one in done}


def _scan_file(root: Path, path: str, confined: bool) -> Scanned:
    place = root / path
    if confined and not place.resolve().is_relative_to(root.resolve()):
        return Scanned(path, problem="outside_root", message="leads out of the set's folder")
    if not place.is_file():
        return Scanned(path, problem="missing_image", message="no such file")
    try:
        sha256 = file_sha256(place)
        is_clip = path.lower().endswith(CLIP_SUFFIXES)
        content, constant = _hash_clip(place) if is_clip else _hash_image(place)
    except ImageError as error:
        return Scanned(path, sha256, problem=error.kind, message=str(error))
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        return Scanned(path, problem="invalid_image", message=message)
    return Scanned(path, sha256, content, constant=constant)


def _hash_image(place: Path) -> tuple[str, bool]:
    pixels = decode_rgb(place.read_bytes())
    hashed = hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes())
    return hashed.hexdigest(), all(low == high for low, high in pixels.getextrema())


def _hash_clip(place: Path) -> tuple[str, bool]:
    """Hash the decoded brightness of all frames; a clip that breaks off is truncated."""
    import av  # a fifth of a second, which commands that look into no clip save

    if not place.stat().st_size:
        raise ImageError("empty_image", "the file is empty")
    hashed, decoded, declared = hashlib.sha256(), 0, 0
    try:
        with av.open(str(place)) as container:
            if not container.streams.video:
                raise ImageError("invalid_image", "it has no video stream")
            declared = container.streams.video[0].frames
            for frame in container.decode(video=0):
                hashed.update(f"{frame.width}x{frame.height}".encode() + bytes(frame.planes[0]))
                decoded += 1
    except av.FFmpegError as error:
        kind = "truncated_image" if decoded else "invalid_image"
        raise ImageError(kind, f"{decoded} frames decoded, then {error}") from error
    if not decoded:
        raise ImageError("invalid_image", "no frame of its video stream can be decoded")
    if decoded < declared:
        raise ImageError("truncated_image", f"{decoded} of {declared} frames are there")
    return hashed.hexdigest(), False

"""The rows of a run's sets, and the one place where images and clips are opened.

Whatever is trained on, predicted, shown to a teacher or scored is decoded by `decode_rgb`: upright
RGB, or refused by name, the same everywhere. Content is hashed after decoding.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from qponder_lib.artifacts import file_sha256, read_jsonl
from qponder_lib.data.findings import Kind
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord

if TYPE_CHECKING:
    from av.container import InputContainer

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
CLIP_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_ASPECT = 200.0
"""Longer images are refused by the processors of the models."""
_ORIENTATION = 0x0112


class ImageError(ValueError):
    """An image file that cannot be used, with the name of what is wrong with it."""

    def __init__(self, kind: Kind, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def load_records(paths: RunPaths, dataset: str, split: str) -> list[ImageRecord]:
    """Read the rows of one split of one set."""
    return read_jsonl(paths.split(dataset, split), ImageRecord)


def load_image(paths: RunPaths, record: ImageRecord) -> Image.Image:
    """Decode an image of a run as `decode_rgb` does; prepared sets lie behind a link."""
    return read_rgb(paths.data / record.image)


def load_pixels(paths: RunPaths, record: ImageRecord) -> NDArray[np.uint8]:
    """Decode an image of a run. Returns H x W x 3, uint8."""
    return np.asarray(load_image(paths, record))


def decode_rgb(content: bytes) -> Image.Image:
    """Decode the bytes of an image file.

    Args:
        content: A PNG, JPEG, WebP or BMP file with one frame and 8 bits per channel.

    Returns:
        Upright RGB (EXIF orientation applied) without metadata; transparent parts lie on white.

    Raises:
        ImageError: If the file is empty, cut off, of another format or depth, has several
            frames, more pixels than `PIL.Image.MAX_IMAGE_PIXELS` or an aspect ratio above 200.
    """
    if not content:
        raise ImageError("empty_image", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.format != "PNG":
                    return _plain_rgb(image)
                image.verify()  # decoding does not look at the check sums, and this uses it up
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _plain_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("oversized_image", str(error)) from error
    except UnidentifiedImageError as error:
        message = f"no {', '.join(FORMATS)} image; it starts with {content[:8]!r}"
        raise ImageError("invalid_image", message) from error
    except (OSError, SyntaxError, ValueError) as error:  # PIL calls a broken PNG a SyntaxError
        if isinstance(error, ImageError):
            raise
        cut = isinstance(error, OSError) and "truncated" in str(error).lower()
        kind: Kind = "truncated_image" if cut else "invalid_image"
        raise ImageError(kind, str(error)) from error


def read_rgb(path: Path) -> Image.Image:
    """Decode an image file as `decode_rgb` does; the error names the file.

    Raises:
        ImageError: If it is missing or cannot be used.
    """
    try:
        return decode_rgb(path.read_bytes())
    except OSError as error:
        raise ImageError("missing_image", f"{path}: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error


def _plain_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError("extreme_aspect", f"{width} x {height} is longer than 200 to 1")
    if getattr(image, "n_frames", 1) > 1:
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


@dataclass(frozen=True)
class Scanned:
    """What a file turned out to be.

    Attributes:
        path: Relative to the root it was looked for in.
        sha256: Hash of the file, or None if it could not be read.
        content: Hash of the decoded pixels and their shape, or None if they could not be decoded;
            the same for a PNG and a BMP of one picture.
        problem: Why it cannot be used, or None.
        message: The same in words.
        rotated: True if its EXIF orientation was applied.
        transparent: True if parts of it were laid on white.
    """

    path: str
    sha256: str | None = None
    content: str | None = None
    problem: Kind | None = None
    message: str = ""
    rotated: bool = False
    transparent: bool = False


def scan_image(root: Path, path: str, *, confined: bool = True) -> Scanned:
    """Read and decode one file below a root; confined, a link that leads out is refused."""
    place = root / path
    if confined and not place.resolve().is_relative_to(root.resolve()):
        return Scanned(path, problem="outside_root", message="leads out of the set's folder")
    try:
        content = place.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return Scanned(path, problem="missing_image", message="no such file")
    except OSError as error:
        return Scanned(path, problem="invalid_image", message=f"cannot be read: {error.strerror}")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        pixels = decode_rgb(content)
    except ImageError as error:
        return Scanned(path, sha256, problem=error.kind, message=str(error))
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        rotated = image.getexif().get(_ORIENTATION, 1) != 1
        transparent = image.has_transparency_data
    hashed = hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes())
    return Scanned(path, sha256, hashed.hexdigest(), rotated=rotated, transparent=transparent)


def scan_images(
    root: Path,
    paths: Iterable[str],
    *,
    confined: bool = True,
    progress: bool = True,
    label: str = "images",
) -> dict[str, Scanned]:
    """Read, decode and hash files below a root.

    Args:
        root: Folder of the set.
        paths: Relative to it.
        confined: Refuse links that lead out of the root.
        progress: Show a bar.
        label: What the bar says.

    Returns:
        One entry per path, in their order.
    """
    todo = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        results = pool.map(lambda path: scan_image(root, path, confined=confined), todo)
        done = list(tqdm(results, total=len(todo), desc=label, disable=not progress))
    return {one.path: one for one in done}


def scan_clip(root: Path, path: str) -> Scanned:
    """Read and decode one clip below a root; a link that leads out of it is refused.

    Returns:
        Hashes of the file and of the decoded brightness of all frames, or what is wrong: a clip
        that breaks off, or holds fewer frames than it states, is "truncated_image", one without
        a picture "invalid_image".
    """
    import av  # a fifth of a second, which commands that look into no clip save

    place = root / path
    if not place.resolve().is_relative_to(root.resolve()):
        return Scanned(path, problem="outside_root", message="leads out of the set's folder")
    if not place.is_file():
        return Scanned(path, problem="missing_image", message="no such file")
    if not place.stat().st_size:
        return Scanned(path, problem="empty_image", message="the file is empty")
    sha256 = file_sha256(place)
    hashed = hashlib.sha256()
    decoded = declared = 0
    try:
        with av.open(str(place)) as container:
            if not container.streams.video:
                message = "it has no video stream"
                return Scanned(path, sha256, problem="invalid_image", message=message)
            declared = container.streams.video[0].frames
            for decoded in _hash_frames(container, hashed):  # noqa: B007 (its last value counts)
                pass
    except av.FFmpegError as error:
        kind = "truncated_image" if decoded else "invalid_image"
        message = f"{decoded} frames decoded, then {error}"
        return Scanned(path, sha256, problem=kind, message=message)
    if not decoded:
        message = "no frame of its video stream can be decoded"
        return Scanned(path, sha256, problem="invalid_image", message=message)
    if decoded < declared:
        message = f"{decoded} of {declared} frames are there"
        return Scanned(path, sha256, problem="truncated_image", message=message)
    return Scanned(path, sha256, hashed.hexdigest())


def _hash_frames(container: InputContainer, hashed: hashlib._Hash) -> Iterable[int]:
    """Decode one frame after another into a hash, and count them."""
    for count, frame in enumerate(container.decode(video=0), start=1):
        hashed.update(f"{frame.width}x{frame.height}".encode())
        hashed.update(bytes(frame.planes[0]))
        yield count


def scan_clips(root: Path, paths: Iterable[str], *, progress: bool = True) -> dict[str, Scanned]:
    """Read, decode and hash clips below a root.

    Args:
        root: Folder of the set.
        paths: Relative to it.
        progress: Show a bar.

    Returns:
        One entry per path, in their order.
    """
    todo = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        results = pool.map(lambda path: scan_clip(root, path), todo)
        done = list(tqdm(results, total=len(todo), desc="clips", disable=not progress))
    return {one.path: one for one in done}

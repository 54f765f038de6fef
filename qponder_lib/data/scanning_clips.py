"""Clips of users: decoded from the first frame to the last, or refused by name, and hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from qponder_lib.artifacts import file_sha256
from qponder_lib.data.images import Scanned

if TYPE_CHECKING:
    from av.container import InputContainer


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

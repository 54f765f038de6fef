"""Whole files: atomic writes, strict JSON, hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class ArtifactError(ValueError):
    """A file is not what its writer would have left; the message names file and line."""


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that its name only ever shows a whole one.

    Args:
        path: Where to; missing folders are made.
        content: What to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open a folder and needs no such call."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; half a surrogate pair becomes its escape, not an error."""
    write_bytes_atomic(path, text.encode("utf-8", errors="backslashreplace"))


def to_json(obj: Any, *, indent: int | None = None) -> str:
    """Return canonical JSON: sorted keys, no NaN, models as objects.

    Raises:
        ValueError: If a number is NaN or infinite.

    Example:
        >>> to_json({"b": 1, "a": [None, 0.5]})
        '{"a": [null, 0.5], "b": 1}'
    """
    return json.dumps(
        obj, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=indent, default=_plain
    )


def _plain(obj: Any) -> Any:
    if isinstance(obj, BaseModel):
        return obj.model_dump(mode="json")
    if isinstance(obj, os.PathLike):
        return Path(obj).as_posix()
    raise TypeError(f"expected JSON values, models or paths, got {type(obj).__name__}")


def write_json(path: Path, obj: Any) -> None:
    """Write an object as readable JSON, atomically."""
    write_text_atomic(path, to_json(obj, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON strictly: no duplicate keys, no NaN, no infinity.

    Raises:
        ArtifactError: If the file is not such JSON.
    """
    return loads_strict(path.read_bytes(), str(path))


def loads_strict(content: bytes, where: str) -> Any:
    """Parse JSON, refusing duplicate keys, NaN and infinity; errors name `where`."""
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return result


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(obj: Any) -> str:
    """Return the SHA-256 of an object's canonical JSON.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(to_json(obj).encode("utf-8")).hexdigest()


def now() -> str:
    """Return the time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")

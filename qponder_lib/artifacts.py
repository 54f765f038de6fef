"""Files that are whole or absent: atomic writes, crash-safe appends, strict reads, seals.

A process may be killed at any moment. Whole files are written beside their place and renamed
into it; rows are appended one line at a time and a torn last line is cut off on the next open.
A seal lists the hash of every file of a stage and is written last, so a stage without a fitting
seal is unfinished, whatever files lie there.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import math
import os
import platform
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from qponder_lib import __version__

log = logging.getLogger(__name__)

Row = TypeVar("Row", bound=BaseModel)
SEAL_NAME = "SEALED.json"
_RECORDED_PACKAGES = ("numpy", "pydantic", "torch", "transformers", "trl", "peft", "pillow")


class ArtifactError(ValueError):
    """A file is not what its writer would have left; the message names file and line."""


# ---- whole files


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
    return _loads_strict(path.read_bytes(), str(path))


def _loads_strict(content: bytes, where: str) -> Any:
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


# ---- rows


def _line(row: BaseModel) -> bytes:
    return (to_json(row) + "\n").encode("utf-8", errors="backslashreplace")


def write_jsonl(path: Path, rows: Iterable[BaseModel]) -> None:
    """Write rows, one JSON object a line, atomically."""
    write_bytes_atomic(path, b"".join(_line(row) for row in rows))


def read_jsonl(path: Path, model: type[Row]) -> list[Row]:
    """Read rows strictly.

    Args:
        path: A file that `write_jsonl` or `JsonlAppender` wrote.
        model: What each row must be; values are not coerced.

    Raises:
        ArtifactError: If a line is torn or not such a row; it names file and line.
    """
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        number = content.count(b"\n") + 1
        raise ArtifactError(f"{path}, line {number}: the file ends inside this line")
    return _parse_rows(content, model, path)


def _parse_rows(content: bytes, model: type[Row], path: Path) -> list[Row]:
    rows = []
    # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        where = f"{path}, line {number}"
        _loads_strict(line, where)
        try:
            rows.append(model.model_validate_json(line, strict=True))
        except ValidationError as error:
            raise ArtifactError(f"{where}: not a {model.__name__}: {error}") from error
    return rows


class JsonlAppender(Generic[Row]):
    """Append rows to a file that survives a kill between or inside them.

    `rows` holds what was there on opening. Each row goes to the operating system in one write
    and is lost only with the machine; the file is synced on close. One process at a time may
    hold the file.

    Example:
        >>> import tempfile
        >>> from qponder_lib.records import Distortion
        >>> path = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> with JsonlAppender(path, Distortion) as store:
        ...     store.append(Distortion(name="blur", level=2))
        >>> with JsonlAppender(path, Distortion) as store:
        ...     len(store.rows)
        1
    """

    def __init__(self, path: Path, model: type[Row]) -> None:
        """Open the file, repair its tail and read its rows.

        Raises:
            ArtifactError: If a line before the last is torn, or another process has the file.
        """
        self.path, self.model = path, model
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ArtifactError(f"{path}: another process appends to this file") from error
        try:
            self._cut_torn_tail()
            self.rows = read_jsonl(path, model) if path.exists() else []
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except BaseException:
            self._lock.release()
            raise

    def _cut_torn_tail(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("%s: cut a torn last line of %d bytes", self.path, len(content) - whole)
            os.truncate(self.path, whole)

    def append(self, row: Row) -> None:
        """Add one row at the end."""
        line = _line(row)
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Sync the file and let others have it."""
        os.fsync(self._file)
        os.close(self._file)
        self._lock.release()

    def __enter__(self) -> Self:
        """Return the appender itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close whatever happened; rows written so far stay."""
        self.close()


# ---- tables


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV with the columns in the order given, atomically.

    Args:
        path: Where to.
        rows: One mapping per row with exactly the keys in `columns`; `None` is an empty cell.
        columns: Column names.

    Raises:
        ValueError: If a row has other keys or a number is not finite.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for number, row in enumerate(rows):
        if set(row) != set(columns):
            odd = sorted(set(row) ^ set(columns))
            raise ValueError(f"{path}, row {number}: missing or unknown columns {odd}")
        writer.writerow([_cell(row[name], f"{path}, row {number}, {name}") for name in columns])
    write_text_atomic(path, buffer.getvalue())


def _cell(value: Any, where: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value}; a missing value is None with a reason beside it")
    return "" if value is None else value


def read_csv(path: Path) -> list[dict[str, str | None]]:
    """Read a CSV as text; an empty cell is `None`.

    Raises:
        ArtifactError: If a row has more or fewer cells than the header.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines:
        raise ArtifactError(f"{path}: no header")
    header, body = lines[0], lines[1:]
    for number, line in enumerate(body, start=2):
        if len(line) != len(header):
            raise ArtifactError(
                f"{path}, line {number}: expected {len(header)} cells, got {len(line)}"
            )
    return [{name: cell or None for name, cell in zip(header, line)} for line in body]


# ---- hashes and seals


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


class Seal(BaseModel):
    """What a finished stage was made from and what it left behind."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    created: str
    seconds: float
    versions: dict[str, str]


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python and the packages that decide results, importing none."""
    versions = {"python": platform.python_version(), "qponder_lib": __version__}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def hash_outputs(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Hash files, and all files below folders, by their path relative to `root`.

    Raises:
        FileNotFoundError: If a path does not exist or a folder holds no file.
    """
    hashes: dict[str, str] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if not files:
            raise FileNotFoundError(f"cannot seal {path}: no such file, or an empty folder")
        for file in files:
            if file.name != SEAL_NAME and not file.name.endswith((".tmp", ".lock")):
                hashes[file.relative_to(root).as_posix()] = file_sha256(file)
    return hashes


def now() -> str:
    """Return the time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_seal(path: Path, seal: Seal) -> None:
    """Write a seal; call it after every file it lists."""
    write_json(path, seal)


def seal_folder(
    folder: Path,
    *,
    stage: str,
    key: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    seconds: float,
) -> Seal:
    """Seal every file in a folder with a `SEALED.json` in it.

    Args:
        folder: A folder whose files are complete.
        stage: Who made it.
        key: Digest of what it was made from.
        config: The configuration, for the reader.
        inputs: Names and keys of what went in.
        seconds: How long it took.

    Returns:
        The seal that was written.
    """
    seal = Seal(
        stage=stage,
        key=key,
        config=dict(config),
        inputs=dict(inputs),
        outputs=hash_outputs(folder, [folder]),
        created=now(),
        seconds=seconds,
        versions=package_versions(),
    )
    write_seal(folder / SEAL_NAME, seal)
    return seal


def read_seal(path: Path) -> Seal | None:
    """Return the seal in a file or folder, or `None` if there is none that can be read."""
    file = path / SEAL_NAME if path.is_dir() else path
    try:
        return Seal.model_validate(read_json(file))
    except FileNotFoundError:
        return None
    except (ArtifactError, ValidationError) as error:
        log.warning("%s: not a seal, taken for none: %s", file, error)
        return None


def verify_seal(path: Path, root: Path | None = None) -> list[str]:
    """Compare the files a seal lists with what lies there.

    Args:
        path: A sealed folder, or a seal file.
        root: What the seal's paths are relative to; default the folder of the seal.

    Returns:
        One line per problem; empty when every file is as it was sealed.
    """
    seal = read_seal(path)
    if seal is None:
        return [f"{path}: no seal"]
    base = root if root is not None else (path if path.is_dir() else path.parent)
    problems = []
    for name, expected in seal.outputs.items():
        file = base / name
        if not file.is_file():
            problems.append(f"{name}: missing")
        elif file_sha256(file) != expected:
            problems.append(f"{name}: changed since it was sealed")
    return problems

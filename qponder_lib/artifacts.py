"""Files that are whole or absent: atomic writes, crash-safe appends, strict reads, stage records.

A process may be killed at any moment. Whole files are written beside their place and renamed
into it; rows are appended one line at a time and a torn last line is cut off on the next open.
A stage record lists the hash of every file and is written last, so a stage without a fitting
record is unfinished, whatever files lie there.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import logging
import math
import os
import platform
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qponder_lib import __version__

log = logging.getLogger(__name__)

RECORD_NAME = "SEALED.json"
_RECORDED_PACKAGES = ("numpy", "pydantic", "torch", "transformers", "trl", "peft", "pillow")
Row = TypeVar("Row", bound=BaseModel)


class ArtifactError(ValueError):
    """A file is not what its writer would have left; the message names file and line."""


class HeldError(RuntimeError):
    """Another process holds a lock; the message names process, host and since when."""


# ---- whole files


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file, and missing folders, so that its name only ever shows a whole one."""
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
    """Return canonical JSON: sorted keys, no NaN, models and data classes as objects.

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
    if dataclasses.is_dataclass(obj):
        return dataclasses.asdict(obj)
    if isinstance(obj, os.PathLike):
        return Path(obj).as_posix()
    raise TypeError(f"expected JSON values, rows or paths, got {type(obj).__name__}")


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
            object_pairs_hook=unique_keys,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: {error}") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs; ValueError if a key is there twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
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


# ---- locks


class OwnedLock:
    """A lock file with a note of its holder beside it.

    The system frees the lock when its holder dies, however it dies; the note it then leaves is
    overwritten by the next holder. As a context manager it takes the lock at once or not at all.
    """

    def __init__(self, path: Path) -> None:
        """Name the lock file; nothing is locked yet."""
        self._lock = FileLock(path)
        self._note = path.with_suffix(".owner.lock")

    def acquire(self, patience_s: float = 0.0) -> None:
        """Take the lock, waiting at most `patience_s` seconds for its holder to let go.

        Raises:
            HeldError: If another process has it still.
        """
        try:
            self._lock.acquire(timeout=patience_s)
        except Timeout as error:
            raise HeldError(self._holder()) from error
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": now()}
            write_json(self._note, owner)
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let go."""
        self._note.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        try:
            owner = read_json(self._note)
        except (FileNotFoundError, ArtifactError):
            owner = {}  # it holds the lock and has not signed yet
        return (
            f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'unknown host')}, "
            f"since {owner.get('started', 'just now')}"
        )

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()


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
    # Not splitlines(): a text may hold U+2028, which JSON leaves as it is.
    *lines, torn = path.read_bytes().split(b"\n")
    if torn:
        number = len(lines) + 1
        raise ArtifactError(f"{path}, line {number}: the file ends inside this line")
    rows = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        loads_strict(line, where)
        try:
            rows.append(model.model_validate_json(line, strict=True))
        except ValidationError as error:
            raise ArtifactError(f"{where}: not a {model.__name__}: {problems_of(error)}") from error
    return rows


def problems_of(error: ValidationError) -> str:
    """Return what pydantic found in one line, each problem with its field."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"]
        for one in error.errors()
    )


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
        self.path, self._broken = path, False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = OwnedLock(path.with_name(f"{path.name}.lock"))
        try:
            self._lock.acquire()
        except HeldError as error:
            raise ArtifactError(f"{path}: another process appends to this file: {error}") from error
        try:
            self._cut_torn_tail()
            self.rows = read_jsonl(path, model) if path.exists() else []
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except BaseException:
            self._lock.release()
            raise

    def _cut_torn_tail(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("%s: cut a torn last line of %d bytes", self.path, len(content) - whole)
            os.truncate(self.path, whole)

    def append(self, row: Row) -> None:
        """Add one row at the end.

        Raises:
            OSError: If the row could not be written, and for every row after that: the file may
                now end in half a line, which only opening it anew repairs.
        """
        if self._broken:
            raise OSError(f"{self.path}: an earlier row could not be written")
        line, self._broken = _line(row), True
        while line:
            line = line[os.write(self._file, line) :]
        self._broken = False

    def close(self) -> None:
        """Sync the file and let others have it."""
        os.fsync(self._file)
        os.close(self._file)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV with the columns in the order given, atomically.

    Each row has exactly the keys in `columns`; `None` is an empty cell.

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


# ---- stage records


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


class StageRecord(BaseModel):
    """What a finished stage was made from and what it left behind.

    Attributes:
        stage: Who made it.
        key: Digest of what it was made from.
        config: The settings, for the reader.
        inputs: Keys of what went in, by name.
        outputs: SHA-256 of every file, by path.
        created: When, UTC.
        seconds: How long it took.
        versions: Of Python and the packages that decide results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str] = {}
    outputs: dict[str, str]
    created: str = Field(default_factory=now)
    seconds: float
    versions: dict[str, str] = Field(default_factory=package_versions)


def hash_outputs(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Hash files, and all files below folders, by their path relative to `root`.

    Raises:
        FileNotFoundError: If a path does not exist or a folder holds no file.
    """
    hashes: dict[str, str] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if not files:
            raise FileNotFoundError(f"cannot record {path}: no such file, or an empty folder")
        for file in files:
            if file.name != RECORD_NAME and not file.name.endswith((".tmp", ".lock")):
                _open_to_others(file)
                hashes[file.relative_to(root).as_posix()] = file_sha256(file)
    return hashes


def _open_to_others(file: Path) -> None:
    """Let others read a file as far as the umask lets them; safetensors lets its owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    mode = file.stat().st_mode & 0o777
    if mode & 0o077 == 0 and (wanted := mode | 0o666 & ~umask) != mode:
        file.chmod(wanted)


def record_folder(
    folder: Path, *, stage: str, key: str, config: dict[str, Any], seconds: float
) -> StageRecord:
    """Write the record of a folder whose files are complete, `SEALED.json`, into it."""
    outputs = hash_outputs(folder, [folder])
    record = StageRecord(stage=stage, key=key, config=config, outputs=outputs, seconds=seconds)
    write_json(folder / RECORD_NAME, record)
    return record


def read_record(path: Path) -> StageRecord | None:
    """Return the record in a file or folder, or `None` if there is none that can be read."""
    file = path / RECORD_NAME if path.is_dir() else path
    try:
        return StageRecord.model_validate(read_json(file))
    except FileNotFoundError:
        return None
    except (ArtifactError, ValidationError) as error:
        log.warning("%s: not a stage record, taken for none: %s", file, error)
        return None


def verify_record(path: Path, root: Path | None = None) -> list[str]:
    """Compare the files a record lists with what lies there.

    Args:
        path: A folder with a record, or the record itself.
        root: What the record's paths are relative to; default its own folder.

    Returns:
        One line per problem; empty when every file is as recorded.
    """
    record = read_record(path)
    if record is None:
        return [f"{path}: no stage record"]
    base = root if root is not None else (path if path.is_dir() else path.parent)
    problems = []
    for name, expected in record.outputs.items():
        file = base / name
        if not file.is_file():
            problems.append(f"{name}: missing")
        elif file_sha256(file) != expected:
            problems.append(f"{name}: changed since it was recorded")
    return problems

"""Rows: JSON lines, written whole or appended crash-safe, read strictly; tables as CSV."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ValidationError

from qponder_lib.artifacts.files import (
    ArtifactError,
    loads_strict,
    to_json,
    write_bytes_atomic,
    write_text_atomic,
)
from qponder_lib.artifacts.locks import HeldError, OwnedLock

log = logging.getLogger(__name__)

Row = TypeVar("Row", bound=BaseModel)


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
        loads_strict(line, where)
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
        self._lock = OwnedLock(path.with_name(f"{path.name}.lock"))
        try:
            self._lock.acquire()
        except HeldError as error:
            raise ArtifactError(f"{path}: another process appends to this file: {error}") from error
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

    def __exit__(self, *raised: object) -> None:
        """Close whatever happened; rows written so far stay."""
        self.close()


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

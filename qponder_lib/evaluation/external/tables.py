"""Rows of a file that somebody else wrote, as they stand: JSON in four shapes, text tables.

What the bytes are decides, not the name of the file. JSON may be a list of objects, one object a
line, objects written one after the other with nothing between them, or one object whose keys are
the ids. NaN and infinity, which Python's writer leaves behind, come through as numbers; they are
counted as such where a score is read.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
Shape = Literal["json list", "json objects", "json by id", "table", "table without header"]


class SubmissionError(ValueError):
    """A file that cannot be used as it is; the message names file, row and what was expected."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its number in the file (objects or lines, from 1) and its cells by column."""

    number: int
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one file.

    Attributes:
        path: Where they came from.
        shape: How the file is written.
        columns: Names that occur in the rows, in order of appearance; "1", "2", ... where the
            file names none.
        rows: The rows.
    """

    path: Path
    shape: Shape
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def is_text(self) -> bool:
        """Whether cells are text by nature, so that a number has no other form."""
        return self.shape.startswith("table")


def read_table(path: Path) -> Table:
    """Read the rows of a file.

    Args:
        path: JSON in one of four shapes, or a table parted by comma, semicolon, tab or blanks.

    Returns:
        The rows, at least one.

    Raises:
        SubmissionError: If there is no such file, it is not UTF-8 text, is torn, or has no rows.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SubmissionError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{path}: expected UTF-8 text, byte {error.start} is not") from error
    is_json = text.lstrip()[:1] in ("{", "[")
    table = _json_table(text, path) if is_json else _text_table(text, path)
    if not table.rows:
        raise SubmissionError(f"{path}: no rows")
    return table


def _json_table(text: str, path: Path) -> Table:
    values = _json_values(text, path)
    shape: Shape = "json objects"
    if len(values) == 1 and isinstance(values[0], list):
        values, shape = values[0], "json list"
    elif len(values) == 1 and _is_by_id(values[0]):
        shape = "json by id"
        values = [
            {"id": key, **(cells if isinstance(cells, dict) else {"score": cells})}
            for key, cells in values[0].items()
        ]
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise SubmissionError(f"{path}, row {number}: expected a JSON object, got a {kind}")
    columns = tuple(dict.fromkeys(name for value in values for name in value))
    return Table(path, shape, columns, tuple(Row(k, v) for k, v in enumerate(values, start=1)))


def _is_by_id(value: Any) -> bool:
    """Tell `{"a.jpg": 3.2, ...}` and `{"a.jpg": {"mos": 3.2}, ...}` from a single row."""
    cells = list(value.values()) if isinstance(value, dict) else []
    numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in cells)
    return len(cells) > 1 and (numbers or all(isinstance(c, dict) for c in cells))


def _json_values(text: str, path: Path) -> list[Any]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys)
    values, position, end = [], 0, len(text.rstrip())
    while True:
        while position < end and text[position].isspace():
            position += 1
        if position >= end:
            return values
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, position) + 1
            where = f"{path}, row {len(values) + 1} (line {line})"
            raise SubmissionError(f"{where}: not whole JSON: {error}") from error
        values.append(value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return result


def _text_table(text: str, path: Path) -> Table:
    lines = text.replace("\r\n", "\n").split("\n")
    first = next((line for line in lines if line.strip()), "")
    cells = _split(lines, _delimiter(first, path), path)
    if not cells:
        return Table(path, "table", (), ())
    head = [cell.strip() for cell in cells[0][1]]
    named = not any(NUMBER.fullmatch(cell) for cell in head)
    columns = tuple(head) if named else tuple(str(k) for k in range(1, len(head) + 1))
    if len(set(columns)) != len(columns) or "" in columns:
        raise SubmissionError(f"{path}: column names are empty or there twice: {list(columns)}")
    rows = []
    for number, row in cells[1:] if named else cells:
        if len(row) != len(columns):
            came = f"expected {len(columns)} cells, got {len(row)}"
            hint = "; is there a decimal comma?" if len(row) > len(columns) else ""
            raise SubmissionError(f"{path}, line {number}: {came}{hint}")
        rows.append(Row(number, {k: cell.strip() for k, cell in zip(columns, row, strict=True)}))
    return Table(path, "table" if named else "table without header", columns, tuple(rows))


def _delimiter(first: str, path: Path) -> str:
    found = [sign for sign in (",", ";", "\t") if sign in first]
    if len(found) > 1:
        raise SubmissionError(f"{path}: the first line holds {found}; expected one of them")
    if not found and not first.strip().count(" "):
        raise SubmissionError(f"{path}: expected JSON or a table of at least two columns")
    return found[0] if found else " "


def _split(lines: Sequence[str], delimiter: str, path: Path) -> list[tuple[int, list[str]]]:
    """Part lines into cells; blanks part cells only where nothing else does."""
    if delimiter == " ":
        return [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    reader = csv.reader([line + "\n" for line in lines], delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SubmissionError(f"{path}, line {reader.line_num}: {error}") from error

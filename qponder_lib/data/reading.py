"""Reads label files: csv, text, xlsx and mat, without running anything that lies in them.

Whatever a file has that its makers did not write (a byte order mark, Windows line ends, decimal
commas, blanks around cells) is reported with file and row. A number is read as it stands or not at
all.
"""

from __future__ import annotations

import csv
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qponder_lib.data.findings import Finding, Kind, Level

Cell = Any
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_MISSING = {"", "nan", "na", "none", "null", "-"}


@dataclass(frozen=True)
class Row:
    """A row of a table: its number in the file and its cells by column name."""

    number: int
    cells: dict[str, Cell]


@dataclass
class Reader:
    """Reads files below a root and collects what it finds on the way.

    Attributes:
        root: The user's copy.
        findings: Everything found so far.
    """

    root: Path
    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        kind: Kind,
        message: str,
        file: str | None,
        row: int | None = None,
        level: Level = "error",
    ) -> None:
        """Record a finding."""
        self.findings.append(Finding(kind=kind, level=level, message=message, file=file, row=row))

    def text_lines(self, file: str) -> list[str]:
        """Read a UTF-8 text file as lines without their ends; empty if it cannot be read."""
        content = self._bytes(file)
        if content is None:
            return []
        if content.startswith(b"\xef\xbb\xbf"):
            self.add("bom", "starts with a byte order mark, which was left out", file, 1, "note")
            content = content[3:]
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.add("encoding", "expected UTF-8 text, got other bytes", file, line)
            return []
        if "\x00" in text:
            line = text.count("\n", 0, text.index("\x00")) + 1
            self.add("encoding", "holds a zero byte; expected UTF-8 text", file, line)
            return []
        return self._without_ends(text, file)

    def _without_ends(self, text: str, file: str) -> list[str]:
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        windows = [number for number, line in enumerate(lines, start=1) if line.endswith("\r")]
        if windows:
            message = f"{len(windows)} of {len(lines)} lines end in CR LF, read as LF"
            self.add("crlf", message, file, windows[0], "note")
        return [line.removesuffix("\r") for line in lines]

    def csv_rows(self, file: str, columns: Sequence[str]) -> list[Row]:
        """Read a CSV that has at least the columns asked for."""
        lines = self.text_lines(file)
        if not lines:
            return []
        delimiter = ","
        if ";" in lines[0] and "," not in lines[0]:
            delimiter = ";"
            self.add("delimiter", "cells are parted by ; instead of ,", file, 1, "warning")
        try:
            cells = list(csv.reader(lines, delimiter=delimiter, strict=True))
        except csv.Error as error:
            self.add("unreadable_table", f"not a CSV: {error}", file)
            return []
        return self.table_rows(file, columns, enumerate(cells, start=1))

    def table_rows(
        self, file: str, columns: Sequence[str], rows: Iterator[tuple[int, Sequence[Cell]]]
    ) -> list[Row]:
        """Give the cells below a header their names; the header is the first row."""
        header_at, raw_header = next(iter(rows), (1, ()))
        header = [name.strip() if isinstance(name, str) else name for name in raw_header]
        if missing := [name for name in columns if name not in header]:
            self.add("columns", f"expected columns {missing}, got {header}", file, header_at)
            return []
        table, padded = [], []
        for number, cells in rows:
            if not any(cell not in (None, "") for cell in cells):
                continue
            if len(cells) != len(header):
                hint = "; is a decimal comma in it?" if len(cells) > len(header) else ""
                message = f"expected {len(header)} cells, got {len(cells)}{hint}"
                self.add("cells", message, file, number)
                continue
            named = dict(zip(header, cells, strict=True))
            trimmed = {k: v.strip() if isinstance(v, str) else v for k, v in named.items()}
            if any(trimmed[name] != named[name] for name in columns):
                padded.append(number)
            table.append(Row(number, trimmed))
        if padded:
            message = f"{len(padded)} rows have blanks around cells, which were left out"
            self.add("spaces", message, file, padded[0], "note")
        return table

    def xlsx_rows(self, file: str, columns: Sequence[str], sheet: str | None = None) -> list[Row]:
        """Read a sheet whose header is the first row that has all the columns."""
        content = self._bytes(file)
        if content is None:
            return []
        found = self._sheet(file, sheet)
        if not found:
            return []
        for place, (_, cells) in enumerate(found[:10]):
            names = [str(cell).strip() if cell is not None else None for cell in cells]
            if set(columns) <= set(names):
                first = next(i for i, name in enumerate(names) if name is not None)
                last = max(i for i, name in enumerate(names) if name is not None) + 1
                kept = ((number, row[first:last]) for number, row in found[place:])
                return self.table_rows(file, columns, kept)
        self.add("columns", f"no header with {list(columns)} in the first 10 rows", file, 1)
        return []

    def _sheet(self, file: str, sheet: str | None) -> list[tuple[int, tuple[Cell, ...]]]:
        from zipfile import BadZipFile

        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException

        try:
            book = load_workbook(self.root / file, read_only=True, data_only=True)
            if sheet is not None and sheet not in book.sheetnames:
                self.add("layout", f"no sheet {sheet!r}; there are {book.sheetnames}", file)
                return []
            page = book[sheet] if sheet is not None else book[book.sheetnames[0]]
            page.reset_dimensions()  # the size a file states may be wrong
            rows = [tuple(row) for row in page.iter_rows(values_only=True)]
            book.close()
        except (BadZipFile, InvalidFileException, KeyError, ValueError, OSError, zlib.error) as e:
            self.add("unreadable_table", f"not an xlsx file that can be read: {e}", file)
            return []
        width = max((len(row) for row in rows), default=0)
        return [(n, row + (None,) * (width - len(row))) for n, row in enumerate(rows, start=1)]

    def mat_values(self, file: str, variable: str) -> list[Cell]:
        """Read one variable of a mat file as a flat list; texts in cells become str."""
        if self._bytes(file) is None:
            return []
        from scipy.io import loadmat

        try:
            found = loadmat(self.root / file, variable_names=[variable])
        except NotImplementedError:
            message = "a MATLAB 7.3 file; save it again with -v7"
            self.add("unreadable_table", message, file)
            return []
        except (OSError, ValueError, TypeError, IndexError, KeyError, zlib.error) as error:
            self.add("unreadable_table", f"not a mat file that can be read: {error}", file)
            return []
        if variable not in found:
            self.add("columns", f"no variable {variable!r}", file)
            return []
        return [_plain(value) for value in found[variable].ravel(order="F")]

    def number(self, cell: Cell, file: str, row: int, what: str = "label") -> float | None:
        """Return a cell as a finite number, or record why it is none."""
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
            return float(cell)
        text = "" if cell is None else str(cell).strip()
        if isinstance(cell, str) and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if text.lower() in _MISSING:
            self.add("missing_label", f"no {what}, got {text!r}", file, row)
        elif _COMMA_NUMBER.fullmatch(text):
            message = f"{what} {text!r} has a decimal comma; expected a point"
            self.add("comma_decimal", message, file, row)
        else:
            self.add("not_a_number", f"expected a number as {what}, got {text!r}", file, row)
        return None

    def same_length(self, columns: Mapping[str, Sequence[Cell]]) -> bool:
        """True if all parts of a table that is spread over files are equally long."""
        lengths = {file: len(values) for file, values in columns.items()}
        if len(set(lengths.values())) > 1 and all(lengths.values()):
            message = f"files that belong together differ in length: {lengths}"
            self.add("count", message, next(iter(lengths)))
        return len(set(lengths.values())) == 1

    def _bytes(self, file: str) -> bytes | None:
        try:
            return (self.root / file).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self.add("missing_file", "no such file", file)
        except OSError as error:
            self.add("unreadable_table", f"cannot be read: {error.strerror}", file)
        return None


def _plain(value: Cell) -> Cell:
    """Unwrap what scipy makes of a cell or a number: str, float, or the thing itself."""
    while hasattr(value, "size") and hasattr(value, "ravel") and value.size == 1:
        value = value.ravel()[0] if getattr(value, "ndim", 0) else value.item()
    return value

"""Tables that somebody else wrote: predictions, labels, label files of public sets.

`read_table` reads what the bytes are, whatever the file is called: JSON (a list of objects, objects
one after the other, an object by id or of columns), text parted by comma, semicolon, tab or blanks
with a header or without, xlsx sheets, and mat files whose variables are columns.

Cells stay as they stand. Which column has which role is declared, known by its name (`NAMES`), or
clear because no other can have it. Nothing is guessed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from qponder_lib.artifacts import unique_keys

if TYPE_CHECKING:
    import pandas as pd

Cell = Any
Role = Literal["id", "score", "mos", "reference", "split", "std"]
_NAMES: dict[Role, str] = {
    "id": "id image_id image images image_name image_path img img_id img_name img_path dist "
    "dist_img dist_img_path dist_name dist_path dis_img dis_img_path dis_name filename file_name "
    "file name path video video_id video_name video_path clip flickr_id",
    "score": "score pred preds prediction predictions predicted pred_score predicted_score "
    "pred_mos predicted_mos quality_score y_pred",
    "mos": "mos dmos gt_score gt gt_mos ground_truth label labels mos_quality quality_mos "
    "mos_score y_true mean_opinion_score",
    "reference": "reference ref ref_img ref_img_path ref_image ref_name ref_path reference_image",
    "split": "split set partition official_split",
    "std": "std sd mos_std dmos_std std_quality stddev std_dev mos_sd",
}
NAMES = {role: frozenset(names.split()) for role, names in _NAMES.items()}
"""Column names that public sets and common code bases use; case, blanks and hyphens are ignored."""

_IDS_OF_LAYOUTS = (
    ({"image_id", "image", "dataset", "split"}, "image_id"),  # this kit's rows of a set
    ({"image", "gt_score"}, "image"),  # metas of Data-DeQA-Score, whose `id` holds the label too
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_BLANKS = re.compile(r"\s*")
_WORDS = dict.fromkeys(("", "nan", "na", "n/a", "#n/a", "<na>", "none", "null"), "missing")
_WORDS |= dict.fromkeys(("inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"), "not_finite")
_UNNAMED = re.compile(r"|Unnamed: \d+|\d+")  # as pandas writes and reads a column without a name
_SCREEN = 1500
_FORMATS = {
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls): save it as .xlsx or CSV",
    b"PAR1": "a Parquet file: write it as CSV",
    b"\x80": "a pickle, which is never opened, for it can run code: write it as CSV",
    b"\x93NUMPY": "a NumPy array, which holds no ids: write ids and scores as CSV",
    b"\x89HDF": "an HDF5 file: write it as CSV, or save a MATLAB file with -v7",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"<": "a web page, perhaps in place of a download: fetch the file itself",
    b"version https://git-lfs": "a pointer to a file in Git LFS: run git lfs pull",
}
"""First bytes of files that are not read, and the way out."""


class TableError(ValueError):
    """A table that cannot be used as it is; the message fits on a screen.

    It names the row: line of a text file, row of a sheet or place in a list, from 1.
    """

    def __init__(self, path: Path | str, message: str, row: int | None = None) -> None:
        text = f"{path}: {message}" if row is None else f"{path}, row {row}: {message}"
        super().__init__(text if len(text) <= _SCREEN else text[:_SCREEN] + " ...")


def shown(values: Iterable[object], n: int = 5) -> str:
    """List the first few values for a message, and count the others.

    Example:
        >>> shown(["a.png", "b.png", "c.png"], 2)
        "'a.png', 'b.png' and 1 more"
    """
    every = list(values)
    first = ", ".join(repr(one)[:80] for one in every[:n])
    return first if len(every) <= n else f"{first} and {len(every) - n} more"


@dataclass(frozen=True)
class InputTable:
    """A table as it stands in a file.

    Attributes:
        path: Where it came from.
        layout: How the file is written, in words.
        frame: One column of objects per column, in order of appearance; a column without a name
            is called by its place, "1", "2", ... The index is the row as `TableError` names it.
        is_text: Whether the file can hold numbers only as text.
        sha256: Hash of what was read.
    """

    path: Path
    layout: str
    frame: pd.DataFrame
    is_text: bool = False
    sha256: str = ""

    def column(self, role: Role, declared: str | None = None, option: str | None = None) -> str:
        """Return the column that has a role.

        Args:
            role: What is looked for.
            declared: Its name; None finds it by `NAMES`, and among columns without a name by what
                they hold: the id is text that differs in each row, a score the only number.
            option: The option of a command that declares it, for the message.

        Raises:
            TableError: If there is no such column, or several can have the role.
        """
        columns = list(self.frame.columns)
        if declared in columns:
            return declared
        if declared is not None:
            raise TableError(self.path, f"no column {declared!r}; there are {shown(columns, 12)}")
        found = self.named(role) or self._only_unnamed(role)
        if len(found) == 1:
            return found[0]
        came = f"several can be it: {shown(found)}"
        if not found:
            came = f"none of {shown(columns, 12)} is known"
        option = option or f"--{role}"
        raise TableError(self.path, f"which column is the {role}? {came}; say {option} COLUMN")

    def optional(self, role: Role, declared: str | None = None) -> str | None:
        """Return the column that has a role, or None if none is declared or named like it."""
        return self.column(role, declared) if declared or self.named(role) else None

    def named(self, role: Role) -> list[str]:
        """Return the columns whose name says that they have a role."""
        names = {name: _plain_name(name) for name in self.frame.columns}
        for layout, id_column in _IDS_OF_LAYOUTS:
            if role == "id" and layout <= set(names.values()):
                return [name for name, plain in names.items() if plain == id_column]
        return [name for name, plain in names.items() if plain in NAMES[role]]

    def _only_unnamed(self, role: Role) -> list[str]:
        unnamed = [name for name in self.frame.columns if name.isdigit()]
        if role == "id":
            texts = [name for name in unnamed if not _holds_numbers(self.frame[name])]
            return [name for name in texts if self.frame[name].is_unique]
        if role in ("score", "mos") and len(unnamed) == len(self.frame.columns):
            return [name for name in unnamed if _holds_numbers(self.frame[name])]
        return []

    def ids(self, column: str) -> list[str]:
        """Return the ids in a column as text.

        Raises:
            TableError: If one is empty, no text or whole number, or there twice.
        """
        ids, seen = [], {}
        for row, cell in zip(self.frame.index, self.frame[column], strict=True):
            if cell == "" or isinstance(cell, bool) or not isinstance(cell, str | int):
                raise TableError(self.path, f"expected an id in {column!r}, got {cell!r:.80}", row)
            # Half a surrogate pair can be neither printed nor written.
            name = str(cell).encode("utf-8", errors="backslashreplace").decode("utf-8")
            if (first := seen.setdefault(name, row)) != row:
                twice = f"{name!r:.80} is there twice, in rows {first} and {row}"
                raise TableError(self.path, f"{twice}; expected one row per image")
            ids.append(name)
        return ids

    def numbers(
        self, column: str, *, text_too: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
        """Read the numbers in a column.

        Numbers that a JSON file or a sheet holds as text are read where the whole column is text,
        or if `text_too` is set.

        Returns:
            The numbers, NaN where there is none, and the state of each cell: "ok", or as for
            `read_number` why there is none.
        """
        cells = self.frame[column].tolist()
        is_text = self.is_text or text_too or all(isinstance(c, str | None) for c in cells)
        read = [read_number(cell, is_text=is_text) for cell in cells]
        values = np.array([math.nan if value is None else value for value, _ in read])
        return values.astype(np.float64), np.array([state for _, state in read], dtype=np.str_)

    def examples(self, column: str, states: NDArray[np.str_], n: int = 5) -> tuple[str, ...]:
        """Describe the first cells of a column that are not "ok"."""
        first = np.flatnonzero(states != "ok")[:n]
        cells = self.frame[column].iloc[first]
        return tuple(
            f"row {row}, {column}: {str(cell)[:40]!r} is {states[place]}"
            for place, (row, cell) in zip(first, cells.items(), strict=True)
        )


def read_number(cell: Cell, *, is_text: bool) -> tuple[float | None, str]:
    """Read a number as it stands, or name why it is none.

    Returns:
        The number and "ok", or None and "missing", "not_finite", "text_not_number" (where text is
        not the form that numbers have) or "not_a_number".

    Example:
        >>> read_number("3.5", is_text=True), read_number("3,5", is_text=True)
        ((3.5, 'ok'), (None, 'not_a_number'))
        >>> read_number("3.5", is_text=False), read_number(float("inf"), is_text=False)
        ((None, 'text_not_number'), (None, 'not_finite'))
    """
    if cell is None:
        return None, "missing"
    if isinstance(cell, str):
        text = cell.strip()
        if not _NUMBER.fullmatch(text):
            return None, _WORDS.get(text.lower(), "not_a_number")
        if not is_text:
            return None, "text_not_number"
        cell = float(text)
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None, "not_a_number"
    try:
        number = float(cell)
    except OverflowError:  # a whole number of more than 308 digits
        return None, "not_finite"
    return (number, "ok") if math.isfinite(number) else (None, "not_finite")


def read_table(path: Path, *, names: Sequence[str] = (), sheet: str | None = None) -> InputTable:
    """Read a table.

    Args:
        path: The file; a pipe is read to its end.
        names: Names of the columns of a text table without a header, names by which the header of
            a sheet is known, or the variables of a mat file that are wanted.
        sheet: Sheet of an xlsx file; None for a file with one sheet that holds a table.

    Returns:
        The table, with at least one row.

    Raises:
        TableError: If the file cannot be read, is of another format, torn, or has no rows.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise TableError(path, getattr(error, "strerror", None) or str(error)) from error
    if content.startswith(b"PK\x03\x04"):
        table = _sheet_table(content, path, names, sheet)
    elif content.startswith(b"MATLAB") or path.suffix.lower() == ".mat":
        table = _mat_table(content, path, names)
    else:
        text = _decoded(content, path)
        is_json = text.lstrip()[:1] in ("{", "[")
        table = _json_table(text, path) if is_json else _text_table(text, path, names)
    if table.frame.empty:
        raise TableError(path, "no rows")
    return replace(table, sha256=hashlib.sha256(content).hexdigest())


def _decoded(content: bytes, path: Path) -> str:
    for signature, meaning in _FORMATS.items():
        if content.startswith(signature):
            raise TableError(path, f"expected a text table or JSON, this is {meaning}")
    text, wrong = "", content.find(b"\0")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        line = content.count(b"\n", 0, wrong) + 1
        raise TableError(path, f"expected UTF-8 text, byte {wrong} is not: save it as UTF-8", line)
    if not text.strip():
        raise TableError(path, "no rows: the file is empty")
    return text


def _json_table(text: str, path: Path) -> InputTable:
    values, layout = _json_values(text, path), "json objects"
    if len(values) == 1 and isinstance(values[0], list):
        values, layout = values[0], "json list"
    elif len(values) == 1:
        values, layout = _rows_of_object(values[0])
    for row, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise TableError(path, f"expected a JSON object, got a {type(value).__name__}", row)
    columns = dict.fromkeys(name for value in values for name in value)
    cells = {name: [value.get(name) for value in values] for name in columns}
    return InputTable(path, layout, _frame(cells, range(1, len(values) + 1)))


def _rows_of_object(value: dict[str, Any]) -> tuple[list[Any], str]:
    """Tell a single row from columns, from a wrapped list, and from `{"a.jpg": 3.2, ...}`."""
    parts = list(value.values())
    if any(_plain_name(name) in NAMES["id"] for name in value):
        columns = [list(part.values()) if isinstance(part, dict) else part for part in parts]
        keys = {tuple(part) if isinstance(part, dict) else None for part in parts}
        lengths = {len(column) if isinstance(column, list) else None for column in columns}
        if len(keys) == len(lengths) == 1 and None not in lengths:
            return [dict(zip(value, row)) for row in zip(*columns)], "json columns"
        return [value], "json objects"
    lists = [part for part in parts if isinstance(part, list) and part]
    if len(lists) == 1 and all(isinstance(one, dict) for one in lists[0]):
        return lists[0], "json list"
    words = sum(_state(part) == "not_a_number" and isinstance(part, str) for part in parts)
    if 2 * words >= len(parts) or (len(parts) == 1 and not isinstance(parts[0], dict)):
        return [value], "json objects"
    rows = [
        {"id": name, **(part if isinstance(part, dict) else {"score": part})}
        for name, part in value.items()
    ]
    return rows, "json by id"


def _json_values(text: str, path: Path) -> list[Any]:
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    values, position, end = [], 0, len(text.rstrip())
    while (position := _BLANKS.match(text, position).end()) < end:
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, position) + 1
            message = f"not whole JSON (line {line}): {error}"
            raise TableError(path, message, len(values) + 1) from error
        values.append(value)
    return values


def _text_table(text: str, path: Path, names: Sequence[str]) -> InputTable:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = next((line for line in text.split("\n") if line.strip()), "")
    found = [sign for sign in (",", ";") if sign in first]
    found = ["\t"] if "\t" in first else found  # whose cells may be text with commas
    if len(found) > 1:
        raise TableError(path, f"the first line holds {found}; expected one of them")
    if not found and " " not in first.strip() and len(names) != 1:
        raise TableError(path, "expected JSON or a table of at least two columns")
    delimiter = found[0] if found else " "
    if delimiter == " ":  # blanks part cells only where nothing else does
        lines = enumerate(text.split("\n"), start=1)
        rows = [(number, line.split()) for number, line in lines if line.strip()]
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
        except csv.Error as error:
            raise TableError(path, f"not a table: {error}", reader.line_num) from error
    if delimiter != ",":  # where three cells below two names may be a decimal comma
        _name_index(rows)
    return _table_of_rows(rows, path, names, is_text=True)


def _name_index(rows: list[tuple[int, list[Cell]]]) -> None:
    """Give the row numbers that R and pandas print a name, which they leave out of the header."""
    lengths = {len(row) for _, row in rows[1:]}
    if rows and lengths == {len(rows[0][1]) + 1}:
        first = [row[0] for _, row in rows[1:]]
        if first in ([str(k + start) for k in range(len(first))] for start in (0, 1)):
            rows[0][1].insert(0, "")


def _table_of_rows(
    rows: list[tuple[int, list[Cell]]], path: Path, names: Sequence[str], *, is_text: bool
) -> InputTable:
    """Find the header, give columns their names, and leave empty columns without a name out."""
    if not rows:
        raise TableError(path, "no rows")
    numbers, cells = [number for number, _ in rows], [row for _, row in rows]
    layout, head = "table without header", list(names or map(str, range(1, len(cells[0]) + 1)))
    if not names and _is_header(cells):
        layout, head = "table", [str(cell or "").strip() for cell in cells[0]]
        numbers, cells = numbers[1:], cells[1:]
    width = len(head)
    if cells and all(len(row) == width + 1 and row[-1] == "" for row in cells):
        cells = [row[:-1] for row in cells]  # a comma at the end of each row
    for number, row in zip(numbers, cells, strict=True):
        if len(row) != width:
            hint = "; is there a decimal comma?" if len(row) > width and is_text else ""
            raise TableError(path, f"expected {width} cells, got {len(row)}{hint}", number)
    columns: dict[str, list[Cell]] = {}
    by_column = list(zip(*cells)) or [()] * width
    for place, (name, column) in enumerate(zip(head, by_column), start=1):
        values = [cell.strip() if isinstance(cell, str) else cell for cell in column]
        if _UNNAMED.fullmatch(name):
            if all(cell in ("", None) for cell in values):
                continue
            name = str(place)
        if name in columns:
            raise TableError(path, f"the column name {name!r:.80} is there twice")
        columns[name] = values
    return InputTable(path, layout, _frame(columns, numbers), is_text)


def _is_header(rows: Sequence[Sequence[Cell]]) -> bool:
    """Tell a header from a first row of data.

    A header holds no number. If it has a cell that is empty or says "nan", it must name at least
    one column of numbers: the first row of a table may lack its score.
    """
    if list(rows[0]) == ["", *map(str, range(len(rows[0]) - 1))]:
        return True  # pandas wrote a series
    states = [_state(cell) for cell in rows[0]]
    if "missing" not in states:
        return "ok" not in states and "not_finite" not in states
    named = [place for place, state in enumerate(states) if state == "not_a_number"]
    return any(
        _state(row[place]) == "ok" for row in rows[1:] for place in named if place < len(row)
    )


def _state(cell: Cell) -> str:
    return read_number(cell, is_text=True)[1]


def _holds_numbers(cells: Iterable[Cell]) -> bool:
    """Tell whether less than half of the cells that hold something hold text."""
    states = [state for state in map(_state, cells) if state != "missing"]
    return 2 * states.count("not_a_number") < len(states)


def _sheet_table(content: bytes, path: Path, names: Sequence[str], sheet: str | None) -> InputTable:
    import pandas as pd

    file = io.BytesIO(content)
    try:
        pages = pd.read_excel(file, sheet_name=None, header=None, dtype=object, engine="openpyxl")
    except (BadZipFile, KeyError, ValueError, OSError, zlib.error) as error:
        raise TableError(path, f"a zip file, but no xlsx; write CSV ({error})") from error
    pages = {name: page for name, page in pages.items() if sheet in (None, name)}
    pages = {name: page for name, page in pages.items() if not page.empty} or pages
    if len(pages) != 1:
        wanted = "one sheet with a table" if sheet is None else f"a sheet {sheet!r}"
        raise TableError(path, f"expected {wanted}, got {shown(pages) or 'none'}")
    (page,) = pages.values()
    page = page.dropna(how="all").dropna(axis="columns", how="all")
    cells = page.astype(object).where(page.notna(), None).to_numpy().tolist()
    rows = [(number + 1, row) for number, row in zip(page.index, cells, strict=True)]
    starts = [place for place, row in enumerate(cells) if _starts_table(row, names)]
    if names and not starts:
        raise TableError(path, f"no header with {shown(names)}")
    rows = rows[starts[0] :] if starts else []
    return replace(_table_of_rows(rows, path, (), is_text=False), layout="xlsx sheet")


def _starts_table(row: Sequence[Cell], names: Sequence[str]) -> bool:
    """Tell a header from a title: it has the names that are known, or does not stand alone."""
    filled = [str(cell).strip() for cell in row if cell is not None]
    return set(names) <= set(filled) and len(filled) > 1


def _mat_table(content: bytes, path: Path, names: Sequence[str]) -> InputTable:
    from scipy.io import loadmat

    try:
        found = loadmat(io.BytesIO(content), variable_names=names or None)
    except NotImplementedError as error:
        raise TableError(path, "a MATLAB 7.3 file: save it again with -v7") from error
    except (OSError, ValueError, TypeError, IndexError, KeyError, zlib.error) as error:
        raise TableError(path, f"not a mat file that can be read: {error}") from error
    columns = {
        name: [_plain_cell(value) for value in np.ravel(values, order="F")]
        for name, values in found.items()
        if not name.startswith("__")
    }
    if missing := [name for name in names if name not in columns]:
        raise TableError(path, f"no variable {shown(missing)}")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        message = f"expected variables of one length, got {shown(lengths.items())}"
        raise TableError(path, f"{message}; write ids and scores as CSV")
    n_rows = max(lengths.values(), default=0)
    return InputTable(path, "mat variables", _frame(columns, range(1, n_rows + 1)))


def _plain_cell(value: Cell) -> Cell:
    """Unwrap what SciPy makes of a cell: text, number, or the thing itself; NaN is missing."""
    while hasattr(value, "ravel") and value.size == 1:
        value = value.ravel()[0] if getattr(value, "ndim", 0) else value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain_name(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _frame(columns: dict[str, list[Cell]], index: Sequence[int]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns, index=pd.Index(index, dtype="int64"), dtype=object)

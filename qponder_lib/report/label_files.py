"""Reads the labels of any file with one image a row: declared columns, or those that are clear."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qponder_lib import artifacts
from qponder_lib.artifacts import ArtifactError
from qponder_lib.data.copies import LabelRow
from qponder_lib.data.reading import Reader, Row

IMAGE_NAMES = ("image", "image_name", "image name", "img_path", "dis_img_path", "dist_img", "name")
LABEL_NAMES = ("mos", "dmos", "score", "gt_score", "mos_quality", "label")
STD_NAMES = ("std", "sd", "mos_std", "dmos_std", "std_quality", "var")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold image, label and spread; None: to be found."""

    image: str | None = None
    label: str | None = None
    std: str | None = None


@dataclass(frozen=True)
class LabelFile:
    """What was read of a label file.

    Attributes:
        name: The file.
        columns: The columns that were used; numbers from 1 in a file without a header.
        rows: One per image; a label that could not be read is None and a finding.
        reader: Holds what was found on the way.
        n_text: Numbers that the file holds as text, where it could hold them as numbers.
    """

    name: str
    columns: Columns
    rows: tuple[LabelRow, ...]
    reader: Reader
    n_text: int = 0


def read_label_file(path: Path, wanted: Columns) -> LabelFile:
    """Read labels.

    Args:
        path: CSV, text with cells parted by blanks, xlsx, or a JSON list of objects.
        wanted: Columns; those that are None are taken where one name, or one place in a file
            without a header, is the only candidate.

    Raises:
        FileNotFoundError: If there is no such file.
        ArtifactError: If a column is not there, or not the only candidate.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    reader = Reader(path.parent)
    if path.suffix.lower() == ".xlsx":
        if wanted.image is None or wanted.label is None:
            raise ArtifactError(f"{path}: name the columns of image and label of a sheet")
        named = [name for name in (wanted.image, wanted.label, wanted.std) if name]
        rows = reader.xlsx_rows(path.name, named)
    elif path.suffix.lower() == ".json":
        rows = _json_rows(path)
    else:
        rows = _text_rows(path, reader)
    columns = _found(rows, wanted, path)
    n_text = 0
    if path.suffix.lower() == ".json":
        n_text = sum(isinstance(row.cells.get(columns.label or ""), str) for row in rows)
    labels = tuple(_label_row(row, columns, path.name, reader) for row in rows)
    return LabelFile(path.name, columns, labels, reader, n_text)


def _json_rows(path: Path) -> list[Row]:
    loaded = artifacts.read_json(path)
    if not isinstance(loaded, list) or not all(isinstance(item, dict) for item in loaded):
        raise ArtifactError(f"{path}: expected a list of objects, one per image")
    return [Row(number, item) for number, item in enumerate(loaded, start=1)]


def _text_rows(path: Path, reader: Reader) -> list[Row]:
    lines = reader.text_lines(path.name)
    if not lines:
        return []
    delimiter = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    cells = (
        list(csv.reader(lines, delimiter=delimiter)) if delimiter else [x.split() for x in lines]
    )
    first = [cell.strip() for cell in cells[0]]
    if any(_NUMBER.fullmatch(cell) for cell in first):
        header = [str(place) for place in range(1, len(first) + 1)]
        return reader.table_rows(path.name, header, iter([(0, header), *enumerate(cells, start=1)]))
    return reader.table_rows(path.name, first, enumerate(cells, start=1))


def _found(rows: Sequence[Row], wanted: Columns, path: Path) -> Columns:
    """Settle the columns.

    Raises:
        ArtifactError: If one is not there, or several may be meant.
    """
    there = list(rows[0].cells) if rows else []
    for name in (wanted.image, wanted.label, wanted.std):
        if name is not None and name not in there:
            raise ArtifactError(
                f"{path}: no column {name!r}; found {', '.join(there) or 'no rows'}"
            )
    if there and all(name.isdigit() for name in there):
        return _by_place(rows, wanted, path)
    image = wanted.image or _only(there, IMAGE_NAMES, "image", path)
    label = wanted.label or _only(there, LABEL_NAMES, "label", path)
    std = wanted.std
    if std is None:
        candidates = [name for name in there if name.lower() in STD_NAMES]
        std = candidates[0] if len(candidates) == 1 else None
    return Columns(image, label, std)


def _only(there: Sequence[str], names: Sequence[str], what: str, path: Path) -> str:
    found = [name for name in there if name.lower() in names]
    if len(found) != 1:
        told = (
            f"{', '.join(found)} may all be it" if found else f"found {', '.join(there) or 'none'}"
        )
        raise ArtifactError(f"{path}: which column is the {what}? {told}; name it")
    return found[0]


def _by_place(rows: Sequence[Row], wanted: Columns, path: Path) -> Columns:
    """Settle the columns of a file without a header: names differ in each row, numbers follow."""
    first = rows[0].cells
    numbers = [name for name, cell in first.items() if _NUMBER.fullmatch(str(cell))]
    texts = [name for name in first if name not in numbers]
    whole = [n for n in texts if len({row.cells[n] for row in rows}) == len(rows)]
    candidates = whole or texts
    if wanted.image is None and len(candidates) != 1:
        raise ArtifactError(f"{path}: no header; which of columns {texts} is the image? name it")
    if wanted.label is None and not 1 <= len(numbers) <= 2:
        raise ArtifactError(f"{path}: no header; which of columns {numbers} is the label? name it")
    label = wanted.label or numbers[0]
    rest = [name for name in numbers if name != label]
    return Columns(
        wanted.image or candidates[0],
        label,
        wanted.std or (rest[0] if wanted.label is None and len(rest) == 1 else None),
    )


def _label_row(row: Row, columns: Columns, file: str, reader: Reader) -> LabelRow:
    image: Any = row.cells.get(columns.image or "")
    if image in (None, ""):
        reader.add("cells", "no image is named", file, row.number)
    std = None
    if columns.std is not None:
        std = reader.number(row.cells.get(columns.std), file, row.number, "spread")
    return LabelRow(
        image=str(image or ""),
        places=("",),
        label=reader.number(row.cells.get(columns.label or ""), file, row.number),
        std=std,
        file=file,
        row=row.number,
    )

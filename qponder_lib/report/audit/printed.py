"""Tables as printed: every value keeps its decimals, and with them what rounding may hide.

The form is one row per printed value, so any paper's table fits it. Columns `method`, `dataset`,
`metric` and `value` are needed; `table`, `group`, `mark` and `place` may be there.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Literal, cast, get_args

from qponder_lib.artifacts import ArtifactError

Mark = Literal["best", "second", "none", "unknown"]
MARKS: tuple[str, ...] = get_args(Mark)
NEEDED = ("method", "dataset", "metric", "value")
OPTIONAL = ("table", "group", "mark", "place")
NOT_PRINTED = ("", "-", "–", "—")
"""Cells that a paper leaves empty."""
AVERAGE_NAMES = ("avg", "avg.", "average", "mean", "overall")
"""Names of the column that holds averages, in lower case."""
LOWER_IS_BETTER = ("mae", "mse", "rmse", "error", "loss")
PAPER_TABLES = ("table1", "table2", "table3", "table4", "section_3_2")
_NUMBER = re.compile(r"[+-]?(\d+(?:\.(\d+))?|\.(\d+))%?")


@dataclass(frozen=True)
class Interval:
    """All values that a printed or computed number may stand for, both ends included."""

    low: Fraction
    high: Fraction

    @classmethod
    def of(cls, text: str) -> Interval:
        """Return what a printed decimal may have been before it was rounded.

        Both ends belong to it: which way halves go is not known.

        Raises:
            ValueError: If the text is not a plain decimal.

        Example:
            >>> Interval.of("0.50") == Interval(Fraction(99, 200), Fraction(101, 200))
            True
        """
        found = _NUMBER.fullmatch(text.strip())
        if not found:
            raise ValueError(f"expected a decimal such as 0.845, got {text!r}")
        value = Fraction(text.strip().rstrip("%"))
        half = Fraction(1, 2 * 10 ** len(found.group(2) or found.group(3) or ""))
        return cls(value - half, value + half)

    @classmethod
    def mean(cls, intervals: Sequence[Interval]) -> Interval:
        """Return what the mean of several such numbers may be."""
        n = len(intervals)
        return cls(sum(i.low for i in intervals) / n, sum(i.high for i in intervals) / n)

    def __sub__(self, other: Interval) -> Interval:
        """Return what the difference may be."""
        return Interval(self.low - other.high, self.high - other.low)

    def meets(self, other: Interval) -> bool:
        """Say whether both may stand for the same number."""
        return self.low <= other.high and other.low <= self.high

    @property
    def middle(self) -> Fraction:
        """The number itself."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> Fraction:
        """How far the true number may lie from it."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class PrintedCell:
    """One printed value and where it stands."""

    table: str
    method: str
    dataset: str
    metric: str
    text: str
    group: str = ""
    mark: Mark = "unknown"
    place: str = ""

    @property
    def interval(self) -> Interval:
        """What the value may have been before it was rounded."""
        return Interval.of(self.text)

    @property
    def value(self) -> Fraction:
        """The value as printed."""
        return self.interval.middle

    @property
    def is_average(self) -> bool:
        """Whether the column is one of averages."""
        return self.dataset.lower() in AVERAGE_NAMES

    @property
    def where(self) -> str:
        """Say where it stands, for readers."""
        return f"{self.table}, {self.method}, {self.dataset}, {self.metric}"


class PrintedTable:
    """The printed values of one table, in the order of the file.

    Attributes:
        name: Name of the table.
        cells: Values that are printed; empty cells are left out.
    """

    def __init__(self, name: str, cells: Iterable[PrintedCell]) -> None:
        self.name = name
        self.cells = tuple(cells)
        self._by_key = {(c.method, c.dataset, c.metric): c for c in self.cells}

    def __iter__(self) -> Iterator[PrintedCell]:
        """Go through the values in the order of the file."""
        return iter(self.cells)

    @property
    def methods(self) -> list[str]:
        """Names of the rows."""
        return list(dict.fromkeys(cell.method for cell in self.cells))

    @property
    def datasets(self) -> list[str]:
        """Names of the columns, without those of averages."""
        return list(dict.fromkeys(cell.dataset for cell in self.cells if not cell.is_average))

    @property
    def metrics(self) -> list[str]:
        """Names of the numbers within a cell, without those that only averages have."""
        return list(dict.fromkeys(cell.metric for cell in self.cells if not cell.is_average))

    def get(self, method: str, dataset: str, metric: str) -> PrintedCell | None:
        """Return a value, or None if none is printed there."""
        return self._by_key.get((method, dataset, metric))

    def at(self, method: str, dataset: str, metric: str) -> PrintedCell:
        """Return a value.

        Raises:
            KeyError: If none is printed there.
        """
        try:
            return self._by_key[method, dataset, metric]
        except KeyError:
            raise KeyError(f"{self.name} prints nothing at {method}, {dataset}, {metric}") from None


def read_table(path: Path) -> list[PrintedTable]:
    """Read printed tables from a CSV.

    Args:
        path: A file with columns method, dataset, metric and value, and perhaps table, group,
            mark and place; a table without a name has the file's.

    Returns:
        One table per name, in the order of the file.

    Raises:
        ArtifactError: If a column is missing, a value is no decimal, a mark is unknown, a cell is
            there twice or no value is; the message names file and line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    if not lines:
        raise ArtifactError(f"{path}: no header; expected columns {', '.join(NEEDED)}")
    header = [name.strip() for name in lines[0]]
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise ArtifactError(f"{path}: no column {', '.join(missing)}; found {', '.join(header)}")
    found: dict[str, dict[tuple[str, str, str], tuple[int, PrintedCell]]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        where = f"{path}, line {number}"
        if len(line) != len(header):
            raise ArtifactError(f"{where}: expected {len(header)} cells, got {len(line)}")
        row = {name: cell.strip() for name, cell in zip(header, line, strict=True)}
        cell = _cell(row, path.stem, where)
        table = found.setdefault(cell.table if cell else row.get("table") or path.stem, {})
        if cell is not None:
            key = (cell.method, cell.dataset, cell.metric)
            if key in table:
                raise ArtifactError(f"{where}: {cell.where} stands in line {table[key][0]} too")
            table[key] = (number, cell)
    if not any(found.values()):
        raise ArtifactError(f"{path}: no printed value below the header")
    return [PrintedTable(name, (c for _, c in cells.values())) for name, cells in found.items()]


def _cell(row: dict[str, str], stem: str, where: str) -> PrintedCell | None:
    for name in ("method", "dataset", "metric"):
        if not row[name]:
            raise ArtifactError(f"{where}: {name} is empty")
    if row["value"] in NOT_PRINTED:
        return None
    try:
        Interval.of(row["value"])
    except ValueError as error:
        raise ArtifactError(f"{where}, column value: {error}") from error
    mark = row.get("mark") or "unknown"
    if mark not in MARKS:
        raise ArtifactError(f"{where}, column mark: expected one of {MARKS}, got {mark!r}")
    return PrintedCell(
        table=row.get("table") or stem,
        method=row["method"],
        dataset=row["dataset"],
        metric=row["metric"],
        text=row["value"],
        group=row.get("group", ""),
        mark=cast(Mark, mark),
        place=row.get("place", ""),
    )


def paper_tables() -> dict[str, PrintedTable]:
    """Return what Q-Ponder prints in its tables, and in section 3.2, as transcribed in this kit.

    Example:
        >>> paper_tables()["table1"].at("Q-Ponder", "AVG.", "srcc").text
        '0.821'
    """
    tables = {}
    for name in PAPER_TABLES:
        source = resources.files("qponder_lib") / "reported" / f"{name}.csv"
        with resources.as_file(source) as path:
            tables |= {table.name: table for table in read_table(path)}
    return tables

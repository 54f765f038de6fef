"""A table as three files: CSV for machines, Markdown for readers, HTML for the report.

The CSV is long: one row per number, with its interval and its n. Markdown and HTML show the same
numbers laid out as in the paper. They never hold a number that the CSV does not.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qponder_lib import artifacts

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: a line, and a smaller one below it."""

    main: str
    below: str = ""

    def markdown(self) -> str:
        """Return the cell as Markdown."""
        lines = [_escape_cell(line) for line in (self.main, self.below) if line]
        return "<br>".join(lines)

    def html(self) -> str:
        """Return the cell as HTML, everything in it escaped; an interval stays on one line."""
        if not self.below:
            return html.escape(self.main)
        below = html.escape(self.below).replace(", ", ",&nbsp;")
        return f"{html.escape(self.main)}<br><small>{below}</small>"


@dataclass(frozen=True)
class Block:
    """One grid with a heading; the first column names the row."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: File name without ending.
        title: What it shows.
        note: Which run and profile it is from, what the brackets are, what is missing.
        data: One row per number.
        blocks: The same for readers.
    """

    name: str
    title: str
    note: str
    data: pd.DataFrame
    blocks: tuple[Block, ...] = ()

    def markdown(self) -> str:
        """Return the table as Markdown."""
        parts = [f"# {_escape(self.title)}", _escape(self.note)]
        for block in self.blocks:
            if block.heading:
                parts.append(f"## {_escape(block.heading)}")
            lines = [_markdown_line(_escape_cell(name) for name in block.header)]
            lines.append(_markdown_line(["---"] * len(block.header)))
            lines += [_markdown_line(cell.markdown() for cell in row) for row in block.rows]
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the table as an HTML fragment; names and reasons in it are escaped."""
        parts = [f"<section><h2>{html.escape(self.title)}</h2>", f"<p>{html.escape(self.note)}</p>"]
        for block in self.blocks:
            if block.heading:
                parts.append(f"<h3>{html.escape(block.heading)}</h3>")
            head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in block.header)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>")
            for first, *others in block.rows:
                cells = "".join(f"<td>{cell.html()}</td>" for cell in others)
                parts.append(f'<tr><th scope="row">{first.html()}</th>{cells}</tr>')
            parts.append("</tbody></table>")
        return "\n".join([*parts, "</section>"]) + "\n"


def write(table: Table, folder: Path) -> list[Path]:
    """Write a table's files, atomically.

    Returns:
        The CSV and, if there is something laid out, the Markdown and the HTML fragment.
    """
    written = [write_frame(folder / f"{table.name}.csv", table.data)]
    if table.blocks:
        for suffix, text in ((".md", table.markdown()), (".html", table.html())):
            path = folder / f"{table.name}{suffix}"
            artifacts.write_text_atomic(path, text)
            written.append(path)
    return written


def write_frame(path: Path, data: pd.DataFrame) -> Path:
    """Write a data frame as CSV; missing values become empty cells."""
    rows = [{str(k): plain(v) for k, v in row.items()} for row in data.to_dict("records")]
    artifacts.write_csv(path, rows, [str(name) for name in data.columns])
    return path


def plain(value: Any) -> Any:
    """Turn a cell of a data frame into a Python value; NaN becomes None."""
    value = value.item() if hasattr(value, "item") else value
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def number(value: Any, digits: int = 3) -> str:
    """Write a number, or a dash where there is none.

    Example:
        >>> number(0.81249), number(None), number(-0.0001)
        ('0.812', '–', '0.000')
    """
    value = plain(value)
    if value is None:
        return MISSING
    rounded = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:.{digits}f}"


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """Write an interval, or nothing where there is none.

    Example:
        >>> interval(0.7, 0.85, 2)
        '[0.70, 0.85]'
    """
    if plain(low) is None or plain(high) is None:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def estimate(row: Mapping[str, Any] | None, digits: int = 3) -> Cell:
    """Write value, interval and, where the value is missing, the reason."""
    if row is None:
        return Cell(MISSING)
    if plain(row["value"]) is None:
        return Cell(MISSING, str(plain(row.get("reason")) or ""))
    return Cell(number(row["value"], digits), interval(row["ci_low"], row["ci_high"], digits))


def pair(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> Cell:
    """Write two estimates in one cell, as the papers do: PLCC / SRCC."""
    cells = [estimate(first, 3), estimate(second, 3)]
    if all(cell.main == MISSING for cell in cells):
        return Cell(MISSING, cells[0].below)
    below = " / ".join(cell.below or MISSING for cell in cells)
    return Cell(
        " / ".join(cell.main for cell in cells), below if any(c.below for c in cells) else ""
    )


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", " ")


def _escape_cell(text: str) -> str:
    return _escape(text).replace("|", "\\|")

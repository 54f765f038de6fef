"""Checks which values a table marks as best and second best."""

from __future__ import annotations

from collections.abc import Sequence

from qponder_lib.report.audit.findings import Finding
from qponder_lib.report.audit.printed import LOWER_IS_BETTER, PrintedCell, PrintedTable


def check_marks(table: PrintedTable) -> list[Finding]:
    """Hold the marks of every column against its values.

    A mark is right if no value is better whatever rounding hides; equal values may share a mark
    or not.

    Args:
        table: The table; the mark of a cell is best, second, none or unknown.

    Returns:
        One finding per wrong or missing mark, one for each column whose marks are right, and one
        for the whole table if no mark is known.
    """
    if all(cell.mark == "unknown" for cell in table):
        sentence = "which values are marked is not known, so the marks cannot be checked"
        return [Finding("mark", table.name, "all columns", "undecidable", sentence)]
    findings = []
    columns = dict.fromkeys((cell.dataset, cell.metric) for cell in table)
    for dataset, metric in columns:
        cells = [c for c in table if (c.dataset, c.metric) == (dataset, metric)]
        findings += _check_column(table.name, f"{dataset}, {metric}", cells)
    return findings


def _check_column(table: str, where: str, cells: Sequence[PrintedCell]) -> list[Finding]:
    if any(cell.mark == "unknown" for cell in cells):
        sentence = "some marks of the column are not known"
        return [Finding("mark", table, where, "undecidable", sentence)]
    if all(cell.mark == "none" for cell in cells):
        return []
    problems = [*_wrong_best(cells), *_wrong_second(cells)]
    if problems:
        return [Finding("mark", table, where, "disagrees", problem) for problem in problems]
    return [Finding("mark", table, where, "consistent", "the marks fit the values")]


def _wrong_best(cells: Sequence[PrintedCell]) -> list[str]:
    marked = [cell for cell in cells if cell.mark == "best"]
    if not marked:
        return [f"no value is marked best; the best is {_named(_top(cells))}"]
    return [
        f"{cell.method} ({cell.text}) is marked best, but better is {_named(better)}"
        for cell in marked
        if (better := [other for other in cells if surely_better(other, cell)])
    ]


def _wrong_second(cells: Sequence[PrintedCell]) -> list[str]:
    """A value marked second may be one of several best, or beaten by these alone."""
    below = [cell for cell in cells if cell not in _top(cells)]
    return [
        f"{cell.method} ({cell.text}) is marked second, but between it and the best is "
        f"{_named(better)}"
        for cell in cells
        if cell.mark == "second"
        and (better := [other for other in below if surely_better(other, cell)])
    ]


def _top(cells: Sequence[PrintedCell]) -> list[PrintedCell]:
    return [c for c in cells if not any(surely_better(other, c) for other in cells)]


def _named(cells: Sequence[PrintedCell]) -> str:
    return ", ".join(f"{cell.method} ({cell.text})" for cell in cells)


def surely_better(one: PrintedCell, other: PrintedCell) -> bool:
    """Say whether a printed value is better than another, whatever was rounded away.

    Of two values with equally many decimals, the better printed one was better before rounding.

    Example:
        >>> first = PrintedCell("t", "a", "d", "srcc", "0.941")
        >>> surely_better(first, PrintedCell("t", "b", "d", "srcc", "0.940"))
        True
        >>> surely_better(first, PrintedCell("t", "b", "d", "srcc", "0.94"))
        False
    """
    if one.metric.lower() in LOWER_IS_BETTER:
        one, other = other, one
    return one.value != other.value and one.interval.low >= other.interval.high

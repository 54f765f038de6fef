"""Recomputes printed averages from printed cells, with the tolerance that rounding really gives."""

from __future__ import annotations

from dataclasses import dataclass

from qponder_lib.report.audit.findings import Finding, Outcome
from qponder_lib.report.audit.printed import Interval, PrintedCell, PrintedTable


@dataclass(frozen=True)
class AverageCheck:
    """A printed average beside the mean of the cells it stands for.

    Attributes:
        cell: The printed average.
        mean: Mean of the printed cells.
        n: How many cells.
        tolerance: How far the two may lie apart by rounding alone: half a digit of the average
            and the mean half digit of the cells.
        outside: Whether they lie further apart, so that no rounding explains it.
    """

    cell: PrintedCell
    mean: float
    n: int
    tolerance: float
    outside: bool

    def finding(self) -> Finding:
        """Say it in words."""
        outcome: Outcome = "disagrees" if self.outside else "consistent"
        verdict = (
            f"{abs(float(self.cell.value) - self.mean):.4f} apart; rounding explains "
            f"{self.tolerance:.4f} at most; other weights might, and none are stated"
            if self.outside
            else f"within {self.tolerance:.4f}, what rounding explains"
        )
        sentence = f"printed {self.cell.text}, mean of {self.n} printed cells {self.mean:.5f}: "
        where = f"{self.cell.method}, {self.cell.dataset}, {self.cell.metric}"
        return Finding("average", self.cell.table, where, outcome, sentence + verdict)


def check_averages(table: PrintedTable) -> list[AverageCheck]:
    """Recompute every average that a table prints as the plain mean of its row.

    An average whose metric no cell of the row has, such as one number for three judged aspects,
    is the mean of all cells of the row.

    Args:
        table: The table; columns named like an average hold averages.

    Returns:
        One check per printed average that has cells; decision D28.

    Example:
        >>> def cell(dataset, text):
        ...     return PrintedCell("t", "ours", dataset, "srcc", text)
        >>> cells = [cell("A", "0.70"), cell("B", "0.71"), cell("AVG.", "0.71")]
        >>> [(check.mean, check.outside) for check in check_averages(PrintedTable("t", cells))]
        [(0.705, False)]
    """
    checks = []
    for average in (cell for cell in table if cell.is_average):
        row = [c for c in table if c.method == average.method and not c.is_average]
        cells = [c for c in row if c.metric == average.metric]
        if not cells and average.metric not in table.metrics:
            cells = row
        if not cells:
            continue
        possible = Interval.mean([c.interval for c in cells])
        checks.append(
            AverageCheck(
                cell=average,
                mean=float(possible.middle),
                n=len(cells),
                tolerance=float(possible.half + average.interval.half),
                outside=not possible.meets(average.interval),
            )
        )
    return checks

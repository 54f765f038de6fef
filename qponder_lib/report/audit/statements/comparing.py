"""Compares rows of a printed table cell by cell, and says the outcome in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from qponder_lib.report.audit.claims import PrintedAnswer, PrintedOutcome
from qponder_lib.report.audit.printed import PrintedCell, PrintedTable

Tables = Mapping[str, PrintedTable]
NO_TEST = "no interval or test is printed, so whether differences are significant is not decidable"


@dataclass(frozen=True)
class Step:
    """How much higher a value is than another at the same place of a table."""

    dataset: str
    metric: str
    gain: Fraction
    other: str = ""

    @property
    def place(self) -> str:
        """Say where, for readers."""
        return f"{self.dataset} {self.metric.upper() if len(self.metric) == 4 else self.metric}"


def steps(
    table: PrintedTable, new: str, old: str, metrics: Sequence[str] | None = None
) -> list[Step]:
    """Compare two rows of a table cell by cell, without averages.

    Args:
        table: The table.
        new: Name of the row that is claimed to be higher.
        old: Name of the other.
        metrics: Numbers of a cell to compare; default all.

    Returns:
        One step per place where both rows print a value.
    """
    found = []
    for metric in metrics or table.metrics:
        for dataset in table.datasets:
            pair = [table.get(name, dataset, metric) for name in (new, old)]
            if pair[0] is not None and pair[1] is not None:
                gain = pair[0].value - pair[1].value
                found.append(Step(dataset, metric, gain, old))
    return found


def best_other(table: PrintedTable, ours: str, dataset: str, metric: str) -> PrintedCell:
    """Return the highest value of the other rows.

    Raises:
        ValueError: If no other row prints one.
    """
    others = [c for c in table if (c.dataset, c.metric) == (dataset, metric) and c.method != ours]
    if not others:
        raise ValueError(f"{table.name}: no row but {ours} prints {dataset}, {metric}")
    return max(others, key=lambda cell: cell.value)


def steps_to_best(table: PrintedTable, ours: str, datasets: Iterable[str]) -> list[Step]:
    """Compare a row with the best other row, column by column."""
    found = []
    for metric in table.metrics:
        for dataset in datasets:
            best = best_other(table, ours, dataset, metric)
            gain = table.at(ours, dataset, metric).value - best.value
            found.append(Step(dataset, metric, gain, best.method))
    return found


def outcome_of(found: Sequence[Step]) -> PrintedOutcome:
    """Say whether all, some or none of the steps go up.

    Example:
        >>> outcome_of([Step("d", "srcc", Fraction(1)), Step("d", "plcc", Fraction(-1))])
        'holds_in_part'
    """
    n_up = sum(step.gain > 0 for step in found)
    if n_up == len(found):
        return "holds"
    return "holds_in_part" if n_up else "does_not_hold"


def answer_of(found: Sequence[Step], what: str, *, test: bool = False) -> PrintedAnswer:
    """Say how many of the steps go up, and name those that do not.

    Args:
        found: The steps.
        what: What goes up, such as "Q-Ponder is above its teacher".
        test: Whether the claim calls it significant, which printed values cannot decide.
    """
    n_up = sum(step.gain > 0 for step in found)
    rest = [f"{step.place} ({float(step.gain):+.3f})" for step in found if step.gain <= 0]
    sentence = f"{what} in {n_up} of {len(found)} places"
    sentence += f"; not in {', '.join(rest)}" if 0 < len(rest) <= 6 else ""
    if n_up:
        ups = [float(step.gain) for step in found if step.gain > 0]
        sentence += f"; by {min(ups):.3f} to {max(ups):.3f}"
    return PrintedAnswer(outcome_of(found), sentence + (f"; {NO_TEST}" if test else ""))


def span(found: Sequence[Step]) -> str:
    """Return the smallest and largest step, signed."""
    gains = [float(step.gain) for step in found]
    return f"{min(gains):+.3f} to {max(gains):+.3f}"

"""Finds values that repeat where measurements should differ.

Printed numbers have few digits, so some coincide by chance. How often they do is read off the
table itself: the share of all pairs of its values, metric by metric, that are equal. A repeat is
reported if so much of it would not be expected once in twenty such tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb, prod

from qponder_lib.report.audit.findings import Finding
from qponder_lib.report.audit.printed import PrintedCell, PrintedTable

EXPECTED_AT_MOST = 0.05
"""Repeats that chance would make less often than this, per table, are reported."""

Line = dict[tuple[str, str], PrintedCell]


def check_repeats(table: PrintedTable) -> list[Finding]:
    """Look for whole cells, rows and columns that are there twice.

    Args:
        table: The table; averages are left out.

    Returns:
        One finding per pair of cells in one row or column that agree in all their metrics, and
        one per pair of rows or columns that agree in more places than chance explains.
    """
    shares = equal_shares(table)
    findings = [*_repeated_cells(table, shares), *_repeated_lines(table, shares)]
    return findings or [
        Finding("repeat", table.name, "all cells", "consistent", "no more repeats than by chance")
    ]


def equal_shares(table: PrintedTable) -> dict[str, float]:
    """Return, for each metric, the share of all pairs of values that are printed alike.

    Example:
        >>> texts = enumerate(["0.5", "0.5", "0.6", "0.7"])
        >>> table = PrintedTable("t", [PrintedCell("t", f"{i}", "d", "srcc", x) for i, x in texts])
        >>> equal_shares(table)["srcc"] == 1 / 6
        True
    """
    shares = {}
    for metric in table.metrics:
        values = [c.text for c in table if c.metric == metric and not c.is_average]
        alike = sum(comb(n, 2) for n in Counter(values).values())
        # One pair more than was seen: a rate of nought from few pairs would forbid any repeat.
        shares[metric] = (alike or 1) / max(comb(len(values), 2), 1)
    return shares


def _repeated_cells(table: PrintedTable, shares: dict[str, float]) -> Iterator[Finding]:
    metrics = table.metrics
    if len(metrics) < 2:
        return
    chance = prod(shares.values())
    for name, pairs in (
        ("one row", _cell_pairs(table, by_row=True)),
        ("one column", _cell_pairs(table, by_row=False)),
    ):
        expected = chance * len(pairs)
        for one, other in pairs:
            values = [_values(table, place, metrics) for place in (one, other)]
            if values[0] != values[1] or None in values[0] or expected > EXPECTED_AT_MOST:
                continue
            sentence = (
                f"all {len(metrics)} values are printed twice in {name}: "
                f"{' / '.join(filter(None, values[0]))}; chance would make {expected:.1g} such "
                f"pairs among {len(pairs)}"
            )
            where = f"{', '.join(one)} and {', '.join(other)}"
            yield Finding("repeat", table.name, where, "notable", sentence)


def _cell_pairs(
    table: PrintedTable, *, by_row: bool
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    if by_row:
        pairs = combinations(table.datasets, 2)
        return [((m, a), (m, b)) for a, b in pairs for m in table.methods]
    pairs = combinations(table.methods, 2)
    return [((a, d), (b, d)) for a, b in pairs for d in table.datasets]


def _values(
    table: PrintedTable, place: tuple[str, str], metrics: Sequence[str]
) -> list[str | None]:
    cells = [table.get(*place, metric) for metric in metrics]
    return [cell.text if cell else None for cell in cells]


def _repeated_lines(table: PrintedTable, shares: dict[str, float]) -> Iterator[Finding]:
    for kind, names in (("rows", table.methods), ("columns", table.datasets)):
        lines = {name: _line(table, name, rows=kind == "rows") for name in names}
        n_pairs = comb(len(names), 2)
        for one, other in combinations(names, 2):
            both = [key for key in lines[one] if key in lines[other]]
            alike = [k for k in both if lines[one][k].text == lines[other][k].text]
            if len(alike) < 2:
                continue
            mean_share = sum(shares[key[1]] for key in both) / len(both)
            expected = n_pairs * at_least(len(alike), len(both), mean_share)
            if expected <= EXPECTED_AT_MOST:
                sentence = (
                    f"{len(alike)} of {len(both)} values of the two {kind} are printed alike; "
                    f"chance would make {expected:.1g} such pairs among {n_pairs}"
                )
                yield Finding("repeat", table.name, f"{one} and {other}", "notable", sentence)


def _line(table: PrintedTable, name: str, *, rows: bool) -> Line:
    cells = [c for c in table if not c.is_average and name == (c.method if rows else c.dataset)]
    return {(c.dataset if rows else c.method, c.metric): c for c in cells}


def at_least(k: int, n: int, p: float) -> float:
    """Return the chance of k successes or more in n tries.

    Example:
        >>> at_least(2, 2, 0.1) == 0.1**2
        True
    """
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

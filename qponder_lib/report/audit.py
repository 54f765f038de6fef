"""Recomputes the tables that Q-Ponder prints: averages, and values that repeat.

A printed decimal stands for every number within half of its last digit, both ends included, since
it is not said which way halves went (decision D28). `qponder audit paper` prints the findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import Literal

import pandas as pd

from qponder_lib.report.render import read_reported

AVERAGE = "AVG."
"""Column that holds a table's averages."""
SAME_MODEL = (
    ("table1", "Q-Ponder", "table3", "long + RL"),
    ("table2", "Q-Ponder", "table4", "Q-Ponder"),
)
"""Rows that are said to be the same model on the same sets."""
OURS = "Q-Ponder"
"""The row of the paper's own model."""
EXPECTED_AT_MOST = 0.05
"""Coincidences that chance would make less often than this, per table, are reported."""
EPS = 1e-9
"""Far below any printed digit; only takes up what binary fractions lose."""

Outcome = Literal["consistent", "disagrees", "notable", "unverified"]


@dataclass(frozen=True)
class AuditFinding:
    """One thing that was checked in a printed table.

    Attributes:
        where: Row and column.
        outcome: consistent; disagrees: no rounding explains it; notable: possible, but worth a
            look; unverified: it rests on a value that was not read in its source.
        sentence: What was found, for readers.
        check: What kind of check, such as average; `audit_paper` fills it in.
        table: Name of the table; as for check.
    """

    where: str
    outcome: Outcome
    sentence: str
    check: str = ""
    table: str = ""


def paper_tables() -> dict[str, pd.DataFrame]:
    """Return what Q-Ponder prints in its tables, and in section 3.2, as transcribed in this kit.

    Returns:
        By name, a table of printed values: method, dataset, metric, text, value, half (of the
        last printed digit).

    Example:
        >>> table = paper_tables()["table1"].set_index(["method", "dataset", "metric"])
        >>> table.loc[("Q-Ponder", "AVG.", "srcc"), "text"]
        '0.821'
    """
    tables = {}
    for name in ("table1", "table2", "table3", "table4", "section_3_2"):
        rows = read_reported(name, dtype=str).rename(columns={"value": "text"})
        tables[name] = printed(rows[["method", "dataset", "metric", "text"]])
    return tables


def printed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add to printed decimals their value and half of their last digit.

    Example:
        >>> printed(pd.DataFrame({"text": ["0.50"]})).to_dict("records")
        [{'text': '0.50', 'value': 0.5, 'half': 0.005}]
    """
    return rows.assign(value=rows["text"].astype(float), half=rows["text"].map(half_digit))


def half_digit(text: str) -> float:
    """Return half of the last digit of a printed decimal.

    Example:
        >>> half_digit("0.50"), half_digit("7")
        (0.005, 0.5)
    """
    return 0.5 / 10 ** len(text.partition(".")[2])


def audit_paper() -> list[AuditFinding]:
    """Check the averages and repeats of Q-Ponder's tables.

    Example:
        >>> [f.where for f in audit_paper() if f.outcome == "disagrees"]
        ['DepictQA, AVG., mean', 'Q-Ponder, AVG., mean', 'Q-Ponder, AVG., mean']
    """
    tables = paper_tables()
    found = [
        replace(one, check=check, table=name)
        for name in ("table1", "table2", "table3", "table4")
        for check, look in CHECKS
        for one in look(tables[name])
    ]
    for name, row, other, other_row in SAME_MODEL:
        sides = [tables[t][tables[t]["method"] == r] for t, r in ((name, row), (other, other_row))]
        for one in check_same_model(*sides, f"{name}, {row} and {other}, {other_row}"):
            found.append(replace(one, check="same_model", table=name))
    quoted = printed(read_reported("quoted", dtype=str).rename(columns={"value": "text"}))
    for one in check_quoted(tables["table1"], quoted):
        found.append(replace(one, check="quoted", table="table1"))
    return found


def check_averages(table: pd.DataFrame) -> Iterator[AuditFinding]:
    """Recompute every average that a table prints as the plain mean of its row.

    An average whose metric no cell of the table has, such as one number for three judged aspects,
    is the mean of all cells of the row. It disagrees if no numbers that round to the cells have a
    mean that rounds to it.

    Args:
        table: Printed values, as `paper_tables` returns them.
    """
    cells = table[table["dataset"] != AVERAGE]
    for average in table[table["dataset"] == AVERAGE].itertuples():
        row = cells[cells["method"] == average.method]
        if average.metric in set(cells["metric"]):
            row = row[row["metric"] == average.metric]
        if row.empty:
            continue
        apart = abs(row["value"].mean() - average.value)
        allowed = row["half"].mean() + average.half
        told = f"within {allowed:.4f}, what rounding explains"
        if apart > allowed + EPS:
            told = (
                f"{apart:.4f} apart; rounding explains {allowed:.4f} at most; other weights "
                "might, and none are stated"
            )
        yield AuditFinding(
            f"{average.method}, {AVERAGE}, {average.metric}",
            "disagrees" if apart > allowed + EPS else "consistent",
            f"printed {average.text}, mean of {len(row)} printed cells "
            f"{row['value'].mean():.5f}: {told}",
        )


def check_same_model(
    first: pd.DataFrame, second: pd.DataFrame, where: str
) -> Iterator[AuditFinding]:
    """Compare two rows of two tables that should print the same values.

    Args:
        first: Printed values of one row.
        second: Those of the other.
        where: Which rows these are.

    Yields:
        One finding per value that differs, or one that says that all agree.
    """
    both = first.merge(second, on=["dataset", "metric"], suffixes=("", "_other"))
    odd = both[(both["value"] - both["value_other"]).abs() > both["half"] + both["half_other"]]
    if odd.empty:
        told = f"the same {len(both)} values in both tables"
        yield AuditFinding(where, "consistent", told)
    for cell in odd.itertuples():
        told = f"{cell.text} in one and {cell.text_other} in the other"
        yield AuditFinding(f"{where}, {cell.dataset}, {cell.metric}", "disagrees", told)


def check_quoted(table: pd.DataFrame, quoted: pd.DataFrame) -> Iterator[AuditFinding]:
    """Hold values that a table takes over from other papers against those papers.

    Args:
        table: Printed values.
        quoted: The same of the sources, with columns source and read: "yes" where somebody read
            the value in the source itself, "no" where it is known second-hand.

    Yields:
        One finding per value that differs, and one per column that `OURS` leads in the table and
        not with the values of the sources.
    """
    keys = ["method", "dataset", "metric"]
    both = table.merge(quoted, on=keys, suffixes=("", "_source"))
    odd = both[(both["value"] - both["value_source"]).abs() > both["half"] + EPS]
    for (method, source, read), cells in odd.groupby(["method", "source", "read"], sort=False):
        told = ", ".join(
            f"{cell.dataset} {cell.metric} {cell.text} ({cell.text_source})"
            for cell in cells.itertuples()
        )
        yield AuditFinding(method, _as_read(read), f"printed, and in brackets {source}: {told}")
    values = table.set_index(keys)["value"]
    others = values.copy()
    others.update(odd.set_index(keys)["value_source"])
    for (dataset, metric), column in others.groupby(level=["dataset", "metric"], sort=False):
        best = column.idxmax()
        first = values.xs((dataset, metric), level=("dataset", "metric")).idxmax()
        if first == OURS and best[0] != OURS:
            told = (
                f"highest in print with {values[OURS, dataset, metric]:.3f}; "
                f"by its source, {best[0]} has {column.max():.3f}"
            )
            read = odd.set_index(keys)["read"][best]
            yield AuditFinding(f"{OURS}, {dataset}, {metric}", _as_read(read), told)


def _as_read(read: str) -> Outcome:
    return "disagrees" if read == "yes" else "unverified"


def check_repeats(table: pd.DataFrame) -> list[AuditFinding]:
    """Find values that repeat where measurements should differ.

    Printed numbers have few digits, so some coincide by chance. How often they do is read off the
    table itself (`equal_shares`). A repeat is reported if so much of it would not be expected once
    in twenty such tables.

    Args:
        table: Printed values; averages are left out.

    Returns:
        One finding per pair of cells in one row or column that agree in all their metrics.
    """
    cells = table[table["dataset"] != AVERAGE]
    shares = equal_shares(cells)
    keys = ["method", "dataset", "metric"]
    texts = cells.set_index(keys)["text"].unstack("metric", sort=False)
    found = [AuditFinding(where, "notable", told) for where, told in _repeated_cells(texts, shares)]
    return found or [AuditFinding("all cells", "consistent", "no more repeats than by chance")]


def equal_shares(cells: pd.DataFrame) -> pd.Series:
    """Return, for each metric, the share of all pairs of values that are printed alike.

    At least one pair is taken to be: a rate of nought from few pairs would forbid any repeat.

    Example:
        >>> texts = ["0.5", "0.5", "0.6", "0.7"]
        >>> bool(equal_shares(pd.DataFrame({"metric": "srcc", "text": texts}))["srcc"] == 1 / 6)
        True
    """

    def share(texts: pd.Series) -> float:
        alike = sum(comb(n, 2) for n in texts.value_counts())
        return max(alike, 1) / max(comb(len(texts), 2), 1)

    return cells.groupby("metric")["text"].agg(share)


def _repeated_cells(texts: pd.DataFrame, shares: pd.Series) -> Iterator[tuple[str, str]]:
    """Find pairs of cells that agree in all metrics; `texts` has a line per method and set."""
    if len(shares) < 2:
        return
    for level, what in (("method", "one row"), ("dataset", "one column")):
        lines = [line for _, line in texts.groupby(level=level, sort=False)]
        n_pairs = sum(comb(len(line), 2) for line in lines)
        expected = shares.prod() * n_pairs
        if expected > EXPECTED_AT_MOST:
            continue
        for line in lines:
            for one, other in combinations(line.index, 2):
                if (line.loc[one] == line.loc[other]).all():
                    told = " / ".join(line.loc[one])
                    yield (
                        f"{', '.join(one)} and {', '.join(other)}",
                        f"all {len(shares)} values are printed twice in {what}: {told}; chance "
                        f"would make {expected:.1g} such pairs among {n_pairs}",
                    )


CHECKS = (
    ("average", check_averages),
    ("repeat", check_repeats),
)
"""What `audit_paper` asks of every table."""

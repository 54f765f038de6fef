"""Runs every check of printed tables: on any file of the form, and on Q-Ponder's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qponder_lib.report.audit.averages import check_averages
from qponder_lib.report.audit.claims import Claim, PrintedAnswer, load_claims
from qponder_lib.report.audit.findings import Finding
from qponder_lib.report.audit.marks import check_marks
from qponder_lib.report.audit.possible import (
    IMAGE_COUNTS,
    RANGES,
    check_ranges,
    check_round_count,
    check_whole_scores,
)
from qponder_lib.report.audit.printed import PrintedTable, paper_tables
from qponder_lib.report.audit.repeats import check_repeats
from qponder_lib.report.audit.statements import printed_answer
from qponder_lib.report.audit.statements.text import text_findings

SAME_MODEL = (
    ("table1", "Q-Ponder", "table3", "long + RL"),
    ("table2", "Q-Ponder", "table4", "Q-Ponder"),
)
"""Rows of Q-Ponder's tables that are said to be the same model on the same sets."""


@dataclass(frozen=True)
class PaperAudit:
    """What an audit of Q-Ponder found.

    Attributes:
        findings: Checks of the tables.
        claims: Every claim that the tables say something about, with what they say.
    """

    findings: list[Finding]
    claims: list[tuple[Claim, PrintedAnswer]]


def audit_table(table: PrintedTable, counts: Mapping[str, int] | None = None) -> list[Finding]:
    """Check the averages, marks, repeats and ranges of a printed table.

    Args:
        table: The table.
        counts: Images by set, where means of whole scores are printed; default none known.
    """
    return [
        *(check.finding() for check in check_averages(table)),
        *check_marks(table),
        *check_repeats(table),
        *check_ranges(table, RANGES),
        *check_whole_scores(table, counts or {}),
        *check_round_count(table),
    ]


def same_model(one: PrintedTable, row: str, other: PrintedTable, other_row: str) -> list[Finding]:
    """Compare two rows that should print the same values in two tables.

    Returns:
        One finding per value that differs, or one that says that all agree.
    """
    where = f"{one.name}, {row} and {other.name}, {other_row}"
    both = [
        (cell, twin)
        for cell in one
        if cell.method == row
        and (twin := other.get(other_row, cell.dataset, cell.metric)) is not None
    ]
    odd = [
        Finding(
            "same_model",
            one.name,
            f"{where}, {cell.dataset}, {cell.metric}",
            "disagrees",
            f"{cell.text} in one and {twin.text} in the other",
        )
        for cell, twin in both
        if not cell.interval.meets(twin.interval)
    ]
    sentence = f"the same {len(both)} values in both tables"
    return odd or [Finding("same_model", one.name, where, "consistent", sentence)]


def audit_paper() -> PaperAudit:
    """Hold Q-Ponder's tables, and what both papers claim, against the printed values.

    Example:
        >>> found = audit_paper().findings
        >>> [f.where for f in found if (f.check, f.outcome) == ("average", "disagrees")]
        ['DepictQA, AVG., mean', 'Q-Ponder, AVG., mean', 'Q-Ponder, AVG., mean']
    """
    tables = paper_tables()
    findings = [
        finding
        for name, table in tables.items()
        if name != "section_3_2"
        for finding in audit_table(table, IMAGE_COUNTS)
    ]
    for one, row, other, other_row in SAME_MODEL:
        findings += same_model(tables[one], row, tables[other], other_row)
    findings += text_findings()
    answers = ((claim, printed_answer(claim, tables)) for claim in load_claims())
    return PaperAudit(findings, [(claim, found) for claim, found in answers if found is not None])

"""Holds papers and label files against themselves, and a run against what the papers claim."""

from qponder_lib.report.audit.claims import Claim, PrintedAnswer, Verdict, load_claims
from qponder_lib.report.audit.findings import Finding
from qponder_lib.report.audit.printed import PrintedCell, PrintedTable, paper_tables, read_table
from qponder_lib.report.audit.tables import PaperAudit, audit_paper, audit_table
from qponder_lib.report.audit.verdicts import verdicts

__all__ = [
    "Claim",
    "Finding",
    "PaperAudit",
    "PrintedAnswer",
    "PrintedCell",
    "PrintedTable",
    "Verdict",
    "audit_paper",
    "audit_table",
    "load_claims",
    "paper_tables",
    "read_table",
    "verdicts",
]

"""Holds papers and label files against themselves, and a run against what the papers claim."""

from qponder_lib.audit.claims import Claim, PrintedAnswer, Verdict, load_claims

__all__ = ["Claim", "PrintedAnswer", "Verdict", "load_claims"]

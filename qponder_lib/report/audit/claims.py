"""What the papers claim, and how each claim is judged: the data behind the page of claims.

A claim is one sentence of a paper with what would decide it. Its verdict says what a run of this
kit shows about it; what the paper's own tables say about it stands beside it, in words of its own,
since the two are different questions.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

Paper = Literal["Q-Ponder", "PreResQ-R1"]
VerdictName = Literal["agrees_within_interval", "disagrees", "mini_scale_only", "not_run"]
PrintedOutcome = Literal["holds", "holds_in_part", "does_not_hold", "not_decidable"]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        id: Short name, unique over both papers; fit for an anchor of a page.
        paper: Which paper.
        place: Section, abstract, contribution or appendix.
        quote: The paper's words, cut to what is claimed.
        decided_by: What would decide it.
        file: The file of a run that decides it, relative to the run folder; empty if none can.
        printed_check: Function of `audit.statements` that holds it against the paper's own
            tables; empty if they say nothing about it.
        run_check: Function of `audit.measured` that holds it against a run; empty if no run of
            this kit can.
        without_run: Why no run decides it, where `run_check` is empty.
    """

    id: str
    paper: Paper
    place: str
    quote: str
    decided_by: str
    file: str
    printed_check: str
    run_check: str
    without_run: str


@dataclass(frozen=True)
class PrintedAnswer:
    """What a paper's own tables say about a claim."""

    outcome: PrintedOutcome
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What a run shows about a claim.

    Attributes:
        claim: The claim.
        verdict: `agrees_within_interval` and `disagrees` only ever compare numbers of the same
            image sets and the same size of model; a smaller setting is `mini_scale_only`;
            `not_run` if nothing was measured.
        sentence: One sentence for readers: what was measured, or why nothing was.
        holds: Whether the direction claimed shows in what was measured, its interval away from
            no difference; None if the interval holds both, or nothing was measured.
        file: File behind the verdict, relative to the run folder; None if there is none.
        printed: What the paper's own tables say; None if they say nothing.
    """

    claim: Claim
    verdict: VerdictName
    sentence: str
    holds: bool | None
    file: Path | None
    printed: PrintedAnswer | None


def load_claims() -> list[Claim]:
    """Read the claims of both papers, in the order of the papers.

    Returns:
        The rows of `reported/claims.csv`.

    Source:
        Q-Ponder (arXiv:2506.05384) and PreResQ-R1 (arXiv:2511.05393), read sentence by sentence.

    Example:
        >>> load_claims()[0].paper
        'Q-Ponder'
    """
    source = resources.files("qponder_lib") / "reported" / "claims.csv"
    with source.open(encoding="utf-8", newline="") as file:
        return [Claim(**row) for row in csv.DictReader(file)]

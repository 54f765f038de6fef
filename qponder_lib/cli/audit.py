"""`qponder audit paper`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qponder_lib import artifacts

if TYPE_CHECKING:
    from qponder_lib.report.audit import Finding
    from qponder_lib.report.claims import Claim, PrintedVerdict

audit = typer.Typer(no_args_is_help=True, help="Check what a paper prints.")

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@audit.command()
def paper(as_json: AsJson = False) -> None:
    """Recompute the tables that Q-Ponder prints, and hold its claims against them."""
    from qponder_lib.report.audit import audit_paper
    from qponder_lib.report.claims import load_claims, printed_verdicts

    verdicts = printed_verdicts()
    claims = [(one, verdicts[one.id]) for one in load_claims() if one.id in verdicts]
    if as_json:
        print(artifacts.to_json(_paper_json(audit_paper(), claims), indent=2))
    else:
        print("\n".join(_paper_lines(audit_paper(), claims)))


def _paper_json(
    findings: Sequence[Finding], claims: Sequence[tuple[Claim, PrintedVerdict]]
) -> dict[str, Any]:
    listed = [
        {"id": claim.id, "paper": claim.paper, "place": claim.place, "quote": claim.quote}
        | dataclasses.asdict(verdict)
        for claim, verdict in claims
    ]
    return {"findings": [dataclasses.asdict(finding) for finding in findings], "claims": listed}


def _paper_lines(
    findings: Sequence[Finding], claims: Sequence[tuple[Claim, PrintedVerdict]]
) -> Iterable[str]:
    yield "Q-Ponder (arXiv:2506.05384), tables as transcribed in qponder_lib/reported/"
    for (check, outcome), n in sorted(Counter((f.check, f.outcome) for f in findings).items()):
        yield f"{check.replace('_', ' ')}: {n} {outcome}"
    yield ""
    for outcome in ("disagrees", "notable"):  # the rest is consistent
        for f in findings:
            if f.outcome == outcome:
                yield f"{outcome}: {f.table}, {f.check.replace('_', ' ')}, {f.where}: {f.sentence}"
    yield ""
    counts = Counter(verdict.outcome.replace("_", " ") for _, verdict in claims)
    told = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    yield f"Claims that the tables and the text say something about: {told}"
    for claim, verdict in claims:
        yield ""
        yield f"{verdict.outcome.replace('_', ' ')}: {claim.place} ({claim.id})"
        yield f'  "{claim.quote}"'
        yield f"  {verdict.sentence}"

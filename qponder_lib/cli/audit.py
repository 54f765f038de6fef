"""`qponder audit paper` and `qponder audit labels`."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qponder_lib import artifacts

if TYPE_CHECKING:
    from qponder_lib.report.audit import Finding
    from qponder_lib.report.claims import Claim, PrintedVerdict

_USAGE = 2

audit = typer.Typer(no_args_is_help=True, help="Check what a paper prints, or a label file.")

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


@audit.command()
def labels(
    file: Annotated[str, typer.Argument(help="label file; with --root the name of a public set")],
    root: Annotated[Path | None, typer.Option(help="folder of your copy of the set")] = None,
    image_column: Annotated[str | None, typer.Option(help="column that names the image")] = None,
    label_column: Annotated[
        str | None, typer.Option(help="column of the label; with --root the kind of label")
    ] = None,
    std_column: Annotated[str | None, typer.Option(help="column of the spread")] = None,
    scale: Annotated[str | None, typer.Option(help="declared ends, LOW:HIGH such as 0:100")] = None,
    higher_is: Annotated[str | None, typer.Option(help="better or worse: declared")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the scale of labels; exit 1 if any disagrees with what is declared."""
    from qponder_lib.report import label_files
    from qponder_lib.report import label_scales as label_checks

    try:
        if root is not None:
            findings = label_checks.audit_copy(file, root, label_column)
        else:
            columns = label_files.Columns(image_column, label_column, std_column)
            read = label_files.read_label_file(Path(file), columns)
            findings = label_checks.audit_label_file(read, _ends(scale), _direction(higher_is))
    except (ValueError, OSError) as error:
        raise _usage(error) from error
    if as_json:
        print(artifacts.to_json([dataclasses.asdict(f) for f in findings], indent=2))
    else:
        print("\n".join(f"{f.outcome}: {f.check}, {f.where}: {f.sentence}" for f in findings))
    raise typer.Exit(1 if any(f.outcome == "disagrees" for f in findings) else 0)


def _ends(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, _, high = text.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = (0.0, 0.0)
    if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise ValueError(f"--scale {text!r}: expected LOW:HIGH such as 0:100")
    return ends


def _direction(text: str | None) -> bool | None:
    if text not in (None, "better", "worse"):
        raise ValueError(f"--higher-is {text!r}: expected better or worse")
    return None if text is None else text == "better"


def _usage(error: Exception) -> typer.Exit:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    name = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    print(f"qponder: {name}{text}", file=sys.stderr)
    return typer.Exit(_USAGE)


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
    for kind, counts in _counts((f.check, f.outcome) for f in findings).items():
        yield f"{kind.replace('_', ' ')}: {counts}"
    yield ""
    for outcome in ("disagrees", "notable"):  # the rest is consistent
        for f in findings:
            if f.outcome == outcome:
                yield f"{outcome}: {f.table}, {f.check.replace('_', ' ')}, {f.where}: {f.sentence}"
    yield ""
    counts = _counts(("claims", verdict.outcome) for _, verdict in claims)["claims"]
    yield f"Claims that the tables and the text say something about: {counts}"
    for claim, verdict in claims:
        yield ""
        yield f"{verdict.outcome.replace('_', ' ')}: {claim.place} ({claim.id})"
        yield f'  "{claim.quote}"'
        yield f"  {verdict.sentence}"


def _counts(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Count outcomes by kind, in words."""
    found: dict[str, Counter[str]] = {}
    for kind, outcome in pairs:
        found.setdefault(kind, Counter())[outcome.replace("_", " ")] += 1
    return {
        kind: ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
        for kind, counts in found.items()
    }

"""`qponder report`, `figure`, `table`, `health` and `audit paper`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qponder_lib.cli.common import AsJson, RunName, answer
from qponder_lib.paths import RunPaths, shown

if TYPE_CHECKING:
    from qponder_lib.report.audit import AuditFinding
    from qponder_lib.report.claims import Claim, PrintedVerdict

Name = Annotated[str, typer.Argument(help="its name, or how it begins; without one, list names")]
Folder = Annotated[str, typer.Option(help="folder in papermill_runs/, or any run folder")]


def report(run: RunName) -> None:
    """Write report/index.html of a run.

    It shows what the papers report against what the run measured.
    """
    from qponder_lib.report.page import write_report

    print(shown(write_report(RunPaths.find(run))))


def figure(
    name: Name = "",
    run: Folder = "reference/mini",
    out: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG; default: NAME.png")] = None,
) -> None:
    """Draw one figure of a run or a study again.

    It is drawn from the CSVs, without training.
    """
    from qponder_lib import artifacts
    from qponder_lib.report import outputs, style

    figures = outputs.FIGURES | outputs.STUDY_FIGURES
    if not name:
        print("\n".join(figures))
        return
    draw, paths_ = outputs.named(figures, name), RunPaths.find(run)
    of_study = draw in outputs.STUDY_FIGURES.values()
    drawn, _ = draw(paths_.root if of_study else outputs.open_run(paths_))
    out = out or Path(f"{name}.png")
    artifacts.write_bytes_atomic(out, style.rendered(drawn, out.suffix[1:] or "png"))
    print(out)


def table(
    name: Name = "",
    run: Folder = "reference/mini",
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX in place of Markdown")] = False,
    out: Annotated[Path | None, typer.Option(help="file; default: print")] = None,
) -> None:
    """Lay out one table of a run again.

    It is made from the CSVs, without training.
    """
    from qponder_lib import artifacts
    from qponder_lib.report import outputs

    if not name:
        print("\n".join(outputs.TABLES))
        return
    made = outputs.named(outputs.TABLES, name)(outputs.open_run(RunPaths.find(run)))
    text = made.latex() if latex else made.markdown()
    if out is None:
        print(text)
        return
    artifacts.write_text_atomic(out, text)
    print(out)


def health(run: RunName, as_json: AsJson = False) -> None:
    """Say whether a run's reinforcement learning can be learning.

    Exit code 1 if there are alarms. `qponder figure grpo_diagnostics` draws the curves.
    """
    from qponder_lib.evaluation import monitoring
    from qponder_lib.report.training import read_history

    root = RunPaths.find(run).root
    histories = {file.parent.name: read_history(file) for file in root.glob("grpo/*/history.csv")}
    if not histories:
        raise FileNotFoundError(f"no grpo/<phase>/history.csv in {root}; train one first")
    found = [
        {
            "phase": phase,
            "steps": int(rows[-1]["step"]),
            "rows": len(rows),
            "judged": monitoring.long_enough(rows),
            "missing": monitoring.missing(rows),
            "alarms": monitoring.alarms(rows),
        }
        for phase, rows in sorted(histories.items())
    ]
    text = "\n".join(line for one in found for line in _health_lines(one))
    ok = not any(one["alarms"] for one in found)
    answer(as_json, {"run": run, "phases": found}, text, ok=ok)


def _health_lines(one: Mapping[str, Any]) -> Iterable[str]:
    yield f"grpo/{one['phase']}: {one['rows']} logged rows to step {one['steps']}"
    for alarm in one["alarms"]:
        yield f"ALARM {alarm.column}, steps {alarm.first_step} to {alarm.last_step}:"
        yield f"  seen    {alarm.said}"
        yield f"  cause   {alarm.cause}"
        yield f"  remedy  {alarm.remedy}"
    if not one["judged"]:
        yield "too few logged rows for alarms"
    elif not one["alarms"]:
        yield "no alarm"
    if one["missing"]:
        yield f"not logged, so not judged: {', '.join(one['missing'])}"


audit = typer.Typer(no_args_is_help=True, help="Check what a paper prints.")


@audit.command()
def paper(as_json: AsJson = False) -> None:
    """Recompute the tables that Q-Ponder prints, and hold its claims against them."""
    from qponder_lib.report.audit import audit_paper
    from qponder_lib.report.claims import load_claims, printed_verdicts

    verdicts = printed_verdicts()
    claims = [(one, verdicts[one.id]) for one in load_claims() if one.id in verdicts]
    findings = audit_paper()
    listed = [
        {"id": claim.id, "paper": claim.paper, "place": claim.place, "quote": claim.quote}
        | dataclasses.asdict(verdict)
        for claim, verdict in claims
    ]
    text = "\n".join(_paper_lines(findings, claims))
    answer(as_json, {"findings": findings, "claims": listed}, text)


def _paper_lines(
    findings: Sequence[AuditFinding], claims: Sequence[tuple[Claim, PrintedVerdict]]
) -> Iterable[str]:
    yield "Q-Ponder (arXiv:2506.05384), tables as transcribed in qponder_lib/reported/"
    for (check, outcome), n in sorted(Counter((f.check, f.outcome) for f in findings).items()):
        yield f"{check.replace('_', ' ')}: {n} {outcome}"
    yield ""
    for outcome in ("disagrees", "notable", "unverified"):  # the rest is consistent
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

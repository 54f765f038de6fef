"""`qponder health`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qponder_lib import artifacts
from qponder_lib.cli.reporting import run_folder
from qponder_lib.runner.progress import shown

if TYPE_CHECKING:
    from qponder_lib.report.health import Health

_USAGE = 2


def health(
    run: Annotated[str, typer.Argument(help="folder in papermill_runs/, or any run folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    out: Annotated[Path | None, typer.Option(help="folder of the figure; default: RUN/figures")] = (
        None
    ),
) -> None:
    """Draw figures/health.* of a run's reinforcement learning; exit code 1 if it has alarms."""
    from qponder_lib.report.health import write_health  # pandas, which most commands do not need

    try:
        found = write_health(run_folder(run), out)
    except (FileNotFoundError, ValueError) as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    if as_json:
        phases = [one.as_json() for one in found]
        print(artifacts.to_json({"run": run, "phases": phases}, indent=2))
    else:
        print("\n".join(line for one in found for line in _lines(one)))
    raise typer.Exit(1 if any(one.alarms for one in found) else 0)


def _lines(one: Health) -> list[str]:
    lines = [f"grpo/{one.phase}: {one.rows} logged rows to step {one.steps}"]
    for alarm in one.alarms:
        lines.append(f"ALARM {alarm.column}, steps {alarm.first_step} to {alarm.last_step}:")
        lines += [f"  seen    {alarm.said}", f"  cause   {alarm.cause}"]
        lines.append(f"  remedy  {alarm.remedy}")
    if not one.judged:
        lines.append("too few logged rows for alarms")
    elif not one.alarms:
        lines.append("no alarm")
    if one.missing:
        lines.append(f"not logged, so not judged: {', '.join(one.missing)}")
    return [*lines, *(f"wrote {shown(path)}" for path in one.files)]

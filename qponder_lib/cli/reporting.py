"""`qponder report` and `diff`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from qponder_lib import artifacts, paths
from qponder_lib.paths import RunPaths
from qponder_lib.runner import drift
from qponder_lib.runner import runs as runner
from qponder_lib.runner.progress import shown

_USAGE = 2
_MOST_LINES = 40


def report(
    run: Annotated[str, typer.Argument(help="folder in papermill_runs/, or any run folder")],
) -> None:
    """Write report/index.html of a run: reported against measured, one verdict per claim."""
    from qponder_lib.report.page import write_report  # pandas, which most commands do not need

    try:
        print(shown(write_report(run_folder(run))))
    except FileNotFoundError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    except ValueError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(runner.EXIT_FAILED) from error


def diff(
    run: Annotated[str, typer.Argument(help="folder in papermill_runs/, or any run folder")],
    reference: Annotated[str, typer.Argument(help="the same, such as reference/mini")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say which numbers of a run moved beyond tolerance; exit code 1 if any did."""
    try:
        rows = drift.compare(run_folder(run), run_folder(reference))
    except (FileNotFoundError, ValueError) as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    found = drift.summary(rows)
    if as_json:
        print(artifacts.to_json({"run": run, "reference": reference} | found, indent=2))
    else:
        print("\n".join(_lines(rows, found["counts"])))
    raise typer.Exit(1 if found["counts"]["moved"] else 0)


def run_folder(name: str) -> RunPaths:
    """Find a run by its name below `papermill_runs/`, or by the path of its folder."""
    if Path(name).is_dir():
        return RunPaths(Path(name).resolve())
    try:
        found = RunPaths.named(name)
    except ValueError as error:
        raise FileNotFoundError(f"no run folder {name}") from error
    if not found.root.is_dir():
        raise FileNotFoundError(f"no run {name!r} in {shown(paths.runs_root())}")
    return found


def _lines(rows: list[drift.Moved], counts: dict[str, int]) -> list[str]:
    lines = [", ".join(f"{n} {state}" for state, n in counts.items())]
    for state in ("moved", "missing", "new"):
        mine = [row for row in rows if row.state == state]
        for row in mine[:_MOST_LINES]:
            lines.append(f"{state:<8}{row.file}: {row.name}: {_values(row)} ({row.why})")
        if len(mine) > _MOST_LINES:
            lines.append(f"{state:<8}and {len(mine) - _MOST_LINES} more; --json lists all")
    return lines


def _values(row: drift.Moved) -> str:
    if row.state == "moved":
        return f"{_shown(row.reference)} -> {_shown(row.run)}"
    return _shown(row.reference if row.state == "missing" else row.run)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"

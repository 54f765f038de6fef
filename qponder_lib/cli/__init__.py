"""The command `qponder`."""

from __future__ import annotations

from typing import Annotated

import typer

from qponder_lib import __version__
from qponder_lib.cli import data, evaluate, models, report, run
from qponder_lib.cli.common import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"qponder {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Reproduce Q-Ponder and PreResQ-R1, and measure image quality assessors."""


app.command(cls=run.NamesProfiles)(run.run)
for command in (
    run.status,
    report.report,
    report.figure,
    report.table,
    report.health,
    run.diff,
    run.reference,
    run.fetch,
    models.preflight,
    models.export,
    models.score,
    models.demo,
    evaluate.evaluate,
    evaluate.compare,
    evaluate.probe,
):
    app.command()(command)
app.add_typer(report.audit, name="audit")
app.add_typer(data.app, name="data")

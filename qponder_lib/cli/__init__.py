"""The command `qponder`. A command imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qponder_lib import __version__
from qponder_lib.cli import data, evaluate, models, report, run

EXIT_FAILED, EXIT_USAGE = 1, 2


class _Commands(TyperGroup):
    """Says what is wrong in one line: exit code 2 for bad input, 1 for a failure.

    A traceback is shown where QPONDER_TRACEBACK is set.
    """

    def invoke(self, ctx: typer.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name the terminal cannot show
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, ModuleNotFoundError) as error:
            if os.environ.get("QPONDER_TRACEBACK"):
                raise
            print(f"qponder: {_one_line(error)}", file=sys.stderr)
            usage = isinstance(error, ValueError | FileNotFoundError)
            raise typer.Exit(EXIT_USAGE if usage else EXIT_FAILED) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


app = typer.Typer(
    cls=_Commands,
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
    models.preflight,
    models.score,
    evaluate.evaluate,
    evaluate.compare,
):
    app.command()(command)
app.add_typer(report.audit, name="audit")
app.add_typer(data.app, name="data")
app.add_typer(models.at_scale, name="at-scale")

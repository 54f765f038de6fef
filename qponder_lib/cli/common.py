"""What the commands share: options of one name, one way of printing, one meaning of exit codes.

A command computes, and ends with `answer`: text for a reader, or with --json the same as JSON on
stdout. It catches nothing: what cannot be used is a ValueError or FileNotFoundError of whoever
notices it, and `Commands` says it in one line on stderr. Exit codes:

    0  done, and the answer is yes
    1  the answer is no (alarms, moved numbers, faulty labels), or the work failed
    2  bad input: words, names, settings, files

At the top of a module of commands stand typer, `paths` and this module; a command imports the
rest when it runs, so that --help is quick.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

FAILED, BAD_INPUT = 1, 2

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="name in papermill_runs/, or path of a run folder")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def answer(as_json: bool, data: Any, text: str, *, ok: bool = True) -> None:
    """Print what a command found; exit 1 if the answer is no.

    Args:
        as_json: The command's --json.
        data: What --json prints: JSON values, data classes, records, paths.
        text: What a reader is shown.
        ok: False for exit code 1.
    """
    if as_json:
        from qponder_lib.artifacts import to_json

        text = to_json(data, indent=2)
    print(text, flush=True)
    if not ok:
        raise typer.Exit(FAILED)


class Commands(TyperGroup):
    """Commands that say what is wrong in one line.

    A traceback is shown where QPONDER_TRACEBACK is set.
    """

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command that the words name."""
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
            complain(error)
            bad_input = isinstance(error, ValueError | FileNotFoundError)
            raise typer.Exit(BAD_INPUT if bad_input else FAILED) from error


def complain(error: Exception) -> None:
    """Print one line on stderr about what is wrong."""
    said = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"qponder: {said}", file=sys.stderr)

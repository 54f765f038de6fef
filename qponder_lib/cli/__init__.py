"""The command `qponder`: one module per group of commands."""

from __future__ import annotations

import typer

from qponder_lib.cli import (
    at_scale,
    audit,
    data,
    evaluate,
    health,
    preflight,
    reporting,
    runs,
    scoring,
)
from qponder_lib.cli.runs import parse_settings
from qponder_lib.cli.scoring import last_sealed_model

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
for command in (
    runs.run,
    runs.status,
    runs.reference,
    reporting.report,
    reporting.diff,
    health.health,
    preflight.preflight,
    scoring.score,
    evaluate.evaluate,
    evaluate.compare,
):
    app.command()(command)
app.add_typer(audit.audit, name="audit")
app.add_typer(data.app, name="data")
app.add_typer(at_scale.app, name="at-scale")

__all__ = ["app", "last_sealed_model", "parse_settings"]

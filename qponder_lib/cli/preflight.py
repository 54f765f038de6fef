"""`qponder preflight`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qponder_lib.config import load_profile, profile_path
from qponder_lib.paths import RunPaths

if TYPE_CHECKING:
    from qponder_lib.gpu.preflight import Report


def preflight(
    profile: Annotated[str, typer.Argument(help="name or path of a profile")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    run_dir: Annotated[Path | None, typer.Option(help="default: papermill_runs/PROFILE")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that train together")] = 1,
    gpu_gib: Annotated[float | None, typer.Option(help="memory of each GPU, GiB")] = None,
    sharded: Annotated[bool, typer.Option(help="FSDP2 or ZeRO-3 over the GPUs")] = False,
    train_tokens_per_s: Annotated[
        float | None, typer.Option(help="tokens one GPU trains on in a second")
    ] = None,
    generate_tokens_per_s: Annotated[
        float | None, typer.Option(help="tokens one GPU samples in a second")
    ] = None,
) -> None:
    """Say in seconds, without weights, whether a profile can work; exit 1 if it cannot."""
    from qponder_lib.gpu.preflight import Machine, refused
    from qponder_lib.gpu.preflight import preflight as check

    machine = Machine(gpus, sharded, gpu_gib, train_tokens_per_s, generate_tokens_per_s)
    try:
        profile_path(profile)
    except (FileNotFoundError, ValueError) as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    try:
        settings = load_profile(profile)
    except ValueError as error:
        report = refused(profile, error)
    else:
        run = RunPaths.at(run_dir.absolute()) if run_dir else RunPaths.named(Path(profile).stem)
        report = check(settings, run, machine)
    print(json.dumps(report.as_json(), allow_nan=False, indent=2) if as_json else _text(report))
    raise typer.Exit(0 if report.ok else 1)


def _text(report: Report) -> str:
    from qponder_lib.gpu.preflight import FORMULAS, HOURS_FORMULAS

    signs = {"ok": "ok     ", "problem": "PROBLEM", "unknown": "unknown"}
    lines = []
    for finding in report.findings:
        lines.append(f"{signs[finding.verdict]}  {finding.check}: {finding.said}")
        if finding.verdict == "problem" and finding.remedy:
            lines.append(f"         change: {finding.remedy}")
    for stage, parts in report.memory_gib.items():
        shown = ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value)
        lines.append(f"{stage}, GiB on each GPU: {shown}")
    if report.memory_gib:
        lines += [f"  {name} = {formula}" for name, formula in FORMULAS.items()]
    if report.hours is not None:
        lines.append(", ".join(f"{stage} {value:.1f} h" for stage, value in report.hours.items()))
        lines += [f"  {stage} = {formula}" for stage, formula in HOURS_FORMULAS.items()]
    elif report.memory_gib:
        lines.append("hours: state --train-tokens-per-s and --generate-tokens-per-s")
    return "\n".join(lines)

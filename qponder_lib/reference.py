"""Keep the small part of a run that others compare theirs with: no weights, no images."""

from __future__ import annotations

import shutil
from pathlib import Path

from qponder_lib.paths import RunPaths

KEPT = (
    "manifest.json",
    "profile.yaml",
    "executed/*.ipynb",
    "tables/*",
    "figures/*",
    "eval/scores.csv",
    "eval/differences.csv",
    "eval/judged.csv",
    "cases/cases.jsonl",
    "cases/images/*",
    "sft/*/history.csv",
    "grpo/*/history.csv",
    "grpo/*/completions.jsonl",
)
LARGEST_DRAWING = 500_000
"""Bytes; a larger PDF stays behind, its PNG and its numbers are kept."""


def keep_reference(run: RunPaths, reference: Path) -> list[Path]:
    """Replace a reference folder by the kept files of a finished run.

    Args:
        run: A run folder with a manifest.
        reference: Folder to replace, such as `papermill_runs/reference/mini`.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: If the run has no manifest: it has not finished.
    """
    if not run.manifest.is_file():
        raise FileNotFoundError(f"{run.root} has no manifest.json; let the run finish first")
    shutil.rmtree(reference, ignore_errors=True)
    written = []
    for pattern in KEPT:
        for source in sorted(run.root.glob(pattern)):
            if source.suffix == ".pdf" and source.stat().st_size > LARGEST_DRAWING:
                continue
            target = reference / source.relative_to(run.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            written.append(target)
    if (run.report / "index.html").is_file():
        from qponder_lib.report import write_report  # pandas, which other commands do not need

        written.append(write_report(RunPaths(reference)))  # its links are to what was kept
    return written

"""Publish the small part of a run that others compare theirs with, and say what made a run.

The numbers are compared by `report.reproduction`.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from qponder_lib import artifacts, paths
from qponder_lib.paths import RunPaths
from qponder_lib.runner.notebooks import relink

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
    "video/*/history.csv",
    "video/*/words.csv",
    "video/*/completions.jsonl",
    "eval/video_*.csv",
)
LARGEST_DRAWING = 500_000
"""Bytes; a larger PDF stays behind, its PNG and its numbers are kept."""
LARGEST_PNG = 120_000
"""Bytes; a larger PNG is kept with 256 colours, in executed notebooks too."""


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
    for source in sorted(file for pattern in KEPT for file in run.root.glob(pattern)):
        if source.suffix == ".pdf" and source.stat().st_size > LARGEST_DRAWING:
            continue
        target = reference / source.relative_to(run.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if source.suffix == ".png":
            target.write_bytes(smaller_png(source.read_bytes()))
        elif source.suffix == ".ipynb":
            _shrink_outputs(target)
            relink(target, paths.repository_root())
        written.append(target)
    if (run.report / "index.html").is_file():
        from qponder_lib.report.page import write_report  # pandas, which a run does not need

        written.append(write_report(RunPaths(reference)))  # its links are to what was kept
    return written


def smaller_png(png: bytes) -> bytes:
    """Return a PNG with 256 colours if it is over `LARGEST_PNG` and that makes it smaller."""
    from PIL import Image

    if len(png) <= LARGEST_PNG:
        return png
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    return min(png, buffer.getvalue(), key=len)


def _shrink_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                small = smaller_png(base64.b64decode(data["image/png"]))
                data["image/png"] = base64.b64encode(small).decode("ascii")
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine(run: RunPaths) -> str:
    """Name the processor, instruction set and threads of a run, by its manifest."""
    if not run.manifest.is_file():
        return "machine not recorded"
    found = artifacts.read_json(run.manifest)["machine"]
    told = [found.get("cpu"), found.get("instruction_set")]
    told += [f"{found['threads']} threads"] if "threads" in found else []
    return ", ".join(filter(None, told)) or f"{found['architecture']}, processor not recorded"


def other_settings(run: RunPaths, reference: RunPaths) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ: `section.field` -> its value in the run, the reference.

    Settings that only one version of the kit has are left out.
    """
    sides = []
    for one in (run, reference):
        text = one.profile.read_text(encoding="utf-8") if one.profile.is_file() else "{}"
        sections = {k: v for k, v in yaml.safe_load(text).items() if isinstance(v, dict)}
        sides.append({f"{s}.{k}": v for s, fields in sections.items() for k, v in fields.items()})
    first, second = sides
    return {k: (first[k], second[k]) for k in first if k in second and first[k] != second[k]}

"""`qponder score`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from qponder_lib import artifacts, paths, runner
from qponder_lib.iqa_datasets.images import ImageProblem


def score(
    images: Annotated[list[Path], typer.Argument(help="image files", exists=True, dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one object a line")] = False,
    model: Annotated[Path | None, typer.Option(help="model folder; default: last sealed")] = None,
) -> None:
    """Print score and reasoning for images, with the last sealed model."""
    try:
        folder = model or last_sealed_model(paths.runs_root())
    except FileNotFoundError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(runner.EXIT_FAILED) from error
    from qponder_lib import inference  # torch, which no other command needs

    try:
        rows = inference.score_images(images, folder)
    except ImageProblem as error:
        print(f"qponder: {error.kind}: {error}", file=sys.stderr)
        raise typer.Exit(runner.EXIT_FAILED) from error
    for image, row in zip(images, rows, strict=True):
        if as_json:
            print(json.dumps({"image": str(image), **row.model_dump(mode="json")}))
        else:
            shown = f"{row.score:.1f}" if row.score is not None else f"no score, {row.parse_status}"
            print(f"{image}: {shown}\n{row.text}\n")


def last_sealed_model(runs: Path) -> Path:
    """Return the model that was sealed last and is as it was sealed.

    Args:
        runs: The folder of all runs; study runs, which hold controls, lie deeper and are not
            looked at.

    Raises:
        FileNotFoundError: If there is none.
    """
    for kind in ("grpo", "sft"):
        folders = [seal.parent for seal in runs.glob(f"*/{kind}/*/{artifacts.SEAL_NAME}")]
        sealed = [
            (seal.created, folder) for folder in folders if (seal := artifacts.read_seal(folder))
        ]
        for _, folder in sorted(sealed, reverse=True):
            problems = artifacts.verify_seal(folder)
            if not problems:
                return folder
            print(f"qponder: passed over {folder}: {problems[0]}", file=sys.stderr)
    raise FileNotFoundError(f"no trained model below {runs}; `qponder run mini` trains one")

"""`qponder score`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qponder_lib import artifacts, paths
from qponder_lib.runner.runner import EXIT_FAILED

if TYPE_CHECKING:
    from qponder_lib.records import PredictionRecord

_USAGE = 2
IMAGE_MODELS, CLIP_MODELS = ("grpo", "sft"), ("video",)
ANSWERS_ABOUT_CLIPS = ("video-sft", "video-grpo")


def score(
    files: Annotated[
        list[Path], typer.Argument(help="image files or video clips", exists=True, dir_okay=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one object a line")] = False,
    model: Annotated[Path | None, typer.Option(help="model folder; default: last sealed")] = None,
) -> None:
    """Print score and reasoning for images, or for clips, with the last sealed model for them."""
    from qponder_lib.data.images import CLIP_SUFFIXES

    clips = [file for file in files if file.suffix.lower() in CLIP_SUFFIXES]
    if clips and len(clips) < len(files):
        print("qponder: images and clips have different models: score them apart", file=sys.stderr)
        raise typer.Exit(_USAGE)
    try:
        folder = _model_for(model, for_clips=bool(clips))
    except ValueError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    except FileNotFoundError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from error
    rows = _clip_rows(files, folder) if clips else _image_rows(files, folder)
    for file, row in zip(files, rows, strict=True):
        if as_json:
            kind = "clip" if clips else "image"
            print(json.dumps({kind: str(file), **row.model_dump(mode="json")}, allow_nan=False))
        else:
            shown = f"{row.score:.1f}" if row.score is not None else f"no score, {row.parse_status}"
            print(f"{file}: {shown}{_notes(row)}\n{row.text}\n")


def last_sealed_model(runs: Path, kinds: Sequence[str] = IMAGE_MODELS) -> Path:
    """Return the model that was sealed last and is as it was sealed.

    Args:
        runs: The folder of all runs; study runs, which hold controls, lie deeper and are not
            looked at.
        kinds: Folders of a run that hold models, the first that has one counts.

    Raises:
        FileNotFoundError: If there is none.
    """
    for kind in kinds:
        folders = [seal.parent for seal in runs.glob(f"*/{kind}/*/{artifacts.SEAL_NAME}")]
        sealed = [
            (seal.created, folder)
            for folder in folders
            if (seal := artifacts.read_seal(folder))
            and (kinds != CLIP_MODELS or seal.stage in ANSWERS_ABOUT_CLIPS)
        ]
        for _, folder in sorted(sealed, reverse=True):
            problems = artifacts.verify_seal(folder)
            if not problems:
                return folder
            print(f"qponder: passed over {folder}: {problems[0]}", file=sys.stderr)
    if kinds == CLIP_MODELS:
        raise FileNotFoundError(
            f"no trained video model below {runs}; `qponder run video --run mini` trains one"
        )
    raise FileNotFoundError(f"no trained model below {runs}; `qponder run mini` trains one")


def _model_for(model: Path | None, *, for_clips: bool) -> Path:
    """Take the stated model, if it is one for such files, else the last sealed one."""
    if model is None:
        kinds = CLIP_MODELS if for_clips else IMAGE_MODELS
        return last_sealed_model(paths.runs_root(), kinds)
    seal = artifacts.read_seal(model)
    trained_on_clips = seal is not None and seal.stage in ANSWERS_ABOUT_CLIPS
    if trained_on_clips != for_clips:
        wanted, given = ("clips", "images") if for_clips else ("images", "clips")
        raise ValueError(f"{model} is a model for {given}; state one for {wanted}")
    return model


def _image_rows(files: Sequence[Path], folder: Path) -> Sequence[PredictionRecord]:
    from qponder_lib.data.images import ImageError
    from qponder_lib.student.prediction import score_images  # torch, which no other command needs

    try:
        return score_images(files, folder)
    except ImageError as error:
        print(f"qponder: {error.kind}: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from error


def _clip_rows(files: Sequence[Path], folder: Path) -> Sequence[PredictionRecord]:
    from qponder_lib.video import VideoProblem
    from qponder_lib.video.scoring import score_clips

    try:
        return score_clips(files, folder)
    except VideoProblem as error:
        print(f"qponder: {error.kind}: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from error
    except ValueError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error


def _notes(row: PredictionRecord) -> str:
    """Say what is unusual about a clip, and its two scores."""
    shown = getattr(row, "shown", None)
    if shown is None:
        return ""
    notes = []
    if row.score is not None:
        notes.append(f"over time {row.global_score:.2f}, frames {row.local_score:.2f} of 1 to 5")
    if shown["truncated"]:
        notes.append(f"the file breaks off after {shown['n_frames']} frames")
    elif shown["repeated"]:
        notes.append(f"{shown['n_frames']} frames, some shown again")
    return f" ({'; '.join(notes)})" if notes else ""

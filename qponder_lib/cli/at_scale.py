"""`qponder at-scale`: distil, predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from qponder_lib.artifacts import ArtifactError, loads_strict
from qponder_lib.config import Profile, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import model_folder

_USAGE = 2

app = typer.Typer(no_args_is_help=True, help="Answers for millions of images, on Ray Data.")

RunName = Annotated[str, typer.Argument(metavar="RUN", help="folder in papermill_runs/")]
Folder = Annotated[Path, typer.Option(help="questions and answers; all machines must reach it")]
Count = Annotated[int, typer.Option(help="workers, each with the model", min=1)]
Gpus = Annotated[int, typer.Option(help="GPUs of each worker", min=0)]
Batch = Annotated[int, typer.Option(help="images that a worker takes at once", min=1)]


@app.command()
def distil(
    run: RunName,
    folder: Folder,
    engine: Annotated[
        Literal["vllm", "offline"], typer.Option(help="vllm: needs ray[llm] and GPUs")
    ] = "vllm",
    workers: Count = 1,
    gpus: Gpus = 0,
    batch: Batch = 64,
    options: Annotated[str, typer.Option(help="JSON, more options of vLLM's engine")] = "{}",
) -> None:
    """Collect the teacher's answers for a run's training images."""
    try:
        from qponder_lib.gpu import at_scale

        paths, profile = _open(run)
        many = at_scale.Workers(workers, gpus, batch)
        if engine == "vllm":
            more = loads_strict(options.encode(), "--options")
            answering = at_scale.vllm_teacher(profile.distill, many, more)
        else:
            answering = at_scale.offline_teacher(profile.distill, many)
        train_set = profile.data.train_set
        added = at_scale.distil_at_scale(paths, train_set, profile.distill, folder, answering)
    except (ValueError, FileNotFoundError, ModuleNotFoundError, ArtifactError) as error:
        _refuse(error)
    print(f"{added} answers added to {paths.raw_responses}")


@app.command()
def predict(
    run: RunName,
    model: Annotated[str, typer.Argument(help="as in predict.models, or base")],
    dataset: Annotated[str, typer.Argument(metavar="SET", help="its test images are asked about")],
    folder: Folder,
    workers: Count = 1,
    gpus: Gpus = 0,
    batch: Batch = 64,
) -> None:
    """Collect a student's greedy answers for the test images of a set."""
    try:
        from qponder_lib.gpu import at_scale

        paths, profile = _open(run)
        if model in ("teacher", "handcrafted"):
            raise ValueError(f"{model} is no student; expected base, ci-... or qponder")
        many = at_scale.Workers(workers, gpus, batch)
        weights = model_folder(model, profile, paths)
        length = profile.predict.max_new_tokens
        answering = at_scale.student_answers(profile.student, weights, length, many)
        rows = at_scale.predict_at_scale(paths, dataset, profile.student, folder, answering)
    except (ValueError, FileNotFoundError, ModuleNotFoundError, ArtifactError) as error:
        _refuse(error)
    read = sum(row.score is not None for row in rows)
    print(f"{len(rows)} answers, {read} with a score: {folder / 'predictions.jsonl'}")


def _open(run: str) -> tuple[RunPaths, Profile]:
    paths = RunPaths.named(run)
    return paths, load_profile(paths.profile)


def _refuse(error: Exception) -> NoReturn:
    print(f"qponder: {error}", file=sys.stderr)
    raise typer.Exit(_USAGE) from error

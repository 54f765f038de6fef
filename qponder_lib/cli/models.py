"""`qponder score`, `demo`, `preflight` and `export`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qponder_lib import paths
from qponder_lib.cli.common import FAILED, AsJson, RunName, answer
from qponder_lib.paths import RunPaths

if TYPE_CHECKING:
    from qponder_lib.gpu.preflight import Report
    from qponder_lib.records import PredictionRecord

_AT_ONCE = 16

# ---- score


def score(
    files: Annotated[
        list[Path],
        typer.Argument(help="image files, folders of images, or video clips", exists=True),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one object a line")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="run, model folder, hub name, or packaged (a small one that ships with the kit); "
            "default: the latest trained one, else packaged"
        ),
    ] = None,
) -> None:
    """Score images or clips with the latest trained model; for images, one is there at once.

    Exit code 1 if a file cannot be used; the others are scored.
    """
    from qponder_lib.data.images import CLIP_SUFFIXES, images_in

    files = [file for place in files for file in (images_in(place) if place.is_dir() else [place])]
    clips = [file for file in files if file.suffix.lower() in CLIP_SUFFIXES]
    if clips and len(clips) < len(files):
        raise ValueError("images and clips have different models: score them apart")
    unusable = (_score_clips if clips else _score_images)(files, model, as_json)
    raise typer.Exit(FAILED if unusable else 0)


def _score_images(files: Sequence[Path], model: str | None, as_json: bool) -> int:
    """Print what a model says about images, batch by batch; return how many it could not read."""
    from qponder_lib.artifacts import to_json
    from qponder_lib.student.assessment import load

    ready, unusable = load(model), 0
    for start in range(0, len(files), _AT_ONCE):
        for one in ready.score(files[start : start + _AT_ONCE]):
            unusable += one.problem is not None
            text = to_json(one.as_json()) if as_json else f"{one}\n"
            print(text, flush=True)
    return unusable


def _score_clips(files: Sequence[Path], model: str | None, as_json: bool) -> int:
    from qponder_lib.artifacts import read_record, to_json
    from qponder_lib.pipeline import CLIP_MODELS, TRAINED_ON_CLIPS, latest_model
    from qponder_lib.video.model import score_clips

    folder = Path(model) if model else latest_model(paths.runs_root(), CLIP_MODELS)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; state a model folder, as RUN/video/grpo")
    record = read_record(folder)
    if record is None or record.stage not in TRAINED_ON_CLIPS:
        raise ValueError(f"{folder} is a model for images; state one for clips")
    unusable = 0
    for file, row in zip(files, score_clips(files, folder), strict=True):
        unusable += row.text is None
        if as_json:
            print(to_json({"clip": str(file), **row.model_dump(mode="json")}))
        else:
            shown = f"{row.score:.1f}" if row.score is not None else f"no score, {row.parse_status}"
            print(f"{file}: {shown}{_notes(row)}\n{row.text or ''}\n", flush=True)
    return unusable


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


# ---- demo


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(help="as for score; repeatable; default: the latest, and its short start"),
    ] = None,
    port: Annotated[int, typer.Option(help="on 127.0.0.1; 0 takes a free one")] = 8765,
) -> None:
    """Serve a page to this machine's browser: distort a photograph, see what models say.

    Images never leave the machine.
    """
    from qponder_lib.student.assessment import latest_or_packaged, load
    from qponder_lib.student.demo import server

    if not model:
        latest = latest_or_packaged()
        model = [str(latest), *map(str, latest.parents[1].glob("sft/short"))]
    serving = server([load(one) for one in model], port)
    print(f"http://127.0.0.1:{serving.server_port}  {', '.join(model)}; Ctrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        serving.serve_forever()


# ---- preflight


def preflight(
    profile: Annotated[str, typer.Argument(help="name or path of a profile")],
    as_json: AsJson = False,
    run_dir: Annotated[Path | None, typer.Option(help="default: papermill_runs/PROFILE")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="that train together; default: the profile's")
    ] = None,
    gpu_gib: Annotated[float | None, typer.Option(help="memory of each GPU, GiB")] = None,
    train_tokens_per_s: Annotated[
        float | None, typer.Option(help="tokens one GPU trains on in a second")
    ] = None,
    generate_tokens_per_s: Annotated[
        float | None, typer.Option(help="tokens one GPU samples in a second")
    ] = None,
) -> None:
    """Check in seconds whether a profile can work.

    Without weights and without a GPU; exit code 1 if it cannot.
    """
    from qponder_lib.config import load_profile, profile_path
    from qponder_lib.gpu import preflight as checks
    from qponder_lib.gpu.sizes import Machine

    profile_path(profile)  # a missing file is bad usage, not a profile that cannot work
    try:
        settings = load_profile(profile)
    except ValueError as error:
        report = checks.refused(profile, error)
    else:
        run = RunPaths.at(run_dir.absolute()) if run_dir else RunPaths.named(Path(profile).stem)
        stated, rates = settings.launch, (train_tokens_per_s, generate_tokens_per_s)
        gpus = gpus or stated.processes
        machine = Machine(gpus, stated.accelerate if gpus > 1 else "", gpu_gib, *rates)
        report = checks.preflight(settings, run, machine)
    answer(as_json, {**asdict(report), "ok": report.ok}, _preflight_text(report), ok=report.ok)


def _preflight_text(report: Report) -> str:
    signs = {"ok": "ok     ", "problem": "PROBLEM", "unknown": "unknown"}
    lines = []
    for finding in report.findings:
        lines.append(f"{signs[finding.verdict]}  {finding.check}: {finding.said}")
        if finding.verdict == "problem" and finding.remedy:
            lines.append(f"         change: {finding.remedy}")
    for stage, parts in report.memory_gib.items():
        shown = ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value)
        lines.append(f"{stage}, GiB on each GPU: {shown}")
    if report.hours is not None:
        lines.append(", ".join(f"{stage} {value:.1f} h" for stage, value in report.hours.items()))
    elif report.memory_gib:
        lines.append("hours: state --train-tokens-per-s and --generate-tokens-per-s")
    return "\n".join(lines)


# ---- export


def export(
    run: RunName,
    model: Annotated[str, typer.Argument(help="trained, as in predict.models")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="new folder")],
    push: Annotated[
        str | None, typer.Option(help="OWNER/NAME on the hub, private, with your own token")
    ] = None,
) -> None:
    """Write a trained model as a folder that others can load and serve.

    Prints the command that serves it.
    """
    from qponder_lib.config import load_profile
    from qponder_lib.gpu.export import export as write_model
    from qponder_lib.pipeline import Run

    place = RunPaths.find(run)
    print(write_model(Run(place, load_profile(place.profile)), model, folder))
    if push:
        from huggingface_hub import HfApi

        HfApi().create_repo(push, private=True, exist_ok=True)
        print(HfApi().upload_folder(repo_id=push, folder_path=folder))

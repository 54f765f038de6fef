"""Packages a trained student as the model that `qponder score` takes where nothing is trained.

    make package-model RUN=biq2021
    PYTHONPATH=. python tests/package_model.py RUN [--model qponder] [--folder DIR]

Writes weights in 16 bits with their checksum, the resolved profile and MODEL_CARD.md. Every number
of the card comes from the tables of the run, but for one that is measured here: how many scores of
test images change when the weights are rounded to 16 bits.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from qponder_lib import paths
from qponder_lib.artifacts import read_jsonl, read_record, verify_record, write_text_atomic
from qponder_lib.config import Profile, dump_profile, load_profile
from qponder_lib.data.catalog import SPECS
from qponder_lib.data.images import load_image
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import model_folder
from qponder_lib.records import ImageRecord
from qponder_lib.student.assessment import Model
from qponder_lib.student.model import load_student

MAX_BYTES = 12_000_000
METRICS = ("srcc", "plcc", "mae")
CARD = """# Model card: packaged student ({name})

A student of {weights:.1f} million weights, made by this kit's `{model}` recipe on the run `{run}`
({created}). It is a demonstration of the method that runs on any machine, not a model of the
paper's size (7 billion weights), and not by the paper's authors.

- **Input**: one photograph, PNG, JPEG, WebP or BMP. It is scaled to {pixels:,} pixels before the
  model sees it, so the model cannot see fine noise, slight blur or light compression of a large
  photograph.
- **Output**: a score from 0 to 100 with a short reasoning, in English, from a vocabulary of
  {vocabulary:,} tokens.
- **Trained on**: {title}, {n_train:,} training images; {terms}. {page}
- **Never trained on**: the images that the numbers below were measured on.
- **Precision**: float16, rounded from the float32 of training. {rounding}

## Numbers

Greedy decoding or the readout named, on whole test sets, 95 % bootstrap intervals over images.
MAE is in points of 100.

| set | readout | metric | value | interval | images |
|---|---|---|---|---|---|
{numbers}

## Limits

- It learnt from the opinions on one set of photographs and knows no other kind of image: drawings,
  screenshots, generated and medical images were not among them.
- Its reasoning was learnt from an offline teacher that measures pixels. It names what such measures
  tell and is no evidence of what caused a score.
- A score is an average opinion of strangers. It says nothing about one person's taste, about what
  the image shows, or whether it is true. Do not decide about people by it.
- Errors of single images are large, see MAE. For a number that matters, train on your own images
  and raters (`docs/own-images.md`).
"""


def package(run: RunPaths, model: str, folder: Path, n_compared: int = 200) -> None:
    """Write the folder of a packaged model; see the module.

    Raises:
        ValueError: If the run is no real one, has no such model, or its weights are too large.
    """
    profile = load_profile(str(run.profile))
    trained = model_folder(model, profile, run)
    if trained is None or not trained.is_dir() or profile.data.source != "prepared":
        raise ValueError(f"{run.root}: expected a run on a prepared set with a trained {model}")
    if problems := verify_record(trained):
        raise ValueError(f"{trained}: {problems[0]}")
    before = load_student(profile.student, trained)
    rounded = load_student(profile.student, trained)
    rounded.model.to(torch.float16).save_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size / 1e6:.1f} MB of weights, expected at most {MAX_BYTES / 1e6:g}")
    rounded.model.to(torch.float32)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    write_text_atomic(folder / "SHA256", f"{digest}  model.safetensors\n")
    write_text_atomic(folder / "profile.yaml", dump_profile(profile))
    write_text_atomic(folder / "scores.csv", run.scores.read_text(encoding="utf-8"))
    scorers = [
        Model("", one, profile.student.prompt_id, profile.predict.max_new_tokens)
        for one in (before, rounded)
    ]
    spec = next((one for one in SPECS if one.name == profile.data.train_set), None)
    card = CARD.format(
        name=profile.name,
        model=model,
        run=run.root.name,
        created=read_record(trained).created[:10],
        weights=before.model.num_parameters() / 1e6,
        pixels=profile.student.max_pixels,
        vocabulary=before.model.config.text_config.vocab_size,
        title=spec.title if spec else profile.data.train_set,
        terms=spec.terms if spec else "a set of the user's own",
        page=spec.page if spec else "",
        n_train=len(read_jsonl(run.split(profile.data.train_set, "train"), ImageRecord)),
        rounding=rounding(run, profile, scorers, n_compared),
        numbers="\n".join(numbers(run, model)),
    )
    write_text_atomic(folder / "MODEL_CARD.md", card)


def rounding(run: RunPaths, profile: Profile, scorers: list[Model], n: int) -> str:
    """Say how many scores of the first test images change by the rounding of the weights."""
    rows = read_jsonl(run.split(profile.predict.sets[0], "test"), ImageRecord)[:n]
    images = [load_image(run, row) for row in rows]
    before, after = (
        [one.score for one in scorer.score(images, distribution=False)] for scorer in scorers
    )
    same = sum(first == second for first, second in zip(before, after, strict=True))
    return f"Of {len(rows)} test images of {rows[0].dataset}, {same} keep their score."


def numbers(run: RunPaths, model: str) -> list[str]:
    """Rows of the card's table: greedy scores, and the readouts that were measured."""
    greedy = pd.read_csv(run.scores).query("decoding == 'greedy' and protocol == 'raw'")
    rows = greedy[(greedy["model"] == model) & greedy["metric"].isin(METRICS)]
    lines = [
        f"| {row.dataset} | greedy | {row.metric.upper()} | {row.value:.3f} | "
        f"{row.ci_low:.3f} to {row.ci_high:.3f} | {row.n:,} |"
        for row in rows.itertuples()
        if pd.notna(row.ci_low)
    ]
    file = run.tables / "readouts.csv"
    others = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["model", "metric"])
    others = others[(others["model"] == model) & others["metric"].isin(METRICS)]
    return lines + [
        f"| {row.dataset} | {row.readout.replace('_', ' ')} | {row.metric.upper()} | "
        f"{row.score:.3f} | against greedy {row.value:+.3f} ({row.ci_low:+.3f} to "
        f"{row.ci_high:+.3f}) | {row.n:,} |"
        for row in others.itertuples()
        if pd.notna(row.ci_low)
    ]


def main(
    run: Annotated[str, typer.Argument(help="name in papermill_runs/")],
    model: Annotated[str, typer.Option(help="as in predict.models")] = "qponder",
    folder: Annotated[Path, typer.Option(help="where to")] = paths.PACKAGED,
) -> None:
    """Package a run's model; see the module."""
    package(RunPaths.find(run), model, folder)
    print(f"{folder}: commit it, and read MODEL_CARD.md first")


if __name__ == "__main__":
    typer.run(main)

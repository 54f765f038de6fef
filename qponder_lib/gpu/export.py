"""A trained model as a folder that vLLM and `AutoProcessor` read: merged, bfloat16, with a card."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import torch
from transformers import GenerationConfig

from qponder_lib.artifacts import read_csv, verify_record, write_json, write_text_atomic
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run, model_folder
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import served_name
from qponder_lib.training.vllm import STOCK

_CARD = """---
base_model: {base}
pipeline_tag: image-text-to-text
---

# {model} of the run {run}

Image quality as a score from 0 to 100 with reasoning, after Q-Ponder (arXiv:2506.05384); made by
the reproduction kit `qponder`, which is not the authors'. Trained on {train_set}, prompt
`{prompt}`, images of {low} to {high} pixels. Licence: that of the base model, {base}, and the terms
of the image sets.

| set | metric | value | interval | images |
|---|---|---|---|---|
{scores}

```
{serve}
```
"""


def export(run: Run, model: str, folder: Path) -> str:
    """Write merged bfloat16 weights, stock processor files and a model card.

    Args:
        run: Profile and folder.
        model: As in `predict.models`, one that is trained.
        folder: Where to; must be empty or new.

    Returns:
        The command that serves it, under the name by which `predict.base_url` asks for it.

    Raises:
        ValueError: If nothing trains the model, its files are not as they were left, or the folder
            holds something.
    """
    trained, settings = model_folder(model, run.profile, run.paths), run.profile.student
    if trained is None:
        raise ValueError(f"{model!r} is not trained in {run.paths.root}: nothing to export")
    if problems := verify_record(trained):
        raise ValueError(f"{trained}: {problems[0]}")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty")
    whole = settings.model_copy(update={"quantization": "none"})  # 4 bits hold no adapter
    student = load_student(whole, trained)
    tokenizer = student.processor.tokenizer
    named = {name: getattr(tokenizer, name) for name in ("eos_token_id", "pad_token_id")}
    student.model.generation_config = GenerationConfig(**named, repetition_penalty=1.0)
    student.model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images = json.loads(student.processor.image_processor.to_json_string())
    write_json(folder / "preprocessor_config.json", images | STOCK)
    name = served_name(run, model)
    card = _CARD.format(
        base=settings.model,
        model=model,
        run=run.paths.root.name,
        train_set=run.profile.data.train_set,
        prompt=settings.prompt_id,
        low=settings.min_pixels,
        high=settings.max_pixels,
        scores="\n".join(_scores(run.paths, model) or ["| not measured | | | | |"]),
        serve=_serve_command("DIR", name),  # the card is published, the folder's name is not
    )
    write_text_atomic(folder / "README.md", card)
    return _serve_command(shlex.quote(str(folder)), name)


def _serve_command(place: str, name: str) -> str:
    only = '{"image":1,"video":0}'
    return f"vllm serve {place} --served-model-name {name} --limit-mm-per-prompt '{only}'"


def _scores(run: RunPaths, model: str) -> list[str]:
    """Return rows of the card: the scores that were measured, with their intervals."""
    wanted = {"model": model, "decoding": "greedy", "protocol": "raw"}
    rows = read_csv(run.scores) if run.scores.is_file() else []
    return [
        f"| {row['dataset']} | {row['metric']} | {float(row['value']):.3f} | "
        f"{float(row['ci_low']):.3f} to {float(row['ci_high']):.3f} | {row['n']} |"
        for row in rows
        if wanted.items() <= row.items() and row["ci_low"]
    ]

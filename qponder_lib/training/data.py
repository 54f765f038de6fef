"""From a run's files to the datasets that TRL's trainers take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset, Image

from qponder_lib.artifacts import read_jsonl
from qponder_lib.data.images import load_records
from qponder_lib.pipeline import Run
from qponder_lib.records import FilteredResponse, ImageRecord
from qponder_lib.text.prompts import PRERESQ_POOL, preresq_messages
from qponder_lib.text.sft_format import SftFormat, grpo_rows, sft_rows


def sft_dataset(run: Run, variant: str) -> Dataset:
    """Prompt/completion rows of one variant from the kept responses, the truth as the score.

    Raises:
        ValueError: If no response is left to train on.
    """
    train_set = run.profile.data.train_set
    images = {one.image_id: one for one in load_records(run.paths, train_set, "train")}
    kept = read_jsonl(run.paths.kept, FilteredResponse)
    form = SftFormat(variant, run.profile.student.prompt_id)
    rows, skipped = sft_rows(kept, images, lambda record: _path(run, record), form)
    if not rows:
        raise ValueError(f"no row to train {variant!r} on; skipped: {skipped}")
    return _with_pictures(rows)


def grpo_dataset(run: Run, split: str = "train", *, prompt_pool: bool = False) -> Dataset:
    """One prompt per labelled image of the training set.

    Args:
        run: Profile and folder.
        split: Of the training set.
        prompt_pool: Draw one of the five prompts for aspects for each image, once, by the seed of
            ``grpo``, in place of the student's own prompt.
    """
    records = load_records(run.paths, run.profile.data.train_set, split)
    rows = grpo_rows(records, lambda record: _path(run, record), run.profile.student.prompt_id)
    if prompt_pool:
        drawn = np.random.default_rng(run.profile.grpo.seed).integers(
            len(PRERESQ_POOL), size=len(rows)
        )
        rows = [
            {**row, "prompt": preresq_messages(int(n))} for row, n in zip(rows, drawn, strict=True)
        ]
    return _with_pictures(rows)


def _path(run: Run, record: ImageRecord) -> str:
    return str(run.paths.data / record.image)


def _with_pictures(rows: Sequence[object]) -> Dataset:
    return Dataset.from_list([dict(row) for row in rows]).cast_column("image", Image(mode="RGB"))

"""How the checkpoints of a training do on the sets that choose among them."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from qponder_lib.artifacts import JsonlAppender
from qponder_lib.config import Profile
from qponder_lib.data.images import load_records
from qponder_lib.metrics import statistics
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, Split
from qponder_lib.student.generation import generate
from qponder_lib.student.model import Student, load_student
from qponder_lib.teacher.responses import read_recorded
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form

Places = tuple[tuple[str, Split], ...]


class SetScore(BaseModel):
    """How one candidate did on one set.

    Attributes:
        step: Optimiser steps of the candidate.
        dataset: The set.
        split: Part of the set.
        n: Images asked about.
        n_unparsed: Of these, images whose answer could not be read.
        srcc: Of the answers that could be read; None where it has no value.
        plcc: Likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: int
    dataset: str
    split: Split
    n: int
    n_unparsed: int
    srcc: float | None
    plcc: float | None

    @property
    def value(self) -> float | None:
        """What is compared: the mean of SRCC and PLCC, times the share of answers that were read.

        Example:
            >>> SetScore(step=1, dataset="a", split="test", n=10, n_unparsed=5, srcc=0.6, plcc=0.8,
            ...          ).value
            0.35
        """
        if self.srcc is None or self.plcc is None:
            return None
        return (self.srcc + self.plcc) / 2 * (self.n - self.n_unparsed) / self.n


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        step: Optimiser steps of the chosen checkpoint.
        values: Mean value over the sets by step; None for a candidate without one.
    """

    step: int
    values: Mapping[int, float | None]


def score_candidates(
    run: Run, candidates: Mapping[int, Path], places: Places, file: Path, *, progress: bool = True
) -> list[SetScore]:
    """Score every candidate on every set; scores that `file` holds already are not made again.

    Args:
        run: Profile and folder.
        candidates: Checkpoint folders by step.
        places: Sets and parts.
        file: Scores so far, appended to.
        progress: Show a bar.

    Returns:
        One score per candidate and set, in the order of both.
    """
    rows = {place: _records(run, *place) for place in places}
    gc.collect()  # the trainer's weights may lie about still
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with JsonlAppender(file, SetScore) as store:
        done = {(one.step, one.dataset, one.split): one for one in store.rows}
        todo = [(s, *p) for s in candidates for p in places if (s, *p) not in done]
        student, loaded = None, None
        for step, *place in tqdm(todo, desc="choose", mininterval=5, disable=not progress):
            if student is None or loaded != step:
                student, loaded = load_student(run.profile.student, candidates[step]), step
            score = _score(run, student, step, rows[tuple(place)])
            store.append(score)
            done[step, *place] = score
    return [done[step, *place] for step in candidates for place in places]


def best(scores: Sequence[SetScore]) -> Choice:
    """Choose the step with the best mean value over the sets; of equal ones, the later.

    Raises:
        ValueError: If no candidate has a value on every set.

    Example:
        >>> row = dict(dataset="a", split="test", n=10, n_unparsed=0, plcc=0.5)
        >>> best([SetScore(step=s, srcc=r, **row) for s, r in ((1, 0.4), (2, 0.6), (3, None))])
        Choice(step=2, values={1: 0.45, 2: 0.55, 3: None})
    """
    values = mean_values(scores)
    known = {step: value for step, value in values.items() if value is not None}
    if not known:
        raise ValueError(
            "no checkpoint has a correlation on every set that chooses: its answers cannot be "
            "read, or are all the same; train longer, or set sft.select to last"
        )
    return Choice(max(known, key=lambda step: (known[step], step)), values)


def mean_values(scores: Sequence[SetScore]) -> dict[int, float | None]:
    """Return the mean value over the sets by step; None where a set has none."""
    by_step: dict[int, list[float | None]] = {}
    for score in scores:
        by_step.setdefault(score.step, []).append(score.value)
    return {
        step: None if None in values else float(np.mean([v for v in values if v is not None]))
        for step, values in by_step.items()
    }


def _records(run: Run, dataset: str, split: Split) -> list[ImageRecord]:
    if not run.paths.split(dataset, split).is_file():
        raise FileNotFoundError(
            f"sft.select chooses by {dataset}, {split}, which is not in {run.paths.data}: set "
            f"data.n_mirror for mini-valid sets, or `qponder data prepare {dataset}`"
        )
    found = [one for one in load_records(run.paths, dataset, split) if one.mos is not None]
    if not found:
        raise ValueError(f"{run.paths.split(dataset, split)} has no image with a label")
    return found[: run.profile.sft.select_images]


def _score(run: Run, student: Student, step: int, records: Sequence[ImageRecord]) -> SetScore:
    profile = run.profile
    said: list[float | None] = []
    size = profile.predict.batch_size
    for start in range(0, len(records), size):
        said += _answers(student, profile, run.paths, records[start : start + size])
    pairs = [
        (score, one.mos) for score, one in zip(said, records, strict=True) if score is not None
    ]
    values: dict[str, float | None] = {}
    for name in ("srcc", "plcc"):
        try:
            found = getattr(statistics, name)(*np.asarray(pairs).T) if pairs else None
        except statistics.DegenerateInputError:
            found = None
        values[name] = None if found is None else float(found)
    return SetScore(
        step=step,
        dataset=records[0].dataset,
        split=records[0].split,
        n=len(records),
        n_unparsed=len(records) - len(pairs),
        **values,
    )


def _answers(
    student: Student, profile: Profile, paths: RunPaths, records: Sequence[ImageRecord]
) -> list[float | None]:
    images = [read_recorded(paths.data / one.image, one.sha256) for one in records]
    prompt_id, limit = profile.student.prompt_id, profile.predict.max_new_tokens
    answers = generate(student, images, prompt_id, max_new_tokens=limit, batch_size=len(images))
    form = answer_form(prompt_id)
    return [parse_answer(one.text, form, finish_reason=one.finish_reason).score for one in answers]

"""The stage `judge`: which texts of a run are judged, by whom, and what is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from qponder_lib import artifacts
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import filtering
from qponder_lib.evaluation.filtering import FilterResult
from qponder_lib.judging import summaries
from qponder_lib.judging.rubric import RUBRIC, Candidate, judge
from qponder_lib.judging.server import Asked, ask_judges, open_judges
from qponder_lib.pipeline import Run
from qponder_lib.records import FilteredResponse, ImageRecord, JudgementRecord, PredictionRecord

DISTILLED = "distilled"
"""Stands in the place of a model for the teacher's answers on training images."""


@dataclass(frozen=True)
class _Docket:
    """All that is to be judged."""

    answers: tuple[Candidate, ...]
    distilled: tuple[Candidate, ...]
    selections: dict[str, list[int]]


def judge_run(run: Run, *, progress: bool = True) -> list[Path]:
    """Judge the answers of a run and write what came out.

    Models and sets that are not predicted are left out, and said so. Calling again asks servers
    only for what they have not answered.

    Args:
        run: Profile and folder; predictions, images and, for `distilled`, the filtered answers
            are read.
        progress: Show how far it is.

    Returns:
        The files written: `eval/judgements/<judge>/<model>/<set>.jsonl`, `eval/judged.csv`,
        `tables/judge_agreement.csv`, `tables/judge_nearness.csv` and `tables/filter_judged.csv`.

    Raises:
        ServerUnavailable: If a judge's server can answer nothing.
        ValueError: If nothing that is to be judged was predicted.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1 and Table 6.
    """
    config = run.profile.judge
    docket = _docket(run)
    texts = [
        (candidate, repeat)
        for candidate in (*docket.answers, *docket.distilled)
        for repeat in range(config.repeats)
    ]
    judged = _by_all(run, texts, progress)
    images = [one.image for one in (*docket.answers, *docket.distilled)]
    references = {(one.dataset, one.image_id): one.reference or one.image_id for one in images}
    written = []
    errors = {
        (one.model, one.image.dataset, one.image.image_id): abs(one.score - one.image.mos)
        for one in docket.answers
        if one.score is not None and one.image.mos is not None
    }
    means, filtered, near = [], [], []
    for name, rows in judged.items():
        written += _write_judgements(run, name, rows)
        of_models = [row for row in rows if row.model != DISTILLED]
        means += summaries.judged_rows(of_models, references)
        near += summaries.nearness_rows(of_models, errors, references)
        distilled = [r for r in rows if r.model == DISTILLED and r.repeat == 0]
        if distilled:
            filtered += summaries.filter_rows(distilled, docket.selections, references)
    agreed = summaries.agreement_rows(judged, references)
    artifacts.write_csv(run.paths.judged, means, summaries.JUDGED_COLUMNS)
    artifacts.write_csv(run.paths.judge_agreement, agreed, summaries.AGREEMENT_COLUMNS)
    artifacts.write_csv(run.paths.judge_nearness, near, summaries.NEARNESS_COLUMNS)
    written += [run.paths.judged, run.paths.judge_agreement, run.paths.judge_nearness]
    if filtered:
        artifacts.write_csv(run.paths.filter_judged, filtered, summaries.FILTER_COLUMNS)
        written.append(run.paths.filter_judged)
    return written


def _by_all(
    run: Run, questions: Sequence[Asked], progress: bool
) -> dict[str, list[JudgementRecord]]:
    """Let every judge of the profile judge, in the profile's order."""
    config = run.profile.judge
    judged = {}
    for name in config.judges:
        if name.startswith("rubric-"):
            if name != RUBRIC:
                raise ValueError(f"judge.judges has {name!r}; the offline judge here is {RUBRIC!r}")
            bar = tqdm(questions, desc=name, unit="text", mininterval=5, disable=not progress)
            judged[name] = [judge(candidate, repeat) for candidate, repeat in bar]
    servers = open_judges(config, run.profile.student.max_pixels)
    if servers:
        judged |= ask_judges(servers, questions, run.paths, progress=progress)
    return {name: judged[name] for name in config.judges}


def _docket(run: Run) -> _Docket:
    config, predict = run.profile.judge, run.profile.predict
    models = [name for name in config.models if name in predict.models]
    sets = [name for name in config.sets if name in predict.sets]
    left_out = sorted({*config.models, *config.sets} - {*models, *sets})
    if left_out:
        print(f"judge: not predicted, so not judged: {', '.join(left_out)}", flush=True)
    if not models or not sets:
        raise ValueError(f"judge.models and judge.sets name nothing predicted: {left_out}")
    answers = []
    for dataset in sets:
        chosen = _chosen(load_records(run.paths, dataset, "test"), config.max_images)
        for model in models:
            path = run.paths.predictions(model, dataset)
            said = {row.image_id: row for row in artifacts.read_jsonl(path, PredictionRecord)}
            for image in chosen:
                if image.image_id not in said:
                    raise ValueError(f"{path} has no answer for image {image.image_id!r}")
                row = said[image.image_id]
                answers.append(Candidate(model, image, row.text, row.score))
    distilled, selections = _distilled(run) if config.distilled else ([], {})
    return _Docket(tuple(answers), tuple(distilled), selections)


def _distilled(run: Run) -> tuple[list[Candidate], dict[str, list[int]]]:
    """The teacher's scored answers, and which of them the filter and the control keep."""
    result = FilterResult(
        tuple(artifacts.read_jsonl(run.paths.kept, FilteredResponse)),
        tuple(artifacts.read_jsonl(run.paths.rejected, FilteredResponse)),
    )
    train = load_records(run.paths, run.profile.data.train_set, "train")
    chosen = {image.image_id: image for image in _chosen(train, run.profile.judge.max_images)}
    rng = np.random.default_rng(run.profile.filter.seed)
    control = filtering.random_keep(result.rows, run.profile.filter.gamma, rng)
    kept = {row.response_id for row in result.kept}
    random = {row.response_id for row in control}
    rows = sorted(
        (row for row in result.scored if row.image_id in chosen), key=lambda row: row.response_id
    )
    candidates = [
        Candidate(DISTILLED, chosen[row.image_id], row.text, row.score, key=row.response_id)
        for row in rows
    ]
    places = range(len(rows))
    return candidates, {
        "unfiltered": list(places),
        "filtered": [i for i in places if rows[i].response_id in kept],
        "random": [i for i in places if rows[i].response_id in random],
    }


def _chosen(images: Sequence[ImageRecord], limit: int | None) -> list[ImageRecord]:
    """Choose images by the hash of their ids, the same for every model and judge."""
    if limit is None or limit >= len(images):
        return list(images)
    order = sorted(images, key=lambda one: hashlib.sha256(one.image_id.encode()).hexdigest())
    ids = {image.image_id for image in order[:limit]}
    return [image for image in images if image.image_id in ids]


def _write_judgements(run: Run, judge: str, rows: Sequence[JudgementRecord]) -> list[Path]:
    files: dict[Path, list[JudgementRecord]] = {}
    for row in rows:
        files.setdefault(run.paths.judgements(judge, row.model, row.dataset), []).append(row)
    for path, mine in files.items():
        artifacts.write_jsonl(path, mine)
    return list(files)

"""The video model: the image model goes on with clips, and is measured on them.

It is trained by `training.sft` and `training.grpo`, asked by `student.prediction` and measured by
`evaluation.scoring`, as the image model is. Here stands what is its own: its settings, the images
that it is shown, and the ladders, whose order it has to tell.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from qponder_lib.artifacts import write_csv
from qponder_lib.config import (
    GrpoConfig,
    Profile,
    SftConfig,
    VideoConfig,
    load_profile,
)
from qponder_lib.data.clips import CLIP_SET
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.scoring import Predictions
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import DIFFERENCE_COLUMNS, ESTIMATE_COLUMNS, Estimate
from qponder_lib.metrics.statistics import ratio_statistic
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.student.generation import generate
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import (
    Predictor,
    parsed_prediction,
    predict,
    predict_sets,
)
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form, video_blocks
from qponder_lib.training.checkpoints import Training
from qponder_lib.video.dataset import (
    MEASURED,
    load_packed,
    open_images,
    packed_rows,
    training_rows,
)
from qponder_lib.video.frames import N_STILL, VideoProblem, pack_video

log = logging.getLogger(__name__)

PHASES = ("sft", "grpo")
FRAMES = "-frames"
"""Ending of the name of a model that is shown the still frames alone."""
MODELS = tuple(f"video-{phase}{shown}" for phase in PHASES for shown in ("", FRAMES))
COMPARED = (
    *((f"video-{phase}", f"video-{phase}{FRAMES}") for phase in reversed(PHASES)),
    ("video-grpo", "video-sft"),
)
LEAST_GAP = 5.0
"""MOS units by which two clips of a ladder differ to be compared: two errors of a panel's mean."""
ORDER = "order"
"""The share of pairs of a ladder in their right order; its n counts pairs of clips."""
SCORE_COLUMNS = ("model", "dataset", "decoding", "metric", "protocol", *ESTIMATE_COLUMNS)
DIFFERENCE_NAMES = ("first", "second", "dataset", "metric")
_SCORED = (("srcc", "raw"), ("plcc", "raw"), ("mae", "raw"))
_COMPARED = _SCORED[:1]
_BATCH = 16  # as in PreResQ-R1's released code


def video_config(run: Run) -> VideoConfig:
    """Return the settings of the video model.

    Raises:
        ValueError: If the profile has none.
    """
    if run.profile.video is None:
        raise ValueError(f"profile {run.profile.name} has no section video; `video` has one")
    return run.profile.video


# --- trained


def trainings(run: Run) -> dict[str, Training]:
    """Return the two trainings of the video model, for `sft.train` and `grpo.train`, by phase.

    The vision tower stays as the warm-up on mosaics left it.

    Source:
        PreResQ-R1 (arXiv:2511.05393): the video model starts from the image model; video total
        and format reward of the released code, whose training has no supervised part (decision
        D62).
    """
    profile, paths, video = run.profile, run.paths, video_config(run)
    image_model = paths.grpo(profile.grpo.reward)
    starts = {
        "sft": paths.video("motion") if profile.warms_up_on_mosaics else image_model,
        "grpo": paths.video("sft"),
    }
    return {
        phase: Training(
            stage=f"video-{phase}",
            settings={"student": profile.student, "training": config, "video": video},
            start=starts[phase],
            folder=paths.video(phase),
            files=(paths.split(CLIP_SET, "train"), packed_rows(paths, CLIP_SET, "train")),
            dataset=lambda: training_rows(video, paths),
            prompt_id=video.prompt_id,
        )
        for phase, config in training_settings(profile, video).items()
    }


def training_settings(profile: Profile, video: VideoConfig) -> dict[str, SftConfig | GrpoConfig]:
    """Lay the settings of the video model over the profile's `sft` and `grpo`.

    Source:
        PreResQ-R1, released code: both rewards have weight 1.
    """
    clips, completions = video.grpo_clips_per_step, video.grpo_num_generations
    common = {"freeze_vision": True, "logging_steps": 1, "seed": video.seed}
    of_sft = {
        "learning_rate": video.sft_learning_rate,
        "max_steps": video.sft_max_steps,
        "per_device_train_batch_size": video.sft_clips_per_step,
        "warmup_steps": 10,
        "select_sets": (),
    }
    of_grpo = {
        "reward": "preresq_video",
        "weight_accuracy": 1.0,
        "weight_format": 1.0,
        "exploration_steps": 0,
        "n_validation": 0,
        "learning_rate": video.grpo_learning_rate,
        "max_steps": video.grpo_max_steps,
        "images_per_step": clips,
        "num_generations": completions,
        "per_device_train_batch_size": clips * completions,
        "warmup_steps": 3,
        "max_completion_length": video.max_completion_length,
    }
    return {
        "sft": profile.sft.model_copy(update=common | of_sft),
        "grpo": profile.grpo.model_copy(update=common | of_grpo),
    }


# --- asked


class ClipPrediction(PredictionRecord):
    """What a video model says of a clip file.

    Attributes:
        global_score: Quality over time, 1 to 5, or None where the completion is unparsed.
        local_score: Quality of the frames, 1 to 5, or None. ``score``, 0 to 100, is their mean.
        shown: Which frames the model saw, and what is unusual about the file; None where it
            could not be shown.
    """

    global_score: float | None = None
    local_score: float | None = None
    shown: dict[str, Any] | None = None


def clip_predictor(run: Run, model: str) -> Predictor:
    """Load one of `MODELS`; the result predicts the clips of one set at a time."""
    video, mosaic = video_config(run), not model.endswith(FRAMES)
    phase = model.removeprefix("video-").removesuffix(FRAMES)
    student = load_student(run.profile.student, run.paths.video(phase))
    packed = {}
    for dataset, split in MEASURED:
        packed |= load_packed(run.paths, dataset, split)

    def predict_set(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        return predict(
            student,
            run,
            records,
            prompt_id=video.prompt_id,
            messages=_messages(video, mosaic=mosaic),
            opened=lambda record: open_images(run.paths, packed[record.image_id], mosaic=mosaic),
            max_new_tokens=video.max_completion_length,
            batch_size=_BATCH,
            progress=records[0].dataset,
        )

    return predict_set


def score_clips(paths: Sequence[Path], folder: Path) -> Iterator[ClipPrediction]:
    """Score clip files with a trained video model, one after the other.

    Args:
        paths: Video files.
        folder: A complete model folder, ``video/<phase>/`` inside a run folder.

    Yields:
        One row per file, in their order; ``image_id`` is the file's path. A file that cannot be
        shown has neither text nor score, its ``parse_status`` is the kind of the `VideoProblem`,
        and what is wrong with it is logged.

    Raises:
        ValueError: If the run of the model has no settings of a video model.
    """
    run_paths = RunPaths.at(folder.parents[1])
    profile = load_profile(str(run_paths.profile) if run_paths.profile.is_file() else "video")
    video, clips = video_config(Run(run_paths, profile)), profile.clips
    student, form = load_student(profile.student, folder), answer_form(video.prompt_id)
    limit = video.max_completion_length
    for path in paths:
        try:
            packed = pack_video(
                path, rows=clips.rows, columns=clips.columns, long_side=clips.long_side
            )
        except VideoProblem as problem:
            log.warning("%s: %s", problem.kind, problem)
            nothing = {"text": None, "score": None, "mos": None}
            yield ClipPrediction(image_id=str(path), parse_status=problem.kind, **nothing)
            continue
        (said,) = generate(student, [packed.images], _messages(video), max_new_tokens=limit)
        row = parsed_prediction(str(path), None, said, video.prompt_id)
        both = parse_answer(said.text, form, finish_reason=said.finish_reason).scores
        stated = dict(zip(("global_score", "local_score"), both or (None, None), strict=True))
        yield ClipPrediction(**row.model_dump(), **stated, shown=packed.record())


def _messages(video: VideoConfig, *, mosaic: bool = True) -> list[dict[str, Any]]:
    return [{"role": "user", "content": video_blocks(video.prompt_id, N_STILL, mosaic=mosaic)}]


# --- measured


def measure_run(run: Run, work: Path) -> list[Path]:
    """Predict clips with and without the mosaic, and compare.

    Args:
        run: Profile and folder; reads both phases of the video model and the clips.
        work: Scratch folder; what an interrupted call finished is taken from it.

    Returns:
        Predictions, ``eval/video_scores.csv`` and ``eval/video_differences.csv``.
    """
    asked = [(dataset, split, False) for dataset, split in MEASURED]
    written = []
    for model in MODELS:
        load = partial(clip_predictor, run, model)
        written += predict_sets(run.paths, model, asked, load, work / model)
    return [*written, *write_tables(run.paths)]


def write_tables(paths: RunPaths) -> list[Path]:
    """Measure the predictions of a run and write both tables.

    Clips of one photograph, such as those of a ladder, are drawn together.
    """
    rows, differences = [], []
    for dataset, split in MEASURED:
        ladders = () if dataset == CLIP_SET else load_records(paths, dataset, split)
        said = {
            model: scoring.read_predictions(paths, model, dataset, split=split) for model in MODELS
        }
        for model, one in said.items():
            found = scoring.score(one, _SCORED)
            if ladders:
                (found[ORDER, "raw"],) = share_in_order(ladders, one)
            rows += scoring.rows_of({dataset: found}, model=model, decoding="greedy")
        for pair in COMPARED:
            both = [said[model] for model in pair]
            differ = {"srcc": scoring.compare(*both, _COMPARED)["srcc", "raw"]}
            if ladders:
                differ[ORDER] = bootstrap.difference(*share_in_order(ladders, *both))
            names = {"first": pair[0], "second": pair[1], "dataset": dataset}
            differences += [{**names, "metric": m} | bootstrap.cells(d) for m, d in differ.items()]
    folder = paths.scores.parent
    files = [folder / "video_scores.csv", folder / "video_differences.csv"]
    write_csv(files[0], rows, SCORE_COLUMNS)
    write_csv(files[1], differences, (*DIFFERENCE_NAMES, *DIFFERENCE_COLUMNS))
    return files


def ordered_pairs(ladders: Sequence[ImageRecord]) -> list[tuple[str, str]]:
    """List the pairs of clips whose order is known, the better clip first.

    Args:
        ladders: Clips of scenes, each filmed clean and with one kind of distortion in time.

    Returns:
        Ids of two clips of one scene, of which at most one kind is seen and which differ by at
        least `LEAST_GAP` MOS units.
    """
    return [
        (better.image_id, worse.image_id)
        for better, worse in permutations(ladders, 2)
        if better.reference == worse.reference
        and len({one.name for one in (*better.distortions, *worse.distortions)}) < 2
        and better.mos - worse.mos >= LEAST_GAP
    ]


def share_in_order(ladders: Sequence[ImageRecord], *said: Predictions) -> list[Estimate]:
    """Measure the share of pairs that scores put in order; equal scores count half.

    Args:
        ladders: Clips of a set of ladders.
        said: Scores of one model or of several; a pair counts where all have scored both clips.

    Returns:
        The share of each model on the same resamples, in which the clips of a scene are drawn
        together; n counts pairs, n_unparsed clips without a score.
    """
    scenes = {record.image_id: str(record.reference) for record in ladders}
    pairs = ordered_pairs(ladders)
    scores = [dict(zip(one.ids, one.samples[0], strict=True)) for one in said]
    gaps = np.array([[one[a] - one[b] for a, b in pairs] for one in scores])
    known = ~np.isnan(gaps).any(axis=0)
    n_unparsed = [int((~one.answered).sum()) for one in said]
    if not known.any():
        return [bootstrap.missing("no_pairs", n_unparsed=n) for n in n_unparsed]
    scene_of = np.array([scenes[better] for better, _ in pairs])
    right = np.where(known, (np.sign(gaps) + 1.0) / 2.0, 0.0)
    statistics = {k: ratio_statistic(row, known) for k, row in enumerate(right)}
    found = bootstrap.estimates(statistics, len(pairs), scene_of.tolist())
    counts = {"n": int(known.sum()), "n_references": len(set(scene_of[known]))}
    return [replace(found[k], n_unparsed=n, **counts) for k, n in enumerate(n_unparsed)]

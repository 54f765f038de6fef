"""What the video model gains by the picture of the whole clip, measured on a run's clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from qponder_lib import metrics
from qponder_lib.artifacts import read_jsonl, write_csv, write_jsonl
from qponder_lib.config import EvaluateConfig
from qponder_lib.data.clips import CLIP_SET
from qponder_lib.data.images import load_records
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, Record, ScoreRow
from qponder_lib.video.ordering import Scores, label_of, share_in_order
from qponder_lib.video.pictures import MEASURED
from qponder_lib.video.scoring import ClipScore, predict_clips

PHASES = ("sft", "grpo")
WHOLE, FRAMES = "", "-frames"


class ClipDifference(Record):
    """A paired difference: first minus second.

    Attributes:
        metric: srcc, or order: the share of pairs of a ladder in their right order.
        n: Clips, or pairs of clips, that both answered.
    """

    first: str
    second: str
    dataset: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    reason: str | None = None


def measure_run(run: Run, work: Path) -> list[Path]:
    """Predict clips with and without the mosaic, and compare.

    Args:
        run: Profile and folder; reads both phases of the video model and the clips.
        work: Scratch folder; holds one empty file per finished prediction file.

    Returns:
        Predictions, ``eval/video_scores.csv`` and ``eval/video_differences.csv``.
    """
    work.mkdir(parents=True, exist_ok=True)
    written = []
    for phase in PHASES:
        for dataset, split in MEASURED:
            records = load_records(run.paths, dataset, split)
            for suffix in (WHOLE, FRAMES):
                path = run.paths.predictions(f"video-{phase}{suffix}", dataset)
                done = work / f"{phase}{suffix}.{dataset}.done"
                if not done.exists():
                    folder = run.paths.video(phase)
                    write_jsonl(path, predict_clips(run, folder, records, mosaic=suffix == WHOLE))
                    done.touch()
                    print(f"predicted video-{phase}{suffix} on {dataset}", flush=True)
                written.append(path)
    return [*written, *write_tables(run.paths, run.profile.evaluate)]


def write_tables(paths: RunPaths, settings: EvaluateConfig) -> list[Path]:
    """Measure the predictions of a run and write both tables."""
    rows: list[ScoreRow] = []
    for phase in PHASES:
        for dataset, split in MEASURED:
            records = load_records(paths, dataset, split)
            for suffix in (WHOLE, FRAMES):
                model = f"video-{phase}{suffix}"
                rows += _score_rows(model, records, _scores(paths, model, dataset), settings)
    pairs = [("video-grpo", "video-grpo-frames"), ("video-sft", "video-sft-frames")]
    pairs.append(("video-grpo", "video-sft"))
    differences = [
        row
        for dataset, _ in MEASURED
        for pair in pairs
        for row in compare(paths, pair, dataset, settings)
    ]
    folder = paths.scores.parent
    files = [folder / "video_scores.csv", folder / "video_differences.csv"]
    for file, model, found in ((files[0], ScoreRow, rows), (files[1], ClipDifference, differences)):
        write_csv(file, [row.model_dump() for row in found], list(model.model_fields))
    return files


def compare(
    paths: RunPaths, models: tuple[str, str], dataset: str, settings: EvaluateConfig
) -> list[ClipDifference]:
    """Compare two models on one of the sets `MEASURED`: SRCC, and the order of ladders.

    Clips of one filmed scene of a ladder are drawn together.
    """
    records = load_records(paths, dataset, dict(MEASURED)[dataset])
    first, second = (_scores(paths, model, dataset) for model in models)
    mos = {record.image_id: label_of(record) for record in records}
    scenes = _scenes(records)
    found = metrics.paired_difference(
        "srcc", first, second, mos, resampling=_plan(settings), clusters=scenes
    )
    names = {"first": models[0], "second": models[1], "dataset": dataset}
    value = {"value": found.value, "ci_low": found.ci_low, "ci_high": found.ci_high}
    rows = [ClipDifference(**names, metric="srcc", **value, n=found.n, reason=found.reason)]
    if dataset != CLIP_SET:
        order = share_in_order(records, first, second, _plan(settings))
        rows.append(ClipDifference(**names, metric="order", **order))
    return rows


def _score_rows(
    model: str, records: Sequence[ImageRecord], scores: Scores, settings: EvaluateConfig
) -> list[ScoreRow]:
    mos = [label_of(record) for record in records]
    stated = [scores[record.image_id] for record in records]
    scenes = _scenes(records)
    clusters = None if scenes is None else [scenes[record.image_id] for record in records]
    rows = []
    for metric in ("srcc", "plcc", "mae"):
        found = metrics.estimate(
            metric,
            stated,
            mos,
            resampling=_plan(settings),
            clusters=clusters,
            min_n=settings.min_n,
        )
        rows.append(
            ScoreRow(
                model=model,
                dataset=records[0].dataset,
                decoding="greedy",
                metric=metric,
                protocol="raw",
                **asdict(found),
            )
        )
    if records[0].dataset != CLIP_SET:
        names = {"model": model, "dataset": records[0].dataset, "decoding": "greedy"}
        found = share_in_order(records, scores, None, _plan(settings))
        unread = sum(score is None for score in stated)
        rows.append(ScoreRow(**names, metric="order", protocol="raw", n_unparsed=unread, **found))
    return rows


def _scenes(records: Sequence[ImageRecord]) -> dict[str, str] | None:
    """Clips of a ladder show one scene; those of the other set are filmed one by one."""
    if records[0].dataset == CLIP_SET:
        return None
    return {record.image_id: str(record.reference) for record in records}


def _scores(paths: RunPaths, model: str, dataset: str) -> dict[str, float | None]:
    rows = read_jsonl(paths.predictions(model, dataset), ClipScore)
    return {row.image_id: row.score for row in rows}


def _plan(settings: EvaluateConfig) -> metrics.Resampling:
    return metrics.Resampling(settings.n_resamples, settings.confidence, settings.seed)

"""What the video model gains by the picture of the whole clip, measured on a run's clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qponder_lib.artifacts import read_jsonl, write_csv, write_jsonl
from qponder_lib.data.clips import CLIP_SET
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.scoring import Predictions
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import DIFFERENCE_COLUMNS, ESTIMATE_COLUMNS
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord
from qponder_lib.video.ordering import Scores, label_of, share_in_order
from qponder_lib.video.pictures import MEASURED
from qponder_lib.video.scoring import ClipScore, predict_clips

PHASES = ("sft", "grpo")
WHOLE, FRAMES = "", "-frames"


SCORE_NAMES = ("model", "dataset", "decoding", "metric", "protocol")
DIFFERENCE_NAMES = ("first", "second", "dataset", "metric")
ORDER = "order"
"""The share of pairs of a ladder in their right order; its n counts pairs of clips."""
_SCORED = (("srcc", "raw"), ("plcc", "raw"), ("mae", "raw"))
_COMPARED = _SCORED[:1]


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
    return [*written, *write_tables(run.paths)]


def write_tables(paths: RunPaths) -> list[Path]:
    """Measure the predictions of a run and write both tables."""
    rows, differences = [], []
    pairs = [("video-grpo", "video-grpo-frames"), ("video-sft", "video-sft-frames")]
    pairs.append(("video-grpo", "video-sft"))
    for dataset, split in MEASURED:
        records = load_records(paths, dataset, split)
        for model in (f"video-{phase}{suffix}" for phase in PHASES for suffix in (WHOLE, FRAMES)):
            rows += _score_rows(model, records, _scores(paths, model, dataset))
        for pair in pairs:
            differences += compare(paths, pair, dataset)
    folder = paths.scores.parent
    files = [folder / "video_scores.csv", folder / "video_differences.csv"]
    write_csv(files[0], rows, (*SCORE_NAMES, *ESTIMATE_COLUMNS))
    write_csv(files[1], differences, (*DIFFERENCE_NAMES, *DIFFERENCE_COLUMNS))
    return files


def compare(paths: RunPaths, models: tuple[str, str], dataset: str) -> list[dict[str, object]]:
    """Compare two models on one of the sets `MEASURED`: SRCC, and the order of ladders.

    Clips of one photograph, such as those of a ladder, are drawn together.
    """
    records = load_records(paths, dataset, dict(MEASURED)[dataset])
    both = [_scores(paths, model, dataset) for model in models]
    found = scoring.compare(*(_predictions(records, scores) for scores in both), _COMPARED)
    numbers = {"srcc": found["srcc", "raw"]}
    if dataset != CLIP_SET:
        numbers[ORDER] = bootstrap.difference(*share_in_order(records, *both))
    names = {"first": models[0], "second": models[1], "dataset": dataset}
    return [names | {"metric": m} | bootstrap.cells(number) for m, number in numbers.items()]


def _score_rows(
    model: str, records: Sequence[ImageRecord], scores: Scores
) -> list[dict[str, object]]:
    numbers = scoring.score(_predictions(records, scores), _SCORED)
    if records[0].dataset != CLIP_SET:
        (numbers[ORDER, "raw"],) = share_in_order(records, scores)
    return scoring.rows_of({records[0].dataset: numbers}, model=model, decoding="greedy")


def _predictions(records: Sequence[ImageRecord], scores: Scores) -> Predictions:
    stated = [scores[record.image_id] for record in records]
    clusters = [record.photograph for record in records]
    return Predictions.of_scores(stated, [label_of(record) for record in records], clusters)


def _scores(paths: RunPaths, model: str, dataset: str) -> dict[str, float | None]:
    rows = read_jsonl(paths.predictions(model, dataset), ClipScore)
    return {row.image_id: row.score for row in rows}

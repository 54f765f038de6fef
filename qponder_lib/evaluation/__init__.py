"""From predictions to `eval/scores.csv` and `eval/differences.csv`.

Every number has its interval, how many images stand behind it and how many answers could not be
read; nothing is filled in. The row of the set called "mean" is the plain mean over all sets; its
interval draws images anew within each set; that of krcc adds up the sets' asymptotic variances.

Protocols: "raw" is the metric on single answers (for sampled decoding the mean over the k samples),
"mean_of_k" the metric of the mean score of an image's readable samples, "logistic4" and
"logistic5" the PLCC after a fitted curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qponder_lib import artifacts
from qponder_lib.evaluation.answers import COMPARED, MEAN, MEAN_OF_K, Answers
from qponder_lib.evaluation.comparing import (
    Comparison,
    DifferenceRow,
    compared_models,
    difference_rows,
)
from qponder_lib.evaluation.scoring import model_rows
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import Decoding, PredictionRecord, Record, ScoreRow

__all__ = [
    "COMPARED",
    "MEAN",
    "MEAN_OF_K",
    "Answers",
    "Comparison",
    "DifferenceRow",
    "EvaluationFiles",
    "compared_models",
    "difference_rows",
    "evaluate",
    "model_rows",
]


@dataclass(frozen=True)
class EvaluationFiles:
    """What `evaluate` wrote."""

    scores: Path
    differences: Path


def evaluate(run: Run) -> EvaluationFiles:
    """Score every model on every set and compare the models that the papers compare.

    Args:
        run: Its `eval/predictions/` are read; models, sets, resamples come from its profile.

    Returns:
        The two files written: rows of `ScoreRow` and of `DifferenceRow`.

    Raises:
        FileNotFoundError: If a model has not answered for a set.
    """
    predict, settings = run.profile.predict, run.profile.evaluate
    scores: list[ScoreRow] = []
    differences: list[DifferenceRow] = []
    asked: list[tuple[Decoding, Sequence[str], Sequence[str]]] = [
        ("greedy", predict.models, predict.sets),
        ("sampled", predict.sampled_models, predict.sampled_sets),
    ]
    for decoding, models, sets in asked:
        whole = set(sets) == set(predict.sets)
        by_model: dict[str, dict[str, list[Answers]]] = {}
        for model in models:
            rows = {name: _predictions(run.paths, model, name, decoding) for name in sets}
            by_model[model] = {name: [Answers.of(found)] for name, found in rows.items()}
            scores += model_rows(model, decoding, rows, settings, with_mean=whole)
        for first, second in compared_models(models, run.profile.grpo.start_from):
            compared = Comparison(first, second, decoding)
            differences += difference_rows(
                compared, by_model[first], by_model[second], settings, with_mean=whole
            )
    _write(run.paths.scores, scores, ScoreRow)
    _write(run.paths.differences, differences, DifferenceRow)
    return EvaluationFiles(run.paths.scores, run.paths.differences)


def _predictions(
    paths: RunPaths, model: str, dataset: str, decoding: Decoding
) -> list[PredictionRecord]:
    path = paths.predictions(model, dataset, sampled=decoding == "sampled")
    if not path.is_file():
        raise FileNotFoundError(
            f"{model} has no {decoding} answers for {dataset}: expected {path}; "
            "run notebook 07 first"
        )
    return artifacts.read_jsonl(path, PredictionRecord)


def _write(path: Path, rows: Sequence[Record], model: type[Record]) -> None:
    artifacts.write_csv(path, [row.model_dump() for row in rows], list(model.model_fields))

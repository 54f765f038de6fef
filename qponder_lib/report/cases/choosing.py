"""Which images become cases: by a rule that is stated before any answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import compared_models
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the change in absolute error: the greatest gain, quarters, the greatest loss."""
N_BY_CHANCE = 3

Key = tuple[str, str]
"""Set and image id."""
Answers = Mapping[str, Mapping[Key, PredictionRecord]]
"""Greedy answers by model, then by set and image id."""


@dataclass(frozen=True)
class Choice:
    """A chosen image, by which rule, and the change in absolute error it stands for."""

    key: Key
    rule: str
    change: float | None


def read_all(run: Run) -> tuple[dict[Key, ImageRecord], dict[str, dict[Key, PredictionRecord]]]:
    """Read all test images, and every model's greedy answers, by set and image id."""
    sets = run.profile.predict.sets
    images = {
        (dataset, image.image_id): image
        for dataset in sets
        for image in artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
    }
    answers = {
        model: {
            (dataset, row.image_id): row
            for dataset in sets
            for row in artifacts.read_jsonl(run.paths.predictions(model, dataset), PredictionRecord)
        }
        for model in run.profile.predict.models
    }
    return images, answers


def compared_pair(run: Run) -> tuple[str, str] | None:
    """Return which model's error is compared with which: after, before; None if no two can be."""
    pairs = compared_models(run.profile.predict.models, run.profile.grpo.start_from)
    return pairs[0] if pairs else None


def changes(pair: tuple[str, str], answers: Answers) -> dict[Key, float]:
    """Subtract absolute errors, after minus before, where both answers are readable.

    Returns:
        The change by set and image id, MOS units; below 0 the second stage came nearer.
    """
    after, before = (answers[model] for model in pair)
    found = {}
    for key in after.keys() & before.keys():
        errors = [_error(rows[key]) for rows in (after, before)]
        if errors[0] is not None and errors[1] is not None:
            found[key] = errors[0] - errors[1]
    return found


def choose(run: Run, images: Mapping[Key, ImageRecord], answers: Answers) -> list[Choice]:
    """Choose cases by quantiles of the change in error, and some by chance.

    Args:
        run: Its profile names the pair of models and the seed.
        images: Test images.
        answers: See `read_all`.

    Returns:
        First the quantiles (ties in the order of set and image id), then images drawn by the
        seed from all others, whether or not an answer could be read.

    Source:
        Q-Ponder (arXiv:2506.05384), Appendix D: four images; how they were chosen is not stated.
        The rule is ours (decision D34).
    """
    pair = compared_pair(run)
    change = changes(pair, answers) if pair else {}
    order = sorted(change, key=lambda key: (change[key], key))
    chosen: dict[Key, Choice] = {}
    for quantile in QUANTILES if order else ():
        key = order[round(quantile * (len(order) - 1))]
        chosen.setdefault(key, Choice(key, _quantile_rule(quantile), change[key]))
    rest = sorted(set(images) - set(chosen))
    rng = np.random.default_rng([run.profile.evaluate.seed, len(QUANTILES)])
    for place in sorted(rng.permutation(len(rest))[:N_BY_CHANCE]):
        key = rest[place]
        chosen[key] = Choice(key, "drawn by chance from all others", change.get(key))
    return list(chosen.values())


def _quantile_rule(quantile: float) -> str:
    ends = {
        0.0: "greatest fall in error",
        0.5: "median change in error",
        1.0: "greatest rise in error",
    }
    return ends.get(quantile, f"{quantile:.0%} quantile of the change in error")


def _error(row: PredictionRecord) -> float | None:
    return None if row.score is None or row.mos is None else abs(row.score - row.mos)

"""Do stated scores mean what they say, and how many different ones does a model use?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from qponder_lib.evaluation.scoring import references_of
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.statistics import mean_statistic
from qponder_lib.pipeline import Run
from qponder_lib.report.tables.breakdown import ALL_SETS, Answered, read_answers
from qponder_lib.report.tables.render import MISSING, Block, Cell, Table, interval, number
from qponder_lib.report.tables.sources import in_order, model_label, origin, select
from qponder_lib.scales import MOS_MAX, MOS_MIN

N_BINS = 10
LEAST_IN_BIN = 5
"""Fewest answers in a bin for which its mean MOS has an interval."""


def calibration_data(run: Run) -> pd.DataFrame:
    """Collect, per model, set and bin of the stated score, the mean score and the mean MOS.

    Args:
        run: Its test rows and greedy predictions are read.

    Returns:
        model, dataset, low, high (ends of the bin), n, mean_score, mean_mos, ci_low, ci_high
        (bootstrap over the photographs of the bin), reason. Bins without an answer are not listed.
    """
    rows = []
    for model, dataset, answers in _asked(run):
        for row in calibration_bins(answers, seed=run.profile.evaluate.seed):
            rows.append({"model": model, "dataset": dataset} | row)
    columns = ["model", "dataset", "low", "high", "n", "mean_score", "mean_mos"]
    return pd.DataFrame(rows, columns=[*columns, "ci_low", "ci_high", "reason"])


def calibration_bins(
    answers: Sequence[Answered], *, seed: int = 0, n_bins: int = N_BINS
) -> list[dict[str, object]]:
    """Average score and MOS in equal parts of the scale; the highest score is in the last one."""
    width = (MOS_MAX - MOS_MIN) / n_bins
    references = references_of([answer.image for answer in answers])
    bins: dict[int, list[tuple[float, float, str]]] = {}
    for answer in answers:
        if answer.score is not None and answer.image.mos is not None:
            place = int(np.clip((answer.score - MOS_MIN) // width, 0, n_bins - 1))
            reference = references[answer.image.image_id]
            bins.setdefault(place, []).append((answer.score, answer.image.mos, reference))
    rows = []
    for place, pairs in sorted(bins.items()):
        scores, mos, photographs = (list(column) for column in zip(*pairs, strict=True))
        ends: dict[str, object] = {"ci_low": None, "ci_high": None, "reason": "too_few"}
        if len(pairs) >= LEAST_IN_BIN:
            mean = mean_statistic(np.array(mos))
            found = bootstrap.estimate(mean, len(mos), photographs, seed=seed)
            ends = {"ci_low": found.ci_low, "ci_high": found.ci_high, "reason": found.reason}
        means = {"mean_score": float(np.mean(scores)), "mean_mos": float(np.mean(mos))}
        edges = {"low": MOS_MIN + place * width, "high": MOS_MIN + (place + 1) * width}
        rows.append(edges | {"n": len(pairs)} | means | ends)
    return rows


def clustering_data(run: Run) -> pd.DataFrame:
    """Describe, per model and set, how stated scores crowd on few values."""
    rows = [
        {"model": model, "dataset": dataset} | clustering([answer.score for answer in answers])
        for model, dataset, answers in _asked(run)
    ]
    return pd.DataFrame(rows)


def clustering(scores: Sequence[float | None]) -> dict[str, object]:
    """Count the different scores among stated ones.

    Args:
        scores: Stated scores; None for an answer that could not be read.

    Returns:
        n and n_unparsed; n_distinct; modal_score (the lowest of several) and modal_share;
        effective: the number of equally frequent scores with the same entropy; tens and fives:
        shares of scores that are multiples of 10 and of 5. Without a readable answer all of
        these but the counts are None, and reason says so.

    Example:
        >>> found = clustering([60.0, 60.0, 62.0, 65.0, None])
        >>> found["n_distinct"], found["modal_score"], found["modal_share"], found["fives"]
        (3, 60.0, 0.5, 0.75)
    """
    read = [score for score in scores if score is not None]
    counts: dict[str, object] = {"n": len(read), "n_unparsed": len(scores) - len(read)}
    names = ("n_distinct", "modal_score", "modal_share", "effective", "tens", "fives")
    if not read:
        return counts | dict.fromkeys(names) | {"reason": "no readable answer"}
    often = Counter(read)
    modal, times = min(often.items(), key=lambda item: (-item[1], item[0]))
    shares = np.array(list(often.values())) / len(read)
    entropy = float(-(shares * np.log(shares)).sum())
    tens, fives = (sum(score % step == 0 for score in read) / len(read) for step in (10, 5))
    values = (len(often), modal, times / len(read), math.exp(entropy), tens, fives)
    return counts | dict(zip(names, values, strict=True)) | {"reason": None}


def score_counts(run: Run) -> pd.DataFrame:
    """Count every stated score over all sets: model, score, n."""
    rows = []
    for model, dataset, answers in _asked(run):
        if dataset == ALL_SETS:
            often = Counter(answer.score for answer in answers if answer.score is not None)
            rows += [{"model": model, "score": s, "n": n} for s, n in sorted(often.items())]
    return pd.DataFrame(rows, columns=["model", "score", "n"])


def calibration(run: Run) -> Table:
    """Lay out the mean MOS of the images for which scores in a bin were stated, over all sets."""
    data = calibration_data(run)
    pooled = select(data, dataset=ALL_SETS)
    models = in_order(list(run.profile.predict.models))
    rows = []
    for low, high in sorted(set(zip(pooled["low"], pooled["high"], strict=True))):
        cells = []
        for model in models:
            found = select(pooled, model=model, low=low)
            if found.empty:
                cells.append(Cell(MISSING, "never stated"))
                continue
            row = found.iloc[0]
            ends = interval(row["ci_low"], row["ci_high"], 1)
            cells.append(Cell(number(row["mean_mos"], 1), f"{ends} n = {row['n']}".strip()))
        rows.append((Cell(f"{low:g} to {high:g}"), *cells))
    note = (
        f"{origin(run)} Greedy answers on all test sets together. A calibrated model's mean MOS "
        f"lies inside the bin it stated. {bootstrap.CONFIDENCE:.0%} bootstrap intervals "
        f"over the photographs of a bin; none below {LEAST_IN_BIN} images."
    )
    header = ("Stated score", *(model_label(model) for model in models))
    blocks = (Block("Mean MOS by stated score", header, tuple(rows)),)
    return Table("calibration", "Calibration", note, data, blocks)


def clusters(run: Run) -> Table:
    """Lay out how many different scores each model uses, over all sets."""
    data = clustering_data(run)
    pooled = select(data, dataset=ALL_SETS)
    rows = []
    for model in in_order(list(run.profile.predict.models)):
        row = select(pooled, model=model).iloc[0].to_dict()
        shares = [Cell(_percent(row[name])) for name in ("modal_share", "tens", "fives")]
        cells = [
            Cell(str(row["n"])),
            Cell(str(row["n_unparsed"])),
            Cell(number(row["n_distinct"], 0)),
            Cell(number(row["effective"], 1)),
            Cell(number(row["modal_score"], 1)),
        ]
        rows.append((Cell(model_label(model)), *cells, *shares))
    note = (
        f"{origin(run)} Greedy answers on all test sets together. Effective: how many equally "
        "frequent scores would have the same entropy. Multiples of 10 and of 5 as shares of the "
        "readable answers."
    )
    header = ("Model", "n", "unread", "distinct", "effective", "modal score", "modal share")
    blocks = (Block("", (*header, "multiples of 10", "multiples of 5"), tuple(rows)),)
    return Table("clustering", "How many different scores a model states", note, data, blocks)


def _asked(run: Run) -> list[tuple[str, str, list[Answered]]]:
    """Read every model's answers, set by set and pooled."""
    found = []
    for model in run.profile.predict.models:
        pooled: list[Answered] = []
        for dataset in run.profile.predict.sets:
            answers = read_answers(run, model, dataset)
            pooled += answers
            found.append((model, dataset, answers))
        found.append((model, ALL_SETS, pooled))
    return found


def _percent(value: object) -> str:
    text = number(value, 6)
    return text if text == MISSING else f"{float(text):.0%}"

"""How often statements are right, over all test answers: what single cases cannot show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from tqdm import tqdm

from qponder_lib import metrics
from qponder_lib.metrics import resampling
from qponder_lib.metrics.agreement import FloatArray
from qponder_lib.pipeline import Run
from qponder_lib.report.cases.choosing import Answers, Key
from qponder_lib.report.cases.statements import Known, read_statements
from qponder_lib.report.tables.breakdown import ALL_SETS

COLUMNS = ("model", "dataset", "value", "ci_low", "ci_high", "n", "right", "wrong", "undecided")


def statement_rates(run: Run, known: Mapping[Key, Known], answers: Answers) -> pd.DataFrame:
    """Count right, wrong and undecided statements per model and set.

    Args:
        run: Sets, resamples and seed come from its profile.
        known: What is known about each image.
        answers: Greedy answers of each model.

    Returns:
        value: right / (right + wrong), with a bootstrap interval over images; n: answers with
        text; right, wrong, undecided: statements (undecided only those that name damage or
        quality); reason, where there is no value.
    """
    settings = run.profile.evaluate
    plan = metrics.Resampling(settings.n_resamples, settings.confidence, settings.seed)
    rows = []
    bar = tqdm(answers.items(), desc="statements", mininterval=5)
    for model, said in bar:
        counts = {
            key: _counts(row.text, known[key])
            for key, row in said.items()
            if row.text is not None and key in known
        }
        for dataset in (*run.profile.predict.sets, ALL_SETS):
            mine = [c for (name, _), c in counts.items() if dataset in (name, ALL_SETS)]
            rows.append({"model": model, "dataset": dataset} | rate(mine, plan))
    return pd.DataFrame(rows, columns=[*COLUMNS, "reason"])


def rate(counts: list[tuple[int, int, int]], plan: metrics.Resampling) -> dict[str, object]:
    """Return the share of right statements among the decided ones.

    Args:
        counts: Right, wrong and undecided statements of each answer.
        plan: How the interval is made; answers are drawn, not statements.

    Example:
        >>> found = rate([(3, 1, 0), (0, 0, 2)], metrics.Resampling(10))
        >>> found["value"], found["n"], found["undecided"]
        (0.75, 2, 2)
    """
    right, wrong, undecided = np.array(counts, dtype=np.float64).reshape(-1, 3).T
    totals = {
        "n": len(counts),
        "right": int(right.sum()),
        "wrong": int(wrong.sum()),
        "undecided": int(undecided.sum()),
    }
    if not (right + wrong).sum():
        nothing = {"value": None, "ci_low": None, "ci_high": None}
        reason = "nothing_decided" if counts else "no_text"
        return nothing | totals | {"reason": reason}

    def statistic(weights: FloatArray) -> FloatArray:
        decided = weights @ (right + wrong)
        with np.errstate(invalid="ignore"):
            return (weights @ right) / decided

    value = float(right.sum() / (right + wrong).sum())
    found = resampling.bootstrap_interval(statistic, len(counts), plan)
    ends = {"value": value, "ci_low": found.low, "ci_high": found.high}
    return ends | totals | {"reason": found.reason}


def _counts(text: str, known: Known) -> tuple[int, int, int]:
    found = [s for s in read_statements(text, known) if s.standing != "undecided" or s.why]
    standings = [statement.standing for statement in found]
    return tuple(standings.count(name) for name in ("right", "wrong", "undecided"))  # type: ignore[return-value]

"""How often statements are right, over all test answers: what single cases cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.statistics import ratio_statistic
from qponder_lib.pipeline import Run
from qponder_lib.report.cases.choosing import Answers, Key
from qponder_lib.report.cases.statements import Known, read_statements
from qponder_lib.report.tables.breakdown import ALL_SETS

COLUMNS = (
    "model",
    "dataset",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_references",
    "right",
    "wrong",
    "undecided",
)


def statement_rates(
    run: Run, known: Mapping[Key, Known], references: Mapping[Key, str], answers: Answers
) -> pd.DataFrame:
    """Count right, wrong and undecided statements per model and set.

    Args:
        run: Sets and seed come from its profile.
        known: What is known about each image.
        references: The photograph each image was made of.
        answers: Greedy answers of each model.

    Returns:
        value: right / (right + wrong), with a bootstrap interval over photographs; n: answers with
        text; right, wrong, undecided: statements (undecided only those that name damage or
        quality); reason, where there is no value.
    """
    rows = []
    bar = tqdm(answers.items(), desc="statements", mininterval=5)
    for model, said in bar:
        counts = {
            key: _counts(row.text, known[key])
            for key, row in said.items()
            if row.text is not None and key in known
        }
        for dataset in (*run.profile.predict.sets, ALL_SETS):
            keys = [key for key in counts if dataset in (key[0], ALL_SETS)]
            found = rate(
                [counts[key] for key in keys],
                [references[key] for key in keys],
                seed=run.profile.evaluate.seed,
            )
            rows.append({"model": model, "dataset": dataset} | found)
    return pd.DataFrame(rows, columns=[*COLUMNS, "reason"])


def rate(
    counts: Sequence[tuple[int, int, int]], photographs: Sequence[str], *, seed: int = 0
) -> dict[str, object]:
    """Return the share of right statements among the decided ones.

    Args:
        counts: Right, wrong and undecided statements of each answer.
        photographs: What the image of each answer was made of; these are drawn, not statements.
        seed: Seed of the resamples.

    Example:
        >>> found = rate([(3, 1, 0), (0, 0, 2)], ["a", "b"])
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
        nothing = {"value": None, "ci_low": None, "ci_high": None, "n_references": 0}
        reason = "nothing_decided" if counts else "no_text"
        return nothing | totals | {"reason": reason}

    share = ratio_statistic(right, right + wrong)
    found = bootstrap.estimate(share, len(counts), photographs, seed=seed)
    ends = {"value": found.value, "ci_low": found.ci_low, "ci_high": found.ci_high}
    return ends | totals | {"n_references": found.n_references, "reason": found.reason}


def _counts(text: str, known: Known) -> tuple[int, int, int]:
    found = [s for s in read_statements(text, known) if s.standing != "undecided" or s.why]
    standings = [statement.standing for statement in found]
    return tuple(standings.count(name) for name in ("right", "wrong", "undecided"))  # type: ignore[return-value]

"""Tables 2 and 4: judged reasoning, measured by each judge and reported by the paper, apart."""

from __future__ import annotations

import pandas as pd

from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report.tables.render import MISSING, Block, Cell, Table, interval, number
from qponder_lib.report.tables.sources import (
    in_order,
    intervals_of,
    model_label,
    one,
    origin,
    read,
    read_reported,
    select,
    set_label,
)

ASPECTS = ("completeness", "accuracy", "reasonableness")
ABLATION = ("base", "teacher", "ci-none", "ci-short", "ci-long", "qponder")
"""Models that have a row in Table 4: the baseline, its teacher, the cold start, the last stage."""


def read_judged(paths: RunPaths) -> pd.DataFrame | None:
    """Read `eval/judged.csv`: a row per judge, model, set and aspect; None if there is none."""
    return read(paths.judged) if paths.judged.is_file() else None


def judged_tables(run: Run) -> list[Table]:
    """Lay out Tables 2 and 4: the reported always, the measured where a judge has been asked.

    Source:
        Q-Ponder (arXiv:2506.05384), Tables 2 and 4. The paper's numbers are of another judge,
        other models and other sets; no column holds both.
    """
    made = [_reported(2), _reported(4)]
    judged = read_judged(run.paths)
    if judged is None:
        return made
    ablation = [name for name in in_order(list(judged["model"].unique())) if name in ABLATION]
    return [
        *made,
        _measured(run, 2, "Judged reasoning", judged),
        _measured(run, 4, "Judged reasoning by stage of training", select(judged, model=ablation)),
    ]


def _measured(run: Run, number_: int, title: str, judged: pd.DataFrame) -> Table:
    sets = list(dict.fromkeys(judged["dataset"]))
    blocks = []
    for judge, mine in judged.groupby("judge", sort=False):
        rows = []
        for model in in_order(list(mine["model"].unique())):
            cells = [_cell(mine, model, dataset) for dataset in sets]
            counted = select(mine, model=model, aspect=ASPECTS[0])
            counted = counted[counted["dataset"] != "mean"]
            counts = [Cell(str(counted[name].sum())) for name in ("n", "n_failed")]
            rows.append((Cell(model_label(model)), *cells, *counts))
        header = ("Model", *map(set_label, sets), "n", "not judged")
        blocks.append(Block(f"Judge: {judge}", header, tuple(rows)))
    note = (
        f"{origin(run)} Completeness / accuracy / reasonableness, 1 to 5, mean over images with "
        f"{intervals_of(judged)}; answers without a valid verdict are "
        "left out and counted. The paper's own numbers, of another judge on other sets, are in "
        f"table{number_}_reported."
    )
    name = f"{title} (Table {number_}) at the scale of profile {run.profile.name}"
    return Table(f"table{number_}", name, note, judged, tuple(blocks))


def _cell(judged: pd.DataFrame, model: str, dataset: str) -> Cell:
    """Write the three aspects in one cell, their intervals below, or why there are none."""
    rows = [one(judged, model=model, dataset=dataset, aspect=aspect) for aspect in ASPECTS]
    values = [number(None if row is None else row["value"], 2) for row in rows]
    if all(value == MISSING for value in values):
        reasons = [
            str(row["reason"]) for row in rows if row is not None and row["reason"] == row["reason"]
        ]
        return Cell(MISSING, reasons[0] if reasons else "")
    ends = [interval(row["ci_low"], row["ci_high"], 2) if row else "" for row in rows]
    return Cell(" / ".join(values), " / ".join(end or MISSING for end in ends))


def _reported(number_: int) -> Table:
    reported = read_reported(f"table{number_}")
    sets = list(dict.fromkeys(reported["dataset"]))
    rows = []
    for method in dict.fromkeys(reported["method"]):
        cells = []
        for dataset in sets:
            found = [one(reported, method=method, dataset=dataset, metric=a) for a in ASPECTS]
            mean = one(reported, method=method, dataset=dataset, metric="mean")
            shown = [row for row in (*found, mean) if row is not None]
            cells.append(Cell(" / ".join(number(row["value"], 3) for row in shown) or MISSING))
        rows.append((Cell(method), *cells))
    note = (
        f"Transcribed from Q-Ponder (arXiv:2506.05384), Table {number_}: completeness / accuracy "
        "/ reasonableness as the paper prints them, judged by one proprietary model, without "
        "intervals; AVG. is one number. Nothing here was measured by this kit."
    )
    blocks = (Block("", ("Method", *sets), tuple(rows)),)
    return Table(f"table{number_}_reported", f"Table {number_} as reported", note, reported, blocks)

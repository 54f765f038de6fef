"""Judged reasoning: Tables 2 and 4, measured by each judge and reported apart, and Fig. 4(b)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.pipeline import Run
from qponder_lib.report import style
from qponder_lib.report.render import (
    Table,
    by_model,
    estimates,
    grid,
    in_order,
    intervals,
    model_label,
    origin,
    read,
    select,
    set_label,
)
from qponder_lib.report.style import house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASPECTS = ("completeness", "accuracy", "reasonableness")
PRINTED = "completeness / accuracy / reasonableness by a proprietary judge (AVG.: one number)"
ABLATION = ("base", "teacher", "ci-none", "ci-short", "ci-long", "qponder")
"""Models that have a row in Table 4: the baseline, its teacher, the cold start, the last stage."""


def table2(run: Run) -> Table:
    """Lay out judged reasoning of every model, a grid per judge.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 2. The paper's numbers are of another judge, other
        models and other sets; no column holds both.

    Raises:
        FileNotFoundError: If no judge has been asked (`eval/judged.csv`).
    """
    return _measured(run, 2, "Judged reasoning", read(run.paths.judged))


def table4(run: Run) -> Table:
    """Lay out judged reasoning by stage of training.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 4.

    Raises:
        FileNotFoundError: If no judge has been asked (`eval/judged.csv`).
    """
    judged = read(run.paths.judged)
    models = [name for name in in_order(judged["model"]) if name in ABLATION]
    return _measured(run, 4, "Judged reasoning by stage of training", select(judged, model=models))


def _measured(run: Run, number: int, title: str, judged: pd.DataFrame) -> Table:
    grids = {}
    for judge, rows in judged.groupby("judge", sort=False):
        rows = by_model(select(rows, aspect=list(ASPECTS)))
        cells = grid(rows, "Model", "dataset", partial(estimates, digits=2))
        counted = rows[(rows["dataset"] != MEAN) & (rows["aspect"] == ASPECTS[0])]
        counts = counted.groupby("Model")[["n", "n_failed"]].sum().astype(str)
        cells["n"] = cells["Model"].map(counts["n"])
        cells["not judged"] = cells["Model"].map(counts["n_failed"])
        grids[f"Judge: {judge}"] = cells.rename(columns=set_label)
    note = (
        f"{origin(run)} Completeness / accuracy / reasonableness, 1 to 5, mean over images with "
        f"{intervals(judged)}; responses without a valid verdict "
        "are left out and counted. The paper's own numbers, of another judge on other sets, are "
        f"in table{number}_reported."
    )
    name = f"{title} (Table {number}) at the scale of profile {run.profile.name}"
    return Table(name, note, grids, judged)


@house_style()
def fig4b_lines(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw judged reasoning of every model on every set, a row of panels per judge.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 4(b); there as lines, although sets have no order.

    Raises:
        FileNotFoundError: If no judge has been asked (`eval/judged.csv`).
    """
    data = read(run.paths.judged)
    rows = data[(data["dataset"] != MEAN) & data["value"].notna()]
    rows = rows.assign(set=rows["dataset"].map(set_label))
    judges = list(dict.fromkeys(data["judge"]))
    height = 0.9 + 0.45 * data["dataset"].nunique() * len(judges)
    figure, axes = style.new_figure(10.4, height, len(judges), len(ASPECTS), sharey="row")
    for line, judge in zip(axes, judges, strict=True):
        for ax, aspect in zip(line, ASPECTS, strict=True):
            style.dots(ax, select(rows, judge=judge, aspect=aspect), "set", horizontal=True)
            ax.set(title=f"{aspect.capitalize()}, judge {judge}", xlim=(0.9, 5.1))
            ax.set_xticks(range(1, 6))
            ax.tick_params(axis="y", labelleft=ax is line[0])
    for ax in axes[-1]:
        ax.set_xlabel("Mean rating, 1 to 5")
    style.legend_above(figure, rows["model"])
    without = in_order(set(data["model"]) - set(rows["model"]))
    told = f"Bars: {intervals(data)}; n up to {data['n'].max():,}."
    told += f" No verdict: {', '.join(map(model_label, without))}." if without else ""
    style.caption(figure, f"{told} {origin(run)}")
    return figure, data

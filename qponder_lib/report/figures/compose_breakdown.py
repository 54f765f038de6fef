"""Whole figures of breakdown, calibration, clustering and judged reasoning."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.pipeline import Run
from qponder_lib.report.figures import breakdown
from qponder_lib.report.figures.style import Drawing, house_style, new_figure
from qponder_lib.report.tables.calibration import score_counts
from qponder_lib.report.tables.judged import ASPECTS
from qponder_lib.report.tables.sources import in_order, read, select

_COLUMNS = 4


@house_style()
def error_by_group(run: Run) -> Drawing:
    """Error by type, level and severity for what Q-Ponder is compared with."""
    data = read(run.paths.tables / "breakdown.csv")
    wanted = (f"ci-{run.profile.grpo.start_from}", "qponder", "teacher", "handcrafted")
    shown = [name for name in wanted if name in run.profile.predict.models]
    chosen = select(data, model=shown or list(run.profile.predict.models)[:4])
    figure, axes = new_figure(10.6, 6.4, 2, 2)
    panels = (("type", "mae"), ("type", "srcc"), ("level", "mae"), ("severity", "mae"))
    titles = ("(a) Error by tagged type", "(b) Order within a type")
    titles += ("(c) Error by strongest level", "(d) Error by fifth of the MOS")
    for ax, (kind, metric), title in zip(axes.flat, panels, titles, strict=True):
        breakdown.group_dots(ax, chosen, kind, metric).set_title(title)
    axes[0, 1].tick_params(axis="y", labelleft=False)
    _legend_above(axes)
    return Drawing("breakdown", figure, chosen)


@house_style()
def calibration(run: Run) -> Drawing:
    """Mean MOS by stated score, a panel per model."""
    data = read(run.paths.tables / "calibration.csv")
    models = in_order(list(run.profile.predict.models))
    figure, axes = _grid(len(models), 2.45, 2.6)
    for ax, model in zip(axes.flat, models, strict=False):
        breakdown.calibration_curve(ax, data, model)
    _outer_labels(axes, len(models))
    return Drawing("calibration", figure, data)


@house_style()
def clustering(run: Run) -> Drawing:
    """How often each score is stated, a panel per model."""
    described = read(run.paths.tables / "clustering.csv")
    counts = score_counts(run)
    models = in_order(list(run.profile.predict.models))
    figure, axes = _grid(len(models), 2.7, 1.75)
    for ax, model in zip(axes.flat, models, strict=False):
        breakdown.score_sticks(ax, counts, described, model)
    _outer_labels(axes, len(models))
    return Drawing("score_clustering", figure, counts)


@house_style()
def fig4b_lines(judged: pd.DataFrame) -> Drawing:
    """Judged reasoning over the sets as in Fig. 4(b), a row of panels per judge."""
    judges = list(dict.fromkeys(judged["judge"]))
    sets = [name for name in dict.fromkeys(judged["dataset"]) if name != MEAN]
    figure, axes = new_figure(10.4, 0.5 + 2.7 * len(judges), len(judges), len(ASPECTS))
    for line, judge in zip(axes, judges, strict=True):
        for ax, aspect in zip(line, ASPECTS, strict=True):
            breakdown.judged_lines(ax, select(judged, judge=judge), aspect, sets)
        line[0].set_ylabel(f"{judge}\nmean rating, 1 to 5")
    _legend_above(axes)
    return Drawing("fig4b_lines", figure, judged)


def _legend_above(axes: NDArray) -> None:
    figure = axes.flat[0].figure
    handles, labels = max(
        (ax.get_legend_handles_labels() for ax in axes.flat), key=lambda p: len(p[1])
    )
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 7))


def _grid(n: int, width: float, height: float) -> tuple[object, NDArray]:
    columns = min(n, _COLUMNS)
    rows = -(-n // columns)
    figure, axes = new_figure(width * columns, height * rows, rows, columns)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return figure, axes


def _outer_labels(axes: NDArray, n: int) -> None:
    """Keep axis labels where a panel has no neighbour to the left or below."""
    columns = axes.shape[1]
    for place, ax in enumerate(axes.flat):
        ax: Axes
        if place % columns:
            ax.set_ylabel("")
        if place + columns < n:
            ax.set_xlabel("")

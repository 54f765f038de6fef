"""Where models err, whether their scores mean what they say, and judged reasoning (Fig. 4(b))."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from qponder_lib.report.figures.style import (
    GREY,
    LIGHT,
    colour_of,
    marker_of,
    say_missing,
    short_label,
)
from qponder_lib.report.tables.breakdown import ALL_SETS
from qponder_lib.report.tables.render import plain
from qponder_lib.report.tables.sources import METRIC_LABELS, in_order, select, set_label
from qponder_lib.scales import MOS_MAX, MOS_MIN

_UNITS = {"mae": "Mean absolute error (MOS units)", "srcc": "SRCC within the group"}


def group_dots(ax: Axes, data: pd.DataFrame, kind: str, metric: str) -> Axes:
    """Draw a metric per group and model, with intervals; all sets together.

    Args:
        ax: Where to draw.
        data: `tables/breakdown.csv`, or the rows of some of its models.
        kind: `type`, `level` or `severity`.
        metric: `mae` or `srcc`.
    """
    rows = select(data, dataset=ALL_SETS, kind=kind, metric=metric)
    if rows["value"].notna().sum() == 0:
        return say_missing(ax, "no group has enough readable answers")
    groups = list(dict.fromkeys(rows["group"]))
    models = in_order(list(rows["model"].unique()))
    step = 0.72 / max(len(models), 1)
    for index, model in enumerate(models):
        mine = select(rows, model=model).set_index("group").reindex(groups)
        y = np.arange(len(groups)) + (index - (len(models) - 1) / 2) * step
        below, above = mine["value"] - mine["ci_low"], mine["ci_high"] - mine["value"]
        ax.errorbar(
            mine["value"],
            y,
            xerr=[below.fillna(0.0).clip(lower=0.0), above.fillna(0.0).clip(lower=0.0)],
            fmt=marker_of(model),
            color=colour_of(model),
            markersize=4.2,
            elinewidth=1.0,
            label=short_label(model),
        )
    images = rows.assign(images=rows["n"] + rows["n_unparsed"]).groupby("group")["images"].max()
    names = [f"{group.replace('_', ' ')} ({images[group]})" for group in groups]
    ax.set_yticks(range(len(groups)), names)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    for position in range(1, len(groups)):
        ax.axhline(position - 0.5, color=LIGHT, linewidth=0.5)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)
    if metric == "mae":
        ax.set_xlim(0, None)
    ax.set_xlabel(_UNITS.get(metric, METRIC_LABELS[metric]))
    return ax


def calibration_curve(ax: Axes, data: pd.DataFrame, model: str) -> Axes:
    """Draw the mean MOS over the mean stated score, bin by bin; the diagonal is calibrated.

    Args:
        ax: Where to draw.
        data: `tables/calibration.csv`.
        model: Which model.
    """
    rows = select(data, model=model, dataset=ALL_SETS)
    ax.set_title(f"{short_label(model)}, n = {rows['n'].sum()}")
    if rows.empty:
        return say_missing(ax, "no readable answer")
    ax.plot([MOS_MIN, MOS_MAX], [MOS_MIN, MOS_MAX], color=GREY, linewidth=0.9, zorder=1)
    ax.bar(
        rows["low"],
        rows["n"] / rows["n"].sum() * 100.0,
        width=(rows["high"] - rows["low"]) * 0.92,
        align="edge",
        color=LIGHT,
        alpha=0.55,
        zorder=0,
    )
    below, above = rows["mean_mos"] - rows["ci_low"], rows["ci_high"] - rows["mean_mos"]
    ax.errorbar(
        rows["mean_score"],
        rows["mean_mos"],
        yerr=[below.fillna(0.0), above.fillna(0.0)],
        fmt=marker_of(model),
        color=colour_of(model),
        markersize=4.5,
        elinewidth=1.1,
        linestyle="-",
        linewidth=0.9,
    )
    ax.set_xlim(MOS_MIN, MOS_MAX)
    ax.set_ylim(MOS_MIN, MOS_MAX)
    ax.set_xticks(range(0, 101, 25))
    ax.set_yticks(range(0, 101, 25))
    ax.set_aspect("equal")
    ax.set_xlabel("Stated score")
    ax.set_ylabel("Mean MOS; share of answers (%)")
    return ax


def score_sticks(ax: Axes, counts: pd.DataFrame, described: pd.DataFrame, model: str) -> Axes:
    """Draw how often each score was stated.

    Args:
        ax: Where to draw.
        counts: As from `tables.calibration.score_counts`.
        described: `tables/clustering.csv`.
        model: Which model.
    """
    told = select(described, model=model, dataset=ALL_SETS).iloc[0].to_dict()
    rows = select(counts, model=model)
    if rows.empty:
        ax.set_title(short_label(model))
        return say_missing(ax, "no readable answer")
    share = rows["n"] / told["n"] * 100.0
    whole = rows.assign(share=share).groupby(rows["score"].round())["share"].sum()
    ax.vlines(whole.index, 0.0, whole, color=colour_of(model), linewidth=1.6)
    ax.set_title(
        f"{short_label(model)}: {told['n_distinct']:.0f} scores, "
        f"modal {plain(told['modal_score']):g} ({told['modal_share']:.0%})",
        fontsize=8.5,
    )
    ax.set_xlim(MOS_MIN - 1, MOS_MAX + 1)
    ax.set_ylim(0, None)
    ax.set_xticks(range(0, 101, 20))
    ax.grid(False, axis="x")
    ax.set_xlabel("Stated score")
    ax.set_ylabel("Share (%)")
    return ax


def judged_lines(ax: Axes, data: pd.DataFrame, aspect: str, sets: Sequence[str]) -> Axes:
    """Draw one judged aspect of every model over the sets, with intervals.

    Args:
        ax: Where to draw.
        data: The rows of one judge, as in `eval/judged.csv`.
        aspect: `completeness`, `accuracy` or `reasonableness`.
        sets: Sets from left to right.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 4(b).
    """
    rows = select(data, aspect=aspect)
    models = in_order(list(rows["model"].unique()))
    for index, model in enumerate(models):
        mine = select(rows, model=model).set_index("dataset").reindex(sets)
        below, above = mine["value"] - mine["ci_low"], mine["ci_high"] - mine["value"]
        ax.errorbar(
            np.arange(len(sets)) + (index - (len(models) - 1) / 2) * 0.05,
            mine["value"],
            yerr=[below.fillna(0.0).clip(lower=0.0), above.fillna(0.0).clip(lower=0.0)],
            fmt=marker_of(model),
            color=colour_of(model),
            linestyle="-",
            linewidth=1.1,
            markersize=4.2,
            elinewidth=0.9,
            label=short_label(model) + (" (no value)" if mine["value"].isna().all() else ""),
        )
    ax.set_title(aspect.capitalize())
    ax.set_xticks(range(len(sets)), [set_label(name) for name in sets], rotation=35, ha="right")
    ax.set_ylim(0.9, 5.1)
    ax.set_yticks(range(1, 6))
    return ax

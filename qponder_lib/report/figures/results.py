"""How well models score: dots with intervals, the heatmap of Fig. 4(a), scatter, decoding."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.metrics import statistics
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import PredictionRecord
from qponder_lib.report.figures.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    colour_of,
    marker_of,
    short_label,
)
from qponder_lib.report.tables.render import number, plain
from qponder_lib.report.tables.sources import (
    in_order,
    one,
    read_ceilings,
    read_scores,
    select,
    set_label,
)
from qponder_lib.scales import MOS_MAX, MOS_MIN

COLUMNS = ["model", "dataset", "metric", "value", "ci_low", "ci_high", "n", "n_unparsed", "reason"]


def srcc_data(paths: RunPaths) -> pd.DataFrame:
    """Collect the greedy SRCC of every model and set, and the ceilings (model "ceiling")."""
    scores = select(read_scores(paths), decoding="greedy", protocol="raw", metric="srcc")
    ceilings = read_ceilings(paths).rename(columns={"srcc": "value"})
    ceilings = ceilings.assign(model="ceiling", metric="srcc", n_unparsed=0, reason="no_interval")
    return pd.concat([scores[COLUMNS], ceilings.reindex(columns=COLUMNS)], ignore_index=True)


def srcc_dots(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw SRCC with its interval per set and model; a dash above is the ceiling of the set.

    Args:
        ax: Where to draw.
        data: As from `srcc_data`.
    """
    sets = list(dict.fromkeys(select(data, metric="srcc")["dataset"]))
    models = in_order([name for name in data["model"].unique() if name != "ceiling"])
    step = 0.78 / max(len(models), 1)
    for index, model in enumerate(models):
        rows = select(data, model=model).set_index("dataset").reindex(sets)
        x = np.arange(len(sets)) + (index - (len(models) - 1) / 2) * step
        below, above = rows["value"] - rows["ci_low"], rows["ci_high"] - rows["value"]
        ax.errorbar(
            x,
            rows["value"],
            yerr=[below.fillna(0.0), above.fillna(0.0)],
            fmt=marker_of(model),
            color=colour_of(model),
            markersize=5.5 if model == "qponder" else 4.5,
            elinewidth=1.1,
            label=short_label(model) + (" (no value)" if rows["value"].isna().all() else ""),
        )
    for position, dataset in enumerate(sets):
        ceiling = one(data, model="ceiling", dataset=dataset)
        if ceiling is not None:
            label = "Ceiling" if position == 0 else None
            ax.plot(
                [position - 0.42, position + 0.42],
                [ceiling["value"]] * 2,
                color=BLACK,
                linewidth=1.0,
                linestyle=(0, (4, 2)),
                label=label,
            )
    if MEAN in sets:
        ax.axvspan(sets.index(MEAN) - 0.5, sets.index(MEAN) + 0.5, color="#F2F2F2", zorder=0)
    for position in range(1, len(sets)):
        ax.axvline(position - 0.5, color=LIGHT, linewidth=0.6)
    ax.axhline(0.0, color=GREY, linewidth=0.7)
    ax.set_xticks(range(len(sets)), [set_label(name) for name in sets])
    ax.set_xlim(-0.5, len(sets) - 0.5)
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set_ylim(min(-0.15, float(np.nanmin(data["ci_low"].fillna(0.0))) - 0.03), 1.02)
    ax.set_ylabel("SRCC with the MOS")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.6)
    return ax


def heatmap_data(paths: RunPaths) -> pd.DataFrame:
    """Multiply SRCC and PLCC per model and set: model, dataset, srcc, plcc, product.

    Two negative correlations are no success, so the product has a minus if either has one.
    """
    scores = select(read_scores(paths), decoding="greedy", protocol="raw", metric=["srcc", "plcc"])
    wide = scores.pivot_table(
        index=["model", "dataset"], columns="metric", values="value", sort=False, dropna=False
    ).reindex(columns=["srcc", "plcc"])
    sign = np.where((wide[["srcc", "plcc"]] < 0.0).any(axis=1), -1.0, 1.0)
    wide["product"] = sign * (wide["srcc"] * wide["plcc"]).abs()
    return wide.reset_index()


def heatmap(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw SRCC x PLCC of every model on every set.

    Args:
        ax: Where to draw.
        data: As from `heatmap_data`.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 4(a).
    """
    models = in_order(list(data["model"].unique()))
    sets = list(dict.fromkeys(data["dataset"]))
    grid = data.pivot(index="model", columns="dataset", values="product").loc[models, sets]
    colours = mpl.colormaps["YlGnBu"].with_extremes(bad="#DDDDDD")
    image = ax.imshow(grid.to_numpy(dtype=float), cmap=colours, vmin=0.0, vmax=1.0, aspect="auto")
    for row, model in enumerate(models):
        for column, dataset in enumerate(sets):
            value = plain(grid.loc[model, dataset])
            text = number(value, 2)
            dark = value is not None and value > 0.55
            ax.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if dark else "black",
            )
    ax.set_xticks(range(len(sets)), [set_label(name) for name in sets])
    ax.set_yticks(range(len(models)), [short_label(model) for model in models])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if MEAN in sets:
        ax.axvline(sets.index(MEAN) - 0.5, color="white", linewidth=3.0)
    ax.figure.colorbar(image, ax=ax, label="SRCC × PLCC", fraction=0.03, pad=0.02)
    return ax


def scatter_data(paths: RunPaths, model: str, dataset: str) -> pd.DataFrame:
    """Read what a model answered greedily: model, dataset, image_id, mos, score, parse_status."""
    rows = artifacts.read_jsonl(paths.predictions(model, dataset), PredictionRecord)
    kept = ("image_id", "mos", "score", "parse_status")
    data = pd.DataFrame([row.model_dump(include=set(kept)) for row in rows])[list(kept)]
    data.insert(0, "dataset", dataset)
    data.insert(0, "model", model)
    return data


def scatter(ax: Axes, data: pd.DataFrame, *, colour: str = BLUE, title: str = "") -> Axes:
    """Draw stated scores against the MOS; the line is perfection.

    Args:
        ax: Where to draw.
        data: Columns mos and score; an answer that could not be read has no score.
        colour: Of the dots.
        title: What it is; SRCC, n and the number of unread answers are written below it.
    """
    read = data.dropna(subset=["score", "mos"])
    ax.plot([MOS_MIN, MOS_MAX], [MOS_MIN, MOS_MAX], color=GREY, linewidth=0.9, zorder=1)
    ax.scatter(read["mos"], read["score"], s=11, alpha=0.45, linewidths=0, color=colour)
    ax.set_xlim(MOS_MIN - 2, MOS_MAX + 2)
    ax.set_ylim(MOS_MIN - 2, MOS_MAX + 2)
    ax.set_xticks(range(0, 101, 25))
    ax.set_yticks(range(0, 101, 25))
    ax.set_aspect("equal")
    try:
        told = f"SRCC {statistics.srcc(read['score'].to_numpy(), read['mos'].to_numpy()):.2f}"
    except statistics.DegenerateInputError as error:
        told = f"no SRCC ({error.reason})"
    unread = len(data) - len(read)
    told += f", n {len(read)}" + (f", {unread} unread" if unread else "")
    ax.set_title(f"{title}\n{told}" if title else told, fontsize=8.5)
    ax.set_xlabel("MOS")
    ax.set_ylabel("Stated score")
    return ax


DECODING_LABELS = {"srcc": "SRCC", "mae": "MAE (MOS units)", "parse_rate": "Answers that parse"}
_WAYS = {"greedy": ("greedy", "raw"), "sampled": ("sampled", "raw")}


def decoding_data(run: Run, dataset: str) -> pd.DataFrame:
    """Collect SRCC, MAE and parse rate of greedy and sampled answers on one set."""
    scores = select(read_scores(run.paths), dataset=dataset, protocol="raw")
    scores = select(scores, model=list(run.profile.predict.sampled_models))
    return select(scores, metric=list(DECODING_LABELS))[["decoding", *COLUMNS]]


def decoding_dots(ax: Axes, data: pd.DataFrame, metric: str) -> Axes:
    """Draw one metric of greedy (filled) and sampled (open) answers with intervals.

    Args:
        ax: Where to draw.
        data: As from `decoding_data`.
        metric: `srcc`, `mae` or `parse_rate`.
    """
    rows = select(data, metric=metric)
    names = [(model, way) for model in in_order(list(rows["model"].unique())) for way in _WAYS]
    for position, (model, way) in enumerate(names):
        row = one(rows, model=model, decoding=way)
        if row is None or plain(row["value"]) is None:
            continue
        ends = [[row["value"] - row["ci_low"]], [row["ci_high"] - row["value"]]]
        known = plain(row["ci_low"]) is not None
        ax.errorbar(
            [row["value"]],
            [position],
            xerr=ends if known else None,
            fmt=marker_of(model),
            color=colour_of(model),
            markerfacecolor="white" if way == "sampled" else colour_of(model),
            markersize=6,
        )
    ax.set_yticks(range(len(names)), [f"{short_label(model)}, {way}" for model, way in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.set_xlabel(DECODING_LABELS[metric])
    if rows["value"].notna().sum() == 0:
        ax.set_xticks([])
        ax.text(0.5, 0.5, "no value", transform=ax.transAxes, ha="center", color=GREY)
    return ax

"""Differences over the seeds of a study, with the shuffled-reward control."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from qponder_lib.report.figures.style import BLACK, BROWN, GREY, VERMILION, say_missing
from qponder_lib.report.tables.sources import METRIC_LABELS, select

ARMS = {
    "Q-Ponder − its cold start": VERMILION,
    "Shuffled rewards − its cold start": BLACK,
    "Q-Ponder − shuffled rewards": BROWN,
}


def forest(ax: Axes, data: pd.DataFrame, *, decoding: str, dataset: str, metric: str) -> Axes:
    """Draw a difference per seed and over all seeds, with intervals; 0 is no difference.

    Args:
        ax: Where to draw.
        data: `study_differences.csv`.
        decoding: `greedy` or `sampled`.
        dataset: A set, or "mean".
        metric: `srcc`, `mae` or `parse_rate`.
    """
    ax.set_title(f"{decoding}, {dataset}")
    where = {"decoding": decoding, "dataset": dataset, "metric": metric, "protocol": "raw"}
    rows = select(data, arm=list(ARMS), **where) if len(data) else data
    if not len(rows) or rows["value"].notna().sum() == 0:
        return say_missing(ax, "not measured")
    labels, position = [], 0.0
    for arm, colour in ARMS.items():
        drawn = select(rows, arm=arm).to_dict("records")
        for number, row in enumerate(drawn):
            together = row["seed"] == "all"
            wide = 2.2 if together else 1.2
            ax.plot([row["ci_low"], row["ci_high"]], [position] * 2, color=colour, linewidth=wide)
            marker, size = ("D", 6) if together else ("o", 4)
            ax.plot(row["value"], position, marker=marker, markersize=size, color=colour)
            name = f"all {row['n_runs']}" if together else f"seed {row['seed']}"
            labels.append((position, name if number else f"{arm}    {name}"))
            position += 1.0
        position += 0.7 if drawn else 0.0
    ax.axvline(0.0, color=GREY, linewidth=0.9)
    ax.set_yticks([y for y, _ in labels], [text for _, text in labels])
    ax.set_ylim(position - 0.7, -0.7)
    ax.grid(False, axis="y")
    ax.locator_params(axis="x", nbins=5)
    unit = " (below 0 is better)" if metric == "mae" else ""
    ax.set_xlabel(f"Difference in {METRIC_LABELS[metric]}{unit}")
    return ax

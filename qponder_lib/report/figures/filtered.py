"""What the filter of Eq. 1 does: agreement over gamma, and which images it throws away."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from qponder_lib.report.figures.style import BLUE, GREY, ORANGE
from qponder_lib.report.tables.sources import METRIC_LABELS, select

_LINES = {
    "filtered": ("Smallest errors kept (Eq. 1)", BLUE, "o", "-"),
    "random": ("As many kept by chance", GREY, "s", "--"),
}


def sweep_curve(ax: Axes, data: pd.DataFrame, metric: str, *, gamma: float | None = None) -> Axes:
    """Draw how well kept answers agree with the MOS, over the share kept.

    Args:
        ax: Where to draw.
        data: `tables/filter_sweep.csv`.
        metric: `srcc` or `plcc`.
        gamma: The share in use, marked; None for no mark.
    """
    for selection, (label, colour, marker, line) in _LINES.items():
        rows = select(data, selection=selection).sort_values("gamma")
        ax.fill_between(
            rows["gamma"],
            rows[f"{metric}_low"],
            rows[f"{metric}_high"],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        ax.plot(
            rows["gamma"],
            rows[metric],
            line,
            color=colour,
            marker=marker,
            markersize=4,
            label=label,
        )
    if gamma is not None:
        ax.axvline(gamma, color=ORANGE, linewidth=1.0, zorder=0)
        ax.annotate(
            f"γ = {gamma:g}",
            (gamma, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color="#9A6A00",
        )
    ax.set_xlabel("Share kept, γ")
    ax.set_ylabel(f"{METRIC_LABELS[metric]} of the teacher's scores")
    return ax


def kept_histogram(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw kept and thrown-away answers over the MOS, with the share kept above each bar.

    Args:
        ax: Where to draw.
        data: `tables/filter_histogram.csv`.
    """
    centres, width = (data["low"] + data["high"]) / 2, data["high"] - data["low"]
    thrown = data["n_all"] - data["n_kept"]
    bars = {"width": width * 0.88, "align": "center"}
    ax.bar(centres, data["n_kept"], color=BLUE, label="Kept", **bars)
    ax.bar(
        centres,
        thrown,
        bottom=data["n_kept"],
        color=ORANGE,
        label="Thrown away",
        hatch="///",
        edgecolor="white",
        **bars,
    )
    for centre, total, rate in zip(centres, data["n_all"], data["keep_rate"], strict=True):
        if total:
            ax.annotate(
                f"{rate:.0%}",
                (centre, total),
                ha="center",
                va="bottom",
                fontsize=8,
                xytext=(0, 1.5),
                textcoords="offset points",
            )
    ax.set_xlim(data["low"].min(), data["high"].max())
    ax.set_ylim(0, data["n_all"].max() * 1.22)
    ax.grid(False, axis="x")
    ax.set_xlabel("MOS of the image")
    ax.set_ylabel("Answers with a score")
    ax.legend(loc="upper left", ncols=2)
    return ax

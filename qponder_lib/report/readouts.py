"""Readouts of the same weights, and the headroom that samples leave: a table and a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from qponder_lib.evaluation.readouts import MEASURES
from qponder_lib.pipeline import Run
from qponder_lib.report import style
from qponder_lib.report.render import (
    METRIC_LABELS,
    Table,
    by_model,
    grid,
    intervals,
    look,
    origin,
    read,
    select,
    set_label,
)
from qponder_lib.report.style import house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READOUTS = {
    "expectation": "expectation",
    "mean_of_k": "mean of samples",
    "median_of_k": "median of samples",
}
HEADINGS = {
    "best_of_k": "Best-of-k error",
    "coverage": "Samples span the MOS",
    "headroom": "Greedy error − best-of-k",
}


def readouts_table(run: Run) -> Table:
    """Lay out each readout minus the greedy score of the same weights; reads its CSV."""
    data = read(run.paths.tables / "readouts.csv")
    rows = by_model(data)
    rows = rows.assign(
        Set=rows["dataset"].map(set_label),
        Readout=rows["readout"].map(READOUTS),
        heading=rows["metric"].map(METRIC_LABELS),
    )
    note = (
        f"{origin(run)} Readout minus greedy score of the same weights, on the images that have "
        f"both; {intervals(data)}. Expectation: over the distribution at the score's place, given "
        "the greedy reasoning. MAE in MOS units: below 0 is better. Both scores are in the CSV."
    )
    cells = grid(rows, ["Model", "Set", "Readout"], "heading")
    return Table("Readouts of the same weights", note, {"": cells})


@house_style()
def headroom_figure(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw best-of-k error, coverage and headroom over k, on the first sampled set."""
    data = read(run.paths.tables / "headroom.csv")
    data = select(data, dataset=run.profile.predict.sampled_sets[0])
    figure, axes = style.new_figure(9.6, 3.0, 1, 3)
    for ax, measure in zip(axes.flat, MEASURES, strict=True):
        for model, rows in by_model(select(data, measure=measure)).groupby("model", sort=False):
            _, colour, marker = look(model)
            rows = rows.dropna(subset=["value"])
            ax.plot(rows["k"], rows["value"], color=colour, marker=marker, markersize=4)
            ax.fill_between(rows["k"], rows["ci_low"], rows["ci_high"], color=colour, alpha=0.15)
        ks = sorted(set(data["k"]))
        ax.set(title=HEADINGS[measure], xlabel="k samples")
        if any(line.get_xdata().size for line in ax.lines):  # else no sample was parsed
            ax.set_xscale("log", base=2)
            ax.set_xticks(ks, ks)
    style.legend_above(figure, data["model"])
    told = f"{set_label(run.profile.predict.sampled_sets[0])}; bands: {intervals(data)}. Errors in"
    told += (
        " MOS units, exact means over all choices of k of an image's samples. The headroom bounds"
    )
    told += " what GRPO could turn into greedy accuracy."
    style.caption(figure, f"{told} {origin(run)}")
    return figure, data

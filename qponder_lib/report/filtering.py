"""What the filter of Eq. 1 does to the distilled data: the tables and figures of notebook 03."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qponder_lib import artifacts
from qponder_lib.evaluation import filtering
from qponder_lib.pipeline import Run
from qponder_lib.records import FilteredResponse, ImageRecord
from qponder_lib.report import style
from qponder_lib.report.render import (
    BLUE,
    GREY,
    METRIC_LABELS,
    MISSING,
    ORANGE,
    Table,
    estimates,
    grid,
    intervals,
    number,
    one,
    origin,
    read,
    read_reported,
    select,
    write,
    write_frame,
)
from qponder_lib.report.style import house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BINS = 10
SELECTIONS = {
    "unfiltered": "All responses with a score",
    "filtered": "Kept by Eq. 1",
    "random": "Random subset of the same size",
}


def write_filter(run: Run) -> list[Path]:
    """Measure how the filter changed the distilled data, and lay it out.

    Args:
        run: Its `distill/kept.jsonl`, `distill/rejected.jsonl` and training images are read;
            gamma, the sweep and the seed come from its profile.

    Returns:
        The files written in `tables/`: `filter` (agreement with the MOS before, after and of a
        random subset), `filter_differences` (paired), `filter_reasons` (counts), `filter_sweep`
        and `filter_histogram`.

    Raises:
        FileNotFoundError: If the responses have not been filtered.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.2.
    """
    config = run.profile.filter
    result = filtering.read_filtered(run.paths)
    path = run.paths.split(run.profile.data.train_set, "train")
    images = {image.image_id: image for image in artifacts.read_jsonl(path, ImageRecord)}
    mos = {name: image.mos for name, image in images.items()}
    chosen = filtering.selections_of(result, config.gamma)
    pairs = (("filtered", "unfiltered"), ("filtered", "random"))
    rng, counts = np.random.default_rng(filtering.CONTROL_SEED), result.counts
    total = sum(counts.values())
    reasons = [{"reason": k, "n": n, "share": n / total} for k, n in counts.items()]
    bins = filtering.mos_histogram_shift(result, mos, N_BINS)
    frames = {
        "filter": _agreement(run, chosen, images),
        "filter_differences": filtering.selection_differences(chosen, pairs, images),
        "filter_reasons": reasons,
        "filter_sweep": filtering.sweep(result.rows, images, config.sweep, rng),
        "filter_histogram": bins,
    }
    folder = run.paths.tables
    written = [
        write_frame(folder / f"{name}.csv", pd.DataFrame(rows)) for name, rows in frames.items()
    ]
    return [*written, *write("filter", filter_table(run), folder)]


def filter_table(run: Run) -> Table:
    """Lay out the distilled data before and after the filter, from the CSVs of `write_filter`."""
    compared, differences, reasons = (
        read(run.paths.tables / f"filter{name}.csv") for name in ("", "_differences", "_reasons")
    )
    agreement = {"Selection": compared["selection"].map(SELECTIONS), "n": compared["n"].astype(str)}
    for metric in filtering.AGREEMENT:
        ends = {"value": metric, "ci_low": f"{metric}_low", "ci_high": f"{metric}_high"}
        rows = pd.DataFrame({name: compared[column] for name, column in ends.items()})
        cells = [estimates(rows.loc[[k]].assign(metric=metric)) for k in rows.index]
        agreement[METRIC_LABELS[metric]] = cells
    told = compared[["reported_plcc", "reported_srcc"]].map(number).agg(" / ".join, axis=1)
    agreement["PLCC / SRCC (reported)"] = told.replace(f"{MISSING} / {MISSING}", MISSING)
    first, second = differences["first"].map(SELECTIONS), differences["second"].map(SELECTIONS)
    gained = differences.assign(Selections=first + " − " + second.str.lower())
    gained["label"] = gained["metric"].map(METRIC_LABELS)
    reasons["share"] = reasons["share"].map("{:.1%}".format)
    note = (
        f"{origin(run)} gamma = {run.profile.filter.gamma:g}, teacher "
        f"{run.profile.distill.teacher_model}. Scores of the teacher against the MOS, "
        f"{intervals(compared)} with the selection held fixed. "
        "Responses are kept for a small error, so agreement must rise; how much, and which images "
        "it costs, is the finding. Reported: section 3.2 of the paper, another teacher on other "
        "images."
    )
    grids = {
        "Agreement with the MOS": pd.DataFrame(agreement),
        "What the filter gains": grid(gained, "Selections", "label"),
        "Responses by reason": reasons.astype(str),
    }
    return Table("The distilled data before and after the filter", note, grids)


def _agreement(
    run: Run, chosen: Mapping[str, Sequence[FilteredResponse]], images: Mapping[str, ImageRecord]
) -> pd.DataFrame:
    rows = filtering.compare_selections(chosen, images)
    reported = read_reported("section_3_2")
    for row in rows:
        row["gamma"] = None if row["selection"] == "unfiltered" else run.profile.filter.gamma
        for metric in ("plcc", "srcc"):
            told = one(reported, method=row["selection"], metric=metric)
            row[f"reported_{metric}"] = told["value"] if told else None
    return pd.DataFrame(rows)


# ---- figures


@house_style()
def sweep_figure(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw how well kept responses agree with the MOS over the share kept, with the control."""
    data = read(run.paths.filter_sweep)
    figure, axes = style.new_figure(8.4, 3.4, 1, 2, sharey=True)
    for ax, metric in zip(axes.flat, ("plcc", "srcc"), strict=True):
        _sweep_curves(ax, data, metric, run.profile.filter.gamma)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    n = f"{data['n'].max():,}"
    told = f"Bands: {intervals(data)}; {n} responses at γ = 1."
    style.caption(figure, f"{told} The vertical line is the γ in use. {origin(run)}")
    return figure, data


def _sweep_curves(ax: Axes, data: pd.DataFrame, metric: str, gamma: float) -> None:
    for selection, colour, line in (("filtered", BLUE, "o-"), ("random", GREY, "s--")):
        rows = select(data, selection=selection).sort_values("gamma")
        low, high = rows[f"{metric}_low"], rows[f"{metric}_high"]
        ax.fill_between(rows["gamma"], low, high, color=colour, alpha=0.18, linewidth=0)
        label = SELECTIONS[selection]
        ax.plot(rows["gamma"], rows[metric], line, color=colour, markersize=4, label=label)
    ax.axvline(gamma, color=ORANGE, linewidth=1.0, zorder=0)
    ax.annotate(f"γ = {gamma:g}", (gamma, 0.06), xytext=(gamma + 0.01, 0.06), color="#9A6A00")
    ax.set_ylim(0.0, 1.02)
    ax.set_xlabel("Share kept, γ")
    ax.set_ylabel(f"{METRIC_LABELS[metric]} of the teacher's scores")


@house_style()
def histogram_figure(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw kept and rejected responses over the MOS, with the share kept above each bar."""
    data = read(run.paths.tables / "filter_histogram.csv")
    figure, axes = style.new_figure(5.8, 3.4)
    ax = axes[0, 0]
    centres = (data["low"] + data["high"]) / 2
    bars = {"width": (data["high"] - data["low"]) * 0.88, "align": "center"}
    rejected = {"bottom": data["n_kept"], "color": ORANGE, "hatch": "///", "edgecolor": "white"}
    ax.bar(centres, data["n_kept"], color=BLUE, label="Kept", **bars)
    tops = ax.bar(centres, data["n_all"] - data["n_kept"], label="Rejected", **rejected, **bars)
    rates = [f"{rate:.0%}" if rate == rate else "" for rate in data["keep_rate"]]
    ax.bar_label(tops, rates, fontsize=8, padding=1.5)
    ax.set_xlim(data["low"].min(), data["high"].max())
    ax.set_ylim(0, data["n_all"].max() * 1.1)
    ax.grid(False, axis="x")
    ax.set_xlabel("MOS of the image")
    ax.set_ylabel("Responses with a score")
    figure.legend(loc="outside upper center", ncols=2)
    told = f"Above each bar: the share kept; n = {data['n_all'].sum():,} responses with a score."
    style.caption(figure, f"{told} {origin(run)}")
    return figure, data

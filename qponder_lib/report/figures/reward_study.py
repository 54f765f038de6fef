"""Rewards side by side: their shapes on the same answers, and what training by each led to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from qponder_lib.report.figures.style import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    Drawing,
    house_style,
    new_figure,
    say_missing,
)
from qponder_lib.report.tables.reward_arms import LABELS
from qponder_lib.report.tables.sources import METRIC_LABELS, read, select
from qponder_lib.rewards.batch import TITLES, compare_rewards
from qponder_lib.rewards.qponder import group_advantages

COLOURS = {
    "qponder": VERMILION,
    "threshold": GREEN,
    "gaussian": ORANGE,
    "fidelity": PURPLE,
    "preresq": BLUE,
    "preresq-shuffled": BLACK,
    "qponder-one-score": BROWN,
}
GRID: NDArray[np.float64] = np.linspace(1.0, 5.0, 201)


@house_style()
def shapes(scores: Sequence[Sequence[float]], labels: Sequence[float], *, alpha: float) -> Drawing:
    """What the first completion of the first image earns for every score it could state.

    Args:
        scores: Scores of a batch, 1 to 5, shape (B, K); the first one takes every value.
        labels: Labels, 1 to 5.
        alpha: Tolerance of the exponential reward, MOS units.
    """
    earned_at = []
    for stated in GRID:
        batch = [[stated, *scores[0][1:]], *scores[1:]]
        earned_at.append(compare_rewards(batch, labels, alpha=alpha))
    curves = {name: np.array([one[name][0, 0] for one in earned_at]) for name in TITLES}
    figure, axes = new_figure(11.4, 2.7, 1, len(curves))
    others = [score for score in scores[0][1:] if not np.isnan(score)]
    for ax, (name, earned) in zip(axes.flat, curves.items(), strict=True):
        ax.axvline(labels[0], color=GREY, linewidth=0.9)
        ax.plot(GRID, earned, color=COLOURS[name])
        ax.plot(others, np.zeros(len(others)), "|", color=BLACK, markersize=9)
        ax.set_title(TITLES[name])
        ax.set_ylim(-0.03, 1.08)
        ax.set_xlabel("Stated score, 1 to 5")
    axes[0, 0].set_ylabel("Reward")
    data = pd.DataFrame({"score": GRID, **curves})
    return Drawing("reward_shapes", figure, data)


@house_style()
def advantages(
    scores: Sequence[Sequence[float]], labels: Sequence[float], *, alpha: float
) -> Drawing:
    """What each reward teaches of one batch: a panel per image, a bar per completion and reward.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unparsed completion.
        labels: Labels, 1 to 5.
        alpha: Tolerance of the exponential reward, MOS units.
    """
    rewards = compare_rewards(scores, labels, alpha=alpha)
    found = {name: group_advantages(values) for name, values in rewards.items()}
    figure, axes = new_figure(3.8 * len(labels), 3.0, 1, len(labels))
    rows = []
    for image, ax in enumerate(axes.flat):
        names = [f"{one:g}" if not np.isnan(one) else "unparsed" for one in scores[image]]
        for number, (name, values) in enumerate(found.items()):
            places = np.arange(len(names)) + (number - (len(found) - 1) / 2) * 0.16
            ax.bar(places, values[image], 0.15, color=COLOURS[name], label=TITLES[name])
            rows += [
                {"image": image, "answer": k, "score": scores[image][k], "reward": name, "value": v}
                for k, v in enumerate(values[image].tolist())
            ]
        ax.axhline(0.0, color=GREY, linewidth=0.9)
        ax.set_xticks(range(len(names)), names)
        ax.set_title(f"Label {labels[image]:g}")
        ax.set_xlabel("Stated score")
    axes[0, 0].set_ylabel("Advantage in the group")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=len(found))
    return Drawing("reward_advantages", figure, pd.DataFrame(rows))


def systems_forest(
    ax: Axes, data: pd.DataFrame, *, decoding: str, dataset: str, metric: str
) -> Axes:
    """Draw each system's difference to its own cold start, over seeds, with intervals.

    Args:
        ax: Where to draw.
        data: `reward_differences.csv`.
        decoding: `greedy` or `sampled`.
        dataset: A set, or "mean".
        metric: `srcc`, `plcc` or `mae`.
    """
    ax.set_title(f"{decoding}, {'mean over the sets' if dataset == 'mean' else dataset}")
    where = {"decoding": decoding, "dataset": dataset, "metric": metric, "protocol": "raw"}
    rows = select(data, **where).dropna(subset=["value"]) if len(data) else data
    labels = []
    for system, label in LABELS.items():
        mine = select(rows, arm=f"{label} − its cold start") if len(rows) else rows
        for row in mine.to_dict("records"):
            together = row["seed"] == "all"
            y = len(labels) + (0.0 if together or len(mine) == 1 else 0.28)
            wide, marker, size = (2.2, "D", 6) if together else (0.0, "o", 3.5)
            if together or len(mine) == 1:
                ax.plot([row["ci_low"], row["ci_high"]], [y] * 2, color=COLOURS[system], lw=2.2)
            ax.plot(row["value"], y, marker, color=COLOURS[system], markersize=size, lw=wide)
        if len(mine):
            labels.append(label)
    if not labels:
        return say_missing(ax, "not measured")
    ax.axvline(0.0, color=GREY, linewidth=0.9)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(False, axis="y")
    unit = " (below 0 is better)" if metric in ("mae", "rmse") else ""
    ax.set_xlabel(f"Change in {METRIC_LABELS[metric]}{unit}")
    return ax


@house_style()
def comparison(folder: Path, home: str = "mini-koniq") -> Drawing:
    """What training by each reward changed, in domain and over all sets.

    Args:
        folder: `papermill_runs/<study>`; `tables/reward_differences.csv` in it is read.
        home: The in-domain set.
    """
    data = read(folder / "tables" / "reward_differences.csv")
    panels = [("greedy", home, metric) for metric in ("srcc", "plcc", "mae")]
    panels += [("greedy", "mean", "srcc"), ("greedy", "mean", "mae"), ("sampled", home, "srcc")]
    figure, axes = new_figure(11.4, 6.2, 2, 3)
    for ax, (decoding, dataset, metric) in zip(axes.flat, panels, strict=True):
        systems_forest(ax, data, decoding=decoding, dataset=dataset, metric=metric)
    for ax in axes[:, 1:].flat:
        ax.tick_params(axis="y", labelleft=False)
    figure.suptitle(
        "Change against each system's own cold start. Diamond: mean over seeds with its 95% "
        "interval, dots below it: seeds; a dot with an interval: the only seed.",
        fontsize="medium",
    )
    drawn = data[data["arm"].str.endswith("its cold start")] if len(data) else data
    return Drawing("reward_comparison", figure, drawn)

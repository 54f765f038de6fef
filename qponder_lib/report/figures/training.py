"""Training curves: SFT loss, and what GRPO's log shows (Fig. 5 and the alarms' numbers)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from qponder_lib.paths import RunPaths
from qponder_lib.report.figures.style import (
    VERMILION,
    colour_of,
    marker_of,
    say_missing,
    short_label,
    smooth,
)

WINDOW = 21
"""Logged rows that a smoothed curve averages over."""
_VARIANTS = ("none", "short", "long")

GRPO_LABELS = {
    "reward_accuracy": "Accuracy reward (Eq. 5)",
    "reward_format": "Format reward (Eq. 6)",
    "parse_rate": "Share of rollouts that parse",
    "completion_length": "Completion length (tokens)",
    "kl": "KL to the cold start (nats per token)",
    "zero_variance_share": "Groups without variance (share)",
    "distinct_scores": "Distinct scores in a group",
    "validation_srcc": "Validation SRCC, greedy",
}
"""Curves of a GRPO log and what their axes are called."""


def sft_data(paths: RunPaths) -> pd.DataFrame:
    """Read the loss of every SFT variant there is: variant, step, loss, smoothed.

    Raises:
        FileNotFoundError: If no variant has been trained.
    """
    found = [name for name in _VARIANTS if (paths.sft(name) / "history.csv").is_file()]
    if not found:
        raise FileNotFoundError(f"no sft/<variant>/history.csv in {paths.root}; run notebook 04")
    frames = []
    for variant in found:
        history = pd.read_csv(paths.sft(variant) / "history.csv")[["step", "loss"]].dropna()
        history.insert(0, "variant", variant)
        frames.append(history.assign(smoothed=smooth(history["loss"], 5)))
    return pd.concat(frames, ignore_index=True)


def sft_loss(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw the SFT loss per variant, raw and smoothed.

    Args:
        ax: Where to draw.
        data: As from `sft_data`.
    """
    for variant, rows in data.groupby("variant", sort=False):
        model = f"ci-{variant}"
        ax.plot(rows["step"], rows["loss"], color=colour_of(model), linewidth=0.8, alpha=0.35)
        ax.plot(
            rows["step"],
            rows["smoothed"],
            color=colour_of(model),
            marker=marker_of(model),
            markevery=max(len(rows) // 8, 1),
            markersize=4,
            label=short_label(model),
        )
    ax.set_xlabel("Optimiser step")
    ax.set_ylabel("Cross-entropy of answer tokens (nats)")
    ax.set_ylim(0, None)
    ax.set_xlim(0, data["step"].max())
    ax.legend()
    return ax


def grpo_data(paths: RunPaths, reward: str = "qponder") -> pd.DataFrame:
    """Read the log of reinforcement learning, with a smoothed column for every raw one."""
    history = pd.read_csv(paths.grpo(reward) / "history.csv")
    curves = [name for name in GRPO_LABELS if name in history]
    return with_smoothed(history, curves)


def with_smoothed(history: pd.DataFrame, curves: list[str]) -> pd.DataFrame:
    """Keep the step and some columns of a log, with a smoothed column for all but validations."""
    data = history[["step", *curves]].copy()
    for name in curves:
        if not name.startswith("validation"):
            data[f"{name}_smoothed"] = smooth(data[name], WINDOW)
    return data


def grpo_curve(ax: Axes, data: pd.DataFrame, name: str, title: str | None = None) -> Axes:
    """Draw one curve of the log: raw and smoothed, or the validations as points.

    Args:
        ax: Where to draw.
        data: As from `grpo_data`.
        name: A column; without a title, a key of `GRPO_LABELS`.
        title: Another title.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 5: (a) accuracy reward, (b) completion length.
    """
    ax.set_title(title or GRPO_LABELS[name])
    if name not in data or data[name].notna().sum() == 0:
        return say_missing(ax, "not logged")
    rows = data.dropna(subset=[name])
    if name.startswith("validation"):
        ax.plot(rows["step"], rows[name], color=VERMILION, marker="o", markersize=4, clip_on=False)
    else:
        ax.plot(
            rows["step"], rows[name], color=VERMILION, linewidth=0.7, alpha=0.35, label="as logged"
        )
        ax.plot(
            rows["step"],
            rows[f"{name}_smoothed"],
            color=VERMILION,
            label=f"mean of {WINDOW} logged",
        )
    ax.set_xlim(0, data["step"].max())
    ax.set_xlabel("Optimiser step")
    return ax

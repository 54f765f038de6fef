"""Training curves: SFT loss, Fig. 5, and what GRPO's log shows, with its alarms marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qponder_lib.artifacts import read_csv
from qponder_lib.evaluation import monitoring
from qponder_lib.evaluation.monitoring import Alarm
from qponder_lib.pipeline import Run
from qponder_lib.report import style
from qponder_lib.report.render import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    look,
    number,
    origin,
)
from qponder_lib.report.style import house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW = 21
"""Logged rows that a smoothed curve averages over."""
ENDS = 10
"""Logged rows at the start and at the end whose means stand in a title."""
CURVES = {
    "reward": "Reward, weighted sum",
    "reward_accuracy": "Accuracy reward (Eq. 5)",
    "reward_format": "Format reward (Eq. 6)",
    "validation_srcc": "Validation SRCC, greedy",
    "parse_rate": "Parse rate",
    "zero_variance_share": "Groups without variance (share)",
    "distinct_scores": "Distinct scores in a group",
    "modal_share": "Commonest score (share)",
    "completion_length": "Completion length (tokens)",
    "clipped_ratio": "Completions cut off (share)",
    "kl": "KL to the start (nats/token)",
    "entropy": "Entropy (nats/token)",
}
"""Column of GRPO's `history.csv` -> title of its panel."""
_FIG5 = ("reward_accuracy", "completion_length")
_UNBOUNDED = {"reward", "distinct_scores", "completion_length", "kl", "entropy"}
"""Curves that are drawn from 0 up; all others are shares or correlations, drawn on 0 to 1."""
_TERM = "term_"
_TERM_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, BROWN)


def smooth(values: pd.Series, window: int = WINDOW) -> pd.Series:
    """Smooth a logged curve: mean of `window` rows around each, fewer at the ends.

    A centred mean lags behind neither a rise nor a fall.

    Example:
        >>> smooth(pd.Series([0.0, 3.0, 6.0]), 3).tolist()
        [1.5, 3.0, 4.5]
    """
    return values.rolling(window, center=True, min_periods=1).mean()


# ---- SFT


@house_style()
def sft_loss(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw the loss of every SFT variant there is, raw and smoothed.

    Raises:
        FileNotFoundError: If no variant has been trained.
    """
    from matplotlib.ticker import LogLocator

    frames = []
    for variant in ("none", "short", "long"):
        if (file := run.paths.sft(variant) / "history.csv").is_file():
            history = pd.read_csv(file)[["step", "loss"]].dropna()
            history.insert(0, "variant", variant)
            frames.append(history.assign(smoothed=smooth(history["loss"], 5)))
    if not frames:
        raise FileNotFoundError(
            f"no sft/<variant>/history.csv in {run.paths.root}; run notebook 04"
        )
    data = pd.concat(frames, ignore_index=True)
    figure, axes = style.new_figure(5.4, 3.5)
    ax = axes[0, 0]
    for variant, rows in data.groupby("variant", sort=False):
        _, colour, marker = look(f"ci-{variant}")
        ax.plot(rows["step"], rows["loss"], color=colour, linewidth=0.8, alpha=0.35)
        every = max(len(rows) // 8, 1)
        drawn = {"color": colour, "marker": marker, "markevery": every, "markersize": 4}
        ax.plot(rows["step"], rows["smoothed"], **drawn)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_xlim(0, data["step"].max())
    ax.set(xlabel="Optimiser step", ylabel="Cross-entropy of response tokens (nats)")
    style.legend_above(figure, "ci-" + data["variant"])
    style.caption(figure, f"Pale: as logged; log scale. One training run each. {origin(run)}")
    return figure, data


# ---- GRPO


def with_smoothed(history: pd.DataFrame, curves: Iterable[str]) -> pd.DataFrame:
    """Keep the step and some columns of a log, with a smoothed column for all but validations."""
    curves = [name for name in curves if name in history]
    data = history[["step", *curves]].copy()
    for name in curves:
        if not name.startswith("validation"):
            data[f"{name}_smoothed"] = smooth(data[name])
    return data


@house_style()
def fig5_grpo(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw the accuracy reward and the completion length over training.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 5: (a) accuracy reward, (b) completion length.
    """
    data = with_smoothed(pd.read_csv(_history(run)), _FIG5)
    figure, axes = style.new_figure(8.4, 3.2, 1, 2)
    for ax, column, letter in zip(axes.flat, _FIG5, "ab", strict=True):
        grpo_curve(ax, data, column)
        ax.set_title(f"({letter}) {ax.get_title('left')}")
    _explain(figure, origin(run))
    return figure, data


def grpo_diagnostics(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw what shows whether GRPO works, beside the reward: the health of its last phase."""
    history = read_history(_history(run))
    return health_figure(history, monitoring.alarms(history), origin(run))


def _history(run: Run) -> Path:
    return run.paths.grpo(run.profile.grpo.reward) / "history.csv"


def grpo_curve(ax: Axes, data: pd.DataFrame, column: str) -> Axes:
    """Draw one column of GRPO's log: raw and smoothed, or the validations as points.

    Args:
        ax: Where to draw; shares, correlations and rewards of at most 1 are drawn on 0 to 1, the
            rest from 0, so that a small change looks small.
        data: As from `with_smoothed`.
        column: A key of `CURVES`.
    """
    ax.set_title(CURVES[column])
    if column not in data or data[column].notna().sum() == 0:
        return style.say_missing(ax, "not logged")
    rows = data.dropna(subset=[column])
    steps, values = rows["step"], rows[column]
    if column.startswith("validation"):
        ax.plot(steps, values, color=VERMILION, marker="o", markersize=4, clip_on=False)
        first, last = values.iloc[0], values.iloc[-1]
    else:
        ax.plot(steps, values, color=VERMILION, linewidth=0.7, alpha=0.35)
        ax.plot(steps, rows[f"{column}_smoothed"], color=VERMILION)
        first, last = values.iloc[:ENDS].mean(), values.iloc[-ENDS:].mean()
    digits = 1 if max(abs(first), abs(last)) >= 20.0 else 3
    ax.set_title(f"{CURVES[column]}\n{number(first, digits)} → {number(last, digits)}")
    low, top = (0.0, max(values.max() * 1.08, 1e-6)) if column in _UNBOUNDED else (-0.02, 1.02)
    ax.set_ylim(min(low, values.min() * 1.08), top)
    ax.set_xlim(0, max(data["step"].max(), 1))
    ax.set_xlabel("Optimiser step")
    return ax


def _explain(figure: Figure, source: str) -> None:
    style.caption(
        figure,
        f"Pale: as logged; line: centred mean of {WINDOW} logged rows. Numbers: mean of the first "
        f"and of the last {ENDS} logged rows (validations: first and last). One training run, no "
        f"interval. {source}",
    )


# ---- alarms


def read_history(file: Path) -> list[dict[str, float]]:
    """Read a `history.csv` as numbers; an empty cell is NaN.

    Raises:
        ValueError: If there is no row or no step, or a cell is not a finite number.
    """
    cells = pd.DataFrame(read_csv(file)).rename(index=lambda row: row + 2)  # lines of the file
    if cells.empty:
        raise ValueError(f"{file}: no logged row below the header")
    numbers = cells.apply(pd.to_numeric, errors="coerce").astype(float)
    numbers = numbers.where(np.isfinite(numbers))
    wrong = (numbers.isna() & cells.notna()).stack()
    for line, name in wrong[wrong].index:
        got = cells.loc[line, name]
        raise ValueError(f"{file}, line {line}: expected a number in column {name}, got {got!r}")
    if "step" not in numbers or numbers["step"].isna().any():
        raise ValueError(f"{file}: expected a number in column step, got none")
    return numbers.to_dict("records")


@house_style()
def health_figure(
    history: list[dict[str, float]], alarms: list[Alarm], source: str = ""
) -> tuple[Figure, pd.DataFrame]:
    """Draw all columns of a history over one step axis, alarms marked.

    Args:
        history: As from `read_history`.
        alarms: What is wrong with it.
        source: Where the history is from, for the caption.

    Returns:
        The figure and its frame; the column alarms names the alarms that were read at a step. The
        terms of a reward, if any are logged, take the place of the entropy.
    """
    frame = pd.DataFrame(history)
    terms = [column for column in frame if column.startswith(_TERM)]
    data = with_smoothed(frame.astype(float), [*CURVES, *terms])
    data["alarms"] = [
        "; ".join(one.column for one in alarms if one.first_step <= step <= one.last_step)
        for step in data["step"]
    ]
    figure, axes = style.new_figure(12.4, 7.6, 3, 4)
    numbered = {alarm.column: (n, alarm) for n, alarm in enumerate(alarms, start=1)}
    for ax, column in zip(axes.flat, CURVES, strict=True):
        if terms and column == "entropy":
            _terms(ax, data, terms)
            continue
        grpo_curve(ax, data, column)
        if ax not in axes[-1]:
            ax.set_xlabel("")
        _limit(ax, column)
        if column in numbered:
            n, alarm = numbered[column]
            ax.axvspan(alarm.first_step, alarm.last_step, color=VERMILION, alpha=0.1, linewidth=0)
            ax.set_title(f"{ax.get_title('left')}, alarm {n}", color=VERMILION)
    figure.suptitle(_verdict(history, numbered), x=0.01, ha="left", fontsize=9.5)
    _explain(figure, source)
    return figure, data


def _verdict(history: list, numbered: Mapping[str, tuple[int, Alarm]]) -> str:
    if numbered:
        return "\n".join(f"Alarm {n}: {alarm.said}" for n, alarm in numbered.values())
    if monitoring.long_enough(history):
        return "No alarm"
    return f"{len(history)} logged rows are too few for alarms"


def _limit(ax: Axes, column: str) -> None:
    """Draw the level that sets off an alarm, where it lies in the panel."""
    limit = monitoring.LIMITS.get(column)
    if limit is None or limit > ax.get_ylim()[1]:
        return
    side, above = ("below", "top") if column == "parse_rate" else ("above", "bottom")
    ax.axhline(limit, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    place = {"transform": ax.get_yaxis_transform(), "va": above, "fontsize": 7.5, "color": GREY}
    ax.text(0.02, limit, f"alarm {side}", **place)


def _terms(ax: Axes, data: pd.DataFrame, terms: list[str]) -> None:
    for place, column in enumerate(terms):
        colour = _TERM_COLOURS[place % len(_TERM_COLOURS)]
        label = column.removeprefix(_TERM).replace("_", " ")
        ax.plot(data["step"], data[f"{column}_smoothed"], color=colour, label=label)
    ax.set_title("Terms of the reward, smoothed")
    ax.set_xlim(0, max(data["step"].max(), 1))
    ax.set_xlabel("Optimiser step")
    ax.legend(fontsize=7)

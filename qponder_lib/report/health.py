"""Draws how reinforcement learning went, from a run's log, with its alarms marked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from qponder_lib.artifacts import read_csv
from qponder_lib.evaluation import monitoring as rl_health
from qponder_lib.evaluation.monitoring import Alarm
from qponder_lib.paths import RunPaths
from qponder_lib.report.figures.style import (
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
)
from qponder_lib.report.figures.training import GRPO_LABELS, grpo_curve, with_smoothed

PANELS = {
    "reward": "Reward, weighted sum",
    "reward_accuracy": GRPO_LABELS["reward_accuracy"],
    "reward_format": GRPO_LABELS["reward_format"],
    "validation_srcc": GRPO_LABELS["validation_srcc"],
    "parse_rate": "Rollouts that parse (share)",
    "zero_variance_share": GRPO_LABELS["zero_variance_share"],
    "distinct_scores": GRPO_LABELS["distinct_scores"],
    "modal_share": "Commonest score (share)",
    "completion_length": GRPO_LABELS["completion_length"],
    "clipped_ratio": "Answers cut off (share)",
    "kl": "KL to the start (nats/token)",
    "entropy": "Entropy (nats/token)",
}
"""Column of ``history.csv`` -> title of its panel; terms of a reward take the last one's place."""
_SHARES = ("reward_format", "parse_rate", "zero_variance_share", "modal_share", "clipped_ratio")
_TERM_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, BROWN)
_TERM = "term_"


@dataclass(frozen=True)
class Health:
    """What the log of one reinforcement learning shows.

    Attributes:
        phase: Folder below ``grpo/``.
        steps: Optimiser step of the last logged row.
        rows: Logged rows.
        judged: False if the history is too short for alarms.
        missing: Watched columns without a number; their alarms could not be read.
        alarms: What is wrong.
        files: The figure, and what it shows.
    """

    phase: str
    steps: int
    rows: int
    judged: bool
    missing: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self) | {"files": [str(path) for path in self.files]}


def write_health(paths: RunPaths, folder: Path | None = None) -> list[Health]:
    """Draw and judge every ``grpo/<phase>/history.csv`` of a run.

    Args:
        paths: The run.
        folder: Where the figures go; the run's own ``figures/`` if it is not given.

    Returns:
        One entry per phase. The files are ``health.*``, or ``health-<phase>.*`` for several.

    Raises:
        FileNotFoundError: If there is no history.
        ValueError: If one cannot be read; the message names file and line.
    """
    files = sorted(paths.root.glob("grpo/*/history.csv"))
    if not files:
        raise FileNotFoundError(f"no grpo/<phase>/history.csv in {paths.root}; train one first")
    histories = [(file.parent.name, read_history(file)) for file in files]
    found = []
    for phase, history in histories:
        alarms = rl_health.alarms(history)
        name = "health" if len(files) == 1 else f"health-{phase}"
        steps = int(history[-1]["step"])
        origin = f"{paths.root.name}, grpo/{phase}: {len(history)} logged rows to step {steps}."
        drawing = health_figure(history, alarms, name).signed(origin)
        written = drawing.save(folder or paths.figures)
        judged, lacking = rl_health.long_enough(history), rl_health.missing(history)
        parts = (judged, tuple(lacking), tuple(alarms), tuple(written))
        found.append(Health(phase, steps, len(history), *parts))
    return found


def read_history(file: Path) -> list[dict[str, float | None]]:
    """Read a ``history.csv`` as numbers; an empty cell is None.

    Raises:
        ValueError: If there is no row or no step, or a cell is not a finite number.
    """
    rows = []
    for line, row in enumerate(read_csv(file), start=2):
        rows.append(
            {name: _number(cell, f"{file}, line {line}", name) for name, cell in row.items()}
        )
        if rows[-1].get("step") is None:
            raise ValueError(f"{file}, line {line}: expected a number in column step, got none")
    if not rows:
        raise ValueError(f"{file}: no logged row below the header")
    return rows


@house_style()
def health_figure(
    history: list[dict[str, float | None]], alarms: list[Alarm], name: str = "health"
) -> Drawing:
    """Draw a history as small multiples over one step axis, alarms marked.

    Args:
        history: As from `read_history`.
        alarms: What is wrong with it.
        name: Of the files.
    """
    frame = pd.DataFrame(history)
    terms = [column for column in frame if column.startswith(_TERM)]
    curves = [column for column in (*PANELS, *terms) if column in frame]
    data = with_smoothed(frame.astype(float), curves)
    data["alarms"] = [
        "; ".join(one.column for one in alarms if one.first_step <= step <= one.last_step)
        for step in data["step"]
    ]
    figure, axes = new_figure(12.4, 7.0, 3, 4)
    panels = list(zip(axes.flat, PANELS, strict=True))
    for ax, column in panels[: -1 if terms else None]:
        _panel(ax, data, column)
    if terms:
        _terms(axes[-1, -1], data, terms)
    wrong = {alarm.column: (number, alarm) for number, alarm in enumerate(alarms, start=1)}
    for ax, column in panels:
        if column in wrong:
            _mark(ax, *wrong[column])
        ax.set_xlabel("Optimiser step" if ax in axes[-1] else "")
    axes[0, 0].legend(loc="best", fontsize=7.5)
    said = [f"Alarm {number}: {alarm.said}" for number, alarm in wrong.values()]
    if not said:
        judged = rl_health.long_enough(history)
        said = ["No alarm" if judged else f"{len(history)} logged rows are too few for alarms"]
    colour = VERMILION if alarms else GREY
    figure.suptitle("\n".join(said), x=0.01, ha="left", fontsize=9.5, color=colour)
    return Drawing(name, figure, data)


def _panel(ax: Axes, data: pd.DataFrame, column: str) -> None:
    grpo_curve(ax, data, column, PANELS[column])
    if column not in data or data[column].notna().sum() == 0:
        return
    if column in ("validation_srcc", "reward_accuracy"):
        ax.set_ylim(min(0.0, data[column].min() * 1.08), max(1.0, data[column].max()))
    elif column in _SHARES:
        ax.set_ylim(-0.02, 1.02)
    elif column in ("distinct_scores", "completion_length", "kl", "reward", "entropy"):
        ax.set_ylim(min(0.0, data[column].min()), max(data[column].max() * 1.08, 1e-6))
    limit = rl_health.LIMITS.get(column)
    if limit is not None and limit <= ax.get_ylim()[1]:
        ax.axhline(limit, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.text(
            0.02,
            limit,
            "alarm below" if column == "parse_rate" else "alarm above",
            transform=ax.get_yaxis_transform(),
            ha="left",
            va="top" if column == "parse_rate" else "bottom",
            fontsize=7.5,
            color=GREY,
        )


def _terms(ax: Axes, data: pd.DataFrame, terms: list[str]) -> None:
    for number, column in enumerate(terms):
        colour = _TERM_COLOURS[number % len(_TERM_COLOURS)]
        label = column.removeprefix(_TERM).replace("_", " ")
        ax.plot(data["step"], data[f"{column}_smoothed"], color=colour, label=label)
    ax.set_title("Terms of the reward, smoothed")
    ax.set_xlim(0, max(data["step"].max(), 1))
    ax.legend(fontsize=7)


def _mark(ax: Axes, number: int, alarm: Alarm) -> None:
    ax.axvspan(alarm.first_step, alarm.last_step, color=VERMILION, alpha=0.1, linewidth=0)
    ax.set_title(f"{ax.get_title(loc='left')}, alarm {number}", color=VERMILION)


def _number(cell: str | None, where: str, column: str) -> float | None:
    if cell is None:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: expected a number in column {column}, got {cell!r}")
    return value

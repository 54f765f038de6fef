"""One look for all figures: colours, markers, labels, and the one way to save.

Colours are Okabe and Ito's, which differ for colour-blind readers too; markers repeat the
distinction for print without colour. A method has the same colour and marker everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qponder_lib import artifacts
from qponder_lib.report.tables.render import write_frame
from qponder_lib.report.tables.sources import model_label

BLACK, GREY, LIGHT = "#000000", "#6E6E6E", "#BFBFBF"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, BROWN = "#0072B2", "#D55E00", "#CC79A7", "#8C510A"

MODEL_COLOURS = {
    "handcrafted": PURPLE,
    "base": GREY,
    "ci-none": ORANGE,
    "ci-short": SKY,
    "ci-long": BLUE,
    "qponder": VERMILION,
    "qponder-shuffled": BLACK,
    "teacher": GREEN,
}
MODEL_MARKERS = {
    "handcrafted": "P",
    "base": "X",
    "ci-none": "v",
    "ci-short": "^",
    "ci-long": "s",
    "qponder": "o",
    "qponder-shuffled": "*",
    "teacher": "D",
}
SHORT_LABELS = {
    "handcrafted": "Handcrafted",
    "base": "Base",
    "ci-none": "CI, none",
    "ci-short": "CI, short",
    "ci-long": "CI, long",
    "qponder": "Q-Ponder",
    "qponder-shuffled": "Shuffled",
    "teacher": "Teacher",
}
HOUSE_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "patch.linewidth": 0.0,
    "pdf.fonttype": 42,
    "savefig.dpi": 180,
    "figure.dpi": 110,
}


_NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def colour_of(model: str) -> str:
    """Return a model's colour; black for one that has none."""
    return MODEL_COLOURS.get(model, BLACK)


def marker_of(model: str) -> str:
    """Return a model's marker."""
    return MODEL_MARKERS.get(model, "o")


def short_label(model: str) -> str:
    """Return a model's name where there is little room."""
    return SHORT_LABELS.get(model, model_label(model))


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the kit's look, whatever the reader's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(HOUSE_STYLE)
        yield


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> tuple[Figure, np.ndarray]:
    """Make a figure that no global list holds on to.

    Args:
        width: Inches.
        height: Inches.
        rows: Rows of panels.
        columns: Columns of panels.

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


@dataclass(frozen=True)
class Drawing:
    """A figure and the numbers it shows."""

    name: str
    figure: Figure
    data: pd.DataFrame

    def signed(self, origin: str) -> Drawing:
        """Write below the figure which run and profile it is from."""
        with house_style():
            self.figure.supxlabel(origin, x=0.995, ha="right", fontsize=6.5, color=GREY)
        return self

    def save(self, folder: Path) -> list[Path]:
        """Write the figure as PNG and PDF, and what was drawn as CSV.

        Files hold neither date nor version, so drawing the same data again gives the same bytes.

        Returns:
            The three files.
        """
        written = []
        for suffix, metadata in _NO_METADATA.items():
            path = folder / f"{self.name}.{suffix}"
            artifacts.write_bytes_atomic(path, rendered(self.figure, suffix, metadata=metadata))
            written.append(path)
        return [*written, write_frame(folder / f"{self.name}.csv", self.data)]


def rendered(figure: Figure, suffix: str = "png", **options: Any) -> bytes:
    """Return a figure as the content of a file."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=suffix, bbox_inches="tight", pad_inches=0.06, **options)
    return buffer.getvalue()


def smooth(values: pd.Series, window: int = 21) -> pd.Series:
    """Smooth a logged curve: mean of `window` rows around each, fewer at the ends.

    A centred mean lags behind neither a rise nor a fall.

    Example:
        >>> smooth(pd.Series([0.0, 3.0, 6.0]), 3).tolist()
        [1.5, 3.0, 4.5]
    """
    return values.rolling(window, center=True, min_periods=1).mean()


def say_missing(ax: Axes, what: str) -> Axes:
    """Write in an empty panel why it is empty."""
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax

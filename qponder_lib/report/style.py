"""One look for all figures: captions, panels, dots with intervals, the one way to save.

A model has the same colour and marker everywhere. matplotlib is imported when a figure is made; its
global state is left alone.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qponder_lib import artifacts
from qponder_lib.report.render import GREY, LIGHT, in_order, look, write_frame

if TYPE_CHECKING:
    import ipywidgets
    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 180
"""Dots per inch of a PNG."""
_NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the kit's look, whatever the reader's own settings are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        file = resources.files("qponder_lib") / "report" / "qponder.mplstyle"
        mpl.rcParams.update(mpl.rc_params_from_file(file, use_default_template=False))
        yield


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """Make a figure that no global list holds on to.

    Args:
        width: Inches.
        height: Inches.
        rows: Rows of panels.
        columns: Columns of panels.
        shared: sharex and sharey, as in `Figure.subplots`.

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def panels(n: int, size: tuple[float, float], labels: tuple[str, str]) -> Any:
    """Make n panels of one size and scale, three in a row, labelled where they have no neighbour.

    Args:
        n: Panels; 0 gives one that says that there is nothing to draw.
        size: Of a panel, inches.
        labels: Of x and y.

    Returns:
        The figure and its axes.
    """
    empty, n = n == 0, max(n, 1)
    columns = min(n, 3)
    rows = -(-n // columns)
    whole = (max(size[0] * columns, 4.2), size[1] * rows)
    figure, grid = new_figure(*whole, rows, columns, sharey=True)
    for ax in grid.flat[n:]:
        ax.remove()
    for place, ax in enumerate(axes := list(grid.flat[:n])):
        ax.tick_params(labelleft=not place % columns, labelbottom=place + columns >= n)
        ax.set(xlabel=labels[0] if place + columns >= n else "")
        ax.set(ylabel="" if place % columns else labels[1])
    if empty:
        say_missing(axes[0], "no parsed response")
    return figure, axes


def caption(figure: Figure, text: str) -> None:
    """Write below a figure what its marks mean and where its numbers are from."""
    import textwrap

    width = round(figure.get_figwidth() * 20)  # characters of this size in a line
    lines = textwrap.fill(text, width)
    figure.supxlabel(lines, x=0.005, ha="left", fontsize=7, color=GREY)


def legend_above(figure: Figure, models: Iterable[str]) -> None:
    """Explain colours and markers of models above all panels."""
    from matplotlib.lines import Line2D

    looks = [look(model) for model in in_order(models)]
    handles = [
        Line2D([], [], color=one.colour, marker=one.marker, markersize=5.5, label=one.label)
        for one in looks
    ]
    columns = min(7, max(len(looks), 1))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def dots(ax: Axes, rows: pd.DataFrame, along: str, *, horizontal: bool = False) -> Axes:
    """Draw estimates as dots with their intervals, the models of one place side by side.

    Args:
        ax: Where to draw.
        rows: With model, value, ci_low, ci_high; a row without a value leaves its place empty.
        along: Column of the categories, drawn in the order they come in.
        horizontal: Whether values run along x, and categories down y.
    """
    import seaborn.objects as so

    if rows["value"].notna().sum() == 0:
        return say_missing(ax, "no value")
    names = in_order(rows["model"])
    places = list(dict.fromkeys(rows[along]))
    value, category = ("x", "y") if horizontal else ("y", "x")
    side = so.Dodge(empty="fill")
    ends = {f"{value}min": "ci_low", f"{value}max": "ci_high"}
    (
        so.Plot(rows, **{value: "value", category: along}, color="model", marker="model")
        .add(so.Range(linewidth=1.1), side, legend=False, **ends)
        .add(so.Dot(pointsize=5.5, edgewidth=0), side, legend=False)
        .scale(
            color=so.Nominal({name: look(name).colour for name in names}, order=names),
            marker=so.Nominal({name: look(name).marker for name in names}, order=names),
            **{category: so.Nominal(order=places)},
        )
        .on(ax)
        .plot()
    )
    last = len(places) - 0.5
    ax.set(**({"ylim": (last, -0.5)} if horizontal else {"xlim": (-0.5, last)}))
    for border in np.arange(len(places) - 1) + 0.5:
        (ax.axhline if horizontal else ax.axvline)(border, color=LIGHT, linewidth=0.5)
    ax.grid(False, axis=category)
    ax.tick_params(axis=category, length=0)
    ax.set(xlabel="", ylabel="")
    return ax


def save(figure: Figure, data: pd.DataFrame, file: Path) -> list[Path]:
    """Write a figure as PNG and PDF, and what it shows as CSV.

    Files hold neither date nor version, so drawing the same data again gives the same bytes.

    Args:
        figure: The figure.
        data: What it shows.
        file: Folder and name, without ending.

    Returns:
        The three files.
    """
    written = []
    for suffix, metadata in _NO_METADATA.items():
        path = file.with_name(f"{file.name}.{suffix}")
        artifacts.write_bytes_atomic(path, rendered(figure, suffix, metadata=metadata))
        written.append(path)
    return [*written, write_frame(file.with_name(f"{file.name}.csv"), data)]


def rendered(figure: Figure, suffix: str = "png", **options: Any) -> bytes:
    """Return a figure as the content of a file."""
    buffer = io.BytesIO()
    options = {"dpi": DPI, "bbox_inches": "tight", "pad_inches": 0.06} | options
    with house_style():
        figure.savefig(buffer, format=suffix, **options)
    return buffer.getvalue()


def show(figure: Figure | HTML) -> None:
    """Show a figure, or HTML, in the notebook that is running, if one is.

    A figure is shown as a picture of its own, so it looks the same whichever backend is in use and
    nothing depends on the reader's matplotlib settings.
    """
    from IPython import get_ipython
    from IPython.display import HTML, Image, display

    if get_ipython() is not None:
        is_page = isinstance(figure, HTML)
        display(figure if is_page else Image(rendered(figure, dpi=100), format="png"))


def explore(draw: Callable[..., Figure | HTML], **choices: Any) -> ipywidgets.interactive:
    """Show a figure with a slider or menu for each of its arguments, in place of `show`.

    Args:
        draw: Returns the figure or HTML; the defaults of its arguments are what is shown first.
        choices: Argument -> lowest and highest value, or a list to choose from.
    """
    import ipywidgets

    @functools.wraps(draw)
    def shown(**chosen: Any) -> None:
        show(draw(**chosen))

    made = ipywidgets.interactive(shown, **choices)
    for control in made.children:
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # a drawing takes longer than a drag
    return made


def say_missing(ax: Axes, what: str) -> Axes:
    """Write in an empty panel why it is empty."""
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax

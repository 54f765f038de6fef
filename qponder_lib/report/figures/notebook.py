"""Figures that a notebook shows where it calls them. Each returns the figure, too.

A figure is shown as a picture of its own, so it looks the same whichever backend is in use and
nothing depends on the reader's matplotlib settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord
from qponder_lib.report.figures import compose, results
from qponder_lib.report.figures.style import (
    BLUE,
    GREEN,
    LIGHT,
    ORANGE,
    VERMILION,
    house_style,
    new_figure,
    rendered,
)

_DPI = 100


def show(figure: Figure) -> Figure:
    """Show a figure in the notebook that is running, if one is; then return it."""
    from IPython import get_ipython
    from IPython.display import Image, display

    if get_ipython() is not None:
        display(Image(rendered(figure, dpi=_DPI), format="png"))
    return figure


def image_caption(record: ImageRecord) -> str:
    r"""Say in two lines what is known about an image: its MOS, and its distortions with levels.

    Example:
        >>> from qponder_lib.records import Distortion
        >>> image = ImageRecord(image_id="a", image="s/a.png", dataset="s", split="test", mos=41.2,
        ...     distortions=(Distortion(name="motion_blur", level=3),), sha256="0" * 64)
        >>> image_caption(image)
        'MOS 41\nmotion blur 3'
    """
    damage = ", ".join(f"{d.name.replace('_', ' ')} {d.level}" for d in record.distortions)
    mos = "no MOS" if record.mos is None else f"MOS {record.mos:.0f}"
    return f"{mos}\n{damage or 'undamaged'}"


def image_grid(
    pixels: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    *,
    columns: int = 4,
    title: str | None = None,
) -> Figure:
    """Show images in rows with a caption under each.

    Args:
        pixels: Images, each H x W x 3, uint8.
        captions: One per image.
        columns: Images in a row.
        title: Above all, or None.

    Raises:
        ValueError: If there is not one caption per image.
    """
    if len(pixels) != len(captions):
        raise ValueError(f"expected a caption per image, got {len(captions)} for {len(pixels)}")
    rows = -(-len(pixels) // columns)
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    with house_style():
        size = (1.5 * columns, rows * (1.45 + 0.16 * lines) + (0.25 if title else 0.0))
        figure, axes = new_figure(*size, rows, columns)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, picture, caption in zip(axes.flat, pixels, captions, strict=False):
            ax.imshow(picture, interpolation="nearest")
            ax.text(0.5, -0.04, caption, transform=ax.transAxes, ha="center", va="top", fontsize=7)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
        return show(figure)


def mos_histograms(groups: Mapping[str, Sequence[float]]) -> Figure:
    """Show how the MOS of each group of images is spread."""
    return show(compose.mos_histograms(groups).figure)


def score_scatter(pairs: pd.DataFrame, title: str = "") -> Figure:
    """Show stated scores against MOS; `pairs` has the columns mos and score."""
    with house_style():
        figure, axes = new_figure(3.2, 3.4)
        results.scatter(axes[0, 0], pairs, title=title)
        return show(figure)


def filter_sweep(paths: RunPaths, gamma: float | None = None) -> Figure:
    """Show agreement of the distilled data over the share kept."""
    return show(compose.filter_sweep(paths, gamma).figure)


def filter_histogram(paths: RunPaths) -> Figure:
    """Show which images the filter throws away."""
    return show(compose.filter_histogram(paths).figure)


def sft_curves(paths: RunPaths) -> Figure:
    """Show the loss of the SFT variants."""
    return show(compose.sft_loss(paths).figure)


def training_curves(paths: RunPaths, reward: str = "qponder") -> Figure:
    """Show Fig. 5's two curves, then the numbers that tell whether learning works."""
    show(compose.fig5_grpo(paths, reward).figure)
    return show(compose.grpo_diagnostics(paths, reward).figure)


def main_result(paths: RunPaths) -> Figure:
    """Show SRCC with intervals of every model on every set."""
    return show(compose.main_result(paths).figure)


def reward_landscape(alphas: Sequence[float] = (10.0, 25.0)) -> Figure:
    """Show Eq. 5 and what it asks of a model that is not sure."""
    return show(compose.reward_landscape(alphas).figure)


def expected_reward(
    stated: ArrayLike, belief: ArrayLike, expected: Mapping[str, ArrayLike]
) -> Figure:
    """Show a belief about the MOS and the reward expected for every score that could be stated.

    Args:
        stated: Scores, shape (n,).
        belief: Probability of each of them being the MOS, shape (n,).
        expected: Expected rewards by name, each of shape (n,); a dot marks the best score.
    """
    scores, probabilities = np.asarray(stated, float), np.asarray(belief, float)
    with house_style():
        figure, axes = new_figure(6.4, 3.4)
        ax = axes[0, 0]
        scaled = probabilities / probabilities.max() * 0.3
        ax.fill_between(scores, scaled, color=LIGHT, linewidth=0, label="belief (not to scale)")
        styles = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"))
        for (name, values), (colour, line) in zip(expected.items(), styles, strict=False):
            curve = np.asarray(values, float)
            ax.plot(scores, curve, line, color=colour, label=name)
            ax.plot(scores[curve.argmax()], curve.max(), "o", color=colour, markersize=6)
        ax.set_xlim(scores.min(), scores.max())
        ax.set_ylim(0, None)
        ax.set_xlabel("Stated score (belief: MOS)")
        ax.set_ylabel("Expected accuracy reward")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return show(figure)

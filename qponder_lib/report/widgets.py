"""Sliders for two things that are learnt best by moving them: the reward, and the distortions.

Each explorer has a static twin that draws the same for fixed values, so that an executed copy of
a notebook is complete without a kernel.
"""

from __future__ import annotations

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qponder_lib.data import distortions
from qponder_lib.report.figures import show
from qponder_lib.report.figures.rewards import GRID
from qponder_lib.report.figures.style import BLUE, GREY, VERMILION, house_style, new_figure
from qponder_lib.rewards import qponder
from qponder_lib.scales import MOS_MAX, MOS_MIN

Pixels = NDArray[np.uint8]


def reward_explorer(mos: float = 40.0, alpha: float = 25.0) -> ipywidgets.interactive:
    """Show Eq. 5 with sliders for the MOS, the stated score and alpha.

    Args:
        mos: Where the slider of the MOS starts, 0 to 100.
        alpha: Where the slider of the tolerance starts, MOS units.

    Returns:
        The widget; `reward_figure` is its static twin.
    """
    scale = {"min": MOS_MIN, "max": MOS_MAX, "step": 1.0, "continuous_update": False}
    return ipywidgets.interactive(
        _draw_reward,
        mos=ipywidgets.FloatSlider(value=mos, description="MOS", **scale),
        score=ipywidgets.FloatSlider(value=60.0, description="score", **scale),
        alpha=ipywidgets.FloatLogSlider(
            value=alpha,
            base=10.0,
            min=0.0,
            max=2.0,
            step=0.05,
            description="alpha",
            continuous_update=False,
        ),
    )


def reward_figure(mos: float, score: float, alpha: float) -> Figure:
    """Draw the accuracy reward over the stated score, beside that of the paper's alpha.

    Args:
        mos: MOS of the image, 0 to 100.
        score: The score stated, marked.
        alpha: Tolerance, MOS units, above 0.
    """
    with house_style():
        figure, axes = new_figure(6.0, 3.0)
        ax = axes[0, 0]
        for tolerance, colour, line in ((qponder.ALPHA, GREY, "--"), (alpha, VERMILION, "-")):
            values = [qponder.accuracy_reward(float(s), mos, alpha=tolerance) for s in GRID]
            ax.plot(GRID, values, line, color=colour, label=f"α = {tolerance:.3g}")
        reward = qponder.accuracy_reward(score, mos, alpha=alpha)
        ax.plot(score, reward, "o", color=BLUE, markersize=7)
        ax.annotate(
            f"score {score:.0f}: reward {reward:.2f}",
            (score, reward),
            xytext=(8, 6),
            textcoords="offset points",
            annotation_clip=False,
        )
        ax.axvline(mos, color=GREY, linewidth=0.8)
        ax.set_xlim(MOS_MIN, MOS_MAX)
        ax.set_ylim(0.0, 1.05)
        ax.set_xlabel(f"Stated score (the line is the MOS, {mos:.0f})")
        ax.set_ylabel("Accuracy reward")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure


def distortion_explorer(image: Pixels) -> ipywidgets.interactive:
    """Show an image beside a damaged copy, with a menu of types and a slider of levels.

    Args:
        image: Undamaged pixels, H x W x 3, uint8.

    Returns:
        The widget; `distortion_figure` is its static twin.
    """
    return ipywidgets.interactive(
        _draw_distortion,
        image=ipywidgets.fixed(image),
        name=ipywidgets.Dropdown(options=list(distortions.LEVELS), description="type"),
        level=ipywidgets.IntSlider(
            value=3, min=1, max=distortions.N_LEVELS, description="level", continuous_update=False
        ),
        seed=ipywidgets.BoundedIntText(value=0, min=0, max=9999, description="seed"),
    )


def distortion_figure(image: Pixels, name: str, level: int, seed: int = 0) -> Figure:
    """Draw an image, its damaged copy and four times their difference.

    Args:
        image: Undamaged pixels, H x W x 3, uint8.
        name: A key of `distortions.LEVELS`.
        level: 1 (slight) to 5 (extreme).
        seed: Of the types that need chance.
    """
    damaged = distortions.apply(image, name, level, np.random.default_rng(seed))
    strength = distortions.LEVELS[name][level - 1]
    change = np.abs(damaged.astype(np.int16) - image).clip(0, 63).astype(np.uint8) * 4
    panels = {
        "undamaged": image,
        f"{name.replace('_', ' ')}, level {level} ({strength:g})": damaged,
        "difference, four times": change,
    }
    with house_style():
        figure, axes = new_figure(7.2, 2.8, 1, 3)
        for ax, (title, picture) in zip(axes.flat, panels.items(), strict=True):
            ax.imshow(picture, interpolation="nearest")
            ax.set_title(title)
            ax.set_axis_off()
        return figure


def _draw_reward(mos: float, score: float, alpha: float) -> None:
    show(reward_figure(mos, score, alpha))


def _draw_distortion(image: Pixels, name: str, level: int, seed: int) -> None:
    show(distortion_figure(image, name, level, seed))

"""The reward landscape: Eq. 5 over the error, and what it asks of a model that is not sure.

A model that is unsure of the MOS earns the expected reward of the score it states. With a small
alpha that is highest near the most likely MOS, the mode; with a large alpha near the median. So
alpha is a tolerance in the units of the model's own error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from qponder_lib.report.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION
from qponder_lib.rewards import qponder

ALPHAS = (5.0, 10.0, 25.0, 50.0)
WIDTHS = (5.0, 10.0, 18.0)
PEAK = 70.0
GRID: NDArray[np.float64] = np.linspace(0.0, 100.0, 401)

_STYLES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"))


def belief(width: float) -> NDArray[np.float64]:
    """Return what a model may believe about the MOS: a peak, and a wide shoulder below it.

    Args:
        width: How unsure it is, MOS units, above 0.

    Returns:
        Probabilities on `GRID`, shape (401,), adding up to 1: 40 % in a normal curve at `PEAK`
        with deviation 6, 60 % in one of deviation `width`, two widths lower.
    """
    peak = np.exp(-0.5 * ((GRID - PEAK) / 6.0) ** 2)
    shoulder = np.exp(-0.5 * ((GRID - (PEAK - 2.0 * width)) / width) ** 2)
    return 0.4 * peak / peak.sum() + 0.6 * shoulder / shoulder.sum()


def expected_reward(probabilities: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return the accuracy reward expected for every score that could be stated.

    Args:
        probabilities: Belief about the MOS on `GRID`.
        alpha: Tolerance of Eq. 5, MOS units, above 0.

    Returns:
        One value per stated score of `GRID`, shape (401,), in (0, 1].

    Example:
        >>> certain = (GRID == 70.0).astype(float)
        >>> round(float(expected_reward(certain, 10.0)[GRID == 60.0][0]), 4)
        0.3679
    """
    return np.exp(-np.abs(GRID[:, None] - GRID[None, :]) / alpha) @ probabilities


def best_answer(probabilities: NDArray[np.float64], alpha: float) -> float:
    """Return the score with the highest expected reward, MOS units."""
    return float(GRID[np.argmax(expected_reward(probabilities, alpha))])


def median_of(probabilities: NDArray[np.float64]) -> float:
    """Return the median of a belief, MOS units."""
    return float(GRID[np.searchsorted(np.cumsum(probabilities), 0.5)])


def reward_data(alphas: Sequence[float] = ALPHAS) -> pd.DataFrame:
    """Compute Eq. 5 and its slope over the error: alpha, error, reward, slope."""
    errors = np.linspace(0.0, 60.0, 121)
    frames = []
    for alpha in alphas:
        rewards = np.array([qponder.accuracy_reward(e, 0.0, alpha=alpha) for e in errors])
        columns = {"alpha": alpha, "error": errors, "reward": rewards, "slope": rewards / alpha}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def reward_curves(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw the accuracy reward over the absolute error, for several alpha.

    Args:
        ax: Where to draw.
        data: As from `reward_data`.
    """
    for (alpha, rows), (colour, line) in zip(data.groupby("alpha"), _STYLES, strict=False):
        paper = " (the paper's)" if alpha == qponder.ALPHA else ""
        ax.plot(rows["error"], rows["reward"], line, color=colour, label=f"α = {alpha:g}{paper}")
    ax.axhline(np.exp(-1.0), color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    ax.annotate("1/e", (60, np.exp(-1.0)), ha="right", va="bottom", fontsize=8, color=GREY)
    ax.set_xlim(0, 60)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("Error of the stated score (MOS units)")
    ax.set_ylabel("Accuracy reward")
    ax.legend()
    return ax


def slope_curves(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw what one MOS unit nearer pays: far out, next to nothing for a small alpha.

    Args:
        ax: Where to draw.
        data: As from `reward_data`.
    """
    for (_, rows), (colour, line) in zip(data.groupby("alpha"), _STYLES, strict=False):
        ax.plot(rows["error"], rows["slope"], line, color=colour)
    ax.set_xlim(0, 60)
    ax.set_yscale("log")
    ax.set_ylim(1e-3, 0.3)
    ax.grid(False, which="minor")
    ax.set_xlabel("Error of the stated score (MOS units)")
    ax.set_ylabel("Reward per MOS unit nearer")
    return ax


def expectation_data(
    widths: Sequence[float] = WIDTHS, alphas: Sequence[float] = (10.0, 25.0)
) -> pd.DataFrame:
    """Compute expected rewards: width, alpha, score, probability density, expected_reward."""
    frames = []
    for width in widths:
        probabilities = belief(width)
        for alpha in alphas:
            frames.append(
                pd.DataFrame(
                    {
                        "width": width,
                        "alpha": alpha,
                        "score": GRID,
                        "density": probabilities / (GRID[1] - GRID[0]),
                        "expected_reward": expected_reward(probabilities, alpha),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def beliefs(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw the beliefs about the MOS that the expected rewards belong to.

    Args:
        ax: Where to draw.
        data: As from `expectation_data`.
    """
    first = data[data["alpha"] == data["alpha"].min()]
    for (width, rows), (colour, line) in zip(first.groupby("width"), _STYLES, strict=False):
        ax.plot(rows["score"], rows["density"], line, color=colour, label=f"width {width:g}")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, None)
    ax.set_xlabel("MOS it believes in")
    ax.set_ylabel("Probability per MOS unit")
    ax.legend(loc="upper left")
    return ax


def expected_curves(ax: Axes, data: pd.DataFrame, alpha: float) -> Axes:
    """Draw the expected reward over the stated score; a dot marks the best answer.

    Args:
        ax: Where to draw.
        data: As from `expectation_data`.
        alpha: Which tolerance to draw.
    """
    chosen = data[data["alpha"] == alpha]
    for (width, rows), (colour, line) in zip(chosen.groupby("width"), _STYLES, strict=False):
        ax.plot(rows["score"], rows["expected_reward"], line, color=colour)
        best = rows.loc[rows["expected_reward"].idxmax()]
        ax.plot(best["score"], best["expected_reward"], "o", color=colour, markersize=5)
        middle = median_of(belief(width))
        height = np.interp(middle, rows["score"], rows["expected_reward"])
        ax.plot(middle, height, "|", color=colour, markersize=10, markeredgewidth=1.6)
    ax.text(
        0.02,
        0.97,
        "● best score,  | median of the belief",
        transform=ax.transAxes,
        va="top",
        fontsize=8,
        color=GREY,
    )
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 1)
    ax.set_xlabel("Stated score")
    ax.set_ylabel("Expected accuracy reward")
    return ax


def best_answer_data(widths: Sequence[float] = WIDTHS) -> pd.DataFrame:
    """Compute the best answer over alpha: width, alpha, best_answer, mode, median."""
    rows = [
        {
            "width": width,
            "alpha": float(alpha),
            "best_answer": best_answer(belief(width), float(alpha)),
            "mode": float(GRID[np.argmax(belief(width))]),
            "median": median_of(belief(width)),
        }
        for width in widths
        for alpha in np.geomspace(1.0, 200.0, 47)
    ]
    return pd.DataFrame(rows)


def best_answer_curves(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw which score pays best over alpha: from the mode of a belief (left) to its median.

    Args:
        ax: Where to draw.
        data: As from `best_answer_data`.
    """
    for (width, rows), (colour, line) in zip(data.groupby("width"), _STYLES, strict=False):
        ax.plot(rows["alpha"], rows["best_answer"], line, color=colour, label=f"width {width:g}")
        ax.plot(
            [200.0],
            [rows["median"].iloc[0]],
            "|",
            color=colour,
            markersize=10,
            markeredgewidth=1.6,
            clip_on=False,
        )
        ax.plot(
            [1.0],
            [rows["mode"].iloc[0]],
            "_",
            color=colour,
            markersize=10,
            markeredgewidth=1.6,
            clip_on=False,
        )
    ax.axvline(qponder.ALPHA, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    ax.set_xscale("log")
    ax.set_xticks([1, 3, 10, 25, 50, 100, 200], ["1", "3", "10", "25", "50", "100", "200"])
    ax.minorticks_off()
    ax.set_xlim(1, 200)
    ax.set_xlabel("Tolerance α (MOS units)")
    ax.set_ylabel("Best score to state")
    return ax

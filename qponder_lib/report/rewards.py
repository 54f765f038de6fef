"""Rewards to look at: Eq. 5 and what it asks of an unsure model, and rewards side by side.

A model that is unsure of the MOS earns the expected reward of the score it states. With a small
alpha that is highest near the most likely MOS, the mode; with a large alpha near the median. So
alpha is a tolerance in the units of the model's own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qponder_lib.report import style
from qponder_lib.report.render import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    VERMILION,
)
from qponder_lib.report.style import house_style
from qponder_lib.rewards import qponder
from qponder_lib.rewards.batch import TITLES, compare_rewards
from qponder_lib.rewards.qponder import ALPHA, group_advantages
from qponder_lib.scales import ASPECT_SCALE, MOS_MAX, MOS_MIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = (5.0, 10.0, 18.0)
PEAK = 70.0
GRID: NDArray[np.float64] = np.linspace(MOS_MIN, MOS_MAX, 401)

REWARD_COLOURS = {
    "qponder": VERMILION,
    "threshold": GREEN,
    "gaussian": ORANGE,
    "fidelity": PURPLE,
    "preresq": BLUE,
}
_WIDTH_COLOURS = dict(zip(WIDTHS, (BLUE, VERMILION, GREEN), strict=True))
_LINES = ("-", "--", "-.", ":")


# ---- the landscape of Eq. 5


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


def best_score(probabilities: NDArray[np.float64], alpha: float) -> float:
    """Return the score with the highest expected reward, MOS units."""
    return float(GRID[np.argmax(expected_reward(probabilities, alpha))])


def median_of(probabilities: NDArray[np.float64]) -> float:
    """Return the median of a belief, MOS units."""
    return float(GRID[np.searchsorted(np.cumsum(probabilities), 0.5)])


def reward_data(alphas: Sequence[float]) -> pd.DataFrame:
    """Compute Eq. 5 over the error: alpha, error, reward."""
    errors = np.linspace(0.0, 60.0, 121)
    rewards = {a: [qponder.accuracy_reward(e, 0.0, alpha=a) for e in errors] for a in alphas}
    frames = [pd.DataFrame({"alpha": a, "error": errors, "reward": r}) for a, r in rewards.items()]
    return pd.concat(frames, ignore_index=True)


def expected_data(alphas: Sequence[float]) -> pd.DataFrame:
    """Compute expected rewards of three beliefs: width, alpha, score, density, expected_reward."""
    frames = []
    for width, alpha in product(WIDTHS, alphas):
        density = belief(width) / (GRID[1] - GRID[0])
        columns = {"width": width, "alpha": alpha, "score": GRID, "density": density}
        earned = expected_reward(belief(width), alpha)
        frames.append(pd.DataFrame(columns | {"expected_reward": earned}))
    return pd.concat(frames, ignore_index=True)


@house_style()
def reward_landscape(alphas: Sequence[float] = (ALPHA, 25.0)) -> tuple[Figure, pd.DataFrame]:
    """Draw Eq. 5 over the error, and what it asks of a model that is not sure.

    Args:
        alphas: Two tolerances to compare, MOS units; if they are equal, 10 or 25 is the other.
    """
    chosen = sorted({float(alpha) for alpha in alphas})
    if len(chosen) == 1:
        chosen = sorted({*chosen, 25.0 if chosen == [ALPHA] else ALPHA})
    low, high = chosen[0], chosen[-1]
    curves, expected = reward_data((low / 2, low, high, high * 2)), expected_data((low, high))
    figure, axes = style.new_figure(9.0, 6.4, 2, 2)
    (first, second), below = axes
    for (alpha, rows), line in zip(curves.groupby("alpha"), _LINES, strict=True):
        paper = " (the paper's)" if alpha == ALPHA else ""
        first.plot(rows["error"], rows["reward"], line, color=BLACK, label=f"α = {alpha:g}{paper}")
        first.plot(alpha, np.exp(-1.0), "o", color=BLACK, markersize=4.5)
    first.set(xlim=(0, 60), ylim=(0, 1.02), title="(a) Accuracy reward, Eq. 5")
    first.set(xlabel="Error of the stated score (MOS units)", ylabel="Reward")
    for width, rows in expected[expected["alpha"] == low].groupby("width"):
        colour = _WIDTH_COLOURS[width]
        second.plot(rows["score"], rows["density"], color=colour, label=f"width {width:g}")
    second.set(xlim=(MOS_MIN, MOS_MAX), ylim=(0, None), title="(b) What an unsure model believes")
    second.set(xlabel="MOS", ylabel="Probability per MOS unit")
    first.legend()
    second.legend(loc="upper left")
    for ax, (alpha, rows), letter in zip(below, expected.groupby("alpha"), "cd", strict=True):
        _expected_curves(ax, rows)
        ax.set_title(f"({letter}) Expected reward at α = {alpha:g}")
    style.caption(
        figure,
        "Black: the reward for one tolerance α per line style; dots: its value at an error of α, "
        "1/e. Colours: a belief about the MOS of one width. (c, d) dot: the score with the "
        "highest expected reward, bar: the median of the belief. Computed from Eq. 5; nothing is "
        "measured.",
    )
    parts = {"a": curves, "bcd": expected}
    return figure, pd.concat([part.assign(panels=name) for name, part in parts.items()])


def _expected_curves(ax: Axes, data: pd.DataFrame) -> None:
    for width, rows in data.groupby("width"):
        colour, curve = _WIDTH_COLOURS[width], rows["expected_reward"]
        ax.plot(rows["score"], curve, color=colour)
        ax.plot(rows["score"][curve.idxmax()], curve.max(), "o", color=colour, markersize=5)
        middle = median_of(belief(width))
        height = np.interp(middle, rows["score"], curve)
        ax.plot(middle, height, "|", color=colour, markersize=10, markeredgewidth=1.6)
    ax.set(xlim=(MOS_MIN, MOS_MAX), ylim=(0, 1))
    ax.set(xlabel="Stated score", ylabel="Expected accuracy reward")


@house_style()
def expected_reward_figure(
    stated: ArrayLike, belief: ArrayLike, expected: Mapping[str, ArrayLike]
) -> Figure:
    """Draw a belief about the MOS and the reward expected for every score that could be stated.

    Args:
        stated: Scores, shape (n,).
        belief: Probability of each of them being the MOS, shape (n,).
        expected: Expected rewards by name, each of shape (n,); a dot marks the best score.
    """
    scores, probabilities = np.asarray(stated, float), np.asarray(belief, float)
    figure, axes = style.new_figure(6.4, 3.4)
    ax = axes[0, 0]
    scaled = probabilities / probabilities.max() * 0.3
    ax.fill_between(scores, scaled, color=LIGHT, linewidth=0, label="belief (not to scale)")
    colours = (BLUE, VERMILION, GREEN, ORANGE)
    for (name, values), colour, line in zip(expected.items(), colours, _LINES, strict=False):
        curve = np.asarray(values, float)
        ax.plot(scores, curve, line, color=colour, label=name)
        ax.plot(scores[curve.argmax()], curve.max(), "o", color=colour, markersize=6)
    ax.set(xlim=(scores.min(), scores.max()), ylim=(0, None))
    ax.set(xlabel="Stated score (belief: MOS)", ylabel="Expected accuracy reward")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@house_style()
def reward_figure(mos: float, score: float, alpha: float) -> Figure:
    """Draw the accuracy reward over the stated score, beside that of the paper's alpha.

    Args:
        mos: MOS of the image, 0 to 100.
        score: The score stated, 0 to 100, marked.
        alpha: Tolerance, MOS units, above 0.
    """
    figure, axes = style.new_figure(6.0, 3.0)
    ax = axes[0, 0]
    for tolerance, colour, line in ((ALPHA, GREY, "--"), (alpha, VERMILION, "-")):
        values = [qponder.accuracy_reward(float(s), mos, alpha=tolerance) for s in GRID]
        ax.plot(GRID, values, line, color=colour, label=f"α = {tolerance:.3g}")
    reward = qponder.accuracy_reward(score, mos, alpha=alpha)
    ax.plot(score, reward, "o", color=BLUE, markersize=7)
    words, beside = f"score {score:.0f}: reward {reward:.2f}", {"textcoords": "offset points"}
    ax.annotate(words, (score, reward), xytext=(8, 6), annotation_clip=False, **beside)
    ax.axvline(mos, color=GREY, linewidth=0.8)
    ax.set(xlim=(MOS_MIN, MOS_MAX), ylim=(0.0, 1.05))
    ax.set(xlabel=f"Stated score (the line is the MOS, {mos:.0f})", ylabel="Accuracy reward")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


# ---- rewards side by side


@house_style()
def reward_shapes(
    scores: Sequence[Sequence[float]], labels: Sequence[float], *, alpha: float
) -> tuple[Figure, pd.DataFrame]:
    """Draw what the first completion of the first image earns for every score it could state.

    Args:
        scores: Scores of a batch, 1 to 5, shape (B, K); the first one takes every value.
        labels: Labels, 1 to 5.
        alpha: Tolerance of the exponential reward, MOS units.
    """
    steps = np.linspace(*ASPECT_SCALE, 201)
    earned = [
        compare_rewards([[stated, *scores[0][1:]], *scores[1:]], labels, alpha=alpha)
        for stated in steps
    ]
    curves = {name: np.array([one[name][0, 0] for one in earned]) for name in TITLES}
    figure, axes = style.new_figure(11.4, 3.0, 1, len(curves), sharey=True)
    others = [score for score in scores[0][1:] if not np.isnan(score)]
    for ax, (name, values) in zip(axes.flat, curves.items(), strict=True):
        ax.axvline(labels[0], color=GREY, linewidth=0.9)
        ax.plot(steps, values, color=REWARD_COLOURS[name])
        ax.plot(others, np.zeros(len(others)), "|", color=BLACK, markersize=9)
        ax.set(title=TITLES[name], ylim=(-0.03, 1.08), xlabel="Stated score, 1 to 5")
    axes[0, 0].set_ylabel("Reward")
    style.caption(figure, "Grey line: the label; black bars: scores of the other completions.")
    return figure, pd.DataFrame({"score": steps, **curves})


@house_style()
def reward_advantages(
    scores: Sequence[Sequence[float]], labels: Sequence[float], *, alpha: float
) -> tuple[Figure, pd.DataFrame]:
    """Draw what each reward teaches of one batch: a panel per image, a bar per completion, reward.

    Args:
        scores: Scores, 1 to 5, shape (B, K), NaN for an unparsed completion.
        labels: Labels, 1 to 5.
        alpha: Tolerance of the exponential reward, MOS units.
    """
    import seaborn as sns

    rewards = compare_rewards(scores, labels, alpha=alpha)
    found = {name: group_advantages(values) for name, values in rewards.items()}
    figure, axes = style.new_figure(3.8 * len(labels), 3.0, 1, len(labels), sharey=True)
    data = pd.DataFrame(
        {"image": image, "answer": k, "score": scores[image][k], "reward": name, "value": value}
        for name, values in found.items()
        for (image, k), value in np.ndenumerate(values)
    )
    for image, ax in enumerate(axes.flat):
        drawn = {"x": "answer", "y": "value", "hue": "reward", "palette": REWARD_COLOURS}
        sns.barplot(data[data["image"] == image], **drawn, ax=ax, saturation=1, legend=image == 0)
        ax.axhline(0.0, color=GREY, linewidth=0.9)
        names = [f"{one:g}" if not np.isnan(one) else "unparsed" for one in scores[image]]
        ax.set_xticks(range(len(names)), names)
        ax.set(title=f"Label {labels[image]:g}", xlabel="Stated score")
    axes[0, 0].set_ylabel("Advantage in the group")
    axes[0, 0].get_legend().remove()
    handles = axes[0, 0].get_legend_handles_labels()[0]
    names = [TITLES[name] for name in found]
    figure.legend(handles, names, loc="outside upper center", ncols=len(found))
    return figure, data

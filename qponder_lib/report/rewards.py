"""Rewards to look at: Eq. 5 and what it asks of an unsure model, and rewards side by side.

A model that is unsure of the MOS earns the expected reward of the score it states. With a small
alpha that is highest near the most likely MOS, the mode; with a large alpha near the median. So
alpha is a tolerance in the units of the model's own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

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
    from matplotlib.figure import Figure


REWARD_COLOURS = {
    "qponder": VERMILION,
    "threshold": GREEN,
    "gaussian": ORANGE,
    "fidelity": PURPLE,
    "preresq": BLUE,
}
_LINES = ("-", "--", "-.", ":")


# ---- Eq. 5


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
    ax, stated = axes[0, 0], np.linspace(MOS_MIN, MOS_MAX, 401).tolist()
    for tolerance, colour, line in ((ALPHA, GREY, "--"), (alpha, VERMILION, "-")):
        values = [qponder.accuracy_reward(s, mos, alpha=tolerance) for s in stated]
        ax.plot(stated, values, line, color=colour, label=f"α = {tolerance:.3g}")
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

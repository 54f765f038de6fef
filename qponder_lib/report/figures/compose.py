"""Whole figures: which panels, from which files of a run. Each is a `Drawing`, ready to save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report.figures import benchmark, filtered, results, rewards, study, training
from qponder_lib.report.figures.style import (
    Drawing,
    colour_of,
    house_style,
    new_figure,
    short_label,
)
from qponder_lib.report.tables.sources import read, set_label
from qponder_lib.rewards.qponder import ALPHA

_DIAGNOSTICS = (
    "reward_format",
    "parse_rate",
    "kl",
    "zero_variance_share",
    "distinct_scores",
    "validation_srcc",
)


@house_style()
def main_result(paths: RunPaths) -> Drawing:
    """SRCC with intervals of every model on every set; the README's figure."""
    data = results.srcc_data(paths)
    figure, axes = new_figure(9.2, 4.2)
    results.srcc_dots(axes[0, 0], data)
    return Drawing("main_result", figure, data)


@house_style()
def fig4a_heatmap(paths: RunPaths) -> Drawing:
    """SRCC x PLCC per model and set, as in Fig. 4(a)."""
    data = results.heatmap_data(paths)
    figure, axes = new_figure(7.6, 0.7 + 0.38 * data["model"].nunique())
    results.heatmap(axes[0, 0], data)
    return Drawing("fig4a_heatmap", figure, data)


@house_style()
def fig5_grpo(paths: RunPaths, reward: str = "qponder") -> Drawing:
    """Accuracy reward and completion length over training, as in Fig. 5."""
    data = training.grpo_data(paths, reward)
    figure, axes = new_figure(8.4, 2.9, 1, 2)
    panels = zip(axes.flat, ("reward_accuracy", "completion_length"), "ab", strict=True)
    for ax, name, letter in panels:
        training.grpo_curve(ax, data, name)
        ax.set_title(f"({letter}) {training.GRPO_LABELS[name]}")
    axes[0, 0].legend(loc="lower right")
    return Drawing("fig5_grpo", figure, data)


@house_style()
def grpo_diagnostics(paths: RunPaths, reward: str = "qponder") -> Drawing:
    """What shows whether reinforcement learning works, beside the reward."""
    data = training.grpo_data(paths, reward)
    figure, axes = new_figure(9.4, 4.8, 2, 3)
    for ax, name in zip(axes.flat, _DIAGNOSTICS, strict=True):
        training.grpo_curve(ax, data, name)
    for ax in axes[0]:
        ax.set_xlabel("")
    return Drawing("grpo_diagnostics", figure, data)


@house_style()
def sft_loss(paths: RunPaths) -> Drawing:
    """Loss of the SFT variants."""
    data = training.sft_data(paths)
    figure, axes = new_figure(5.2, 3.2)
    training.sft_loss(axes[0, 0], data)
    return Drawing("sft_loss", figure, data)


@house_style()
def filter_sweep(paths: RunPaths, gamma: float | None = None) -> Drawing:
    """Agreement of the distilled data over the share kept, with the control."""
    data = read(paths.filter_sweep)
    figure, axes = new_figure(8.4, 3.1, 1, 2)
    for ax, metric in zip(axes.flat, ("plcc", "srcc"), strict=True):
        filtered.sweep_curve(ax, data, metric, gamma=gamma)
    axes[0, 0].sharey(axes[0, 1])
    axes[0, 1].legend(loc="best")
    return Drawing("filter_sweep", figure, data)


@house_style()
def filter_histogram(paths: RunPaths) -> Drawing:
    """Which images the filter throws away."""
    data = read(paths.tables / "filter_histogram.csv")
    figure, axes = new_figure(5.8, 3.2)
    filtered.kept_histogram(axes[0, 0], data)
    return Drawing("filter_histogram", figure, data)


@house_style()
def reward_landscape(alphas: Sequence[float] = (ALPHA, 25.0)) -> Drawing:
    """Eq. 5 over the error, and what it asks of a model that is not sure.

    Args:
        alphas: Two tolerances to compare, MOS units; if they are equal, 10 or 25 is the other.
    """
    chosen = sorted({float(alpha) for alpha in alphas})
    if len(chosen) == 1:
        chosen = sorted({*chosen, 25.0 if chosen == [ALPHA] else ALPHA})
    low, high = chosen[0], chosen[-1]
    curves = rewards.reward_data(sorted({low / 2, low, high, high * 2}))
    expected = rewards.expectation_data(alphas=(low, high))
    best = rewards.best_answer_data()
    figure, axes = new_figure(11.4, 6.0, 2, 3)
    rewards.reward_curves(axes[0, 0], curves).set_title("(a) Accuracy reward, Eq. 5")
    rewards.slope_curves(axes[0, 1], curves).set_title("(b) What one unit nearer pays")
    rewards.beliefs(axes[0, 2], expected).set_title("(c) Beliefs of a model that is not sure")
    for ax, alpha, letter in zip(axes[1], (low, high), "de", strict=False):
        rewards.expected_curves(ax, expected, alpha)
        ax.set_title(f"({letter}) Expected reward at α = {alpha:g}")
    rewards.best_answer_curves(axes[1, 2], best).set_title("(f) Best score: mode (left) to median")
    parts = {"ab": curves, "cde": expected, "f": best}
    data = pd.concat([part.assign(panels=name) for name, part in parts.items()])
    return Drawing("reward_landscape", figure, data)


@house_style()
def scatter_models(run: Run) -> Drawing:
    """Stated scores against MOS in domain: base, cold start, Q-Ponder, teacher."""
    wanted = ("base", f"ci-{run.profile.grpo.start_from}", "qponder", "teacher", "handcrafted")
    models = [name for name in wanted if name in run.profile.predict.models][:4]
    home = run.profile.predict.sets[0]
    frames = [results.scatter_data(run.paths, model, home) for model in models]
    figure, axes = new_figure(2.45 * len(models), 2.8, 1, len(models))
    for ax, model, data in zip(axes.flat, models, frames, strict=True):
        results.scatter(ax, data, colour=colour_of(model), title=f"{short_label(model)}, {home}")
    for ax in axes[0, 1:]:
        ax.set_ylabel("")
    return Drawing("scatter_models", figure, pd.concat(frames))


@house_style()
def scatter_sets(run: Run) -> Drawing:
    """Stated scores of Q-Ponder (or the last model there is) against MOS, on every set."""
    models, sets = run.profile.predict.models, run.profile.predict.sets
    model = "qponder" if "qponder" in models else models[-1]
    frames = [results.scatter_data(run.paths, model, dataset) for dataset in sets]
    rows = (len(sets) + 2) // 3
    figure, axes = new_figure(7.8, 2.85 * rows, rows, 3)
    for ax in axes.flat[len(sets) :]:
        ax.set_visible(False)
    for ax, dataset, data in zip(axes.flat, sets, frames, strict=False):
        title = f"{short_label(model)}, {set_label(dataset)}"
        results.scatter(ax, data, colour=colour_of(model), title=title)
    return Drawing("scatter_sets", figure, pd.concat(frames))


@house_style()
def decoding(run: Run) -> Drawing:
    """Greedy against sampled answers, on the first set that was sampled on."""
    dataset = run.profile.predict.sampled_sets[0]
    data = results.decoding_data(run, dataset)
    figure, axes = new_figure(9.0, 0.9 + 0.7 * data["model"].nunique(), 1, 3)
    for ax, metric in zip(axes.flat, results.DECODING_LABELS, strict=True):
        results.decoding_dots(ax, data, metric)
    for ax in axes[0, 1:]:
        ax.tick_params(axis="y", labelleft=False)
    axes[0, 0].set_title(set_label(dataset))
    return Drawing("decoding", figure, data)


@house_style()
def mos_histograms(groups: Mapping[str, Sequence[float]]) -> Drawing:
    """How the MOS is spread in every test set, or in every part of a selection."""
    data = benchmark.mos_data(groups)
    rows = (len(groups) + 2) // 3
    figure, axes = new_figure(9.0, 2.2 * rows, rows, 3)
    for ax in axes.flat[len(groups) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, groups, strict=False):
        benchmark.mos_histogram(ax, data[data["group"] == name])
    return Drawing("mos_histograms", figure, data)


@house_style()
def contact_sheet() -> Drawing:
    """Every distortion at every level."""
    image = benchmark.example_scene()
    figure, axes = new_figure(6.0, 11.0)
    benchmark.contact_sheet(axes[0, 0], image)
    return Drawing("contact_sheet", figure, benchmark.contact_data(image))


@house_style()
def study_differences(folder: Path, home: str = "mini-koniq") -> Drawing:
    """Differences over the seeds of a study, with the shuffled-reward control."""
    data = read(folder / "tables" / "study_differences.csv")
    panels = [
        ("greedy", home, "srcc"),
        ("greedy", home, "mae"),
        ("greedy", "mean", "srcc"),
        ("sampled", home, "srcc"),
        ("sampled", home, "mae"),
        ("sampled", home, "parse_rate"),
    ]
    figure, axes = new_figure(11.4, 6.6, 2, 3)
    for ax, (way, dataset, metric) in zip(axes.flat, panels, strict=True):
        study.forest(ax, data, decoding=way, dataset=dataset, metric=metric)
    for ax in axes[:, 1:].flat:
        ax.tick_params(axis="y", labelleft=False)
    return Drawing("study_differences", figure, data)

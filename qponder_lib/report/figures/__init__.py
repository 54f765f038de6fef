"""Figures from files: every drawing function takes an axes and returns it.

`write_figures` draws all figures of a run; each leaves a PNG, a PDF and the CSV it shows. The
functions of `notebook` are for cells: they show the figure where they are called.
"""

from __future__ import annotations

from pathlib import Path

from qponder_lib.pipeline import Run
from qponder_lib.report.figures import benchmark, compose, compose_breakdown
from qponder_lib.report.figures.notebook import (
    expected_reward,
    filter_histogram,
    filter_sweep,
    image_caption,
    image_grid,
    main_result,
    mos_histograms,
    reward_landscape,
    score_scatter,
    sft_curves,
    show,
    training_curves,
)
from qponder_lib.report.figures.reward_study import advantages as reward_advantages
from qponder_lib.report.figures.reward_study import comparison
from qponder_lib.report.figures.reward_study import shapes as reward_shapes
from qponder_lib.report.figures.style import Drawing, house_style, new_figure
from qponder_lib.report.tables.judged import read_judged
from qponder_lib.report.tables.sources import origin

__all__ = [
    "Drawing",
    "expected_reward",
    "filter_histogram",
    "filter_sweep",
    "house_style",
    "image_caption",
    "image_grid",
    "main_result",
    "mos_histograms",
    "new_figure",
    "reward_advantages",
    "reward_figures",
    "reward_landscape",
    "reward_shapes",
    "score_scatter",
    "sft_curves",
    "show",
    "study_figures",
    "training_curves",
    "write_figures",
]


def write_figures(run: Run) -> list[Path]:
    """Draw every figure of a run that has been evaluated.

    Args:
        run: Its `eval/`, `tables/` (of `filter_tables` and `write_tables`), test rows and histories
            are read.

    Returns:
        The files written in `figures/`: per figure a PNG, a PDF and a CSV.

    Raises:
        FileNotFoundError: If a file is missing; the message names it.
    """
    paths, grpo = run.paths, run.profile.grpo
    drawings = [
        compose.main_result(paths),
        compose.fig4a_heatmap(paths),
        compose.fig5_grpo(paths, grpo.reward),
        compose.grpo_diagnostics(paths, grpo.reward),
        compose.sft_loss(paths),
        compose.filter_sweep(paths, run.profile.filter.gamma),
        compose.filter_histogram(paths),
        compose.reward_landscape((10.0, grpo.alpha)),
        compose.scatter_models(run),
        compose.scatter_sets(run),
        compose.decoding(run),
        compose.mos_histograms(benchmark.test_mos(run)),
        compose_breakdown.error_by_group(run),
        compose_breakdown.calibration(run),
        compose_breakdown.clustering(run),
    ]
    judged = read_judged(paths)
    if judged is not None:
        drawings.append(compose_breakdown.fig4b_lines(judged))
    if run.profile.data.source == "embedded":
        drawings.append(compose.contact_sheet())
    return [
        path for drawing in drawings for path in drawing.signed(origin(run)).save(paths.figures)
    ]


def study_figures(folder: Path, home: str = "mini-koniq") -> list[Path]:
    """Draw the differences over the seeds of a study.

    Args:
        folder: `papermill_runs/<study>`; `tables/study_differences.csv` in it is read.
        home: The in-domain set.

    Returns:
        The files written in `<folder>/figures/`.
    """
    drawing = compose.study_differences(folder, home).signed(f"Study {folder.name}.")
    return drawing.save(folder / "figures")


def reward_figures(folder: Path, home: str = "mini-koniq") -> list[Path]:
    """Draw what training by each reward of a study changed.

    Args:
        folder: `papermill_runs/<study>`; `tables/reward_differences.csv` in it is read.
        home: The in-domain set.

    Returns:
        The files written in `<folder>/figures/`.
    """
    return comparison(folder, home).signed(f"Study {folder.name}.").save(folder / "figures")

"""Every table and figure of a run and of a study, by name: write all, or make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from qponder_lib import config
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report import (
    breakdowns,
    filtering,
    gallery,
    readouts,
    render,
    reproduction,
    results,
    studies,
    style,
    training,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATINGS = "completeness / accuracy / reasonableness by a proprietary judge (AVG.: one number)"
TABLES: Mapping[str, Callable[[Run], render.Table]] = {
    "table1": results.table1,
    "table1_reported": lambda run: render.reported_table(1, "PLCC / SRCC"),
    "table2": results.table2,
    "table2_reported": lambda run: render.reported_table(2, _RATINGS),
    "table3": results.table3,
    "table4": results.table4,
    "table4_reported": lambda run: render.reported_table(4, _RATINGS),
    "differences": results.differences,
    "decoding": results.decoding_table,
    "breakdown": breakdowns.breakdown_table,
    "clustering": breakdowns.diversity_table,
    "readouts": readouts.readouts_table,
    "filter": filtering.filter_table,
}
"""Tables of a run, laid out from its CSVs."""
MEASURED = {
    "breakdown": breakdowns.measure_breakdown,
    "clustering": breakdowns.measure_diversity,
}
"""CSVs in `tables/` that are measured on predictions before they are laid out or drawn."""
FIGURES: Mapping[str, Callable[[Run], tuple[Figure, pd.DataFrame]]] = {
    "main_result": results.main_result,
    "fig4a_heatmap": results.fig4a_heatmap,
    "fig4b_lines": results.fig4b_lines,
    "fig5_grpo": training.fig5_grpo,
    "grpo_diagnostics": training.grpo_diagnostics,
    "sft_loss": training.sft_loss,
    "filter_sweep": filtering.sweep_figure,
    "filter_histogram": filtering.histogram_figure,
    "scatter_models": results.scatter_models,
    "scatter_sets": results.scatter_sets,
    "headroom": readouts.headroom_figure,
    "mos_histograms": gallery.mos_histograms,
    "contact_sheet": lambda run: gallery.contact_sheet(),
}
"""Figures of a run, drawn from its CSVs; where predictions are gone, from those of the figures."""
STUDY_FIGURES = {
    "study_differences": studies.differences_figure,
    "reward_comparison": studies.differences_figure,
    "training_noise": reproduction.noise_figure,
}
"""Figures of the folder of a study, drawn from CSVs in its `tables/`."""
T = TypeVar("T")
_JUDGED = ("table2", "table4", "fig4b_lines")
_READOUTS = ("readouts", "headroom")


def named(outputs: Mapping[str, T], name: str) -> T:
    """Return the table or figure of a name, or of a beginning that is only one's, such as fig5.

    Raises:
        ValueError: If there is none, or there are several; the message lists the names.
    """
    found = [name] if name in outputs else [key for key in outputs if key.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"expected one of {', '.join(outputs)}; got {name!r}")
    return outputs[found[0]]


def open_run(paths: RunPaths) -> Run:
    """Open a run folder, or a kept reference, with the profile that lies in it."""
    return Run(paths, config.load_profile(paths.profile))


def write_tables(run: Run) -> list[Path]:
    """Write the tables of a run that has been evaluated; the filter's are `write_filter`'s.

    Args:
        run: Its test rows, `eval/` and `tables/benchmark.csv` are read; where nothing has been
            judged, Tables 2 and 4 hold reported values only.

    Returns:
        The files written in `tables/`: per table a CSV, a Markdown file and an HTML fragment.

    Raises:
        FileNotFoundError: If the run has not been evaluated.
    """
    folder = run.paths.tables
    written = [
        render.write_frame(folder / f"{name}.csv", measure(run))
        for name, measure in MEASURED.items()
    ]
    for name, lay_out in TABLES.items():
        if name != "filter" and name not in _not_measured(run):
            written += render.write(name, lay_out(run), folder)
    return written


def _not_measured(run: Run) -> set[str]:
    """Name what has no CSV: nobody was judged, or the run is older than its readouts."""
    sources = {run.paths.judged: _JUDGED, run.paths.tables / "headroom.csv": _READOUTS}
    return {name for path, names in sources.items() if not path.is_file() for name in names}


def write_figures(run: Run) -> list[Path]:
    """Draw every figure of a run that has been evaluated.

    Args:
        run: Its `eval/`, `tables/` (of `write_filter` and `write_tables`), test rows and
            histories are read.

    Returns:
        The files written in `figures/`: per figure a PNG, a PDF and a CSV.

    Raises:
        FileNotFoundError: If a file is missing; the message names it.
    """
    left_out = _not_measured(run)
    if run.profile.data.source != "embedded":
        left_out.add("contact_sheet")
    return [
        path
        for name, draw in FIGURES.items()
        if name not in left_out
        for path in style.save(*draw(run), run.paths.figures / name)
    ]


def write_study(folder: Path, study: config.Study | None = None) -> list[Path]:
    """Compare the runs of a study that are there: tables, and the figure of the differences.

    Args:
        folder: `papermill_runs/<study>`; its run folders are read.
        study: See `studies.find_runs`.

    Returns:
        The files written: `tables/reward_*` and `figures/reward_comparison` of a study of rewards,
        `tables/study_*` and `figures/study_differences` of any other; of two seeds or more of the
        base, `tables/training_spread.csv` and `figures/training_noise`. Runs that are missing are
        named in the table of runs and in the note of every table.

    Raises:
        FileNotFoundError: If not one run has been evaluated.
    """
    runs = studies.find_runs(folder, study)
    runs = [run for run in runs if not run.paths.root.name.startswith("rounding-")]
    there = [run for run in runs if studies.state_of(run) == studies.EVALUATED]
    if not there:
        raise FileNotFoundError(f"no evaluated run in {folder}; run `qponder run {folder.name}`")
    groups, note = studies.by_label(there), studies.study_note(folder, runs)
    home = runs[0].profile.data.train_set
    tables = {
        "runs": studies.runs_table(runs, note),
        "scores": studies.scores_table(groups, home, note),
        "differences": studies.differences_table(studies.measure_differences(groups), home, note),
        "health": studies.health_table(groups, note),
    }
    of_rewards = len({run.profile.grpo.reward for run in runs}) > 1
    prefix, figure = (
        ("reward", "reward_comparison") if of_rewards else ("study", "study_differences")
    )
    written = []
    for name, table in tables.items():
        written += render.write(f"{prefix}_{name}", table, folder / "tables")
    written += style.save(*studies.differences_figure(folder), folder / "figures" / figure)
    base = next((groups[label] for label in studies.BASES if label in groups), {})
    seeds = {seed: run.paths for seed, run in base.items()}
    return written + reproduction.write_spread(folder, studies.setting(folder, study), seeds)

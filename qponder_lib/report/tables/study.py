"""Tables over the runs of a study: seeds, the shuffled-reward control, variants, gamma."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from qponder_lib import config
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.report.tables.render import (
    MISSING,
    Block,
    Cell,
    Table,
    estimate,
    interval,
    number,
    write,
)
from qponder_lib.report.tables.sources import (
    METRIC_LABELS,
    intervals_of,
    model_label,
    one,
    read_scores,
    select,
)
from qponder_lib.report.tables.study_arms import (
    StudyRun,
    arm_differences,
    arms_of,
    evaluated_runs,
    is_repeat,
    most_common,
    study_note,
)


def study_tables(folder: Path, study: config.Study | None = None) -> list[Path]:
    """Write the tables of a study from the runs that are there.

    Args:
        folder: `papermill_runs/<study>`; its run folders are read.
        study: The study; default the profile of the folder's name, if there is one, or else the
            runs that lie in the folder.

    Returns:
        The files written in `<folder>/tables/`. Runs that are missing are named in `study_runs`
        and in the note of every table.

    Raises:
        FileNotFoundError: If not one run has been evaluated.
    """
    runs, there = evaluated_runs(folder, study)
    base = most_common(run.settings for run in runs)
    alike = [run for run in there if run.settings == base]
    gamma = most_common(run.profile.filter.gamma for run in runs if run.settings == base)
    note = study_note(folder, runs)
    differences = arm_differences(arms_of(alike, gamma))
    repeats = [run for run in alike if is_repeat(run, gamma)]
    tables = [
        _runs_table(runs, note),
        _differences_table(differences, runs[0].profile, note),
        _models_table(repeats, note),
        _gamma_table([run for run in alike if not run.profile.grpo.shuffle_rewards], note),
    ]
    return [path for table in tables for path in write(table, folder / "tables")]


def _runs_table(runs: Sequence[StudyRun], note: str) -> Table:
    """List every run with its settings and, in short, its scores."""
    records, rows = [], []
    for run in runs:
        scores = None if run.missing else read_scores(run.paths)
        start = f"ci-{run.profile.grpo.start_from}"
        home = run.profile.data.train_set
        cells, values = [], {}
        for model, dataset in [(start, home), ("qponder", home), (start, MEAN), ("qponder", MEAN)]:
            where = {"decoding": "greedy", "protocol": "raw", "metric": "srcc"}
            found = None if scores is None else one(scores, model=model, dataset=dataset, **where)
            label = "cold_start" if model == start else "grpo"
            values[f"{label}_srcc_{dataset}"] = None if found is None else found["value"]
            cells.append(estimate(found))
        grpo = run.profile.grpo
        settings = {
            "run": run.name,
            "state": run.missing or "evaluated",
            "sft_seed": run.profile.sft.seed,
            "grpo_seed": grpo.seed,
            "gamma": run.profile.filter.gamma,
            "alpha": grpo.alpha,
            "shuffle_rewards": grpo.shuffle_rewards,
        }
        records.append(settings | values)
        rows.append((*(Cell(str(value)) for value in settings.values()), *cells))
    header = ("Run", "State", "SFT seed", "GRPO seed", "γ", "α", "Shuffled")
    names = ("Cold start, in domain", "GRPO, in domain", "Cold start, mean", "GRPO, mean")
    blocks = (Block("Greedy SRCC", (*header, *names), tuple(rows)),)
    return Table("study_runs", "Runs of the study", note, pd.DataFrame(records), blocks)


def _differences_table(found: pd.DataFrame, profile: config.Profile, note: str) -> Table:
    home = profile.data.train_set
    wanted = [
        ("greedy", home, "srcc", 3),
        ("greedy", home, "mae", 2),
        ("greedy", MEAN, "srcc", 3),
        ("greedy", MEAN, "mae", 2),
        ("sampled", home, "srcc", 3),
        ("sampled", home, "mae", 2),
        ("sampled", home, "parse_rate", 3),
    ]
    rows = []
    shown = found if found.empty else select(found, protocol="raw")
    for (arm, seed), mine in [] if shown.empty else shown.groupby(["arm", "seed"], sort=False):
        cells = [
            estimate(one(mine, decoding=way, dataset=dataset, metric=metric), digits)
            for way, dataset, metric, digits in wanted
        ]
        label = f"all {mine['n_runs'].max()}" if seed == "all" else f"seed {seed}"
        rows.append((Cell(f"{arm}"), Cell(label), *cells))
    text = (
        f"{note} First minus second, paired {intervals_of(found)}. "
        '"all": mean over the seeds, the same images drawn for all; the spread of '
        "the seeds is in the CSV. MAE in MOS units: below 0 is better."
    )
    names = (f"{way} {dataset} {METRIC_LABELS[metric]}" for way, dataset, metric, _ in wanted)
    blocks = (Block("", ("Comparison", "Seeds", *names), tuple(rows)),)
    return Table("study_differences", "Differences over seeds", text, found, blocks)


def _models_table(repeats: Sequence[StudyRun], note: str) -> Table:
    """Table 3 over seeds: the mean of each score, and the lowest and highest seed."""
    columns = ["model", "dataset", "decoding", "metric", "protocol"]
    frames = [read_scores(run.paths).assign(seed=run.seed) for run in repeats]
    if not frames:
        return Table("study_models", "Scores over seeds", note, pd.DataFrame(columns=columns))
    groups = pd.concat(frames).groupby(columns, sort=False)["value"]
    found = groups.agg(n_runs="count", mean="mean", sd="std", lowest="min", highest="max")
    data = found.reset_index()
    shown = select(data, decoding="greedy", protocol="raw", metric="srcc")
    sets = list(dict.fromkeys(shown["dataset"]))
    rows = []
    for model in dict.fromkeys(shown["model"]):
        cells = []
        for dataset in sets:
            row = one(shown, model=model, dataset=dataset)
            known = row is not None and row["n_runs"] > 0
            ends = interval(row["lowest"], row["highest"]) if known else ""
            cells.append(Cell(number(row["mean"]), ends) if known else Cell(MISSING))
        rows.append((Cell(model_label(model)), *cells))
    seeds = ", ".join(str(run.seed) for run in repeats)
    text = f"{note} Greedy SRCC: mean over the seeds {seeds}, and [lowest, highest] seed."
    blocks = (Block("SRCC", ("Model", *sets), tuple(rows)),)
    return Table("study_models", "Table 3 over seeds", text, data, blocks)


def _gamma_table(runs: Sequence[StudyRun], note: str) -> Table:
    """The share kept by Eq. 1, trained through: all runs of the seed that the most shares have."""
    seeds = [run.seed for run in runs]
    usual = max(sorted(set(seeds)), key=seeds.count) if seeds else 0
    chosen = sorted((r for r in runs if r.seed == usual), key=lambda r: r.profile.filter.gamma)
    frames, rows = [], []
    for run in chosen:
        gamma, start = run.profile.filter.gamma, f"ci-{run.profile.grpo.start_from}"
        scores = select(read_scores(run.paths), model=[start, "qponder"], protocol="raw")
        frames.append(scores.assign(gamma=gamma, run=run.name))
        greedy = select(scores, decoding="greedy")
        cells = [
            estimate(one(greedy, model=model, dataset=dataset, metric=metric), digits)
            for model in (start, "qponder")
            for dataset, metric, digits in (
                (run.profile.data.train_set, "srcc", 3),
                (run.profile.data.train_set, "mae", 2),
                (MEAN, "srcc", 3),
            )
        ]
        rows.append((Cell(f"{gamma:g}"), *cells))
    names = [
        f"{model} {what}"
        for model in ("Cold start", "GRPO")
        for what in ("SRCC, in domain", "MAE, in domain", "SRCC, mean")
    ]
    data = pd.concat(frames) if frames else pd.DataFrame(columns=["gamma", "run"])
    text = f"{note} Seed {usual}; greedy answers, {intervals_of(data)}."
    blocks = (Block("", ("γ", *names), tuple(rows)),)
    return Table("study_gamma", "The share kept, trained through", text, data, blocks)

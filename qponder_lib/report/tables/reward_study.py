"""Tables of a study of rewards: both systems and the neighbours' rewards side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from qponder_lib import config, pipeline
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.metrics.bootstrap import CONFIDENCE
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
from qponder_lib.report.tables.reward_arms import (
    Systems,
    by_system,
    diversity_rows,
    model_arms,
    rollout_rows,
    system_label,
    system_of,
)
from qponder_lib.report.tables.sources import (
    METRIC_LABELS,
    intervals_of,
    one,
    read_scores,
    select,
)
from qponder_lib.report.tables.study_arms import (
    StudyRun,
    arm_differences,
    evaluated_runs,
    study_note,
)

SHOWN = (("srcc", 3), ("plcc", 3), ("mae", 2))
HEALTH = {
    "zero_variance_share": ("Groups without variance", 3),
    "parse_rate": ("Readable rollouts", 3),
    "distinct_scores": ("Distinct scores in a group", 2),
    "modal_share": ("Modal share", 3),
    "effective": ("Effective scores", 1),
}
"""What is shown beside the scores, with its digits; the last two are of greedy test answers."""


def reward_tables(folder: Path, study: config.Study | None = None) -> list[Path]:
    """Write the tables of a study of rewards from the runs that are there.

    Args:
        folder: `papermill_runs/<study>`; its run folders are read.
        study: As for `study_tables`.

    Returns:
        The files written in `<folder>/tables/`. Runs that are missing are named in `reward_runs`
        and in the note of every table.

    Raises:
        FileNotFoundError: If not one run has been evaluated.
    """
    runs, there = evaluated_runs(folder, study)
    systems = by_system(there)
    note = study_note(folder, runs)
    made = [
        runs_table(runs, note),
        _scores_table(systems, note),
        _differences_table(systems, note),
        _health_table(systems, note),
    ]
    return [path for table in made for path in write(table, folder / "tables")]


def runs_table(runs: Sequence[StudyRun], note: str) -> Table:
    """List every run with what differs between systems, and what must not.

    `cold_start` and `images` are the first digits of the keys of the stages: equal where two runs
    go on from the same weights, and drew from the same images.
    """
    records = []
    for run in runs:
        grpo, keys = run.profile.grpo, pipeline.stage_keys(run.profile)
        records.append(
            {
                "run": run.name,
                "state": run.missing or "evaluated",
                "system": system_of(run.profile),
                "seed": grpo.seed,
                "cold_start": keys[f"sft-{grpo.start_from}"][:8],
                "images": keys["data"][:8],
                "answers": grpo.max_steps * grpo.images_per_step * grpo.num_generations,
                "exploration_steps": grpo.exploration_steps,
                "weight_accuracy": grpo.weight_accuracy,
                "weight_format": grpo.weight_format,
            }
        )
    rows = tuple(tuple(Cell(str(value)) for value in record.values()) for record in records)
    blocks = (Block("", tuple(records[0]), rows),)
    return Table("reward_runs", "Runs and their budget", note, pd.DataFrame(records), blocks)


def _scores_table(systems: Systems, note: str) -> Table:
    """Greedy scores of each system and of its cold start, over seeds."""
    wanted = ["srcc", "plcc", "mae", "rmse", "parse_rate"]
    frames = []
    for name, runs in systems.items():
        for seed, run in runs.items():
            start = f"ci-{run.profile.grpo.start_from}"
            found = select(
                read_scores(run.paths), model=[start, "qponder"], protocol="raw", metric=wanted
            )
            frames.append(found.assign(system=name, seed=seed, run=run.name))
    data = pd.concat(frames, ignore_index=True)
    home = _any(systems).profile.data.train_set
    sets = [name for name in (home, MEAN) if name in set(data["dataset"])]
    rows = []
    for name, runs in systems.items():
        start = f"ci-{next(iter(runs.values())).profile.grpo.start_from}"
        told = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {next(iter(runs))}"
        for model, suffix in ((start, ", cold start"), ("qponder", "")):
            mine = select(data, system=name, model=model, decoding="greedy")
            cells = [
                _over_seeds(select(mine, dataset=dataset, metric=metric), digits)
                for dataset in sets
                for metric, digits in SHOWN
            ]
            rows.append((Cell(f"{system_label(name)}{suffix}", told), *cells))
    header = tuple(f"{METRIC_LABELS[metric]}, {dataset}" for dataset in sets for metric, _ in SHOWN)
    text = (
        f"{note} Greedy answers, scores on 0 to 100. Five scores are averaged on their own scale, "
        "1 to 5, and 1 is 0, 5 is 100: correlations stay as they are. Mean over the seeds and "
        "[lowest, highest] seed; with one seed, its bootstrap interval. The CSV has every run."
    )
    blocks = (Block("", ("System", *header), tuple(rows)),)
    return Table("reward_scores", "Scores, system by system", text, data, blocks)


def _over_seeds(rows: pd.DataFrame, digits: int) -> Cell:
    known = rows.dropna(subset=["value"])
    if len(rows) == 1:
        return estimate(rows.iloc[0].to_dict(), digits)
    if known.empty:
        return Cell(MISSING)
    values = known["value"]
    ends = interval(values.min(), values.max(), digits)
    return Cell(number(values.mean(), digits), ends)


def _differences_table(systems: Systems, note: str) -> Table:
    """Paired differences in scores, first minus second."""
    found = arm_differences(model_arms(systems))
    profile = _any(systems).profile
    wanted = [
        (way, dataset, metric, digits)
        for way, dataset in (("greedy", profile.data.train_set), ("greedy", MEAN))
        for metric, digits in SHOWN
    ] + [("sampled", profile.data.train_set, metric, digits) for metric, digits in SHOWN]
    rows = []
    shown = found if found.empty else select(found, protocol="raw")
    for (arm, seed), mine in [] if shown.empty else shown.groupby(["arm", "seed"], sort=False):
        cells = [
            estimate(one(mine, decoding=way, dataset=dataset, metric=metric), digits)
            for way, dataset, metric, digits in wanted
        ]
        label = f"all {mine['n_runs'].max()}" if seed == "all" else f"seed {seed}"
        rows.append((Cell(str(arm)), Cell(label), *cells))
    text = (
        f"{note} First minus second on the same images, paired {intervals_of(found)}. "
        '"all": mean over the seeds. MAE in points of 0 to 100: '
        "below 0 is better."
    )
    names = (f"{way} {dataset} {METRIC_LABELS[metric]}" for way, dataset, metric, _ in wanted)
    blocks = (Block("", ("Comparison", "Seeds", *names), tuple(rows)),)
    return Table("reward_differences", "Differences between rewards", text, found, blocks)


def _health_table(systems: Systems, note: str) -> Table:
    """Groups that teach nothing and scores that crowd, with paired differences."""
    data = pd.DataFrame([*rollout_rows(systems), *diversity_rows(systems)])
    rows = []
    for what in dict.fromkeys(data["what"]):
        mine = select(data, what=what)
        seed = "all" if "all" in set(mine["seed"]) else mine["seed"].iloc[0]
        cells = [
            estimate(one(mine, seed=seed, metric=metric), digits)
            for metric, (_, digits) in HEALTH.items()
        ]
        label = f"all {mine['n_runs'].max()}" if seed == "all" else f"seed {seed}"
        rows.append((Cell(str(what)), Cell(label), *cells))
    text = (
        f"{note} Rollouts: mean over training steps, {CONFIDENCE:.0%} bootstrap intervals over "
        "steps drawn one by one; differences step by step. Score diversity: greedy answers to "
        "all test images, rounded to whole points of 0 to 100; effective: how many equally "
        "frequent scores would have the same entropy. Intervals over photographs for differences "
        "alone: a resample is less diverse than the data."
    )
    header = ("System or difference", "Seeds", *(title for title, _ in HEALTH.values()))
    blocks = (Block("", header, tuple(rows)),)
    return Table("reward_health", "Groups that teach, scores that crowd", text, data, blocks)


def _any(systems: Mapping[str, Mapping[int, StudyRun]]) -> StudyRun:
    return next(iter(next(iter(systems.values())).values()))

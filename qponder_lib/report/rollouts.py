"""What rollouts and scores of a study's runs were like: groups that teach, score diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from qponder_lib import pipeline
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Difference, Estimate
from qponder_lib.metrics.statistics import diversity_statistic, mean_statistic
from qponder_lib.report.render import Table, grid, read
from qponder_lib.report.studies import (
    LABELS,
    Groups,
    PlannedRun,
    jobs,
    label_pairs,
    predictions_of,
    together,
)

HEALTH = {
    "zero_variance_share": "Groups without variance",
    "parse_rate": "Parse rate of the rollouts",
    "distinct_scores": "Distinct scores in a group",
    "modal_share": "Share of the commonest score",
    "effective": "Effective scores",
}
"""What is shown beside the scores; the first three of rollouts, the others of test predictions."""
DIVERSITY = ("modal_share", "effective")


def health_table(groups: Groups, note: str) -> Table:
    """Lay out zero-variance groups and score diversity."""
    data = measure_health(groups)
    rows = together(data).rename(columns={"what": "Label or difference"})
    rows = rows.assign(Runs=rows["n_runs"].astype(str), heading=rows["metric"].map(HEALTH))
    text = (
        f"{note} Rollouts: mean over training steps, {bootstrap.CONFIDENCE:.0%} bootstrap "
        "intervals over steps drawn one by one; differences step by step. Score diversity: greedy "
        "decoding on all test images, rounded to whole points of 0 to 100; effective: how many "
        "equally frequent scores would have the same entropy. Intervals over photographs for "
        "differences alone: a resample is less diverse than the data."
    )
    cells = grid(rows, ["Label or difference", "Runs"], "heading")
    return Table("Groups that teach, and score diversity", text, {"": cells}, data)


def measure_health(groups: Groups) -> pd.DataFrame:
    """Measure what each label's rollouts and predictions were like, and compare labels.

    Returns:
        Rows with what, seed ("all": every seed together), n_runs, metric, n, value, ci_low,
        ci_high and reason. Of rollouts, n counts steps, which are resampled; of score diversity,
        n counts images, and only differences have intervals.
    """
    runs = {(label, seed): run for label, seeds in groups.items() for seed, run in seeds.items()}
    logs = {key: rollout_history(run).set_index("step") for key, run in runs.items()}
    scores = {key: _rounded_scores(run) for key, run in runs.items()}
    compared = {LABELS.get(one, one): (one,) for one in groups} | label_pairs(groups)
    rows = []
    for metric in HEALTH:
        for what, labels in compared.items():
            seeds = sorted(set.intersection(*(set(groups[label]) for label in labels)))
            for name, chosen in jobs(dict.fromkeys(seeds)).items():
                sides = [[(label, seed) for label in labels] for seed in chosen]
                if metric in DIVERSITY:
                    found = _diversity(metric, [[scores[key] for key in side] for side in sides])
                else:
                    found = _of_steps([[logs[key][metric] for key in side] for side in sides])
                row = {"what": what, "seed": name, "n_runs": len(chosen), "metric": metric}
                rows.append(row | bootstrap.cells(found))
    columns = ["what", "seed", "n_runs", "metric", "n", "value", "ci_low", "ci_high", "reason"]
    return pd.DataFrame(rows)[columns]


def rollout_history(run: PlannedRun) -> pd.DataFrame:
    """Read the log of all stages of a run's GRPO, steps counted through.

    Raises:
        FileNotFoundError: If a stage left no `history.csv`.
    """
    frames, before = [], 0
    for stage in pipeline.stages(run.profile):
        if stage.name.startswith("grpo-"):
            frame = read(run.paths.grpo(stage.name.removeprefix("grpo-")) / "history.csv")
            frames.append(frame.assign(stage=stage.name, step=frame["step"] + before))
            before = int(frames[-1]["step"].max())
    return pd.concat(frames, ignore_index=True)


def _rounded_scores(run: PlannedRun) -> pd.DataFrame:
    """Read the greedy scores of the trained model in whole points, by image of all sets.

    A mean of five scores has more digits than a single one.
    """
    frames = []
    for dataset, found in predictions_of(run, "qponder", "greedy").items():
        index = [f"{dataset}/{name}" for name in found.ids]
        photographs = [f"{dataset}/{name}" for name in found.clusters or found.ids]
        columns = {"score": found.samples[0].round(), "photograph": photographs}
        frames.append(pd.DataFrame(columns, index=index))
    return pd.concat(frames).dropna(subset=["score"])


def _of_steps(sides: Sequence[Sequence[pd.Series]]) -> Estimate:
    """Average a column of logs over the steps of all seeds, or its difference step by step."""
    values = [side[0] - side[1] if len(side) == 2 else side[0] for side in sides]
    steps = pd.concat(values).dropna().to_numpy(float)
    if not len(steps):
        return bootstrap.missing("nothing to compare")
    return bootstrap.estimate(mean_statistic(steps), len(steps))


def _diversity(kind: str, sides: Sequence[Sequence[pd.DataFrame]]) -> Estimate | Difference:
    """Measure, or compare, on the images that all models of all seeds gave a parsed score for."""
    common = sorted(set.intersection(*(set(scores.index) for side in sides for scores in side)))
    if not common:
        return bootstrap.missing("nothing to compare")
    statistics = {
        (run, k): diversity_statistic(scores.loc[common, "score"].tolist(), kind)
        for run, side in enumerate(sides)
        for k, scores in enumerate(side)
    }
    photographs = sides[0][0].loc[common, "photograph"].tolist()
    found = bootstrap.estimates(statistics, len(common), photographs)
    if len(sides[0]) == 2:
        runs = range(len(sides))
        return bootstrap.mean_over_runs(
            [bootstrap.difference(found[k, 0], found[k, 1]) for k in runs]
        )
    # A resample leaves values out, so it is less diverse than the data; in differences of two
    # models that cancels.
    value = float(np.mean([one.value for one in found.values()]))
    nothing = {"ci_low": None, "ci_high": None, "reason": bootstrap.NO_INTERVAL}
    return replace(found[0, 0], value=value, **nothing)

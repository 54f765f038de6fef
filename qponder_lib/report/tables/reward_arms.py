"""Runs of a study of rewards: which system each trains, and what its rollouts were like.

A system is a reward with the form of its answers. Two systems of one seed that share the form share
the cold start, the images and the number of answers, so they are compared in pairs: on the same
test images, and step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from qponder_lib import artifacts, pipeline
from qponder_lib.config import Profile
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.statistics import Diversity, diversity_statistic, mean_statistic
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.report.tables.sources import read
from qponder_lib.report.tables.study_arms import Arm, StudyRun
from qponder_lib.text.prompts import answer_form

ONE_SCORE = "one-score"
SHUFFLED = "shuffled"
LABELS = {
    "qponder": "Exponential (Q-Ponder)",
    "threshold": "Threshold (Q-Insight)",
    "fidelity": "Thurstone fidelity (VisualQuality-R1)",
    "gaussian": "Gaussian (VQAThinker)",
    "preresq": "PreResQ-R1",
    "preresq-shuffled": "PreResQ-R1, rewards shuffled",
    "qponder-one-score": "Q-Ponder, its own form (one score)",
}
"""Systems for readers, in the order of the rows."""
NOTHING = "nothing to compare"
ROLLOUT_METRICS = ("zero_variance_share", "parse_rate", "distinct_scores")
DIVERSITY: tuple[Diversity, ...] = ("modal_share", "effective")


Systems = Mapping[str, Mapping[int, StudyRun]]
"""Evaluated runs by system and seed."""


def system_of(profile: Profile) -> str:
    """Name what a run trains.

    Example:
        >>> profile = Profile(name="p", description="d")
        >>> system_of(profile)
        'qponder-one-score'
        >>> system_of(profile.with_overrides({"student.prompt_id": "preresq_image"}))
        'qponder'
    """
    parts = [profile.grpo.reward]
    if answer_form(profile.student.prompt_id).n_scores == 1:
        parts.append(ONE_SCORE)
    if profile.grpo.shuffle_rewards:
        parts.append(SHUFFLED)
    return "-".join(parts)


def system_label(system: str) -> str:
    """Return a system's name for readers; an unknown one keeps its own."""
    return LABELS.get(system, system)


def by_system(runs: Sequence[StudyRun]) -> Systems:
    """Sort evaluated runs by system and seed, systems in the order of `LABELS`.

    Raises:
        ValueError: If two runs train the same system from the same seed.
    """
    found: dict[str, dict[int, StudyRun]] = {}
    for run in runs:
        seeds = found.setdefault(system_of(run.profile), {})
        if run.seed in seeds:
            raise ValueError(f"{seeds[run.seed].name} and {run.name} are the same run twice")
        seeds[run.seed] = run
    known = list(LABELS)
    order = sorted(found, key=lambda name: known.index(name) if name in known else len(known))
    return {name: found[name] for name in order}


def pairings(systems: Systems) -> list[tuple[str, str]]:
    """List which systems are compared: each with Q-Ponder's reward, PreResQ-R1 with its control."""
    named = [(name, "qponder") for name in systems if name not in ("qponder", "preresq-shuffled")]
    named += [("preresq", "preresq-shuffled"), ("preresq", "qponder-one-score")]
    return [(a, b) for a, b in named if a in systems and b in systems]


def pair_label(first: str, second: str) -> str:
    """Name a comparison: first minus second."""
    return f"{system_label(first)} − {system_label(second)}"


def model_arms(systems: Systems) -> list[Arm]:
    """Every system against its own cold start, and the pairs of `pairings` after training."""
    trained = {
        name: {seed: (run, "qponder") for seed, run in runs.items()}
        for name, runs in systems.items()
    }
    starts = {
        name: {s: (run, f"ci-{run.profile.grpo.start_from}") for s, run in runs.items()}
        for name, runs in systems.items()
    }
    return [
        *(Arm(f"{system_label(n)} − its cold start", trained[n], starts[n]) for n in systems),
        *(Arm(pair_label(a, b), trained[a], trained[b]) for a, b in pairings(systems)),
    ]


def rollout_history(run: StudyRun) -> pd.DataFrame:
    """Read the log of all stages of a run's reinforcement learning, steps counted through.

    Raises:
        FileNotFoundError: If a stage left no `history.csv`.
    """
    frames, before = [], 0
    for stage in pipeline.stages(run.profile):
        if not stage.name.startswith("grpo-"):
            continue
        frame = read(run.paths.grpo(stage.name.removeprefix("grpo-")) / "history.csv")
        frames.append(frame.assign(stage=stage.name, step=frame["step"] + before))
        before = int(frames[-1]["step"].max())
    return pd.concat(frames, ignore_index=True)


def rollout_rows(systems: Systems) -> list[dict[str, object]]:
    """Average what the rollouts of each system were like, and compare systems step by step.

    Returns:
        Rows with what, seed ("all": every seed together), n_runs, metric, value, ci_low, ci_high,
        n (steps) and reason; intervals by resampling steps.
    """
    logs = {
        (name, seed): rollout_history(run).set_index("step")
        for name, runs in systems.items()
        for seed, run in runs.items()
    }
    rows: list[dict[str, object]] = []
    for metric in ROLLOUT_METRICS:
        for name, runs in systems.items():
            values = {seed: logs[name, seed][metric] for seed in runs}
            rows += _step_rows(system_label(name), metric, values, _seed(runs))
        for a, b in pairings(systems):
            seeds = sorted(set(systems[a]) & set(systems[b]))
            values = {seed: logs[a, seed][metric] - logs[b, seed][metric] for seed in seeds}
            rows += _step_rows(pair_label(a, b), metric, values, _seed(systems[a]))
    return rows


def _step_rows(
    what: str, metric: str, values: Mapping[int, pd.Series], seed: int
) -> list[dict[str, object]]:
    rows = []
    for name, seeds in _jobs(values).items():
        steps = np.concatenate([values[one].dropna().to_numpy(float) for one in seeds])
        row = {"what": what, "seed": name, "n_runs": len(seeds), "metric": metric, "n": len(steps)}
        if len(steps):
            found = bootstrap.estimate(mean_statistic(steps), len(steps), seed=seed)
        else:
            found = bootstrap.missing(NOTHING)
        rows.append(row | _ends(found))
    return rows


def diversity_rows(systems: Systems) -> list[dict[str, object]]:
    """Measure the diversity of each system's greedy scores, and compare systems.

    Scores are rounded to whole points of 0 to 100 first, since a mean of five scores has more
    digits than a single one; the images of all test sets are taken together.

    Returns:
        Rows as those of `rollout_rows`; n counts images. Differences alone have intervals.
    """
    scores = {
        (name, seed): _greedy(run) for name, runs in systems.items() for seed, run in runs.items()
    }
    photographs = _photographs(next(iter(next(iter(systems.values())).values())))
    rows: list[dict[str, object]] = []
    for kind in DIVERSITY:
        for name, runs in systems.items():
            sides = {seed: [scores[name, seed]] for seed in runs}
            rows += _diversity(system_label(name), kind, sides, photographs, _seed(runs))
        for a, b in pairings(systems):
            seeds = sorted(set(systems[a]) & set(systems[b]))
            sides = {seed: [scores[a, seed], scores[b, seed]] for seed in seeds}
            rows += _diversity(pair_label(a, b), kind, sides, photographs, _seed(systems[a]))
    return rows


def _diversity(
    what: str,
    kind: Diversity,
    sides: Mapping[int, Sequence[Mapping[str, float]]],
    photographs: Mapping[str, str],
    seed: int,
) -> list[dict[str, object]]:
    """Measure, or compare, on the images that all models of all seeds gave a readable score for."""
    rows = []
    for name, seeds in _jobs(sides).items():
        common = sorted(set.intersection(*(set(side) for one in seeds for side in sides[one])))
        row = {"what": what, "seed": name, "n_runs": len(seeds), "metric": kind, "n": len(common)}
        if not common:
            rows.append(row | _ends(bootstrap.missing(NOTHING)))
            continue
        statistics = {
            (one, k): diversity_statistic([side[image] for image in common], kind)
            for one in seeds
            for k, side in enumerate(sides[one])
        }
        clusters = [photographs[image] for image in common]
        found = bootstrap.estimates(statistics, len(common), clusters, seed=seed)
        if len(sides[seeds[0]]) > 1:
            by_run = [bootstrap.difference(found[one, 0], found[one, 1]) for one in seeds]
            number = bootstrap.mean_over_runs(by_run)
        else:
            # A resample leaves values out, so it is less diverse than the data; in differences of
            # two models that cancels.
            mean = float(np.mean([found[one, 0].value for one in seeds]))
            ends = {"value": mean, "ci_low": None, "ci_high": None}
            number = replace(found[seeds[0], 0], **ends, reason=bootstrap.NO_INTERVAL)
        rows.append(row | _ends(number))
    return rows


def _jobs(values: Mapping[int, object]) -> dict[str, list[int]]:
    """Each seed, and all of them together where there are several."""
    jobs = {str(seed): [seed] for seed in values}
    return jobs | {"all": list(values)} if len(jobs) > 1 else jobs


def _ends(number: bootstrap.Estimate | bootstrap.Difference) -> dict[str, object]:
    cells = bootstrap.cells(number)
    return {name: cells[name] for name in ("value", "ci_low", "ci_high", "reason")}


def _seed(runs: Mapping[int, StudyRun]) -> int:
    return next(iter(runs.values())).profile.evaluate.seed


def _greedy(run: StudyRun) -> dict[str, float]:
    """Read the stated scores of the trained model, rounded, by image of all sets."""
    found: dict[str, float] = {}
    for dataset in run.profile.predict.sets:
        path = run.paths.predictions("qponder", dataset)
        for row in artifacts.read_jsonl(path, PredictionRecord):
            if row.score is not None:
                found[f"{dataset}/{row.image_id}"] = float(round(row.score))
    return found


def _photographs(run: StudyRun) -> dict[str, str]:
    """Read what the test images of all sets were made of; a set's photographs are its own."""
    return {
        f"{dataset}/{image.image_id}": f"{dataset}/{image.reference or image.image_id}"
        for dataset in run.profile.predict.sets
        for image in artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
    }

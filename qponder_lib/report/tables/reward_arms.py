"""Runs of a study of rewards: which system each trains, and what its rollouts were like.

A system is a reward with the form of its answers. Two systems of one seed that share the form share
the cold start, the images and the number of answers, so they are compared in pairs: on the same
test images, and step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from qponder_lib import artifacts, metrics, pipeline
from qponder_lib.config import Profile
from qponder_lib.metrics import resampling
from qponder_lib.metrics.agreement import FloatArray, Statistic, mean_statistic
from qponder_lib.metrics.crowding import Crowding, crowding_statistic
from qponder_lib.records import PredictionRecord
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
ROLLOUT_METRICS = ("zero_variance_share", "parse_rate", "distinct_scores")
CROWDING: tuple[Crowding, ...] = ("modal_share", "effective")


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
            rows += _step_rows(system_label(name), metric, values, _plan(runs))
        for a, b in pairings(systems):
            seeds = sorted(set(systems[a]) & set(systems[b]))
            values = {seed: logs[a, seed][metric] - logs[b, seed][metric] for seed in seeds}
            rows += _step_rows(pair_label(a, b), metric, values, _plan(systems[a]))
    return rows


def _step_rows(
    what: str, metric: str, values: Mapping[int, pd.Series], plan: metrics.Resampling
) -> list[dict[str, object]]:
    rows = []
    for name, seeds in _jobs(values).items():
        steps = np.concatenate([values[seed].dropna().to_numpy(float) for seed in seeds])
        row = {"what": what, "seed": name, "n_runs": len(seeds), "metric": metric, "n": len(steps)}
        rows.append(
            row | _interval(mean_statistic(steps) if len(steps) else None, len(steps), plan)
        )
    return rows


def crowding_rows(systems: Systems) -> list[dict[str, object]]:
    """Measure how the greedy scores of each system crowd, and compare systems.

    Scores are rounded to whole points of 0 to 100 first, since a mean of five scores has more
    digits than a single one; the images of all test sets are taken together.

    Returns:
        Rows as those of `rollout_rows`; n counts images. Differences alone have intervals.
    """
    scores = {
        (name, seed): _greedy(run) for name, runs in systems.items() for seed, run in runs.items()
    }
    rows: list[dict[str, object]] = []
    for kind in CROWDING:
        for name, runs in systems.items():
            sides = {seed: [scores[name, seed]] for seed in runs}
            rows += _crowding(system_label(name), kind, sides, _plan(runs))
        for a, b in pairings(systems):
            seeds = sorted(set(systems[a]) & set(systems[b]))
            sides = {seed: [scores[a, seed], scores[b, seed]] for seed in seeds}
            rows += _crowding(pair_label(a, b), kind, sides, _plan(systems[a]))
    return rows


def _crowding(
    what: str,
    kind: Crowding,
    sides: Mapping[int, Sequence[Mapping[str, float]]],
    plan: metrics.Resampling,
) -> list[dict[str, object]]:
    """Compare on the images that all models of all seeds gave a readable score for."""
    rows = []
    for name, seeds in _jobs(sides).items():
        common = sorted(set.intersection(*(set(one) for seed in seeds for one in sides[seed])))
        row = {"what": what, "seed": name, "n_runs": len(seeds), "metric": kind, "n": len(common)}
        parts = [
            [crowding_statistic([one[image] for image in common], kind) for one in sides[seed]]
            for seed in seeds
            if common
        ]
        found = _interval(_mean_difference(parts) if parts else None, len(common), plan)
        if len(sides[seeds[0]]) == 1 and parts:
            # A resample leaves values out, so it crowds more than the data; in differences of two
            # models that cancels.
            found |= {"ci_low": None, "ci_high": None, "reason": "no_interval"}
        rows.append(row | found)
    return rows


def _mean_difference(parts: Sequence[Sequence[Statistic]]) -> Statistic:
    """First minus second of each part (or the first alone), averaged."""

    def statistic(counts: FloatArray) -> FloatArray:
        return np.mean([one(counts) - sum(o(counts) for o in others) for one, *others in parts], 0)

    return statistic


def _jobs(values: Mapping[int, object]) -> dict[str, list[int]]:
    """Each seed, and all of them together where there are several."""
    jobs = {str(seed): [seed] for seed in values}
    return jobs | {"all": list(values)} if len(jobs) > 1 else jobs


def _interval(statistic: Statistic | None, n: int, plan: metrics.Resampling) -> dict[str, object]:
    if statistic is None:
        return dict.fromkeys(("value", "ci_low", "ci_high")) | {"reason": "nothing to compare"}
    value = float(statistic(np.ones((1, n)))[0])
    found = resampling.bootstrap_interval(statistic, n, plan)
    return {"value": value, "ci_low": found.low, "ci_high": found.high, "reason": found.reason}


def _plan(runs: Mapping[int, StudyRun]) -> metrics.Resampling:
    settings = next(iter(runs.values())).profile.evaluate
    return metrics.Resampling(settings.n_resamples, settings.confidence, settings.seed)


def _greedy(run: StudyRun) -> dict[str, float]:
    """Read the stated scores of the trained model, rounded, by image of all sets."""
    found: dict[str, float] = {}
    for dataset in run.profile.predict.sets:
        path = run.paths.predictions("qponder", dataset)
        for row in artifacts.read_jsonl(path, PredictionRecord):
            if row.score is not None:
                found[f"{dataset}/{row.image_id}"] = float(round(row.score))
    return found

"""Runs of a study and the comparisons made in several of them.

An arm is one comparison made in several runs, such as "Q-Ponder minus its cold start" for three
seeds. Each seed has its own paired interval over images. The row "all" is the mean over the seeds;
its interval draws the same images for all of them, so it holds for these trained models; how far
other seeds might lie is shown by the spread of the seeds and, in the CSV, Student's t interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from qponder_lib import artifacts, config
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.scoring import Predictions
from qponder_lib.paths import RunPaths
from qponder_lib.records import Decoding
from qponder_lib.report.tables.sources import model_label

T = TypeVar("T")
_VARIED = {"filter.gamma", "grpo.shuffle_rewards"}


@dataclass(frozen=True)
class StudyRun:
    """One run of a study, whether or not it is there yet."""

    name: str
    paths: RunPaths
    profile: config.Profile

    @property
    def missing(self) -> str | None:
        """Say what is missing, or None for a run that has been evaluated."""
        if not self.paths.root.is_dir():
            return "not started"
        return None if self.paths.scores.is_file() else "not evaluated yet"

    @property
    def seed(self) -> int:
        """The seed of reinforcement learning."""
        return self.profile.grpo.seed

    @property
    def settings(self) -> str:
        """What the trained models have in common, but for seeds, gamma and the shuffle.

        Runs that share it belong together, whatever they predict, judge and train besides.
        """
        left_out = {"name", "description", "seed", "predict", "judge"}
        values = self.profile.model_dump(mode="json", exclude=left_out)
        flat = {
            f"{section}.{key}": value
            for section, fields in values.items()
            if isinstance(fields, dict)
            for key, value in fields.items()
        }
        besides = {"sft.seed", "grpo.seed", "sft.variants"} | _VARIED
        return artifacts.digest({k: v for k, v in flat.items() if k not in besides})


@dataclass(frozen=True)
class Arm:
    """One comparison made in several runs: pairs of (run, model), by seed."""

    name: str
    first: Mapping[int, tuple[StudyRun, str]]
    second: Mapping[int, tuple[StudyRun, str]]

    @property
    def seeds(self) -> list[int]:
        """Seeds for which both sides are there."""
        return sorted(set(self.first) & set(self.second))


def find_runs(folder: Path, study: config.Study | None = None) -> list[StudyRun]:
    """List the runs of a study, those that are missing included.

    Args:
        folder: `papermill_runs/<study>`.
        study: See `study_tables`.

    Returns:
        The runs in the order of the study, or by name.
    """
    if study is None:
        study = _study_named(folder.name)
    if study is not None:
        base = config.load_profile(study.base)
        return [
            StudyRun(run.name, RunPaths(folder / run.name), base.with_overrides(run.overrides))
            for run in study.runs
        ]
    found = sorted(path.parent for path in folder.glob("*/profile.yaml"))
    return [
        StudyRun(path.name, RunPaths(path), config.load_profile(path / "profile.yaml"))
        for path in found
    ]


def evaluated_runs(
    folder: Path, study: config.Study | None = None
) -> tuple[list[StudyRun], list[StudyRun]]:
    """All runs of a study, as from `find_runs`, and those of them that can be compared.

    Raises:
        FileNotFoundError: If not one run has been evaluated.
    """
    runs = find_runs(folder, study)
    there = [run for run in runs if run.missing is None]
    if not there:
        raise FileNotFoundError(f"no evaluated run in {folder}; run `qponder run {folder.name}`")
    return runs, there


def study_note(folder: Path, runs: Sequence[StudyRun]) -> str:
    """Say in a sentence which runs of a study are there and which are not."""
    by_state: dict[str, list[str]] = {}
    for run in runs:
        if run.missing:
            by_state.setdefault(run.missing, []).append(run.name)
    there = len(runs) - sum(map(len, by_state.values()))
    missing = "; ".join(f"{', '.join(names)} ({state})" for state, names in by_state.items())
    text = f"Study {folder.name}: {there} of {len(runs)} runs are there."
    return text + (f" Missing: {missing}." if missing else "")


def _study_named(name: str) -> config.Study | None:
    try:
        found = config.load_profile_or_study(name)
    except (FileNotFoundError, ValueError):  # no such profile, or a folder name that cannot be one
        return None
    return found if isinstance(found, config.Study) else None


def most_common(values: Iterable[T]) -> T:
    """Return the value that is there most often; the first of several."""
    return Counter(values).most_common(1)[0][0]


def is_repeat(run: StudyRun, gamma: float) -> bool:
    """Say whether a run is one of the seeds: the usual gamma, rewards not shuffled."""
    return run.profile.filter.gamma == gamma and not run.profile.grpo.shuffle_rewards


def arms_of(alike: Sequence[StudyRun], gamma: float) -> list[Arm]:
    """List the comparisons for which runs could be there.

    Args:
        alike: Evaluated runs that differ in seeds, gamma and shuffle only.
        gamma: The usual share kept.
    """
    repeats = {run.seed: run for run in alike if is_repeat(run, gamma)}
    shuffled = {
        run.seed: run
        for run in alike
        if run.profile.grpo.shuffle_rewards and run.profile.filter.gamma == gamma
    }
    start = f"ci-{alike[0].profile.grpo.start_from}" if alike else "ci-long"

    def side(runs: Mapping[int, StudyRun], model: str) -> dict[int, tuple[StudyRun, str]]:
        return {
            seed: (run, model) for seed, run in runs.items() if model in run.profile.predict.models
        }

    trained = side(repeats, "qponder")
    pairs = [("ci-long", "ci-short"), ("ci-long", "ci-none"), ("ci-short", "ci-none")]
    return [
        Arm("Q-Ponder − its cold start", trained, side(repeats, start)),
        Arm("Shuffled rewards − its cold start", side(shuffled, "qponder"), side(shuffled, start)),
        Arm("Q-Ponder − shuffled rewards", trained, side(shuffled, "qponder")),
        *(
            Arm(f"{model_label(a)} − {model_label(b)}", side(repeats, a), side(repeats, b))
            for a, b in pairs
        ),
    ]


def arm_differences(arms: Iterable[Arm]) -> pd.DataFrame:
    """Compare both sides of every arm: a row per seed, decoding, protocol, set and metric."""
    rows: list[dict[str, object]] = []
    for arm in arms:
        for decoding in scoring.COMPARED:
            rows += _arm_rows(arm, decoding)
    return pd.DataFrame(rows)


def _arm_rows(arm: Arm, decoding: Decoding) -> list[dict[str, object]]:
    """Compare the two sides of an arm for every seed and for all of them together."""
    sides = {seed: _both_sides(arm, seed, decoding) for seed in arm.seeds}
    sides = {seed: (first, second) for seed, (first, second) in sides.items() if first}
    if not sides:
        return []
    profile = arm.first[next(iter(sides))][0].profile
    jobs = {str(seed): [seed] for seed in sides}
    if len(sides) > 1:
        jobs["all"] = list(sides)
    rows: list[dict[str, object]] = []
    for name, seeds in jobs.items():
        common = [s for s in sides[seeds[0]][0] if all(s in sides[seed][0] for seed in seeds)]
        found = {
            dataset: scoring.compare(
                *([sides[seed][side][dataset] for seed in seeds] for side in (0, 1)),
                scoring.COMPARED[decoding],
                seed=profile.evaluate.seed + place,
                min_n=profile.evaluate.min_n,
            )
            for place, dataset in enumerate(common)
        }
        whole = len(common) == len(profile.predict.sets)
        for row in scoring.rows_of(scoring.with_mean(found, wanted=whole), decoding=decoding):
            rows.append({"arm": arm.name, "seed": name, **row})
    return _with_spread(rows)


def _both_sides(
    arm: Arm, seed: int, decoding: Decoding
) -> tuple[dict[str, Predictions], dict[str, Predictions]]:
    """Read what both models of a seed answered, for the sets that both have."""
    first, second = (_answers(*side[seed], decoding) for side in (arm.first, arm.second))
    common = [name for name in first if name in second]
    return {name: first[name] for name in common}, {name: second[name] for name in common}


def _answers(run: StudyRun, model: str, decoding: Decoding) -> dict[str, Predictions]:
    found = {}
    for dataset in run.profile.predict.sets:
        if run.paths.predictions(model, dataset, sampled=decoding == "sampled").is_file():
            found[dataset] = scoring.read_predictions(run.paths, model, dataset, decoding)
    return found


def _with_spread(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Add to the rows "all" how far the seeds lie apart."""
    keys = ("arm", "decoding", "protocol", "dataset", "metric")
    values: dict[tuple[object, ...], list[float]] = {}
    for row in rows:
        if row["seed"] != "all" and row["value"] is not None:
            values.setdefault(tuple(row[k] for k in keys), []).append(float(row["value"]))
    nothing = dict.fromkeys(("seed_sd", "seed_min", "seed_max", "seed_low", "seed_high"))
    for row in rows:
        found = values.get(tuple(row[k] for k in keys), [])
        row |= spread(found) if row["seed"] == "all" and len(found) > 1 else nothing
    return rows


def spread(values: Sequence[float], confidence: float = 0.95) -> dict[str, float | None]:
    """Describe a number over training seeds.

    Returns:
        seed_sd (n - 1), seed_min, seed_max and Student's t interval of the mean, seed_low to
        seed_high. With three seeds that interval is wide (4.3 standard errors), and rightly so.

    Example:
        >>> {k: round(v, 2) for k, v in spread([1.0, 2.0, 3.0]).items()}
        {'seed_sd': 1.0, 'seed_min': 1.0, 'seed_max': 3.0, 'seed_low': -0.48, 'seed_high': 4.48}
    """
    from scipy.stats import t  # scipy.stats takes a second to import

    found = np.asarray(values, dtype=np.float64)
    sd = float(found.std(ddof=1))
    half = float(t.ppf(0.5 + confidence / 2.0, len(found) - 1)) * sd / len(found) ** 0.5
    return {
        "seed_sd": sd,
        "seed_min": float(found.min()),
        "seed_max": float(found.max()),
        "seed_low": float(found.mean()) - half,
        "seed_high": float(found.mean()) + half,
    }

"""What a run shows about the papers' claims (decision D29).

A claim of several parts needs them all. One about competitors is not decidable without them. One
about a method needs several training runs, and the interval of their mean covers photographs and
training; one run tells its direction, by an interval that the measured spread of training widens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from qponder_lib import artifacts, config
from qponder_lib.artifacts import ArtifactError
from qponder_lib.data.prepare import prepared_sets
from qponder_lib.metrics.bootstrap import Z_95, over_training
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report import reproduction
from qponder_lib.report.claims import (
    Claim,
    Contrast,
    PrintedVerdict,
    load_claims,
    printed_verdicts,
)
from qponder_lib.report.render import CORRELATIONS, interval, number
from qponder_lib.report.reproduction import COMPARED, find_spread
from qponder_lib.rewards.alternatives import THRESHOLD
from qponder_lib.scales import ASPECT_SCALE, MOS_MAX, MOS_MIN

PAPER_SETS = {"koniq", "spaq", "livew", "kadid", "csiq", "agiqa"}
PAPER_MODEL = "Qwen2.5-VL-7B"
REWARDS = {"Q-Ponder": "qponder", "PreResQ-R1": "preresq"}
"""The reward that a run must be trained with where a paper's claim is about RL."""
SEVERAL = 3
"""Training runs that a claim about a method needs at least."""
DIRECTION = {True: "shows", False: "does not show", None: "undecided"}

Outcome = Literal["shows", "does_not_show", "undecided", "few_runs", "not_decidable", "not_run"]


class NotMeasured(LookupError):
    """A file or row that a claim needs is not there; the message says which."""


@dataclass(frozen=True)
class Verdict:
    """What a run shows about a claim.

    Attributes:
        claim: The claim.
        printed: What the paper's own tables say; None if they say nothing.
        outcome: `shows`, `does_not_show` or `undecided` by the direction claimed; `few_runs` if
            the claim is about a method and too few runs were trained; `not_decidable` if this
            kit cannot decide it; `not_run` if nothing was measured.
        why: What stands in the way of a verdict, or what it rests on.
        holds: Whether the direction claimed shows in all parts of the claim, their intervals
            away from no difference; None if an interval holds both or a part is missing.
        basis: Runs behind the numbers of a claim about a method, and what their intervals cover.
        numbers: What was measured, one sentence per comparison.
        n_runs: Training runs that were looked at.
        files: The files behind it, relative to the run folder.
    """

    claim: Claim
    printed: PrintedVerdict | None
    outcome: Outcome
    why: str = ""
    holds: bool | None = None
    basis: str = ""
    numbers: Sequence[str] = ()
    n_runs: int = 0
    files: Sequence[str] = ()

    @property
    def label(self) -> str:
        """The outcome in words."""
        if self.outcome != "few_runs":
            return self.outcome.replace("_", " ")
        return (
            f"{'one run' if self.n_runs == 1 else f'{self.n_runs} runs'}: {DIRECTION[self.holds]}"
        )


@dataclass
class _Measured:
    """The comparisons of one claim in one run."""

    claim: Claim
    numbers: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    widened: bool = False

    @property
    def holds(self) -> bool | None:
        found: list[bool | None] = [None] * len(self.missing)
        for one in self.claim.comparisons:
            if one.sign and one.label in self.numbers:
                signed = self.numbers[one.label][["low", "high"]] * one.direction
                found += [_above_zero(ends) for ends in signed.to_numpy()]
        return together(found)


def verdicts(paths: RunPaths) -> list[Verdict]:
    """Judge every claim of both papers by what a run has measured.

    Args:
        paths: A run, or a kept reference.

    Returns:
        One verdict per claim, in the order of the papers.

    Raises:
        FileNotFoundError: If there is no such folder.
        ArtifactError: If a file of the run is damaged.
    """
    if not paths.root.is_dir():
        raise FileNotFoundError(f"no folder {paths.root}; expected a run or a reference")
    runs, spread, found = runs_over_seeds(paths), find_spread(paths), []
    for claim in load_claims():
        used = runs if "runs" in claim.needs else runs[:1]
        known = spread if "runs" in claim.needs and len(runs) < SEVERAL else None
        measured = [_measure_claim(claim, run, known) for run in used]
        found.append(_verdict(claim, printed_verdicts().get(claim.id), measured))
    return found


def runs_over_seeds(paths: RunPaths) -> list[Run]:
    """Return a run, and after it those beside it that differ from it in training seeds alone.

    Runs that train, ask or judge fewer models count: what they have is trained alike.

    Args:
        paths: The run; without a profile there is nothing to return. Its neighbours are the
            folders beside it and those one level below, such as the runs of a study.
    """
    if not paths.profile.is_file():
        return []
    run = Run(paths, config.load_profile(paths.profile))
    found = {_seeds(run): run}
    beside = paths.root.parent
    for file in sorted([*beside.glob("*/profile.yaml"), *beside.glob("*/*/profile.yaml")]):
        try:
            other = Run(RunPaths(file.parent), config.load_profile(file))
        except ValueError:  # a run of another version of the kit
            continue
        if _besides_seeds(other) == _besides_seeds(run):
            found.setdefault(_seeds(other), other)
    return list(found.values())


def _seeds(run: Run) -> tuple[int, int]:
    return run.profile.sft.seed, run.profile.grpo.seed


def _besides_seeds(run: Run) -> dict[str, Any]:
    left_out: Any = {"name": True, "description": True, "grpo": {"seed"}}
    left_out |= {"sft": {"seed", "variants"}, "predict": {"models"}, "judge": {"models"}}
    return run.profile.model_dump(mode="json", exclude=left_out)


def smaller_than_the_paper(run: Run) -> list[str]:
    """Say what of a run is not the paper's setting; nothing if all is."""
    told = []
    if run.profile.data.source != "prepared" or not set(run.profile.predict.sets) >= PAPER_SETS:
        told.append("other image sets")
    elif any(one.n_whole is not None for one in prepared_sets(run.paths)):
        told.append("few images of each set")
    if PAPER_MODEL not in run.profile.student.model:
        told.append(f"model {run.profile.student.model}")
    return told


def _verdict(claim: Claim, printed: PrintedVerdict | None, runs: Sequence[_Measured]) -> Verdict:
    """Join what one or several runs measured; others than the first must have measured it all."""
    runs = [run for run in runs if run is runs[0] or not run.missing]
    competitors = "the compared models are not run" if "competitors" in claim.needs else ""
    if claim.without_run:
        return Verdict(claim, printed, "not_decidable", claim.without_run)
    if not runs or not runs[0].numbers:
        missing = dict.fromkeys(runs[0].missing if runs else ["the run has no profile"])
        outcome: Outcome = "not_decidable" if competitors else "not_run"
        return Verdict(claim, printed, outcome, competitors or "; ".join(missing))
    own, each = runs[0], [run.holds for run in runs]
    holds, numbers, basis = each[0] if len(set(each)) == 1 else None, own.numbers, ""
    if "runs" in claim.needs:
        covered = "photographs and the measured spread of training"
        covered = covered if own.widened else "photographs, for these weights"
        basis = f"one run, intervals over {covered}"
        if len(runs) > 1:
            basis = f"{len(runs)} runs, intervals of the first over {covered}"
    if "runs" in claim.needs and len(runs) >= SEVERAL:
        basis = f"{len(runs)} runs, intervals of their mean over photographs and training"
        numbers = {label: over_runs([run.numbers[label] for run in runs]) for label in own.numbers}
        holds = replace(own, numbers=numbers).holds
    outcome = {True: "shows", False: "does_not_show", None: "undecided"}[holds]
    why = [f"not measured: {text}" for text in dict.fromkeys(own.missing)]
    if competitors and holds is not False:
        outcome = "not_decidable"
        why.append(competitors)
    elif "runs" in claim.needs and len(runs) < SEVERAL:
        outcome = "few_runs"
    why += [basis] if basis else []
    if len(runs) > 1:
        told = ", ".join(DIRECTION[one] for one in each)
        why.append(f"{len(runs)} runs that differ in training seeds alone: {told}")
    return Verdict(
        claim,
        printed,
        outcome,
        "; ".join(why),
        holds,
        basis,
        [_words(label, numbers[label], [run.numbers[label] for run in runs]) for label in numbers],
        len(runs),
        list(dict.fromkeys(one.file for one in claim.comparisons if one.label in own.numbers)),
    )


def over_runs(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average numbers over runs, with intervals over photographs and training runs.

    Args:
        frames: Of each run, as `measure` returns them; all runs saw the same photographs, so the
            mean is as uncertain by these as one run is.
    """
    first = frames[0]
    runs = np.stack([frame.reindex(first.index).to_numpy(dtype=float) for frame in frames])
    mean, n = runs.mean(axis=0), len(frames)
    low, high = over_training(*mean.T, runs[:, :, 0].std(axis=0, ddof=1), n, n)
    return pd.DataFrame({"value": mean[:, 0], "low": low, "high": high}, first.index)


def _words(label: str, numbers: pd.DataFrame, runs: Sequence[pd.DataFrame]) -> str:
    """Tell the numbers of a comparison, with the values of several runs behind each."""
    told = []
    for name, row in numbers.iterrows():
        ends = interval(row["low"], row["high"]) or "(no interval)"
        each = [number(run.loc[name, "value"]) for run in runs if name in run.index]
        seeds = f" (runs {', '.join(each)})" if len(each) > 1 else ""
        told.append(f"{name} {number(row['value'])} {ends}{seeds}".strip())
    return f"{label}: {', '.join(told)}"


def together(directions: Sequence[bool | None]) -> bool | None:
    """Join the parts of a claim: all must show; one that goes the other way decides.

    Example:
        >>> together([True, True]), together([True, None]), together([True, None, False])
        (True, None, False)
    """
    if any(direction is False for direction in directions):
        return False
    return True if directions and all(directions) else None


# ---- the numbers of one run


def _measure_claim(claim: Claim, run: Run, spread: pd.DataFrame | None) -> _Measured:
    found = _Measured(claim)
    for one in claim.comparisons:
        if not one.file:
            continue
        try:
            numbers = measure(one, run, REWARDS[claim.paper], spread)
        except NotMeasured as missing:
            found.missing.append(str(missing))
            continue
        found.numbers[one.label] = numbers
        found.widened |= spread is not None and one.file in set(spread["file"])
    return found


def _above_zero(ends: np.ndarray) -> bool | None:
    """Say whether both ends lie above or below nought; None if neither, or without an interval."""
    return True if (ends > 0).all() else False if (ends < 0).all() else None


def measure(
    one: Contrast, run: Run, reward: str, spread: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Read the numbers of a comparison from the files of a run.

    Args:
        one: A comparison with a file.
        run: The run.
        reward: The reward that its last model must be trained with, where it is compared.
        spread: The spread of training that widens the intervals of trained models' scores,
            differences and ratings; None to leave them over photographs.

    Returns:
        A row per number: value, low and high, indexed by what tells it from the others.

    Raises:
        NotMeasured: If a file, row or value is not there; the message has the file's reason.
        ArtifactError: If several rows answer, or a file is damaged.
    """
    path, grpo = run.paths.root / one.file, run.profile.grpo
    if not path.is_file():
        raise NotMeasured(f"{one.file} is not there")
    if "qponder" in one.where + one.file and (grpo.reward != reward or grpo.shuffle_rewards):
        trained = "shuffled rewards" if grpo.shuffle_rewards else f"the reward {grpo.reward}"
        raise NotMeasured(f"this run's RL is with {trained}")
    if path.suffix == ".jsonl":
        return _groups_without_feedback(one, path)
    where = _conditions(one.where)
    if path.name == "history.csv":
        return _contrasts(one, path, where)
    rows = pd.DataFrame(artifacts.read_csv(path))
    if spread is not None and one.file in COMPARED and "ci_low" in rows:
        ends = ["ci_low", "ci_high"]
        rows[ends] = rows[ends].apply(pd.to_numeric)
        rows.update(reproduction.over_training(rows, one.file, spread)[ends])
    found = _select(one, rows, where, run)
    if not one.minus:
        return found
    less = _select(one, rows, where | _conditions(one.minus), run)
    # The widest interval that the two allow: these means were not taken in pairs.
    ends = {"low": found["low"] - less["high"], "high": found["high"] - less["low"]}
    return pd.DataFrame({"value": found["value"] - less["value"], **ends})


def _conditions(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split("; ") if part)


def _select(one: Contrast, rows: pd.DataFrame, where: Mapping[str, str], run: Run) -> pd.DataFrame:
    """Return the numbers of the rows that meet the conditions; each alternative must be there."""
    home = run.profile.data.train_set
    of_run = {"in domain": [home], "cold start": [f"ci-{run.profile.grpo.start_from}"]}
    for column, wanted in where.items():
        names = of_run.get(wanted, wanted.split("|"))
        if wanted == "out of domain":
            names = [name for name in rows[column].unique() if name not in (home, "mean")]
        absent = [name for name in names if name not in set(rows[column])]
        if absent or not names:
            told = ", ".join(absent) or wanted
            raise NotMeasured(f"{one.file} has no row for {column} {told} ({one.label})")
        rows = rows[rows[column].isin(names)]
    rows = rows.set_index(_names(rows))
    if rows.index.has_duplicates:
        raise ArtifactError(f"{one.file}: several rows for {one.label}, expected one of each")
    found = rows[["value", "ci_low", "ci_high"]].apply(pd.to_numeric)
    without = rows.loc[found["value"].isna(), "reason"].fillna("no reason given")
    if not without.empty:
        raise NotMeasured(f"{one.file} has no number ({one.label}): {without.iloc[0]}")
    return found.set_axis(["value", "low", "high"], axis=1)


def _names(rows: pd.DataFrame) -> pd.Index:
    """Name each row by its judge, set and metric, as far as they tell rows apart."""
    named = rows[[c for c in ("dataset", "aspect", "metric") if c in rows]]
    correlations = named.isin(CORRELATIONS).any()
    named = named.loc[:, (named.nunique() > 1) | correlations]
    named = named.map(lambda name: name.upper() if name in CORRELATIONS else name)
    judges = rows[[c for c in ("judge", "judge_a", "judge_b") if c in rows]].fillna("")
    return pd.Index([" ".join(filter(None, row)) for row in judges.join(named).to_numpy()])


def _contrasts(one: Contrast, path: Path, where: Mapping[str, str]) -> pd.DataFrame:
    """Weigh the means of five parts of a training history, as if its steps were independent.

    The history of an exploration, if the run began with one, stands before its own.
    """
    first = path.parent.with_name(f"{path.parent.name}-explore") / path.name
    files = [first, path] if first.is_file() else [path]
    history = pd.concat([pd.DataFrame(artifacts.read_csv(file)) for file in files])
    if "steps" in where:
        history = history[history["step"].astype(int) <= int(where["steps"])]
    weights = np.array(where["fifths"].split(), dtype=float)
    columns, found = where["column"].split("|"), {}
    for column in columns:
        if column not in history:
            raise NotMeasured(f"{one.file} has no column {column}")
        values = pd.to_numeric(history[column]).dropna().to_numpy()
        if len(values) < 10:
            raise NotMeasured(
                f"{one.file}, {column}: expected ten steps or more, got {len(values)}"
            )
        parts = np.array_split(values, len(weights))
        value = weights @ [part.mean() for part in parts]
        half = Z_95 * np.sqrt(weights**2 @ [part.var(ddof=1) / len(part) for part in parts])
        name = column.replace("_", " ") if len(columns) > 1 else ""
        found[name] = {"value": value, "low": value - half, "high": value + half}
    return pd.DataFrame.from_dict(found, orient="index")


def _groups_without_feedback(one: Contrast, path: Path) -> pd.DataFrame:
    """Compare how often all completions of a group earn the same: under a threshold, and Eq. 5.

    The threshold is that of a contemporary of Q-Ponder, brought from its scale of 1 to 5 to MOS.
    """
    rows = pd.read_json(path, lines=True)
    threshold = THRESHOLD * (MOS_MAX - MOS_MIN) / (ASPECT_SCALE[1] - ASPECT_SCALE[0])
    near = (rows["score"].astype(float) - rows["mos"]).abs() < threshold
    groups = rows.assign(near=near).groupby(["step", "image_id"])[["near", "reward_accuracy"]]
    alike = (groups.nunique() == 1)[groups.size() > 1].astype(float)
    if len(alike) < 10:
        raise NotMeasured(f"{one.file} holds {len(alike)} groups, 10 are needed")
    gaps, shares = alike["near"] - alike["reward_accuracy"], 100 * alike.mean()
    half = Z_95 * gaps.sem()
    name = (
        f"{len(alike)} groups, {shares['near']:.1f} % without feedback under a threshold at "
        f"{threshold:g} MOS points, {shares['reward_accuracy']:.1f} % under Eq. 5:"
    )
    ends = {"value": gaps.mean(), "low": gaps.mean() - half, "high": gaps.mean() + half}
    return pd.DataFrame.from_dict({name: ends}, orient="index")

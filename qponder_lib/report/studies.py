"""Studies: several runs, grouped by a label, compared with one another over their seeds.

A run is called by its label and its seed, such as `shuffled-seed-1`; runs of one label differ in
the seed alone. Every label is compared with its own cold start, with the label that is trained as
the paper trains (the base), and with its control, whose rewards are shuffled. Two runs of one seed
share cold start, images and number of completions, so they are compared in pairs.

A row per seed has an interval over photographs, for that trained model. The row "all" is the mean
over the seeds: ci_low to ci_high holds for these trained models, method_low to method_high for the
method, since training runs are resampled too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qponder_lib import config, pipeline
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.scoring import MEAN, Predictions
from qponder_lib.metrics import bootstrap
from qponder_lib.paths import RunPaths
from qponder_lib.records import Decoding
from qponder_lib.report import style
from qponder_lib.report.render import (
    BLACK,
    DIGITS,
    GREY,
    METRIC_LABELS,
    VERMILION,
    Table,
    estimates,
    grid,
    headed,
    intervals,
    model_label,
    number,
    read,
    read_scores,
    select,
)
from qponder_lib.report.style import house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "": "Q-Ponder",
    "shuffled": "Shuffled rewards",
    "qponder": "Exponential (Q-Ponder)",
    "threshold": "Threshold (Q-Insight)",
    "fidelity": "Thurstone fidelity (VisualQuality-R1)",
    "gaussian": "Gaussian (VQAThinker)",
    "preresq": "PreResQ-R1",
    "preresq-shuffled": "PreResQ-R1, rewards shuffled",
    "one-score": "Q-Ponder, its own form (one score)",
}
"""Labels for readers, in the order of the rows; an unknown one keeps its own."""
BASES = ("", "qponder")
SHOWN = ("srcc", "plcc", "mae")


@dataclass(frozen=True)
class PlannedRun:
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
    def label(self) -> str:
        """Its name without the seed."""
        return re.sub(r"-?seed-\d+$", "", self.name)

    @property
    def seed(self) -> int:
        """The seed of GRPO."""
        return self.profile.grpo.seed

    @property
    def start(self) -> str:
        """The model that GRPO starts from."""
        return f"ci-{self.profile.grpo.start_from}"


Groups = Mapping[str, Mapping[int, PlannedRun]]
"""Label -> seed -> evaluated run."""
Side = tuple[PlannedRun, str]
"""A run and one of its models."""


def find_runs(folder: Path, study: config.Study | None = None) -> list[PlannedRun]:
    """List the runs of a study, those that are missing included.

    Args:
        folder: `papermill_runs/<study>`.
        study: The study; default the profile of the folder's name, if there is one, or else the
            runs that lie in the folder.

    Returns:
        The runs in the order of the study, or by name.
    """
    if study is None:
        study = _study_named(folder.name)
    if study is None:
        files = sorted(folder.glob("*/profile.yaml"))
        profiles = {file.parent.name: config.load_profile(file) for file in files}
    else:
        profiles = study.profiles()
    return [PlannedRun(name, RunPaths(folder / name), one) for name, one in profiles.items()]


def _study_named(name: str) -> config.Study | None:
    try:
        found = config.load_profile_or_study(name)
    except (FileNotFoundError, ValueError):  # no such profile, or a folder name that cannot be one
        return None
    return found if isinstance(found, config.Study) else None


def study_note(folder: Path, runs: Sequence[PlannedRun]) -> str:
    """Say in a sentence which runs of a study are there and which are not."""
    by_state: dict[str, list[str]] = {}
    for run in runs:
        if run.missing:
            by_state.setdefault(run.missing, []).append(run.name)
    there = len(runs) - sum(map(len, by_state.values()))
    missing = "; ".join(f"{', '.join(names)} ({state})" for state, names in by_state.items())
    text = f"Study {folder.name}: {there} of {len(runs)} runs are there."
    return text + (f" Missing: {missing}." if missing else "")


def by_label(runs: Iterable[PlannedRun]) -> Groups:
    """Sort evaluated runs by label and seed, labels in the order of `LABELS`.

    Raises:
        ValueError: If two runs have the same label and seed.
    """
    found: dict[str, dict[int, PlannedRun]] = {}
    for run in runs:
        seeds = found.setdefault(run.label, {})
        if run.seed in seeds:
            raise ValueError(f"{seeds[run.seed].name} and {run.name} have the same label and seed")
        seeds[run.seed] = run
    known = list(dict.fromkeys([*LABELS, *found]))
    return {label: found[label] for label in known if label in found}


def label_pairs(groups: Groups) -> dict[str, tuple[str, str]]:
    """Name the pairs of labels that are compared: with the base, and with a control."""
    base = next((label for label in BASES if label in groups), None)
    pairs = [(one, base) for one in groups if one != base and "shuffled" not in one]
    pairs += [
        (one.removesuffix("shuffled").rstrip("-"), one) for one in groups if "shuffled" in one
    ]
    pairs += [("preresq", "one-score")]  # both papers' systems as published
    there = [pair for pair in pairs if pair[0] in groups and pair[1] in groups]
    return {f"{LABELS.get(a, a)} − {LABELS.get(b, b)}": (a, b) for a, b in there}


def comparisons(groups: Groups) -> dict[str, dict[int, tuple[Side, Side]]]:
    """Return name -> seed -> the two models that are compared, first minus second."""
    found = {
        f"{LABELS.get(label, label)} − its cold start": {
            seed: ((run, "qponder"), (run, run.start)) for seed, run in runs.items()
        }
        for label, runs in groups.items()
    }
    for name, (a, b) in label_pairs(groups).items():
        seeds = sorted(set(groups[a]) & set(groups[b]))
        found[name] = {s: ((groups[a][s], "qponder"), (groups[b][s], "qponder")) for s in seeds}
    for run in [run for base in BASES for run in groups.get(base, {}).values()]:
        for a, b in scoring.compared_models(run.profile.predict.models):
            if (a, b) != ("qponder", run.start):
                name = f"{model_label(a)} − {model_label(b)}"
                found.setdefault(name, {})[run.seed] = ((run, a), (run, b))
    return {name: seeds for name, seeds in found.items() if seeds}


# ---- runs and scores


def runs_table(runs: Sequence[PlannedRun], note: str) -> Table:
    """List every run with what differs between labels, and what must not.

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
                "system": run.label,
                "seed": grpo.seed,
                "sft_seed": run.profile.sft.seed,
                "gamma": run.profile.filter.gamma,
                "alpha": grpo.alpha,
                "shuffle_rewards": grpo.shuffle_rewards,
                "cold_start": keys[f"sft-{grpo.start_from}"][:8],
                "images": keys["data"][:8],
                "answers": grpo.max_steps * grpo.images_per_step * grpo.num_generations,
                "exploration_steps": grpo.exploration_steps,
                "weight_accuracy": grpo.weight_accuracy,
                "weight_format": grpo.weight_format,
            }
        )
    data = pd.DataFrame(records)
    names = {"system": "label", "answers": "completions"}
    return Table("Runs and their budget", note, {"": data.astype(str).rename(columns=names)}, data)


def over_seeds(rows: pd.DataFrame) -> str:
    """Write a mean over runs above the lowest and the highest; a single run with its interval.

    Brackets are kept for intervals.
    """
    values = rows["value"].dropna()
    if len(rows) == 1 or values.empty:
        return estimates(rows)
    digits = DIGITS.get(rows["metric"].iloc[0], 3)
    ends = f"{number(values.min(), digits)} to {number(values.max(), digits)}"
    return f"{number(values.mean(), digits)}\n{ends}"


def scores_table(groups: Groups, home: str, note: str) -> Table:
    """Greedy scores of each label and of what it started from, over seeds; all models of a base."""
    frames = []
    for label, runs in groups.items():
        for seed, run in runs.items():
            models = run.profile.predict.models if label in BASES else [run.start, "qponder"]
            found = select(read_scores(run.paths), model=list(models), protocol="raw")
            frames.append(found.assign(system=label, seed=seed, run=run.name))
    data = pd.concat(frames, ignore_index=True)
    columns = {
        f"{METRIC_LABELS[metric]}, {dataset}": {"dataset": dataset, "metric": metric}
        for dataset in (home, MEAN)
        for metric in SHOWN
    }
    rows = headed(select(data, decoding="greedy"), columns)
    trained = rows["model"] == "qponder"
    rows["Model"] = rows["model"].map(model_label).where(~trained, "after GRPO")
    rows["Label"] = rows["system"].map(lambda label: LABELS.get(label, label))
    rows["Runs"] = rows["system"].map(lambda label: str(len(groups[label])))
    text = (
        f"{note} Greedy decoding, scores on 0 to 100. Five scores are averaged on their own scale, "
        "1 to 5, and 1 is 0, 5 is 100: correlations stay as they are. Mean over the seeds, below "
        f"it lowest to highest seed; of one run its {intervals(data)}. The CSV has every run."
    )
    cells = grid(rows, ["Label", "Model", "Runs"], "heading", over_seeds)
    return Table("Scores over seeds", text, {"": cells}, data)


# ---- differences


def measure_differences(groups: Groups) -> pd.DataFrame:
    """Measure every comparison: a row per seed (and for all), decoding, protocol, set, metric."""
    rows: list[dict[str, object]] = []
    for name, seeds in comparisons(groups).items():
        for decoding in scoring.COMPARED:
            rows += [{"arm": name} | row for row in _difference_rows(seeds, decoding)]
    return pd.DataFrame(rows)


def _difference_rows(
    comparison: Mapping[int, tuple[Side, Side]], decoding: Decoding
) -> list[dict[str, object]]:
    """Compare the two sides for every seed, and for all of them together."""
    sides = {
        seed: [predictions_of(*side, decoding) for side in pair]
        for seed, pair in comparison.items()
    }
    sides = {seed: pair for seed, pair in sides.items() if set(pair[0]) & set(pair[1])}
    rows: list[dict[str, object]] = []
    for name, seeds in jobs(sides).items():
        profile = comparison[seeds[0]][0][0].profile
        sets = [
            s for s in profile.predict.sets if all(s in side for k in seeds for side in sides[k])
        ]
        whole = len(sets) == len(profile.predict.sets)
        pairs = {s: [[sides[seed][side][s] for seed in seeds] for side in (0, 1)] for s in sets}

        measured = partial(_compare, pairs, decoding, whole)
        these = measured("fixed")
        methods = measured("resampled") if len(seeds) > 1 else [{}] * len(these)
        for row, method in zip(these, methods, strict=True):
            ends = {f"method_{end}": method.get(f"ci_{end}") for end in ("low", "high")}
            rows.append({"seed": name, **row, **ends})
    return rows


def _compare(
    pairs: Mapping[str, Sequence[Sequence[Predictions]]],
    decoding: Decoding,
    with_mean: bool,
    runs: bootstrap.Runs,
) -> list[dict[str, object]]:
    found = {}
    for place, (dataset, (first, second)) in enumerate(pairs.items()):
        wanted = scoring.COMPARED[decoding]
        found[dataset] = scoring.compare(first, second, wanted, runs=runs, seed=place)
    return scoring.rows_of(scoring.with_mean(found, wanted=with_mean), decoding=decoding)


def predictions_of(run: PlannedRun, model: str, decoding: Decoding) -> dict[str, Predictions]:
    """Read what a model predicted, for the sets that it did."""
    sampled = decoding == "sampled"
    return {
        dataset: scoring.read_predictions(run.paths, model, dataset, decoding)
        for dataset in run.profile.predict.sets
        if run.paths.predictions(model, dataset, sampled=sampled).is_file()
    }


def jobs(values: Mapping[int, object]) -> dict[str, list[int]]:
    """Name what is measured: each seed, and all of them together where there are several."""
    found = {str(seed): [seed] for seed in values}
    return found | {"all": list(values)} if len(found) > 1 else found


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows over all seeds, and those of a comparison that has one seed only."""
    name = "arm" if "arm" in rows else "what"
    several = set(rows.loc[rows["seed"] == "all", name])
    return rows[(rows["seed"] == "all") | ~rows[name].isin(several)]


def differences_table(found: pd.DataFrame, home: str, note: str) -> Table:
    """Lay out comparisons, all seeds together; the CSV has each seed too."""
    wanted = [("greedy", home, metric) for metric in SHOWN]
    wanted += [("greedy", MEAN, "srcc"), ("greedy", MEAN, "mae")]
    wanted += [("sampled", home, metric) for metric in ("srcc", "mae", "parse_rate")]
    keys = ("decoding", "dataset", "metric")
    columns = {
        f"{way} {dataset} {METRIC_LABELS[metric]}": dict(
            zip(keys, (way, dataset, metric), strict=True)
        )
        for way, dataset, metric in wanted
    }
    text = (
        f"{note} First minus second on the same images, paired {intervals(found)}, these trained "
        "models held fixed. Several runs: the mean over the seeds, the same photographs drawn for "
        "all; each seed, and the interval over photographs and runs (method), are in the CSV. MAE "
        "in points of 0 to 100: below 0 is better."
    )
    rows = together(select(found, protocol="raw")).rename(columns={"arm": "Comparison"})
    rows = headed(rows.assign(Runs=rows["n_runs"].astype(str)), columns)
    cells = grid(rows, ["Comparison", "Runs"], "heading")
    return Table("Differences over seeds", text, {"": cells}, found)


@house_style()
def differences_figure(folder: Path) -> tuple[Figure, pd.DataFrame]:
    """Draw what training of each label changed against its own cold start.

    Args:
        folder: `papermill_runs/<study>`; `tables/*_differences.csv` in it is read.
    """
    file = next(
        folder.glob("tables/*_differences.csv"), folder / "tables" / "study_differences.csv"
    )
    data = read(file)
    data = data[data["arm"].str.endswith("its cold start")]
    home, names = data["dataset"].iloc[0], list(dict.fromkeys(data["arm"]))
    figure, axes = style.new_figure(11.4, 2.0 + 1.15 * len(names), 2, 3, sharey=True)
    panels = [("greedy", home, "srcc"), ("greedy", home, "mae"), ("greedy", MEAN, "srcc")]
    panels += [("sampled", home, "srcc"), ("sampled", home, "mae"), ("greedy", MEAN, "mae")]
    for ax, (way, dataset, metric) in zip(axes.flat, panels, strict=True):
        where = {"decoding": way, "dataset": dataset, "metric": metric, "protocol": "raw"}
        forest(ax, select(data, **where), names)
        ax.set_title(f"{way}, {'mean over the sets' if dataset == MEAN else dataset}")
        unit = " (below 0 is better)" if metric == "mae" else ""
        ax.set_xlabel(f"Difference in {METRIC_LABELS[metric]}{unit}")
    both = " thin bar: over training runs too;" if "method_low" in data else ""
    style.caption(
        figure,
        f"Diamond: mean over the seeds, thick bar: its {intervals(data)}, these trained models "
        f"held fixed;{both} dots below it: single seeds. A diamond without dots is the only seed. "
        "An arrow points to values beyond the axis, which is made for comparisons without shuffled "
        f"rewards. Study {folder.name}.",
    )
    return figure, data


def forest(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> Axes:
    """Draw differences over all seeds with their interval, and the seeds below; 0 is none.

    Args:
        ax: Where to draw. Its scale is that of the comparisons without shuffled rewards, since a
            diverged control would make all else a dot on zero.
        rows: Of the CSV of differences, of one decoding, protocol, dataset and metric.
        names: Comparisons, top down.
    """
    rows = rows.dropna(subset=["value"])
    ax.set_yticks(range(len(names)), [name.removesuffix(" − its cold start") for name in names])
    ax.set_ylim(len(names) - 0.3, -0.6)
    ax.grid(False, axis="y")
    if rows.empty:
        return style.say_missing(ax, "not measured")
    calm = rows[~rows["arm"].str.lower().str.contains("shuffled")]
    ends = (calm if len(calm) else rows)[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    low, high = min(np.nanmin(ends), 0.0), max(np.nanmax(ends), 0.0)
    margin = 0.3 * (high - low) or 1.0
    ax.set_xlim(low - margin, high + margin)
    ax.axvline(0.0, color=GREY, linewidth=0.9)
    for place, name in enumerate(names):
        mine = select(rows, arm=name)
        if mine.empty:
            continue
        colour = BLACK if "shuffled" in name.lower() else VERMILION
        total, seeds = together(mine).iloc[0], mine[(mine["seed"] != "all") & (len(mine) > 1)]
        for ends, width in (("method", 0.9), ("ci", 2.6)):
            if f"{ends}_low" in total:
                bar = [total[f"{ends}_low"], total[f"{ends}_high"]]
                ax.plot(bar, [place] * 2, color=colour, linewidth=width)
        _marks(ax, [total["value"]], place, -0.26, "D", 6, colour)
        _marks(ax, seeds["value"].tolist(), place + 0.3, 0.24, "o", 3.5, colour)
    ax.locator_params(axis="x", nbins=5)
    return ax


def _marks(
    ax: Axes, values: list[float], y: float, lift: float, marker: str, size: float, colour: str
) -> None:
    """Draw values; those that the axis does not reach as one arrow with their numbers."""
    low, high = ax.get_xlim()
    inside = [value for value in values if low <= value <= high]
    ax.plot(inside, [y] * len(inside), marker, color=colour, markersize=size)
    for edge, arrow, side in ((low, "<", "left"), (high, ">", "right")):
        beyond = sorted(v for v in values if (v < low if side == "left" else v > high))
        if beyond:
            ax.plot(edge, y, arrow, color=colour, markersize=max(size, 5), clip_on=False)
            words = "  " + ", ".join(number(value, 2) for value in beyond) + "  "
            ax.text(edge, y + lift, words, ha=side, va="center", fontsize=7, color=colour)

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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qponder_lib import config, pipeline
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import Decoding
from qponder_lib.report import style
from qponder_lib.report.breakdowns import score_diversity
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
    plain,
    read,
    read_predictions,
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
EVALUATED = "evaluated"
_NEAR = 4.0  # of the span of the others: a control that far out is an arrow
SHOWN = ("srcc", "plcc", "mae")
ROLLOUTS = {
    "zero_variance_share": "Groups without variance",
    "parse_rate": "Parse rate of the rollouts",
    "distinct_scores": "Distinct scores in a group",
}
DIVERSITY = {"modal_share": "Share of the commonest score", "effective": "Effective scores"}

Groups = Mapping[str, Mapping[int, Run]]
"""Label -> seed -> evaluated run."""
Side = tuple[Run, str]
"""A run and one of its models."""


def find_runs(folder: Path, study: config.Study | None = None) -> list[Run]:
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
    return [Run(RunPaths(folder / name), one) for name, one in profiles.items()]


def _study_named(name: str) -> config.Study | None:
    try:
        found = config.load_profile_or_study(name)
    except (FileNotFoundError, ValueError):  # no such profile, or a folder name that cannot be one
        return None
    return found if isinstance(found, config.Study) else None


def setting(folder: Path, study: config.Study | None = None) -> str:
    """Name the profile that the runs of a study vary; empty if no study of the name is known."""
    study = study or _study_named(folder.name)
    return Path(study.base).stem if study else ""


def state_of(run: Run) -> str:
    """Say whether a run is `EVALUATED`, or what it lacks."""
    if run.paths.scores.is_file():
        return EVALUATED
    return "not evaluated yet" if run.paths.root.is_dir() else "not started"


def label_of(name: str) -> str:
    """Return the label in the name of a run.

    Example:
        >>> label_of("shuffled-seed-1"), label_of("seed-0"), label_of("gamma-0.5")
        ('shuffled', '', 'gamma-0.5')
    """
    return re.sub(r"-?seed-\d+$", "", name)


def _start(run: Run) -> str:
    """Name the model that GRPO starts from."""
    return f"ci-{run.profile.grpo.start_from}"


def study_note(folder: Path, runs: Sequence[Run]) -> str:
    """Say in a sentence which runs of a study are there and which are not."""
    by_state: dict[str, list[str]] = {}
    for run in runs:
        by_state.setdefault(state_of(run), []).append(run.paths.root.name)
    there = len(by_state.pop(EVALUATED, []))
    missing = "; ".join(f"{', '.join(names)} ({state})" for state, names in by_state.items())
    text = f"Study {folder.name}: {there} of {len(runs)} runs are there."
    return text + (f" Missing: {missing}." if missing else "")


def by_label(runs: Iterable[Run]) -> Groups:
    """Sort evaluated runs by label and seed, labels in the order of `LABELS`.

    Raises:
        ValueError: If two runs have the same label and seed.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        seeds, seed = found.setdefault(label_of(run.paths.root.name), {}), run.profile.grpo.seed
        if seed in seeds:
            names = f"{seeds[seed].paths.root.name} and {run.paths.root.name}"
            raise ValueError(f"{names} have the same label and seed")
        seeds[seed] = run
    known = list(dict.fromkeys([*LABELS, *found]))
    return {label: found[label] for label in known if label in found}


def comparisons(groups: Groups) -> dict[str, dict[int, tuple[Side, Side]]]:
    """Name what is compared: each label with its cold start, with the base, with its control.

    Returns:
        Name -> seed -> the two models, first minus second.
    """
    found = {
        f"{LABELS.get(label, label)} − its cold start": {
            seed: ((run, "qponder"), (run, _start(run))) for seed, run in runs.items()
        }
        for label, runs in groups.items()
    }
    base = next((label for label in BASES if label in groups), None)
    pairs = [(one, base) for one in groups if one != base and "shuffled" not in one]
    pairs += [(one.removesuffix("shuffled").rstrip("-"), one) for one in groups]  # and its control
    pairs += [("preresq", "one-score")]  # both papers' systems as published
    for a, b in pairs:
        seeds = sorted(set(groups.get(a, ())) & set(groups.get(b, ()))) if a != b else []
        name = f"{LABELS.get(a, a)} − {LABELS.get(b, b)}"
        found[name] = {s: ((groups[a][s], "qponder"), (groups[b][s], "qponder")) for s in seeds}
    for seed, run in groups.get(base, {}).items():
        for a, b in scoring.compared_models(run.profile.predict.models):
            if (a, b) != ("qponder", _start(run)):
                name = f"{model_label(a)} − {model_label(b)}"
                found.setdefault(name, {})[seed] = ((run, a), (run, b))
    return {name: seeds for name, seeds in found.items() if seeds}


# ---- runs and scores


def runs_table(runs: Sequence[Run], note: str) -> Table:
    """List every run with what differs between labels, and what must not.

    `cold_start` and `images` are the first digits of the keys of the stages: equal where two runs
    go on from the same weights, and drew from the same images.
    """
    records = []
    for run in runs:
        grpo, keys = run.profile.grpo, pipeline.stage_keys(run.profile)
        records.append(
            {
                "run": run.paths.root.name,
                "state": state_of(run),
                "system": label_of(run.paths.root.name),
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


def _labelled(rows: pd.DataFrame, groups: Groups) -> pd.DataFrame:
    """Add the label of each row's runs as readers know it, and how many runs it has."""
    label = rows["system"].map(lambda name: LABELS.get(name, name))
    return rows.assign(Label=label, Runs=rows["system"].map(lambda name: str(len(groups[name]))))


def scores_table(groups: Groups, home: str, note: str) -> Table:
    """Greedy scores of each label and of what it started from, over seeds; all models of a base."""
    frames = []
    for label, runs in groups.items():
        for seed, run in runs.items():
            models = run.profile.predict.models if label in BASES else [_start(run), "qponder"]
            found = select(read_scores(run.paths), model=list(models), protocol="raw")
            frames.append(found.assign(system=label, seed=seed, run=run.paths.root.name))
    data = pd.concat(frames, ignore_index=True)
    columns = {
        f"{METRIC_LABELS[metric]}, {dataset}": {"dataset": dataset, "metric": metric}
        for dataset in (home, MEAN)
        for metric in SHOWN
    }
    rows = headed(select(data, decoding="greedy"), columns)
    trained = rows["model"] == "qponder"
    rows["Model"] = rows["model"].map(model_label).where(~trained, "after GRPO")
    text = (
        f"{note} Greedy decoding, scores on 0 to 100. Five scores are averaged on their own scale, "
        "1 to 5, and 1 is 0, 5 is 100: correlations stay as they are. Mean over the seeds, below "
        f"it lowest to highest seed; of one run its {intervals(data)}. The CSV has every run."
    )
    cells = grid(_labelled(rows, groups), ["Label", "Model", "Runs"], "heading", over_seeds)
    return Table("Scores over seeds", text, {"": cells}, data)


# ---- rollouts and score diversity


def health_table(groups: Groups, note: str) -> Table:
    """Lay out, over seeds, zero-variance groups and score diversity."""
    data = measure_health(groups)
    rows = data.assign(heading=data["metric"].map(ROLLOUTS | DIVERSITY))
    text = (
        f"{note} Rollouts: mean over training steps. Score diversity: greedy decoding on all test "
        "images, rounded to whole points of 0 to 100; effective: how many equally frequent scores "
        "would have the same entropy. Mean over the seeds, below it lowest to highest seed."
    )
    cells = grid(_labelled(rows, groups), ["Label", "Runs"], "heading", over_seeds)
    return Table("Groups that teach, and score diversity", text, {"": cells}, data)


def measure_health(groups: Groups) -> pd.DataFrame:
    """Average each run's rollouts over all steps, and describe its greedy scores.

    Returns:
        One row per run and metric: system, seed, run, metric, value.
    """
    rows = []
    for label, seed, run in ((k, s, run) for k, runs in groups.items() for s, run in runs.items()):
        log = rollout_history(run)
        sets = run.profile.predict.sets
        frames = [read_predictions(run.paths, "qponder", dataset) for dataset in sets]
        # A mean of five scores has more digits than a single one.
        stated = [plain(score) for score in pd.concat(frames)["score"].astype(float).round()]
        found = score_diversity(stated) | {name: log[name].mean() for name in ROLLOUTS}
        names = {"system": label, "seed": seed, "run": run.paths.root.name}
        rows += [names | {"metric": m, "value": found[m]} for m in (*ROLLOUTS, *DIVERSITY)]
    return pd.DataFrame(rows)


def rollout_history(run: Run) -> pd.DataFrame:
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


# ---- differences


def measure_differences(groups: Groups) -> pd.DataFrame:
    """Measure every comparison: a row per seed (and for all), decoding, protocol, set, metric."""
    frames = []
    for name, pairs in comparisons(groups).items():
        seeds = {str(seed): [pair] for seed, pair in pairs.items()}
        several = {"all": list(pairs.values())} if len(pairs) > 1 else {}
        for decoding in scoring.COMPARED:
            for seed, chosen in (seeds | several).items():
                found = _compared(chosen, decoding)
                found.insert(0, "arm", name)
                found.insert(1, "seed", seed)
                frames.append(found)
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _compared(pairs: Sequence[tuple[Side, Side]], decoding: Decoding) -> pd.DataFrame:
    """Compare two models, of one run or of a run per seed, on the sets that all have predicted."""
    profile, sampled = pairs[0][0][0].profile, decoding == "sampled"
    files = [partial(run.paths.predictions, model) for pair in pairs for run, model in pair]
    sets = [
        name
        for name in profile.predict.sets
        if all(file(name, sampled=sampled).is_file() for file in files)
    ]
    predictions = {
        dataset: [
            [scoring.read_predictions(run.paths, model, dataset, decoding) for run, model in side]
            for side in zip(*pairs, strict=True)
        ]
        for dataset in sets
    }
    compared = partial(scoring.compare_sets, predictions, profile.predict.sets, decoding)
    levels = ("fixed", "resampled") if len(pairs) > 1 else ("fixed",)
    tables = [pd.DataFrame(compared(runs)) for runs in levels]
    for end in ("low", "high") if sets else ():
        tables[0][f"method_{end}"] = tables[1][f"ci_{end}"] if len(pairs) > 1 else None
    return tables[0]


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows over all seeds, and those of a comparison that has one seed only."""
    several = set(rows.loc[rows["seed"] == "all", "arm"])
    return rows[(rows["seed"] == "all") | ~rows["arm"].isin(several)]


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
        "An arrow points to values beyond the axis, which is not stretched to controls that "
        f"diverged. Runs of {folder.name}.",
    )
    return figure, data


def forest(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> Axes:
    """Draw differences over all seeds with their interval, and the seeds below; 0 is none.

    Args:
        ax: Where to draw. Its scale is that of the comparisons without shuffled rewards and of
            controls that lie near them: a diverged one would make all else a dot on zero.
        rows: Of the CSV of differences, of one decoding, protocol, dataset and metric.
        names: Comparisons, top down.
    """
    rows = rows.dropna(subset=["value"])
    ax.set_yticks(range(len(names)), [name.removesuffix(" − its cold start") for name in names])
    ax.set_ylim(len(names) - 0.3, -0.6)
    ax.grid(False, axis="y")
    if rows.empty:
        return style.say_missing(ax, "not measured")
    is_control = rows["arm"].str.lower().str.contains("shuffled").to_numpy()
    parts = ["value", "ci_low", "ci_high", "method_low", "method_high"]
    ends = rows.reindex(columns=parts).to_numpy(dtype=float)
    calm = np.append(ends[~is_control] if not is_control.all() else ends, 0.0)
    near = _NEAR * (np.nanmax(calm) - np.nanmin(calm))
    shown = ends[(ends >= np.nanmin(calm) - near) & (ends <= np.nanmax(calm) + near)]
    low, high = min(shown.min(), 0.0), max(shown.max(), 0.0)
    margin = 0.1 * (high - low) or 1.0
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

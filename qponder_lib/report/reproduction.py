"""Whether a run reproduces a reference: their numbers, the noise of training, three states.

Training amplifies the last bit of a sum, so two runs of one setting differ. By how much is measured
once, over the seeds of a study, and lies in its `tables/training_spread.csv`. A number is then

- equal: to 1e-6 of itself, which is rounding;
- within: nearer to the reference than two training runs of one setting can be expected to lie, or
  within the declared tolerance where nothing is trained;
- drifted, missing in the run, or new there.

**The rule.** A trained model has drifted if the numbers of one file taken together, or one number
alone, differ by more than two training runs of one setting do in 95 % of all comparisons. Each
difference is divided by sqrt(2) times its measured spread. Numbers of one model and file are
correlated, so their mean square is held against F(f, (n - 1) f), where f is how many independent
numbers they are worth and n the runs behind the spread (Dempster 1958, Ann. Math. Statist. 29,
995-1010); in a file that fails, numbers beyond their own 95 % limit have drifted. One number alone
is held against Student's t with (n - 1) f degrees of freedom. Both limits are Bonferroni's over the
whole comparison, each for half of the 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import yaml

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import CONFIDENCE, Z_95
from qponder_lib.paths import RunPaths, runs_root
from qponder_lib.report import style
from qponder_lib.report.render import (
    ALL_SETS,
    BLUE,
    GREY,
    METRIC_LABELS,
    VERMILION,
    model_label,
    select,
    write_frame,
)
from qponder_lib.report.style import house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHARE = {"value": 0.02}
COMPARED: Mapping[str, tuple[tuple[str, ...], Mapping[str, float]]] = {
    "eval/scores.csv": (("model", "dataset", "decoding", "metric", "protocol"), _SHARE),
    "eval/differences.csv": (
        ("model_a", "model_b", "dataset", "decoding", "protocol", "metric"),
        _SHARE,
    ),
    "eval/judged.csv": (("judge", "model", "dataset", "aspect"), {"value": 0.1}),
    "tables/filter.csv": (("selection",), {"n": 0.0, "plcc": 0.01, "srcc": 0.01, "mae": 0.5}),
    "tables/breakdown.csv": (("model", "dataset", "kind", "group", "metric"), _SHARE),
    "tables/statements.csv": (("model", "dataset"), _SHARE),
    "tables/benchmark.csv": (
        ("set", "split"),
        {"n": 0.0, "mos_mean": 1e-6, "ceiling_srcc": 1e-6, "ceiling_plcc": 1e-6},
    ),
}
"""File -> columns that name a row, and columns compared, each with how far it may move where no
spread of training is measured: 0.02 of a correlation or share, 0.1 of a rating, nothing for counts
and images."""
TOLERANCE_BY_METRIC = {"mae": 0.5, "rmse": 0.5}
"""MOS units, for a row of these metrics."""
LOGGED = {"loss": 0.02, "reward": 0.02, "reward_accuracy": 0.02, "completion_length": 2.0}
"""Columns of a training log whose mean over the training is compared; its last step is, too."""
UNTRAINED = ("base", "teacher", "handcrafted")
"""Models that no run trains: their numbers keep the declared tolerance."""
FLOOR = 0.1
"""Least spread, in tolerances: that five runs are equal does not say that no run differs."""
SPREAD = "training_spread.csv"
LENDERS = ("ci-short", "ci-long", "ci-none")
"""Cold starts whose spread another one borrows that has not been trained several times."""
STATES = ("drifted", "missing", "new", "within", "equal")
_KEYS = ["dataset", "decoding", "protocol", "metric"]
_NAMES = ["model", "model_b", *_KEYS, "rest", "alike"]
_SPREAD = ["sd_images", "sd_seeds", "n_seeds", "sd_rounding", "n_rounding", "sd", "dimensions"]
_SCORES, _DIFFERENCES = "eval/scores.csv", "eval/differences.csv"


# ---- the numbers of a run


def read_numbers(folder: RunPaths) -> pd.DataFrame:
    """Read every compared number of a run, or of the small files kept of one.

    Returns:
        A row per number, indexed by file and name: model (that it is about, else empty), what
        tells it from that model's other numbers in the file (`rest`) and from those of other
        metrics (`alike`), value, low, high, tolerance, and columns that name it.

    Raises:
        FileNotFoundError: If the folder has none of the files.
        ValueError: If a row is there twice, or a column is missing or no number.
    """
    there = {name: what for name, what in COMPARED.items() if (folder.root / name).is_file()}
    frames = [
        numbers
        for name, (keys, tolerances) in there.items()
        for numbers in _of_table(folder.root / name, name, keys, tolerances)
    ]
    logs = [*folder.root.glob("sft/*/history.csv"), *folder.root.glob("grpo/*/history.csv")]
    frames += [_of_log(file) for file in sorted(logs)]
    if not frames:
        raise FileNotFoundError(f"{folder.root} has none of {', '.join(COMPARED)}")
    return pd.concat(frames).set_index(["file", "name"])


def _of_table(
    path: Path, file: str, keys: Sequence[str], tolerances: Mapping[str, float]
) -> list[pd.DataFrame]:
    data = pd.DataFrame(artifacts.read_csv(path))
    if data.empty:
        return []
    absent = sorted({*keys, *tolerances} - set(data))
    if absent:
        raise ValueError(f"{path}: expected the columns {', '.join(absent)}")
    names = _joined(data, keys)
    again = names.duplicated()
    if again.any():
        line = int(again.argmax())
        raise ValueError(f"{path}, line {line + 2}: a second row for {names[line]}")
    about = next((key for key in ("model", "model_a") if key in keys), None)
    others = [key for key in keys if key != about]
    data = data.assign(
        file=file,
        model=data[about] if about else "",
        rest=_joined(data, others),
        alike=_joined(data, [key for key in others if key not in ("dataset", "group")]),
        metric=data.get("metric", ""),
    )
    found = []
    for column, tolerance in tolerances.items():
        stem, suffix = ("ci", "") if column == "value" else (column, f", {column}")
        ends = {"value": column, "low": f"{stem}_low", "high": f"{stem}_high"}
        one = data.assign(**{end: _floats(path, data, wanted) for end, wanted in ends.items()})
        one["tolerance"] = one["metric"].map(TOLERANCE_BY_METRIC).fillna(tolerance)
        one["name"] = names + suffix
        found.append(one.reindex(columns=["file", "name", *_NAMES, *ends, "tolerance"]))
    if file == "tables/breakdown.csv":  # a group of one set, or of one level, is a few images
        kept = (data["dataset"] == ALL_SETS) & (data["kind"] != "type and level")
        found = [one[kept] for one in found]
    return found


def _joined(data: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    rows = data[list(columns)].fillna("").to_numpy()
    return pd.Series([", ".join(row) for row in rows], data.index, dtype=str)


def _floats(path: Path, data: pd.DataFrame, column: str) -> pd.Series:
    try:
        return pd.to_numeric(data.get(column, pd.Series(np.nan, data.index)))
    except ValueError as error:
        raise ValueError(f"{path}: expected numbers in column {column!r}: {error}") from error


def _of_log(path: Path) -> pd.DataFrame:
    """Return the last step of a training, which no tolerance covers, and means over its steps."""
    log, stage = pd.read_csv(path), path.parent.parent.name
    values = {"last step": (float(log["step"].iloc[-1]), 0.0)}
    values |= {f"mean {k}": (log[k].mean(), LOGGED[k]) for k in LOGGED if k in log}
    found = pd.DataFrame.from_dict(values, orient="index", columns=["value", "tolerance"])
    return found.assign(
        file=f"{stage}/*/history.csv",
        name=[f"{path.parent.name}, {name}" for name in values],
        model=f"ci-{path.parent.name}" if stage == "sft" else "qponder",
        rest=list(values),
        alike=list(values),
    )


# ---- the spread of training


def training_spread(
    profile: str, seeds: Sequence[RunPaths], rounding: Sequence[RunPaths] = ()
) -> pd.DataFrame:
    """Measure how far training runs of one setting lie apart.

    Args:
        profile: Name of the setting.
        seeds: Runs that differ in training seeds alone.
        rounding: Runs of one seed that differ in rounding alone: threads, instruction set.

    Returns:
        A row per number of a trained model: what names it; standard deviation over images, by the
        runs' intervals, and over seeds and rounding, with the number of runs; `sd`, what
        differences are held against: that over seeds, but not less than of the same metric over
        all sets, nor than a tenth of the tolerance; `dimensions`, how many independent numbers
        those of the model in the file are worth; `borrowed_from`, whose runs these are where a
        model has no two of its own.
    """
    numbers = [read_numbers(run) for run in seeds]
    every = pd.concat(numbers)
    found = every[~every.index.duplicated() & ~every["model"].isin(["", *UNTRAINED])]
    values = pd.DataFrame({k: one["value"] for k, one in enumerate(numbers)}).reindex(found.index)
    rounded = {k: read_numbers(run)["value"] for k, run in enumerate(rounding)}
    for name, one in (("seeds", values), ("rounding", pd.DataFrame(rounded).reindex(found.index))):
        found = found.assign(**{f"sd_{name}": one.std(axis=1), f"n_{name}": one.count(axis=1)})
    widths = pd.DataFrame({k: one["high"] - one["low"] for k, one in enumerate(numbers)})
    found["sd_images"] = widths.reindex(found.index).mean(axis=1) / (2.0 * Z_95)
    found, values = found.reset_index(), values.reset_index(drop=True)
    pooled = (found["sd_seeds"] ** 2).groupby([found[k] for k in ("file", "model", "alike")])
    floor = np.fmax(pooled.transform("mean") ** 0.5, FLOOR * found["tolerance"])
    found["sd"] = np.fmax(found["sd_seeds"], floor).where(found["n_seeds"] > 1)
    scaled = values.div(found["sd"].replace(0.0, np.nan), axis=0)
    blocks = scaled.groupby([found["file"], found["model"]])
    worth = {block: independent(rows) for block, rows in blocks}
    found["dimensions"] = [
        worth[block] for block in zip(found["file"], found["model"], strict=True)
    ]
    found = _borrowed(found.assign(borrowed_from=None, profile=profile))
    return found[["profile", "file", "name", "model", "model_b", *_KEYS, *_SPREAD, "borrowed_from"]]


def write_spread(folder: Path, profile: str, seeds: Mapping[int, RunPaths]) -> list[Path]:
    """Write `tables/training_spread.csv` of a study, and draw it.

    Args:
        folder: Of the study. Its runs `rounding-<what>-seed-<seed>` of the lowest seed, whether or
            not the study lists them, differ from that seed's run in rounding alone.
        profile: Name of the setting of all runs.
        seeds: Runs by training seed; fewer than two say nothing, and nothing is written.

    Returns:
        The files written.
    """
    if len(seeds) < 2:
        return []
    first = min(seeds)
    found = sorted(folder.glob(f"rounding-*-seed-{first}/eval/scores.csv"))
    rounding = [RunPaths(file.parents[1]) for file in found]
    spread = training_spread(
        profile, list(seeds.values()), [seeds[first], *rounding] if rounding else ()
    )
    written = write_frame(folder / "tables" / SPREAD, spread)
    return [written, *style.save(*noise_figure(folder), folder / "figures" / "training_noise")]


def independent(values: pd.DataFrame) -> float:
    """Say how many independent numbers correlated ones are worth: tr(S)^2 / tr(S^2).

    Args:
        values: A row per number, a column per run, on one scale; S is the covariance of the
            numbers over the runs. Few runs give too few, which makes limits wider.

    Source:
        Box 1954 (Ann. Math. Statist. 25, 290-302), Dempster 1958.

    Example:
        >>> independent(pd.DataFrame([[1.0, -1.0], [2.0, -2.0]]))  # one varies with the other
        1.0
    """
    there = values.dropna(axis=1, how="all").dropna()
    centred = there.sub(there.mean(axis=1), axis=0).to_numpy()
    products = centred.T @ centred  # of runs; the traces are those of the covariance
    return float(np.trace(products) ** 2 / (products**2).sum()) if products.any() else 1.0


def _borrowed(found: pd.DataFrame) -> pd.DataFrame:
    """Fill in what has no runs of its own: another cold start's spread; of a difference, both's."""
    for lender in LENDERS:
        poor = found["sd"].isna() & found["model"].isin(LENDERS)
        lent = found[(found["model"] == lender) & found["sd"].notna()].set_index(["file", "rest"])
        lent = lent.reindex(pd.MultiIndex.from_frame(found.loc[poor, ["file", "rest"]]))
        found.loc[poor, _SPREAD] = lent[_SPREAD].to_numpy()
        found.loc[poor, "borrowed_from"] = np.where(lent["sd"].notna(), lender, None)
    scores = found[found["file"] == _SCORES].set_index(["model", *_KEYS])
    poor = found["sd"].isna() & (found["file"] == _DIFFERENCES)
    first, second = (
        scores.reindex(pd.MultiIndex.from_frame(found.loc[poor, [side, *_KEYS]]))
        for side in ("model", "model_b")
    )
    for sd in ("sd", "sd_seeds"):  # as if the two were trained apart; an untrained one adds none
        found.loc[poor, sd] = np.hypot(first[sd], second[sd].fillna(0.0).to_numpy()).to_numpy()
    for name in ("n_seeds", "dimensions"):
        found.loc[poor, name] = first[name].to_numpy()
    found.loc[poor & found["sd"].notna(), "borrowed_from"] = "scores of both models"
    return found


def find_spread(run: RunPaths) -> pd.DataFrame | None:
    """Read the spread of training of a run's setting.

    It lies in the tables of the study that the run belongs to, of the folder `study` beside the
    run, or of `papermill_runs/reference/study`.

    Returns:
        See `training_spread`; None if it has not been measured for the run's profile.
    """
    if not run.profile.is_file():
        return None
    profile = yaml.safe_load(run.profile.read_text(encoding="utf-8"))["name"]
    beside = run.root.parent
    for study in (beside, beside / "study", runs_root() / "reference" / "study"):
        file = study / "tables" / SPREAD
        if file.is_file():
            found = pd.read_csv(file, dtype={"borrowed_from": str}, keep_default_na=True)
            if study == beside or profile == found["profile"].iloc[0]:
                return found
    return None


def over_training(rows: pd.DataFrame, file: str, spread: pd.DataFrame | None) -> pd.DataFrame:
    """Widen the intervals of a run's rows by the measured spread of training.

    Args:
        rows: Of `eval/scores.csv`, `eval/differences.csv` or another file in `COMPARED`.
        file: Which.
        spread: See `find_spread`.

    Returns:
        The rows whose spread is known, with ci_low and ci_high for the method (see
        `metrics.bootstrap.over_training`) in place of those for these weights.
    """
    if spread is None:
        return rows.iloc[:0]
    known = spread[spread["file"] == file].set_index("name")
    known = known.reindex(_joined(rows, COMPARED[file][0]))
    numbers = [pd.to_numeric(rows[name]).to_numpy() for name in ("value", "ci_low", "ci_high")]
    sd = known["sd_seeds"].fillna(known["sd"]).to_numpy()
    low, high = bootstrap.over_training(*numbers, sd, known["n_seeds"].to_numpy())
    return rows.assign(ci_low=low, ci_high=high)[~np.isnan(low)]


@house_style()
def noise_figure(folder: Path) -> tuple[Figure, pd.DataFrame]:
    """Draw how much of the uncertainty of a score is images, how much training.

    Args:
        folder: `papermill_runs/<study>`; `tables/training_spread.csv` in it is read.
    """
    spread = pd.read_csv(folder / "tables" / SPREAD)
    home = spread.loc[spread["file"] == _SCORES, "dataset"].iloc[0]
    data = spread[spread["file"].isin([_SCORES, _DIFFERENCES]) & spread["borrowed_from"].isna()]
    data = select(data, protocol="raw", dataset=[home, MEAN], metric=["srcc", "mae"])
    data = data[~data["model_b"].isin(UNTRAINED)]  # they do not vary: the other model's spread
    second = data["model_b"].map(lambda name: f" − {model_label(name)}", na_action="ignore")
    who = data["model"].map(model_label) + second.fillna("")
    data = data.assign(row=who + ", " + data["decoding"] + ", " + data["dataset"])
    rows = list(dict.fromkeys(data["row"]))
    figure, axes = style.new_figure(10.4, 1.4 + 0.24 * len(rows), 1, 2, sharey=True)
    kinds = {"sd_images": (GREY, "s", "images"), "sd_seeds": (VERMILION, "o", "training seeds")}
    if rounded := spread["n_rounding"].max() > 1:
        kinds["sd_rounding"] = (BLUE, "^", "rounding alone")
    for ax, metric in zip(axes.flat, ("srcc", "mae"), strict=True):
        mine = select(data, metric=metric)
        for column, (colour, marker, label) in kinds.items():
            places = mine["row"].map(rows.index)
            ax.plot(mine[column], places, marker, color=colour, markersize=4.5, label=label)
        ax.set(xlabel=f"Standard deviation of {METRIC_LABELS[metric]}", xlim=(0.0, None))
    axes[0, 0].set_yticks(range(len(rows)), rows)
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    runs = f"{spread['n_seeds'].max():.0f} training seeds"
    if rounded:
        runs += f", {spread['n_rounding'].max():.0f} runs of one seed under changed rounding"
    style.caption(
        figure,
        "Images: half of a run's 95 % bootstrap interval over 1.96, the mean over the seeds. "
        f"{runs}. Runs of {folder.name}.",
    )
    return figure, data[["row", "metric", *kinds, "n_seeds", "n_rounding"]]


# ---- three states


def compare(run: RunPaths, reference: RunPaths, spread: pd.DataFrame | None = None) -> pd.DataFrame:
    """Hold every compared number of a run against a reference, by the rule above.

    Args:
        run: A run folder.
        reference: A run folder, or the small files kept of one.
        spread: See `training_spread`; None where it has not been measured. Then a trained number
            is held against the reference's interval over images.

    Returns:
        A row per number, those of the reference first: file, name, model, run, reference, limit
        (of the absolute difference) and state.

    Raises:
        FileNotFoundError: If a folder has none of the files compared.
        ValueError: If a file is damaged.
    """
    new, old = read_numbers(run), read_numbers(reference)
    data = pd.concat([old, new[~new.index.isin(old.index)]])
    data["run"], data["reference"] = (one["value"].reindex(data.index) for one in (new, old))
    if spread is None:
        data = data.reindex(columns=[*data.columns, *_SPREAD])
    else:
        data = _by_ratio(data.join(spread.set_index(["file", "name"])[_SPREAD]), spread)
    gap = data["run"] - data["reference"]
    inside = np.where(gap > 0, data["high"] - data["reference"], data["reference"] - data["low"])
    declared = data["model"].isin(["", *UNTRAINED]) | np.isnan(inside)
    data["limit"] = np.where(declared, data["tolerance"], inside)
    trained = data["sd"].notna() & gap.notna()
    if trained.any():
        data.loc[trained, "limit"] = _limits(data[trained], gap[trained].abs())
    nothing = data["run"].isna() & data["reference"].isna()
    states = {
        "equal": nothing | np.isclose(data["run"], data["reference"], rtol=1e-6, atol=1e-9),
        "missing": data["run"].isna(),
        "new": data["reference"].isna(),
        "within": gap.abs() <= data["limit"] + 1e-9,  # a CSV may round the last digit
    }
    data["state"] = np.select(list(states.values()), list(states), "drifted")
    return data.reset_index()[["file", "name", "model", "run", "reference", "limit", "state"]]


def _by_ratio(data: pd.DataFrame, spread: pd.DataFrame) -> pd.DataFrame:
    """Give numbers of a trained model that no run of the study has a spread in proportion.

    Such as judged reasoning, where the study judges nothing: the width of the reference's interval
    times the ratio of training to images that the model's scores have.
    """
    scores = spread[(spread["file"] == _SCORES) & spread["sd"].notna()]
    scores = scores.assign(square=(scores["sd"] / scores["sd_images"]) ** 2)
    means = scores.groupby("model")[["square", "n_seeds", "dimensions"]].mean()
    means = means.reindex(data["model"]).set_axis(data.index)
    by_ratio = (data["high"] - data["low"]) / (2.0 * Z_95) * means["square"] ** 0.5
    poor = data["sd"].isna() & by_ratio.notna()
    found = means.assign(sd=by_ratio)[["sd", "n_seeds", "dimensions"]]
    data.loc[poor, ["sd", "n_seeds", "dimensions"]] = found[poor]
    return data


def _limits(data: pd.DataFrame, gap: pd.Series) -> np.ndarray:
    """Return how far two training runs may lie apart in each number; see the module."""
    from scipy import stats

    error, each = (1.0 - CONFIDENCE), (1.0 - CONFIDENCE) / 2.0  # half for files, half for numbers
    unit = np.sqrt(2.0) * data["sd"]
    with np.errstate(divide="ignore", invalid="ignore"):  # what never varies: 0 / 0 or infinite
        squares = ((gap / unit) ** 2).fillna(0.0)
    blocks = [data.index.get_level_values("file"), data["model"]]
    together, n_blocks = squares.groupby(blocks).transform("mean"), len(data.groupby(blocks))
    freedom = (data["n_seeds"] - 1.0) * data["dimensions"]
    gate = together > stats.f.isf(each / n_blocks, data["dimensions"], freedom)
    alone = stats.t.isf(each / len(data) / 2.0, freedom)
    return unit * np.where(gate, stats.t.isf(error / 2.0, freedom), alone)


def summary(data: pd.DataFrame) -> pd.DataFrame:
    """Count the states of each model, or of each file that is about none.

    Returns:
        Indexed by model or file: a column per state, and the difference that is largest for its
        limit: `largest` (file and name), `reference`, `run`, `of_limit`.
    """
    subject = data["model"].where(data["model"] != "", data["file"])
    counts = pd.crosstab(subject, data["state"]).reindex(columns=list(STATES), fill_value=0)
    gap = (data["run"] - data["reference"]).abs()
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (gap / data["limit"]).where((gap > 0) & (data["state"] != "equal"), 0.0)
    found = data.assign(of_limit=share, largest=data["file"] + ": " + data["name"])
    found = found.loc[share.groupby(subject).idxmax()].set_axis(sorted(set(subject)))
    found.loc[found["of_limit"] == 0.0, "largest"] = "none"
    found = counts.join(found[["largest", "reference", "run", "of_limit"]])
    return found.loc[list(dict.fromkeys(subject))]


def reproduced(data: pd.DataFrame) -> bool:
    """Say whether nothing drifted nor is missing."""
    return not data["state"].isin(["drifted", "missing"]).any()


def verdict(data: pd.DataFrame, spread: pd.DataFrame | None) -> str:
    """Say in one sentence whether a run reproduces the reference."""
    counts = data["state"].value_counts()
    n = {state: int(counts.get(state, 0)) for state in STATES}
    if not reproduced(data):
        bad = data[data["state"].isin(["drifted", "missing"])]
        where = dict.fromkeys(model_label(m) if m else f for m, f in zip(bad.model, bad.file))
        told = f"{n['drifted']} of {len(data):,} numbers drifted and {n['missing']} are missing"
        return f"Not reproduced: {told} ({', '.join(where)})."
    if not n["within"]:
        return f"Reproduced: all {n['equal']:,} numbers are equal to rounding."
    if spread is None:
        held = "the declared tolerance or the reference's interval; no spread of training is known"
    else:
        held = f"the measured spread of training ({spread['n_seeds'].max():.0f} runs) or tolerance"
    return f"Reproduced: {n['equal']:,} numbers are equal, {n['within']:,} lie within {held}."

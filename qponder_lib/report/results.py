"""How well models score and describe: Tables 1 to 4, decodings, differences, figures.

Decoding is greedy and the protocol raw (no fitted curve) unless a table says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.metrics.bootstrap import ESTIMATE_COLUMNS
from qponder_lib.metrics.statistics import DegenerateInputError, srcc
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ASPECTS
from qponder_lib.report import style
from qponder_lib.report.render import (
    BLUE,
    CORRELATIONS,
    GREY,
    METRIC_LABELS,
    MISSING,
    REPORTED_SETS,
    Table,
    by_model,
    estimates,
    grid,
    headed,
    in_order,
    interval,
    intervals,
    kept,
    look,
    model_label,
    number,
    one,
    origin,
    read,
    read_ceilings,
    read_predictions,
    read_reported,
    read_scores,
    select,
    set_label,
    sets_note,
)
from qponder_lib.report.style import house_style
from qponder_lib.scales import MOS_MAX, MOS_MIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABLATION = ("base", "teacher", "ci-none", "ci-short", "ci-long", "qponder")
"""Models that have a row in Table 4: the baseline, its teacher, the cold start, the last stage."""
COLUMNS = ["model", "dataset", "metric", *ESTIMATE_COLUMNS]
_PLAIN = {"decoding": "greedy", "protocol": "raw"}


def _with_ceilings(run: Run, scores: pd.DataFrame, metrics_: Sequence[str]) -> pd.DataFrame:
    """Add the ceilings to scores, as those of a model called "ceiling"."""
    ceilings = read_ceilings(run.paths).melt(["dataset", "n"], metrics_, "metric", "value")
    ceilings = ceilings.assign(model="ceiling", n_unparsed=0, reason="no_interval")
    return pd.concat([scores[COLUMNS], ceilings.reindex(columns=COLUMNS)], ignore_index=True)


def _title(run: Run, what: str) -> str:
    return f"{what} at the scale of profile {run.profile.name}"


# ---- tables


def table1(run: Run) -> Table:
    """Lay out PLCC and SRCC of every model on every set, with the ceiling of each set.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 1. Measured numbers of the embedded sets are not
        comparable with the paper's; those are in `table1_reported`.
    """
    scores = select(read_scores(run.paths), **_PLAIN, metric=CORRELATIONS)
    data = _with_ceilings(run, scores, CORRELATIONS)
    rows = by_model(data)
    cells = grid(rows, "Model", "dataset")
    counted = select(rows, metric="srcc", dataset=list(run.profile.predict.sets))
    counts = counted[counted["model"] != "ceiling"].groupby("Model").sum(min_count=1)
    for heading, name in (("n", "n"), ("photographs", "n_references"), ("unparsed", "n_unparsed")):
        texts = counts[name].map(lambda count: number(count, 0))
        cells[heading] = cells["Model"].map(texts).fillna("")
    note = (
        f"{origin(run)} Greedy decoding; PLCC / SRCC (no fitted curve), {intervals(scores)}; "
        "n images whose response was parsed, of as many photographs; unparsed ones are left "
        f"out and counted. {sets_note(run)}"
    )
    return Table(_title(run, "Table 1"), note, {"": cells.rename(columns=set_label)}, data)


def table3_models(run: Run) -> dict[str, str]:
    """Return the model of each row of Table 3, by the name the reported table has for the row."""
    models = {"no reasoning": "ci-none", "short": "ci-short", "long": "ci-long"}
    start = {"none": "no reasoning"}.get(run.profile.grpo.start_from, run.profile.grpo.start_from)
    return models | {f"{start} + RL": "qponder"}


def table3(run: Run) -> Table:
    """Lay out the ablation: measured and reported side by side, in columns of their own.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 3 and section 4.3.
    """
    scores = select(read_scores(run.paths), **_PLAIN, metric=CORRELATIONS)
    there = set(scores["model"])
    variants = {name: model for name, model in table3_models(run).items() if model in there}
    every = product(["srcc", "plcc"], scores["dataset"].unique(), variants)
    keys = pd.DataFrame(every, columns=["metric", "dataset", "variant"])
    keys["model"] = keys["variant"].map(variants)
    keys["reported_dataset"] = keys["dataset"].map(REPORTED_SETS)
    told = read_reported("table3").rename(
        columns={"method": "variant", "dataset": "reported_dataset", "value": "reported_value"}
    )[["variant", "reported_dataset", "metric", "reported_value"]]
    found = keys.merge(scores[COLUMNS], "left", ["model", "dataset", "metric"])
    found = found.merge(told, "left", ["variant", "reported_dataset", "metric"])
    data = found[["variant", *COLUMNS, "reported_dataset", "reported_value"]]
    grids = {}
    for metric, rows in data.groupby("metric", sort=False):
        rows = rows.assign(Set=rows["dataset"].map(set_label))
        rows["Reported on"] = rows["reported_dataset"].fillna(MISSING)
        measured = grid(rows.assign(variant=rows["variant"] + " (measured)"), "Set", "variant")
        printed = rows.assign(variant=rows["variant"] + " (reported)", value=rows["reported_value"])
        columns = ["Set", "Reported on", "variant", "metric", "value"]
        printed = grid(printed[columns], ["Set", "Reported on"], "variant")
        grids[str(metric).upper()] = measured.merge(printed, on="Set")
    note = (
        f"{origin(run)} Measured: greedy decoding of {run.profile.student.model}, "
        f"{intervals(scores)}, one training run. Reported: the paper's Table 3, "
        "Qwen2.5-VL-7B on the public sets. Only the order of the variants can be compared, not "
        "the numbers."
    )
    return Table(_title(run, "Table 3"), note, grids, data)


def decoding_table(run: Run) -> Table:
    """Lay out greedy against sampled decoding: SRCC, MAE and parse rate."""
    predict = run.profile.predict
    scores = select(
        read_scores(run.paths),
        metric=["srcc", "mae", "parse_rate"],
        model=predict.sampled_models,
        dataset=predict.sampled_sets,
        protocol=["raw", "mean_of_k"],
    )
    ways = {
        "greedy": _PLAIN,
        "sampled": {"decoding": "sampled", "protocol": "raw"},
        "mean of samples": {"decoding": "sampled", "protocol": "mean_of_k"},
    }
    rows = by_model(headed(scores, ways).rename(columns={"heading": "Decoding"}))
    rows["Set"], rows["label"] = rows["dataset"].map(set_label), rows["metric"].map(METRIC_LABELS)
    keys = ["Model", "Set", "Decoding"]
    cells = grid(rows, keys, "label")
    unparsed = rows.groupby(keys, sort=False)["n_unparsed"].max().astype(str)
    cells["unparsed"] = unparsed.loc[pd.MultiIndex.from_frame(cells[keys])].to_numpy()
    note = (
        f"{origin(run)} Sampled: temperature {predict.sampling_temperature:g}, "
        f"{predict.n_samples} responses an image; each metric on single responses, averaged over "
        "the samples. Mean of samples: the metric of an image's mean parsed score (unparsed "
        f"there: images without one). {intervals(scores)}. MAE in MOS units."
    )
    return Table("Greedy and sampled decoding", note, {"": cells}, scores)


def differences(run: Run) -> Table:
    """Lay out paired differences between models, in domain and on the mean over the sets."""
    found = read(run.paths.differences)
    home = run.profile.data.train_set
    wanted = [(home, m) for m in ("srcc", "mae", "parse_rate")] + [(MEAN, "srcc"), (MEAN, "mae")]
    columns = {
        f"{set_label(dataset)} {METRIC_LABELS[metric]}": {"dataset": dataset, "metric": metric}
        for dataset, metric in wanted
    }
    rows = headed(select(found, protocol="raw"), columns)
    names = rows["model_a"].map(model_label) + " − " + rows["model_b"].map(model_label)
    cells = grid(rows.assign(Models=names), ["Models", "decoding"], "heading")
    note = (
        f"{origin(run)} First minus second on the images for which both responses were parsed; "
        f"paired {intervals(found)}, each by itself (not corrected for the number of "
        "comparisons). MAE in MOS units: below 0 is better. n and p are in the CSV."
    )
    cells = cells.rename(columns={"decoding": "Decoding"})
    return Table("Paired differences", note, {"": cells}, found)


# ---- tables of judged reasoning


def table2(run: Run) -> Table:
    """Lay out judged reasoning of every model, a grid per judge.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 2. The paper's numbers are of another judge, other
        models and other sets; no column holds both.

    Raises:
        FileNotFoundError: If no judge has been asked (`eval/judged.csv`).
    """
    return _judged(run, 2, "Judged reasoning", read(run.paths.judged))


def table4(run: Run) -> Table:
    """Lay out judged reasoning by stage of training.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 4.

    Raises:
        FileNotFoundError: If no judge has been asked (`eval/judged.csv`).
    """
    judged = select(read(run.paths.judged), model=ABLATION)
    return _judged(run, 4, "Judged reasoning by stage of training", judged)


def _judged(run: Run, place: int, title: str, judged: pd.DataFrame) -> Table:
    grids = {}
    for judge, rows in judged.groupby("judge", sort=False):
        rows = by_model(select(rows, aspect=ASPECTS))
        cells = grid(rows, "Model", "dataset", partial(estimates, digits=2))
        counted = rows[(rows["dataset"] != MEAN) & (rows["aspect"] == ASPECTS[0])]
        counts = counted.groupby("Model")[["n", "n_failed"]].sum().astype(str)
        cells["n"] = cells["Model"].map(counts["n"])
        cells["not judged"] = cells["Model"].map(counts["n_failed"])
        grids[f"Judge: {judge}"] = cells.rename(columns=set_label)
    note = (
        f"{origin(run)} Completeness / accuracy / reasonableness, 1 to 5, mean over images with "
        f"{intervals(judged)}; responses without a valid verdict "
        "are left out and counted. The paper's own numbers, of another judge on other sets, are "
        f"in table{place}_reported."
    )
    return Table(_title(run, f"{title} (Table {place})"), note, grids, judged)


# ---- figures


@house_style()
def main_result(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw the SRCC of every model on every set with its interval: the README's figure."""
    scores = select(read_scores(run.paths), **_PLAIN, metric="srcc")
    data = _with_ceilings(run, scores, ("srcc",))
    figure, axes = style.new_figure(9.2, 4.3)
    srcc_dots(axes[0, 0], data)
    measured = scores.dropna(subset=["value"])
    style.legend_above(figure, measured["model"])
    silent = in_order(set(scores["model"]) - set(measured["model"]))
    told = f"Bars: {intervals(scores)}. Greedy decoding, no fitted curve. Ceiling, where known: "
    told += "the SRCC of a predictor that knows the true quality."
    told += f" No response parsed: {', '.join(map(model_label, silent))}." if silent else ""
    style.caption(figure, f"{told} {origin(run)}")
    return figure, data


def srcc_dots(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw SRCC per set and model; the ceiling of a set stands in words at the top.

    Args:
        ax: Where to draw.
        data: Scores, and ceilings as those of a model called "ceiling".
    """
    rows = data[(data["model"] != "ceiling") & data["value"].notna()]
    style.dots(ax, rows, "dataset")
    if rows.empty:
        return ax
    sets = list(dict.fromkeys(rows["dataset"]))
    low, high = rows["ci_low"].fillna(rows["value"]), rows["ci_high"].fillna(rows["value"])
    top = high.max() + 0.09
    ax.set_ylim(min(0.0, low.min() - 0.03), top)
    ax.axhline(0.0, color=GREY, linewidth=0.7)
    for place, dataset in enumerate(sets):
        found = one(data, model="ceiling", dataset=dataset)
        if found is not None:
            words = f"ceiling {found['value']:.3f}"
            ax.text(place, top - 0.02, words, ha="center", va="top", fontsize=7, color=GREY)
    n = rows.groupby("dataset")["n"].max()
    ax.set_xticks(range(len(sets)), [f"{set_label(name)}\nn = {n[name]:,}" for name in sets])
    if MEAN in sets:
        place = sets.index(MEAN)
        ax.axvspan(place - 0.5, place + 0.5, color="#F2F2F2", zorder=0)
        best = rows.loc[select(rows, dataset=MEAN)["value"].idxmax()]
        ends = interval(best["ci_low"], best["ci_high"])
        named = model_label(best["model"])
        ax.set_title(f"Highest mean SRCC: {named}, {best['value']:.3f} {ends}")
    ax.set_ylabel("SRCC with the MOS")
    return ax


def product_of_correlations(paths: RunPaths) -> pd.DataFrame:
    """Multiply SRCC and PLCC per model and set: model, dataset, srcc, plcc, product.

    Two negative correlations are no success, so the product has a minus if either has one.
    """
    scores = select(read_scores(paths), **_PLAIN, metric=["srcc", "plcc"])
    wide = scores.pivot_table(
        index=["model", "dataset"], columns="metric", values="value", sort=False, dropna=False
    ).reindex(columns=["srcc", "plcc"])
    sign = np.where((wide[["srcc", "plcc"]] < 0.0).any(axis=1), -1.0, 1.0)
    wide["product"] = sign * (wide["srcc"] * wide["plcc"]).abs()
    return wide.reset_index()


@house_style()
def fig4a_heatmap(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw SRCC x PLCC of every model on every set.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 4(a).
    """
    import seaborn as sns

    data = product_of_correlations(run.paths)
    sets, rows = list(dict.fromkeys(data["dataset"])), in_order(data["model"])
    wide = data.pivot(index="model", columns="dataset", values="product")
    wide = wide.loc[rows, sets].dropna(how="all")
    wide.index = wide.index.map(model_label)
    figure, axes = style.new_figure(7.6, 1.0 + 0.38 * len(wide))
    ax = axes[0, 0]
    ax.set_facecolor("#DDDDDD")
    sns.heatmap(
        wide.rename(columns=set_label),
        annot=True,
        fmt=".2f",
        vmin=0.0,
        vmax=1.0,
        cmap="YlGnBu",
        linewidths=1.0,
        cbar_kws={"label": "SRCC × PLCC", "fraction": 0.03, "pad": 0.02},
        ax=ax,
    )
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    style.caption(figure, f"Greedy decoding; grey or not shown: no value. {origin(run)}")
    return figure, data


@house_style()
def fig4b_lines(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw judged reasoning of every model on every set, a row of panels per judge.

    Source:
        Q-Ponder (arXiv:2506.05384), Fig. 4(b); there as lines, although sets have no order.

    Raises:
        FileNotFoundError: If no judge has been asked (`eval/judged.csv`).
    """
    data = read(run.paths.judged)
    rows = data[(data["dataset"] != MEAN) & data["value"].notna()]
    rows = rows.assign(set=rows["dataset"].map(set_label))
    judges = list(dict.fromkeys(data["judge"]))
    height = 0.9 + 0.45 * data["dataset"].nunique() * len(judges)
    figure, axes = style.new_figure(10.4, height, len(judges), len(ASPECTS), sharey="row")
    for line, judge in zip(axes, judges, strict=True):
        for ax, aspect in zip(line, ASPECTS, strict=True):
            style.dots(ax, select(rows, judge=judge, aspect=aspect), "set", horizontal=True)
            ax.set(title=f"{aspect.capitalize()}, judge {judge}", xlim=(0.9, 5.1))
            ax.set_xticks(range(1, 6))
            ax.tick_params(axis="y", labelleft=ax is line[0])
    for ax in axes[-1]:
        ax.set_xlabel("Mean rating, 1 to 5")
    style.legend_above(figure, rows["model"])
    without = in_order(set(data["model"]) - set(rows["model"]))
    told = f"Bars: {intervals(data)}; n up to {data['n'].max():,}."
    told += f" No verdict: {', '.join(map(model_label, without))}." if without else ""
    style.caption(figure, f"{told} {origin(run)}")
    return figure, data


def scatter(ax: Axes, data: pd.DataFrame, *, colour: str = BLUE, title: str = "") -> Axes:
    """Draw predicted scores against the MOS; the line is perfection.

    Args:
        ax: Where to draw.
        data: Columns mos and score; an unparsed response has no score.
        colour: Of the dots.
        title: What it is; SRCC, n and the number of different scores are written below it.
    """
    parsed = data.dropna(subset=["score", "mos"])
    ax.plot([MOS_MIN, MOS_MAX], [MOS_MIN, MOS_MAX], color=GREY, linewidth=0.9, zorder=1)
    ax.scatter(parsed["mos"], parsed["score"], s=11, alpha=0.45, linewidths=0, color=colour)
    try:
        value = srcc(parsed["score"].to_numpy(), parsed["mos"].to_numpy())
        told = f"SRCC {value:.2f}, n {len(parsed)}, {parsed['score'].nunique()} scores"
    except DegenerateInputError as error:
        told = f"no SRCC ({error.reason}), n {len(parsed)}"
    unparsed = len(data) - len(parsed)
    told += f"\n{unparsed} unparsed" if unparsed else ""
    ax.set_title(f"{title}\n{told}" if title else told, fontsize=8.5)
    ends, ticks = (MOS_MIN - 2, MOS_MAX + 2), range(0, 101, 25)
    ax.set(xlim=ends, ylim=ends, xticks=ticks, yticks=ticks, aspect="equal")
    return ax


def scatter_models(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw predicted scores against MOS in domain: cold start, Q-Ponder, teacher or baselines."""
    wanted = ("base", f"ci-{run.profile.grpo.start_from}", "qponder", "teacher", "handcrafted")
    models = [name for name in wanted if name in run.profile.predict.models][:4]
    return _scatters(run, "scatter_models", models, [run.profile.predict.sets[0]])


def scatter_sets(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw predicted scores of Q-Ponder (or the last model there is) against MOS on every set."""
    models = run.profile.predict.models
    model = "qponder" if "qponder" in models else models[-1]
    return _scatters(run, "scatter_sets", [model], list(run.profile.predict.sets))


@house_style()
def _scatters(
    run: Run, name: str, models: list[str], sets: list[str]
) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel per model and set; one without a parsed response is named below."""
    data = kept(run, name)
    if data is None:
        every = product(models, sets)
        data = pd.concat([read_predictions(run.paths, model, dataset) for model, dataset in every])
    groups = dict(list(data.groupby(["model", "dataset"], sort=False)))
    parsed = [names for names, rows in groups.items() if rows["score"].notna().any()]
    figure, axes = style.panels(len(parsed), (2.6, 2.95), ("MOS", "Predicted score"))
    for ax, (model, dataset) in zip(axes, parsed, strict=False):
        title = f"{model_label(model)}, {set_label(dataset)}"
        scatter(ax, groups[model, dataset], colour=look(model).colour, title=title)
    missing = ", ".join(f"{model_label(m)}, {s}" for m, s in groups if (m, s) not in parsed)
    told = "Greedy decoding; scores: how many different ones. Line: score = MOS."
    left_out = f" No response parsed: {missing}." if missing else ""
    style.caption(figure, f"{told}{left_out} {origin(run)}")
    return figure, data

"""Tables 1 and 3 at the scale of a run, decoding, PLCC protocols and paired differences."""

from __future__ import annotations

import pandas as pd

from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.pipeline import Run
from qponder_lib.report.tables.render import MISSING, Block, Cell, Table, estimate, number, pair
from qponder_lib.report.tables.sources import (
    METRIC_LABELS,
    REPORTED_SETS,
    in_order,
    intervals_of,
    model_label,
    one,
    origin,
    read_ceilings,
    read_differences,
    read_reported,
    read_scores,
    select,
    set_label,
    sets_note,
)

CORRELATIONS = ("plcc", "srcc")
COLUMNS = [
    "model",
    "dataset",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_references",
    "n_unparsed",
    "reason",
]


def _title(run: Run, number: int) -> str:
    return f"Table {number} at the scale of profile {run.profile.name}"


def _sets(run: Run, scores: pd.DataFrame) -> list[str]:
    present = set(scores["dataset"])
    return [name for name in (*run.profile.predict.sets, MEAN) if name in present]


def table1(run: Run) -> Table:
    """Lay out PLCC and SRCC of every model on every set, with the ceiling of each set.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 1. Measured numbers of the embedded sets are not
        comparable with the paper's; those are in `table1_reported`.
    """
    scores = select(read_scores(run.paths), decoding="greedy", protocol="raw", metric=CORRELATIONS)
    sets, ceilings = _sets(run, scores), read_ceilings(run.paths)
    rows = []
    if not ceilings.empty:
        cells = [
            Cell(MISSING)
            if (row := one(ceilings, dataset=name)) is None
            else Cell(f"{number(row['plcc'])} / {number(row['srcc'])}")
            for name in sets
        ]
        rows.append((Cell("Ceiling (true quality against the raters)"), *cells, *[Cell("")] * 3))
    for model in in_order(list(scores["model"].unique())):
        mine = select(scores, model=model)
        cells = [
            pair(*(one(mine, dataset=name, metric=metric) for metric in CORRELATIONS))
            for name in sets
        ]
        counted = select(mine, metric="srcc", dataset=[name for name in sets if name != MEAN])
        counts = [_count(counted[name]) for name in ("n", "n_references", "n_unparsed")]
        rows.append((Cell(model_label(model)), *cells, *counts))
    note = (
        f"{origin(run)} Greedy answers; PLCC / SRCC (no fitted curve), "
        f"{intervals_of(scores)}; n images with a readable answer, made of as many photographs; "
        f"unparsed answers left out and counted. {sets_note(run)}"
    )
    data = pd.concat([scores[COLUMNS], _long_ceilings(ceilings)], ignore_index=True)
    header = ("Model", *map(set_label, sets), "n", "photographs", "unparsed")
    return Table("table1", _title(run, 1), note, data, (Block("", header, tuple(rows)),))


def _count(counts: pd.Series) -> Cell:
    return Cell(MISSING if counts.isna().any() else f"{counts.sum():.0f}")


def _long_ceilings(ceilings: pd.DataFrame) -> pd.DataFrame:
    found = ceilings.melt(["dataset", "n"], ["plcc", "srcc"], "metric", "value")
    found = found.assign(model="ceiling", n_unparsed=0, reason="no_interval")
    return found.reindex(columns=COLUMNS)


def table1_reported() -> Table:
    """Lay out the paper's own Table 1, as printed."""
    reported = read_reported("table1")
    sets = list(dict.fromkeys(reported["dataset"]))
    rows = [
        (Cell(method), *(_reported_pair(reported, method, name) for name in sets))
        for method in dict.fromkeys(reported["method"])
    ]
    note = (
        "Transcribed from Q-Ponder (arXiv:2506.05384), Table 1: PLCC / SRCC on the public sets, as "
        "the paper prints them, without intervals. Nothing here was measured by this kit."
    )
    blocks = (Block("", ("Method", *sets), tuple(rows)),)
    return Table("table1_reported", "Table 1 as reported", note, reported, blocks)


def _reported_pair(reported: pd.DataFrame, method: str, dataset: str) -> Cell:
    values = [
        one(reported, method=method, dataset=dataset, metric=metric) for metric in CORRELATIONS
    ]
    return Cell(" / ".join(MISSING if v is None else number(v["value"]) for v in values))


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
    scores = select(read_scores(run.paths), decoding="greedy", protocol="raw", metric=CORRELATIONS)
    reported, models = read_reported("table3"), table3_models(run)
    present = {name: model for name, model in models.items() if model in set(scores["model"])}
    records, blocks = [], []
    for metric in ("srcc", "plcc"):
        rows = []
        for dataset in _sets(run, scores):
            theirs = REPORTED_SETS.get(dataset)
            measured, printed = [], []
            for name, model in present.items():
                found = one(scores, model=model, dataset=dataset, metric=metric)
                told = one(reported, method=name, dataset=theirs, metric=metric)
                measured.append(estimate(found))
                printed.append(Cell(MISSING if told is None else number(told["value"])))
                records.append(
                    {"variant": name}
                    | {column: (found or {}).get(column) for column in COLUMNS}
                    | {"model": model, "dataset": dataset, "metric": metric}
                    | {"reported_dataset": theirs, "reported_value": (told or {}).get("value")}
                )
            rows.append((Cell(set_label(dataset)), *measured, Cell(theirs or MISSING), *printed))
        measured_names = [f"{name} (measured)" for name in present]
        printed_names = [f"{name} (reported)" for name in present]
        header = ("Set", *measured_names, "Reported on", *printed_names)
        blocks.append(Block(metric.upper(), header, tuple(rows)))
    note = (
        f"{origin(run)} Measured: greedy answers of {run.profile.student.model}, "
        f"{intervals_of(scores)}, one training seed. Reported: the "
        "paper's Table 3, Qwen2.5-VL-7B on the public sets. Only the order of the variants can be "
        "compared, not the numbers."
    )
    return Table("table3", _title(run, 3), note, pd.DataFrame(records), tuple(blocks))


def decoding(run: Run) -> Table:
    """Lay out greedy against sampled answers: SRCC, MAE and parse rate."""
    scores = select(read_scores(run.paths), metric=["srcc", "mae", "parse_rate"])
    predict = run.profile.predict
    scores = select(scores, model=predict.sampled_models, dataset=predict.sampled_sets)
    scores = select(scores, protocol=["raw", "mean_of_k"])
    ways = {
        "greedy": {"decoding": "greedy", "protocol": "raw"},
        "sampled": {"decoding": "sampled", "protocol": "raw"},
        "mean of samples": {"decoding": "sampled", "protocol": "mean_of_k"},
    }
    rows = []
    for dataset in predict.sampled_sets:
        for model in in_order(list(predict.sampled_models)):
            for name, way in ways.items():
                mine = select(scores, model=model, dataset=dataset, **way)
                cells = [
                    estimate(one(mine, metric=metric), digits)
                    for metric, digits in (("srcc", 3), ("mae", 2), ("parse_rate", 3))
                ]
                unread = "" if mine.empty else str(mine["n_unparsed"].max())
                label = Cell(f"{model_label(model)}, {set_label(dataset)}")
                rows.append((label, Cell(name), *cells, Cell(unread)))
    note = (
        f"{origin(run)} Sampled: temperature {predict.sampling_temperature:g}, "
        f"{predict.n_samples} answers an image; each metric on single answers, averaged over the "
        "samples. Mean of samples: the metric of an image's mean readable score (unread there: "
        f"images without one). {intervals_of(scores)}. MAE in MOS units."
    )
    header = ("Model and set", "Decoding", "SRCC", "MAE", "Parse rate", "unread")
    blocks = (Block("", header, tuple(rows)),)
    return Table("decoding", "Greedy and sampled answers", note, scores, blocks)


def protocols(run: Run) -> Table:
    """Lay out the PLCC by each protocol, since papers differ in whether they fit a curve first."""
    scores = select(read_scores(run.paths), decoding="greedy", metric="plcc")
    sets, names = _sets(run, scores), ["raw", "logistic4", "logistic5"]
    rows = []
    for model in in_order(list(scores["model"].unique())):
        cells = []
        for dataset in sets:
            found = [one(scores, model=model, dataset=dataset, protocol=name) for name in names]
            values = [MISSING if row is None else number(row["value"]) for row in found]
            cells.append(Cell(" / ".join(values)))
        rows.append((Cell(model_label(model)), *cells))
    note = (
        f"{origin(run)} PLCC of greedy answers: raw / after a 4-parameter / after a 5-parameter "
        "logistic curve fitted on the test set itself. The three are different numbers; the paper "
        "does not say which it reports. Intervals are in the CSV."
    )
    data = scores[["protocol", *COLUMNS]]
    blocks = (Block("", ("Model", *map(set_label, sets)), tuple(rows)),)
    return Table("protocols", "PLCC by protocol", note, data, blocks)


def differences(run: Run) -> Table:
    """Lay out paired differences between models, in domain and on the mean over the sets."""
    found = read_differences(run.paths)
    home = run.profile.data.train_set
    columns = [
        (home, "srcc", 3),
        (home, "mae", 2),
        (home, "parse_rate", 3),
        (MEAN, "srcc", 3),
        (MEAN, "mae", 2),
    ]
    rows = []
    shown = select(found, protocol="raw")
    for (first, second, way), mine in shown.groupby(["model_a", "model_b", "decoding"], sort=False):
        cells = [
            estimate(one(mine, dataset=dataset, metric=metric), digits)
            for dataset, metric, digits in columns
        ]
        label = Cell(f"{model_label(first)} − {model_label(second)}")
        rows.append((label, Cell(way), *cells))
    note = (
        f"{origin(run)} First minus second on the images that both answered readably; "
        f"paired {intervals_of(found)}, each by itself (not corrected "
        "for the number of comparisons). MAE in MOS units: below 0 is better. n and p are in the "
        "CSV."
    )
    header = (
        "Models",
        "Decoding",
        *(f"{set_label(dataset)} {METRIC_LABELS[metric]}" for dataset, metric, _ in columns),
    )
    blocks = (Block("", header, tuple(rows)),)
    return Table("differences", "Paired differences", note, found, blocks)

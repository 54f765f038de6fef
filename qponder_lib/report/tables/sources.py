"""Reads what tables and figures are made of: scores, differences, ceilings, reported values."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qponder_lib.data.catalog import SPECS
from qponder_lib.data.prepare import prepared_sets
from qponder_lib.metrics.bootstrap import CONFIDENCE
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run

MODEL_LABELS = {
    "handcrafted": "Handcrafted (statistics, ridge)",
    "base": "Base, untrained",
    "ci-none": "CI, no reasoning",
    "ci-short": "CI, short reasoning",
    "ci-long": "CI, long reasoning (Q-Ponder-CI)",
    "qponder": "Q-Ponder (CI + GRPO)",
    "qponder-shuffled": "GRPO, rewards shuffled",
    "teacher": "Teacher",
}
"""Names for readers, in the order of the rows."""

METRIC_LABELS = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "krcc": "KRCC",
    "mae": "MAE",
    "rmse": "RMSE",
    "parse_rate": "parse rate",
}
"""Names of the metrics for readers."""

REPORTED_SETS = {
    "mini-koniq": "KonIQ",
    "mini-spaq": "SPAQ",
    "mini-livew": "LiveW",
    "mini-kadid": "KADID",
    "mini-csiq": "CSIQ",
    "mini-agiqa": "AGIQA",
    "koniq": "KonIQ",
    "spaq": "SPAQ",
    "livew": "LiveW",
    "kadid": "KADID",
    "csiq": "CSIQ",
    "agiqa": "AGIQA",
    "mean": "AVG.",
}
"""The paper's column that a set is, or in whose role an embedded set stands."""

TEXT_COLUMNS = ("reason",)


def model_label(model: str) -> str:
    """Return a model's name for readers; an unknown one keeps its own."""
    return MODEL_LABELS.get(model, model)


def set_label(dataset: str) -> str:
    """Return a public set's own name for readers; an embedded one, or a mean, keeps its name.

    Example:
        >>> set_label("koniq"), set_label("mini-koniq"), set_label("mean")
        ('KonIQ-10k', 'mini-koniq', 'mean')
    """
    return _TITLES.get(dataset, dataset)


_TITLES = {spec.name: spec.title.partition(" (")[0] for spec in SPECS}


def in_order(models: list[str]) -> list[str]:
    """Sort models as the rows of a table: known ones first, in the order of `MODEL_LABELS`."""
    known = list(MODEL_LABELS)
    return sorted(models, key=lambda m: (known.index(m) if m in known else len(known), m))


def read(path: Path) -> pd.DataFrame:
    """Read a CSV of the kit; text columns that are empty throughout stay text."""
    present = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(path, dtype={name: "object" for name in TEXT_COLUMNS if name in present})


def read_scores(paths: RunPaths) -> pd.DataFrame:
    """Read `eval/scores.csv`; a run made before photographs were counted has none."""
    return _with_references(read(paths.scores))


def read_differences(paths: RunPaths) -> pd.DataFrame:
    """Read `eval/differences.csv`; as `read_scores`."""
    return _with_references(read(paths.differences))


def _with_references(data: pd.DataFrame) -> pd.DataFrame:
    return data if "n_references" in data else data.assign(n_references=np.nan)


def intervals_of(data: pd.DataFrame) -> str:
    """Say what was resampled for the intervals of a table: photographs, in older runs images."""
    known = "n_references" in data and data["n_references"].notna().any()
    return f"{CONFIDENCE:.0%} bootstrap intervals over {'photographs' if known else 'images'}"


def read_reported(name: str) -> pd.DataFrame:
    """Read values transcribed from the paper: table, method, group, dataset, metric, value.

    Args:
        name: `table1`, `table3` or `section_3_2`.
    """
    with resources.as_file(resources.files("qponder_lib") / "reported" / f"{name}.csv") as path:
        return pd.read_csv(path)


def read_ceilings(paths: RunPaths) -> pd.DataFrame:
    """Read how well a perfect predictor would do: dataset, srcc, plcc, n; empty if not known.

    The mean over the sets is one more row, if every set has a ceiling.
    """
    path = paths.tables / "benchmark.csv"
    columns = {"set": "dataset", "ceiling_srcc": "srcc", "ceiling_plcc": "plcc", "n": "n"}
    if not path.is_file():
        return pd.DataFrame(columns=list(columns.values()))
    found = pd.read_csv(path)
    found = found[found["split"] == "test"].rename(columns=columns)[list(columns.values())]
    found = found.dropna(subset=["srcc", "plcc"], how="all")  # prepared sets: not known
    if found[["srcc", "plcc"]].notna().all(axis=None) and len(found) > 1:
        mean = {"dataset": "mean", "n": found["n"].sum()}
        mean |= {name: found[name].mean() for name in ("srcc", "plcc")}
        found = pd.concat([found, pd.DataFrame([mean])], ignore_index=True)
    return found.reset_index(drop=True)


def select(data: pd.DataFrame, **names: Any) -> pd.DataFrame:
    """Keep the rows whose columns have the values given (or one of them, for a list)."""
    for column, wanted in names.items():
        wanted = wanted if isinstance(wanted, list | tuple) else [wanted]
        data = data[data[column].isin(wanted)]
    return data


def one(data: pd.DataFrame, **names: Any) -> Mapping[str, Any] | None:
    """Return the one row with these values, or None.

    Raises:
        ValueError: If there are several.
    """
    found = select(data, **names)
    if len(found) > 1:
        raise ValueError(f"expected one row for {names}, found {len(found)}")
    return None if found.empty else found.iloc[0].to_dict()


def origin(run: Run) -> str:
    """Say which run and profile numbers come from, and whether its sets are whole."""
    told = f"Run {run.paths.root.name}, profile {run.profile.name}, "
    if run.profile.data.source == "embedded":
        return f"{told}embedded sets."
    few = [one for one in prepared_sets(run.paths) if one.n_whole is not None]
    if not few:
        return f"{told}public sets as prepared."
    counts = ", ".join(
        f"{set_label(one.name)} {one.n['test']:,} of {(one.n_whole or {})['test']:,}"
        for one in few
        if "test" in one.n
    )
    return f"{told}a rehearsal on few images of the public sets ({counts} test images)."


def sets_note(run: Run) -> str:
    """Say what the columns of a run's sets are beside those of the paper."""
    if run.profile.data.source == "embedded":
        return (
            "Sets named mini- stand in the roles of the paper's columns; their numbers are not "
            "those of the public sets."
        )
    return "Labels, splits and counts of the sets are in tables/benchmark.csv."

"""What all tables share: reading a run's CSVs, names for readers, cells, and three renderings.

The CSV of a table is long: one row per number, with its interval and its n. Markdown, HTML and
LaTeX show the same numbers laid out as in the paper. They never hold a number that the CSV does
not.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from qponder_lib import artifacts
from qponder_lib.data.catalog import SPECS
from qponder_lib.data.prepare import prepared_sets
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.metrics.bootstrap import CONFIDENCE
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import PredictionRecord

MISSING = "–"
ALL_SETS = "all sets"
"""Stands for a set where all test images are taken together."""


class Look(NamedTuple):
    """What something is called, and how it is drawn, wherever it stands."""

    label: str
    colour: str
    marker: str = "o"


BLACK, GREY, LIGHT = "#000000", "#6E6E6E", "#BFBFBF"
ORANGE, SKY, GREEN, BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
VERMILION, PURPLE, BROWN = "#D55E00", "#CC79A7", "#8C510A"
MODELS = {
    "ceiling": Look("Ceiling", BLACK, "_"),
    "handcrafted": Look("Handcrafted", PURPLE, "P"),
    "base": Look("Base (before SFT)", GREY, "X"),
    "ci-none": Look("Cold start, none", ORANGE, "v"),
    "ci-short": Look("Cold start, short", SKY, "^"),
    "ci-long": Look("Cold start, long", BLUE, "s"),
    "qponder": Look("Q-Ponder", VERMILION, "o"),
    "qponder-shuffled": Look("GRPO, rewards shuffled", BROWN, "*"),
    "teacher": Look("Teacher", GREEN, "D"),
}
"""Models in the order of the rows. Colours are Okabe and Ito's, which differ for colour-blind
readers too; markers repeat the distinction for print without colour."""
METRIC_LABELS = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "krcc": "KRCC",
    "mae": "MAE",
    "rmse": "RMSE",
    "parse_rate": "parse rate",
}
CORRELATIONS = ("plcc", "srcc")
DIGITS = {"mae": 2, "rmse": 2}
"""Digits behind the point; 3 for all other metrics."""
REPORTED_SETS = {
    "koniq": "KonIQ",
    "spaq": "SPAQ",
    "livew": "LiveW",
    "kadid": "KADID",
    "csiq": "CSIQ",
    "agiqa": "AGIQA",
    "mean": "AVG.",
}
REPORTED_SETS |= {f"mini-{name}": column for name, column in REPORTED_SETS.items()}
"""The paper's column that a set is, or in whose role an embedded set stands."""

_SET_TITLES = {spec.name: spec.title.partition(" (")[0] for spec in SPECS}
_LATEX = {"–": "--", "−": "$-$", "×": r"$\times$", "γ": r"$\gamma$", "α": r"$\alpha$"}


@dataclass(frozen=True)
class Table:
    r"""A table for readers.

    Attributes:
        title: What it shows.
        note: Which run and profile it is from, what the brackets are, what is missing.
        grids: Heading -> frame of text. The first column names the row; in a cell a line break
            parts a number from its interval, or a dash from the reason.
        data: The same, one row per number; None if it is laid out from a CSV that is there.
    """

    title: str
    note: str
    grids: Mapping[str, pd.DataFrame]
    data: pd.DataFrame | None = None

    def markdown(self) -> str:
        """Return the table as Markdown."""
        parts = [f"# {_one_line(self.title)}", _one_line(self.note)]
        for heading, grid in self.grids.items():
            if heading:
                parts.append(f"## {_one_line(heading)}")
            rows = [grid.columns, ["---"] * len(grid.columns), *grid.to_numpy().tolist()]
            lines = (" | ".join(map(_markdown_cell, row)) for row in rows)
            parts.append("\n".join(f"| {line} |" for line in lines))
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the table as an HTML fragment; names and reasons in it are escaped."""
        return template("table.html.jinja").render(table=self)

    def latex(self) -> str:
        """Return one booktabs `tabular` per grid, the note as comments; packages: booktabs."""
        parts = [f"% {line}" for line in (self.title, self.note)]
        for heading, grid in self.grids.items():
            body = grid.map(lambda cell: cell.replace("\n", " ")).to_latex(index=False, escape=True)
            for sign, command in _LATEX.items():
                body = body.replace(sign, command)
            parts += [f"% {heading}", body] if heading else [body]
        return "\n".join(parts)


def write(name: str, table: Table, folder: Path) -> list[Path]:
    """Write a table as `name.csv` (if it has data of its own), `.md` and `.html`, atomically."""
    written = [] if table.data is None else [write_frame(folder / f"{name}.csv", table.data)]
    for suffix, text in ((".md", table.markdown()), (".html", table.html())):
        artifacts.write_text_atomic(folder / f"{name}{suffix}", text)
        written.append(folder / f"{name}{suffix}")
    return written


def write_frame(path: Path, data: pd.DataFrame) -> Path:
    """Write a data frame as CSV; missing values become empty cells."""
    rows = [{str(k): plain(v) for k, v in row.items()} for row in data.to_dict("records")]
    artifacts.write_csv(path, rows, [str(name) for name in data.columns])
    return path


# ---- reading


def read(path: Path) -> pd.DataFrame:
    """Read a CSV of the kit; a column of reasons stays text where it is empty throughout."""
    return pd.read_csv(path, dtype={"reason": "object"})


def read_scores(paths: RunPaths) -> pd.DataFrame:
    """Read `eval/scores.csv`: a row per model, set, decoding, protocol and metric.

    A run made before reference photographs were counted has none: n_references is missing.
    """
    data = read(paths.scores)
    return data if "n_references" in data else data.assign(n_references=math.nan)


def read_ceilings(paths: RunPaths) -> pd.DataFrame:
    """Read how well a predictor that knows the true quality would do, from `tables/benchmark.csv`.

    Returns:
        dataset, srcc, plcc, n; empty if not known. The mean over the sets is one more row, if
        every set has a ceiling.
    """
    path = paths.tables / "benchmark.csv"
    columns = {"set": "dataset", "ceiling_srcc": "srcc", "ceiling_plcc": "plcc", "n": "n"}
    if not path.is_file():
        return pd.DataFrame(columns=list(columns.values()))
    found = select(pd.read_csv(path), split="test").rename(columns=columns)[[*columns.values()]]
    found = found.dropna(subset=["srcc", "plcc"], how="all")  # prepared sets: not known
    if found[["srcc", "plcc"]].notna().all(axis=None) and len(found) > 1:
        mean = {"dataset": MEAN, "n": found["n"].sum()}
        mean |= {name: found[name].mean() for name in ("srcc", "plcc")}
        found = pd.concat([found, pd.DataFrame([mean])])
    return found.reset_index(drop=True)


def read_predictions(paths: RunPaths, model: str, dataset: str) -> pd.DataFrame:
    """Read the greedy predictions of a model on a set; an unparsed response has no score."""
    rows = artifacts.read_jsonl(paths.predictions(model, dataset), PredictionRecord)
    columns = ["image_id", "mos", "score", "parse_status"]
    data = pd.DataFrame([row.model_dump(include=set(columns)) for row in rows], columns=columns)
    data.insert(0, "dataset", dataset)
    data.insert(0, "model", model)
    return data


def read_reported(name: str, **options: Any) -> pd.DataFrame:
    """Read what was transcribed from the papers.

    Args:
        name: `table1` to `table4` or `section_3_2` (table, method, group, dataset, metric, value),
            `quoted` (the same, and source, read), `claims` or `comparisons`.
        options: As in `pandas.read_csv`.
    """
    with resources.as_file(resources.files("qponder_lib") / "reported" / f"{name}.csv") as path:
        return pd.read_csv(path, **options)


def kept(run: Run, figure: str) -> pd.DataFrame | None:
    """Return what a figure drew, if images and predictions are gone as in a kept run; else None."""
    if run.paths.split(run.profile.predict.sets[0], "test").is_file():
        return None
    return read(run.paths.figures / f"{figure}.csv")


def reported_table(number: int, what: str) -> Table:
    """Lay out a table of the paper as it is printed.

    Args:
        number: Of the table.
        what: What a cell holds.
    """
    reported = read_reported(f"table{number}")
    note = (
        f"Transcribed from Q-Ponder (arXiv:2506.05384), Table {number}: {what}, as the paper "
        "prints it, without intervals. Nothing here was measured by this kit."
    )
    cells = grid(reported.rename(columns={"method": "Method"}), "Method", "dataset")
    return Table(f"Table {number} as reported", note, {"": cells}, reported)


def select(data: pd.DataFrame, **names: Any) -> pd.DataFrame:
    """Keep the rows whose columns have the values given (or one of them, for a list)."""
    for column, wanted in names.items():
        wanted = wanted if isinstance(wanted, list | tuple) else [wanted]
        data = data[data[column].isin(wanted)]
    return data


def one(data: pd.DataFrame, **names: Any) -> dict[str, Any] | None:
    """Return the one row with these values, or None.

    Raises:
        ValueError: If there are several.
    """
    found = select(data, **names)
    if len(found) > 1:
        raise ValueError(f"expected one row for {names}, found {len(found)}")
    return None if found.empty else found.iloc[0].to_dict()


# ---- names for readers


def look(model: str) -> Look:
    """Return what a model is called and how it is drawn; an unknown one keeps its own name."""
    return MODELS.get(model, Look(model, BLACK))


def model_label(model: str) -> str:
    """Return a model's name for readers."""
    return look(model).label


def set_label(dataset: str) -> str:
    """Return a public set's own name for readers; an embedded one, or a mean, keeps its name.

    Example:
        >>> set_label("koniq"), set_label("mini-koniq"), set_label("mean")
        ('KonIQ-10k', 'mini-koniq', 'mean')
    """
    return _SET_TITLES.get(dataset, dataset)


def in_order(models: Iterable[str]) -> list[str]:
    """Sort models as the rows of a table: known ones first, in the order of `MODELS`."""
    known = list(MODELS)
    return sorted(set(models), key=lambda m: (known.index(m) if m in known else len(known), m))


def by_model(rows: pd.DataFrame) -> pd.DataFrame:
    """Order rows by model as tables do, and add the column Model with names for readers."""
    place = {model: position for position, model in enumerate(in_order(rows["model"]))}
    found = rows.sort_values("model", key=lambda models: models.map(place), kind="stable")
    return found.assign(Model=found["model"].map(model_label))


def origin(run: Run) -> str:
    """Say which run and profile numbers come from, and whether its sets are whole."""
    told = f"Run {run.paths.root.name}, profile {run.profile.name}, "
    if run.profile.data.source == "embedded":
        return f"{told}embedded sets."
    few = [prepared for prepared in prepared_sets(run.paths) if prepared.n_whole is not None]
    if not few:
        return f"{told}public sets as prepared."
    counts = ", ".join(
        f"{set_label(prepared.name)} {prepared.n['test']:,} of {(prepared.n_whole or {})['test']:,}"
        for prepared in few
        if "test" in prepared.n
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


def intervals(rows: pd.DataFrame) -> str:
    """Say what the intervals of measured rows are, and what was drawn for them.

    Rows without n_references are of a run whose images were drawn one by one.
    """
    known = "n_references" in rows and rows["n_references"].notna().any()
    return f"{CONFIDENCE:.0%} bootstrap intervals over {'photographs' if known else 'images'}"


# ---- cells


def plain(value: Any) -> Any:
    """Turn a cell of a data frame into a Python value; NaN becomes None."""
    value = value.item() if hasattr(value, "item") else value
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def number(value: Any, digits: int = 3) -> str:
    """Write a number, or a dash where there is none.

    Example:
        >>> number(0.81249), number(None), number(-0.0001)
        ('0.812', '–', '0.000')
    """
    value = plain(value)
    if value is None:
        return MISSING
    rounded = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:.{digits}f}"


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """Write an interval, or nothing where there is none.

    Example:
        >>> interval(0.7, 0.85, 2)
        '[0.70, 0.85]'
    """
    if plain(low) is None or plain(high) is None:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def told(row: Mapping[str, Any] | None, *, difference: bool = False) -> str:
    """Tell a measured number in a sentence: value, interval, what it was measured on.

    Args:
        row: Of a CSV: value, ci_low, ci_high, reason, and n, n_references and metric if known;
            None if there is no such row.
        difference: Whether it is one, which has a sign and may be no larger than chance.

    Example:
        >>> gain = {"value": 0.031, "ci_low": 0.012, "ci_high": 0.049, "n": 300}
        >>> told(gain | {"n_references": 127}, difference=True)
        '+0.031 [0.012, 0.049], n 300 of 127 photographs, larger than chance'
        >>> told({"value": None, "reason": "too_few"}), told(None)
        ('no value (too_few)', 'not measured')
    """
    if row is None:
        return "not measured"
    if plain(row["value"]) is None:
        return f"no value ({row['reason']})"
    sign, digits = "+" * (difference and row["value"] > 0), DIGITS.get(row.get("metric", ""), 3)
    ends = interval(row["ci_low"], row["ci_high"], digits) or "(no interval)"
    parts = [f"{sign}{number(row['value'], digits)} {ends}"]
    if "n" in row:
        n, references = row["n"], plain(row.get("n_references"))
        each_its_own = references in (None, n)
        parts.append(f"n {n:,.0f}" + ("" if each_its_own else f" of {references:,.0f} photographs"))
    if difference and plain(row["ci_low"]) is not None:
        holds = row["ci_low"] > 0 or row["ci_high"] < 0
        parts.append("larger than chance" if holds else "not to be told from chance")
    return ", ".join(parts)


def estimates(rows: pd.DataFrame, digits: int | None = None) -> str:
    r"""Write the estimates of one cell, as the papers do: PLCC / SRCC, the intervals below.

    Args:
        rows: With value and, where there are any, ci_low, ci_high, reason and metric.
        digits: Behind the point; None for what is usual for the metric.

    Returns:
        Values, a line break, intervals; without a value a dash and the reason.

    Example:
        >>> estimates(pd.DataFrame({"value": [0.7, 0.61], "metric": ["plcc", "srcc"]}))
        '0.700 / 0.610'
        >>> estimates(pd.DataFrame({"value": [None], "reason": ["too_few"]}))
        '–\ntoo_few'
    """
    mains, belows, reasons = [], [], []
    for row in rows.to_dict("records"):
        places = DIGITS.get(row.get("metric", ""), 3) if digits is None else digits
        mains.append(number(row["value"], places))
        belows.append(interval(row.get("ci_low"), row.get("ci_high"), places))
        reasons.append("" if plain(row.get("reason")) is None else str(row["reason"]))
    if set(mains) <= {MISSING}:
        below = next(filter(None, reasons), "")
        return f"{MISSING}\n{below}" if below else MISSING
    below = " / ".join(ends or MISSING for ends in belows) if any(belows) else ""
    return " / ".join(mains) + (f"\n{below}" if below else "")


def grid(
    rows: pd.DataFrame,
    index: str | Sequence[str],
    columns: str,
    cell: Callable[[pd.DataFrame], str] = estimates,
) -> pd.DataFrame:
    """Lay out rows: one cell per value of `index` and `columns`, in the order they come in.

    Args:
        rows: Estimates, one per row; several may fall into one cell.
        index: Columns that name a row of the grid.
        columns: Column whose values become columns of the grid.
        cell: Writes the rows of a cell.

    Returns:
        A frame of text: the columns of `index`, then one per value of `columns`.
    """
    names = [index] if isinstance(index, str) else list(index)
    groups = rows.groupby([*names, columns], sort=False, dropna=False)
    cells = {key: cell(mine) for key, mine in groups}
    if not cells:
        return pd.DataFrame(columns=names)
    found = pd.Series(cells).unstack(sort=False).fillna(MISSING)
    return found.rename_axis(index=names, columns=None).reset_index()


def headed(rows: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Choose the rows of each column of a table: heading -> values that select them.

    Returns:
        The rows with the heading in the column `heading`, in the order of the headings.
    """
    frames = [select(rows, **where).assign(heading=name) for name, where in columns.items()]
    return pd.concat(frames)


def visible(text: str) -> str:
    r"""Show control and direction characters by their code; line breaks and tabs stay.

    Model text is hostile until shown: besides tags it may hold characters that turn the direction
    of reading, hide, or ring a bell.

    Example:
        >>> visible("sharp\u202egnp.exe\x07")
        'sharp⟨U+202E⟩gnp.exe⟨U+0007⟩'
    """
    hidden = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return "".join(
        f"⟨U+{ord(c):04X}⟩" if c not in "\n\t" and unicodedata.category(c) in hidden else c
        for c in text
    )


def _one_line(text: str) -> str:
    return html.escape(str(text), quote=False).replace("\n", " ")


def _markdown_cell(text: str) -> str:
    lines = str(text).split("\n")
    return "<br>".join(html.escape(line, quote=False).replace("|", "\\|") for line in lines)


def template(name: str, **filters: Callable[..., Any]) -> Template:
    """Read a template of `report/`; all text in it is escaped, its control characters shown.

    Args:
        name: Its file.
        filters: Functions that it uses.
    """
    environment = Environment(
        loader=PackageLoader("qponder_lib", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {"model": model_label} | filters
    return environment.get_template(name)

"""Reads the labels of a copy of a set, by its row of the catalogue, as far as they can be read.

What is wrong is collected as findings, and nothing is repaired or left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qponder_lib.data.catalog import DatasetSpec, Label
from qponder_lib.data.tabular import TableError, read_number, read_table, shown
from qponder_lib.records import Record

if TYPE_CHECKING:
    import pandas as pd

Layout = Literal["official", "metas"]
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation"},
}
"""What splits are called in label files, and here."""
_YES, _NO = ("true", "1", "1.0"), ("false", "0", "0.0")
_COLUMNS = (
    *("image", "file", "row", "label", "std", "reference", "type", "level"),
    *("split", "excluded", "rating", "five_point", "folder"),
)
_NUMBERS = dict.fromkeys(("label", "std", "rating", "five_point"), "float64")


class Finding(Record):
    """One thing that is wrong with a copy: what it is called, and a sentence that says where.

    An error makes the copy unusable or unlike the published set; at a warning somebody should look.
    """

    severity: Literal["error", "warning"]
    code: str
    sentence: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.code}: {self.sentence}"


class DatasetError(ValueError):
    """A copy of a set cannot be used; the message lists the first findings."""

    def __init__(self, what: str, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        lines = [f"  {one}" for one in self.findings[:10]]
        lines += [f"  and {len(self.findings) - 10} more"] if len(self.findings) > 10 else []
        super().__init__("\n".join([what, *lines]))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are errors."""
    return [one for one in findings if one.severity == "error"]


@dataclass(frozen=True)
class Labels:
    """The labels of a copy.

    Attributes:
        spec: The set.
        root: Folder of the copy.
        label: The kind of label.
        layout: Which label files were read: the authors' own, or the metas of Data-DeQA-Score.
        rows: One row per entry: image (published name); file and row where the label stands;
            label and std on the label's own scale, NaN where there is none; reference, type and
            level; split as stated; excluded, for entries that do not belong to the set; rating,
            the mean of counted ratings; five_point and folder, as metas state them.
        findings: What was found.
    """

    spec: DatasetSpec
    root: Path
    label: Label
    layout: Layout
    rows: pd.DataFrame
    findings: tuple[Finding, ...] = ()

    @property
    def labelled(self) -> pd.DataFrame:
        """Rows that belong to the set and have a label."""
        return self.rows[~self.rows["excluded"] & self.rows["label"].notna()]

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest label that is there."""
        values = self.labelled["label"]
        return None if values.empty else (float(values.min()), float(values.max()))


def read_labels(
    spec: DatasetSpec, root: Path, label: str | None = None, layout: Layout | None = None
) -> Labels:
    """Read the labels of a copy.

    Args:
        spec: The set.
        root: Folder of the copy.
        label: Kind of label; the set's first without.
        layout: Without, the metas if their folder is there, else the official one.

    Raises:
        ValueError: If the root is no folder or the set has no such label.
    """
    import pandas as pd

    if not root.is_dir():
        raise ValueError(f"expected the folder of {spec.title}, got {root}")
    kind, findings = spec.label(label), []
    bases = [root / spec.metas_folder / "metas", root / "metas"]
    base = next((b for b in bases if any((b / file).is_file() for file in spec.metas)), None)
    layout = layout or ("official" if base is None else "metas")
    if layout == "metas":
        parts = list(_metas(spec, kind, base or bases[1], findings))
    else:
        parts = list(_official(spec, kind, root, findings))
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    rows = rows.reindex(columns=_COLUMNS).astype(object)
    rows = rows.where(rows.notna(), None).astype({**_NUMBERS, "excluded": bool})
    return Labels(spec, root, kind, layout, rows, tuple(findings))


def _official(
    spec: DatasetSpec, kind: Label, root: Path, findings: list[Finding]
) -> Iterator[pd.DataFrame]:
    """Read the files of the set's authors, those that match a pattern one after the other."""
    groups = [sorted(root.glob(file)) if "*" in file else [root / file] for file in kind.files]
    if not groups[0]:
        findings.append(_error("unreadable_table", f"no files {', '.join(kind.files)}"))
    splits = _stated_splits(spec, root, findings)
    for paths in zip(*groups, strict=True):
        cells = _side_by_side(paths, [*kind.files.values()], spec.sheet, findings)
        if cells is None or not _has_columns(spec, kind, cells, findings):
            continue
        columns = re.findall(r"{([^{}]+)}", spec.id) or [spec.id]
        images = spec.ordered_names
        if not images:
            texts = cells[columns].map(lambda cell: spec.aliases.get(str(cell), str(cell)))
            images = texts.agg(spec.id.format_map, axis=1) if "{" in spec.id else texts[spec.id]
        rows = _rows(cells, images, kind.score, findings)
        for column, power in ((kind.std, 1.0), (kind.variance, 0.5)):
            if column in cells:
                rows["std"] = _spreads(cells[column], rows, findings) ** power
        if spec.reference in cells:
            rows["reference"] = cells[spec.reference].replace("", None)
        if set(spec.ratings) <= set(cells):
            rows["rating"] = _mean_rating(cells[[*spec.ratings]])
        if splits or spec.split in cells:
            rows["split"] = rows["image"].map(splits) if splits else cells[spec.split].map(_split)
        rows = _without_strangers(spec, rows, cells, findings)
        yield _with_names_read(spec, rows, findings)


def _metas(
    spec: DatasetSpec, kind: Label, folder: Path, findings: list[Finding]
) -> Iterator[pd.DataFrame]:
    """Read the JSON metas of Data-DeQA-Score, where a DMOS stands as its negative."""
    for file, (split, n) in spec.metas.items():
        cells = _side_by_side([folder / file], [()], None, findings)
        if cells is None:
            continue
        if len(cells) != n:
            findings.append(_error("count", f"{file}: expected {n} rows, got {len(cells)}"))
        if not {"image", "gt_score"} <= set(cells):
            findings.append(_error("unreadable_table", f"{file}: expected image and gt_score"))
            continue
        paths = cells["image"].map(lambda cell: PurePosixPath(str(cell)))
        rows = _rows(cells, paths.map(lambda path: path.name), "gt_score", findings)
        rows["folder"], rows["split"] = paths.map(lambda path: path.parent.as_posix()), split
        rows["label"] *= 1 if kind.scale.higher_is_better else -1
        if "std" in cells:
            rows["std"] = _spreads(cells["std"], rows, findings)
        if "gt_score_norm" in cells:
            rows["five_point"] = _numbers(cells["gt_score_norm"], rows, "gt_score_norm", findings)
        yield _with_names_read(spec, rows.assign(excluded=False), findings)


def _side_by_side(
    paths: Sequence[Path],
    names: Sequence[Sequence[str]],
    sheet: str | None,
    findings: list[Finding],
) -> pd.DataFrame | None:
    """Read files whose rows belong together; columns `*file` and `*row` say where a row stands."""
    import pandas as pd

    frames = []
    for path, known in zip(paths, names, strict=True):
        try:
            table = read_table(path, names=known, sheet=sheet)
        except TableError as error:
            findings.append(_error("unreadable_table", str(error)))
            continue
        frames.append(table.frame.rename_axis("*row").reset_index().assign(**{"*file": path.name}))
    lengths = {frame["*file"][0]: len(frame) for frame in frames}
    if len(set(lengths.values())) > 1:
        findings.append(_error("count", f"files that belong together differ in length: {lengths}"))
    whole = [frame for frame in frames if len(frame) == len(frames[0])]
    joined = pd.concat(whole, axis="columns") if frames else None
    return None if joined is None else joined.loc[:, ~joined.columns.duplicated()]


def _has_columns(
    spec: DatasetSpec, kind: Label, cells: pd.DataFrame, findings: list[Finding]
) -> bool:
    file, names = cells["*file"][0], spec.ordered_names
    wanted = [kind.score, *re.findall(r"{([^{}]+)}", spec.id), spec.included, spec.excluded]
    wanted += [spec.id] if "{" not in spec.id else []
    if missing := [name for name in wanted if name and name not in cells]:
        came = shown([name for name in cells if not name.startswith("*")], 12)
        message = f"{file}: expected columns {shown(missing)}, got {came}"
        findings.append(_error("unreadable_table", message))
    elif names and len(names) != len(cells):
        message = f"{file}: expected {len(names)} values, got {len(cells)}"
        findings.append(_error("count", message))
    else:
        return True
    return False


def _rows(
    cells: pd.DataFrame, images: Iterable[str], score: str, findings: list[Finding]
) -> pd.DataFrame:
    rows = cells[["*file", "*row"]].set_axis(["file", "row"], axis=1)
    rows["image"] = list(images)
    rows["label"] = _numbers(cells[score], rows, "label", findings)
    return rows


def _numbers(
    cells: pd.Series, rows: pd.DataFrame, what: str, findings: list[Finding]
) -> NDArray[np.float64]:
    """Read numbers, NaN where there is none, which is an error unless a spread is missing."""
    read = [read_number(cell, is_text=True) for cell in cells]
    for place, ((value, state), cell) in enumerate(zip(read, cells, strict=True)):
        if value is None and (what, state) != ("spread", "missing"):
            row, comma = rows.iloc[place], re.fullmatch(r"[+-]?\d+,\d+", str(cell))
            hint = "; expected a decimal point" if comma else ""
            code = "missing_label" if state == "missing" else "not_a_number"
            message = f"{what} of {row['image']} is {state}: {str(cell)[:40]!r}{hint}"
            findings.append(_error(code, at(row, message)))
    return np.array([np.nan if value is None else value for value, _ in read], dtype=np.float64)


def _spreads(cells: pd.Series, rows: pd.DataFrame, findings: list[Finding]) -> NDArray[np.float64]:
    values = _numbers(cells, rows, "spread", findings)
    for place in np.flatnonzero(values < 0):
        row = rows.iloc[place]
        message = f"the spread {values[place]:g} of {row['image']} is below 0"
        findings.append(_error("off_scale", at(row, message)))
    return np.where(values < 0, np.nan, values)


def _mean_rating(cells: pd.DataFrame) -> NDArray[np.float64]:
    """Return the mean rating that the counts (or shares) of the ratings 1, 2, ... make."""
    counts = cells.map(lambda cell: read_number(cell, is_text=True)[0]).to_numpy(np.float64)
    totals = np.where(counts.sum(axis=1) > 0, counts.sum(axis=1), np.nan)
    return counts @ np.arange(1, counts.shape[1] + 1) / totals


def _stated_splits(spec: DatasetSpec, root: Path, findings: list[Finding]) -> dict[str, str | None]:
    """Read the split of each image from a file of its own, where there is one."""
    if spec.split_file is None or not (root / spec.split_file).is_file():
        return {}
    cells = _side_by_side([root / spec.split_file], [()], None, findings)
    if cells is None or not {spec.id, spec.split} <= set(cells):
        return {}
    return dict(zip(cells[spec.id], cells[spec.split].map(_split), strict=True))


def _split(cell: object) -> str:
    return SPLIT_NAMES.get(str(cell).lower(), f"unknown: {cell}")


def _without_strangers(
    spec: DatasetSpec, rows: pd.DataFrame, cells: pd.DataFrame, findings: list[Finding]
) -> pd.DataFrame:
    """Mark entries that do not belong to the set."""
    rows["excluded"] = rows["image"].str.fullmatch(spec.excluded_names or r"(?!)")
    for column, excluding in ((spec.included, _NO), (spec.excluded, _YES)):
        if column is not None:
            stated = cells[column].map(lambda cell: str(cell).lower())
            rows["excluded"] |= stated.isin(excluding)
            for place in np.flatnonzero(~stated.isin((*_YES, *_NO))):
                row = rows.iloc[place]
                message = f"{row['image']} has {column} {stated[place]!r}, expected True or False"
                findings.append(_error("inconsistent", at(row, message)))
    return rows


def _with_names_read(
    spec: DatasetSpec, rows: pd.DataFrame, findings: list[Finding]
) -> pd.DataFrame:
    """Add what the images' names say: reference, type, level."""
    if spec.form is None:
        return rows
    said = [spec.parse_name(image) for image in rows["image"]]
    stated = rows["reference"] if "reference" in rows else [None] * len(rows)
    for place, (one, reference) in enumerate(zip(said, stated, strict=True)):
        if one is None:
            message = f"expected a name of the form {spec.form}, got {rows['image'].iloc[place]!r}"
        elif reference is None or _same_reference(reference, one):
            continue
        else:
            message = f"{rows['image'].iloc[place]} names another reference than {reference!r}"
        findings.append(_error("inconsistent", at(rows.iloc[place], message)))
    for name in ("reference", "type", "level"):
        if f"<{name}>" in spec.form:
            rows[name] = [None if one is None else one[name] for one in said]
    return rows


def _same_reference(stated: str, said: dict[str, str]) -> bool:
    """Compare a file's name with what an image's name says, if it says any reference."""
    return said.get("reference", "").upper() in ("", PurePosixPath(stated).stem.upper())


def _error(code: str, sentence: str) -> Finding:
    return Finding(severity="error", code=code, sentence=sentence)


def at(row: pd.Series, message: str) -> str:
    """Say where in a label file a row stands, before what is said of it."""
    return f"{row['file']}, row {row['row']}: {message}"

"""Reads the labels of a copy of a set, by its row of the catalogue, as far as they can be read.

What is wrong is collected as findings, and nothing is repaired or left out in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qponder_lib.data.catalog import SPLIT_NAMES, DatasetSpec, Label
from qponder_lib.data.tabular import TableError, read_number, read_table, shown
from qponder_lib.records import Record

if TYPE_CHECKING:
    import pandas as pd

    from qponder_lib.data.images import Scanned

Layout = Literal["official", "metas"]
_TRUTH = dict.fromkeys(("true", "1", "1.0"), True) | dict.fromkeys(("false", "0", "0.0"), False)
_NUMBERS = dict.fromkeys(("label", "std"), "float64")
_COLUMNS = (
    *("image", "file", "row", *_NUMBERS, "reference", "type", "level", "split"),
    *("excluded", "folder", "path"),
)


class Finding(Record):
    """One thing that is wrong with a copy: what it is called, and a sentence that says where.

    An error makes the copy unusable or unlike the published set; at a warning somebody should look.
    """

    severity: Literal["error", "warning"] = "error"
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
class Copy:
    """A user's copy of a set: its labels, and its files once they were looked at.

    Attributes:
        spec: The set.
        root: Folder of the copy.
        label: The kind of label.
        layout: Which label files were read: the authors' own, or the metas of Data-DeQA-Score.
        rows: One row per entry: image (published name); file and row where the label stands;
            label and std on the label's own scale, NaN where there is none; folder, as metas state
            it; reference, type, level; split as stated; excluded, for entries that do not belong
            to the set; path of the image below the root.
        findings: What was found.
        scanned: What each file is, by path; empty before files were looked into.
    """

    spec: DatasetSpec
    root: Path
    label: Label
    layout: Layout
    rows: pd.DataFrame
    findings: tuple[Finding, ...] = ()
    scanned: Mapping[str, Scanned] = field(default_factory=dict)

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
) -> Copy:
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
    return Copy(spec, root, kind, layout, rows, tuple(findings))


def each_row(
    rows: pd.DataFrame, code: str, sentence: str, severity: Literal["error", "warning"] = "error"
) -> Iterator[Finding]:
    """Make a finding of each row; the sentence is a template of the rows' columns."""
    for row in rows.to_dict("records"):
        where = f"{row['file']}, row {row['row']}: "
        yield Finding(severity=severity, code=code, sentence=where + sentence.format(**row))


def _official(
    spec: DatasetSpec, kind: Label, root: Path, findings: list[Finding]
) -> Iterator[pd.DataFrame]:
    """Read the files of the set's authors, those that match a pattern one after the other."""
    is_pattern = spec.n_images is not None  # a user's own path is meant as it stands
    groups = [
        sorted(root.glob(file)) if "*" in file and is_pattern else [root / file]
        for file in kind.files
    ]
    if not groups[0]:
        findings.append(_unreadable(f"there are no files {', '.join(kind.files)}"))
    wanted = [kind.score, *spec.id_columns, *spec.excluded]
    splits = _stated_splits(spec, root, findings)
    for paths in zip(*groups, strict=True):
        cells = _side_by_side(paths, [*kind.files.values()], wanted, spec.sheet, findings)
        images = [] if cells is None else spec.ordered_names or _images(spec, cells)
        if cells is None or len(images) != len(cells):
            if cells is not None:
                message = f"{paths[0].name}: expected {len(images)} values, got {len(cells)}"
                findings.append(Finding(code="count", sentence=message))
            continue
        rows = _rows(cells, images, kind.score, findings)
        for column, power in ((kind.std, 1.0), (kind.variance, 0.5)):
            if column in cells:
                rows["std"] = _spreads(cells[column], rows, findings) ** power
        if spec.reference in cells:
            rows["reference"] = cells[spec.reference].replace("", None)
        if splits or spec.split in cells:
            rows["split"] = rows["image"].map(splits) if splits else cells[spec.split].map(_split)
        if spec.file_splits:
            rows["split"] = rows["file"].map(spec.file_splits)
        rows["excluded"] = _excluded(spec, rows, cells, findings)
        yield _with_names_read(spec, rows, findings)


def _images(spec: DatasetSpec, cells: pd.DataFrame) -> list[str]:
    """Put the names of the images together from their columns."""
    texts = cells[spec.id_columns].map(lambda cell: spec.aliases.get(str(cell), str(cell)))
    if spec.id in spec.id_columns:
        return texts[spec.id].tolist()
    return [spec.id.format_map(row) for row in texts.to_dict("records")]


def _excluded(
    spec: DatasetSpec, rows: pd.DataFrame, cells: pd.DataFrame, findings: list[Finding]
) -> pd.Series:
    """Tell which entries do not belong to the set."""
    found = rows["image"].str.fullmatch(spec.excluded_names or r"(?!)")
    for column, meaning in spec.excluded.items():
        stated = cells[column].map(lambda cell: _TRUTH.get(str(cell).lower()))
        message = f"{{image}} has {column} {{stated!r}}, expected True or False"
        odd = rows.assign(stated=cells[column].map(str))[stated.isna()]
        findings += each_row(odd, "inconsistent", message)
        found |= stated == meaning
    return found


def _metas(
    spec: DatasetSpec, kind: Label, folder: Path, findings: list[Finding]
) -> Iterator[pd.DataFrame]:
    """Read the JSON metas of Data-DeQA-Score, where a DMOS stands as its negative."""
    for file, (split, n) in spec.metas.items():
        cells = _side_by_side([folder / file], [()], ["image", "gt_score"], None, findings)
        if cells is None:
            continue
        if len(cells) != n:
            message = f"{file}: expected {n} rows, got {len(cells)}"
            findings.append(Finding(code="count", sentence=message))
        paths = cells["image"].map(lambda cell: PurePosixPath(str(cell)))
        rows = _rows(cells, paths.map(lambda path: path.name), "gt_score", findings)
        rows["folder"], rows["split"] = paths.map(lambda path: path.parent.as_posix()), split
        rows["label"] *= 1 if kind.scale.higher_is_better else -1
        if "std" in cells:
            rows["std"] = _spreads(cells["std"], rows, findings)
        yield _with_names_read(spec, rows.assign(excluded=False), findings)


def _side_by_side(
    paths: Sequence[Path],
    names: Sequence[Sequence[str]],
    wanted: Sequence[str],
    sheet: str | None,
    findings: list[Finding],
) -> pd.DataFrame | None:
    """Read files whose rows belong together, if the columns that are wanted are there.

    The columns `*file` and `*row` say where a row stands.
    """
    import pandas as pd

    frames = []
    for path, known in zip(paths, names, strict=True):
        try:
            table = read_table(path, names=known, sheet=sheet)
        except TableError as error:
            findings.append(_unreadable(str(error)))
            continue
        frames.append(table.frame.rename_axis("*row").reset_index().assign(**{"*file": path.name}))
    lengths = {frame["*file"][0]: len(frame) for frame in frames}
    if len(set(lengths.values())) > 1:
        message = f"files that belong together differ in length: {lengths}"
        findings.append(Finding(code="count", sentence=message))
    if not frames:
        return None
    cells = pd.concat([one for one in frames if len(one) == len(frames[0])], axis="columns")
    cells = cells.loc[:, ~cells.columns.duplicated()]
    if missing := [name for name in wanted if name not in cells]:
        came = shown([name for name in cells if not name.startswith("*")], 12)
        message = f"{paths[0].name}: expected columns {shown(missing)}, got {came}"
        findings.append(_unreadable(message))
        return None
    return cells


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
    told = rows.assign(cell=[str(cell)[:40] for cell in cells], state=[state for _, state in read])
    if what != "spread":
        missing = told[told["state"] == "missing"]
        findings += each_row(missing, "missing_label", f"no {what} of {{image}}, got {{cell!r}}")
    wrong = told[~told["state"].isin(("ok", "missing"))]
    comma = wrong["cell"].str.fullmatch(r"[+-]?\d+,\d+")
    hints = comma.map({True: "; expected a decimal point", False: ""})
    message = f"{what} of {{image}} is {{state}}: {{cell!r}}{{hint}}"
    findings += each_row(wrong.assign(hint=hints), "not_a_number", message)
    return np.array([np.nan if value is None else value for value, _ in read], dtype=np.float64)


def _spreads(cells: pd.Series, rows: pd.DataFrame, findings: list[Finding]) -> NDArray[np.float64]:
    values = _numbers(cells, rows, "spread", findings)
    below = rows.assign(spread=values)[values < 0]
    findings += each_row(below, "off_scale", "the spread {spread:g} of {image} is below 0")
    return np.where(values < 0, np.nan, values)


def _stated_splits(spec: DatasetSpec, root: Path, findings: list[Finding]) -> dict[str, str]:
    """Read the split of each image from a file of its own, where there is one."""
    if spec.split_file is None or not (root / spec.split_file).is_file():
        return {}
    wanted = [spec.id, str(spec.split)]
    cells = _side_by_side([root / spec.split_file], [()], wanted, None, findings)
    if cells is None:
        return {}
    return dict(zip(cells[wanted[0]], cells[wanted[1]].map(_split), strict=True))


def _split(cell: object) -> str:
    return SPLIT_NAMES.get(str(cell).lower(), f"unknown: {cell}")


def _with_names_read(
    spec: DatasetSpec, rows: pd.DataFrame, findings: list[Finding]
) -> pd.DataFrame:
    """Add what the images' names say: reference, type, level."""
    if spec.form is None:
        return rows
    said = [spec.parse_name(image) for image in rows["image"]]
    unknown = np.array([one is None for one in said])
    message = "expected a name of this set, got {image!r}"
    findings += each_row(rows[unknown], "inconsistent", message)
    for name in ("reference", "type", "level"):
        if f"<{name}>" not in spec.form:
            continue
        values = [None if one is None else one[name] for one in said]
        if name in rows:  # the reference is stated beside it
            stems = rows[name].map(lambda stated: PurePosixPath(str(stated)).stem.upper())
            other = stems != [str(value).upper() for value in values]
            message = f"{{image}} names another {name} than {{{name}!r}}"
            findings += each_row(rows[other & ~unknown], "inconsistent", message)
        rows[name] = values
    return rows


def _unreadable(message: str) -> Finding:
    return Finding(code="unreadable_table", sentence=message)

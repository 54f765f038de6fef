"""Sets of photographs as they come, and of generated pictures: no originals, no damage types."""

from __future__ import annotations

from pathlib import PurePosixPath

from qponder_lib.data.copies import LabelRow
from qponder_lib.data.reading import Reader, Row
from qponder_lib.data.specs import DatasetSpec, LabelColumn

KONIQ_SCORES = "koniq10k_scores_and_distributions.csv"
KONIQ_SETS = "koniq10k_distributions_sets.csv"
SPAQ_SCORES = "Annotations/MOS and Image attribute scores.xlsx"
_KONIQ_COUNTS = ("c1", "c2", "c3", "c4", "c5")
_KONIQ_SPLITS = {"training": "train", "validation": "validation", "test": "test"}
_LIVEW_EXTRA = 7


def read_koniq(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read KonIQ-10k: scores from one CSV, the authors' split from another."""
    raw = label.name == "mos"
    has_sets = (reader.root / KONIQ_SETS).is_file()
    sets = reader.csv_rows(KONIQ_SETS, ("image_name", "MOS", "set")) if has_sets else []
    if raw or (reader.root / KONIQ_SCORES).is_file() or not has_sets:
        column = "MOS" if raw else "MOS_zscore"
        file, columns = KONIQ_SCORES, ("image_name", column, "SD")
        rows = reader.csv_rows(file, columns)
    else:
        file, column, rows = KONIQ_SETS, "MOS", sets
    splits = {row.cells["image_name"]: _koniq_split(row, reader) for row in sets}
    return [
        LabelRow(
            image=row.cells["image_name"],
            places=spec.folders,
            label=reader.number(row.cells[column], file, row.number),
            std=reader.number(row.cells["SD"], file, row.number, "SD") if raw else None,
            file=file,
            row=row.number,
            split=splits.get(row.cells["image_name"]),
            rating=_koniq_rating(row),
        )
        for row in rows
    ]


def _koniq_rating(row: Row) -> float | None:
    """Return the mean rating that the counts (or shares) of the ratings 1 to 5 make."""
    try:
        counts = [float(row.cells[name]) for name in _KONIQ_COUNTS]
    except (KeyError, ValueError):
        return None
    total = sum(counts)
    return sum(k * n for k, n in enumerate(counts, start=1)) / total if total > 0 else None


def _koniq_split(row: Row, reader: Reader) -> str | None:
    split = _KONIQ_SPLITS.get(row.cells["set"])
    if split is None:
        message = f"expected set {', '.join(_KONIQ_SPLITS)}, got {row.cells['set']!r}"
        reader.add("inconsistent", message, KONIQ_SETS, row.number)
    return split


def read_spaq(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read SPAQ's sheet."""
    rows = reader.xlsx_rows(SPAQ_SCORES, ("Image name", "MOS"))
    return [
        LabelRow(
            image=str(row.cells["Image name"]),
            places=spec.folders,
            label=reader.number(row.cells["MOS"], SPAQ_SCORES, row.number),
            std=None,
            file=SPAQ_SCORES,
            row=row.number,
        )
        for row in rows
    ]


def read_livew(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read LIVE in the Wild: three mat files in one order."""
    names, scores, spreads = (f"Data/All{x}_release.mat" for x in ("Images", "MOS", "StdDev"))
    columns = {
        names: reader.mat_values(names, "AllImages_release"),
        scores: reader.mat_values(scores, "AllMOS_release"),
        spreads: reader.mat_values(spreads, "AllStdDev_release"),
    }
    if not reader.same_length(columns):
        return []
    rows = []
    for place, (name, score, spread) in enumerate(zip(*columns.values(), strict=True), start=1):
        extra = place <= _LIVEW_EXTRA
        if extra != str(name).startswith("t"):
            message = f"expected t1 to t7 first and nowhere else, got {name!r}"
            reader.add("layout", message, names, place)
        rows.append(
            LabelRow(
                image=str(name),
                places=("Images/trainingImages",) if extra else spec.folders,
                label=reader.number(score, scores, place),
                std=reader.number(spread, spreads, place, "standard deviation"),
                file=scores,
                row=place,
                extra=extra,
            )
        )
    return rows


def read_agiqa(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read AGIQA-3K's CSV."""
    file = "data.csv"
    return [
        LabelRow(
            image=row.cells["name"],
            places=spec.folders,
            label=reader.number(row.cells["mos_quality"], file, row.number),
            std=reader.number(row.cells["std_quality"], file, row.number, "std_quality"),
            file=file,
            row=row.number,
        )
        for row in reader.csv_rows(file, ("name", "mos_quality", "std_quality"))
    ]


def read_list(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read `labels.csv` with columns image and mos, and std and reference where there are any."""
    file = "labels.csv"
    return [
        LabelRow(
            image=PurePosixPath(row.cells["image"]).as_posix(),
            places=spec.folders,
            label=reader.number(row.cells["mos"], file, row.number),
            std=reader.number(row.cells["std"], file, row.number, "std")
            if row.cells.get("std")
            else None,
            file=file,
            row=row.number,
            reference=row.cells.get("reference") or None,
        )
        for row in reader.csv_rows(file, ("image", "mos"))
    ]

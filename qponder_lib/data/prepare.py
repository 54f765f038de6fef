"""Turns a copy of a public set, or a user's own images, into rows of a run.

The images stay where they are: ``data/<set>/images`` becomes a link to them,
``data/<set>/<part>.jsonl`` holds the rows and ``data/<set>/source.json`` says what they were made
from. Rows carry the hash of each file, so a changed copy is noticed wherever it counts. A set that
is prepared in the run folder `SHARED` serves every run that has not prepared it itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from qponder_lib.artifacts import read_jsonl, write_csv, write_json, write_jsonl
from qponder_lib.data.catalog import SPECS, DatasetSpec
from qponder_lib.data.check import FIVE_POINT, Copy, examine, five_point, load_labels
from qponder_lib.data.images import Scanned, scan
from qponder_lib.data.labels import DatasetError, Finding, Labels, Layout, errors
from qponder_lib.data.leaks import PARTS, Placed, shared_in_rows
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, Split
from qponder_lib.scales import MOS_MAX, linear_rescale, severity_of

if TYPE_CHECKING:
    import pandas as pd

Parts = dict[Split, "pd.DataFrame"]
Mapped = Literal["minmax", "scale"]
SHARED = "prepared"
COLUMNS = (
    *("set", "stands_for", "split", "n", "n_references", "mos_mean", "mos_std", "rater_std"),
    *("ceiling_srcc", "ceiling_plcc"),
)
"""Of ``tables/benchmark.csv``. The ceilings are empty: nobody knows the true quality."""

_LEFT_OUT_OF_TRAIN = """
10344921126 19502065 28311109 33000255 361037189 5168834860 5466371904 5869585652 5952914370
6285698915 7574416384 80184044
"""
_LEFT_OUT_OF_TEST = "121123359 213906996 3483143101 3632417985 44009500"
KONIQ_LEFT_OUT = frozenset((_LEFT_OUT_OF_TRAIN + _LEFT_OUT_OF_TEST).split())
"""Official images that the 7,046/2,010 split does not have: 12 of train and 5 of test."""
_TEST = "19 29 30 34 37 38 43 50 64 71 72 73 74 78 80 81"
_VALIDATION = "07 12 14 15 16 27 32 35 36 41 44 49 55 66 67 70"
_KADID_PARTS = {
    **{f"I{number}": "test" for number in _TEST.split()},
    **{f"I{number}": "validation" for number in _VALIDATION.split()},
}
_N_WARNINGS = 20
_DRAWN = {"test": 0.2, "validation": 0.1}


def _whole(rows: pd.DataFrame) -> pd.Series:
    """Every image is a test image."""
    return rows["excluded"].map({False: "test"})


def _every_entry(rows: pd.DataFrame) -> pd.Series:
    """Every image and the raters' 7 training images: LIVE in the Wild with 1,169."""
    return rows["excluded"].map(lambda _: "test")


def _official(rows: pd.DataFrame) -> pd.Series:
    """As the set's authors state: KonIQ 7,058 / 1,000 / 2,015."""
    return rows["split"].where(rows["split"].isin(PARTS) & ~rows["excluded"], None)


def _metas(rows: pd.DataFrame) -> pd.Series:
    """As the JSON metas of Data-DeQA-Score state."""
    return _official(rows)


def _koniq_7k_2k(rows: pd.DataFrame) -> pd.Series:
    """7,046 / 2,010 of Q-Align and DeQA: the official parts less 12 and 5 images.

    The official validation part serves as validation.
    """
    stems = rows["image"].str.rpartition(".")[0]
    return _official(rows).where(~stems.isin(KONIQ_LEFT_OUT), None)


def _kadid_49_16_16(rows: pd.DataFrame) -> pd.Series:
    """By reference, 6,125 / 2,000 / 2,000: VisualQuality-R1 and PreResQ-R1."""
    return rows["reference"].map(lambda name: name and _KADID_PARTS.get(name, "train"))


def _kadid_65_16(rows: pd.DataFrame) -> pd.Series:
    """By reference, I01-I65 / I66-I81, 8,125 / 2,000.

    The test part is Q-Align's, whose train part lacks 19 images that only its metas name.
    """
    return rows["reference"].map(lambda name: name and ("train" if name <= "I65" else "test"))


def _drawn(rows: pd.DataFrame) -> pd.Series:
    """Drawn by a hash of the names: 20 % test, 10 % validation, whole references together."""
    parts = rows["excluded"].map({False: "train"})
    for part, share in _DRAWN.items():
        parts[_drawn_first(rows[parts == "train"], round(share * len(rows)), seed=0)] = part
    return parts


SPLITS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "whole": _whole,
    "official": _official,
    "koniq-7k-2k": _koniq_7k_2k,
    "kadid-reference-49-16-16": _kadid_49_16_16,
    "kadid-reference-65-16": _kadid_65_16,
    "metas": _metas,
    "with-training-images": _every_entry,
    "drawn": _drawn,
}
"""Splits in use, by name (decision D23): the part of each row, None for none. Each gives the same
rows to a part on every machine; the docstring says what it is."""


def assign(rows: pd.DataFrame, split: str) -> Parts:
    """Part the rows of a set; parts without rows are left out.

    Raises:
        ValueError: If there is no split of that name; the message lists those there are.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    part_of = SPLITS[split](rows)
    return {part: rows[part_of == part] for part in PARTS if (part_of == part).any()}


def hold_out(parts: Parts, n: int, seed: int) -> Parts:
    """Move about `n` training rows to validation, whole references at a time.

    References (or images, where a set has none) are taken in the order of a hash of seed and
    name, so neither the order of rows nor a random generator matters.

    Args:
        parts: From `assign`.
        n: Rows to move; at least that many are, and no more than the last reference brings.
        seed: Another seed takes other references.

    Raises:
        ValueError: If there is a validation part already, or too few training rows.
    """
    if "validation" in parts:
        raise ValueError(f"this split has {len(parts['validation'])} validation images already")
    train = parts.get("train")
    held = [] if train is None else _drawn_first(train, n, seed)
    if train is None or len(held) >= len(train):
        raise ValueError(f"cannot hold {n} of {0 if train is None else len(train)} images out")
    return {**parts, "train": train.drop(held), "validation": train.loc[held]}


def thin(parts: Parts, at_most: int, seed: int) -> Parts:
    """Keep at most so many rows of each part, in the order of a hash of seed and name (D56)."""
    return {
        part: rows[rows["image"].isin(_by_hash(rows["image"], seed)[:at_most])]
        for part, rows in parts.items()
    }


def _drawn_first(rows: pd.DataFrame, n: int, seed: int) -> pd.Index:
    """Return where the first groups of rows stand that make `n` rows or more."""
    groups = rows["reference"].fillna(rows["image"])
    ordered = _by_hash(groups, seed)
    before = groups.value_counts()[ordered].cumsum().shift(fill_value=0)
    return rows.index[groups.isin(before.index[before < n])]


def _by_hash(names: Iterable[str], seed: int) -> list[str]:
    return sorted(set(names), key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).hexdigest())


class PreparedSet(BaseModel):
    """What was prepared, as in ``source.json``.

    Attributes:
        name: The set.
        root: The folder of its images.
        layout: Label files that were read.
        label: Kind of label.
        mapping: minmax: 0 and 100 are the smallest and largest label of the whole set; scale:
            they are the ends of the declared scale (decision D22).
        label_range: Labels that became 0 and 100 (or 100 and 0, where higher is worse).
        split: Name of the split.
        n: Rows per part.
        n_whole: Rows per part of the split, where a rehearsal has fewer; else None.
        n_duplicates: Images within one part that show the same pixels as another of it.
        warnings: What somebody should look at, the first few in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    root: str
    layout: str
    label: str
    mapping: Mapped
    label_range: tuple[float, float]
    split: str
    n: dict[str, int]
    n_whole: dict[str, int] | None = None
    n_duplicates: int
    warnings: tuple[str, ...] = ()


def prepare(
    spec: DatasetSpec,
    root: Path,
    paths: RunPaths,
    *,
    split: str | None = None,
    label: str | None = None,
    layout: Layout | None = None,
    mapping: Mapped = "minmax",
    n_validation: int = 0,
    at_most: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> PreparedSet:
    """Write the rows of a set into a run folder.

    Args:
        spec: The set, from the catalogue or `own_spec`.
        root: Folder of the copy, or of the user's images.
        paths: The run folder.
        split: Name of a split; the set's first without.
        label: Kind of label; the set's first without.
        layout: official or metas; without, what lies there.
        mapping: How labels become MOS, see `PreparedSet`.
        n_validation: Training images to hold out for validation.
        at_most: Images of each part at most, for a rehearsal; None for all. The scale stays that
            of the whole set.
        seed: Which are held out, and which stay.
        progress: Show a bar.

    Raises:
        DatasetError: If a label or an image of the split has an error, or two parts share an
            image or a reference; nothing is written then.
        ValueError: If the split or the label is not known, or the split does not fit.
    """
    if spec.media != "image":
        raise ValueError(f"{spec.title} holds {spec.media}s; only sets of images are prepared")
    labels = load_labels(spec, root, label, layout)
    _refuse(f"{spec.title} in {root} cannot be prepared:", errors(labels.findings))
    split, parts = _parts(labels, split)
    if n_validation:
        parts = hold_out(parts, n_validation, seed)
    whole = {part: len(rows) for part, rows in parts.items()}
    if at_most is not None:
        parts = thin(parts, at_most, seed)
    places = [place for rows in parts.values() for place in rows.index]
    chosen = labels.rows.loc[places].assign(excluded=False)
    copy = examine(replace(labels, rows=chosen), progress=progress)
    found = [one for one in errors(copy.findings) if one.code != "duplicate_image"]
    _refuse(f"{spec.title} in {root} cannot be prepared:", found)
    ends = _ends(labels, mapping)
    records = {
        part: [_record(row, part, copy, ends) for _, row in rows.iterrows()]
        for part, rows in parts.items()
    }
    named = {part: [(f"{part}.jsonl", row) for row in rows] for part, rows in records.items()}
    prefix = f"{spec.name}/images/"
    shared = shared_in_rows(named, {prefix + path: one for path, one in copy.scanned.items()})
    _refuse(f"parts of {spec.title} share images:", shared)
    made = PreparedSet(
        name=spec.name,
        root=str(root.resolve()),
        layout=labels.layout,
        label=labels.label.name,
        mapping=mapping,
        label_range=ends,
        split=split,
        n={part: len(rows) for part, rows in parts.items()},
        n_whole=None if at_most is None else whole,
        n_duplicates=sum(one.code == "duplicate_image" for one in copy.findings),
        warnings=tuple(str(one) for one in copy.findings[:_N_WARNINGS]),
    )
    _write(records, made, paths)
    return made


def _refuse(what: str, findings: Sequence[Finding]) -> None:
    if findings:
        raise DatasetError(what, findings)


def _parts(labels: Labels, split: str | None) -> tuple[str, Parts]:
    known = ("metas",) if labels.layout == "metas" else labels.spec.splits
    split = split or known[0]
    if split not in known:
        names = ", ".join(known)
        raise ValueError(f"{labels.spec.name} ({labels.layout} layout) has the splits {names}")
    parts = assign(labels.rows, split)
    if not parts:
        raise ValueError(f"split {split!r} leaves no image; are the files that state it there?")
    return split, parts


def _ends(labels: Labels, mapping: Mapped) -> tuple[float, float]:
    scale = labels.label.scale
    found = labels.label.published if labels.layout == "metas" else labels.range
    if mapping == "scale":
        found = (scale.low, scale.high)
    if found is None or not found[0] < found[1]:
        raise ValueError(f"{labels.spec.name}: no two different labels to scale by")
    return found


def _record(row: pd.Series, part: Split, copy: Copy, ends: tuple[float, float]) -> ImageRecord:
    spec, kind, path = copy.labels.spec, copy.labels.label, copy.paths[row["image"]]
    value = five_point(row["label"], ends, higher_is_better=kind.scale.higher_is_better)
    if not np.isnan(row["five_point"]) and ends == kind.published:
        value = row["five_point"]  # as the metas state it, scaled by the whole set
    mos = linear_rescale(value, FIVE_POINT)
    distortions = ()
    if row["type"] is not None and row["level"] is not None:
        distortions = (Distortion(name=row["type"], level=row["level"]),)
    return ImageRecord(
        image_id=f"{spec.name}-{row['image'].replace('/', '_')}",
        image=PurePosixPath(spec.name, "images", path).as_posix(),
        dataset=spec.name,
        split=part,
        mos=mos,
        mos_raw=row["label"],
        mos_std=None if np.isnan(row["std"]) else row["std"] * MOS_MAX / (ends[1] - ends[0]),
        severity=severity_of(mos),
        distortions=distortions,
        sha256=str(copy.scanned[path].sha256),
        reference=None if row["reference"] is None else f"{spec.name}-{row['reference']}",
    )


def _write(records: dict[Split, list[ImageRecord]], made: PreparedSet, paths: RunPaths) -> None:
    folder = paths.data / made.name
    folder.mkdir(parents=True, exist_ok=True)
    link(paths.images(made.name), Path(made.root))
    for part in PARTS:
        if part in records:
            write_jsonl(paths.split(made.name, part), records[part])
        else:
            paths.split(made.name, part).unlink(missing_ok=True)
    write_json(folder / "source.json", made)


def link(place: Path, target: Path) -> None:
    """Make `place` a link to a folder; an older link is replaced, anything else is left alone.

    Raises:
        ValueError: If something other than a link lies there, or the system makes no links.
    """
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        raise ValueError(f"{place} is in the way; prepare into a run without it")
    try:
        os.symlink(target, place, target_is_directory=True)
    except OSError as error:
        raise ValueError(f"cannot link {place} to {target}: {error.strerror}") from error


def prepared_sets(paths: RunPaths) -> Iterator[PreparedSet]:
    """Return what was prepared in a run, by name of the set."""
    for file in sorted(paths.data.glob("*/source.json")):
        yield PreparedSet.model_validate_json(file.read_bytes())


def verify_prepared(
    paths: RunPaths, train_set: str, test_sets: Sequence[str], *, progress: bool = True
) -> list[dict[str, object]]:
    """Check the rows that a run needs and describe them in ``tables/benchmark.csv``.

    A set that was prepared for every run is taken over from there first.

    Args:
        paths: The run folder.
        train_set: Its training and validation rows are needed.
        test_sets: Their test rows are needed.
        progress: Show a bar.

    Returns:
        The rows of the table: one per set and part.

    Raises:
        FileNotFoundError: If a part was not prepared; the message names the command.
        DatasetError: If a row does not fit its place, an id is there twice, a file is missing,
            changed or unreadable, or test rows share an image or a reference with training rows.
    """
    needed: list[tuple[str, Split]] = [(train_set, "train"), (train_set, "validation")]
    needed += [(name, "test") for name in test_sets]
    parts: dict[str, list[Placed]] = {part: [] for part in PARTS}
    table = []
    for name, part in needed:
        rows = _needed_rows(paths, name, part)
        file = paths.relative(paths.split(name, part))
        parts[part] += [(file, row) for row in rows]
        table.append(_described(name, part, rows))
    every = [row.image for rows in parts.values() for _, row in rows]
    scanned = scan(paths.data, every, confined=False, progress=progress)
    found = [*_misplaced(parts, scanned), *shared_in_rows(parts, scanned)]
    _refuse(f"the prepared rows in {paths.data} cannot be used:", found)
    write_csv(paths.tables / "benchmark.csv", table, COLUMNS)
    return table


def _needed_rows(paths: RunPaths, name: str, part: Split) -> list[ImageRecord]:
    file, shared = paths.split(name, part), RunPaths(paths.root.parent / SHARED)
    if not file.is_file() and shared.split(name, part).is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        link(paths.images(name), shared.images(name).resolve())
        for source in shared.split(name, part).parent.glob("*.json*"):
            shutil.copyfile(source, file.parent / source.name)
    if not file.is_file():
        more = " --validation N" if part == "validation" else ""
        raise FileNotFoundError(f"{file} is not there: run `qponder data prepare {name}{more}`")
    rows = read_jsonl(file, ImageRecord)
    if not rows:
        raise DatasetError(f"{file} has no rows", ())
    return rows


def _misplaced(
    parts: Mapping[str, Sequence[Placed]], scanned: Mapping[str, Scanned]
) -> Iterator[Finding]:
    """Find rows that do not fit their file, have no MOS, are there twice, or have changed."""
    seen: dict[str, str] = {}
    for part, rows in parts.items():
        numbers = dict.fromkeys((file for file, _ in rows), 0)
        for file, row in rows:
            numbers[file] += 1
            here, wrong = f"{file}, row {numbers[file]}", []
            if row.split != part or f"data/{row.dataset}/" not in file:
                wrong.append(("inconsistent", f"{row.image_id} says {row.dataset}, {row.split}"))
            if row.mos is None:
                wrong.append(("missing_label", f"{row.image_id} has no mos"))
            if seen.setdefault(row.image_id, here) != here:
                message = f"id {row.image_id} is also in {seen[row.image_id]}"
                wrong.append(("duplicate_name", message))
            if scanned[row.image].sha256 not in (None, row.sha256):
                message = f"{row.image} has changed since its row was written"
                wrong.append(("changed_image", message))
            for code, message in wrong:
                yield Finding(severity="error", code=code, sentence=f"{here}: {message}")


def _described(name: str, part: str, rows: Sequence[ImageRecord]) -> dict[str, object]:
    mos = np.array([row.mos for row in rows if row.mos is not None])
    spreads = [row.mos_std for row in rows if row.mos_std is not None]
    return {
        "set": name,
        "stands_for": {spec.name: spec.title for spec in SPECS}.get(name, name),
        "split": part,
        "n": len(rows),
        "n_references": len({row.reference for row in rows if row.reference}),
        "mos_mean": float(mos.mean()) if len(mos) else None,
        "mos_std": float(mos.std(ddof=1)) if len(mos) > 2 else None,
        "rater_std": float(np.mean(spreads)) if spreads else None,
        "ceiling_srcc": None,
        "ceiling_plcc": None,
    }

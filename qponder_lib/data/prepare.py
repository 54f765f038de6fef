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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from qponder_lib.artifacts import read_jsonl, write_csv, write_json, write_jsonl
from qponder_lib.data.benchmark import summary_row
from qponder_lib.data.catalog import SPECS, DatasetSpec, SplitRule
from qponder_lib.data.check import (
    PARTS,
    Placed,
    examine,
    five_point,
    load_labels,
    placed,
    shared_in_rows,
)
from qponder_lib.data.images import Scanned, scan
from qponder_lib.data.labels import Copy, DatasetError, Finding, Layout, errors
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, Split
from qponder_lib.scales import ASPECT_SCALE, MOS_MAX, linear_rescale, severity_of

if TYPE_CHECKING:
    import pandas as pd

Parts = dict[Split, "pd.DataFrame"]
Mapped = Literal["minmax", "scale"]
SHARED = "prepared"
_N_WARNINGS = 20
_METAS = SplitRule(meaning="as the JSON metas of Data-DeQA-Score state", stated=True)
_DRAWN = {"test": 0.2, "validation": 0.1}


def assign(rows: pd.DataFrame, rule: SplitRule) -> Parts:
    """Part the rows of a set by a rule of the catalogue (decision D23).

    The same rows come to a part on every machine; parts without rows are left out.
    """
    if rule.stated:
        part = rows["split"].where(rows["split"].isin(PARTS), None)
    elif rule.references:
        part_of = {name: part for part, names in rule.references.items() for name in names}
        part = rows["reference"].map(lambda name: name and part_of.get(name, "train"))
    else:
        part = rows["excluded"].map(lambda _: "train" if rule.drawn else "test")
    stems = rows["image"].str.rpartition(".")[0]
    part = part.where(~stems.isin(rule.left_out) & (~rows["excluded"] | rule.with_excluded), None)
    for name, share in _DRAWN.items() if rule.drawn else ():
        part[_drawn_first(rows[part == "train"], round(share * len(rows)), seed=0)] = name
    return {name: rows[part == name] for name in PARTS if (part == name).any()}


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
    copy = load_labels(spec, root, label, layout)
    _refuse(f"{spec.title} in {root} cannot be prepared:", errors(copy.findings))
    split, parts = _parts(copy, split)
    parts = hold_out(parts, n_validation, seed) if n_validation else parts
    whole = {part: len(rows) for part, rows in parts.items()}
    parts = parts if at_most is None else thin(parts, at_most, seed)
    places = [place for rows in parts.values() for place in rows.index]
    chosen = copy.rows.loc[places].assign(excluded=False)
    seen = examine(replace(copy, rows=chosen), progress=progress)
    wrong = [one for one in errors(seen.findings) if one.code != "duplicate_image"]
    _refuse(f"{spec.title} in {root} cannot be prepared:", wrong)
    ends = _ends(copy, mapping)
    records = {
        part: [_record(row, part, seen, ends) for _, row in seen.rows.loc[rows.index].iterrows()]
        for part, rows in parts.items()
    }
    named = {part: placed(f"{part}.jsonl", rows) for part, rows in records.items()}
    scanned = {f"{spec.name}/images/{path}": one for path, one in seen.scanned.items()}
    _refuse(f"parts of {spec.title} share images:", shared_in_rows(named, scanned))
    made = PreparedSet(
        name=spec.name,
        root=str(root.resolve()),
        layout=copy.layout,
        label=copy.label.name,
        mapping=mapping,
        label_range=ends,
        split=split,
        n={part: len(rows) for part, rows in parts.items()},
        n_whole=None if at_most is None else whole,
        n_duplicates=sum(one.code == "duplicate_image" for one in seen.findings),
        warnings=tuple(str(one) for one in seen.findings[:_N_WARNINGS]),
    )
    _write(records, made, paths)
    return made


def _parts(copy: Copy, split: str | None) -> tuple[str, Parts]:
    known = {"metas": _METAS} if copy.layout == "metas" else copy.spec.splits
    split = split or next(iter(known))
    if split not in known:
        names = ", ".join(known)
        raise ValueError(f"{copy.spec.name} ({copy.layout} layout) has the splits {names}")
    parts = assign(copy.rows, known[split])
    if not parts:
        raise ValueError(f"split {split!r} leaves no image; are the files that state it there?")
    return split, parts


def _refuse(what: str, findings: Sequence[Finding]) -> None:
    if findings:
        raise DatasetError(what, findings)


def _ends(copy: Copy, mapping: Mapped) -> tuple[float, float]:
    """Return the labels that become MOS 0 and 100."""
    ends = copy.label.published if copy.layout == "metas" else copy.range
    if mapping == "scale":
        ends = (copy.label.scale.low, copy.label.scale.high)
    if ends is None or not ends[0] < ends[1]:
        raise ValueError(f"{copy.spec.name}: no two different labels to scale by")
    return ends


def _record(row: pd.Series, part: Split, copy: Copy, ends: tuple[float, float]) -> ImageRecord:
    name, kind = copy.spec.name, copy.label
    value = five_point(row["label"], ends, higher_is_better=kind.scale.higher_is_better)
    mos = linear_rescale(value, ASPECT_SCALE)
    known = row["type"] is not None and row["level"] is not None
    return ImageRecord(
        image_id=f"{name}-{row['image'].replace('/', '_')}",
        image=PurePosixPath(name, "images", row["path"]).as_posix(),
        dataset=name,
        split=part,
        mos=mos,
        mos_raw=row["label"],
        mos_std=None if np.isnan(row["std"]) else row["std"] * MOS_MAX / (ends[1] - ends[0]),
        severity=severity_of(mos),
        distortions=(Distortion(name=row["type"], level=row["level"]),) if known else (),
        sha256=str(copy.scanned[row["path"]].sha256),
        reference=None if row["reference"] is None else f"{name}-{row['reference']}",
        subset=row["type"] if row["level"] is None else None,
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

    A set that was prepared for every run is reused from there first.

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
    titles, table = {spec.name: spec.title for spec in SPECS}, []
    for name, part in needed:
        rows = _needed_rows(paths, name, part)
        parts[part] += placed(paths.relative(paths.split(name, part)), rows)
        table.append(summary_row(name, titles.get(name, name), part, rows))
    every = [row.image for rows in parts.values() for _, row in rows]
    scanned = scan(paths.data, every, confined=False, progress=progress)
    found = [*_misplaced(parts, scanned), *shared_in_rows(parts, scanned)]
    _refuse(f"the prepared rows in {paths.data} cannot be used:", found)
    write_csv(paths.tables / "benchmark.csv", table, list(table[0]))
    return table


def _needed_rows(paths: RunPaths, name: str, part: Split) -> list[ImageRecord]:
    file, shared = paths.split(name, part), RunPaths.named(SHARED)
    taken = [*(shared.data / name).glob("*.json*")]
    if taken and not (file.parent / "source.json").is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        link(paths.images(name), shared.images(name).resolve())
        for source in taken:
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
        for here, row in rows:
            before = seen.setdefault(row.image_id, here)
            fits = row.split == part and f"data/{row.dataset}/" in here
            changed = scanned[row.image].sha256 not in (None, row.sha256)
            for code, wrong, message in (
                ("inconsistent", not fits, f"{row.image_id} says {row.dataset}, {row.split}"),
                ("missing_label", row.mos is None, f"{row.image_id} has no mos"),
                ("duplicate_name", before != here, f"id {row.image_id} is also in {before}"),
                ("changed_image", changed, f"{row.image} has changed since its row was written"),
            ):
                if wrong:
                    yield Finding(code=code, sentence=f"{here}: {message}")

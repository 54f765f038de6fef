"""Turns a user's copy of a public set into rows of a run; the images stay where they are.

``data/<set>/images`` becomes a link to the copy, ``data/<set>/<part>.jsonl`` holds the rows and
``data/<set>/source.json`` says what they were made from. Rows carry the hash of each file, so a
changed copy is noticed wherever images are read with their hash.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from qponder_lib.artifacts import write_json, write_jsonl
from qponder_lib.data.catalog import spec_named
from qponder_lib.data.checking import Copy, examine
from qponder_lib.data.copies import LabelRow
from qponder_lib.data.findings import DatasetError, errors
from qponder_lib.data.labels import Labels, Source, load_labels
from qponder_lib.data.leaks import shared_in_rows
from qponder_lib.data.metas import FIVE_POINT, five_point
from qponder_lib.data.splits import assign, hold_out, thin
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, Split
from qponder_lib.scales import MOS_MAX, linear_rescale, severity_of

Mapping = Literal["minmax", "scale"]
_PARTS: tuple[Split, ...] = ("train", "validation", "test")


class Choices(BaseModel):
    """What the rows of a set are to be.

    Attributes:
        split: Name of a split; the set's default without.
        label: Kind of label; the set's default without.
        source: official or metas; without, what lies there.
        mapping: minmax: 0 and 100 are the smallest and largest label of the whole set; scale:
            they are the ends of the declared scale (decision D22).
        n_validation: Training images to hold out for validation.
        at_most: Images of each part at most, for a rehearsal; None for all. The scale stays that
            of the whole set.
        seed: Which are held out, and which stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str | None = None
    label: str | None = None
    source: Source | None = None
    mapping: Mapping = "minmax"
    n_validation: int = 0
    at_most: int | None = Field(None, ge=1)
    seed: int = 0


class PreparedSet(BaseModel):
    """What was prepared, as in ``source.json``.

    Attributes:
        name: The set.
        root: The user's copy.
        layout: Label files that were read.
        label: Kind of label.
        mapping: How labels became MOS.
        label_range: Labels that became 0 and 100 (or 100 and 0, where higher is worse).
        split: Name of the split.
        n: Rows per part.
        n_whole: Rows per part of the split, where a rehearsal has fewer; else None.
        n_duplicates: Images within one part that show the same pixels as another of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    root: str
    layout: str
    label: str
    mapping: Mapping
    label_range: tuple[float, float]
    split: str
    n: dict[str, int]
    n_whole: dict[str, int] | None = None
    n_duplicates: int


def prepare(
    name: str, root: Path, paths: RunPaths, choices: Choices | None = None, *, progress: bool = True
) -> PreparedSet:
    """Write the rows of a set into a run folder.

    Args:
        name: The set, such as koniq.
        root: The user's copy.
        paths: The run folder.
        choices: Split, label and scale.
        progress: Show a bar.

    Returns:
        What was written.

    Raises:
        DatasetError: If a label or an image of the split has an error, or two parts share an
            image or a reference; nothing is written then.
        ValueError: If the set, the split or the label is not known, or the split does not fit.
    """
    spec, wanted = spec_named(name), choices or Choices()
    if spec.media != "image":
        raise ValueError(f"{spec.title} holds {spec.media}s; only sets of images are prepared")
    labels = load_labels(spec, root, wanted.label, wanted.source)
    split, parts = _parts(labels, wanted)
    if blocking := errors(labels.findings):
        raise DatasetError(f"{spec.title} in {root} cannot be prepared:", blocking)
    whole = {part: len(rows) for part, rows in parts.items()}
    if wanted.at_most is not None:
        parts = thin(parts, wanted.at_most, wanted.seed)
    chosen = tuple(row for rows in parts.values() for row in rows)
    copy = examine(dataclasses.replace(labels, rows=chosen), root, progress=progress)
    blocking = [one for one in errors(copy.findings) if one.kind != "duplicate_image"]
    if blocking:
        raise DatasetError(f"{spec.title} in {root} cannot be prepared:", blocking)
    ends = _ends(labels, wanted.mapping)
    records = {
        part: [_record(row, part, copy, ends) for row in rows] for part, rows in parts.items()
    }
    _refuse_shared(records, copy)
    made = PreparedSet(
        name=name,
        root=str(root.resolve()),
        layout=labels.source,
        label=labels.column.name,
        mapping=wanted.mapping,
        label_range=ends,
        split=split,
        n={part: len(rows) for part, rows in parts.items()},
        n_whole=None if wanted.at_most is None else whole,
        n_duplicates=sum(one.kind == "duplicate_image" for one in copy.findings),
    )
    _write(records, made, paths)
    return made


def _parts(labels: Labels, wanted: Choices) -> tuple[str, dict[Split, list[LabelRow]]]:
    known = ("metas",) if labels.source == "metas" else labels.spec.splits
    split = wanted.split or known[0]
    if split not in known:
        names = ", ".join(known)
        raise ValueError(f"{labels.spec.name} ({labels.source} layout) has the splits {names}")
    parts = assign(labels.rows, split)
    if not parts and not errors(labels.findings):
        raise ValueError(f"split {split!r} leaves no image; are the files that state it there?")
    if wanted.n_validation and not errors(labels.findings):
        parts = hold_out(parts, wanted.n_validation, wanted.seed)
    return split, parts


def _ends(labels: Labels, mapping: Mapping) -> tuple[float, float]:
    scale = labels.column.scale
    if mapping == "scale":
        return scale.low, scale.high
    found = labels.column.published if labels.source == "metas" else labels.range
    if found is None or not found[0] < found[1]:
        raise ValueError(f"{labels.spec.name}: no two different labels to scale by")
    return found


def _record(row: LabelRow, part: Split, copy: Copy, ends: tuple[float, float]) -> ImageRecord:
    spec, path = copy.labels.spec, copy.paths[row.image]
    mos = _mos(row, copy.labels, ends)
    known = row.kind is not None and row.level is not None
    return ImageRecord(
        image_id=f"{spec.name}-{row.image.replace('/', '_')}",
        image=PurePosixPath(spec.name, "images", path).as_posix(),
        dataset=spec.name,
        split=part,
        mos=mos,
        mos_raw=row.label,
        mos_std=None if row.std is None else row.std * MOS_MAX / (ends[1] - ends[0]),
        severity=severity_of(mos),
        distortions=(Distortion(name=row.kind, level=row.level),) if known else (),
        sha256=str(copy.scanned[path].sha256),
        reference=None if row.reference is None else f"{spec.name}-{row.reference}",
    )


def _mos(row: LabelRow, labels: Labels, ends: tuple[float, float]) -> float:
    """Return the MOS; metas state theirs on 1 to 5, scaled by the whole set."""
    if row.five_point is not None and ends == labels.column.published:
        return linear_rescale(row.five_point, FIVE_POINT)
    up = labels.column.scale.higher_is_better
    return linear_rescale(five_point(row.label, ends, higher_is_better=up), FIVE_POINT)


def _refuse_shared(records: dict[Split, list[ImageRecord]], copy: Copy) -> None:
    prefix = len(f"{copy.labels.spec.name}/images/")
    every = [row for rows in records.values() for row in rows]
    scanned = {row.image: copy.scanned[row.image[prefix:]] for row in every}
    named = {part: [(f"{part}.jsonl", row) for row in rows] for part, rows in records.items()}
    if shared := shared_in_rows(named, scanned):
        raise DatasetError(f"parts of {copy.labels.spec.title} share images:", shared)


def _write(records: dict[Split, list[ImageRecord]], made: PreparedSet, paths: RunPaths) -> None:
    folder = paths.data / made.name
    folder.mkdir(parents=True, exist_ok=True)
    link(paths.images(made.name), Path(made.root))
    for part in _PARTS:
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


def prepared_sets(paths: RunPaths) -> Iterable[PreparedSet]:
    """Return what was prepared in a run, by name of the set."""
    for file in sorted(paths.data.glob("*/source.json")):
        yield PreparedSet.model_validate_json(file.read_bytes())

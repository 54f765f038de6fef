"""Finds images that training and test sets share, by what they show and not by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qponder_lib.artifacts import read_jsonl
from qponder_lib.data.check import files_below
from qponder_lib.data.images import Scanned, scan
from qponder_lib.data.labels import Finding
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Split

PARTS: tuple[Split, ...] = ("train", "validation", "test")
Placed = tuple[str, ImageRecord]
"""Where a row stands, in words, and the row."""
Entry = tuple[str, str, Scanned, tuple[str, str] | None]
"""Part, place in words, what the image is, and set and reference where it has one."""


def placed(file: str, rows: Iterable[ImageRecord]) -> list[Placed]:
    """Say of each row of a file where it stands."""
    return [(f"{file}, row {number}", row) for number, row in enumerate(rows, start=1)]


def leaks_between(
    train: Sequence[Path], test: Sequence[Path], *, progress: bool = True
) -> tuple[dict[str, int], list[Finding]]:
    """Compare all image files of folders, by their decoded pixels.

    Args:
        train: Folders with images seen in training.
        test: Folders with images tested on.
        progress: Show bars.

    Returns:
        Images in each folder, and one finding per shared image and per file that cannot be read.

    Raises:
        ValueError: If a folder is not there or holds no image.
    """
    counted: dict[str, int] = {}
    entries: list[Entry] = []
    for role, folders in (("train", train), ("test", test)):
        for folder in folders:
            if not folder.is_dir():
                raise ValueError(f"expected a folder with images, got {folder}")
            paths = sorted(path for group in files_below(folder).values() for path in group)
            if not paths:
                raise ValueError(f"no images below {folder}")
            scanned = scan(folder, paths, progress=progress, label=folder.name)
            counted[f"{folder} ({role})"] = len(scanned)
            entries += [(role, f"{folder}/{path}", one, None) for path, one in scanned.items()]
    return counted, _shared(entries)


def leaks_in_run(paths: RunPaths, *, progress: bool = True) -> tuple[dict[str, int], list[Finding]]:
    """Compare the training and validation parts of a run with its test parts.

    References are compared too, within a set: names of different sets mean different things.

    Returns:
        As from `leaks_between`, by set and part.

    Raises:
        ValueError: If the run has no training or no test rows.
    """
    parts: dict[str, list[Placed]] = {part: [] for part in PARTS}
    counted: dict[str, int] = {}
    for part in PARTS:
        for file in sorted(paths.data.glob(f"*/{part}.jsonl")):
            rows = read_jsonl(file, ImageRecord)
            parts[part] += placed(paths.relative(file), rows)
            counted[f"{file.parent.name} ({part})"] = len(rows)
    if not parts["test"] or not parts["train"]:
        raise ValueError(f"{paths.data} needs rows of a training and of a test part to compare")
    every = [row.image for rows in parts.values() for _, row in rows]
    scanned = scan(paths.data, every, confined=False, progress=progress)
    return counted, shared_in_rows(parts, scanned)


def shared_in_rows(
    parts: Mapping[str, Sequence[Placed]], scanned: Mapping[str, Scanned]
) -> list[Finding]:
    """Find what test rows share with training and validation rows, and validation with training.

    Args:
        parts: Rows of each part with the places where they stand.
        scanned: What each image is, by its path in the rows.

    Returns:
        One finding per shared image, shared reference and image that could not be compared.
    """
    return _shared(
        (part, here, scanned[row.image], row.reference and (row.dataset, row.reference))
        for part in PARTS
        for here, row in parts.get(part, ())
    )


def _shared(entries: Iterable[Entry]) -> list[Finding]:
    """Find images and references that another part had before."""
    images: dict[str | None, tuple[str, str]] = {}
    references: dict[tuple[str, str], tuple[str, str]] = {}
    findings = []
    for part, here, one, reference in entries:
        if one.content is None:
            message = f"{here}: {one.path}: {one.message}"
            findings.append(Finding(code=one.problem or "invalid_image", sentence=message))
            continue
        before, place = images.setdefault(one.content, (part, here))
        if before != part:
            message = f"{here}: the same pixels as {place}"
            findings.append(Finding(code="shared_image", sentence=message))
        if reference:
            before, place = references.setdefault(reference, (part, here))
            if before != part:
                message = f"{here}: reference {reference[1]} is also in {place}"
                findings.append(Finding(code="shared_reference", sentence=message))
                references[reference] = (part, here)  # said once per part
    return findings

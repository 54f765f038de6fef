"""Finds images that training and test sets share, by what they show and not by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from qponder_lib.artifacts import read_jsonl
from qponder_lib.data.check import files_below
from qponder_lib.data.images import Scanned, scan
from qponder_lib.data.labels import Finding
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Split

PARTS: tuple[Split, ...] = ("train", "validation", "test")
Placed = tuple[str, ImageRecord]
"""A row, and the file it stands in."""


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
    seen: dict[str, str] = {}
    counted: dict[str, int] = {}
    findings: list[Finding] = []
    for role, folders in (("train", train), ("test", test)):
        for folder in folders:
            scanned = _scan_folder(folder, progress)
            counted[f"{folder} ({role})"] = len(scanned)
            for path, one in scanned.items():
                where = f"{folder}/{path}"
                if one.content is None:
                    findings.append(_error(one.problem, f"{where}: {one.message}"))
                elif role == "train":
                    seen.setdefault(one.content, where)
                elif one.content in seen:
                    message = f"{where}: the same pixels as {seen[one.content]}"
                    findings.append(_error("shared_image", message))
    return counted, findings


def _scan_folder(folder: Path, progress: bool) -> dict[str, Scanned]:
    if not folder.is_dir():
        raise ValueError(f"expected a folder with images, got {folder}")
    paths = sorted(path for group in files_below(folder).values() for path in group)
    if not paths:
        raise ValueError(f"no images below {folder}")
    return scan(folder, paths, progress=progress, label=folder.name)


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
            parts[part] += [(paths.relative(file), row) for row in rows]
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
        parts: Rows of each part with the file each is from, in the order of the files.
        scanned: What each image is, by its path in the rows.

    Returns:
        One finding per shared image, shared reference and image that could not be compared.
    """
    images: dict[str, tuple[str, str]] = {}
    references: dict[tuple[str, str], tuple[str, str]] = {}
    findings: list[Finding] = []
    for part in PARTS:
        numbers: Counter[str] = Counter()
        for file, row in parts.get(part, ()):
            numbers[file] += 1
            here, one = f"{file}, row {numbers[file]}", scanned[row.image]
            if one.content is None:
                findings.append(_error(one.problem, f"{here}: {one.path}: {one.message}"))
                continue
            before, place = images.setdefault(one.content, (part, here))
            if before != part:
                findings.append(_error("shared_image", f"{here}: the same pixels as {place}"))
            if row.reference is not None:
                key = (row.dataset, row.reference)
                before, place = references.setdefault(key, (part, here))
                if before != part:
                    message = f"{here}: reference {row.reference} is also in {place}"
                    findings.append(_error("shared_reference", message))
                    references[key] = (part, here)  # said once per part
    return findings


def _error(code: str | None, sentence: str) -> Finding:
    return Finding(code=code or "invalid_image", sentence=sentence)

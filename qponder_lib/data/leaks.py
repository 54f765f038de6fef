"""Finds images that training and test sets share, by what they show and not by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from qponder_lib.artifacts import read_jsonl
from qponder_lib.data.copies import ImageFiles
from qponder_lib.data.findings import Finding
from qponder_lib.data.images import CLIP_SUFFIXES, Scanned, scan_clips, scan_images
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Split

_PARTS: tuple[Split, ...] = ("train", "validation", "test")


class LeakReport(BaseModel):
    """What sets share.

    Attributes:
        n_images: Images compared, by set and part.
        findings: One per shared image or reference, and per file that could not be compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_images: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def n_shared(self) -> int:
        """Images that a training and a test part share."""
        return sum(one.kind == "shared_image" for one in self.findings)

    @property
    def ok(self) -> bool:
        """True if nothing is shared and every file could be compared."""
        return not any(one.level == "error" for one in self.findings)


@dataclass(frozen=True)
class _Seen:
    where: str
    row: int | None


def leaks_between(
    train: Mapping[str, Path], test: Mapping[str, Path], *, progress: bool = True
) -> LeakReport:
    """Compare all image files of folders, by their decoded pixels.

    Args:
        train: Folders with images seen in training, by name.
        test: Folders with images tested on, by name.
        progress: Show bars.

    Raises:
        ValueError: If a folder is not there or holds no image.
    """
    seen: dict[str, _Seen] = {}
    findings: list[Finding] = []
    counted: dict[str, int] = {}
    for role, folders in (("train", train), ("test", test)):
        for name, folder in folders.items():
            scanned = _scan_folder(folder, name, progress=progress)
            counted[f"{name} ({role})"] = len(scanned)
            for path, one in scanned.items():
                where = f"{name}/{path}"
                if one.content is None:
                    findings.append(_unreadable(one, where, None))
                elif role == "train":
                    seen.setdefault(one.content, _Seen(where, None))
                elif one.content in seen:
                    findings.append(_shared(seen[one.content], where, None))
    return LeakReport(n_images=counted, findings=tuple(findings))


def _scan_folder(folder: Path, name: str, *, progress: bool) -> dict[str, Scanned]:
    if not folder.is_dir():
        raise ValueError(f"expected a folder with images, got {folder}")
    paths = sorted(path for group in ImageFiles(folder).by_name.values() for path in group)
    if not paths:
        raise ValueError(f"no images below {folder}")
    return scan_images(folder, paths, progress=progress, label=name)


def leaks_in_run(paths: RunPaths, *, progress: bool = True) -> LeakReport:
    """Compare the training and validation parts of a run with its test parts.

    References are compared too, within a set: names of different sets mean different things.

    Raises:
        ValueError: If the run has no training or no test rows.
    """
    parts: dict[str, list[tuple[str, ImageRecord]]] = {part: [] for part in _PARTS}
    counted: dict[str, int] = {}
    for part in _PARTS:
        for file in sorted(paths.data.glob(f"*/{part}.jsonl")):
            rows = read_jsonl(file, ImageRecord)
            parts[part] += [(paths.relative(file), row) for row in rows]
            counted[f"{file.parent.name} ({part})"] = len(rows)
    if not parts["test"] or not parts["train"]:
        raise ValueError(f"{paths.data} needs rows of a training and of a test part to compare")
    every = [row.image for rows in parts.values() for _, row in rows]
    clips = [path for path in every if path.lower().endswith(CLIP_SUFFIXES)]
    images = [path for path in every if not path.lower().endswith(CLIP_SUFFIXES)]
    scanned = scan_images(paths.data, images, confined=False, progress=progress)
    scanned |= scan_clips(paths.data, clips, progress=progress) if clips else {}
    return LeakReport(n_images=counted, findings=tuple(shared_in_rows(parts, scanned)))


def shared_in_rows(
    parts: Mapping[str, Sequence[tuple[str, ImageRecord]]], scanned: Mapping[str, Scanned]
) -> list[Finding]:
    """Find what test rows share with training and validation rows, and validation with training.

    Args:
        parts: Rows of each part with the file each is from, in the order of the files.
        scanned: What each image is, by its path in the rows.

    Returns:
        One finding per shared image, shared reference and image that could not be compared.
    """
    seen: dict[str, tuple[str, _Seen]] = {}
    references: dict[tuple[str, str], tuple[str, _Seen]] = {}
    findings: list[Finding] = []
    for part in _PARTS:
        numbers: Counter[str] = Counter()
        for file, row in parts.get(part, ()):
            numbers[file] += 1
            here, one = _Seen(file, numbers[file]), scanned[row.image]
            if one.content is None:
                findings.append(_unreadable(one, file, here.row))
                continue
            before, known = seen.setdefault(one.content, (part, here))
            if before != part:
                findings.append(_shared(known, file, here.row))
            if row.reference is not None:
                key = (row.dataset, row.reference)
                before, known = references.setdefault(key, (part, here))
                if before != part:
                    findings.append(_shared_reference(row.reference, known, here))
                    references[key] = (part, here)  # said once per part
    return findings


def _shared_reference(reference: str, known: _Seen, here: _Seen) -> Finding:
    message = f"reference {reference} is also in {known.where}, row {known.row}"
    return Finding(
        kind="shared_reference", level="error", message=message, file=here.where, row=here.row
    )


def _shared(known: _Seen, file: str, row: int | None) -> Finding:
    place = known.where if known.row is None else f"{known.where}, row {known.row}"
    message = f"the same pixels as {place}"
    return Finding(kind="shared_image", level="error", message=message, file=file, row=row)


def _unreadable(one: Scanned, file: str, row: int | None) -> Finding:
    kind = one.problem or "invalid_image"
    message = f"{one.path}: {one.message}"
    return Finding(kind=kind, level="error", message=message, file=file, row=row)

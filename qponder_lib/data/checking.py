"""Checks a user's copy of a set: what is there, what is missing, what disagrees (decision D24)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from qponder_lib.data.copies import ImageFiles, LabelRow
from qponder_lib.data.findings import Finding, errors
from qponder_lib.data.images import (
    CLIP_SUFFIXES,
    SUFFIXES,
    Scanned,
    scan_clips,
    scan_images,
)
from qponder_lib.data.labels import Labels, Source, load_labels
from qponder_lib.data.specs import DatasetSpec

_SHOWN_PER_KIND = 5


class CheckReport(BaseModel):
    """What a check found.

    Attributes:
        name: The set.
        root: Folder of the copy.
        media: What its files are: image or clip.
        layout: Which label files were read: official or metas.
        label: Kind of label.
        n_expected: Images the set should have.
        n_labelled: Images with a readable label.
        n_found: Labelled images whose file is there.
        n_decoded: Images that were decoded without a problem; None if none was looked into.
        n_unlabelled: Image files that no label names (originals among them).
        label_range: Smallest and largest label.
        published_range: The same as published.
        findings: Everything found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    root: str
    media: str
    layout: str
    label: str
    n_expected: int
    n_labelled: int
    n_found: int
    n_decoded: int | None
    n_unlabelled: int
    label_range: tuple[float, float] | None
    published_range: tuple[float, float] | None
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if there is no error."""
        return not errors(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, `ok` included."""
        return {**self.model_dump(mode="json"), "ok": self.ok}


@dataclass(frozen=True)
class Copy:
    """A copy that has been looked at: its labels, the file of each image, what the files are.

    Attributes:
        labels: Labels and what was found reading them.
        paths: File of each image by published name, relative to the root.
        scanned: What each file is, by path; empty if files were not looked into.
        findings: Everything found, labels first.
        n_unlabelled: Image files that no label names.
    """

    labels: Labels
    paths: dict[str, str]
    scanned: dict[str, Scanned]
    findings: tuple[Finding, ...]
    n_unlabelled: int


def examine(labels: Labels, root: Path, *, decode: bool = True, progress: bool = True) -> Copy:
    """Look at the image files of a copy.

    Args:
        labels: From `load_labels`.
        root: Folder of the copy.
        decode: Read, decode and hash every image; otherwise only see that it is there.
        progress: Show a bar.
    """
    clips = labels.spec.media == "clip"
    files = ImageFiles(root, CLIP_SUFFIXES if clips else SUFFIXES)
    rows = [row for row in labels.rows if not row.extra]
    found = list(labels.findings)
    paths: dict[str, str] = {}
    for row in rows:
        candidates = files.find(row.image, row.places)
        if len(candidates) == 1:
            paths[row.image] = candidates[0]
        else:
            found.append(_not_one(row, candidates))
    scan = scan_clips if clips else scan_images
    scanned = scan(root, paths.values(), progress=progress) if decode else {}
    found += _image_findings(rows, paths, scanned)
    n_files = sum(len(each) for each in files.by_name.values())
    n_unlabelled = n_files - len(set(paths.values()))
    return Copy(labels, paths, scanned, tuple(found), n_unlabelled)


def check(
    spec: DatasetSpec,
    root: Path,
    *,
    label: str | None = None,
    source: Source | None = None,
    decode: bool = True,
    progress: bool = True,
) -> CheckReport:
    """Compare a copy with its spec.

    Args:
        spec: The set.
        root: Folder of the copy.
        label: Kind of label; the set's default without.
        source: official or metas; without, what lies there.
        decode: Read, decode and hash every image.
        progress: Show a bar.

    Returns:
        Counts, ranges and findings; nothing is repaired or left out in silence.

    Raises:
        ValueError: If the root is no folder or the set has no such label.
    """
    labels = load_labels(spec, root, label, source)
    copy = examine(labels, root, decode=decode, progress=progress)
    good = [one for one in copy.scanned.values() if one.problem is None]
    return CheckReport(
        name=spec.name,
        root=str(root),
        media=spec.media,
        layout=labels.source,
        label=labels.column.name,
        n_expected=_expected(labels),
        n_labelled=len(labels.labelled),
        n_found=len(copy.paths),
        n_decoded=len(good) if decode else None,
        n_unlabelled=copy.n_unlabelled,
        label_range=labels.range,
        published_range=labels.column.published,
        findings=copy.findings,
    )


def _expected(labels: Labels) -> int:
    if labels.source == "metas" and labels.spec.metas is not None:
        return sum(meta.n for meta in labels.spec.metas.files)
    return labels.spec.n_images


def _not_one(row: LabelRow, candidates: list[str]) -> Finding:
    if candidates:
        message = f"{row.image} may be any of {', '.join(candidates[:3])}"
        return Finding(
            kind="ambiguous_image", level="error", message=message, file=row.file, row=row.row
        )
    where = " or ".join(place or "the folder" for place in row.places)
    message = f"{row.image} is not in {where}"
    return Finding(kind="missing_image", level="error", message=message, file=row.file, row=row.row)


def _image_findings(
    rows: Iterable[LabelRow], paths: dict[str, str], scanned: dict[str, Scanned]
) -> list[Finding]:
    found: list[Finding] = []
    first: dict[str, LabelRow] = {}
    for row in rows:
        one = scanned.get(paths.get(row.image, ""))
        if one is None:
            continue
        where = {"file": row.file, "row": row.row}
        if one.problem is not None:
            message = f"{one.path}: {one.message}"
            found.append(Finding(kind=one.problem, level="error", message=message, **where))
            continue
        if one.rotated:
            message = f"{one.path} is turned upright by its EXIF orientation"
            found.append(Finding(kind="rotated", level="note", message=message, **where))
        if one.transparent:
            message = f"{one.path} has transparent parts, which are laid on white"
            found.append(Finding(kind="transparent", level="note", message=message, **where))
        other = first.setdefault(str(one.content), row)
        if other is not row:
            message = (
                f"{row.image} shows the same pixels as {other.image} "
                f"({other.file}, row {other.row})"
            )
            found.append(Finding(kind="duplicate_image", level="error", message=message, **where))
    return found


def describe(report: CheckReport) -> str:
    """Return a report as text that fits on a screen: counts, then findings by kind."""
    decoded = "not looked into" if report.n_decoded is None else f"{report.n_decoded} decoded"
    lines = [
        f"{report.name} in {report.root} ({report.layout} layout, label {report.label})",
        f"  labels   {report.n_labelled} of {report.n_expected}",
        f"  {report.media + 's':<8} {report.n_found} of {report.n_expected} found, {decoded}; "
        f"{report.n_unlabelled} files without a label",
        f"  range    {_range(report.label_range)}, published {_range(report.published_range)}",
    ]
    counted = Counter((one.level, one.kind) for one in report.findings)
    order = {"error": 0, "warning": 1, "note": 2}
    for (level, kind), n in sorted(counted.items(), key=lambda item: order[item[0][0]]):
        lines.append(f"{level}: {kind} ({n})")
        those = [one for one in report.findings if (one.level, one.kind) == (level, kind)]
        lines += [f"  {one}" for one in those[:_SHOWN_PER_KIND]]
        if n > _SHOWN_PER_KIND:
            lines.append(f"  and {n - _SHOWN_PER_KIND} more; --json lists all")
    n_errors = len(errors(report.findings))
    lines.append("agrees with the published set" if report.ok else f"{n_errors} errors")
    return "\n".join(lines)


def _range(ends: tuple[float, float] | None) -> str:
    return "not known" if ends is None else f"{ends[0]:g} to {ends[1]:g}"

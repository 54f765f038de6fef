"""Checks a user's copy of a set (decision D24), and what training and test sets share."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qponder_lib.artifacts import read_jsonl
from qponder_lib.data.catalog import DatasetSpec
from qponder_lib.data.images import CLIP_SUFFIXES, SUFFIXES, Scanned, scan
from qponder_lib.data.labels import Copy, Finding, Layout, each_row, errors, read_labels
from qponder_lib.data.tabular import shown
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, Split
from qponder_lib.scales import ASPECT_SCALE, linear_rescale

if TYPE_CHECKING:
    import pandas as pd

_ANCHOR_TOLERANCE = 0.002  # of the scale: published copies round labels
_SMALL_SPREAD = 0.01  # of the labels' range
_MIN_CORRELATION = 0.1
_OWN_CORRELATION = 0.5  # numbers at the end of a user's file names need not be levels
_LEVEL = r"(.+)[._-](?:l|lev|level)?0*(\d+)\.\w+"
_SHOWN_PER_CODE = 5


def five_point(label: float, published: tuple[float, float], *, higher_is_better: bool) -> float:
    """Map a published label to 1 to 5 by the smallest and largest label of the whole set.

    Args:
        label: As published.
        published: Smallest and largest label of the whole set.
        higher_is_better: Direction of the label.

    Returns:
        4 (label - min) / (max - min) + 1, and 6 minus that for labels whose direction is down.

    Source:
        Data-DeQA-Score, field gt_score_norm.

    Example:
        >>> round(five_point(0.061989, (0.0, 1.0), higher_is_better=False), 5)
        4.75204
    """
    value = linear_rescale(label, published, ASPECT_SCALE)
    return value if higher_is_better else sum(ASPECT_SCALE) - value


def load_labels(
    spec: DatasetSpec, root: Path, label: str | None = None, layout: Layout | None = None
) -> Copy:
    """Read the labels of a copy as `read_labels` does, and check them."""
    copy = read_labels(spec, root, label, layout)
    found = [*copy.findings, *_of_rows(copy)]
    if not copy.labelled.empty:
        found += [*_of_spreads(copy), *_of_the_whole(copy), *_of_direction(copy)]
    return replace(copy, findings=tuple(found))


def _of_rows(copy: Copy) -> Iterator[Finding]:
    """Find rows that are there twice, off the scale, or at odds with what is published."""
    rows, kind, scale = copy.rows, copy.label, copy.label.scale
    names = rows["image"].str.lower()
    first = names.map(dict(zip(names[::-1], rows["row"][::-1], strict=True)))
    message = "{image} is labelled before, in row {first}"
    yield from each_row(rows.assign(first=first)[names.duplicated()], "duplicate_name", message)
    known = copy.labelled
    message = f"label {{label:g}} of {{image}} is outside {scale.low:g} to {scale.high:g}"
    yield from each_row(known[~known["label"].between(scale.low, scale.high)], "off_scale", message)
    odd = known[known["split"].str.startswith("unknown", na=False)]
    yield from each_row(odd, "inconsistent", "the split of {image} is {split}")
    anchors = {name.lower(): label for name, label in kind.anchors.items()}
    known = known.assign(published=names.map(anchors))
    far = (known["label"] - known["published"]).abs() > _ANCHOR_TOLERANCE * (scale.high - scale.low)
    yield from each_row(known[far], "anchor", "{image} has {label:g}, published {published:g}")


def _of_spreads(copy: Copy) -> Iterator[Finding]:
    """Find spreads on another scale than the labels, for they are rescaled with them."""
    rows, scale, (low, high) = copy.labelled, copy.label.scale, copy.range
    middle, is_stated = rows["std"].median(), (scale.low, scale.high) != copy.range
    # No ratings spread more than half their scale, and people never agree very well.
    too_large = is_stated and middle > (scale.high - scale.low) / 2
    if too_large or 0 < middle < _SMALL_SPREAD * (high - low):
        message = (
            f"the median spread is {middle:.3g} beside labels over {high - low:.3g}: they may be "
            "on two scales, or the spread a variance"
        )
        yield from each_row(rows[:1], "spread", message, "warning")


def _of_the_whole(copy: Copy) -> Iterator[Finding]:
    """Compare counts and range with the published ones."""
    spec, rows, known = copy.spec, copy.rows[~copy.rows["excluded"]], copy.labelled
    if known["label"].nunique() == 1:
        yield from each_row(known[:1], "constant", "every label is {label:g}")
    if copy.layout == "metas" or spec.n_images is None:
        return
    counts = {"labelled images": (spec.n_images, len(rows))}
    if spec.n_references is not None:
        counts["references"] = (spec.n_references, rows["reference"].nunique())
    per_type = spec.type_counts * (len(spec.types) if len(spec.type_counts) == 1 else 1)
    for name, count in zip(spec.types.values(), per_type, strict=True):
        counts[f"images of {name}"] = (count, int((rows["type"] == name).sum()))
    for what, (wanted, found) in counts.items():
        if wanted != found:
            message = f"{rows['file'].iloc[0]}: expected {wanted} {what}, got {found}"
            yield Finding(code="count", sentence=message)
    unsplit = rows[rows["split"].isna()]
    if 0 < len(unsplit) < len(rows):
        message = f"{len(unsplit)} images are in no split, first {{image}}"
        yield from each_row(unsplit[:1], "inconsistent", message)
    for which, found, published in zip(
        ("smallest", "largest"), copy.range, copy.label.published or ()
    ):
        if abs(found - published) > copy.label.tolerance:
            message = f"{which} label is {found:g} ({{image}}), published {published:g}"
            yield from each_row(known[known["label"] == found][:1], "range", message, "warning")


def _of_direction(copy: Copy) -> Iterator[Finding]:
    """Say so where labels run against the declared direction, as far as the data decide it."""
    up, is_own = copy.label.scale.higher_is_better, copy.spec.n_images is None
    enough, severity = (_OWN_CORRELATION, "warning") if is_own else (_MIN_CORRELATION, "error")
    for evidence, agreement in evidence_of_direction(copy).items():
        sign = 1.0 if up or evidence == "published labels" else -1.0
        if agreement * sign < -enough:
            declared = f"declared: higher is {'better' if up else 'worse'}"
            message = f"{declared}; {evidence} say the reverse ({agreement:+.2f})"
            yield from each_row(copy.labelled[:1], "wrong_direction", message, severity)


def evidence_of_direction(copy: Copy) -> dict[str, float]:
    """Return what speaks for a direction.

    Returns:
        A correlation by kind of evidence. It is with the published labels for those, and with
        quality for all others: undistorted references, levels of distortion (the fewer the
        better), which for a user's own set are numbers at the end of names.
    """
    rows, every = copy.labelled, copy.rows
    levels = rows["level"]
    if copy.spec.n_images is None:
        named = rows["image"].str.extract(_LEVEL)
        sizes = named.groupby(0)[1].transform("size")
        levels = named[1].where(sizes.between(3, 10))
    anchors = {name.lower(): label for name, label in copy.label.anchors.items()}
    references = every[every["excluded"] & every["reference"].notna()]
    mixed = every.loc[[*references.index, *rows.index]] if len(references) else every[:0]
    evidence = {
        "published labels": (rows["image"].str.lower().map(anchors), rows, 3),
        "levels of distortion": (-levels.astype("float64"), rows, 1),
        "copies of references": (mixed["excluded"], mixed, 1),
    }
    return {
        name: float(np.nan_to_num(quality.astype("float64").corr(labelled["label"])))
        for name, (quality, labelled, fewest) in evidence.items()
        if quality.notna().sum() >= fewest
    }


def examine(copy: Copy, *, decode: bool = True, progress: bool = True) -> Copy:
    """Look at the image files of a copy.

    Args:
        copy: From `load_labels`.
        decode: Read, decode and hash every image; otherwise only see that it is there.
        progress: Show a bar.

    Returns:
        The copy with paths, scanned files and findings.
    """
    import pandas as pd

    spec, root, rows = copy.spec, copy.root, copy.rows.copy()
    files = files_below(root, CLIP_SUFFIXES if spec.media == "clip" else SUFFIXES)
    found, places = list(copy.findings), {}
    for place, row in rows[~rows["excluded"]].iterrows():
        folders = [row["folder"], "images"] if row["folder"] else spec.folders
        paths = _candidates(root, files, row["image"], folders)
        if len(paths) == 1:
            places[place] = paths[0]
            continue
        code = "ambiguous_image" if paths else "missing_image"
        message = "{image} may be any of {others}" if paths else "{image} is not in {others}"
        others = shown(paths, 3) if paths else " or ".join(one or "the folder" for one in folders)
        found += each_row(rows.loc[[place]].assign(others=others), code, message)
    rows["path"] = pd.Series(places, dtype=object)
    there = rows[rows["path"].notna()]
    scanned = scan(root, there["path"], progress=progress) if decode else {}
    if decode:
        found += _of_images(there.assign(one=there["path"].map(scanned)))
    unlabelled = sorted({path for group in files.values() for path in group} - {*there["path"]})
    # Where images lie anywhere and have no references beside them, each should have a label.
    if unlabelled and spec.folders == ("",) and spec.n_references is None:
        message = f"{len(unlabelled)} files have no label: {shown(unlabelled)}"
        found.append(Finding(severity="warning", code="unlabelled_image", sentence=message))
    return replace(copy, rows=rows, findings=tuple(found), scanned=scanned)


def _of_images(rows: pd.DataFrame) -> Iterator[Finding]:
    """Find files that cannot be used, show one colour, or show the same pixels."""
    rows = rows.assign(content=rows["one"].map(lambda one: one.content))
    for code, bad in rows[rows["content"].isna()].groupby(rows["one"].map(lambda o: o.problem)):
        yield from each_row(bad, str(code), "{path}: {one.message}")
    rows = rows[rows["content"].notna()]
    flat = rows[rows["one"].map(lambda one: one.constant).astype(bool)]
    yield from each_row(flat, "constant_image", "{image} has one colour everywhere", "warning")
    content = rows["content"]
    first = rows[~content.duplicated()].set_index("content")
    rows = rows.assign(before=content.map(first["image"]), at=content.map(first["row"]))
    message = "{image} shows the same pixels as {before}, row {at}"
    yield from each_row(rows[content.duplicated()], "duplicate_image", message)


def files_below(root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, list[str]]:
    """Return the paths of all files with such suffixes, relative to a root, by `_folded` name."""
    found: dict[str, list[str]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            if name.lower().endswith(suffixes):
                path = (Path(folder) / name).relative_to(root).as_posix()
                found.setdefault(_folded(name), []).append(path)
    return found


def _folded(path: str) -> str:
    """Return a path as it is looked for: whatever its case, slashes and form of letters."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).lower()


def _candidates(
    root: Path, files: dict[str, list[str]], image: str, folders: Sequence[str]
) -> list[str]:
    """Return the files that a published name may mean: one, none, or several.

    Their paths end in the name, as far as `_folded` tells, below the first folder that has such.
    """
    wanted = _folded(f"/{image}").replace("//", "/")
    named = files.get(wanted.rpartition("/")[2], [])
    ending = [path for path in named if _folded(f"{root.resolve()}/{path}").endswith(wanted)]
    for folder in folders:  # "" is in every path
        inside = [path for path in ending if _folded(f"/{folder}/") in _folded(f"//{path}")]
        exact = [path for path in inside if path.endswith(image.rpartition("/")[2])]
        if inside:
            return sorted(exact if len(exact) == 1 else inside)
    return []


def summary(copy: Copy) -> dict[str, Any]:
    """Return counts, ranges and findings as JSON values; ok if there is no error."""
    spec, scanned = copy.spec, copy.scanned.values()
    metas = sum(n for _, n in spec.metas.values()) if copy.layout == "metas" else None
    return {
        "name": spec.name,
        "root": str(copy.root),
        "layout": copy.layout,
        "label": copy.label.name,
        "media": f"{spec.media}s",
        "n_expected": metas or spec.n_images,
        "n_labelled": len(copy.labelled),
        "n_found": int(copy.rows["path"].notna().sum()),
        "n_decoded": sum(one.problem is None for one in scanned) if scanned else None,
        "label_range": copy.range,
        "published_range": copy.label.published,
        "findings": [one.model_dump() for one in copy.findings],
        "ok": not errors(copy.findings),
    }


def describe(copy: Copy) -> str:
    """Return the summary as text that fits on a screen: counts, then findings by code."""
    told = summary(copy)
    expected = "" if told["n_expected"] is None else f" of {told['n_expected']}"
    decoded = "not looked into" if told["n_decoded"] is None else f"{told['n_decoded']} decoded"
    lines = [
        f"{copy.spec.name} in {copy.root} ({copy.layout} layout, label {copy.label.name})",
        f"  labels   {told['n_labelled']}{expected}",
        f"  {told['media']:<8} {told['n_found']}{expected} found, {decoded}",
        f"  range    {_range(copy.range)}, published {_range(copy.label.published)}",
    ]
    lines += [f"  note     {copy.spec.notes}"] if copy.spec.notes else []
    counted = Counter((one.severity, one.code) for one in copy.findings)
    for (severity, code), n in sorted(counted.items(), key=lambda item: item[0][0]):
        lines.append(f"{severity}: {code} ({n})")
        those = [one for one in copy.findings if (one.severity, one.code) == (severity, code)]
        lines += [f"  {one.sentence}" for one in those[:_SHOWN_PER_CODE]]
        if n > _SHOWN_PER_CODE:
            lines.append(f"  and {n - _SHOWN_PER_CODE} more; --json lists all")
    good = "no error" if expected == "" else "agrees with the published set"
    return "\n".join([*lines, good if told["ok"] else f"{len(errors(copy.findings))} errors"])


def _range(ends: tuple[float, float] | None) -> str:
    return "not known" if ends is None else f"{ends[0]:g} to {ends[1]:g}"


# ---- leaks: images that training and test sets share, by what they show and not by their names

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

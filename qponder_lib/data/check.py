"""Checks a user's copy of a set: what is there, what is missing, what disagrees (decision D24)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qponder_lib.data.catalog import DatasetSpec
from qponder_lib.data.images import CLIP_SUFFIXES, SUFFIXES, Scanned, scan
from qponder_lib.data.labels import Finding, Labels, Layout, at, errors, read_labels
from qponder_lib.data.tabular import shown
from qponder_lib.scales import linear_rescale

if TYPE_CHECKING:
    import pandas as pd

FIVE_POINT = (1.0, 5.0)
_ANCHOR_TOLERANCE = 0.002  # of the scale: published copies round labels
_NORM_TOLERANCE = 4.5e-3  # some metas hold labels to few digits
_ODD_SHARE = 0.01  # of spreads that may be a slip
_SMALL_SPREAD = 0.01  # of the labels' range: people never agree so well
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
    value = linear_rescale(label, published, FIVE_POINT)
    return value if higher_is_better else sum(FIVE_POINT) - value


def load_labels(
    spec: DatasetSpec, root: Path, label: str | None = None, layout: Layout | None = None
) -> Labels:
    """Read the labels of a copy as `read_labels` does, and check them."""
    labels = read_labels(spec, root, label, layout)
    found = [*labels.findings, *_of_rows(labels), *_of_spreads(labels)]
    if not labels.labelled.empty:
        found += [*_of_the_whole(labels), *_of_direction(labels)]
    return replace(labels, findings=tuple(found))


def _of_rows(labels: Labels) -> Iterator[Finding]:
    """Find rows that are there twice, off the scale, or at odds with what is published."""
    rows, kind, scale = labels.rows, labels.label, labels.label.scale
    names = rows["image"].str.lower()
    first = rows["row"][~names.duplicated()].set_axis(names[~names.duplicated()])
    for place, row in rows[names.duplicated()].iterrows():
        message = f"{row['image']} is labelled before, in row {first[names[place]]}"
        yield _finding("duplicate_name", message, row)
    known = rows[rows["label"].notna() & ~rows["excluded"]]
    for _, row in known[~known["label"].between(scale.low, scale.high)].iterrows():
        message = f"label {row['label']:g} of {row['image']} is outside "
        yield _finding("off_scale", message + f"{scale.low:g} to {scale.high:g}", row)
    for _, row in known[known["split"].str.startswith("unknown", na=False)].iterrows():
        yield _finding("inconsistent", f"the split of {row['image']} is {row['split']}", row)
    anchors = {name.lower(): label for name, label in kind.anchors.items()}
    for place, row in known[names[known.index].isin(anchors)].iterrows():
        published = anchors[names[place]]
        if abs(row["label"] - published) > _ANCHOR_TOLERANCE * (scale.high - scale.low):
            message = f"{row['image']} has {row['label']:g}, published {published:g}"
            yield _finding("anchor", message, row)
    for _, row in known[known["five_point"].notna()].iterrows():
        yield from _of_norm(row, labels)


def _of_norm(row: pd.Series, labels: Labels) -> Iterator[Finding]:
    """Hold gt_score_norm of the metas against gt_score and the range of the whole set."""
    low, high = labels.label.published
    inside = min(max(row["label"], low), high)
    if abs(inside - row["label"]) > 1e-3 * (high - low) or not 1 <= row["five_point"] <= 5:
        message = f"gt_score {row['label']:g} or its norm {row['five_point']:g} is off its scale"
        yield _finding("off_scale", message, row)
        return
    better = labels.label.scale.higher_is_better
    expected = five_point(inside, (low, high), higher_is_better=better)
    if abs(expected - row["five_point"]) > _NORM_TOLERANCE:
        message = f"gt_score_norm {row['five_point']:g}; {expected:.5f} follows from gt_score"
        yield _finding("inconsistent", message, row)


def _of_spreads(labels: Labels) -> Iterator[Finding]:
    """Find spreads that cannot be of ratings on the labels' scale, which would be rescaled too."""
    rows = labels.labelled[labels.labelled["std"].notna()]
    if rows.empty or labels.range is None:
        return
    scale, reach = labels.label.scale, labels.range[1] - labels.range[0]
    most = largest_spread(rows["label"].to_numpy(), (scale.low, scale.high))
    above = rows[(rows["std"] > most * (1 + 1e-9)) & rows["label"].between(scale.low, scale.high)]
    declared = (scale.low, scale.high) != labels.range  # or a user stated no ends
    if declared and len(above) > _ODD_SHARE * len(rows):
        row = above.iloc[0]
        message = (
            f"{len(above)} of {len(rows)} spreads are larger than ratings with that mean can have, "
            f"first {row['std']:g} beside {row['label']:g}: another scale, or a variance"
        )
        yield _finding("spread", message, row, "warning")
    middle = rows["std"].median()
    if 0 < middle < _SMALL_SPREAD * reach:
        message = (
            f"the median spread is {middle:.3g} beside labels over {reach:.3g}: people seldom "
            "agree so well; labels and spreads may be on two scales"
        )
        yield _finding("spread", message, rows.iloc[0], "warning")


def largest_spread(label: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Return the largest standard deviation that two or more ratings with these means can have.

    All ratings at the two ends spread most; of two of them, the sample deviation is sqrt(2) times
    that of the population.

    Example:
        >>> largest_spread(np.array([3.0, 5.0]), (1.0, 5.0)).round(4).tolist()
        [2.8284, 0.0]
    """
    return np.sqrt(2 * np.maximum((label - scale[0]) * (scale[1] - label), 0.0))


def _of_the_whole(labels: Labels) -> Iterator[Finding]:
    """Compare counts and range with the published ones."""
    spec, rows, kind = labels.spec, labels.rows[~labels.rows["excluded"]], labels.label
    file = rows["file"].iloc[0]
    if labels.labelled["label"].nunique() == 1:
        yield _finding("constant", f"{file}: every label is {labels.range[0]:g}")
    if labels.layout == "metas" or spec.n_images is None:
        return
    expected = {"labelled images": (spec.n_images, len(rows))}
    if spec.n_references is not None:
        expected["references"] = (spec.n_references, rows["reference"].nunique())
    counts = spec.type_counts * (len(spec.types) if len(spec.type_counts) == 1 else 1)
    for name, count in zip(spec.types.values(), counts, strict=False):
        expected[f"images of {name}"] = (count, int((rows["type"] == name).sum()))
    for what, (wanted, found) in expected.items():
        if wanted != found:
            yield _finding("count", f"{file}: expected {wanted} {what}, got {found}")
    unsplit = rows[rows["split"].isna()]
    if 0 < len(unsplit) < len(rows):
        message = f"{len(unsplit)} images are in no split, first {unsplit['image'].iloc[0]}"
        yield _finding("inconsistent", message, unsplit.iloc[0])
    for which, found, published in zip(("smallest", "largest"), labels.range, kind.published or ()):
        if abs(found - published) > kind.tolerance:
            row = labels.labelled[labels.labelled["label"] == found].iloc[0]
            message = f"{which} label is {found:g} ({row['image']}), published {published:g}"
            yield _finding("range", message, row, "warning")


def _of_direction(labels: Labels) -> Iterator[Finding]:
    """Say so where labels run against the declared direction, as far as the data decide it."""
    scale, is_own = labels.label.scale, labels.spec.n_images is None
    declared = "higher is better" if scale.higher_is_better else "higher is worse"
    enough, severity = (_OWN_CORRELATION, "warning") if is_own else (_MIN_CORRELATION, "error")
    for evidence, agreement in evidence_of_direction(labels).items():
        sign = 1.0 if scale.higher_is_better or evidence == "published labels" else -1.0
        if agreement * sign < -enough:
            message = f"declared: {declared}; {evidence} say the reverse ({agreement:+.2f})"
            yield _finding("wrong_direction", message, labels.labelled.iloc[0], severity)


def evidence_of_direction(labels: Labels) -> dict[str, float]:
    """Return what speaks for a direction.

    Returns:
        A correlation by kind of evidence. It is with the published labels for those, and with
        quality for all others: undistorted references, counted ratings, levels of distortion (the
        fewer the better), which for a user's own set are numbers at the end of names.
    """
    rows, found = labels.labelled, {}
    anchors = {name.lower(): label for name, label in labels.label.anchors.items()}
    published = rows["image"].str.lower().map(anchors)
    if published.notna().sum() >= 3:
        found["published labels"] = _correlation(published, rows["label"])
    levels = rows["level"]
    if labels.spec.n_images is None:
        named = rows["image"].str.extract(_LEVEL)
        sizes = named.groupby(0)[1].transform("size")
        levels = named[1].where(sizes.between(3, 10))
    for evidence, quality in {
        "levels of distortion": -levels.astype("float64"),
        "counts of ratings": rows["rating"],
    }.items():
        if quality.notna().any():
            found[evidence] = _correlation(quality, rows["label"])
    references = labels.rows[labels.rows["excluded"] & labels.rows["reference"].notna()]
    if not references.empty:
        mixed = labels.rows.loc[[*references.index, *rows.index]]
        found["copies of references"] = _correlation(mixed["excluded"], mixed["label"])
    return found


def _correlation(first: pd.Series, second: pd.Series) -> float:
    """Return Pearson's correlation, or 0 where one side is constant."""
    found = first.astype("float64").corr(second.astype("float64"))
    return 0.0 if np.isnan(found) else float(found)


@dataclass(frozen=True)
class Copy:
    """A copy that has been looked at.

    Attributes:
        labels: Its labels.
        paths: File of each image by published name, relative to the root.
        scanned: What each file is, by path; empty if files were not looked into.
        findings: Everything found, labels first.
        unlabelled: Files that no label names.
    """

    labels: Labels
    paths: dict[str, str]
    scanned: dict[str, Scanned]
    findings: tuple[Finding, ...]
    unlabelled: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Return counts, ranges and findings as JSON values; ok if there is no error."""
        labels, spec = self.labels, self.labels.spec
        metas = sum(n for _, n in spec.metas.values()) if labels.layout == "metas" else None
        decoded = [one for one in self.scanned.values() if one.problem is None]
        return {
            "name": spec.name,
            "root": str(labels.root),
            "media": spec.media,
            "layout": labels.layout,
            "label": labels.label.name,
            "n_expected": metas or spec.n_images,
            "n_labelled": len(labels.labelled),
            "n_found": len(self.paths),
            "n_decoded": len(decoded) if self.scanned else None,
            "n_unlabelled": len(self.unlabelled),
            "label_range": labels.range,
            "published_range": labels.label.published,
            "findings": [one.model_dump() for one in self.findings],
            "ok": not errors(self.findings),
        }


def examine(labels: Labels, *, decode: bool = True, progress: bool = True) -> Copy:
    """Look at the image files of a copy.

    Args:
        labels: From `load_labels`.
        decode: Read, decode and hash every image; otherwise only see that it is there.
        progress: Show a bar.
    """
    spec, root = labels.spec, labels.root
    suffixes = CLIP_SUFFIXES if spec.media == "clip" else SUFFIXES
    files = files_below(root, suffixes)
    rows = labels.rows[~labels.rows["excluded"]]
    found, paths = list(labels.findings), {}
    for _, row in rows.iterrows():
        folders = [row["folder"], "images"] if row["folder"] else spec.folders
        candidates = _candidates(root, files.get(_base(row["image"]), []), row["image"], folders)
        if len(candidates) == 1:
            paths[row["image"]] = candidates[0]
        elif candidates:
            message = f"{row['image']} may be any of {shown(candidates, 3)}"
            found.append(_finding("ambiguous_image", message, row))
        else:
            where = " or ".join(folder or "the folder" for folder in folders)
            message = f"{row['image']} is not in {where}"
            found.append(_finding("missing_image", message, row))
    scanned = scan(root, paths.values(), progress=progress) if decode else {}
    found += _of_images(rows, paths, scanned)
    labelled = set(paths.values())
    unlabelled = [path for group in files.values() for path in group if path not in labelled]
    if unlabelled and spec.n_images is None:
        message = f"{len(unlabelled)} files have no label: {shown(sorted(unlabelled))}"
        found.append(_finding("unlabelled_image", message, severity="warning"))
    return Copy(labels, paths, scanned, tuple(found), tuple(sorted(unlabelled)))


def files_below(root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, list[str]]:
    """Return the paths of all files with such suffixes, relative to a root, by lower-case name."""
    found: dict[str, list[str]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            if name.lower().endswith(suffixes):
                path = (Path(folder) / name).relative_to(root).as_posix()
                found.setdefault(name.lower(), []).append(path)
    return found


def _base(image: str) -> str:
    return image.replace("\\", "/").rpartition("/")[2].lower()


def _candidates(root: Path, paths: list[str], image: str, folders: Any) -> list[str]:
    """Return the files that a published name may mean: one, none, or several.

    Their paths end in the name, whose case does not matter, below the first folder that has such.
    """
    wanted = "/" + image.replace("\\", "/").lower().lstrip("/")
    ending = [path for path in paths if f"{root.resolve()}/{path}".lower().endswith(wanted)]
    for folder in folders:
        inside = [path for path in ending if f"/{folder}/".lower() in f"//{path}".lower()]
        exact = [path for path in inside if path.rpartition("/")[2] == image.rpartition("/")[2]]
        if inside:
            return sorted(exact if len(exact) == 1 else inside)
    return []


def _of_images(
    rows: pd.DataFrame, paths: dict[str, str], scanned: dict[str, Scanned]
) -> Iterator[Finding]:
    first: dict[str, pd.Series] = {}
    for _, row in rows.iterrows():
        one = scanned.get(paths.get(row["image"], ""))
        if one is None:
            continue
        if one.problem is not None:
            yield _finding(one.problem, f"{one.path}: {one.message}", row)
            continue
        if one.constant:
            message = f"{row['image']} has one colour everywhere"
            yield _finding("constant_image", message, row, "warning")
        other = first.setdefault(str(one.content), row)
        if other is not row:
            other = f"{other['image']}, row {other['row']}"
            message = f"{row['image']} shows the same pixels as {other}"
            yield _finding("duplicate_image", message, row)


def describe(copy: Copy) -> str:
    """Return a report as text that fits on a screen: counts, then findings by code."""
    told, published = copy.summary(), copy.labels.label.published
    expected = "" if told["n_expected"] is None else f" of {told['n_expected']}"
    decoded = "not looked into" if told["n_decoded"] is None else f"{told['n_decoded']} decoded"
    lines = [
        f"{told['name']} in {told['root']} ({told['layout']} layout, label {told['label']})",
        f"  labels   {told['n_labelled']}{expected}",
        f"  {told['media'] + 's':<8} {told['n_found']}{expected} found, {decoded}; "
        f"{told['n_unlabelled']} files without a label",
        f"  range    {_range(copy.labels.range)}, published {_range(published)}",
    ]
    counted = Counter((one.severity, one.code) for one in copy.findings)
    for (severity, code), n in sorted(counted.items(), key=lambda item: item[0][0]):
        lines.append(f"{severity}: {code} ({n})")
        those = [one for one in copy.findings if (one.severity, one.code) == (severity, code)]
        lines += [f"  {one.sentence}" for one in those[:_SHOWN_PER_CODE]]
        if n > _SHOWN_PER_CODE:
            lines.append(f"  and {n - _SHOWN_PER_CODE} more; --json lists all")
    good = "no error" if copy.labels.spec.n_images is None else "agrees with the published set"
    lines.append(good if told["ok"] else f"{len(errors(copy.findings))} errors")
    return "\n".join(lines)


def _range(ends: tuple[float, float] | None) -> str:
    return "not known" if ends is None else f"{ends[0]:g} to {ends[1]:g}"


def _finding(
    code: str, message: str, row: pd.Series | None = None, severity: str = "error"
) -> Finding:
    sentence = message if row is None else at(row, message)
    return Finding(severity=severity, code=code, sentence=sentence)

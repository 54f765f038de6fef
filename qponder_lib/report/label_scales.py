"""Checks the scale of labels: range, direction, duplicates, spreads, clipping, rounding."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from statistics import median

from qponder_lib.data import findings as copies
from qponder_lib.data.catalog import spec_named
from qponder_lib.data.copies import LabelRow
from qponder_lib.data.labels import load_labels
from qponder_lib.report.audit import Finding, Outcome
from qponder_lib.report.label_files import LabelFile
from qponder_lib.scales import LabelScale

USUAL_SCALES = ((0.0, 1.0), (1.0, 5.0), (0.0, 9.0), (0.0, 10.0), (0.0, 100.0))
SHOWN = 5
"""Rows that are named per kind of finding; all are counted."""
CLIPPED_SHARE = 0.01
"""Share of labels on one end that is worth a look."""
AGREEING = 0.75
"""Share of groups of levels that must go one way before a direction counts as seen."""
SMALL_SPREAD = 0.02
"""Median spread, as a share of the labels' range, below which the two may have two scales."""
_LEVEL = re.compile(r"(.+)[._-](?:l|lev|level)?0*(\d+)", re.IGNORECASE)


def audit_label_file(
    labels: LabelFile, scale: tuple[float, float] | None, higher_is_better: bool | None
) -> list[Finding]:
    """Check the labels of a file.

    Args:
        labels: What `read_label_file` returned.
        scale: The declared ends; None if none are declared.
        higher_is_better: The declared direction; None if none is.
    """
    found = [*_of_reader(labels.reader.findings, labels.name)]
    if labels.n_text:
        sentence = f'{labels.n_text} labels are written as text, such as "3.5"; read as numbers'
        found.append(Finding("digits_as_text", labels.name, "labels", "notable", sentence))
    if labels.columns.std is not None and "var" in labels.columns.std.lower():
        sentence = f"column {labels.columns.std} is named like a variance: not a standard deviation"
        found.append(Finding("spread", labels.name, "all rows", "notable", sentence))
    rows = [row for row in labels.rows if row.label is not None]
    found += _duplicates(labels.name, rows)
    found += _scale(labels.name, rows, scale)
    found += check_values(labels.name, rows, scale)
    return [*found, check_direction(labels.name, rows, higher_is_better)]


def audit_copy(name: str, root: Path, label: str | None = None) -> list[Finding]:
    """Check the labels of a user's copy of a public set against its published scale.

    Args:
        name: The set, such as `koniq`.
        root: Folder of the copy.
        label: Kind of label; the set's default without.

    Raises:
        ValueError: If there is no such set or label, or the root is no folder.
    """
    loaded = load_labels(spec_named(name), root, label)
    scale: LabelScale = loaded.column.scale
    ends = (scale.low, scale.high)
    found = [*_of_reader(loaded.findings, name)]
    if loaded.labelled:
        found += [f for f in _scale(name, loaded.labelled, ends) if f.outcome == "consistent"]
        found += check_values(name, loaded.labelled, ends)
        found.append(check_direction(name, loaded.labelled, scale.higher_is_better))
    return found


def _of_reader(found: Iterable[copies.Finding], name: str) -> Iterator[Finding]:
    """Take over what was found while reading, the first few of each kind by row."""
    outcomes: dict[str, Outcome] = {"error": "disagrees", "warning": "notable", "note": "notable"}
    by_kind: dict[str, list[copies.Finding]] = {}
    for one in found:
        by_kind.setdefault(one.kind, []).append(one)
    for kind, several in by_kind.items():
        for one in several[:SHOWN]:
            where = f"{one.file or name}" + ("" if one.row is None else f", row {one.row}")
            yield Finding(kind, name, where, outcomes[one.level], one.message)
        yield from _more(kind, name, len(several), outcomes[several[0].level])


def _more(check: str, name: str, n: int, outcome: Outcome) -> Iterator[Finding]:
    if n > SHOWN:
        yield Finding(check, name, "further rows", outcome, f"{n - SHOWN} more like these")


def _duplicates(name: str, rows: Sequence[LabelRow]) -> Iterator[Finding]:
    seen: dict[str, LabelRow] = {}
    twice = [
        (row, first)
        for row in rows
        if (first := seen.setdefault(row.image.lower(), row)) is not row
    ]
    worst: Outcome = "notable"
    for row, first in twice[:SHOWN]:
        same = row.label == first.label
        worst = worst if same else "disagrees"
        sentence = f"{row.image} stands in row {first.row} too, with " + (
            "the same label"
            if same
            else f"another label, {first.label:g} there, {row.label:g} here"
        )
        outcome: Outcome = "notable" if same else "disagrees"
        yield Finding("duplicate_name", name, f"{row.file}, row {row.row}", outcome, sentence)
    yield from _more("duplicate_name", name, len(twice), worst)


def _scale(
    name: str, rows: Sequence[LabelRow], scale: tuple[float, float] | None
) -> Iterator[Finding]:
    if not rows:
        yield Finding("scale", name, "all rows", "disagrees", "no row has a readable label")
        return
    values = [row.label for row in rows if row.label is not None]
    low, high = min(values), max(values)
    told = f"{len(values)} labels from {low:g} to {high:g}, {len(set(values))} distinct values"
    if scale is None:
        fits = [ends for ends in USUAL_SCALES if ends[0] <= low and high <= ends[1]]
        first = f"of the usual ones {fits[0][0]:g} to {fits[0][1]:g}" if fits else "no usual one"
        sentence = f"{told}; no scale is declared; {first} holds them"
        yield Finding("scale", name, "all rows", "undecidable", sentence)
        return
    outside = [row for row in rows if not scale[0] <= row.label <= scale[1]]
    for row in outside[:SHOWN]:
        sentence = f"{row.image} has {row.label:g}, outside {scale[0]:g} to {scale[1]:g}"
        yield Finding("scale", name, f"{row.file}, row {row.row}", "disagrees", sentence)
    yield from _more("scale", name, len(outside), "disagrees")
    if not outside:
        sentence = f"{told}, all within {scale[0]:g} to {scale[1]:g}"
        yield Finding("scale", name, "all rows", "consistent", sentence)


def check_values(
    name: str, rows: Sequence[LabelRow], scale: tuple[float, float] | None
) -> Iterator[Finding]:
    """Look for clipping, rounding and spreads that ratings on the scale cannot have.

    Args:
        name: What the rows are called.
        rows: Rows with a label.
        scale: The declared ends; spreads are held against it only if it is declared.
    """
    values = [row.label for row in rows if row.label is not None]
    counted = Counter(values)
    for which, end in (("lowest", min(values, default=0.0)), ("highest", max(values, default=0.0))):
        n = counted[end]
        if n >= SHOWN and n > CLIPPED_SHARE * len(values) and len(counted) > 10:
            sentence = (
                f"{n} of {len(values)} labels are exactly {end:g}, the {which}: clipped, or a "
                "scale with few steps"
            )
            yield Finding("clipping", name, "labels", "notable", sentence)
    if len(values) >= 100 and len(counted) * 20 <= len(values):
        sentence = f"{len(values)} labels share {len(counted)} values: rounded, or few raters"
        yield Finding("rounding", name, "labels", "notable", sentence)
    elif len(values) >= 10 and all(value == int(value) for value in values):
        yield Finding("rounding", name, "labels", "notable", "all labels are whole numbers")
    yield from _spreads(name, rows, scale)


def largest_spread(label: float, scale: tuple[float, float]) -> float:
    """Return the largest standard deviation that two or more ratings with this mean can have.

    All ratings at the two ends spread most; of two of them, the sample deviation is sqrt(2) times
    that of the population.

    Example:
        >>> round(largest_spread(3.0, (1.0, 5.0)), 4), largest_spread(5.0, (1.0, 5.0))
        (2.8284, 0.0)
    """
    return math.sqrt(2 * max((label - scale[0]) * (scale[1] - label), 0.0))


def _spreads(
    name: str, rows: Sequence[LabelRow], scale: tuple[float, float] | None
) -> Iterator[Finding]:
    spread = [row for row in rows if row.std is not None]
    if not spread:
        return
    if len(spread) > 1 and len({row.std for row in spread}) == 1:
        sentence = f"all {len(spread)} spreads are {spread[0].std:g}"
        yield Finding("spread", name, "all rows", "notable", sentence)
    reach = max(row.label for row in rows) - min(row.label for row in rows)
    middle = median(row.std for row in spread)
    if 0 < middle < SMALL_SPREAD * reach:
        sentence = (
            f"the median spread is {middle:.3g} beside labels over {reach:.3g}: people seldom "
            "agree so well; labels and spreads may be on two scales"
        )
        yield Finding("spread", name, "all rows", "notable", sentence)
    below = [row for row in spread if row.std < 0]
    above = []
    if scale is not None:
        above = [
            row
            for row in spread
            if scale[0] <= row.label <= scale[1]
            and row.std > largest_spread(row.label, scale) * (1 + 1e-9)
        ]
    for row in below[:SHOWN]:
        sentence = f"the spread {row.std:g} of {row.image} is below 0"
        yield Finding("spread", name, f"{row.file}, row {row.row}", "disagrees", sentence)
    if above:
        row = above[0]
        sentence = (
            f"{len(above)} of {len(spread)} spreads are larger than ratings with that mean can "
            f"have, first {row.std:g} beside {row.label:g} (at most "
            f"{largest_spread(row.label, scale):.3g}): another scale, a variance, or not a spread "
            "of ratings"
        )
        yield Finding("spread", name, f"{row.file}, row {row.row}", "notable", sentence)


def check_direction(name: str, rows: Sequence[LabelRow], higher_is_better: bool | None) -> Finding:
    """See from levels of distortion, stated or at the end of names, which way labels run.

    Args:
        name: What the rows are called.
        rows: Rows with a label; those of one image and type must differ in the level alone.
        higher_is_better: The declared direction; None if none is.
    """
    groups = [group for group in _by_level(rows).values() if 3 <= len(group) <= 10]
    moves = [group[max(group)] - group[min(group)] for group in groups]
    n_down, n_up = sum(move < 0 for move in moves), sum(move > 0 for move in moves)
    seen: bool | None = None
    if n_down + n_up and max(n_down, n_up) >= AGREEING * (n_down + n_up):
        seen = n_down > n_up
    if seen is None:
        why = (
            f"labels fall in {n_down} and rise in {n_up} groups of levels"
            if moves
            else "the file has no levels of distortion"
        )
        return Finding("direction", name, "all rows", "undecidable", f"{why}: declare it")
    told = (
        f"labels {'fall' if seen else 'rise'} from the lowest to the highest level in "
        f"{n_down if seen else n_up} of {len(moves)} groups: higher is "
        f"{'better' if seen else 'worse'}, if levels count damage"
    )
    if higher_is_better is None:
        return Finding("direction", name, "all rows", "notable", f"{told}; none is declared")
    outcome: Outcome = "consistent" if seen == higher_is_better else "disagrees"
    declared = f"; declared: higher is {'better' if higher_is_better else 'worse'}"
    return Finding("direction", name, "all rows", outcome, told + declared)


def _by_level(rows: Sequence[LabelRow]) -> dict[str, dict[int, float]]:
    groups: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.label is None:
            continue
        found = _LEVEL.fullmatch(PurePosixPath(row.image).stem)
        if row.level is not None and row.reference is not None:
            groups.setdefault(f"{row.reference}/{row.kind}", {})[row.level] = row.label
        elif found:
            groups.setdefault(found.group(1).lower(), {})[int(found.group(2))] = row.label
    return groups

"""Splits in use, by name (decision D23). Each gives the same rows to a part on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qponder_lib.data.copies import LabelRow
from qponder_lib.records import Split

_SPLIT_NAMES: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}

_LEFT_OUT_OF_TRAIN = """
10344921126 19502065 28311109 33000255 361037189 5168834860 5466371904 5869585652 5952914370
6285698915 7574416384 80184044
"""
_LEFT_OUT_OF_TEST = "121123359 213906996 3483143101 3632417985 44009500"
KONIQ_LEFT_OUT = frozenset((_LEFT_OUT_OF_TRAIN + _LEFT_OUT_OF_TEST).split())
"""Official images that the 7,046/2,010 split does not have: 12 of train and 5 of test."""

_TEST = "19 29 30 34 37 38 43 50 64 71 72 73 74 78 80 81"
_VALIDATION = "07 12 14 15 16 27 32 35 36 41 44 49 55 66 67 70"
KADID_TEST = frozenset(f"I{number}" for number in _TEST.split())
KADID_VALIDATION = frozenset(f"I{number}" for number in _VALIDATION.split())
KADID_LAST_TRAIN = "I65"


@dataclass(frozen=True)
class SplitRule:
    """One way to part a set.

    Attributes:
        name: How it is chosen.
        meaning: In words, with who uses it.
        part: Which split a row belongs to, or None for none.
    """

    name: str
    meaning: str
    part: Callable[[LabelRow], Split | None]


def _whole(row: LabelRow) -> Split | None:
    return None if row.extra else "test"


def _stated(row: LabelRow) -> Split | None:
    return None if row.extra else _SPLIT_NAMES.get(row.split or "")


def _koniq_7k_2k(row: LabelRow) -> Split | None:
    stem = row.image.rpartition(".")[0]
    return None if stem in KONIQ_LEFT_OUT else _stated(row)


def _kadid_49_16_16(row: LabelRow) -> Split | None:
    if row.reference is None:
        return None
    if row.reference in KADID_TEST:
        return "test"
    return "validation" if row.reference in KADID_VALIDATION else "train"


def _kadid_65_16(row: LabelRow) -> Split | None:
    if row.reference is None:
        return None
    return "train" if row.reference <= KADID_LAST_TRAIN else "test"


def _every_entry(row: LabelRow) -> Split | None:
    return "test"


RULES: tuple[SplitRule, ...] = (
    SplitRule("whole", "every image is a test image", _whole),
    SplitRule("official", "as the set's authors state: KonIQ 7,058 / 1,000 / 2,015", _stated),
    SplitRule(
        "koniq-7k-2k",
        "7,046 / 2,010 of Q-Align and DeQA: the official parts less 12 and 5 images; the official "
        "validation part serves as validation",
        _koniq_7k_2k,
    ),
    SplitRule(
        "kadid-reference-49-16-16",
        "by reference, 6,125 / 2,000 / 2,000: VisualQuality-R1 and PreResQ-R1",
        _kadid_49_16_16,
    ),
    SplitRule(
        "kadid-reference-65-16",
        "by reference, I01-I65 / I66-I81, 8,125 / 2,000: the test part is Q-Align's, whose "
        "train part lacks 19 images that only its metas name",
        _kadid_65_16,
    ),
    SplitRule("metas", "as the JSON metas of Data-DeQA-Score state", _stated),
    SplitRule(
        "with-training-images",
        "every image and the raters' 7 training images: LIVE in the Wild with 1,169",
        _every_entry,
    ),
)


def split_named(name: str) -> SplitRule:
    """Look a split up.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    for rule in RULES:
        if rule.name == name:
            return rule
    raise ValueError(f"no split {name!r}; there are {', '.join(rule.name for rule in RULES)}")


def assign(rows: Sequence[LabelRow], name: str) -> dict[Split, list[LabelRow]]:
    """Part the rows of a set.

    Args:
        rows: All rows of the set.
        name: Name of a split.

    Returns:
        Rows by part, in their order; parts without rows are left out.

    Example:
        >>> rows = [
        ...     LabelRow(f"{one}_01_01.png", ("",), 3.0, None, "dmos.csv", 2, reference=one)
        ...     for one in ("I07", "I81")
        ... ]
        >>> {part: len(found) for part, found in assign(rows, "kadid-reference-65-16").items()}
        {'train': 1, 'test': 1}
    """
    rule = split_named(name)
    parts: dict[Split, list[LabelRow]] = {}
    for split in _SPLIT_NAMES.values():
        if found := [row for row in rows if rule.part(row) == split]:
            parts[split] = found
    return parts


def hold_out(parts: dict[Split, list[LabelRow]], n: int, seed: int) -> dict[Split, list[LabelRow]]:
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
    if parts.get("validation"):
        raise ValueError(f"this split has {len(parts['validation'])} validation images already")
    train = parts.get("train", [])
    groups = {row.reference or row.image for row in train}
    ordered = sorted(groups, key=lambda g: hashlib.sha256(f"{seed}/{g}".encode()).hexdigest())
    sizes = dict.fromkeys(groups, 0)
    for row in train:
        sizes[row.reference or row.image] += 1
    taken: set[str] = set()
    total = 0
    for group in ordered:
        if total >= n:
            break
        taken.add(group)
        total += sizes[group]
    if total >= len(train):
        raise ValueError(f"cannot hold {n} of {len(train)} training images out")
    kept = [row for row in train if (row.reference or row.image) not in taken]
    held = [row for row in train if (row.reference or row.image) in taken]
    return {**parts, "train": kept, "validation": held}


def thin(
    parts: dict[Split, list[LabelRow]], at_most: int, seed: int
) -> dict[Split, list[LabelRow]]:
    """Keep at most so many rows of each part, for a rehearsal (decision D56).

    Rows are taken in the order of a hash of seed and name, and stand in their own order.

    Args:
        parts: From `assign` or `hold_out`.
        at_most: Rows of a part that may stay.
        seed: Another seed takes other rows.

    Example:
        >>> rows = [LabelRow(f"{n}.png", ("",), 3.0, None, "dmos.csv", n) for n in range(9)]
        >>> {part: len(left) for part, left in thin({"test": rows}, 4, seed=0).items()}
        {'test': 4}
    """
    return {part: _fewer(rows, at_most, seed) for part, rows in parts.items()}


def _fewer(rows: Sequence[LabelRow], at_most: int, seed: int) -> list[LabelRow]:
    def place(row: LabelRow) -> str:
        return hashlib.sha256(f"{seed}/{row.image}".encode()).hexdigest()

    kept = {row.image for row in sorted(rows, key=place)[:at_most]}
    return [row for row in rows if row.image in kept]

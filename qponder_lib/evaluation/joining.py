"""Which predictions are about the same image: several samples of one, ids of different machines.

Whatever finds no partner is named with the likely reason.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

import numpy as np

from qponder_lib.metrics.statistics import FloatArray


def arrange(
    predictions: Iterable[tuple[str, int, float | None, float | None]],
) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
    """Sort predictions by sample and image.

    Args:
        predictions: Image id, number of the sample, score and MOS of each; None where missing.

    Returns:
        Image ids in order, scores of shape (samples, images) and MOS, NaN where missing.

    Raises:
        ValueError: If a prediction is there twice, a sample lacks an image, or the MOS of one image
            differs between predictions.
    """
    targets: dict[str, float | None] = {}
    by_sample: dict[int, dict[str, float | None]] = {}
    for image_id, number, score, mos in predictions:
        if targets.setdefault(image_id, mos) != mos:
            raise ValueError(f"image {image_id!r} has two mos values")
        sample = by_sample.setdefault(number, {})
        if image_id in sample:
            raise ValueError(f"image {image_id!r} is answered twice in sample {number}")
        sample[image_id] = score
    for number, sample in by_sample.items():
        if len(sample) != len(targets):
            lacking = sorted(set(targets) - set(sample))
            raise ValueError(f"sample {number} lacks images {lacking[:5]}")
    ids = tuple(sorted(targets))
    samples = [[by_sample[number][name] for name in ids] for number in sorted(by_sample)]
    mos_of = [targets[name] for name in ids]
    return ids, np.array(samples, dtype=np.float64), np.array(mos_of, dtype=np.float64)


def match_ids(first: Sequence[str], second: Sequence[str]) -> tuple[dict[int, int], dict[str, int]]:
    """Find the partners of ids that were written on different machines.

    Equal ids are partners. Of the others those are that share an ending of whole path components
    which is there once among the first and once among the second: first as it is written, then in
    Unicode's normal form NFC, then whatever the case of letters, then percent-decoded. An ending
    that is there several times costs these ids alone.

    Returns:
        Place in `second` by place in `first`, and how many were found by what.

    Example:
        >>> match_ids(["/data/a.png", "/data/B.PNG"], ["x/b.png", "x/a.png"])
        ({0: 1, 1: 0}, {'path ending': 1, 'case': 1})
    """
    places = {name: place for place, name in enumerate(second)}
    found = {place: places[name] for place, name in enumerate(first) if name in places}
    by = {"id": len(found)} if found else {}
    for name, form in _FORMS.items():
        if len(found) in (len(first), len(second)):
            break
        before = len(found)
        _match_endings([_components(ids, form) for ids in (first, second)], found)
        if len(found) > before:
            by[name] = len(found) - before
    return found, by


_FORMS: dict[str, Callable[[str], str]] = {
    "path ending": lambda name: name,
    "normal form": lambda name: unicodedata.normalize("NFC", name),
    "case": lambda name: unicodedata.normalize("NFC", name).casefold(),
    "percent-encoding": lambda name: unicodedata.normalize("NFC", unquote(name)).casefold(),
}
"""What is ignored in ids that have no equal, one after the other."""


def _components(ids: Sequence[str], form: Callable[[str], str]) -> dict[int, tuple[str, ...]]:
    plain = (form(name).replace("\\", "/").split("/") for name in ids)
    return {k: tuple(part for part in parts if part) for k, parts in enumerate(plain)}


def _match_endings(sides: list[dict[int, tuple[str, ...]]], found: dict[int, int]) -> None:
    """Add partners by their shortest ending that is unique on both sides, from one component up."""
    taken = set(found.values())
    length = 1
    while sides[0] and sides[1]:
        by_ending: list[dict[tuple[str, ...], list[int]]] = [defaultdict(list), defaultdict(list)]
        for side, places in zip(sides, by_ending, strict=True):
            for place, parts in side.items():
                if len(parts) >= length:
                    places[parts[-length:]].append(place)
        repeated: list[dict[int, tuple[str, ...]]] = [{}, {}]
        for ending, mine in by_ending[0].items():
            theirs = by_ending[1].get(ending, [])
            if len(mine) == len(theirs) == 1:
                if mine[0] not in found and theirs[0] not in taken:
                    found[mine[0]] = theirs[0]
                    taken.add(theirs[0])
            elif theirs:
                for side, more, group in zip(sides, repeated, (mine, theirs), strict=True):
                    more |= {place: side[place] for place in group}
        sides, length = repeated, length + 1


def lost_ids(
    first: Sequence[str], second: Sequence[str], pairs: Mapping[int, int]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Sort the ids of both sides that have no partner by the likely reason."""
    taken = set(pairs.values())
    left = sorted(name for place, name in enumerate(first) if place not in pairs)
    right = sorted(name for place, name in enumerate(second) if place not in taken)
    return _by_reason(left, right, second), _by_reason(right, left, first)


def _by_reason(
    lost: Sequence[str], others: Sequence[str], every: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Say why ids have no partner among `every` other id, of which `others` have none either."""
    if not lost:
        return {}
    names = {form: {_name(one, form) for one in every} for form in _FORMS}
    stems = {PurePosixPath(_name(one, "case")).stem for one in others}
    ends = {end for stem in stems for end in _ends(stem)}
    found: dict[str, list[str]] = defaultdict(list)
    for one in lost:
        stem = PurePosixPath(_name(one, "case")).stem
        same = next((form for form in _FORMS if _name(one, form) in names[form]), None)
        if same is not None:
            reason = "name there several times" + (
                f", {same} aside" if same != "path ending" else ""
            )
        elif stem in stems:
            reason = "another extension"
        elif stem in ends or not stems.isdisjoint(_ends(stem)):
            reason = "another prefix"
        else:
            reason = "no such name"
        found[reason].append(one)
    return {reason: tuple(ids) for reason, ids in found.items()}


def _name(one: str, form: str) -> str:
    return _FORMS[form](one).replace("\\", "/").rsplit("/", 1)[-1]


def _ends(stem: str) -> set[str]:
    """Return what follows each sign that parts a name, such as b_1 and 1 for a-b_1."""
    return {stem[place + 1 :] for place, sign in enumerate(stem) if sign in "_-. "}

"""How often the scores of clips put a ladder of damage in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from qponder_lib import metrics
from qponder_lib.data.clips import LADDERS
from qponder_lib.metrics.agreement import FloatArray
from qponder_lib.metrics.resampling import draw, percentiles
from qponder_lib.records import ImageRecord

LEAST_GAP = 5.0
"""MOS units by which two clips of a ladder differ to be compared: two errors of a panel's mean."""

Scores = Mapping[str, float | None]


def ordered_pairs(records: Sequence[ImageRecord]) -> dict[str, list[tuple[str, str]]]:
    """List the pairs of each ladder whose order is known, the better clip first.

    Args:
        records: Clips of a set of ladders.

    Returns:
        Pairs of ids by scene: of the undamaged clip and those with one kind of damage in time,
        all that differ by at least `LEAST_GAP` MOS units.
    """
    by_scene: dict[str, list[ImageRecord]] = {}
    for record in records:
        by_scene.setdefault(str(record.reference), []).append(record)
    pairs: dict[str, list[tuple[str, str]]] = {}
    for scene, clips in by_scene.items():
        known: set[tuple[str, str]] = set()
        for kind in LADDERS:
            ladder = [one for one in clips if all(d.name == kind for d in one.distortions)]
            for a, b in combinations(ladder, 2):
                better, worse = (a, b) if label_of(a) > label_of(b) else (b, a)
                if label_of(better) - label_of(worse) >= LEAST_GAP:
                    known.add((better.image_id, worse.image_id))
        pairs[scene] = sorted(known)
    return pairs


def order_shares(
    pairs: Mapping[str, Sequence[tuple[str, str]]], scores: Scores
) -> dict[str, list[float | None]]:
    """Say of each pair whether the scores order it: 1, 0, or 0.5 for equal scores.

    Returns:
        By scene; None where a clip has no score.
    """
    return {
        scene: [_right(scores[better], scores[worse]) for better, worse in some]
        for scene, some in pairs.items()
    }


def _right(better: float | None, worse: float | None) -> float | None:
    if better is None or worse is None:
        return None
    return 0.5 if better == worse else float(better > worse)


def share_in_order(
    records: Sequence[ImageRecord],
    first: Scores,
    second: Scores | None,
    resampling: metrics.Resampling,
) -> dict[str, float | int | str | None]:
    """Measure the share of pairs that scores put in order, or the difference of two such shares.

    Args:
        records: Clips of a set of ladders.
        first: Scores by clip.
        second: Scores to subtract; a pair counts where both have scored it. None for none.
        resampling: Scenes are drawn together.

    Returns:
        Value, ci_low, ci_high, n (pairs), reason.
    """
    pairs = ordered_pairs(records)
    sums = np.zeros((len(pairs), 3))  # right of the first, right of the second, pairs
    for place, scene in enumerate(sorted(pairs)):
        one = order_shares({scene: pairs[scene]}, first)[scene]
        two = [0.0] * len(one)
        if second is not None:
            two = order_shares({scene: pairs[scene]}, second)[scene]
        both = [(a, b) for a, b in zip(one, two, strict=True) if a is not None and b is not None]
        sums[place] = [sum(a for a, _ in both), sum(b for _, b in both), len(both)]
    n = int(sums[:, 2].sum())
    if not n:
        return {"value": None, "ci_low": None, "ci_high": None, "n": 0, "reason": "no_pairs"}
    difference = _difference_of_shares(sums)
    interval = percentiles(draw(difference, len(sums), resampling), resampling)
    value = float(difference(np.ones((1, len(sums))))[0])
    ends = {"ci_low": interval.low, "ci_high": interval.high, "reason": interval.reason}
    return {"value": value, **ends, "n": n}


def _difference_of_shares(sums: FloatArray) -> Callable[[FloatArray], FloatArray]:
    def statistic(counts: FloatArray) -> FloatArray:
        first, second, total = (counts @ sums).T
        return (first - second) / total

    return statistic


def label_of(record: ImageRecord) -> float:
    """Return the label of a clip.

    Raises:
        ValueError: If it has none.
    """
    if record.mos is None:
        raise ValueError(f"clip {record.image_id} has no label")
    return record.mos

"""How often the scores of clips put a ladder of damage in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from qponder_lib.data.clips import LADDERS
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Estimate
from qponder_lib.metrics.statistics import ratio_statistic
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
    records: Sequence[ImageRecord], *scores: Scores, seed: int = 0
) -> list[Estimate]:
    """Measure the share of pairs that scores put in order.

    Args:
        records: Clips of a set of ladders.
        scores: Scores by clip, of one model or of several; a pair counts where all have scored it.
        seed: Of the resamples, in which the clips of a scene are drawn together.

    Returns:
        The share of each model on the same resamples; n counts pairs, n_unparsed clips without a
        score.
    """
    pairs = ordered_pairs(records)
    right = [order_shares(pairs, one) for one in scores]
    sums = np.zeros((len(pairs), len(scores) + 1))  # right pairs of each model, all pairs
    for place, scene in enumerate(sorted(pairs)):
        shares = list(zip(*(one[scene] for one in right), strict=True))
        known = [row for row in shares if None not in row]
        sums[place] = (
            [*(sum(column) for column in zip(*known, strict=True)), len(known)] if known else 0.0
        )
    n, n_scenes = int(sums[:, -1].sum()), int((sums[:, -1] > 0).sum())
    unscored = [sum(one[row.image_id] is None for row in records) for one in scores]
    if not n:
        return [bootstrap.missing("no_pairs", n_unparsed=missing) for missing in unscored]
    statistics = {k: ratio_statistic(sums[:, k], sums[:, -1]) for k in range(len(scores))}
    found = bootstrap.estimates(statistics, len(sums), seed=seed)
    return [
        replace(found[k], n=n, n_references=n_scenes, n_unparsed=missing)
        for k, missing in enumerate(unscored)
    ]


def label_of(record: ImageRecord) -> float:
    """Return the label of a clip.

    Raises:
        ValueError: If it has none.
    """
    if record.mos is None:
        raise ValueError(f"clip {record.image_id} has no label")
    return record.mos

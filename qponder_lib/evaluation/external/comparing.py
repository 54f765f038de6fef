"""Two files of predictions on the same images: the paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qponder_lib import metrics
from qponder_lib.data.tabular import TableError
from qponder_lib.evaluation.external.joining import EXAMPLES, Joined, join
from qponder_lib.evaluation.external.measuring import OTHER_SCALE, draw_together, on_other_scale
from qponder_lib.evaluation.external.reading import Labels, Submission
from qponder_lib.metrics import Difference, Overlapping, PairedStatistic, Resampling
from qponder_lib.metrics.agreement import MIN_N, DegenerateInputError
from qponder_lib.records import Record


class Gap(Record):
    """The difference of one metric, first minus second, on the same images.

    Attributes:
        metric: srcc, plcc, krcc, rmse or mae; the last two are better when lower.
        first: Value of the first file, on the images that both answer.
        second: Value of the second.
        value: First minus second; ci_low, ci_high and p_value from the paired bootstrap, for krcc
            from the asymptotic standard error of the paired difference.
        steiger_z: Z of the textbook test, None for errors and for several samples per image.
        steiger_p: Its p value.
        zou_low: Lower end of the textbook interval; zou_high: the upper one.
        reason: Why something is missing.
    """

    metric: str
    first: float | None = None
    second: float | None = None
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    steiger_z: float | None = None
    steiger_p: float | None = None
    zou_low: float | None = None
    zou_high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Compared:
    """Two files against each other.

    Attributes:
        n: Images that both answer readably.
        n_excluded: Images of both files that at least one does not.
        only_first: The first images that only the first file has with a label.
        only_second: The first that only the second has.
        n_only: How many of each.
        clustered: Whether images of one reference were drawn together.
        gaps: One row per metric.
    """

    n: int
    n_excluded: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    n_only: tuple[int, int]
    clustered: bool
    gaps: tuple[Gap, ...]


def compare(
    first: Submission,
    second: Submission,
    labels: Labels | None = None,
    plan: Resampling | None = None,
) -> Compared:
    """Compare two files on the images that both have.

    Args:
        first: Predictions of one model.
        second: Predictions of another, for images with the same ids.
        labels: Labels of another file; None takes those in the files, which must agree.
        plan: How intervals are made; None for 10,000 resamples.

    Returns:
        First minus second with paired bootstrap intervals and p values; beside correlations of
        one sample per image, Steiger's Z and Zou's interval as a check.

    Raises:
        TableError: If the files share no image, or state different labels for one.

    Source:
        Decision D26.
    """
    plan = plan or Resampling(10_000)
    sides = [join(submission, labels) for submission in (first, second)]
    only = [sorted(set(a.ids) - set(b.ids)) for a, b in (sides, reversed(sides))]
    shared = sorted(set(sides[0].ids) & set(sides[1].ids))
    if not shared:
        raise TableError(f"{first.path} and {second.path}", "not one image is in both")
    sides = [_restricted(side, shared) for side in sides]
    _require_same_labels(sides, (first, second))
    ids, pairs = _paired(sides)
    kept = [_restricted(side, ids) for side in sides]
    if kept[0].clusters is None and kept[1].clusters is not None:
        kept[0] = replace(kept[0], clusters=kept[1].clusters)
    return Compared(
        n=len(ids),
        n_excluded=len(shared) - len(ids),
        only_first=tuple(only[0][:EXAMPLES]),
        only_second=tuple(only[1][:EXAMPLES]),
        n_only=(len(only[0]), len(only[1])),
        clustered=kept[0].clusters is not None,
        gaps=tuple(_gaps(pairs, kept, plan)),
    )


def _restricted(joined: Joined, ids: Sequence[str]) -> Joined:
    place = {image_id: k for k, image_id in enumerate(joined.ids)}
    at = [place[image_id] for image_id in ids]
    return replace(
        joined,
        ids=tuple(ids),
        samples=tuple(tuple(sample[k] for k in at) for sample in joined.samples),
        mos=tuple(joined.mos[k] for k in at),
        clusters=None if joined.clusters is None else tuple(joined.clusters[k] for k in at),
        softmax=None,
    )


def _require_same_labels(sides: Sequence[Joined], of: Sequence[Submission]) -> None:
    for image_id, a, b in zip(sides[0].ids, sides[0].mos, sides[1].mos, strict=True):
        if a != b:
            raise TableError(
                f"{of[0].path} and {of[1].path}",
                f"image {image_id!r} has the labels {a} and {b}; say --labels FILE",
            )


def _paired(sides: Sequence[Joined]) -> tuple[tuple[str, ...], dict[str, PairedStatistic]]:
    """Prepare the difference of every metric on the images that both answer readably."""
    mos = dict(zip(sides[0].ids, sides[0].mos, strict=True))
    by_id = [
        [dict(zip(side.ids, sample, strict=True)) for sample in side.samples] for side in sides
    ]
    pairs = {
        metric: metrics.paired_statistic(metric, by_id[0], by_id[1], mos)
        for metric in ("srcc", "plcc", "krcc", "rmse", "mae")
    }
    for metric in ("rmse", "mae"):
        if any(on_other_scale(sample, side.mos) for side in sides for sample in side.samples):
            pairs[metric] = replace(pairs[metric], statistic=None, reason=OTHER_SCALE)
    return pairs["srcc"].ids, pairs


def _gaps(
    pairs: dict[str, PairedStatistic], sides: Sequence[Joined], plan: Resampling
) -> list[Gap]:
    together = [metric for metric, pair in pairs.items() if pair.statistic is not None]
    values, draws = draw_together([pairs[m].statistic for m in together], sides[0], plan)
    gaps = []
    for metric, pair in pairs.items():
        counts = {"n": len(pair.ids), "n_excluded": 0}
        if metric in together:
            k = together.index(metric)
            found = Difference.of_draws(metric, float(values[k]), draws[:, k], plan, counts)
        else:  # without a difference, or krcc
            found = pair.difference(metric, plan, sides[0].clusters, 0)
        gaps.append(_gap(found, sides, plan))
    return gaps


def _gap(found: Difference, sides: Sequence[Joined], plan: Resampling) -> Gap:
    if found.value is None:
        return Gap(metric=found.metric, reason=found.reason)
    single = [
        metrics.estimate(found.metric, list(side.samples), side.mos, min_n=MIN_N).value
        for side in sides
    ]
    return Gap(
        metric=found.metric,
        first=single[0],
        second=single[1],
        value=found.value,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        p_value=found.p_value,
        reason=found.reason,
        **_textbook(found.metric, sides, plan.confidence),
    )


def _textbook(metric: str, sides: Sequence[Joined], confidence: float) -> dict[str, float]:
    """Test two correlations as a textbook does, where that is defined."""
    if metric not in ("srcc", "plcc") or any(len(side.samples) > 1 for side in sides):
        return {}
    correlation = {"srcc": metrics.srcc, "plcc": metrics.plcc}[metric]
    x, z, y = (
        np.array(v, dtype=np.float64) for v in (*(s.samples[0] for s in sides), sides[0].mos)
    )
    try:
        compared = Overlapping(correlation(x, y), correlation(z, y), correlation(x, z), len(y))
        statistic, p_value = metrics.steiger_z(compared)
    except (DegenerateInputError, ValueError):
        return {}  # identical scores, or a correlation of exactly 1: no such test
    low, high = metrics.zou_interval(compared, confidence)
    return {"steiger_z": statistic, "steiger_p": p_value, "zou_low": low, "zou_high": high}

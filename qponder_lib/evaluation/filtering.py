"""Which of the teacher's responses are kept for distillation: Q-Ponder's Eq. 1.

The two parts are always the whole: every response comes out once, kept or rejected, with a named
reason. Nothing is random except the control, a random subset of the same size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import numpy as np

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import Predictions, score
from qponder_lib.metrics import bootstrap
from qponder_lib.paths import RunPaths
from qponder_lib.records import FilteredResponse, ImageRecord, ResponseRecord
from qponder_lib.scales import MOS_MAX, MOS_MIN
from qponder_lib.text.parsing import parse_answer

KEPT = "kept"
BEYOND_GAMMA = "beyond_gamma"
NO_MOS = "no_mos"

Row = dict[str, float | int | str | None]
AGREEMENT = ("plcc", "srcc", "mae")
"""Metrics that selections of the teacher's responses are compared by."""


@dataclass(frozen=True, slots=True)
class FilterResult:
    """Both parts of a filtered set; kept rows by rank, rejected rows by rank and then by reason."""

    kept: tuple[FilteredResponse, ...]
    rejected: tuple[FilteredResponse, ...]

    @property
    def rows(self) -> tuple[FilteredResponse, ...]:
        """All rows, kept first."""
        return self.kept + self.rejected

    @property
    def scored(self) -> tuple[FilteredResponse, ...]:
        """The rows that took part in the ranking: the unfiltered data of the paper."""
        return tuple(row for row in self.rows if row.rank is not None)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by reason; the values add up to the number of rows."""
        return dict(sorted(Counter(row.reason for row in self.rows).items()))


def filter_responses(
    responses: Sequence[ResponseRecord], mos: Mapping[str, float | None], gamma: float
) -> FilterResult:
    """Read, rank and split a teacher's responses.

    Args:
        responses: The teacher's responses; response ids are unique.
        mos: MOS by image id, 0 to 100. An image without one cannot be ranked.
        gamma: Share of the ranked responses to keep, in (0, 1].

    Returns:
        Kept rows: rank <= gamma * N, with N the number of responses that state a score. Rejected
        rows: "beyond_gamma", or why there is no score (a parse status or a finish reason).

    Raises:
        ValueError: If gamma is outside (0, 1], a response id repeats or an image is unknown.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 1. Responses without a score have no |error| to rank; that
        they are left out of N is not stated; ours.
    """
    return keep_best([_score_response(row, mos) for row in responses], gamma)


def keep_best(rows: Iterable[FilteredResponse], gamma: float) -> FilterResult:
    """Keep the share gamma of the scored rows that has the smallest errors.

    Ranks are ordinal: equal errors are ordered by image id and then response id, so the result
    depends neither on the order of the rows nor on chance.

    Args:
        rows: Rows with `abs_error`, or without one and a `reason`; earlier ranks are replaced.
        gamma: Share to keep, in (0, 1], read as the decimal number it is written as.

    Returns:
        Both parts, with rank and reason filled in.

    Raises:
        ValueError: If gamma is outside (0, 1] or a response id repeats.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 1.
    """
    everything = list(rows)
    often = Counter(row.response_id for row in everything)
    if repeated := sorted(name for name, n in often.items() if n > 1):
        raise ValueError(f"response ids repeat: {repeated[:5]}")
    scored = sorted(
        (row for row in everything if row.abs_error is not None),
        key=lambda row: (row.abs_error, row.image_id, row.response_id),
    )
    unscored = sorted(
        (row for row in everything if row.abs_error is None),
        key=lambda row: (row.reason, row.image_id, row.response_id),
    )
    n_kept = n_to_keep(len(scored), gamma)
    ranked = [
        row.model_copy(update={"rank": rank, "reason": KEPT if rank <= n_kept else BEYOND_GAMMA})
        for rank, row in enumerate(scored, start=1)
    ]
    return FilterResult(tuple(ranked[:n_kept]), tuple(ranked[n_kept:] + unscored))


def n_to_keep(n_scored: int, gamma: float) -> int:
    """Count the integer ranks that satisfy rank <= gamma * N.

    Example:
        >>> n_to_keep(100, 0.29)  # 100 * 0.29 is 28.999999999999996 in floating point
        29
    """
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"expected gamma in (0, 1], got {gamma}")
    return math.floor(Fraction(repr(float(gamma))) * n_scored)


CONTROL_SEED = 0
"""Of the random subset, so that its tables, figures and judgements are about one."""


def random_keep(
    rows: Iterable[FilteredResponse], gamma: float, rng: np.random.Generator
) -> tuple[FilteredResponse, ...]:
    """Keep a random subset of the size that Eq. 1 keeps: the control of the filter.

    Args:
        rows: Filtered or unfiltered rows; those without a score are passed over.
        gamma: Share to keep, in (0, 1].
        rng: Source of the choice.

    Returns:
        The chosen rows in the order of their ids.
    """
    scored = sorted((r for r in rows if r.abs_error is not None), key=lambda r: r.response_id)
    chosen = rng.choice(len(scored), size=n_to_keep(len(scored), gamma), replace=False)
    return tuple(scored[index] for index in sorted(chosen))


def read_filtered(paths: RunPaths) -> FilterResult:
    """Read the filtered responses of a run.

    Raises:
        FileNotFoundError: If the responses have not been filtered.
    """
    parts = (artifacts.read_jsonl(file, FilteredResponse) for file in (paths.kept, paths.rejected))
    return FilterResult(*map(tuple, parts))


def selections_of(result: FilterResult, gamma: float) -> dict[str, Sequence[FilteredResponse]]:
    """Return all scored rows, those kept, and as many kept by chance, as they are compared."""
    control = random_keep(result.rows, gamma, np.random.default_rng(CONTROL_SEED))
    return {"unfiltered": result.scored, "filtered": result.kept, "random": control}


def compare_selections(
    selections: Mapping[str, Iterable[FilteredResponse]], images: Mapping[str, ImageRecord]
) -> list[Row]:
    """Measure how well the scores of several selections agree with the MOS.

    Args:
        selections: Rows by the selection's name, such as "unfiltered", "kept", "random". They are
            held fixed; intervals resample the photographs within each.
        images: The images by id.

    Returns:
        One table row per selection: selection, n, n_references, and each of `AGREEMENT` with its
        interval, such as plcc, plcc_low, plcc_high.
    """
    table = []
    for name, rows in selections.items():
        predictions = _predictions([row for row in rows if row.score is not None], images)
        found = score(predictions, [(metric, "raw") for metric in AGREEMENT])
        row: Row = {"selection": name}
        for (metric, _), one in found.items():
            row |= {"n": one.n, "n_references": one.n_references}
            row |= {metric: one.value, f"{metric}_low": one.ci_low, f"{metric}_high": one.ci_high}
        table.append(row)
    return table


def selection_differences(
    selections: Mapping[str, Sequence[FilteredResponse]],
    pairs: Iterable[tuple[str, str]],
    images: Mapping[str, ImageRecord],
) -> list[Row]:
    """Compare selections on the same resamples, so that their overlap is accounted for.

    Args:
        selections: Rows by the selection's name; those of the first are all that were scored.
        pairs: Names of the selections to compare, first minus second.
        images: The images by id.

    Returns:
        One table row per pair and metric: first, second, metric, value, ci_low, ci_high, reason.
    """
    scored = list(next(iter(selections.values())))
    whole, wanted = _predictions(scored, images), [(metric, "raw") for metric in AGREEMENT]
    found = {}
    for name, rows in selections.items():
        chosen = {row.response_id for row in rows}
        there = np.array([row.response_id in chosen for row in scored])
        part = replace(whole, samples=np.where(there, whole.samples, np.nan))
        found[name] = score(part, wanted)
    table = []
    for (first, second), key in product(pairs, wanted):
        one = bootstrap.difference(found[first][key], found[second][key])
        ends = {"value": one.value, "ci_low": one.ci_low, "ci_high": one.ci_high}
        names = {"first": first, "second": second, "metric": key[0]}
        table.append(names | ends | {"reason": one.reason})
    return table


def sweep(
    rows: Iterable[FilteredResponse],
    images: Mapping[str, ImageRecord],
    gammas: Sequence[float],
    rng: np.random.Generator,
) -> list[Row]:
    """Filter by each gamma, and beside it keep a random subset of the same size.

    Args:
        rows: Filtered or unfiltered rows.
        images: The images by id.
        gammas: Shares to keep, each in (0, 1].
        rng: Source of the control's choice.

    Returns:
        Two table rows per gamma: gamma, and those of `compare_selections` for "filtered" and
        "random".
    """
    everything = list(rows)
    table = []
    for gamma in gammas:
        selections = {
            "filtered": keep_best(everything, gamma).kept,
            "random": random_keep(everything, gamma, rng),
        }
        table += [{"gamma": gamma, **row} for row in compare_selections(selections, images)]
    return table


def mos_histogram_shift(
    result: FilterResult, mos: Mapping[str, float | None], n_bins: int = 5
) -> list[Row]:
    """Show which part of the MOS scale the filter rejects.

    Args:
        result: A filtered set.
        mos: MOS by image id, 0 to 100.
        n_bins: Number of equal parts of the scale; 5 are the severities.

    Returns:
        One row per part of the scale, lowest first, over ranked responses: low, high (low <= mos
        < high, the last part holds 100 too), n_all, n_kept, share_all, share_kept and keep_rate. A
        rate with nothing below the line is None.
    """
    edges = np.linspace(MOS_MIN, MOS_MAX, n_bins + 1)
    every, kept = (
        np.histogram([mos[row.image_id] for row in rows], bins=edges)[0].tolist()
        for rows in (result.scored, result.kept)
    )
    return [
        {"low": low, "high": high, "n_all": n_all, "n_kept": n_kept}
        | {"share_all": _ratio(n_all, sum(every)), "share_kept": _ratio(n_kept, sum(kept))}
        | {"keep_rate": _ratio(n_kept, n_all)}
        for low, high, n_all, n_kept in zip(edges.tolist(), edges.tolist()[1:], every, kept)
    ]


def _predictions(
    rows: Sequence[FilteredResponse], images: Mapping[str, ImageRecord]
) -> Predictions:
    about = [images[row.image_id] for row in rows]
    scores, mos = [row.score for row in rows], [image.mos for image in about]
    return Predictions.of_scores(scores, mos, [image.photograph for image in about])


def _score_response(row: ResponseRecord, mos: Mapping[str, float | None]) -> FilteredResponse:
    if row.image_id not in mos:
        raise ValueError(f"response {row.response_id!r} is about unknown image {row.image_id!r}")
    target = mos[row.image_id]
    score, abs_error = None, None
    if row.finish_reason not in ("stop", "length"):
        reason = row.finish_reason
    else:
        parsed = parse_answer(row.text, finish_reason=row.finish_reason)
        score, reason = parsed.score, parsed.status
        if score is not None and target is None:
            reason = NO_MOS
        elif score is not None:
            abs_error = abs(score - target)
    fields = {name: getattr(row, name) for name in ResponseRecord.model_fields}
    return FilteredResponse(**fields, score=score, abs_error=abs_error, rank=None, reason=reason)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None

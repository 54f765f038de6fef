"""The rows of `eval/differences.csv`: two models on the same images, first minus second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from qponder_lib.config import EvaluateConfig
from qponder_lib.evaluation.answers import (
    COMPARED,
    MEAN,
    MEAN_OF_K,
    Answers,
    Part,
    mean_part,
    named_reasons,
    plan_of,
    resampled,
)
from qponder_lib.metrics import (
    Asymptotic,
    Difference,
    PairedStatistic,
    combined_tau_b,
    mean_of_sets,
    paired_statistic,
)
from qponder_lib.metrics.agreement import FloatArray
from qponder_lib.metrics.scores import RAW
from qponder_lib.records import Decoding, Record


class DifferenceRow(Record):
    """How two models differ on the same images: first minus second, paired."""

    model_a: str
    model_b: str
    dataset: str
    decoding: Decoding
    protocol: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    n: int
    n_excluded: int
    reason: str | None = None


def compared_models(models: Iterable[str], start_from: str = "long") -> list[tuple[str, str]]:
    """Return the pairs that are compared, of those models that are there.

    Example:
        >>> compared_models(["base", "ci-long", "qponder"])
        [('qponder', 'ci-long'), ('ci-long', 'base')]
    """
    pairs = [
        ("qponder", f"ci-{start_from}"),
        ("qponder", "ci-long"),
        ("ci-long", "ci-short"),
        ("ci-long", "ci-none"),
        ("ci-short", "ci-none"),
        ("ci-long", "base"),
        ("qponder", "teacher"),
        ("qponder", "handcrafted"),
    ]
    there = set(models)
    return [pair for pair in dict.fromkeys(pairs) if there.issuperset(pair)]


@dataclass(frozen=True)
class Comparison:
    """The columns that name a difference."""

    model_a: str
    model_b: str
    decoding: Decoding


def difference_rows(
    compared: Comparison,
    first: Mapping[str, Sequence[Answers]],
    second: Mapping[str, Sequence[Answers]],
    settings: EvaluateConfig,
    *,
    with_mean: bool = True,
) -> list[DifferenceRow]:
    """Compare two models on each set and on the mean over the sets.

    Args:
        compared: Names for the rows.
        first: Answers by set: of one training run, or of several.
        second: Answers of the other model; the same sets, images and number of runs.
        settings: Resamples, confidence, seed and least n.
        with_mean: Add the mean over the sets (if there are several).

    Returns:
        First minus second, per protocol, metric and set; with several runs the mean of the runs'
        differences, every resample drawing the same images for all. Correlations and errors are
        taken on the images for which both models of a run have a readable answer; `n` counts
        those that are compared in at least one run.

    Raises:
        ValueError: If the two were scored on different images.
    """
    protocols: dict[str, Callable[[Answers], Answers]] = {RAW: lambda answers: answers}
    if compared.decoding == "sampled":
        protocols[MEAN_OF_K] = Answers.mean_of_samples
    rows = []
    for protocol, view in protocols.items():
        sides = [
            {name: [view(run) for run in runs] for name, runs in side.items()}
            for side in (first, second)
        ]
        for metric in COMPARED:
            if protocol == MEAN_OF_K and metric == "parse_rate":
                continue
            for dataset, result in _differences(metric, *sides, settings, with_mean).items():
                names = asdict(compared) | {"dataset": dataset, "protocol": protocol}
                rows.append(DifferenceRow(**names, **asdict(result)))
    return rows


def _differences(
    metric: str,
    first: Mapping[str, Sequence[Answers]],
    second: Mapping[str, Sequence[Answers]],
    settings: EvaluateConfig,
    with_mean: bool,
) -> dict[str, Difference]:
    results, parts = {}, {}
    for position, name in enumerate(first):
        paired, counts = _paired(metric, first[name], second[name], settings.min_n)
        if not paired.defined:
            results[name] = Difference.missing(metric, paired.reason, counts)
            continue
        if paired.statistic is None:
            parts[name] = combined_tau_b(paired.terms, len(paired.ids))
        else:
            parts[name] = resampled(paired.statistic, len(paired.ids), settings, position)
        results[name] = _difference(metric, parts[name], settings, counts)
    if with_mean and len(results) > 1:
        counts = {
            "n": sum(result.n for result in results.values()),
            "n_excluded": sum(result.n_excluded for result in results.values()),
        }
        missing = {name: result.reason for name, result in results.items() if name not in parts}
        results[MEAN] = (
            Difference.missing(metric, named_reasons(missing, len(first)), counts)
            if missing
            else _difference(metric, _mean(list(parts.values())), settings, counts)
        )
    return results


def _paired(
    metric: str, first: Sequence[Answers], second: Sequence[Answers], min_n: int
) -> tuple[PairedStatistic, dict[str, int]]:
    """Pair the models run by run, and average the runs' differences."""
    mos = first[0].mos
    if any(run.mos != mos for run in (*first, *second)):
        raise ValueError("the models were scored on different images, or with different MOS")
    paired = [
        paired_statistic(metric, a.samples, b.samples, mos, min_n=min_n)
        for a, b in zip(first, second, strict=True)
    ]
    ids = sorted({image_id for run in paired for image_id in run.ids})
    counts = {"n": len(ids), "n_excluded": len(mos) - len(ids)}
    reasons = [run.reason for run in paired if not run.defined]
    if reasons:
        return PairedStatistic(tuple(ids), None, reasons[0]), counts
    place = {image_id: position for position, image_id in enumerate(ids)}
    columns = [np.array([place[image_id] for image_id in run.ids], dtype=int) for run in paired]
    if metric == "krcc":
        terms = tuple(
            replace(term, weight=term.weight / len(paired), kept=kept[term.kept])
            for run, kept in zip(paired, columns, strict=True)
            for term in run.terms
        )
        return PairedStatistic(tuple(ids), None, terms=terms), counts

    def statistic(drawn: FloatArray) -> FloatArray:
        values = [
            run.statistic(drawn.take(kept, axis=1))
            for run, kept in zip(paired, columns, strict=True)
        ]
        return np.mean(values, axis=0)

    return PairedStatistic(tuple(ids), statistic), counts


def _mean(parts: Sequence[Part | Asymptotic]) -> Part | Asymptotic:
    """Average over sets, which share no image."""
    return mean_of_sets(parts) if isinstance(parts[0], Asymptotic) else mean_part(parts)


def _difference(
    metric: str, part: Part | Asymptotic, settings: EvaluateConfig, counts: Mapping[str, int]
) -> Difference:
    if isinstance(part, Asymptotic):
        return Difference.asymptotic(metric, part, settings.confidence, counts)
    return Difference.of_draws(metric, part.value, part.draws, plan_of(settings), counts)

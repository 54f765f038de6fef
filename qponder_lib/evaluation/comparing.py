"""The rows of `eval/differences.csv`: two models on the same images, first minus second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from qponder_lib import metrics
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
from qponder_lib.metrics import resampling
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
    first: Mapping[str, Answers],
    second: Mapping[str, Answers],
    settings: EvaluateConfig,
    *,
    with_mean: bool = True,
) -> list[DifferenceRow]:
    """Compare two models on each set and on the mean over the sets.

    Args:
        compared: Names for the rows.
        first: Answers by set.
        second: Answers of the other model by set; the same sets and images.
        settings: Resamples, confidence, seed and least n.
        with_mean: Add the mean over the sets (if there are several).

    Returns:
        First minus second, per protocol, metric and set. Correlations and errors are taken on
        the images for which both models have a readable answer; `n` says how many.

    Raises:
        ValueError: If the two were scored on different images.
    """
    protocols: dict[str, Callable[[Answers], Answers]] = {RAW: lambda answers: answers}
    if compared.decoding == "sampled":
        protocols[MEAN_OF_K] = Answers.mean_of_samples
    rows = []
    for protocol, view in protocols.items():
        for metric in COMPARED:
            if protocol == MEAN_OF_K and metric == "parse_rate":
                continue
            results = _differences(
                metric,
                {name: view(answers) for name, answers in first.items()},
                {name: view(answers) for name, answers in second.items()},
                settings,
                with_mean=with_mean,
            )
            for dataset, result in results.items():
                names = asdict(compared) | {"dataset": dataset, "protocol": protocol}
                rows.append(DifferenceRow(**names, **asdict(result)))
    return rows


def _differences(
    metric: str,
    first: Mapping[str, Answers],
    second: Mapping[str, Answers],
    settings: EvaluateConfig,
    *,
    with_mean: bool,
) -> dict[str, metrics.Difference]:
    results, parts = {}, {}
    for position, name in enumerate(first):
        a, b = first[name], second[name]
        if a.mos != b.mos:
            raise ValueError(f"{name}: the two models were scored on different images or MOS")
        paired = metrics.paired_statistic(metric, a.samples, b.samples, a.mos, min_n=settings.min_n)
        counts = {"n": len(paired.ids), "n_excluded": len(a.mos) - len(paired.ids)}
        if paired.statistic is None:
            results[name] = metrics.Difference(
                metric, None, None, None, None, **counts, reason=paired.reason
            )
            continue
        parts[name] = resampled(paired.statistic, len(paired.ids), settings, position)
        results[name] = _difference(metric, parts[name], settings, counts)
    if with_mean and len(results) > 1:
        counts = {
            "n": sum(result.n for result in results.values()),
            "n_excluded": sum(result.n_excluded for result in results.values()),
        }
        missing = {name: result.reason for name, result in results.items() if name not in parts}
        results[MEAN] = (
            metrics.Difference(
                metric, None, None, None, None, **counts, reason=named_reasons(missing)
            )
            if missing
            else _difference(metric, mean_part(list(parts.values())), settings, counts)
        )
    return results


def _difference(
    metric: str, part: Part, settings: EvaluateConfig, counts: Mapping[str, int]
) -> metrics.Difference:
    interval = resampling.percentiles(part.draws, plan_of(settings))
    p_value = None if interval.reason else resampling.two_sided_p(part.draws)
    return metrics.Difference(
        metric, part.value, interval.low, interval.high, p_value, **counts, reason=interval.reason
    )

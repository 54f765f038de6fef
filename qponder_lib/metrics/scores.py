"""The rows of `eval/scores.csv`: every metric of one model on one set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qponder_lib.metrics.agreement import MIN_N
from qponder_lib.metrics.estimates import Estimate, estimate
from qponder_lib.metrics.logistic import plcc_logistic
from qponder_lib.metrics.resampling import Resampling
from qponder_lib.records import Decoding, PredictionRecord, ScoreRow

EVALUATED = ("plcc", "srcc", "krcc", "mae", "rmse", "parse_rate")
"""Metrics of the raw protocol, in the order of the rows."""

RAW = "raw"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was evaluated: the columns that name a row of the table."""

    model: str
    dataset: str
    decoding: Decoding


def score_rows(
    predictions: Sequence[PredictionRecord],
    evaluated: Evaluated,
    *,
    resampling: Resampling | None = None,
    min_n: int = MIN_N,
    clusters: Mapping[str, str] | None = None,
) -> list[ScoreRow]:
    """Measure one model on one set.

    Args:
        predictions: Every answer of the model: one per image, or k samples per image.
        evaluated: Model, set and decoding that the answers come from.
        resampling: How intervals are made; None for the defaults.
        min_n: Fewest readable answers for which a value is given.
        clusters: Photograph or reference by image id, or None.

    Returns:
        The metrics of `EVALUATED` by the protocol "raw", each the mean over the samples, and for
        greedy decoding the PLCC by the protocols "logistic4" and "logistic5". Images without a
        MOS are left out.

    Raises:
        ValueError: If a sample lacks an image, an answer is there twice, or MOS values disagree.
    """
    mos, samples = samples_by_id(predictions)
    ids = sorted(mos)
    answers = [[sample[image_id] for image_id in ids] for sample in samples]
    targets = [mos[image_id] for image_id in ids]
    groups = None if clusters is None else [clusters[image_id] for image_id in ids]
    options = {"resampling": resampling or Resampling(), "clusters": groups, "min_n": min_n}

    def row(metric: str, protocol: str, result: Estimate) -> ScoreRow:
        return ScoreRow(
            model=evaluated.model,
            dataset=evaluated.dataset,
            decoding=evaluated.decoding,
            metric=metric,
            protocol=protocol,
            value=result.value,
            ci_low=result.ci_low,
            ci_high=result.ci_high,
            n=result.n,
            n_unparsed=result.n_unparsed,
            reason=result.reason,
        )

    rows = [row(name, RAW, estimate(name, answers, targets, **options)) for name in EVALUATED]
    if evaluated.decoding == "greedy":
        for n_parameters in (4, 5):
            fitted = plcc_logistic(answers[0], targets, n_parameters, **options)
            rows.append(row("plcc", f"logistic{n_parameters}", fitted))
    return rows


def samples_by_id(
    predictions: Sequence[PredictionRecord],
) -> tuple[dict[str, float], list[dict[str, float | None]]]:
    """Sort predictions into MOS by image id and, per sample, score by image id.

    Args:
        predictions: Answers of one model on one set.

    Returns:
        MOS by image id, and one mapping per sample in the order of their numbers; both over the
        images that have a MOS. They are what `paired_difference` takes.

    Raises:
        ValueError: If there are none, a sample lacks an image, an answer is there twice, or the
            MOS of one image differs between rows.
    """
    mos: dict[str, float] = {}
    by_sample: dict[int, dict[str, float | None]] = {}
    for row in predictions:
        if row.mos is None:
            continue
        if mos.setdefault(row.image_id, row.mos) != row.mos:
            raise ValueError(f"image {row.image_id!r} has two mos values")
        answers = by_sample.setdefault(row.sample, {})
        if row.image_id in answers:
            raise ValueError(f"image {row.image_id!r} is answered twice in sample {row.sample}")
        answers[row.image_id] = row.score
    if not mos:
        raise ValueError("no prediction has a mos")
    for sample, answers in by_sample.items():
        if len(answers) != len(mos):
            missing = sorted(set(mos) - set(answers))
            raise ValueError(f"sample {sample} lacks images {missing[:5]}")
    return mos, [by_sample[sample] for sample in sorted(by_sample)]

"""Claims about reasoning, held against the judges' means in `eval/judged.csv` of a run.

The file holds a mean with an interval per judge, model, set and aspect. Differences are taken
from two such intervals, not in pairs, so they come out wider than need be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from qponder_lib import artifacts, metrics
from qponder_lib.audit.measured.files import MEAN, NotMeasured, Number, RunFiles
from qponder_lib.audit.measured.outcomes import Measured, together
from qponder_lib.records import PredictionRecord

ASPECTS = ("completeness", "accuracy", "reasonableness")
_CLAIMED = ("accuracy", "reasonableness")


def _judges(run: RunFiles) -> list[str]:
    judges = list(dict.fromkeys(row.get("judge") or "" for row in run.rows(run.paths.judged)))
    if not judges:
        raise NotMeasured(f"{run.relative(run.paths.judged)} holds no judgement")
    return judges


def _gaps(
    run: RunFiles, one: str, other: str, aspects: Sequence[str]
) -> dict[tuple[str, str], Number]:
    """Return how two models differ, by judge and aspect, over all sets."""

    def mean(judge: str, model: str, aspect: str) -> Number:
        names = {"judge": judge, "model": model, "dataset": MEAN, "aspect": aspect}
        return run.number(run.paths.judged, **names)

    return {
        (judge, aspect): mean(judge, one, aspect) - mean(judge, other, aspect)
        for judge in _judges(run)
        for aspect in aspects
    }


def _words(gaps: dict[tuple[str, str], Number]) -> str:
    judges = dict.fromkeys(judge for judge, _ in gaps)
    return "; ".join(
        f"{judge}: " + ", ".join(f"{a} {gap}" for (by, a), gap in gaps.items() if by == judge)
        for judge in judges
    )


def _compared(run: RunFiles, one: str, other: str, aspects: Sequence[str]) -> Measured:
    gaps = _gaps(run, one, other, aspects)
    return Measured(
        f"judged {one} minus {other}, mean over the sets, {_words(gaps)}",
        together([gap.above_zero for gap in gaps.values()]),
        run.paths.judged,
    )


def filter_raises_reasoning(run: RunFiles) -> Measured:
    """Judged aspects of the distilled texts: the kept ones minus all of them.

    An aspect at which both means are at the end of the scale can move neither way: None.
    """
    path = run.paths.tables / "filter_judged.csv"
    judges = list(dict.fromkeys(row.get("judge") or "" for row in run.rows(path)))
    gaps = {
        (judge, aspect): run.number(
            path, judge=judge, selection="filtered - unfiltered", aspect=aspect
        )
        for judge in judges
        for aspect in ASPECTS
    }
    flat = {key for key, gap in gaps.items() if gap.low == gap.high == 0.0}
    directions = [None if key in flat else gap.above_zero for key, gap in gaps.items()]
    return Measured(
        f"judged texts kept by the filter minus all texts, {_words(gaps)}",
        together(directions),
        path,
    )


def judged_against_teacher(run: RunFiles) -> Measured:
    """Accuracy and reasonableness of the student minus its teacher's."""
    return _compared(run, "qponder", "teacher", _CLAIMED)


def judged_cold_start(run: RunFiles) -> Measured:
    """All aspects of the cold start minus the base model's."""
    return _compared(run, "ci-long", "base", ASPECTS)


def judged_both_stages(run: RunFiles) -> Measured:
    """All aspects of the student minus the base model's."""
    return _compared(run, "qponder", "base", ASPECTS)


def judged_trade(run: RunFiles) -> Measured:
    """Accuracy and reasonableness up, completeness down, against cold start and teacher."""
    words, directions = [], []
    for other in ("ci-long", "teacher"):
        gaps = _gaps(run, "qponder", other, ASPECTS)
        words.append(f"qponder minus {other}, {_words(gaps)}")
        directions += [
            (-gap if aspect == "completeness" else gap).above_zero
            for (_, aspect), gap in gaps.items()
        ]
    return Measured(f"judged {' | '.join(words)}", together(directions), run.paths.judged)


def more_than_one_judge(run: RunFiles) -> Measured:
    """Whether several judges put the models in the same order of accuracy."""
    judges = _judges(run)
    if len(judges) < 2:
        raise NotMeasured(f"only one judge was asked: {judges[0]}")
    rows = run.rows(run.paths.judged)
    models = [
        name
        for name in dict.fromkeys(row["model"] for row in rows)
        if name and all(_has_mean(run, judge, name) for judge in judges)
    ]
    if len(models) < 2:
        raise NotMeasured("not two models have a mean accuracy, over all sets, by every judge")
    orders = {
        judge: sorted(models, key=lambda name: -_accuracy(run, judge, name)) for judge in judges
    }
    words = "; ".join(f"{judge}: {', '.join(order)}" for judge, order in orders.items())
    same = len({tuple(order) for order in orders.values()}) == 1
    return Measured(
        f"{len(judges)} judges order the models by accuracy, best first, {words}",
        same,
        run.paths.judged,
    )


def _accuracy(run: RunFiles, judge: str, model: str) -> float:
    names = {"judge": judge, "model": model, "dataset": MEAN, "aspect": "accuracy"}
    return run.number(run.paths.judged, **names).value


def _has_mean(run: RunFiles, judge: str, model: str) -> bool:
    try:
        _accuracy(run, judge, model)
    except NotMeasured:
        return False
    return True


class Judged(BaseModel):
    """What is needed of one judgement; its other fields are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    image_id: str
    repeat: int = 0
    accuracy: int | None


def accuracy_follows_score(run: RunFiles) -> Measured:
    """Rank correlation of a score's error, turned round, and its answer's judged accuracy."""
    folder = run.root / "eval" / "judgements"
    judges = sorted(path for path in folder.glob("*") if (path / "qponder").is_dir())
    if not judges:
        raise NotMeasured(f"{run.relative(folder)} holds no judgement of qponder")
    words, directions = [], []
    for judge in judges:
        closeness, ratings = _closeness_and_accuracy(run, judge / "qponder")
        found = metrics.estimate("srcc", ratings, closeness, resampling=metrics.Resampling())
        if found.value is None:
            raise NotMeasured(f"{run.relative(judge)} has no correlation: {found.reason}")
        number = Number(found.value, found.ci_low, found.ci_high)
        directions.append(number.above_zero)
        words.append(f"{judge.name}: {number} over {found.n} answers")
    return Measured(
        "rank correlation of judged accuracy and nearness of the score to the MOS, all sets "
        f"together, {'; '.join(words)}",
        together(directions),
        folder,
    )


def _closeness_and_accuracy(run: RunFiles, folder: Path) -> tuple[list[float], list[float]]:
    """Join judgements with the scores of the same answers, by image; what lacks either is left."""
    closeness: list[float] = []
    ratings: list[float] = []
    for path in sorted(folder.glob("*.jsonl")):
        answers = run.paths.predictions("qponder", path.stem)
        if not answers.is_file():
            raise NotMeasured(f"{run.relative(answers)} is not there")
        rows = artifacts.read_jsonl(answers, PredictionRecord)
        errors = {
            row.image_id: abs(row.score - row.mos)
            for row in rows
            if row.score is not None and row.mos is not None
        }
        for judged in artifacts.read_jsonl(path, Judged):
            if judged.repeat == 0 and judged.accuracy is not None and judged.image_id in errors:
                closeness.append(-errors[judged.image_id])
                ratings.append(float(judged.accuracy))
    return closeness, ratings

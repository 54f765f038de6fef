"""Claims about reasoning, held against the judges' means in `eval/judged.csv` of a run.

The file holds a mean with an interval per judge, model, set and aspect. Differences are taken
from two such intervals, not in pairs, so they come out wider than need be.
"""

from __future__ import annotations

from collections.abc import Sequence

from qponder_lib.report.audit.measured.files import MEAN, NotMeasured, Number, RunFiles
from qponder_lib.report.audit.measured.outcomes import Measured, together

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


def accuracy_follows_score(run: RunFiles) -> Measured:
    """Rank correlation of an answer's judged accuracy and its score's nearness to the MOS."""
    path = run.paths.judge_nearness
    rows = [row for row in run.rows(path) if row.get("model") == "qponder"]
    if not rows:
        raise NotMeasured(f"{run.relative(path)} has no row for qponder")
    words, directions = [], []
    for row in rows:
        judge = row["judge"] or ""
        number = run.number(path, judge=judge, model="qponder")
        directions.append(number.above_zero)
        words.append(f"{judge}: {number} over {row['n']} answers")
    return Measured(
        "rank correlation of judged accuracy and nearness of the score to the MOS, all sets "
        f"together, {'; '.join(words)}",
        together(directions),
        path,
    )

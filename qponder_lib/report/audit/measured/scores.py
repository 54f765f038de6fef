"""Claims about scores, held against `eval/` and `tables/filter.csv` of a run."""

from __future__ import annotations

from qponder_lib.report.audit.measured.files import MEAN, PAPER_SETS, NotMeasured, Number, RunFiles
from qponder_lib.report.audit.measured.outcomes import Measured, lies_in, together
from qponder_lib.report.audit.printed import Interval, paper_tables
from qponder_lib.report.audit.statements.comparing import steps

OURS, COLD_START = "qponder", "ci-long"


def mean_score(run: RunFiles) -> Measured:
    """Mean SRCC over the sets, beside the handcrafted baseline's."""
    score = run.score(OURS, "srcc")
    gap = run.difference(OURS, "handcrafted", "srcc")
    table = paper_tables()["table1"]
    fits = [
        lies_in(table.at("Q-Ponder", "AVG.", metric).interval, run.score(OURS, metric))
        for metric in ("plcc", "srcc")
    ]
    return Measured(
        f"mean SRCC over the sets is {score}, minus the handcrafted baseline's {gap}; no other "
        "row of Table 1 is run",
        gap.above_zero,
        run.paths.scores,
        together(fits),
    )


def gain_out_of_domain(run: RunFiles) -> Measured:
    """SRCC on each set that was not trained on, minus the handcrafted baseline's."""
    trained = str((run.profile.get("data") or {}).get("train_set", ""))
    rows = run.rows(run.paths.differences)
    sets = list(
        dict.fromkeys(
            row["dataset"] or ""
            for row in rows
            if row.get("model_a") == OURS and row.get("model_b") == "handcrafted"
        )
    )
    others = [name for name in sets if name not in (trained, MEAN)]
    if not trained or not others:
        raise NotMeasured("no set that was not trained on is compared with the baseline")
    gaps = {name: run.difference(OURS, "handcrafted", "srcc", name) for name in others}
    words = ", ".join(f"{name} {gap}" for name, gap in gaps.items())
    table = paper_tables()["table1"]
    fits = [
        lies_in(
            table.at("Q-Ponder", PAPER_SETS[name], "srcc").interval, run.score(OURS, "srcc", name)
        )
        for name in others
        if name in PAPER_SETS
    ]
    return Measured(
        f"SRCC minus the handcrafted baseline's, the only compared model that is run: {words}",
        together([gap.above_zero for gap in gaps.values()]),
        run.paths.differences,
        together(fits) if fits else None,
    )


def score_error_after_rl(run: RunFiles) -> Measured:
    """Mean absolute error after RL minus before."""
    gap = run.difference(OURS, COLD_START, "mae")
    return Measured(
        f"RL changed the mean absolute error by {gap} MOS points; hallucinations are judged "
        "apart, under `accuracy-for-completeness`",
        (-gap).above_zero,
        run.paths.differences,
    )


def rl_improves_scores(run: RunFiles) -> Measured:
    """Mean SRCC and PLCC after RL minus before."""
    gaps = {metric: run.difference(OURS, COLD_START, metric) for metric in ("srcc", "plcc")}
    fits = [lies_in(_reported_gap("long + RL", "long", m), gap) for m, gap in gaps.items()]
    words = ", ".join(f"mean {metric.upper()} by {gap}" for metric, gap in gaps.items())
    return Measured(
        f"RL changed {words}",
        together([gap.above_zero for gap in gaps.values()]),
        run.paths.differences,
        together(fits),
    )


def longer_chains_improve(run: RunFiles) -> Measured:
    """Mean SRCC of the SFT variants, each against the shorter ones."""
    named = {"ci-none": "no reasoning", "ci-short": "short", "ci-long": "long"}
    pairs = [("ci-short", "ci-none"), ("ci-long", "ci-short"), ("ci-long", "ci-none")]
    gaps = {pair: run.difference(*pair, "srcc") for pair in pairs}
    fits = [lies_in(_reported_gap(named[a], named[b], "srcc"), gap) for (a, b), gap in gaps.items()]
    words = [f"{named[a]} minus {named[b]} {gap}" for (a, b), gap in gaps.items()]
    return Measured(
        f"mean SRCC: {'; '.join(words)}",
        together([gap.above_zero for gap in gaps.values()]),
        run.paths.differences,
        together(fits),
    )


def _reported_gap(new: str, old: str, metric: str) -> Interval:
    """Return what Table 3 reports for a mean difference, averaged from its cells."""
    table = paper_tables()["table3"]
    return Interval.mean(
        [
            table.at(new, step.dataset, metric).interval
            - table.at(old, step.dataset, metric).interval
            for step in steps(table, new, old, [metric])
        ]
    )


def format_after_rl(run: RunFiles) -> Measured:
    """Share of readable sampled answers after RL minus before."""
    wanted = {
        "model_a": OURS,
        "model_b": COLD_START,
        "metric": "parse_rate",
        "decoding": "sampled",
        "protocol": "raw",
    }
    rows = run.rows(run.paths.differences)
    sets = [r["dataset"] or "" for r in rows if all(r.get(k) == v for k, v in wanted.items())]
    if not sets:
        raise NotMeasured(f"{run.relative(run.paths.differences)} compares no sampled answers")
    names = [MEAN] if MEAN in sets else sets
    gaps = {name: run.number(run.paths.differences, dataset=name, **wanted) for name in names}
    words = ", ".join(f"{gap} on {name}" for name, gap in gaps.items())
    return Measured(
        f"RL changed the share of readable sampled answers by {words}",
        together([gap.above_zero for gap in gaps.values()]),
        run.paths.differences,
    )


def filter_raises_scores(run: RunFiles) -> Measured:
    """PLCC and SRCC of the distilled data after the filter minus before."""
    path, compared = run.paths.filter_table, run.paths.tables / "filter_differences.csv"
    reported = paper_tables()["section_3_2"]
    words, directions, fits = [], [], []
    for metric in ("plcc", "srcc"):
        numbers: dict[str, Number] = {}
        for selection in ("unfiltered", "filtered"):
            numbers[selection] = run.number(path, metric, selection=selection)
            printed = reported.at(selection, "distilled data", metric).interval
            fits.append(lies_in(printed, numbers[selection]))
        gap = run.number(compared, first="filtered", second="unfiltered", metric=metric)
        directions.append(gap.above_zero)
        words.append(
            f"{metric.upper()} {numbers['unfiltered'].value:.3f} before, "
            f"{numbers['filtered'].value:.3f} after, by {gap}"
        )
    return Measured("; ".join(words), together(directions), path, together(fits))

"""Claims about the course of training, held against `history.csv` of SFT and GRPO."""

from __future__ import annotations

from statistics import fmean, stdev

from qponder_lib.report.audit.measured.files import NotMeasured, RunFiles
from qponder_lib.report.audit.measured.outcomes import Measured, change, fifths, together

CALM_FROM = 800
"""Step that appendix C names."""
BRANCHES = {"response": ("balance", "truth_rank"), "preference": ("pairwise", "triplet")}
"""Terms of PreResQ-R1's reward, by the branch they belong to."""
SETTLED = 0.05
"""A loss has settled if its last third takes off at most this share of the whole fall."""


def _course(run: RunFiles, name: str, column: str) -> list[float]:
    """Return a column of the history of a GRPO run, that of its exploration first if it has one."""
    last = run.column(run.paths.grpo(name) / "history.csv", column)
    first = run.paths.grpo(f"{name}-explore") / "history.csv"
    return [*run.column(first, column), *last] if first.is_file() else last


def _parts(run: RunFiles, name: str, column: str) -> list:
    """Return a column of the history of a GRPO run in five parts."""
    path = run.paths.grpo(name) / "history.csv"
    values = _course(run, name, column)
    try:
        return fifths(values)
    except ValueError as error:
        raise NotMeasured(f"{run.relative(path)}, {column}: {error}") from error


def sft_settles(run: RunFiles) -> Measured:
    """How much of the fall of the loss is left for the last third of the cold start."""
    path = run.paths.sft("long") / "history.csv"
    loss, steps = run.column(path, "loss"), run.column(path, "step")
    if len(loss) < 6:
        raise NotMeasured(f"{run.relative(path)} has {len(loss)} rows, at least 6 are needed")
    third = len(loss) // 3
    fall = loss[0] - fmean(loss[-third:])
    late = fmean(loss[-2 * third : -third]) - fmean(loss[-third:])
    share = late / fall if fall > 0 else 1.0
    return Measured(
        f"in {steps[-1]:.0f} steps the loss fell from {loss[0]:.2f} to {fmean(loss[-third:]):.2f}; "
        f"the last third took off {100 * share:.1f} % of that (at most {100 * SETTLED:.0f} % "
        "counts as settled; one run, no interval)",
        fall > 0 and share <= SETTLED and steps[-1] <= 300,
        path,
    )


def reward_rises_early(run: RunFiles) -> Measured:
    """The accuracy reward from its first fifth to its middle, and from there to its end."""
    first, _, middle, _, last = _parts(run, "qponder", "reward_accuracy")
    early, late = change(middle, first), change(last, middle)
    plateau = abs(late.value) < abs(early.value)
    return Measured(
        f"the accuracy reward changed by {early} from the first to the middle fifth of the steps "
        f"and by {late} from there to the last",
        together([early.above_zero, plateau if early.above_zero else None]),
        run.paths.grpo("qponder") / "history.csv",
    )


def calm_after_step_800(run: RunFiles) -> Measured:
    """The spread of the accuracy reward before and after step 800."""
    path = run.paths.grpo("qponder") / "history.csv"
    steps, rewards = run.column(path, "step"), run.column(path, "reward_accuracy")
    late = [r for s, r in zip(steps, rewards, strict=True) if s > CALM_FROM]
    early = [r for s, r in zip(steps, rewards, strict=True) if s <= CALM_FROM]
    if len(late) < 10 or len(early) < 10:
        raise NotMeasured(f"the run has {steps[-1]:.0f} steps; the claim is about those after 800")
    return Measured(
        f"the accuracy reward has a standard deviation of {stdev(early):.3f} up to step 800 and "
        f"of {stdev(late):.3f} after it (one run, no interval)",
        stdev(late) <= stdev(early),
        path,
    )


def length_declines(run: RunFiles) -> Measured:
    """Tokens of sampled answers, last fifth of the steps minus first."""
    first, *_, last = _parts(run, "qponder", "completion_length")
    gap = change(last, first)
    return Measured(
        f"sampled answers had {fmean(first):.1f} tokens in the first fifth of the steps and "
        f"{fmean(last):.1f} in the last, a change of {gap}",
        (-gap).above_zero,
        run.paths.grpo("qponder") / "history.csv",
    )


def length_rises_late(run: RunFiles) -> Measured:
    """Tokens of sampled answers, last fifth of the steps minus the one before."""
    *_, before, last = _parts(run, "qponder", "completion_length")
    gap = change(last, before)
    return Measured(
        f"sampled answers had {fmean(before):.1f} tokens in the fourth fifth of the steps and "
        f"{fmean(last):.1f} in the last, a change of {gap}",
        gap.above_zero,
        run.paths.grpo("qponder") / "history.csv",
    )


def preresq_improves(run: RunFiles) -> Measured:
    """SRCC and error on validation images at the start and end of the PreResQ-R1 run."""
    path = run.paths.grpo("preresq") / "history.csv"
    srcc, mae = (_course(run, "preresq", f"validation_{name}") for name in ("srcc", "mae"))
    if len(srcc) < 2 or len(mae) < 2:
        raise NotMeasured(f"{run.relative(path)} was validated {len(srcc)} times, 2 are needed")
    return Measured(
        f"on validation images SRCC went from {srcc[0]:.3f} to {srcc[-1]:.3f} and the mean "
        f"absolute error from {mae[0]:.1f} to {mae[-1]:.1f} MOS points (one run, no interval)",
        srcc[-1] > srcc[0] and mae[-1] < mae[0],
        path,
    )


def preresq_branches_rise(run: RunFiles) -> Measured:
    """The terms of both branches in the first and last fifth of the steps."""
    words, directions = [], []
    for branch, terms in BRANCHES.items():
        for term in terms:
            first, *_, last = _parts(run, "preresq", f"term_{term}")
            gap = change(last, first)
            directions.append(gap.above_zero)
            words.append(f"{branch} branch, {term.replace('_', ' ')}, by {gap}")
    return Measured(
        "from the first to the last fifth of the steps the terms of the reward changed: "
        + "; ".join(words),
        together(directions),
        run.paths.grpo("preresq") / "history.csv",
    )


def preresq_steadies(run: RunFiles) -> Measured:
    """Distinct scores among the samples of one image, last fifth of the steps minus first."""
    first, *_, last = _parts(run, "preresq", "distinct_scores")
    gap = change(last, first)
    return Measured(
        f"distinct scores among the samples of one image: {fmean(first):.2f} in the first fifth "
        f"of the steps, {fmean(last):.2f} in the last, a change of {gap}; the reasoning is not "
        "judged here",
        (-gap).above_zero,
        run.paths.grpo("preresq") / "history.csv",
    )

"""The page of the metrics that training logs; limits, causes and remedies are monitoring's own."""

from __future__ import annotations

from pathlib import Path

from qponder_lib.artifacts import read_csv
from qponder_lib.evaluation import monitoring
from qponder_lib.evaluation.monitoring import LIMITS, WINDOW, Alarm

ALARMED = {
    "reward": (
        "weighted sum of the rewards of a completion",
        "rises, fast at first, then slowly",
        f"rose by less than {monitoring.LEAST_RISE} from start to end",
        (1.0, 1.0),
    ),
    "reward_format": (
        "share of completions in the asked form (Eq. 6)",
        "near 1 from the first step: the cold start taught the form",
        "is 0",
        (1.0, 0.0),
    ),
    "parse_rate": (
        "share of completions with a score that can be read",
        "near 1 and stays there",
        f"below {LIMITS['parse_rate']:.0%}",
        (1.0, 0.1),
    ),
    "zero_variance_share": (
        "share of groups whose completions all earn the same, so that they teach nothing",
        "near 0; it may rise slowly as the policy settles",
        f"above {LIMITS['zero_variance_share']:.0%}",
        (0.0, 0.9),
    ),
    "distinct_scores": (
        "different scores in a group",
        "several of 8; it falls slowly as the policy settles",
        f"below {monitoring.LEAST_DISTINCT}",
        (6.0, 1.0),
    ),
    "modal_share": (
        "share of a step's scores that are the commonest one",
        "small, and not rising",
        f"above {LIMITS['modal_share']:.0%}: the scores collapsed",
        (0.0, 0.9),
    ),
    "completion_length": (
        "tokens of a completion",
        "steady, or slowly shorter",
        f"below {monitoring.LEAST_LENGTH:.0%} of its start",
        (100.0, 10.0),
    ),
    "clipped_ratio": (
        "share of completions cut off at the longest length",
        "near 0",
        f"above {LIMITS['clipped_ratio']:.0%}",
        (0.0, 0.9),
    ),
    "kl": (
        "KL divergence from the model it started from, nats per token",
        "starts at 0, rises slowly, stays small",
        f"above {LIMITS['kl']}",
        (0.0, 2.0),
    ),
    "validation_srcc": (
        "SRCC of greedy predictions on validation photographs, every few steps",
        "rises or stays",
        f"fell by more than {monitoring.MOST_SRCC_LOST} from its best value",
        (0.9, 0.1),
    ),
}
"""Column with an alarm -> what it is, what is healthy, when it alarms; values that alarm."""
PLAIN = {
    "reward_accuracy": ("accuracy reward (Eq. 5)", "rises: scores come nearer to the MOS"),
    "reward_std": ("spread of rewards within a group", "above 0, falls slowly"),
    "entropy": ("entropy of the next token, nats", "falls slowly; a sudden fall is a collapse"),
    "loss": (
        "GRPO: near 0 by construction; SFT: cross-entropy per token",
        "GRPO: no meaning for progress; SFT: falls fast, then flattens",
    ),
    "grad_norm": ("length of the gradient before clipping", "of one order; spikes are bad batches"),
    "learning_rate": ("rate of this step", "as the schedule says"),
    "mean_token_accuracy": ("SFT: share of tokens predicted right", "rises"),
    "epoch": ("SFT: passes over the training rows", ""),
    "seconds": ("since the start; goes on after a resume", "grows evenly"),
    "validation_plcc": ("PLCC of the same predictions", "moves with the SRCC"),
    "validation_mae": ("absolute error, MOS units", "falls"),
    "validation_parse_rate": ("parse rate of greedy predictions", "near 1"),
    "stills": ("warm-up on mosaics: share of cells that repeat the one before", "as set"),
    "held_out_auc": ("warm-up: repeated cells told from moving ones, new scenes", "rises to 1"),
    "held_out_auc_wrapped": ("the same across the end of a row of the mosaic", "follows"),
    "term_": ("PreResQ-R1: a term of its reward by itself", "rises, or stays where it is full"),
}
"""Columns without an alarm, `term_` for all that begin so -> what it is, what is healthy."""


def alarm_of(column: str) -> Alarm:
    """Return the alarm that monitoring raises for a column that goes from good to bad."""
    good, bad = ALARMED[column][3]
    values = [good] * WINDOW + [bad] * WINDOW
    history = [{"step": step, column: value} for step, value in enumerate(values, start=1)]
    (alarm,) = monitoring.alarms(history)
    return alarm


def page(run: Path) -> str:
    """Return the page as Markdown.

    Args:
        run: A reference run; the histories of its GRPO phases are read.
    """
    history = read_csv(max(run.glob("grpo/*/history.csv")))
    lines = [
        "# Training metrics",
        "",
        "What training logs in `grpo/<reward>/history.csv` and `sft/<variant>/history.csv`, one "
        f"line each. Alarms compare the means of the first and the last {WINDOW} logged rows; "
        "notebooks 06 and 12 print them, `qponder health RUN` too and exits with 1 if there "
        "are any. The limits are ours, no paper states any.",
        "",
        "## With an alarm",
        "",
        "| metric | what it is | healthy (in the reference run: start → end) | alarm | mostly "
        "because: what to do |",
        "|---|---|---|---|---|",
    ]
    for column, (meaning, healthy, limit, _) in ALARMED.items():
        alarm = alarm_of(column)
        measured = f"{healthy} ({_ends(history, column)})"
        advice = f"{alarm.cause}: {alarm.remedy}"
        lines.append(f"| `{column}` | {meaning} | {measured} | {limit} | {advice} |")
    lines += ["", "## Without", "", "| metric | what it is | healthy |", "|---|---|---|"]
    for column, (meaning, healthy) in PLAIN.items():
        name = f"{column}*" if column.endswith("_") else column
        lines.append(f"| `{name}` | {meaning} | {healthy} |")
    return "\n".join(lines) + "\n"


def _ends(history: list[dict[str, str | None]], column: str) -> str:
    values = [float(row[column]) for row in history if row.get(column) is not None]
    if not values:
        return "not logged"
    window = min(WINDOW, max(1, len(values) // 2))
    first, last = values[:window], values[-window:]
    return f"{sum(first) / len(first):.3g} → {sum(last) / len(last):.3g}"

"""Claims about scores that Q-Ponder's own Tables 1 and 3, and section 3.2, can decide."""

from __future__ import annotations

from fractions import Fraction

from qponder_lib.report.audit.claims import PrintedAnswer
from qponder_lib.report.audit.printed import AVERAGE_NAMES, Interval, PrintedTable
from qponder_lib.report.audit.statements.comparing import (
    NO_TEST,
    Step,
    Tables,
    answer_of,
    best_other,
    outcome_of,
    steps,
    steps_to_best,
)

OURS = "Q-Ponder"
TRAINED_ON = "KonIQ"


def _out_of_domain(table: PrintedTable) -> list[str]:
    return [name for name in table.datasets if name != TRAINED_ON]


def best_average_score(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder's average in Table 1 the highest?"""
    table = tables["table1"]
    averages = [c.dataset for c in table if c.dataset.lower() in AVERAGE_NAMES]
    found = steps_to_best(table, OURS, dict.fromkeys(averages))
    words = [
        f"{s.metric.upper()} {table.at(OURS, s.dataset, s.metric).text}, next {s.other} "
        f"{best_other(table, OURS, s.dataset, s.metric).text}"
        for s in found
    ]
    sentence = f"averages over six sets: {'; '.join(words)}; {NO_TEST}"
    return PrintedAnswer(outcome_of(found), sentence)


def srcc_gain_out_of_domain(tables: Tables, claimed: str = "6.5") -> PrintedAnswer:
    """Is the largest relative gain in SRCC over the best other row the one that is claimed?

    Args:
        tables: The paper's tables.
        claimed: Per cent, as printed.
    """
    table = tables["table1"]
    best: tuple[Fraction, str, str, str] | None = None
    for dataset in _out_of_domain(table):
        other = best_other(table, OURS, dataset, "srcc")
        ours = table.at(OURS, dataset, "srcc")
        gain = 100 * (ours.value / other.value - 1)
        if best is None or gain > best[0]:
            best = (gain, dataset, other.method, f"{ours.text} against {other.text}")
    if best is None:
        return PrintedAnswer("not_decidable", "Table 1 prints no set that was not trained on")
    gain, dataset, method, pair = best
    ours, other = (
        table.at(OURS, dataset, "srcc").interval,
        table.at(method, dataset, "srcc").interval,
    )
    possible = Interval(100 * (ours.low / other.high - 1), 100 * (ours.high / other.low - 1))
    fits = possible.meets(Interval.of(claimed))
    sentence = (
        f"the largest gain in SRCC over the best other row is on {dataset}, {pair} ({method}): "
        f"{float(gain):.2f} % relative, {float(possible.low):.2f} to {float(possible.high):.2f} "
        f"with what rounding hides; in SRCC itself {float(gain * other.middle / 100):.3f}"
    )
    return PrintedAnswer("holds" if fits else "does_not_hold", sentence)


def best_out_of_domain(tables: Tables) -> PrintedAnswer:
    """Is the mean over the five sets not trained on the highest of Table 1?"""
    table = tables["table1"]
    words, found = [], []
    for metric in table.metrics:
        means = {
            method: sum(table.at(method, name, metric).value for name in _out_of_domain(table))
            / len(_out_of_domain(table))
            for method in table.methods
        }
        ours = means.pop(OURS)
        other = max(means, key=lambda name: means[name])
        found.append(Step("mean", metric, ours - means[other], other))
        words.append(f"{metric.upper()} {float(ours):.4f}, next {other} {float(means[other]):.4f}")
    columns = steps_to_best(table, OURS, _out_of_domain(table))
    n_up = sum(step.gain > 0 for step in columns)
    sentence = (
        f"means of the five sets that were not trained on: {'; '.join(words)}; highest in {n_up} "
        f"of their {len(columns)} columns; {NO_TEST}"
    )
    return PrintedAnswer(outcome_of(found), sentence)


def best_in_every_column(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder the highest in every column of Table 1?"""
    table = tables["table1"]
    return answer_of(steps_to_best(table, OURS, table.datasets), "Q-Ponder is above all other rows")


def only_exception_is_koniq(tables: Tables) -> PrintedAnswer:
    """Is KonIQ the only set of Table 1 with a higher value in another row?"""
    table = tables["table1"]
    lower = [s for s in steps_to_best(table, OURS, table.datasets) if s.gain < 0]
    names = list(dict.fromkeys(step.dataset for step in lower))
    words = ", ".join(f"{s.place} ({s.other}, {float(-s.gain):.3f})" for s in lower)
    sentence = f"another row prints a higher value in {words or 'no column'}"
    return PrintedAnswer("holds" if names == [TRAINED_ON] else "does_not_hold", sentence)


def margin_on_koniq(tables: Tables, claimed: str = "0.01") -> PrintedAnswer:
    """Is Q-Ponder 0.01 below Q-Align and DeQA on KonIQ?

    Args:
        tables: The paper's tables.
        claimed: The margin, as printed.
    """
    table, target = tables["table1"], Interval.of(claimed)
    margins = {
        (other, metric): table.at(other, TRAINED_ON, metric).value
        - table.at(OURS, TRAINED_ON, metric).value
        for other in ("Q-Align", "DeQA")
        for metric in table.metrics
    }
    fit = [target.low <= margin <= target.high for margin in margins.values()]
    words = [f"{name} {m.upper()} {float(gap):.3f}" for (name, m), gap in margins.items()]
    mean = float(sum(margins.values()) / len(margins))
    sentence = (
        f"printed margins: {', '.join(words)}; their mean is {mean:.3f}; {sum(fit)} of "
        f"{len(fit)} round to {claimed}"
    )
    return PrintedAnswer(
        "holds" if all(fit) else "holds_in_part" if any(fit) else "does_not_hold", sentence
    )


def gains_on_csiq_and_agiqa(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder above the best other row on CSIQ and AGIQA, in both correlations?"""
    found = steps_to_best(tables["table1"], OURS, ("CSIQ", "AGIQA"))
    return answer_of(found, "Q-Ponder is above the best other row", test=True)


def longer_chains_improve(tables: Tables) -> PrintedAnswer:
    """Does every longer chain of Table 3 score higher, most on AGIQA and LIVE-W?"""
    table = tables["table3"]
    pairs = [("short", "no reasoning"), ("long", "short"), ("long", "no reasoning")]
    found = [step for new, old in pairs for step in steps(table, new, old)]
    whole = steps(table, "long", "no reasoning")
    by_set = {
        name: sum(s.gain for s in whole if s.dataset == name) / len(table.metrics)
        for name in table.datasets
    }
    first = sorted(by_set, key=lambda name: by_set[name], reverse=True)[:2]
    words = [
        f"{new} over {old} in {sum(s.gain > 0 for s in part)} of {len(part)}"
        for new, old in pairs
        for part in [steps(table, new, old)]
    ]
    sentence = (
        f"places that go up: {', '.join(words)}; from none to long, {' and '.join(first)} gain "
        f"most ({', '.join(f'{float(by_set[name]):+.3f}' for name in first)}, mean of PLCC and "
        f"SRCC); {NO_TEST}"
    )
    return PrintedAnswer(outcome_of(found), sentence)


def rl_improves_scores(tables: Tables) -> PrintedAnswer:
    """Does RL raise every score of the cold start in Table 3?"""
    found = steps(tables["table3"], "long + RL", "long")
    return answer_of(found, "RL raises the cold start's value")


def filter_raises_scores(tables: Tables) -> PrintedAnswer:
    """Are PLCC and SRCC of the distilled data higher after the filter, as section 3.2 prints?"""
    found = steps(tables["section_3_2"], "filtered", "unfiltered", ("plcc", "srcc"))
    answer = answer_of(found, "the filtered data are higher")
    also = (
        "dropping the rows with the largest errors tends to raise both, whatever the reasoning says"
    )
    return PrintedAnswer(answer.outcome, f"{answer.sentence}; {also}")

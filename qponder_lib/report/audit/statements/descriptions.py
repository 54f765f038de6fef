"""Claims about judged descriptions that Q-Ponder's own Tables 2 and 4 can decide."""

from __future__ import annotations

from qponder_lib.report.audit.claims import PrintedAnswer
from qponder_lib.report.audit.repeats import check_repeats
from qponder_lib.report.audit.statements.comparing import (
    NO_TEST,
    Tables,
    answer_of,
    outcome_of,
    span,
    steps,
)

OURS, COLD_START, TEACHER, BASE = "Q-Ponder", "Q-Ponder-CI", "Qwen2.5VL-72B", "Qwen2.5VL-7B"
_CLAIMED = ("accuracy", "reasonableness")


def best_descriptions(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder the highest in every column of Table 2?"""
    table = tables["table2"]
    found = [step for m in table.methods if m != OURS for step in steps(table, OURS, m)]
    answer = answer_of(found, "Q-Ponder is above another row of Table 2")
    higher = [
        step
        for other in (COLD_START, TEACHER)
        for step in steps(tables["table4"], OURS, other)
        if step.gain < 0
    ]
    if not higher:
        return answer
    aspects = ", ".join(dict.fromkeys(step.metric for step in higher))
    also = (
        f"in Table 4, which is not compared there, {COLD_START} or {TEACHER} print a higher value "
        f"in {len(higher)} places ({aspects})"
    )
    return PrintedAnswer(answer.outcome, f"{answer.sentence}; {also}")


def _copied(tables: Tables) -> str:
    """Say which of the teacher's cells are printed twice, since comparisons rest on them."""
    repeated = [
        f.where
        for f in check_repeats(tables["table4"])
        if f.outcome == "notable" and f.where.startswith(TEACHER)
    ]
    return f"; printed alike, so one may be a copy: {'; '.join(repeated)}" if repeated else ""


def descriptions_beat_models_and_teacher(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder above Table 2's models and, in accuracy and reasonableness, its teacher?"""
    table = tables["table2"]
    models = [step for m in table.methods if m != OURS for step in steps(table, OURS, m)]
    teacher = steps(tables["table4"], OURS, TEACHER, _CLAIMED)
    complete = steps(tables["table4"], OURS, TEACHER, ("completeness",))
    sentence = (
        f"above the models of Table 2 in {sum(s.gain > 0 for s in models)} of {len(models)} "
        f"places; above its teacher in {sum(s.gain > 0 for s in teacher)} of {len(teacher)} "
        f"places of accuracy and reasonableness ({span(teacher)}), and in completeness in "
        f"{sum(s.gain > 0 for s in complete)} of {len(complete)} ({span(complete)})"
        f"{_copied(tables)}; {NO_TEST}"
    )
    return PrintedAnswer(outcome_of(models + teacher), sentence)


def cold_start_beats_base_in_descriptions(tables: Tables) -> PrintedAnswer:
    """Is the cold start above the base model everywhere in Table 4?"""
    found = steps(tables["table4"], COLD_START, BASE)
    return answer_of(found, "Q-Ponder-CI is above the base model", test=True)


def both_stages_beat_base_in_descriptions(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder above the base model everywhere in Table 4?"""
    found = steps(tables["table4"], OURS, BASE)
    return answer_of(found, "Q-Ponder is above the base model", test=True)


def rl_raises_accuracy_and_reasonableness(tables: Tables) -> PrintedAnswer:
    """Does RL raise the scores of Table 3, and accuracy and reasonableness in Table 4?"""
    scores = steps(tables["table3"], "long + RL", "long")
    judged = steps(tables["table4"], OURS, COLD_START, _CLAIMED)
    sentence = (
        f"RL raises {sum(s.gain > 0 for s in scores)} of {len(scores)} scores of Table 3 "
        f"({span(scores)}) and {sum(s.gain > 0 for s in judged)} of {len(judged)} values of "
        f"accuracy and reasonableness in Table 4 ({span(judged)})"
    )
    return PrintedAnswer(outcome_of(scores + judged), sentence)


def accuracy_up_completeness_down(tables: Tables) -> PrintedAnswer:
    """Is Q-Ponder above both in accuracy and reasonableness and slightly below in completeness?"""
    table, words, up, down = tables["table4"], [], [], []
    for other in (COLD_START, TEACHER):
        higher = steps(table, OURS, other, _CLAIMED)
        lower = steps(table, OURS, other, ("completeness",))
        up, down = up + higher, down + lower
        words.append(f"against {other} {span(higher)} and, in completeness, {span(lower)}")
    fits = all(s.gain > 0 for s in up) and all(s.gain < 0 for s in down)
    sentence = (
        f"accuracy and reasonableness: {'; '.join(words)}; what counts as slight is not stated"
        f"{_copied(tables)}"
    )
    return PrintedAnswer("holds" if fits else "holds_in_part", sentence)


def filter_raises_reasoning(tables: Tables) -> PrintedAnswer:
    """Are the judged aspects of the distilled data higher after the filter?"""
    aspects = ("completeness", "accuracy", "reasonableness")
    found = steps(tables["section_3_2"], "filtered", "unfiltered", aspects)
    return answer_of(found, "the filtered data are higher")


def judged_sets_are_not_trained_on(tables: Tables) -> PrintedAnswer:
    """Is the training set absent from the columns of Tables 2 and 4?"""
    names = list(dict.fromkeys(tables["table2"].datasets + tables["table4"].datasets))
    outcome = "does_not_hold" if "KonIQ" in names else "holds"
    return PrintedAnswer(
        outcome, f"by name: judged on {', '.join(names)}; trained on KonIQ; images not compared"
    )

"""What the papers' own tables say about the papers' claims: one function per claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qponder_lib.report.audit.claims import Claim, PrintedAnswer
from qponder_lib.report.audit.statements import descriptions, scores, text
from qponder_lib.report.audit.statements.comparing import Tables

__all__ = ["CHECKS", "printed_answer"]

CHECKS: Mapping[str, Callable[[Tables], PrintedAnswer]] = {
    check.__name__: check
    for check in (
        scores.best_average_score,
        scores.srcc_gain_out_of_domain,
        scores.best_out_of_domain,
        scores.best_in_every_column,
        scores.only_exception_is_koniq,
        scores.margin_on_koniq,
        scores.gains_on_csiq_and_agiqa,
        scores.longer_chains_improve,
        scores.rl_improves_scores,
        scores.filter_raises_scores,
        descriptions.best_descriptions,
        descriptions.descriptions_beat_models_and_teacher,
        descriptions.cold_start_beats_base_in_descriptions,
        descriptions.both_stages_beat_base_in_descriptions,
        descriptions.rl_raises_accuracy_and_reasonableness,
        descriptions.accuracy_up_completeness_down,
        descriptions.filter_raises_reasoning,
        descriptions.judged_sets_are_not_trained_on,
        text.training_images_of_the_text,
        text.steps_of_one_epoch,
        text.ambiguous_margins,
    )
}
"""The functions that `reported/claims.csv` names."""


def printed_answer(claim: Claim, tables: Tables) -> PrintedAnswer | None:
    """Hold a claim against the paper's own tables.

    Args:
        claim: The claim.
        tables: What `audit.paper_tables` returns.

    Returns:
        What they say; None if they say nothing about it.
    """
    return CHECKS[claim.printed_check](tables) if claim.printed_check else None

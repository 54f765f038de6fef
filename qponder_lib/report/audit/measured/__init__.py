"""What a run shows about the papers' claims: one function per claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qponder_lib.report.audit.measured import descriptions, rollouts, scores, training
from qponder_lib.report.audit.measured.files import NotMeasured, RunFiles
from qponder_lib.report.audit.measured.outcomes import Measured

__all__ = ["CHECKS", "Measured", "NotMeasured", "RunFiles"]

CHECKS: Mapping[str, Callable[[RunFiles], Measured]] = {
    check.__name__: check
    for check in (
        scores.mean_score,
        scores.gain_out_of_domain,
        scores.score_error_after_rl,
        scores.rl_improves_scores,
        scores.longer_chains_improve,
        scores.format_after_rl,
        scores.filter_raises_scores,
        rollouts.groups_without_feedback,
        training.sft_settles,
        training.reward_rises_early,
        training.calm_after_step_800,
        training.length_declines,
        training.length_rises_late,
        training.preresq_improves,
        training.preresq_branches_rise,
        training.preresq_steadies,
        descriptions.filter_raises_reasoning,
        descriptions.judged_against_teacher,
        descriptions.judged_cold_start,
        descriptions.judged_both_stages,
        descriptions.judged_trade,
        descriptions.more_than_one_judge,
        descriptions.accuracy_follows_score,
    )
}
"""The functions that `reported/claims.csv` names."""

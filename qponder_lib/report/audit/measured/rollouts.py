"""Claims about rewards that the rollouts of a GRPO run decide without another run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict

from qponder_lib import artifacts
from qponder_lib.report.audit.measured.files import NotMeasured, Number, RunFiles
from qponder_lib.report.audit.measured.outcomes import Z_95, Measured
from qponder_lib.rewards import alternatives
from qponder_lib.scales import ASPECT_SCALE, MOS_MAX, MOS_MIN

THRESHOLD = alternatives.THRESHOLD * (MOS_MAX - MOS_MIN) / (ASPECT_SCALE[1] - ASPECT_SCALE[0])
"""MOS points; the threshold reward of a contemporary of Q-Ponder, from its scale of 1 to 5."""


class Rollout(BaseModel):
    """What is needed of one sampled answer; its other fields are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    step: int
    image_id: str
    mos: float
    score: float | None
    reward_accuracy: float


def groups_without_feedback(run: RunFiles) -> Measured:
    """Share of groups whose answers all earn the same: a threshold reward minus Eq. 5."""
    path = run.paths.grpo("qponder") / "completions.jsonl"
    if not path.is_file():
        raise NotMeasured(f"{run.relative(path)} is not there")
    groups: dict[tuple[int, str], list[Rollout]] = {}
    for row in artifacts.read_jsonl(path, Rollout):
        groups.setdefault((row.step, row.image_id), []).append(row)
    whole = [group for group in groups.values() if len(group) > 1]
    if len(whole) < 10:
        raise NotMeasured(f"{run.relative(path)} holds {len(whole)} groups, 10 are needed")
    dense = [_silent([row.reward_accuracy for row in group]) for group in whole]
    sparse = [_silent([_threshold(row) for row in group]) for group in whole]
    gap = paired_mean([float(s) - float(d) for s, d in zip(sparse, dense, strict=True)])
    return Measured(
        f"on the same {len(whole)} groups of sampled answers, {100 * fmean(sparse):.1f} % would "
        f"get no feedback from a threshold at {THRESHOLD:g} MOS points and "
        f"{100 * fmean(dense):.1f} % get none from Eq. 5, a difference in share of {gap}; whether "
        "training would stick there is not measured",
        gap.above_zero,
        path,
    )


def _silent(rewards: Sequence[float]) -> bool:
    return max(rewards) == min(rewards)


def _threshold(row: Rollout) -> float:
    return float(row.score is not None and abs(row.score - row.mos) < THRESHOLD)


def paired_mean(values: Sequence[float]) -> Number:
    """Return a mean with its 95 % interval by the normal approximation.

    Example:
        >>> paired_mean([1.0, 1.0, 1.0])
        Number(value=1.0, low=1.0, high=1.0)
    """
    half = Z_95 * stdev(values) / math.sqrt(len(values))
    return Number(fmean(values), fmean(values) - half, fmean(values) + half)

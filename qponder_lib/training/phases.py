"""The one or two stages of reinforcement learning that a profile asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qponder_lib.config import GrpoConfig
from qponder_lib.pipeline import Run

SEED_STEP = 1000
"""Added to the seed for the second stage (decision D69)."""


@dataclass(frozen=True)
class Phase:
    """One training run of reinforcement learning.

    Attributes:
        name: Folder below ``grpo/``; the stage of the graph is ``grpo-<name>``.
        config: Settings of this run alone.
        start: Model folder it starts from.
    """

    name: str
    config: GrpoConfig
    start: Path

    @property
    def stage(self) -> str:
        """Return the name of the stage in the graph."""
        return f"grpo-{self.name}"


def phases(run: Run) -> tuple[Phase, ...]:
    """Return the training runs in their order; the last one leaves the model that counts.

    With ``grpo.exploration_steps`` there are two: exploration draws one of five prompts for each
    image and deducts the std penalty; stability goes on from its model for the other steps, with
    the prompts and the penalty that the profile states. Each has its own schedule.

    The second has another seed: with the same one it would draw the first one's images again.

    Source:
        PreResQ-R1, "Exploration-to-Stability" (figure and released code); the switch lies at about
        half of the steps. The schedule of the learning rate across the switch is not known: a
        schedule for each is ours (decision D49).
    """
    config = run.profile.grpo
    cold = run.paths.sft(config.start_from)
    if not config.exploration_steps:
        return (Phase(config.reward, config, cold),)
    first = {
        "max_steps": config.exploration_steps,
        "exploration_steps": 0,
        "prompt_pool": True,
        "penalise_spread": True,
    }
    second = {
        "max_steps": config.max_steps - config.exploration_steps,
        "exploration_steps": 0,
        "seed": config.seed + SEED_STEP,
    }
    name = f"{config.reward}-explore"
    return (
        Phase(name, config.model_copy(update=first), cold),
        Phase(config.reward, config.model_copy(update=second), run.paths.grpo(name)),
    )

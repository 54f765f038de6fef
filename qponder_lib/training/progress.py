"""Progress of a trainer: a line now and then that names what matters, with the time left."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_SECONDS_BETWEEN_LINES = 10.0
_SHOWN = ("loss", "reward", "mean_token_accuracy", "parse_rate")


class StepProgress(TrainerCallback):
    """Prints step, time left and the newest logged numbers; notes the seconds of each log row."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.began = self.said = time.monotonic()
        self.first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Remember where this process starts; a resumed run starts in the middle."""
        self.began = self.said = time.monotonic()
        self.first_step = state.global_step
        if state.global_step and state.is_world_process_zero:
            print(f"{self.label}: resumed at step {state.global_step}", flush=True)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Called by the trainer with what it logged."""
        now = time.monotonic()
        if state.log_history:
            state.log_history[-1]["seconds"] = round(now - self.began, 2)
        last = state.global_step >= state.max_steps
        soon = now - self.said < _SECONDS_BETWEEN_LINES and not last
        numbers = " ".join(
            f"{name} {float(logs[name]):.3g}" for name in _SHOWN if logs and name in logs
        )
        # The trainer's summary after the last step has none of them.
        if soon or not numbers or not state.is_world_process_zero:
            return
        self.said = now
        done = max(state.global_step - self.first_step, 1)
        left = (now - self.began) / done * (state.max_steps - state.global_step)
        step = f"{self.label}: step {state.global_step}/{state.max_steps}"
        print(f"{step}, {left:.0f} s left, {numbers}", flush=True)

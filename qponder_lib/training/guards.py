"""Stops a training that cannot teach, and says what to change."""

from __future__ import annotations

import math
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

_WATCHED = ("loss", "grad_norm", "reward")
_IGNORED_LABEL = -100


class StopAtNonsense(TrainerCallback):
    """Ends a run at the first logged loss, gradient or reward that is not a finite number."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Called by the trainer with what it logged, before it saves a checkpoint."""
        for name in _WATCHED:
            value = (logs or {}).get(name)
            if isinstance(value, int | float) and not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} at step {state.global_step}: lower learning_rate or "
                    "lengthen warmup_steps; with float16, use bfloat16. The last sealed "
                    "checkpoint is from before"
                )


def check_labels(trainer: SFTTrainer, max_length: int | None) -> None:
    """Look at what the collator leaves to learn, before a step is spent on it.

    With a length limit every row is looked at, else the first batch.

    Raises:
        ValueError: If a row has no token to learn from, or its answer is cut off.
    """
    rows = trainer.train_dataset
    size = trainer.args.per_device_train_batch_size
    starts = range(0, len(rows) if max_length else min(size, len(rows)), size)
    end = trainer.processing_class.tokenizer.eos_token_id
    empty = cut = 0
    for start in tqdm(starts, desc="labels", mininterval=5, disable=not max_length):
        batch = [rows[index] for index in range(start, min(start + size, len(rows)))]
        labels = trainer.data_collator(batch)["labels"]
        empty += int((labels == _IGNORED_LABEL).all(dim=1).sum())
        cut += int((labels != end).all(dim=1).sum())
    if empty or cut:
        raise ValueError(
            f"of {len(rows)} rows, {empty} have no token to learn from and {cut} lose the end of "
            f"their answer: sft.max_length is {max_length}; set it to null and limit "
            "student.max_pixels instead"
        )

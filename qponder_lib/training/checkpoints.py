"""Checkpoints that a killed run can trust.

A checkpoint counts only when a seal with the hash of every file was written after it. Resuming
loads the weights with ``from_pretrained`` before the trainer restores optimizer, schedule, data
order and random state: transformers 5 restores full Qwen2.5-VL weights under other names than it
saves them, and says so only in a log line.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qponder_lib.artifacts import seal_folder, verify_seal

log = logging.getLogger(__name__)

SEAL = "SEALED.json"


class SealCheckpoints(TrainerCallback):
    """Seals every checkpoint once all of its files are there."""

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Called by the trainer after it wrote a checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            seal_folder(
                folder,
                stage="checkpoint",
                key=str(state.global_step),
                config={},
                inputs={},
                seconds=0.0,
            )


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint in a folder that is complete and undamaged.

    Later ones that are not are passed over, with a warning that says why.

    Returns:
        The checkpoint's folder, or None if there is none to trust.
    """
    steps = {
        int(folder.name.removeprefix("checkpoint-")): folder
        for folder in work.glob("checkpoint-*")
        if folder.name.removeprefix("checkpoint-").isdecimal()
    }
    for step in sorted(steps, reverse=True):
        folder = steps[step]
        if not (folder / SEAL).is_file():
            log.warning("%s has no seal: the run was killed while it was written", folder)
            continue
        problems = verify_seal(folder / SEAL, folder)
        if not problems:
            return folder
        log.warning("%s is damaged and not used: %s", folder, problems[0])
    return None

"""Callbacks of both trainers: guards, checkpoints that can be trusted, progress, validation."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qponder_lib.artifacts import record_folder
from qponder_lib.data.images import load_records
from qponder_lib.metrics import statistics
from qponder_lib.pipeline import Run
from qponder_lib.records import PredictionRecord
from qponder_lib.student.model import ImageTextProcessor, Student
from qponder_lib.student.prediction import predict
from qponder_lib.training.checkpoints import THREADS, check_finite, check_same_everywhere

_REFERENCE = "ref"
_SECONDS_BETWEEN_LINES = 10.0
_SAMPLED_APART = "sampling/sampling_logp_difference/mean"
MOST_KL_AT_START, MOST_SAMPLED_APART = 1e-2, 0.1
"""Nats per token: of rounding in bfloat16, either is a tenth of that or less."""


class StopAtNonsense(TrainerCallback):
    """Ends a run at the first logged number that shows it to be worth nothing.

    That is a loss, gradient or reward that is not finite; a KL term of the first step, when the
    policy still is its reference model; or log-probabilities of vLLM that are not the trainer's.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Called by the trainer with what it logged, before it saves a checkpoint."""
        for name in ("loss", "grad_norm", "reward"):
            value = (logs or {}).get(name)
            if isinstance(value, int | float) and not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} at step {state.global_step}: lower learning_rate or "
                    "lengthen warmup_steps; with float16, use bfloat16. The last complete "
                    "checkpoint is from before"
                )
        kl, apart = (float((logs or {}).get(name, 0.0)) for name in ("kl", _SAMPLED_APART))
        at_start = state.global_step == 1 and getattr(args, "num_iterations", 1) == 1
        if at_start and kl > MOST_KL_AT_START:
            raise ValueError(
                f"kl is {kl:.3g} at step 1, where policy and reference model are the same: expected"
                f" at most {MOST_KL_AT_START}. The reference was not loaded whole in every process "
                "(FSDP2: fsdp_cpu_ram_efficient_loading must be false)"
            )
        if apart > MOST_SAMPLED_APART:
            raise ValueError(
                f"vLLM's log-probabilities and the trainer's are {apart:.3g} apart in the mean at "
                f"step {state.global_step}, expected at most {MOST_SAMPLED_APART}: they read "
                "other prompts, images or weights; set grpo.use_vllm to false"
            )


class AverageTheHead(TrainerCallback):
    """Gathers an untied head before each forward pass under FSDP2, so that its gradient is shared.

    TRL 1.16 reads the head's weight without calling the head, so FSDP2 would leave each process
    with the gradient of its own rows (decision D76).
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Called by the trainer once the model is cut up."""
        head = given["model"].get_output_embeddings()
        if isinstance(head, FSDPModule):
            given["model"].register_forward_pre_hook(lambda *_: head.unshard() and None)


class RecordCheckpoints(TrainerCallback):
    """Writes a checkpoint's record once all of its files are there.

    Args:
        identity: What the run is, from `checkpoints.identity`.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity = dict(identity)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Called by the trainer, in every process, after it wrote a checkpoint.

        Raises:
            ValueError: If a weight is not a number, or processes hold different weights; the
                checkpoint stays incomplete.
        """
        check_finite(given.get("model"), state.global_step)
        check_same_everywhere(given.get("model"), state.global_step)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every process writes a random state of its own
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not (state.is_world_process_zero and folder.is_dir()):
            return
        # Beside TRL's frozen copy of an adapter, transformers would not restore the trained one.
        shutil.rmtree(folder / _REFERENCE, ignore_errors=True)
        stated = {**self.identity, THREADS: torch.get_num_threads()}
        step = str(state.global_step)
        record_folder(folder, stage="checkpoint", key=step, config=stated, seconds=0.0)


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
        shown = ("loss", "reward", "mean_token_accuracy", "parse_rate")
        numbers = [f"{name} {float(logs[name]):.3g}" for name in shown if logs and name in logs]
        soon = now - self.said < _SECONDS_BETWEEN_LINES and state.global_step < state.max_steps
        # The trainer's summary after the last step has none of these numbers.
        if soon or not numbers or not state.is_world_process_zero:
            return
        self.said = now
        done = max(state.global_step - self.first_step, 1)
        left = (now - self.began) / done * (state.max_steps - state.global_step)
        step = f"{self.label}: step {state.global_step}/{state.max_steps}"
        print(f"{step}, {left:.0f} s left, {' '.join(numbers)}", flush=True)


class Validation(TrainerCallback):
    """Adds SRCC, PLCC, MAE and parse rate on validation images to the next row that is logged.

    Runs every ``grpo.validation_steps`` steps and after the last one, on the first
    ``grpo.n_validation`` validation images; the sampling of the training is not disturbed, since
    greedy decoding draws nothing. Every process predicts for all images, as a model that is shared
    out over them must.
    """

    def __init__(self, run: Run, processor: ImageTextProcessor) -> None:
        self.run, self.processor = run, processor
        records = load_records(run.paths, run.profile.data.train_set, "validation")
        self.records = records[: run.profile.grpo.n_validation]
        self.row: dict[str, float | None] = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Called by the trainer after each optimiser step."""
        profile, model = self.run.profile, given["model"]
        due = state.global_step % profile.grpo.validation_steps == 0
        if not self.records or not (due or state.global_step >= state.max_steps):
            return
        was_training = model.training
        model.eval()
        student = Student(model, self.processor, "in training")
        limit = profile.grpo.max_completion_length
        found = agreement(predict(student, self.run, self.records, max_new_tokens=limit))
        model.train(was_training)
        self.row = {
            f"validation_{name}": None if one is None else round(one, 4)
            for name, one in found.items()
        }
        if state.is_world_process_zero:
            said = ", ".join(f"{name} {self.row[f'validation_{name}']}" for name in found)
            print(f"validation at step {state.global_step}: {said}", flush=True)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called by the trainer when it has added a row to its log."""
        state.log_history[-1].update(self.row)
        self.row = {}


def agreement(predictions: Sequence[PredictionRecord]) -> dict[str, float | None]:
    """Compare predictions for labelled images with their MOS.

    Returns:
        ``parse_rate``, and ``srcc``, ``plcc`` and ``mae`` of the parsed ones; None where one has
        no value.
    """
    pairs = np.array([(one.score, one.mos) for one in predictions if one.score is not None])
    found: dict[str, float | None] = {"parse_rate": len(pairs) / len(predictions)}
    for name in ("srcc", "plcc", "mae"):
        try:
            found[name] = float(getattr(statistics, name)(*pairs.T)) if len(pairs) else None
        except statistics.DegenerateInputError:
            found[name] = None
    return found

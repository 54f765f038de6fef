"""Scores a model in training on validation photographs, by greedy answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qponder_lib.data.images import load_image, load_records
from qponder_lib.metrics import statistics
from qponder_lib.pipeline import Run
from qponder_lib.student.generation import generate
from qponder_lib.student.model import ImageTextProcessor, Student
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form


class Validation(TrainerCallback):
    """Adds SRCC, PLCC, MAE and parse rate on validation images to the trainer's log.

    Runs every ``grpo.validation_steps`` steps and after the last one, on the first
    ``grpo.n_validation`` validation images; the sampling of the training is not disturbed, since
    greedy decoding draws nothing. Every process answers for all images, as a model that is shared
    out over them must.
    """

    def __init__(self, run: Run, processor: ImageTextProcessor) -> None:
        self.run, self.processor = run, processor
        records = load_records(run.paths, run.profile.data.train_set, "validation")
        self.records = records[: run.profile.grpo.n_validation]
        self.images = [load_image(run.paths, record) for record in self.records]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Called by the trainer after each optimiser step."""
        due = state.global_step % self.run.profile.grpo.validation_steps == 0
        if not self.records or not (due or state.global_step >= state.max_steps):
            return
        model = given["model"]
        was_training = model.training
        model.eval()
        row = self.scores(Student(model, self.processor, "in training"))
        model.train(was_training)
        state.log_history.append({"step": state.global_step, **row})
        if not state.is_world_process_zero:
            return
        srcc, mae = row["validation_srcc"], row["validation_mae"]
        print(
            f"validation at step {state.global_step}: SRCC {srcc}, MAE {mae}, "
            f"parsed {row['validation_parse_rate']}, n {len(self.records)}",
            flush=True,
        )

    def scores(self, student: Student) -> dict[str, float | None]:
        """Score a student on the validation images."""
        profile = self.run.profile
        answers = generate(
            student,
            self.images,
            profile.student.prompt_id,
            max_new_tokens=profile.grpo.max_completion_length,
            batch_size=profile.predict.batch_size,
        )
        form = answer_form(profile.student.prompt_id)
        parsed = [
            parse_answer(one.text, form, finish_reason=one.finish_reason).score for one in answers
        ]
        pairs = [
            (score, record.mos)
            for score, record in zip(parsed, self.records, strict=True)
            if score is not None
        ]
        row: dict[str, float | None] = {
            "validation_parse_rate": round(len(pairs) / len(self.records), 4)
        }
        for name in ("srcc", "plcc", "mae"):
            try:
                value = getattr(statistics, name)(*np.asarray(pairs).T) if pairs else None
            except statistics.DegenerateInputError:
                value = None
            row[f"validation_{name}"] = None if value is None else round(float(value), 4)
        return row

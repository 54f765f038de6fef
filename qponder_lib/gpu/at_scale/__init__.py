"""Answers for more images than one machine takes: of a teacher or a student, on Ray Data.

Ray reads, spreads, retries and keeps account of what is answered, by id (decision D61). What is
written here is what a question and an answer are, who answers, and how answers get into a run.
"""

from __future__ import annotations

from pathlib import Path

from qponder_lib.artifacts import JsonlAppender, write_jsonl
from qponder_lib.config import DistillConfig, StudentConfig
from qponder_lib.data.images import load_records
from qponder_lib.gpu.at_scale.engines import Workers, offline_teacher, student_answers, vllm_teacher
from qponder_lib.gpu.at_scale.folder import Engine, answer, answers_in, question
from qponder_lib.paths import RunPaths
from qponder_lib.records import PredictionRecord, ResponseRecord
from qponder_lib.teacher.distill import questions
from qponder_lib.teacher.responses import Response, final_ids
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form

__all__ = [
    "Engine",
    "Workers",
    "distil_at_scale",
    "offline_teacher",
    "predict_at_scale",
    "student_answers",
    "vllm_teacher",
]


def distil_at_scale(
    paths: RunPaths, train_set: str, config: DistillConfig, folder: Path, engine: Engine
) -> int:
    """Collect a teacher's answers for the training images into ``distill/raw.jsonl``.

    The rows are those of `teacher.distill.distill`, so that either goes on where the other ended.

    Args:
        paths: The run folder.
        train_set: The set whose training images are asked about.
        config: What is asked.
        folder: Questions, answers and Ray's account; every machine must reach it.
        engine: Who answers: `offline_teacher` or `vllm_teacher`.

    Returns:
        How many answers were added.

    Raises:
        ValueError: If the folder holds other questions.
    """
    images = load_records(paths, train_set, "train")
    wanted = {one.response_id: one for one in questions(images, config)}
    asked = (question(key, one.image, paths, one.hint) for key, one in wanted.items())
    answer(folder, asked, engine)
    added = 0
    with JsonlAppender(paths.raw_responses, ResponseRecord) as store:
        final = final_ids(store.rows)
        for row in answers_in(folder):
            if row["id"] not in final:
                response = Response(row["text"], row["n_tokens"], row["finish_reason"])
                store.append(wanted[row["id"]].record(config.teacher_model, response))
                added += 1
    return added


def predict_at_scale(
    paths: RunPaths, dataset: str, student: StudentConfig, folder: Path, engine: Engine
) -> list[PredictionRecord]:
    """Collect a student's greedy answers for the test images of a set.

    Args:
        paths: The run folder.
        dataset: The set.
        student: Its prompt says how answers are read.
        folder: Questions, answers and Ray's account; every machine must reach it.
        engine: Who answers: `student_answers`.

    Returns:
        One row per image, in the order of the set; also in ``predictions.jsonl`` of the folder.

    Raises:
        ValueError: If the folder holds other questions.
    """
    images = load_records(paths, dataset, "test")
    asked = (question(one.image_id, one, paths, None) for one in images)
    answer(folder, asked, engine)
    answers = {row["id"]: row for row in answers_in(folder)}
    form = answer_form(student.prompt_id)
    rows = []
    for image in images:
        row = answers[image.image_id]
        read = parse_answer(row["text"], form, finish_reason=row["finish_reason"])
        rows.append(
            PredictionRecord(
                image_id=image.image_id,
                text=row["text"],
                score=read.score,
                parse_status=row["finish_reason"] if row["text"] is None else read.status,
                mos=image.mos,
                n_tokens=row["n_tokens"],
            )
        )
    write_jsonl(folder / "predictions.jsonl", rows)
    return rows

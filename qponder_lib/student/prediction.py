"""The predictions of a whole run, and scores of single images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from qponder_lib import pipeline
from qponder_lib.artifacts import write_jsonl
from qponder_lib.data.embedded import load_pil, load_records
from qponder_lib.data.images import read_rgb
from qponder_lib.evaluation import baseline
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.student.generation import Answer, Decoding, generate
from qponder_lib.student.load import Student, load_student
from qponder_lib.teacher import ConcurrentTeacher, Teacher, TeacherAnswer
from qponder_lib.teacher.choose import open_teacher
from qponder_lib.teacher.distill import current_responses, distil
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form


def predict_model(run: Run, model: str, work: Path) -> list[Path]:
    """Write the predictions of a model on every test set of the profile.

    Args:
        run: Profile and folder.
        model: One of `predict.models`.
        work: Scratch folder; what an interrupted call finished is taken from it, and so are
            single answers of a teacher behind a server.

    Returns:
        The prediction files, greedy and sampled.
    """
    predictor: _Predictor | None = None
    made = {}
    for dataset, sampled in run.profile.predict.files(model):
        path = run.paths.predictions(model, dataset, sampled=sampled)
        made[path] = work / path.name
        if not made[path].exists():
            predictor = predictor or _predictor(run, model, work)
            write_jsonl(made[path], predictor(load_records(run.paths, dataset, "test"), sampled))
            print(f"predicted {model} on {dataset}{' sampled' * sampled}", flush=True)
    for path, whole in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whole, path)
    return list(made)


def score_images(paths: Sequence[Path], folder: Path) -> list[PredictionRecord]:
    """Score image files with a trained mini or full model folder.

    Args:
        paths: Image files; each is scaled to the pixel limits the model was trained with.
        folder: A sealed model folder inside a run folder.

    Returns:
        One prediction per file, in their order; ``image_id`` is the file's path.

    Raises:
        ImageProblem: If a file cannot be used; nothing is scored then.
    """
    from qponder_lib.config import load_profile
    from qponder_lib.paths import RunPaths

    images = [read_rgb(path) for path in paths]
    run_paths = RunPaths.at(folder.parents[1])
    profile = load_profile(str(run_paths.profile) if run_paths.profile.is_file() else "mini")
    student = load_student(profile.student, folder)
    decoding = Decoding(profile.predict.max_new_tokens)
    answers = generate(student, images, profile.student.prompt_id, decoding)
    return [
        _record(str(path), None, answer, 0, profile.student.prompt_id)
        for path, answer in zip(paths, answers, strict=True)
    ]


_Predictor = Callable[[Sequence[ImageRecord], bool], list[PredictionRecord]]


@dataclass(frozen=True)
class Pictures(Sequence[Image.Image]):
    """The images of rows, decoded when they are taken: a public set does not fit into memory."""

    paths: RunPaths
    records: Sequence[ImageRecord]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Image.Image:
        """Decode one image."""
        return load_pil(self.paths, self.records[index])


def _predictor(run: Run, model: str, work: Path) -> _Predictor:
    if model == "handcrafted":
        return _handcrafted(run)
    if model == "teacher":
        return _teacher(run, work)
    folder = pipeline.model_folder(model, run.profile, run.paths)
    student = load_student(run.profile.student, folder)

    def predict(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        return _student_predictions(run, student, records, sampled)

    return predict


def _student_predictions(
    run: Run, student: Student, records: Sequence[ImageRecord], sampled: bool
) -> list[PredictionRecord]:
    config = run.profile.predict
    copies = config.n_samples if sampled else 1
    temperature = config.sampling_temperature if sampled else 0.0
    torch.manual_seed(config.seed)
    rows = []
    for sample in range(copies):
        answers = generate(
            student,
            Pictures(run.paths, records),
            run.profile.student.prompt_id,
            Decoding(config.max_new_tokens, temperature),
            batch_size=config.batch_size,
            progress=records[0].dataset,
        )
        rows += [
            _record(record.image_id, record.mos, answer, sample, run.profile.student.prompt_id)
            for record, answer in zip(records, answers, strict=True)
        ]
    return rows


def _handcrafted(run: Run) -> _Predictor:
    """Natural-scene statistics and ridge regression, fitted on the student's own labels."""
    train = load_records(run.paths, run.profile.data.train_set, "train")

    def features(records: Sequence[ImageRecord]) -> np.ndarray:
        return baseline.features_of_files([run.paths.data / one.image for one in records])

    fitted = baseline.fit(features(train), [one.mos for one in train])

    def predict(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        scores = fitted.predict(features(records))
        return [
            PredictionRecord(
                image_id=record.image_id,
                text=None,
                score=float(score),
                parse_status="ok",
                mos=record.mos,
                n_tokens=None,
                sample=0,
            )
            for record, score in zip(records, scores, strict=True)
        ]

    return predict


def _teacher(run: Run, work: Path) -> _Predictor:
    """The teacher as it answers without a hint, as everybody else."""
    teacher = open_teacher(run.profile.distill)
    ask = _ask_server if isinstance(teacher, ConcurrentTeacher) else _ask_offline

    def predict(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        rows = []
        for record, said in zip(records, ask(run, teacher, records, work), strict=True):
            answer = Answer(said.text or "", said.n_tokens or 0, said.finish_reason)
            rows.append(_record(record.image_id, record.mos, answer, 0))
        return rows

    return predict


def _ask_offline(
    run: Run, teacher: Teacher, records: Sequence[ImageRecord], work: Path
) -> list[TeacherAnswer]:
    said = []
    for number, record in enumerate(tqdm(records, desc="teacher", mininterval=5)):
        rng = np.random.default_rng([run.profile.distill.seed, number])
        said.append(teacher.answer(load_pil(run.paths, record), None, rng))
    return said


def _ask_server(
    run: Run, teacher: ConcurrentTeacher, records: Sequence[ImageRecord], work: Path
) -> list[TeacherAnswer]:
    """Ask about many images at once; each answer is stored as it comes (decision D58)."""
    config = run.profile.distill.model_copy(update={"hint": False})
    store = work / f"teacher.{records[0].dataset}.jsonl"
    distil(records, teacher, config, run.paths, store=store)
    rows = current_responses(records, config, run.paths, store=store)
    return [TeacherAnswer(row.text, row.n_tokens, row.finish_reason, row.version) for row in rows]


def _record(
    image_id: str,
    mos: float | None,
    answer: Answer,
    sample: int,
    prompt_id: str = "student_short",
) -> PredictionRecord:
    parsed = parse_answer(answer.text, answer_form(prompt_id), finish_reason=answer.finish_reason)
    return PredictionRecord(
        image_id=image_id,
        text=answer.text,
        score=parsed.score,
        parse_status=parsed.status,
        mos=mos,
        n_tokens=answer.n_tokens,
        sample=sample,
    )

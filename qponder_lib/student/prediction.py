"""Predictions of one model on the sets of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from qponder_lib import pipeline
from qponder_lib.artifacts import digest, read_record, write_jsonl
from qponder_lib.data.images import load_image, load_records
from qponder_lib.evaluation import baseline
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord, Split
from qponder_lib.student.generation import Completion, Pictured, generate
from qponder_lib.student.model import Student, as_seen, load_student
from qponder_lib.teacher.chat_client import ChatClient
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.teacher.responses import newest_responses, question_for, run_in_thread
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form, prompt_sha256, student_messages

KEY_VARIABLE = "QPONDER_STUDENT_API_KEY"
Predictor = Callable[[Sequence[ImageRecord], bool], list[PredictionRecord]]
"""From images, and whether completions are sampled, to predictions."""


def predict_model(run: Run, model: str, work: Path) -> list[Path]:
    """Write the predictions of a model on every test set of the profile.

    Args:
        run: Profile and folder.
        model: One of `predict.models`.
        work: Scratch folder; what an interrupted call finished is taken from it, and so are
            single responses of a teacher or student behind a server.

    Returns:
        The prediction files, greedy and sampled.
    """
    asked = [(dataset, "test", sampled) for dataset, sampled in run.profile.predict.files(model)]
    return predict_sets(run.paths, model, asked, lambda: predictor(run, model, work), work)


def predict_sets(
    paths: RunPaths,
    model: str,
    asked: Iterable[tuple[str, Split, bool]],
    load: Callable[[], Predictor],
    work: Path,
) -> list[Path]:
    """Write the predictions of a model on sets of images or clips.

    Args:
        paths: The run folder.
        model: Name of the model, and of the folder of its predictions.
        asked: Sets, the split of each, and whether completions are sampled.
        load: Loads the model; called where something is left to do.
        work: Scratch folder; what an interrupted call finished is taken from it.

    Returns:
        The prediction files.
    """
    loaded: Predictor | None = None
    made = {}
    for dataset, split, sampled in asked:
        path = paths.predictions(model, dataset, sampled=sampled)
        made[path] = work / path.name
        if not made[path].exists():
            loaded = loaded or load()
            write_jsonl(made[path], loaded(load_records(paths, dataset, split), sampled))
            print(f"predicted {model} on {dataset}{' sampled' * sampled}", flush=True)
    for path, whole in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # another run may have it by a hard link
        shutil.copyfile(whole, path)
    return list(made)


def predictor(run: Run, model: str, work: Path) -> Predictor:
    """Load a model of ``predict.models``; the result predicts images of one set at a time.

    Args:
        run: Profile and folder.
        model: Such as "base", "ci-long", "qponder", "teacher" or "handcrafted".
        work: Scratch folder for the responses of a teacher or student behind a server.
    """
    if model == "handcrafted":
        return _handcrafted(run)
    if model == "teacher":
        return _teacher(run, work)
    config = run.profile.predict
    if config.base_url is not None:
        return _served(run, model, work)
    folder = pipeline.model_folder(model, run.profile, run.paths)
    student = load_student(run.profile.student, folder)

    def predict_set(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        torch.manual_seed(0)
        rows = []
        for sample in range(config.n_samples if sampled else 1):
            rows += predict(
                student,
                run,
                records,
                sample=sample,
                max_new_tokens=config.max_new_tokens,
                temperature=config.sampling_temperature if sampled else 0.0,
                distribution=not sampled,
                progress=records[0].dataset,
            )
        return rows

    return predict_set


def served_name(run: Run, model: str) -> str:
    """Return the name by which a server has a student: that of the base, or one of its weights.

    Other weights have another name, so a server of an older or another training is refused.

    Raises:
        FileNotFoundError: If the student is not trained yet.
    """
    folder, student = pipeline.model_folder(model, run.profile, run.paths), run.profile.student
    if folder is None:
        return f"{student.model}@{student.revision}"
    if (record := read_record(folder)) is None:
        raise FileNotFoundError(f"{folder} holds no trained model")
    return f"{model}-{digest(record.outputs)[:12]}"


def open_student(run: Run, model: str, *, sampled: bool = False) -> ChatClient:
    """Open a client of the server that has a student of a run."""
    config = run.profile.predict
    return ChatClient(
        served_name(run, model),
        config.base_url,
        temperature=config.sampling_temperature if sampled else 0.0,
        max_tokens=config.max_new_tokens,
        resize=as_seen(run.profile.student),
        key_variable=KEY_VARIABLE,
    )


def _served(run: Run, model: str, work: Path) -> Predictor:
    """A student behind a server, asked as in this process; distributions are not read there."""
    config, prompt_id = run.profile.predict, run.profile.student.prompt_id
    messages, store = student_messages(prompt_id), work / "responses.jsonl"
    prompt = prompt_id, prompt_sha256(messages)

    def predict_set(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        chat = open_student(run, model, sampled=sampled)
        sampling = {"temperature": chat.temperature, "max_tokens": chat.max_tokens}
        samples = range(config.n_samples if sampled else 1)
        asked = {  # questions about one image follow each other, so that it is encoded once
            (record.image_id, sample): question_for(
                chat.name, record, None, *prompt, seed=sample, **sampling
            )
            for record, sample in product(records, samples)
        }
        collecting = chat.collect(
            list(asked.values()),
            lambda _: messages,
            run.paths,
            store=store,
            concurrency=config.concurrency,
        )
        run_in_thread(collecting)
        stored, rows = newest_responses(store), []
        for sample, record in product(samples, records):
            one = stored[asked[record.image_id, sample].response_id]
            said = Completion(one.text, one.n_tokens, one.finish_reason)
            rows.append(parsed_prediction(record.image_id, record.mos, said, prompt_id, sample))
        return rows

    return predict_set


def predict(
    student: Student,
    run: Run,
    records: Sequence[ImageRecord],
    *,
    sample: int = 0,
    prompt_id: str | None = None,
    messages: Sequence[dict[str, Any]] | None = None,
    opened: Callable[[ImageRecord], Pictured] | None = None,
    **options: Any,
) -> list[PredictionRecord]:
    """Let a student say what it makes of images or clips of a run.

    Args:
        student: Model and processor.
        run: Profile and folder.
        records: The images or clips.
        sample: Number of the sample, noted in every prediction.
        prompt_id: What it is asked; None for the run's prompt for images.
        messages: The prompt with a block for every image; None for one image.
        opened: Decodes the image of a row, or the images of a clip; None reads images of the run.
        options: Of `generate`, such as ``max_new_tokens``.
    """
    prompt_id = prompt_id or run.profile.student.prompt_id
    images = LazyImages(records, opened or partial(load_image, run.paths))
    options = {"batch_size": run.profile.predict.batch_size, **options}
    completions = generate(student, images, messages or prompt_id, **options)
    return [
        parsed_prediction(record.image_id, record.mos, said, prompt_id, sample)
        for record, said in zip(records, completions, strict=True)
    ]


@dataclass(frozen=True)
class LazyImages(Sequence[Pictured]):
    """The images of rows, decoded when they are taken: a public set does not fit into memory."""

    records: Sequence[ImageRecord]
    opened: Callable[[ImageRecord], Pictured]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Pictured:
        """Decode one image, or the images of one clip."""
        return self.opened(self.records[index])


def _handcrafted(run: Run) -> Predictor:
    """Natural-scene statistics and ridge regression, fitted on the student's own labels."""
    train = load_records(run.paths, run.profile.data.train_set, "train")

    def features(records: Sequence[ImageRecord]) -> np.ndarray:
        return baseline.features_of_files([run.paths.data / one.image for one in records])

    fitted = baseline.fit(features(train), [one.mos for one in train])

    def predict(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        scores = fitted.predict(features(records)).tolist()
        fixed = {"text": None, "parse_status": "ok", "n_tokens": None, "sample": 0}
        return [
            PredictionRecord(image_id=record.image_id, score=score, mos=record.mos, **fixed)
            for record, score in zip(records, scores, strict=True)
        ]

    return predict


def _teacher(run: Run, work: Path) -> Predictor:
    """The teacher as it responds without a hint, as everybody else."""
    config = run.profile.distill.model_copy(update={"hint": False})
    teacher = open_teacher(config, run.profile.student.max_pixels)

    def responses(records: Sequence[ImageRecord]) -> list[Any]:
        if isinstance(teacher, ChatClient):  # each response is stored as it comes (D58)
            store = work / f"teacher.{records[0].dataset}.jsonl"
            distill(records, teacher, config, run.paths, store=store)
            return current_responses(records, config, run.paths, store=store)
        return [
            teacher.respond(load_image(run.paths, record), None, np.random.default_rng([0, number]))
            for number, record in enumerate(tqdm(records, desc="teacher", mininterval=5))
        ]

    def predict(records: Sequence[ImageRecord], sampled: bool) -> list[PredictionRecord]:
        rows = []
        for record, one in zip(records, responses(records), strict=True):
            said = Completion(one.text or "", one.n_tokens or 0, one.finish_reason)
            rows.append(parsed_prediction(record.image_id, record.mos, said, "student_short"))
        return rows

    return predict


def parsed_prediction(
    image_id: str, mos: float | None, said: Completion, prompt_id: str, sample: int = 0
) -> PredictionRecord:
    """Parse a completion into the row of an image or clip."""
    form = answer_form(prompt_id)
    parsed = parse_answer(said.text, form, finish_reason=said.finish_reason)
    read = said.distribution if parsed.score is not None and form.n_scores == 1 else None
    return PredictionRecord(
        image_id=image_id,
        text=said.text,
        score=parsed.score,
        parse_status=said.finish_reason if said.text is None else parsed.status,
        mos=mos,
        n_tokens=said.n_tokens,
        sample=sample,
        expectation=None if read is None else round(read.mean, 4),
        spread=None if read is None else round(read.deviation, 4),
    )

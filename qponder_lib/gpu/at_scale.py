"""Responses for more images than one machine takes: of a teacher or a student, on Ray Data.

Ray reads, spreads, retries and keeps account of what is done, by id (decision D61). What is
written here is what a request and a response are, who responds, and how responses get into a run.
A folder holds requests in `questions/`, responses in `answers/` and Ray's account in `done/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from qponder_lib.artifacts import (
    ArtifactError,
    JsonlAppender,
    file_sha256,
    read_json,
    write_json,
    write_jsonl,
)
from qponder_lib.config import DistillConfig, StudentConfig
from qponder_lib.data.images import ImageError, load_records
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, PredictionRecord, ResponseRecord
from qponder_lib.student.generation import Completion, generate
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import parsed_prediction
from qponder_lib.teacher.chat_client import data_url, with_image
from qponder_lib.teacher.distill import open_teacher, questions, rng_of
from qponder_lib.teacher.responses import Response, final_ids, read_recorded
from qponder_lib.text.prompts import teacher_messages

if TYPE_CHECKING:
    from PIL import Image
    from ray.data import Dataset

REQUESTS = pa.schema(
    {"id": pa.string(), "path": pa.string(), "sha256": pa.string(), "hint": pa.string()}
)
RESPONSES = pa.schema(
    {"id": pa.string(), "text": pa.string(), "n_tokens": pa.int64(), "finish_reason": pa.string()}
)
_ROWS_PER_FILE = 2000
_INVALID_IMAGE = Response(None, None, "invalid_image")


Responder = Callable[[list[tuple[dict[str, Any], "Image.Image"]]], Sequence[Any]]
"""From rows of `REQUESTS` with their images to a `Response` or `Completion` for each."""


@dataclass(frozen=True)
class Workers:
    """Who shares the work.

    Attributes:
        count: Workers, each with the model.
        gpus: GPUs of each.
        batch_size: Images that a worker takes at once.
    """

    count: int = 1
    gpus: int = 0
    batch_size: int = 64


@dataclass(frozen=True)
class Engine:
    """Who responds.

    Attributes:
        settings: What decides a response besides its request.
        run: Turns a dataset of `REQUESTS` into one of `RESPONSES`.
    """

    settings: dict[str, Any]
    run: Callable[[Dataset], Dataset]


# ---- into a run


def distil_at_scale(
    paths: RunPaths, train_set: str, config: DistillConfig, folder: Path, engine: Engine
) -> int:
    """Collect a teacher's responses for the training images into ``distill/raw.jsonl``.

    The rows are those of `teacher.distill.distill`, so that either goes on where the other ended.

    Args:
        paths: The run folder.
        train_set: The set whose training images are asked about.
        config: What is asked.
        folder: Requests, responses and Ray's account; every machine must reach it.
        engine: Who responds: `offline_teacher` or `vllm_teacher`.

    Returns:
        How many responses were added.

    Raises:
        ValueError: If the folder holds other requests.
    """
    images = load_records(paths, train_set, "train")
    wanted = {one.response_id: one for one in questions(images, config)}
    respond(folder, (request(k, one.image, paths, one.hint) for k, one in wanted.items()), engine)
    added = 0
    with JsonlAppender(paths.raw_responses, ResponseRecord) as store:
        final = final_ids(store.rows)
        for row in responses_in(folder):
            if (key := row.pop("id")) not in final:
                store.append(wanted[key].record(config.teacher_model, Response(**row)))
                added += 1
    return added


def predict_at_scale(
    paths: RunPaths, dataset: str, student: StudentConfig, folder: Path, engine: Engine
) -> list[PredictionRecord]:
    """Collect a student's greedy predictions for the test images of a set.

    Args:
        paths: The run folder.
        dataset: The set.
        student: Its prompt says how texts are read.
        folder: Requests, responses and Ray's account; every machine must reach it.
        engine: Who responds: `student_engine`.

    Returns:
        One row per image, in the order of the set; also in ``predictions.jsonl`` of the folder.

    Raises:
        ValueError: If the folder holds other requests.
    """
    images = load_records(paths, dataset, "test")
    respond(folder, (request(one.image_id, one, paths, None) for one in images), engine)
    said = {row.pop("id"): Completion(**row) for row in responses_in(folder)}
    rows = [
        parsed_prediction(one.image_id, one.mos, said[one.image_id], student.prompt_id)
        for one in images
    ]
    write_jsonl(folder / "predictions.jsonl", rows)
    return rows


# ---- a folder of requests and responses


def request(key: str, image: ImageRecord, paths: RunPaths, hint: str | None) -> dict[str, Any]:
    """Return the row of `REQUESTS` about one image."""
    path = str((paths.data / image.image).absolute())
    return {"id": key, "path": path, "sha256": image.sha256, "hint": hint}


def respond(folder: Path, requests: Iterable[dict[str, Any]], engine: Engine) -> None:
    """Collect a response to every request that has none yet.

    Args:
        folder: Requests, responses and Ray's account; every machine must reach it.
        requests: Rows of `REQUESTS`.
        engine: Who responds.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        ValueError: If the folder holds other requests.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
        from ray.data.checkpoint import CheckpointConfig
    except ImportError as error:
        raise ModuleNotFoundError(
            "responses at scale need Ray: pip install 'qponder[ray]'"
        ) from error
    write_requests(folder, engine.settings, requests)
    done = [file for file in _parquet(folder / "done") if ".pending" not in file.name]
    if _ids(done) == _ids(_parquet(folder / "questions")):
        return
    context = ray.data.DataContext.get_current()
    before = context.checkpoint_config
    context.checkpoint_config = CheckpointConfig(
        "id", str(folder.resolve() / "done"), delete_checkpoint_on_success=False
    )
    try:
        dataset = ray.data.read_parquet(str(folder.resolve() / "questions"))
        engine.run(dataset).write_parquet(str(folder.resolve() / "answers"))
    finally:
        context.checkpoint_config = before


def write_requests(
    folder: Path, settings: dict[str, Any], requests: Iterable[dict[str, Any]]
) -> None:
    """Write the requests once; a folder that is gone on with must hold the same ones.

    Raises:
        ValueError: If it holds requests of other settings, or about other images.
    """
    stated = folder / "settings.json"
    if stated.is_file():
        if read_json(stated) != settings:
            raise ValueError(
                f"{folder} holds other requests: take another folder, or restore {stated}"
            )
        if _ids(_parquet(folder / "questions")) != {row["id"] for row in requests}:
            raise ValueError(f"{folder} asks about other images: take another folder")
        return
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    rows, number = iter(requests), 0
    while some := list(islice(rows, _ROWS_PER_FILE)):
        table = pa.Table.from_pylist(some, schema=REQUESTS)
        pq.write_table(table, folder / "questions" / f"{number:06d}.parquet")
        number += 1
    write_json(stated, settings)  # last: without it, a killed call writes the requests anew


def responses_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Return every response that a folder holds.

    Raises:
        ArtifactError: If an id has two responses, or some have none.
    """
    asked = _ids(_parquet(folder / "questions"))
    seen: set[str] = set()
    for file in _parquet(folder / "answers"):
        for row in pq.read_table(file, columns=RESPONSES.names).to_pylist():
            if row["id"] in seen or row["id"] not in asked:
                raise ArtifactError(f"{file}: {row['id']} has two responses or was no request")
            seen.add(row["id"])
            yield row
    if seen != asked:
        raise ArtifactError(f"{folder}: {len(asked - seen)} of {len(asked)} have no response yet")


def _parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _ids(files: Iterable[Path]) -> set[str]:
    return {key for file in files for key in pq.read_table(file, columns=["id"])["id"].to_pylist()}


# ---- who responds


def offline_teacher(config: DistillConfig, workers: Workers) -> Engine:
    """Let workers respond with the teacher that measures pixels; it needs no GPU."""

    def open_responder() -> Responder:
        teacher = open_teacher(config)
        return lambda asked: [
            teacher.respond(image, row["hint"], rng_of(row["id"])) for row, image in asked
        ]

    return _spread(open_responder, workers, {"teacher": config.model_dump(mode="json")})


def student_engine(
    config: StudentConfig, model: Path | None, max_new_tokens: int, workers: Workers
) -> Engine:
    """Let workers respond greedily with a student.

    Args:
        config: Model, precision and pixel limits.
        model: Folder of trained weights, or None for the base weights.
        max_new_tokens: Of a response, at most.
        workers: How many, and their GPUs.
    """
    files = sorted(model.glob("*.safetensors")) if model is not None else []
    settings = {
        "student": config.model_dump(mode="json"),
        "weights": {file.name: file_sha256(file) for file in files},
        "max_new_tokens": max_new_tokens,
    }

    def open_responder() -> Responder:
        student = load_student(config, model)
        return lambda asked: generate(
            student,
            [image for _, image in asked],
            config.prompt_id,
            max_new_tokens=max_new_tokens,
            batch_size=max(len(asked), 1),
        )

    return _spread(open_responder, workers, settings)


def vllm_teacher(
    config: DistillConfig, workers: Workers, engine_options: dict[str, Any] | None = None
) -> Engine:
    """Let Ray's own vLLM stage respond; needs ``ray[llm]`` and GPUs.

    Args:
        config: The model, its sampling and its prompt.
        workers: ``gpus`` is the number of GPUs that hold one copy of the model.
        engine_options: More options of vLLM's engine, such as ``max_model_len``.
    """

    def run(dataset: Dataset) -> Dataset:
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        processor = build_processor(
            vLLMEngineProcessorConfig(
                model_source=config.teacher_model,
                engine_kwargs={
                    "tensor_parallel_size": max(workers.gpus, 1),
                    "limit_mm_per_prompt": {"image": 1},
                    **(engine_options or {}),
                },
                concurrency=workers.count,
                batch_size=workers.batch_size,
                prepare_multimodal_stage={"enabled": True},
                should_continue_on_error=True,
            ),
            preprocess=lambda row: vllm_request(row, config),
        )
        shape = {"max_tokens": config.max_tokens}
        return processor(dataset).map_batches(from_vllm, batch_format="pyarrow", fn_kwargs=shape)

    settings = {"teacher": config.model_dump(mode="json"), "options": engine_options or {}}
    return Engine(settings, run)


def vllm_request(row: dict[str, Any], config: DistillConfig) -> dict[str, Any]:
    """What the vLLM stage is asked about one image.

    An image that cannot be used still takes its place, with one token and no image: a stage
    that raises would end the job for all others.
    """
    image = _image(row)
    messages = [{"role": "user", "content": "."}]
    if image is not None:
        messages = with_image(teacher_messages(row["hint"]), data_url(image))
    return {
        "id": row["id"],
        "usable": image is not None,
        "messages": messages,
        "sampling_params": {
            "temperature": config.temperature,
            "max_tokens": config.max_tokens if image is not None else 1,
            "seed": int(rng_of(row["id"]).integers(2**31)),
        },
    }


def from_vllm(table: pa.Table, max_tokens: int) -> pa.Table:
    """Bring what the vLLM stage says into the form of responses; an error is a named state.

    The stage does not say why a response ended: one of full length counts as cut off.
    """
    said = []
    for row in table.to_pylist():
        if not row["usable"]:
            said.append((row, _INVALID_IMAGE))
        elif row.get("__inference_error__"):
            said.append((row, Response(None, None, "malformed_response")))
        else:
            n_tokens = int(row["num_generated_tokens"])
            ended = "length" if n_tokens >= max_tokens else "stop"
            said.append((row, Response(row["generated_text"], n_tokens, ended)))
    return _table(said)


class _Worker:
    """Responds in a process of Ray's; teacher or student are opened there."""

    def __init__(self, open_responder: Callable[[], Responder]) -> None:
        self.respond = open_responder()

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        images = [(row, _image(row)) for row in rows]
        said = iter(self.respond([(row, image) for row, image in images if image is not None]))
        return _table(
            (row, _INVALID_IMAGE if image is None else next(said)) for row, image in images
        )


def _spread(
    open_responder: Callable[[], Responder], workers: Workers, settings: dict[str, Any]
) -> Engine:
    def run(dataset: Dataset) -> Dataset:
        import ray
        from ray.data import ActorPoolStrategy

        return dataset.map_batches(
            _Worker,
            fn_constructor_args=(open_responder,),
            batch_size=workers.batch_size,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers.count),
            num_cpus=cores_of_each(workers.count, ray.cluster_resources().get("CPU", 1.0)),
            num_gpus=workers.gpus,
        )

    return Engine(settings, run)


def cores_of_each(n_workers: int, n_cores: float) -> float:
    """Cores that Ray books for a worker: one, or less where none would be left to read and write.

    Ray keeps what a worker books for as long as it lives, and its own readers and writers wait
    for a core: workers that book them all never hand over a response.
    """
    free = max(n_cores - 1.0, n_cores / 2.0)
    return min(1.0, free / n_workers)


def _image(row: dict[str, Any]) -> Image.Image | None:
    try:
        return read_recorded(Path(row["path"]), row["sha256"])
    except ImageError as error:
        print(f"{row['id']}: {error}", flush=True)  # goes to Ray's log of the worker
        return None


def _table(said: Iterable[tuple[dict[str, Any], Any]]) -> pa.Table:
    names = ("text", "n_tokens", "finish_reason")
    rows = [{"id": row["id"], **{name: getattr(one, name) for name in names}} for row, one in said]
    return pa.Table.from_pylist(rows, schema=RESPONSES)

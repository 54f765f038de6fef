"""Who answers: the offline teacher, Ray's vLLM stage, or a student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qponder_lib.artifacts import file_sha256
from qponder_lib.config import DistillConfig, StudentConfig
from qponder_lib.data.images import ImageError
from qponder_lib.gpu.at_scale.folder import ANSWERED, Engine
from qponder_lib.student.generation import generate
from qponder_lib.student.model import load_student
from qponder_lib.teacher.chat_client import data_url, with_image
from qponder_lib.teacher.distill import open_teacher, rng_of
from qponder_lib.teacher.responses import read_recorded
from qponder_lib.text.prompts import teacher_messages

if TYPE_CHECKING:
    from PIL import Image
    from ray.data import Dataset


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


def offline_teacher(config: DistillConfig, workers: Workers) -> Engine:
    """Let workers answer with the teacher that measures pixels; it needs no GPU."""
    return _spread(_TeacherWorker, (config,), workers, {"teacher": config.model_dump(mode="json")})


def student_answers(
    config: StudentConfig, model: Path | None, max_new_tokens: int, workers: Workers
) -> Engine:
    """Let workers answer greedily with a student.

    Args:
        config: Model, precision and pixel limits.
        model: Folder of trained weights, or None for the base weights.
        max_new_tokens: Of an answer, at most.
        workers: How many, and their GPUs.
    """
    files = sorted(model.glob("*.safetensors")) if model is not None else []
    settings = {
        "student": config.model_dump(mode="json"),
        "weights": {file.name: file_sha256(file) for file in files},
        "max_new_tokens": max_new_tokens,
    }
    return _spread(_StudentWorker, (config, model, max_new_tokens), workers, settings)


def vllm_teacher(
    config: DistillConfig, workers: Workers, engine_options: dict[str, Any] | None = None
) -> Engine:
    """Let Ray's own vLLM stage answer; needs ``ray[llm]`` and GPUs.

    Args:
        config: The model, its sampling and its prompt.
        workers: ``gpus`` is the number of GPUs that hold one copy of the model.
        engine_options: More options of vLLM's engine, such as ``max_model_len``.
    """

    def answered(dataset: Dataset) -> Dataset:
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
        done = processor(dataset)
        return done.map_batches(from_vllm, batch_format="pyarrow", fn_kwargs=shape)

    settings = {"teacher": config.model_dump(mode="json"), "options": engine_options or {}}
    return Engine(settings, answered)


def vllm_request(row: dict[str, Any], config: DistillConfig) -> dict[str, Any]:
    """What the vLLM stage is asked about one image.

    An image that cannot be used still takes its place, with one token and no picture: a stage
    that raises would end the job for all others.
    """
    sampling = {
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "seed": int(rng_of(row["id"]).integers(2**31)),
    }
    image = _image(row)
    if image is None:
        nothing = [{"role": "user", "content": "."}]
        return {
            "id": row["id"],
            "usable": False,
            "messages": nothing,
            "sampling_params": {**sampling, "max_tokens": 1},
        }
    return {
        "id": row["id"],
        "usable": True,
        "messages": with_image(teacher_messages(row["hint"]), data_url(image)),
        "sampling_params": sampling,
    }


def from_vllm(table: pa.Table, max_tokens: int) -> pa.Table:
    """Bring what the vLLM stage says into the form of answers; an error becomes a named state.

    The stage does not say why an answer ended: one of full length counts as cut off.
    """
    rows = []
    for row in table.to_pylist():
        if not row["usable"]:
            rows.append(_row(row["id"], None, None, "invalid_image"))
        elif row.get("__inference_error__"):
            rows.append(_row(row["id"], None, None, "malformed_response"))
        else:
            n_tokens = int(row["num_generated_tokens"])
            ended = "length" if n_tokens >= max_tokens else "stop"
            rows.append(_row(row["id"], row["generated_text"], n_tokens, ended))
    return pa.Table.from_pylist(rows, schema=ANSWERED)


class _TeacherWorker:
    """The offline teacher in a process of Ray's."""

    def __init__(self, config: DistillConfig) -> None:
        self.teacher = open_teacher(config)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = []
        for row in table.to_pylist():
            image = _image(row)
            if image is None:
                rows.append(_row(row["id"], None, None, "invalid_image"))
                continue
            said = self.teacher.answer(image, row["hint"], rng_of(row["id"]))
            rows.append(_row(row["id"], said.text, said.n_tokens, said.finish_reason))
        return pa.Table.from_pylist(rows, schema=ANSWERED)


class _StudentWorker:
    """A student in a process of Ray's, on its GPU if it has one."""

    def __init__(self, config: StudentConfig, model: Path | None, max_new_tokens: int) -> None:
        self.student = load_student(config, model)
        self.prompt_id = config.prompt_id
        self.max_new_tokens = max_new_tokens

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        images = [_image(row) for row in rows]
        usable = [image for image in images if image is not None]
        limits = {"max_new_tokens": self.max_new_tokens, "batch_size": max(len(usable), 1)}
        said = iter(generate(self.student, usable, self.prompt_id, **limits))
        answered = []
        for row, image in zip(rows, images, strict=True):
            if image is None:
                answered.append(_row(row["id"], None, None, "invalid_image"))
                continue
            one = next(said)
            answered.append(_row(row["id"], one.text, one.n_tokens, one.finish_reason))
        return pa.Table.from_pylist(answered, schema=ANSWERED)


def _spread(
    worker: type, given: tuple[Any, ...], workers: Workers, settings: dict[str, Any]
) -> Engine:
    def answered(dataset: Dataset) -> Dataset:
        import ray
        from ray.data import ActorPoolStrategy

        return dataset.map_batches(
            worker,
            fn_constructor_args=given,
            batch_size=workers.batch_size,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers.count),
            num_cpus=cores_of_each(workers.count, ray.cluster_resources().get("CPU", 1.0)),
            num_gpus=workers.gpus,
        )

    return Engine(settings, answered)


def cores_of_each(n_workers: int, n_cores: float) -> float:
    """Cores that Ray books for a worker: one, or less where none would be left to read and write.

    Ray keeps what a worker books for as long as it lives, and its own readers and writers wait
    for a core: workers that book them all never hand over an answer.
    """
    free = max(n_cores - 1.0, n_cores / 2.0)
    return min(1.0, free / n_workers)


def _image(row: dict[str, Any]) -> Image.Image | None:
    try:
        return read_recorded(Path(row["path"]), row["sha256"])
    except ImageError as error:
        print(f"{row['id']}: {error}", flush=True)  # goes to Ray's log of the worker
        return None


def _row(key: str, text: str | None, n_tokens: int | None, finish_reason: str) -> dict[str, Any]:
    return {"id": key, "text": text, "n_tokens": n_tokens, "finish_reason": finish_reason}

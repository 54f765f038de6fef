"""Images and distillations for the tests of teachers and judges behind servers."""

from __future__ import annotations

import hashlib

from PIL import Image
from stub_openai_server import MODEL, StubServer

from qponder_lib.config import DistillConfig
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord
from qponder_lib.teacher.distill import distill, open_teacher, questions

CONCURRENCY = 4
CONFIG = DistillConfig(
    teacher="server",
    teacher_model=MODEL,
    base_url="http://unused/v1",
    concurrency=CONCURRENCY,
)


def make_images(paths: RunPaths, n: int) -> list[ImageRecord]:
    """Write n different images; every second one has a known blur and a MOS of 30."""
    folder = paths.images("mini-koniq")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n):
        file = folder / f"{number:03}.png"
        Image.new("RGB", (4, 4), (number, 100, 200)).save(file)
        rows.append(
            ImageRecord(
                image_id=f"i{number:03}",
                image=file.relative_to(paths.data).as_posix(),
                dataset="mini-koniq",
                split="train",
                mos=30.0,
                distortions=(Distortion(name="blur", level=4),) if number % 2 else (),
                sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            )
        )
    return rows


def distil_from(
    server: StubServer, images: list[ImageRecord], paths: RunPaths, **changes: object
) -> dict[str, int]:
    config = CONFIG.model_copy(update={"base_url": server.base_url, **changes})
    teacher = open_teacher(config)
    teacher.timeout_s, teacher.max_attempts = 10.0, 2
    return distill(images, teacher, config, paths)


def ids(images: list[ImageRecord], config: DistillConfig) -> list[str]:
    return [question.response_id for question in questions(images, config)]

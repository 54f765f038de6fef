"""How near the server teacher comes to its concurrency limit, and whether memory stays bounded.

A stub with a fixed latency sets the ideal: concurrency / latency requests a second. The peak
memory after all answers is compared with the peak after a tenth of them. Stub and client share
one process, so the figures are a lower bound. Prints JSON.

    python tests/benchmarks/teacher_throughput.py --n 2000 --latency-s 0.2 --concurrency 16
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image

from qponder_lib.config import DistillConfig
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord
from qponder_lib.teacher import TeacherAnswer
from qponder_lib.teacher.distill import distil
from qponder_lib.teacher.server import ServerTeacher

sys.path.insert(0, str(Path(__file__).parents[1]))
from stub_openai_server import MODEL, StubServer, ok


class WatchedTeacher(ServerTeacher):
    """A server teacher that notes the peak memory of the process after a tenth of its answers."""

    def watch(self, n: int) -> None:
        self.n_answers, self.tenth, self.peak_at_tenth = 0, n // 10, 0.0

    async def answer_async(self, *question: Any) -> TeacherAnswer:
        answer = await super().answer_async(*question)
        self.n_answers += 1
        if self.n_answers == self.tenth:
            self.peak_at_tenth = peak_mib()
        return answer


def peak_mib() -> float:
    """Peak memory of this process in MiB (macOS counts bytes where Linux counts KiB)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def one_picture_many_rows(paths: RunPaths, n: int, side: int) -> list[ImageRecord]:
    """Rows with ids of their own for one noise image, the most expensive kind to encode."""
    folder = paths.images("mini-koniq")
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    row = ImageRecord(
        image_id="0",
        image="mini-koniq/images/noise.png",
        dataset="mini-koniq",
        split="train",
        mos=None,
        sha256=hashlib.sha256((folder / "noise.png").read_bytes()).hexdigest(),
    )
    return [row.model_copy(update={"image_id": str(number)}) for number in range(n)]


def main(n: int = 2000, latency_s: float = 0.2, concurrency: int = 16, side: int = 128) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder))
        images = one_picture_many_rows(paths, n, side)
        with StubServer(lambda request: ok(delay=latency_s)) as server:
            server.keep_requests = False
            config = DistillConfig(
                teacher="server",
                teacher_model=MODEL,
                base_url=server.base_url,
                concurrency=concurrency,
            )
            teacher = WatchedTeacher.from_config(config)
            teacher.watch(n)
            began = time.monotonic()
            report = distil(images, teacher, config, paths)
            seconds = time.monotonic() - began
    ideal = concurrency / latency_s
    result = {
        "n": n,
        "latency_s": latency_s,
        "concurrency": concurrency,
        "image_side": side,
        "states": report.states,
        "requests_per_second": round(n / seconds, 1),
        "share_of_ideal": round(n / seconds / ideal, 3),
        "peak_mib_after_a_tenth": round(teacher.peak_at_tenth, 1),
        "peak_mib_at_the_end": round(peak_mib(), 1),
        "peak_ratio": round(peak_mib() / teacher.peak_at_tenth, 3),
    }
    print(json.dumps(result, indent=2, sort_keys=True))


if __name__ == "__main__":
    typer.run(main)

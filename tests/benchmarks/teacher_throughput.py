"""How near the server teacher comes to its concurrency limit, and whether memory stays bounded.

A stub with a fixed latency sets the limit: concurrency / latency requests a second. The peak
memory at every tenth of the answers shows whether it grows with their number. Stub and client
share one process, so the shares are a lower bound; what they cost in processor time stands
beside them. Prints a table, writes JSON.

    PYTHONPATH=. python tests/benchmarks/teacher_throughput.py
    PYTHONPATH=. python tests/benchmarks/teacher_throughput.py --memory-n 100000
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import typer
from measuring import RESULTS, about, write
from PIL import Image

from qponder_lib.config import DistillConfig
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord
from qponder_lib.teacher.chat_client import ChatClient
from qponder_lib.teacher.distill import distill
from qponder_lib.teacher.responses import Response

sys.path.insert(0, str(Path(__file__).parents[1]))
from stub_openai_server import MODEL, StubServer, ok

RESULT = RESULTS / "teacher_throughput.json"
CASES = ((5.0, 64), (1.0, 64), (0.2, 16))
"""Latency in seconds and concurrency; a 72B teacher takes longer than the longest."""
SECONDS = 40.0
"""Of each case at its limit; the least is ten rounds."""
MEMORY_CASE = (0.02, 64)


class WatchedTeacher(ChatClient):
    """A server teacher that notes the peak memory of the process at each tenth of its answers."""

    def watch(self, n: int) -> None:
        self.n_answers, self.tenth, self.peaks = 0, max(n // 10, 1), []

    async def ask(self, *question: Any, **options: Any) -> Response:
        answer = await super().ask(*question, **options)
        self.n_answers += 1
        if self.n_answers % self.tenth == 0:
            self.peaks.append(round(peak_mib(), 1))
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


def serve(latency_s: float, pipe: Connection) -> None:
    """Run the stub until told to stop; sends its address first and the most at once last."""
    with StubServer(lambda request: ok(delay=latency_s)) as server:
        server.keep_requests = False
        pipe.send(server.base_url)
        pipe.recv()
        pipe.send(server.most_at_once)


@contextmanager
def stub(latency_s: float) -> Iterator[tuple[str, Connection]]:
    """Yield the address of a stub in its own process, and the pipe to it."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(latency_s, there), daemon=True)
    process.start()
    try:
        yield here.recv(), here
    finally:
        process.terminate()
        process.join()


def measure(n: int, latency_s: float, concurrency: int, side: int) -> dict[str, Any]:
    """Distil `n` answers from a stub with a fixed latency."""
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder))
        images = one_picture_many_rows(paths, n, side)
        with stub(latency_s) as (address, pipe):
            config = DistillConfig(
                teacher="server",
                teacher_model=MODEL,
                base_url=address,
                concurrency=concurrency,
            )
            teacher = WatchedTeacher(
                MODEL, address, temperature=config.temperature, max_tokens=config.max_tokens
            )
            teacher.watch(n)
            began, cpu = time.monotonic(), time.process_time()
            states = distill(images, teacher, config, paths)
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            pipe.send("stop")
            at_once = pipe.recv()
    return {
        "n": n,
        "latency_s": latency_s,
        "concurrency": concurrency,
        "most_at_once": at_once,
        "image_side": side,
        "states": states,
        "requests_per_second": round(n / seconds, 1),
        "limit_per_second": round(concurrency / latency_s, 1),
        "share_of_limit": round(n / seconds * latency_s / concurrency, 3),
        "cpu_ms_per_request": round(1000 * cpu / n, 2),
        "peak_mib_at_tenths": teacher.peaks,
    }


def main(memory_n: int = 0, side: int = 128) -> None:
    """Measure, print and write.

    Args:
        memory_n: Requests of the memory run; 0 leaves it out and keeps the figures it left.
        side: Side of the image, pixels.
    """
    result = about("openai", "httpx")
    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    measure(16, 0.01, 16, side)
    rows = [
        measure(places * max(10, round(SECONDS / latency)), latency, places, side)
        for latency, places in CASES
    ]
    print(f"{'latency':>8}{'places':>8}{'limit/s':>9}{'got/s':>8}{'share':>8}{'cpu ms':>8}")
    for row in rows:
        print(
            f"{row['latency_s']:>8}{row['concurrency']:>8}{row['limit_per_second']:>9}"
            f"{row['requests_per_second']:>8}{row['share_of_limit']:>8}"
            f"{row['cpu_ms_per_request']:>8}"
        )
    memory = before.get("memory")
    if memory_n:
        memory = {**measure(memory_n, *MEMORY_CASE, side), "about": about("openai", "httpx")}
    if memory:
        peaks = memory["peak_mib_at_tenths"]
        print(f"{memory['n']:,} requests, peak MiB at each tenth: {peaks}")
    print(write("teacher_throughput", {**result, "limit": rows, "memory": memory}))


if __name__ == "__main__":
    typer.run(main)

"""A distillation that is killed, interrupted or refused keeps what it has."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stub_openai_server import Reply, Request, StubServer, ok, refusal
from teacher_runs import CONCURRENCY, CONFIG, distil_from, ids, make_images

from qponder_lib.artifacts import read_jsonl, write_jsonl
from qponder_lib.paths import RunPaths
from qponder_lib.records import ResponseRecord
from qponder_lib.teacher.chat_client import API_KEY_VARIABLE
from qponder_lib.teacher.responses import ServerUnavailable, newest_responses

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def test_a_refused_key_in_the_middle_keeps_what_came_before(paths: RunPaths) -> None:
    images = make_images(paths, 20)
    with StubServer(lambda request: refusal(401) if request.index >= 10 else ok()) as server:
        with pytest.raises(ServerUnavailable, match=API_KEY_VARIABLE):
            distil_from(server, images, paths)
        seen = server.n_seen
        server.script = lambda request: ok()
        states = distil_from(server, images, paths)
    assert seen <= 10 + CONCURRENCY
    assert states == {"stop": 20}
    assert server.n_seen - seen <= 10 + CONCURRENCY


def test_a_server_that_has_gone_stops_the_run_instead_of_failing_every_image(
    paths: RunPaths,
) -> None:
    images = make_images(paths, 100)
    with StubServer(lambda request: refusal(500)) as server:
        with pytest.raises(
            ServerUnavailable, match=r"32 images in a row.*http_error \(stub says 500\)"
        ):
            distil_from(server, images, paths)
        assert server.n_seen <= 2 * (32 + CONCURRENCY)


def test_the_key_is_in_no_file_and_no_log(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    caplog.set_level(logging.DEBUG)
    script: Callable[[Request], Reply] = lambda r: refusal(500) if r.index % 3 else ok()  # noqa: E731
    with StubServer(script) as server:
        distil_from(server, make_images(paths, 6), paths)
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"
    assert key not in caplog.text
    assert not any(key.encode() in f.read_bytes() for f in paths.root.rglob("*") if f.is_file())


WORKER = """
import sys
from pathlib import Path
from qponder_lib.artifacts import read_jsonl
from qponder_lib.config import DistillConfig
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord
from qponder_lib.teacher.distill import distill, open_teacher

paths, config = RunPaths(Path(sys.argv[1])), DistillConfig.model_validate_json(sys.argv[2])
images = read_jsonl(paths.split("mini-koniq", "train"), ImageRecord)
distill(images, open_teacher(config), config, paths)
"""

# A shell starts background jobs with SIGINT ignored, and children inherit that.
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def test_after_kill_nothing_is_lost_and_nothing_doubled(paths: RunPaths) -> None:
    """Killed when the 3rd, 14th, 27th and last request comes in, on one folder."""
    images = make_images(paths, 40)
    write_jsonl(paths.split("mini-koniq", "train"), images)
    moments = [3, 14, 27, 40]
    worker: subprocess.Popen[bytes] | None = None

    def script(request: Request) -> Reply:
        if moments and request.index + 1 >= moments[0]:
            moments.pop(0)
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
        return ok(delay=0.001 * (request.index % 7))

    with StubServer(script) as server:
        config = CONFIG.model_copy(update={"base_url": server.base_url})
        command = [sys.executable, "-c", WORKER, str(paths.root), config.model_dump_json()]
        n_kills = len(moments)
        while moments:
            worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
            assert worker.wait(60) == -signal.SIGKILL
        states = distil_from(server, images, paths)

    assert states == {"stop": 40}
    rows = read_jsonl(paths.raw_responses, ResponseRecord)
    assert sorted(row.response_id for row in rows) == sorted(ids(images, CONFIG))
    assert 40 <= server.n_seen <= 40 + n_kills * CONCURRENCY


OFFLINE_WORKER = """
import os, signal
from qponder_lib.teacher.expert import ExpertTeacher
from qponder_lib.teacher.responses import Response

class Interrupting(ExpertTeacher):
    seen = 0
    def respond(self, image, hint, rng):
        self.seen += 1
        if self.seen == 3:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return Response("so", 1)

distill(images, Interrupting(config.teacher_model), config, paths)
"""


def test_an_interrupt_is_heeded_between_two_images_of_an_offline_teacher(paths: RunPaths) -> None:
    write_jsonl(paths.split("mini-koniq", "train"), make_images(paths, 200))
    config = CONFIG.model_copy(update={"teacher": "expert", "teacher_model": "expert-v1"})
    worker = HEED + WORKER.rpartition("\ndistill(")[0] + "\nimport time\n" + OFFLINE_WORKER
    command = [sys.executable, "-c", worker, str(paths.root), config.model_dump_json()]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=-1, timeout=60)
    assert b"KeyboardInterrupt" in ended.stderr
    assert 2 <= len(newest_responses(paths.raw_responses)) < 100


def test_an_interrupt_ends_the_run_at_once_and_keeps_what_was_answered(paths: RunPaths) -> None:
    images = make_images(paths, 12)
    write_jsonl(paths.split("mini-koniq", "train"), images)
    worker: subprocess.Popen[bytes] | None = None

    def script(request: Request) -> Reply:
        if request.index == 6 + CONCURRENCY - 1:  # all slots wait for answers that do not come
            assert worker is not None
            worker.send_signal(signal.SIGINT)
        return ok() if request.index < 6 else ok(delay=60.0)

    with StubServer(script) as server:
        config = CONFIG.model_copy(update={"base_url": server.base_url})
        command = [sys.executable, "-c", HEED + WORKER, str(paths.root), config.model_dump_json()]
        worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=-1)
        _, errors = worker.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert [row.finish_reason for row in newest_responses(paths.raw_responses).values()] == [
        "stop"
    ] * 6

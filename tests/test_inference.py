"""Prediction: images come as they are needed, a server is asked about many, nothing twice."""

import numpy as np
import pytest
import torch
from PIL import Image
from stub_openai_server import MODEL, Reply, StubServer, completion, ok

from qponder_lib.artifacts import file_sha256, read_jsonl, write_jsonl
from qponder_lib.config import load_profile
from qponder_lib.data.images import load_image
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.student.generation import generate
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import LazyImages, predict_model

N = 12


@pytest.fixture
def run(tmp_path):
    """A run with the test images of one set and a teacher behind a server."""
    paths = RunPaths(tmp_path)
    paths.images("koniq").mkdir(parents=True)
    rows = []
    for number in range(N):
        file = paths.images("koniq") / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        rows.append(
            ImageRecord(
                image_id=f"koniq-{number}",
                image=f"koniq/images/{number}.png",
                dataset="koniq",
                split="test",
                mos=float(number),
                sha256=file_sha256(file),
            )
        )
    write_jsonl(paths.split("koniq", "test"), rows)
    profile = load_profile("smoke").with_overrides(
        {
            "distill.teacher": "server",
            "distill.teacher_model": MODEL,
            "distill.concurrency": 4,
            "predict.models": ["teacher"],
            "predict.sets": ["koniq"],
            "predict.sampled_sets": [],
        }
    )
    return Run(paths, profile)


def asking(run, server):
    return Run(run.paths, run.profile.with_overrides({"distill.base_url": server.base_url}))


def test_images_are_decoded_one_at_a_time(run):
    records = read_jsonl(run.paths.split("koniq", "test"), ImageRecord)
    decoded = []

    def opened(record):
        decoded.append(record.image_id)
        return load_image(run.paths, record)

    images = LazyImages(records, opened)
    assert (len(images), decoded) == (N, [])
    assert images[3].size == (32, 24)
    assert decoded == ["koniq-3"]


def test_a_teacher_behind_a_server_is_asked_about_several_images_at_once(run, tmp_path):
    with StubServer(lambda request: ok(delay=0.05)) as server:
        predict_model(asking(run, server), "teacher", tmp_path / "work")
        assert (server.n_seen, server.most_at_once) == (N, 4)
        assert not [one for one in server.requests if "Severe" in str(one.body)]  # no hint
    rows = read_jsonl(run.paths.predictions("teacher", "koniq"), PredictionRecord)
    assert [row.image_id for row in rows] == [f"koniq-{number}" for number in range(N)]
    assert {(row.score, row.parse_status) for row in rows} == {(63.0, "ok")}


def test_a_killed_prediction_does_not_ask_a_server_again(run, tmp_path):
    def dies_after_seven(request):
        return ok() if request.index < 7 else Reply({"error": {"message": "gone"}}, 401)

    with StubServer(dies_after_seven) as server, pytest.raises(Exception, match="answered 401"):
        predict_model(asking(run, server), "teacher", tmp_path / "work")
    with StubServer(lambda request: ok()) as server:
        predict_model(asking(run, server), "teacher", tmp_path / "work")
        assert server.n_seen == N - 7


def test_an_answer_that_never_came_is_counted_and_has_no_score(run, tmp_path):
    with StubServer(lambda request: Reply(completion(""))) as server:
        predict_model(asking(run, server), "teacher", tmp_path / "work")
    rows = read_jsonl(run.paths.predictions("teacher", "koniq"), PredictionRecord)
    assert {(row.score, row.parse_status) for row in rows} == {(None, "empty")}


@pytest.mark.parametrize("rounded", [False, True])
def test_a_model_on_the_cpu_goes_to_the_gpu_and_four_bit_weights_stay(rounded, monkeypatch):
    student, moved = load_student(load_profile("mini").student), []
    student.model.is_quantized = rounded
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(student.model, "to", moved.append)
    generate(student, [], "student_short", max_new_tokens=1)
    assert moved == ([] if rounded else ["cuda"])

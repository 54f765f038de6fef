"""A student behind a server is asked as in this process: the same prompt, pixels and rows."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from stub_openai_server import ANSWER, Reply, StubServer, completion

from qponder_lib import artifacts, pipeline
from qponder_lib.config import StudentConfig, load_profile
from qponder_lib.gpu import ready
from qponder_lib.paths import MINI_WEIGHTS, RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.student.generation import generate
from qponder_lib.student.model import as_seen, load_student
from qponder_lib.student.prediction import open_student, predict_model, served_name
from qponder_lib.teacher.responses import ServerUnavailable

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]
N, SAMPLES = 6, 2
SIZES = [(32, 24), (150, 100), (128, 128), (40, 400)]
WIDE, NARROW = (3136, 12544), (16384, 16384)  # pixel limits; few sizes fit into the second


def noise(number, size):
    return Image.effect_noise(size, 20 + 40 * number).convert("RGB")


@pytest.fixture
def run(tmp_path):
    """A run with the test images of one set, whose trained student is the mini one."""
    paths = RunPaths(tmp_path)
    paths.images("koniq").mkdir(parents=True)
    rows = []
    for number in range(N):
        file = paths.images("koniq") / f"{number}.png"
        noise(number, SIZES[number % len(SIZES)]).save(file)
        named = {"image_id": f"koniq-{number}", "image": f"koniq/images/{number}.png"}
        named |= {"dataset": "koniq", "split": "test", "mos": float(number)}
        rows.append(ImageRecord(**named, sha256=artifacts.file_sha256(file)))
    artifacts.write_jsonl(paths.split("koniq", "test"), rows)
    shutil.copytree(MINI_WEIGHTS, paths.grpo("qponder"))
    recorded(paths)
    settings = {"models": ["qponder"], "sets": ["koniq"], "sampled_sets": ["koniq"]}
    settings |= {"n_samples": SAMPLES, "max_new_tokens": 24, "concurrency": 3, "batch_size": 1}
    named = {f"predict.{name}": value for name, value in settings.items()}
    return Run(paths, load_profile("smoke").with_overrides(named))


def recorded(paths):
    folder = paths.grpo("qponder")
    return artifacts.record_folder(folder, stage="grpo", key="", config={}, seconds=0.0)


def changed(run, **settings):
    settings = {name.replace("__", "."): value for name, value in settings.items()}
    return Run(run.paths, run.profile.with_overrides(settings))


def asking(run, server):
    return changed(run, predict__base_url=server.base_url)


def rows_of(run, *, sampled=False):
    file = run.paths.predictions("qponder", "koniq", sampled=sampled)
    return artifacts.read_jsonl(file, PredictionRecord)


def says(text=ANSWER):
    return lambda request: Reply(completion(text, model=request.body["model"]))


def image_of(request):
    (part,) = re.findall(r"data:image/png;base64,([^'\"]+)", str(request.body))
    return Image.open(io.BytesIO(base64.b64decode(part)))


@pytest.mark.parametrize("limits", [WIDE, NARROW])
def test_a_served_prediction_is_the_row_that_the_same_text_gives_here(run, limits, tmp_path):
    pixels = {"student__min_pixels": limits[0], "student__max_pixels": limits[1]}
    run = changed(run, predict__sampled_sets=[], **pixels)
    student = load_student(run.profile.student, run.paths.grpo("qponder"))

    def generated(request):
        (message,) = request.body["messages"]
        image, question = message["content"]
        messages = [{"role": message["role"], "content": [{"type": "image"}, question]}]
        assert (image["type"], request.body["temperature"]) == ("image_url", 0.0)
        length = request.body["max_tokens"]
        (said,) = generate(student, [image_of(request)], messages, max_new_tokens=length)
        body = completion(said.text, model=request.body["model"], finish_reason=said.finish_reason)
        body["usage"]["completion_tokens"] = said.n_tokens
        return Reply(body)

    predict_model(run, "qponder", tmp_path / "here")
    here = [row.model_copy(update={"expectation": None, "spread": None}) for row in rows_of(run)]
    with StubServer(generated) as server:
        predict_model(asking(run, server), "qponder", tmp_path / "there")
    assert rows_of(run) == here
    assert len({row.text for row in here}) > 1


@pytest.mark.parametrize("limits", [WIDE, NARROW])
def test_what_is_sent_gives_a_server_the_pixels_that_the_student_sees(limits):
    config = StudentConfig(min_pixels=limits[0], max_pixels=limits[1])
    processor, resize = load_student(config).processor.image_processor, as_seen(config)
    for number, size in enumerate(SIZES):
        image = noise(number, size)
        sent = resize(image)
        ours, theirs = processor(images=[image]), processor(images=[sent])
        assert np.array_equal(ours["image_grid_thw"], theirs["image_grid_thw"]), size
        assert np.array_equal(ours["pixel_values"], theirs["pixel_values"]), size
        if limits == WIDE:
            assert sent.width % 32 == sent.height % 32 == 0


def test_a_killed_prediction_asks_for_what_is_missing_and_for_each_sample_by_itself(run, tmp_path):
    run = changed(run, predict__concurrency=1)

    def dies_after_eight(request):
        return says()(request) if request.index < 8 else Reply({"error": {"message": "gone"}}, 401)

    with StubServer(dies_after_eight) as server:
        with pytest.raises(ServerUnavailable, match="QPONDER_STUDENT_API_KEY"):
            predict_model(asking(run, server), "qponder", tmp_path / "work")
        asked = server.requests[:8]
    with StubServer(says()) as server:
        predict_model(asking(run, server), "qponder", tmp_path / "work")
        assert server.n_seen == N * (1 + SAMPLES) - 8
        asked += server.requests
    greedy, sampled = rows_of(run), rows_of(run, sampled=True)
    assert {(row.score, row.parse_status, row.expectation) for row in greedy} == {(63, "ok", None)}
    names = [f"koniq-{number}" for number in range(N)]
    assert [(row.image_id, row.sample) for row in greedy] == [(name, 0) for name in names]
    pairs = [(name, sample) for sample in range(SAMPLES) for name in names]
    assert [(row.image_id, row.sample) for row in sampled] == pairs
    assert [one.body["seed"] for one in asked[:N]] == [0] * N
    assert len({one.body["seed"] for one in asked[N:]}) == N * SAMPLES
    assert {one.body["temperature"] for one in asked[N:]} == {1.0}


def test_an_image_or_a_response_that_is_missing_is_a_row_with_its_reason(run, tmp_path):
    run = changed(run, predict__sampled_sets=[])
    (run.paths.images("koniq") / "1.png").write_bytes(b"no image")

    def served(request):
        return says("" if image_of(request).size == (128, 128) else ANSWER)(request)

    with StubServer(served) as server:
        predict_model(asking(run, server), "qponder", tmp_path / "work")
    states = ["ok"] * N
    states[1], states[2] = "invalid_image", "empty"
    assert [row.parse_status for row in rows_of(run)] == states
    assert [row.text is None for row in rows_of(run)] == [one != "ok" for one in states]


def test_a_server_of_other_weights_is_refused(run, tmp_path):
    name = served_name(run, "qponder")
    assert re.fullmatch(r"qponder-[0-9a-f]{12}", name)
    with (run.paths.grpo("qponder") / "history.csv").open("a") as file:
        file.write("trained again")
    recorded(run.paths)
    assert served_name(run, "qponder") != name
    refused = pytest.raises(ServerUnavailable, match=f"answered as '{name}'")
    with StubServer(lambda request: Reply(completion(model=name))) as server, refused:
        predict_model(asking(run, server), "qponder", tmp_path / "work")
    with StubServer(lambda request: Reply({"data": [{"id": name}]})) as server:
        found = ready.check_student(asking(run, server), "qponder")
    assert (found.verdict, f"has {name}, " in found.said) == ("problem", True)
    assert re.search(r"qponder export \S+ qponder DIR", found.remedy)


def test_the_base_goes_by_the_name_of_its_model_and_an_untrained_student_by_none(run):
    served = changed(run, student__model=str(MINI_WEIGHTS), predict__base_url="http://h/v1")
    assert open_student(served, "base").model == str(MINI_WEIGHTS)
    with pytest.raises(FileNotFoundError, match="no trained model"):
        served_name(run, "ci-short")


def test_that_a_server_is_asked_is_in_the_key_of_students_and_where_it_is_in_none():
    keys = {
        address: pipeline.stage_keys(load_profile("mini").with_overrides(settings))
        for address, settings in {
            None: {"predict.concurrency": 5},
            "a": {"predict.base_url": "http://a/v1"},
            "b": {"predict.base_url": "http://b/v1"},
        }.items()
    }
    assert keys[None] == pipeline.stage_keys(load_profile("mini"))
    assert keys["a"] == keys["b"]
    moved = {name for name in keys["a"] if keys["a"][name] != keys[None][name]}
    students = {f"predict-{one}" for one in ("base", "ci-none", "ci-short", "ci-long", "qponder")}
    assert moved == students | {"evaluate", "judge", "tables", "cases"}

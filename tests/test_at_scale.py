"""Responses on Ray Data: the same as without it, each asked for once, however interrupted."""

import importlib.util

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qponder_lib.artifacts import ArtifactError, write_jsonl
from qponder_lib.config import DataConfig, DistillConfig, load_profile
from qponder_lib.data import benchmark
from qponder_lib.data.images import load_image, load_records
from qponder_lib.gpu import at_scale
from qponder_lib.paths import RunPaths
from qponder_lib.student.generation import generate
from qponder_lib.student.model import load_student
from qponder_lib.teacher.distill import current_responses, distill, open_teacher

HAS_RAY = importlib.util.find_spec("ray") is not None
with_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install '.[ray]'")
ONE = at_scale.Workers(count=1, batch_size=4)
TWO = at_scale.Workers(count=2, batch_size=3)
EXPERT = DistillConfig()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    benchmark.build(DataConfig(n_train=6, n_validation=1, n_test=3), paths, progress=False)
    return paths


@pytest.fixture(scope="module")
def local_ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def ask(place, keys, engine="engine"):
    rows = [{"id": key, "path": f"{key}.png", "sha256": "0" * 64, "hint": None} for key in keys]
    at_scale.write_requests(place, {"engine": engine}, rows)


def say(place, name, keys):
    (place / "answers").mkdir(exist_ok=True)
    rows = [{"id": k, "text": "t", "n_tokens": 1, "finish_reason": "stop"} for k in keys]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=at_scale.RESPONSES), place / "answers" / f"{name}.parquet"
    )


def test_requests_are_written_once_and_only_the_same_ones_are_gone_on_with(tmp_path):
    ask(tmp_path, "ab")
    ask(tmp_path, "ba")
    with pytest.raises(ValueError, match="other images"):
        ask(tmp_path, "abc")
    with pytest.raises(ValueError, match="other requests"):
        ask(tmp_path, "ab", engine="another")


def test_a_folder_tells_missing_strange_and_repeated_responses(tmp_path):
    ask(tmp_path, "abc")
    say(tmp_path, "0", "ab")
    with pytest.raises(ArtifactError, match="1 of 3 have no response"):
        list(at_scale.responses_in(tmp_path))
    say(tmp_path, "1", "c")
    assert [row["id"] for row in at_scale.responses_in(tmp_path)] == ["a", "b", "c"]
    say(tmp_path, "2", "c")
    with pytest.raises(ArtifactError, match="c has two responses"):
        list(at_scale.responses_in(tmp_path))


def test_more_requests_than_a_file_takes_make_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(at_scale, "_ROWS_PER_FILE", 2)
    ask(tmp_path, "abcde")
    files = sorted(file.name for file in (tmp_path / "questions").iterdir())
    assert files == ["000000.parquet", "000001.parquet", "000002.parquet"]


def test_what_the_vllm_stage_says_becomes_a_response_or_a_named_state():
    said = {"__inference_error__": "", "usable": True, "generated_text": "x"}
    rows = [
        {**said, "id": "a", "num_generated_tokens": 9},
        {**said, "id": "b", "num_generated_tokens": 10},
        {**said, "id": "c", "num_generated_tokens": 0, "__inference_error__": "out of memory"},
        {**said, "id": "d", "num_generated_tokens": 1, "usable": False},
    ]
    answers = at_scale.from_vllm(pa.Table.from_pylist(rows), max_tokens=10).to_pylist()
    assert [(row["text"], row["finish_reason"]) for row in answers] == [
        ("x", "stop"),
        ("x", "length"),
        (None, "malformed_response"),
        (None, "invalid_image"),
    ]


def test_the_vllm_stage_is_shown_the_picture_and_the_hint_or_neither(built):
    record = load_records(built, "mini-koniq", "train")[0]
    row = at_scale.request("0f", record, built, "Severe_Blur")
    asked = at_scale.vllm_request(row, EXPERT)
    image, text = asked["messages"][1]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert "Severe_Blur" in str(asked["messages"])
    assert text["type"] == "text"
    assert asked["sampling_params"]["max_tokens"] == EXPERT.max_tokens
    assert asked["sampling_params"] == at_scale.vllm_request(row, EXPERT)["sampling_params"]
    broken = at_scale.vllm_request({**row, "sha256": "0" * 64}, EXPERT)
    assert not broken["usable"]
    assert "image_url" not in str(broken["messages"])
    assert broken["sampling_params"]["max_tokens"] == 1


@pytest.mark.parametrize("n_cores", [1, 2, 3, 16])
@pytest.mark.parametrize("n_workers", [1, 2, 15, 16, 40])
def test_workers_leave_ray_a_core_to_read_and_write_with(n_workers, n_cores):
    booked = at_scale.cores_of_each(n_workers, n_cores)
    assert 0.0 < booked <= 1.0
    assert n_cores - n_workers * booked >= min(1.0, n_cores / 2.0) - 1e-9


def test_workers_book_a_whole_core_each_while_there_are_enough():
    assert at_scale.cores_of_each(15, 16) == 1.0
    assert at_scale.cores_of_each(2, 2) == 0.5


@with_ray
@pytest.mark.slow
def test_ray_collects_the_responses_that_one_process_collects(built, local_ray, tmp_path):
    here = tmp_path / "here.jsonl"
    records = load_records(built, "mini-koniq", "train")
    distill(records, open_teacher(EXPERT), EXPERT, built, store=here)
    expected = {
        row.image_id: (row.text, row.finish_reason, row.response_id, row.prompt_sha256)
        for row in current_responses(records, EXPERT, built, store=here)
    }
    engine = at_scale.offline_teacher(EXPERT, TWO)
    place = tmp_path / "scale"
    assert at_scale.distil_at_scale(built, "mini-koniq", EXPERT, place, engine) == 6
    found = {
        row.image_id: (row.text, row.finish_reason, row.response_id, row.prompt_sha256)
        for row in current_responses(records, EXPERT, built)
    }
    assert found == expected
    assert at_scale.distil_at_scale(built, "mini-koniq", EXPERT, place, engine) == 0


@with_ray
@pytest.mark.slow
def test_a_failed_job_goes_on_with_the_requests_that_are_left(
    built, local_ray, tmp_path, monkeypatch
):
    monkeypatch.setattr(at_scale, "_ROWS_PER_FILE", 2)
    place, log = tmp_path / "scale", tmp_path / "log"
    log.mkdir()

    def fails_on(broken):
        def answered(table):
            rows = []
            for key in table["id"].to_pylist():
                if key == broken:
                    raise RuntimeError("the machine went away")
                (log / f"{key}-{broken}").touch()
                row = {"id": key, "text": key, "n_tokens": 1, "finish_reason": "stop"}
                rows.append(row)
            return pa.Table.from_pylist(rows, schema=at_scale.RESPONSES)

        return at_scale.Engine(
            {}, lambda ds: ds.map_batches(answered, batch_format="pyarrow", concurrency=1)
        )

    asked = [{"id": k, "path": k, "sha256": k, "hint": None} for k in "abcdef"]
    with pytest.raises(Exception, match="the machine went away"):
        at_scale.respond(place, asked, fails_on("f"))
    at_scale.respond(place, asked, fails_on("none"))
    assert sorted(row["text"] for row in at_scale.responses_in(place)) == list("abcdef")
    again = sorted(file.name for file in log.glob("*-none"))
    done_before = {row for row in "abcdef" if f"{row}-none" not in again}
    assert "f-none" in again
    assert done_before <= {name[0] for name in (file.name for file in log.glob("*-f"))}


@with_ray
@pytest.mark.slow
def test_the_mini_student_answers_on_ray_as_it_does_without(built, local_ray, tmp_path):
    student = load_profile("smoke").student
    records = load_records(built, "mini-csiq", "test")
    broken = records[1].model_copy(update={"sha256": "0" * 64})
    write_jsonl(built.split("mini-csiq", "test"), [records[0], broken, records[2]])
    engine = at_scale.student_engine(student, None, 12, ONE)
    rows = at_scale.predict_at_scale(built, "mini-csiq", student, tmp_path, engine)
    images = [load_image(built, one) for one in (records[0], records[2])]
    said = generate(load_student(student), images, student.prompt_id, max_new_tokens=12)
    assert [row.image_id for row in rows] == [one.image_id for one in records]
    assert [rows[0].text, rows[2].text] == [one.text for one in said]
    assert (rows[1].text, rows[1].score) == (None, None)
    assert rows[1].parse_status == "invalid_image"

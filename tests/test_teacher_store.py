"""The driver and its store: nothing lost, nothing doubled, whatever ends the run."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stub_openai_server import Reply, StubServer, completion, ok, refusal
from teacher_runs import CONCURRENCY, CONFIG, distil_from, ids, make_images

from qponder_lib.artifacts import ArtifactError, JsonlAppender, read_jsonl
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ResponseRecord
from qponder_lib.teacher.distill import current_responses, distill, hint_for
from qponder_lib.teacher.responses import Response, newest_responses

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]


class OfflineTeacher:
    """Says how bright an image is and which random number it drew; remembers what it saw."""

    name = "brightness-v1"

    def __init__(self) -> None:
        self.hints: list[str | None] = []

    def respond(self, image: Image.Image, hint: str | None, rng: np.random.Generator) -> Response:
        self.hints.append(hint)
        text = f"{np.asarray(image).mean():.2f} {rng.integers(10**9)}"
        return Response(text, 2)


OFFLINE = CONFIG.model_copy(update={"teacher": "expert", "teacher_model": OfflineTeacher.name})


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def test_every_image_gets_one_row_and_the_states_add_up(paths: RunPaths) -> None:
    images = make_images(paths, 12)
    bodies = {0: Reply({}), 1: refusal(422), 2: Reply(completion(None))}
    with StubServer(lambda request: bodies.get(int(request.image, 16) % 5, ok())) as server:
        states = distil_from(server, images, paths)
    rows = read_jsonl(paths.raw_responses, ResponseRecord)
    assert sorted(row.image_id for row in rows) == [image.image_id for image in images]
    assert states == dict(Counter(row.finish_reason for row in rows))
    assert sum(states.values()) == 12


def test_half_a_surrogate_pair_is_spelled_out(paths: RunPaths) -> None:
    with StubServer(lambda request: Reply(completion("odd \ud83d end"))) as server:
        distil_from(server, make_images(paths, 1), paths)
    (row,) = newest_responses(paths.raw_responses).values()
    assert row.text == "odd \\ud83d end"


def test_no_more_requests_are_open_than_the_limit_allows(paths: RunPaths) -> None:
    with StubServer(lambda request: ok(delay=0.02)) as server:
        distil_from(server, make_images(paths, 40), paths)
    assert 2 <= server.most_at_once <= CONCURRENCY


def test_tags_are_shown_where_known_and_the_score_never(paths: RunPaths) -> None:
    images = [image.model_copy(update={"mos": 31.4159}) for image in make_images(paths, 4)]
    with StubServer() as server:
        distil_from(server, images, paths)
    prompts = [request.body["messages"][1]["content"][1]["text"] for request in server.requests]
    assert sorted("[Severe_Blur]" in prompt for prompt in prompts) == [False, False, True, True]
    assert not any("31.4" in json.dumps(request.body) for request in server.requests)
    hinted = {row.image_id: row.hinted for row in newest_responses(paths.raw_responses).values()}
    assert hinted == {"i000": False, "i001": True, "i002": False, "i003": True}


def test_without_hint_in_the_config_no_tag_is_shown(paths: RunPaths) -> None:
    teacher = OfflineTeacher()
    config = OFFLINE.model_copy(update={"hint": False})
    distill(make_images(paths, 4), teacher, config, paths)
    assert teacher.hints == [None] * 4


def test_a_tag_names_each_distortion_once_and_needs_a_mos(paths: RunPaths) -> None:
    image = make_images(paths, 1)[0]
    twice = (Distortion(name="blur", level=1), Distortion(name="white_noise", level=2))
    damaged = image.model_copy(update={"distortions": twice + twice[:1], "mos": 85.0})
    assert hint_for(damaged) == "Slight_Blur, Slight_White_Noise"
    assert hint_for(damaged.model_copy(update={"mos": None})) is None
    assert hint_for(image) is None


def test_an_answer_does_not_depend_on_the_order_of_asking(tmp_path: Path) -> None:
    texts = []
    for name, step in (("a", 1), ("b", -1)):
        paths = RunPaths(tmp_path / name)
        images = make_images(paths, 6)
        distill(images[::step], OfflineTeacher(), OFFLINE, paths)
        texts.append([row.text for row in current_responses(images, OFFLINE, paths)])
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 6


def test_a_teacher_that_is_not_the_one_in_the_config_is_refused(paths: RunPaths) -> None:
    with pytest.raises(ValueError, match="brightness-v1"):
        distill([], OfflineTeacher(), CONFIG, paths)


def test_an_image_id_that_comes_twice_is_refused(paths: RunPaths) -> None:
    with pytest.raises(ValueError, match="i000"):
        distill(make_images(paths, 1) * 2, OfflineTeacher(), OFFLINE, paths)


def test_two_rows_of_one_picture_get_an_answer_each(paths: RunPaths) -> None:
    image = make_images(paths, 1)[0]
    images = [image, image.model_copy(update={"image_id": "copy"})]
    distill(images, OfflineTeacher(), OFFLINE, paths)
    assert [row.image_id for row in current_responses(images, OFFLINE, paths)] == ["i000", "copy"]


def test_final_answers_are_not_asked_for_again(paths: RunPaths) -> None:
    images = make_images(paths, 8)
    bodies = [
        completion(),
        completion("<think>", finish_reason="length"),
        completion(""),
        completion(finish_reason="content_filter"),
    ]
    with StubServer(lambda request: Reply(bodies[request.index % 4])) as server:
        distil_from(server, images, paths)
        again = distil_from(server, images, paths)
    assert server.n_seen == 8
    assert again == {"stop": 2, "length": 2, "empty": 2, "content_filter": 2}


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(429),
        refusal(500),
        refusal(422),
        Reply(reset=True),
        Reply(b"{"),
    ],
)
def test_other_states_are_asked_again_next_time_and_the_newest_row_counts(
    paths: RunPaths, trouble: Reply
) -> None:
    images = make_images(paths, 3)
    with StubServer(lambda request: trouble) as server:
        assert "stop" not in distil_from(server, images, paths)
        server.script = lambda request: ok("better")
        again = distil_from(server, images, paths)
    assert again == {"stop": 3}
    assert len(read_jsonl(paths.raw_responses, ResponseRecord)) == 6
    newest = newest_responses(paths.raw_responses).values()
    assert [row.text for row in newest] == ["better"] * 3


def test_new_images_are_asked_about_and_old_ones_are_not(paths: RunPaths) -> None:
    images = make_images(paths, 6)
    with StubServer() as server:
        distil_from(server, images[:4], paths)
        states = distil_from(server, images, paths)
    assert (states, server.n_seen) == ({"stop": 6}, 6)


DECIDES = {"teacher_model": "other", "temperature": 0.1, "max_tokens": 9, "hint": False}
DOES_NOT = {"concurrency": 1, "base_url": "http://else/v1"}


@pytest.mark.parametrize("field", DECIDES)
def test_what_decides_an_answer_is_in_its_key(paths: RunPaths, field: str) -> None:
    images = make_images(paths, 2)[1:]  # the one with a tag
    changed = CONFIG.model_copy(update={field: DECIDES[field]})
    assert ids(images, changed) != ids(images, CONFIG)


@pytest.mark.parametrize("field", DOES_NOT)
def test_how_an_answer_is_fetched_is_not_in_its_key(paths: RunPaths, field: str) -> None:
    images = make_images(paths, 2)
    changed = CONFIG.model_copy(update={field: DOES_NOT[field]})
    assert ids(images, changed) == ids(images, CONFIG)


def test_another_picture_under_the_same_id_is_another_question(paths: RunPaths) -> None:
    image = make_images(paths, 1)[0]
    assert ids([image.model_copy(update={"sha256": "0" * 64})], CONFIG) != ids([image], CONFIG)


def test_answers_of_another_configuration_stay_apart(paths: RunPaths) -> None:
    images = make_images(paths, 3)
    with StubServer(lambda request: ok(f"at {request.body['temperature']}")) as server:
        for temperature in (0.1, 0.9):
            distil_from(server, images, paths, temperature=temperature)
    for temperature in (0.1, 0.9):
        config = CONFIG.model_copy(update={"temperature": temperature})
        rows = current_responses(images, config, paths)
        assert [row.text for row in rows] == [f"at {temperature}"] * 3


def test_an_unusable_image_is_a_state_of_its_row_and_asked_about_once_repaired(
    paths: RunPaths,
) -> None:
    images = make_images(paths, 4)
    files = [paths.data / image.image for image in images]
    good = files[1].read_bytes()
    files[0].unlink()
    files[1].write_bytes(good[:-20])
    teacher = OfflineTeacher()
    states = distill(images, teacher, OFFLINE, paths)
    assert states == {"invalid_image": 2, "stop": 2}
    files[1].write_bytes(good)
    again = distill(images, teacher, OFFLINE, paths)
    assert again == {"invalid_image": 1, "stop": 3}
    assert len(teacher.hints) == 3


def test_a_torn_last_line_is_cut_off_and_asked_again(
    paths: RunPaths, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(paths, 5)
    distill(images, OfflineTeacher(), OFFLINE, paths)
    whole = paths.raw_responses.read_bytes()
    for tail in (whole[:-1], whole[:-40], whole + b"\0" * 64, whole + b'{"image_id'):
        paths.raw_responses.write_bytes(tail)
        teacher = OfflineTeacher()
        distill(images, teacher, OFFLINE, paths)
        assert len(teacher.hints) == (1 if len(tail) < len(whole) else 0)  # asked again
        assert len(read_jsonl(paths.raw_responses, ResponseRecord)) == 5
        assert "torn" in caplog.text
        caplog.clear()


def test_a_torn_line_in_the_middle_is_an_error_that_names_it(paths: RunPaths) -> None:
    images = make_images(paths, 3)
    distill(images, OfflineTeacher(), OFFLINE, paths)
    first, second, third = paths.raw_responses.read_bytes().splitlines(keepends=True)
    damaged = first + second[:30] + b"\n" + third
    paths.raw_responses.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="line 2"):
        distill(images, OfflineTeacher(), OFFLINE, paths)
    assert paths.raw_responses.read_bytes() == damaged


def test_two_writers_are_refused(paths: RunPaths) -> None:
    with (
        JsonlAppender(paths.raw_responses, ResponseRecord),
        pytest.raises(ArtifactError, match="another process"),
    ):
        distill(make_images(paths, 1), OfflineTeacher(), OFFLINE, paths)


def test_nothing_is_written_behind_a_row_that_did_not_fit_on_the_disk(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(paths, 9)
    writes = 0
    real_write = os.write

    def full_disk(handle: int, content: bytes) -> int:
        nonlocal writes
        if not content.startswith(b'{"finish_reason"') and writes != 4:
            return real_write(handle, content)
        writes += 1
        if writes == 4:
            real_write(handle, content[:25])
            raise OSError(28, "No space left on device")
        return real_write(handle, content)

    monkeypatch.setattr(os, "write", full_disk)
    with StubServer() as server:
        with pytest.raises(OSError, match="No space left"):
            distil_from(server, images, paths)
        monkeypatch.undo()
        assert paths.raw_responses.read_bytes().count(b"\n") == 3
        assert distil_from(server, images, paths) == {"stop": 9}
    assert len(read_jsonl(paths.raw_responses, ResponseRecord)) == 9


def test_what_is_done_is_shown_where_no_terminal_is(
    paths: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    distill(make_images(paths, 3), OfflineTeacher(), OFFLINE, paths)
    shown = capsys.readouterr().err
    assert OFFLINE.teacher_model in shown
    assert "3/3" in shown
    assert "stop=3" in shown

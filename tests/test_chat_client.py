"""The client of a chat server against a server that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from pathlib import Path

import numpy as np
import openai
import pytest
from PIL import Image
from stub_openai_server import ANSWER, MODEL, Reply, Script, StubServer, completion, ok, refusal

from qponder_lib.artifacts import file_sha256
from qponder_lib.data.images import ImageError, scaled_down
from qponder_lib.teacher import chat_client
from qponder_lib.teacher.chat_client import API_KEY_VARIABLE, ChatClient, data_url
from qponder_lib.teacher.responses import (
    FINAL_STATES,
    Response,
    ServerUnavailable,
    run_bounded,
    run_in_thread,
)
from qponder_lib.text import prompts
from qponder_lib.text.parsing import parse_answer, parse_verdict

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]

KEY = "sk-very-secret-0123456789"
IMAGE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))

TROUBLE = {
    "rate_limited": refusal(429),
    "http_error": refusal(500),
    "http_error-503": refusal(503),
    "timeout": ok(delay=5.0),
    "timeout-408": refusal(408),
    "connection_error": Reply(reset=True),
    "connection_error-torn": Reply(completion(), cut=40),
}
MALFORMED = {
    "half": Reply(json.dumps(completion()).encode()[:60]),
    "html": Reply(b"<html>gateway</html>", headers={"content-type": "text/html"}),
    "list": Reply([1, 2]),
    "other": Reply({"hello": "world"}),
    "no-choice": Reply(completion() | {"choices": []}),
    "binary": Reply(b"\xff\x00\xfe"),
    "deep": Reply(b"[" * 100_000),
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's waits between attempts, but short."""
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)


def client_at(
    base_url: str,
    name: str = MODEL,
    timeout_s: float = 5.0,
    max_attempts: int = 3,
    **options: object,
) -> ChatClient:
    client = ChatClient(name, base_url, **({"temperature": 0.7, "max_tokens": 64} | options))
    client.timeout_s, client.max_attempts = timeout_s, max_attempts
    return client


def ask(
    server: StubServer | str,
    image: Image.Image = IMAGE,
    hint: str | None = None,
    seed: int = 0,
    **options: object,
) -> Response:
    client = client_at(server if isinstance(server, str) else server.base_url, **options)

    async def ask_once() -> Response:
        try:
            return await client.ask(prompts.teacher_messages(hint), data_url(image), seed=seed)
        finally:
            await client.aclose()

    return run_in_thread(ask_once())


def first_then_ok(first: Reply) -> Script:
    return lambda request: first if request.attempt == 0 else ok()


def test_a_response_comes_with_its_text_and_length() -> None:
    with StubServer() as server:
        assert ask(server) == Response(ANSWER, 17, "stop")


def test_the_request_holds_the_prompt_the_sampling_and_the_very_pixels() -> None:
    with StubServer() as server:
        ask(server, hint="Severe_Blur", seed=7)
    request = server.requests[0]
    system, user = request.body["messages"]
    image, text = user["content"]
    assert request.path == "/v1/chat/completions"
    assert [system["content"], text["text"]] == [
        message["content"] for message in prompts.teacher_messages("Severe_Blur")
    ]
    assert (request.body["model"], request.body["temperature"]) == (MODEL, 0.7)
    assert (request.body["max_tokens"], request.body["seed"]) == (64, 7)
    kind, _, data = image["image_url"]["url"].partition(",")
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, sent.format) == ("data:image/png;base64", "PNG")
    assert np.array_equal(np.asarray(sent), np.asarray(IMAGE))


def test_metadata_of_a_photograph_is_not_sent() -> None:
    photograph = IMAGE.copy()
    photograph.info = {"icc_profile": b"profile", "dpi": (72, 72), "comment": b"at home"}
    sent = base64.b64decode(data_url(photograph).partition(",")[2])
    assert Image.open(io.BytesIO(sent)).info == {}


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (100, 8), (20, 20)])
def test_a_large_image_is_sent_at_the_size_that_the_student_sees(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 50).convert("RGB")
    url = data_url(scaled_down(image, 400))
    sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    width, height = sent.size
    assert width * height <= 400
    assert (width + 1) * (height + 1) > 400
    assert abs(width * size[1] - height * size[0]) < max(size)  # the shape, to a pixel
    if size == (20, 20):
        assert np.array_equal(np.asarray(sent), np.asarray(image))


def test_an_image_is_encoded_once_for_several_questions_and_never_from_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.png"
    IMAGE.save(file)
    sha256 = file_sha256(file)
    encoded = []
    monkeypatch.setattr(chat_client, "data_url", lambda *image: encoded.append(image) or "data:")
    client = client_at("http://127.0.0.1:9/v1")

    async def several() -> None:
        await asyncio.gather(*[client.image_url(file, sha256) for _ in range(5)])
        with pytest.raises(ImageError, match="has changed"):
            await client.image_url(file, "0" * 64)

    asyncio.run(several())
    assert len(encoded) == 1


@pytest.mark.parametrize("trouble", TROUBLE)
def test_passing_trouble_costs_one_more_request_and_no_hidden_ones(trouble: str) -> None:
    with StubServer(first_then_ok(TROUBLE[trouble])) as server:
        assert ask(server, timeout_s=1.0).finish_reason == "stop"
    assert server.n_seen == 2


@pytest.mark.parametrize("trouble", TROUBLE)
def test_lasting_trouble_is_a_named_state_after_the_last_attempt(trouble: str) -> None:
    patience = 0.3 if trouble.startswith("timeout") else 5.0
    with StubServer(lambda request: TROUBLE[trouble]) as server:
        response = ask(server, max_attempts=2, timeout_s=patience)
    assert response == Response(None, None, trouble.partition("-")[0])
    assert server.n_seen == 2


@pytest.mark.parametrize("trouble", MALFORMED)
def test_a_200_that_is_no_completion_is_a_named_state(trouble: str) -> None:
    with StubServer(lambda request: MALFORMED[trouble]) as server:
        assert ask(server) == Response(None, None, "malformed_response")
    assert server.n_seen == 1


def test_an_error_that_came_as_a_200_keeps_its_sentence() -> None:
    body = {"error": {"message": "Provider returned error", "code": 502}}
    with StubServer(lambda request: Reply(body)) as server:
        assert "Provider returned error" in ask(server).refusal


def test_a_server_that_sends_byte_by_byte_for_ever_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_client, "_LONGEST_WAIT_S", 0.0)
    with StubServer(lambda request: Reply(completion(), dribble=0.05)) as server:
        assert ask(server, max_attempts=1, timeout_s=0.5) == Response(None, None, "timeout")
    assert server.n_seen == 1


def test_nobody_listening_is_a_connection_error() -> None:
    with StubServer() as server:
        address = server.base_url
    assert ask(address).finish_reason == "connection_error"


def test_the_server_decides_how_long_to_wait() -> None:
    with StubServer(first_then_ok(refusal(429, {"Retry-After": "0.4"}))) as server:
        assert ask(server).finish_reason == "stop"
    assert server.times[1] - server.times[0] >= 0.4


def test_a_wait_of_an_hour_is_not_begun() -> None:
    with StubServer(lambda request: refusal(429, {"Retry-After": "3600"})) as server:
        assert ask(server).finish_reason == "rate_limited"
    assert server.n_seen == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_the_state_of_its_row_and_not_repeated(status: int) -> None:
    with StubServer(lambda request: refusal(status)) as server:
        assert ask(server) == Response(None, None, "refused_request")
    assert server.n_seen == 1


REPEATED = {
    "openai": {
        "error": {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        }
    },
    "fastapi": {
        "detail": [
            {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs: forbidden"}
        ]
    },
    "vllm": {"object": "error", "message": "response_format json_schema is not supported here"},
    "litellm": {"error": {"message": "Invalid model name passed", "param": "model"}},
    "words": {"error": {"message": "temperature: must be 1 for this model"}},
}
OF_ONE_ROW = {
    "context": {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. However, you requested "
            "9000 tokens (7464 in the messages, 1536 in the completion).",
            "param": "max_tokens",
        }
    },
    "image": {"error": {"message": "image is too small: 4 x 4"}},
    "text": "no JSON at all",
}


@pytest.mark.parametrize("server_of", REPEATED)
def test_a_request_that_every_row_would_repeat_stops_the_run_with_the_servers_sentence(
    server_of: str,
) -> None:
    body = REPEATED[server_of]
    own = body.get("error", body)
    sentence = own.get("message", "Extra inputs: forbidden")
    with (
        StubServer(lambda request: Reply(body, 422 if server_of == "fastapi" else 400)) as server,
        pytest.raises(ServerUnavailable, match="every request") as caught,
    ):
        ask(server)
    assert sentence in str(caught.value)
    assert server.n_seen == 1


@pytest.mark.parametrize("body", OF_ONE_ROW)
def test_a_refusal_of_one_row_keeps_the_servers_sentence(body: str) -> None:
    with StubServer(lambda request: Reply(OF_ONE_ROW[body], 400)) as server:
        response = ask(server)
    assert response.finish_reason == "refused_request"
    said = OF_ONE_ROW[body]
    assert response.refusal.strip('"') in (said if isinstance(said, str) else str(said["error"]))


def test_a_prompt_that_a_filter_refused_is_not_asked_about_again() -> None:
    body = {"error": {"message": "filtered", "param": "prompt", "code": "content_filter"}}
    with StubServer(lambda request: Reply(body, 400)) as server:
        assert ask(server).finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, API_KEY_VARIABLE), (403, API_KEY_VARIABLE), (404, "/v1"), (402, "402"), (405, "405")],
)
def test_what_would_fail_for_every_image_stops_the_run_and_says_what_to_do(
    status: int, advice: str
) -> None:
    with (
        StubServer(lambda request: refusal(status)) as server,
        pytest.raises(ServerUnavailable, match=advice),
    ):
        ask(server)
    assert server.n_seen == 1


def test_a_redirect_is_not_followed() -> None:
    with StubServer() as elsewhere:
        away = Reply({}, 307, {"location": f"{elsewhere.base_url}/chat/completions"})
        with StubServer(lambda request: away) as server, pytest.raises(ServerUnavailable):
            ask(server)
    assert (server.n_seen, elsewhere.n_seen) == (1, 0)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (completion("cut here", finish_reason="content_filter"), "content_filter"),
        (completion(None), "empty"),
        (completion(""), "empty"),
        (completion(" \n"), "empty"),
    ],
)
def test_a_200_without_an_answer_is_a_named_state_and_not_repeated(
    body: dict[str, object], state: str
) -> None:
    with StubServer(lambda request: Reply(body)) as server:
        response = ask(server)
    assert (response.text, response.finish_reason) == (None, state)
    assert server.n_seen == 1


QWEN = "Qwen/Qwen2.5-VL-72B-Instruct"


@pytest.mark.parametrize(
    ("answered", "asked"),
    [
        (f"{MODEL}-2026-01-31", MODEL),
        (f"{MODEL}:latest", MODEL),
        (MODEL, f"{MODEL}:latest"),
        ("/models/Qwen2.5-VL-72B-Instruct", QWEN),
        ("/models/Qwen2.5-VL-72B-Instruct/", QWEN),
        ("Qwen2.5-VL-72B-Instruct", QWEN),
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("models/gemini-1.5-pro", "gemini-1.5-pro"),
        ("gpt-4o-2024-08-06", "my-deployment@gpt-4o"),
        ("teacher", f"{QWEN}@teacher"),
        (QWEN, f"{QWEN}@89c86200"),
    ],
)
def test_another_name_of_the_model_asked_for_is_the_model(answered: str, asked: str) -> None:
    with StubServer(lambda request: Reply(completion(model=answered))) as server:
        assert ask(server, name=asked).finish_reason == "stop"
    assert server.requests[0].body["model"] == asked.partition("@")[0]


@pytest.mark.parametrize(
    ("answered", "asked"),
    [
        ("another-model", MODEL),
        (f"{MODEL}-mini", MODEL),
        (MODEL, f"{MODEL}-mini"),
        ("unsloth/Qwen2.5-VL-72B-Instruct", QWEN),
        ("/models/Qwen2.5-VL-7B-Instruct", QWEN),
    ],
)
def test_another_model_stops_the_run_at_the_first_answer_and_says_how_to_name_it(
    answered: str, asked: str
) -> None:
    with (
        StubServer(lambda request: Reply(completion(model=answered))) as server,
        pytest.raises(ServerUnavailable, match=f"@{answered}'"),
    ):
        ask(server, name=asked)
    assert server.n_seen == 1


def test_another_model_among_answers_of_the_right_one_is_the_state_of_its_row() -> None:
    async def ask_twice(client: ChatClient) -> list[Response]:
        question = prompts.teacher_messages(), data_url(IMAGE)
        return [await client.ask(*question, seed=seed) for seed in (0, 1)]

    names = [MODEL, "another"]
    with StubServer(lambda request: Reply(completion(model=names[request.index]))) as server:
        found = run_in_thread(ask_twice(client_at(server.base_url)))
    assert [one.finish_reason for one in found] == ["stop", "wrong_model"]


def test_a_response_cut_at_the_token_limit_keeps_its_text() -> None:
    with StubServer(lambda request: Reply(completion("<think>so", finish_reason="length"))) as s:
        assert ask(s) == Response("<think>so", 17, "length")


@pytest.mark.parametrize(
    ("stated", "state"),
    [
        *[(word, "stop") for word in ("eos", "eos_token", "stop_sequence", "end_turn", "", None)],
        *[(word, "stop") for word in ("STOP", "COMPLETE", "endoftext", "tool_calls")],
        *[(word, "length") for word in ("max_tokens", "MAX_TOKENS", "model_length")],
        *[(word, "length") for word in ("repetition", "abort", "error", "never heard of")],
        *[(word, "content_filter") for word in ("SAFETY", "refusal", "content_filtered")],
    ],
)
def test_no_server_has_a_word_for_the_end_that_throws_a_paid_response_away(
    stated: str | None, state: str
) -> None:
    with StubServer(lambda request: Reply(completion(finish_reason=stated))) as server:
        response = ask(server)
    assert response == Response(None if state == "content_filter" else ANSWER, 17, state)
    assert server.n_seen == 1
    assert state in FINAL_STATES  # and is not asked for again in the next call
    assert parse_answer(response.text, finish_reason=state).score == (63 if response.text else None)


def test_a_completion_that_states_no_end_at_all_is_kept() -> None:
    body = completion()
    del body["choices"][0]["finish_reason"]
    with StubServer(lambda request: Reply(body)) as server:
        assert ask(server) == Response(ANSWER, 17, "stop")


def test_a_server_that_gave_up_before_the_first_word_is_asked_again_later() -> None:
    with StubServer(lambda request: Reply(completion("", finish_reason="abort"))) as server:
        assert ask(server).finish_reason not in FINAL_STATES


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_that_a_server_split_off_comes_back(field: str) -> None:
    def answered(text: str | None, **more: object) -> Response:
        body = completion(text, finish_reason="stop" if text else "length")
        body["choices"][0]["message"] |= {"reasoning": None, "reasoning_content": None} | more
        with StubServer(lambda request: Reply(body)) as server:
            return ask(server)

    split = answered("<answer>63</answer>", **{field: "The image is a little blurred."})
    parsed = parse_answer(split.text)
    assert (parsed.score, parsed.think) == (63.0, "The image is a little blurred.")
    assert answered(ANSWER, **{field: "Let me see."}).text == ANSWER  # the prompt's own reasoning
    verdict = '{"completeness": 3, "accuracy": 4, "reasonableness": 5}'
    assert parse_verdict(answered(verdict, **{field: "Four."}).text) == parse_verdict(verdict)
    cut = answered(None, **{field: "The image is"})
    assert parse_answer(cut.text, finish_reason=cut.finish_reason).status == "truncated"
    assert answered(ANSWER, **{field: {"odd": 1}}).text == ANSWER


@pytest.mark.parametrize("thought", ["Blurred.", [{"type": "text", "text": "Blurred."}]])
def test_reasoning_among_the_parts_of_a_response_comes_back(thought: object) -> None:
    parts = [
        {"type": "thinking", "thinking": thought},
        {"type": "text", "text": "<answer>63</answer>"},
    ]
    with StubServer(lambda request: Reply(completion(parts))) as server:
        assert ask(server).text == "<think>Blurred.</think>\n<answer>63</answer>"


@pytest.mark.parametrize("model", [None, ""])
def test_a_response_of_a_server_that_states_no_model_is_kept(model: str | None) -> None:
    with StubServer(lambda request: Reply(completion() | {"model": model})) as server:
        found = ask(server)
    assert (found.text, found.version) == (ANSWER, None)


def test_a_response_in_parts_or_with_an_odd_count_is_kept() -> None:
    parts = [{"type": "text", "text": ANSWER[:9]}, {"type": "text", "text": ANSWER[9:]}]
    for body in (completion(parts), completion() | {"usage": {"completion_tokens": "many"}}):
        with StubServer(lambda request, body=body: Reply(body)) as server:
            assert ask(server).text == ANSWER


def test_a_revision_names_the_teacher_and_is_not_sent() -> None:
    with StubServer() as server:
        assert ask(server, name=f"{MODEL}@89c86200").finish_reason == "stop"
    assert client_at(server.base_url, f"{MODEL}@89c86200").name == f"{MODEL}@89c86200"
    assert server.requests[0].body["model"] == MODEL


def test_only_the_kits_own_variable_holds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-somebody-else")
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    with StubServer() as server:
        ask(server)
        monkeypatch.setenv(API_KEY_VARIABLE, f" {KEY}\n")
        ask(server)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer EMPTY", f"Bearer {KEY}"]


def test_the_key_is_in_no_message_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)
    echo = Reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)
    with (
        StubServer(lambda request: echo) as server,
        pytest.raises(ServerUnavailable, match=r"\[key\]") as caught,
    ):
        ask(server)
    assert KEY not in f"{caught.value} {caplog.text} {vars(client_at(server.base_url))}"


def test_a_key_with_a_space_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "two words")
    with pytest.raises(ValueError, match=API_KEY_VARIABLE) as caught:
        client_at("http://127.0.0.1:9/v1")
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [None, "", "localhost:8000", "ftp://h/v1", "http://me:pw@h/v1", "http://h/v1?api_key=k"],
)
def test_an_address_without_host_or_with_a_secret_is_refused(base_url: str | None) -> None:
    with pytest.raises(ValueError, match="base_url"):
        client_at(base_url)


def test_it_can_be_asked_while_an_event_loop_runs_as_in_jupyter() -> None:
    async def cell(server: StubServer) -> Response:
        return ask(server)

    with StubServer() as server:
        assert asyncio.run(cell(server)).text == ANSWER


def test_items_are_drawn_only_when_there_is_room() -> None:
    drawn = working = most = 0

    def items() -> object:
        nonlocal drawn
        for number in range(200):
            drawn += 1
            yield number

    finished: list[int] = []

    async def work(item: int) -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        assert drawn <= len(finished) + 6  # five at work and the one that waits for room
        await asyncio.sleep(0)
        working -= 1
        finished.append(item)

    asyncio.run(run_bounded(items(), work, limit=5))  # type: ignore[arg-type]
    assert sorted(finished) == list(range(200))
    assert most == 5


def test_the_first_failure_ends_the_work_and_comes_out_by_itself() -> None:
    started = []

    async def work(item: int) -> None:
        started.append(item)
        await asyncio.sleep(0.001)
        if item == 7:
            raise LookupError("seven")

    with pytest.raises(LookupError, match="seven"):
        run_in_thread(run_bounded(range(1000), work, limit=4))
    assert len(started) < 20

"""A model behind any OpenAI-compatible server, asked about images: teacher, judge or student.

One request asks one question about one image. What can go wrong with one image becomes a named
state of its row; what would go wrong with every image stops the run with the server's own
sentence. The SDK retries what may pass: timeouts, lost connections, 408, 409, 429 and 5xx, after
the time that the server asks for (`Retry-After`, up to two minutes) or a doubling one. A response
with a text is kept whatever the server calls its end, for it has been paid for.

A server for the paper's teacher, on four GPUs (without `--generation-config vllm` a repetition
penalty of the model's own is applied in silence)::

    vllm serve Qwen/Qwen2.5-VL-72B-Instruct --tensor-parallel-size 4 --max-model-len 8192
        --limit-mm-per-prompt '{"image":1,"video":0}' --generation-config vllm
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
from PIL import Image
from pydantic import SecretStr

from qponder_lib.data.images import read_rgb
from qponder_lib.paths import RunPaths
from qponder_lib.records import FinishReason
from qponder_lib.teacher.responses import (
    Question,
    Response,
    ServerUnavailable,
    collect,
    rng_of,
)
from qponder_lib.text.prompts import Message

API_KEY_VARIABLE = "QPONDER_TEACHER_API_KEY"
_NO_KEY = "EMPTY"  # what vLLM and llama.cpp expect when they were started without one
_IMAGES_HELD = 64  # encoded, some MB each
_LONGEST_WAIT_S = 120.0  # of the SDK, between two attempts

# What OpenAI, vLLM, SGLang, TGI, llama.cpp, Ollama, Together, Anthropic, Gemini, Mistral, Cohere,
# Bedrock and watsonx call the end of a completion, in lower case.
_FINISHED = re.compile(
    r"(?:stop|eos|end)(?:_of)?(?:_(?:token|turn|text|string|sequence|found))*|endoftext|"
    r"(?:complet|finish)(?:e|ed)?|done|success|normal|null|none|(?:tool|function)_(?:calls?|use)|"
)
_FILTERED = re.compile(
    r"content_filter(?:ed)?|(?:image_)?safety|refusal|recitation|blocklist|prohibited_content|"
    r"spii|sensitive|moderation|guardrail_intervened|error_toxic"
)
_GIVEN_UP = re.compile(
    r"abort(?:ed)?|(?:user_)?cancel(?:l?ed)?|error|insufficient_system_resource|"
    r"time(?:out|_limit)|(?:un)?load|not_finished"
)
_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields of a message that hold reasoning which a server split off."""

# In a refusal: what is the same in every request, and what is not.
_IN_EVERY_REQUEST = re.compile(
    r"\b(?:temperature|max_(?:completion_)?tokens|seed|response_format|json_schema)\b"
    r"|['\"`]model['\"`]"
)
_ABOUT_THIS_INPUT = re.compile(
    r"context (?:length|window|size)|input tokens|in the (?:messages|prompt)|\btoo long\b", re.I
)


class ChatClient:
    """Sends questions about images to a model behind an OpenAI-compatible server.

    Args:
        name: The name under which the server serves the model. "@" and a revision may follow, or
            the name that the server's responses state (behind an Azure deployment or an alias): it
            goes into the rows and is not sent.
        base_url: Address up to and including the version, such as "http://localhost:8000/v1".
        temperature: Of sampling.
        max_tokens: Of a response, at most.
        resize: Brings an image to the size that is sent; None sends each as it is.
        key_variable: Environment variable that holds the key of this server. `OPENAI_API_KEY` is
            left alone, so that it is not sent to whatever server a config names.

    Raises:
        ValueError: If `base_url` is not an http(s) address or holds a password, or if the
            variable holds what cannot be a key.
    """

    timeout_s = 300.0
    """Seconds that the server may be silent."""
    max_attempts = 6
    """Requests for one question in one run."""

    def __init__(
        self,
        name: str,
        base_url: str | None,
        *,
        temperature: float,
        max_tokens: int,
        resize: Callable[[Image.Image], Image.Image] | None = None,
        key_variable: str = API_KEY_VARIABLE,
    ) -> None:
        self.name = name
        self.model = name.partition("@")[0]
        self.base_url = _checked_url(base_url, key_variable)
        self.temperature, self.max_tokens = temperature, max_tokens
        self.resize, self.key_variable = resize, key_variable
        self._key = _key_from_environment(key_variable)
        self._client: openai.AsyncOpenAI | None = None
        self._answered = False
        self._image_urls: dict[tuple[Path, str], asyncio.Task[str]] = {}

    async def image_url(self, path: Path, sha256: str) -> str:
        """Encode an image file, off the event loop and once for questions that follow each other.

        Args:
            path: The file.
            sha256: Its hash in the `ImageRecord`.

        Raises:
            ImageError: If the file cannot be used or has another hash.
        """
        if (path, sha256) not in self._image_urls:
            if len(self._image_urls) >= _IMAGES_HELD:
                del self._image_urls[next(iter(self._image_urls))]
            encoding = asyncio.to_thread(self._file_url, path, sha256)
            self._image_urls[path, sha256] = asyncio.create_task(encoding)
        return await asyncio.shield(self._image_urls[path, sha256])

    def _file_url(self, path: Path, sha256: str) -> str:
        image = read_rgb(path, sha256)
        return data_url(image if self.resize is None else self.resize(image))

    async def collect(
        self,
        questions: Sequence[Question],
        messages: Callable[[Question], Sequence[Message]],
        paths: RunPaths,
        *,
        store: Path,
        concurrency: int,
        response_format: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask every question that has no final response yet; see `responses.collect`.

        Args:
            questions: What is wanted. The seed that is sent with one follows from its id, and is 0
                where nothing is drawn.
            messages: Writes the prompt of a question.
            paths: The run folder; images lie below `paths.data`.
            store: The file of responses.
            concurrency: Questions asked at once.
            response_format: As in `ask`.
        """

        async def ask(question: Question) -> Response:
            url = await self.image_url(paths.data / question.image.image, question.image.sha256)
            seed = int(rng_of(question.response_id).integers(2**31)) if self.temperature else 0
            return await self.ask(
                messages(question), url, seed=seed, response_format=response_format
            )

        try:
            await collect(questions, ask, name=self.name, store=store, concurrency=concurrency)
        finally:
            await self.aclose()

    async def ask(
        self,
        messages: Sequence[Message],
        image_url: str,
        *,
        seed: int,
        response_format: Mapping[str, Any] | None = None,
    ) -> Response:
        """Ask about one image, insisting as far as `max_attempts` goes.

        Args:
            messages: The last one is the user's.
            image_url: The image, from `image_url`.
            seed: Sent along.
            response_format: Schema that the response must keep to, if any.

        Returns:
            The response, or the named state of its failure.

        Raises:
            ServerUnavailable: If no question could be answered: 401, 403, 404 and the like.
        """
        request = {
            "model": self.model,
            "messages": with_image(messages, image_url),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": seed,
        }
        if response_format is not None:
            request["response_format"] = response_format
        try:
            # The SDK's timeout starts anew with every byte; this one does not.
            async with asyncio.timeout(self.max_attempts * (self.timeout_s + _LONGEST_WAIT_S)):
                answer = await self._open().chat.completions.with_raw_response.create(**request)
        except (TimeoutError, openai.APITimeoutError):
            return Response(None, None, "timeout")
        except openai.APIConnectionError:
            return Response(None, None, "connection_error")
        except openai.APIStatusError as error:
            return self._refused(error)
        return self._read(answer.content)

    async def aclose(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._image_urls.clear()
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._key.get_secret_value(),
                timeout=self.timeout_s,
                max_retries=self.max_attempts - 1,
                # A redirect could carry images to a server that nobody named.
                http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
            )
        return self._client

    def _refused(self, error: openai.APIStatusError) -> Response:
        """Name the state of a row whose request was refused, or stop the whole run."""
        body = error.body if isinstance(error.body, Mapping) else {}
        said = self._sentence(body.get("message") or body.get("detail") or error.response.text)
        status = error.status_code
        if status in (408, 409, 429) or status >= 500:
            states: dict[int, FinishReason] = {408: "timeout", 429: "rate_limited"}
            return Response(None, None, states.get(status, "http_error"), refusal=said)
        if status in (400, 413, 422):
            if _FILTERED.fullmatch(str(body.get("code"))):
                return Response(None, None, "content_filter", refusal=said)
            named = f"'{body.get('param')}' {said}"
            if _ABOUT_THIS_INPUT.search(named) or not _IN_EVERY_REQUEST.search(named):
                return Response(None, None, "refused_request", refusal=said)
        advice = "check base_url"
        if status in (400, 413, 422):
            advice = "every request holds what it refuses, so no other was sent"
        elif status in (401, 403):
            advice = f"set the environment variable {self.key_variable} to a key it accepts"
        elif status == 404:
            advice = f"check base_url (it usually ends in /v1) and the model name {self.model!r}"
        raise ServerUnavailable(
            f"{self.base_url} answered {status}: {advice}. The server said: {said}"
        ) from None

    def _sentence(self, said: object) -> str:
        """Return the server's own words on one line, without the key."""
        return " ".join(str(said).replace(self._key.get_secret_value(), "[key]").split())[:300]

    def _read(self, body: bytes) -> Response:
        """Read a 200: a response, a named state, or something that is no completion at all."""
        try:
            found = json.loads(body)
            (choice,) = found["choices"]
            text, model = _whole_text(choice["message"]), found.get("model")
            n_tokens = (found.get("usage") or {}).get("completion_tokens")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said = self._sentence(body.decode("utf-8", "replace"))
            return Response(None, None, "malformed_response", refusal=said)
        version = f"{model or ''} {found.get('system_fingerprint') or ''}".strip() or None
        if model and not is_model(str(model), self.name):  # some servers state none
            if not self._answered:  # so it would be with every row
                raise ServerUnavailable(
                    f"{self.base_url} answered as {model!r}, {self.model!r} was asked for; if they "
                    f"are one model, name it '{self.model}@{model}'"
                )
            return Response(None, None, "wrong_model", version)
        self._answered = True
        state = finish_reason_of(choice.get("finish_reason"), text)
        kept = text if state in ("stop", "length") else None
        n_tokens = n_tokens if type(n_tokens) is int and n_tokens >= 0 else None
        return Response(kept, n_tokens, state, version)


def _whole_text(message: Mapping[str, Any]) -> str:
    """Return the text as the model wrote it, where a server split the reasoning off."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    split_off = [message.get(field) for field in _REASONING]
    split_off += [part.get("thinking") for part in parts if isinstance(part, dict)]
    text, reasoning = _plain(content), next(filter(str.strip, map(_plain, split_off)), "")
    if not reasoning.strip() or "</think>" in text:
        return text
    return f"<think>{reasoning}</think>\n{text}" if text.strip() else f"<think>{reasoning}"


def _plain(content: object) -> str:
    """Return a text, or the texts of a list of content parts."""
    if isinstance(content, list):
        return "".join(_plain(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def finish_reason_of(stated: str | None, text: str) -> FinishReason:
    """Name the end of a completion in the kit's words, whatever server it comes from.

    Args:
        stated: The server's own word, None where it states none.
        text: The completion.

    Returns:
        "stop" where the model ended by itself; "content_filter" and "empty" without a text to
        keep; "http_error", to be asked again, where the server gave up before the first word;
        "length" for every other end, known or not: the text is kept, and an answer in it counts
        only if it is whole.

    Example:
        >>> [finish_reason_of(stated, "...") for stated in ("eos_token", None, "repetition")]
        ['stop', 'stop', 'length']
    """
    reason = str(stated or "").lower()
    if _FILTERED.fullmatch(reason):
        return "content_filter"
    if not text.strip():
        return "http_error" if _GIVEN_UP.fullmatch(reason) else "empty"
    return "stop" if _FINISHED.fullmatch(reason) else "length"


def is_model(answered: str, asked: str) -> bool:
    """Tell whether a response comes from the model asked for.

    Args:
        answered: The name in the answer.
        asked: The name asked for; behind "@" a revision, or another name of the same model.

    Returns:
        True for either name, a dated version of it, its ":latest" tag, the same name with or
        without its owner, and a local path that ends in it.

    Example:
        >>> is_model("gpt-4o-2024-08-06", "gpt-4o"), is_model("gpt-4o-mini", "gpt-4o")
        (True, False)
        >>> is_model("gpt-4o-2024-08-06", "my-deployment@gpt-4o")
        True
    """
    for name in asked.split("@", 1):
        said, name = (one.removesuffix(":latest").rstrip("/") for one in (answered, name))
        if said.startswith("/") or "/" not in said or "/" not in name:
            said, name = (one.rpartition("/")[2] for one in (said, name))
        dated = r"(?:-\d{4}-?\d{2}-?\d{2})?"
        if name and re.fullmatch(re.escape(name) + dated, said, re.ASCII):
            return True
    return False


def with_image(messages: Sequence[Message], image_url: str) -> list[dict[str, Any]]:
    """Put an image in front of the user's text, which is the last message, in OpenAI's form."""
    *before, user = messages
    content = [
        {"type": "image_url", "image_url": {"url": image_url}},
        {"type": "text", "text": user["content"]},
    ]
    return [*map(dict, before), {"role": user["role"], "content": content}]


def data_url(image: Image.Image) -> str:
    """Encode an image as a `data:` URL of a fresh PNG: its pixels and nothing else.

    A server never gets a URL to fetch or a file of the user, whose metadata may say where and
    when a photograph was taken.

    Example:
        >>> data_url(Image.new("RGB", (1, 1)))[:22]
        'data:image/png;base64,'
    """
    plain = image.convert("RGB")
    plain.info = {}
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _key_from_environment(variable: str) -> SecretStr:
    """Return a key; it is never a parameter, a record or a log."""
    key = os.environ.get(variable, "").strip() or _NO_KEY
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{variable} holds something that no key can hold: spaces, say")
    return SecretStr(key)


def _checked_url(base_url: str | None, key_variable: str) -> str:
    parts = urlsplit(base_url or "")
    if parts.username or parts.password or parts.query:
        instead = f"set the environment variable {key_variable} instead"
        raise ValueError(f"base_url is written into records: no key or password in it; {instead}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected base_url as 'http://localhost:8000/v1', got {base_url!r}")
    return base_url or ""

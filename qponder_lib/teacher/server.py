"""A teacher behind any OpenAI-compatible server, such as `vllm serve Qwen/Qwen2.5-VL-72B-Instruct`.

One request asks one question about one image. What can go wrong with one image becomes a named
state of its row; what would go wrong with every image stops the run. Only tenacity retries: the
SDK's own retries are off, because two stacked layers multiply the requests.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

import openai
import tenacity
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from qponder_lib.teacher import TeacherAnswer, TeacherUnavailable
from qponder_lib.teacher.concurrency import run_in_thread
from qponder_lib.teacher.wire import is_model, parse_completion, retry_after_s, vision_messages

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from qponder_lib.config import DistillConfig
    from qponder_lib.records import FinishReason

API_KEY_VARIABLE = "QPONDER_TEACHER_API_KEY"
_NO_KEY = "EMPTY"  # what vLLM and llama.cpp expect when they were started without one
# As is every 5xx.
_RETRIED_STATUS: dict[int, FinishReason] = {
    408: "timeout",
    409: "http_error",
    429: "rate_limited",
}
_ROW_STATUS = frozenset({400, 413, 422})  # this image or this text, not the address or the key


class RetryPolicy(BaseModel):
    """How long to insist on an answer for one image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_attempts: int = Field(default=6, ge=1, description="requests for one image in one run")
    first_wait_s: float = Field(default=1.0, ge=0.0, description="seconds, doubled each time")
    longest_wait_s: float = Field(default=60.0, ge=0.0, description="seconds, cap of the doubling")
    deadline_s: float = Field(default=1800.0, gt=0.0, description="seconds; no attempt after it")


class Sampling(BaseModel):
    """How the server picks tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(ge=0.0)
    max_tokens: int = Field(ge=1)


class _TransientFailure(Exception):
    """Worth another attempt; `state` becomes the row's state when attempts run out."""

    def __init__(self, state: FinishReason, retry_after: float | None = None) -> None:
        super().__init__(state)
        self.state, self.retry_after = state, retry_after


def api_key_from_environment(variable: str = API_KEY_VARIABLE) -> SecretStr:
    """Return the key in an environment variable; it is never a parameter, a record or a log.

    `OPENAI_API_KEY` is left alone, so that it is not sent to whatever server a config names.

    Raises:
        ValueError: If the variable holds what cannot be a key.
    """
    key = os.environ.get(variable, "").strip() or _NO_KEY
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{variable} holds something that no key can hold: spaces, say")
    return SecretStr(key)


class ChatServer:
    """Sends chat messages to a model behind an OpenAI-compatible server.

    Args:
        name: The name under which the server serves the model. "@" and a revision may follow:
            it goes into the rows, so that answers of two revisions are told apart, and is not
            sent, because a server serves one.
        base_url: Address up to and including the version, such as "http://localhost:8000/v1".
        sampling: Temperature and token limit.
        timeout_s: Seconds for one attempt, from sending to the last byte.
        retry: How often and how long to insist.
        key_variable: Environment variable that holds the key of this server.

    Raises:
        ValueError: If `base_url` is not an http(s) address, or holds a password.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None,
        *,
        sampling: Sampling,
        timeout_s: float = 300.0,
        retry: RetryPolicy | None = None,
        key_variable: str = API_KEY_VARIABLE,
    ) -> None:
        self.name = name
        self.model = name.partition("@")[0]
        self.key_variable = key_variable
        self.base_url = _checked_url(base_url, key_variable)
        self.sampling = sampling
        self.timeout_s = timeout_s
        self.retry = retry or RetryPolicy()
        self._key = api_key_from_environment(key_variable)
        self._client: openai.AsyncOpenAI | None = None

    async def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        response_format: Mapping[str, Any] | None = None,
    ) -> TeacherAnswer:
        """Send messages, insisting as far as the retry policy goes.

        Args:
            messages: In OpenAI's form.
            seed: Sent along.
            response_format: Schema that the answer must keep to, if any.

        Returns:
            The answer, or the named state of its failure.

        Raises:
            TeacherUnavailable: If no question could be answered: 401, 403, 404 and the like.
        """
        request = {
            "model": self.model,
            "messages": messages,
            "temperature": self.sampling.temperature,
            "max_tokens": self.sampling.max_tokens,
            "seed": seed,
        }
        if response_format is not None:
            request["response_format"] = response_format
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_TransientFailure),
            wait=self._wait,
            stop=tenacity.stop_after_attempt(self.retry.max_attempts)
            | tenacity.stop_before_delay(self.retry.deadline_s),
            reraise=True,
        )
        try:
            return await retrying(self._attempt, request)
        except _TransientFailure as failure:
            return TeacherAnswer(None, None, failure.state)

    async def aclose(self) -> None:
        """Close the connections; the next question opens new ones."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next attempt: what the server asked for, or doubling; jittered."""
        failure = state.outcome.exception() if state.outcome else None
        jitter = random.uniform(0.0, self.retry.first_wait_s)
        if isinstance(failure, _TransientFailure) and failure.retry_after is not None:
            return failure.retry_after + jitter
        doubled = self.retry.first_wait_s * 2.0 ** min(state.attempt_number - 1, 30)
        return min(doubled + jitter, self.retry.longest_wait_s)

    async def _attempt(self, request: dict[str, Any]) -> TeacherAnswer:
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._key.get_secret_value(),
                timeout=self.timeout_s,
                max_retries=0,
                # A redirect could carry images to a server that nobody named.
                http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
            )
        try:
            # The client's timeout starts anew with every byte; this one does not.
            async with asyncio.timeout(self.timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(**request)
        except (TimeoutError, openai.APITimeoutError):
            raise _TransientFailure("timeout") from None
        except openai.APIConnectionError:
            raise _TransientFailure("connection_error") from None
        except openai.APIStatusError as error:
            return self._refused(error)
        return self._read(response.content)

    def _refused(self, error: openai.APIStatusError) -> TeacherAnswer:
        status = error.status_code
        if status in _RETRIED_STATUS or status >= 500:
            state = _RETRIED_STATUS.get(status, "http_error")
            raise _TransientFailure(state, retry_after_s(error.response.headers)) from None
        if status in _ROW_STATUS:
            return TeacherAnswer(None, None, "refused_request")
        self._give_up(status, error.message)

    def _give_up(self, status: int, said: str) -> NoReturn:
        """Stop the whole run, saying what to change and never the key."""
        advice = "check base_url"
        if status in (401, 403):
            advice = f"set the environment variable {self.key_variable} to a key it accepts"
        elif status == 404:
            advice = f"check base_url (it usually ends in /v1) and the model name {self.model!r}"
        raise TeacherUnavailable(
            f"{self.base_url} answered {status}: {advice}. The server said: {self._redact(said)}"
        ) from None

    def _redact(self, text: str) -> str:
        return text.replace(self._key.get_secret_value(), "[key]")[:300]

    def _read(self, body: bytes) -> TeacherAnswer:
        """Read a 200: an answer, a named state, or something that is no completion at all."""
        try:
            completion = parse_completion(body)
        except ValueError:
            raise _TransientFailure("malformed_response") from None
        if not is_model(completion.model, self.model):
            return TeacherAnswer(None, None, "wrong_model", completion.version)
        version, choice = completion.version, completion.choices[0]
        n_tokens = completion.usage.completion_tokens if completion.usage else None
        if choice.finish_reason == "content_filter":
            return TeacherAnswer(None, n_tokens, "content_filter", version)
        if not (choice.message.content or "").strip():
            return TeacherAnswer(None, n_tokens, "empty", version)
        return TeacherAnswer(choice.message.content, n_tokens, choice.finish_reason, version)


class ServerTeacher(ChatServer):
    """Asks a model behind a server about images, with the teacher's prompt."""

    def answer(
        self, image: Image.Image, hint: str | None, rng: np.random.Generator
    ) -> TeacherAnswer:
        """Ask about one image and wait, inside Jupyter too; `distil` asks many at once."""

        async def ask_once() -> TeacherAnswer:
            try:
                return await self.answer_async(image, hint, rng)
            finally:
                await self.aclose()

        return run_in_thread(ask_once())

    @classmethod
    def from_config(cls, config: DistillConfig) -> Self:
        """Build the teacher that a profile describes."""
        return cls(
            config.teacher_model,
            config.base_url,
            sampling=Sampling(temperature=config.temperature, max_tokens=config.max_tokens),
            timeout_s=config.timeout_s,
            retry=RetryPolicy(max_attempts=config.max_attempts),
        )

    async def answer_async(
        self, image: Image.Image, hint: str | None, rng: np.random.Generator
    ) -> TeacherAnswer:
        """Ask about one image, insisting as far as the retry policy goes.

        Args:
            image: An RGB image; it is sent as a data URL of a fresh PNG.
            hint: Distortion tags such as "Severe_Blur", or None.
            rng: Source of the seed that is sent along.

        Returns:
            The answer, or the named state of its failure.

        Raises:
            TeacherUnavailable: If no image could be answered: 401, 403, 404 and the like.
        """
        messages = await asyncio.to_thread(vision_messages, image, hint)
        return await self.ask(messages, seed=int(rng.integers(2**31)))


def _checked_url(base_url: str | None, key_variable: str) -> str:
    parts = urlsplit(base_url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"a server needs base_url, such as 'http://localhost:8000/v1'; got {base_url!r}"
        )
    if parts.username or parts.password or parts.query:
        raise ValueError(
            f"base_url is written into records, so it must not hold a key or a password; set the "
            f"environment variable {key_variable} instead"
        )
    return base_url or ""

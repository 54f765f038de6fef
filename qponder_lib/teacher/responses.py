"""Responses that have been paid for: asked for once, stored as they come, gone on with later.

Every response of a teacher or a judge is one row of an append-only file, written the moment it
arrives. A row is found again by its `response_id`, the digest of everything that decides a
response. The newest row of an id counts; older ones stay as history. A process killed between a
response and its row asks that question again, and only that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from qponder_lib.artifacts import JsonlAppender, digest, read_jsonl
from qponder_lib.data.images import ImageError
from qponder_lib.records import FinishReason, ImageRecord, ResponseRecord

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

FINAL_STATES: frozenset[FinishReason] = frozenset({"stop", "length", "empty", "content_filter"})
"""The model has looked at the image and was done. Every other state is asked again next time: it
says something about the server or the file of that day, which may have been put right."""
_IMAGE_TROUBLE: FinishReason = "invalid_image"
_TROUBLE_IN_A_ROW = 32  # or twice the concurrency, whichever is more


class ServerUnavailable(RuntimeError):
    """A server cannot answer any question: wrong key, wrong address, unknown model, gone."""


@dataclass(frozen=True)
class Response:
    """What a teacher or a judge said about one image.

    Attributes:
        text: The complete response, or None when there is none.
        n_tokens: Length of the response in the model's own tokens, None when it is not known.
        finish_reason: "stop" or "length" for a text, otherwise the named failure
            (the states of `ResponseRecord.finish_reason`).
        version: Model and fingerprint as a server stated them, None where there is none.
        refusal: The server's own sentence, where it refused.

    Example:
        >>> Response("<think>...</think><answer>40</answer>", 12).finish_reason
        'stop'
        >>> Response(None, None, "timeout").text is None
        True
    """

    text: str | None
    n_tokens: int | None
    finish_reason: FinishReason = "stop"
    version: str | None = field(default=None, compare=False)
    refusal: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Question:
    """An image with the prompt it is shown with; `hint` is the distortion tag in it, if any."""

    image: ImageRecord
    hint: str | None
    prompt_id: str
    prompt_sha256: str
    response_id: str

    def record(self, name: str, response: Response, seconds: float = 0.0) -> ResponseRecord:
        """Write down what `name` responded; 0 seconds where the time was not measured."""
        return ResponseRecord(
            response_id=self.response_id,
            image_id=self.image.image_id,
            teacher=name,
            prompt_id=self.prompt_id,
            prompt_sha256=self.prompt_sha256,
            hinted=self.hint is not None,
            text=response.text,
            finish_reason=response.finish_reason,
            n_tokens=response.n_tokens,
            seconds=round(seconds, 3),
            version=response.version,
        )


def question_for(
    model: str,
    image: ImageRecord,
    hint: str | None,
    prompt_id: str,
    prompt_sha256: str,
    **sampling: float,
) -> Question:
    """Pair an image with its prompt and the id of the response wanted.

    Args:
        model: Name of who is asked, with its revision.
        image: The image; its id counts beside its hash, so that two rows of one image get a
            response each.
        hint: Distortion tag in the prompt, if any.
        prompt_id: Name of the prompt.
        prompt_sha256: Hash of the messages, hint included.
        **sampling: What decides which tokens are drawn, the seed included.
    """
    identity = {
        "image_id": image.image_id,
        "image_sha256": image.sha256,
        "teacher": model,
        "prompt_sha256": prompt_sha256,
        "sampling": sampling,
    }
    return Question(image, hint, prompt_id, prompt_sha256, digest(identity))


def rng_of(response_id: str) -> np.random.Generator:
    """Return a generator for one question, so that no response depends on the order of asking."""
    return np.random.default_rng(int(response_id, 16))


def final_ids(rows: Iterable[ResponseRecord]) -> set[str]:
    """Return the ids of responses that need not be asked for again."""
    return {row.response_id for row in rows if row.finish_reason in FINAL_STATES}


def newest_responses(path: Path) -> dict[str, ResponseRecord]:
    """Read a store: the newest row of every id, in the order in which ids first came.

    A file that a killed process left with half a last line is refused; the next call that
    collects into it repairs it.

    Raises:
        ArtifactError: If a line is torn or not a response.
    """
    return {row.response_id: row for row in read_jsonl(path, ResponseRecord)}


async def collect(
    questions: Sequence[Question],
    ask: Callable[[Question], Awaitable[Response]],
    *,
    name: str,
    store: Path,
    concurrency: int,
) -> None:
    """Ask every question that has no final response yet; each response is stored as it comes.

    Args:
        questions: What is wanted.
        ask: Answers one question; what it raises ends the work, but for an unusable image, which
            is a state of its row.
        name: Of the model, as rows record it.
        store: The file of responses.
        concurrency: Questions asked at once.

    Raises:
        ServerUnavailable: If nothing but failures has come for too long: a server that has gone
            would cost a full round of retries per image.
        ArtifactError: If the store is damaged, or another process writes to it.
    """
    limit, trouble_in_a_row = max(_TROUBLE_IN_A_ROW, 2 * concurrency), 0
    states: Counter[str] = Counter()
    with JsonlAppender(store, ResponseRecord) as stored:
        final, stored.rows = final_ids(stored.rows), []  # the texts stay in the file
        todo = [one for one in questions if one.response_id not in final]

        async def ask_one(question: Question) -> None:
            nonlocal trouble_in_a_row
            began = time.monotonic()
            try:
                response = await ask(question)
            except ImageError as error:
                response = Response(None, None, _IMAGE_TROUBLE, refusal=str(error))
            if response.refusal is not None:
                log.warning("image %s: %s", question.image.image_id, response.refusal)
            state = response.finish_reason
            stored.append(question.record(name, response, time.monotonic() - began))
            states[state] += 1
            bar.set_postfix(states, refresh=False)
            bar.update()
            fine = state in FINAL_STATES or state == _IMAGE_TROUBLE
            trouble_in_a_row = 0 if fine else trouble_in_a_row + 1
            if trouble_in_a_row >= limit:
                said = f" ({response.refusal})" if response.refusal else ""
                raise ServerUnavailable(
                    f"{trouble_in_a_row} images in a row got no response, the last one: "
                    f"{state}{said}; see that {name!r} works, then run again: what was answered "
                    "is kept"
                )

        n_all, shown = len(questions), {"desc": name, "unit": "image", "mininterval": 5}
        with tqdm(total=n_all, initial=n_all - len(todo), **shown) as bar:
            await run_bounded(todo, ask_one, concurrency)


async def run_bounded(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], limit: int
) -> None:
    """Do some work for every item, at most `limit` at a time.

    An item is drawn only when there is room for it, so that 100,000 items need no more memory
    than `limit`.

    Raises:
        Exception: The first failure of `work`, after the items in work have been cancelled.

    Example:
        >>> seen = []
        >>> async def note(item): seen.append(item)
        >>> asyncio.run(run_bounded(iter("abc"), note, limit=2))
        >>> seen
        ['a', 'b', 'c']
    """
    left = iter(items)

    async def work_on() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(limit):
                group.create_task(work_on())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def run_in_thread(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in a thread with its own event loop.

    Jupyter already runs a loop in the main thread, where `asyncio.run` is refused. An interrupt
    of the waiting thread cancels the coroutine.

    Example:
        >>> async def inside_jupyter(): return run_in_thread(asyncio.sleep(0, "done"))
        >>> asyncio.run(inside_jupyter())
        'done'
    """
    runner = asyncio.Runner()
    task = runner.get_loop().create_task(coroutine)

    async def join() -> Result:
        return await task

    def run() -> Result:
        with runner:
            return runner.run(join())

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="questions") as pool:
        future = pool.submit(run)
        try:
            return future.result()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # the loop has closed in the meantime
                runner.get_loop().call_soon_threadsafe(task.cancel)
            raise

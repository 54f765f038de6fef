"""Collect a teacher's answer for every image, once, however often it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from qponder_lib.config import DistillConfig
from qponder_lib.paths import RunPaths
from qponder_lib.records import FinishReason, ImageRecord, ResponseRecord
from qponder_lib.scales import distortion_tag
from qponder_lib.teacher import ConcurrentTeacher, Teacher, TeacherAnswer, TeacherUnavailable
from qponder_lib.teacher.concurrency import run_bounded, run_in_thread
from qponder_lib.teacher.images import InvalidImage, load_image
from qponder_lib.teacher.progress import Progress
from qponder_lib.teacher.store import ResponseStore, newest_responses, response_id
from qponder_lib.text import prompts

log = logging.getLogger(__name__)

_SERVER_TROUBLE: frozenset[FinishReason] = frozenset(
    {
        "http_error",
        "timeout",
        "connection_error",
        "rate_limited",
        "malformed_response",
        "wrong_model",
        "refused_request",
    }
)
_TROUBLE_IN_A_ROW = 32  # or twice the concurrency, whichever is more

_NO_IMAGE = TeacherAnswer(None, None, "invalid_image")


@dataclass(frozen=True)
class Question:
    """An image with the prompt it is shown with."""

    image: ImageRecord
    hint: str | None
    prompt_sha256: str
    response_id: str


@dataclass(frozen=True)
class DistilReport:
    """What a call of `distil` did.

    Attributes:
        n_images: Images in all.
        n_asked: Images the teacher was asked about in this call; the rest had a final answer.
        states: How many images are in which state now; the sum is `n_images`.
        seconds: Wall time of this call.
    """

    n_images: int
    n_asked: int
    states: dict[str, int]
    seconds: float


def hint_for(image: ImageRecord) -> str | None:
    """Write the distortion tags of an image, or None where distortion or MOS is not known.

    The severity in a tag is that of the MOS's fifth of the scale, as in the paper; the score
    itself is never shown to the teacher.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.2 and the last row of Table 5.

    Example:
        >>> from qponder_lib.records import Distortion
        >>> blurred = ImageRecord(image_id="a", image="a.png", dataset="mini-koniq", mos=30.0,
        ...     split="train", distortions=(Distortion(name="blur", level=4),), sha256="0" * 64)
        >>> hint_for(blurred)
        'Severe_Blur'
    """
    if image.mos is None or not image.distortions:
        return None
    names = dict.fromkeys(distortion.name for distortion in image.distortions)
    return ", ".join(distortion_tag(image.mos, name) for name in names)


def questions(images: Iterable[ImageRecord], config: DistillConfig) -> Iterator[Question]:
    """Pair every image with its prompt and the id of the answer wanted."""
    sampling = {
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "seed": config.seed,
    }
    for image in images:
        hint = hint_for(image) if config.hint else None
        sha256 = _prompt_sha256(hint)
        key = response_id(
            image, teacher=config.teacher_model, prompt_sha256=sha256, sampling=sampling
        )
        yield Question(image, hint, sha256, key)


@cache
def _prompt_sha256(hint: str | None) -> str:
    return prompts.prompt_sha256(prompts.teacher_messages(hint))


def distil(
    images: Sequence[ImageRecord],
    teacher: Teacher | ConcurrentTeacher,
    config: DistillConfig,
    paths: RunPaths,
    *,
    progress: bool = True,
    store: Path | None = None,
) -> DistilReport:
    """Ask a teacher about every image that has no final answer yet.

    Each answer is appended to `distill/raw.jsonl` as it comes. Calling again, after an end of
    any kind, goes on where the file stops. A concurrent teacher is asked about up to
    `config.concurrency` images at once, in a thread, so that this works inside Jupyter.

    Args:
        images: Rows whose files lie below `paths.data`; ids must differ.
        teacher: Must be named `config.teacher_model`.
        config: What is asked, and how.
        paths: The run folder.
        progress: Show a bar, or plain lines where no terminal is.
        store: File of the answers in place of `distill/raw.jsonl`.

    Returns:
        Counts by state.

    Raises:
        TeacherUnavailable: If no image can be answered, or nothing but failures comes back.
        ValueError: If the teacher is not the one in the config, or an image id comes twice.
        ArtifactError: If `raw.jsonl` is damaged, or another process writes to it.
    """
    if teacher.name != config.teacher_model:
        raise ValueError(f"config asks for {config.teacher_model!r}, got {teacher.name!r}")
    _check_ids(images)
    began = time.monotonic()
    with ResponseStore(store or paths.raw_responses) as stored:
        todo = [q for q in questions(images, config) if not stored.is_final(q.response_id)]
        with Progress(len(images), len(images) - len(todo), shown=progress) as shown:
            collector = _Collector(teacher, config, paths, stored, shown.step)
            collector.ask(todo)
        states = Counter(stored.state(q.response_id) or "" for q in questions(images, config))
    return DistilReport(len(images), len(todo), dict(states), time.monotonic() - began)


def current_responses(
    images: Iterable[ImageRecord],
    config: DistillConfig,
    paths: RunPaths,
    *,
    store: Path | None = None,
) -> list[ResponseRecord]:
    """Read the answers that belong to this configuration, one per image, in the images' order.

    `raw.jsonl`, or the file `store` in its place, may also hold answers to other prompts, of
    other teachers or other seeds.
    """
    newest = {row.response_id: row for row in newest_responses(store or paths.raw_responses)}
    wanted = (question.response_id for question in questions(images, config))
    return [newest[key] for key in wanted if key in newest]


def _check_ids(images: Iterable[ImageRecord]) -> None:
    twice = [name for name, n in Counter(image.image_id for image in images).items() if n > 1]
    if twice:
        raise ValueError(f"{len(twice)} image ids come more than once, the first is {twice[0]!r}")


class _Collector:
    """Asks questions and stores what comes back."""

    def __init__(
        self,
        teacher: Teacher | ConcurrentTeacher,
        config: DistillConfig,
        paths: RunPaths,
        store: ResponseStore,
        done: Callable[[FinishReason], None],
    ) -> None:
        self._teacher, self._config, self._paths = teacher, config, paths
        self._store, self._done = store, done
        self._patience = Patience(teacher.name, config.concurrency)

    def ask(self, todo: Sequence[Question]) -> None:
        """Ask every question; a concurrent teacher is closed afterwards."""
        if not todo:
            return
        if isinstance(self._teacher, ConcurrentTeacher):
            run_in_thread(self._ask_at_once(self._teacher, todo))
        else:
            for question in todo:
                self._ask_one(self._teacher, question)

    def _ask_one(self, teacher: Teacher, question: Question) -> None:
        began = time.monotonic()
        image = self._image(question)
        answer = _NO_IMAGE
        if image is not None:
            answer = teacher.answer(image, question.hint, rng_of(question.response_id))
        self._keep(question, answer, time.monotonic() - began)

    async def _ask_at_once(self, teacher: ConcurrentTeacher, todo: Sequence[Question]) -> None:
        async def ask(question: Question) -> None:
            began = time.monotonic()
            image = await asyncio.to_thread(self._image, question)
            answer = _NO_IMAGE
            if image is not None:
                answer = await teacher.answer_async(
                    image, question.hint, rng_of(question.response_id)
                )
            self._keep(question, answer, time.monotonic() - began)

        try:
            await run_bounded(todo, ask, self._config.concurrency)
        finally:
            await teacher.aclose()

    def _image(self, question: Question) -> Image.Image | None:
        try:
            return load_image(self._paths.data / question.image.image, question.image.sha256)
        except InvalidImage as error:
            log.warning("image %s: %s", question.image.image_id, error)
            return None

    def _keep(self, question: Question, answer: TeacherAnswer, seconds: float) -> None:
        row = ResponseRecord(
            response_id=question.response_id,
            image_id=question.image.image_id,
            teacher=self._teacher.name,
            prompt_id=prompts.teacher_prompt_id(question.hint),
            prompt_sha256=question.prompt_sha256,
            hinted=question.hint is not None,
            text=answer.text,
            finish_reason=answer.finish_reason,
            n_tokens=answer.n_tokens,
            seconds=round(seconds, 3),
            version=answer.version,
        )
        self._store.append(row)
        self._done(row.finish_reason)
        self._patience.saw(row.finish_reason)


class Patience:
    """Stops a run whose server has gone: it would cost a full round of retries per image.

    Args:
        name: Who is asked.
        concurrency: Questions asked at once.
    """

    def __init__(self, name: str, concurrency: int) -> None:
        self._name, self._limit = name, max(_TROUBLE_IN_A_ROW, 2 * concurrency)
        self._trouble_in_a_row = 0

    def saw(self, state: FinishReason) -> None:
        """Count an answer's state.

        Raises:
            TeacherUnavailable: If nothing but trouble has come for too long.
        """
        self._trouble_in_a_row = self._trouble_in_a_row + 1 if state in _SERVER_TROUBLE else 0
        if self._trouble_in_a_row >= self._limit:
            raise TeacherUnavailable(
                f"{self._trouble_in_a_row} images in a row got no answer, the last one: {state}; "
                f"see that {self._name!r} works, then run again: what was answered is kept"
            )


def rng_of(response_id: str) -> np.random.Generator:
    """Return a generator for one question, so that no answer depends on the order of asking."""
    return np.random.default_rng(int(response_id, 16))

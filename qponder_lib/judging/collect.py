"""Ask judges about every candidate, once, however often it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from qponder_lib.config import JudgeConfig
from qponder_lib.judging.rubric import Candidate, RubricJudge
from qponder_lib.judging.server import ServerJudge, why_not_asked
from qponder_lib.paths import RunPaths
from qponder_lib.records import JudgementRecord, ResponseRecord
from qponder_lib.teacher import TeacherAnswer
from qponder_lib.teacher.concurrency import run_bounded, run_in_thread
from qponder_lib.teacher.distill import Patience
from qponder_lib.teacher.images import InvalidImage, load_image
from qponder_lib.teacher.progress import Progress
from qponder_lib.teacher.store import ResponseStore, newest_responses
from qponder_lib.teacher.wire import with_image
from qponder_lib.text import prompts

log = logging.getLogger(__name__)

Question = tuple[Candidate, int]
"""A candidate and the number of the repeat, from 0."""


def rate_offline(
    judge: RubricJudge, questions: Sequence[Question], *, progress: bool = True
) -> list[JudgementRecord]:
    """Rate every candidate by the rubric, in the order given."""
    shown = tqdm(questions, desc=judge.name, unit="text", mininterval=5, disable=not progress)
    return [judge.judge(candidate, repeat=repeat) for candidate, repeat in shown]


def ask_judges(
    judges: Sequence[ServerJudge],
    questions: Sequence[Question],
    config: JudgeConfig,
    paths: RunPaths,
    *,
    progress: bool = True,
) -> dict[str, list[JudgementRecord]]:
    """Put every candidate before every judge that has not answered yet, all judges at once.

    Each answer is appended to the judge's `answers.jsonl` as it comes; calling again, after an
    end of any kind, goes on where the file stops.

    Args:
        judges: Judges behind servers.
        questions: Candidates with the number of the repeat.
        config: How many requests may be open per judge.
        paths: The run folder; images lie below `paths.data`.
        progress: Show how far it is.

    Returns:
        By judge, one judgement per question in their order.

    Raises:
        TeacherUnavailable: If a judge's server can answer nothing; what was answered is kept.
        ArtifactError: If a file of answers is damaged, or another process writes to it.
    """
    works = [_Court(judge, questions, config, paths, progress) for judge in judges]

    async def ask_all() -> None:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work.ask())

    try:
        run_in_thread(ask_all())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {judge.name: _judgements(judge, questions, paths) for judge in judges}


def _judgements(
    judge: ServerJudge, questions: Sequence[Question], paths: RunPaths
) -> list[JudgementRecord]:
    path = paths.judge_answers(judge.name)
    stored = {row.response_id: row for row in newest_responses(path)} if path.is_file() else {}
    rows = []
    for candidate, repeat in questions:
        asked = why_not_asked(candidate) is None
        answer = stored.get(judge.response_id(candidate, repeat)) if asked else None
        rows.append(judge.judgement(candidate, answer, repeat))
    return rows


@dataclass(frozen=True)
class _Asked:
    """One request that is still to be made."""

    candidate: Candidate
    response_id: str


class _Court:
    """One judge, its questions and its store."""

    def __init__(
        self,
        judge: ServerJudge,
        questions: Sequence[Question],
        config: JudgeConfig,
        paths: RunPaths,
        progress: bool,
    ) -> None:
        self._judge, self._config, self._paths = judge, config, paths
        self._progress = progress
        self._path: Path = paths.judge_answers(judge.name)
        self._patience = Patience(judge.name, config.concurrency)
        # Equal texts about one image are one question.
        self._wanted = {
            judge.response_id(candidate, repeat): candidate
            for candidate, repeat in questions
            if why_not_asked(candidate) is None
        }

    async def ask(self) -> None:
        """Ask what has no final answer yet."""
        with ResponseStore(self._path) as store:
            todo = [
                _Asked(candidate, key)
                for key, candidate in self._wanted.items()
                if not store.is_final(key)
            ]
            n_all = len(self._wanted)
            with Progress(
                n_all, n_all - len(todo), shown=self._progress, who=self._judge.name
            ) as shown:

                async def ask_one(asked: _Asked) -> None:
                    row = await self._answer(asked)
                    store.append(row)
                    shown.step(row.finish_reason)
                    self._patience.saw(row.finish_reason)

                try:
                    await run_bounded(todo, ask_one, self._config.concurrency)
                finally:
                    await self._judge.chat.aclose()

    async def _answer(self, asked: _Asked) -> ResponseRecord:
        began = time.monotonic()
        image = await asyncio.to_thread(self._image, asked.candidate)
        answer = TeacherAnswer(None, None, "invalid_image")
        if image is not None:
            messages = with_image(self._judge.messages(asked.candidate), image)
            answer = await self._judge.chat.ask(
                messages,
                seed=self._judge.seed,
                response_format=self._judge.response_format,
            )
        return ResponseRecord(
            response_id=asked.response_id,
            image_id=asked.candidate.image.image_id,
            teacher=self._judge.name,
            prompt_id=prompts.JUDGE_PROMPT_ID,
            prompt_sha256=self._judge.prompt_sha256(asked.candidate),
            hinted=True,
            text=answer.text,
            finish_reason=answer.finish_reason,
            n_tokens=answer.n_tokens,
            seconds=round(time.monotonic() - began, 3),
            version=answer.version,
        )

    def _image(self, candidate: Candidate) -> Image.Image | None:
        image = candidate.image
        try:
            return load_image(self._paths.data / image.image, image.sha256)
        except InvalidImage as error:
            log.warning("image %s: %s", image.image_id, error)
            return None

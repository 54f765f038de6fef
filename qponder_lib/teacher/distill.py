"""Collect a teacher's response for every image, once, however often it takes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path

from qponder_lib.config import DistillConfig
from qponder_lib.data.images import read_rgb, scaled_down
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, ResponseRecord
from qponder_lib.scales import distortion_tag
from qponder_lib.teacher.chat_client import ChatClient
from qponder_lib.teacher.expert import ExpertTeacher
from qponder_lib.teacher.responses import (
    Question,
    Response,
    collect,
    newest_responses,
    question_for,
    rng_of,
    run_in_thread,
)
from qponder_lib.text import prompts


def open_teacher(
    config: DistillConfig, max_pixels: int | None = None
) -> ExpertTeacher | ChatClient:
    """Open the offline expert or a client of the server that ``config`` names.

    Args:
        config: Who is asked, and how.
        max_pixels: Of an image as the teacher gets it; the student's, so that teacher and student
            see the same. It is in no key: stored responses stay when it changes.
    """
    if config.teacher == "expert":
        return ExpertTeacher(config.teacher_model, max_pixels)
    return ChatClient(
        config.teacher_model,
        config.base_url,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        resize=partial(scaled_down, max_pixels=max_pixels),
    )


def hint_for(image: ImageRecord) -> str | None:
    """Write the distortion tags of an image, or None where distortion or MOS is not known.

    The severity in a tag is that of the MOS's severity bin, as in the paper; the score itself is
    never shown to the teacher.

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


def questions(images: Iterable[ImageRecord], config: DistillConfig) -> list[Question]:
    """Pair every image with its prompt and the id of the response wanted."""
    sampling = {"temperature": config.temperature, "max_tokens": config.max_tokens, "seed": 0}
    asked = []
    for image in images:
        hint = hint_for(image) if config.hint else None
        prompt = prompts.teacher_prompt_id(hint), _prompt_sha256(hint)
        asked.append(question_for(config.teacher_model, image, hint, *prompt, **sampling))
    return asked


@cache
def _prompt_sha256(hint: str | None) -> str:
    return prompts.prompt_sha256(prompts.teacher_messages(hint))


def distill(
    images: Sequence[ImageRecord],
    teacher: ExpertTeacher | ChatClient,
    config: DistillConfig,
    paths: RunPaths,
    *,
    store: Path | None = None,
) -> dict[str, int]:
    """Ask a teacher about every image that has no final response yet.

    Each response is appended to `distill/raw.jsonl` as it comes. Calling again, after an end of
    any kind, goes on where the file stops. A server is asked about up to `config.concurrency`
    images at once, in a thread, so that this works inside Jupyter.

    Args:
        images: Rows whose files lie below `paths.data`; ids must differ.
        teacher: Named `config.teacher_model`. Any object with the `respond` of `ExpertTeacher` and
            a name will do; one that would respond differently needs another name.
        config: What is asked, and how.
        paths: The run folder.
        store: File of the responses in place of `distill/raw.jsonl`.

    Returns:
        How many images are in which state now; the sum is the number of images.

    Raises:
        ServerUnavailable: If no image can be answered, or nothing but failures comes back.
        ValueError: If the teacher is not the one in the config, or an image id comes twice.
        ArtifactError: If `raw.jsonl` is damaged, or another process writes to it.
    """
    if teacher.name != config.teacher_model:
        raise ValueError(f"config asks for {config.teacher_model!r}, got {teacher.name!r}")
    twice = [name for name, n in Counter(image.image_id for image in images).items() if n > 1]
    if twice:
        raise ValueError(f"{len(twice)} image ids come more than once, the first is {twice[0]!r}")
    asked, kept = questions(images, config), store or paths.raw_responses

    async def respond(question: Question) -> Response:
        await asyncio.sleep(0)  # an interrupt is heeded between two images
        image = read_rgb(paths.data / question.image.image, question.image.sha256)
        return teacher.respond(image, question.hint, rng_of(question.response_id))

    if isinstance(teacher, ChatClient):
        asking = teacher.collect(
            asked,
            lambda question: prompts.teacher_messages(question.hint),
            paths,
            store=kept,
            concurrency=config.concurrency,
        )
    else:
        asking = collect(asked, respond, name=teacher.name, store=kept, concurrency=1)
    run_in_thread(asking)
    there = current_responses(images, config, paths, store=store)
    return dict(Counter(row.finish_reason for row in there))


def current_responses(
    images: Iterable[ImageRecord],
    config: DistillConfig,
    paths: RunPaths,
    *,
    store: Path | None = None,
) -> list[ResponseRecord]:
    """Read the responses that belong to this configuration, one per image, in the images' order.

    `raw.jsonl`, or the file `store` in its place, may also hold responses to other prompts, of
    other teachers or other seeds.
    """
    newest = newest_responses(store or paths.raw_responses)
    wanted = (question.response_id for question in questions(images, config))
    return [newest[key] for key in wanted if key in newest]

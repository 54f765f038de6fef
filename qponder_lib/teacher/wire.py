"""What goes over the wire to an OpenAI-compatible server, and what may come back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, Field

from qponder_lib.records import Text
from qponder_lib.teacher.images import png_data_url
from qponder_lib.text import prompts


class _Message(BaseModel):
    content: Text | None = None


class _Choice(BaseModel):
    finish_reason: Literal["stop", "length", "content_filter"]
    message: _Message


class _Usage(BaseModel):
    completion_tokens: int | None = Field(default=None, ge=0)


class Completion(BaseModel):
    """The part of a chat completion that is used; the SDK itself checks nothing of it."""

    model: str
    choices: list[_Choice] = Field(min_length=1, max_length=1)
    usage: _Usage | None = None
    system_fingerprint: Text | None = None

    @property
    def version(self) -> str:
        """What answered, as the server states it: the model and, if given, its fingerprint."""
        return f"{self.model} {self.system_fingerprint or ''}".strip()


def parse_completion(body: bytes) -> Completion:
    """Read the body of a 200.

    Raises:
        ValueError: If it is torn, or anything but a chat completion with one choice.
    """
    try:
        return Completion.model_validate(json.loads(body))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def vision_messages(image: Image.Image, hint: str | None) -> list[dict[str, Any]]:
    """Return the teacher prompt with the image in front of the user's text, in OpenAI's form."""
    return with_image(prompts.teacher_messages(hint), image)


def with_image(messages: list[prompts.Message], image: Image.Image) -> list[dict[str, Any]]:
    """Put an image in front of the user's text of a system and a user message."""
    system, user = messages
    content = [
        {"type": "image_url", "image_url": {"url": png_data_url(image)}},
        {"type": "text", "text": user["content"]},
    ]
    return [dict(system), {"role": user["role"], "content": content}]


def is_model(answered: str, asked: str) -> bool:
    """Tell whether an answer comes from the model asked for, or from a dated version of it.

    Example:
        >>> is_model("gpt-4o-2024-08-06", "gpt-4o"), is_model("gpt-4o-mini", "gpt-4o")
        (True, False)
    """
    dated = re.escape(asked) + r"-\d{4}-?\d{2}-?\d{2}"
    return answered == asked or re.fullmatch(dated, answered, re.ASCII) is not None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the server asks to wait, from either form of `Retry-After`.

    Example:
        >>> retry_after_s({"retry-after": "2.5"}), retry_after_s({"retry-after": "soon"})
        (2.5, None)
    """
    stated = headers.get("retry-after")
    if stated is None:
        return None
    try:
        seconds = float(stated)
    except ValueError:
        try:
            then = parsedate_to_datetime(stated)
        except ValueError:
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if seconds == seconds else None

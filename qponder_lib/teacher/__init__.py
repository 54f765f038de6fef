"""Teachers: whatever looks at an image and writes the reasoning that is distilled.

Two exist, behind one protocol: an offline expert system that measures the pixels
(`qponder_lib.teacher.expert`) and a client of any OpenAI-compatible server
(`qponder_lib.teacher.server`). `qponder_lib.teacher.distill` drives either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from qponder_lib.records import FinishReason


class TeacherUnavailable(RuntimeError):
    """The teacher cannot answer any image: wrong key, wrong address, unknown model, server gone."""


@dataclass(frozen=True)
class TeacherAnswer:
    """What a teacher said about one image.

    Attributes:
        text: The complete answer, or None when there is none.
        n_tokens: Length of the answer in the teacher's own tokens, None when it is not known.
        finish_reason: "stop" or "length" for a text, otherwise the named failure
            (the states of `ResponseRecord.finish_reason`).
        version: Model and fingerprint as a server stated them, None where there is none.

    Example:
        >>> TeacherAnswer("<think>...</think><answer>40</answer>", 12).finish_reason
        'stop'
        >>> TeacherAnswer(None, None, "timeout").text is None
        True
    """

    text: str | None
    n_tokens: int | None
    finish_reason: FinishReason = "stop"
    version: str | None = field(default=None, compare=False)


class Teacher(Protocol):
    """A teacher that answers in the calling thread.

    `name` identifies the model and its revision: it is part of the key under which an
    answer is stored, so a teacher that would answer differently needs another name.
    """

    name: str

    def answer(
        self, image: Image.Image, hint: str | None, rng: np.random.Generator
    ) -> TeacherAnswer:
        """Look at an RGB image, with or without a distortion tag, and reason about it."""
        ...


@runtime_checkable
class ConcurrentTeacher(Protocol):
    """A teacher that can look at several images at once; it belongs to one event loop."""

    name: str

    async def answer_async(
        self, image: Image.Image, hint: str | None, rng: np.random.Generator
    ) -> TeacherAnswer:
        """Like `Teacher.answer`, without blocking the event loop."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...

"""Tokens of prompts, images and answers, without a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer

from qponder_lib.config import Profile
from qponder_lib.gpu.preflight.shapes import Shape, model_file
from qponder_lib.text.prompts import student_messages

LETTERS_PER_TOKEN = 3.0
"""English has above four in Qwen's vocabulary; three keeps the estimate on the safe side."""
_TOKENS_PER_MESSAGE = 5  # <|im_start|>, role, line end; <|im_end|>, line end
_DEFAULT_SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest sequence.

    Attributes:
        prompt: Text of the prompt with the chat's control tokens.
        image: The largest image that ``student.max_pixels`` allows.
        completion: ``grpo.max_completion_length``.
        counted: True if the model's tokenizer counted, False if letters were divided.
    """

    prompt: int
    image: int
    completion: int
    counted: bool

    @property
    def whole(self) -> int:
        """Prompt, image and completion."""
        return self.prompt + self.image + self.completion


class Counter:
    """Counts tokens with a model's tokenizer, or from letters where it is not on this machine."""

    def __init__(self, model: str) -> None:
        file = model_file(model, "tokenizer.json")
        self.tokenizer = Tokenizer.from_file(str(file)) if file is not None else None

    def __call__(self, text: str) -> int:
        """Tokens of a text, at least roughly."""
        if self.tokenizer is None:
            return math.ceil(len(text) / LETTERS_PER_TOKEN)
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def longest(self, texts: Iterable[str]) -> int:
        """Tokens of the longest of some texts, 0 if there are none."""
        return max((self(text) for text in texts), default=0)


def lengths(profile: Profile, shape: Shape) -> Lengths:
    """Count what one sequence of GRPO holds at most."""
    counter = Counter(profile.student.model)
    messages = student_messages(profile.student.prompt_id)
    texts = [message["content"] for message in messages]
    if messages[0]["role"] != "system":
        texts.append(_DEFAULT_SYSTEM)  # Qwen's template adds it
    text_tokens = sum(counter(text) for text in texts)
    controls = _TOKENS_PER_MESSAGE * len(texts) + 3 + 2  # the assistant's turn, image borders
    return Lengths(
        prompt=text_tokens + controls,
        image=shape.image_tokens(profile.student.max_pixels),
        completion=profile.grpo.max_completion_length,
        counted=counter.tokenizer is not None,
    )

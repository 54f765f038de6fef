"""Answers of a student for many images, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from tqdm import tqdm

from qponder_lib.student.load import Student
from qponder_lib.text.prompts import student_messages


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded.

    Attributes:
        max_new_tokens: Length of an answer, tokens, at most.
        temperature: 0 takes the likeliest token; above 0 tokens are drawn.
    """

    max_new_tokens: int
    temperature: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A generated text, its length in tokens, and whether it ended by itself ("stop")."""

    text: str
    n_tokens: int
    finish_reason: str


@torch.inference_mode()
def generate(
    student: Student,
    images: Sequence[Image.Image],
    prompt_id: str,
    decoding: Decoding,
    *,
    batch_size: int = 64,
    progress: str | None = None,
) -> list[Answer]:
    """Let a model answer one prompt for many images.

    Args:
        student: Model and processor.
        images: Decoded RGB images; each is taken when its batch comes.
        prompt_id: One of ``prompts.STUDENT_PROMPT_IDS``.
        decoding: Greedy or sampled; sampling uses torch's global generator.
        batch_size: Images per batch.
        progress: Label of a progress bar, shown after five seconds, or None for no bar.

    Returns:
        One answer per image, in their order.
    """
    to_accelerator(student)
    prompt = _prompt_text(student, prompt_id)
    answers: list[Answer] = []
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc=progress, disable=progress is None, mininterval=5, delay=5):
        batch = [images[i] for i in range(start, min(start + batch_size, len(images)))]
        answers += answer_batch(student, [prompt] * len(batch), batch, decoding)
    return answers


@torch.inference_mode()
def answer_batch(
    student: Student, texts: Sequence[str], pictures: Sequence[Image.Image], decoding: Decoding
) -> list[Answer]:
    """Let a model answer one batch of prompts, each of which may hold several pictures.

    Args:
        student: Model and processor.
        texts: Prompts in the model's chat layout.
        pictures: Decoded RGB pictures of all prompts, in the order of their places in them.
        decoding: As in `generate`.

    Returns:
        One answer per prompt, in their order.
    """
    tokenizer = student.processor.tokenizer
    inputs = student.processor(
        text=list(texts), images=list(pictures), padding=True, return_tensors="pt"
    ).to(student.model.device)
    tokens = student.model.generate(
        **inputs,
        max_new_tokens=decoding.max_new_tokens,
        do_sample=decoding.temperature > 0,
        temperature=decoding.temperature or None,
        top_k=None,
        top_p=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )[:, inputs["input_ids"].shape[1] :]
    return [_answer(row, tokenizer) for row in tokens]


def to_accelerator(student: Student, device: torch.device | None = None) -> None:
    """Move a model that still lies on the CPU to the GPU, if there is one.

    Args:
        student: 4-bit weights lie where they were read to and stay there.
        device: Where to; without, the current CUDA device, or nowhere without CUDA.
    """
    if device is None:
        if not torch.cuda.is_available():
            return
        device = torch.device("cuda", torch.cuda.current_device())
    on_cpu = student.model.device.type == "cpu"
    if on_cpu and not getattr(student.model, "is_quantized", False):
        student.model.to(device)


def _prompt_text(student: Student, prompt_id: str) -> str:
    messages = [
        {**message, "content": [{"type": "image"}, {"type": "text", "text": message["content"]}]}
        if message["role"] == "user"
        else message
        for message in student_messages(prompt_id)
    ]
    return student.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )


def _answer(tokens: torch.Tensor, tokenizer: object) -> Answer:
    kept = tokens[tokens != tokenizer.pad_token_id]
    ended = bool((kept == tokenizer.eos_token_id).any())
    text = tokenizer.decode(kept, skip_special_tokens=True)
    return Answer(text, len(kept), "stop" if ended else "length")

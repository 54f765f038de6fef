"""Completions of a student for many images or clips, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from qponder_lib.student.model import Student
from qponder_lib.student.readout import ScoreDistribution, score_distributions
from qponder_lib.text.prompts import student_messages

Pictured = Image.Image | Sequence[Image.Image]


@dataclass(frozen=True)
class Completion:
    """A generated text, its length in tokens, and whether it ended by itself ("stop").

    Without a text, `finish_reason` is the reason.
    The distribution is that of its score, if it has one and the distribution was asked for.
    """

    text: str | None
    n_tokens: int | None
    finish_reason: str
    distribution: ScoreDistribution | None = None


@torch.no_grad()  # tensors of inference mode would break the next training step under FSDP2
def generate(
    student: Student,
    images: Sequence[Pictured],
    prompt: str | Sequence[dict[str, Any]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    distribution: bool = False,
    batch_size: int = 64,
    progress: str | None = None,
) -> list[Completion]:
    """Let a model complete one prompt for many images, or for many groups of images.

    Args:
        student: Model and processor; moved to the GPU, if there is one.
        images: Decoded RGB images, or those of each clip; each is taken when its batch comes.
        prompt: One of ``prompts.STUDENT_PROMPT_IDS``, or messages with a block for every image.
        max_new_tokens: Length of a completion, tokens, at most.
        temperature: 0 takes the likeliest token; above 0 tokens are drawn, by torch's global
            generator.
        distribution: Also read the distribution over scores; see `score_distributions`.
        batch_size: Prompts per batch.
        progress: Label of a progress bar, shown after five seconds, or None for no bar.

    Returns:
        One completion per entry of `images`, in their order.
    """
    on_cpu = student.model.device.type == "cpu"
    # 4-bit weights lie where they were read to, and stay there.
    if on_cpu and torch.cuda.is_available() and not getattr(student.model, "is_quantized", False):
        student.model.to("cuda")
    processor, tokenizer = student.processor, student.processor.tokenizer
    text = processor.apply_chat_template(
        image_messages(prompt) if isinstance(prompt, str) else prompt,
        add_generation_prompt=True,
        tokenize=False,
    )
    completions: list[Completion] = []
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc=progress, disable=progress is None, mininterval=5, delay=5):
        batch = [images[i] for i in range(start, min(start + batch_size, len(images)))]
        flat = [
            one for some in batch for one in ([some] if isinstance(some, Image.Image) else some)
        ]
        inputs = processor(text=[text] * len(batch), images=flat, padding=True, return_tensors="pt")
        inputs = inputs.to(student.model.device)
        made = student.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,  # Qwen2.5-VL publishes 1.05, which spares the digit 9 alone
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            return_dict_in_generate=True,
        )
        prompts = inputs["attention_mask"]
        tokens = made.sequences[:, prompts.shape[1] :]
        said = [_completion(row, tokenizer) for row in tokens]
        if distribution:
            found = score_distributions(
                student.model, tokenizer, prompts, tokens, made.past_key_values
            )
            said = [replace(one, distribution=d) for one, d in zip(said, found, strict=True)]
        completions += said
    return completions


def image_messages(prompt_id: str) -> list[dict[str, Any]]:
    """The messages of a prompt for one image, with a block for it before the user's text."""
    return [
        {**message, "content": [{"type": "image"}, {"type": "text", "text": message["content"]}]}
        if message["role"] == "user"
        else message
        for message in student_messages(prompt_id)
    ]


def _completion(tokens: torch.Tensor, tokenizer: Any) -> Completion:
    kept = tokens[tokens != tokenizer.pad_token_id]
    ended = bool((kept == tokenizer.eos_token_id).any())
    text = tokenizer.decode(kept, skip_special_tokens=True)
    return Completion(text, len(kept), "stop" if ended else "length")

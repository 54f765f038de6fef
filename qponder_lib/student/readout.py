"""The distribution over scores that a model holds at the place where its completion has the score.

A written score is its likeliest digits and no more; the expectation over the distribution is
another readout of the same weights, finer than the few numbers that a model writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

_BEFORE_THE_SCORE = re.compile(r"<answer>\s*$")


@dataclass(frozen=True, eq=False)
class ScoreDistribution:
    """The probability of every whole score, given the image and the reasoning that was written.

    Attributes:
        probabilities: Shape (101,), of the scores 0 to 100; they sum to 1.
        mass: Probability, before it was scaled to 1, that a number of 0 to 100 is written at all.
    """

    probabilities: NDArray[np.float64]
    mass: float

    @property
    def mean(self) -> float:
        """The expected score, 0 to 100."""
        return float(self.probabilities @ np.arange(101))

    @property
    def deviation(self) -> float:
        """Standard deviation of the score, points."""
        return float(np.sqrt(self.probabilities @ (np.arange(101) - self.mean) ** 2))


@torch.no_grad()
def score_distributions(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_mask: torch.Tensor,
    tokens: torch.Tensor,
    cache: Cache,
) -> list[ScoreDistribution | None]:
    """Read the distribution over scores that a model holds where its completions have the score.

    The cache of the completions serves again: one pass of twelve tokens gives the first digit, the
    second after each of the ten, and a third after 10 alone, since no other number of three digits
    is on the scale. Digits after a point are not looked at: the value is the whole score.

    Args:
        model: What wrote the completions; its attention takes a mask of its own (not flash).
        tokenizer: Has a token for each digit.
        prompt_mask: Which tokens of the prompts are no padding, shape (n, width).
        tokens: The completions of prompts that ask for one score, shape (n, length).
        cache: Keys and values of prompts and completions but for the last token; it grows.

    Returns:
        One distribution per completion; None where it holds no score, and for all if the tokenizer
        has no tokens of single digits or the attention is flash.

    Source:
        The expected score over token probabilities, as Q-Align reads its five levels and
        Q-Insight's followers the score; over all whole scores, exact: ours.
    """
    ids = tokenizer([*"0123456789"], add_special_tokens=False)["input_ids"]
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    flash = "flash" in whole.config.get_text_config()._attn_implementation
    if flash or any(len(of_one) != 1 for of_one in ids):
        return [None] * len(tokens)
    digits = torch.tensor(ids, device=tokens.device).flatten()
    places = [_place(row, tokenizer, digits) for row in tokens]
    if not any(places):
        return places
    # Twelve tokens: the one before the score once more, the ten digits, and the 0 of 10.
    n, width = prompt_mask.shape
    start = torch.tensor([place or 1 for place in places], device=tokens.device)[:, None]
    asked = [tokens.gather(1, start - 1), digits.expand(n, 10), digits[:1].expand(n, 1)]
    depth = torch.tensor([0, *[1] * 10, 2], device=tokens.device)
    before = prompt_mask.sum(dim=1, keepdim=True) + whole.base_model.rope_deltas + start - 1

    seen = torch.arange(cache.get_seq_length(), device=tokens.device) < width + start - 1
    seen[:, :width] &= prompt_mask.bool()
    beside = torch.eye(12, dtype=torch.bool, device=tokens.device)
    beside[:, 0], beside[11, 2] = True, True  # the last 0 also sees the 1
    seen = torch.cat([seen[:, None].expand(-1, 12, -1), beside.expand(n, -1, -1)], dim=2)
    mask = torch.zeros_like(seen, dtype=whole.dtype)
    mask = mask.masked_fill(~seen, torch.finfo(whole.dtype).min)[:, None]
    logits = model(
        input_ids=torch.cat(asked, dim=1),
        attention_mask=mask,
        position_ids=before + depth,
        past_key_values=cache,
    ).logits
    chances = torch.softmax(logits.double(), dim=-1)[..., digits].cpu().numpy()
    found = _numbers(chances[:, 0], chances[:, 1:11], chances[:, 11, 0])
    return [
        None if place is None else ScoreDistribution(row / row.sum(), float(row.sum()))
        for place, row in zip(places, found, strict=True)
    ]


def _place(
    tokens: torch.Tensor, tokenizer: PreTrainedTokenizerBase, digits: torch.Tensor
) -> int | None:
    """Return the place of the first digit of the score of a completion."""
    for place in reversed(torch.isin(tokens, digits).nonzero().flatten().tolist()):
        if _BEFORE_THE_SCORE.search(tokenizer.decode(tokens[:place])):
            return place
    return None


def _numbers(
    first: NDArray[np.float64], second: NDArray[np.float64], third: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probabilities of the numbers 0 to 100.

    Args:
        first: Of the first digit, shape (n, 10).
        second: Of the second after each first, shape (n, 10, 10).
        third: Of a 0 after 10, shape (n,).
    """
    numbers = np.zeros((len(first), 101))
    numbers[:, :10] = first * (1.0 - second.sum(axis=2))
    numbers[:, :100] += (first[:, :, None] * second).reshape(-1, 100)
    numbers[:, 100] = first[:, 1] * second[:, 1, 0] * third
    numbers[:, 10] -= numbers[:, 100]
    return numbers

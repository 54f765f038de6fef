"""Sampling of several answers per prompt, whose prompt is run and kept in memory once."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from qponder_lib.training.shared_prefix.groups import Prompt

GROWTH = 64


class PromptLayer(DynamicLayer):
    """Keys and values of one layer: prompts once per group, answers once per row.

    To transformers it looks like a cache of rows that each begin with their prompt. ``update``
    returns the layer itself where a tensor of keys is expected; the attention function that is
    registered for shared prefixes knows it.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, n: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.prompt_keys = keys
        self.prompt_values = values
        self.n = n
        self.used = 0
        shape = (len(keys) * n, keys.shape[1], GROWTH, keys.shape[3])
        self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[PromptLayer, None]:
        """Append one step of the answers."""
        end = self.used + key_states.shape[2]
        if end > self.keys.shape[2]:
            room = (0, 0, 0, max(GROWTH, self.used))
            self.keys = pad(self.keys, room)
            self.values = pad(self.values, room)
        self.keys[:, :, self.used : end] = key_states
        self.values[:, :, self.used : end] = value_states
        self.used = end
        return self, None

    def get_seq_length(self) -> int:
        """Tokens of a prompt and of an answer so far."""
        return self.prompt_keys.shape[2] + self.used

    def attend(
        self, query: torch.Tensor, mask: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        """One new token of each row against its prompt and its answer so far.

        The queries of a group are stacked, so that a prompt's keys are read once for all of them.

        Args:
            query: Rows x query heads x 1 x width.
            mask: True where a row may look, rows x 1 x 1 x tokens; None if everywhere.
            scaling: Factor on the logits.

        Returns:
            Rows x 1 x query heads x width.
        """
        groups, heads, n_prompt, width = self.prompt_keys.shape
        rows, n = len(query), self.n
        repeat = query.shape[1] // heads
        own = (query * scaling).view(rows, heads, repeat, width)
        stacked = own.view(groups, n, heads, repeat, width).transpose(1, 2)
        stacked = stacked.reshape(groups, heads, n * repeat, width)
        there = stacked @ self.prompt_keys.transpose(2, 3)
        if mask is not None:
            there = there.masked_fill(~mask[::n, :, :, :n_prompt], float("-inf"))
        there = there.view(groups, heads, n, repeat, n_prompt).transpose(1, 2)
        here = own @ self.keys[:, :, : self.used].transpose(2, 3)
        logits = torch.cat([there.reshape(rows, heads, repeat, n_prompt), here], dim=3)
        weights = logits.float().softmax(-1).to(query.dtype)
        shared = weights[..., :n_prompt].reshape(groups, n, heads, repeat, n_prompt)
        shared = shared.transpose(1, 2).reshape(groups, heads, n * repeat, n_prompt)
        out = (shared @ self.prompt_values).view(groups, heads, n, repeat, width).transpose(1, 2)
        out = out.reshape(rows, heads, repeat, width)
        out = out + weights[..., n_prompt:] @ self.values[:, :, : self.used]
        return out.view(rows, 1, heads * repeat, width)


@torch.no_grad()
def sample(
    base: PreTrainedModel, inputs: dict[str, torch.Tensor], n: int, settings: GenerationConfig
) -> torch.Tensor:
    """Draw ``n`` answers to each prompt by transformers' own ``generate``.

    Args:
        base: A Qwen2.5-VL that understands shared prefixes.
        inputs: One left-padded row per prompt, with its images.
        n: Answers per prompt.
        settings: How answers are drawn.

    Returns:
        Tokens of the answers, (prompts x n, longest answer), group after group.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    cache = DynamicCache(config=base.config)
    tokens = {"input_ids", "attention_mask", "mm_token_type_ids"}
    head = {name: value[:, :-1] if name in tokens else value for name, value in inputs.items()}
    if "image_grid_thw" not in inputs:
        place = (head["attention_mask"].cumsum(1) - 1).clamp(min=0)
        head["position_ids"] = place.expand(3, -1, -1)
        base.model.rope_deltas = ids.new_zeros(len(ids), 1)
    base(**head, past_key_values=cache, use_cache=True, logits_to_keep=1)
    base.model.rope_deltas = base.model.rope_deltas.repeat_interleave(n, 0)
    cache.layers = [PromptLayer(layer.keys, layer.values, n) for layer in cache.layers]
    rows = ids.repeat_interleave(n, 0)
    found = base.generate(
        input_ids=rows,
        attention_mask=mask.repeat_interleave(n, 0),
        past_key_values=cache,
        generation_config=settings,
    )
    return found[:, ids.shape[1] :]


def left_padded(prompts: list[Prompt], pad_id: int, image_id: int) -> dict[str, torch.Tensor]:
    """Prompts of unequal lengths as one table, with the images of all."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.stack([pad(one.ids, (width - len(one.ids), 0), value=pad_id) for one in prompts])
    mask = torch.stack(
        [pad(torch.ones_like(one.ids), (width - len(one.ids), 0)) for one in prompts]
    )
    inputs = {"input_ids": ids, "attention_mask": mask}
    pictured = [prompt for prompt in prompts if prompt.pixels is not None]
    if pictured:
        inputs["mm_token_type_ids"] = ((ids == image_id) & mask.bool()).int()
        inputs["pixel_values"] = torch.cat([prompt.pixels for prompt in pictured])
        inputs["image_grid_thw"] = torch.cat([prompt.grids for prompt in pictured])
    return inputs


def until_end(tokens: torch.Tensor, ends: list[int]) -> list[list[int]]:
    """Rows of tokens up to and with the first that ends an answer."""
    stop = torch.isin(tokens, torch.tensor(ends, device=tokens.device))
    before = stop.int().cumsum(1) - stop.int() == 0
    return [row[kept].tolist() for row, kept in zip(tokens.cpu(), before.cpu(), strict=True)]

"""Attention of completions to themselves and to a prompt that they share, packed or while sampled.

A dense mask over a packed sequence would compute every completion against every other. Here prompts
attend in one causal call, and completions in another whose keys are their own and their prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prefix_sdpa"
QUERY_BLOCK = 256
GROWTH = 64


@dataclass(frozen=True)
class Piece:
    """Equally many places for each of several sequences, and which of them hold a token.

    Attributes:
        shape: Sequences and places of each.
        taken: Places that hold a token, flat, in the order of the tokens.
    """

    shape: tuple[int, int]
    taken: torch.Tensor

    @classmethod
    def build(cls, lengths: Sequence[int], device: torch.device) -> Piece:
        """Places for sequences of these lengths that stand one after another."""
        length = torch.tensor(lengths, device=device)
        valid = torch.arange(max(lengths), device=device) < length[:, None]
        return cls(valid.shape, valid.flatten().nonzero()[:, 0])

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens x heads x width to sequences x heads x places x width."""
        places = tokens.new_zeros(self.shape[0] * self.shape[1], *tokens.shape[1:])
        held = places.index_copy(0, self.taken, tokens)
        return held.view(*self.shape, *tokens.shape[1:]).transpose(1, 2)

    def gather(self, places: torch.Tensor) -> torch.Tensor:
        """Sequences x heads x places x width to tokens x heads x width."""
        return places.transpose(1, 2).flatten(0, 1).index_select(0, self.taken)


@dataclass(frozen=True)
class Layout:
    """Where prompts and completions lie in a packed sequence; takes the place of an attention mask.

    Attributes:
        n_prefix: Tokens of all prompts.
        prefix: Places of the prompts.
        completions: Places of the completions.
        group: The prompt of each completion.
        blocks: First query, last query and mask (of all query heads of a key head) of each block
            of a completion's queries.
    """

    n_prefix: int
    prefix: Piece
    completions: Piece
    group: torch.Tensor
    blocks: tuple[tuple[int, int, torch.Tensor], ...]

    @classmethod
    def build(
        cls,
        prefix_lengths: Sequence[int],
        completion_lengths: Sequence[int],
        group: Sequence[int],
        query_groups: int,
        device: torch.device,
    ) -> Layout:
        """The layout of prompts one after another, followed by completions one after another.

        Args:
            prefix_lengths: Tokens of each prompt.
            completion_lengths: Tokens of each completion.
            group: The prompt of each completion.
            query_groups: Query heads per key head.
            device: Where the tensors go.
        """
        prefix = Piece.build(prefix_lengths, device)
        completions = Piece.build(completion_lengths, device)
        owner = torch.tensor(group, device=device)
        length = torch.tensor(prefix_lengths, device=device)[owner]
        if len(set(prefix_lengths)) == 1:
            length = length[:1]
        seen = torch.arange(prefix.shape[1], device=device) < length[:, None]
        place = torch.arange(completions.shape[1], device=device)
        blocks = []
        for first in range(0, completions.shape[1], QUERY_BLOCK):
            last = min(first + QUERY_BLOCK, completions.shape[1])
            own = place[:last] <= place[first:last, None]
            mask = torch.cat(
                [
                    seen[:, None, None].expand(-1, 1, last - first, -1),
                    own.expand(len(seen), 1, -1, -1),
                ],
                dim=-1,
            )
            blocks.append((first, last, mask.repeat(1, 1, query_groups, 1)))
        return cls(sum(prefix_lengths), prefix, completions, owner, tuple(blocks))


class PromptLayer(DynamicLayer):
    """Keys and values of one layer: prompts once per group, completions once per row.

    ``update`` returns the layer itself where transformers expects a tensor of keys; the attention
    function that is registered for shared prefixes knows it.

    Args:
        keys: Of the prompts, groups x key heads x tokens x width. ``values`` alike.
        values: See ``keys``.
        seen: True at the prompts' tokens, groups x tokens; None if there is no padding.
        n: Completions per prompt.
    """

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, seen: torch.Tensor | None, n: int
    ) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.prompt_keys = keys
        self.prompt_values = values
        self.hidden = None if seen is None else ~seen[:, None, None]
        self.n = n
        self.rows: torch.Tensor | None = None
        self.used = 0
        shape = (len(keys) * n, keys.shape[1], GROWTH, keys.shape[3])
        self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[PromptLayer, None]:
        """Append one step of the completions."""
        if self.used == self.keys.shape[2]:
            room = (0, 0, 0, self.used)
            self.keys, self.values = pad(self.keys, room), pad(self.values, room)
        self.keys[:, :, self.used] = key_states[:, :, 0]
        self.values[:, :, self.used] = value_states[:, :, 0]
        self.used += 1
        return self, None

    def get_seq_length(self) -> int:
        """Tokens of a prompt and of a completion so far."""
        return self.prompt_keys.shape[2] + self.used

    def keep(self, held: torch.Tensor, rows: torch.Tensor) -> None:
        """Forget completions that have ended.

        Args:
            held: Which of the completions held so far stay.
            rows: Their places among all completions, group after group.
        """
        self.keys, self.values, self.rows = self.keys[held], self.values[held], rows

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """One new token of each held completion against its prompt and its completion so far.

        The queries of a group are stacked, so that a prompt's keys are read once for all of them.

        Args:
            query: Completions x query heads x 1 x width.
            scaling: Factor on the logits.

        Returns:
            Completions x 1 x query heads x width.
        """
        heads, n_prompt, width = self.prompt_keys.shape[1:]
        own = (query * scaling).view(len(query), heads, -1, width)
        there = self._stack(own) @ self.prompt_keys.transpose(2, 3)
        if self.hidden is not None:
            there = there.masked_fill(self.hidden, float("-inf"))
        here = own @ self.keys[:, :, : self.used].transpose(2, 3)
        weights = torch.cat([self._unstack(there), here], dim=3)
        weights = weights.float().softmax(-1).to(query.dtype)
        out = self._unstack(self._stack(weights[..., :n_prompt]) @ self.prompt_values)
        out = out + weights[..., n_prompt:] @ self.values[:, :, : self.used]
        return out.reshape(len(query), 1, -1, width)

    def _stack(self, held: torch.Tensor) -> torch.Tensor:
        """Completions x heads x queries x width to groups x heads x (n queries) x width."""
        groups, shape = len(self.prompt_keys), held.shape[1:]
        if self.rows is not None:
            held = held.new_zeros(groups * self.n, *shape).index_copy_(0, self.rows, held)
        return held.view(groups, self.n, *shape).transpose(1, 2).flatten(2, 3)

    def _unstack(self, stacked: torch.Tensor) -> torch.Tensor:
        """The other way round."""
        every = stacked.unflatten(2, (self.n, -1)).transpose(1, 2).flatten(0, 1)
        return every if self.rows is None else every[self.rows]


def shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor | PromptLayer,
    value: torch.Tensor | None,
    attention_mask: torch.Tensor | Layout | None,
    *,
    scaling: float | None = None,
    **options: object,
) -> tuple[torch.Tensor, None]:
    """Attend as a packed sequence's layout says; with an ordinary mask, as transformers does.

    Args:
        module: The calling attention module.
        query: 1 x query heads x tokens x width.
        key: 1 x key heads x tokens x width, ``value`` alike; or, when sampling, a layer's memory.
        value: See ``key``.
        attention_mask: A layout, or what transformers' own function takes.
        scaling: Factor on the logits; default 1 / sqrt(width).
        options: Passed on to transformers' own function.

    Returns:
        1 x tokens x query heads x width, and None for the weights.
    """
    if isinstance(key, PromptLayer):
        return key.attend(query, scaling or query.shape[-1] ** -0.5), None
    if not isinstance(attention_mask, Layout):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    layout = attention_mask
    flat = [part[0].transpose(0, 1) for part in (query, key, value)]
    repeat = query.shape[1] // key.shape[1]
    first, mine, its = (layout.prefix.spread(part[: layout.n_prefix]) for part in flat)
    head = scaled_dot_product_attention(
        first, repeat_kv(mine, repeat), repeat_kv(its, repeat), is_causal=True, scale=scaling
    )
    asking, own_key, own_value = (
        layout.completions.spread(part[layout.n_prefix :]) for part in flat
    )
    keys = torch.cat([mine.index_select(0, layout.group), own_key], dim=2)
    values = torch.cat([its.index_select(0, layout.group), own_value], dim=2)
    tail = _attend_in_blocks(asking, keys, values, layout, scaling)
    return torch.cat([layout.prefix.gather(head), layout.completions.gather(tail)])[None], None


def _attend_in_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    scaling: float | None,
) -> torch.Tensor:
    """Completions to prompt and completion; a block of queries meets no key that comes after it.

    The query heads of a key head are stacked along the queries, so that no key is repeated.
    """
    rows, heads, _, width = query.shape
    key_heads, prompt = key.shape[1], layout.prefix.shape[1]
    found = []
    for first, last, mask in layout.blocks:
        stacked = query[:, :, first:last].reshape(rows, key_heads, -1, width)
        seen = slice(0, prompt + last)
        block = scaled_dot_product_attention(
            stacked, key[:, :, seen], value[:, :, seen], attn_mask=mask, scale=scaling
        )
        found.append(block.view(rows, heads, last - first, width))
    return found[0] if len(found) == 1 else torch.cat(found, dim=2)


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def use_shared_prefix(model: PreTrainedModel) -> None:
    """Let the language model of a Qwen2.5-VL understand layouts; all else stays as it is.

    As for the vision tower, the name is set after construction: at construction transformers would
    look for it among its own.
    """
    model.config.get_text_config()._attn_implementation_internal = NAME

"""Attention of answers to themselves and to a prompt that they share.

A dense mask over a packed sequence would compute every answer against every other. Here prompts
attend in one causal call, and answers in another whose keys are their own and their prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from qponder_lib.training.shared_prefix.memory import PromptLayer

NAME = "shared_prefix_sdpa"
QUERY_BLOCK = 256


@dataclass(frozen=True)
class Piece:
    """Equally many places for each of several sequences, and which tokens they hold.

    Attributes:
        shape: Sequences and places of each.
        index: Token at each place, flat; None where tokens and places coincide.
        taken: Places that hold a token, flat; None where all do.
    """

    shape: tuple[int, int]
    index: torch.Tensor | None
    taken: torch.Tensor | None

    @classmethod
    def build(cls, lengths: Sequence[int], device: torch.device) -> Piece:
        """Places for sequences of these lengths that stand one after another."""
        longest = max(lengths)
        if min(lengths) == longest:
            return cls((len(lengths), longest), None, None)
        length = torch.tensor(lengths, device=device)
        start = length.cumsum(0) - length
        place = torch.arange(longest, device=device)
        valid = place < length[:, None]
        index = (start[:, None] + place).where(valid, 0)
        return cls(valid.shape, index.flatten(), valid.flatten().nonzero()[:, 0])

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens x heads x width to sequences x heads x places x width."""
        held = tokens if self.index is None else tokens.index_select(0, self.index)
        return held.view(*self.shape, *tokens.shape[1:]).transpose(1, 2)

    def gather(self, places: torch.Tensor) -> torch.Tensor:
        """Sequences x heads x places x width to tokens x heads x width."""
        flat = places.transpose(1, 2).flatten(0, 1)
        return flat if self.taken is None else flat.index_select(0, self.taken)


@dataclass(frozen=True)
class Layout:
    """Where prompts and answers lie in a packed sequence; takes the place of an attention mask.

    Attributes:
        n_prefix: Tokens of all prompts.
        prefix: Places of the prompts.
        answers: Places of the answers.
        group: The prompt of each answer.
        blocks: First query, last query and mask (of all query heads of a key head) of each block
            of an answer's queries.
    """

    n_prefix: int
    prefix: Piece
    answers: Piece
    group: torch.Tensor
    blocks: tuple[tuple[int, int, torch.Tensor], ...]

    @classmethod
    def build(
        cls,
        prefix_lengths: Sequence[int],
        answer_lengths: Sequence[int],
        group: Sequence[int],
        query_groups: int,
        device: torch.device,
    ) -> Layout:
        """The layout of prompts one after another, followed by answers one after another.

        Args:
            prefix_lengths: Tokens of each prompt.
            answer_lengths: Tokens of each answer.
            group: The prompt of each answer.
            query_groups: Query heads per key head.
            device: Where the tensors go.
        """
        prefix = Piece.build(prefix_lengths, device)
        answers = Piece.build(answer_lengths, device)
        owner = torch.tensor(group, device=device)
        length = torch.tensor(prefix_lengths, device=device)[owner]
        if prefix.index is None:
            length = length[:1]
        seen = torch.arange(prefix.shape[1], device=device) < length[:, None]
        place = torch.arange(answers.shape[1], device=device)
        blocks = []
        for first in range(0, answers.shape[1], QUERY_BLOCK):
            last = min(first + QUERY_BLOCK, answers.shape[1])
            own = place[:last] <= place[first:last, None]
            mask = torch.cat(
                [
                    seen[:, None, None].expand(-1, 1, last - first, -1),
                    own.expand(len(seen), 1, -1, -1),
                ],
                dim=-1,
            )
            blocks.append((first, last, mask.repeat(1, 1, query_groups, 1)))
        return cls(sum(prefix_lengths), prefix, answers, owner, tuple(blocks))


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
    asking, own_key, own_value = (layout.answers.spread(part[layout.n_prefix :]) for part in flat)
    keys = torch.cat([mine.index_select(0, layout.group), own_key], dim=2)
    values = torch.cat([its.index_select(0, layout.group), own_value], dim=2)
    tail = _attend_in_blocks(asking, keys, values, layout, scaling)
    return torch.cat([layout.prefix.gather(head), layout.answers.gather(tail)])[None], None


def _attend_in_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    scaling: float | None,
) -> torch.Tensor:
    """Answers to prompt and answer; a block of queries meets no key that comes after it.

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

"""What a layer remembers while answers are sampled: each prompt once, each answer for itself."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import DynamicLayer

GROWTH = 64


class PromptLayer(DynamicLayer):
    """Keys and values of one layer: prompts once per group, answers once per row.

    ``update`` returns the layer itself where transformers expects a tensor of keys; the attention
    function that is registered for shared prefixes knows it.

    Args:
        keys: Of the prompts, groups x key heads x tokens x width. ``values`` alike.
        values: See ``keys``.
        seen: True at the prompts' tokens, groups x tokens; None if there is no padding.
        n: Answers per prompt.
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
        """Append one step of the answers."""
        if self.used == self.keys.shape[2]:
            room = (0, 0, 0, self.used)
            self.keys, self.values = pad(self.keys, room), pad(self.values, room)
        self.keys[:, :, self.used] = key_states[:, :, 0]
        self.values[:, :, self.used] = value_states[:, :, 0]
        self.used += 1
        return self, None

    def get_seq_length(self) -> int:
        """Tokens of a prompt and of an answer so far."""
        return self.prompt_keys.shape[2] + self.used

    def keep(self, held: torch.Tensor, rows: torch.Tensor) -> None:
        """Forget answers that have ended.

        Args:
            held: Which of the answers held so far stay.
            rows: Their places among all answers, group after group.
        """
        self.keys, self.values, self.rows = self.keys[held], self.values[held], rows

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """One new token of each held answer against its prompt and its answer so far.

        The queries of a group are stacked, so that a prompt's keys are read once for all of them.

        Args:
            query: Answers x query heads x 1 x width.
            scaling: Factor on the logits.

        Returns:
            Answers x 1 x query heads x width.
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
        """Answers x heads x queries x width to groups x heads x (n queries) x width."""
        groups, shape = len(self.prompt_keys), held.shape[1:]
        if self.rows is not None:
            held = held.new_zeros(groups * self.n, *shape).index_copy_(0, self.rows, held)
        return held.view(groups, self.n, *shape).transpose(1, 2).flatten(2, 3)

    def _unstack(self, stacked: torch.Tensor) -> torch.Tensor:
        """The other way round."""
        every = stacked.unflatten(2, (self.n, -1)).transpose(1, 2).flatten(0, 1)
        return every if self.rows is None else every[self.rows]

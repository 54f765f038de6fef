"""The vision tower of Qwen2.5-VL, with two steps done in a way that suits a CPU.

transformers attends once per image (or window) in a Python loop, and cuts patches with a 3-d
convolution although they arrive already cut. Images of one size give sequences of one length,
which can be stacked and, being short, need no flash kernel (its backward pass is slow on a CPU);
the convolution of a single patch is a matrix product. Weights, names and
results stay the same.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionPatchEmbed

NAME = "stacked_flash_sdpa"
"""Holds "flash" so that the tower passes the sequence boundaries instead of splitting itself."""


def stacked_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a packed batch.

    Args:
        module: The calling attention module; unused, part of the interface.
        query: 1 x heads x tokens x width. ``key`` and ``value`` alike.
        key: See ``query``.
        value: See ``query``.
        attention_mask: Must be None; the tower never masks.
        cu_seq_lens_q: Boundaries of the sequences among the tokens, shape (sequences + 1,).
        scaling: Factor on the logits; default 1 / sqrt(width).

    Returns:
        1 x tokens x heads x width, and None for the weights.
    """
    lengths = (cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]).tolist()
    if len(set(lengths)) == 1:
        _, heads, tokens, width = query.shape
        shape = (heads, len(lengths), lengths[0], width)
        first, second, third = (part[0].reshape(shape) for part in (query, key, value))
        factor = width**-0.5 if scaling is None else scaling
        weights = (first * factor @ second.transpose(-1, -2)).softmax(-1).to(third.dtype)
        out = (weights @ third).permute(1, 2, 0, 3)
        return out.reshape(1, tokens, heads, width), None
    pieces = [
        scaled_dot_product_attention(*parts, scale=scaling)
        for parts in zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, stacked_attention)


class LinearPatchEmbed(Qwen2_5_VisionPatchEmbed):
    """Patch embedding as one matrix product, with the weights of the convolution."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Embed patches that are already cut: (patches, values) to (patches, width)."""
        weight = self.proj.weight
        return linear(hidden_states.to(weight.dtype), weight.flatten(1), self.proj.bias)


def use_fast_vision(model: torch.nn.Module) -> torch.nn.Module:
    """Switch a built Qwen2.5-VL to stacked attention and linear patch embedding.

    The attention is set after construction: at construction transformers would take its name for
    a flash kernel to be downloaded.

    Returns:
        The same model.
    """
    tower = model.get_submodule("model.visual")
    tower.config._attn_implementation_internal = NAME
    tower.patch_embed.__class__ = LinearPatchEmbed
    return model

"""Whole groups in each part of a batch whose gradients are accumulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.utils import (
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

ROW = "row_as_sampled"
"""Name under which a batch carries each row's place among the rows as they were sampled."""
INDIFFERENT = {"grpo", "dr_grpo", "dapo"}
"""Losses whose sum over the parts of a batch is the same however rows fall into parts."""


def regroup(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the rows of equally large parts back into the order in which they were sampled.

    TRL shuffles rows before it cuts a batch into parts, which tears groups apart.

    Args:
        parts: Batches with the tensors, lists and scalars that TRL buffers, and ``ROW``.
    """
    split = [split_pixel_values_by_grid(part) for part in parts]
    order = torch.cat([part[ROW] for part in split]).argsort().tolist()
    whole = {name: _joined([part[name] for part in split], order) for name in split[0]}
    return [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(whole, len(split))]


def _joined(values: list[Any], order: list[int]) -> Any:
    if values[0] is None or (torch.is_tensor(values[0]) and values[0].ndim == 0):
        return values[0]
    if torch.is_tensor(values[0]):
        return torch.cat(values)[order]
    rows = [row for value in values for row in value]
    return [rows[place] for place in order]

"""A batch of prompts and completions as one sequence in which each prompt stands once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import (
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from qponder_lib.training.shared_prefix.attention import Layout

ROW = "row_as_sampled"
"""Name under which a batch carries each row's place among the rows as they were sampled."""


@dataclass(frozen=True)
class Prompt:
    """One row's prompt without padding.

    Attributes:
        ids: Token ids, shape (tokens,).
        grids: Patches of each image along time, height and width, shape (images, 3); or None.
        pixels: Patches of all images, shape (patches, values); or None.
    """

    ids: torch.Tensor
    grids: torch.Tensor | None = None
    pixels: torch.Tensor | None = None

    def equals(self, other: Prompt) -> bool:
        """Whether tokens and pixels are the same, value for value."""
        if self.pixels is None or other.pixels is None:
            return self.pixels is other.pixels and torch.equal(self.ids, other.ids)
        pairs = ((self.ids, other.ids), (self.grids, other.grids), (self.pixels, other.pixels))
        return all(torch.equal(one, two) for one, two in pairs)


@dataclass(frozen=True)
class Batch:
    """Rows of prompts and completions without padding.

    Attributes:
        prompts: Prompt of each row.
        completions: Token ids of each row.
        first: The first row of each group of rows with one prompt.
        group: The group of each row.
    """

    prompts: list[Prompt]
    completions: list[torch.Tensor]
    first: list[int]
    group: list[int]

    @classmethod
    def of(cls, prompts: list[Prompt], completions: list[torch.Tensor]) -> Batch:
        """Group the rows by their prompts."""
        group = find_groups(prompts)
        return cls(prompts, completions, [group.index(one) for one in range(max(group) + 1)], group)

    @property
    def shares(self) -> bool:
        """Whether any two rows share their prompt."""
        return len(self.first) < len(self.group)


def find_groups(prompts: Sequence[Prompt]) -> list[int]:
    """Number rows by prompt and images, compared value for value.

    Args:
        prompts: One prompt per row, in any order.

    Returns:
        The group of each row; groups are numbered in the order of their first rows.
    """
    known: list[Prompt] = []
    found: list[int] = []
    for prompt in prompts:
        # The newest group first: rows of a group mostly follow one another.
        numbers = reversed(range(len(known)))
        group = next((one for one in numbers if known[one].equals(prompt)), len(known))
        if group == len(known):
            known.append(prompt)
        found.append(group)
    return found


def split_images(
    pixel_values: torch.Tensor | None,
    image_grid_thw: torch.Tensor | None,
    num_images: Sequence[int] | None,
    n_rows: int,
) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """Give each row its image grids and patches, in that order; None where it has no image."""
    if pixel_values is None or image_grid_thw is None:
        return [(None, None)] * n_rows
    counts = [1] * n_rows if num_images is None else list(num_images)
    grids = image_grid_thw.split(counts)
    patches = pixel_values.split([int(grid.prod(-1).sum()) for grid in grids])
    return [
        (grid, patch) if len(grid) else (None, None)
        for grid, patch in zip(grids, patches, strict=True)
    ]


def images_of(prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
    """The images of all prompts as a model takes them; empty without images."""
    shown = [prompt for prompt in prompts if prompt.pixels is not None]
    if not shown:
        return {}
    pixels, grids = zip(*((prompt.pixels, prompt.grids) for prompt in shown), strict=True)
    return {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.cat(grids)}


def unpad(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    n_completion: int,
    images: dict[str, Any],
) -> tuple[list[Prompt], list[torch.Tensor]] | None:
    """Take the padding out of left-padded prompts and right-padded completions.

    Args:
        input_ids: Prompts and completions, shape (rows, tokens).
        attention_mask: 1 where ``input_ids`` holds a token.
        n_completion: Length of the completion part.
        images: ``pixel_values``, ``image_grid_thw`` and ``num_images`` where there are images.

    Returns:
        Prompts and completions of the rows, or None if padding lies elsewhere or a prompt is too
        short to be shared.
    """
    lengths = attention_mask[:, -n_completion:].sum(1)
    places = torch.arange(n_completion, device=lengths.device)
    if not torch.equal(attention_mask[:, -n_completion:].bool(), places < lengths[:, None]):
        return None
    kept = attention_mask[:, :-n_completion].bool()
    cut = split_images(
        images.get("pixel_values"),
        images.get("image_grid_thw"),
        images.get("num_images"),
        len(input_ids),
    )
    prompts = [
        Prompt(row[mask], *image)
        for row, mask, image in zip(input_ids[:, :-n_completion], kept, cut, strict=True)
    ]
    if min(len(one.ids) for one in prompts) < 2 or not lengths.any():
        return None
    completions = [
        row[:length]
        for row, length in zip(input_ids[:, -n_completion:], lengths.tolist(), strict=True)
    ]
    return prompts, completions


@dataclass(frozen=True)
class PackedBatch:
    """Model inputs of a packed batch, and where its tokens' results belong.

    Attributes:
        inputs: Arguments of the model's forward.
        n_prefix: Tokens of all prompts together; the completions come after them.
        valid: Which places of the rows x completion length table hold a token.
    """

    inputs: dict[str, Any]
    n_prefix: int
    valid: torch.Tensor

    def table(self, values: torch.Tensor) -> torch.Tensor:
        """Lay results, shape (1, tokens), out as rows x completion length; 0 elsewhere."""
        return values.new_zeros(self.valid.shape).masked_scatter(
            self.valid, values[0, self.n_prefix :]
        )


def pack(
    batch: Batch, n_completion: int, query_groups: int, positions: Callable[[Prompt], torch.Tensor]
) -> PackedBatch:
    """Lay a batch out as one sequence: each prompt without its last token, then the completions.

    A completion is the last token of its prompt and all of its own tokens but the last, so that
    each place predicts the next token of its own row.

    Args:
        batch: Rows without padding.
        n_completion: Length of the completion part of the result.
        query_groups: Query heads per key head.
        positions: Gives a prompt's rotary positions, shape (3, tokens).
    """
    shared = [batch.prompts[row] for row in batch.first]
    places = [positions(prompt) for prompt in shared]
    tokens = [prompt.ids[:-1] for prompt in shared]
    spots = [place[:, :-1] for place in places]
    device = shared[0].ids.device
    lengths = [len(completion) for completion in batch.completions]
    for completion, group in zip(batch.completions, batch.group, strict=True):
        tokens.append(torch.cat([shared[group].ids[-1:], completion])[: len(completion)])
        steps = torch.arange(len(completion), device=device)
        spots.append(places[group][:, -1:] + steps)
    n_prefix = sum(len(prompt.ids) - 1 for prompt in shared)
    ids = torch.cat(tokens)[None]
    targets = torch.full_like(ids, -100)
    targets[0, n_prefix:] = torch.cat(batch.completions)
    layout = Layout.build(
        [len(prompt.ids) - 1 for prompt in shared],
        lengths,
        batch.group,
        query_groups,
        device,
    )
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": {"full_attention": layout},
        "position_ids": torch.cat(spots, dim=1)[:, None],
        "shift_labels": targets,
        **images_of(shared),
    }
    valid = (
        torch.arange(n_completion, device=device) < torch.tensor(lengths, device=device)[:, None]
    )
    return PackedBatch(inputs, n_prefix, valid)


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

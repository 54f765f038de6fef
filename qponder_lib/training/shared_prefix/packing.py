"""A batch of prompts and answers as one sequence in which each prompt stands once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from qponder_lib.training.shared_prefix.attention import Layout
from qponder_lib.training.shared_prefix.groups import Groups, Prompt, find_groups, split_images

Positions = Callable[[Prompt], torch.Tensor]
"""Gives a prompt's rotary positions, shape (3, tokens)."""


@dataclass(frozen=True)
class Batch:
    """Rows of prompts and answers without padding."""

    prompts: list[Prompt]
    answers: list[torch.Tensor]
    groups: Groups

    @classmethod
    def of(cls, prompts: list[Prompt], answers: list[torch.Tensor]) -> Batch:
        """Group the rows by their prompts."""
        return cls(prompts, answers, find_groups(prompts))

    def part(self, rows: slice) -> Batch:
        """Some of the rows."""
        return Batch(self.prompts[rows], self.answers[rows], self.groups.part(rows))


@dataclass(frozen=True)
class Packed:
    """Model inputs of a packed batch, and where its tokens' results belong.

    Attributes:
        inputs: Arguments of the model's forward.
        n_prefix: Tokens of all prompts together; the answers come after them.
        valid: Which places of the rows x answer length table hold a token.
    """

    inputs: dict[str, Any]
    n_prefix: int
    valid: torch.Tensor

    def table(self, values: torch.Tensor) -> torch.Tensor:
        """Lay per-token results, shape (1, tokens), out as rows x answer length; 0 elsewhere."""
        return values.new_zeros(self.valid.shape).masked_scatter(
            self.valid, values[0, self.n_prefix :]
        )


def unpad(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    n_answer: int,
    images: dict[str, Any],
) -> Batch | None:
    """Take the padding out of left-padded prompts and right-padded answers.

    Args:
        input_ids: Prompts and answers, shape (rows, tokens).
        attention_mask: 1 where ``input_ids`` holds a token.
        n_answer: Length of the answer part.
        images: ``pixel_values``, ``image_grid_thw`` and ``num_images`` where there are images.

    Returns:
        The rows, or None if padding lies elsewhere or a prompt is too short to be shared.
    """
    lengths = attention_mask[:, -n_answer:].sum(1)
    places = torch.arange(n_answer, device=lengths.device)
    if not torch.equal(attention_mask[:, -n_answer:].bool(), places < lengths[:, None]):
        return None
    kept = attention_mask[:, :-n_answer].bool()
    cut = split_images(
        images.get("pixel_values"),
        images.get("image_grid_thw"),
        images.get("num_images"),
        len(input_ids),
    )
    prompts = [
        Prompt(row[mask], *image)
        for row, mask, image in zip(input_ids[:, :-n_answer], kept, cut, strict=True)
    ]
    if min(len(one.ids) for one in prompts) < 2 or not lengths.any():
        return None
    answers = [
        row[:length] for row, length in zip(input_ids[:, -n_answer:], lengths.tolist(), strict=True)
    ]
    return Batch.of(prompts, answers)


def pack(batch: Batch, n_answer: int, query_groups: int, positions: Positions) -> Packed:
    """Lay a batch out as one sequence: each prompt without its last token, then the answers.

    An answer is the last token of its prompt and all of its own tokens but the last, so that each
    place predicts the next token of its own row.

    Args:
        batch: Rows without padding.
        n_answer: Length of the answer part of the result.
        query_groups: Query heads per key head.
        positions: Gives a prompt's rotary positions.
    """
    shared = [batch.prompts[row] for row in batch.groups.first]
    places = [positions(prompt) for prompt in shared]
    tokens = [prompt.ids[:-1] for prompt in shared]
    spots = [place[:, :-1] for place in places]
    device = shared[0].ids.device
    lengths = [len(answer) for answer in batch.answers]
    for answer, group in zip(batch.answers, batch.groups.of_row, strict=True):
        tokens.append(torch.cat([shared[group].ids[-1:], answer])[: len(answer)])
        steps = torch.arange(len(answer), device=device)
        spots.append(places[group][:, -1:] + steps)
    n_prefix = sum(len(prompt.ids) - 1 for prompt in shared)
    ids = torch.cat(tokens)[None]
    targets = torch.full_like(ids, -100)
    targets[0, n_prefix:] = torch.cat(batch.answers)
    layout = Layout.build(
        [len(prompt.ids) - 1 for prompt in shared],
        lengths,
        batch.groups.of_row,
        query_groups,
        device,
    )
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": {"full_attention": layout},
        "position_ids": torch.cat(spots, dim=1)[:, None],
        "shift_labels": targets,
    }
    pictured = [prompt for prompt in shared if prompt.pixels is not None]
    if pictured:
        inputs["pixel_values"] = torch.cat([prompt.pixels for prompt in pictured])
        inputs["image_grid_thw"] = torch.cat([prompt.grids for prompt in pictured])
    valid = torch.arange(n_answer, device=device) < torch.tensor(lengths, device=device)[:, None]
    return Packed(inputs, n_prefix, valid)


def chunks(n_rows: int, size: int | None) -> Sequence[slice]:
    """The slices of at most ``size`` rows in which TRL goes through a batch."""
    step = size or n_rows
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]

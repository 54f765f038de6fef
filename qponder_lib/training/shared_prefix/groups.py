"""Which rows of a batch share prompt and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

WORD = {2: torch.int16, 4: torch.int32, 8: torch.int64}


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
        pairs = ((self.ids, other.ids), (self.grids, other.grids), (self.pixels, other.pixels))
        return all(
            one is None and two is None if one is None or two is None else torch.equal(one, two)
            for one, two in pairs
        )


@dataclass(frozen=True)
class Groups:
    """Groups of rows, in the order of their first rows.

    Attributes:
        first: The first row of each group.
        of_row: The group of each row.
    """

    first: tuple[int, ...]
    of_row: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """Whether any two rows share their prompt."""
        return len(self.first) < len(self.of_row)

    def part(self, rows: slice) -> Groups:
        """The groups among some of the rows, numbered anew."""
        first: dict[int, int] = {}
        for row, group in enumerate(self.of_row[rows]):
            first.setdefault(group, row)
        number = {group: place for place, group in enumerate(first)}
        return Groups(tuple(first.values()), tuple(number[group] for group in self.of_row[rows]))


def find_groups(prompts: Sequence[Prompt]) -> Groups:
    """Group rows by prompt and images, compared value for value.

    Args:
        prompts: One prompt per row, in any order.
    """
    marks = _pixel_marks(prompts)
    known: dict[tuple[object, ...], list[int]] = {}
    first: list[int] = []
    of_row: list[int] = []
    for row, prompt in enumerate(prompts):
        alike = known.setdefault((tuple(prompt.ids.tolist()), marks[row]), [])
        group = next((one for one in alike if prompts[first[one]].equals(prompt)), None)
        if group is None:
            group = len(first)
            first.append(row)
            alike.append(group)
        of_row.append(group)
    return Groups(tuple(first), tuple(of_row))


def _pixel_marks(prompts: Sequence[Prompt]) -> list[int | None]:
    """A number per row that differs wherever its pixels nearly surely do, to compare few rows."""
    pictured = [one.pixels.contiguous() for one in prompts if one.pixels is not None]
    sums = [pixels.view(WORD[pixels.element_size()]).sum() for pixels in pictured]
    found = iter(torch.stack(sums).tolist() if sums else [])
    return [None if one.pixels is None else next(found) for one in prompts]


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

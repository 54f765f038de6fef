"""Rows of all processes of a training run, for rewards that compare images."""

from __future__ import annotations

from typing import TypeVar

from torch import distributed

Row = TypeVar("Row")


def gather_rows(rows: list[Row]) -> tuple[list[Row], slice]:
    """Collect rows from every process, in the order of the processes.

    TRL calls reward functions with the answers of one process. A group may be spread over two of
    them, and rewards that compare images need those of all.

    Args:
        rows: Rows of this process; anything that can be pickled.

    Returns:
        The rows of all processes, the same list everywhere, and where those of this one stand.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows, slice(0, len(rows))
    parts: list[list[Row]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, rows)
    start = sum(len(part) for part in parts[: distributed.get_rank()])
    return [row for part in parts for row in part], slice(start, start + len(rows))

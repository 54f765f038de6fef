"""Checkpoints of the warm-up: a run of half an hour that is cut short goes on where it was."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

STATE_NAME = "state.pt"


def save_state(
    out: Path,
    modules: dict[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    rows: list[dict[str, Any]],
) -> None:
    """Write weights, optimiser and history; a kill leaves the checkpoint before it whole."""
    state = {name: module.state_dict() for name, module in modules.items()}
    state |= {"optimizer": optimizer.state_dict(), "rows": rows}
    partial = out / f"{STATE_NAME}.partial"
    torch.save(state, partial)
    partial.replace(out / STATE_NAME)


def load_state(
    out: Path, modules: dict[str, torch.nn.Module], optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, Any]]]:
    """Load the last checkpoint into modules and optimiser, if there is one.

    Returns:
        The optimiser steps done and the history so far: 0 and [] without a checkpoint.
    """
    if not (out / STATE_NAME).is_file():
        return 0, []
    state = torch.load(out / STATE_NAME, weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
    optimizer.load_state_dict(state["optimizer"])
    done = max(int(one["step"]) for one in state["optimizer"]["state"].values())
    return done, state["rows"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the history as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["step"])
        writer.writeheader()
        writer.writerows(rows)

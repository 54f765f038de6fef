"""How a run tells where it is: progress lines, durations, paths."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from qponder_lib import paths

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Show where a notebook is: one line kept up to date on a terminal, plain lines elsewhere."""

    def __init__(self, label: str, notebook: Path) -> None:
        """Count the cells that papermill will number (it adds one with the parameters)."""
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        self.n_cells = len(cells) + 1
        self.label, self.last = label, ""
        self.started = self.shown = time.monotonic()
        self.live = sys.stdout.isatty()

    def __call__(self, cell: int, line: str) -> None:
        """Take note of a printed line and show it if it is time."""
        self.last = line.strip() or self.last
        now = time.monotonic()
        if now - self.shown < (0.5 if self.live else _SECONDS_BETWEEN_LINES):
            return
        self.shown = now
        text = f"  {self.label}  cell {cell}/{self.n_cells}  {clock(now - self.started)}"
        text += f"  {self.last[:100]}" if self.last else ""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]:<{width}}", end="", flush=True)
        else:
            print(text, flush=True)

    def finish(self) -> None:
        """Clear the line."""
        if self.live:
            print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="")


def shown(path: Path) -> str:
    """Return a path relative to the repository, since absolute ones name the machine."""
    return Path(os.path.relpath(path, paths.repository_root())).as_posix()


def clock(seconds: float) -> str:
    """Return a duration as people say it.

    Example:
        >>> clock(61.4)
        '1 min 01 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

"""How far a long loop is: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Self

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts finished images and their states.

    Args:
        n_total: Images in all.
        n_before: Images that were finished before.
        shown: False counts in silence.
        who: Who is asked.
    """

    def __init__(
        self, n_total: int, n_before: int, *, shown: bool = True, who: str = "teacher"
    ) -> None:
        self._who = who
        self._n_total, self._n_before = n_total, n_before
        self._states: Counter[str] = Counter()
        self._began = self._last_line = time.monotonic()
        on_terminal = shown and sys.stderr.isatty()
        self._lines = shown and not on_terminal
        self._bar = tqdm(
            total=n_total, initial=n_before, unit="image", desc=who, disable=not on_terminal
        )

    def step(self, state: str) -> None:
        """Count one more image that ended in `state`."""
        self._states[state] += 1
        self._bar.update()
        troubles = {name: n for name, n in self._states.items() if name != "stop"}
        if troubles and not self._bar.disable:
            self._bar.set_postfix(troubles, refresh=False)
        if self._lines and time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        n_now = self._states.total()
        per_second = n_now / max(self._last_line - self._began, 1e-9)
        n_done = self._n_before + n_now
        left = (self._n_total - n_done) / per_second if n_now else 0.0
        counts = ", ".join(f"{name} {n}" for name, n in sorted(self._states.items()))
        print(
            f"{self._who}: {n_done} of {self._n_total} images, {per_second:.1f}/s, "
            f"about {left:.0f} s left ({counts or 'nothing to ask'})",
            flush=True,
        )

    def __enter__(self) -> Self:
        """Return the counter itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Say where it ended, also when it ended early."""
        self._bar.close()
        if self._lines:
            self._print_line()

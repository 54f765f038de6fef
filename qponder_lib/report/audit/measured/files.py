"""Reads the files of a run that decide claims, as numbers with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from qponder_lib import artifacts
from qponder_lib.artifacts import ArtifactError
from qponder_lib.data.prepared import prepared_sets
from qponder_lib.paths import RunPaths

PAPER_SETS = {
    "koniq": "KonIQ",
    "spaq": "SPAQ",
    "livew": "LiveW",
    "kadid": "KADID",
    "csiq": "CSIQ",
    "agiqa": "AGIQA",
}
"""The public sets by the name a run gives them, and the columns of Table 1 that they are."""
PAPER_MODEL = "Qwen2.5-VL-7B"
MEAN = "mean"

Row = dict[str, str | None]


class NotMeasured(LookupError):
    """A file or row that a claim needs is not there; the message says which."""


@dataclass(frozen=True)
class Number:
    """A measured number and its interval, both ends None if it has none."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return it as readers see it."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (no interval)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def above_zero(self) -> bool | None:
        """Whether it is above or below nought; None if the interval holds both."""
        if self.low is None or self.high is None:
            return None
        return True if self.low > 0 else False if self.high < 0 else None

    def __neg__(self) -> Number:
        """Turn its direction round."""
        ends = (None if end is None else -end for end in (self.high, self.low))
        return Number(-self.value, *ends)

    def __sub__(self, other: Number) -> Number:
        """Return the difference with the widest interval that the two intervals allow."""
        if None in (self.low, self.high, other.low, other.high):
            return Number(self.value - other.value, None, None)
        return Number(self.value - other.value, self.low - other.high, self.high - other.low)


class RunFiles:
    """The files of a run folder or of a reference folder, which has the same layout.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = RunPaths(root)
        self._read: dict[Path, list[Row]] = {}

    def rows(self, path: Path) -> list[Row]:
        """Read a CSV of the run.

        Raises:
            NotMeasured: If there is no such file.
            ArtifactError: If it is not a CSV of the kit.
        """
        if path not in self._read:
            if not path.is_file():
                raise NotMeasured(f"{self.relative(path)} is not there")
            self._read[path] = artifacts.read_csv(path)
        return self._read[path]

    def relative(self, path: Path) -> str:
        """Return a path below the folder as readers see it."""
        return path.relative_to(self.root).as_posix()

    def number(self, path: Path, column: str = "value", **names: str) -> Number:
        """Return the number of the one row with these values.

        Args:
            path: A CSV of the run with columns `ci_low` and `ci_high`, or with `<column>_low`
                and `<column>_high`.
            column: The column that holds it.
            names: Values by column.

        Raises:
            NotMeasured: If there is no such row, or it holds no number; the message has the
                reason that the file gives.
            ArtifactError: If there are several such rows or a cell is no number.
        """
        found = [r for r in self.rows(path) if all(r.get(k) == v for k, v in names.items())]
        told = ", ".join(names.values())
        if not found:
            raise NotMeasured(f"{self.relative(path)} has no row for {told}")
        if len(found) > 1:
            raise ArtifactError(f"{path}: {len(found)} rows for {told}, expected one")
        row = found[0]
        value = self._float(path, row, column)
        if value is None:
            reason = row.get("reason") or "no reason given"
            raise NotMeasured(f"{self.relative(path)} has no number for {told}: {reason}")
        ends = ("ci_low", "ci_high") if column == "value" else (f"{column}_low", f"{column}_high")
        return Number(value, *(self._float(path, row, end) for end in ends))

    @staticmethod
    def _float(path: Path, row: Row, column: str) -> float | None:
        text = row.get(column)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError as error:
            raise ArtifactError(f"{path}, column {column}: {text!r} is no number") from error
        if not math.isfinite(value):
            raise ArtifactError(f"{path}, column {column}: {text!r} is not finite")
        return value

    def difference(self, one: str, other: str, metric: str, dataset: str = MEAN) -> Number:
        """Return how two models differ, greedy answers and raw scores, paired on images."""
        return self.number(
            self.paths.differences,
            model_a=one,
            model_b=other,
            metric=metric,
            dataset=dataset,
            decoding="greedy",
            protocol="raw",
        )

    def score(self, model: str, metric: str, dataset: str = MEAN) -> Number:
        """Return a model's score, greedy answers, raw."""
        return self.number(
            self.paths.scores,
            model=model,
            metric=metric,
            dataset=dataset,
            decoding="greedy",
            protocol="raw",
        )

    def column(self, path: Path, name: str) -> list[float]:
        """Return the numbers of a column of a history, in the order of its steps; gaps left out.

        Raises:
            NotMeasured: If the file or the column is not there.
        """
        rows = self.rows(path)
        if not rows or name not in rows[0]:
            raise NotMeasured(f"{self.relative(path)} has no column {name}")
        values = [self._float(path, row, name) for row in rows]
        return [value for value in values if value is not None]

    @cached_property
    def profile(self) -> dict[str, Any]:
        """The profile of the run as plain values; empty if the folder has none."""
        if not self.paths.profile.is_file():
            return {}
        loaded = yaml.safe_load(self.paths.profile.read_text(encoding="utf-8"))
        return loaded if isinstance(loaded, dict) else {}

    @property
    def smaller_than_the_paper(self) -> Sequence[str]:
        """What of the run is not the paper's setting, in words; empty if nothing is."""
        data, student = self.profile.get("data") or {}, self.profile.get("student") or {}
        sets = frozenset((self.profile.get("predict") or {}).get("sets") or ())
        told = []
        if data.get("source") != "prepared" or not sets >= set(PAPER_SETS):
            told.append("other image sets")
        elif any(one.n_whole is not None for one in prepared_sets(self.paths)):
            told.append("few images of each set")
        if PAPER_MODEL not in str(student.get("model", "")):
            told.append(f"model {student.get('model', 'not known')}")
        return told

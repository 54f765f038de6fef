"""The form of a finding: what was checked, where, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["consistent", "disagrees", "notable", "undecidable"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked in a table.

    Attributes:
        check: What kind of check, such as average or scale.
        table: Name of the table.
        where: Row and column.
        outcome: consistent; disagrees: no rounding explains it; notable: possible, but worth a
            look; undecidable: the file does not hold what the check needs.
        sentence: What was found, for readers.
    """

    check: str
    table: str
    where: str
    outcome: Outcome
    sentence: str

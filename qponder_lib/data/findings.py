"""What is wrong or worth knowing about a copy of an image set: kind, file, row, words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["error", "warning", "note"]
Kind = Literal[
    # label files
    "missing_file",
    "unreadable_table",
    "encoding",
    "bom",
    "crlf",
    "spaces",
    "delimiter",
    "columns",
    "cells",
    "layout",
    # labels
    "missing_label",
    "not_a_number",
    "comma_decimal",
    "off_scale",
    "duplicate_name",
    "inconsistent",
    "count",
    "range",
    "anchor",
    "wrong_direction",
    # images
    "missing_image",
    "ambiguous_image",
    "outside_root",
    "empty_image",
    "truncated_image",
    "invalid_image",
    "oversized_image",
    "extreme_aspect",
    "duplicate_image",
    "rotated",
    "transparent",
    # splits
    "shared_image",
    "shared_reference",
]


class Finding(BaseModel):
    """One thing found.

    Attributes:
        kind: Its name.
        level: error: the copy is not as published or cannot be read; warning: look at it;
            note: dealt with, and said so.
        message: What came and what was expected.
        file: The file, relative to the root where it lies below it.
        row: Line of a text file, row of a sheet, or number of an entry of a mat or JSON file,
            all counted from 1; None where the finding is about a whole file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Kind
    level: Level
    message: str
    file: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        """Return the finding as one line."""
        row = "" if self.row is None else f", row {self.row}"
        where = "" if self.file is None else f"{self.file}{row}: "
        return f"{where}{self.message}"


class DatasetError(ValueError):
    """A copy of a set cannot be used; the message names file and row of what is wrong."""

    def __init__(self, what: str, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        shown = [f"  {one.kind}: {one}" for one in self.findings[:10]]
        more = len(self.findings) - len(shown)
        shown += [f"  and {more} more"] if more > 0 else []
        super().__init__("\n".join([what, *shown]))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that make a copy unusable or unlike the published set."""
    return [one for one in findings if one.level == "error"]

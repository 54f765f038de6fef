"""The rows of `cases/cases.jsonl`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from qponder_lib.records import ImageRecord, Record, Text
from qponder_lib.report.cases.statements import Standing


class StatementRow(Record):
    """A stretch of an answer; see `statements.Statement`."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    standing: Standing
    why: str


class CaseAnswer(Record):
    """What one model said about the image of a case."""

    model: str
    score: float | None
    parse_status: str
    text: Text
    statements: tuple[StatementRow, ...]

    @model_validator(mode="after")
    def _statements_are_the_text(self) -> Self:
        place = 0
        for statement in self.statements:
            if statement.start != place or statement.end < place:
                raise ValueError(f"statements leave a gap at character {place}")
            place = statement.end
        if place != len(self.text):
            raise ValueError(f"statements end at {place}, the text at {len(self.text)}")
        return self


class Case(Record):
    """One image with what several models said about it.

    Attributes:
        number: From 1, in the order of the rule.
        rule: Why this image.
        change: Absolute error of the later model minus that of the earlier one, MOS units; None
            if one of them could not be read.
        image: The image's row.
        picture: Its copy, relative to `cases/`.
        tags_complete: Whether its tags name all damage that was done to it.
        answers: What was said, models in the order of the tables.
    """

    number: int = Field(ge=1)
    rule: str
    change: float | None
    image: ImageRecord
    picture: str
    tags_complete: bool
    answers: tuple[CaseAnswer, ...]

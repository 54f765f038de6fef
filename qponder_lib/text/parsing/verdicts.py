"""Reading the three ratings of a judge by the rules of Table 6."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from qponder_lib.text.parsing.tags import ASCII_SPACE

VerdictStatus = Literal["ok", "judge_parse_failure"]
VERDICT_FIELDS = ("Completeness", "Accuracy", "Reasonableness")
VERDICT_LOW, VERDICT_HIGH = 1, 5
_VERDICT_TAG = re.compile(r"</?(?:Completeness|Accuracy|Reasonableness)>")


@dataclass(frozen=True, slots=True)
class ParsedVerdict:
    """What a judge says by the rules of Table 6; None in all three unless the status is "ok"."""

    completeness: int | None
    accuracy: int | None
    reasonableness: int | None
    status: VerdictStatus
    reason: str | None = None


def parse_verdict(text: str | None, *, finish_reason: str = "stop") -> ParsedVerdict:
    """Read the three ratings of a judge, all of them or none.

    Args:
        text: The judge's completion alone.
        finish_reason: Why generation ended; "length" means at the token limit.

    Returns:
        Three integers from 1 to 5, or status "judge_parse_failure" with one of the reasons
        "empty", "truncated", "missing", "repeated", "not_an_integer", "out_of_range".

    Source:
        Q-Ponder, Table 6. Its scale is 1 to 5; section 3.1 says 0 to 5. The prompt decides.

    Example:
        >>> parse_verdict(
        ...     "<Completeness>3</Completeness><Accuracy>4</Accuracy>"
        ...     "<Reasonableness>5</Reasonableness>"
        ... )
        ParsedVerdict(completeness=3, accuracy=4, reasonableness=5, status='ok', reason=None)
        >>> parse_verdict("A fine answer, five out of five.").reason
        'missing'
    """
    if text is None or not text.strip():
        return _no_verdict("empty")
    if finish_reason == "length":
        return _no_verdict("truncated")
    ratings = {}
    for name, content in _verdict_fields(text):
        if name in ratings:
            return _no_verdict("repeated")
        ratings[name] = content
    if set(ratings) != set(VERDICT_FIELDS):
        return _no_verdict("missing")
    values = []
    for name in VERDICT_FIELDS:
        content = ratings[name].strip(ASCII_SPACE)
        if not re.fullmatch(r"[0-9]{1,4}", content, re.ASCII):
            return _no_verdict("not_an_integer")
        values.append(int(content))
    if not all(VERDICT_LOW <= value <= VERDICT_HIGH for value in values):
        return _no_verdict("out_of_range")
    return ParsedVerdict(*values, status="ok")


def _verdict_fields(text: str) -> list[tuple[str, str]]:
    """List (name, content) of closed rating tags; an unclosed or crossed tag yields nothing."""
    fields = []
    opened: re.Match[str] | None = None
    for tag in _VERDICT_TAG.finditer(text):
        if not tag.group().startswith("</"):
            opened = tag
        elif opened is not None:
            name = tag.group()[2:-1]
            if name == opened.group()[1:-1]:
                fields.append((name, text[opened.end() : tag.start()]))
            opened = None
    return fields


def _no_verdict(reason: str) -> ParsedVerdict:
    return ParsedVerdict(None, None, None, "judge_parse_failure", reason)

"""The only reader of model text: what an answer says, or by name why it says nothing.

Every function reads its text once, so that hostile megabytes cost milliseconds.
"""

from qponder_lib.text.parsing.answers import (
    PARSE_STATUSES,
    ParsedAnswer,
    ParsedScores,
    ParseStatus,
    parse_answer,
    parse_scores,
    read_answer,
    to_mos,
)
from qponder_lib.text.parsing.form import has_numbers_format, is_format_compliant
from qponder_lib.text.parsing.tags import storable_text
from qponder_lib.text.parsing.verdicts import (
    VERDICT_FIELDS,
    VERDICT_HIGH,
    VERDICT_LOW,
    ParsedVerdict,
    VerdictStatus,
    parse_verdict,
)

__all__ = [
    "PARSE_STATUSES",
    "VERDICT_FIELDS",
    "VERDICT_HIGH",
    "VERDICT_LOW",
    "ParseStatus",
    "ParsedAnswer",
    "ParsedScores",
    "ParsedVerdict",
    "VerdictStatus",
    "has_numbers_format",
    "is_format_compliant",
    "parse_answer",
    "parse_scores",
    "parse_verdict",
    "read_answer",
    "storable_text",
    "to_mos",
]

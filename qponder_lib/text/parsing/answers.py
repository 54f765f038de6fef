"""Reading the scores that a student or a teacher states.

Rules, in the order in which they apply:

1. Text inside ``<think>...</think>`` is reasoning. An answer there is no answer. A ``</think>``
   that was never opened closes reasoning that the chat template opened.
2. Outside, every complete ``<answer>...</answer>`` pair counts. Different answers are ambiguous;
   the same number twice is one answer.
3. A tag left open, or a completion cut at the token limit that does not end in ``</answer>``,
   is truncated: what would have followed is unknown.
4. A score is a plain ASCII decimal number and nothing else. A number outside the scale is
   rejected, never clipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from qponder_lib.scales import MOS_MAX, MOS_MIN, linear_rescale
from qponder_lib.text.parsing.tags import ASCII_SPACE, TAG
from qponder_lib.text.prompts import AnswerForm

ParseStatus = Literal[
    "ok",  # one score on the scale
    "empty",  # no text, or only white space
    "no_answer",  # no complete answer pair outside the reasoning
    "ambiguous",  # answers that differ
    "truncated",  # a tag left open, or cut at the token limit
    "not_a_number",  # words, fractions, percent signs, ranges, exponents, nan, inf, 1_0
    "not_ascii",  # digits, signs or invisible characters outside ASCII
    "out_of_range",  # a number that is not on the scale
    "wrong_count",  # plain numbers, but not as many as the several asked for
]
PARSE_STATUSES: tuple[str, ...] = get_args(ParseStatus)

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_NUMBER_MAX_CHARS = 64  # float() of a million digits is slow, and no score needs them
_SPACES = re.compile(f"[{ASCII_SPACE}]+")


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What one completion says.

    Attributes:
        score: The stated score, or None unless the status is "ok".
        status: "ok", or the reason why there is no score.
        think: Text of the closed reasoning block without its tags, or None if there is none.
    """

    score: float | None
    status: ParseStatus
    think: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedScores:
    """What one completion says that was asked for several scores; None unless "ok"."""

    scores: tuple[float, ...] | None
    status: ParseStatus
    think: str | None = None

    @property
    def mean(self) -> float | None:
        """Return the mean of the scores, or None if there are none."""
        return None if self.scores is None else sum(self.scores) / len(self.scores)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The tagged parts of a text, in order."""

    answers: tuple[str, ...]
    think: str | None
    open_tag: bool


def parse_answer(
    text: str | None,
    *,
    finish_reason: str = "stop",
    low: float = MOS_MIN,
    high: float = MOS_MAX,
) -> ParsedAnswer:
    """Read the score that a completion states.

    Args:
        text: The completion alone, never prompt and completion together.
        finish_reason: Why generation ended; "length" means at the token limit.
        low: Lowest valid score.
        high: Highest valid score.

    Returns:
        The score with status "ok", or no score and the reason.

    Example:
        >>> parse_answer("<think>A little soft.</think><answer>62.5</answer>")
        ParsedAnswer(score=62.5, status='ok', think='A little soft.')
        >>> parse_answer("<answer>101</answer>").status
        'out_of_range'
        >>> parse_answer("<think>I would say <answer>62</answer></think>").status
        'no_answer'
    """
    parsed = parse_scores(text, 1, finish_reason=finish_reason, low=low, high=high)
    return ParsedAnswer(parsed.scores[0] if parsed.scores else None, parsed.status, parsed.think)


def parse_scores(
    text: str | None,
    n_scores: int,
    *,
    finish_reason: str = "stop",
    low: float,
    high: float,
) -> ParsedScores:
    r"""Read the several scores that a completion states, all of them or none.

    Args:
        text: The completion alone, never prompt and completion together.
        n_scores: How many numbers the answer is to hold, white space between them.
        finish_reason: Why generation ended; "length" means at the token limit.
        low: Lowest valid score.
        high: Highest valid score.

    Returns:
        The scores in their order with status "ok", or none and the reason. Nothing is filled in:
        an answer with four of five numbers says nothing.

    Example:
        >>> parse_scores("<answer>3.5\n4</answer>", 2, low=1, high=5).scores
        (3.5, 4.0)
        >>> parse_scores("<answer>3.5</answer>", 2, low=1, high=5).status
        'wrong_count'
    """
    if text is None or not text.strip():
        return ParsedScores(None, "truncated" if finish_reason == "length" else "empty")
    blocks = _read_blocks(text)
    cut_off = finish_reason == "length" and not text.rstrip().endswith("</answer>")
    if blocks.open_tag or cut_off:
        return ParsedScores(None, "truncated", blocks.think)
    if not blocks.answers:
        return ParsedScores(None, "no_answer", blocks.think)
    readings = {_read_numbers(answer, n_scores, low, high) for answer in blocks.answers}
    if len(readings) > 1:
        return ParsedScores(None, "ambiguous", blocks.think)
    scores, status = readings.pop()
    return ParsedScores(scores, status, blocks.think)


def read_answer(text: str | None, form: AnswerForm, *, finish_reason: str = "stop") -> ParsedAnswer:
    r"""Read the one score, 0 to 100, of an answer in the form that its prompt asked for.

    Args:
        text: The completion alone.
        form: From `prompts.answer_form`.
        finish_reason: Why generation ended; "length" means at the token limit.

    Returns:
        The mean of the stated scores on the 0 to 100 scale, or no score and the reason.

    Example:
        >>> from qponder_lib.text.prompts import answer_form
        >>> read_answer("<answer>3\n4\n3\n4\n3.50</answer>", answer_form("preresq_image")).score
        62.5
    """
    parsed = parse_scores(
        text, form.n_scores, finish_reason=finish_reason, low=form.low, high=form.high
    )
    if parsed.scores is None:
        return ParsedAnswer(None, parsed.status, parsed.think)
    return ParsedAnswer(to_mos(parsed.scores, form), "ok", parsed.think)


def to_mos(scores: tuple[float, ...], form: AnswerForm) -> float:
    """Return the mean of stated scores on the 0 to 100 scale.

    Example:
        >>> to_mos((1.0, 5.0), AnswerForm(2, 1.0, 5.0, 2))
        50.0
    """
    mean = min(max(sum(scores) / len(scores), form.low), form.high)  # rounding may pass an end
    if (form.low, form.high) == (MOS_MIN, MOS_MAX):
        return mean
    return linear_rescale(mean, (form.low, form.high))


def _read_blocks(text: str) -> _Blocks:
    """Walk over the tags once; `opened` is the tag that waits to be closed."""
    answers: list[str] = []
    think: str | None = None
    ever_thought = False
    opened: re.Match[str] | None = None
    for tag in TAG.finditer(text):
        name = tag.group()
        if opened is not None:
            if name != opened.group().replace("<", "</"):
                continue
            content = text[opened.end() : tag.start()]
            if name == "</answer>":
                answers.append(content)
            elif think is None:
                think = content.strip()
            opened = None
        elif name in ("<think>", "<answer>"):
            opened = tag
            ever_thought = ever_thought or name == "<think>"
        elif name == "</think>" and not ever_thought:
            think, ever_thought = text[: tag.start()].strip(), True
            answers.clear()
    return _Blocks(tuple(answers), think, opened is not None)


def _read_numbers(
    content: str, n_scores: int, low: float, high: float
) -> tuple[tuple[float, ...] | None, ParseStatus]:
    stripped = content.strip(ASCII_SPACE)
    if not stripped.isascii():
        return None, "not_ascii"
    if len(stripped) > _NUMBER_MAX_CHARS * n_scores:
        return None, "not_a_number"
    words = _SPACES.split(stripped)
    if not all(_NUMBER.fullmatch(word) for word in words):
        return None, "not_a_number"
    if len(words) != n_scores:
        return None, "wrong_count" if n_scores > 1 else "not_a_number"
    values = tuple(float(word) + 0.0 for word in words)  # "-0" becomes 0.0
    if not all(low <= value <= high for value in values):
        return None, "out_of_range"
    return values, "ok"

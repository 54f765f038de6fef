"""The only reader of model text: what an answer says, or by name why it says nothing.

Rules, in the order in which they apply:

1. Text inside ``<think>...</think>`` is reasoning. An answer there is no answer. A ``</think>``
   that was never opened closes reasoning that the chat template opened.
2. Outside, every complete ``<answer>...</answer>`` pair counts. Different answers are ambiguous;
   the same number twice is one answer.
3. A tag left open, or a completion cut at the token limit that does not end in ``</answer>``,
   is truncated: what would have followed is unknown.
4. A score is a plain ASCII decimal number and nothing else. A number outside the scale is
   rejected, never clipped.

Every function here reads its text once, so that hostile megabytes cost milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from qponder_lib.prompts import AnswerForm
from qponder_lib.scales import MOS_MAX, MOS_MIN, linear_rescale

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

VerdictStatus = Literal["ok", "judge_parse_failure"]
VERDICT_FIELDS = ("Completeness", "Accuracy", "Reasonableness")
VERDICT_LOW, VERDICT_HIGH = 1, 5

_TAG = re.compile(r"</?(?:think|answer)>")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_NUMBER_MAX_CHARS = 64  # float() of a million digits is slow, and no score needs them
_ASCII_SPACE = " \t\r\n\f\v"
_SPACES = re.compile(f"[{_ASCII_SPACE}]+")
_UNSIGNED = re.compile(r"[0-9]+\.?[0-9]*", re.ASCII)
_VERDICT_TAG = re.compile(r"</?(?:Completeness|Accuracy|Reasonableness)>")


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
class ParsedVerdict:
    """What a judge says by the rules of Table 6; None in all three unless the status is "ok"."""

    completeness: int | None
    accuracy: int | None
    reasonableness: int | None
    status: VerdictStatus
    reason: str | None = None


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
        >>> from qponder_lib.prompts import answer_form
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


def has_numbers_format(text: str | None, n_numbers: int, *, last_line_ends: bool = False) -> bool:
    r"""Say whether a completion is ``<think>`` and then ``<answer>`` with one number per line.

    Whether a number lies on the scale is not looked at, nor what the reasoning holds.

    Args:
        text: The completion alone.
        n_numbers: Unsigned decimal numbers in the answer.
        last_line_ends: Require a line end after the last number too.

    Returns:
        True if the whole text has that form.

    Source:
        PreResQ-R1, format reward of the released code: a full match of a regular expression, read
        in one pass here.

    Example:
        >>> has_numbers_format("<think>Soft.</think>\n<answer>3.10\n4</answer>", 2)
        True
        >>> has_numbers_format("<think>Soft.</think>\n<answer>3.10 4</answer>", 2)
        False
    """
    if text is None or not text.startswith("<think>") or not text.endswith("</answer>"):
        return False
    reasoning, opened, rest = text[len("<think>") :].rpartition("<answer>")
    if not opened or not reasoning.rstrip().endswith("</think>"):
        return False
    lines = rest.removesuffix("</answer>").split("\n")
    if last_line_ends and lines[-1].strip():
        return False
    numbers = [line.strip() for line in lines if line.strip()]
    return len(numbers) == n_numbers and all(_UNSIGNED.fullmatch(one) for one in numbers)


def is_format_compliant(text: str | None) -> bool:
    r"""Say whether a completion is exactly one reasoning block and then one answer block.

    Both blocks must hold something: an empty ``<think></think>`` would earn the format reward
    without reasoning. Nothing but white space may stand around them. What the answer says is not
    looked at, as in the paper: that is the accuracy reward's matter.

    Args:
        text: The completion alone.

    Returns:
        True if the completion is format-compliant.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 6 and the sentence before it.

    Example:
        >>> is_format_compliant("<think>Soft edges.</think>\n<answer>62</answer>")
        True
        >>> is_format_compliant("<answer>62</answer><think>Soft edges.</think>")
        False
    """
    if text is None:
        return False
    expected = ["<think>", "</think>", "<answer>", "</answer>"]
    tags = []
    for tag in _TAG.finditer(text):
        tags.append(tag)
        if len(tags) > len(expected):
            return False
    if [tag.group() for tag in tags] != expected:
        return False
    open_think, close_think, open_answer, close_answer = tags
    outside = (
        text[: open_think.start()]
        + text[close_think.end() : open_answer.start()]
        + text[close_answer.end() :]
    )
    reasoning = text[open_think.end() : close_think.start()]
    answer = text[open_answer.end() : close_answer.start()]
    return not outside.strip() and bool(reasoning.strip()) and bool(answer.strip())


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
        content = ratings[name].strip(_ASCII_SPACE)
        if not re.fullmatch(r"[0-9]{1,4}", content, re.ASCII):
            return _no_verdict("not_an_integer")
        values.append(int(content))
    if not all(VERDICT_LOW <= value <= VERDICT_HIGH for value in values):
        return _no_verdict("out_of_range")
    return ParsedVerdict(*values, status="ok")


def storable_text(text: str) -> str:
    r"""Make model text safe to write as UTF-8: lone surrogates become visible escapes.

    Example:
        >>> storable_text("sharp\ud800")
        'sharp\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_blocks(text: str) -> _Blocks:
    """Walk over the tags once; `opened` is the tag that waits to be closed."""
    answers: list[str] = []
    think: str | None = None
    ever_thought = False
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
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
    stripped = content.strip(_ASCII_SPACE)
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

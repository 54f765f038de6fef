"""The only reader of model text: what a completion says, or by name why it is unparsed.

Rules for scores, in the order in which they apply:

1. Text inside ``<think>...</think>`` is reasoning. An answer there is no answer, nor is a tag
   mentioned there. A ``</think>`` that was never opened closes reasoning that the chat template
   opened.
2. Outside, every complete ``<answer>...</answer>`` pair counts. Different answers are ambiguous;
   the same number twice is one answer.
3. A tag left open, or a completion cut at the token limit that does not end in ``</answer>``,
   is truncated: what would have followed is unknown.
4. A score is a plain ASCII decimal number and nothing else. A number outside the scale is
   rejected, never clipped. Where several are asked for, all are read or none.

Every function reads its text once, so that hostile megabytes cost milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from qponder_lib.artifacts import ArtifactError, loads_strict
from qponder_lib.records import ASPECTS, Aspect
from qponder_lib.text.prompts import ONE_SCORE, AnswerForm

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

_TAG = re.compile(r"</?(?:think|answer)>")
_ASCII_SPACE = " \t\r\n\f\v"
_SPACES = re.compile(f"[{_ASCII_SPACE}]+")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_UNSIGNED = re.compile(r"[0-9]+\.?[0-9]*", re.ASCII)
_NUMBER_MAX_CHARS = 64  # float() of a million digits is slow, and no score needs them
_THINK_TAG = re.compile(r"</?think>")
_FENCED = re.compile(r"```\w*\s*((?:(?!```).)*)```", re.DOTALL)
_VERDICT_TAG = re.compile(r"</?(?:Completeness|Accuracy|Reasonableness)>")
_RATINGS = range(1, 6)


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What one completion says.

    Attributes:
        score: The mean of the stated scores, 0 to 100, or None unless the status is "ok".
        status: "ok", or the reason why there is no score.
        think: Text of the closed reasoning block without its tags, or None if there is none.
        scores: The scores as stated, on the scale of the prompt, in their order; or None.
    """

    score: float | None
    status: ParseStatus
    think: str | None = None
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class ParsedVerdict:
    """What a judge says: a rating from 1 to 5 for each aspect, or the reason why there are none."""

    ratings: dict[Aspect, int] | None
    reason: str | None = None


def parse_answer(
    text: str | None, form: AnswerForm = ONE_SCORE, *, finish_reason: str = "stop"
) -> ParsedAnswer:
    r"""Read the score that a completion states, in the form that its prompt asked for.

    Args:
        text: The completion alone, never prompt and completion together.
        form: From `prompts.answer_form`: how many scores, on which scale.
        finish_reason: Why generation ended; "length" means at the token limit.

    Returns:
        The score with status "ok", or no score and the reason. Nothing is filled in: a completion
        with four of five numbers says nothing.

    Example:
        >>> parse_answer("<think>A little soft.</think><answer>62.5</answer>")
        ParsedAnswer(score=62.5, status='ok', think='A little soft.', scores=(62.5,))
        >>> parse_answer("<answer>101</answer>").status
        'out_of_range'
        >>> parse_answer("<think>I would say <answer>62</answer></think>").status
        'no_answer'
        >>> from qponder_lib.text.prompts import answer_form
        >>> parse_answer("<answer>3\n4\n3\n4\n3.50</answer>", answer_form("preresq_image")).score
        62.5
    """
    if text is None or not text.strip():
        return ParsedAnswer(None, "truncated" if finish_reason == "length" else "empty")
    answers, think, open_tag = _blocks(text)
    cut_off = finish_reason == "length" and not text.rstrip().endswith("</answer>")
    if open_tag or cut_off:
        return ParsedAnswer(None, "truncated", think)
    if not answers:
        return ParsedAnswer(None, "no_answer", think)
    readings = {_read_numbers(answer, form) for answer in answers}
    if len(readings) > 1:
        return ParsedAnswer(None, "ambiguous", think)
    scores, status = readings.pop()
    return ParsedAnswer(form.to_mos(*scores) if scores else None, status, think, scores)


def _blocks(text: str) -> tuple[list[str], str | None, bool]:
    """Find answers outside the reasoning, the reasoning, and whether a tag is left open.

    The tags are walked over once; `opened` is the one that waits to be closed.
    """
    answers: list[str] = []
    think: str | None = None
    ever_thought = think_in_answer = False
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        name = tag.group()
        if name == "</think>" and not ever_thought and not think_in_answer:
            # The chat template opened this reasoning; answer tags before it were mentioned.
            think, ever_thought, opened = text[: tag.start()].strip(), True, None
            answers.clear()
        elif opened is not None:
            if name != opened.group().replace("<", "</"):
                think_in_answer = name == "<think>" or think_in_answer
                continue
            content = text[opened.end() : tag.start()]
            if name == "</answer>":
                answers.append(content)
            elif think is None:
                think = content.strip()
            opened, think_in_answer = None, False
        elif name in ("<think>", "<answer>"):
            opened = tag
            ever_thought = ever_thought or name == "<think>"
    return answers, think, opened is not None


def _read_numbers(content: str, form: AnswerForm) -> tuple[tuple[float, ...] | None, ParseStatus]:
    stripped = content.strip(_ASCII_SPACE)
    if not stripped.isascii():
        return None, "not_ascii"
    if len(stripped) > _NUMBER_MAX_CHARS * form.n_scores:
        return None, "not_a_number"
    words = _SPACES.split(stripped)
    if not all(_NUMBER.fullmatch(word) for word in words):
        return None, "not_a_number"
    if len(words) != form.n_scores:
        return None, "wrong_count" if form.n_scores > 1 else "not_a_number"
    values = tuple(float(word) + 0.0 for word in words)  # "-0" becomes 0.0
    if not all(form.low <= value <= form.high for value in values):
        return None, "out_of_range"
    return values, "ok"


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
    expected = ["<think>", "</think>", "<answer>", "</answer>"]
    tags = []
    for tag in _TAG.finditer(text or ""):
        tags.append(tag)
        if len(tags) > len(expected):
            return False
    if [tag.group() for tag in tags] != expected:
        return False
    ends = [0, *(place for tag in tags for place in tag.span()), len(text)]
    pieces = [text[start:end].strip() for start, end in zip(ends[::2], ends[1::2], strict=True)]
    before, reasoning, between, answer, behind = pieces
    return bool(reasoning and answer) and not (before or between or behind)


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


def parse_verdict(
    text: str | None,
    answer_format: Literal["json_schema", "xml"] = "json_schema",
    *,
    finish_reason: str = "stop",
) -> ParsedVerdict:
    """Read the three ratings of a judge, all of them or none.

    Reasoning is left out as for completions: what stands in ``<think>...</think>``, or before a
    ``</think>`` that the chat template opened.

    Args:
        text: The judge's completion alone.
        answer_format: "xml", the form that Table 6 asks for, anywhere in the text; or
            "json_schema", one JSON object with the three aspects as keys and nothing else around
            it but one code fence.
        finish_reason: Why generation ended; "length" means at the token limit.

    Returns:
        Three integers from 1 to 5, or one of the reasons "empty", "truncated", "not_an_integer",
        "out_of_range"; of XML "missing", "repeated"; of JSON "not_one_object", "wrong_keys".

    Source:
        Q-Ponder, Table 6. Its scale is 1 to 5; section 3.1 says 0 to 5. The prompt decides.

    Example:
        >>> parse_verdict('{"completeness": 3, "accuracy": 4, "reasonableness": 5}').ratings
        {'completeness': 3, 'accuracy': 4, 'reasonableness': 5}
        >>> parse_verdict("A fine answer, five out of five.", "xml").reason
        'missing'
    """
    if text is None or not text.strip():
        return ParsedVerdict(None, "empty")
    said = _without_reasoning(text)
    if finish_reason == "length" or said is None:
        return ParsedVerdict(None, "truncated")
    fields, reason = (_xml_fields if answer_format == "xml" else _json_fields)(said)
    if fields is None:
        return ParsedVerdict(None, reason)
    ratings = {aspect: fields[aspect] for aspect in ASPECTS}
    if not all(type(rating) is int for rating in ratings.values()):
        return ParsedVerdict(None, "not_an_integer")
    if not all(rating in _RATINGS for rating in ratings.values()):
        return ParsedVerdict(None, "out_of_range")
    return ParsedVerdict(ratings)


def _without_reasoning(text: str) -> str | None:
    """Leave closed reasoning out; None if a ``<think>`` is left open."""
    kept: list[str] = []
    start, opened = 0, False
    for number, tag in enumerate(_THINK_TAG.finditer(text)):
        if tag.group() == "<think>" and not opened:
            kept.append(text[start : tag.start()])
            opened = True
        elif tag.group() == "</think>" and (opened or number == 0):
            start, opened = tag.end(), False
    return None if opened else "".join([*kept, text[start:]])


def _json_fields(text: str) -> tuple[dict[str, Any] | None, str | None]:
    fenced = _FENCED.fullmatch(text.strip())
    try:
        said = loads_strict((fenced[1] if fenced else text).encode("utf-8", "surrogatepass"), "")
    except ArtifactError:
        return None, "not_one_object"
    if not isinstance(said, dict):
        return None, "not_one_object"
    return (said, None) if set(said) == set(ASPECTS) else (None, "wrong_keys")


def _xml_fields(text: str) -> tuple[dict[str, Any] | None, str | None]:
    """Read closed rating tags; an unclosed or crossed tag yields nothing."""
    fields: dict[str, Any] = {}
    opened: re.Match[str] | None = None
    for tag in _VERDICT_TAG.finditer(text):
        if not tag.group().startswith("</"):
            opened = tag
            continue
        if opened is not None and opened.group() == tag.group().replace("/", ""):
            aspect = opened.group()[1:-1].lower()
            content = text[opened.end() : tag.start()].strip(_ASCII_SPACE)
            if aspect in fields:
                return None, "repeated"
            fields[aspect] = int(content) if re.fullmatch("[0-9]{1,4}", content) else content
        opened = None
    return (fields, None) if set(fields) == set(ASPECTS) else (None, "missing")

"""Training rows: the only module that knows the row format of TRL's trainers.

A row is conversational: `prompt` and `completion` are lists of messages whose contents are plain
strings, and the image stands in the column `image`; the trainer puts it before the user's text.
With prompt and completion apart, the SFT loss covers the completion alone. Other columns, such as
`mos`, reach the reward functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qponder_lib.records import ImageRecord, ResponseRecord
from qponder_lib.scales import MOS_MAX, MOS_MIN, linear_rescale
from qponder_lib.text.parsing import is_format_compliant, parse_answer
from qponder_lib.text.prompts import answer_form, escape_control_tokens, student_messages

Variant = Literal["none", "short", "long"]
SHORT_SHARE = 1 / 3

# Beginnings of words by which a sentence names a defect.
_DEFECT = re.compile(
    r"\b(?:artefact|artifact|band|bleach|block|blown|blur|brighten|cast|clip|coarse|compress|"
    r"crush|damag|darken|degrad|defect|distort|dull|excess|faded|flat|fuzz|glare|grain|haz[ey]|"
    r"jagged|jpeg|lack|loss|lost|low contrast|mosaic|narrow|nois|over-?expos|over-?smooth|pixel|"
    r"ringing|shake|smear|soft|speckl|tint|too bright|too dark|too strong|under-?expos|unsharp|"
    r"wash|weak)",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:no|not|nor|never|none|neither|without|free of|free from|absent|absence|hardly|"
    r"negligible|minimal)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,;:.!?]|\b(?:but|however|although|though|while|yet)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SECTION = re.compile(r"(?<!\S)\(([1-3])\)(?!\S)|^[ \t]*([1-3])[.)](?!\S)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SftFormat:
    """How a kept response becomes a training text.

    Attributes:
        variant: Row of Table 3: "none", "short" or "long".
        prompt_id: One of `prompts.STUDENT_PROMPTS`; the same for all variants, so that they
            differ in the reasoning alone.
        answer_decimals: Digits after the point of the ground truth in ``<answer>``, 0 to 4.
    """

    variant: Variant = "long"
    prompt_id: str = "student_short"
    answer_decimals: int = 0


def answer_text(mos: float, sft_format: SftFormat) -> str:
    r"""Write the ground truth as it is to stand in the answer tag, in the form of the prompt.

    Every aspect states the label, since no aspect has a label of its own (decision D48).

    Args:
        mos: Mean opinion score, 0 to 100.
        sft_format: Prompt and number of decimals; halves go to the even neighbour.

    Raises:
        ValueError: If the score is not on the scale or the digits are out of range.

    Source:
        Q-Ponder's case studies (Appendix D) print four digits; how many were trained on is not
        stated.

    Example:
        >>> answer_text(73.26, SftFormat(answer_decimals=1))
        '73.3'
        >>> answer_text(62.5, SftFormat(prompt_id="preresq_video"))
        '3.50\n3.50\n'
    """
    if not (math.isfinite(mos) and MOS_MIN <= mos <= MOS_MAX):
        raise ValueError(f"expected a score from {MOS_MIN} to {MOS_MAX}, got {mos}")
    if not 0 <= sft_format.answer_decimals <= 4:
        raise ValueError(f"expected 0 to 4 answer decimals, got {sft_format.answer_decimals}")
    form = answer_form(sft_format.prompt_id)
    if (form.low, form.high) == (MOS_MIN, MOS_MAX):
        return f"{mos + 0.0:.{sft_format.answer_decimals}f}"
    label = linear_rescale(mos, (MOS_MIN, MOS_MAX), (form.low, form.high))
    return f"{label:.{form.decimals}f}\n" * form.n_scores


def completion_text(think: str | None, answer: str) -> str:
    r"""Write a completion in the one form that the student learns.

    Args:
        think: The reasoning, or None for an answer alone.
        answer: The score as text.

    Returns:
        The completion; with reasoning it is format-compliant (Eq. 6), without it is not.

    Raises:
        ValueError: If the reasoning is blank or holds tags of its own.

    Example:
        >>> completion_text("Soft edges.", "62")
        '<think>Soft edges.</think>\n<answer>62</answer>'
    """
    if think is None:
        return f"<answer>{answer}</answer>"
    text = f"<think>{think}</think>\n<answer>{answer}</answer>"
    if not is_format_compliant(text):
        raise ValueError(f"reasoning is blank or holds tags of its own: {think[:80]!r}")
    return text


def replace_score(text: str, mos: float, sft_format: SftFormat) -> str:
    r"""Rewrite a teacher's response as the completion to learn: its reasoning, the human score.

    Args:
        text: The response, with a closed ``<think>`` block.
        mos: Ground truth of the image, 0 to 100.
        sft_format: Variant and number of decimals. "long" keeps the whole reasoning, "short"
            what `shorten` keeps of it, "none" nothing: an answer alone, without an empty
            ``<think>`` block.

    Returns:
        The completion, free of control tokens.

    Raises:
        ValueError: If the variant needs reasoning and the text has none that can be used, or if
            the variant is unknown.

    Source:
        Q-Ponder, section 3.2: "By replacing the final score labels with the ground truth";
        variants from section 4.3 and Table 3.

    Example:
        >>> replace_score("<think>Soft.</think><answer>40</answer>", 62.4, SftFormat())
        '<think>Soft.</think>\n<answer>62</answer>'
    """
    answer = answer_text(mos, sft_format)
    if sft_format.variant == "none":
        return completion_text(None, answer)
    think = parse_answer(text).think
    if think is None or not think.strip():
        raise ValueError(f"no closed reasoning in {text[:80]!r}")
    think = escape_control_tokens(think)
    if sft_format.variant == "long":
        return completion_text(think, answer)
    if sft_format.variant == "short":
        return completion_text(shorten(think), answer)
    raise ValueError(f"expected variant none, short or long, got {sft_format.variant!r}")


def shorten(think: str, share: float = SHORT_SHARE) -> str:
    r"""Cut a three-part reasoning down to what it found.

    Kept are the sentences of the low-level part that name a defect (without denying it), in their
    order and as many as fit, and then the first sentence of the last part, which sums up. Where
    nothing is wrong the first low-level sentence is kept instead.

    Args:
        think: Reasoning in the numbered sections of Table 5; unnumbered text is one section.
        share: Share of all sentences that may remain, in (0, 1]; at least two remain.

    Returns:
        Whole sentences of the text, joined by spaces, without section numbers.

    Source:
        Q-Ponder, section 4.3: short chains have 100-200 tokens where long ones have 700-800. How
        they were written is not stated; this rule and the share of one third are ours.

    Example:
        >>> shorten("(1) The light is even. The edges are blurred. There is no noise. Colours "
        ...         "are natural.\n(2) A boat.\n(3) Overall the image is poor. Focus again.")
        'The edges are blurred. Overall the image is poor.'
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"expected a share in (0, 1], got {share}")
    sections = [_sentences(section) for section in _sections(think)]
    n_sentences = sum(len(section) for section in sections)
    budget = max(2, math.ceil(share * n_sentences))
    low_level = sections[0] if len(sections) > 1 else sections[0][:-1]
    summary = sections[-1][0] if len(sections) > 1 else sections[0][-1]
    found = [sentence for sentence in low_level if names_defect(sentence)] or low_level[:1]
    return " ".join([*found[: budget - 1], summary])


def names_defect(sentence: str) -> bool:
    """Say whether a sentence states a defect in a clause that does not deny it.

    Example:
        >>> names_defect("There is no noise, but the edges are blurred.")
        True
        >>> names_defect("There is no visible noise.")
        False
    """
    return any(
        _DEFECT.search(clause) and not _DENIAL.search(clause)
        for clause in _CLAUSE_END.split(sentence)
    )


def _sections(think: str) -> list[str]:
    """Split at the numbers 1, 2, 3 in turn; what stands before the first belongs to it."""
    marks: list[re.Match[str]] = []
    for mark in _SECTION.finditer(think):
        if int(mark[1] or mark[2]) == len(marks) + 1:
            marks.append(mark)
    if len(marks) < 2:
        return [_SECTION.sub("", think)]
    starts = [mark.end() for mark in marks]
    ends = [mark.start() for mark in marks[1:]] + [len(think)]
    sections = [think[start:end] for start, end in zip(starts, ends, strict=True)]
    sections[0] = think[: marks[0].start()] + sections[0]
    return [section for section in sections if section.strip()] or [think]


def _sentences(section: str) -> list[str]:
    return [part.strip() for part in _SENTENCE_END.split(section.strip()) if part.strip()]


def sft_rows(
    responses: Iterable[ResponseRecord],
    images: Mapping[str, ImageRecord],
    load_image: Callable[[ImageRecord], object],
    sft_format: SftFormat,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Turn kept responses into prompt/completion rows.

    Args:
        responses: Kept responses, in the order in which rows are wanted.
        images: Image records by id.
        load_image: Gives the value of the `image` column: a decoded image or its path.
        sft_format: Variant, prompt and decimals.

    Returns:
        One row per response; and by response id the reason of each that gave none: "no_mos" or
        "no_reasoning". Both add up to the responses.

    Raises:
        ValueError: If a response is about an unknown image or the prompt id is unknown.
    """
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for response in responses:
        record = images.get(response.image_id)
        if record is None:
            raise ValueError(f"response about unknown image {response.image_id!r}")
        if record.mos is None:
            skipped[response.response_id] = "no_mos"
        elif sft_format.variant != "none" and not _has_usable_reasoning(response.text):
            skipped[response.response_id] = "no_reasoning"
        else:
            text = replace_score(response.text or "", record.mos, sft_format)
            row = _prompt_row(record, load_image, sft_format.prompt_id)
            rows.append(row | {"completion": [{"role": "assistant", "content": text}]})
    return rows, skipped


def grpo_rows(
    images: Iterable[ImageRecord],
    load_image: Callable[[ImageRecord], object],
    prompt_id: str = "student_short",
) -> list[dict[str, Any]]:
    """Turn labelled images into prompts for reinforcement learning.

    Args:
        images: Image records with a MOS.
        load_image: Gives the value of the `image` column: a decoded image or its path.
        prompt_id: One of `prompts.STUDENT_PROMPTS`; the one that SFT used.

    Returns:
        One row per image, in their order.

    Raises:
        ValueError: If an image has no MOS: it could earn no reward.
    """
    rows = []
    for record in images:
        if record.mos is None:
            raise ValueError(f"image {record.image_id!r} has no mos; GRPO needs one per prompt")
        rows.append(_prompt_row(record, load_image, prompt_id) | {"mos": record.mos})
    return rows


def _prompt_row(
    record: ImageRecord, load_image: Callable[[ImageRecord], object], prompt_id: str
) -> dict[str, Any]:
    prompt, image = student_messages(prompt_id), load_image(record)
    return {"prompt": prompt, "image": image, "image_id": record.image_id}


def _has_usable_reasoning(text: str | None) -> bool:
    """Say whether a text has one closed, non-blank reasoning block without tags inside."""
    think = parse_answer(text).think
    return think is not None and is_format_compliant(f"<think>{think}</think><answer>0</answer>")

"""Whether an answer has the form that the format rewards pay for."""

from __future__ import annotations

import re

from qponder_lib.text.parsing.tags import TAG

_UNSIGNED = re.compile(r"[0-9]+\.?[0-9]*", re.ASCII)


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
    for tag in TAG.finditer(text):
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

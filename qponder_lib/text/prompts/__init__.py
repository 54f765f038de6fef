"""Every prompt of the kit: Table 5 (teacher), Table 6 (judge) and the student prompts.

The paper prints the sections of a prompt as rows of a table. Each row is one constant, word for
word; the functions only put rows together. Text that comes from a model or a data set passes
`neutralise_control_tokens` before it enters a chat template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from qponder_lib.text.prompts.judge import (
    JUDGE_OUTPUT_FORMAT,
    JUDGE_PROMPT_ID,
    JUDGE_SYSTEM,
    JUDGE_TASKS,
    judge_messages,
)
from qponder_lib.text.prompts.messages import (
    Message,
    neutralise_control_tokens,
    neutralise_judge_markup,
)
from qponder_lib.text.prompts.student import (
    PRERESQ_ASPECTS,
    PRERESQ_POOL,
    STUDENT_PROMPT_IDS,
    STUDENT_SHORT,
    AnswerForm,
    answer_form,
    preresq_messages,
    student_messages,
    video_blocks,
)
from qponder_lib.text.prompts.teacher import (
    HIGH_LEVEL_ATTRIBUTES,
    LOW_LEVEL_ATTRIBUTES,
    TEACHER_HINT_PROMPT_ID,
    TEACHER_PROMPT_ID,
    teacher_messages,
    teacher_prompt_id,
)

__all__ = [
    "AnswerForm",
    "HIGH_LEVEL_ATTRIBUTES",
    "JUDGE_OUTPUT_FORMAT",
    "JUDGE_PROMPT_ID",
    "JUDGE_SYSTEM",
    "JUDGE_TASKS",
    "LOW_LEVEL_ATTRIBUTES",
    "Message",
    "PRERESQ_ASPECTS",
    "PRERESQ_POOL",
    "STUDENT_PROMPT_IDS",
    "STUDENT_SHORT",
    "TEACHER_HINT_PROMPT_ID",
    "TEACHER_PROMPT_ID",
    "answer_form",
    "judge_messages",
    "neutralise_control_tokens",
    "neutralise_judge_markup",
    "preresq_messages",
    "prompt_sha256",
    "student_messages",
    "teacher_messages",
    "teacher_prompt_id",
    "video_blocks",
]


def prompt_sha256(prompt: str | Sequence[Message]) -> str:
    """Hash a prompt, so that a changed word is seen in every file it led to.

    Args:
        prompt: A prompt id, whose template is hashed with its placeholders left open; or the
            messages that are really sent.

    Returns:
        The SHA-256 of the messages as canonical JSON, in hexadecimal.

    Raises:
        ValueError: If the id is unknown.

    Example:
        >>> prompt_sha256("student_short") == prompt_sha256(student_messages("student_short"))
        True
    """
    messages = _template(prompt) if isinstance(prompt, str) else list(prompt)
    canonical = json.dumps(messages, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _template(prompt_id: str) -> list[Message]:
    if prompt_id == TEACHER_PROMPT_ID:
        return teacher_messages()
    if prompt_id == TEACHER_HINT_PROMPT_ID:
        return teacher_messages("{distortion_tags}")
    if prompt_id == JUDGE_PROMPT_ID:
        return judge_messages("{student_answer}", "{distortion_tag}")
    return student_messages(prompt_id)

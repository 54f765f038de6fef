"""Table 5 (Appendix A): the prompt of reasoning distillation, for the teacher.

Each row of the printed table is one constant, word for word.
"""

from __future__ import annotations

from collections.abc import Sequence

from qponder_lib.text.prompts.messages import Message, neutralise_control_tokens

TEACHER_PROMPT_ID = "teacher_expert"
TEACHER_HINT_PROMPT_ID = "teacher_expert_hint"

TEACHER_SYSTEM = (
    "You are an expert in image quality and aesthetic evaluation. Your task is to comprehensively "
    "analyze and evaluate image quality based on low-level physical attributes and high-level "
    "aesthetic attributes through detailed, step-by-step chain-of-thought reasoning. Please "
    "strictly follow the judgment criteria below to gradually expand your reasoning and discussion."
)

LOW_LEVEL_NOTE = "Note: These are critical technical factors and must be fully addressed."
LOW_LEVEL_ATTRIBUTES = (
    "Brightness and Exposure",
    "Contrast Evaluation",
    "Sharpness and Detail Preservation",
    "Noise Level (digital vs. compression noise)",
    "Color Performance (WB, saturation, transitions)",
    "Dynamic Range",
    "Distortion and Artifacts (e.g., lens, moiré)",
    "Visual Interference (e.g., glare, weather, clutter)",
)

HIGH_LEVEL_NOTE = "Note: These are supportive attributes, subordinate to low-level analysis."
SPECIAL_RULE = (
    "Special rule: Artistic style may conditionally override low-level flaws, but must not affect "
    "final score."
)
HIGH_LEVEL_ATTRIBUTES = (
    "Subject Clarity (focus, separation)",
    "Composition and Layout (symmetry, rule of thirds, balance)",
    "Emotional Expression and Storytelling",
    "Artistic Style and Creativity",
    "Environment and Background Integration",
    "Context Adaptability (e.g., portrait vs. landscape)",
)

OUTPUT_INSTRUCTION = (
    "Summarize the analysis and provide concrete improvement suggestions. Clearly explain the "
    "reasoning basis and logic. Structure the output into three numbered sections:"
)
OUTPUT_SECTIONS = (
    "Low-level analysis + distortion severity",
    "High-level analysis",
    "Final suggestions",
)
OUTPUT_FORMAT = (
    "Wrap everything in <think>...</think>, followed by a final score in <answer>...</answer> "
    "between 0 and 100."
)

HINT_TEMPLATE = (
    "I will give you a hint: the soft label for this image is [{distortion_tags}], which may "
    "suggest its potential distortion type and severity. You should carefully take this into "
    "account during the low-level attribute analysis."
)


def teacher_prompt_id(hint: str | None) -> str:
    """Name the teacher prompt that is used with or without a distortion hint."""
    return TEACHER_PROMPT_ID if hint is None else TEACHER_HINT_PROMPT_ID


def teacher_messages(hint: str | None = None) -> list[Message]:
    """Write the distillation prompt for one image.

    Args:
        hint: Distortion tags of the image such as ``"Severe_Blur"``, comma-separated when there
            are several, or None for no hint.

    Returns:
        A system and a user message; the image itself is added by whoever sends them.

    Raises:
        ValueError: If the hint is empty: no hint is None, not an empty tag.

    Source:
        Q-Ponder (arXiv:2506.05384), Appendix A, Table 5. The table's first row is the system
        message; the paper does not say how the other rows are joined: blank lines, ours.

    Example:
        >>> [message["role"] for message in teacher_messages("Severe_Blur")]
        ['system', 'user']
        >>> "[Severe_Blur]" in teacher_messages("Severe_Blur")[1]["content"]
        True
    """
    parts = [_criteria()]
    if hint is not None:
        if not hint.strip():
            raise ValueError("hint is empty; expected tags such as 'Severe_Blur', or None")
        safe = neutralise_control_tokens(hint).text
        parts.append(HINT_TEMPLATE.format(distortion_tags=safe))
    return [
        {"role": "system", "content": TEACHER_SYSTEM},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _criteria() -> str:
    """Join the rows of Table 5 between the system prompt and the hint."""
    low = _numbered("Low-Level Attribute Analysis", [LOW_LEVEL_NOTE], LOW_LEVEL_ATTRIBUTES)
    high = _numbered(
        "High-Level Attribute Analysis", [HIGH_LEVEL_NOTE, SPECIAL_RULE], HIGH_LEVEL_ATTRIBUTES
    )
    sections = [f"({number}) {name}" for number, name in enumerate(OUTPUT_SECTIONS, start=1)]
    output = [
        "Comprehensive Evaluation and Output Format",
        OUTPUT_INSTRUCTION,
        *sections,
        OUTPUT_FORMAT,
    ]
    return "\n\n".join([low, high, "\n".join(output)])


def _numbered(title: str, notes: Sequence[str], items: Sequence[str]) -> str:
    lines = [f"{number}. {item}" for number, item in enumerate(items, start=1)]
    return "\n".join([title, *notes, *lines])

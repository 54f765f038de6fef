"""The student's prompts, and the form of the answers that they ask for.

The papers print none: see `student_messages`. PreResQ-R1's released prompts are described; the
words here are ours (decision D48).
"""

from __future__ import annotations

from dataclasses import dataclass

from qponder_lib.scales import ASPECT_SCALE, MOS_MAX, MOS_MIN
from qponder_lib.text.prompts.messages import Message
from qponder_lib.text.prompts.teacher import teacher_messages

STUDENT_SHORT = (
    "Assess the quality of this image. Think step by step, then give a score from 0 to 100."
)

PRERESQ_ASPECTS = ("saturation", "granularity", "sharpness", "foreground", "background")
PRERESQ_SINGLE = (
    "Describe the quality of this image and rate it in five parts, in this order: saturation, "
    "granularity, sharpness, foreground, background."
)
PRERESQ_POOL = (
    PRERESQ_SINGLE,
    "How good is this picture? Look in turn at its saturation, granularity, sharpness, foreground "
    "and background, and rate each.",
    "Judge the visual quality of the image part by part: saturation, granularity, sharpness, "
    "foreground, background. Give every part a score.",
    "Assess this photograph for saturation, granularity, sharpness, foreground and background, in "
    "that order, with a rating for each.",
    "Explain what you see of the image's saturation, granularity, sharpness, foreground and "
    "background, and score all five.",
)
PRERESQ_IMAGE_FORM = (
    "Each score is a number from 1 to 5 with two decimals. Write your reasoning in "
    "<think>...</think>, then the five scores, one per line, in <answer>...</answer>."
)
PRERESQ_VIDEO = (
    "The first picture shows frames of the whole video: describe the scene and how it changes "
    "over time. The other pictures are single frames: describe their saturation, granularity, "
    "sharpness, foreground and background. Then rate the video twice: its global quality over "
    "time, and the local quality of its frames."
)
PRERESQ_VIDEO_FORM = (
    "Each score is a number from 1 to 5 with two decimals. Write your reasoning in "
    "<think>...</think>, then the two scores, each ending its line, in <answer>...</answer>."
)
VIDEO_SHORT = (
    "Assess the quality of this video. Think step by step, then give two scores from 1 to 5: one "
    "for its quality over time, one for its frames."
)
GLOBAL_PICTURE = "Global multiframe picture:"
LOCAL_PICTURE = "Local single frame picture {number}:"
VIDEO_PROMPT_IDS = ("preresq_video", "video_short")
STUDENT_PROMPT_IDS = ("student_short", "student_expert", "preresq_image", *VIDEO_PROMPT_IDS)


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What a prompt asks for: how many scores, on which scale, written with how many decimals."""

    n_scores: int
    low: float
    high: float
    decimals: int


def student_messages(prompt_id: str) -> list[Message]:
    """Write the prompt that the student is trained and evaluated with.

    Args:
        prompt_id: ``"student_short"`` (one sentence, for the mini student),
            ``"student_expert"`` (Table 5 without a hint), ``"preresq_image"`` (five aspects),
            ``"preresq_video"`` (a global and a local score) or ``"video_short"`` (the same in two
            sentences, for the mini student).

    Returns:
        The messages; contents are plain strings, the image is added by the trainer.

    Raises:
        ValueError: If the id is not one of `STUDENT_PROMPT_IDS`.

    Source:
        Q-Ponder section 4.2 guides all models by "the same prompt templates employed during the
        distillation stage": student_expert. student_short: not stated; ours.

    Example:
        >>> student_messages("student_short")[0]["content"][:33]
        'Assess the quality of this image.'
    """
    if prompt_id == "student_short":
        return [{"role": "user", "content": STUDENT_SHORT}]
    if prompt_id == "student_expert":
        return teacher_messages()
    if prompt_id == "preresq_image":
        return preresq_messages(0)
    if prompt_id == "preresq_video":
        text = f"{PRERESQ_VIDEO}\n{PRERESQ_VIDEO_FORM}"
        return [{"role": "user", "content": text}]
    if prompt_id == "video_short":
        return [{"role": "user", "content": VIDEO_SHORT}]
    raise ValueError(f"unknown student prompt {prompt_id!r}; expected one of {STUDENT_PROMPT_IDS}")


def preresq_messages(variant: int) -> list[Message]:
    """Write one of the five prompts for the aspects of an image.

    Args:
        variant: Place in `PRERESQ_POOL`; 0 is the one that stage 2 and scoring use.

    Returns:
        One user message.

    Source:
        PreResQ-R1, released code: five paraphrases in stage 1, one prompt in stage 2. The
        wording is ours (decision D48).

    Example:
        >>> preresq_messages(0) == student_messages("preresq_image")
        True
    """
    return [{"role": "user", "content": f"{PRERESQ_POOL[variant]}\n{PRERESQ_IMAGE_FORM}"}]


def video_blocks(prompt_id: str, n_local: int, *, mosaic: bool = True) -> list[dict[str, str]]:
    """Write the user's message about a clip: each picture behind its name, then the question.

    Args:
        prompt_id: One of `VIDEO_PROMPT_IDS`.
        n_local: Single frames.
        mosaic: The picture of the whole clip comes first; without, there are single frames alone.

    Returns:
        Content blocks of type text, and of type image where a picture belongs.

    Source:
        PreResQ-R1, released code: names and order of the pictures; the question is ours
        (decisions D48, D62).

    Example:
        >>> [block["type"] for block in video_blocks("video_short", 1)]
        ['text', 'image', 'text', 'image', 'text']
    """
    names = [GLOBAL_PICTURE] if mosaic else []
    names += [LOCAL_PICTURE.format(number=number) for number in range(1, n_local + 1)]
    blocks: list[dict[str, str]] = []
    for name in names:
        blocks += [{"type": "text", "text": name}, {"type": "image"}]
    return [*blocks, {"type": "text", "text": student_messages(prompt_id)[0]["content"]}]


def answer_form(prompt_id: str) -> AnswerForm:
    """Return the form of the answers that a student prompt asks for.

    Raises:
        ValueError: If the id is not one of `STUDENT_PROMPT_IDS`.

    Example:
        >>> answer_form("preresq_image")
        AnswerForm(n_scores=5, low=1.0, high=5.0, decimals=2)
    """
    if prompt_id in ("student_short", "student_expert"):
        return AnswerForm(1, MOS_MIN, MOS_MAX, 0)
    if prompt_id in ("preresq_image", *VIDEO_PROMPT_IDS):
        n_scores = len(PRERESQ_ASPECTS) if prompt_id == "preresq_image" else 2
        return AnswerForm(n_scores, *ASPECT_SCALE, 2)
    raise ValueError(f"unknown student prompt {prompt_id!r}; expected one of {STUDENT_PROMPT_IDS}")

"""Table 6 (Appendix B): the prompt by which a judge model rates reasoning.

Each row of the printed table is one constant, word for word.
"""

from __future__ import annotations

from qponder_lib.text.prompts.messages import Message, neutralise_judge_markup

JUDGE_PROMPT_ID = "judge_reasoning"

JUDGE_SYSTEM = (
    "You are an expert image-quality evaluator. Your task is to evaluate the quality of a model’s "
    "reasoning response based on the image and its distortion tag."
)
JUDGE_TASKS = (
    (
        "Completeness",
        "Assess whether the response covers all relevant distortion aspects in the image and "
        "demonstrates multiple evaluation perspectives. Rate on a scale of [1–5].",
    ),
    (
        "Accuracy",
        "Evaluate whether the response correctly identifies key distortions—especially those "
        "relevant to the distortion tag—and whether the severity level is appropriate. Rate on a "
        "scale of [1–5].",
    ),
    (
        "Reasonableness",
        "Check the logical consistency of the reasoning, and ensure it is free from "
        "contradictions, hallucinations, or misjudgments. Rate on a scale of [1–5].",
    ),
)
JUDGE_OUTPUT_FORMAT = (
    "The final output must follow this exact XML-style format:\n"
    "<Completeness>score</Completeness>\n"
    "<Accuracy>score</Accuracy>\n"
    "<Reasonableness>score</Reasonableness>\n"
    "Example:\n"
    "<Completeness>3</Completeness>\n"
    "<Accuracy>4</Accuracy>\n"
    "<Reasonableness>5</Reasonableness>"
)


def judge_messages(student_answer: str, distortion_tag: str) -> list[Message]:
    """Write the prompt by which a judge model rates one reasoning text.

    Args:
        student_answer: The reasoning to be judged; markup in it is neutralised.
        distortion_tag: Severity tag of the image, such as ``"Severe_Blur"``.

    Returns:
        A system and a user message; the image itself is added by whoever sends them.

    Source:
        Q-Ponder (arXiv:2506.05384), Appendix B, Table 6.

    Example:
        >>> "<tag>Severe_Blur</tag>" in judge_messages("blurred", "Severe_Blur")[1]["content"]
        True
    """
    answer = neutralise_judge_markup(student_answer).text
    tag = neutralise_judge_markup(distortion_tag).text
    tasks = [
        f"Task {number}: {name}\n{text}" for number, (name, text) in enumerate(JUDGE_TASKS, start=1)
    ]
    parts = [f"<answer>{answer}</answer>", f"<tag>{tag}</tag>", *tasks, JUDGE_OUTPUT_FORMAT]
    return [
        {"role": "system", "content": JUDGE_SYSTEM},
        {"role": "user", "content": "\n\n".join(parts)},
    ]

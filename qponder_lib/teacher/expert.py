"""The offline teacher: an expert system that measures an image and writes what it measured.

It stands in for the paper's 72B teacher. It never sees a label, so it errs honestly and Eq. 1 has
something to filter; its text says nothing that its measures do not support. The text follows the
three sections of Table 5 and names all eight low-level and all six high-level attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from qponder_lib.teacher import TeacherAnswer
from qponder_lib.teacher.diagnosis import Finding, diagnose, score
from qponder_lib.teacher.measure import Measures, measure

DEFECT_NOUNS = {
    "blur": "blur",
    "motion_blur": "motion blur",
    "noise": "noise",
    "jpeg": "compression blocking",
    "pixelation": "pixelation",
    "low_contrast": "loss of contrast",
    "overexposure": "overexposure",
    "underexposure": "underexposure",
    "color_cast": "color cast",
}

REMEDIES = {
    "blur": "focus more carefully",
    "motion_blur": "hold the camera steady",
    "noise": "reduce the noise",
    "jpeg": "compress less",
    "pixelation": "keep the full resolution",
    "low_contrast": "raise the contrast",
    "overexposure": "expose less",
    "underexposure": "expose longer",
    "color_cast": "correct the white balance",
}

CLEAN = {
    "light": ("The exposure is even.", "Brightness and exposure are balanced."),
    "contrast": ("The contrast is good.", "Tones are well separated."),
    "sharpness": ("Edges are sharp.", "Fine detail is preserved."),
    "noise": ("There is no visible noise.", "Surfaces are clean."),
    "color": ("Colors look natural.", "The white balance is neutral."),
    "range": ("The dynamic range is full.", "Shadows and highlights keep detail."),
    "artifacts": ("There are no artifacts.", "No compression artifacts are seen."),
    "interference": ("No glare or clutter disturbs the view.",),
}
DEFECTIVE = {
    "light": ("The light shows {severity} {noun}.", "There is {severity} {noun}."),
    "contrast": ("Contrast suffers from {severity} {noun}.", "There is {severity} {noun}."),
    "sharpness": ("Sharpness suffers from {severity} {noun}.", "There is {severity} {noun}."),
    "noise": ("The image shows {severity} {noun}.", "There is {severity} {noun}."),
    "color": ("Colors show {article} {severity} {noun}.", "There is {article} {severity} {noun}."),
    "artifacts": ("The image shows {severity} {noun}.", "There is {severity} {noun}."),
}
ATTRIBUTE_OF = {
    "overexposure": "light",
    "underexposure": "light",
    "low_contrast": "contrast",
    "blur": "sharpness",
    "motion_blur": "sharpness",
    "noise": "noise",
    "color_cast": "color",
    "jpeg": "artifacts",
    "pixelation": "artifacts",
}
QUALITY_WORDS = ("bad", "poor", "fair", "good", "excellent")

_NARROW_RANGE, _CLIPPED = 120.0, 0.08
_COLORLESS, _COLORFUL = 0.08, 0.45
_BUSY, _OFF_CENTRE = 1.0, 0.12


class ExpertTeacher:
    """Answers from measurements alone, the same way for the same image and generator.

    Args:
        name: Recorded as the teacher; name another version when thresholds or wording change.
    """

    def __init__(self, name: str = "expert-v1") -> None:
        self.name = name

    def answer(
        self, image: Image.Image, hint: str | None, rng: np.random.Generator
    ) -> TeacherAnswer:
        """Look at an RGB image and reason about it; see `teacher.Teacher`."""
        measures = measure(np.asarray(image))
        findings = diagnose(measures, hint)
        stated = score(findings)
        think = " ".join(
            [
                "(1)",
                *low_level(measures, findings, rng),
                "(2)",
                *high_level(measures, findings),
                "(3)",
                *summary(findings, stated),
            ]
        )
        text = f"<think>{think}</think>\n<answer>{stated:.0f}</answer>"
        return TeacherAnswer(text, len(text.split()))


def low_level(
    measures: Measures, findings: Sequence[Finding], rng: np.random.Generator
) -> list[str]:
    """One or more sentences on each of the eight low-level attributes of Table 5."""
    by_attribute: dict[str, list[Finding]] = {}
    for finding in findings:
        by_attribute.setdefault(ATTRIBUTE_OF[finding.name], []).append(finding)
    sentences = []
    for attribute, clean in CLEAN.items():
        if attribute == "range":
            sentences.append(_range_sentence(measures, rng))
        elif attribute in by_attribute:
            for finding in by_attribute[attribute]:
                pattern = _pick(DEFECTIVE[attribute], rng)
                noun = DEFECT_NOUNS[finding.name]
                severity = finding.severity
                article = "an" if severity == "extreme" else "a"
                sentences.append(pattern.format(article=article, severity=severity, noun=noun))
        else:
            sentences.append(_pick(clean, rng))
    return sentences


def high_level(measures: Measures, findings: Sequence[Finding]) -> list[str]:
    """The six high-level attributes of Table 5, as far as pixels can tell."""
    worst = max((finding.strength for finding in findings), default=0.0)
    subject = "clear" if worst < 0.3 else "weakened" if worst < 0.65 else "hard to see"
    layout = "off center" if measures.balance > _OFF_CENTRE else "balanced"
    mood = "dark" if measures.brightness < 70 else "bright" if measures.brightness > 150 else "calm"
    style = (
        "monochrome"
        if measures.saturation < _COLORLESS
        else "vivid"
        if measures.saturation > _COLORFUL
        else "plain"
    )
    background = "busy" if measures.background_detail > _BUSY else "quiet"
    use = "most" if worst < 0.3 else "some" if worst < 0.65 else "few"
    return [
        f"The subject is {subject}, the composition is {layout}, the mood is {mood}.",
        f"The style is {style}, the background is {background}, and it fits {use} contexts.",
    ]


def summary(findings: Sequence[Finding], stated: float) -> list[str]:
    """The verdict in one word, the main defects, and what to do about them."""
    word = QUALITY_WORDS[min(int(stated / 20), 4)]
    if not findings:
        return [f"Overall the quality is {word}.", "No correction is needed."]
    main = findings[:2]
    nouns = " and ".join(f"{one.severity} {DEFECT_NOUNS[one.name]}" for one in main)
    remedies = " and ".join(REMEDIES[one.name] for one in main)
    return [f"Overall the quality is {word}, with {nouns}.", f"To improve, {remedies}."]


def _range_sentence(measures: Measures, rng: np.random.Generator) -> str:
    clipped = {"shadows": measures.clipped_low, "highlights": measures.clipped_high}
    lost = [end for end, share in clipped.items() if share > _CLIPPED]
    if lost:
        return f"Detail is lost in the {' and '.join(lost)}."
    if measures.contrast < _NARROW_RANGE:
        return "The dynamic range is narrow."
    return _pick(CLEAN["range"], rng)


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]

"""The offline teacher: an expert system that measures an image and writes what it measured.

It stands in for the paper's 72B teacher. It never sees a label, so it errs honestly and Eq. 1 has
something to filter; its text says nothing that its measures do not support. `measure` reads plain
numbers off the pixels, each a textbook statistic with a unit; `diagnose` turns them into defects
with a strength; `ExpertTeacher` writes the three sections of Table 5, with all eight low-level and
all six high-level attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from qponder_lib.data.images import at_least, scaled_down
from qponder_lib.scales import SEVERITIES
from qponder_lib.teacher.responses import Response

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_NEARLY_WHITE, _NEARLY_BLACK = 250, 6
_MAD_TO_SIGMA = 0.6745
_JPEG_BLOCK = 8
_CELL = 16
MIN_SIDE = 32
"""Of an image that can be measured, px."""


@dataclass(frozen=True)
class Measures:
    """Measures of one image.

    Attributes:
        brightness: Mean luma, grey levels 0 to 255.
        clipped_high: Share of channel values at or above 250, 0 to 1.
        clipped_low: Share of channel values at or below 6, 0 to 1.
        contrast: Distance between the 2nd and 98th percentile of luma, grey levels.
        edge_width: Typical width of edges, px; grows with blur.
        edge_anisotropy: How much wider edges are along one direction, 1 = equal; grows with motion.
        noise: Robust deviation of the finest detail where the image is calmest, grey levels.
        blockiness: Mean luma step across the 8-px grid over the mean step inside blocks, 1 = none.
        flat_runs: Share of horizontal neighbours that are equal, 0 to 1; grows with pixelation.
        cast: Largest distance of a channel's mean from the mean of all, relative to it.
        saturation: Mean of (maximum - minimum) over maximum of the channels, 0 to 1.
        balance: Distance of the centre of detail from the middle, share of the half diagonal.
        background_detail: Mean luma step in the border over that in the middle.
    """

    brightness: float
    clipped_high: float
    clipped_low: float
    contrast: float
    edge_width: float
    edge_anisotropy: float
    noise: float
    blockiness: float
    flat_runs: float
    cast: float
    saturation: float
    balance: float
    background_detail: float


def measure(image: Pixels) -> Measures:
    """Measure an image.

    Args:
        image: H x W x 3, uint8, at least 32 px on each side.

    Returns:
        The measures.

    Raises:
        ValueError: If the image is too small or not RGB uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected H x W x 3 uint8 pixels, got {image.shape} {image.dtype}")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(f"expected at least {MIN_SIDE} px on each side, got {image.shape[:2]}")
    values = image.astype(np.float32)
    luma = values @ _LUMA
    low, high = np.percentile(luma, (2, 98))
    means = values.mean(axis=(0, 1))
    largest, smallest = values.max(axis=2), values.min(axis=2)
    width, anisotropy = _edge_width(luma)
    balance, background = _layout(luma)
    return Measures(
        brightness=float(luma.mean()),
        clipped_high=float((image >= _NEARLY_WHITE).mean()),
        clipped_low=float((image <= _NEARLY_BLACK).mean()),
        contrast=float(high - low),
        edge_width=width,
        edge_anisotropy=anisotropy,
        noise=_noise(luma),
        blockiness=_blockiness(luma),
        flat_runs=float((np.abs(np.diff(luma, axis=1)) < 0.5).mean()),
        cast=float(np.abs(means - means.mean()).max() / max(float(means.mean()), 1.0)),
        saturation=float(((largest - smallest) / np.maximum(largest, 1.0)).mean()),
        balance=balance,
        background_detail=background,
    )


def _noise(luma: Plane) -> float:
    """Deviation of the finest diagonal Haar detail in the calmest fifth of the 16-px cells."""
    height, width = (side // _CELL * _CELL for side in luma.shape)
    cut = luma[:height, :width]
    diagonal = (cut[::2, ::2] - cut[1::2, ::2] - cut[::2, 1::2] + cut[1::2, 1::2]) / 2.0
    half = _CELL // 2
    cells = np.abs(diagonal).reshape(height // _CELL, half, width // _CELL, half)
    return float(np.percentile(np.median(cells, axis=(1, 3)), 20)) / _MAD_TO_SIGMA


def _edge_width(luma: Plane) -> tuple[float, float]:
    """Local luma range over the steepest slope at strong edges, for four directions.

    A step between two flat areas that is ``w`` px wide has a slope of range / w.
    """
    widths = []
    for down, right in ((0, 1), (1, 1), (1, 0), (1, -1)):
        shifted = np.roll(luma, (-down, -right), axis=(0, 1))
        step = np.abs(shifted - luma)[2:-2, 2:-2]
        coarse = np.roll(luma, (-4 * down, -4 * right), axis=(0, 1))
        span = np.abs(coarse - luma)[2:-2, 2:-2]
        strong = np.percentile(step, 97)
        wide = np.percentile(span, 97)
        widths.append(wide / max(float(strong), 0.25))
    widths = np.asarray(widths)
    if widths.min() <= 0.0:
        return 0.0, 1.0  # nothing but flat areas: no edge to measure
    return float(widths.min()), float(widths.max() / widths.min())


def _blockiness(luma: Plane) -> float:
    ratios = []
    for plane in (luma, luma.T):
        step = np.abs(np.diff(plane, axis=1)).mean(axis=0)
        at_grid = np.arange(step.size) % _JPEG_BLOCK == _JPEG_BLOCK - 1
        ratios.append(step[at_grid].mean() / max(float(step[~at_grid].mean()), 0.05))
    return float(np.mean(ratios))


def _layout(luma: Plane) -> tuple[float, float]:
    gradient = np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1)) + 1e-3
    height, width = gradient.shape
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    total = float(gradient.sum())
    centre = (gradient.sum(1) @ rows / total, gradient.sum(0) @ columns / total)
    inner = gradient[height // 4 : -height // 4, width // 4 : -width // 4]
    border = (total - float(inner.sum())) / (gradient.size - inner.size)
    return float(np.hypot(*centre) / np.hypot(0.5, 0.5)), border / float(inner.mean())


# ---- from measures to defects; no label and no other image enters


class DefectRule(NamedTuple):
    """How a defect is seen and what it costs; the numbers are ours, set by eye.

    Attributes:
        measure: The one of `Measures` that shows it.
        thresholds: Value of the measure at which it is slight, moderate, noticeable, severe,
            extreme; between two, its strength is interpolated.
        weight: Share of the score that it takes away at strength 1.
    """

    measure: str
    thresholds: tuple[float, float, float, float, float]
    weight: float


DEFECTS: dict[str, DefectRule] = {
    "blur": DefectRule("edge_width", (2.3, 2.7, 3.15, 3.6, 3.95), 0.8),
    "motion_blur": DefectRule("edge_width", (2.2, 2.4, 2.55, 2.75, 3.0), 0.8),
    "noise": DefectRule("noise", (4.2, 6.8, 11.0, 17.0, 25.0), 0.75),
    "jpeg": DefectRule("blockiness", (1.25, 1.5, 1.8, 2.3, 3.4), 0.7),
    "pixelation": DefectRule("flat_runs", (0.38, 0.53, 0.68, 0.8, 0.88), 0.85),
    "low_contrast": DefectRule("contrast", (118.0, 98.0, 74.0, 50.0, 30.0), 0.95),
    "overexposure": DefectRule("clipped_high", (0.08, 0.12, 0.18, 0.26, 0.36), 0.9),
    "underexposure": DefectRule("brightness", (84.0, 70.0, 58.0, 46.0, 34.0), 0.95),
    "color_cast": DefectRule("cast", (0.27, 0.34, 0.42, 0.5, 0.6), 0.75),
}
STRENGTHS = (0.15, 0.35, 0.55, 0.75, 0.95)
"""Strength at the five thresholds, on 0 (absent) to 1."""

BEST_SCORE = 95.0
_ONSET = 0.4
_MOTION_ANISOTROPY = 1.36
_NOT_NAMED = 0.4
_HINT_WEIGHT = 0.7
_HINT_ALIASES = {
    "lens_blur": "blur",
    "impulse_noise": "noise",
    "posterization": "jpeg",
    "oversharpening": "noise",
}


@dataclass(frozen=True)
class Diagnosis:
    """A defect and its strength, above 0 and at most 1."""

    name: str
    strength: float

    @property
    def severity(self) -> str:
        """The severity word: "slight" to "extreme".

        Example:
            >>> [Diagnosis("blur", strength).severity for strength in (0.1, 0.5, 1.0)]
            ['slight', 'noticeable', 'extreme']
        """
        step = min(int(self.strength * len(SEVERITIES)), len(SEVERITIES) - 1)
        return SEVERITIES[::-1][step]


def diagnose(measures: Measures, hint: str | None = None) -> tuple[Diagnosis, ...]:
    """List the defects of an image, strongest first.

    Args:
        measures: What was measured.
        hint: Tags such as ``"Severe_Blur, Severe_Noise"``, or None. A named defect is believed and
            its severity pulls the strength; defects that are not named are trusted less.

    Returns:
        The findings; empty for an image without visible defect.
    """
    strengths = {name: _strength(name, measures) for name in DEFECTS}
    _settle_confusions(strengths, measures)
    if hint is not None:
        strengths = _heed(hint, strengths)
    found = [Diagnosis(name, value) for name, value in strengths.items() if value > 0.05]
    return tuple(sorted(found, key=lambda finding: (-finding.strength, finding.name)))


def score(findings: tuple[Diagnosis, ...]) -> float:
    """Return the score the expert states, 0 to 100: each defect takes its share of what is left.

    Example:
        >>> score(())
        95.0
        >>> score((Diagnosis("blur", 1.0),)) < score((Diagnosis("blur", 0.5),))
        True
    """
    left = BEST_SCORE
    for finding in findings:
        left *= 1.0 - DEFECTS[finding.name].weight * finding.strength
    return left


def _strength(name: str, measures: Measures) -> float:
    value = getattr(measures, DEFECTS[name].measure)
    ladder = np.asarray(DEFECTS[name].thresholds)
    if ladder[0] > ladder[-1]:
        ladder, value = -ladder, -value
    start = ladder[0] - _ONSET * (ladder[1] - ladder[0])
    return float(np.interp(value, np.concatenate(([start], ladder)), (0.0, *STRENGTHS)))


def _settle_confusions(strengths: dict[str, float], measures: Measures) -> None:
    """Several defects move the same measure; keep the one that explains the others."""
    if measures.edge_anisotropy > _MOTION_ANISOTROPY:
        strengths["blur"] = 0.0
    else:
        strengths["motion_blur"] = 0.0
    coarse = measures.noise < 0.2 and strengths["jpeg"] < STRENGTHS[1]
    if not coarse or strengths["blur"] > STRENGTHS[3]:
        strengths["pixelation"] = 0.0
    if strengths["underexposure"] > 0.0:
        strengths["low_contrast"] = 0.0


def _heed(hint: str, strengths: dict[str, float]) -> dict[str, float]:
    """Weigh what the hint names against what was measured."""
    words = dict(zip(SEVERITIES[::-1], STRENGTHS, strict=True))
    named: dict[str, float] = {}
    for tag in hint.split(","):
        severity, _, name = tag.strip().lower().partition("_")
        name = _HINT_ALIASES.get(name, name)
        if severity in words and name in DEFECTS:
            named[name] = words[severity]
    if not named:
        return strengths
    return {
        name: _HINT_WEIGHT * named[name] + (1 - _HINT_WEIGHT) * value
        if name in named
        else _NOT_NAMED * value
        for name, value in strengths.items()
    }


# ---- from defects to words


class Wording(NamedTuple):
    """The low-level attribute a defect is reported under, its noun, and the advice against it."""

    attribute: str
    noun: str
    remedy: str


WORDING: dict[str, Wording] = {
    "blur": Wording("sharpness", "blur", "focus more carefully"),
    "motion_blur": Wording("sharpness", "motion blur", "hold the camera steady"),
    "noise": Wording("noise", "noise", "reduce the noise"),
    "jpeg": Wording("artifacts", "compression blocking", "compress less"),
    "pixelation": Wording("artifacts", "pixelation", "keep the full resolution"),
    "low_contrast": Wording("contrast", "loss of contrast", "raise the contrast"),
    "overexposure": Wording("light", "overexposure", "expose less"),
    "underexposure": Wording("light", "underexposure", "expose longer"),
    "color_cast": Wording("color", "color cast", "correct the white balance"),
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
QUALITY_WORDS = ("bad", "poor", "fair", "good", "excellent")

_NARROW_RANGE, _CLIPPED = 120.0, 0.08
_COLORLESS, _COLORFUL = 0.08, 0.45
_BUSY, _OFF_CENTRE = 1.0, 0.12


class ExpertTeacher:
    """Responds from measurements alone, the same way for the same image and generator.

    Args:
        name: Recorded as the teacher; name another version when thresholds or wording change.
        max_pixels: Larger images are measured smaller; None measures each as it is.
    """

    def __init__(self, name: str = "expert-v1", max_pixels: int | None = None) -> None:
        self.name, self.max_pixels = name, max_pixels

    def respond(self, image: Image.Image, hint: str | None, rng: np.random.Generator) -> Response:
        """Look at an RGB image, enlarged where it is too small to measure, and reason about it."""
        seen = at_least(scaled_down(image, self.max_pixels), MIN_SIDE)
        measures = measure(np.asarray(seen))
        findings = diagnose(measures, hint)
        stated = score(findings)
        sections = (
            low_level(measures, findings, rng),
            high_level(measures, findings),
            summary(findings, stated),
        )
        think = " ".join(f"({n}) {' '.join(said)}" for n, said in enumerate(sections, start=1))
        text = f"<think>{think}</think>\n<answer>{stated:.0f}</answer>"
        return Response(text, len(text.split()))


def low_level(
    measures: Measures, findings: Sequence[Diagnosis], rng: np.random.Generator
) -> list[str]:
    """One or more sentences on each of the eight low-level attributes of Table 5."""
    by_attribute: dict[str, list[Diagnosis]] = {}
    for finding in findings:
        by_attribute.setdefault(WORDING[finding.name].attribute, []).append(finding)
    sentences = []
    for attribute, clean in CLEAN.items():
        if attribute == "range":
            sentences.append(_range_sentence(measures, rng))
        elif attribute in by_attribute:
            for finding in by_attribute[attribute]:
                words = {"severity": finding.severity, "noun": WORDING[finding.name].noun}
                article = "an" if finding.severity == "extreme" else "a"
                sentences.append(_pick(DEFECTIVE[attribute], rng).format(article=article, **words))
        else:
            sentences.append(_pick(clean, rng))
    return sentences


def high_level(measures: Measures, findings: Sequence[Diagnosis]) -> list[str]:
    """The six high-level attributes of Table 5, as far as pixels can tell."""
    worst = max((finding.strength for finding in findings), default=0.0)
    step = (worst >= 0.3) + (worst >= 0.65)
    subject = ("clear", "weakened", "hard to see")[step]
    layout = "off center" if measures.balance > _OFF_CENTRE else "balanced"
    mood = "dark" if measures.brightness < 70 else "bright" if measures.brightness > 150 else "calm"
    style = "vivid" if measures.saturation > _COLORFUL else "plain"
    if measures.saturation < _COLORLESS:
        style = "monochrome"
    background = "busy" if measures.background_detail > _BUSY else "quiet"
    use = ("most", "some", "few")[step]
    return [
        f"The subject is {subject}, the composition is {layout}, the mood is {mood}.",
        f"The style is {style}, the background is {background}, and it fits {use} contexts.",
    ]


def summary(findings: Sequence[Diagnosis], stated: float) -> list[str]:
    """The verdict in one word, the main defects, and what to do about them."""
    word = QUALITY_WORDS[min(int(stated / 20), 4)]
    if not findings:
        return [f"Overall the quality is {word}.", "No correction is needed."]
    main = findings[:2]
    nouns = " and ".join(f"{one.severity} {WORDING[one.name].noun}" for one in main)
    remedies = " and ".join(WORDING[one.name].remedy for one in main)
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

"""From measures to findings: which defects the expert sees, how strong it takes them to be.

Each defect has one measure and five thresholds, set by eye on training photographs; between two
thresholds the strength is interpolated. No label and no other image enters. A hint names defects
that the measures alone may confuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qponder_lib.scales import SEVERITIES
from qponder_lib.teacher.measure import Measures

# Value of the measure at which a defect is slight, moderate, noticeable, severe, extreme.
THRESHOLDS: dict[str, tuple[str, tuple[float, float, float, float, float]]] = {
    "blur": ("edge_width", (2.3, 2.7, 3.15, 3.6, 3.95)),
    "motion_blur": ("edge_width", (2.2, 2.4, 2.55, 2.75, 3.0)),
    "noise": ("noise", (4.2, 6.8, 11.0, 17.0, 25.0)),
    "jpeg": ("blockiness", (1.25, 1.5, 1.8, 2.3, 3.4)),
    "pixelation": ("flat_runs", (0.38, 0.53, 0.68, 0.8, 0.88)),
    "low_contrast": ("contrast", (118.0, 98.0, 74.0, 50.0, 30.0)),
    "overexposure": ("clipped_high", (0.08, 0.12, 0.18, 0.26, 0.36)),
    "underexposure": ("brightness", (84.0, 70.0, 58.0, 46.0, 34.0)),
    "color_cast": ("cast", (0.27, 0.34, 0.42, 0.5, 0.6)),
}
STRENGTHS = (0.15, 0.35, 0.55, 0.75, 0.95)
"""Strength at the five thresholds, on 0 (absent) to 1."""

WEIGHTS: dict[str, float] = {
    "blur": 0.8,
    "motion_blur": 0.8,
    "noise": 0.75,
    "jpeg": 0.7,
    "pixelation": 0.85,
    "low_contrast": 0.95,
    "overexposure": 0.9,
    "underexposure": 0.95,
    "color_cast": 0.75,
}
"""How much of the score a defect of strength 1 takes away; ours."""

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
class Finding:
    """A defect and its strength, above 0 and at most 1."""

    name: str
    strength: float

    @property
    def severity(self) -> str:
        """The severity word: "slight" to "extreme"."""
        return severity_word(self.strength)


def severity_word(strength: float) -> str:
    """Name a strength in one of the five severity words.

    Example:
        >>> severity_word(0.1), severity_word(0.5), severity_word(1.0)
        ('slight', 'noticeable', 'extreme')
    """
    step = min(int(strength * len(SEVERITIES)), len(SEVERITIES) - 1)
    return SEVERITIES[::-1][step]


def diagnose(measures: Measures, hint: str | None = None) -> tuple[Finding, ...]:
    """List the defects of an image, strongest first.

    Args:
        measures: What was measured.
        hint: Tags such as ``"Severe_Blur, Severe_Noise"``, or None. A named defect is believed and
            its severity pulls the strength; defects that are not named are trusted less.

    Returns:
        The findings; empty for an image without visible defect.
    """
    strengths = {name: _strength(name, measures) for name in THRESHOLDS}
    _settle_confusions(strengths, measures)
    if hint is not None:
        strengths = _heed(hint, strengths)
    found = [Finding(name, value) for name, value in strengths.items() if value > 0.05]
    return tuple(sorted(found, key=lambda finding: (-finding.strength, finding.name)))


def score(findings: tuple[Finding, ...]) -> float:
    """The score the expert states, 0 to 100: each defect takes its share of what is left.

    Example:
        >>> score(())
        95.0
        >>> score((Finding("blur", 1.0),)) < score((Finding("blur", 0.5),))
        True
    """
    left = BEST_SCORE
    for finding in findings:
        left *= 1.0 - WEIGHTS[finding.name] * finding.strength
    return left


def _strength(name: str, measures: Measures) -> float:
    measure, thresholds = THRESHOLDS[name]
    value = getattr(measures, measure)
    ladder = np.asarray(thresholds)
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
        if severity in words and name in THRESHOLDS:
            named[name] = words[severity]
    if not named:
        return strengths
    return {
        name: _HINT_WEIGHT * named[name] + (1 - _HINT_WEIGHT) * value
        if name in named
        else _NOT_NAMED * value
        for name, value in strengths.items()
    }

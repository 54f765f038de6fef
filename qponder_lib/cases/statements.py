"""What an answer claims about damage, clause by clause, and whether an image's tags bear it out.

Only damage that was tagged is known, and only sets whose damage was made on purpose know all of
it. So a clause is right or wrong where the tags decide it, and undecided everywhere else: a
weak defect that nobody tagged may be the photograph's own, and composition has no tag at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qponder_lib.records import Distortion
from qponder_lib.scales import SEVERITIES, severity_of

Standing = Literal["right", "wrong", "undecided"]

# Longer names first: "motion blur" is not also "blur".
_NAMES: tuple[tuple[str, str], ...] = (
    ("motion_blur", r"motion[- ]blur\w*"),
    ("blur", r"blur(?:s|red|ry|riness|ring)?|out[- ]of[- ]focus|defocus\w*"),
    ("noise", r"nois[ey]\w*|grain(?:s|y|iness)?"),
    (
        "jpeg",
        r"(?:jpe?g|compression)(?: (?:artifacts?|blocking|noise))?|blocking|blockiness|blocky",
    ),
    ("pixelation", r"pixelat(?:ion|ed)"),
    ("low_contrast", r"(?:loss|lack) of contrast|(?:low|poor|weak|reduced|flat) contrast"),
    ("overexposure", r"over-?expos(?:ure|ed)"),
    ("underexposure", r"under-?expos(?:ure|ed)"),
    ("color_cast", r"colou?r cast|wrong white balance"),
)
_NAME = re.compile(
    "|".join(rf"(?P<{name}>\b(?:{pattern})\b)" for name, pattern in _NAMES), re.IGNORECASE
)
_WORDS = {
    "slight": "slight|slightly|mild|mildly|minor",
    "moderate": "moderate|moderately",
    "noticeable": "noticeable|noticeably|obvious|obviously",
    "severe": "severe|severely|heavy|heavily|significant|significantly|serious|strong|strongly",
    "extreme": "extreme|extremely|overwhelming",
}
_SEVERITY = re.compile(
    "|".join(rf"(?P<{word}>\b(?:{pattern})\b)" for word, pattern in _WORDS.items()), re.IGNORECASE
)
_DENIED = re.compile(
    r"\b(?:no|not|without|free (?:of|from)|never|neither|nor|absence of|hardly any)\b",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:might|may|could|possibl[ey]|perhaps|difficult to|hard to (?:tell|determine)|"
    r"would|should|seems?|if|or)\b",
    re.IGNORECASE,
)
_ADVICE = re.compile(
    r"^\W*(?:to improve|improve|improvements?|suggest\w*|recommend\w*|consider|apply\w*|reduc\w*|"
    r"adjust\w*|correct\w*|enhanc\w*|final suggestions?)\b",
    re.IGNORECASE,
)
_QUALITY = re.compile(
    r"\b(?:overall|quality)\b[^.;]{0,40}?\b(?P<word>bad|poor|fair|good|excellent)\b", re.IGNORECASE
)
_QUALITY_WORDS = ("bad", "poor", "fair", "good", "excellent")

# Praise denies damage: (pattern, types it denies, types that leave it open).
_PRAISE: tuple[tuple[re.Pattern[str], frozenset[str], frozenset[str]], ...] = (
    (
        re.compile(r"exposure (?:is|are) (?:even|balanced)|(?:even|balanced) exposure", re.I),
        frozenset({"overexposure", "underexposure"}),
        frozenset(),
    ),
    (
        re.compile(
            r"contrast is (?:good|well[- ]managed|strong)|tones are well separated|good contrast",
            re.I,
        ),
        frozenset({"low_contrast"}),
        frozenset({"overexposure", "underexposure"}),
    ),
    (
        re.compile(r"edges are sharp|fine detail is preserved|is (?:crisp|tack sharp)", re.I),
        frozenset({"blur", "motion_blur", "pixelation"}),
        frozenset({"jpeg", "oversharpening", "noise"}),
    ),
    (re.compile(r"surfaces are clean", re.I), frozenset({"noise"}), frozenset({"jpeg"})),
    (
        re.compile(
            r"colou?rs (?:look|are|appear) natural|white balance is (?:neutral|accurate)", re.I
        ),
        frozenset({"color_cast"}),
        frozenset({"overexposure", "underexposure", "low_contrast", "posterization"}),
    ),
    (
        re.compile(r"no (?:compression )?artifacts", re.I),
        frozenset({"jpeg", "pixelation"}),
        frozenset({"posterization", "oversharpening", "noise"}),
    ),
)
FAMILY = {
    "lens_blur": "blur",
    "gaussian_blur": "blur",
    "impulse_noise": "noise",
    "jpeg2000": "jpeg",
    "white_noise": "noise",
}
"""Tagged types that a text may rightly call by a wider name."""

_ALIKE = {
    "blur": {"motion_blur", "pixelation"},
    "motion_blur": {"blur"},
    "pixelation": {"blur", "jpeg"},
    "jpeg": {"pixelation", "posterization"},
    "noise": {"oversharpening", "jpeg"},
    "low_contrast": {"underexposure", "overexposure"},
    "underexposure": {"low_contrast"},
    "overexposure": {"low_contrast"},
}
"""Types that look alike: naming one where the other is tagged is not decided by tags."""

_PART = re.compile(r"[^.;!?\n]*[.;!?\n]?")
_CLAUSE = re.compile(
    r"(?:, (?:and |but |with )?| and | but |: |</?[a-z]{1,10}>\s{0,3}|\([0-9]\) )", re.IGNORECASE
)
_LONGEST = 20_000
"""Characters of an answer that are read; what follows is undecided."""


@dataclass(frozen=True)
class Known:
    """What is known about an image.

    Attributes:
        distortions: Its tags.
        mos: Its MOS, or None.
        complete: Whether the tags name all damage that was done to it.
    """

    distortions: Sequence[Distortion]
    mos: float | None
    complete: bool

    @property
    def levels(self) -> dict[str, int]:
        """Strongest level by type, types of one family under its name."""
        found: dict[str, int] = {}
        for tag in self.distortions:
            name = FAMILY.get(tag.name, tag.name)
            found[name] = max(tag.level, found.get(name, 0))
        return found


@dataclass(frozen=True)
class Statement:
    """A stretch of an answer, whether it is right, and why.

    Attributes:
        start: First character.
        end: One behind the last.
        standing: right, wrong or undecided.
        why: One reason for readers; empty if the stretch claims nothing that tags speak of.
    """

    start: int
    end: int
    standing: Standing
    why: str


def read_statements(text: str, known: Known) -> list[Statement]:
    """Decide the clauses of an answer by an image's tags and MOS.

    Args:
        text: The answer of a model.
        known: What is known about the image.

    Returns:
        Stretches that together are the whole text, in order.

    Source:
        Q-Ponder (arXiv:2506.05384), Appendix D: blue marks "accurate identification of
        distortions or appropriate severity assessment"; there by hand, here by rule (decision
        D34).

    Example:
        >>> known = Known([Distortion(name="blur", level=4)], mos=30.0, complete=True)
        >>> [(s.standing, s.why) for s in read_statements("There is severe blur.", known)]
        [('right', 'blur is tagged, level 4 (severe)')]
    """
    found = []
    for start, end in _clauses(text[:_LONGEST]):
        standing, why = _decide(text[start:end], known)
        found.append(Statement(start, end, standing, why))
    if len(text) > _LONGEST:
        found.append(Statement(_LONGEST, len(text), "undecided", ""))
    return found


def _clauses(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into clauses; advice is one clause to the end of its sentence."""
    for part in _PART.finditer(text):
        start, end = part.span()
        if start == end:
            continue
        if _ADVICE.match(part.group()):
            yield start, end
            continue
        for cut in _CLAUSE.finditer(part.group()):
            here = part.start() + cut.end()
            if here < end:
                yield start, here
                start = here
        yield start, end


def _decide(clause: str, known: Known) -> tuple[Standing, str]:
    if _ADVICE.match(clause):
        return "undecided", ""
    named = _NAME.search(clause)
    if named is not None:
        return _decide_named(clause, named, known)
    quality = _QUALITY.search(clause)
    if quality is not None and known.mos is not None and not _DENIED.search(clause):
        return _decide_quality(quality["word"].lower(), known.mos)
    for pattern, denied, open_for in _PRAISE:
        if pattern.search(clause):
            return _decide_denial(denied, open_for, known)
    return "undecided", ""


def _decide_named(clause: str, named: re.Match[str], known: Known) -> tuple[Standing, str]:
    name = str(named.lastgroup)
    label = name.replace("_", " ")
    before = clause[: named.start()]
    if _DENIED.search(before):
        return _decide_denial(frozenset({name}), frozenset(_ALIKE.get(name, ())), known)
    if _HEDGED.search(clause):
        return "undecided", ""
    stated = _stated_level(clause)
    level = known.levels.get(name)
    if level is not None:
        tagged = f"{label} is tagged, level {level} ({_word_of(level)})"
        if stated is None or abs(stated - level) <= 1:
            return "right", tagged
        return "wrong", f"{tagged}, not {_word_of(stated)}"
    alike = sorted(_ALIKE.get(name, set()) & set(known.levels))
    if alike:
        return "undecided", f"{alike[0].replace('_', ' ')} is tagged, which looks alike"
    if not known.complete:
        return "undecided", ""
    if stated is not None and stated >= 3:
        return "wrong", f"no {label} is tagged"
    return "undecided", f"no {label} is tagged; a weak one may be the photograph's own"


def _decide_denial(
    denied: frozenset[str], open_for: frozenset[str], known: Known
) -> tuple[Standing, str]:
    levels = known.levels
    there = {name: levels[name] for name in denied if name in levels}
    if there:
        name, level = max(there.items(), key=lambda item: (item[1], item[0]))
        tagged = f"{name.replace('_', ' ')} is tagged, level {level} ({_word_of(level)})"
        return ("wrong", tagged) if level >= 2 else ("undecided", tagged)
    if open_for & set(levels) or not known.complete:
        return "undecided", ""
    names = " or ".join(sorted(name.replace("_", " ") for name in denied))
    return "right", f"no {names} is tagged"


def _decide_quality(word: str, mos: float) -> tuple[Standing, str]:
    stated = _QUALITY_WORDS.index(word)
    true = SEVERITIES.index(severity_of(mos))
    fifth = f"the MOS is {mos:.0f}, the fifth called {_QUALITY_WORDS[true]}"
    if stated == true:
        return "right", fifth
    return ("undecided" if abs(stated - true) == 1 else "wrong"), fifth


def _stated_level(clause: str) -> int | None:
    """Return the strongest severity that a clause states, 1 (slight) to 5 (extreme)."""
    order = SEVERITIES[::-1]
    found = [order.index(str(m.lastgroup)) + 1 for m in _SEVERITY.finditer(clause)]  # type: ignore[arg-type]
    return max(found, default=None)


def _word_of(level: int) -> str:
    return SEVERITIES[::-1][level - 1]

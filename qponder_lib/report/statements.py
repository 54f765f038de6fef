"""Whether an image's tags bear out what a response says about it, stretch by stretch.

What it says is read by `qponder_lib.text.assertions`, as the rubric judge reads it. Only
distortions that were tagged are known, and only sets that were distorted on purpose know all of
them. So a stretch is right or wrong where the tags decide it, and undecided everywhere else: a weak
defect that nobody tagged may be the photograph's own, and composition has no tag at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from pydantic import Field

from qponder_lib.records import Distortion, Record
from qponder_lib.scales import SEVERITIES, severity_of
from qponder_lib.text import lexicon
from qponder_lib.text.assertions import (
    Clause,
    Mention,
    QualityWord,
    Sentence,
    kinship,
    named_in,
    read_sentence,
    sentence_spans,
)

Standing = Literal["right", "wrong", "undecided"]
Decided = tuple[Standing, str]

_LOOKS_LIKE = {
    "blur": {"pixelation"},
    "motion_blur": {"pixelation"},
    "lens_blur": {"pixelation"},
    "pixelation": {"blur", "jpeg"},
    "jpeg": {"pixelation", "posterization"},
    "posterization": {"jpeg"},
    "noise": {"oversharpening", "jpeg"},
    "impulse_noise": {"oversharpening", "jpeg"},
    "low_contrast": {"underexposure", "overexposure"},
    "underexposure": {"low_contrast"},
    "overexposure": {"low_contrast"},
}
"""Kinds that a defect can be taken for: where one of them is tagged, tags do not decide."""

_HIDES = {
    "light": {"low_contrast"},
    "contrast": {"overexposure", "underexposure"},
    "sharpness": {"pixelation", "jpeg", "noise"},
    "noise": {"jpeg", "oversharpening"},
    "color": {"overexposure", "underexposure", "low_contrast", "posterization"},
    "artifacts": {"oversharpening", "noise", "blur"},
}
"""Kinds that change how an attribute looks: praise of it is not decided where one is tagged."""

_QUALITY = ("bad", "poor", "fair", "good", "excellent")
_JOINT = re.compile(r",\s+(?:and\s+|or\s+|but\s+)?|\s+(?:and|or|but|with|due to)\s+")
_LONGEST = 20_000
"""Characters of a response that are read; what follows is undecided."""


@dataclass(frozen=True)
class Known:
    """What is known about an image.

    Attributes:
        distortions: Its tags.
        mos: Its MOS, or None.
        complete: Whether the tags name all distortions that were applied to it.
    """

    distortions: Sequence[Distortion]
    mos: float | None
    complete: bool

    @cached_property
    def levels(self) -> dict[str, int]:
        """Strongest level of each tagged defect, by its name in the lexicon."""
        found: dict[str, int] = {}
        for tag in self.distortions:
            name = named_in(tag.name)
            if name is not None:
                found[name] = max(tag.level, found.get(name, 0))
        return found

    @property
    def tells_all(self) -> bool:
        """Whether what no tag names is not there; a tag without a word here may be anything."""
        return self.complete and all(named_in(tag.name) for tag in self.distortions)

    @property
    def kinds(self) -> set[str]:
        """Kinds of the tagged defects."""
        return {lexicon.DEFECTS[name].kind for name in self.levels}


class Statement(Record):
    """A stretch of a response, whether it is right, and why.

    Attributes:
        start: First character.
        end: One behind the last.
        standing: right, wrong or undecided.
        why: One reason for readers; empty if the stretch claims nothing that tags speak of.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    standing: Standing
    why: str


def read_statements(text: str, known: Known) -> list[Statement]:
    """Decide the statements of a response by an image's tags and MOS.

    Args:
        text: The response of a model.
        known: What is known about the image.

    Returns:
        Stretches that together are the whole text, in order.

    Source:
        Q-Ponder (arXiv:2506.05384), Appendix D: blue marks "accurate identification of
        distortions or appropriate severity assessment"; there by hand, here by rule (decisions
        D34 and D72).

    Example:
        >>> known = Known([Distortion(name="blur", level=4)], mos=30.0, complete=True)
        >>> [(s.standing, s.why) for s in read_statements("There is severe blur.", known)]
        [('right', 'blur is tagged, level 4 (severe)')]
    """
    read = text[:_LONGEST]
    starts: list[tuple[int, Decided]] = []
    for first, last in sentence_spans(read):
        sentence = re.sub(r"\s", " ", read[first:last])
        starts += [
            (first + start, decided)
            for start, decided in _decided(sentence, read_sentence(sentence), known)
        ]
    if len(text) > _LONGEST or not starts:
        starts.append((len(read) if starts else 0, ("undecided", "")))
    ends = [*(start for start, _ in starts[1:]), len(text)]
    return [
        Statement(start=0 if k == 0 else start, end=end, standing=standing, why=why)
        for k, ((start, (standing, why)), end) in enumerate(zip(starts, ends, strict=True))
        if text
    ]


def _decided(sentence: str, said: Sentence, known: Known) -> Iterator[tuple[int, Decided]]:
    """Yield where each stretch of a sentence begins, and what the tags say about it."""
    if not said.clauses:
        yield 0, ("undecided", "")
    for clause in said.clauses:
        inside = [word for word in said.quality if clause.start <= word.start < clause.end]
        claims = sorted((*clause.mentions, *inside), key=lambda claim: (claim.start, claim.end))
        if not claims:
            yield clause.start, _by_praise(clause, known)
            continue
        for start, claim in zip(_cuts(sentence, clause, claims), claims, strict=True):
            yield start, _by_claim(claim, clause, known)


def _cuts(sentence: str, clause: Clause, claims: Sequence[Mention | QualityWord]) -> Iterable[int]:
    """Say where the stretch of each claim begins: behind the last joint before it."""
    cuts = [clause.start]
    for before, after in pairwise(claims):
        joints = list(_JOINT.finditer(sentence, before.end, max(before.end, after.start)))
        cuts.append(joints[-1].end() if joints else max(before.end, cuts[-1]))
    return cuts


def _by_claim(claim: Mention | QualityWord, clause: Clause, known: Known) -> Decided:
    if clause.asks or (clause.hedged and not (isinstance(claim, Mention) and claim.denied)):
        return "undecided", ""
    if isinstance(claim, QualityWord):
        return ("undecided", "") if known.mos is None else _by_mos(claim.step, known.mos)
    if claim.denied:
        return _by_denial({claim.defect}, _LOOKS_LIKE.get(claim.defect, set()), known)
    return _by_tags(claim, known)


def _by_tags(claim: Mention, known: Known) -> Decided:
    label = _label(claim.defect)
    stated = None if claim.severity is None else SEVERITIES[::-1].index(claim.severity) + 1
    same = [name for name in known.levels if kinship(claim.defect, name) == "same"]
    if same:
        name = max(same, key=lambda one: (known.levels[one], one))
        level = known.levels[name]
        tagged = _tagged(name, level)
        if stated is None or abs(stated - level) <= 1:
            return "right", tagged
        return "wrong", f"{tagged}, not {claim.severity}"
    sisters = [name for name in known.levels if kinship(claim.defect, name) == "sister"]
    alike = sorted(sisters) + sorted(_LOOKS_LIKE.get(claim.defect, set()) & known.kinds)
    if alike:
        return "undecided", f"{_label(alike[0])} is tagged, which looks alike"
    if not known.tells_all:
        return "undecided", ""
    if stated is not None and stated >= 3:
        return "wrong", f"no {label} is tagged"
    return "undecided", f"no {label} is tagged; a weak one may be the photograph's own"


def _by_praise(clause: Clause, known: Known) -> Decided:
    """Praise of an attribute denies each defect that spoils it."""
    denied = {name for name, defect in lexicon.DEFECTS.items() if defect.attribute in clause.clean}
    if not denied or clause.asks or clause.hedged:
        return "undecided", ""
    hiding = set().union(*(_HIDES.get(attribute, set()) for attribute in clause.clean))
    return _by_denial(denied, hiding, known)


def _by_denial(denied: set[str], hiding: set[str], known: Known) -> Decided:
    there = {
        name: level
        for name, level in known.levels.items()
        if any(kinship(one, name) == "same" for one in denied)
    }
    if there:
        name, level = max(there.items(), key=lambda item: (item[1], item[0]))
        return ("wrong" if level >= 2 else "undecided"), _tagged(name, level)
    if hiding & known.kinds or not known.tells_all:
        return "undecided", ""
    kinds = sorted({_label(lexicon.DEFECTS[name].kind) for name in denied})
    return "right", f"no {' or '.join(kinds)} is tagged"


def _by_mos(step: int, mos: float) -> Decided:
    true = SEVERITIES.index(severity_of(mos))
    why = f"the MOS is {mos:.0f}, in the severity bin called {_QUALITY[true]}"
    if step == true:
        return "right", why
    return ("undecided" if abs(step - true) == 1 else "wrong"), why


def _tagged(name: str, level: int) -> str:
    return f"{_label(name)} is tagged, level {level} ({SEVERITIES[::-1][level - 1]})"


def _label(name: str) -> str:
    return name.replace("_", " ")

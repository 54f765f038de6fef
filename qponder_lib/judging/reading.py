"""Read what an English text says about an image: which attributes, which defects, how bad."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from qponder_lib.judging import lexicon
from qponder_lib.judging.sanitise import split_sentences
from qponder_lib.records import Severity

_CLAUSE = re.compile(
    r"\s*[:()]\s*|,?\s+\b(?:but|although|though|however|yet|while|whereas|except|conversely|"
    r"nevertheless)\b\s*|,\s+(?=(?:and )?(?:the|there|it|this|its|which|with|where|making|an?)\b)"
)
_REACH = 6  # words between a defect and the word for its severity
_NEGATION_REACH = 12  # words; "no lens distortion, aberration or vignetting"
_PER_CLAUSE = 2  # attributes that one clause can address: a list of names addresses none
_STEPS = {step: re.compile(rf"\b(?:{pattern})\b") for step, pattern in lexicon.QUALITY_WORDS}
_QUALITY_IS = re.compile(r"\bquality\b(?P<words>[^.,;]{0,48})")
_A_QUALITY = re.compile(r"\b(?P<words>(?:\w+[ -]){1,2}?)(?:overall |image |visual )?quality\b")


@dataclass(frozen=True, slots=True)
class Mention:
    """A defect in a sentence: stated with a severity or without, or denied."""

    defect: str
    severity: Severity | None
    denied: bool
    sentence: int = 0

    @property
    def attribute(self) -> str:
        """The low-level attribute that the defect damages."""
        return lexicon.DEFECTS[self.defect].attribute


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says; numbers are those of its sentences, from 0.

    Attributes:
        sentences: The text's sentences.
        addressed: The first sentence that says something about an attribute of Table 5.
        mentions: Defects that are stated or denied, advice left out.
        clean: Sentences that state that nothing is wrong with a low-level attribute.
        ordered: Sentences that order to improve an attribute.
        quality: (fifth of the scale, sentence) of each word for the whole image's quality.
    """

    sentences: tuple[str, ...]
    addressed: dict[str, int]
    mentions: tuple[Mention, ...]
    clean: dict[str, int]
    ordered: dict[str, int]
    quality: tuple[tuple[int, int], ...]

    @property
    def stated(self) -> tuple[Mention, ...]:
        """Defects that the text says are there."""
        return tuple(mention for mention in self.mentions if not mention.denied)

    @property
    def denied(self) -> tuple[Mention, ...]:
        """Defects that the text says are not there."""
        return tuple(mention for mention in self.mentions if mention.denied)

    @property
    def says_something(self) -> bool:
        """Tell whether there is any statement that another could contradict."""
        return bool(self.addressed or self.mentions or self.quality)


def read(text: str) -> Reading:
    """Read a text sentence by sentence.

    Args:
        text: English, already sanitised.

    Returns:
        What it says.

    Example:
        >>> said = read("Edges are sharp. There is severe noise. Overall the quality is poor.")
        >>> said.addressed, said.stated[0].severity, said.quality
        ({'sharpness': 0, 'noise': 1}, 'severe', ((1, 2),))
    """
    sentences = tuple(split_sentences(text))
    addressed: dict[str, int] = {}
    clean: dict[str, int] = {}
    ordered: dict[str, int] = {}
    mentions: list[Mention] = []
    quality: list[tuple[int, int]] = []
    for number, sentence in enumerate(sentences):
        said = _read_sentence(sentence.lower())
        mentions += [replace(mention, sentence=number) for mention in said.mentions]
        quality += [(step, number) for step in said.quality]
        for names, into in (
            (said.addressed, addressed),
            (said.clean, clean),
            (said.ordered, ordered),
        ):
            for name in names:
                into.setdefault(name, number)
    return Reading(sentences, addressed, tuple(mentions), clean, ordered, tuple(quality))


@dataclass(frozen=True, slots=True)
class _Said:
    """What one sentence says by itself."""

    addressed: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()
    clean: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()
    quality: tuple[int, ...] = ()


@lru_cache(maxsize=1 << 14)  # models repeat their sentences
def _read_sentence(sentence: str) -> _Said:
    if lexicon.ADVICE.search(sentence):
        if not lexicon.ORDER.search(sentence):
            return _Said()
        return _Said(ordered=tuple(n for n, words in lexicon.REMEDIES if words.search(sentence)))
    addressed: list[str] = []
    mentions: list[Mention] = []
    clean: list[str] = []
    for clause in filter(None, _CLAUSE.split(sentence)):
        found = list(_mentions(clause))
        mentions += found
        addressed += _addressed(clause, found)
        clean += _clean(clause, found)
    return _Said(
        tuple(addressed), tuple(mentions), tuple(clean), quality=tuple(_quality_words(sentence))
    )


def named_in(words: str) -> str | None:
    """Return the defect that a tag such as ``white_noise`` names, or None if none is known.

    Example:
        >>> named_in("gaussian_blur"), named_in("white_noise"), named_in("mean_shift")
        ('blur', 'noise', None)
    """
    if words in lexicon.DEFECTS or words in lexicon.TAG_ALIASES:
        return lexicon.TAG_ALIASES.get(words, words)
    found = list(_mentions(words.replace("_", " ").lower()))
    return found[0].defect if found else None


def _mentions(clause: str) -> Iterator[Mention]:
    """Find defects, the longer and more specific name first, each stretch of text once."""
    taken: list[tuple[int, int]] = []
    found = []
    for name, defect in lexicon.DEFECTS.items():
        for match in defect.pattern.finditer(clause):
            if not any(start < match.end() and match.start() < end for start, end in taken):
                taken.append(match.span())
                found.append((match.start(), match.end(), name))
    for start, end, name in sorted(found):
        yield Mention(name, _severity(clause, start, end), _denied(clause, start, end))


def _severity(clause: str, start: int, end: int) -> Severity | None:
    """Take the nearest word for a severity before the defect, else the nearest behind it."""
    before: list[tuple[int, int, Severity]] = []
    behind: list[tuple[int, int, Severity]] = []
    for strength, (severity, pattern) in enumerate(lexicon.SEVERITY_WORDS):
        for match in pattern.finditer(clause):
            if match.start() < end and match.end() <= max(start, match.start() + 1):
                before.append((_words_between(clause, match.end(), start), strength, severity))
            elif match.start() >= end:
                behind.append((_words_between(clause, end, match.start()), strength, severity))
            else:  # the word is part of the name, as in "heavy compression artifacts"
                before.append((0, strength, severity))
    for side in (before, behind):
        near = [one for one in side if one[0] <= _REACH]
        if near:
            return min(near)[2]
    return None


def _denied(clause: str, start: int, end: int) -> bool:
    if lexicon.DENIED_AFTER.match(clause[end:].lstrip()):
        return True
    negations = [match for match in lexicon.NEGATION.finditer(clause) if match.end() <= start]
    if not negations:
        return False
    return _words_between(clause, negations[-1].end(), start) <= _NEGATION_REACH


def _words_between(clause: str, start: int, end: int) -> int:
    return len(clause[start:end].split())


def _addressed(clause: str, mentions: Sequence[Mention]) -> list[str]:
    """Name the attributes that a clause says something about, two at most."""
    named = []
    for attribute, pattern in lexicon.ATTRIBUTES.items():
        match = pattern.search(clause)
        if match and _is_assessed(clause, match):
            named.append((match.start(), attribute))
    names = [attribute for _, attribute in sorted(named)]
    if "range" in names and "sharpness" in names and re.search(r"\bdetails?\b", clause):
        names.remove("sharpness")  # detail in shadows and highlights
    known = list(dict.fromkeys([mention.attribute for mention in mentions] + names))
    return known[:_PER_CLAUSE]


def _is_assessed(clause: str, attribute: re.Match[str]) -> bool:
    rest = clause[: attribute.start()] + " " + clause[attribute.end() :]
    patterns = (lexicon.GOOD, lexicon.OTHER_ASSESSMENT, *(p for _, p in lexicon.SEVERITY_WORDS))
    return any(pattern.search(rest) for pattern in patterns)


def _clean(clause: str, mentions: Sequence[Mention]) -> list[str]:
    """Name the low-level attributes that a clause praises, or whose defects it denies at large."""
    if any(not mention.denied for mention in mentions):
        return []
    if not mentions and (artifact := lexicon.ANY_ARTIFACT.search(clause)):
        return ["artifacts"] if _denied(clause, *artifact.span()) else []
    clean = [
        mention.attribute
        for mention in mentions
        if mention.defect in ("noise", "blur")  # the word for the kind denies the kind
    ]
    praise = lexicon.GOOD.search(clause)
    if (
        praise
        and not lexicon.NEGATION.search(clause)
        and not lexicon.OTHER_ASSESSMENT.search(clause)
    ):
        for attribute in lexicon.LOW_LEVEL:
            match = lexicon.ATTRIBUTES[attribute].search(clause)
            if match and match.span() != praise.span():
                clean.append(attribute)
        if "range" in clean and "sharpness" in clean:
            clean.remove("sharpness")
    return list(dict.fromkeys(clean))


def _quality_words(sentence: str) -> Iterator[int]:
    """Read "the quality is poor" and "of poor quality", not the defects that follow."""
    for pattern in (_QUALITY_IS, _A_QUALITY):
        for match in pattern.finditer(sentence):
            words = re.split(r" with | and ", match["words"])[0]
            steps = [step for step, word in _STEPS.items() if word.search(words)]
            if steps and not lexicon.NEGATION.search(words):
                yield steps[0]

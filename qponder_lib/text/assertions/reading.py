"""Read what an English text says about an image: which attributes, which defects, how bad."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from qponder_lib.records import Severity
from qponder_lib.text.assertions import lexicon
from qponder_lib.text.assertions.said import Clause, Mention, QualityWord, Reading, Sentence
from qponder_lib.text.assertions.sentences import split_sentences

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
        said = read_sentence(sentence)
        quality += [(word.step, number) for word in said.quality]
        for name in said.ordered:
            ordered.setdefault(name, number)
        for clause in said.clauses:
            mentions += [replace(mention, sentence=number) for mention in clause.mentions]
            for names, into in ((clause.addressed, addressed), (clause.clean, clean)):
                for name in names:
                    into.setdefault(name, number)
    return Reading(sentences, addressed, tuple(mentions), clean, ordered, tuple(quality))


def read_sentence(sentence: str) -> Sentence:
    """Read one sentence; all places are places in it.

    Example:
        >>> (clause,) = read_sentence("There is no blur or noise.").clauses
        >>> [(mention.defect, mention.denied, mention.start) for mention in clause.mentions]
        [('blur', True, 12), ('noise', True, 20)]
    """
    return _read_lowered(_lowered(sentence))


def _lowered(text: str) -> str:
    """Lower every letter whose small form is one letter, so that places stay the same."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)


@lru_cache(maxsize=1 << 14)  # models repeat their sentences
def _read_lowered(sentence: str) -> Sentence:
    if lexicon.ADVICE.search(sentence):
        ordered = [name for name, words in lexicon.REMEDIES if words.search(sentence)]
        orders = bool(lexicon.ORDER.search(sentence))
        return Sentence(ordered=tuple(ordered) if orders else (), advice=True)
    clauses = tuple(_read_clause(sentence, start, end) for start, end in _clause_spans(sentence))
    return Sentence(clauses, tuple(_quality_words(sentence)))


def _clause_spans(sentence: str) -> Iterator[tuple[int, int]]:
    start = 0
    for between in _CLAUSE.finditer(sentence):
        if start < between.start():
            yield start, between.start()
        start = between.end()
    if start < len(sentence):
        yield start, len(sentence)


def _read_clause(sentence: str, start: int, end: int) -> Clause:
    clause = sentence[start:end]
    found = list(_mentions(clause))
    return Clause(
        start,
        end,
        tuple(replace(m, start=m.start + start, end=m.end + start) for m in found),
        tuple(_addressed(clause, found)),
        tuple(_clean(clause, found)),
        lexicon.HEDGE.search(clause) is not None,
        lexicon.IMPERATIVE.match(clause) is not None,
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


def kinship(stated: str, tagged: str) -> Literal["same", "sister"] | None:
    """Say whether a stated defect is a tagged one.

    Args:
        stated: Defect of the lexicon that a text names.
        tagged: Defect of the lexicon that an image's tag names.

    Returns:
        "same" for the defect itself and for the word for its kind, "sister" for another species
        of the kind, None for anything else.

    Example:
        >>> kinship("blur", "lens_blur"), kinship("motion_blur", "lens_blur")
        ('same', 'sister')
    """
    kind = lexicon.DEFECTS[tagged].kind
    if lexicon.DEFECTS[stated].kind != kind:
        return None
    return "same" if stated == tagged or kind in (stated, tagged) else "sister"


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
        yield Mention(name, _severity(clause, start, end), _denied(clause, start, end), start, end)


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


def _quality_words(sentence: str) -> Iterator[QualityWord]:
    """Read "the quality is poor" and "of poor quality", not the defects that follow."""
    for pattern in (_QUALITY_IS, _A_QUALITY):
        for match in pattern.finditer(sentence):
            words = re.split(r" with | and ", match["words"])[0]
            found = [
                (step, hit.end()) for step, word in _STEPS.items() if (hit := word.search(words))
            ]
            if found and not lexicon.NEGATION.search(words):
                step, end = found[0]
                yield QualityWord(step, match.start(), match.start("words") + end)

"""What an English text states about an image: which attributes, which defects, how severe.

`read` reads a whole text, `read_sentence` one sentence with the places of what it says. The rubric
judge and the case studies decide from the same reading; all words stand in `lexicon`.

Source:
    Decision D72.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from qponder_lib.records import Severity
from qponder_lib.text import lexicon

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s|\n")
# At most 600 characters: text without a full stop must cost no more than other text.
_PIECE = re.compile(r"\S(?:.{0,598}\S)?(?=\s|$)|\S{1,600}")
_WORD = re.compile(r"\w")
_CLAUSE = re.compile(
    r"\s*[:()]\s*|,?\s+\b(?:but|although|though|however|yet|while|whereas|except|conversely|"
    r"nevertheless)\b\s*|,\s+(?=(?:and )?(?:the|there|it|this|its|which|with|where|making|an?)\b)"
)
_REACH = 6  # words between a defect and the word for its severity
_NEGATION_REACH = 12  # words; "no lens distortion, aberration or vignetting"
_PER_CLAUSE = 2  # attributes that one clause can address: a list of names addresses none
_QUALITY = (
    re.compile(r"\bquality\b(?P<words>[^.,;]{0,48})"),
    re.compile(r"\b(?P<words>(?:\w+[ -]){1,2}?)(?:overall |image |visual )?quality\b"),
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A defect in a sentence: stated with a severity or without, or denied.

    Attributes:
        defect: Its name in the lexicon.
        severity: What the sentence says about its severity, or None.
        denied: Whether the sentence says that it is not there.
        start: First letter in the sentence.
        end: One behind the last.
        sentence: Number of the sentence.
    """

    defect: str
    severity: Severity | None
    denied: bool
    start: int = 0
    end: int = 0
    sentence: int = 0

    @property
    def attribute(self) -> str:
        """The low-level attribute that the defect spoils."""
        return lexicon.DEFECTS[self.defect].attribute


@dataclass(frozen=True, slots=True)
class Clause:
    """What one clause says by itself.

    Attributes:
        start: First letter in the sentence.
        end: One behind the last.
        mentions: Defects that it states or denies, in its order.
        addressed: Attributes that it says something about.
        clean: Low-level attributes in which it states that nothing is wrong.
        hedged: Whether it leaves open what it names; the rubric takes it as stated.
        asks: Whether it asks for something instead of stating it; likewise.
    """

    start: int
    end: int
    mentions: tuple[Mention, ...]
    addressed: tuple[str, ...]
    clean: tuple[str, ...]
    hedged: bool
    asks: bool


@dataclass(frozen=True, slots=True)
class QualityWord:
    """A word for the whole image's quality: its severity bin from 0, and where it stands."""

    step: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one sentence says by itself; advice has no clauses.

    Attributes:
        clauses: Its clauses in order.
        quality: Words for the whole image's quality.
        ordered: Attributes that it orders to improve.
    """

    clauses: tuple[Clause, ...] = ()
    quality: tuple[QualityWord, ...] = ()
    ordered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says; numbers are those of its sentences, from 0.

    Attributes:
        sentences: The text's sentences.
        addressed: The first sentence that says something about an attribute of Table 5.
        mentions: Defects that are stated or denied, advice left out.
        clean: Sentences that state that nothing is wrong with a low-level attribute.
        ordered: Sentences that order to improve an attribute.
        quality: (severity bin, sentence) of each word for the whole image's quality.
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


def read(text: str) -> Reading:
    """Read a text sentence by sentence.

    Args:
        text: English, already sanitized.

    Returns:
        What it says.

    Example:
        >>> said = read("Edges are sharp. There is severe noise. Overall the quality is poor.")
        >>> said.addressed, said.stated[0].severity, said.quality
        ({'sharpness': 0, 'noise': 1}, 'severe', ((1, 2),))
    """
    sentences = tuple(split_sentences(text))
    said = [read_sentence(sentence) for sentence in sentences]
    clauses = [(clause, number) for number, one in enumerate(said) for clause in one.clauses]
    return Reading(
        sentences,
        addressed=_first((name, at) for clause, at in clauses for name in clause.addressed),
        mentions=tuple(replace(m, sentence=at) for clause, at in clauses for m in clause.mentions),
        clean=_first((name, at) for clause, at in clauses for name in clause.clean),
        ordered=_first((name, at) for at, one in enumerate(said) for name in one.ordered),
        quality=tuple((word.step, at) for at, one in enumerate(said) for word in one.quality),
    )


def _first(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Keep the first sentence of each name."""
    found: dict[str, int] = {}
    for name, sentence in pairs:
        found.setdefault(name, sentence)
    return found


def read_sentence(sentence: str) -> Sentence:
    """Read one sentence; all places are places in it.

    Example:
        >>> (clause,) = read_sentence("There is no blur or noise.").clauses
        >>> [(mention.defect, mention.denied, mention.start) for mention in clause.mentions]
        [('blur', True, 12), ('noise', True, 20)]
    """
    lowered = sentence.lower()
    if len(lowered) != len(sentence):  # places stay the same where a letter has two small ones
        lowered = "".join(small if len(small := one.lower()) == 1 else one for one in sentence)
    return _read_lowered(lowered)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences with single spaces; endless ones are cut, empty ones left out.

    The work grows with the length of the text and no faster.

    Example:
        >>> split_sentences("(1) Edges are sharp.  Noise, 2.5 levels; slight.")
        ['(1) Edges are sharp.', 'Noise, 2.5 levels;', 'slight.']
    """
    parts = (" ".join(part.split()) for part in _SENTENCE_END.split(text))
    return [piece for part in parts for piece in _PIECE.findall(part) if _WORD.search(piece)]


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Find the sentences of a text where they stand: first letter, and one behind the last.

    Example:
        >>> text = "Sharp.  Clean, (2) bright."
        >>> [text[start:end] for start, end in sentence_spans(text)]
        ['Sharp.', 'Clean, (2) bright.']
    """
    start = 0
    ends = [end.span() for end in _SENTENCE_END.finditer(text)]
    for stop, following in [*ends, (len(text), len(text))]:
        for piece in _PIECE.finditer(text[start:stop]):
            if _WORD.search(piece.group()):
                yield start + piece.start(), start + piece.end()
        start = following


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


@lru_cache(maxsize=1 << 14)  # models repeat their sentences
def _read_lowered(sentence: str) -> Sentence:
    if lexicon.ADVICE.search(sentence):
        ordered = [name for name, words in lexicon.REMEDIES.items() if words.search(sentence)]
        return Sentence(ordered=tuple(ordered) if lexicon.ORDER.search(sentence) else ())
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


def _mentions(clause: str) -> Iterator[Mention]:
    """Find defects, the longer and more specific name first, each stretch of text once."""
    found: list[tuple[int, int, str]] = []
    for name, defect in lexicon.DEFECTS.items():
        for match in defect.pattern.finditer(clause):
            if not any(start < match.end() and match.start() < end for start, end, _ in found):
                found.append((*match.span(), name))
    for start, end, name in sorted(found):
        yield Mention(name, _severity(clause, start, end), _denied(clause, start, end), start, end)


def _severity(clause: str, start: int, end: int) -> Severity | None:
    """Take the nearest word for a severity before the defect, else the nearest behind it."""
    before: list[tuple[int, int, Severity]] = []
    behind: list[tuple[int, int, Severity]] = []
    for strength, (severity, pattern) in enumerate(lexicon.SEVERITY_WORDS.items()):
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
    for attribute, pattern in (lexicon.LOW_LEVEL | lexicon.HIGH_LEVEL).items():
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
    patterns = (lexicon.GOOD, lexicon.OTHER_ASSESSMENT, *lexicon.SEVERITY_WORDS.values())
    return any(pattern.search(rest) for pattern in patterns)


def _clean(clause: str, mentions: Sequence[Mention]) -> list[str]:
    """Name the low-level attributes that a clause praises, or whose defects it denies at large."""
    if any(not mention.denied for mention in mentions):
        return []
    if not mentions and (artifact := lexicon.ANY_ARTIFACT.search(clause)):
        return ["artifacts"] if _denied(clause, *artifact.span()) else []
    # The word for a kind denies the kind.
    clean = [mention.attribute for mention in mentions if mention.defect in ("noise", "blur")]
    praise = lexicon.GOOD.search(clause)
    other = lexicon.NEGATION.search(clause) or lexicon.OTHER_ASSESSMENT.search(clause)
    if praise and not other:
        for attribute, pattern in lexicon.LOW_LEVEL.items():
            match = pattern.search(clause)
            if match and match.span() != praise.span():
                clean.append(attribute)
        if "range" in clean and "sharpness" in clean:
            clean.remove("sharpness")
    return list(dict.fromkeys(clean))


def _quality_words(sentence: str) -> Iterator[QualityWord]:
    """Read "the quality is poor" and "of poor quality", not the defects that follow."""
    for pattern in _QUALITY:
        for match in pattern.finditer(sentence):
            words = re.split(r" with | and ", match["words"])[0]
            found = [
                (step, hit.end())
                for step, word in lexicon.QUALITY_WORDS.items()
                if (hit := word.search(words))
            ]
            if found and not lexicon.NEGATION.search(words):
                step, end = found[0]
                yield QualityWord(step, match.start(), match.start("words") + end)

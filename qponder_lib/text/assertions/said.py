"""What a text, a sentence or a clause says, as records."""

from __future__ import annotations

from dataclasses import dataclass

from qponder_lib.records import Severity
from qponder_lib.text.assertions import lexicon


@dataclass(frozen=True, slots=True)
class Mention:
    """A defect in a sentence: stated with a severity or without, or denied.

    Attributes:
        defect: Its name in the lexicon.
        severity: What the sentence says about its strength, or None.
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
    """A word for the whole image's quality: its fifth of the scale, and where it stands."""

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
        advice: Whether it gives advice instead of stating something.
    """

    clauses: tuple[Clause, ...] = ()
    quality: tuple[QualityWord, ...] = ()
    ordered: tuple[str, ...] = ()
    advice: bool = False

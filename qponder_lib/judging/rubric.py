"""The offline judge: a rubric that anybody can check with a pencil.

It reads the text and the tags of the image, never the image. What it cannot decide it leaves
open, with the reason. See `statements.lexicon` for every word it knows.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from qponder_lib.artifacts import digest
from qponder_lib.judging.contradictions import contradictions, steps_apart
from qponder_lib.judging.sanitise import sanitise
from qponder_lib.records import Aspect, Evidence, ImageRecord, JudgementRecord, Severity
from qponder_lib.scales import severity_of
from qponder_lib.text import lexicon
from qponder_lib.text.assertions import Mention, Reading, kinship, named_in, read

RUBRIC = "rubric-v1"
"""Name under which the rubric is recorded; another version when it or a word of it changes."""

NO_TEXT = "no_text"
NO_TAG = "no_tag"
NO_SEVERITY = "no_severity"
NO_STATEMENT = "no_statement"

_LOW_WEIGHT, _HIGH_WEIGHT = 2 / 3, 1 / 3  # Table 5: low-level critical, high-level supportive
_WRONG_SEVERITY = 0.5
_OTHER_SPECIES = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text to be judged.

    Attributes:
        model: Who wrote it.
        image: What it is about; its tags are what the text is held against.
        text: The whole answer, or None if there is none.
        score: The score that the answer states, read by `parsing`; None if it is unreadable.
        key: Tells several texts of one author about one image apart.
    """

    model: str
    image: ImageRecord
    text: str | None
    score: float | None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Rated:
    """One aspect: a rating from 1 to 5 or the reason why there is none, and what decided it."""

    rating: int | None
    reason: str | None
    evidence: tuple[Evidence, ...]


class RubricJudge:
    """Rates by the rubric; the same text always gets the same ratings."""

    name = RUBRIC

    def judge(self, candidate: Candidate, *, repeat: int = 0) -> JudgementRecord:
        """Rate one text.

        Source:
            Q-Ponder (arXiv:2506.05384), Table 6, read as a rubric; see decision D30.
        """
        clean = sanitise(candidate.text or "")
        reading = read(clean.text)
        if not (candidate.text or "").strip():
            rated = dict.fromkeys(_RATERS, Rated(None, NO_TEXT, ()))
        else:
            rated = {aspect: rate(reading, candidate) for aspect, rate in _RATERS.items()}
        return JudgementRecord(
            judgement_id=judgement_id(self.name, candidate, repeat),
            judge=self.name,
            version=self.name,
            model=candidate.model,
            dataset=candidate.image.dataset,
            image_id=candidate.image.image_id,
            repeat=repeat,
            **{aspect: one.rating for aspect, one in rated.items()},
            reasons={aspect: one.reason for aspect, one in rated.items() if one.reason},
            evidence=tuple(item for one in rated.values() for item in one.evidence),
            n_words=len(clean.text.split()),
            removed=clean.removed,
            text_sha256=text_sha256(candidate.text),
        )


def judgement_id(judge: str, candidate: Candidate, repeat: int) -> str:
    """Return the digest of what decides which judgement this is."""
    return digest(
        {
            "judge": judge,
            "model": candidate.model,
            "image_id": candidate.image.image_id,
            "key": candidate.key,
            "text": text_sha256(candidate.text),
            "repeat": repeat,
        }
    )


def text_sha256(text: str | None) -> str | None:
    """Hash a text, half surrogate pairs included."""
    if text is None:
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def rate_completeness(reading: Reading, candidate: Candidate) -> Rated:
    """Rate how many of Table 5's attributes a text really says something about.

    The share of the eight low-level attributes counts two thirds, that of the six high-level ones
    one third; each fifth of the sum is one point. A name without a statement is not counted.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, task 1; the weights are ours, decision D30.

    Example:
        >>> from qponder_lib.text.assertions import read
        >>> rate_completeness(read("Edges are sharp. Colors look natural."), None).rating
        1
    """
    low = [name for name in lexicon.LOW_LEVEL if name in reading.addressed]
    high = [name for name in lexicon.HIGH_LEVEL if name in reading.addressed]
    share = _LOW_WEIGHT * len(low) / len(lexicon.LOW_LEVEL)
    share += _HIGH_WEIGHT * len(high) / len(lexicon.HIGH_LEVEL)
    evidence = [
        Evidence(aspect="completeness", finding=name, sentence=reading.addressed[name])
        for name in (*low, *high)
    ]
    return Rated(_fifth(share), None, tuple(evidence))


def rate_accuracy(reading: Reading, candidate: Candidate) -> Rated:
    """Rate whether the tagged distortions are named with the right severity, and no others.

    Each tagged distortion earns 1 if it is named and its severity is within one step of the
    tag's, half if the severity is further off or not said, half of that if another species of the
    same kind is named (motion blur for lens blur). With c the sum, t tags and s distortions
    stated, the rating is the fifth that 2c / (t + s) lies in: naming everything earns little.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, task 2; severity by section 3.1.
    """
    image = candidate.image
    tags = list(dict.fromkeys(distortion.name for distortion in image.distortions))
    if not tags:
        return Rated(None, NO_TAG, ())
    if image.mos is None and image.severity is None:
        return Rated(None, NO_SEVERITY, ())
    true = image.severity or severity_of(image.mos)
    credits, evidence, used = 0.0, [], set()
    for tag in tags:
        credit, finding, mention = _named(tag, true, reading)
        credits += credit
        evidence.append(
            Evidence(
                aspect="accuracy",
                finding=finding,
                sentence=None if mention is None else mention.sentence,
            )
        )
        used |= {mention.defect} if mention else set()
    stated = {mention.defect: mention for mention in reversed(reading.stated)}
    others = _beside(stated, used)
    evidence += [
        Evidence(aspect="accuracy", finding=f"not tagged: {name}", sentence=stated[name].sentence)
        for name in sorted(others)
    ]
    matched = sum(not item.finding.startswith(("missed", "not tagged")) for item in evidence)
    return Rated(_fifth(2.0 * credits / (len(tags) + matched + len(others))), None, tuple(evidence))


def rate_reasonableness(reading: Reading, candidate: Candidate) -> Rated:
    """Rate whether a text contradicts itself or its score: 5, less 1 per contradiction.

    Contradictions: a defect both stated and denied; an attribute praised whose defect is stated
    as noticeable or worse; one defect with severities more than one step apart; an order to mend
    what was found good; words for the whole quality more than one fifth apart, from each other or
    from the score; a worst defect more than two steps from the fifth the score lies in.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, task 3, as far as a text can show it: whether
        something is hallucinated, the tags decide under accuracy.
    """
    if not (reading.addressed or reading.mentions or reading.quality):
        return Rated(None, NO_STATEMENT, ())
    found = contradictions(reading, candidate.score)
    evidence = tuple(
        Evidence(aspect="reasonableness", finding=finding, sentence=sentence)
        for finding, sentence in found
    )
    return Rated(max(1, 5 - len(found)), None, evidence)


_RATERS: dict[Aspect, object] = {
    "completeness": rate_completeness,
    "accuracy": rate_accuracy,
    "reasonableness": rate_reasonableness,
}


def _fifth(share: float) -> int:
    """Name the fifth of [0, 1] a share lies in, 1 to 5; a share on a border the upper one."""
    return 1 + min(int(share * 5.0 + 1e-9), 4)


def _named(tag: str, true: Severity, reading: Reading) -> tuple[float, str, Mention | None]:
    """Find the statement that names a tag best: its credit, the finding and the statement."""
    defect = named_in(tag)
    best: tuple[float, str, Mention | None] = (0.0, f"missed: {tag}", None)
    if defect is None:
        return _named_literally(tag, reading) or best
    for mention in reading.stated:
        kin = kinship(mention.defect, defect)
        if kin is None:
            continue
        near = mention.severity is not None and steps_apart(mention.severity, true) <= 1
        credit = (1.0 if kin == "same" else _OTHER_SPECIES) * (1.0 if near else _WRONG_SEVERITY)
        if credit > best[0]:
            said = f"{mention.severity or 'no severity'} {mention.defect}"
            best = (credit, f"named: {tag} as {said}, tag says {true}", mention)
    return best


def _named_literally(tag: str, reading: Reading) -> tuple[float, str, Mention | None] | None:
    """A tag that is no word of the lexicon counts as named where its own words stand."""
    words = re.compile(rf"\b{re.escape(tag.replace('_', ' ').lower())}\b")
    for sentence in reading.sentences:
        if words.search(sentence.lower()) and not lexicon.NEGATION.search(sentence.lower()):
            return _WRONG_SEVERITY, f"named: {tag} in its own words, severity not read", None
    return None


def _beside(stated: dict[str, Mention], used: set[str]) -> set[str]:
    """Stated defects that name no tag; the word for a kind is no second defect beside it."""
    kinds = {lexicon.DEFECTS[name].kind for name in used}
    return {name for name in stated if lexicon.DEFECTS[name].kind not in kinds}

"""The offline judge: a rubric that anybody can check with a pencil.

It reads the text and the tags of the image, never the image. What it cannot decide it leaves
open, with the reason. Every word that it knows stands in `text.lexicon`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qponder_lib.artifacts import digest
from qponder_lib.judging.sanitize import sanitize
from qponder_lib.records import ASPECTS, Aspect, Evidence, ImageRecord, JudgementRecord, Severity
from qponder_lib.scales import SEVERITIES, severity_of
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
_STRONG = SEVERITIES[:3]
_SCORE_STEPS = 2  # severity bins between a score and the worst defect that may lie open


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text to be judged.

    Attributes:
        model: Who wrote it.
        image: What it is about; its tags are what the text is held against.
        text: The whole response or prediction, or None if there is none.
        score: The score that it states, read by `parsing`; None if it is unparsed.
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


def judge(candidate: Candidate, repeat: int = 0) -> JudgementRecord:
    """Rate one text by the rubric; the same text always gets the same ratings.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, read as a rubric; see decision D30.
    """
    if (candidate.text or "").strip():
        reading = read(sanitize(candidate.text).text)
        rated = {
            "completeness": rate_completeness(reading),
            "accuracy": rate_accuracy(reading, candidate.image),
            "reasonableness": rate_reasonableness(reading, candidate.score),
        }
    else:
        rated = dict.fromkeys(ASPECTS, Rated(None, NO_TEXT, ()))
    return judgement_record(
        RUBRIC,
        candidate,
        repeat,
        {aspect: one.rating for aspect, one in rated.items()},
        reasons={aspect: one.reason for aspect, one in rated.items() if one.reason},
        version=RUBRIC,
        evidence=tuple(item for one in rated.values() for item in one.evidence),
    )


def judgement_record(
    judge: str,
    candidate: Candidate,
    repeat: int,
    ratings: Mapping[str, int | None],
    **more: Any,
) -> JudgementRecord:
    """Write down the ratings of one text; `more` are fields of the record that judges fill in."""
    clean = sanitize(candidate.text or "")
    text = candidate.text
    if text is not None:  # half surrogate pairs are hashed too
        text = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    identity = {
        "judge": judge,
        "model": candidate.model,
        "image_id": candidate.image.image_id,
        "key": candidate.key,
        "text": text,
        "repeat": repeat,
    }
    return JudgementRecord(
        judgement_id=digest(identity),
        judge=judge,
        model=candidate.model,
        dataset=candidate.image.dataset,
        image_id=candidate.image.image_id,
        repeat=repeat,
        n_words=len(clean.text.split()),
        removed=clean.removed,
        text_sha256=text,
        **ratings,
        **more,
    )


def rate_completeness(reading: Reading) -> Rated:
    """Rate how many of Table 5's attributes a text really says something about.

    The share of the eight low-level attributes counts two thirds, that of the six high-level ones
    one third; each fifth of the sum is one point. A name without a statement is not counted.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, task 1; the weights are ours, decision D30.

    Example:
        >>> rate_completeness(read("Edges are sharp. Colors look natural.")).rating
        1
    """
    low = [name for name in lexicon.LOW_LEVEL if name in reading.addressed]
    high = [name for name in lexicon.HIGH_LEVEL if name in reading.addressed]
    share = _LOW_WEIGHT * len(low) / len(lexicon.LOW_LEVEL)
    share += _HIGH_WEIGHT * len(high) / len(lexicon.HIGH_LEVEL)
    found = [(name, reading.addressed[name]) for name in (*low, *high)]
    return Rated(_fifth(share), None, _evidence("completeness", found))


def rate_accuracy(reading: Reading, image: ImageRecord) -> Rated:
    """Rate whether the tagged distortions are named with the right severity, and no others.

    Each tagged distortion earns 1 if it is named and its severity is within one step of the
    tag's, half if the severity is further off or not said, half of that if another species of the
    same kind is named (motion blur for lens blur). With c the sum, t tags and s distortions
    stated, the rating is the fifth that 2c / (t + s) lies in: naming everything earns little.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, task 2; severity by section 3.1.
    """
    tags = list(dict.fromkeys(distortion.name for distortion in image.distortions))
    if not tags:
        return Rated(None, NO_TAG, ())
    if image.mos is None and image.severity is None:
        return Rated(None, NO_SEVERITY, ())
    true = image.severity or severity_of(image.mos)
    best = [_named(tag, true, reading) for tag in tags]
    found = [(finding, mention and mention.sentence) for _, finding, mention in best]
    n_named = sum(credit > 0.0 for credit, _, _ in best)
    # Stated defects that name no tag; the word for a kind is no second defect beside it.
    kinds = {lexicon.DEFECTS[mention.defect].kind for _, _, mention in best if mention}
    stated = {mention.defect: mention for mention in reversed(reading.stated)}
    others = sorted(name for name in stated if lexicon.DEFECTS[name].kind not in kinds)
    found += [(f"not tagged: {name}", stated[name].sentence) for name in others]
    share = 2.0 * sum(credit for credit, _, _ in best) / (len(tags) + n_named + len(others))
    return Rated(_fifth(share), None, _evidence("accuracy", found))


def rate_reasonableness(reading: Reading, score: float | None) -> Rated:
    """Rate whether a text contradicts itself or its score: 5, less 1 per contradiction.

    Contradictions: a defect both stated and denied; an attribute praised whose defect is stated
    as noticeable or worse; one defect with severities more than one step apart; an order to mend
    what was found good; words for the whole quality more than one severity bin apart, from each
    other or from the score; a worst defect more than two bins from that of the score.

    Source:
        Q-Ponder (arXiv:2506.05384), Table 6, task 3, as far as a text can show it: whether
        something is hallucinated, the tags decide under accuracy.
    """
    if not (reading.addressed or reading.mentions or reading.quality):
        return Rated(None, NO_STATEMENT, ())
    found = contradictions(reading, score)
    return Rated(max(1, 5 - len(found)), None, _evidence("reasonableness", found))


def _evidence(aspect: Aspect, found: Iterable[tuple[str, int | None]]) -> tuple[Evidence, ...]:
    return tuple(Evidence(aspect=aspect, finding=text, sentence=at) for text, at in found)


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


def contradictions(reading: Reading, score: float | None) -> list[tuple[str, int]]:
    """List the contradictions of a text.

    Args:
        reading: What the text says.
        score: The score that goes with it, 0 to 100; None leaves the score out.

    Returns:
        What contradicts what, and the number of the sentence, for each contradiction.

    Example:
        >>> contradictions(read("Edges are sharp. There is severe blur."), None)
        [('severe blur here, sharpness without fault in sentence 0', 1)]
    """
    return [
        *_stated_and_denied(reading),
        *_praised_but_defective(reading).values(),
        *_severities_apart(reading).values(),
        *_orders_without_cause(reading),
        *_against_score(reading, score),
    ]


def _stated_and_denied(reading: Reading) -> Iterator[tuple[str, int]]:
    denied = {mention.defect: mention for mention in reversed(reading.denied)}
    stated = {mention.defect: mention for mention in reversed(reading.stated)}
    for name, mention in stated.items():
        denial = denied.get(name) or denied.get(lexicon.DEFECTS[name].kind)
        if denial:
            yield f"{name} stated here, denied in sentence {denial.sentence}", mention.sentence


def _praised_but_defective(reading: Reading) -> dict[str, tuple[str, int]]:
    """Praise and a defect of one attribute; what was denied by name is counted as a denial."""
    denied = {mention.attribute for mention in reading.denied}
    found: dict[str, tuple[str, int]] = {}
    for one in reading.stated:
        praised = one.attribute in reading.clean and one.attribute not in denied
        if praised and one.severity in _STRONG:
            praise = f"{one.attribute} without fault in sentence {reading.clean[one.attribute]}"
            finding = f"{one.severity} {one.defect} here, {praise}"
            found.setdefault(one.attribute, (finding, one.sentence))
    return found


def _severities_apart(reading: Reading) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    first: dict[str, Mention] = {}
    for one in reading.stated:
        if one.severity is None:
            continue
        before = first.setdefault(one.defect, one)
        if steps_apart(before.severity, one.severity) > 1:
            earlier = f"{before.severity} in sentence {before.sentence}"
            finding = f"{one.severity} {one.defect} here, {earlier}"
            found.setdefault(one.defect, (finding, one.sentence))
    return found


def _orders_without_cause(reading: Reading) -> Iterator[tuple[str, int]]:
    defective = {mention.attribute for mention in reading.stated}
    for name, sentence in reading.ordered.items():
        if name in reading.clean and name not in defective:
            praise = f"without fault in sentence {reading.clean[name]}"
            yield f"order to improve {name}, {praise}", sentence


def _against_score(reading: Reading, score: float | None) -> Iterator[tuple[str, int]]:
    steps = [step for step, _ in reading.quality]
    if steps and max(steps) - min(steps) > 1:
        yield "words for the whole quality contradict each other", reading.quality[-1][1]
    if score is None:
        return
    stated = SEVERITIES.index(severity_of(score))
    if steps and abs(steps[-1] - stated) > 1:
        yield f"quality word against the score {score:g}", reading.quality[-1][1]
    severities = [mention.severity for mention in reading.stated]
    if severities and None not in severities:  # one without a severity may be the worst
        worst = min(reading.stated, key=lambda mention: SEVERITIES.index(mention.severity))
        if abs(SEVERITIES.index(worst.severity) - stated) > _SCORE_STEPS:
            finding = f"{worst.severity} {worst.defect} as the worst against score {score:g}"
            yield finding, worst.sentence


def steps_apart(one: Severity, other: Severity) -> int:
    """Count the steps between two severities.

    Example:
        >>> steps_apart("extreme", "noticeable"), steps_apart("slight", "slight")
        (2, 0)
    """
    return abs(SEVERITIES.index(one) - SEVERITIES.index(other))

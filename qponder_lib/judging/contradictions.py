"""Where a text contradicts itself or its score."""

from __future__ import annotations

from collections.abc import Sequence

from qponder_lib.records import Severity
from qponder_lib.scales import SEVERITIES, severity_of
from qponder_lib.text import lexicon
from qponder_lib.text.assertions import Mention, Reading

Finding = tuple[str, int]
"""What contradicts what, and the sentence."""

_STRONG = ("extreme", "severe", "noticeable")
_SCORE_STEPS = 2  # fifths of the scale between a score and the worst defect that may lie open


def contradictions(reading: Reading, score: float | None) -> list[Finding]:
    """List the contradictions of a text.

    Args:
        reading: What the text says.
        score: The score that goes with it, 0 to 100; None leaves the score out.

    Returns:
        One finding per contradiction.

    Example:
        >>> from qponder_lib.text.assertions import read
        >>> contradictions(read("Edges are sharp. There is severe blur."), None)
        [('severe blur here, sharpness without fault in sentence 0', 1)]
    """
    return [
        *_denials(reading),
        *_praised_but_damaged(reading),
        *_severities_apart(reading),
        *_orders_without_cause(reading),
        *_against_score(reading, score),
    ]


def steps_apart(one: Severity, other: Severity) -> int:
    """Count the steps between two severities.

    Example:
        >>> steps_apart("extreme", "noticeable"), steps_apart("slight", "slight")
        (2, 0)
    """
    return abs(SEVERITIES.index(one) - SEVERITIES.index(other))


def _denials(reading: Reading) -> list[Finding]:
    found = {}
    denied = {mention.defect: mention for mention in reversed(reading.denied)}
    stated = {mention.defect: mention for mention in reversed(reading.stated)}
    for name, mention in stated.items():
        denial = denied.get(name) or denied.get(lexicon.DEFECTS[name].kind)
        if denial:
            where = f"denied in sentence {denial.sentence}"
            found[name] = (f"{name} stated here, {where}", mention.sentence)
    return list(found.values())


def _praised_but_damaged(reading: Reading) -> list[Finding]:
    """Praise and damage of one attribute; what was denied by name is counted once, as a denial."""
    denied = {mention.attribute for mention in reading.denied}
    found = {}
    for mention in reading.stated:
        attribute = mention.attribute
        if attribute in reading.clean and attribute not in denied and mention.severity in _STRONG:
            found.setdefault(
                attribute,
                (
                    f"{mention.severity} {mention.defect} here, {attribute} without fault in "
                    f"sentence {reading.clean[attribute]}",
                    mention.sentence,
                ),
            )
    return list(found.values())


def _severities_apart(reading: Reading) -> list[Finding]:
    found = {}
    first: dict[str, Mention] = {}
    for mention in reading.stated:
        if mention.severity is None:
            continue
        before = first.setdefault(mention.defect, mention)
        if steps_apart(before.severity, mention.severity) > 1:
            found.setdefault(
                mention.defect,
                (
                    f"{mention.severity} {mention.defect} here, {before.severity} in sentence "
                    f"{before.sentence}",
                    mention.sentence,
                ),
            )
    return list(found.values())


def _orders_without_cause(reading: Reading) -> list[Finding]:
    damaged = {mention.attribute for mention in reading.stated}
    return [
        (
            f"order to improve {attribute}, without fault in sentence {reading.clean[attribute]}",
            sentence,
        )
        for attribute, sentence in reading.ordered.items()
        if attribute in reading.clean and attribute not in damaged
    ]


def _against_score(reading: Reading, score: float | None) -> list[Finding]:
    found = []
    steps = [step for step, _ in reading.quality]
    if steps and max(steps) - min(steps) > 1:
        found.append(("words for the whole quality contradict each other", reading.quality[-1][1]))
    if score is None:
        return found
    fifth = SEVERITIES.index(severity_of(score))
    if steps and abs(steps[-1] - fifth) > 1:
        found.append((f"quality word against the score {score:g}", reading.quality[-1][1]))
    worst = _worst(reading.stated)
    if worst and abs(SEVERITIES.index(worst.severity) - fifth) > _SCORE_STEPS:
        found.append(
            (
                f"{worst.severity} {worst.defect} as the worst against score {score:g}",
                worst.sentence,
            )
        )
    return found


def _worst(stated: Sequence[Mention]) -> Mention | None:
    """The worst defect; None where one has no severity, for it may be the worst."""
    if not stated or any(mention.severity is None for mention in stated):
        return None
    return min(stated, key=lambda mention: SEVERITIES.index(mention.severity))

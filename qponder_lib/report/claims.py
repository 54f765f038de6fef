"""The page of claims: one verdict per claim of both papers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qponder_lib.report.audit import PrintedAnswer, Verdict
from qponder_lib.report.parts import Section, Source, link
from qponder_lib.report.tables.markup import Html, element, join

VERDICTS = {
    "agrees_within_interval": ("agrees within the interval", "●"),
    "disagrees": ("disagrees", "✕"),
    "mini_scale_only": ("at mini scale only", "◐"),
    "not_run": ("not run", "○"),
}
"""Words and a sign for each verdict; the sign tells them apart without colour."""
_HOLDS = {
    True: "the direction claimed shows",
    False: "the direction claimed does not show",
    None: "undecided",
}
_PRINTED = {
    "holds": "holds in the printed tables",
    "holds_in_part": "holds in part of the printed tables",
    "does_not_hold": "does not hold in the printed tables",
    "not_decidable": "the printed tables do not decide it",
}


def claims_section(source: Source, verdicts: Sequence[Verdict]) -> Section:
    """List every claim with its verdict, one sentence, and the file behind it."""
    body = [
        element(
            "p",
            "What each paper claims, what its own printed tables say about it, and what this run "
            "shows. A verdict compares numbers only where image sets and size of model are those "
            "of the paper; at a smaller scale only the direction is told.",
        ),
        tally(verdicts),
    ]
    for paper in dict.fromkeys(verdict.claim.paper for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.claim.paper == paper]
        body.append(element("h3", f"{paper}: {len(mine)} claims"))
        body.append(element("div", *[_claim(source, one) for one in mine], class_="claims"))
    return Section("claims", "Claims and verdicts", join(*body))


def tally(verdicts: Sequence[Verdict]) -> Html:
    """Count verdicts, and among those at mini scale the directions."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    items = [element("li", _badge(name), f" {counts[name]}") for name in VERDICTS if counts[name]]
    small = Counter(v.holds for v in verdicts if v.verdict == "mini_scale_only")
    told = "; ".join(f"{_HOLDS[key]}: {small[key]}" for key in _HOLDS if small[key])
    return join(
        element("ul", *items, class_="tally"),
        element("p", f"At mini scale, {told}.") if told else None,
    )


def _claim(source: Source, verdict: Verdict) -> Html:
    claim = verdict.claim
    behind = None
    if verdict.file is not None:
        behind = element(
            "p", "File: ", link(source, source.run.root / verdict.file), class_="files"
        )
    direction = None
    if verdict.verdict == "mini_scale_only":
        direction = element("span", f": {_HOLDS[verdict.holds]}", class_="direction")
    return element(
        "article",
        element("p", _badge(verdict.verdict), direction, class_="verdict"),
        element("blockquote", f"“{claim.quote}”"),
        element("p", claim.place, class_="place"),
        element("p", verdict.sentence, class_="sentence"),
        None if verdict.printed is None else _printed(verdict.printed),
        behind,
        id=f"claim-{claim.id}",
        class_=f"claim {verdict.verdict}",
    )


def _printed(printed: PrintedAnswer) -> Html:
    told = element("b", f"As printed: {_PRINTED[printed.outcome]}. ")
    return element("p", told, _sentence(printed.sentence), class_="printed")


def _sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _badge(name: str) -> Html:
    words, sign = VERDICTS[name]
    return element(
        "span", element("span", sign, aria_hidden="true"), f" {words}", class_=f"badge {name}"
    )

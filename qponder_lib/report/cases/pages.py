"""A case as HTML: blue and underlined is right, red and struck by a wavy line is wrong.

Colour is never alone: lines and marks tell the same in print and to colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Sequence

from qponder_lib.report.cases.rows import Case, CaseAnswer
from qponder_lib.report.tables.markup import LONGEST, Html, element, join, visible
from qponder_lib.report.tables.render import number
from qponder_lib.report.tables.sources import model_label

_MARKS = {"right": "✓", "wrong": "✗"}
_NO_BREAK = Html("&#8288;")  # a mark stays on the line of its last word

STYLE = """
.case{border-top:1px solid #d5d9de;padding:1.1rem 0 .4rem}
p.case{border:0;padding:0}
.case h3{margin:0 0 .5rem}
.case .facts{display:flex;gap:1rem;align-items:flex-start;margin-bottom:.6rem}
.case .facts img{width:128px;height:auto;flex:none;border:1px solid #d5d9de;
 image-rendering:auto}
.case .facts p{margin:.1rem 0;font-size:.92rem}
.case .said{margin:.5rem 0;padding:.5rem .75rem;border-left:3px solid #b8bfc7;background:#f7f8f9}
.case .said .who{font-weight:600;font-size:.9rem;margin:0 0 .25rem}
.case .text{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;
 overflow:hidden;font-size:.92rem;line-height:1.65}
.case .right{color:#00508c;text-decoration:underline solid #00508c 1.5px;
 text-underline-offset:3px}
.case .wrong{color:#b3261e;text-decoration:underline wavy #b3261e 1.2px;text-underline-offset:3px}
.case .right sup,.case .wrong sup{display:inline-block;text-decoration:none;font-weight:700;
 padding:0 .1em}
.case .doubt{border-bottom:1px dotted #6e6e6e}
"""


def cases_style() -> str:
    """Return the style sheet of cases."""
    return STYLE


def case_html(case: Case, picture: str, models: Sequence[str] | None = None) -> Html:
    """Show one case.

    Args:
        case: The case.
        picture: Where its picture lies, as the page sees it, or a data address.
        models: Which answers to show; None for all.

    Returns:
        An HTML fragment in which all text of models and data sets is escaped.
    """
    image = case.image
    tags = ", ".join(f"{d.name.replace('_', ' ')}, level {d.level}" for d in image.distortions)
    mos = "no MOS" if image.mos is None else f"MOS {image.mos:.0f} ({image.severity or 'no tag'})"
    moved = None
    if case.change is not None:
        moved = f"Error {'fell' if case.change < 0 else 'rose'} by {abs(case.change):.1f} MOS units"
    facts = element(
        "div",
        element("p", element("b", visible(mos))),
        element("p", f"Tagged: {visible(tags) or 'nothing'}"),
        None if case.tags_complete else element("p", "Its tags may be incomplete."),
        None if moved is None else element("p", moved),
        element("p", element("small", visible(image.image_id))),
    )
    shown = [a for a in case.answers if models is None or a.model in models]
    return element(
        "article",
        element("h3", f"Case {case.number}: {case.rule}"),
        element(
            "div",
            element("img", src=picture, alt=f"Image of case {case.number}"),
            facts,
            class_="facts",
        ),
        *[answer_html(answer, image.mos) for answer in shown],
        class_="case",
    )


def answer_html(answer: CaseAnswer, mos: float | None) -> Html:
    """Show one answer with its statements marked."""
    told = f"no score ({answer.parse_status})"
    if answer.score is not None:
        told = f"score {number(answer.score, 1)}"
        if mos is not None:
            told += f", off by {abs(answer.score - mos):.1f}"
    pieces = []
    for statement in answer.statements:
        if statement.start >= LONGEST:
            break
        stretch = answer.text[statement.start : min(statement.end, LONGEST)]
        pieces.append(_stretch(stretch, statement.standing, statement.why))
    if len(answer.text) > LONGEST:
        pieces.append(element("i", f" … {LONGEST:,} of {len(answer.text):,} characters are shown"))
    return element(
        "div",
        element("p", f"{model_label(visible(answer.model))}: {told}", class_="who"),
        element("p", join(*pieces), class_="text", dir="ltr"),
        class_="said",
    )


def _stretch(text: str, standing: str, why: str) -> Html:
    """Mark a stretch; white space around it stays outside the mark."""
    inner = text.strip()
    if not inner or (standing == "undecided" and not why):
        return join(visible(text))
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    if standing == "undecided":
        return join(before, element("span", visible(inner), class_="doubt", title=why), after)
    mark = element("sup", _MARKS[standing], aria_label=standing)
    return join(
        before, element("span", visible(inner), _NO_BREAK, mark, class_=standing, title=why), after
    )

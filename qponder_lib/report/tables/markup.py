"""HTML in which text is always escaped, unless it is HTML that was built here.

Model text is hostile until shown: besides tags it may hold characters that turn the direction of
reading, hide, or ring a bell. They are shown by their code; nothing a model writes is ever run.
"""

from __future__ import annotations

import html
import unicodedata

LONGEST = 6000
"""Characters of one model text that a page shows."""
_VOID = frozenset({"img", "meta", "link", "br", "hr", "col"})


class Html(str):
    """A piece of HTML; any other string is text and gets escaped."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Return text as HTML; HTML stays as it is.

    Example:
        >>> escape("<b>"), escape(Html("<b>"))
        ('&lt;b&gt;', '<b>')
    """
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def element(tag: str, /, *children: object, **attributes: object) -> Html:
    """Build one element.

    Args:
        tag: Its name.
        children: HTML is kept, everything else is escaped; None is left out.
        attributes: Values are escaped; None is left out. `class_` means `class`, and `data_x`
            means `data-x`.

    Example:
        >>> element("p", "1 < 2 ", element("b", "so"), class_="note")
        '<p class="note">1 &lt; 2 <b>so</b></p>'
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children if child is not None)
    return Html(f"<{tag}{named}>" if tag in _VOID else f"<{tag}{named}>{inside}</{tag}>")


def join(*pieces: object) -> Html:
    """Put pieces one after the other."""
    return Html("".join(escape(piece) for piece in pieces if piece is not None))


def visible(text: str) -> str:
    r"""Show control and direction characters by their code; line breaks and tabs stay.

    Example:
        >>> visible("sharp\u202egnp.exe\x07")
        'sharp⟨U+202E⟩gnp.exe⟨U+0007⟩'
    """
    return "".join(
        f"⟨U+{ord(c):04X}⟩"
        if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c
        for c in text
    )

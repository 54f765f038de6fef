"""The pieces a section is made of: tables from files, figures with their numbers, links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qponder_lib import artifacts
from qponder_lib.paths import RunPaths
from qponder_lib.report.tables.markup import Html, element, join, visible
from qponder_lib.report.tables.render import MISSING

_PNG = b"\x89PNG\r\n\x1a\n"
_SHOWN_SHARE = 0.62  # figures are drawn at 180 dots per inch, a page has about 110
MOST_ROWS = 60
"""Rows of a CSV that the page shows; the file is linked."""


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading, what stands in it."""

    anchor: str
    title: str
    body: Html


@dataclass(frozen=True)
class Source:
    """A run as the page reads it.

    Attributes:
        run: Its paths.
        manifest: Its record; empty for a run that has none.
    """

    run: RunPaths
    manifest: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        found = artifacts.read_json(self.run.manifest) if self.run.manifest.is_file() else {}
        object.__setattr__(self, "manifest", found)

    @property
    def profile(self) -> dict[str, Any]:
        """The settings of the run as its manifest has them."""
        return self.manifest.get("profile", {})

    def setting(self, section: str, name: str, otherwise: Any) -> Any:
        """Return one setting, or another value where the manifest is missing."""
        return self.profile.get(section, {}).get(name, otherwise)

    def rows(self, path: Path) -> list[dict[str, str | None]]:
        """Read a CSV; nothing where there is no such file."""
        return artifacts.read_csv(path) if path.is_file() else []


def link(source: Source, path: Path, text: str | None = None) -> Html:
    """Link to a file of the run; only its name where it is not there."""
    name = source.run.relative(path)
    if not path.exists():
        return element("code", visible(text or name))
    return element("a", visible(text or name), href="../" + quote(name))


def missing(what: str, how: str) -> Html:
    """Say what is not there, and what would write it."""
    return element("p", f"{what}: not in this run. {how}", class_="missing")


def table_file(source: Source, name: str, how: str, *, folded: bool = False) -> Html:
    """Show a table of `tables/` as it was written for readers, with its CSV linked."""
    path = source.run.tables / f"{name}.html"
    if not path.is_file():
        return missing(f"tables/{name}.html", how)
    text = path.read_text(encoding="utf-8")
    for old, new in (("h3", "h4"), ("h2", "h3")):
        text = text.replace(f"<{old}>", f"<{new}>").replace(f"</{old}>", f"</{new}>")
    wide = '<div class="wide" tabindex="0" role="region" aria-label="table">'
    text = text.replace("<table>", f"{wide}<table>").replace("</table>", "</table></div>")
    numbers = element("p", "Numbers: ", link(source, path.with_suffix(".csv")), class_="files")
    if not folded:
        return join(Html(text), numbers)
    title = text.split("<h3>", 1)[-1].split("</h3>", 1)[0]
    return element("details", element("summary", Html(title)), Html(text), numbers)


def csv_table(
    source: Source, path: Path, columns: Sequence[str] | None = None, most: int = MOST_ROWS
) -> Html:
    """Show the rows of a CSV; numbers are cut to three decimals, the file holds them all."""
    rows = source.rows(path)
    names = list(columns or (rows[0] if rows else ()))
    return join(
        grid(
            [name.replace("_", " ") for name in names],
            [[short(row.get(name)) for name in names] for row in rows[:most]],
        ),
        element(
            "p",
            f"{len(rows)} rows. " if len(rows) > most else "",
            "Numbers: ",
            link(source, path),
            class_="files",
        ),
    )


def grid(header: Sequence[object], rows: Sequence[Sequence[object]]) -> Html:
    """Build a table that scrolls by itself where the page is narrow; first column names the row."""
    head = element("tr", *[element("th", name, scope="col") for name in header])
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *[element("td", cell) for cell in row[1:]],
        )
        for row in rows
    ]
    table = element("table", element("thead", head), element("tbody", *body))
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label="table")


def short(value: str | None) -> str:
    """Write a cell of a CSV for readers.

    Example:
        >>> short("0.123456"), short(None), short("300"), short("too_few")
        ('0.123', '–', '300', 'too_few')
    """
    if value is None or value == "":
        return MISSING
    try:
        number = float(value)
    except ValueError:
        return visible(value)
    return value if number == int(number) and "." not in value else f"{number:.3f}"


def _shown_width(path: Path) -> int | None:
    """Return how wide a PNG is shown, so that its letters are about as large as the page's."""
    head = path.read_bytes()[:24]
    if len(head) < 24 or not head.startswith(_PNG):
        return None
    return round(int.from_bytes(head[16:20], "big") * _SHOWN_SHARE)


def picture(source: Source, name: str, caption: str) -> Html:
    """Show a figure of the run with what it shows, and link its vector file and its numbers."""
    path = source.run.figures / f"{name}.png"
    if not path.is_file():
        return missing(f"figures/{name}.png", "Notebook 10 draws it.")
    others = [path.with_suffix(suffix) for suffix in (".pdf", ".csv")]
    links = [link(source, other, other.suffix[1:].upper()) for other in others if other.is_file()]
    address = "../" + quote(source.run.relative(path))
    image = element("img", src=address, alt=caption, loading="lazy", width=_shown_width(path))
    told = join(caption, " ", *[join(one, " ") for one in links])
    return element(
        "figure", element("a", image, href=address, class_="wide"), element("figcaption", told)
    )

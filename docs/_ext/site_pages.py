"""Pages that are made from the repository: notebooks, figures, tables, training metrics.

Nothing here needs Sphinx; `docs/generated/` is written anew by every build and not committed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import training_metrics

from qponder_lib.report import outputs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "generated"
NOTEBOOKS = GENERATED / "notebooks"
REFERENCES = ROOT / "papermill_runs" / "reference"
COPIED = {
    ROOT / "CONTRIBUTING.md": GENERATED / "contributing.md",
    ROOT / "notebooks" / "PAPER_INDEX.md": GENERATED / "paper_index.md",
}
"""Pages that stand elsewhere in the repository, and where the site shows them."""
LONGEST_TABLE = 100
"""Lines of a table that is shown; a longer one is a link to its CSV."""
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^()\s]+(?=\))")
_FENCE = re.compile(r"(?ms)^(`{3,}|:{3,})(?!.*\{).*?^\1|`[^`\n]+`")
_WIDGET = "application/vnd.jupyter.widget-view+json"


def write_pages() -> None:
    """Write everything in `docs/generated/`, and remove what is no longer made."""
    made = {
        GENERATED / "gallery.md": gallery(),
        GENERATED / "tables.md": tables(),
        GENERATED / "training_metrics.md": training_metrics.page(REFERENCES / "mini"),
        GENERATED / "what_came_out.inc": readme_section("What came out", DOCS / "index.md"),
        GENERATED / "notebook_list.inc": notebook_list(),
    }
    made |= {page: with_links(_text(source), source, page) for source, page in COPIED.items()}
    made |= {NOTEBOOKS / name: notebook_page(path) for name, path in notebooks().items()}
    for old in {path for path in GENERATED.rglob("*") if path.is_file()} - made.keys():
        old.unlink()
    for page, text in made.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.is_file() or _text(page) != text:  # else Sphinx would read it again
            page.write_text(text, encoding="utf-8")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# ---- links


def with_links(text: str, source: Path, page: Path) -> str:
    """Return the Markdown of a file as a page of the site, its relative links turned.

    Args:
        text: What stands in `source`, or a part of it.
        source: File of the repository; its links start there.
        page: File of the site; the links returned start there.
    """
    text = re.sub(r'<a id="\w+"></a>', "", text)  # `slug` gives these anchors
    text = re.sub(r"\[([^\]\n]+)\]\((?!\w+:)[^()\s#]+/\)", r"\1", text)  # folders have no page
    kept = [found.span() for found in _FENCE.finditer(text)]

    def turned(link: re.Match[str]) -> str:
        if any(start <= link.start() < end for start, end in kept):
            return link[0]
        name, _, anchor = link[0].partition("#")
        target = _shown_at((source.parent / unquote(name)).resolve())
        return os.path.relpath(target, page.parent) + (f"#{anchor}" if anchor else "")

    return _LINK.sub(turned, text)


def _shown_at(target: Path) -> Path:
    """Return the page of the site that shows a file of the repository; else the file."""
    if target.suffix == ".ipynb":
        return NOTEBOOKS / target.name
    return DOCS / "index.md" if target == ROOT / "README.md" else COPIED.get(target, target)


def slug(title: str) -> str:
    """Return the anchor of a heading: GitHub's; of a decision its number in small letters.

    Example:
        >>> slug("D13 Image sets"), slug("On another machine")
        ('d13', 'on-another-machine')
    """
    if number := re.match(r"D\d+(?= )", title):
        return number[0].lower()
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


class _Anchors(HTMLParser):
    """Ids of a page, and its links to this site."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        link = found.get("href" if tag in ("a", "link") else "src")
        if link and not re.match(r"\w+:|//", link):
            self.links.append(link)


def broken_links(site: Path) -> Iterator[str]:
    """Name every link in the HTML files of a folder that leads to no file or no anchor in it."""
    written = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    read = {path: _Anchors(_text(path)) for path in written}
    for page, found in read.items():
        for link in dict.fromkeys(found.links):
            name, _, anchor = link.partition("#")
            name = unquote(name.partition("?")[0])
            target = (page.parent / name).resolve() if name else page
            known = read[target].ids if target in read else {anchor}
            if not target.exists() or (anchor and unquote(anchor) not in known):
                yield f"{page.relative_to(site)}: {link}"


# ---- README, notebooks


def readme_section(title: str, page: Path) -> str:
    """Return a section of README without its heading, for a page of the site.

    Raises:
        ValueError: If README has no such section.
    """
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", _text(ROOT / "README.md"))
    if found is None:
        raise ValueError(f"expected a section {title!r} in README.md")
    return with_links(found[1], ROOT / "README.md", page)


def notebooks() -> dict[str, Path]:
    """Return the notebooks by file name: the copy that a reference run executed, else our own."""
    ours = sorted((ROOT / "notebooks").glob("*.ipynb"))
    executed = {path.name: path for path in sorted(REFERENCES.glob("*/executed/*.ipynb"))}
    return {path.name: executed.get(path.name, path) for path in ours}


def notebook_page(path: Path) -> str:
    """Return a notebook for the site: links turned, without widgets, with its origin."""
    content = json.loads(_text(path))
    first, *_ = content["cells"]
    first["source"] = f"{_source(first)}\n\n{_origin(path)}"
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = with_links(_source(cell), path, NOTEBOOKS / path.name)
            continue
        cell["outputs"] = [one for one in cell["outputs"] if _WIDGET not in one.get("data", {})]
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["metadata"]["tags"].append("hide-input")
    content["metadata"].pop("widgets", None)
    return json.dumps(content, ensure_ascii=False)


def notebook_list() -> str:
    """Return a table of the notebooks by their titles, and their order for the site's contents."""
    rows, order = ["| notebook | question |", "|---|---|"], []
    for name, path in notebooks().items():
        title = _source(json.loads(_text(path))["cells"][0]).splitlines()[0].lstrip("# ")
        short, _, question = title.partition(": ")
        rows.append(f"| [{short}](generated/notebooks/{name}) | {question} |")
        order.append(f"{short} <generated/notebooks/{name.removesuffix('.ipynb')}>")
    return "\n".join([*rows, "", "```{toctree}", ":hidden:", "", *order, "```", ""])


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _origin(path: Path) -> str:
    if not path.is_relative_to(REFERENCES):
        return "> Shown as it is before it runs: no reference run holds a copy."
    folder = path.parents[1]
    where = folder.relative_to(ROOT).as_posix()
    manifest = folder / "manifest.json"
    commit = json.loads(_text(manifest))["kit"]["commit"][:7] if manifest.is_file() else ""
    made = f", made by commit {commit}" if commit else ""
    return f"> Executed by the reference run `{where}`{made}; not run again for this page."


# ---- figures and tables


def gallery() -> str:
    """Return the page of all figures: what it shows, its command and the file it was drawn from."""
    lines = [
        "# Gallery",
        "",
        "The figures of the committed reference runs. The command draws it again in seconds from "
        "the run's CSVs, without training; `--out figure.pdf` picks another form, `--run` another "
        "run. *Numbers* is the file with exactly what is drawn.",
    ]
    for folder in sorted(REFERENCES.glob("*/figures")):
        lines += ["", f"## Run {folder.parent.name}"]
        drawn = [image for image in folder.glob("*.png") if _drawn_by(image.stem)]
        for image in sorted(drawn, key=_in_order):
            lines += ["", f"### {image.stem}", "", *_figure_lines(image)]
    return "\n".join(lines) + "\n"


def _in_order(image: Path) -> tuple[int, str]:
    """Sort figures as the library lists them."""
    names = list(outputs.FIGURES)
    return (names.index(image.stem) if image.stem in names else len(names), image.stem)


def _figure_lines(image: Path) -> Iterator[str]:
    place, run = os.path.relpath(image.with_suffix(""), GENERATED), image.parents[1]
    yield f"[![{image.stem}]({place}.png)]({place}.png)"
    yield ""
    yield _meaning(_drawn_by(image.stem))
    yield ""
    yield f"- Command: `qponder figure {image.stem} --run reference/{run.name}`"
    forms = {"CSV": ".csv", "PDF": ".pdf"}
    there = [f"[{k}]({place}{v})" for k, v in forms.items() if image.with_suffix(v).is_file()]
    yield f"- Numbers and drawing: {', '.join(there)}"
    shown = [
        f"[{name.removesuffix('.ipynb').replace('_', ' ')}](notebooks/{name})"
        for name in notebooks()
        if image.stem in _text(ROOT / "notebooks" / name)
    ]
    if shown:
        yield f"- Stands in: {', '.join(shown)}"


def _drawn_by(name: str) -> Callable[..., object] | None:
    """Return the function that draws a figure; a lambda stands for a function of that name."""
    draw = (outputs.FIGURES | outputs.STUDY_FIGURES).get(name)
    modules = [value for value in vars(outputs).values() if isinstance(value, ModuleType)]
    return next((getattr(one, name) for one in modules if hasattr(one, name)), draw)


def _meaning(draw: Callable[..., object]) -> str:
    """Return the first sentence of a docstring, and its source."""
    paragraphs = re.split(r"\n\s*\n", draw.__doc__ or "")
    sentence = " ".join(paragraphs[0].split()).removeprefix("Draw ").rstrip(".")
    sources = [" ".join(one.split()) for one in paragraphs if one.strip().startswith("Source:")]
    source = f" ({sources[0].removeprefix('Source: ').rstrip('.')})" if sources else ""
    return f"{sentence[:1].upper()}{sentence[1:]}{source}."


def tables() -> str:
    """Return the page of all tables of the reference runs, as the runs laid them out."""
    lines = [
        "# Tables",
        "",
        "Every table of the committed reference runs, as the run wrote it. `qponder table` lists "
        "those that it prints again, with `--latex` for a paper. What the papers report "
        "stands in tables of its own (`..._reported`).",
    ]
    for folder in sorted(REFERENCES.glob("*/tables")):
        lines += ["", f"## Run {folder.parent.name}"]
        found = sorted(folder.glob("*.md"))
        for path in sorted(
            found, key=lambda one: not one.stem.startswith("table")
        ):  # papers' first
            lines += ["", *_table_lines(path)]
    return "\n".join(lines) + "\n"


def _table_lines(path: Path) -> Iterator[str]:
    title, *rest = _text(path).strip().splitlines()
    numbers = os.path.relpath(path.with_suffix(".csv"), GENERATED)
    yield f"### {title.lstrip('# ')}"
    yield ""
    if len(rest) <= LONGEST_TABLE:
        yield from rest
        yield ""
    yield f"[`{path.stem}.csv`]({numbers})"

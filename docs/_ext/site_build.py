"""What the documentation adds to Sphinx: generated pages, links into the repository, MathML."""

from __future__ import annotations

import re
from pathlib import Path

import site_pages as pages
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)
_PATTERN = re.compile(r"[\w/-]+\*")
_pages = pages.DOCS.glob


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions below to the build."""
    app.connect("builder-inited", lambda _: pages.write_pages())
    app.connect("source-read", _follow_links)
    app.connect("build-finished", _check_links)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _follow_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn the links of a page of this folder; leave out patterns of pages that are not there."""
    page = pages.DOCS / f"{name}.md"
    if page.is_file() and not page.is_relative_to(pages.GENERATED):
        lines = pages.with_links(source[0], page, page).splitlines()
        gone = {line for line in lines if _PATTERN.fullmatch(line) and not any(_pages(line))}
        source[0] = "\n".join(line for line in lines if line not in gone) + "\n"


def _inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write MathML, which browsers draw without a script."""
    translator.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def _display_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _check_links(app: Sphinx, error: Exception | None) -> None:
    """Warn, which fails `sphinx -W`, of every link in the written HTML that leads nowhere."""
    if error is None and app.builder.name == "html":
        for problem in pages.broken_links(Path(app.outdir)):
            log.warning("broken link: %s", problem)

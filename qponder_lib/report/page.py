"""The page around the sections: head, contents, style."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from qponder_lib.report import cases
from qponder_lib.report.parts import Section, Source
from qponder_lib.report.tables.markup import Html, element, join, visible

POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
"""No script, no font, no frame, nothing from a network: what a model wrote can do nothing."""


def page(source: Source, sections: Sequence[Section]) -> str:
    """Put sections into one HTML document."""
    name = visible(str(source.profile.get("name") or source.run.root.name))
    title = f"Reported against measured: profile {name}"
    style = (resources.files("qponder_lib") / "report" / "style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style + cases.cases_style())),
    )
    contents = element(
        "nav",
        element(
            "ol",
            *[element("li", element("a", s.title, href=f"#{s.anchor}")) for s in sections],
        ),
        aria_label="contents",
    )
    body = element(
        "body",
        element(
            "header",
            element("p", "Q-Ponder and PreResQ-R1, reproduced", class_="over"),
            element("h1", title),
            element("p", _under(source), class_="under"),
        ),
        contents,
        element(
            "main",
            *[element("section", element("h2", s.title), s.body, id=s.anchor) for s in sections],
        ),
        element("footer", element("p", "Made from the files of this run; no number was typed in.")),
    )
    return join(Html("<!doctype html>\n"), element("html", head, body, lang="en"), "\n")


def _under(source: Source) -> str:
    manifest = source.manifest
    if not manifest:
        return "This run has no manifest: it has not finished."
    seconds = sum(one.get("seconds") or 0.0 for one in manifest.get("stages", []))
    cpus = manifest.get("machine", {}).get("cpu_count")
    return visible(
        f"{source.profile.get('description', '')}. Seed {source.profile.get('seed')}; "
        f"{seconds / 60.0:.0f} minutes of work in all stages on {cpus} processors; "
        f"ended {str(manifest.get('written'))[:10]}, {manifest.get('exit_state')}."
    )

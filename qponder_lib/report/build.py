"""One page on a run: what the papers report against what was measured here.

The page is static HTML without scripts; it works offline and lies at `report/index.html` of a run,
beside the tables and figures it links to. All text from models, data and files is escaped.
"""

from __future__ import annotations

from pathlib import Path

from qponder_lib import artifacts
from qponder_lib.paths import RunPaths
from qponder_lib.report import about, audit, sections
from qponder_lib.report.claims import claims_section
from qponder_lib.report.page import page
from qponder_lib.report.parts import Source

__all__ = ["write_report"]


def write_report(run: RunPaths) -> Path:
    """Write the page of a run, or of a kept reference, from the files that lie there.

    Args:
        run: What it lacks is named on the page, with what would write it.

    Returns:
        `report/index.html`.

    Raises:
        FileNotFoundError: If there is no such run.
        ArtifactError: If a file of the run is damaged.
    """
    if not run.root.is_dir():
        raise FileNotFoundError(f"no run in {run.root}; `qponder run mini` makes one")
    source = Source(run)
    verdicts = audit.verdicts(run)
    parts = [
        about.headline(source),
        claims_section(source, verdicts),
        sections.results(source),
        sections.filtering(source),
        sections.training(source),
        sections.judged(source),
        sections.breakdown(source),
        sections.case_studies(source),
        about.controls(source),
        about.provenance(source),
    ]
    target = run.report / "index.html"
    artifacts.write_text_atomic(target, page(source, [part for part in parts if part is not None]))
    return target

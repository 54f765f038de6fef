"""`qponder figure` and `table`: one output of a run again, from its CSVs, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qponder_lib import artifacts
from qponder_lib.paths import RunPaths

Name = Annotated[str, typer.Argument(help="its name, or how it begins; without one, list names")]
Folder = Annotated[str, typer.Option(help="folder in papermill_runs/, or any run folder")]


def figure(
    name: Name = "",
    run: Folder = "reference/mini",
    out: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG; default: NAME.png")] = None,
) -> None:
    """Draw one figure of a run or a study again, from its CSVs, without training."""
    from qponder_lib.report import outputs, style

    figures = outputs.FIGURES | outputs.STUDY_FIGURES
    if not name:
        print("\n".join(figures))
        return
    draw, paths_ = outputs.named(figures, name), RunPaths.find(run)
    of_study = draw in outputs.STUDY_FIGURES.values()
    drawn, _ = draw(paths_.root if of_study else outputs.open_run(paths_))
    out = out or Path(f"{name}.png")
    artifacts.write_bytes_atomic(out, style.rendered(drawn, out.suffix[1:] or "png"))
    print(out)


def table(
    name: Name = "",
    run: Folder = "reference/mini",
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX in place of Markdown")] = False,
    out: Annotated[Path | None, typer.Option(help="file; default: print")] = None,
) -> None:
    """Lay out one table of a run again, from its CSVs, without training."""
    from qponder_lib.report import outputs

    if not name:
        print("\n".join(outputs.TABLES))
        return
    made = outputs.named(outputs.TABLES, name)(outputs.open_run(RunPaths.find(run)))
    text = made.latex() if latex else made.markdown()
    if out is None:
        print(text)
        return
    artifacts.write_text_atomic(out, text)
    print(out)

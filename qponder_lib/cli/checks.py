"""`qponder lint`."""

from __future__ import annotations

from pathlib import Path

import typer

from qponder_lib import notebook_lint, paper_index, paths
from qponder_lib.config import Profile, load_profile


def lint() -> None:
    """Check the notebooks' rules and the paper index."""
    problems = check_repository(paths.repository_root(), load_profile("mini"))
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    raise typer.Exit(1 if problems else 0)


def check_repository(root: Path, defaults: Profile) -> list[str]:
    """Return every broken rule of the notebooks and every disagreement of the index."""
    problems = [str(p) for p in notebook_lint.lint_notebooks(root / "notebooks", defaults)]
    index = root / "notebooks" / "PAPER_INDEX.md"
    if not index.exists():
        return [*problems, "notebooks/PAPER_INDEX.md is missing"]
    return problems + paper_index.check_index(index.read_text(encoding="utf-8"), root)

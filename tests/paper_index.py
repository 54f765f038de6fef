"""Hold `notebooks/PAPER_INDEX.md` against the code, in both directions.

The index has one table per paper below a heading with the paper's name, such as `## Q-Ponder`:

    | item | function | notebook | output | test | status |
    |---|---|---|---|---|---|
    | Eq. 5 | `rewards.qponder.accuracy_reward` | 05_rewards.ipynb | | `test_x.py::test_y` | works |

- item: `Eq. N`, `Table N`, `Fig. N` or another name in `ITEMS`, one row each, all of them.
- function: dotted names below `qponder_lib`, each in backticks; several are allowed. A name may
  be a function, class, constant or module. Empty only if the status says "not attempted".
- notebook: file names in `notebooks/`; output: paths in a run folder, not checked.
- test: `file.py::test_name` below `tests/`, each in backticks.
- status: works, works at mini scale only, not attempted (a reason may follow).

In the code, a docstring states where a thing comes from in a paragraph that starts with `Source:`
and names the paper and the item: `Q-Ponder (arXiv:2506.05384), Eq. 5`. A constant carries such a
string on the line below it. Every function in a row must state that item, and every statement of
an item must be in its row.

`docs/decisions.md` has the numbered decisions, each below a heading of its own (`## D1 ...`), in
order and in at most five lines. Every `D1` in code, profiles, notebooks and pages must exist.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ["item", "function", "notebook", "output", "test", "status"]
ITEMS = {
    "Q-Ponder": [
        *(f"Eq. {number}" for number in range(1, 8)),
        *(f"Table {number}" for number in range(1, 7)),
        *(f"Fig. {number}" for number in range(2, 6)),
    ],
    # Its numbered equations are not known: the terms of its figure and of the released code.
    "PreResQ-R1": [
        "Std Penalty",
        "Response Ranking Balance",
        "Pairwise Score-and-Ranking",
        "Triplet Ranking",
        "response-to-truth rank",
        "image total",
        "video total",
        "format reward",
    ],
}
STATUSES = ("works", "works at mini scale only", "not attempted")
_KINDS = {"eq": "Eq.", "tab": "Table", "fig": "Fig."}
_NAMED = re.compile(
    r"\b(Eq|Tab|Fig)[a-z]*\.?\s*((?:\d+(?:\([a-z,\s-]+\))?[\s,]*(?:and|to|-|–)?\s*)+)"
)
_DECISION = re.compile(r'(?m)^## (?:<a id="(d\d+)"></a>)?(D\d+) ')
_REFERENCE = re.compile(r"(?<![\w/])D\d+\b")
MAX_LINES = 5
"""A decision that needs more has its evidence in `docs/trials.md`."""


@dataclass(frozen=True)
class IndexRow:
    """One row of the index: the paper it stands under and its cells."""

    paper: str
    item: str
    functions: tuple[str, ...]
    notebooks: tuple[str, ...]
    tests: tuple[str, ...]
    status: str


def items_named(text: str) -> set[str]:
    """Return the items a text names, ranges and lists resolved.

    Example:
        >>> sorted(items_named("Eqs. 3, 5-7 and Fig. 4(a)"))
        ['Eq. 3', 'Eq. 5', 'Eq. 6', 'Eq. 7', 'Fig. 4']
    """
    items = set()
    for kind, numbers in _NAMED.findall(text):
        bare = re.sub(r"\([^)]*\)", "", numbers)
        for first, last in re.findall(r"(\d+)(?:\s*(?:-|–|to)\s*(\d+))?", bare):
            for number in range(int(first), int(last or first) + 1):
                items.add(f"{_KINDS[kind.lower()]} {number}")
    return items


def read_index(text: str) -> list[IndexRow]:
    """Read the tables of an index.

    Raises:
        ValueError: If a row has another number of cells than the header.
    """
    rows, paper, inside = [], "", False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            paper, inside = line.lstrip("# ").strip(), False
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif [cell.lower() for cell in cells] == COLUMNS:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            if len(cells) != len(COLUMNS):
                raise ValueError(f"line {number}: {len(cells)} cells, expected {len(COLUMNS)}")
            rows.append(_row(paper, cells))
    return rows


def _row(paper: str, cells: list[str]) -> IndexRow:
    item, function, notebook, _, test, status = cells
    return IndexRow(
        paper=next((name for name in ITEMS if paper.startswith(name)), paper),
        item=item,
        functions=tuple(name.removeprefix("qponder_lib.") for name in _quoted(function)),
        notebooks=tuple(re.findall(r"[\w.-]+\.ipynb", notebook)),
        tests=tuple(name.removeprefix("tests/") for name in _quoted(test)),
        status=status,
    )


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def code_sources(package: Path) -> dict[str, str]:
    """Return the text of every `Source:` paragraph by the dotted name it documents.

    Names are relative to the package; a name without such a paragraph has an empty text.
    """
    sources = {}
    for path in sorted(package.rglob("*.py")):
        parts = list(path.relative_to(package).with_suffix("").parts)
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        sources[module] = _source_paragraph(ast.get_docstring(tree))
        for name, docstring in _documented(tree.body):
            sources[f"{module}.{name}".lstrip(".")] = _source_paragraph(docstring)
    return sources


def _documented(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + node.name, ast.get_docstring(node)
            if isinstance(node, ast.ClassDef):
                yield from _documented(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, _string_below(following)


def _string_below(node: ast.stmt | None) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else None
    return None


def _source_paragraph(docstring: str | None) -> str:
    found = re.search(r"(?ms)^\s*Source:(.*?)(?:\n\s*\n|\Z)", docstring or "")
    return " ".join(found.group(1).split()) if found else ""


def check_index(index: str, root: Path) -> list[str]:
    """Compare an index with the repository it belongs to.

    Args:
        index: Text of the index.
        root: The repository.

    Returns:
        One line per disagreement.
    """
    rows = read_index(index)
    sources = code_sources(root / "qponder_lib")
    return [
        *_item_problems(rows),
        *(problem for row in rows for problem in _row_problems(row, sources, root)),
        *_unlisted(rows, sources),
        *decision_problems(root),
    ]


def _item_problems(rows: list[IndexRow]) -> Iterator[str]:
    for paper, items in ITEMS.items():
        listed = [row.item for row in rows if row.paper == paper]
        for item in items:
            if listed.count(item) != 1:
                yield f"{paper} {item}: {listed.count(item)} rows, expected 1"


def _row_problems(row: IndexRow, sources: dict[str, str], root: Path) -> Iterator[str]:
    where = f"{row.paper} {row.item}"
    if not row.status.startswith(STATUSES):
        yield f"{where}: status {row.status!r}, expected one of {STATUSES}"
    if not row.functions and not row.status.startswith("not attempted"):
        yield f"{where}: no function, though the status is {row.status!r}"
    for name in row.functions:
        if name not in sources:
            yield f"{where}: there is no qponder_lib.{name}"
        elif not _names(sources[name], row.item):
            yield f"{where}: the docstring of {name} has no `Source:` that names {row.item}"
    for name in row.notebooks:
        if not (root / "notebooks" / name).is_file():
            yield f"{where}: there is no notebooks/{name}"
    for name in row.tests:
        if not _test_exists(name, root / "tests"):
            yield f"{where}: there is no tests/{name}"


def _names(source: str, item: str) -> bool:
    return item in (items_named(source) if items_named(item) else source)


def _test_exists(name: str, folder: Path) -> bool:
    file, _, function = name.partition("::")
    path = folder / file
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return not function or function.split("::")[-1] in names


def _unlisted(rows: list[IndexRow], sources: dict[str, str]) -> Iterator[str]:
    listed = {(row.paper, row.item): row.functions for row in rows}
    for paper, items in ITEMS.items():
        for name, source in sources.items():
            if paper not in source:
                continue
            for item in (item for item in items if _names(source, item)):
                if name not in listed.get((paper, item), ()):
                    yield f"{paper} {item}: {name} states it as its source but is not in its row"


def decision_problems(root: Path) -> Iterator[str]:
    """Check `docs/decisions.md`, and that every decision that is referred to stands there."""
    decisions = (root / "docs" / "decisions.md").read_text(encoding="utf-8")
    _, *parts = _DECISION.split(decisions)
    anchors, names, texts = parts[::3], parts[1::3], parts[2::3]
    if names != sorted(set(names), key=lambda name: int(name[1:])):
        yield "docs/decisions.md: decisions are not in order, each once"
    for anchor, name, text in zip(anchors, names, texts, strict=True):
        n_lines = len([line for line in text.splitlines()[1:] if line.strip()])
        if not 1 <= n_lines <= MAX_LINES:
            yield f"docs/decisions.md: {name} has {n_lines} lines, at most {MAX_LINES}"
        if anchor and anchor != name.lower():
            yield f"docs/decisions.md: {name} has the anchor {anchor}"
    for path in _files_with_references(root):
        for name in sorted(set(_REFERENCE.findall(path.read_text(encoding="utf-8"))) - set(names)):
            yield f"{path.relative_to(root)}: there is no decision {name}"


def _files_with_references(root: Path) -> list[Path]:
    kinds = ("qponder_lib/**/*.py", "qponder_lib/**/*.yaml", "qponder_lib/**/*.csv", "docs/*.md")
    kinds += ("notebooks/*.ipynb", "notebooks/*.md", "papermill_runs/profiles/*.yaml", "*.md")
    return sorted(path for kind in kinds for path in root.glob(kind))

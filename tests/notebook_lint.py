"""Rules that keep notebooks readable, comparable in git, and runnable without a person.

Rules: no outputs; kernel `python3`; a first cell whose title comes with a question; a table of
what is read, what is written and how many minutes it takes; one cell tagged `parameters` with one
literal per line; no functions or classes; short cells; nothing that ends the kernel or waits for
input; a numbered one prints the answer to its title; a last cell headed "What to remember".
Relative links, in notebooks and in pages, lead to a file that exists and to a heading or an
anchor in it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from qponder_lib.config import SECTIONS, Profile

MAX_LINES = 18
_PARAMETER = re.compile(r"(?P<name>[a-z_]\w*): (?P<type>[\w\[\], |.]+) = (?P<value>\S.*?)  # \S.*")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"(?ms)^```.*?^```|`[^`\n]+`")
_CALLS_FORBIDDEN = {"sys.exit", "exit", "quit", "os._exit", "input", "globals().update"}


@dataclass(frozen=True)
class Problem:
    """A broken rule: where and which."""

    notebook: str
    cell: int | None
    message: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        where = self.notebook if self.cell is None else f"{self.notebook}, cell {self.cell}"
        return f"{where}: {self.message}"


def lint_notebooks(folder: Path, defaults: Profile) -> list[Problem]:
    """Check every notebook in a folder.

    Args:
        folder: Where the notebooks are.
        defaults: The profile whose values parameters must have by default.
    """
    return [
        problem
        for path in sorted(folder.glob("*.ipynb"))
        for problem in lint_notebook(path, defaults)
    ]


def lint_notebook(path: Path, defaults: Profile) -> list[Problem]:
    """Check one notebook; an empty list means that it keeps all rules."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    problems = [
        *_frame_problems(notebook, cells),
        *_prose_problems(cells),
        *(_answer_problems(cells) if path.name[0].isdigit() else ()),
        *_parameter_problems(cells, defaults),
    ]
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            problems += [(number, message) for message in _code_problems(cell)]
    return [Problem(path.name, number, message) for number, message in problems]


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _frame_problems(
    notebook: dict[str, Any], cells: list[dict[str, Any]]
) -> Iterator[tuple[int | None, str]]:
    metadata = notebook["metadata"]
    if notebook.get("nbformat") != 4:
        yield None, f"expected notebook format 4, got {notebook.get('nbformat')}"
    if metadata.get("kernelspec", {}).get("name") != "python3":
        yield None, "the kernel must be python3"
    if metadata.get("language_info", {}).get("name") != "python":
        yield None, "metadata needs language_info with the name python, for papermill"
    if "papermill" in metadata or any("papermill" in cell["metadata"] for cell in cells):
        yield None, "this is an executed copy (it has papermill metadata)"


def _prose_problems(cells: list[dict[str, Any]]) -> Iterator[tuple[int | None, str]]:
    if not cells:
        yield None, "no cells"
        return
    first = _source(cells[0])
    if cells[0]["cell_type"] != "markdown" or not first.startswith("# ") or "?" not in first:
        yield 0, "the first cell must be a title (# ...) with a question (?)"
    opening = "\n".join(_source(cell) for cell in cells[:3] if cell["cell_type"] == "markdown")
    rows = [line.lower() for line in opening.splitlines() if line.lstrip().startswith("|")]
    for word in ("reads", "writes", "minutes"):
        if not any(word in row for row in rows):
            yield None, f"the first cells need a table with {word!r}"
    last = _source(cells[-1])
    if cells[-1]["cell_type"] != "markdown" or not re.match(r"#+ What to remember", last):
        yield len(cells) - 1, 'the last cell must be headed "What to remember"'


def _answer_problems(cells: list[dict[str, Any]]) -> Iterator[tuple[int | None, str]]:
    """The answer is computed where it is printed, so that it cannot go stale."""
    pairs = [(_source(a), b["cell_type"], _source(b)) for a, b in pairwise(cells)]
    told = [code for above, kind, code in pairs if "## The answer" in above and kind == "code"]
    if len(told) != 1 or "Answer" not in told[0] or 'print(f"' not in told[0]:
        yield None, 'expected one code cell under "## The answer" that prints an answer it computed'


def _parameter_problems(
    cells: list[dict[str, Any]], defaults: Profile
) -> Iterator[tuple[int | None, str]]:
    tagged = [
        number
        for number, cell in enumerate(cells)
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    if len(tagged) != 1:
        yield None, f"expected one cell tagged parameters, found {len(tagged)}"
        return
    number = tagged[0]
    names = set()
    for line in filter(None, _source(cells[number]).splitlines()):
        found = _PARAMETER.fullmatch(line)
        if found is None or line.count("=") != 1:
            yield number, f"expected `name: type = value  # unit, meaning`, one =: {line}"
            continue
        names.add(found["name"])
        message = _value_problem(found["name"], found["value"], defaults)
        if message:
            yield number, message
    for name in sorted({"profile", "run_dir"} - names):
        yield number, f"parameter {name} is missing"


def _value_problem(name: str, text: str, defaults: Profile) -> str | None:
    """Compare a default with the profile it must follow."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return f"the value of {name} is no literal: {text}"
    section, _, field = name.partition("_")
    if section not in SECTIONS:
        return None
    if field not in SECTIONS[section].names():
        return f"{name}: {section} has no field {field}"
    stated = getattr(defaults, section) or SECTIONS[section]()
    expected = stated.model_dump(mode="json")[field]
    if value != expected:
        return f"{name} is {value!r}, profile {defaults.name} says {expected!r}"
    return None


def _code_problems(cell: dict[str, Any]) -> Iterator[str]:
    source = _source(cell)
    if cell["outputs"] or cell["execution_count"] is not None:
        yield "holds outputs or an execution count"
    lines = source.splitlines()
    if len(lines) > MAX_LINES and "parameters" not in cell["metadata"].get("tags", []):
        yield f"{len(lines)} lines, at most {MAX_LINES}"
    code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)
    if any(line.lstrip().startswith("!") for line in lines):
        yield "runs a shell command"
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        yield f"does not parse: {error.msg} (line {error.lineno})"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"defines {node.name}; functions and classes belong in the library"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _CALLS_FORBIDDEN:
            yield f"calls {ast.unparse(node.func)}"


def link_problems(root: Path) -> list[str]:
    """Name every relative link in notebooks and pages that leads nowhere.

    Args:
        root: The repository; read are `*.md`, `docs/*.md` and what lies in `notebooks/`.
    """
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("notebooks/*.md")]
    return [
        f"{page.relative_to(root)}: {link}"
        for page in sorted([*pages, *root.glob("notebooks/*.ipynb")])
        for link in _LINK.findall(_CODE.sub("", _prose(page)))
        if not re.match(r"[a-z]+:", link) and not _leads_somewhere(page, link)
    ]


def _prose(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n".join(_source(cell) for cell in cells if cell["cell_type"] == "markdown")


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name) if name else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """List what GitHub lets a link into a page name: ids, and headings in small letters."""
    text = _prose(page)
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"<[^>]+>", "", text))
    slugs = {re.sub(r"[^\w\- ]", "", one.strip().lower()).replace(" ", "-") for one in headings}
    return slugs | set(re.findall(r'id="([^"]+)"', text))


def unlinked_terms(root: Path) -> list[str]:
    """Name the terms of the glossary that a notebook uses before any has linked them.

    Args:
        root: The repository.
    """
    terms = re.findall(r"(?m)^## (.+)$", (root / "docs" / "glossary.md").read_text("utf-8"))
    prose = {path.name: _prose(path) for path in sorted(root.glob("notebooks/[0-9]*.ipynb"))}
    bare = {
        name: re.sub(r"(?s)`.*?`|\$.*?\$|\]\([^)]*\)", " ", text) for name, text in prose.items()
    }
    found = []
    for term in terms:
        anchor = f"glossary.md#{re.sub(r'[^a-z -]', '', term.lower()).replace(' ', '-')})"
        link = min((name for name in prose if anchor in prose[name]), default="none")
        same_case = re.NOFLAG if term.isupper() else re.IGNORECASE
        word = re.compile(rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", same_case)
        used = min((name for name in bare if word.search(bare[name])), default="")
        if used and used < link:
            found.append(f"{used}: {term} (linked in {link})")
    return found

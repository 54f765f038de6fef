"""What the notebooks import and call exists, with the arguments they give it."""

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LOST = object()


def faults(source: str) -> list[str]:
    """What cannot be looked up, and calls whose arguments their function does not take."""
    tree = ast.parse(source)
    known: dict[str, object] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                value = look_up(module, alias.name)
                known[alias.asname or alias.name] = value
                if value is LOST:
                    found.append(f"{node.module} has no {alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                whole = importlib.import_module(alias.name)
                first = alias.name.split(".")[0]
                known[alias.asname or first] = (
                    whole if alias.asname else importlib.import_module(first)
                )
    for name in assigned(tree):
        known.pop(name, None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and resolve(node, known) is LOST:
            if resolve(node.value, known) is not LOST:
                found.append(f"{ast.unparse(node.value)} has no {node.attr}")
        elif isinstance(node, ast.Call):
            found += call_faults(node, resolve(node.func, known))
    return found


def assigned(tree: ast.AST) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def resolve(node: ast.expr, known: dict[str, object]) -> object:
    """The object that a dotted name stands for, None where only a run could say."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = resolve(node.value, known)
    if owner is LOST:
        return LOST
    return look_up(owner, node.attr) if isinstance(owner, ModuleType) else None


def look_up(owner: object, name: str) -> object:
    try:
        return getattr(owner, name)
    except AttributeError:
        try:
            return importlib.import_module(f"{owner.__name__}.{name}")
        except ModuleNotFoundError:
            return LOST


def call_faults(call: ast.Call, function: object) -> list[str]:
    own = str(getattr(function, "__module__", "")).startswith("qponder_lib")
    unpacked = any(isinstance(given, ast.Starred) for given in call.args)
    if not (own and callable(function)) or unpacked:
        return []
    keywords = {given.arg: None for given in call.keywords if given.arg}
    complete = len(keywords) == len(call.keywords)
    signature = inspect.signature(function)
    try:
        (signature.bind if complete else signature.bind_partial)(*call.args, **keywords)
    except TypeError as error:
        return [f"{ast.unparse(call.func)}: {error}"]
    return []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_name_and_call_of_a_notebook_fits_the_library(path):
    cells = nbformat.read(path, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert faults(source) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from qponder_lib import parsings", "qponder_lib has no parsings"),
        ("from qponder_lib.text import parsing\nparsing.gone(1)", "parsing has no gone"),
        ("from qponder_lib.text.parsing import parse_answer\nparse_answer()", "missing a required"),
        ("from qponder_lib import scales\nscales.severity_of(1, shade=2)", "shade"),
    ],
)
def test_a_name_that_moved_and_a_wrong_argument_are_found(source, said):
    assert said in "\n".join(faults(source))


def test_what_a_cell_assigns_is_left_to_the_run():
    assert faults("from qponder_lib import scales\nscales = []\nscales.append(1)") == []

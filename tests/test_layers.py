"""Imports go downwards, and the papers' mathematics needs no torch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qponder_lib

PACKAGE = Path(__file__).parents[1] / "qponder_lib"
# A folder (or a file of the contracts) imports from those listed before it.
LAYERS = [
    ["records", "scales", "paths", "artifacts", "config", "pipeline", "runs"],
    ["text", "rewards", "metrics", "data", "evaluation"],
    ["teacher", "student", "training", "video", "judging", "gpu"],
    ["report"],
    ["runner", "cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ORDER = {name: place for place, name in enumerate(LEVEL)}
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets"}
# The command line asks for a model only where it scores an image.
LAZY_EXCEPTIONS = {("cli", "student")}


def files_of(name: str) -> list[Path]:
    module = PACKAGE / f"{name}.py"
    return [module] if module.exists() else sorted((PACKAGE / name).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Return full names of everything a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = ["qponder_lib", *path.relative_to(PACKAGE).with_suffix("").parts]
            base = ".".join(here[: len(here) - node.level])
            names |= {f"{base}.{node.module or alias.name}" for alias in node.names}
    return names


def kit_imports(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports_of(path)]
    return {part[1] for part in parts if part[0] == "qponder_lib" and len(part) > 1}


def present(level: int) -> list[str]:
    return [name for name in LAYERS[level] if files_of(name)]


def test_every_module_has_a_layer():
    there = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    there |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert there <= set(LEVEL), "add the module to LAYERS and to CONTRIBUTING.md"


def test_contributing_shows_every_folder_and_paths_of_at_most_thirteen_files():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.split("```")[1]
    assert [name for name in LEVEL if not re.search(rf"(?m)^  {name}(/|\.py) ", tree)] == []
    paths = text.partition("## Paths")[2].partition("\n## ")[0].split("\n\n")[1:]
    assert len(paths) == 4
    for path in paths:
        files = re.findall(r"`([\w/]+\.py)`", path)
        assert len(set(files)) <= 13
        assert [name for name in files if not (PACKAGE / name).exists()] == []


@pytest.mark.parametrize("name", [name for name in ORDER if files_of(name)])
def test_module_imports_only_what_comes_before_it(name):
    for path in files_of(name):
        for other in kit_imports(path) - {name, "__version__"}:
            if (name, other) not in LAZY_EXCEPTIONS:
                assert ORDER[other] < ORDER[name], f"{path.name} imports {other}"


@pytest.mark.parametrize("level", [0, 1])
def test_lower_layers_never_import_torch(level):
    for name in present(level):
        for path in files_of(name):
            heavy = {found.split(".")[0] for found in imports_of(path)} & HEAVY
            assert not heavy, f"{path} imports {heavy}"


def test_pictures_and_tables_never_import_models():
    for name in present(3):
        for path in files_of(name):
            models = kit_imports(path) & set(LAYERS[2])
            assert not models, f"{path.name} imports {models}"
            assert not {found.split(".")[0] for found in imports_of(path)} & HEAVY


def test_lower_layers_are_imported_without_a_heavy_package():
    names = [f"qponder_lib.{name}" for name in present(0) + present(1)]
    assert not loaded_by(f"import {', '.join(names)}") & (HEAVY | {"matplotlib", "pandas"})


def loaded_by(code: str) -> set[str]:
    """Return the top names of all modules that a process has after some code."""
    code += "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return set(found.stdout.splitlines()[-1].split())


def test_the_command_starts_without_a_heavy_package():
    heavy = HEAVY | {"matplotlib", "pandas", "scipy", "sklearn", "skimage", "numpy", "PIL"}
    slow = {"pydantic", "yaml", "papermill"}  # a third of a second
    assert not loaded_by("import qponder_lib.cli") & (heavy | slow)


def test_the_papers_mathematics_is_quick_to_import():
    names = ["rewards", "text", "metrics"]
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for name in names
        for path in files_of(name)
    ]
    heavy = HEAVY | {"matplotlib", "pandas", "scipy", "sklearn", "skimage"}
    assert not loaded_by(f"import {', '.join(modules)}") & heavy


def test_predictions_are_measured_without_models_and_figures(tmp_path):
    (tmp_path / "a.csv").write_text(
        "image,score,mos\n" + "".join(f"{k},{k},{k}\n" for k in range(12))
    )
    called = f"from qponder_lib.cli import app; app(['evaluate', {str(tmp_path / 'a.csv')!r}])"
    found = loaded_by(f"try:\n  {called}\nexcept SystemExit:\n  pass\n0")
    assert "numpy" in found
    assert not found & (HEAVY | {"matplotlib"})


def test_the_public_names_are_there_and_load_nothing_before_they_are_used():
    assert not loaded_by("import qponder_lib") & (HEAVY | {"numpy", "pydantic"})
    used = "import qponder_lib as q; q.evaluate, q.compare, q.rewards.qponder, q.rewards.preresq"
    assert not loaded_by(used) & (HEAVY | {"matplotlib"})
    with pytest.raises(AttributeError, match="has no attribute 'evaluat'"):
        _ = qponder_lib.evaluat
    assert {"evaluate", "compare", "rewards"} <= set(dir(qponder_lib))


def test_no_module_is_called_utils():
    assert not list(PACKAGE.rglob("utils.py"))


def test_no_two_classes_have_one_name_and_no_module_is_longer_than_500_lines():
    seen: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        text, place = path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()
        assert text.count("\n") <= 500, place
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                assert seen.setdefault(node.name, place) == place, (node.name, place)

"""The notebooks keep the rules, and each rule catches what it is for."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_lint import link_problems, lint_notebook, lint_notebooks, unlinked_terms

from qponder_lib import config
from qponder_lib.runner import notebooks

ROOT = Path(__file__).parents[1]
MINI = config.load_profile("mini")
OPENING = (
    "# Filter\nWhich answers do we keep?\n\n| reads | writes | minutes (mini) |\n|-|-|-|\n|a|b|1|"
)
PARAMETERS = """\
profile: str = "mini"  # name or path of a profile
run_dir: str = "papermill_runs/mini"  # run folder
filter_gamma: float = 0.8  # share, kept by Eq. 1
filter_sweep: list = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]  # shares, compared
interactive: bool = False  # show widgets"""


def notebook() -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell(OPENING),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell("print(filter_gamma)"),
        new_markdown_cell("## The answer"),
        new_code_cell('print(f"Answer: {filter_gamma:.0%} of them.")'),
        new_markdown_cell("## What to remember\nLess is more."),
    ]
    made = new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    made.metadata["language_info"] = {"name": "python"}
    return made


def messages(made: nbformat.NotebookNode, tmp_path: Path) -> list[str]:
    path = tmp_path / "03_filter.ipynb"
    nbformat.write(made, path)
    return [problem.message for problem in lint_notebook(path, MINI)]


def test_notebooks_of_the_kit_keep_all_rules():
    assert [str(problem) for problem in lint_notebooks(ROOT / "notebooks", MINI)] == []


def test_links_of_notebooks_and_pages_lead_somewhere():
    assert link_problems(ROOT) == []


def test_every_term_is_linked_where_it_first_stands():
    assert unlinked_terms(ROOT) == []


def test_a_term_that_stands_before_its_link_is_found(tmp_path):
    for folder in ("docs", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "glossary.md").write_text("# Glossary\n\n## Dead leaves\n\nDiscs.\n")
    for name, text in {
        "01_a": "Dead leaves and `dead leaves`.",
        "02_b": "[Dead leaves](../docs/glossary.md#dead-leaves)",
    }.items():
        made = new_notebook(cells=[new_markdown_cell(text)])
        nbformat.write(made, tmp_path / "notebooks" / f"{name}.ipynb")
    expected = ["01_a.ipynb: Dead leaves (linked in 02_b.ipynb)"]
    assert unlinked_terms(tmp_path) == expected


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("docs/page.md", True),
        ("docs/page.md#the-words-d1", True),
        ("docs/page.md#d1", True),
        ("#here", True),
        ("https://example.org/nothing", True),
        ("docs/other.md", False),
        ("docs/page.md#d2", False),
        ("#there", False),
    ],
)
def test_link_to_a_file_or_a_heading_that_is_not_there_is_found(tmp_path, link, leads):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text('# The words: D1\n\n<a id="d1"></a> Text\n')
    (tmp_path / "README.md").write_text(f"# Here\n\n[a]({link}) and `[b](code.md)`\n")
    assert link_problems(tmp_path) == ([] if leads else [f"README.md: {link}"])


def test_good_notebook_has_no_problem(tmp_path):
    assert messages(notebook(), tmp_path) == []


def test_papermill_reads_every_line_that_the_lint_accepts(tmp_path):
    path = tmp_path / "03_filter.ipynb"
    nbformat.write(notebook(), path)
    names = [line.split(":")[0] for line in PARAMETERS.splitlines()]
    assert notebooks.declared_parameters(path) == names


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f():\n    pass", "defines f"),
        ("class A: pass", "defines A"),
        ("import sys\nsys.exit(0)", "calls sys.exit"),
        ("exit()", "calls exit"),
        ("input()", "calls input"),
        ("!ls", "runs a shell command"),
        ("x = (", "does not parse"),
        ("x = 1\n" * 19, "19 lines, at most 18"),
    ],
)
def test_code_that_does_not_belong_in_a_notebook_is_found(tmp_path, code, expected):
    made = notebook()
    made.cells[2].source = code
    assert any(expected in message for message in messages(made, tmp_path))


def test_line_magic_is_allowed(tmp_path):
    made = notebook()
    made.cells[2].source = "%matplotlib inline\nx = 1"
    assert messages(made, tmp_path) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("filter_gamma = 0.8  # share", "expected `name: type"),
        ("filter_gamma: float = 0.8", "expected `name: type"),
        ("filter_gamma: float = 0.8  # share = kept", "one ="),
        ("filter_gamma: float = 4 / 5  # share", "no literal"),
        ("filter_gamma: float = 0.5  # share", "profile mini says 0.8"),
        ("filter_gama: float = 0.8  # share", "filter has no field gama"),
    ],
)
def test_bad_parameter_line_is_found(tmp_path, line, expected):
    made = notebook()
    lines = PARAMETERS.splitlines()
    lines[2] = line
    made.cells[1].source = "\n".join(lines)
    assert any(expected in message for message in messages(made, tmp_path))


def test_missing_run_dir_is_found(tmp_path):
    made = notebook()
    made.cells[1].source = PARAMETERS.splitlines()[0]
    assert messages(made, tmp_path) == ["parameter run_dir is missing"]


def test_outputs_and_counts_are_found(tmp_path):
    made = notebook()
    made.cells[2].outputs = [new_output("stream", text="0.8")]
    assert messages(made, tmp_path) == ["holds outputs or an execution count"]
    made = notebook()
    made.cells[2].execution_count = 3
    assert messages(made, tmp_path) == ["holds outputs or an execution count"]


def test_missing_question_table_and_summary_are_found(tmp_path):
    made = notebook()
    made.cells[0].source = "# Filter"
    made.cells[-1].source = "The end"
    found = messages(made, tmp_path)
    assert len(found) == 5
    assert "question" in found[0]
    assert "What to remember" in found[-1]


@pytest.mark.parametrize("code", ["print('Answer: most of them.')", "print(f'{filter_gamma}')"])
def test_an_answer_that_is_missing_or_typed_in_is_found(tmp_path, code):
    made = notebook()
    made.cells[4].source = code
    assert "prints an answer it computed" in messages(made, tmp_path)[0]


def test_other_kernel_is_found(tmp_path):
    made = notebook()
    made.metadata["kernelspec"]["name"] = "my-env"
    assert messages(made, tmp_path) == ["the kernel must be python3"]


def test_problem_names_notebook_and_cell(tmp_path):
    made = notebook()
    made.cells[2].source = "exit()"
    path = tmp_path / "03_filter.ipynb"
    path.write_text(json.dumps(made))
    assert str(lint_notebook(path, MINI)[0]) == "03_filter.ipynb, cell 2: calls exit"

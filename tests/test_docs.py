"""The documentation: what it says of the kit is so, its pages are listed, and it builds.

That links between pages lead somewhere is held by `test_notebook_lint.py`.
"""

import ast
import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import site_pages
import training_metrics

from qponder_lib.artifacts import read_csv
from qponder_lib.evaluation import monitoring
from qponder_lib.report import outputs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCES = ROOT / "papermill_runs" / "reference"
MESSAGES = re.findall(r"(?s)```text\n(.*?)\n```", (DOCS / "troubleshooting.md").read_text())


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(r"(?m)^[\w/*-]+$", (DOCS / "index.md").read_text())
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert not [name for name in pages if not any(fnmatch(name, entry) for entry in listed)]


@pytest.fixture(scope="module")
def strings() -> list[str]:
    """Every text in the library, what is filled in as an ellipsis."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "qponder_lib").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    filled = [
        "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        for node in nodes
        if isinstance(node, ast.JoinedStr)
    ]
    constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return filled + [text for text in constants if isinstance(text, str)]


@pytest.mark.parametrize("message", MESSAGES)
def test_message_that_troubleshooting_explains_is_one_of_the_library(message, strings):
    assert any(message in text for text in strings)


def test_every_alarm_of_monitoring_is_explained_and_raised_by_its_example():
    assert set(training_metrics.ALARMED) == set(monitoring.WATCHED)
    for column in training_metrics.ALARMED:
        assert training_metrics.alarm_of(column).column == column


def test_every_logged_column_has_its_line():
    explained = {*training_metrics.ALARMED, *training_metrics.PLAIN, "step"}
    for history in REFERENCES.rglob("history.csv"):
        for column in read_csv(history)[0]:
            assert column in explained or column.startswith("term_"), f"{history}: {column}"


def test_every_figure_of_a_reference_stands_in_the_gallery_with_command_and_numbers():
    page = site_pages.gallery()
    drawn = outputs.FIGURES | outputs.STUDY_FIGURES  # a reference may have older ones, too
    for image in (one for one in REFERENCES.glob("*/figures/*.png") if one.stem in drawn):
        place = f"../../{image.relative_to(ROOT).with_suffix('').as_posix()}"
        command = f"qponder figure {image.stem} --run reference/{image.parents[1].name}"
        assert f"({place}.png)" in page
        assert f"({place}.csv)" in page
        assert f"`{command}`" in page


def test_every_table_of_a_reference_is_shown():
    page = site_pages.tables()
    assert all(f"`{path.stem}.csv`" in page for path in REFERENCES.glob("*/tables/*.md"))


def test_every_notebook_is_a_page_and_says_where_its_outputs_are_from():
    for name, path in site_pages.notebooks().items():
        first, *cells = json.loads(site_pages.notebook_page(path))["cells"]
        assert first["source"].startswith("# "), name
        assert "reference run" in first["source"], name
        assert all(isinstance(cell["source"], str | list) for cell in cells)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../notebooks/05_rewards.ipynb#x)", "[a](generated/notebooks/05_rewards.ipynb#x)"),
        ("[a](../notebooks/PAPER_INDEX.md)", "[a](generated/paper_index.md)"),
        ("[a](../CONTRIBUTING.md)", "[a](generated/contributing.md)"),
        ("[a](trials.md#what-saw)", "[a](trials.md#what-saw)"),
        ("[a](../qponder_lib/scales.py)", "[a](../qponder_lib/scales.py)"),
        ("![a](../papermill_runs/x.png)", "![a](../papermill_runs/x.png)"),
        ("[a](../papermill_runs/reference/mini/executed/)", "a"),
        ("[a](https://example.org/x/) [b](#here)", "[a](https://example.org/x/) [b](#here)"),
        ("`[a](../CONTRIBUTING.md)`", "`[a](../CONTRIBUTING.md)`"),
        ('## <a id="d1"></a>D1 Mean', "## D1 Mean"),
    ],
)
def test_links_of_a_page_are_turned_to_pages_of_the_site(text, expected):
    page = DOCS / "decisions.md"
    assert site_pages.with_links(text, page, page) == expected


def test_link_to_no_file_or_no_anchor_of_the_site_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="b.html#here">b</a>')
    links = '<a href="a.html#top">a</a><a href="a.html#no">a</a><img src="c.png"><a href="#no">'
    (tmp_path / "b.html").write_text(f'<p id="here">{links}</p><a href="https://e.org/x">')
    found = list(site_pages.broken_links(tmp_path))
    assert found == ["b.html: a.html#no", "b.html: c.png", "b.html: #no"]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_every_link_leads_somewhere(tmp_path):
    for name in ("sphinx", "myst_nb", "furo", "sphinx_design", "sphinx_copybutton"):
        pytest.importorskip(name, reason=f"{name} is not installed; `make docs` installs it")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run([*command, str(DOCS), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "searchindex.js").is_file()

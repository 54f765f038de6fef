"""The paper index and the code say the same, in both directions."""

from pathlib import Path

import paper_index
import pytest
from paper_index import check_index, decision_problems, items_named

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "notebooks" / "PAPER_INDEX.md"
HEADER = "## Q-Ponder\n\n| item | function | notebook | output | test | status |\n|-|-|-|-|-|-|\n"
ROW = "| Eq. 5 | `m.f` | 05_rewards.ipynb | | `test_m.py::test_f` | works |\n"
DECISION = "# Decisions\n\n## D1 The mean is subtracted\n\nOpen.\nOurs.\n"
MODULE = '''"""Module."""
def f():
    """Reward.

    Source:
        Q-Ponder (arXiv:2506.05384), Eq. 5; alpha from section 4.1.

    Example:
        >>> 1
        1
    """
'''


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Make a repository with one function, one notebook and one test."""
    monkeypatch.setattr(paper_index, "ITEMS", {"Q-Ponder": ["Eq. 5"]})
    for name in ("qponder_lib", "notebooks", "tests", "docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "qponder_lib" / "m.py").write_text(MODULE)
    (tmp_path / "notebooks" / "05_rewards.ipynb").write_text("{}")
    (tmp_path / "tests" / "test_m.py").write_text("def test_f(): pass\n")
    (tmp_path / "docs" / "decisions.md").write_text(DECISION)
    return tmp_path


def test_index_of_the_kit_agrees_with_the_code():
    assert check_index(INDEX.read_text(encoding="utf-8"), ROOT) == []


def test_agreeing_index_has_no_problem(root):
    assert check_index(HEADER + ROW, root) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("", "0 rows, expected 1"),
        (ROW + ROW, "2 rows, expected 1"),
        (ROW.replace("m.f", "m.g"), "there is no qponder_lib.m.g"),
        (ROW.replace("`m.f`", ""), "no function"),
        (ROW.replace("05_rewards", "06_other"), "there is no notebooks/06_other.ipynb"),
        (ROW.replace("test_f", "test_g"), "there is no tests/test_m.py::test_g"),
        (ROW.replace("works", "perfect"), "status 'perfect'"),
    ],
)
def test_row_that_disagrees_is_found(root, row, expected):
    assert any(expected in problem for problem in check_index(HEADER + row, root))


def test_item_that_is_not_attempted_needs_no_function(root):
    (root / "qponder_lib" / "m.py").write_text('"""Module."""\n')
    row = "| Eq. 5 | | | | | not attempted: needs a GPU |\n"
    assert check_index(HEADER + row, root) == []


def test_function_whose_source_names_another_item_is_found(root):
    (root / "qponder_lib" / "m.py").write_text(MODULE.replace("Eq. 5", "Eq. 6"))
    assert any("no `Source:` that names Eq. 5" in p for p in check_index(HEADER + ROW, root))


def test_source_that_is_not_in_the_index_is_found(root):
    (root / "qponder_lib" / "n.py").write_text(MODULE.replace("def f", "def g"))
    expected = "Q-Ponder Eq. 5: n.g states it as its source but is not in its row"
    assert check_index(HEADER + ROW, root) == [expected]


def test_constant_states_its_source_in_the_string_below_it(root):
    code = '"""Module."""\nT = "x"\n"""Prompt.\n\nSource: Q-Ponder, Eq. 5.\n"""\n'
    (root / "qponder_lib" / "m.py").write_text(code)
    assert check_index(HEADER + ROW.replace("m.f", "m.T"), root) == []


def test_other_papers_sources_are_left_alone(root):
    other = MODULE.replace("Q-Ponder (arXiv:2506.05384)", "PreResQ-R1").replace("def f", "def g")
    (root / "qponder_lib" / "n.py").write_text(other)
    assert check_index(HEADER + ROW, root) == []


def test_decision_that_does_not_exist_is_found(root):
    (root / "notebooks" / "05_rewards.ipynb").write_text('{"x": "[D1](a#d1), decision D2"}')
    (root / "README.md").write_text("D1 and D3, but neither AD4 nor D5x\n")
    assert list(decision_problems(root)) == [
        "README.md: there is no decision D3",
        "notebooks/05_rewards.ipynb: there is no decision D2",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DECISION + "\n".join("abcd"), "D1 has 6 lines, at most 5"),
        (DECISION + "\n## D2 Nothing stands below\n", "D2 has 0 lines, at most 5"),
        (DECISION.replace("D1", "D2") + DECISION, "decisions are not in order, each once"),
        (DECISION + DECISION, "decisions are not in order, each once"),
        (DECISION.replace("## D1", '## <a id="d2"></a>D1'), "D1 has the anchor d2"),
    ],
)
def test_page_of_decisions_that_breaks_a_rule_is_found(root, text, expected):
    (root / "docs" / "decisions.md").write_text(text)
    assert list(decision_problems(root)) == [f"docs/decisions.md: {expected}"]


def test_row_with_a_missing_cell_is_an_error():
    with pytest.raises(ValueError, match="5 cells, expected 6"):
        paper_index.read_index(HEADER + "| Eq. 5 | a | b | c | d |\n")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("Eq. 1, section 3.2", {"Eq. 1"}),
        ("Eqs. 5-7", {"Eq. 5", "Eq. 6", "Eq. 7"}),
        ("Tables 2 and 4, Fig. 4(b)", {"Table 2", "Table 4", "Fig. 4"}),
        ("Fig. 5(a,b) and Table 1", {"Fig. 5", "Table 1"}),
        ("Equation 3", {"Eq. 3"}),
        ("section 4.1", set()),
    ],
)
def test_items_are_read_from_prose(text, items):
    assert items_named(text) == items

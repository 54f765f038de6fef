"""The exercises ask what the solutions answer, and both run from the committed reference."""

import json
import re
from pathlib import Path

import pytest

from qponder_lib.runner import notebooks

ROOT = Path(__file__).parents[1]
NUMBERS = [f"{number:02}.{place}" for number in range(1, 14) for place in (1, 2, 3)]


def cells(name: str, kind: str) -> dict[str, str]:
    """The cells of a notebook by their ids."""
    read = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return {c["id"]: "".join(c["source"]) for c in read["cells"] if c["cell_type"] == kind}


def test_three_questions_to_each_notebook_with_a_solution_each():
    asked, solved = (
        [text for key, text in cells(name, "markdown").items() if key.startswith("q")]
        for name in ("exercises", "solutions")
    )
    assert [re.match(r"\*\*(.*?)\*\*", text)[1] for text in asked] == NUMBERS
    for question, answer in zip(asked, solved, strict=True):
        assert answer.startswith(f"{question}\n\n")


def test_no_guess_is_made_for_the_reader_and_no_solution_is_without_a_claim():
    exercises, solutions = (
        {key: text for key, text in cells(name, "code").items() if re.match(r"e\d", key)}
        for name in ("exercises", "solutions")
    )
    assert list(exercises) == list(solutions)
    assert all(text.startswith("guess = None  # ") for text in exercises.values())
    assert all("\nassert " in text for text in solutions.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exercises", "solutions"])
def test_it_runs_on_the_committed_reference(tmp_path, name):
    parameters = {"profile": "mini", "run_dir": "papermill_runs/reference/mini"}
    copy, log = tmp_path / f"{name}.ipynb", tmp_path / f"{name}.log"
    notebooks.execute(ROOT / "notebooks" / f"{name}.ipynb", copy, parameters, log, ROOT)
    printed = copy.read_text(encoding="utf-8")
    assert "not measured" not in printed

"""`qponder audit paper` prints what does not add up, and what the papers claim."""

import json

from typer.testing import CliRunner

from qponder_lib.cli import app


def run(*arguments: str):
    return CliRunner().invoke(app, ["audit", *arguments])


def test_paper_is_printed_with_what_does_not_add_up():
    found = run("paper")
    assert found.exit_code == 0
    assert "disagrees: table2, average, DepictQA, AVG., mean: printed 2.454" in found.stdout
    assert "average: 39 consistent\naverage: 3 disagrees" in found.stdout
    assert "by a margin of 0.01" in found.stdout


def test_paper_as_json_is_strict_and_complete():
    found = json.loads(run("paper", "--json").stdout)
    assert set(found) == {"findings", "claims"}
    assert sum(f["check"] == "average" for f in found["findings"]) == 26 + 4 + 8 + 4
    assert {c["outcome"] for c in found["claims"]} == {
        "holds",
        "holds_in_part",
        "does_not_hold",
        "not_decidable",
    }

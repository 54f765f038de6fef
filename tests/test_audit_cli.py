"""`qponder audit` prints what was found, refuses what is no table, and says so in its exit code."""

import json

from typer.testing import CliRunner

from qponder_lib.cli import app

COLUMNS = "method,dataset,metric,value,mark\n"


def run(*arguments: str):
    return CliRunner().invoke(app, ["audit", *arguments])


def test_paper_is_printed_with_what_does_not_add_up():
    found = run("paper")
    assert found.exit_code == 0
    assert "disagrees: table2, average, DepictQA, AVG., mean: printed 2.454" in found.stdout
    assert "consistent: table1, average (26)" in found.stdout
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


def test_table_that_adds_up_exits_zero_and_another_exits_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(COLUMNS + "m,A,srcc,0.6,best\nm,B,srcc,0.7,best\nm,AVG.,srcc,0.65,best\n")
    assert run("table", str(path)).exit_code == 0
    path.write_text(COLUMNS + "m,A,srcc,0.6,best\nm,B,srcc,0.7,best\nm,AVG.,srcc,0.85,best\n")
    found = run("table", str(path))
    assert found.exit_code == 1
    assert "disagrees: t, average, m, AVG., srcc" in found.stdout


def test_count_of_images_is_used(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(COLUMNS + "m,A,accuracy,2.340,none\n")
    found = run("table", str(path), "--count", "A=3", "--json")
    assert [f["check"] for f in json.loads(found.stdout) if f["outcome"] == "notable"] == [
        "whole_scores"
    ]


def test_what_is_no_table_is_a_usage_error_without_a_traceback(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    for arguments in (
        ("table", str(path)),
        ("table", str(tmp_path / "none.csv")),
        ("table", str(path), "--count", "A"),
    ):
        found = run(*arguments)
        assert found.exit_code == 2
        assert found.stderr.startswith("qponder: ")
        assert "Traceback" not in found.output

"""Comparing a run with a reference: what counts as moved, missing and new, worked by hand."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from qponder_lib import artifacts
from qponder_lib.cli import app
from qponder_lib.paths import RunPaths
from qponder_lib.runner import reference as references

COLUMNS = ["model", "dataset", "decoding", "metric", "protocol"]
COLUMNS += ["value", "ci_low", "ci_high", "n", "n_unparsed", "reason"]


def row(model="qponder", value=0.6, low=0.5, high=0.7, metric="srcc", reason=None):
    names = {"model": model, "dataset": "s", "decoding": "greedy", "metric": metric}
    numbers = {"value": value, "ci_low": low, "ci_high": high, "n": 40, "n_unparsed": 0}
    return names | {"protocol": "raw"} | numbers | {"reason": reason}


def folder(tmp_path, name, rows):
    paths = RunPaths(tmp_path / name)
    artifacts.write_csv(paths.scores, rows, COLUMNS)
    return paths


def states(tmp_path, run_rows, reference_rows):
    found = references.compare(
        folder(tmp_path, "run", run_rows), folder(tmp_path, "ref", reference_rows)
    )
    return [one.state for one in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.6, "within"), (0.5, "within"), (0.7, "within"), (0.71, "moved"), (0.49, "moved")],
)
def test_number_moves_when_it_leaves_the_references_interval(tmp_path, value, expected):
    assert states(tmp_path, [row(value=value)], [row()]) == [expected]


@pytest.mark.parametrize(("value", "expected"), [(0.615, "within"), (0.63, "moved")])
def test_without_an_interval_a_declared_tolerance_counts(tmp_path, value, expected):
    there = row(low=None, high=None, metric="krcc", reason="no_interval")
    assert states(tmp_path, [there | {"value": value}], [there]) == [expected]


def test_errors_in_mos_units_have_a_tolerance_of_their_own(tmp_path):
    there = row(value=12.0, low=None, high=None, metric="mae")
    assert states(tmp_path, [there | {"value": 12.4}], [there]) == ["within"]
    assert states(tmp_path, [there | {"value": 12.6}], [there]) == ["moved"]


def test_row_on_one_side_is_missing_or_new_and_not_moved(tmp_path):
    assert states(tmp_path, [row("b")], [row("a")]) == ["missing", "new"]


def test_value_that_vanished_has_moved_and_says_why(tmp_path):
    gone = row(value=None, low=None, high=None, reason="too_few")
    (found,) = references.compare(folder(tmp_path, "run", [gone]), folder(tmp_path, "ref", [row()]))
    assert (found.state, found.why) == ("moved", "run: none (too_few); reference: 0.6")


def test_values_missing_for_one_reason_on_both_sides_have_not_moved(tmp_path):
    gone = row(value=None, low=None, high=None, reason="too_few")
    assert states(tmp_path, [gone], [gone]) == ["within"]
    assert states(tmp_path, [gone | {"reason": "constant_scores"}], [gone]) == ["moved"]


def test_second_row_of_one_name_is_refused_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"scores\.csv, line 3: a second row for qponder"):
        states(tmp_path, [row(), row()], [row()])


def test_text_where_a_number_is_expected_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a number in column 'value', got 'high'"):
        states(tmp_path, [row(value="high")], [row()])


def test_folder_without_any_compared_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has none of eval/scores\.csv"):
        references.compare(RunPaths(tmp_path / "empty"), folder(tmp_path, "ref", [row()]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_run_never_moves_against_itself(tmp_path_factory, values):
    rows = [row(f"m{i}", value, value - 0.1, value + 0.1) for i, value in enumerate(values)]
    run = folder(tmp_path_factory.mktemp("same"), "run", rows)
    assert {one.state for one in references.compare(run, run)} == {"within"}


# ---- the command


def test_exit_code_is_one_if_a_number_moved_and_zero_if_rows_are_only_new(tmp_path):
    reference = folder(tmp_path, "ref", [row()]).root
    more = folder(tmp_path, "more", [row(), row("new")]).root
    moved = folder(tmp_path, "moved", [row(value=0.9)]).root
    runner = CliRunner()
    fine = runner.invoke(app, ["diff", str(more), str(reference)])
    assert (fine.exit_code, fine.stdout.splitlines()[0]) == (
        0,
        "0 moved, 0 missing, 1 new, 1 within",
    )
    off = runner.invoke(app, ["diff", str(moved), str(reference), "--json"])
    found = json.loads(off.stdout)
    assert off.exit_code == 1
    assert found["counts"] == {"moved": 1, "missing": 0, "new": 0, "within": 0}
    assert (found["moved"][0]["run"], found["moved"][0]["reference"]) == (0.9, 0.6)


def test_unknown_run_is_a_usage_error(tmp_path):
    done = CliRunner().invoke(app, ["diff", "no-such-run", str(tmp_path)])
    assert done.exit_code == 2
    assert "Traceback" not in done.output

"""Tables show what the files say: with intervals, n and reasons, measured apart from reported."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic_run import write_run

from qponder_lib import artifacts
from qponder_lib.evaluation import filtering
from qponder_lib.evaluation.readouts import evaluate_readouts
from qponder_lib.evaluation.scoring import evaluate_run
from qponder_lib.metrics import statistics
from qponder_lib.records import ImageRecord, ResponseRecord
from qponder_lib.report import results
from qponder_lib.report.filtering import write_filter
from qponder_lib.report.outputs import TABLES, write_tables
from qponder_lib.report.render import (
    REPORTED_SETS,
    Table,
    estimates,
    grid,
    one,
    read_reported,
    read_scores,
    select,
)


def filter_answers(run):
    train = artifacts.read_jsonl(run.paths.split("mini-koniq", "train"), ImageRecord)
    mos = {image.image_id: image.mos for image in train}
    answers = artifacts.read_jsonl(run.paths.raw_responses, ResponseRecord)
    result = filtering.filter_responses(answers, mos, run.profile.filter.gamma)
    artifacts.write_jsonl(run.paths.kept, result.kept)
    artifacts.write_jsonl(run.paths.rejected, result.rejected)
    return result, mos


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("runs") / "here")
    evaluate_run(run)
    evaluate_readouts(run)
    write_tables(run)
    return run


@pytest.fixture(scope="module")
def filtered(run):
    result, mos = filter_answers(run)
    write_filter(run)
    return result, mos


def frame(run, name):
    return pd.read_csv(run.paths.tables / f"{name}.csv")


def text(run, name, suffix="md"):
    return (run.paths.tables / f"{name}.{suffix}").read_text(encoding="utf-8")


# ---- what was transcribed


@pytest.mark.parametrize(("name", "n_methods"), [("table1", 13), ("table3", 4)])
def test_reported_averages_are_the_means_of_the_reported_columns(name, n_methods):
    found = read_reported(name)
    assert len(found) == n_methods * 7 * 2
    for _, rows in found.groupby(["method", "metric"]):
        values = rows.set_index("dataset")["value"]
        assert values.drop("AVG.").mean() == pytest.approx(values["AVG."], abs=0.00051)


def test_last_row_of_reported_table_3_is_q_ponder_of_table_1():
    last = select(read_reported("table3"), method="long + RL")
    same = select(read_reported("table1"), method="Q-Ponder")
    assert list(last["value"]) == list(same["value"])


# ---- laying out


def cell(*rows):
    return estimates(pd.DataFrame(rows))


def test_missing_value_shows_its_reason_and_no_number():
    row = {"value": None, "ci_low": None, "ci_high": None, "reason": "constant_scores"}
    assert cell(row) == "–\nconstant_scores"
    assert cell(row, row) == "–\nconstant_scores"


def test_value_without_interval_has_no_brackets():
    row = {"value": 0.5, "ci_low": None, "ci_high": float("nan"), "reason": "no_interval"}
    assert cell(row) == "0.500"


def test_estimates_of_one_cell_stand_side_by_side_above_their_intervals():
    first = {"metric": "plcc", "value": 0.71, "ci_low": 0.6, "ci_high": 0.8}
    second = {"metric": "mae", "value": 12.345, "ci_low": None, "ci_high": None}
    assert cell(first, second) == "0.710 / 12.35\n[0.600, 0.800] / –"


def test_grid_keeps_the_order_of_the_rows_and_marks_what_is_not_there():
    rows = [("b", "y", 0.1), ("b", "x", 0.2), ("a", "x", 0.3)]
    found = grid(pd.DataFrame(rows, columns=["model", "set", "value"]), "model", "set")
    assert found.to_numpy().tolist() == [["b", "0.100", "0.200"], ["a", "–", "0.300"]]
    assert list(found.columns) == ["model", "y", "x"]


NASTY = "<script>alert(1)</script> | x & 5% \u202e"


def test_text_cannot_break_out_of_markdown_html_or_latex():
    frame = pd.DataFrame({NASTY: [f"{NASTY}\n{NASTY}"], "b": ["1"]})
    table = Table(NASTY, NASTY, {NASTY: frame})
    assert "<script>" not in table.html()
    assert "\u202e" not in table.html()
    assert "<script>" not in table.markdown()
    rows = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3}
    body = [line for line in table.latex().splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[&%](?! 1| b)", " ".join(body).replace("\\\\", ""))


def test_lines_of_two_intervals_break_between_them_and_not_within():
    frame = pd.DataFrame({"a": ["x"], "b": ["0.7 / 0.6\n[0.6, 0.8] / [0.5, 0.7]"]})
    assert "<td>0.7 / 0.6<br><small>[0.6,\u00a00.8] / [0.5,\u00a00.7]</small></td>" in (
        Table("t", "n", {"": frame}).html()
    )


# ---- of a run


def test_table_1_has_every_model_and_the_ceiling_first(run):
    lines = [line for line in text(run, "table1").splitlines() if line.startswith("|")]
    assert lines[2].startswith("| Ceiling")
    assert len(lines) == 2 + 1 + len(run.profile.predict.models)
    assert lines[-2].startswith("| Q-Ponder")


def test_table_1_shows_the_measured_numbers(run):
    scores = read_scores(run.paths)
    where = {"model": "qponder", "dataset": "mini-csiq", "protocol": "raw", "decoding": "greedy"}
    values = [one(scores, metric=metric, **where)["value"] for metric in ("plcc", "srcc")]
    assert f"{values[0]:.3f} / {values[1]:.3f}" in text(run, "table1")
    unread = select(scores, model="qponder", metric="srcc", decoding="greedy")
    total = select(unread, dataset=list(run.profile.predict.sets))["n_unparsed"].sum()
    row = next(x for x in text(run, "table1").splitlines() if x.startswith("| Q-Ponder |"))
    assert row.endswith(f"| {total} |")


def test_no_embedded_number_stands_under_a_public_name(run):
    for name in ("table1", "decoding", "differences"):
        header = next(x for x in text(run, name).splitlines() if x.startswith("|"))
        assert not set(REPORTED_SETS.values()) & {cell.strip() for cell in header.split("|")}


def test_table_3_keeps_measured_and_reported_in_columns_of_their_own(run):
    data = frame(run, "table3")
    trained = one(data, variant="short + RL", dataset="mini-agiqa", metric="srcc")
    assert np.isnan(trained["reported_value"])  # the paper goes on from the long form alone
    row = one(data, variant="long", dataset="mini-agiqa", metric="srcc")
    assert (row["reported_dataset"], row["reported_value"]) == ("AGIQA", 0.742)
    measured = one(
        read_scores(run.paths),
        model="ci-long",
        dataset="mini-agiqa",
        metric="srcc",
        protocol="raw",
        decoding="greedy",
    )
    assert row["value"] == pytest.approx(measured["value"])
    header = next(x for x in text(run, "table3").splitlines() if x.startswith("|"))
    assert header.count("(measured)") == header.count("(reported)") == 4


def test_decoding_table_counts_unparsed_responses_over_all_samples(run):
    data = frame(run, "decoding")
    row = one(data, model="ci-long", decoding="sampled", protocol="raw", metric="srcc")
    rate = one(data, model="ci-long", decoding="sampled", protocol="raw", metric="parse_rate")
    k = run.profile.predict.n_samples
    assert rate["value"] == pytest.approx(1.0 - row["n_unparsed"] / (40 * k))


def test_every_table_says_which_run_made_it(run):
    for name in ("table1", "table3", "decoding", "differences"):
        assert "Run here, profile synthetic" in text(run, name)
        assert text(run, name, "html").startswith("<section>")


def test_every_table_can_be_had_as_latex(run, filtered):
    for name, lay_out in TABLES.items():
        if name not in ("table2", "table4"):  # nobody has been judged
            assert r"\toprule" in lay_out(run).latex(), name


def test_intervals_of_a_run_without_references_are_said_to_be_over_images(run, tmp_path):
    assert "bootstrap intervals over photographs" in text(run, "table1")
    old = shutil.copytree(run.paths.root, tmp_path / "old") / "eval" / "scores.csv"
    pd.read_csv(old).drop(columns="n_references").to_csv(old, index=False)
    note = results.table1(type(run)(type(run.paths)(tmp_path / "old"), run.profile)).note
    assert "bootstrap intervals over images" in note


def test_table_without_a_benchmark_table_has_no_ceiling(run, tmp_path):
    shutil.copytree(run.paths.root / "eval", tmp_path / "eval")
    from qponder_lib.paths import RunPaths
    from qponder_lib.pipeline import Run

    bare = Run(RunPaths(tmp_path), run.profile)
    assert "Ceiling" not in results.table1(bare).markdown()


def test_writing_tables_twice_gives_the_same_bytes(run):
    before = {p: p.read_bytes() for p in write_tables(run)}
    assert {p: p.read_bytes() for p in write_tables(run)} == before


# ---- of the filter


def test_filter_table_measures_each_selection(run, filtered):
    result, mos = filtered
    data = frame(run, "filter").set_index("selection")
    kept = result.kept
    expected = statistics.srcc([r.score for r in kept], [mos[r.image_id] for r in kept])
    assert data.loc["filtered", "srcc"] == pytest.approx(expected)
    assert data.loc["filtered", "n"] == data.loc["random", "n"] == len(kept)
    assert data.loc["unfiltered", "n"] == len(result.scored)
    assert data.loc["filtered", "reported_srcc"] == 0.795


def test_filter_difference_is_the_difference_of_the_table(run, filtered):
    data = frame(run, "filter").set_index("selection")
    found = one(
        frame(run, "filter_differences"), first="filtered", second="unfiltered", metric="mae"
    )
    assert found["value"] == pytest.approx(
        data.loc["filtered", "mae"] - data.loc["unfiltered", "mae"]
    )
    assert found["ci_low"] <= found["value"] <= found["ci_high"] < 0.0


def test_reasons_add_up_to_all_responses(run, filtered):
    data = frame(run, "filter_reasons")
    assert data["n"].sum() == len(filtered[0].rows)
    assert data["share"].sum() == pytest.approx(1.0)


def test_sweep_has_a_control_for_every_share(run, filtered):
    data = frame(run, "filter_sweep")
    assert list(data["selection"]) == ["filtered", "random"] * len(run.profile.filter.sweep)
    everything = select(data, gamma=1.0)["srcc"]
    assert everything.nunique() == 1


def test_histogram_holds_every_ranked_response(run, filtered):
    data = frame(run, "filter_histogram")
    assert data["n_all"].sum() == len(filtered[0].scored)
    assert data["n_kept"].sum() == len(filtered[0].kept)

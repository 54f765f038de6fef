"""Tables show what the files say: with intervals, n and reasons, measured apart from reported."""

import csv
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic_run import write_run

from qponder_lib import artifacts, config
from qponder_lib.evaluation import filtering
from qponder_lib.evaluation.scoring import MEAN, evaluate_run
from qponder_lib.metrics import statistics
from qponder_lib.records import ImageRecord, ResponseRecord
from qponder_lib.report import tables
from qponder_lib.report.tables.render import Block, Cell, Table, estimate, pair
from qponder_lib.report.tables.sources import REPORTED_SETS, one, select
from qponder_lib.report.tables.study_arms import find_runs


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
    tables.write_tables(run)
    return run


@pytest.fixture(scope="module")
def filtered(run):
    result, mos = filter_answers(run)
    tables.filter_tables(run)
    return result, mos


def frame(run, name):
    return pd.read_csv(run.paths.tables / f"{name}.csv")


def text(run, name, suffix="md"):
    return (run.paths.tables / f"{name}.{suffix}").read_text(encoding="utf-8")


# ---- what was transcribed


@pytest.mark.parametrize(("name", "n_methods"), [("table1", 13), ("table3", 4)])
def test_reported_averages_are_the_means_of_the_reported_columns(name, n_methods):
    found = tables.read_reported(name)
    assert len(found) == n_methods * 7 * 2
    for _, rows in found.groupby(["method", "metric"]):
        values = rows.set_index("dataset")["value"]
        assert values.drop("AVG.").mean() == pytest.approx(values["AVG."], abs=0.00051)


def test_last_row_of_reported_table_3_is_q_ponder_of_table_1():
    last = select(tables.read_reported("table3"), method="long + RL")
    same = select(tables.read_reported("table1"), method="Q-Ponder")
    assert list(last["value"]) == list(same["value"])


# ---- laying out


def test_missing_value_shows_its_reason_and_no_number():
    row = {"value": None, "ci_low": None, "ci_high": None, "reason": "constant_scores"}
    assert estimate(row) == Cell("–", "constant_scores")
    assert pair(row, row) == Cell("–", "constant_scores")


def test_value_without_interval_has_no_brackets():
    row = {"value": 0.5, "ci_low": None, "ci_high": float("nan"), "reason": "no_interval"}
    assert estimate(row) == Cell("0.500", "")


def test_lines_of_two_intervals_break_between_them_and_not_within():
    assert Cell("0.7 / 0.6", "[0.6, 0.8] / [0.5, 0.7]").html() == (
        "0.7 / 0.6<br><small>[0.6,&nbsp;0.8] / [0.5,&nbsp;0.7]</small>"
    )


def test_text_cannot_break_out_of_markdown_or_html():
    nasty = "<script>alert(1)</script> | x"
    block = Block(nasty, (nasty, "b"), ((Cell(nasty, nasty), Cell("1")),))
    table = Table("t", nasty, nasty, pd.DataFrame({"a": [1]}), (block,))
    assert "<script>" not in table.html()
    assert "<script>" not in table.markdown()
    rows = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3}


# ---- of a run


def test_table_1_has_every_model_and_the_ceiling_first(run):
    lines = [line for line in text(run, "table1").splitlines() if line.startswith("|")]
    assert lines[2].startswith("| Ceiling")
    assert len(lines) == 2 + 1 + len(run.profile.predict.models)
    assert lines[-2].startswith("| Q-Ponder (CI + GRPO)")


def test_table_1_shows_the_measured_numbers(run):
    scores = tables.read_scores(run.paths)
    where = {"model": "qponder", "dataset": "mini-csiq", "protocol": "raw", "decoding": "greedy"}
    values = [one(scores, metric=metric, **where)["value"] for metric in ("plcc", "srcc")]
    assert f"{values[0]:.3f} / {values[1]:.3f}" in text(run, "table1")
    unread = select(scores, model="qponder", metric="srcc", decoding="greedy")
    total = select(unread, dataset=list(run.profile.predict.sets))["n_unparsed"].sum()
    row = next(x for x in text(run, "table1").splitlines() if x.startswith("| Q-Ponder (CI"))
    assert row.endswith(f"| {total} |")


def test_no_embedded_number_stands_under_a_public_name(run):
    for name in ("table1", "decoding", "protocols", "differences"):
        header = next(x for x in text(run, name).splitlines() if x.startswith("|"))
        assert not set(REPORTED_SETS.values()) & {cell.strip() for cell in header.split("|")}


def test_table_3_keeps_measured_and_reported_in_columns_of_their_own(run):
    data = frame(run, "table3")
    row = one(data, variant="long + RL", dataset="mini-agiqa", metric="srcc")
    assert (row["reported_dataset"], row["reported_value"]) == ("AGIQA", 0.755)
    measured = one(
        tables.read_scores(run.paths),
        model="qponder",
        dataset="mini-agiqa",
        metric="srcc",
        protocol="raw",
        decoding="greedy",
    )
    assert row["value"] == pytest.approx(measured["value"])
    header = next(x for x in text(run, "table3").splitlines() if x.startswith("|"))
    assert header.count("(measured)") == header.count("(reported)") == 4


def test_decoding_table_counts_unread_answers_over_all_samples(run):
    data = frame(run, "decoding")
    row = one(data, model="ci-long", decoding="sampled", protocol="raw", metric="srcc")
    rate = one(data, model="ci-long", decoding="sampled", protocol="raw", metric="parse_rate")
    k = run.profile.predict.n_samples
    assert rate["value"] == pytest.approx(1.0 - row["n_unparsed"] / (40 * k))


def test_every_table_says_which_run_made_it(run):
    for name in ("table1", "table3", "decoding", "protocols", "differences"):
        assert "Run here, profile synthetic" in text(run, name)
        assert text(run, name, "html").startswith("<section>")


def test_table_without_a_benchmark_table_has_no_ceiling(run, tmp_path):
    shutil.copytree(run.paths.root / "eval", tmp_path / "eval")
    from qponder_lib.paths import RunPaths
    from qponder_lib.pipeline import Run

    bare = Run(RunPaths(tmp_path), run.profile)
    assert "Ceiling" not in tables.table1(bare).markdown()


def test_writing_tables_twice_gives_the_same_bytes(run):
    before = {p: p.read_bytes() for p in tables.write_tables(run)}
    assert {p: p.read_bytes() for p in tables.write_tables(run)} == before


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


def test_reasons_add_up_to_all_answers(run, filtered):
    data = frame(run, "filter_reasons")
    assert data["n"].sum() == len(filtered[0].rows)
    assert data["share"].sum() == pytest.approx(1.0)


def test_sweep_has_a_control_for_every_share(run, filtered):
    data = frame(run, "filter_sweep")
    assert list(data["selection"]) == ["filtered", "random"] * len(run.profile.filter.sweep)
    everything = select(data, gamma=1.0)["srcc"]
    assert everything.nunique() == 1


def test_histogram_holds_every_ranked_answer(run, filtered):
    data = frame(run, "filter_histogram")
    assert data["n_all"].sum() == len(filtered[0].scored)
    assert data["n_kept"].sum() == len(filtered[0].kept)


# ---- of a study

GAIN = {0: 2.0, 1: 3.0}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two seeds, their shuffled controls, one other gamma; one seed is missing."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    base = folder.parent / "base.yaml"
    few = {
        "predict.sets": ("mini-koniq", "mini-csiq"),
        "predict.sampled_sets": ("mini-koniq",),
        "predict.models": ("ci-none", "ci-short", "ci-long", "qponder"),
        "predict.n_samples": 2,
    }
    profile = config.Profile(name="base", description="small").with_overrides(few)
    base.write_text(config.dump_profile(profile), encoding="utf-8")
    runs = []
    for seed in (0, 1, 2):
        seeds = {"sft.seed": seed, "grpo.seed": seed}
        runs.append({"name": f"seed-{seed}", "overrides": seeds})
        runs.append(
            {"name": f"shuffled-{seed}", "overrides": seeds | {"grpo.shuffle_rewards": True}}
        )
    runs.append({"name": "gamma-0.5", "overrides": {"filter.gamma": 0.5}})
    plan = config.Study(name="small", description="d", base=str(base), runs=runs)
    for entry in plan.runs:
        seed = entry.overrides.get("grpo.seed", 0)
        if seed == 2:
            continue
        gain = -6.0 if "shuffled" in entry.name else GAIN[seed]
        made = write_run(folder / entry.name, seed=seed, gain=gain, **few, **entry.overrides)
        evaluate_run(made)
    tables.study_tables(folder, plan)
    return folder, plan


def study_frame(study, name):
    return pd.read_csv(study[0] / "tables" / f"{name}.csv")


def test_missing_runs_are_named(study):
    data = study_frame(study, "study_runs").set_index("run")
    assert data.loc["seed-2", "state"] == "not started"
    assert data.loc["seed-1", "state"] == "evaluated"
    note = (study[0] / "tables" / "study_differences.md").read_text(encoding="utf-8")
    assert "5 of 7 runs" in note
    assert "seed-2, shuffled-2 (not started)" in note


def test_pooled_difference_is_the_mean_of_the_seeds(study):
    data = study_frame(study, "study_differences")
    where = {
        "decoding": "greedy",
        "protocol": "raw",
        "dataset": "mini-koniq",
        "metric": "parse_rate",
    }
    arm = select(data, arm="Q-Ponder − its cold start", **where).set_index("seed")
    assert list(arm.index) == ["0", "1", "all"]
    assert arm.loc["all", "value"] == pytest.approx(arm.loc[["0", "1"], "value"].mean())
    assert arm.loc["all", "n_runs"] == 2
    assert arm.loc["all", "seed_min"] == arm["value"].iloc[:2].min()


def test_seed_differences_are_those_of_the_runs(study):
    data = study_frame(study, "study_differences")
    where = {"decoding": "sampled", "protocol": "raw", "dataset": "mini-koniq", "metric": "mae"}
    mine = one(data, arm="Q-Ponder − its cold start", seed="1", **where)
    theirs = one(
        pd.read_csv(study[0] / "seed-1" / "eval" / "differences.csv"),
        model_a="qponder",
        model_b="ci-long",
        **where,
    )
    assert (mine["value"], mine["ci_low"]) == (theirs["value"], theirs["ci_low"])


def test_control_arms_compare_the_shuffled_runs(study):
    data = study_frame(study, "study_differences")
    where = {
        "decoding": "greedy",
        "protocol": "raw",
        "dataset": MEAN,
        "metric": "mae",
        "seed": "all",
    }
    assert one(data, arm="Shuffled rewards − its cold start", **where)["value"] > 0.0
    assert one(data, arm="Q-Ponder − shuffled rewards", **where)["value"] < 0.0


def test_gamma_table_has_the_runs_of_one_seed_in_order(study):
    data = study_frame(study, "study_gamma")
    assert list(dict.fromkeys(data["run"])) == ["gamma-0.5", "seed-0"]


def test_variants_over_seeds_give_mean_and_range(study):
    data = study_frame(study, "study_models")
    row = one(data, model="ci-none", dataset=MEAN, decoding="greedy", metric="srcc", protocol="raw")
    values = [
        one(
            pd.read_csv(study[0] / f"seed-{seed}" / "eval" / "scores.csv"),
            model="ci-none",
            dataset=MEAN,
            decoding="greedy",
            metric="srcc",
            protocol="raw",
        )["value"]
        for seed in (0, 1)
    ]
    assert row["n_runs"] == 2
    assert row["mean"] == pytest.approx(np.mean(values))
    assert (row["lowest"], row["highest"]) == (min(values), max(values))


def test_study_without_its_file_uses_the_runs_that_lie_there(study):
    assert [run.name for run in find_runs(study[0])] == [
        "gamma-0.5",
        "seed-0",
        "seed-1",
        "shuffled-0",
        "shuffled-1",
    ]


def test_empty_study_folder_says_what_to_run(tmp_path):
    study = config.Study(name="s", description="d", base="mini", runs=[{"name": "seed-0"}])
    with pytest.raises(FileNotFoundError, match="qponder run"):
        tables.study_tables(tmp_path / "s", study)


def test_markdown_shows_no_number_that_is_not_in_the_csv(study):
    folder = study[0] / "tables"
    body = [x for x in (folder / "study_models.md").read_text("utf-8").splitlines() if x[:1] == "|"]
    cells = [cell for line in body[2:] for cell in line.split("|")[2:-1]]
    shown = set(re.findall(r"-?\d\.\d{3}", " ".join(cells)))
    rows = csv.DictReader(io.StringIO((folder / "study_models.csv").read_text("utf-8")))
    known = {f"{float(r[k]):.3f}" for r in rows for k in ("mean", "lowest", "highest") if r[k]}
    assert shown
    assert shown <= known

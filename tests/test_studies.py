"""Studies: runs grouped by a label, compared over their seeds and with their controls."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from synthetic_run import write_run

from qponder_lib import artifacts, config
from qponder_lib.evaluation.scoring import MEAN, evaluate_run
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import PredictionRecord
from qponder_lib.report import outputs, studies
from qponder_lib.report.render import one, select
from qponder_lib.report.studies import rollout_history
from qponder_lib.report.style import new_figure
from qponder_lib.training.grpo import trainings

WHERE = {"decoding": "greedy", "protocol": "raw", "dataset": "mini-koniq", "metric": "mae"}


def made_study(folder, few, runs, gains):
    """Write the runs of a study that have a gain, and compare them."""
    base = folder.parent / "base.yaml"
    profile = config.Profile(name="base", description="small").with_overrides(few)
    base.write_text(config.dump_profile(profile), encoding="utf-8")
    plan = config.Study(name=folder.name, description="d", base=str(base), runs=runs)
    for number, (name, changes) in enumerate(runs.items()):
        if name not in gains:
            continue
        run = write_run(folder / name, seed=number, gain=gains[name], **{**few, **changes})
        history = run.paths.grpo("qponder") / "history.csv"
        for training in trainings(run):
            target = training.folder / "history.csv"
            artifacts.write_text_atomic(target, history.read_text(encoding="utf-8"))
        evaluate_run(run)
    outputs.write_study(folder, plan)
    return folder, plan


def frame(made, name):
    return pd.read_csv(made[0] / "tables" / f"{name}.csv")


# ---- seeds, gamma and the shuffled control

GAIN = {0: 2.0, 1: 3.0}
SEVERAL = {
    "predict.sets": ("mini-koniq", "mini-csiq"),
    "predict.sampled_sets": ("mini-koniq",),
    "predict.models": ("ci-none", "ci-short", "ci-long", "qponder"),
    "predict.n_samples": 2,
    "grpo.start_from": "long",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two seeds, their shuffled controls, one other gamma; one seed is missing."""
    runs, gains = {}, {"gamma-0.5": 2.0}
    for seed in (0, 1, 2):
        seeds = {"sft.seed": seed, "grpo.seed": seed}
        runs[f"seed-{seed}"] = seeds
        runs[f"shuffled-seed-{seed}"] = seeds | {"grpo.shuffle_rewards": True}
        if seed in GAIN:
            gains |= {f"seed-{seed}": GAIN[seed], f"shuffled-seed-{seed}": -6.0}
    runs["gamma-0.5"] = {"filter.gamma": 0.5}
    return made_study(tmp_path_factory.mktemp("studies") / "small", SEVERAL, runs, gains)


def test_missing_runs_are_named(study):
    data = frame(study, "study_runs").set_index("run")
    assert data.loc["seed-2", "state"] == "not started"
    assert data.loc["seed-1", "state"] == "evaluated"
    note = (study[0] / "tables" / "study_differences.md").read_text(encoding="utf-8")
    assert "5 of 7 runs" in note
    assert "seed-2, shuffled-seed-2 (not started)" in note


def test_pooled_difference_is_the_mean_of_the_seeds(study):
    data = frame(study, "study_differences")
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
    assert arm.loc["all", "method_low"] <= arm.loc["all", "ci_low"]  # runs are resampled too
    assert arm.loc[["0", "1"], "method_low"].isna().all()


def test_seed_differences_are_those_of_the_runs(study):
    data = frame(study, "study_differences")
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
    data = frame(study, "study_differences")
    where = {
        "decoding": "greedy",
        "protocol": "raw",
        "dataset": MEAN,
        "metric": "mae",
        "seed": "all",
    }
    assert one(data, arm="Shuffled rewards − its cold start", **where)["value"] > 0.0
    assert one(data, arm="Q-Ponder − Shuffled rewards", **where)["value"] < 0.0


def test_a_run_of_another_gamma_is_a_label_of_its_own_and_compared_with_the_base(study):
    data = frame(study, "study_scores")
    assert set(data.loc[data["system"] == "gamma-0.5", "run"]) == {"gamma-0.5"}
    rows = select(frame(study, "study_differences"), arm="gamma-0.5 − Q-Ponder", **WHERE)
    assert list(rows["seed"].astype(str)) == ["0"]


def test_models_of_the_base_are_compared_over_seeds(study):
    data = frame(study, "study_scores")
    assert set(data.loc[data["system"].isna(), "model"]) == set(SEVERAL["predict.models"])
    names = set(frame(study, "study_differences")["arm"])
    assert "Q-Ponder − Cold start, short" in names


def test_scores_over_seeds_are_mean_and_range_and_never_in_brackets(study):
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
    text = (study[0] / "tables" / "study_scores.md").read_text(encoding="utf-8")
    (line,) = [x for x in text.splitlines() if x.startswith("| Q-Ponder | Cold start, none ")]
    ends = f"{min(values):.3f} to {max(values):.3f}"
    assert f"{np.mean(values):.3f}<br>{ends}" in line
    assert "[" not in line


def test_study_without_its_file_uses_the_runs_that_lie_there(study):
    assert [run.paths.root.name for run in studies.find_runs(study[0])] == [
        "gamma-0.5",
        "seed-0",
        "seed-1",
        "shuffled-seed-0",
        "shuffled-seed-1",
    ]


def test_empty_study_folder_says_what_to_run(tmp_path):
    study = config.Study(name="s", description="d", base="mini", runs={"seed-0": {}})
    with pytest.raises(FileNotFoundError, match="qponder run"):
        outputs.write_study(tmp_path / "s", study)


def test_markdown_shows_no_number_that_is_not_in_the_csv(study):
    folder = study[0] / "tables"
    text = (folder / "study_differences.md").read_text("utf-8")
    body = [line for line in text.splitlines() if line[:1] == "|"]
    cells = [cell for line in body[2:] for cell in line.split("|")[3:-1]]
    shown = set(re.findall(r"-?\d+\.\d{3}", " ".join(cells)))
    rows = csv.DictReader(io.StringIO((folder / "study_differences.csv").read_text("utf-8")))
    known = {
        f"{float(r[k]) + 0.0:.3f}" for r in rows for k in ("value", "ci_low", "ci_high") if r[k]
    }
    known |= {"0.000"}
    assert shown
    assert shown <= known


def test_study_of_two_seeds_writes_its_spread_of_training(study):
    spread = frame(study, "training_spread").set_index("name")
    name = "qponder, mini-koniq, greedy, mae, raw"
    scores = frame(study, "study_scores")
    mine = select(scores, model="qponder", run=["seed-0", "seed-1"], **WHERE)["value"]
    assert spread.loc[name, "sd_seeds"] == pytest.approx(mine.std())
    assert (spread.loc[name, "n_seeds"], spread.loc[name, "profile"]) == (2, "base")
    drawn = pd.read_csv(study[0] / "figures" / "training_noise.csv")
    assert "Q-Ponder − Cold start, long, greedy, mini-koniq" in set(drawn["row"])
    assert "sd_rounding" not in drawn  # without such runs


# ---- rewards


FEW = {
    "predict.sets": ("mini-koniq", "mini-csiq"),
    "predict.sampled_sets": ("mini-koniq",),
    "predict.models": ("ci-long", "qponder"),
    "predict.n_samples": 2,
    "sft.variants": ("long",),
    "grpo.start_from": "long",
    "student.prompt_id": "preresq_image",
}
MADE = {
    "preresq": ({"grpo.reward": "preresq", "grpo.exploration_steps": 30}, 4.0),
    "qponder": ({}, 2.0),
    "threshold": ({"grpo.reward": "threshold"}, 0.0),
    "preresq-shuffled": (
        {
            "grpo.reward": "preresq",
            "grpo.exploration_steps": 30,
            "grpo.shuffle_rewards": True,
        },
        -6.0,
    ),
    "one-score": ({"student.prompt_id": "student_short"}, 2.0),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five labels, two seeds; the last seed of the threshold is missing."""
    runs, gains = {}, {}
    for name, (changes, gain) in MADE.items():
        for seed in (0, 1):
            runs[f"{name}-seed-{seed}"] = {**changes, "grpo.seed": seed, "sft.seed": seed}
            gains[f"{name}-seed-{seed}"] = gain
    del gains["threshold-seed-1"]
    return made_study(tmp_path_factory.mktemp("made") / "rewards-small", FEW, runs, gains)


def test_missing_runs_are_named_and_left_out(made):
    data = frame(made, "reward_runs").set_index("run")
    assert data.loc["threshold-seed-1", "state"] == "not started"
    note = (made[0] / "tables" / "reward_scores.md").read_text(encoding="utf-8")
    assert "9 of 10 runs are there. Missing: threshold-seed-1 (not started)." in note


def test_runs_table_shows_one_cold_start_for_a_seed(made):
    data = frame(made, "reward_runs")
    aspects = data[data["system"] != "one-score"]
    assert (aspects.groupby("seed")["cold_start"].nunique() == 1).all()
    assert aspects["cold_start"].nunique() == 2
    assert not set(aspects["cold_start"]) & set(data[data["system"] == "one-score"]["cold_start"])


def test_differences_are_first_minus_second_with_all_seeds_together(made):
    data = frame(made, "reward_differences")
    where = {"decoding": "greedy", "protocol": "raw", "dataset": "mini-koniq", "metric": "mae"}
    rows = select(data, arm="PreResQ-R1 − PreResQ-R1, rewards shuffled", **where)
    assert list(rows["seed"]) == ["0", "1", "all"]
    together = rows.set_index("seed").loc["all"]
    assert together["value"] == pytest.approx(rows["value"].iloc[:2].mean())
    assert together["ci_high"] < 0.0  # ten MOS units less error
    alone = select(data, arm="Threshold (Q-Insight) − Exponential (Q-Ponder)", **where)
    assert list(alone["seed"]) == ["0"]
    assert "PreResQ-R1 − Q-Ponder, its own form (one score)" in set(data["arm"])


def test_zero_variance_is_averaged_over_both_stages(made):
    folder, plan = made
    name = "preresq-seed-0"
    run = Run(RunPaths(folder / name), profile_of(plan, name))
    history = rollout_history(run)
    assert list(history["step"]) == list(range(1, 401))  # 200 made steps in each stage
    assert list(dict.fromkeys(history["stage"])) == ["grpo-preresq-explore", "grpo-preresq"]
    row = one(frame(made, "reward_health"), run=name, metric="zero_variance_share")
    assert row["value"] == pytest.approx(history["zero_variance_share"].mean())


def profile_of(plan, name):
    return plan.profiles()[name]


def test_score_diversity_is_that_of_rounded_greedy_scores_on_all_sets(made):
    paths = RunPaths(made[0] / "qponder-seed-0")
    rows = [
        row
        for name in FEW["predict.sets"]
        for row in artifacts.read_jsonl(paths.predictions("qponder", name), PredictionRecord)
    ]
    scores = pd.Series([round(row.score) for row in rows if row.score is not None])
    row = one(frame(made, "reward_health"), run="qponder-seed-0", metric="modal_share")
    assert row["value"] == pytest.approx(scores.value_counts(normalize=True).max())


def test_two_runs_of_one_system_and_seed_are_an_error(made):
    folder, plan = made
    run = Run(RunPaths(folder / "a-seed-0"), profile_of(plan, "qponder-seed-0"))
    with pytest.raises(ValueError, match="same label and seed"):
        studies.by_label([run, run])


# ---- figure


def test_figure_has_a_row_per_label_that_is_there(made):
    drawn = pd.read_csv(made[0] / "figures" / "reward_comparison.csv")
    assert drawn["arm"].nunique() == len(MADE)
    assert drawn["arm"].str.endswith("its cold start").all()


def drawn_forest(values, arm="Q-Ponder − its cold start", **others):
    rows = [
        {"arm": arm, "seed": seed, "value": value, "ci_low": value - 0.02, "ci_high": value + 0.02}
        for seed, value in values.items()
    ]
    names = [arm, *others]
    rows += [
        {"arm": name, "seed": "0", "value": value, "ci_low": value, "ci_high": value}
        for name, value in others.items()
    ]
    return studies.forest(new_figure(3.0, 3.0)[1][0, 0], pd.DataFrame(rows), names)


def test_forest_draws_a_dot_per_seed_and_a_diamond_for_all():
    ax = drawn_forest({"0": 0.02, "1": 0.04, "all": 0.03})
    drawn = {line.get_marker(): len(line.get_xdata()) for line in ax.lines}
    assert (drawn["o"], drawn["D"]) == (2, 1)


def test_diverged_control_is_an_arrow_with_its_number_and_sets_no_scale():
    ax = drawn_forest({"0": 0.02, "1": 0.04, "all": 0.03}, **{"Shuffled − its cold start": -1.2})
    assert ax.get_xlim()[0] > -0.1
    assert "-1.20" in [text.get_text().strip() for text in ax.texts]


def test_forest_without_such_numbers_says_so():
    empty = pd.DataFrame({"arm": [], "seed": [], "value": []})
    ax = studies.forest(new_figure(3.0, 3.0)[1][0, 0], empty, ["a"])
    assert ax.texts[0].get_text() == "not measured"

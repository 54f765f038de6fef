"""The study of rewards: one cold start and one budget for all, and tables from its runs."""

import numpy as np
import pandas as pd
import pytest
from synthetic_run import write_run

from qponder_lib import artifacts, config, pipeline
from qponder_lib.data.catalog import PRERESQ_BENCHMARKS, spec_named
from qponder_lib.evaluation import scoring
from qponder_lib.metrics.statistics import diversity_statistic
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import PredictionRecord
from qponder_lib.report import figures, tables
from qponder_lib.report.tables import reward_arms
from qponder_lib.report.tables.sources import one, select
from qponder_lib.report.tables.study_arms import StudyRun
from qponder_lib.rewards.batch import PUBLISHED_WEIGHTS, compare_rewards
from qponder_lib.rewards.qponder import group_advantages
from qponder_lib.scales import ASPECT_SCALE, linear_rescale
from qponder_lib.training.phases import SEED_STEP, phases

SYSTEMS = list(reward_arms.LABELS)


def shipped():
    plan = config.load_profile_or_study("rewards")
    base = config.load_profile(plan.base)
    return plan, {run.name: base.with_overrides(run.overrides) for run in plan.runs}


# --- the profiles


def test_every_system_is_trained_from_three_seeds():
    _, profiles = shipped()
    found = {(reward_arms.system_of(one), one.grpo.seed, one.sft.seed) for one in profiles.values()}
    assert found == {(name, seed, seed) for name in SYSTEMS for seed in (0, 1, 2)}
    assert len(profiles) == len(found)


def test_runs_of_a_seed_share_cold_start_images_and_budget():
    _, profiles = shipped()
    starts = {}
    for profile in profiles.values():
        keys = pipeline.stage_keys(profile)
        form = profile.student.prompt_id
        starts.setdefault((profile.grpo.seed, form), set()).add((keys["sft-long"], keys["data"]))
        budget = profile.grpo.model_dump(
            include={"max_steps", "images_per_step", "num_generations", "beta", "learning_rate"}
        )
        assert budget == profiles["preresq-seed-0"].grpo.model_dump(include=set(budget))
    assert all(len(found) == 1 for found in starts.values())
    assert len(starts) == 6


def test_weights_are_those_of_each_source():
    _, profiles = shipped()
    for profile in profiles.values():
        weights = (profile.grpo.weight_accuracy, profile.grpo.weight_format)
        assert weights == PUBLISHED_WEIGHTS[profile.grpo.reward]


def test_control_differs_from_its_run_by_the_shuffle_alone():
    _, profiles = shipped()
    for seed in (0, 1, 2):
        real, control = (profiles[f"{n}-seed-{seed}"] for n in ("preresq", "preresq-shuffled"))
        assert real.with_overrides({"grpo.shuffle_rewards": True}) == control


def test_q_ponder_in_its_own_form_is_the_run_of_the_study():
    _, profiles = shipped()
    mini = config.load_profile("mini")
    for name in ("data", "distill", "filter", "student"):
        assert getattr(profiles["one-score-seed-0"], name) == getattr(mini, name)
    assert profiles["one-score-seed-0"].grpo == mini.grpo


def test_two_stages_share_the_steps_and_draw_other_images(tmp_path):
    profile = config.load_profile("preresq")
    first, second = phases(Run(RunPaths(tmp_path), profile))
    assert first.config.max_steps == second.config.max_steps == profile.grpo.max_steps / 2
    assert second.config.seed == first.config.seed + SEED_STEP
    assert (first.config.penalise_spread, second.config.penalise_spread) == (True, False)


# --- the benchmarks


def test_ten_benchmarks_are_in_the_catalog_with_a_split_that_has_their_images():
    assert len(PRERESQ_BENCHMARKS) == 10
    extra = {"livew": 7, "kadid": 2000 - 10125}
    for name, (split, n) in PRERESQ_BENCHMARKS.items():
        assert split in spec_named(name).splits
        assert n == spec_named(name).n_images + extra.get(name, 0)


def test_published_labels_reach_1_to_5_by_the_smallest_and_largest_label():
    label = linear_rescale(4.57, spec_named("kadid").label().published, ASPECT_SCALE)
    assert round(label, 4) == 4.6336  # KADID-10k, I01_01_01.png


# --- one batch, every reward


def test_one_point_above_the_label_by_hand():
    earned = compare_rewards([[4.0, 3.0], [2.0, 2.2]], [3.0, 2.0], alpha=25.0)
    assert earned["qponder"][0, 0] == pytest.approx(np.exp(-1.0))
    assert earned["gaussian"][0, 0] == pytest.approx(np.exp(-2.0))
    assert earned["threshold"].tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert earned["fidelity"][0, 0] > 0.95  # the order is right
    taught = group_advantages(earned["threshold"])
    assert taught[0, 0] < 0.0 < taught[0, 1]
    assert taught[1].tolist() == [0.0, 0.0]  # both near enough: nothing to learn


def test_the_drawn_curve_is_what_the_first_completion_earns_at_each_score():
    drawn = figures.reward_shapes([[0.0]], [3.0], alpha=25.0).data
    curve = drawn.set_index(drawn["score"].round(2))["threshold"]
    assert curve[[2.6, 2.7, 3.3, 3.4]].tolist() == [0.0, 1.0, 1.0, 0.0]


# --- score diversity


def test_score_diversity_by_hand_and_under_resampling():
    scores = [50.0, 50.0, 60.0, 70.0]
    counts = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    assert diversity_statistic(scores, "modal_share")(counts).tolist() == [0.5, 0.5]
    found = diversity_statistic(scores, "effective")(counts)
    assert found == pytest.approx([2.0**1.5, 2.0])  # entropy of 1/2, 1/4, 1/4 is 1.5 bits
    with pytest.raises(ValueError, match="at least one"):
        diversity_statistic([], "effective")


# --- tables from made runs


FEW = {
    "predict.sets": ("mini-koniq", "mini-csiq"),
    "predict.sampled_sets": ("mini-koniq",),
    "predict.models": ("ci-long", "qponder"),
    "predict.n_samples": 2,
    "sft.variants": ("long",),
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
    """Five systems, two seeds; the last seed of the threshold is missing."""
    folder = tmp_path_factory.mktemp("made") / "small"
    base = folder.parent / "base.yaml"
    profile = config.Profile(name="base", description="d").with_overrides(FEW)
    base.write_text(config.dump_profile(profile), encoding="utf-8")
    runs = [
        {"name": f"{name}-{seed}", "overrides": {**changes, "grpo.seed": seed, "sft.seed": seed}}
        for name, (changes, _) in MADE.items()
        for seed in (0, 1)
    ]
    plan = config.Study(name="small", description="d", base=str(base), runs=runs)
    for number, entry in enumerate(plan.runs):
        if entry.name == "threshold-1":
            continue
        gain = MADE[entry.name.rpartition("-")[0]][1]
        run = write_run(folder / entry.name, seed=number, gain=gain, **{**FEW, **entry.overrides})
        history = run.paths.grpo("qponder") / "history.csv"
        for stage in phases(run):
            target = run.paths.grpo(stage.name) / "history.csv"
            artifacts.write_text_atomic(target, history.read_text(encoding="utf-8"))
        scoring.evaluate_run(run)
    tables.reward_tables(folder, plan)
    return folder, plan


def frame(made, name):
    return pd.read_csv(made[0] / "tables" / f"{name}.csv")


def test_missing_runs_are_named_and_left_out(made):
    data = frame(made, "reward_runs").set_index("run")
    assert data.loc["threshold-1", "state"] == "not started"
    note = (made[0] / "tables" / "reward_scores.md").read_text(encoding="utf-8")
    assert "9 of 10 runs are there. Missing: threshold-1 (not started)." in note


def test_runs_table_shows_one_cold_start_for_a_seed(made):
    data = frame(made, "reward_runs")
    aspects = data[data["system"] != "qponder-one-score"]
    assert (aspects.groupby("seed")["cold_start"].nunique() == 1).all()
    assert aspects["cold_start"].nunique() == 2
    assert not set(aspects["cold_start"]) & set(
        data[data["system"] == "qponder-one-score"]["cold_start"]
    )


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


def test_zero_variance_is_averaged_over_both_stages_and_compared_step_by_step(made):
    folder, plan = made
    run = StudyRun("preresq-0", RunPaths(folder / "preresq-0"), profile_of(plan, "preresq-0"))
    history = reward_arms.rollout_history(run)
    assert list(history["step"]) == list(range(1, 401))  # 200 made steps in each stage
    assert list(dict.fromkeys(history["stage"])) == ["grpo-preresq-explore", "grpo-preresq"]
    data = frame(made, "reward_health")
    row = one(data, what="PreResQ-R1", seed="0", metric="zero_variance_share")
    assert row["value"] == pytest.approx(history["zero_variance_share"].mean())
    gap = one(
        data, what="PreResQ-R1 − Exponential (Q-Ponder)", seed="0", metric="zero_variance_share"
    )
    assert gap["n"] == 200  # only steps that both have
    assert gap["ci_low"] <= gap["value"] <= gap["ci_high"]


def profile_of(plan, name):
    base = config.load_profile(plan.base)
    return base.with_overrides(next(run.overrides for run in plan.runs if run.name == name))


def test_score_diversity_is_that_of_rounded_greedy_answers_to_all_sets(made):
    folder, _ = made
    paths = RunPaths(folder / "qponder-0")
    rows = [
        row
        for name in FEW["predict.sets"]
        for row in artifacts.read_jsonl(paths.predictions("qponder", name), PredictionRecord)
    ]
    scores = pd.Series([round(row.score) for row in rows if row.score is not None])
    row = one(
        frame(made, "reward_health"),
        what="Exponential (Q-Ponder)",
        seed="0",
        metric="modal_share",
    )
    assert row["value"] == pytest.approx(scores.value_counts(normalize=True).max())
    assert row["n"] == len(scores)
    assert row["reason"] == "no_interval"
    gap = one(
        frame(made, "reward_health"),
        what="PreResQ-R1 − Exponential (Q-Ponder)",
        seed="all",
        metric="modal_share",
    )
    assert gap["ci_low"] <= gap["value"] <= gap["ci_high"]


def test_two_runs_of_one_system_and_seed_are_an_error(made):
    folder, plan = made
    run = StudyRun("a", RunPaths(folder / "qponder-0"), profile_of(plan, "qponder-0"))
    with pytest.raises(ValueError, match="same run twice"):
        reward_arms.by_system([run, run])


def test_study_without_a_run_says_what_to_run(tmp_path):
    plan, _ = shipped()
    with pytest.raises(FileNotFoundError, match="qponder run"):
        tables.reward_tables(tmp_path / "rewards", plan)


def test_figure_has_a_row_per_system_that_is_there(made):
    written = figures.reward_figures(made[0])
    assert {path.suffix for path in written} == {".png", ".pdf", ".csv"}

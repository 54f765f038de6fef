"""The study of rewards: one cold start and one budget for all, and tables from its runs."""

import numpy as np
import pytest

from qponder_lib import config, pipeline
from qponder_lib.data.catalog import PRERESQ_BENCHMARKS, spec_named
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report.rewards import reward_shapes
from qponder_lib.report.studies import LABELS, label_of
from qponder_lib.rewards.batch import PUBLISHED_WEIGHTS, compare_rewards
from qponder_lib.rewards.qponder import group_advantages
from qponder_lib.scales import ASPECT_SCALE, linear_rescale
from qponder_lib.text.prompts import answer_form
from qponder_lib.training.grpo import SEED_STEP, trainings

SYSTEMS = [label for label in LABELS if label not in ("", "shuffled")]


def shipped():
    plan = config.load_profile_or_study("rewards")
    return plan, plan.profiles()


# --- the profiles


def test_every_system_is_trained_from_three_seeds():
    _, profiles = shipped()
    found = {(label_of(name), one.grpo.seed, one.sft.seed) for name, one in profiles.items()}
    assert found == {(name, seed, seed) for name in SYSTEMS for seed in (0, 1, 2)}
    assert len(profiles) == len(found)


def test_the_label_of_a_run_is_the_reward_that_it_trains():
    _, profiles = shipped()
    for name, profile in profiles.items():
        shuffled = "-shuffled" * profile.grpo.shuffle_rewards
        one_score = answer_form(profile.student.prompt_id).n_scores == 1
        assert label_of(name) == ("one-score" if one_score else profile.grpo.reward + shuffled)


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


def test_q_ponder_in_its_own_form_differs_in_form_and_reward_alone():
    _, profiles = shipped()
    mini, first = config.load_profile("mini"), profiles["preresq-seed-0"]
    own = profiles["one-score-seed-0"]
    for name in ("data", "distill", "filter", "student"):
        assert getattr(own, name) == getattr(mini, name)
    budget = ("start_from", "max_steps", "learning_rate", "images_per_step", "num_generations")
    assert [getattr(own.grpo, x) for x in budget] == [getattr(first.grpo, x) for x in budget]
    assert (own.grpo.reward, own.grpo.weight_accuracy) == ("qponder", mini.grpo.weight_accuracy)


def test_two_stages_share_the_steps_and_draw_other_images(tmp_path):
    profile = config.load_profile("preresq")
    first, second = trainings(Run(RunPaths(tmp_path), profile))
    assert first.config.max_steps == second.config.max_steps == profile.grpo.max_steps / 2
    assert second.config.seed == first.config.seed + SEED_STEP
    assert (first.penalise_spread, second.penalise_spread) == (True, False)


# --- the benchmarks


def test_ten_benchmarks_are_in_the_catalog_with_a_split_that_has_their_images():
    listed = {"bid": 586, "livew": 1169, "koniq": 10073, "spaq": 11125, "kadid": 2000}
    listed |= {"liu13": 1199, "sriqa": 1100, "tid2013": 3000, "pipal": 23200, "agiqa": 2982}
    extra = {"livew": 7, "kadid": 2000 - 10125}
    assert list(PRERESQ_BENCHMARKS) == list(listed)
    for name, split in PRERESQ_BENCHMARKS.items():
        assert split in spec_named(name).splits
        assert listed[name] == spec_named(name).n_images + extra.get(name, 0)


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
    drawn = reward_shapes([[0.0]], [3.0], alpha=25.0)[1]
    curve = drawn.set_index(drawn["score"].round(2))["threshold"]
    assert curve[[2.6, 2.7, 3.3, 3.4]].tolist() == [0.0, 1.0, 1.0, 0.0]

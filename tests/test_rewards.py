"""Eqs. 2 to 7 against numbers worked out by hand, and the laws they obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.rewards import qponder

GOOD = "<think>Soft edges.</think><answer>60</answer>"
SCORES = st.floats(0.0, 100.0)


def test_reward_at_an_error_of_alpha_is_one_over_e():
    assert qponder.accuracy_reward(60.0, 70.0, alpha=10.0) == pytest.approx(1.0 / math.e)
    assert qponder.accuracy_reward(60.0, 85.0, alpha=25.0) == pytest.approx(1.0 / math.e)


def test_exact_answer_earns_one():
    assert qponder.accuracy_reward(33.3, 33.3) == 1.0


@given(SCORES, SCORES, SCORES)
def test_reward_falls_as_the_error_grows_and_stays_above_zero(mos, a, b):
    rewards = [qponder.accuracy_reward(score, mos) for score in (a, b)]
    assert all(0.0 < reward <= 1.0 for reward in rewards)
    if abs(a - mos) < abs(b - mos):
        assert rewards[0] >= rewards[1]


@given(SCORES, SCORES)
def test_reward_is_symmetric_in_score_and_mos(score, mos):
    assert qponder.accuracy_reward(score, mos) == qponder.accuracy_reward(mos, score)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_alpha_must_be_a_positive_number(alpha):
    with pytest.raises(ValueError, match="alpha"):
        qponder.accuracy_reward(1.0, 2.0, alpha=alpha)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_reward_of_a_score_that_is_not_finite_is_an_error(score):
    with pytest.raises(ValueError, match="finite"):
        qponder.accuracy_reward(score, 2.0)


def test_answer_without_a_score_earns_nothing_and_less_than_the_worst_answer():
    rewards = qponder.accuracy_rewards(
        [GOOD, "sixty", None, "<answer>160</answer>", "<answer>100</answer>"],
        [60.0, 60.0, 60.0, 60.0, 0.0],
    )
    assert rewards.tolist()[:4] == [1.0, 0.0, 0.0, 0.0]
    assert rewards[4] > 0.0


def test_total_reward_weighs_accuracy_twice():
    assert float(qponder.total_reward(0.5, 1.0)) == 2.0
    assert qponder.total_reward([0.0, 1.0], [1.0, 0.0]).tolist() == [1.0, 2.0]


def test_completions_go_through_all_three_reward_equations():
    texts = [GOOD, "<answer>60</answer>", "<think>Soft.</think><answer>good</answer>"]
    accuracy = qponder.accuracy_rewards(texts, [70.0, 60.0, 60.0])
    compliance = qponder.format_rewards(texts)
    assert accuracy == pytest.approx([math.exp(-1.0), 1.0, 0.0])
    assert compliance.tolist() == [1.0, 0.0, 1.0]
    total = qponder.total_reward(accuracy, compliance)
    assert total == pytest.approx([2.0 * math.exp(-1.0) + 1.0, 2.0, 1.0])


def test_one_mos_per_completion_is_required():
    with pytest.raises(ValueError, match="one mos per text"):
        qponder.accuracy_rewards([GOOD, GOOD], [60.0])


def test_advantages_of_one_to_four_by_hand():
    # mean 2.5, sample variance (2.25 + 0.25 + 0.25 + 2.25) / 3 = 5/3
    scale = math.sqrt(5.0 / 3.0) + 1e-4
    expected = [-1.5 / scale, -0.5 / scale, 0.5 / scale, 1.5 / scale]
    assert qponder.group_advantages([1.0, 2.0, 3.0, 4.0]) == pytest.approx(expected)
    as_printed = [-3.0 / scale, -2.0 / scale, -1.0 / scale, 0.0]
    assert qponder.group_advantages([1, 2, 3, 4], baseline="max") == pytest.approx(as_printed)


@pytest.mark.parametrize("baseline", ["mean", "max"])
def test_group_of_equal_rewards_teaches_nothing(baseline):
    rewards = np.full((2, 8), 1.1)
    assert (qponder.group_advantages(rewards, baseline=baseline) == 0.0).all()


@given(st.lists(st.floats(0.0, 3.0), min_size=8, max_size=8))
def test_mean_baseline_sums_to_zero_and_max_baseline_never_praises(rewards):
    assert abs(qponder.group_advantages(rewards).sum()) < 1e-6
    assert (qponder.group_advantages(rewards, baseline="max") <= 0.0).all()


def test_groups_do_not_influence_each_other():
    both = qponder.group_advantages([[1.0, 2.0, 3.0], [0.0, 0.0, 3.0]])
    assert both[0] == pytest.approx(qponder.group_advantages([1.0, 2.0, 3.0]))
    assert both[1] == pytest.approx(qponder.group_advantages([0.0, 0.0, 3.0]))


@pytest.mark.parametrize("rewards", [[1.0], 1.0, [1.0, math.nan]])
def test_advantages_need_two_finite_rewards(rewards):
    with pytest.raises(ValueError, match="expected"):
        qponder.group_advantages(rewards)


def test_unknown_baseline_is_an_error():
    with pytest.raises(ValueError, match="median"):
        qponder.group_advantages([1.0, 2.0], baseline="median")


def test_kl_estimate_by_hand():
    # p = 1/4, reference 1/2: r = 2, so 2 - log 2 - 1
    assert float(qponder.kl_estimate(math.log(0.25), math.log(0.5))) == pytest.approx(
        1.0 - math.log(2.0)
    )


@given(st.floats(-20.0, 0.0), st.floats(-20.0, 0.0))
def test_kl_estimate_is_never_negative(logp, logp_reference):
    assert float(qponder.kl_estimate(logp, logp_reference)) >= 0.0


def test_clip_stops_the_gain_but_not_the_loss():
    surrogate = qponder.clipped_surrogate([0.5, 1.1, 1.5, 0.5, 1.5], [1, 1, 1, -1, -1])
    assert surrogate == pytest.approx([0.5, 1.1, 1.2, -0.8, -1.5])


def test_objective_of_two_outputs_by_hand():
    # output 1: ratio 1.5 clipped to 1.2, advantage 1; KL with r = 1 is 0
    # output 2: ratio 1, advantage -1; reference twice as likely: KL = 1 - log 2
    logp = np.log([0.3, 0.2])
    value = qponder.clipped_objective(
        logp, np.log([0.2, 0.2]), np.log([0.3, 0.4]), [1.0, -1.0], epsilon=0.2, beta=0.5
    )
    assert value == pytest.approx((1.2 + (-1.0 - 0.5 * (1.0 - math.log(2.0)))) / 2.0)


def test_token_objective_averages_within_an_output_before_over_outputs():
    nan = math.nan
    logp = [[-1.0, -1.0, -1.0], [-2.0, nan, nan]]
    value = qponder.clipped_objective(logp, logp, logp, [3.0, -1.0])
    assert value == pytest.approx((3.0 - 1.0) / 2.0)  # not (3 * 3 - 1) / 4


def test_on_policy_objective_is_the_mean_advantage():
    advantages = qponder.group_advantages([1.0, 2.0, 3.0, 4.0])
    logp = np.log([0.1, 0.2, 0.3, 0.4])
    assert qponder.clipped_objective(logp, logp, logp, advantages) == pytest.approx(0.0, abs=1e-12)


def test_objective_refuses_shapes_that_do_not_match():
    with pytest.raises(ValueError, match="shapes differ"):
        qponder.clipped_objective([-1.0], [-1.0, -1.0], [-1.0], [1.0])
    with pytest.raises(ValueError, match="advantages"):
        qponder.clipped_objective([-1.0], [-1.0], [-1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="no token"):
        qponder.clipped_objective([[math.nan]], [[0.0]], [[0.0]], [1.0])

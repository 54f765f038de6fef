"""Other systems' rewards against numbers worked out by hand, and the laws they obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qponder_lib.rewards import alternatives

ON_SCALE = st.floats(1.0, 5.0)
BY_ERROR = [alternatives.threshold_rewards, alternatives.gaussian_rewards]
ALL = [*BY_ERROR, alternatives.fidelity_rewards]


def test_threshold_pays_below_it_and_not_at_it():
    rewards = alternatives.threshold_rewards([[0.35, 0.34, -0.34, -0.35]], [0.0])
    assert rewards.tolist() == [[0.0, 1.0, 1.0, 0.0]]


def test_gaussian_at_one_and_two_widths_by_hand():
    rewards = alternatives.gaussian_rewards([[3.5, 2.0]], [3.0])
    assert rewards[0] == pytest.approx([math.exp(-0.5), math.exp(-2.0)])


def test_fidelity_of_two_images_by_hand():
    # image 0: mean 4, variance 2; image 1: mean 3, variance 0; labels say image 0 is better
    rewards = alternatives.fidelity_rewards([[3.0, 5.0], [3.0, 3.0]], [4.0, 2.0])

    def phi(x):
        return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))

    lowest = math.sqrt(1e-6)
    # answer 3.0 of image 0 is level with image 1: p = 1/2; answer 5.0 is 2 / sqrt(2) above it
    expected = [math.sqrt(0.5 + 1e-6) + lowest, math.sqrt(phi(2 / math.sqrt(2 + 1e-6))) + lowest]
    assert rewards[0] == pytest.approx(expected, abs=1e-5)
    # both answers to image 1 are 1 / sqrt(2) below the mean of image 0
    assert rewards[1] == pytest.approx([math.sqrt(phi(1 / math.sqrt(2))) + lowest] * 2, abs=1e-5)


def test_fidelity_of_equal_labels_is_highest_for_equal_scores():
    rewards = alternatives.fidelity_rewards([[3.0, 4.0, 3.5], [3.0, 4.0, 3.5]], [3.0, 3.0])
    assert rewards[0, 2] == pytest.approx(2 * math.sqrt(0.25), abs=1e-5)
    assert rewards[0, 2] > rewards[0, 0]
    assert rewards[0, 0] == pytest.approx(rewards[0, 1])


def test_fidelity_without_another_image_is_zero():
    assert alternatives.fidelity_rewards([[3.0, 4.0]], [3.0]).tolist() == [[0.0, 0.0]]
    alone = alternatives.fidelity_rewards([[3.0, 4.0], [math.nan, math.nan]], [3.0, 2.0])
    assert alone.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_fidelity_sees_only_the_order_and_not_the_error():
    near = alternatives.fidelity_rewards([[4.0, 4.0], [2.0, 2.0]], [4.0, 2.0])
    far = alternatives.fidelity_rewards([[2.0, 2.0], [1.0, 1.0]], [4.0, 2.0])
    assert near == pytest.approx(far, abs=1e-4)


@pytest.mark.parametrize("reward", ALL)
def test_unparsed_completions_earn_nothing_and_are_met_by_nobody(reward):
    nan = math.nan
    with_unparsed = reward([[3.0, nan, 3.5], [2.0, 2.5, nan]], [3.2, 2.1])
    assert (with_unparsed[[0, 1], [1, 2]] == 0.0).all()
    shorter = reward([[3.0, 3.5], [2.0, 2.5]], [3.2, 2.1])
    assert with_unparsed[0, [0, 2]] == pytest.approx(shorter[0])
    assert with_unparsed[1, :2] == pytest.approx(shorter[1])


@pytest.mark.parametrize("reward", BY_ERROR)
@given(label=ON_SCALE, scores=arrays.arrays(np.float64, (1, 2), elements=ON_SCALE))
def test_rewards_by_error_fall_as_the_error_grows(reward, label, scores):
    first, second = reward(scores, [label])[0]
    errors = np.abs(scores[0] - label)
    assert 0.0 <= first <= 1.0
    assert errors[0] >= errors[1] or first >= second


@pytest.mark.parametrize("reward", ALL)
@given(
    scores=arrays.arrays(np.float64, (3, 3), elements=st.one_of(ON_SCALE, st.just(math.nan))),
    labels=arrays.arrays(np.float64, 3, elements=ON_SCALE),
)
def test_rewards_are_finite_and_follow_the_order_of_images_and_completions(reward, scores, labels):
    rewards = reward(scores, labels)
    assert np.isfinite(rewards).all()
    turned = reward(scores[::-1, ::-1], labels[::-1])
    np.testing.assert_allclose(turned[::-1, ::-1], rewards, atol=1e-9)


@pytest.mark.parametrize("reward", ALL)
@pytest.mark.parametrize(
    ("scores", "labels"),
    [([1.0], [1.0]), ([[1.0]], [1.0, 2.0]), ([[math.inf]], [1.0]), ([[1.0]], [math.nan])],
)
def test_arrays_that_do_not_fit_are_errors(reward, scores, labels):
    with pytest.raises(ValueError, match="expected"):
        reward(scores, labels)

"""PreResQ-R1's rewards: the released numbers, and what the release leaves open."""

import numpy as np
import preresq_loops as loops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from preresq_batches import ASPECTS, LABELS

from qponder_lib.rewards import preresq


def six_digits(expected):
    return pytest.approx(np.array(expected), abs=6e-7)


def test_released_scores_and_spread_penalties_of_the_worked_example():
    assert preresq.scores_of(ASPECTS) == six_digits(
        [[3.88, 3.62, 3.32], [2.08, 2.50, 2.20], [4.70, 3.40, 3.00]]
    )
    assert preresq.std_penalty(ASPECTS) == six_digits(
        [[0.018916, 0.016762, 0], [0.212583, 0, 0], [0.179289, 0.108579, 0]]
    )


def test_released_balance_of_the_worked_example_leaves_out_the_fifth_aspect():
    expected = [[0.125, 0, 0.375], [0.125, 0.25, 0.375], [0.125, 0.25, 0.125]]
    assert preresq.response_balance(ASPECTS, mode="released") == six_digits(expected)
    four = preresq.response_balance(ASPECTS[..., :4])
    assert four == six_digits(expected)
    assert np.abs(preresq.response_balance(ASPECTS) - four).max() > 0.01


def test_released_comparisons_of_the_worked_example():
    scores = preresq.scores_of(ASPECTS)
    assert preresq.pairwise_score_rank(scores, LABELS, mode="released") == six_digits(
        [
            [0.880096, 0.853789, 0.832908],
            [0.791911, 0.913699, 0.870311],
            [0.906937, 0.782783, 0.788160],
        ]
    )
    assert preresq.triplet_ranking(scores, LABELS, mode="released") == six_digits(
        [[1, 2 / 3, 2 / 3]] * 3
    )
    assert preresq.response_truth_rank(scores, LABELS, mode="released") == six_digits(
        [
            [0.778801, 0.778801, 0.606531],
            [0.606531, 0.778801, 0.778801],
            [0.778801, 0.778801, 0.606531],
        ]
    )


def test_released_totals_of_the_worked_example_to_six_digits():
    assert preresq.image_rewards(ASPECTS, LABELS, mode="released").total == six_digits(
        [
            [0.425807, 0.388514, 0.396568],
            [0.292805, 0.443257, 0.458667],
            [0.375704, 0.390700, 0.349308],
        ]
    )
    assert preresq.video_rewards(ASPECTS[..., :2], LABELS, mode="released").total == six_digits(
        [
            [0.186081, 0.152652, 0.500307],
            [0.207291, 0.394978, 0.390872],
            [0.361314, 0.302126, 0.374533],
        ]
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_released_totals_equal_the_loops(data):
    n_images, n_answers = data.draw(st.integers(3, 5)), data.draw(st.integers(3, 5))
    scores = st.sampled_from([1.0, 1.5, 2.0, 2.03, 3.0, 3.25, 4.5, 5.0])
    aspects = data.draw(arrays.arrays(np.float64, (n_images, n_answers, 5), elements=scores))
    labels = data.draw(arrays.arrays(np.float64, n_images, elements=scores))
    found = preresq.image_rewards(aspects, labels, mode="released").total
    expected = loops.image_totals(aspects.tolist(), labels.tolist())
    np.testing.assert_allclose(found, expected, atol=1e-9)
    found = preresq.video_rewards(aspects[..., :2], labels, mode="released").total
    expected = loops.video_totals(aspects[..., :2].tolist(), labels.tolist())
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_release_is_not_a_number_for_two_images_and_the_repair_is():
    two = preresq.image_rewards(ASPECTS[:2], LABELS[:2], mode="released")
    assert np.isnan(two.total).all()
    repaired = preresq.image_rewards(ASPECTS[:2], LABELS[:2])
    assert np.isfinite(repaired.total).all()
    assert (repaired.triplet == 0.0).all()


def test_the_release_pays_a_wrong_strict_order_of_equal_labels_and_not_the_tie():
    scores = [[3.0], [3.5], [3.0]]
    labels = [3.2, 3.2, 3.2]
    released = preresq.pairwise_score_rank(scores, labels, mode="released")
    # image 0 meets 3.5 (strict: 1) and 3.0 (tie: 0)
    assert released.ravel().tolist() == [0.5, 1.0, 0.5]
    assert np.isnan(preresq.pairwise_score_rank([[3.2], [3.2]], [3.2, 3.2], mode="released")).all()


def test_the_release_refuses_what_it_fills_in_or_cannot_shape():
    unparsed = ASPECTS.copy()
    unparsed[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 9 completions are unparsed"):
        preresq.image_rewards(unparsed, LABELS, mode="released")
    with pytest.raises(ValueError, match="three completions"):
        preresq.image_rewards(ASPECTS[:, :2], LABELS, mode="released")
    with pytest.raises(ValueError, match="mode"):
        preresq.image_rewards(ASPECTS, LABELS, mode="published")

"""PreResQ-R1's rewards: the released numbers, the cases the release leaves open, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from preresq_batches import ASPECTS, LABELS, batches

from qponder_lib.rewards import preresq

UNPARSED = [math.nan] * 5


def at(value, n_answers=3, spread=0.0):
    """Answers that all state one score."""
    return [[value - spread, value + spread]] * n_answers


def test_penalty_falls_to_zero_at_a_spread_of_one_half():
    # population deviations 0, 0.25, 0.5, 1 -> 0.5 * (0.5 - deviation)
    answers = [[3.0, 3.0], [2.75, 3.25], [2.5, 3.5], [2.0, 4.0]]
    assert preresq.std_penalty([answers])[0] == pytest.approx([0.25, 0.125, 0.0, 0.0])


def test_balance_of_four_answers_by_hand():
    # triples (1,2,3) (1,2,9) (1,3,9) (2,3,9): the middle of each gains, each answer is in three
    balance = preresq.response_balance([[[1.0], [2.0], [3.0], [9.0]]])[0]
    assert balance == pytest.approx([0.0, 0.5 * 2 / 3, 0.5 * 2 / 3, 0.0])


def test_an_outer_answer_closer_than_the_limit_gains_like_the_middle_one():
    assert preresq.response_balance([[[1.0], [1.04], [1.0899]]])[0].tolist() == [0.5, 0.5, 0.5]
    assert preresq.response_balance([[[1.0], [1.06], [1.12]]])[0].tolist() == [0.0, 0.5, 0.0]


def test_equal_wrong_answers_earn_alike_above_and_below_the_label():
    below = preresq.response_truth_rank([[3.0] * 6], [4.0])
    above = preresq.response_truth_rank([[5.0] * 6], [4.0])
    # places 0..5 of the answers average 2.5, the label stands at 6: exp(-3.5 / 7)
    assert below == pytest.approx(np.full((1, 6), math.exp(-0.5)))
    assert above == pytest.approx(below)
    released = [
        preresq.response_truth_rank([[value] * 6], [4.0], mode="released")[0, 0]
        for value in (3.0, 5.0)
    ]
    assert released == pytest.approx([math.exp(-6 / 7), math.exp(-1 / 7)])


def test_pairwise_reward_of_a_right_and_a_wrong_order_by_hand():
    right = preresq.pairwise_score_rank([[4.5], [2.5]], [4.0, 2.0])  # m = 2 / (2 + 0.5 + 0.5)
    assert right == pytest.approx(np.full((2, 1), math.sqrt(2 / 3)))
    wrong = preresq.pairwise_score_rank([[2.0], [3.0]], [4.0, 2.0])  # m = 2 / (2 + 2 + 1)
    assert wrong == pytest.approx(np.full((2, 1), math.sqrt(3 / 5)))


def test_a_wrong_order_earns_more_the_larger_the_error_as_published():
    near, far = (
        preresq.pairwise_score_rank([[one], [3.6]], [4.0, 3.5])[0, 0] for one in (3.5, 1.0)
    )
    assert near < far


def test_equal_labels_are_rewarded_for_their_errors_alone():
    def reward(first, second):
        return preresq.pairwise_score_rank([[first], [second]], [3.0, 3.0])[0, 0]

    assert reward(3.0, 3.0) == 1.0
    assert reward(3.1, 2.9) == pytest.approx(math.sqrt(0.02 / 0.22))
    assert reward(3.1, 3.1) == pytest.approx(reward(3.1, 2.9))
    assert reward(3.0, 3.0) > reward(3.0, 3.01) > reward(3.0, 3.5)


def test_groups_of_other_sizes_meet_at_the_same_share_of_their_places():
    # image 1 has one read answer: it meets the middle of 1, 2, 4, which is 2, and all meet it
    scores = [[1.0, 2.0, 4.0], [3.0, math.nan, math.nan]]
    rewards = preresq.pairwise_score_rank(scores, [2.0, 3.0])
    # m of answer 2.0: gap 1, no errors; of 1.0: 1 / (1 + 1); of 4.0 a wrong order, m = 1 / (1 + 2)
    assert rewards[0] == pytest.approx([math.sqrt(0.5), 1.0, math.sqrt(1 - 1 / 3)])
    assert rewards[1, 0] == pytest.approx(1.0)
    assert np.isnan(rewards[1, 1:]).all()


def test_triplets_count_three_orders_of_which_a_predicted_tie_misses_one():
    shares = preresq.triplet_ranking([[2.0], [2.0], [5.0]], [1.0, 2.0, 3.0])
    assert shares.ravel() == pytest.approx([2 / 3] * 3)
    equal_labels = preresq.triplet_ranking([[2.0], [2.5], [5.0]], [2.0, 2.0, 3.0])
    assert equal_labels.ravel().tolist() == [1.0] * 3


def test_second_stage_leaves_out_the_spread_penalty():
    first = preresq.image_rewards(ASPECTS, LABELS)
    second = preresq.image_rewards(ASPECTS, LABELS, penalise_spread=False)
    assert (second.std_penalty == 0.0).all()
    assert second.total == pytest.approx(first.total + first.std_penalty / 3.0)


@settings(max_examples=100, deadline=None)
@given(batches())
def test_an_unparsed_answer_earns_less_than_any_read_one(batch):
    aspects, labels = batch
    unparsed = np.isnan(aspects[..., 0])
    image = preresq.image_rewards(aspects, labels).total
    assert (image[unparsed] == preresq.UNPARSED_IMAGE_REWARD).all()
    assert (image[~unparsed] > preresq.UNPARSED_IMAGE_REWARD).all()
    video = preresq.video_rewards(aspects, labels).total
    assert (video[unparsed] == preresq.UNPARSED_VIDEO_REWARD).all()
    assert (video[~unparsed] > preresq.UNPARSED_VIDEO_REWARD).all()


def test_an_unparsed_answer_changes_a_batch_like_one_that_was_never_given():
    with_unparsed = [*ASPECTS[:2].tolist(), [*ASPECTS[2, :2].tolist(), UNPARSED]]
    rewards = preresq.image_rewards(with_unparsed, LABELS)
    assert np.isnan(rewards.pairwise[2, 2])
    # the two read answers of the third image have no triple
    assert rewards.balance[2, :2].tolist() == [0.0, 0.0]
    # an image without any read answer is as if it were not in the batch
    gone = preresq.image_rewards([*ASPECTS[:2].tolist(), [UNPARSED] * 3], LABELS)
    two = preresq.image_rewards(ASPECTS[:2], LABELS[:2])
    assert gone.total[:2] == pytest.approx(two.total)


def test_an_answer_with_some_of_its_aspects_is_an_error():
    partial = ASPECTS.copy()
    partial[1, 2, 4] = np.nan
    with pytest.raises(ValueError, match="some of its aspects"):
        preresq.image_rewards(partial, LABELS)


@pytest.mark.parametrize(
    ("aspects", "labels", "said"),
    [
        (ASPECTS[0], LABELS, "images, completions, aspects"),
        (ASPECTS, LABELS[:2], "one per image"),
        (ASPECTS, [3.0, math.nan, 2.0], "finite labels"),
        (np.full((1, 1, 2), math.inf), [3.0], "finite aspect"),
        (np.empty((0, 3, 5)), [], "images, completions, aspects"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(aspects, labels, said):
    with pytest.raises(ValueError, match=said):
        preresq.image_rewards(aspects, labels)


def test_repaired_and_released_differ_only_where_decided():
    scores = preresq.scores_of(ASPECTS)
    for term in (preresq.pairwise_score_rank, preresq.response_truth_rank):
        assert term(scores, LABELS) == pytest.approx(term(scores, LABELS, mode="released"))
    repaired = preresq.triplet_ranking(scores, LABELS)
    released = preresq.triplet_ranking(scores, LABELS, mode="released")
    # answers meet by rank instead of by index: the highest of each image earns the 1
    assert sorted(repaired[0]) == pytest.approx(sorted(released[0]))
    assert repaired[0, 0] == pytest.approx(1.0)
    assert repaired[1] == pytest.approx([2 / 3, 1.0, 2 / 3])

"""PreResQ-R1's rewards: the released numbers, the cases the release leaves open, and laws."""

import math

import numpy as np
import preresq_loops as loops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qponder_lib.rewards import preresq
from qponder_lib.rewards.qponder import group_advantages

# The worked example that the released code was run on: three answers to each of three images.
ASPECTS = np.array(
    [
        [[4.2, 4.3, 3.9, 3.0, 4.0], [3.6, 3.6, 2.8, 4.2, 3.9], [4.1, 3.7, 3.5, 2.1, 3.2]],
        [[2.0, 2.1, 2.2, 2.0, 2.1], [3.0, 2.5, 1.5, 2.0, 3.5], [2.5, 2.5, 2.0, 3.0, 1.0]],
        [[4.6, 4.8, 4.9, 4.5, 4.7], [3.0, 3.2, 3.4, 3.6, 3.8], [1.0, 5.0, 3.0, 4.0, 2.0]],
    ]
)
LABELS = np.array([3.7, 2.3, 4.6])
UNREAD = [math.nan] * 5


def at(value, n_answers=3, spread=0.0):
    """Answers that all state one score."""
    return [[value - spread, value + spread]] * n_answers


def six_digits(expected):
    return pytest.approx(np.array(expected), abs=6e-7)


@st.composite
def batches(draw, unread=True, n_aspects=None):
    shape = (
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
        n_aspects or draw(st.integers(1, 5)),
    )
    # Few different numbers, so that ties are common.
    scores = st.one_of(st.sampled_from([1.0, 2.0, 2.02, 2.04, 3.5, 5.0]), st.floats(1.0, 5.0))
    aspects = draw(arrays.arrays(np.float64, shape, elements=scores))
    labels = draw(arrays.arrays(np.float64, shape[0], elements=scores))
    if unread:
        kept = draw(arrays.arrays(np.bool_, shape[:2]))
        kept[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
        aspects = np.where(kept[..., None], aspects, np.nan)
    return aspects, labels


# --- the release ---


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
    unread = ASPECTS.copy()
    unread[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 9 answers are unread"):
        preresq.image_rewards(unread, LABELS, mode="released")
    with pytest.raises(ValueError, match="three answers"):
        preresq.image_rewards(ASPECTS[:, :2], LABELS, mode="released")
    with pytest.raises(ValueError, match="mode"):
        preresq.image_rewards(ASPECTS, LABELS, mode="published")


# --- single terms by hand ---


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


# --- unread answers ---


@settings(max_examples=100, deadline=None)
@given(batches())
def test_an_unread_answer_earns_less_than_any_read_one(batch):
    aspects, labels = batch
    unread = np.isnan(aspects[..., 0])
    image = preresq.image_rewards(aspects, labels).total
    assert (image[unread] == preresq.UNREAD_IMAGE_REWARD).all()
    assert (image[~unread] > preresq.UNREAD_IMAGE_REWARD).all()
    video = preresq.video_rewards(aspects, labels).total
    assert (video[unread] == preresq.UNREAD_VIDEO_REWARD).all()
    assert (video[~unread] > preresq.UNREAD_VIDEO_REWARD).all()


def test_an_unread_answer_changes_a_batch_like_one_that_was_never_given():
    with_unread = [*ASPECTS[:2].tolist(), [*ASPECTS[2, :2].tolist(), UNREAD]]
    rewards = preresq.image_rewards(with_unread, LABELS)
    assert np.isnan(rewards.pairwise[2, 2])
    # the two read answers of the third image have no triple
    assert rewards.balance[2, :2].tolist() == [0.0, 0.0]
    # an image without any read answer is as if it were not in the batch
    gone = preresq.image_rewards([*ASPECTS[:2].tolist(), [UNREAD] * 3], LABELS)
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
        (ASPECTS[0], LABELS, "images, answers, aspects"),
        (ASPECTS, LABELS[:2], "one per image"),
        (ASPECTS, [3.0, math.nan, 2.0], "finite labels"),
        (np.full((1, 1, 2), math.inf), [3.0], "finite aspect"),
        (np.empty((0, 3, 5)), [], "images, answers, aspects"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(aspects, labels, said):
    with pytest.raises(ValueError, match=said):
        preresq.image_rewards(aspects, labels)


# --- laws ---


@settings(max_examples=150, deadline=None)
@given(batches())
def test_rewards_are_finite_for_every_batch(batch):
    aspects, labels = batch
    for rewards in (preresq.image_rewards(aspects, labels), preresq.video_rewards(aspects, labels)):
        assert np.isfinite(rewards.total).all()
        read = ~np.isnan(aspects[..., 0])
        for term in (rewards.std_penalty, rewards.balance, rewards.pairwise, rewards.triplet):
            assert np.isfinite(term[read]).all()
            assert (term[read] >= 0.0).all()
            assert (term[read] <= 1.0).all()


@settings(max_examples=100, deadline=None)
@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_images_and_answers_does_not_matter(batch, random):
    aspects, labels = batch
    n_images, n_answers, _ = aspects.shape
    images = random.sample(range(n_images), n_images)
    answers = np.array([random.sample(range(n_answers), n_answers) for _ in range(n_images)])
    moved = np.take_along_axis(aspects[images], answers[..., None], axis=1)
    expected = np.take_along_axis(
        preresq.image_rewards(aspects, labels).total[images], answers, axis=1
    )
    np.testing.assert_allclose(
        preresq.image_rewards(moved, labels[images]).total, expected, atol=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(batches(unread=False, n_aspects=4))
def test_a_perfect_batch_earns_the_maximum(batch):
    aspects, labels = batch
    n_images, n_answers, _ = aspects.shape
    exact = labels[:, None, None] + np.array([-1.0, -1.0, 1.0, 1.0])
    exact = np.broadcast_to(exact, aspects.shape)
    for reward in (preresq.image_rewards, preresq.video_rewards):
        perfect = reward(exact, labels).total
        assert (reward(aspects, labels).total <= perfect + 1e-9).all()
    terms = [0.375 * (n_images > 1), 0.25 * (n_answers > 2), 0.125 * (n_images > 2)]
    assert preresq.video_rewards(exact, labels).total == pytest.approx(sum(terms))
    assert preresq.image_rewards(exact, labels).total == pytest.approx((sum(terms) + 1.0) / 3.0)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_moving_the_outermost_answer_toward_its_label_never_lowers_the_sum(data):
    """Where all images are in the right order, and the answer passes no other on its way.

    Elsewhere it may: a wrong order earns more for a larger error, and leaving a crowd of equal
    answers costs balance.
    """
    n_images, n_answers = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    labels = 1.6 + np.arange(n_images) * 0.8
    errors = data.draw(
        arrays.arrays(np.float64, (n_images, n_answers), elements=st.floats(-0.1, 0.1))
    )
    image = data.draw(st.integers(0, n_images - 1))
    side = data.draw(st.sampled_from([-1.0, 1.0]))
    far, near = sorted(data.draw(st.lists(st.floats(0.11, 0.39), min_size=2, max_size=2)))[::-1]
    for reward in (preresq.image_rewards, preresq.video_rewards):
        sums = []
        for error in (far, near):
            errors[image, 0] = side * error
            scores = labels[:, None] + errors
            sums.append(reward(scores[..., None] + np.array([-0.2, 0.2]), labels).total.sum())
        assert sums[1] >= sums[0] - 1e-9


# --- when a move toward the label pays (decision D67) ---


def law_case(seed):
    """A batch and the same with one answer nearer to its label, the three conditions kept.

    The moved answer passes none of its image's, is near to none of them in any aspect, and the
    answers it meets stand on their own side of it and of its label. All else is drawn at will.
    """
    rng = np.random.default_rng(seed)
    n_images, n_answers, n_aspects = rng.integers([1, 1, 1], [6, 7, 6])
    rank = int(rng.integers(n_answers))
    labels = rng.permutation(np.arange(n_images)) + rng.uniform(0.0, 0.5, n_images)
    image = int(rng.integers(n_images))
    far = labels[image] + rng.choice([-1.0, 1.0]) * rng.uniform(0.1, 2.0)
    near = far + rng.uniform(0.1, 0.95) * (labels[image] - far)
    scores = np.empty((n_images, n_answers))
    for other, label in enumerate(labels):
        side = np.sign(label - labels[image])
        ends = max(far, labels[image]) if side > 0 else min(far, labels[image])
        met = ends + side * rng.uniform(0.01, 2.0)
        steps = rng.uniform(0.2, 1.5, n_answers).cumsum()
        row = met + steps - steps[rank]
        if other == image:
            row = np.where(np.arange(n_answers) < rank, min(far, near), max(far, near)) + (
                np.arange(n_answers) - rank
            ) * rng.uniform(0.2, 1.5)
            row[rank] = far
        scores[other] = row
    spread = rng.normal(0.0, 0.04, n_aspects)
    spread -= spread.mean()
    aspects = scores[..., None] + spread
    moved = aspects.copy()
    moved[image, rank] += near - far
    return aspects, moved, labels


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_move_toward_the_label_never_lowers_the_sum_where_three_things_hold(seed):
    aspects, moved, labels = law_case(seed)
    for reward in (preresq.image_rewards, preresq.video_rewards):
        before, after = reward(aspects, labels), reward(moved, labels)
        assert after.total.sum() >= before.total.sum() - 1e-9
        assert after.std_penalty == pytest.approx(before.std_penalty)
        for term in ("balance", "pairwise", "triplet"):
            assert getattr(after, term).sum() >= getattr(before, term).sum() - 1e-9


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_truth_rank_alone_never_loses_by_a_move_toward_the_label_without_ties(seed):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(1.0, 5.0, 3)
    scores = labels[:, None] + rng.normal(0.0, rng.choice([0.03, 0.5]), (3, 6))
    moved = scores.copy()
    moved[0, 0] += rng.uniform(0.1, 0.95) * (labels[0] - scores[0, 0])
    before, after = (preresq.response_truth_rank(one, labels).sum() for one in (scores, moved))
    assert after >= before - 1e-9


# Three answers to each of three images, no ties, no equal labels, everything read: a batch for
# which `repaired` is the release. The last number of the first image moves toward its label.
BREAKS = {
    # It leaves answers that agree, which are all far from the label.
    "balance": ([2.0, 2.03, 2.06], 2.2, [3.0, 1.1, 4.9], [[1.0, 1.1, 1.2], [4.8, 4.9, 5.1]]),
    # It meets 3.0 and 1.0, both on the wrong side of it: the smaller error earns less.
    "pairwise": ([0.9, 1.3, 1.6], 1.9, [2.0, 1.5, 4.5], [[2.5, 2.7, 3.0], [0.6, 0.8, 1.0]]),
    # It stood above 3.7, as it should, until it came nearer to its label, 3.0.
    "triplet": ([3.3, 3.5, 3.8], 3.6, [3.0, 2.0, 4.5], [[3.2, 3.4, 3.7], [4.4, 4.5, 4.7]]),
}


@pytest.mark.parametrize("term", BREAKS)
def test_each_of_three_published_terms_breaks_the_law_where_nothing_is_repaired(term):
    first, nearer, labels, others = BREAKS[term]
    found = {}
    for mode in ("released", "repaired"):
        both = []
        for last in (first[2], nearer):
            scores = np.array([[*first[:2], last], *others])
            both.append(preresq.image_rewards(scores[..., None] + [-0.5, 0.5], labels, mode=mode))
        found[mode] = [getattr(both[1], term).sum() - getattr(both[0], term).sum()]
        found[mode].append(both[1].total.sum() - both[0].total.sum())
        assert found[mode][0] < 0.0
        assert found[mode][1] < 0.0
    assert found["released"] == pytest.approx(found["repaired"])


@settings(max_examples=50, deadline=None)
@given(batches(), st.sampled_from([-2.0, 0.5, 4.0]))
def test_a_constant_does_not_change_the_advantages(batch, constant):
    aspects, labels = batch
    total = preresq.image_rewards(aspects, labels).total
    if total.shape[1] > 1:
        spread = np.ptp(total, axis=1) > 1e-9  # rounding decides whether others are equal
        moved = group_advantages(total + constant)
        np.testing.assert_allclose(group_advantages(total)[spread], moved[spread], atol=1e-6)


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

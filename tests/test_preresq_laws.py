"""PreResQ-R1's rewards: laws that hold once repaired, and where the release breaks them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from preresq_batches import batches

from qponder_lib.rewards import preresq
from qponder_lib.rewards.qponder import group_advantages


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
@given(batches(unparsed=False, n_aspects=4))
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

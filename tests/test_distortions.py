"""Distortions: five levels that get worse, the same pixels from the same generator."""

import itertools

import numpy as np
import pytest

from qponder_lib.data import benchmark, distortions, scenes
from qponder_lib.data.benchmark import rate, recruit, similarity, true_quality


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    photographs = [scenes.photograph_scene("train", 128, rng)[0] for _ in range(10)]
    return [*photographs, scenes.dead_leaves_scene(128, rng)]


@pytest.mark.parametrize("name", distortions.LEVELS)
def test_each_level_is_less_like_the_original_than_the_one_before(pictures, name):
    mean = [
        np.mean(
            [
                similarity(one, distortions.apply(one, name, level, np.random.default_rng(1)))
                for one in pictures
            ]
        )
        for level in range(1, 6)
    ]
    assert all(worse < better for better, worse in itertools.pairwise(mean))
    assert mean[0] < 1.0


@pytest.mark.parametrize("name", distortions.LEVELS)
def test_the_same_generator_gives_the_same_pixels_and_leaves_the_input_alone(pictures, name):
    before = pictures[0].copy()
    first, second = (
        distortions.apply(pictures[0], name, 3, np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert np.array_equal(before, pictures[0])
    assert first.dtype == np.uint8
    assert first.shape == before.shape


def test_types_kept_unseen_are_never_trained_on():
    assert not set(distortions.TRAINED) & set(distortions.UNSEEN)
    assert set(distortions.TRAINED) | set(distortions.UNSEEN) == set(distortions.LEVELS)
    assert len(distortions.TRAINED) >= 8
    assert set(benchmark.IN_DOMAIN.types) <= set(distortions.TRAINED)
    assert set(benchmark.mixture_named("mini-csiq").types) & set(distortions.UNSEEN)


@pytest.mark.parametrize(
    ("name", "level", "said"), [("fog", 1, "unknown"), ("blur", 0, "level"), ("blur", 6, "level")]
)
def test_unknown_types_and_levels_are_refused(pictures, name, level, said):
    with pytest.raises(ValueError, match=said):
        distortions.apply(pictures[0], name, level, np.random.default_rng(0))


def test_grey_images_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        distortions.apply(np.zeros((8, 8), np.uint8), "blur", 1, np.random.default_rng(0))


def test_no_photograph_serves_two_splits():
    splits = [set(names) for names in scenes.PHOTOGRAPHS.values()]
    assert sum(len(names) for names in splits) == len(set().union(*splits))
    stems = [name.split(".")[0].split("_")[0] for names in splits for name in names]
    assert len(stems) == len(set(stems))


def test_an_undamaged_image_has_full_quality_and_damage_costs_some(pictures):
    assert true_quality(pictures[0], pictures[0]) == 100.0
    dark = distortions.apply(pictures[0], "underexposure", 5, np.random.default_rng(0))
    assert 0.0 <= true_quality(pictures[0], dark) < 40.0


def test_a_panel_without_noise_or_bias_would_state_the_quality(monkeypatch):
    monkeypatch.setattr("qponder_lib.data.benchmark.RATER_NOISE", 0.0)
    assert rate(62.5, np.zeros(5), np.random.default_rng(0)) == (62.5, 0.0)


def test_a_panel_of_one_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        recruit(1, np.random.default_rng(0))

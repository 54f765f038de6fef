"""Natural-scene statistics against known distributions, and a regression that learns from them."""

import numpy as np
import pytest
from PIL import Image

from qponder_lib.evaluation import baseline

SEED = 0


def scene(seed, side=96):
    """A soft random texture, as colour picture."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(size=(side, side)), sigma) * sigma for sigma in (1, 3, 9)]
    grey = sum(layers)
    grey = 127.0 + 45.0 * (grey - grey.mean()) / grey.std()
    return np.clip(grey, 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def with_noise(picture, sigma, seed):
    noise = np.random.default_rng(seed).normal(0.0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("draw", "shape"), [("normal", 2.0), ("laplace", 1.0)])
def test_generalised_gaussian_finds_the_shape_it_was_drawn_from(draw, shape):
    values = getattr(np.random.default_rng(SEED), draw)(0.0, 3.0, 200_000)
    found, variance = baseline.fit_ggd(values)
    assert found == pytest.approx(shape, abs=0.03)
    assert variance == pytest.approx(9.0 if draw == "normal" else 18.0, rel=0.02)


def test_asymmetric_fit_finds_both_sides():
    # two halves of a Gaussian, right side twice as wide, drawn in proportion to its width
    rng = np.random.default_rng(SEED)
    size = np.abs(rng.normal(size=300_000))
    values = np.where(rng.random(300_000) < 2 / 3, 2.0 * size, -size)
    shape, mean, left, right = baseline.fit_aggd(values)
    assert shape == pytest.approx(2.0, abs=0.05)
    assert (left, right) == pytest.approx((1.0, 4.0), rel=0.03)
    assert mean == pytest.approx(values.mean(), abs=0.02)


def test_symmetric_values_have_equal_sides_and_mean_zero():
    values = np.random.default_rng(SEED).normal(size=200_000)
    _, mean, left, right = baseline.fit_aggd(values)
    assert mean == pytest.approx(0.0, abs=0.01)
    assert left == pytest.approx(right, rel=0.02)


def test_local_normalisation_removes_brightness_and_most_of_contrast():
    grey = scene(1)[:, :, 0].astype(float)
    coefficients = baseline.mscn(grey)
    np.testing.assert_allclose(baseline.mscn(grey + 40.0), coefficients, atol=1e-9)
    assert baseline.mscn(3.0 * grey).std() == pytest.approx(coefficients.std(), rel=0.25)
    assert (baseline.mscn(np.full((32, 32), 90.0)) == 0.0).all()


def test_features_are_46_finite_numbers_even_of_a_blank_picture():
    for picture in (scene(1), np.zeros((16, 17, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)):
        vector = baseline.features(picture)
        assert vector.shape == (46,)
        assert np.isfinite(vector).all()


def test_noise_makes_neighbours_independent_and_blur_makes_them_alike():
    def asymmetry(picture):
        left, right = baseline.features(picture)[4:6]  # horizontal neighbours, first scale
        return right / left

    assert asymmetry(scene(1)) > 2.0
    assert asymmetry(with_noise(np.full((96, 96, 3), 127, np.uint8), 30.0, 2)) < 1.1


def test_light_and_colour_are_measured_by_hand():
    """Left half black, right half pure red: luminance 0 and 0.299."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:, 0] = 255
    light = [0.1495, 0.1495, 0.0, 0.299, 0.5, 0.0]  # mean, deviation, percentiles, black, white
    colours = [0.5, 0.5, 0.25, 0.25]  # mean and deviation of red-green, of yellow-blue
    assert baseline.features(picture)[36:].tolist() == pytest.approx(light + colours)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float64),
        np.zeros((15, 64, 3), np.uint8),
    ],
)
def test_pictures_of_another_kind_are_refused(picture):
    with pytest.raises(ValueError, match="expected"):
        baseline.features(picture)


def test_baseline_ranks_unseen_pictures_by_their_noise():
    sigmas = np.random.default_rng(3).uniform(0.0, 50.0, 120)
    mos = 100.0 - 2.0 * sigmas
    rows = np.stack(
        [baseline.features(with_noise(scene(k, 64), s, k)) for k, s in enumerate(sigmas)]
    )
    model = baseline.fit(rows[:80], mos[:80])
    predicted = model.predict(rows[80:])
    assert np.corrcoef(predicted, mos[80:])[0, 1] > 0.95
    shuffled = baseline.fit(rows[:80], np.random.default_rng(4).permutation(mos[:80]))
    errors = [np.abs(m.predict(rows[80:]) - mos[80:]).mean() for m in (model, shuffled)]
    assert errors[0] < 8.0
    assert errors[1] > 15.0  # labels in disorder teach nothing


def small_model():
    rng = np.random.default_rng(5)
    return baseline.fit(rng.normal(size=(30, 46)), rng.uniform(0.0, 100.0, 30))


def test_prediction_stays_on_the_scale_and_checks_its_shape():
    model = small_model()
    extreme = 1e6 * np.sign(model.weights) * np.ones(46)
    assert model.predict([extreme, -extreme]).tolist() == [100.0, 0.0]
    assert model.predict(np.zeros(46)).shape == (1,)
    with pytest.raises(ValueError, match="46 features"):
        model.predict(np.zeros((2, 45)))


def test_constant_feature_does_not_break_the_fit():
    rows = np.random.default_rng(7).normal(size=(30, 46))
    rows[:, 0] = 10.0
    model = baseline.fit(rows, np.linspace(0.0, 100.0, 30))
    assert model.weights[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "mos"),
    [
        (np.zeros((3, 46)), [1.0, 2.0]),
        (np.zeros((2, 46)), [1.0, 2.0]),
        (np.full((3, 46), np.nan), [1.0, 2.0, 3.0]),
    ],
)
def test_training_data_that_do_not_fit_are_refused(rows, mos):
    with pytest.raises(ValueError, match="expected"):
        baseline.fit(rows, mos)


def test_features_of_files_are_those_of_the_images_on_any_number_of_processes(
    tmp_path, monkeypatch
):
    files = []
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 32, 3), dtype=np.uint8)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    alone = baseline.features_of_files(files)
    assert (alone[3] == baseline.features(np.asarray(Image.open(files[3])))).all()
    monkeypatch.setattr(baseline, "_FEW", 2)
    monkeypatch.setattr(baseline.os, "cpu_count", lambda: 2)
    assert (baseline.features_of_files(files) == alone).all()

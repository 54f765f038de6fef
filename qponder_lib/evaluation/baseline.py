"""The handcrafted baseline: natural-scene statistics and a ridge regression on the same labels.

36 features are those of BRISQUE: the image is locally normalised (MSCN coefficients), and
generalised Gaussians are fitted to the coefficients and to the products of neighbours, at two
scales. Written from the paper's formulas. Local normalisation takes out light and colour, and
BRISQUE sees grey only; so 10 first-order statistics of light and opponent colours stand beside
them, or distortions of exposure, contrast and colour would be out of sight and the baseline a straw
man. BRISQUE regresses with a support vector machine; here it is ridge regression on standardised
features, so that a model is a row of readable numbers.

Source:
    Mittal, Moorthy and Bovik, "No-reference image quality assessment in the spatial domain", IEEE
    Transactions on Image Processing 21(12), 2012: Eqs. 1-3 (MSCN), 4-6 (generalised Gaussian), 7-10
    (products of neighbours), 11-15 (asymmetric generalised Gaussian), Table I (features).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from qponder_lib.data.images import at_least, read_rgb
from qponder_lib.scales import MOS_MAX, MOS_MIN

FloatArray = NDArray[np.float64]

N_SCALES = 2
WINDOW_RADIUS = 3
WINDOW_SIGMA = 7.0 / 6.0
MSCN_CONSTANT = 1.0
MIN_SIDE = 16
ROUNDING = 1e-9
BLACK, WHITE = 0.02, 0.98
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows down and columns right: horizontal, vertical, both diagonals."""
_FEW = 500
"""Files for which starting other processes takes longer than it saves."""
RIDGE_STRENGTHS = tuple(float(10.0**power) for power in range(-3, 5))

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SHAPES = np.arange(0.2, 10.0005, 0.001)


@dataclass(frozen=True, eq=False)
class NssRidge:
    """A fitted baseline: mos = intercept + sum(weights * (features - means) / scales).

    Attributes:
        means: Mean of each feature over the training images, shape (46,).
        scales: Standard deviation of each feature over the training images, shape (46,).
        weights: MOS units per standard deviation of a feature, shape (46,).
        intercept: Mean MOS of the training images.
    """

    means: FloatArray
    scales: FloatArray
    weights: FloatArray
    intercept: float

    def predict(self, feature_rows: ArrayLike) -> FloatArray:
        """Score images by their features.

        Args:
            feature_rows: Features of one image, shape (46,), or of several, shape (n, 46).

        Returns:
            Scores, 0 to 100, shape (n,): a regression may leave the scale, so its ends are the
            ends of the model (unlike a stated score, which is never clipped).
        """
        rows = np.atleast_2d(np.asarray(feature_rows, dtype=np.float64))
        if rows.shape[1] != len(self.means):
            raise ValueError(f"expected {len(self.means)} features per image, got {rows.shape[1]}")
        standardised = (rows - self.means) / self.scales
        return np.clip(standardised @ self.weights + self.intercept, MOS_MIN, MOS_MAX)


def features(image: NDArray[np.uint8]) -> FloatArray:
    """Measure the natural-scene statistics of an image, its light and its colours.

    Args:
        image: RGB image, uint8, shape (height, width, 3), each side at least 16.

    Returns:
        46 numbers. Of each scale shape and variance of the MSCN coefficients, then shape, mean,
        left and right variance of the products of each of `NEIGHBOURS`; of the light mean,
        deviation, 1st and 99th percentile, share of black and of white; mean and deviation of the
        opponent colours red-green and yellow-blue.

    Raises:
        ValueError: If the type or the shape differs.

    Source:
        Mittal et al. (2012), Table I, for the first 36; the last 10 are ours.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), got {image.dtype} {image.shape}")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(f"expected sides of at least {MIN_SIDE} pixels, got {image.shape[:2]}")
    grey = image.astype(np.float64) @ _LUMA
    vector: list[float] = []
    for scale in range(N_SCALES):
        if scale:
            grey = _halve(grey)
        vector.extend(_scale_features(mscn(grey)))
    return np.array(vector + _light_features(image))


def features_of_files(files: Sequence[Path]) -> FloatArray:
    """Return the features of many image files, on several processors where there are many.

    Args:
        files: PNG, JPEG, WebP or BMP; they are read one by one.

    Returns:
        One row per file, in their order; the same on any number of processors.

    Raises:
        ImageError: If a file cannot be used.
    """
    shown = functools.partial(tqdm, total=len(files), desc="features", mininterval=5, delay=5)
    workers = min(os.cpu_count() or 1, 8)
    if len(files) < _FEW or workers == 1:
        return np.stack(list(shown(map(_of_file, files))))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return np.stack(list(shown(pool.map(_of_file, files, chunksize=8))))


def _of_file(file: Path) -> FloatArray:
    return features(np.asarray(at_least(read_rgb(file), MIN_SIDE)))


def mscn(grey: FloatArray) -> FloatArray:
    """Subtract the local mean from each pixel and divide by the local contrast.

    Args:
        grey: Luminance, 0 to 255, shape (height, width).

    Returns:
        (I - mu) / (sigma + 1) with mu and sigma under a 7 x 7 Gaussian window, the same shape.

    Source:
        Mittal et al. (2012), Eqs. 1-3. Borders are reflected; not stated there.
    """
    mean = _smooth(grey)
    variance = np.maximum(_smooth(grey * grey) - mean * mean, 0.0)
    deviation = grey - mean
    deviation[np.abs(deviation) < ROUNDING] = 0.0  # or a blank area would have a shape
    return deviation / (np.sqrt(variance) + MSCN_CONSTANT)


def fit_ggd(values: FloatArray) -> tuple[float, float]:
    """Fit a zero-mean generalised Gaussian by matching moments.

    Args:
        values: Samples, any shape.

    Returns:
        Shape (2 is a Gaussian, 1 a Laplacian) and variance; (10, 0) if every sample is 0.

    Source:
        Mittal et al. (2012), Eqs. 4-6.
    """
    variance = float(np.mean(values**2))
    if variance == 0.0:
        return float(_SHAPES[-1]), 0.0
    ratio = np.mean(np.abs(values)) ** 2 / variance
    return _shape_for(float(ratio)), variance


def fit_aggd(values: FloatArray) -> tuple[float, float, float, float]:
    """Fit an asymmetric generalised Gaussian by matching moments.

    Args:
        values: Samples, any shape.

    Returns:
        Shape, mean, left variance, right variance.

    Source:
        Mittal et al. (2012), Eqs. 11-15, moment matching of Lasmar, Stitou and Berthoumieu (2009).
    """
    left = _rms(values[values < 0.0])
    right = _rms(values[values > 0.0])
    mean_square = float(np.mean(values**2))
    if mean_square == 0.0:
        return float(_SHAPES[-1]), 0.0, 0.0, 0.0
    ratio = float(np.mean(np.abs(values)) ** 2 / mean_square)
    if left > 0.0 and right > 0.0:
        skew = left / right
        ratio *= (skew**3 + 1.0) * (skew + 1.0) / (skew**2 + 1.0) ** 2
    shape = _shape_for(ratio)
    gamma1, gamma2, gamma3 = _gammas(np.array([1.0, 2.0, 3.0]) / shape)
    mean = (right - left) * gamma2 / np.sqrt(gamma1 * gamma3)
    return shape, float(mean), left**2, right**2


def fit(feature_rows: ArrayLike, mos: ArrayLike) -> NssRidge:
    """Train the baseline on the labels that the student is trained on.

    Args:
        feature_rows: Features of the training images, shape (n, 46).
        mos: Their mean opinion scores, 0 to 100, shape (n,).

    Returns:
        The model; its penalty is chosen among `RIDGE_STRENGTHS` by leave-one-out validation.

    Raises:
        ValueError: If shapes do not match, a value is not finite or there are fewer than 3 images.
    """
    from sklearn.linear_model import RidgeCV  # sklearn takes seconds to import

    rows, targets = np.asarray(feature_rows, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if rows.ndim != 2 or targets.shape != rows.shape[:1] or len(targets) < 3:
        raise ValueError(f"expected (n, features) and (n,), got {rows.shape} and {targets.shape}")
    if not (np.isfinite(rows).all() and np.isfinite(targets).all()):
        raise ValueError("expected finite features and mos")
    means, scales = rows.mean(axis=0), rows.std(axis=0)
    scales = np.where(scales > 0.0, scales, 1.0)
    ridge = RidgeCV(alphas=RIDGE_STRENGTHS).fit((rows - means) / scales, targets)
    return NssRidge(means, scales, ridge.coef_, float(ridge.intercept_))


def _scale_features(coefficients: FloatArray) -> list[float]:
    vector = list(fit_ggd(coefficients))
    for down, right in NEIGHBOURS:
        vector.extend(fit_aggd(_neighbour_products(coefficients, down, right)))
    return vector


def _light_features(image: NDArray[np.uint8]) -> list[float]:
    """First-order statistics of luminance and of the two opponent colours, on a scale of 0 to 1."""
    red, green, blue = np.moveaxis(image.astype(np.float64) / 255.0, 2, 0)
    light = image.astype(np.float64) / 255.0 @ _LUMA
    low, high = np.quantile(light, [0.01, 0.99])
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    shares = [(light < BLACK).mean(), (light > WHITE).mean()]
    colours = [red_green.mean(), red_green.std(), yellow_blue.mean(), yellow_blue.std()]
    return [float(x) for x in (light.mean(), light.std(), low, high, *shares, *colours)]


def _neighbour_products(values: FloatArray, down: int, right: int) -> FloatArray:
    """Multiply each value with its neighbour `down` rows and `right` columns away."""
    height, width = values.shape
    if right >= 0:
        return values[: height - down, : width - right] * values[down:, right:]
    return values[: height - down, -right:] * values[down:, : width + right]


def _smooth(grey: FloatArray) -> FloatArray:
    from scipy.ndimage import correlate1d

    offsets = np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    window = np.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    window /= window.sum()
    rows = correlate1d(grey, window, axis=0, mode="reflect")
    return correlate1d(rows, window, axis=1, mode="reflect")


def _halve(grey: FloatArray) -> FloatArray:
    """Average blocks of two by two pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in grey.shape)
    return grey[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _shape_for(ratio: float) -> float:
    """Look up the shape whose (E|x|)^2 / E x^2 is nearest; the ratio grows with the shape."""
    return float(_SHAPES[np.argmin(np.abs(_moment_ratios() - ratio))])


@functools.cache
def _moment_ratios() -> FloatArray:
    return _gammas(2.0 / _SHAPES) ** 2 / (_gammas(1.0 / _SHAPES) * _gammas(3.0 / _SHAPES))


def _gammas(values: FloatArray) -> FloatArray:
    from scipy.special import gamma

    return gamma(values)

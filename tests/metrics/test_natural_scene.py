"""Natural-scene features against known distributions, and the behaviour of the distance made of them."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.special import gamma
from scipy.stats import gennorm

from transmodal.metrics.frechet import FrechetStatistics
from transmodal.metrics.natural_scene import (
    _halved,
    asymmetric_gaussian,
    fnsd,
    fnsd_of,
    natural_scene_blocks,
    natural_scene_features,
)


def textures(number: int, seed: int, size: tuple[int, int] = (96, 128)) -> list[np.ndarray]:
    """Images of several scales of texture, in 0 to 1000."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(number):
        image = sum(gaussian_filter(generator.normal(size=size), scale) * scale for scale in (1, 2, 4))
        images.append(1000 * (image - np.min(image)) / np.ptp(image))
    return images


def written_out_fit(values: np.ndarray) -> list[float]:
    """Shape, mean, left and right scale of one asymmetric generalised Gaussian, looked for shape by shape."""
    left = np.sqrt((values[values < 0] ** 2).mean()) if (values < 0).any() else 0.0
    right = np.sqrt((values[values > 0] ** 2).mean()) if (values > 0).any() else 0.0
    ratio = np.abs(values).mean() ** 2 / (values**2).mean()
    ratio *= (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2
    shapes = np.arange(0.2, 10.0005, 0.001)
    shape = shapes[np.argmin(np.abs(gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes)) - ratio))]
    left, right = (side * np.sqrt(gamma(1 / shape) / gamma(3 / shape)) for side in (left, right))
    return [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]


def written_out_features(image: np.ndarray, data_range: float, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and sharpness by NumPy and SciPy, block after block, as the paper says it."""
    height, width = (length // block * block for length in image.shape)
    grey = image[:height, :width] * (255 / data_range)
    grey = grey - grey.mean()
    window = np.exp(-0.5 * (np.arange(-3, 4) * 6 / 7) ** 2)
    window /= window.sum()
    distance = np.abs(np.arange(-3.5, 4)) / 2
    near, far = 1.5 * distance**3 - 2.5 * distance**2 + 1, -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    keys = np.where(distance < 1, near, far) / 2
    scales, sharpness = [], []
    for side in (block, block // 2):
        mean, power = (
            correlate1d(correlate1d(values, window, 0, mode="nearest"), window, 1, mode="nearest")
            for values in (grey, grey * grey)
        )
        deviation = np.sqrt(np.maximum(power - mean**2, 0))
        normalised = np.where(np.abs(grey - mean) > 1e-9, (grey - mean) / (deviation + 1), 0)
        rows = []
        for i in range(0, grey.shape[0], side):
            for j in range(0, grey.shape[1], side):
                part = normalised[i : i + side, j : j + side]
                shape, _, left, right = written_out_fit(part)
                row = [shape, (left + right) / 2]
                for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    row += written_out_fit(part * np.roll(part, step, (0, 1)))
                rows.append(row)
                if side == block:
                    sharpness.append(deviation[i : i + side, j : j + side].mean())
        scales.append(rows)
        for axis in (0, 1):
            grey = correlate1d(grey, keys, axis, mode="reflect", origin=-1)
            grey = grey[::2] if axis == 0 else grey[:, ::2]
    return np.concatenate(scales, axis=1), np.array(sharpness)


@pytest.mark.parametrize("block", [16, 32, 46])
def test_the_kernels_give_the_features_of_the_written_out_definition(block: int) -> None:
    image = textures(1, 20, (96, 131))[0]
    image[:12, 30:50] = 500.0  # a constant patch, whose rounding must not choose a side of the fit
    expected, sharp = written_out_features(image, 1000, block)
    features, sharpness = natural_scene_blocks(image, data_range=1000, block=block)
    np.testing.assert_allclose(sharpness, sharp, rtol=1e-7)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    for kind in (np.float32, np.uint16):
        part = image.astype(kind)[::-1, ::-1]
        expected, sharp = written_out_features(part.astype(np.float64), 1000, block)
        np.testing.assert_allclose(
            natural_scene_features(part, data_range=1000, block=block), expected[sharp >= 0.1], atol=1e-6
        )


def test_a_constant_background_gives_the_same_features_wherever_its_level_lies() -> None:
    image = textures(1, 21, (64, 64))[0]
    image[:, :33] = 0.0
    features = natural_scene_features(image, data_range=1000, block=64)
    for level in (1 / 3, 0.1, 7.7, 100.3, -1024):
        for unit in (1.0, 1.1, 3.3):
            moved = natural_scene_features((image + level) * unit, data_range=1000 * unit, block=64)
            np.testing.assert_allclose(moved, features, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_the_fit_recovers_the_shape_and_scale_of_a_generalised_gaussian(shape: float) -> None:
    samples = gennorm.rvs(shape, scale=3.0, size=(1, 200_000), random_state=1)
    fitted, mean, left, right = (values[0] for values in asymmetric_gaussian(samples))
    assert fitted == pytest.approx(shape, rel=0.03)
    assert (left, right) == pytest.approx((3.0, 3.0), rel=0.03)
    assert mean == pytest.approx(0.0, abs=0.1)


def test_the_fit_recovers_both_sides_of_an_asymmetric_gaussian() -> None:
    generator = np.random.default_rng(2)
    magnitude = np.abs(generator.normal(size=300_000))
    left_side = generator.random(magnitude.size) < 1 / 4  # sides of widths 1 and 3 hold areas 1 : 3
    samples = np.where(left_side, -magnitude, 3 * magnitude)[None]
    fitted, mean, left, right = (values[0] for values in asymmetric_gaussian(samples))
    assert fitted == pytest.approx(2.0, rel=0.03)
    assert (left, right) == pytest.approx((np.sqrt(2), 3 * np.sqrt(2)), rel=0.02)
    assert mean == pytest.approx(samples.mean(), rel=0.03)


@pytest.mark.parametrize("values", [np.zeros((1, 9)), np.ones((1, 9)), -np.ones((1, 9))])
def test_one_sided_and_zero_samples_have_finite_fits(values: np.ndarray) -> None:
    assert all(np.isfinite(part).all() for part in asymmetric_gaussian(values))


def test_white_noise_has_gaussian_normalised_values() -> None:
    noise = np.random.default_rng(3).normal(128, 40, (192, 288))
    features = natural_scene_features(noise, data_range=255)
    assert features.shape == (6, 36)
    # Beyond the window's own shrinkage, white Gaussian noise keeps a shape of about 2 or above.
    assert (features[:, 0] > 1.8).all()
    # Taking off a local mean leaves neighbours slightly anticorrelated; nothing else ties white noise.
    assert (np.abs(features[:, [3, 7, 11, 15]]) < 0.15).all()


@pytest.mark.parametrize(("direction", "step"), [(0, (0, 1)), (1, (1, 0)), (2, (1, 1)), (3, (1, -1))])
def test_stripes_are_seen_along_their_own_direction(direction: int, step: tuple[int, int]) -> None:
    rows, columns = np.indices((64, 64))
    across = rows * step[1] - columns * step[0]  # constant along the step
    stripes = np.random.default_rng(12).normal(128, 40, 256)[across + 128]
    means = natural_scene_features(stripes, data_range=255, block=64)[0, [3, 7, 11, 15]]
    assert np.argmax(means) == direction
    assert means[direction] > 3 * np.delete(means, direction).max()


def test_half_size_is_that_of_an_antialiased_bicubic_filter() -> None:
    image = np.random.default_rng(11).normal(size=(40, 56))
    peer = np.asarray(Image.fromarray(image.astype(np.float32)).resize((28, 20), Image.Resampling.BICUBIC))
    # At the border the peer crops its filter and NIQE's mirrors the image.
    np.testing.assert_allclose(_halved(image)[3:-3, 3:-3], peer[3:-3, 3:-3], atol=1e-5)


def test_features_see_neither_an_offset_nor_the_unit() -> None:
    image = textures(1, 4)[0]
    features = natural_scene_features(image, data_range=1000)
    np.testing.assert_allclose(natural_scene_features(image - 1024, data_range=1000), features, atol=1e-6)
    np.testing.assert_allclose(natural_scene_features(image * 65.535, data_range=65535), features, atol=1e-6)
    whole = image.astype(np.uint16)
    np.testing.assert_array_equal(
        natural_scene_features(whole, data_range=1000), natural_scene_features(whole.astype(float), data_range=1000)
    )


def test_blocks_are_counted_whole_and_flat_ones_are_left_out() -> None:
    image = textures(1, 5, (70, 100))[0]
    assert natural_scene_features(image, data_range=1000, block=32).shape == (6, 36)
    image[:40, :40] = 0
    assert natural_scene_features(image, data_range=1000, block=32).shape == (5, 36)
    assert natural_scene_features(np.zeros((64, 64)), data_range=1, block=32).shape == (0, 36)


def test_equal_sets_have_no_distance_and_worse_images_are_further() -> None:
    truth = textures(6, 6)
    generator = np.random.default_rng(7)

    def distance(images: list[np.ndarray]) -> float:
        return fnsd(images, truth, data_range=1000, block=32).value

    assert distance(truth) == pytest.approx(0.0, abs=1e-6)
    fresh = distance(textures(6, 8))
    blurred = [distance([gaussian_filter(image, sigma) for image in truth]) for sigma in (0.7, 1.5)]
    noisy = [distance([image + generator.normal(0, sigma, image.shape) for image in truth]) for sigma in (10, 40)]
    assert 0 < fresh < blurred[0] < blurred[1]
    assert fresh < noisy[0] < noisy[1]


def test_features_gathered_apart_give_the_same_distance() -> None:
    images, truth = textures(3, 13), textures(3, 14)
    parts = []
    for collection in (images, truth):
        gathered = FrechetStatistics()
        for image in collection:
            gathered.update(natural_scene_features(image, data_range=1000, block=32))
        parts.append(gathered)
    assert fnsd_of(*parts) == fnsd(images, truth, data_range=1000, block=32).value
    features = np.concatenate([natural_scene_features(image, data_range=1000, block=32) for image in truth])
    scaled = FrechetStatistics()
    scaled.update(features * 7.0)
    assert fnsd_of(scaled, scaled) == pytest.approx(0.0, abs=1e-6)


def test_a_score_carries_its_numbers() -> None:
    score = fnsd(iter(textures(3, 9)), iter(textures(2, 10)), data_range=1000, block=32)
    assert (score.predicted_images, score.truth_images) == (3, 2)
    assert (score.predicted_blocks, score.truth_blocks) == (36, 24)
    assert "32 x 32 blocks" in score.features
    assert "FID" not in score.features


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([np.zeros((64, 64))], {"data_range": 1}, "smaller than a block of 96"),
        ([np.zeros((64, 64))], {"data_range": 1, "block": 32}, "0 blocks of 32 pixels with texture"),
        ([], {"data_range": 1}, "predicted has 0 blocks"),
        ([np.zeros((64, 64))], {"data_range": 1, "block": 33}, "even and at least 16"),
        ([np.zeros((64, 64, 3))], {"data_range": 1, "block": 32}, "real"),
        ([np.full((64, 64), np.nan)], {"data_range": 1, "block": 32}, "NaN"),
        ([np.where(np.eye(64) > 0, np.inf, -np.inf)], {"data_range": 1, "block": 32}, "NaN or infinite"),
        ([np.zeros((64, 64))], {"data_range": None}, "data_range"),
    ],
)
def test_sets_that_cannot_be_scored_are_refused_in_one_line(images: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        fnsd(images, images, **options)
    assert "\n" not in str(refusal.value)

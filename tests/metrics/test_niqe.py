"""NIQE against the formulas written out plainly with the published parameters, and the behaviour of fitted models."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import gamma

from transmodal.metrics.niqe import PristineModel, niqe

PUBLISHED = "metric_params/niqe_basicsr/basicsr/metrics/niqe_pris_params.npz"


def textures(number: int, seed: int, size: tuple[int, int] = (128, 160)) -> list[np.ndarray]:
    """Sharp images of several scales of texture, in 0 to 255."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(number):
        image = sum(gaussian_filter(generator.laplace(size=size), scale) * scale for scale in (0.6, 1.5, 4))
        images.append(255 * (image - np.min(image)) / np.ptp(image))
    return images


def half_matrix(length: int) -> np.ndarray:
    """What halves a line: Keys' cubic over eight pixels around each new centre, folded at the mirrored border."""
    matrix = np.zeros((length // 2, length))
    for i in range(length // 2):
        for source in range(2 * i - 3, 2 * i + 5):
            x = abs(source + 0.5 - (2 * i + 1)) / 2
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            folded = -source - 1 if source < 0 else source if source < length else 2 * length - 1 - source
            matrix[i, folded] += weight / 2
    return matrix


def plain_fit(values: np.ndarray) -> tuple[float, float, float, float]:
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[values > 0] ** 2))
    quotient = left / right
    ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    ratio *= (quotient**3 + 1) * (quotient + 1) / (quotient**2 + 1) ** 2
    shapes = np.arange(0.2, 10.001, 0.001)
    shape = shapes[np.argmin((gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes)) - ratio) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, (right - left) * scale * gamma(2 / shape) / gamma(1 / shape), left * scale, right * scale


def plain_niqe(image: np.ndarray, mean: np.ndarray, covariance: np.ndarray, block: int = 96) -> float:
    """NIQE of grey levels 0 to 255 as the paper tells it: a whole 7 x 7 window, a loop over blocks."""
    line = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    window = np.outer(line, line) / np.outer(line, line).sum()
    rows, columns = (length // block for length in image.shape)
    image = image[: rows * block, : columns * block]
    scales = []
    for side in (block, block // 2):
        local = convolve(image, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(image**2, window, mode="nearest") - local**2))
        normalised = (image - local) / (deviation + 1)
        features = []
        for i in range(columns):  # the other order than ours
            for j in range(rows):
                part = normalised[j * side : (j + 1) * side, i * side : (i + 1) * side]
                shape, _, left, right = plain_fit(part)
                row = [shape, (left + right) / 2]
                for step in ([0, 1], [1, 0], [1, 1], [1, -1]):
                    row.extend(plain_fit(part * np.roll(part, step, axis=(0, 1))))
                features.append(row)
        scales.append(features)
        image = half_matrix(image.shape[0]) @ image @ half_matrix(image.shape[1]).T
    both = np.concatenate(scales, axis=1)
    step = mean - both.mean(axis=0)
    return float(np.sqrt(step @ np.linalg.pinv((covariance + np.cov(both, rowvar=False)) / 2) @ step))


@pytest.fixture
def published(real_data: Path) -> Path:
    return real_data / PUBLISHED


def test_the_published_parameters_give_the_plain_definition_on_textures(published: Path) -> None:
    model = PristineModel.load(published)
    with np.load(published, allow_pickle=False) as arrays:
        mean, covariance = arrays["mu_pris_param"].ravel(), arrays["cov_pris_param"]
    generator = np.random.default_rng(1)
    for image in [*textures(2, 0, (200, 310)), generator.normal(128, 30, (192, 192))]:
        assert niqe(image, data_range=255, model=model) == pytest.approx(plain_niqe(image, mean, covariance), rel=1e-6)
        # 12-bit values of the same picture: the range says what they mean
        value = niqe(image * (4095 / 255) - 1024, data_range=4095, model=model)
        assert value == pytest.approx(plain_niqe(image, mean, covariance), rel=1e-5)


def test_the_published_parameters_give_the_plain_definition_on_real_slices(real_data: Path, published: Path) -> None:
    model = PristineModel.load(published)
    values = []
    for path in sorted((real_data / "ct_slices").glob("*/axial/*.dcm"))[:3]:
        pixels = pydicom.dcmread(path).pixel_array.astype(np.float64)
        middle = np.clip(pixels, -1024, 3071)[160:352, 110:402]  # inside the body: every block has texture
        with np.load(published, allow_pickle=False) as arrays:
            expected = plain_niqe(
                (middle + 1024) * (255 / 4095), arrays["mu_pris_param"].ravel(), arrays["cov_pris_param"]
            )
        values.append(niqe(middle, data_range=4095, model=model))
        assert values[-1] == pytest.approx(expected, rel=1e-6)
    assert len(values) == 3


def test_a_published_model_says_what_it_is(published: Path) -> None:
    model = PristineModel.load(published)
    assert model.sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert (model.block, model.sharpest) == (96, None)
    assert "natural photographs" in model.name


@pytest.fixture(scope="module")
def fitted() -> PristineModel:
    return PristineModel.fit(textures(12, 2), data_range=255, name="sharp textures", block=32, sharpest=0.5)


def test_blur_and_noise_raise_it_with_a_model_of_sharp_images(fitted: PristineModel) -> None:
    generator = np.random.default_rng(4)
    image = textures(1, 3)[0]

    def value(other: np.ndarray) -> float:
        return niqe(other, data_range=255, model=fitted)

    blurred = [value(gaussian_filter(image, sigma)) for sigma in (0.7, 1.5)]
    noisy = [value(image + generator.normal(0, sigma, image.shape)) for sigma in (8, 30)]
    assert value(image) < blurred[0] < blurred[1]
    assert value(image) < noisy[0] < noisy[1]


def test_a_fit_is_the_mean_and_covariance_of_the_sharp_blocks(fitted: PristineModel) -> None:
    from transmodal.metrics.natural_scene import natural_scene_blocks

    kept = []
    for image in textures(12, 2):
        features, sharpness = natural_scene_blocks(image, data_range=255, block=32)
        kept.append(features[sharpness > 0.5 * sharpness.max()])
    together = np.concatenate(kept)
    assert (fitted.images, fitted.blocks) == (12, len(together))
    np.testing.assert_allclose(fitted.mean, together.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(fitted.covariance, np.cov(together, rowvar=False), rtol=1e-8, atol=1e-12)


def test_the_part_of_blocks_that_is_kept_is_chosen_and_recorded() -> None:
    images = textures(12, 5)
    for image in images:
        image[:, 80:] = gaussian_filter(image[:, 80:], 2) * 0.3  # half of each is dull
    models = [
        PristineModel.fit(images, data_range=255, name="half dull", block=32, sharpest=fraction)
        for fraction in (0.0, 0.6)
    ]
    assert [model.sharpest for model in models] == [0.0, 0.6]
    everything, sharp = (model.blocks for model in models)
    assert everything == 12 * 4 * 5
    assert sharp is not None and sharp <= 12 * 4 * 3


def test_a_saved_model_is_read_back_exactly(fitted: PristineModel, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    fitted.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]
    again = PristineModel.load(path)
    np.testing.assert_array_equal(again.mean, fitted.mean)
    np.testing.assert_array_equal(again.covariance, fitted.covariance)
    assert again.sha256 == fitted.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for key in ("block", "name", "sharpest", "data_range", "images", "blocks"):
        assert getattr(again, key) == getattr(fitted, key)
    image = textures(1, 6)[0]
    assert niqe(image, data_range=255, model=again) == niqe(image, data_range=255, model=fitted)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (textures(1, 7, (32, 50))[0], {}, "fewer than 2 blocks of 32 .* smaller block"),
        (textures(1, 7, (20, 50))[0], {}, "smaller than a block of 32"),
        (np.zeros((128, 160, 3)), {}, r"\(H, W\)"),
        (np.full((128, 160), np.nan), {}, "NaN"),
        (textures(1, 7)[0], {"data_range": 0}, "data_range"),
        (textures(1, 7)[0], {"model": "published"}, "must be a PristineModel"),
    ],
)
def test_an_image_that_cannot_be_scored_is_refused(
    fitted: PristineModel, image: np.ndarray, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        niqe(image, **({"data_range": 255, "model": fitted} | options))
    assert "\n" not in str(refusal.value)


def test_a_fit_of_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match=r"37 blocks or more, 1 images gave \d+ sharp ones of 32"):
        PristineModel.fit(textures(1, 8), data_range=255, name="one", block=32)
    with pytest.raises(ValueError, match="sharpest"):
        PristineModel.fit(textures(1, 8), data_range=255, name="one", block=32, sharpest=1.0)


@pytest.mark.parametrize("how", ["missing", "empty", "text", "other", "newer", "short", "block", "npz", "indefinite"])
def test_a_wrong_file_is_refused_in_one_line(fitted: PristineModel, tmp_path: Path, how: str) -> None:
    path = tmp_path / "model"
    table = json.loads(fitted.to_bytes())
    negative = (-np.eye(36)).tolist()
    changes = {
        "other": {"format": "else"},
        "newer": {"version": 2},
        "short": {"mean": [0.0]},
        "block": {"block": 33},
        "indefinite": {"covariance": negative},
    }
    if how == "npz":
        with path.open("wb") as file:
            np.savez(file, mu_pris_param=np.zeros(36), cov_pris_param=np.array([{}], dtype=object))
    elif how != "missing":
        path.write_text({"empty": "", "text": "not a model"}.get(how, json.dumps(table | changes.get(how, {}))))
    with pytest.raises(ValueError, match=r"NIQE model: .*niqe_pris_params\.npz") as refusal:
        PristineModel.load(path)
    assert "\n" not in str(refusal.value)


def test_an_image_without_texture_has_no_niqe(fitted: PristineModel) -> None:
    assert np.isnan(niqe(np.zeros((128, 160)), data_range=255, model=fitted))

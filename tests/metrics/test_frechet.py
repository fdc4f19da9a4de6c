"""The Fréchet distance against SciPy's matrix root and known Gaussians; the statistics against NumPy."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from transmodal.metrics.frechet import FrechetStatistics, frechet_distance, frechet_score


def gaussian(dimensions: int, seed: int, vectors: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    samples = generator.normal(size=(vectors, dimensions)) @ generator.normal(size=(dimensions, dimensions))
    return samples.mean(axis=0) + seed, np.cov(samples, rowvar=False)


@settings(max_examples=25, deadline=None)
@given(dimensions=st.integers(2, 24), seed=st.integers(0, 1000))
def test_the_distance_is_that_of_the_matrix_root(dimensions: int, seed: int) -> None:
    (m1, s1), (m2, s2) = gaussian(dimensions, seed), gaussian(dimensions, seed + 1)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet_distance(m1, s1, m2, s2) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(m2, s2, m1, s1) == pytest.approx(expected, rel=1e-8)


def test_gaussians_of_one_dimension_follow_the_closed_form() -> None:
    assert frechet_distance([3.0], [[4.0]], [1.0], [[25.0]]) == pytest.approx((3 - 1) ** 2 + (2 - 5) ** 2)


def test_equal_gaussians_have_no_distance_even_without_full_rank() -> None:
    generator = np.random.default_rng(1)
    few = generator.normal(size=(10, 64)) * 1e3
    mean, covariance = few.mean(axis=0), np.cov(few, rowvar=False)
    assert frechet_distance(mean, covariance, mean, covariance) == pytest.approx(0.0, abs=1e-6 * np.trace(covariance))


def test_few_images_give_the_distance_of_the_nuclear_norm() -> None:
    # Without full rank the root is known another way: its trace is the nuclear norm of X1 X2^T for S = X^T X.
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(8, 100)), generator.normal(2.0, 3.0, size=(12, 100))
    x1, x2 = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (first, second))
    root = np.linalg.svd(x1 @ x2.T, compute_uv=False).sum()
    step = first.mean(axis=0) - second.mean(axis=0)
    expected = step @ step + (x1**2).sum() + (x2**2).sum() - 2 * root
    value = frechet_distance(
        first.mean(axis=0), np.cov(first, rowvar=False), second.mean(axis=0), np.cov(second, rowvar=False)
    )
    assert value == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=2, max_size=6), offset=st.sampled_from([0.0, 1e4]))
def test_statistics_do_not_depend_on_how_the_vectors_come(sizes: list[int], offset: float) -> None:
    sizes[0] += 2
    features = np.random.default_rng(sum(sizes)).normal(offset, 1.0, (sum(sizes), 5)).astype(np.float32)
    parts = np.split(features, np.cumsum(sizes)[:-1])
    streamed, front, back = FrechetStatistics(), FrechetStatistics(), FrechetStatistics()
    for index, part in enumerate(parts):
        streamed.update(part)
        (front if index < 2 else back).update(part)
    front.merge(back)
    for statistics in (streamed, front):
        assert statistics.count == len(features)
        np.testing.assert_allclose(statistics.mean, features.astype(np.float64).mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            statistics.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-8, atol=1e-10
        )


class RowMeans:
    """An extractor of three features whose value is known."""

    name = "mean, extent, first pixel"
    sha256 = hashlib.sha256(b"").hexdigest()

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray, *, limits: tuple[float, float]) -> np.ndarray:
        self.shapes.append(images.shape)
        scaled = (images - limits[0]) / (limits[1] - limits[0])
        return np.stack([scaled.mean(axis=(1, 2)), np.ptp(scaled, axis=(1, 2)), scaled[:, 0, 0]], axis=1)


def test_a_score_carries_its_numbers_and_its_extractor() -> None:
    generator = np.random.default_rng(3)
    predicted = [generator.uniform(0, 100, (6, 7)) for _ in range(5)]
    truth = [generator.uniform(0, 120, shape) for shape in ((6, 7), (6, 7), (8, 5), (6, 7))]
    extractor = RowMeans()
    score = frechet_score(iter(predicted), iter(truth), extractor=extractor, limits=(0, 100), batch_size=2)
    assert (score.predicted_images, score.truth_images) == (5, 4)
    assert (score.features, score.sha256) == (extractor.name, extractor.sha256)
    assert extractor.shapes == [(2, 6, 7), (2, 6, 7), (1, 6, 7), (2, 6, 7), (1, 8, 5), (1, 6, 7)]
    one, two = (
        np.concatenate([extractor(np.clip(image, 0, 100)[None], limits=(0, 100)) for image in images])
        for images in (predicted, truth)
    )
    expected = frechet_distance(one.mean(0), np.cov(one, rowvar=False), two.mean(0), np.cov(two, rowvar=False))
    assert score.value == pytest.approx(expected, rel=1e-5)
    assert frechet_score(truth, truth, extractor=extractor, limits=(0, 100)).value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("images", "limits", "message"),
    [
        ([np.zeros((3, 3))], (0, 1), "at least 2 feature vectors"),
        ([], (0, 1), "at least one feature vector"),
        ([np.zeros((3, 3, 3))], (0, 1), r"shape \(H, W\)"),
        ([np.full((3, 3), np.nan)] * 2, (0, 1), "NaN or infinite pixels"),
        ([np.zeros((3, 3))] * 2, (1, 0), "low before high"),
    ],
)
def test_sets_that_cannot_be_scored_are_refused(images: list, limits: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_score(images, images, extractor=RowMeans(), limits=limits)


def test_wrong_statistics_are_refused() -> None:
    eye = np.eye(2)
    with pytest.raises(ValueError, match="must be"):
        frechet_distance(np.zeros(3), eye, np.zeros(2), eye)
    with pytest.raises(ValueError, match="not symmetric"):
        frechet_distance(np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), np.zeros(2), eye)
    for order in (1, -1):
        first, second = (eye, np.diag([1.0, -1.0]))[::order]
        with pytest.raises(ValueError, match="positive semidefinite"):
            frechet_distance(np.zeros(2), first, np.zeros(2), second)
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(np.zeros(2), eye, np.array([0, np.nan]), eye)
    statistics = FrechetStatistics()
    statistics.update(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="those before had 3"):
        statistics.update(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        statistics.update(np.zeros(3))
    with pytest.raises(ValueError, match="NaN"):
        statistics.update(np.full((1, 3), np.inf))

"""KID against torchmetrics and the written-out double sum, and what a score says of its numbers."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from transmodal.metrics.kid import KidFeatures, KidScore, kid


def features(number: int, seed: int, dimensions: int = 48, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (number, dimensions)).astype(np.float32)


def gathered(vectors: np.ndarray, batch: int = 7) -> KidFeatures:
    collected = KidFeatures()
    for start in range(0, len(vectors), batch):
        collected.update(vectors[start : start + batch])
    return collected


def scored(predicted: np.ndarray, truth: np.ndarray, **options: int) -> KidScore:
    return gathered(predicted).score(gathered(truth), features="normal numbers", **options)


def peer(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(poly_mmd(torch.from_numpy(truth).double(), torch.from_numpy(predicted).double()))


def test_a_subset_of_everything_is_the_discrepancy_of_torchmetrics() -> None:
    predicted, truth = features(60, 0, shift=0.2), features(60, 1)
    score = scored(predicted, truth, subset_size=60)
    assert score.value == pytest.approx(peer(predicted, truth), rel=1e-9)
    assert (score.subsets, score.subset_size, score.sd) == (1, 60, None)


def test_the_discrepancy_is_the_written_out_double_sum() -> None:
    x, y = features(9, 2, 5).astype(float), features(9, 3, 5).astype(float)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 5 + 1) ** 3

    apart = [(i, j) for i in range(9) for j in range(9) if i != j]
    expected = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in apart) / 72
    expected -= 2 * sum(kernel(a, b) for a in x for b in y) / 81
    assert scored(x, y).value == pytest.approx(expected, rel=1e-6)


def test_subsets_are_the_peer_on_drawn_images(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, truth = features(50, 4, shift=0.3), features(70, 5)
    monkeypatch.setattr("transmodal.metrics.kid._TILE", 16)  # several tiles
    score = scored(predicted, truth, subsets=20, subset_size=30, seed=3)
    generator = np.random.default_rng(3)
    ours = [generator.permutation(50)[:30] for _ in range(20)]
    theirs = [generator.permutation(70)[:30] for _ in range(20)]
    expected = [peer(predicted[first], truth[second]) for first, second in zip(ours, theirs, strict=True)]
    assert score.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert score.sd == pytest.approx(np.std(expected), rel=1e-9)
    assert scored(predicted, truth, subsets=20, subset_size=30, seed=4).value != score.value


def test_it_is_unbiased_where_few_images_are() -> None:
    values = [scored(features(6, seed), features(6, seed + 1000)).value for seed in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(400)
    assert min(values) < 0 < max(values)


def test_sets_further_apart_score_higher() -> None:
    truth = features(80, 6)
    near, far = (scored(features(80, 7, shift=shift), truth, subset_size=40).value for shift in (0.1, 0.5))
    assert near < far


def test_a_subset_larger_than_a_set_is_lowered_and_said() -> None:
    score = scored(features(12, 8), features(30, 9))
    assert (score.predicted_images, score.truth_images) == (12, 30)
    assert (score.subsets, score.subset_size) == (100, 12)
    assert score.sd is not None and score.sd > 0


def test_features_gathered_apart_give_the_same_score() -> None:
    predicted, truth = features(40, 10), features(40, 11)
    front, back = gathered(predicted[:25]), gathered(predicted[25:])
    front.merge(back)
    apart = front.score(gathered(truth, 40), features="normal numbers", subset_size=20)
    assert apart == scored(predicted, truth, subset_size=20)
    assert back.count == 15


class Pixels:
    """An extractor of four pixels on the scale of the limits."""

    name = "four pixels"
    sha256 = "ab" * 32

    def __call__(self, images: np.ndarray, *, limits: tuple[float, float]) -> np.ndarray:
        return (images[:, :2, :2].reshape(len(images), 4) - limits[0]) / (limits[1] - limits[0])


def test_images_go_through_any_extractor_that_has_a_name() -> None:
    generator = np.random.default_rng(12)
    predicted = [generator.uniform(-50, 400, (6, 8)) for _ in range(9)]
    truth = [generator.uniform(-50, 500, shape) for shape in [(6, 8), (7, 5)] * 4]
    score = kid(iter(predicted), iter(truth), extractor=Pixels(), limits=(0, 400), batch_size=4, seed=1)
    vectors = [
        np.concatenate([Pixels()(np.clip(image, 0, 400)[None], limits=(0, 400)) for image in images])
        for images in (predicted, truth)
    ]
    assert score.value == pytest.approx(scored(*vectors, seed=1).value, rel=1e-5)
    assert (score.features, score.sha256) == ("four pixels", "ab" * 32)
    assert (score.predicted_images, score.truth_images, score.subset_size) == (9, 8, 8)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([np.zeros((3, 3))], {}, "at least 2 images in each set, got 1 and 1"),
        ([], {}, "got 0 and 0"),
        ([np.zeros((3, 3, 3))], {}, r"shape \(H, W\)"),
        ([np.full((3, 3), np.nan)] * 2, {}, "NaN or infinite pixels"),
        ([np.zeros((3, 3))] * 2, {"limits": (1, 0)}, "low before high"),
        ([np.zeros((3, 3))] * 2, {"subset_size": 1}, "got 100 of 1"),
        ([np.zeros((3, 3))] * 2, {"subsets": 0}, "got 0 of 1000"),
    ],
)
def test_sets_that_cannot_be_scored_are_refused(images: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kid(images, images, extractor=Pixels(), **({"limits": (0, 1)} | options))


def test_wrong_features_are_refused() -> None:
    collected = gathered(features(3, 13, 4))
    for wrong, message in (
        (np.zeros(4), r"\(N, D\)"),
        (np.full((1, 4), np.nan), "NaN"),
        (np.zeros((1, 5)), "those before had 4"),
    ):
        with pytest.raises(ValueError, match=message):
            collected.update(wrong)
    with pytest.raises(ValueError, match="lengths 4 and 5"):
        collected.score(gathered(features(3, 14, 5)), features="four")

"""Kernel Inception distance: how far two sets of images lie apart, without a bias for few images.

M. Bińkowski, D. J. Sutherland, M. Arbel, A. Gretton, "Demystifying MMD GANs", ICLR 2018. With the kernel
k(x, y) = (x^T y / d + 1)^3 of d features, the squared maximum mean discrepancy of m predicted x and m true y is

    sum_{i != j} k(x_i, x_j) / (m (m - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_{i, j} k(x_i, y_j) / m^2

which is unbiased, and therefore below 0 at times for equal sets. KID is its mean over random subsets of both sets, as
the paper's code and torchmetrics take it; the spread over the subsets is printed beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.metrics.frechet import FeatureExtractor, feature_batch, image_batches

SUBSETS = 100
SUBSET_SIZE = 1000

_TILE = 1024  # rows and columns of the kernel that are held at once


@dataclass(frozen=True)
class KidScore:
    """A kernel Inception distance with what it cannot be read without.

    Attributes:
        value: mean over the subsets; not below 0 by more than its noise.
        sd: population standard deviation over the subsets, which overlap: no standard error of the value. None where
            the subsets are the whole sets, so that there is one.
        predicted_images, truth_images: N of each set.
        subsets: how many were drawn.
        subset_size: images of each set in a subset; lower than asked where a set has fewer.
        features: name of the extractor.
        sha256: digest of its weights.
    """

    value: float
    sd: float | None
    predicted_images: int
    truth_images: int
    subsets: int
    subset_size: int
    features: str
    sha256: str


class KidFeatures:
    """Feature vectors of one set of images that come in batches; all are kept, in float32: 8 kB an image of 2048."""

    def __init__(self) -> None:
        self.count = 0
        self._batches: list[NDArray[np.float32]] = []

    def update(self, features: Any) -> None:
        """Take in a batch of feature vectors (N, D); an empty batch changes nothing.

        Raises:
            ValueError: it has not two axes, another D than before, or a value that is not finite.
        """
        batch = feature_batch(features).astype(np.float32, copy=False)
        if len(batch) == 0:
            return
        if self._batches and batch.shape[1] != self._batches[0].shape[1]:
            raise ValueError(f"features have length {batch.shape[1]}, those before had {self._batches[0].shape[1]}")
        self._batches.append(batch.copy())
        self.count += len(batch)

    def merge(self, other: "KidFeatures") -> None:
        """Take in what another one has gathered, for instance in another process; subsets are drawn in that order.

        Raises:
            ValueError: the two have features of different lengths.
        """
        for batch in list(other._batches):
            self.update(batch)

    @property
    def features(self) -> NDArray[np.float32]:
        """All vectors (N, D) in the order in which they came.

        Raises:
            ValueError: nothing was taken in yet.
        """
        if not self._batches:
            raise ValueError("KID needs at least 2 images in each set, one set has none")
        if len(self._batches) > 1:
            self._batches = [np.concatenate(self._batches)]
        return self._batches[0]

    def score(
        self,
        truth: "KidFeatures",
        *,
        features: str = "",
        sha256: str = "",
        subsets: int = SUBSETS,
        subset_size: int = SUBSET_SIZE,
        seed: int = 0,
    ) -> KidScore:
        """KID of these features, of predicted images, from those of true ones.

        Args:
            truth: the other set, of the same extractor.
            features: name of the extractor, for the score to carry.
            sha256: digest of its weights, likewise.
            subsets, subset_size, seed: as in :func:`kid`.

        Raises:
            ValueError: as in :func:`kid`.
        """
        if subsets < 1 or subset_size < 2:
            raise ValueError(f"KID needs 1 subset or more of 2 images or more, got {subsets} of {subset_size}")
        fewest = min(self.count, truth.count)
        if fewest < 2:
            raise ValueError(f"KID needs at least 2 images in each set, got {self.count} and {truth.count}")
        size = min(subset_size, fewest)
        # Subsets that are the whole sets are all alike.
        drawn = 1 if size == self.count == truth.count else subsets
        generator = np.random.default_rng(seed)
        chosen = [_chosen(count, size, drawn, generator) for count in (self.count, truth.count)]
        values = _discrepancies(self.features, truth.features, chosen[0], chosen[1])
        return KidScore(
            value=float(values.mean()),
            sd=float(values.std()) if drawn > 1 else None,
            predicted_images=self.count,
            truth_images=truth.count,
            subsets=drawn,
            subset_size=size,
            features=features,
            sha256=sha256,
        )


def kid(
    predicted: Iterable[Any],
    truth: Iterable[Any],
    *,
    extractor: FeatureExtractor,
    limits: tuple[float, float],
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
    batch_size: int = 16,
) -> KidScore:
    """Kernel Inception distance of two collections of images; 0 on average for sets of one kind, lower is better.

    Args:
        predicted: images (H, W), one after the other; their features are kept, they are not.
        truth: likewise; the two collections may differ in number and in sizes.
        extractor: what makes the features: :class:`transmodal.metrics.inception.InceptionFeatures` for KID proper, or
            anything like it (:class:`transmodal.metrics.frechet.FeatureExtractor` shows how), named in the score.
        limits: the (low, high) of the values, in the images' units; values beyond are clipped.
        subsets: how many random subsets.
        subset_size: images of each set in a subset, drawn without replacement; lowered to the smaller N, and the score
            says so.
        seed: of the drawing.
        batch_size: images given to the extractor at once; consecutive images of one size share a batch.

    Raises:
        ValueError: a collection has fewer than two images, an image is not (H, W), a value is not finite, or the
            subsets are not at least 1 of at least 2.
    """
    gathered = []
    for images in (predicted, truth):
        collected = KidFeatures()
        for batch in image_batches(images, limits, batch_size):
            collected.update(extractor(batch, limits=limits))
        gathered.append(collected)
    return gathered[0].score(
        gathered[1],
        features=extractor.name,
        sha256=extractor.sha256,
        subsets=subsets,
        subset_size=subset_size,
        seed=seed,
    )


def _chosen(count: int, size: int, subsets: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw subsets without replacement: (count, subsets), 1 where an image is in a subset."""
    chosen = np.zeros((count, subsets))
    for subset in range(subsets):
        chosen[generator.permutation(count)[:size], subset] = 1.0
    return chosen


def _discrepancies(
    x: NDArray[np.float32], y: NDArray[np.float32], in_x: NDArray[np.float64], in_y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared maximum mean discrepancy of each subset.

    Each pair of images enters the kernel once, whatever the number of subsets: with s the 0 and 1 of a subset, the sum
    over its pairs is s^T K s.
    """
    size = in_x[:, 0].sum()
    within = _pair_sums(x, x, in_x, in_x) - _own_sums(x, in_x) + _pair_sums(y, y, in_y, in_y) - _own_sums(y, in_y)
    return within / (size * (size - 1.0)) - 2.0 * _pair_sums(x, y, in_x, in_y) / size**2


def _pair_sums(
    x: NDArray[np.float32], y: NDArray[np.float32], in_x: NDArray[np.float64], in_y: NDArray[np.float64]
) -> NDArray[np.float64]:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"the two sets have features of lengths {x.shape[1]} and {y.shape[1]}")
    sums: NDArray[np.float64] = np.zeros(in_x.shape[1])
    for top in range(0, len(x), _TILE):
        rows, of_rows = x[top : top + _TILE].astype(np.float64), in_x[top : top + _TILE]
        for left in range(0, len(y), _TILE):
            kernel = rows @ y[left : left + _TILE].astype(np.float64).T
            kernel /= x.shape[1]
            kernel += 1.0
            kernel = kernel * kernel * kernel
            sums += (of_rows * (kernel @ in_y[left : left + _TILE])).sum(axis=0)
    return sums


def _own_sums(x: NDArray[np.float32], in_x: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = np.einsum("nd,nd->n", x, x, dtype=np.float64)
    own: NDArray[np.float64] = ((squares / x.shape[1] + 1.0) ** 3) @ in_x
    return own

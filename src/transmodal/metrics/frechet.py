"""The Fréchet distance between two sets of images, each seen as one Gaussian of its features.

    d^2 = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

D. C. Dowson, B. V. Landau, "The Fréchet distance between multivariate normal distributions", Journal of Multivariate
Analysis 12, 1982. M. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium", NeurIPS 2017, used it with Inception features and called it FID (``inception.py``); its "distance" is
d^2, and so is ours. The value is biased upwards for few images: compare only at equal numbers, and print them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class FeatureExtractor(Protocol):
    """What turns images into features: any callable with a name and a digest serves FID and KID.

    :class:`transmodal.metrics.inception.InceptionFeatures` is the one of FID. Another network, for instance one trained
    on radiographs, is wrapped in a few lines and passed as ``extractor=``::

        class RadiographFeatures:
            name = "my radiograph network, 512 features, grey, area to 224 x 224"  # say the resize filter
            sha256 = "9f86d081..."  # of the file of weights

            def __call__(self, images, *, limits):
                low, high = limits
                grey = torch.from_numpy((images - low) / (high - low))[:, None]  # (N, 1, H, W) in [0, 1]
                with torch.inference_mode():
                    return network(F.interpolate(grey, (224, 224), mode="area")).numpy()  # (N, 512)

    Attributes:
        name: of the features, printed beside every score made with them.
        sha256: hexadecimal digest of the file of weights, or "" where the features have none.
    """

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def __call__(self, images: NDArray[Any], *, limits: tuple[float, float]) -> NDArray[Any]:
        """Give features (N, D) of images (N, H, W), whose values lie between the two limits."""
        ...


@dataclass(frozen=True)
class FrechetScore:
    """A Fréchet distance with what it cannot be read without."""

    value: float
    predicted_images: int
    truth_images: int
    features: str
    sha256: str


def feature_batch(features: Any) -> NDArray[Any]:
    """Return feature vectors (N, D) as an array.

    Raises:
        ValueError: they have not two axes, or a value that is not finite.
    """
    batch = np.asarray(features)
    if batch.ndim != 2:
        raise ValueError(f"features must have shape (N, D), got {batch.shape}")
    if not np.isfinite(batch).all():
        raise ValueError("features hold NaN or infinite values")
    return batch


class FrechetStatistics:
    """Mean and covariance of feature vectors that come in batches, kept in float64.

    Batches are joined by the pairwise update of T. F. Chan, G. H. Golub, R. J. LeVeque (1979), which cancels nothing
    where features have a large mean and a small spread. Memory is one (D, D) matrix whatever the number of images.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: NDArray[np.float64] = np.zeros(0)
        self._scatter: NDArray[np.float64] = np.zeros((0, 0))

    def update(self, features: Any) -> None:
        """Take in a batch of feature vectors (N, D); an empty batch changes nothing.

        Raises:
            ValueError: it has not two axes, another D than before, or a value that is not finite.
        """
        batch = feature_batch(features).astype(np.float64, copy=False)
        if len(batch) == 0:
            return
        mean = batch.mean(axis=0)
        centred = batch - mean
        self._join(len(batch), mean, centred.T @ centred)

    def merge(self, other: "FrechetStatistics") -> None:
        """Take in what another one has gathered, for instance in another process.

        Raises:
            ValueError: the two have features of different lengths.
        """
        if other.count:
            self._join(other.count, other._mean, other._scatter)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean vector (D,).

        Raises:
            ValueError: nothing was taken in yet.
        """
        if self.count == 0:
            raise ValueError("a Fréchet distance needs at least one feature vector in each set, one set has none")
        return self._mean.copy()

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Unbiased covariance (D, D), divided by count - 1.

        Raises:
            ValueError: fewer than two vectors were taken in.
        """
        if self.count < 2:
            raise ValueError(f"a Fréchet distance needs at least 2 feature vectors in each set, got {self.count}")
        return self._scatter / (self.count - 1)

    def _join(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        if self.count == 0:
            self.count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        if mean.shape != self._mean.shape:
            raise ValueError(f"features have length {mean.size}, those before had {self._mean.size}")
        total = self.count + count
        step = mean - self._mean
        self._scatter = self._scatter + scatter + np.outer(step, step) * (self.count * count / total)
        self._mean = self._mean + step * (count / total)
        self.count = total


def frechet_distance(mean1: Any, covariance1: Any, mean2: Any, covariance2: Any) -> float:
    """Squared Fréchet distance of two Gaussians, 0 for equal ones.

    The trace of the root of S1 S2 is taken as the sum of the square roots of the eigenvalues of R S2 R with R the root
    of S1. Both decompositions are of symmetric matrices, so that covariances without full rank (fewer images than
    features) give no complex or diverging root and need no term added to the diagonal.

    Args:
        mean1: (D,).
        covariance1: (D, D), symmetric and positive semidefinite.
        mean2: (D,).
        covariance2: (D, D), likewise.

    Returns:
        The distance in squared units of the features, never below 0.

    Raises:
        ValueError: shapes do not fit, a value is not finite, or a covariance is not symmetric and positive
            semidefinite.
    """
    m1, m2 = np.asarray(mean1, np.float64), np.asarray(mean2, np.float64)
    s1, s2 = np.asarray(covariance1, np.float64), np.asarray(covariance2, np.float64)
    if m1.ndim != 1 or m2.shape != m1.shape or s1.shape != (m1.size, m1.size) or s2.shape != s1.shape:
        raise ValueError(
            f"means {m1.shape}, {m2.shape} and covariances {s1.shape}, {s2.shape} must be (D,) and (D, D) of one D"
        )
    if not all(np.isfinite(values).all() for values in (m1, s1, m2, s2)):
        raise ValueError("a mean or a covariance holds NaN or infinite values")
    for matrix in (s1, s2):
        if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-10 * np.abs(matrix).max(initial=0.0)):
            raise ValueError("a covariance is not symmetric")
    eigenvalues, eigenvectors = np.linalg.eigh(s1)
    root = (eigenvectors * np.sqrt(_not_negative(eigenvalues))) @ eigenvectors.T
    product = root @ s2 @ root
    crossed = _not_negative(np.linalg.eigvalsh((product + product.T) / 2.0))
    step = m1 - m2
    return max(0.0, float(step @ step + np.trace(s1) + np.trace(s2) - 2.0 * np.sqrt(crossed).sum()))


def frechet_score(
    predicted: Iterable[Any],
    truth: Iterable[Any],
    *,
    extractor: FeatureExtractor,
    limits: tuple[float, float],
    batch_size: int = 16,
) -> FrechetScore:
    """Fréchet distance of two collections of images under any extractor.

    Args:
        predicted: images (H, W), one after the other; they are read once and not kept.
        truth: likewise; the two collections may differ in number and in sizes.
        extractor: what makes the features.
        limits: the (low, high) of the values, in the images' units; values beyond are clipped.
        batch_size: images given to the extractor at once; consecutive images of one size share a batch.

    Returns:
        The distance with both numbers of images and the extractor's name and digest.

    Raises:
        ValueError: a collection has fewer than two images, an image is not (H, W), or a value is not finite.
    """
    statistics = []
    for images in (predicted, truth):
        gathered = FrechetStatistics()
        for batch in image_batches(images, limits, batch_size):
            gathered.update(extractor(batch, limits=limits))
        statistics.append(gathered)
    first, second = statistics
    return FrechetScore(
        value=frechet_distance(first.mean, first.covariance, second.mean, second.covariance),
        predicted_images=first.count,
        truth_images=second.count,
        features=extractor.name,
        sha256=extractor.sha256,
    )


def _not_negative(eigenvalues: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    if eigenvalues.size and eigenvalues[0] < -1e-6 * max(eigenvalues[-1], 0.0):
        raise ValueError("a covariance is not positive semidefinite")
    return np.clip(eigenvalues, 0.0, None)


def image_batches(images: Iterable[Any], limits: tuple[float, float], batch_size: int) -> Iterator[NDArray[np.float32]]:
    """Stack consecutive images of one size into batches (N, H, W), clipped to the limits.

    Arguments and refusals as in :func:`frechet_score`.
    """
    low, high = limits
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"limits must be two finite numbers, low before high, got {limits!r}")
    waiting: list[NDArray[np.float32]] = []
    for image in images:
        array = np.asarray(image)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"an image of a set must have shape (H, W), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError("an image of a set holds NaN or infinite pixels")
        if waiting and (len(waiting) == batch_size or waiting[0].shape != array.shape):
            yield np.stack(waiting)
            waiting = []
        waiting.append(np.clip(array, low, high).astype(np.float32))
    if waiting:
        yield np.stack(waiting)

"""Natural-scene statistics of images, and the weight-free Fréchet distance between two sets of them (FNSD).

The features are those of NIQE: A. Mittal, R. Soundararajan, A. C. Bovik, "Making a 'completely blind' image quality
analyzer", IEEE Signal Processing Letters 20(3), 2013. Each image, on a scale of 0 to 255, is normalised by its local
mean and deviation, (I - m) / (s + 1) with a 7 x 7 Gaussian of sigma 7/6. In each block the normalised values and the
products of neighbours in four directions are fitted by asymmetric generalised Gaussians: 18 numbers, at full and at
half size: 36. No network and no fitted constant is involved.

FNSD is the Fréchet distance (``frechet.py``) between the blocks of two sets of images. It tells texture, noise
and blur apart where FID's weights are not at hand; it is not FID, and its values cannot be compared with FID's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.special import gammaln

from transmodal.metrics.frechet import FrechetStatistics, frechet_distance
from transmodal.metrics.pairs import checked_range

FEATURES = 36
BLOCK = 96  # pixels, NIQE's own

_WINDOW = np.exp(-0.5 * (np.arange(-3, 4) / (7.0 / 6.0)) ** 2)
_WINDOW /= _WINDOW.sum()
_FLAT = 0.1  # grey levels of 255: the mean local deviation below which a block has no texture to describe
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))

# The moment ratio E|x|^2 / E x^2 of a generalised Gaussian rises with its shape; shapes are read off this table.
_SHAPES = np.arange(0.2, 10.0005, 0.001)
_RATIOS = np.exp(2.0 * gammaln(2.0 / _SHAPES) - gammaln(1.0 / _SHAPES) - gammaln(3.0 / _SHAPES))


@dataclass(frozen=True)
class FnsdScore:
    """A Fréchet natural-scene distance with the numbers that it cannot be read without."""

    value: float
    predicted_images: int
    truth_images: int
    predicted_blocks: int
    truth_blocks: int
    features: str


def fnsd(predicted: Iterable[Any], truth: Iterable[Any], *, data_range: float, block: int = BLOCK) -> FnsdScore:
    """Fréchet natural-scene distance of a set of predicted images from a set of true ones; 0 for equal sets.

    Each feature is divided by its standard deviation over the true blocks, so that no feature rules by its unit.
    The value is therefore not symmetric: compare models against the same true images, at equal numbers.

    Args:
        predicted: images (H, W), one after the other; they are read once and not kept.
        truth: likewise; sizes and number may differ from the predicted.
        data_range: R in the images' units, which is mapped to 255 grey levels. The features do not see an offset.
        block: side of a block in pixels, even, at least 16.

    Returns:
        The distance with the numbers of images and of blocks. Blocks without texture (mean local deviation below 0.1
        of 255 grey levels) do not count.

    Raises:
        ValueError: an image is not (H, W), is smaller than a block or holds NaN; the range or block is wrong; or a
            set has fewer than two blocks with texture.
    """
    first, predicted_images = natural_scene_statistics(predicted, data_range=data_range, block=block)
    second, truth_images = natural_scene_statistics(truth, data_range=data_range, block=block)
    for name, gathered in (("predicted", first), ("truth", second)):
        if gathered.count < 2:
            raise ValueError(
                f"fnsd: {name} has {gathered.count} blocks of {block} pixels with texture, needs 2 or more"
            )
    spread = np.sqrt(np.diag(second.covariance))
    scale = 1.0 / np.maximum(spread, 1e-3)
    return FnsdScore(
        value=frechet_distance(
            first.mean * scale,
            first.covariance * np.outer(scale, scale),
            second.mean * scale,
            second.covariance * np.outer(scale, scale),
        ),
        predicted_images=predicted_images,
        truth_images=truth_images,
        predicted_blocks=first.count,
        truth_blocks=second.count,
        features=f"{FEATURES} natural-scene features of {block} x {block} blocks, range {data_range:g} as 255",
    )


def natural_scene_statistics(
    images: Iterable[Any], *, data_range: float, block: int = BLOCK
) -> tuple[FrechetStatistics, int]:
    """Mean and covariance of the features over all blocks of a set, and the number of its images.

    Arguments and refusals as in :func:`fnsd`.
    """
    gathered = FrechetStatistics()
    number = 0
    for image in images:
        gathered.update(natural_scene_features(image, data_range=data_range, block=block))
        number += 1
    return gathered, number


def natural_scene_features(image: Any, *, data_range: float, block: int = BLOCK) -> NDArray[np.float64]:
    """Features of the blocks of one image.

    Args:
        image: real array (H, W); what is left over at the right and lower border of whole blocks is not looked at.
        data_range: R in the image's units, mapped to 255 grey levels.
        block: side of a block in pixels, even, at least 16.

    Returns:
        (blocks, 36), blocks with texture only: for full and half size in turn, shape and mean scale of the normalised
        values, then shape, mean, left and right scale for each of the four directions.

    Raises:
        ValueError: as in :func:`fnsd`.
    """
    grey = _grey_levels(image, data_range, block)
    scales = []
    textured = None
    for side in (block, block // 2):
        normalised, deviation = _normalised(grey)
        if textured is None:
            textured = _blocks(deviation, side).mean(axis=(1, 2)) >= _FLAT
        scales.append(_block_features(_blocks(normalised, side)[textured]))
        grey = _halved(grey)
    return np.concatenate(scales, axis=1)


def asymmetric_gaussian(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Fit an asymmetric generalised Gaussian to each row by matching moments.

    N.-E. Lasmar, Y. Stitou, Y. Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009.

    Args:
        samples: (rows, values).

    Returns:
        Shape (0.2 to 10), mean, left scale and right scale, each (rows,). Rows of zeros have scales 0.
    """
    squares = samples * samples
    negative = samples < 0
    positive = samples > 0
    left = np.sqrt((squares * negative).sum(axis=1) / np.maximum(negative.sum(axis=1), 1))
    right = np.sqrt((squares * positive).sum(axis=1) / np.maximum(positive.sum(axis=1), 1))
    tiny = np.finfo(np.float64).tiny
    ratio = np.abs(samples).mean(axis=1) ** 2 / np.maximum(squares.mean(axis=1), tiny)
    # Written in left and right instead of their quotient, so that a side without values divides by nothing.
    ratio *= (left**3 + right**3) * (left + right) / np.maximum((left**2 + right**2) ** 2, tiny)
    shape = _SHAPES[np.searchsorted((_RATIOS[1:] + _RATIOS[:-1]) / 2.0, ratio)]
    one, two, three = (gammaln(k / shape) for k in (1.0, 2.0, 3.0))
    to_scale = np.exp(0.5 * (one - three))
    left_scale, right_scale = left * to_scale, right * to_scale
    return shape, (right_scale - left_scale) * np.exp(two - one), left_scale, right_scale


def _grey_levels(image: Any, data_range: float, block: int) -> NDArray[np.float64]:
    reference = checked_range(data_range)
    array = np.asarray(image)
    if block < 16 or block % 2:
        raise ValueError(f"fnsd: block must be even and at least 16 pixels, got {block}")
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise ValueError(f"fnsd: an image must be real (H, W), got {array.dtype} {array.shape}")
    if min(array.shape) < block:
        raise ValueError(f"fnsd: an image of {array.shape} is smaller than a block of {block} pixels; lower block")
    height, width = (length - length % block for length in array.shape)
    grey = array[:height, :width].astype(np.float64) * (255.0 / reference)
    if not np.isfinite(grey).all():
        raise ValueError("fnsd: an image holds NaN or infinite pixels")
    return grey - grey.mean()  # no feature sees an offset; without it the local variances keep their digits


def _normalised(grey: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean = _windowed(grey)
    variance = _windowed(grey * grey) - mean * mean
    # Where pixels are equal the difference is rounding of either sign.
    deviation = np.sqrt(np.clip(variance, 0.0, None))
    return (grey - mean) / (deviation + 1.0), deviation


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return correlate1d(correlate1d(values, _WINDOW, axis=0, mode="nearest"), _WINDOW, axis=1, mode="nearest")


def _halved(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the size by Keys' cubic kernel (a = -1/2) stretched over eight pixels, as NIQE's imresize does."""
    distance = np.array([1.75, 1.25, 0.75, 0.25])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    half = np.where(distance < 1.0, near, far)
    taps = np.concatenate([half, half[::-1]])
    taps /= taps.sum()
    for axis in (0, 1):
        grey = correlate1d(grey, taps, axis=axis, mode="reflect", origin=-1)
        grey = grey[(slice(None),) * axis + (slice(None, None, 2),)]
    return grey


def _blocks(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return image.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, side, side)


def _block_features(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    number, values = len(blocks), math.prod(blocks.shape[1:])
    shape, _, left, right = asymmetric_gaussian(blocks.reshape(number, values))
    columns = [shape, (left + right) / 2.0]
    for down, across in _DIRECTIONS:
        # Neighbours are taken around the block's edge, as NIQE's published parameters were made.
        products = blocks * np.roll(blocks, (down, across), axis=(1, 2))
        columns.extend(asymmetric_gaussian(products.reshape(number, values)))
    return np.stack(columns, axis=1)

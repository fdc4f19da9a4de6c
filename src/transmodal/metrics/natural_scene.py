"""Natural-scene statistics of images, and the weight-free Fréchet distance between two sets of them (FNSD).

The features are those of NIQE: A. Mittal, R. Soundararajan, A. C. Bovik, "Making a 'completely blind' image quality
analyzer", IEEE Signal Processing Letters 20(3), 2013. Each image, on a scale of 0 to 255, is normalised by its local
mean and deviation, (I - m) / (s + 1) with a 7 x 7 Gaussian of sigma 7/6. In each block the normalised values and the
products of neighbours in four directions are fitted by asymmetric generalised Gaussians: 18 numbers, at full and at
half size: 36. No network and no fitted constant is involved. NIQE itself is in ``niqe.py``.

FNSD is the Fréchet distance (``frechet.py``) between the blocks of two sets of images. It tells texture, noise
and blur apart where FID's weights are not at hand; it is not FID, and its values cannot be compared with FID's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import gammaln

from transmodal.metrics.frechet import FrechetStatistics, frechet_distance
from transmodal.metrics.pairs import checked_range

FEATURES = 36
BLOCK = 96  # pixels, NIQE's own

FLAT = 0.1  # grey levels of 255: the mean local deviation below which a block has no texture to describe
_ROUNDING = 1e-9  # grey levels: a pixel that lies closer to its local mean is equal to it

_GAUSSIAN = [math.exp(-0.5 * (tap / (7.0 / 6.0)) ** 2) for tap in range(4)]
# Half of the symmetric window, centre first. Plain numbers, because numba turns them into constants of the code.
_W0, _W1, _W2, _W3 = (tap / (2.0 * sum(_GAUSSIAN) - _GAUSSIAN[0]) for tap in _GAUSSIAN)
_MARGIN = 3


def _keys_kernel(distance: float) -> float:
    if distance < 1.0:
        return 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    return -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0


# Keys' cubic kernel (a = -1/2) stretched over eight pixels, as NIQE's imresize does: one side, from the centre on.
_KEYS = [_keys_kernel(distance) for distance in (0.25, 0.75, 1.25, 1.75)]
_K0, _K1, _K2, _K3 = (tap / (2.0 * sum(_KEYS)) for tap in _KEYS)

# Reordering fills vector lanes. No infinite or missing value ever reaches the kernels.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}

# The moment ratio E|x|^2 / E x^2 of a generalised Gaussian rises with its shape; shapes are read off this table.
_SHAPES = np.arange(0.2, 10.0005, 0.001)
_ONE, _TWO, _THREE = (gammaln(k / _SHAPES) for k in (1.0, 2.0, 3.0))
_RATIOS = np.exp(2.0 * _TWO - _ONE - _THREE)
_BETWEEN = (_RATIOS[1:] + _RATIOS[:-1]) / 2.0
_TO_SCALE = np.exp(0.5 * (_ONE - _THREE))
_TO_MEAN = np.exp(_TWO - _ONE)


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
    return FnsdScore(
        value=fnsd_of(first, second),
        predicted_images=predicted_images,
        truth_images=truth_images,
        predicted_blocks=first.count,
        truth_blocks=second.count,
        features=f"{FEATURES} natural-scene features of {block} x {block} blocks, range {data_range:g} as 255",
    )


def fnsd_of(first: FrechetStatistics, second: FrechetStatistics) -> float:
    """Fréchet natural-scene distance of gathered features.

    Args:
        first: features of the predicted images' blocks, two or more.
        second: those of the true images' blocks; each feature counts in units of its standard deviation over these.

    Returns:
        The distance of :func:`fnsd`.

    Raises:
        ValueError: a set has fewer than two blocks.
    """
    truth = second.covariance
    # A feature that the truth hardly varies would otherwise rule by the noise of its own fit.
    scale = 1.0 / np.maximum(np.sqrt(np.diag(truth)), 1e-3)
    stretch = np.outer(scale, scale)
    return frechet_distance(first.mean * scale, first.covariance * stretch, second.mean * scale, truth * stretch)


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
    features, sharpness = natural_scene_blocks(image, data_range=data_range, block=block)
    return features[sharpness >= FLAT]


def natural_scene_blocks(
    image: Any, *, data_range: float, block: int = BLOCK
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features of all blocks of one image, and how sharp each is.

    Arguments and refusals as in :func:`fnsd`.

    Returns:
        Features (blocks, 36) in the order of :func:`natural_scene_features`, row of blocks after row; and the mean
        local deviation (blocks,) in grey levels of 255, NIQE's sharpness. Features of blocks without texture mean
        little.
    """
    grey = _grey_levels(image, data_range, block)
    scales = []
    sharpness: NDArray[np.float64] | None = None
    for side in (block, block // 2):
        normalised = np.empty_like(grey)
        deviations = _normalise(grey, side, normalised)
        if sharpness is None:
            sharpness = deviations.ravel() / (side * side)
            grey = _halved(grey)
        scales.append(_features_of(_block_moments(normalised, side), side * side))
    assert sharpness is not None
    return np.concatenate(scales, axis=1), sharpness


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
    moments = [squares * negative, squares * positive, np.abs(samples), negative, positive]
    return _fitted(np.stack([moment.sum(axis=1, dtype=np.float64) for moment in moments], axis=1), samples.shape[1])


def _fitted(moments: NDArray[np.float64], values: int) -> tuple[NDArray[np.float64], ...]:
    """Fit each row of sums over so many values: squares below and above 0, absolute values, counts below and above."""
    below, above, absolute, count_below, count_above = np.moveaxis(moments, -1, 0)
    left = np.sqrt(below / np.maximum(count_below, 1.0))
    right = np.sqrt(above / np.maximum(count_above, 1.0))
    tiny = np.finfo(np.float64).tiny
    ratio = (absolute / values) ** 2 / np.maximum((below + above) / values, tiny)
    # Written in left and right instead of their quotient, so that a side without values divides by nothing.
    ratio *= (left**3 + right**3) * (left + right) / np.maximum((left**2 + right**2) ** 2, tiny)
    entry = np.searchsorted(_BETWEEN, ratio)
    left_scale, right_scale = left * _TO_SCALE[entry], right * _TO_SCALE[entry]
    return _SHAPES[entry], (right_scale - left_scale) * _TO_MEAN[entry], left_scale, right_scale


def _features_of(moments: NDArray[np.float64], values: int) -> NDArray[np.float64]:
    """Turn moments (blocks, 5 fields, 5) into the 18 features of one scale."""
    shape, mean, left, right = _fitted(moments, values)  # each (blocks, 5)
    products = np.stack([shape, mean, left, right], axis=2)[:, 1:]
    own = np.stack([shape[:, 0], (left[:, 0] + right[:, 0]) / 2.0], axis=1)
    return np.concatenate([own, products.reshape(len(moments), 16)], axis=1)


def _grey_levels(image: Any, data_range: float, block: int) -> NDArray[np.float64]:
    reference = checked_range(data_range)
    array = np.asarray(image)
    if block < 16 or block % 2:
        raise ValueError(f"natural-scene features: block must be even and at least 16 pixels, got {block}")
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise ValueError(f"natural-scene features: an image must be real (H, W), got {array.dtype} {array.shape}")
    if min(array.shape) < block:
        raise ValueError(
            f"natural-scene features: an image of {array.shape} is smaller than a block of {block} pixels; lower block"
        )
    height, width = (length - length % block for length in array.shape)
    grey = array[:height, :width].astype(np.float64, order="C")
    with np.errstate(invalid="ignore", over="ignore"):
        mean = grey.mean()  # not finite where a pixel is not
    if not math.isfinite(mean):
        raise ValueError("natural-scene features: an image holds NaN or infinite pixels")
    grey -= mean  # no feature sees an offset; without it the local variances keep their digits
    grey *= 255.0 / reference
    return grey


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _windows_down(rows: tuple[NDArray[np.float64], ...], mean: NDArray[np.float64], power: NDArray[np.float64]) -> None:
    r0, r1, r2, r3, r4, r5, r6 = rows
    for j in range(r3.size):
        a0, a1, a2, a3, a4, a5, a6 = r0[j], r1[j], r2[j], r3[j], r4[j], r5[j], r6[j]
        mean[j + _MARGIN] = _W0 * a3 + _W1 * (a2 + a4) + _W2 * (a1 + a5) + _W3 * (a0 + a6)
        power[j + _MARGIN] = (
            _W0 * (a3 * a3) + _W1 * (a2 * a2 + a4 * a4) + _W2 * (a1 * a1 + a5 * a5) + _W3 * (a0 * a0 + a6 * a6)
        )


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _along(row: NDArray[np.float64], j: int) -> float:
    return (
        _W0 * row[j + 3]
        + _W1 * (row[j + 2] + row[j + 4])
        + _W2 * (row[j + 1] + row[j + 5])
        + _W3 * (row[j] + row[j + 6])
    )


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _normalise_row(
    grey: NDArray[np.float64],
    mean: NDArray[np.float64],
    power: NDArray[np.float64],
    normalised: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> None:
    for j in range(grey.size):
        local = _along(mean, j)
        # Where pixels are equal the difference is rounding of either sign.
        spread = math.sqrt(max(_along(power, j) - local * local, 0.0))
        step = grey[j] - local
        # In a constant neighbourhood the sign of the rounding would decide which side of the fit the pixel joins.
        normalised[j] = step / (spread + 1.0) if abs(step) > _ROUNDING else 0.0
        deviation[j] = spread


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(grey: NDArray[np.float64], side: int, normalised: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalise by local mean and deviation, the border repeated; give the sum of deviations of each block."""
    height, width = grey.shape
    mean, power = np.empty(width + 2 * _MARGIN), np.empty(width + 2 * _MARGIN)
    deviation = np.empty(width)
    sums = np.zeros((height // side, width // side))
    last = height - 1
    for i in range(height):
        rows = (
            grey[max(i - 3, 0)],
            grey[max(i - 2, 0)],
            grey[max(i - 1, 0)],
            grey[i],
            grey[min(i + 1, last)],
            grey[min(i + 2, last)],
            grey[min(i + 3, last)],
        )
        _windows_down(rows, mean, power)
        for edge in range(_MARGIN):
            mean[edge], power[edge] = mean[_MARGIN], power[_MARGIN]
            mean[width + _MARGIN + edge] = mean[width + _MARGIN - 1]
            power[width + _MARGIN + edge] = power[width + _MARGIN - 1]
        _normalise_row(grey[i], mean, power, normalised[i], deviation)
        for column in range(width // side):
            sums[i // side, column] += deviation[column * side : (column + 1) * side].sum()
    return sums


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _add_moments(first: NDArray[np.float64], second: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    """Add the sums of first * second that a fit needs; see `_fitted`."""
    below = above = absolute = count_below = count_above = 0.0
    for j in range(first.size):
        value = first[j] * second[j]
        square = value * value
        below += square if value < 0.0 else 0.0
        above += square if value > 0.0 else 0.0
        absolute += abs(value)
        count_below += 1.0 if value < 0.0 else 0.0
        count_above += 1.0 if value > 0.0 else 0.0
    sums[0] += below
    sums[1] += above
    sums[2] += absolute
    sums[3] += count_below
    sums[4] += count_above


@njit(cache=True, nogil=True, error_model="numpy")
def _block_moments(normalised: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Moments (blocks, 5 fields, 5 sums): of the values, and of their products with four neighbours.

    The neighbours are those to the left, above, above to the left and above to the right. They are taken around the
    block's edge, as NIQE's published parameters were made.
    """
    across = normalised.shape[1] // side
    moments = np.zeros((normalised.shape[0] // side * across, 5, 5))
    ones = np.ones(side)
    for block in range(len(moments)):
        top, left = block // across * side, block % across * side
        sums = moments[block]
        above = normalised[top + side - 1][left : left + side]
        for i in range(side):
            row = normalised[top + i][left : left + side]
            _add_moments(row, ones, sums[0])
            _add_moments(row[1:], row[:-1], sums[1])
            _add_moments(row[:1], row[-1:], sums[1])
            _add_moments(row, above, sums[2])
            _add_moments(row[1:], above[:-1], sums[3])
            _add_moments(row[:1], above[-1:], sums[3])
            _add_moments(row[:-1], above[1:], sums[4])
            _add_moments(row[-1:], above[:1], sums[4])
            above = row
    return moments


@njit(cache=True, nogil=True, fastmath=_REORDERED, error_model="numpy")
def _halved(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the size of an image of even sides, without aliasing; the border is mirrored."""
    height, width = grey.shape
    halved = np.empty((height // 2, width // 2))
    line = np.empty(width + 6)
    for i in range(height // 2):
        # Rows 2 i - 3 to 2 i + 4: four on either side of the new row's centre.
        r3, r4 = grey[2 * i], grey[2 * i + 1]
        r2, r5 = grey[_mirrored(2 * i - 1, height)], grey[_mirrored(2 * i + 2, height)]
        r1, r6 = grey[_mirrored(2 * i - 2, height)], grey[_mirrored(2 * i + 3, height)]
        r0, r7 = grey[_mirrored(2 * i - 3, height)], grey[_mirrored(2 * i + 4, height)]
        for j in range(width):
            line[j + 3] = _K0 * (r3[j] + r4[j]) + _K1 * (r2[j] + r5[j]) + _K2 * (r1[j] + r6[j]) + _K3 * (r0[j] + r7[j])
        for edge in range(3):
            line[2 - edge] = line[3 + edge]
            line[width + 3 + edge] = line[width + 2 - edge]
        for j in range(width // 2):
            k = 2 * j
            halved[i, j] = (
                _K0 * (line[k + 3] + line[k + 4])
                + _K1 * (line[k + 2] + line[k + 5])
                + _K2 * (line[k + 1] + line[k + 6])
                + _K3 * (line[k] + line[k + 7])
            )
    return halved


@njit(cache=True, nogil=True)
def _mirrored(index: int, length: int) -> int:
    if index < 0:
        return -index - 1
    return 2 * length - index - 1 if index >= length else index

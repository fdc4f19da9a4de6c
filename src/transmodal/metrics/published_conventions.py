"""Scores by published conventions, each of which fixes range, clipping, mask and window, so that nothing is left open.

A number by one convention compares with published numbers of the same convention only. Each function is named after
its metric and its convention, which the table of metrics joins as ``psnr@synthrad2023``.

- ``synthrad2023``: the evaluation code of SynthRAD2023 (github.com/SynthRAD2023/metrics).
- ``synthrad2025``: that of SynthRAD2025 (github.com/SynthRAD2025/evaluation) with its range of -1024 to 3000 HU. The
  challenge's page says Q = 4000 where this code has R = 4024, and one revision of the code has -1024 to 3071.
- ``per-image-range``: R is each truth's own extent, as many papers on MRI and CT do. It flatters images of narrow
  extent and differs from image to image; for comparison with such papers alone.
- ``lodopab``: DIVAL, the library of LoDoPaB-CT (github.com/jleuschn/dival).

All arithmetic is float64, where some of those codes work in float32.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.metrics.ms_ssim import WEIGHTS
from transmodal.metrics.pairs import checked_mask, checked_pair
from transmodal.metrics.pointwise import mae, psnr
from transmodal.metrics.ssim import ssim
from transmodal.metrics.uniform_ssim import MARGIN, mean_of_power, uniform_ssim

SYNTHRAD_LIMITS = (-1024.0, 3000.0)  # HU
SYNTHRAD_RANGE = SYNTHRAD_LIMITS[1] - SYNTHRAD_LIMITS[0]
SYNTHRAD2025_SMALLEST_SIDE = 97  # voxels; smaller volumes are padded, so that seven are left at the fifth scale


def mae_synthrad2023(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Mean absolute error as SynthRAD2023 has it.

    Range: none. Clipping: none. Window: none.

    Args:
        predicted: real array of any shape, in HU.
        truth: real array of the same shape, in HU.
        mask: boolean array of the same shape, the challenge's body outline; only voxels inside are compared. None
            compares the whole image, as the challenge's code does without a mask.

    Returns:
        The error in HU.

    Raises:
        ValueError: shapes or types do not fit, the mask is empty, or a compared voxel is not finite.
    """
    return mae(predicted, truth, mask=mask)


def psnr_synthrad2023(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Peak signal-to-noise ratio in dB as SynthRAD2023 has it, +inf for equal images.

    Range: R = 4024 HU. Clipping: both images to -1024..3000 HU. Window: none. Mask: as in
    :func:`mae_synthrad2023`, and so are arguments and refusals.
    """
    first, second = _clipped_pair(predicted, truth)
    return psnr(first, second, data_range=SYNTHRAD_RANGE, mask=mask)


def ssim_synthrad2023(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Structural similarity of volumes as SynthRAD2023 has it: 1 for equal ones, at least -1.

    Range: R = 4024 HU. Clipping: both volumes to -1024..3000 HU; then 1024 is added, which luminance notices. Window:
    7 x 7 x 7, uniform, sample covariance. Mask: both volumes are set to -1024 HU outside it, and the mean is taken
    over the voxels inside it that are 3 or more from every border; None takes the whole volume.

    Args:
        predicted: real array (D, H, W) in HU.
        truth: real array of the same shape, in HU, at least 7 voxels along every axis.
        mask: boolean array of the same shape, the challenge's body outline.

    Returns:
        The mean of the local similarities.

    Raises:
        ValueError: shapes, types or dimension do not fit, an axis is shorter than 7, the mask selects no voxel with a
            whole window, or a compared voxel is not finite.
    """
    first, second, _ = _synthrad_volumes(predicted, truth, mask, "ssim_synthrad2023")
    return uniform_ssim(first, second, data_range=SYNTHRAD_RANGE, mask=mask, spatial_dims=3)


def mae_synthrad2025(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Mean absolute error in HU as SynthRAD2025 has it.

    Range: none. Clipping: none. Window: none. Mask: the challenge's, which is the body outline already dilated;
    nothing is dilated here. Arguments and refusals as in :func:`mae_synthrad2023`, to which it is equal.
    """
    return mae(predicted, truth, mask=mask)


def psnr_synthrad2025(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Peak signal-to-noise ratio in dB as SynthRAD2025 has it, +inf for equal images.

    Range: R = 4024 HU. Clipping: both images to -1024..3000 HU. Window: none. Mask: as in
    :func:`mae_synthrad2025`. Arguments and refusals as in :func:`mae_synthrad2023`.
    """
    return psnr_synthrad2023(predicted, truth, mask=mask)


def ms_ssim_synthrad2025(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Multi-scale structural similarity of volumes as SynthRAD2025 has it: 1 for equal ones, never below 0.

    Range: R = 4024 HU. Clipping: both volumes to -1024..3000 HU; then 1024 is added. Mask: both volumes are set to
    -1024 HU outside it before anything else, and the mean of each scale is taken over the voxels inside it that are 3
    or more from every border; None takes the whole volume. Window: 7 x 7 x 7, uniform, sample covariance.

    Axes shorter than 97 are padded to 97 by repeating the border (the mask's too), half on either side. Five scales
    have Wang's weights, but unlike Wang's score the luminance enters at every scale: each is the mean of
    (luminance x contrast-structure)^weight, negative factors being 0, and the score is their product. The next scale
    holds the mean of the voxels 2k - 1 and 2k along every axis, where what lies before the first voxel counts as
    -1024 HU; its mask is every second voxel of the one before.

    Args:
        predicted: real array (D, H, W) in HU.
        truth: real array of the same shape, in HU.
        mask: boolean array of the same shape, the challenge's dilated body outline.

    Returns:
        The product of the five means.

    Raises:
        ValueError: shapes, types or dimension do not fit, the mask selects at one scale no voxel with a whole window
            (the challenge's code gives NaN there), or a compared voxel is not finite.
    """
    first, second, region = _synthrad_volumes(predicted, truth, mask, "ms_ssim_synthrad2025")
    short = [max(SYNTHRAD2025_SMALLEST_SIDE - length, 0) for length in first.shape]
    padding = [(missing // 2, missing - missing // 2) for missing in short]
    first, second = np.pad(first, padding, mode="edge"), np.pad(second, padding, mode="edge")
    region = None if region is None else np.pad(region, padding, mode="edge")
    score = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale > 0:
            first, second = _halved(first), _halved(second)
            region = None if region is None else region[::2, ::2, ::2]
        if region is not None and not region[(slice(MARGIN, -MARGIN),) * 3].any():
            raise ValueError(
                f"ms_ssim_synthrad2025: mask selects at scale {scale + 1} of {len(WEIGHTS)} no voxel that is {MARGIN} "
                "or more from every border"
            )
        mean = mean_of_power(first, second, weight, data_range=SYNTHRAD_RANGE, mask=region, spatial_dims=3)
        score *= min(max(mean, 0.0), 1.0)
    return score


def psnr_per_image_range(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Peak signal-to-noise ratio in dB over each truth's own extent, +inf for equal images.

    Range: R = maximum - minimum of the truth, inside the mask where there is one. Clipping: none. Window: none.

    Args:
        predicted: real array of any shape, in the truth's units.
        truth: real array of the same shape.
        mask: boolean array of the same shape; only pixels inside are compared. None compares the whole image.

    Raises:
        ValueError: shapes or types do not fit, the mask is empty, a compared pixel is not finite, or the truth is
            constant, so that it has no range.
    """
    return psnr(predicted, truth, data_range=_extent(truth, mask, "psnr_per_image_range"), mask=mask)


def ssim_per_image_range(predicted: Any, truth: Any, *, mask: Any = None) -> float:
    """Structural similarity over each truth's own extent, with Wang's window: 1 for equal images, at least -1.

    Range: R = maximum - minimum of the truth, inside the mask where there is one. Clipping: none. Window: Gaussian, 11
    taps an axis, sigma 1.5, of the arrays' own dimension. Mask: the mean is taken over the pixels inside whose whole
    window lies inside the image; None takes the whole image.

    Args:
        predicted: real array (H, W) or (D, H, W), in the truth's units.
        truth: real array of the same shape, at least 11 pixels along every axis.
        mask: boolean array of the same shape.

    Raises:
        ValueError: as :func:`transmodal.metrics.ssim.ssim`, or the truth is constant.
    """
    reference = _extent(truth, mask, "ssim_per_image_range")
    dimension = 3 if np.ndim(truth) == 3 else 2
    return ssim(predicted, truth, data_range=reference, mask=mask, spatial_dims=dimension)


def psnr_lodopab(predicted: Any, truth: Any) -> float:
    """Peak signal-to-noise ratio in dB as DIVAL computes it for LoDoPaB-CT, +inf for equal images.

    Range: R = maximum - minimum of each truth. Clipping: none. Mask: none, the whole image. Window: none.

    Args:
        predicted: real array (H, W): attenuation over its maximum of 81.35858 per metre, which lies in 0..1. Any
            other linear scale gives the same value.
        truth: real array of the same shape and scale.

    Raises:
        ValueError: shapes, types or dimension do not fit, a pixel is not finite, or the truth is constant.
    """
    _refuse_other_than_slices(truth, "psnr_lodopab")
    return psnr(predicted, truth, data_range=_extent(truth, None, "psnr_lodopab"))


def ssim_lodopab(predicted: Any, truth: Any) -> float:
    """Structural similarity as DIVAL computes it for LoDoPaB-CT: 1 for equal images, at least -1.

    Range: R = maximum - minimum of each truth. Clipping: none. Mask: none, the mean over all pixels that are 3 or more
    from every border. Window: 7 x 7, uniform, sample covariance. Arguments and refusals as in :func:`psnr_lodopab`;
    both axes need at least 7 pixels.
    """
    _refuse_other_than_slices(truth, "ssim_lodopab")
    return uniform_ssim(predicted, truth, data_range=_extent(truth, None, "ssim_lodopab"))


def _clipped_pair(predicted: Any, truth: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Clip to the range of CT; an infinite pixel becomes NaN and is refused where it counts, not scored as 3000 HU."""
    low, high = SYNTHRAD_LIMITS
    first, second = (
        np.where(np.isfinite(image), np.clip(image, low, high), image.dtype.type(np.nan))
        for image in checked_pair(predicted, truth)
    )
    return first, second


def _synthrad_volumes(
    predicted: Any, truth: Any, mask: Any, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_] | None]:
    """Clip both volumes, empty them outside the mask, and count from the bottom of the range on."""
    first, second = _clipped_pair(predicted, truth)
    if first.ndim != 3:
        raise ValueError(f"{metric}: this convention scores volumes (D, H, W), the shape is {first.shape}")
    region = checked_mask(mask, first.shape)
    low = SYNTHRAD_LIMITS[0]
    first, second = (image.astype(np.float64) - low for image in (first, second))
    if region is None:
        return first, second, None
    inside = region.view(np.bool_)
    return np.where(inside, first, 0.0), np.where(inside, second, 0.0), inside


def _halved(volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the elements 2k - 1 and 2k along every axis; before the first one lies 0."""
    for axis in range(volume.ndim):
        lines = np.moveaxis(volume, axis, 0)
        coarse = lines[::2].copy()
        coarse[1:] += lines[1 : 2 * len(coarse) - 2 : 2]
        coarse *= 0.5
        volume = np.moveaxis(coarse, 0, axis)
    return np.ascontiguousarray(volume)


def _extent(truth: Any, mask: Any, metric: str) -> float:
    _, values = checked_pair(truth, truth)
    region = checked_mask(mask, values.shape)
    compared = values if region is None else values[region > 0]
    extent = float(compared.max()) - float(compared.min())
    if not math.isfinite(extent):
        raise ValueError(f"{metric}: truth holds NaN or infinite pixels in the compared region")
    if extent == 0.0:
        raise ValueError(f"{metric}: the truth is constant in the compared region and has no range")
    return extent


def _refuse_other_than_slices(truth: Any, metric: str) -> None:
    if np.ndim(truth) != 2:
        raise ValueError(f"{metric}: this convention scores slices (H, W), the shape is {np.shape(truth)}")

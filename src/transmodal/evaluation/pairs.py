"""One predicted image against its truth, under a complete policy."""

from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from transmodal.errors import UserError
from transmodal.images import Image, require_same_grid
from transmodal.metrics import METRICS
from transmodal.metrics.pointwise import pointwise
from transmodal.metrics.policy import Policy

# The world axis (of x to the right, y to the front, z to the head) across which slices follow one another.
_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}
_POINTWISE = ("mse", "mae", "nrmse", "psnr")


def score_pair(
    predicted: Image, truth: Image, policy: Policy, mask: Image | npt.NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Score one image.

    Args:
        predicted: any pixel type, in the truth's unit and on its grid.
        truth: the reference. Channels are scored one by one; the value is their mean.
        policy: complete; see `Policy.resolved`.
        mask: where to compare, non-zero inside, when the policy's mask is a modality's name.

    Returns:
        Metric → value; PSNR of equal images is +inf. With dimension 2 and a volume, each value is the mean over the
        slices in which it is finite (+inf when it is so in all), slices without a pixel in the mask being left out.

    Raises:
        UserError: the policy is incomplete, the grids or channels differ, pixels are NaN or infinite, the mask is
            missing or empty, or an image is too small for a metric.
    """
    if not policy.is_complete:
        raise UserError(f"A score of {predicted.name} needs its range and mask stated; give the range, for example "
                        "--range 0 65535")  # fmt: skip
    require_same_grid(predicted, truth)
    if len(predicted.channels) != len(truth.channels):
        raise UserError(f"{predicted.name} has {len(predicted.channels) or 1} channels but {truth.name} has "
                        f"{len(truth.channels) or 1}; convert one of them")  # fmt: skip
    for image in (predicted, truth):
        if image.pixels.dtype.kind not in "uif":
            raise UserError(f"{image.name} holds {image.pixels.dtype} values; only real numbers can be scored")
        if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
            raise UserError(f"{image.name} holds NaN or infinite pixels; mend the image before it is scored")
    region = _region(truth, policy, mask)
    if truth.spatial_dims == 3:
        policy = policy.model_copy(update={"slices": None, "slice_axis": slice_axis_of(truth, policy)})
    if not truth.channels:
        return _score_channel(predicted.pixels, truth.pixels, region, policy, truth.name)
    each = [
        _score_channel(predicted.pixels[..., channel], truth.pixels[..., channel], region, policy, truth.name)
        for channel in range(len(truth.channels))
    ]
    return {name: float(np.mean([values[name] for values in each])) for name in policy.metrics}


def on_common_scale(
    pixels: npt.NDArray[Any], policy: Policy, region: npt.NDArray[np.bool_] | None, name: str
) -> npt.NDArray[Any]:
    """Return an image's values as the policy compares them: mapped by its percentiles, clipped, or as they are.

    Raises:
        UserError: its percentiles are equal, so that it has no scale of its own.
    """
    if policy.scale == "percentile":
        low, high = np.percentile(pixels if region is None else pixels[region], policy.percentiles)
        if not high > low:
            raise UserError(
                f"{name} is constant between its {policy.percentiles[0]:g}th and {policy.percentiles[1]:g}th "
                "percentiles and cannot be brought to 0–1; score it in physical units with a stated range"
            )
        pixels = ((pixels - low) / (high - low)).astype(np.float32)
    return np.clip(pixels, *policy.limits) if policy.clip else pixels


def own_region(pixels: npt.NDArray[Any], policy: Policy) -> npt.NDArray[np.bool_] | None:
    """Return the foreground of an image that has no truth beside it, where the policy works in the foreground."""
    region = np.asarray(pixels > policy.foreground_above)
    return region if policy.mask == "foreground" and region.any() else None


def slice_axis_of(image: Image, policy: Policy) -> int:
    """Return the array axis along which a volume is cut: the policy's, or by its affine the one of its `slices`."""
    if policy.slices is None:
        return 2 if policy.slice_axis is None else policy.slice_axis
    world = orientations.io_orientation(image.affine)[:, 0]
    return int(np.flatnonzero(world == _ACROSS[policy.slices])[0])


def _region(truth: Image, policy: Policy, mask: Image | npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    if policy.mask == "none":
        return None
    region: npt.NDArray[np.bool_]
    if policy.mask == "foreground":
        region = truth.pixels > policy.foreground_above
        region = np.asarray(region.any(-1) if truth.channels else region)
    elif mask is None:
        raise UserError(f"The mask {policy.mask!r} of {truth.name} is missing; add it or score without a mask")
    elif isinstance(mask, Image):
        require_same_grid(mask, truth)
        region = np.asarray((mask.pixels != 0).any(-1) if mask.channels else mask.pixels != 0)
    else:
        region = mask
    if region.shape != truth.shape:
        raise UserError(f"The mask of {truth.name} has shape {region.shape}, the image {truth.shape}; use its own mask")
    if not region.any():
        raise UserError(f"The mask '{policy.mask}' of {truth.name} is empty; choose another mask or leave the case out")
    return region


def _score_channel(
    predicted: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    region: npt.NDArray[np.bool_] | None,
    policy: Policy,
    name: str,
) -> dict[str, float]:
    predicted = on_common_scale(predicted, policy, region, f"the prediction for {name}")
    truth = on_common_scale(truth, policy, region, name)
    try:
        if truth.ndim == 2 or policy.dimension == 3:
            return _score_array(predicted, truth, region, policy)
        return _mean_over_slices(predicted, truth, region, policy)
    except ValueError as error:
        raise UserError(f"{error}: {name}; leave the case or the metric out") from error


def _mean_over_slices(
    predicted: npt.NDArray[Any], truth: npt.NDArray[Any], region: npt.NDArray[np.bool_] | None, policy: Policy
) -> dict[str, float]:
    assert policy.slice_axis is not None
    # One transposition each: cutting along the last axis, slice by slice, would walk through all of memory each time.
    made, true = (np.ascontiguousarray(np.moveaxis(volume, policy.slice_axis, 0)) for volume in (predicted, truth))
    inside = None if region is None else np.ascontiguousarray(np.moveaxis(region, policy.slice_axis, 0))
    each = []
    for index in range(len(true)):
        mask = None if inside is None else inside[index]
        # SSIM counts only pixels whose 11×11 window lies in the slice; a mask that ends before them has no SSIM.
        if mask is not None and not (mask[5:-5, 5:-5].any() if "ssim" in policy.metrics else mask.any()):
            continue
        each.append(_score_array(made[index], true[index], mask, policy))
    if not each:
        raise ValueError("no slice has a pixel of the mask away from its border")
    means = {}
    for metric in policy.metrics:
        values = np.array([scores[metric] for scores in each])
        finite = values[np.isfinite(values)]
        means[metric] = float(finite.mean()) if finite.size else float(values[0])
    return means


def _score_array(
    predicted: npt.NDArray[Any], truth: npt.NDArray[Any], region: npt.NDArray[np.bool_] | None, policy: Policy
) -> dict[str, float]:
    scores: dict[str, float] = {}
    if any(name in _POINTWISE for name in policy.metrics):  # one pass for all four
        errors = pointwise(predicted, truth, data_range=policy.data_range, mask=region, normalisation=policy.nrmse)
        scores = {name: getattr(errors, name) for name in _POINTWISE if name in policy.metrics}
    options = {"data_range": policy.data_range, "mask": region, "spatial_dims": truth.ndim}
    for name in policy.metrics:
        if name not in scores:
            metric = METRICS[name]
            scores[name] = float(metric.function(predicted, truth, **{key: options[key] for key in metric.options}))
    return {name: scores[name] for name in policy.metrics}

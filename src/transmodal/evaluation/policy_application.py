"""An image as a policy compares it: in which region, on which scale, cut along which axis."""

from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from transmodal.errors import UserError
from transmodal.evaluation.foreground import foreground_of
from transmodal.images import Image, require_same_grid
from transmodal.metrics.policy import Policy
from transmodal.reporting.display import luminance

# The world axis (of x to the right, y to the front, z to the head) across which slices follow one another.
_ACROSS = {"sagittal": 0, "coronal": 1, "axial": 2}
SET_SLICES = 24  # of a volume, evenly spaced, where pictures are wanted of it


def region_of(truth: Image, policy: Policy, mask: Image | npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """Return where a case is scored, of the truth's shape; None where the policy has no mask.

    Raises:
        UserError: the mask is missing, empty, or on another grid.
    """
    if policy.mask == "none":
        return None
    region: npt.NDArray[np.bool_]
    if policy.mask == "foreground" and (mask is None or not policy.looks_for_own_mask):
        region = foreground_of(truth.pixels, policy)
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
        name = policy.mask if mask is None or not policy.looks_for_own_mask else policy.own_mask
        raise UserError(f"The mask '{name}' of {truth.name} is empty; choose another mask or leave the case out")
    return region


def own_region(pixels: npt.NDArray[Any], policy: Policy) -> npt.NDArray[np.bool_] | None:
    """Return the foreground of an image that has no truth beside it, where the policy works in the foreground."""
    region = foreground_of(pixels, policy)
    return region if policy.mask == "foreground" and region.any() else None


def on_common_scale(
    pixels: npt.NDArray[Any],
    policy: Policy,
    region: npt.NDArray[np.bool_] | None,
    name: str,
    scale: tuple[float, float] | None = None,
) -> npt.NDArray[Any]:
    """Return an image's values as the policy compares them: mapped by percentiles, clipped, or as they are.

    Args:
        pixels: of the image.
        policy: complete.
        region: where percentiles are taken; None takes all pixels.
        name: of the image, for messages.
        scale: the (lower, upper) percentiles of the truth, for a prediction where the policy maps both by the truth's;
            None takes the image's own.

    Raises:
        UserError: its percentiles are equal, so that it has no scale of its own.
    """
    if policy.scale == "percentile":
        low, high = scale or own_scale(pixels, policy, region, name)
        pixels = ((pixels - low) / (high - low)).astype(np.float32)
    return np.clip(pixels, *policy.limits) if policy.clip else pixels


def own_scale(
    pixels: npt.NDArray[Any], policy: Policy, region: npt.NDArray[np.bool_] | None, name: str
) -> tuple[float, float]:
    """Return the values of an image at the policy's percentiles.

    Raises:
        UserError: they are equal.
    """
    low, high = np.percentile(pixels if region is None else pixels[region], policy.percentiles)
    if not high > low:
        raise UserError(
            f"{name} is constant between its {policy.percentiles[0]:g}th and {policy.percentiles[1]:g}th "
            "percentiles and cannot be brought to 0–1; score it in physical units with a stated range"
        )
    return float(low), float(high)


def scale_of_truth(
    truth: npt.NDArray[Any], policy: Policy, region: npt.NDArray[np.bool_] | None, name: str
) -> tuple[float, float] | None:
    """Return the truth's values at the policy's percentiles where they map predictions too; None where they do not.

    Raises:
        UserError: they are equal.
    """
    if policy.scale != "percentile" or policy.percentiles_of != "truth":
        return None
    return own_scale(truth, policy, region, name)


def slice_axis_of(image: Image, policy: Policy) -> int:
    """Return the array axis along which a volume is cut: the policy's, or by its affine the one of its `slices`."""
    if policy.slices is None:
        return 2 if policy.slice_axis is None else policy.slice_axis
    world = orientations.io_orientation(image.affine)[:, 0]
    return int(np.flatnonzero(world == _ACROSS[policy.slices])[0])


def pictures_of(image: Image, policy: Policy, truth: Image | None = None) -> list[npt.NDArray[np.float32]]:
    """Return an image as pictures of one value a pixel on the policy's scale: itself, or 24 slices of a volume.

    Args:
        image: predicted or true.
        policy: complete.
        truth: of a prediction, by whose percentiles the policy may map it; None takes the image's own.
    """
    grey = luminance(image.pixels) if image.channels else image.pixels
    scale = None
    if truth is not None and policy.percentiles_of == "truth":
        true = luminance(truth.pixels) if truth.channels else truth.pixels
        scale = scale_of_truth(true, policy, own_region(true, policy), truth.name)
    grey = on_common_scale(grey, policy, own_region(grey, policy), image.name, scale)
    if image.spatial_dims == 2:
        return [np.asarray(grey, np.float32)]
    slices = np.moveaxis(grey, slice_axis_of(image, policy), 0)
    step = max(1, len(slices) // SET_SLICES)
    return [np.asarray(part, np.float32) for part in slices[step // 2 :: step]]

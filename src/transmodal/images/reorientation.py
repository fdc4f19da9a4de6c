"""Images of one grid whose files keep it otherwise: axes in another order or direction, or only the slices with labels.

A DICOM series and its NIfTI labels differ in the first; DICOM segmentations of other programs often leave out the
slices, rows and columns in which nothing is segmented.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from transmodal.images.image import Image, require_same_grid

_OFF_LATTICE = 0.02  # of a voxel


def turned_onto(image: Image, like: Image) -> Image:
    """Return an image with its array axes in the order and direction of another's; no value is changed.

    Args:
        image: on the grid of `like` but for order and direction of its axes; of pictures, in the same order.
        like: only its grid is looked at.

    Raises:
        UserError: the grids differ in more than that.
    """
    if image.same_grid(like) or image.spatial_dims != 3 or like.spatial_dims != 3:
        require_same_grid(like, image)
        return image
    own, wanted = (orientations.io_orientation(each.affine) for each in (image, like))
    turn = orientations.ornt_transform(own, wanted)
    pixels = orientations.apply_orientation(image.pixels, turn)
    turned = replace(image, pixels=pixels, affine=image.affine @ orientations.inv_ornt_aff(turn, image.shape))
    require_same_grid(like, turned)
    return turned


def label_map_onto(labels: Image, like: Image) -> Image:
    """Return a label map on the grid of its image.

    Its axes are turned. A DICOM segmentation, in which nothing is what no frame shows, is laid into an empty map where
    its voxels are some of those of the image.

    Args:
        labels: the label map.
        like: only its grid is looked at.

    Raises:
        UserError: the grids differ in more than that.
    """
    if like.spatial_dims == 3 and not labels.same_grid(like) and _leaves_out_what_is_empty(labels):
        placed = _placed(labels, like)
        if placed is not None:
            return placed
    return turned_onto(labels, like)


def _leaves_out_what_is_empty(image: Image) -> bool:
    from transmodal.images.dicom_segmentation import is_segmentation

    dataset: Any = getattr(image.source.header, "dataset", None)
    return dataset is not None and is_segmentation(dataset)


def _slice_distance(labels: Image) -> float:
    """Return the distance in mm that a segmentation states of its slices; 0 where it says nothing."""
    dataset: Any = labels.source.header.dataset
    for group in dataset.get("SharedFunctionalGroupsSequence") or []:
        for measures in group.get("PixelMeasuresSequence") or []:
            return float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0)
    return 0.0


def _placed(labels: Image, like: Image) -> Image | None:
    """Return labels in an empty map on another grid; None where they do not lie on its voxels."""
    pixels = labels.pixels if labels.spatial_dims == 3 else labels.pixels[..., None]
    # Columns: where a step along each axis of the labels leads on the grid; last, where their first voxel lies.
    exact = np.linalg.solve(like.affine, labels.affine)[:3]
    lengths = np.array(pixels.shape)
    single = lengths == 1  # a step along it leads nowhere
    exact[:, :3][:, single] = 0
    steps = np.rint(exact).astype(np.int64)
    if (np.abs(exact - steps) @ np.append(np.maximum(lengths - 1, 1), 1) > _OFF_LATTICE).any():
        return None
    axes = np.abs(steps[:, :3]).argmax(0)
    free = [axis for axis in range(3) if axis not in axes[~single]]
    axes[single] = free[: int(single.sum())]
    if sorted(axes) != [0, 1, 2] or np.count_nonzero(steps[:, :3]) != np.count_nonzero(~single):
        return None
    strides = np.abs(steps[axes, range(3)])
    if (strides[:2] > 1).any() or (strides[2] > 1 and _slice_distance(labels) > 1.5 * like.spacing[axes[2]]):
        return None  # slices that were segmented at that distance are thick, others were left out
    places: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)] * 3
    for own, axis in enumerate(axes):
        places[axis] = steps[axis, 3] + steps[axis, own] * np.arange(lengths[own])
        if places[axis].min() < 0 or places[axis].max() >= like.shape[axis]:
            return None
    whole = np.zeros(like.shape, pixels.dtype)
    whole[np.ix_(*places)] = np.transpose(pixels, np.argsort(axes))
    return replace(labels, pixels=whole, affine=like.affine)

"""Putting a moving image on the grid of a fixed one, through a transform in mm."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.images.image import Image, Source
from transmodal.images.padding import AIR_HU
from transmodal.images.transform import Transform

_OF_THE_VALUES = ("descrip", "intent_code", "intent_name")  # of a NIfTI header
_LEAST_BLUR = 0.1  # pixels; less would only cost sharpness where the two grids are nearly as fine


def index_to_world(image: Image) -> npt.NDArray[np.float64]:
    """Return the (d + 1, d + 1) matrix from array index to mm, as fiducials and transforms count them.

    A picture's plane is its world's x and y. A 2-D slice that is tilted in space is aligned in its own plane: x along
    the columns, y along the rows, from the first pixel.
    """
    if image.spatial_dims == 3:
        return image.affine
    if np.abs(image.affine[2, :2]).max() < 1e-9:
        return image.affine[np.ix_([0, 1, 3], [0, 1, 3])]
    rows, columns = image.spacing
    return np.array([[0, columns, 0], [rows, 0, 0], [0, 0, 1.0]])


def resample(
    image: Image,
    grid: Image,
    transform: Transform | None = None,
    *,
    order: int | None = None,
    fill: float | None = None,
    antialias: bool = True,
) -> Image:
    """Resample a moving image on the grid of a fixed image.

    Args:
        image: the moving image, with or without channels.
        grid: only its shape and affine are used.
        transform: moving points to fixed points, mm; None when the two worlds are the same.
        order: 0 nearest, 1 linear, 3 cubic spline; None for 0 with labels and 1 with everything else.
        fill: the value where the grid leaves the image; None for air (−1000) in HU and 0 else. See `coverage`.
        antialias: where the grid is coarser than the image, first blur away what it cannot hold (never with order 0):
            else a photograph of fine pixels would bring its noise and hair onto a detector's grid as speckle.

    Returns:
        An image of the same dtype, integers rounded and clipped to their range. How it was made, and what its header
        says of it, are the moving image's.

    Raises:
        UserError: numbers of axes differ, or one image has a physical size and the other none.
    """
    matrix = grid_to_image(image, grid, transform)
    order = (0 if image.quantity == "label" else 1) if order is None else order
    if order not in (0, 1, 3):
        raise ValueError(f"order is 0, 1 or 3, not {order}")
    value = (AIR_HU if image.quantity == "HU" else 0.0) if fill is None else float(fill)
    dtype = image.pixels.dtype
    stack = image.pixels if image.channels else image.pixels[..., None]
    result = np.empty((*grid.shape, stack.shape[-1]), dtype)
    working = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    for channel in range(stack.shape[-1]):
        values = stack[..., channel].astype(working)
        if antialias and order > 0:
            values = _without_finer_detail(values, matrix, grid.shape)
        coefficients = ndimage.spline_filter(values, order, mode="nearest") if order > 1 else values
        for row in range(grid.shape[0]):
            index, inside = _moving_index(matrix, grid.shape, image.shape, row)
            sampled = ndimage.map_coordinates(coefficients, index, order=order, mode="nearest", prefilter=False)
            result[row, ..., channel] = _cast(np.where(inside, sampled, value), dtype)
    pixels = result if image.channels else result[..., 0]
    header = _header(image, grid)
    kind = grid.source.format if header is not None else "memory"
    source = Source(image.source.path, kind, header, image.source.derivation)
    return Image(pixels, grid.affine, image.channels, image.quantity, grid.has_physical_size, source)


def _header(image: Image, grid: Image) -> Any:
    """Return the NIfTI header of the grid with what the image's own says of its values; None without one."""
    if grid.source.format != "nifti" or grid.source.header is None:
        return None
    header, own = grid.source.header.copy(), image.source.header
    fields, known = _fields(header), _fields(own) if image.source.format == "nifti" else ()
    for name in _OF_THE_VALUES:
        if name in fields:
            header[name] = own[name] if name in known else np.zeros_like(header[name])
    return header


def _fields(header: Any) -> tuple[str, ...]:
    """Return the names of a NIfTI header's fields; none of the headers of other formats that nibabel reads."""
    return tuple(header.keys()) if hasattr(header, "keys") else ()


def _without_finer_detail(
    values: npt.NDArray[Any], matrix: npt.NDArray[np.float64], grid_shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Blur along each axis by (step − 1) / 2 pixels, step being the image's pixels from one grid point to the next."""
    dims = len(grid_shape)
    middle = np.append((np.array(grid_shape) - 1) / 2, 1.0)
    ends = (matrix @ (middle + half * np.eye(dims, dims + 1)).T for half in (0.5, -0.5))
    after, before = (end[:dims] / end[dims] for end in ends)  # a homography's step is that in the middle
    sigmas = (np.linalg.norm(after - before, axis=1) - 1) / 2
    if sigmas.max() < _LEAST_BLUR:
        return values
    return np.asarray(ndimage.gaussian_filter(values, np.where(sigmas < _LEAST_BLUR, 0, sigmas), mode="nearest"))


def target_grid(image: Image, spacing: float | None = None) -> Image:
    """Return the grid of a volume, or an isotropic one of its orientation that fills the same box.

    Args:
        image: the volume.
        spacing: mm; None for the volume's own voxels.

    Returns:
        An image without values (all zero, no memory) that carries shape, affine and header.
    """
    shape, affine = np.array(image.shape), image.affine.copy()
    if spacing is not None:
        own = np.array(image.spacing)
        # A box that is a hair longer than whole voxels gets no extra, almost empty voxel.
        shape = np.maximum(1, np.ceil(shape * own / spacing - 0.01)).astype(int)
        affine[:3, :3] *= spacing / own
        # The middle of the box stays: half of what the voxels reach beyond it lies on either side.
        affine[:3, 3] += image.affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) - affine[:3, :3] @ ((shape - 1) / 2)
    return Image(np.broadcast_to(np.float32(0), tuple(shape)), affine, source=image.source)


def coverage(image: Image, grid: Image, transform: Transform | None = None) -> npt.NDArray[np.bool_]:
    """Return which points of the grid lie inside the moving image, shape of the grid; the rest is filled."""
    matrix = grid_to_image(image, grid, transform)
    return np.stack([_moving_index(matrix, grid.shape, image.shape, row)[1] for row in range(grid.shape[0])])


def grid_to_image(image: Image, grid: Image, transform: Transform | None) -> npt.NDArray[np.float64]:
    """Return the (d + 1, d + 1) matrix from the grid's index to the image's index.

    Raises:
        UserError: the numbers of axes differ, or one image has a physical size and the other none.
    """
    if image.spatial_dims != grid.spatial_dims:
        raise UserError(
            f"{image.name} has {image.spatial_dims} axes and {grid.name} has {grid.spatial_dims}; "
            "align pictures with pictures and volumes with volumes"
        )
    if image.has_physical_size != grid.has_physical_size:
        unknown = grid if image.has_physical_size else image
        raise UserError(f"{unknown.name} says no pixel size, so mm cannot be compared; give its spacing")
    if transform is not None and transform.dims != image.spatial_dims:
        raise UserError(
            f"the transform has {transform.dims} axes but {image.name} has {image.spatial_dims}; use its own"
        )
    back = np.eye(image.spatial_dims + 1) if transform is None else np.linalg.inv(transform.matrix)
    return np.linalg.inv(index_to_world(image)) @ back @ index_to_world(grid)


def _moving_index(
    matrix: npt.NDArray[np.float64], grid_shape: tuple[int, ...], shape: tuple[int, ...], row: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return where one row (slab) of the grid lies in the image, (d, …), and which points are inside.

    A pixel reaches half its size beyond its centre, so points up to there are inside and take the edge's value.
    """
    axes = np.meshgrid(*(np.arange(length, dtype=np.float64) for length in grid_shape[1:]), indexing="ij")
    along = [np.full_like(axes[0], row), *axes]
    index = [sum(factor * axis for factor, axis in zip(line, along, strict=False)) + line[-1] for line in matrix]
    weight = np.asarray(index[-1])
    # Behind a homography's horizon (weight 0 or less) no point is inside.
    positive = weight > 1e-12
    where = np.stack(index[:-1]) / np.where(positive, weight, 1.0)
    limits = np.array(shape, dtype=np.float64).reshape(-1, *[1] * (where.ndim - 1)) - 0.5
    inside = ((where >= -0.5 - 1e-9) & (where <= limits + 1e-9)).all(axis=0) & positive
    return where, inside


def _cast(values: npt.NDArray[Any], dtype: np.dtype) -> npt.NDArray[Any]:
    """Round and clip to an integer dtype; pass floats on."""
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # 64-bit limits are not exact as floats: the largest float below them is.
    highest = np.nextafter(float(limits.max) + 1, 0) if dtype.itemsize == 8 else limits.max
    return np.clip(np.rint(np.nan_to_num(values)), limits.min, highest).astype(dtype)

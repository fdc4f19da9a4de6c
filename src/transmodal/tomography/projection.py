"""Forward projection by Joseph's method and its exact adjoint, on the CPU.

`rays.py` says where the rays cross the grid and names the paper. Outside the grid the image is 0, thus a ray that
passes the border by less than a pixel still sees some of it. Both directions ask the same function for crossings and
weights, so that the adjoint has, bit for bit, the weights of the projection.

The work is laid out for the caches: a line of the image and a view of the sinogram are read along their length, and
where the columns lead the image is transposed once. The projection is cut by views and the adjoint by lines of the
image, so that no two threads write the same number.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from transmodal.errors import UserError
from transmodal.tomography import cone_projection
from transmodal.tomography.crossings import OPTIONS, locate, move_window
from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam, check_projections
from transmodal.tomography.rays import check_fit, plane_rays
from transmodal.tomography.threads import share, threads

Array = npt.NDArray[np.float32]

_LINES = 16  # of the image, that with their slices stay in the second cache while the views pass
_SLICES = 4  # projected together: they share their crossings


def project(image: npt.NDArray[Any], grid: Grid, beam: Beam) -> Array:
    """Integrate attenuation along the rays of a scan.

    Args:
        image: 1/mm; (rows, columns) or a stack (n, rows, columns), for a cone beam (slices, rows, columns).
        grid: where its pixels are.
        beam: the scanner.

    Returns:
        Line integrals, dimensionless: (views, bins) or (n, views, bins), for a cone beam (views, rows, bins).

    Raises:
        UserError: the shape is not the grid's, values are not finite, or the grid and the beam do not go together.
    """
    check_fit(grid, beam)
    checked = check_image(image, grid, beam)
    return project_unchecked(checked, grid, beam)


def backproject(sinogram: npt.NDArray[Any], grid: Grid, beam: Beam) -> Array:
    """Apply the adjoint of `project`: spread every line integral over the pixels that it came from.

    This is no reconstruction; see `filtered_back_projection`.

    Args:
        sinogram: (views, bins) or a stack (n, views, bins), for a cone beam (views, rows, bins).
        grid: of the image to make.
        beam: the scanner.

    Returns:
        Sums over rays of their value times mm in the pixel; (rows, columns) or (n, rows, columns), for a cone beam
        (slices, rows, columns).

    Raises:
        UserError: the shape is not the geometry's, values are not finite, or the grid and the beam do not go together.
    """
    check_fit(grid, beam)
    checked = check_sinogram(sinogram, beam)
    return backproject_unchecked(checked, grid, beam)


def check_image(image: npt.NDArray[Any], grid: Grid, beam: Beam, name: str = "the image") -> Array:
    """Return an image as contiguous float32.

    Raises:
        UserError: its last axes are not the grid's, it has more than one axis before them (for a cone beam: any), or
            some values are not finite.
    """
    array = np.asarray(image)
    if array.shape[-len(grid.shape) :] != grid.shape:
        axes = "(slices, rows, columns)" if len(grid.shape) == 3 else "(rows, columns)"
        raise UserError(f"{name} has shape {array.shape}, the grid {grid.shape} {axes}")
    return _checked(array, len(grid.shape), beam, name)


def check_sinogram(sinogram: npt.NDArray[Any], beam: Beam, name: str = "the sinogram") -> Array:
    """Return projections as contiguous float32.

    Raises:
        UserError: their last axes are not the geometry's, there is more than one axis before them (for a cone beam:
            any), or some values are not finite.
    """
    array = np.asarray(sinogram)
    check_projections(array, beam, name)
    return _checked(array, len(beam.shape), beam, name)


def _checked(array: npt.NDArray[Any], axes: int, beam: Beam, name: str) -> Array:
    most = axes if isinstance(beam, ConeBeam) else axes + 1
    if array.ndim > most:
        raise UserError(f"{name} has shape {array.shape}: at most {most} axes are wanted for a {beam.kind} beam")
    if array.dtype.kind not in "fiub":
        raise UserError(f"{name} holds {array.dtype} values; real numbers are wanted")
    contiguous = np.ascontiguousarray(array, dtype=np.float32)
    # A sum is finite only if all are, and takes no memory; float64 holds that of any float32 image.
    if not np.isfinite(contiguous.sum(dtype=np.float64)):
        count = int(contiguous.size - np.count_nonzero(np.isfinite(contiguous)))
        raise UserError(f"{name} holds {count} values that are not finite; replace them first")
    return contiguous


def project_unchecked(image: Array, grid: Grid, beam: Beam) -> Array:
    """Do what `project` does with contiguous float32 of the right shape, whatever its values."""
    if isinstance(beam, ConeBeam):
        return cone_projection.project(image, grid, beam)
    stack = image.reshape(-1, *grid.shape)
    sinograms = np.zeros((len(stack), *beam.shape), dtype=np.float32)
    for first in range(0, len(stack), _SLICES):
        _project_some(stack[first : first + _SLICES], grid, beam, sinograms[first : first + _SLICES])
    return sinograms.reshape(*image.shape[:-2], *beam.shape)


def backproject_unchecked(sinogram: Array, grid: Grid, beam: Beam) -> Array:
    """Do what `backproject` does with contiguous float32 of the right shape, whatever its values."""
    if isinstance(beam, ConeBeam):
        return cone_projection.backproject(sinogram, grid, beam)
    stack = sinogram.reshape(-1, *beam.shape)
    images = np.zeros((len(stack), *grid.shape), dtype=np.float32)
    for first in range(0, len(stack), _SLICES):
        _backproject_some(stack[first : first + _SLICES], grid, beam, images[first : first + _SLICES])
    return images.reshape(*sinogram.shape[:-2], *grid.shape)


def _project_some(images: Array, grid: Grid, beam: ParallelBeam | FanBeam, sinograms: Array) -> None:
    """Project a few slices into sinograms of zeros."""
    rays = plane_rays(grid, beam)
    for axis, segments in enumerate(rays.segments):
        if len(segments):
            lines = _bordered(images if axis == 0 else images.swapaxes(1, 2))

            def work(first: int, after: int, segments: Any = segments, lines: Array = lines) -> None:
                _cross_lines(lines, 0, segments[first:after], rays.intercept, rays.slope, sinograms, False)

            # A few pieces a thread: one that finishes early takes another.
            share(work, len(segments), max(1, len(segments) // (8 * threads())), len(segments) * images.size)
    sinograms *= rays.length


def _backproject_some(sinograms: Array, grid: Grid, beam: ParallelBeam | FanBeam, images: Array) -> None:
    """Backproject a few sinograms into images of zeros."""
    rays = plane_rays(grid, beam)
    weighted = sinograms * rays.length
    for axis, segments in enumerate(rays.segments):
        if len(segments):
            target = images if axis == 0 else images.swapaxes(1, 2)

            def work(first: int, after: int, segments: Any = segments, target: Array = target) -> None:
                made = np.zeros((len(target), after - first, target.shape[2] + 3), dtype=np.float32)
                _cross_lines(made, first, segments, rays.intercept, rays.slope, weighted, True)
                target[:, first:after] += made[:, :, 1:-2]

            share(work, target.shape[1], _LINES, len(segments) * images.size)


def _bordered(images: Array) -> Array:
    """Return a contiguous copy with the zeros around it that interpolation reads: one before, two behind each line."""
    copy = np.zeros((*images.shape[:-1], images.shape[-1] + 3), dtype=np.float32)
    copy[..., 1:-2] = images
    return copy


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _cross_lines(
    lines: Any, begin: int, segments: Any, intercept: Any, slope: Any, sinograms: Any, adjoint: bool
) -> None:
    """Add bordered lines (n, lines, width + 3), the first being number `begin`, to views, or views to them."""
    width = lines.shape[2] - 3
    pixels = np.empty(intercept.shape[1] + 1, np.int32)
    fractions = np.empty(intercept.shape[1] + 1, np.float32)
    low, high = 0, 0
    for block in range(0, lines.shape[1], _LINES):
        for segment in range(segments.shape[0]):
            view, start, stop = segments[segment]
            crossings, slopes = intercept[view], slope[view]
            for line in range(block, min(block + _LINES, lines.shape[1])):
                low, high = move_window(crossings, slopes, begin + line, start, stop, width, low, high)
                if low == high:
                    continue
                locate(crossings, slopes, float(begin + line), low, high, width, pixels, fractions)
                for image in range(lines.shape[0]):
                    if adjoint:
                        _scatter(sinograms[image, view], pixels, fractions, low, lines[image, line])
                    else:
                        _gather(lines[image, line], pixels, fractions, low, sinograms[image, view])


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _gather(line: Any, pixels: Any, fractions: Any, low: int, sums: Any) -> None:
    # A loop that ends by what it reads is not turned into vector gathers, which are slower here than plain loads.
    bin_ = np.uint64(low)
    while True:
        if pixels[bin_] < 0:
            return
        pixel = np.uint32(pixels[bin_])
        value = line[pixel]
        sums[bin_] += value + fractions[bin_] * (line[pixel + np.uint32(1)] - value)
        bin_ += np.uint64(1)


@njit(cache=True, nogil=True, fastmath=OPTIONS, error_model="numpy")
def _scatter(values: Any, pixels: Any, fractions: Any, low: int, line: Any) -> None:
    bin_ = np.uint64(low)
    while True:
        if pixels[bin_] < 0:
            return
        pixel = np.uint32(pixels[bin_])
        second = fractions[bin_] * values[bin_]
        line[pixel] += values[bin_] - second
        line[pixel + np.uint32(1)] += second
        bin_ += np.uint64(1)

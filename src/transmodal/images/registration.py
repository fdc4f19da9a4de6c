"""Bringing the images of a pair on one grid: by mutual information, by a given transform, and how well it went.

Sources: Mattes et al., IEEE TMI 22 (2003) 120 (mutual information, through SimpleITK); Studholme, Hill and Hawkes,
Pattern Recognition 32 (1999) 71 (normalised mutual information).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.images.image import Image
from transmodal.images.itk import SimpleITK
from transmodal.images.resampling import coverage, grid_to_image, index_to_world, resample
from transmodal.images.transform import (
    FITS,
    KINDS,
    Transform,
    affine_from_fiducials,
    fiducials_needed,
    homography_from_fiducials,
    leave_one_out_error,
    rigid_from_fiducials,
    similarity_from_fiducials,
    target_registration_error,
)

__all__ = [
    "FITS",
    "KINDS",
    "Transform",
    "affine_from_fiducials",
    "coverage",
    "fiducials_needed",
    "homography_from_fiducials",
    "index_to_world",
    "leave_one_out_error",
    "normalised_mutual_information",
    "register_mutual_information",
    "resample",
    "rigid_from_fiducials",
    "similarity_from_fiducials",
    "target_registration_error",
]

_SAMPLES = 20_000  # a level; enough for 64 × 64 bins, and steady in time whatever the image's size
# Few bins lead the way from afar; fine bins put the peak of the measure nearer to the truth (a synthetic affine pair:
# 0.2 mm off with 32 bins, 0.05 with 64) but lose their way on the few points of a coarse level.
_COARSE_BINS, _FINE_BINS = 32, 64
# Kind and whether it refines at full resolution only; each stage begins where the best so far ended.
_STAGES: dict[str, tuple[tuple[str, bool], ...]] = {
    "rigid": (("rigid", False), ("rigid", True)),
    "similarity": (("rigid", False), ("similarity", False), ("similarity", True)),
    "affine": (("rigid", False), ("similarity", False), ("affine", False), ("affine", True)),
}
_MOST_REPEATS = 6  # of the last stage, with other points, while they find better places
_IN_VAIN = 2  # repeats one after the other that find none end the search
_LEAST_GAIN = 1e-3  # of normalised mutual information; smaller gains are below what the eye or 0.1 mm tell
_COMPARED = 500_000  # points of the fixed grid on which two alignments are compared
_SMALLEST_LEVEL = 24  # pixels along the shorter side below which shrinking leaves nothing to align


def normalised_mutual_information(
    first: npt.ArrayLike, second: npt.ArrayLike, *, bins: int = 64, mask: npt.ArrayLike | None = None
) -> float:
    """Return (H(A) + H(B)) / H(A, B), from 1 (independent) to 2 (one says all about the other).

    Args:
        first: values of one image.
        second: values of the other at the same points.
        bins: equal steps between the least and the greatest value of each image.
        mask: True where points count; points with NaN or infinity never do.

    Returns:
        The measure; 1 when no point counts or both images are constant.
    """
    one, other = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if one.shape != other.shape:
        raise ValueError(f"the images have {one.size} and {other.size} values")
    counts_here = np.isfinite(one) & np.isfinite(other)
    if mask is not None:
        counts_here &= np.asarray(mask, dtype=bool).ravel()
    if not counts_here.any():
        return 1.0
    joint = np.histogram2d(one[counts_here], other[counts_here], bins)[0]
    entropies = [_entropy(counts) for counts in (joint.sum(axis=1), joint.sum(axis=0), joint.ravel())]
    return float((entropies[0] + entropies[1]) / entropies[2]) if entropies[2] > 0 else 1.0


def register_mutual_information(
    moving: Image,
    fixed: Image,
    *,
    kind: str = "affine",
    initial: Transform | None = None,
    seed: int = 0,
) -> tuple[Transform, float, float]:
    """Align a moving image with a fixed one of another modality.

    Coarse to fine and from stiff to free, maximising Mattes' mutual information at random points. One thread and a
    fixed seed, so that a repetition gives the same numbers. Colours are averaged.

    Args:
        moving: the image to be moved.
        fixed: the image that stays.
        kind: "rigid", "similarity" or "affine".
        initial: where to begin; None for the best of no motion, centre on centre, and mass centre on mass centre.
        seed: of the sampling.

    Returns:
        The transform from moving to fixed points in mm, and the normalised mutual information of the two images on the
        fixed grid before (under `initial`, or no motion) and after. A result that is worse than the beginning is not
        returned: then the beginning is, and both numbers are equal.

    Raises:
        UserError: the images do not overlap, are constant, or differ in their number of axes.
    """
    if kind not in ("rigid", "similarity", "affine"):
        raise ValueError(f"kind is rigid, similarity or affine, not {kind!r}")
    begin = initial or Transform.identity(fixed.spatial_dims)
    grid_to_image(moving, fixed, begin)
    moving_values, fixed_values = _one_value(moving), _one_value(fixed)
    for image, values in ((moving, moving_values), (fixed, fixed_values)):
        finite = values[np.isfinite(values)]
        if finite.size == 0 or finite.min() == finite.max():
            raise UserError(f"{image.name} has the same value everywhere and cannot be aligned; look at it")
    moving_itk, fixed_itk = _to_itk(moving, moving_values), _to_itk(fixed, fixed_values)
    fill = float(np.nanmin(moving_values))
    before = _agreement(moving, moving_values, fixed, fixed_values, begin, fill)
    started = begin if initial is not None else _best_start(moving, moving_values, fixed, fixed_values, fill)
    best, best_score = started, _agreement(moving, moving_values, fixed, fixed_values, started, fill)
    reason = ""
    stages = [(*stage, seed) for stage in _STAGES[kind]]
    # Random points make the last climb a matter of luck, above all in small volumes: others may climb higher.
    stages += [(*stages[-1][:2], seed + repeat) for repeat in range(1, _MOST_REPEATS + 1)]
    in_vain = 0
    for number, (stage, refine, stage_seed) in enumerate(stages):
        if number < len(_STAGES[kind]):
            in_vain = 0
        elif in_vain == _IN_VAIN:
            break
        in_vain += 1
        try:
            found = _optimise(moving_itk, fixed_itk, stage, best, stage_seed, refine)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            continue
        # The optimiser may run away from a flat start; only what the whole images confirm is kept.
        score = _agreement(moving, moving_values, fixed, fixed_values, found, fill)
        if score > best_score + _LEAST_GAIN:
            in_vain = 0
        if score > best_score:
            best, best_score = found, score
    if reason and best is started:
        raise UserError(
            f"{moving.name} and {fixed.name} cannot be aligned by mutual information ({reason}); "
            "mark fiducials in both instead"
        )
    return (best, before, best_score) if best_score > before else (begin, before, before)


def _entropy(counts: npt.NDArray[np.float64]) -> float:
    probability = counts[counts > 0] / counts.sum()
    return float(-(probability * np.log(probability)).sum())


def _one_value(image: Image) -> npt.NDArray[np.float32]:
    """Return one float32 value a pixel: the mean of the channels, without alpha."""
    values = image.pixels.astype(np.float32)
    if not image.channels:
        return values
    kept = [index for index, name in enumerate(image.channels) if name != "alpha"] or [0]
    return np.asarray(values[..., kept].mean(axis=-1, dtype=np.float32))


def _to_itk(image: Image, values: npt.NDArray[np.float32]) -> Any:
    """Return a SimpleITK image whose physical space is our world (mm, no LPS)."""
    world = index_to_world(image)
    finite = np.nan_to_num(values, nan=float(np.nanmin(values)), posinf=float(values[np.isfinite(values)].max()))
    dims = image.spatial_dims
    order = [1, 0] if dims == 2 else [0, 1, 2]  # ITK's first axis is the array's last
    made = SimpleITK.GetImageFromArray(np.ascontiguousarray(finite if dims == 2 else finite.transpose(2, 1, 0)))
    columns = world[:dims, order]
    spacing = np.linalg.norm(columns, axis=0)
    made.SetSpacing(spacing.tolist())
    made.SetDirection((columns / spacing).ravel().tolist())
    made.SetOrigin(world[:dims, dims].tolist())
    return made


def _agreement(
    moving: Image,
    moving_values: npt.NDArray[np.float32],
    fixed: Image,
    fixed_values: npt.NDArray[np.float32],
    transform: Transform,
    fill: float,
) -> float:
    """Return the normalised mutual information on the whole fixed grid; what lies outside counts as background.

    The whole grid, because a measure over the overlap alone can be raised by moving the images apart.
    """
    one_value = Image(moving_values, moving.affine, has_physical_size=moving.has_physical_size)
    # A regular part of the grid says as much as all of a large volume.
    step = max(1, round((fixed_values.size / _COMPARED) ** (1 / fixed.spatial_dims)))
    part = fixed_values[(slice(None, None, step),) * fixed.spatial_dims]
    affine = fixed.affine.copy()
    affine[:3, : fixed.spatial_dims] *= step
    grid = Image(part, affine, has_physical_size=fixed.has_physical_size)
    if coverage(one_value, grid, transform).mean() < 0.01:
        return 1.0
    return normalised_mutual_information(resample(one_value, grid, transform, fill=fill, antialias=False).pixels, part)


def _best_start(
    moving: Image,
    moving_values: npt.NDArray[np.float32],
    fixed: Image,
    fixed_values: npt.NDArray[np.float32],
    fill: float,
) -> Transform:
    """Return the best of no motion, centre on centre and mass centre on mass centre."""
    dims = fixed.spatial_dims
    starts = [Transform.identity(dims)]
    for weights in ((None, None), (moving_values, fixed_values)):
        centres = [_centre(image, values) for image, values in zip((moving, fixed), weights, strict=True)]
        matrix = np.eye(dims + 1)
        matrix[:dims, dims] = centres[1] - centres[0]
        starts.append(Transform("rigid", matrix))
    scores = [_agreement(moving, moving_values, fixed, fixed_values, start, fill) for start in starts]
    return starts[int(np.argmax(scores))]


def _centre(image: Image, weights: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
    """Return the middle of the image, or its centre of mass above the least value, in mm."""
    if weights is None:
        index = (np.array(image.shape) - 1) / 2
    else:
        mass = np.nan_to_num(weights.astype(np.float64), posinf=0.0, neginf=0.0)
        index = np.array(ndimage.center_of_mass(mass - mass.min()))
    return np.asarray((index_to_world(image) @ [*index, 1.0])[:-1])


def _optimise(moving: Any, fixed: Any, kind: str, start: Transform, seed: int, refine: bool) -> Transform:
    """Maximise Mattes' mutual information from coarse to fine; SimpleITK maps fixed points to moving points."""
    dims = start.dims
    parameters = _itk_transform(kind, dims, start, fixed)
    # Sums over several threads differ in the last bit from run to run, and the path of the optimiser with them.
    threads = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_FINE_BINS if refine else _COARSE_BINS)
    shortest = min(fixed.GetSize())
    shrinks = [factor for factor in (8, 4, 2, 1) if shortest // factor >= _SMALLEST_LEVEL] or [1]
    shrinks = shrinks[-1:] if refine else shrinks
    pixels = int(np.prod(fixed.GetSize()))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(
        [min(1.0, _SAMPLES / max(1.0, pixels / factor**dims)) for factor in shrinks], seed + 1
    )
    method.SetShrinkFactorsPerLevel(shrinks)
    method.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0.0 for factor in shrinks])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    # Differences of neighbours instead of a recursive Gaussian over every whole image.
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
    method.SetInterpolator(SimpleITK.sitkLinear)
    spacing = min(fixed.GetSpacing())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=(1 if refine else 4) * spacing,
        minStep=0.002 * spacing,
        numberOfIterations=200,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
        estimateLearningRate=method.Never,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(parameters, inPlace=True)
    try:
        method.Execute(fixed, moving)
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    linear = np.array(parameters.GetMatrix()).reshape(dims, dims)
    centre = np.array(parameters.GetCenter())
    matrix = np.eye(dims + 1)
    matrix[:dims, :dims] = linear
    matrix[:dims, dims] = np.array(parameters.GetTranslation()) + centre - linear @ centre
    return Transform(kind, np.asarray(np.linalg.inv(matrix), dtype=np.float64))


def _itk_transform(kind: str, dims: int, start: Transform, fixed: Any) -> Any:
    """Return SimpleITK's transform of a kind at the start, turning about the middle of the fixed image."""
    made = {
        ("rigid", 2): SimpleITK.Euler2DTransform,
        ("rigid", 3): SimpleITK.VersorRigid3DTransform,
        ("similarity", 2): SimpleITK.Similarity2DTransform,
        ("similarity", 3): SimpleITK.Similarity3DTransform,
        ("affine", 2): lambda: SimpleITK.AffineTransform(2),
        ("affine", 3): lambda: SimpleITK.AffineTransform(3),
    }[kind, dims]()
    matrix = np.linalg.inv(start.matrix)
    matrix = matrix / matrix[-1, -1]
    linear = matrix[:dims, :dims]
    if kind != "affine":
        left, singular, right = np.linalg.svd(linear)
        nearest = left @ right
        linear = nearest * (float(singular.mean()) if kind == "similarity" else 1.0)
    centre = np.array(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    made.SetCenter(centre.tolist())
    made.SetMatrix(linear.ravel().tolist())
    moved = matrix[:dims, :dims] @ centre + matrix[:dims, dims]
    made.SetTranslation((moved - centre).tolist())
    return made

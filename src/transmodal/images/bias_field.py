"""The slow shading that the coils of an MRI scanner lay over an image, estimated and divided out.

Source: N4ITK, Tustison et al., IEEE Transactions on Medical Imaging 29 (2010) 1310, through SimpleITK.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.image import Image
from transmodal.images.itk import SimpleITK

_ESTIMATED_AT_MM = 4.0  # the field varies over centimetres; estimating it at 4 mm changes it little and is 50× faster
_SHORTEST_AXIS = 8  # points that shrinking leaves along an axis
_ITERATIONS = (50, 50, 40, 30)  # at each level of ever finer splines
_LEAST_VOXELS = 64


def correct_bias_field(
    image: Image, region: npt.NDArray[np.bool_], *, iterations: tuple[int, ...] = _ITERATIONS
) -> tuple[Image, npt.NDArray[np.float32]]:
    """Divide an MRI volume by its bias field, estimated inside a region by N4.

    One thread, so that a repetition gives the same numbers.

    Args:
        image: a volume of one value a voxel, with a physical size.
        region: where the brain or head is, shape of the image; values of 0 or less inside are left out, because N4
            works on logarithms.
        iterations: the most at each level; each level doubles the control points of the spline (4 at first).

    Returns:
        The corrected volume, float32 in the unit of `image` (the field's mean inside the region is 1), and the field.

    Raises:
        UserError: it is no single volume, or the region holds too few positive values.
    """
    if image.spatial_dims != 3 or image.channels:
        raise UserError(f"{image.name} is no single volume, so it has no bias field to correct; name a 3-D file")
    values = np.nan_to_num(image.pixels.astype(np.float32), posinf=0.0, neginf=0.0)
    inside = region & (values > 0)
    if np.count_nonzero(inside) < _LEAST_VOXELS:
        raise UserError(
            f"{image.name} has {np.count_nonzero(inside)} positive voxels in its region, too few for a bias field; "
            "leave out --bias-correction or give a mask"
        )
    whole = _to_itk(values, image.spacing)
    shrink = [
        int(max(1, min(_ESTIMATED_AT_MM // size, length // _SHORTEST_AXIS)))
        for size, length in zip(image.spacing, image.shape, strict=True)
    ]
    small, mask = (
        SimpleITK.Shrink(whole, shrink),
        SimpleITK.Shrink(_to_itk(inside.astype(np.uint8), image.spacing), shrink),
    )
    method = SimpleITK.N4BiasFieldCorrectionImageFilter()
    method.SetNumberOfThreads(1)
    method.SetMaximumNumberOfIterations(list(iterations))
    try:
        method.Execute(small, mask)
        logarithm = method.GetLogBiasFieldAsImage(whole)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"The bias field of {image.name} cannot be estimated ({reason}); leave it uncorrected"
        ) from error
    field = np.exp(SimpleITK.GetArrayViewFromImage(logarithm)).transpose(2, 1, 0).astype(np.float32)
    field /= field[inside].mean(dtype=np.float64)
    return image.with_pixels(values / field), field


def _to_itk(values: npt.NDArray[Any], spacing: tuple[float, ...]) -> Any:
    """Return a SimpleITK image in the file's own axes: the field does not care where the patient lay."""
    made = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    made.SetSpacing([float(size) for size in spacing])
    return made

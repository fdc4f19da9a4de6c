"""The ends of a synthetic image's histogram, brought to where those of true images lie.

A network trained on an absolute error is paler than the truth: what it cannot know it makes average. Where an image has
no unit but its own percentiles (MRI), that is more than a matter of taste: a viewer, a score or another network that
maps each volume by its own percentiles stretches the paler one, and every value in between moves. So only the ends are
stretched: the darkest and the brightest per cent of the values, in their order; all in between stay as they are.
"""

import numpy as np
import numpy.typing as npt

FEWEST = 1000  # values that percentiles of one per cent can be told from


def stretch_tails(
    values: npt.NDArray[np.float32],
    inside: npt.NDArray[np.bool_],
    percentiles: tuple[float, float],
    ends: tuple[float, float],
) -> npt.NDArray[np.float32]:
    """Return values whose percentiles inside a region lie at given ends.

    What lies between twice the lower percentile and its counterpart above (the percentiles 1 and 99 for 0.5 and 99.5)
    stays; from there straight lines lead to the end and on to −1 or +1, so that no two values change places. An end
    stays as it is where that is not possible, and both where there are fewer than a thousand values inside.

    Args:
        values: of any shape, in [-1, 1].
        inside: True in the region, of the shape of `values` or without its last axis, of channels.
        percentiles: of the intensity map, such as (0.5, 99.5); one of 0 or 100 leaves its end as it is.
        ends: where the two percentiles of true images lie.

    Returns:
        A new array, or `values` itself where nothing is to be done.
    """
    found = values[inside]
    if found.size < FEWEST:
        return values
    lower, upper = percentiles
    outer_low, inner_low, inner_high, outer_high = np.percentile(found, [lower, 2 * lower, 2 * upper - 100, upper])
    dark = lower > 0 and -1 < outer_low < inner_low and -1 <= ends[0] < inner_low
    bright = upper < 100 and inner_high < outer_high < 1 and inner_high < ends[1] <= 1
    if not dark and not bright:
        return values
    knots = [-1.0, *((outer_low, inner_low) if dark else ()), *((inner_high, outer_high) if bright else ()), 1.0]
    places = [-1.0, *((ends[0], inner_low) if dark else ()), *((inner_high, ends[1]) if bright else ()), 1.0]
    return np.interp(values, knots, places).astype(values.dtype)

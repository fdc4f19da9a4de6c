"""What the values of one image say about its scale: percentiles, mean and deviation, Nyúl landmarks, the white stripe.

Sources: Nyúl, Udupa and Zhang, "New variants of a method of MRI scale standardization", IEEE TMI 19(2):143 (2000);
Shinohara et al., "Statistical normalization techniques for magnetic resonance imaging" (WhiteStripe), NeuroImage:
Clinical 6:9 (2014). Every statistic follows a·x + b (a > 0) of the image, so that the maps made of them undo it.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError

Contrast = Literal["T1", "T2", "FLAIR"]
PERCENTILE_SAMPLE = 200_000  # values drawn from one image; a percentile of more does not change visibly
LANDMARK_PERCENTILES = (1.0, *(float(tenth) for tenth in range(10, 100, 10)), 99.0)
STRIPE_HALF_WIDTH = 0.05  # of the quantiles on each side of the mode of white matter
TAIL_CUT = 96.0  # per cent: brighter values of T1 are vessels, fat and contrast agent, no white matter
HISTOGRAM_CELLS, HISTOGRAM_BLUR = 200, 3.0  # between the percentiles 1 and 99; cells of standard deviation
SMALLEST_PEAK, SMALLEST_RISE = 0.1, 0.02  # of the highest: what is lower, or stands out less, is a ripple, no tissue


def values_inside(
    pixels: npt.NDArray[Any], region: npt.NDArray[np.bool_] | None, *, foreground: bool
) -> npt.NDArray[Any]:
    """Return the values of an image that its map looks at, as one row.

    Args:
        pixels: any shape.
        region: True where the brain or body is, of the shape of `pixels` (or without its channel axis); None takes
            the values that are not 0 where `foreground` is set, else all.
        foreground: see `region`.

    Raises:
        UserError: the region has another shape.
    """
    if region is None:
        values = np.asarray(pixels).reshape(-1)
        return values[values != 0] if foreground else values
    inside = np.asarray(region) != 0
    if inside.shape != pixels.shape[: inside.ndim]:
        raise UserError(f"A region of shape {inside.shape} does not fit an image of shape {pixels.shape}; resample it")
    return pixels[inside].reshape(-1)


def percentile_range(
    pixels: npt.NDArray[Any], percentiles: tuple[float, float], *, foreground: bool, anchor_zero: bool = False
) -> tuple[float, float]:
    """Return two percentiles of an image's values, exact for 0 and 100, from a random subsample in between.

    The subsample is the same for every image of a size. An image without a non-zero value has the range (0, 0).
    """
    values = values_inside(pixels, None, foreground=foreground)
    if values.size == 0:
        return 0.0, 0.0
    lower, upper = percentiles
    sample = values if lower == 0 and upper == 100 else _sample(values)
    low = values.min() if lower == 0 else np.percentile(sample, lower)
    high = values.max() if upper == 100 else np.percentile(sample, upper)
    return 0.0 if anchor_zero else float(low), float(high)


def range_inside(
    pixels: npt.NDArray[Any],
    region: npt.NDArray[np.bool_] | None,
    percentiles: tuple[float, float],
    *,
    foreground: bool,
    anchor_zero: bool = False,
) -> tuple[float, float]:
    """Return two percentiles of the values that a map looks at: `percentile_range` of `values_inside`.

    Raises:
        UserError: the region has another shape.
    """
    inside = pixels if region is None else values_inside(pixels, region, foreground=False)
    return percentile_range(inside, percentiles, foreground=foreground and region is None, anchor_zero=anchor_zero)


def shares_outside(pixels: npt.NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return the shares of an image's values below and above a range."""
    below, above = (float(np.count_nonzero(outside)) / max(1, pixels.size) for outside in (pixels < low, pixels > high))
    return below, above


def mean_and_deviation(values: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Return mean and standard deviation (of the population, ddof 0); None where the values do not differ."""
    if values.size == 0 or values.min() == values.max():
        return None
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def nyul_landmarks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    """Return the percentiles 1, 10, 20, …, 90, 99: (11,) not falling; None where the outer two coincide."""
    if values.size == 0:
        return None
    landmarks = np.percentile(_sample(values).astype(np.float64), LANDMARK_PERCENTILES)
    extent = landmarks[-1] - landmarks[0]
    return (
        landmarks if extent > 8 * np.spacing(max(np.abs(landmarks).max(), 1e-250)) else None
    )  # else rounding, no extent


def white_stripe(values: npt.NDArray[Any], contrast: Contrast) -> tuple[float, float] | None:
    """Return mean and standard deviation of the values within ±0.05 quantiles of the mode of white matter.

    Args:
        values: of the brain, without skull and background.
        contrast: T1 (also after contrast agent) takes the last peak of the smoothed histogram below its 96th
            percentile; T2 and FLAIR the highest peak.

    Returns:
        None where the values, or those in the stripe, do not differ.
    """
    mode = white_matter_mode(values, contrast)
    if mode is None:
        return None
    sample = _sample(values).astype(np.float64)
    # Half of what equals the mode lies below it: with integers a single value can hold many per cent.
    place = 0.5 * float((sample < mode).mean() + (sample <= mode).mean())
    ends = np.quantile(sample, np.clip([place - STRIPE_HALF_WIDTH, place + STRIPE_HALF_WIDTH], 0, 1))
    return mean_and_deviation(sample[(sample >= ends[0]) & (sample <= ends[1])])


def white_matter_mode(values: npt.NDArray[Any], contrast: Contrast) -> float | None:
    """Return the mode of white matter in the image's unit; None where the values do not differ.

    The histogram reaches from the 1st to the 99th percentile. Each value is shared between the two nearest cells, so
    that integers leave no comb; a peak is a local maximum of at least a tenth of the highest that stands out by 2 %.
    """
    # Imported here: a second of start-up that only white-stripe needs.
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    if values.size == 0:
        return None
    sample = _sample(values).astype(np.float64)
    low, cut, high = np.percentile(sample, [1, TAIL_CUT, 99])
    if not high > low:
        return None
    cells = (sample[(sample >= low) & (sample <= high)] - low) * ((HISTOGRAM_CELLS - 1) / (high - low))
    below = np.minimum(cells.astype(np.intp), HISTOGRAM_CELLS - 2)
    share = cells - below
    counts = np.bincount(below, 1 - share, HISTOGRAM_CELLS) + np.bincount(below + 1, share, HISTOGRAM_CELLS)
    smooth = gaussian_filter1d(counts, HISTOGRAM_BLUR, mode="constant")
    top = smooth.max()
    peaks, _ = find_peaks(smooth, height=SMALLEST_PEAK * top, prominence=SMALLEST_RISE * top)
    if contrast == "T1":
        early = peaks[low + peaks * (high - low) / (HISTOGRAM_CELLS - 1) <= cut]
        place = early[-1] if early.size else np.argmax(smooth)
    else:
        place = peaks[np.argmax(smooth[peaks])] if peaks.size else np.argmax(smooth)
    return float(low + (place + _top_of_parabola(smooth, int(place))) * (high - low) / (HISTOGRAM_CELLS - 1))


def _top_of_parabola(heights: npt.NDArray[np.float64], place: int) -> float:
    """Return how far, in cells, the top of the parabola through three neighbours lies from the middle one."""
    if not 0 < place < len(heights) - 1:
        return 0.0
    left, middle, right = heights[place - 1 : place + 2]
    bend = left - 2 * middle + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0


def _sample(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.size <= PERCENTILE_SAMPLE:
        return values
    # At random, because an even step can fall in with the rows, or see one colour of three.
    return values[np.random.default_rng(0).integers(0, values.size, PERCENTILE_SAMPLE)]

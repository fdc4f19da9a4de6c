"""The ramp filter of filtered back-projection and the windows that tame it.

The ramp is made from its band-limited kernel in space, not from |f| in frequency, which would lose the mean of the
image (A. C. Kak, M. Slaney, "Principles of Computerized Tomographic Imaging", IEEE Press 1988, equation 3.61). With
bins of pitch τ, at lags of k bins:

    h(0) = 1 / (4 τ²)        h(k) = 0, k even        h(k) = −1 / (π k τ)², k odd

Windows, with f as a fraction of the cut-off and zero above it; the cut-off is a fraction of the Nyquist frequency
1 / (2 τ). LoDoPaB-CT's Hann with 0.641 is `filter="hann", cutoff=0.641`:

    ramp 1        shepp-logan sin(πf/2) / (πf/2)        cosine cos(πf/2)
    hamming 0.54 + 0.46 cos(πf)        hann 0.5 + 0.5 cos(πf)
"""

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.threads import threads

Filter = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]
FILTERS: tuple[Filter, ...] = get_args(Filter)

_WORTH_THREADS = 2**16  # values; fewer are filtered before a second thread has started


def window(frequencies: NDArray[Any], filter: Filter = "ramp", cutoff: float = 1.0) -> NDArray[np.float64]:
    """Return the factor by which a window lowers the ramp.

    Args:
        frequencies: fractions of the Nyquist frequency, 0…1.
        filter: one of `FILTERS`.
        cutoff: fraction of the Nyquist frequency above which nothing passes, above 0 and at most 1.

    Returns:
        Factors 0…1, of the shape of `frequencies`.

    Raises:
        UserError: an unknown filter, a cut-off outside (0, 1].
    """
    if not 0 < cutoff <= 1:
        raise UserError(f"cutoff is a fraction of the Nyquist frequency, above 0 and at most 1, not {cutoff}")
    share = np.abs(np.asarray(frequencies, dtype=np.float64)) / cutoff
    if filter == "ramp":
        factors = np.ones_like(share)
    elif filter == "shepp-logan":
        factors = np.sinc(share / 2)
    elif filter == "cosine":
        factors = np.cos(np.pi * share / 2)
    elif filter == "hamming":
        factors = 0.54 + 0.46 * np.cos(np.pi * share)
    elif filter == "hann":
        factors = 0.5 + 0.5 * np.cos(np.pi * share)
    else:
        raise UserError(f"unknown filter {filter!r}: one of {', '.join(FILTERS)}")
    return np.where(share <= 1 + 1e-9, factors, 0.0)


def transform_length(bins: int) -> int:
    """Return how long a view's transform is: at least twice the view, so that nothing wraps around."""
    return int(scipy.fft.next_fast_len(max(2 * bins, 64), real=True))


@lru_cache(maxsize=32)
def response(bins: int, filter: Filter, cutoff: float, arc_pitch: float) -> NDArray[np.float32]:
    """Return the filter at the frequencies of a real transform of `transform_length` values, for a pitch of 1.

    Args:
        bins: of a view.
        filter, cutoff: see `window`.
        arc_pitch: radians between the bins of a curved detector, whose kernel is h(γ)·(γ / sin γ)² (Kak and Slaney,
            equation 3.94); 0 for a straight one.

    Raises:
        UserError: an unknown filter, a cut-off outside (0, 1].
    """
    length = transform_length(bins)
    lags = np.arange(length)
    lags = np.minimum(lags, length - lags)
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = lags % 2 == 1
    kernel[odd] = -1 / (np.pi * lags[odd]) ** 2
    if arc_pitch > 0:
        angle = np.minimum(lags * arc_pitch, 0.9 * np.pi)  # no fan is so wide; the lags beyond it meet zeros only
        kernel /= np.sinc(angle / np.pi) ** 2
    spectrum = scipy.fft.rfft(kernel).real
    windowed = spectrum * window(np.arange(spectrum.size) / (length / 2), filter, cutoff)
    made: NDArray[np.float32] = windowed.astype(np.float32)
    made.flags.writeable = False
    return made


def filter_views(
    views: NDArray[Any], pitch: float, filter: Filter = "ramp", cutoff: float = 1.0, *, arc_pitch: float = 0.0
) -> NDArray[np.float32]:
    """Convolve projections with the windowed ramp along their bins, zeros being assumed beyond the detector.

    Args:
        views: (…, bins), any unit.
        pitch: mm between bins (radians for a curved detector).
        filter, cutoff: see `window`.
        arc_pitch: radians between bins if the detector is curved, else 0.

    Returns:
        float32 of the same shape, in the unit of `views` per unit of `pitch`.

    Raises:
        UserError: an unknown filter, a cut-off outside (0, 1].
    """
    bins = views.shape[-1]
    length = transform_length(bins)
    workers = threads() if views.size > _WORTH_THREADS else 1
    spectrum = scipy.fft.rfft(np.asarray(views, dtype=np.float32), length, axis=-1, workers=workers)
    spectrum *= response(bins, filter, float(cutoff), float(arc_pitch)) * np.float32(1 / pitch)
    filtered = scipy.fft.irfft(spectrum, length, axis=-1, workers=workers, overwrite_x=True)
    kept: NDArray[np.float32] = filtered[..., :bins]
    return kept

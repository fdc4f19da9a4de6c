"""Projections of an object that reaches beyond the detector: how to notice them, and how to go on past the edge.

Where a projection stops short of the object, the ramp filter takes its edge for a step and the image gets a bright
rim. Two published ways to extend it first:

    edge     the last value, rolled off by a cosine (B. Ohnesorge et al., "Efficient correction for CT image artifacts
             caused by objects extending outside the scan field of view", Medical Physics 27, 2000, who mirror the
             profile under such a roll-off; here it is held)
    water    a cylinder of water that has the value and the slope of the edge (J. Hsieh et al., "A novel reconstruction
             algorithm to extend the CT scan field-of-view", Medical Physics 31, 2004, equations 2–5; without its
             last step, which makes the views agree in their sums)
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.geometry import Beam
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.scan_weights import is_displaced

Padding = Literal["edge", "water"]
PADDINGS: tuple[Padding, ...] = get_args(Padding)

WATER = HounsfieldScale().water  # 1/mm, where nothing else is said

EDGE_TAPS = 3  # bins that make the value of an edge


def looks_truncated(
    sinogram: NDArray[Any], beam: Beam | None = None, *, level: float = 0.05, views: float = 0.05
) -> bool:
    """Say whether the object seems to reach beyond the detector.

    Args:
        sinogram: (…, views, bins), or (…, views, rows, bins) of a cone beam as a whole.
        beam: where the rays ran, if the detector is displaced: its short side ends inside the object on purpose.
        level: an edge is not air if the mean of its outermost bins exceeds this share of the largest values.
        views: share of the profiles that must have such an edge.

    Returns:
        True if `padding` of `fbp` or `fdk` is worth a trial.
    """
    profiles = np.asarray(sinogram).reshape(-1, np.shape(sinogram)[-1])
    edge = min(EDGE_TAPS, profiles.shape[1])
    top = float(np.percentile(profiles.max(axis=1), 95))
    left, right = profiles[:, :edge].mean(axis=1), profiles[:, -edge:].mean(axis=1)
    if beam is not None and is_displaced(beam):
        highest = right if beam.offset > 0 else left
    else:
        highest = np.maximum(left, right)
    return top > 0 and float(np.mean(highest > level * top)) > views


def extended(
    views: NDArray[np.float32], padding: Padding | None, pitch: float, water: float = WATER
) -> tuple[NDArray[np.float32], int]:
    """Continue projections on both sides, by half their width each.

    Args:
        views: (…, bins), line integrals.
        padding: one of `PADDINGS`, or None to leave them alone.
        pitch: mm between bins, at the axis.
        water: what it attenuates, in 1/mm, of the padding "water".

    Returns:
        Projections with more bins, and how many were added on each side.

    Raises:
        UserError: an unknown padding, or water that does not attenuate.
    """
    if padding is None:
        return views, 0
    if padding not in PADDINGS:
        raise UserError(f"unknown padding {padding!r}: none, or one of {', '.join(PADDINGS)}")
    check_water(padding, water)
    bins = views.shape[-1]
    extra = max(bins // 2, 1)
    beyond = np.arange(1, extra + 1, dtype=np.float32)
    right = _continued(views, padding, beyond, pitch, water)
    left = _continued(views[..., ::-1], padding, beyond, pitch, water)[..., ::-1]
    return np.concatenate([left, views, right], axis=-1), extra


def check_water(padding: Padding | None, water: float) -> None:
    """Refuse water that attenuates nothing, where projections shall go on as through it.

    Raises:
        UserError: with the number.
    """
    if padding == "water" and not 0 < water < np.inf:
        raise UserError(
            f"water attenuates {water:g} per mm: the padding by water needs a number above 0, such as {WATER}"
        )


def _continued(
    views: NDArray[np.float32], padding: Padding, beyond: NDArray[np.float32], pitch: float, water: float
) -> NDArray[np.float32]:
    """Return what follows the last bin, at `beyond` bins from it."""
    taps = min(max(EDGE_TAPS, views.shape[-1] // 50), views.shape[-1])
    edge = views[..., -taps:]
    mean = edge.mean(axis=-1, keepdims=True)
    if padding == "edge" or taps < 2:
        value = np.maximum(views[..., -min(EDGE_TAPS, taps) :].mean(axis=-1, keepdims=True), 0)
        return (value * np.cos(np.pi / 2 * beyond / beyond[-1])).astype(np.float32)
    place = (np.arange(taps) - (taps - 1) / 2) * pitch
    slope = (edge * place).sum(axis=-1, keepdims=True) / (place**2).sum()
    value = np.maximum(mean + slope * place[-1], 0)  # of the line through the edge, at the last bin
    from_centre = -value * slope / (4 * water**2)  # mm of the last bin from the axis of the cylinder
    squared = (value / (2 * water)) ** 2 + from_centre**2  # of its radius
    chord = np.sqrt(np.maximum(squared - (from_centre + beyond * pitch) ** 2, 0))
    continued = 2 * water * chord
    rolled: NDArray[Any] = continued * np.cos(np.pi / 2 * beyond / beyond[-1])
    # The roll-off is for cylinders that do not end within the extension; those that do keep their shape.
    ends = np.sqrt(squared) - from_centre < beyond[-1] * pitch
    return np.where(ends, continued, rolled).astype(np.float32)

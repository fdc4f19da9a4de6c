"""How much each view and each ray counts in an analytic reconstruction.

A back-projection is an integral over angles: a view stands for the arc that lies nearer to it than to its neighbours.
A line that was measured twice, from both its ends, must count once in all:

    full      360° of a diverging beam: one half each; a detector displaced to one side sees the far rim from one end
              only, and its rays fade in over the part seen twice (G. Wang, "X-ray micro-CT with a displaced detector
              array", Medical Physics 29, 2002)
    half      180° and the fan, or more: D. L. Parker, "Optimal short scan convolution reconstruction for fanbeam CT",
              Medical Physics 9, 1982, with the fan angle widened to what was scanned (M. D. Silver, "A method for
              including redundant data in computed tomography", Medical Physics 27, 2000)
    limited   less: c / (c + c of the other end), c fading to zero at the ends of the arc (F. Noo et al., "Image
              reconstruction from fan-beam projections on less than a short scan", Physics in Medicine and Biology 47,
              2002, equation 25). What was never measured stays missing.

A line that a fan sees at view angle θ and fan angle γ (positive along u) is seen from its other end at θ − 2γ + 180°
and −γ.
"""

import math
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from transmodal.tomography.geometry import Beam, ParallelBeam

ScanKind = Literal["full", "half", "limited"]
AnyBeam = TypeVar("AnyBeam", bound=Beam)

# A gap counts as an arc that was not scanned, not as a wide step, if it is so many times as wide as its neighbours and
# as the usual step, and wider than so many degrees, and if there are no more than two such gaps.
_WIDER = 2.5
_WIDER_THAN = 5.0
_MOST_MISSING = 2
_SAME_ANGLE = 1e-4  # degrees
_DISPLACED = 0.05  # of the detector's width
_GRACE = 1.0  # degrees by which a half scan may fall short: the outermost bins see air
_TAPER = 10.0  # degrees at each end of a limited arc


def _steps(angles: tuple[float, ...], period: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the distinct angles of one period in order, each view's place among them, the gap after each, and
    whether that gap is an arc that was not scanned. Degrees."""
    turned = np.mod(np.asarray(angles, dtype=np.float64), period)
    turned[turned > period - _SAME_ANGLE] = 0.0
    order = np.argsort(turned, kind="stable")
    new = np.diff(turned[order], prepend=-period) > _SAME_ANGLE
    place = np.empty(len(turned), dtype=np.intp)
    place[order] = np.cumsum(new) - 1
    distinct = turned[order][new]
    gaps = np.diff(distinct, append=distinct[0] + period)
    beside = np.maximum(np.roll(gaps, 1), np.roll(gaps, -1))
    missing = (gaps > _WIDER * beside) & (gaps > _WIDER * np.median(gaps)) & (gaps > _WIDER_THAN)
    if np.count_nonzero(missing) > _MOST_MISSING:
        missing[:] = False
    return distinct, place, gaps, missing


def view_weights(angles: tuple[float, ...], period: float) -> NDArray[np.float64]:
    """Return the arc that each view stands for.

    Angles are taken modulo the period, and views at the same angle share its arc. Beside an arc that was not scanned a
    view stands for one ordinary step, not for half of what is missing.

    Args:
        angles: degrees, in any order.
        period: degrees after which a view repeats: 180 for parallel rays, 360 for others.

    Returns:
        (views,), radians; their sum is the period if nothing is missing.
    """
    _, place, gaps, missing = _steps(angles, period)
    before = np.roll(gaps, 1)
    after = np.where(missing, before, gaps)
    before = np.where(np.roll(missing, 1), gaps, before)
    arcs = (before + after) / 2
    weights: NDArray[np.float64] = np.deg2rad(arcs[place] / np.bincount(place)[place])
    return weights


def scanned_arcs(angles: tuple[float, ...], period: float) -> list[tuple[float, float]]:
    """Return (start, length) of each arc that was scanned; none if nothing is missing.

    Args:
        angles: degrees, in any order.
        period: degrees after which a view repeats.

    Returns:
        Degrees; each arc begins half a step before its first view and ends half a step behind its last.
    """
    distinct, _, gaps, missing = _steps(angles, period)
    arcs = []
    ends = np.flatnonzero(missing)
    for previous, end in zip(np.roll(ends, 1), ends, strict=True):
        first = (previous + 1) % len(distinct)
        lead, trail = gaps[first] / 2, gaps[end - 1] / 2
        reach = (distinct[end] - distinct[first]) % period
        arcs.append((float(distinct[first] - lead), float(reach + lead + trail)))
    return arcs


def scan_kind(beam: Beam) -> ScanKind:
    """Say which lines a scan measures: this chooses the weights of `fbp` and `fdk`.

    Returns:
        "full": every line from both ends (360°). "half": every line at least once (180°, for a diverging beam with the
        fan angle added). "limited": less.
    """
    arcs = scanned_arcs(beam.angles, 360.0)
    if not arcs:
        return "full"
    if isinstance(beam, ParallelBeam):
        return "limited" if scanned_arcs(beam.angles, 180.0) else "half"
    if len(arcs) > 1:
        return "limited"
    wanted = 180 + 2 * math.degrees(float(np.abs(_fan_angles(beam)).max()))
    return "half" if arcs[0][1] >= wanted - _GRACE else "limited"


def _fan_angles(beam: Beam) -> NDArray[Any]:
    """Return each bin's angle against the central ray within the plane of the circle, in radians."""
    assert not isinstance(beam, ParallelBeam)
    if beam.kind == "fan":
        return beam.fan_angles
    return np.arctan(beam.positions / beam.source_to_detector)


def ray_weights(beam: Beam) -> NDArray[np.float32]:
    """Return the share of each ray in its line, to be multiplied with the projections before they are filtered.

    Returns:
        (views or 1, bins), 0…1; the shares of a line that was measured add to 1. For parallel rays, whose views
        already share the half turn (`view_weights` with a period of 180), 1, or 0…2 on a displaced detector.
    """
    parallel = isinstance(beam, ParallelBeam)
    across = beam.positions if parallel else _fan_angles(beam)
    kind = scan_kind(beam)
    if kind == "full":
        shares = _displaced(across, beam)[None] * (2.0 if parallel else 1.0)
    elif parallel:
        shares = np.ones((1, beam.bins))
    elif kind == "half":
        shares = _parker(beam.angles, across)
    else:
        shares = _limited(beam.angles, across)
    return shares.astype(np.float32)


def is_displaced(beam: Beam) -> bool:
    """Say whether a full turn was scanned with a detector that stands aside, to see an object wider than itself."""
    return abs(beam.offset) > _DISPLACED * beam.bins * beam.pitch and scan_kind(beam) == "full"


def widened(beam: AnyBeam) -> tuple[AnyBeam, tuple[int, int]]:
    """Return a displaced detector continued on its short side as far as the other reaches.

    The rays there count nothing, but filtered projections do not end where projections do.

    Returns:
        The beam, itself if its detector is not displaced, and the bins added before the first and after the last.
    """
    if not is_displaced(beam):
        return beam, (0, 0)
    extra = round(2 * abs(beam.offset) / beam.pitch)
    before, after = (extra, 0) if beam.offset > 0 else (0, extra)
    return replace(beam, bins=beam.bins + extra, offset=beam.offset + (after - before) * beam.pitch / 2), (
        before,
        after,
    )


def _displaced(across: NDArray[Any], beam: Beam) -> NDArray[Any]:
    """Return the shares of a full turn: one half, or fading in over what a displaced detector sees twice."""
    halves = np.full(across.shape, 0.5)
    if not is_displaced(beam):
        return halves
    side = math.copysign(1.0, beam.offset)
    overlap = -float((side * across).min())
    if overlap <= 0:
        return np.ones_like(halves)  # the axis itself is not seen: no line was measured twice
    return 0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(side * across / overlap, -1, 1))


def _parker(angles: tuple[float, ...], fan: NDArray[Any]) -> NDArray[Any]:
    """Return Parker's weights, (views, bins), with his fan angle widened to what was scanned."""
    start, length = scanned_arcs(angles, 360.0)[0]
    spread = max(math.radians(length) - math.pi, 1e-6) / 2
    view = np.deg2rad(np.mod(np.asarray(angles) - start, 360.0))[:, None]
    mirrored = -fan[None]  # Parker turns the other way
    rising = np.maximum(spread - mirrored, 1e-9)
    falling = np.maximum(spread + mirrored, 1e-9)
    first = np.sin(np.pi / 4 * np.clip(view / rising, 0, 2)) ** 2
    last = np.sin(np.pi / 4 * np.clip((np.pi + 2 * spread - view) / falling, 0, 2)) ** 2
    return np.where(view < 2 * rising, first, np.where(view > np.pi - 2 * mirrored, last, 1.0))


def _limited(angles: tuple[float, ...], fan: NDArray[Any]) -> NDArray[Any]:
    """Return Noo's weights, (views, bins), of arcs that do not see every line."""
    arcs = scanned_arcs(angles, 360.0)

    def presence(view: NDArray[Any]) -> NDArray[Any]:
        found = np.zeros(view.shape)
        for start, length in arcs:
            inside = np.mod(view - start, 360.0)
            distance = np.minimum(inside, length - inside)
            taper = min(_TAPER, length / 4)
            found = np.maximum(found, np.sin(np.pi / 2 * np.clip(distance / taper, 0, 1)) ** 2)
        return found

    view = np.broadcast_to(np.asarray(angles, dtype=np.float64)[:, None], (len(angles), fan.size))
    own = np.maximum(presence(view), 1e-6)
    return own / (own + presence(view - 2 * np.rad2deg(fan)[None] + 180.0))

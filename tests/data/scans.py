"""Scans of every kind for tests, and Joseph's method written a second time, ray by ray and slowly."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np

from transmodal.tomography.geometry import Beam, ConeBeam, FanBeam, Grid, ParallelBeam


def plane_grids() -> st.SearchStrategy[Grid]:
    """Small grids of a slice: not square, pixels not square, off the axis."""
    side, length, place = st.integers(1, 17), st.floats(0.3, 2.0), st.floats(-3.0, 3.0)
    return st.builds(Grid, st.tuples(side, side), st.tuples(length, length), st.tuples(place, place))


def volume_grids() -> st.SearchStrategy[Grid]:
    """Small grids of a volume; thin slices, so that slices lead some rays."""
    side, length, place = st.integers(1, 8), st.floats(0.3, 2.0), st.floats(-2.0, 2.0)
    return st.builds(
        Grid,
        st.tuples(side, side, side),
        st.tuples(st.floats(0.05, 2.0), length, length),
        st.tuples(place, place, place),
    )


_ANGLES = st.lists(
    st.one_of(st.floats(-400, 400), st.sampled_from([0.0, 45.0, 90.0, 135.0, 180.0, 270.0])), min_size=1, max_size=5
)
_OFFSETS = st.floats(-4.0, 4.0)


def parallel_beams() -> st.SearchStrategy[ParallelBeam]:
    return st.builds(ParallelBeam, _ANGLES, st.integers(1, 25), st.floats(0.2, 3.0), _OFFSETS)


def fan_beams() -> st.SearchStrategy[FanBeam]:
    """Up to 60° to either side on a curved detector, thus with both axes leading in one view."""
    return st.builds(
        FanBeam,
        _ANGLES,
        st.integers(1, 25),
        st.floats(0.2, 7.0),
        st.floats(40.0, 60.0),
        st.floats(90.0, 120.0),
        _OFFSETS,
        st.booleans(),
    )


def cone_beams() -> st.SearchStrategy[ConeBeam]:
    return st.builds(
        ConeBeam,
        st.lists(st.floats(-400, 400), min_size=1, max_size=3),
        st.integers(1, 6),
        st.integers(1, 9),
        st.floats(0.5, 15.0),
        st.floats(0.5, 15.0),
        st.floats(25.0, 40.0),
        st.floats(50.0, 70.0),
        _OFFSETS,
        _OFFSETS,
    )


def joseph(image: np.ndarray, grid: Grid, beam: Beam) -> np.ndarray:
    """Project in float64 with a loop over rays and over the lines of the axis that leads."""
    sums = np.zeros(beam.shape)
    for place in np.ndindex(*beam.shape):
        point, direction = _ray(beam, place)
        pixel = [
            (point[axis] - grid.centre[axis]) / grid.spacing[axis] + (count - 1) / 2
            for axis, count in enumerate(grid.shape)
        ]
        pace = [direction[axis] / grid.spacing[axis] for axis in range(len(grid.shape))]
        # Of equal paces rows come before columns before slices, as in the package.
        order = [*range(len(pace) - 2, len(pace)), *range(len(pace) - 2)]
        leading = max(order, key=lambda axis: (round(abs(pace[axis]), 9), -order.index(axis)))
        for line in range(grid.shape[leading]):
            time = (line - pixel[leading]) / pace[leading]
            crossing = [line if axis == leading else pixel[axis] + time * pace[axis] for axis in range(len(pace))]
            sums[place] += _interpolated(image, crossing) / abs(pace[leading])
    return sums


def _ray(beam: Beam, place: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Return a point of a ray and its direction of length 1, in the order of the grid's axes."""
    angle = math.radians(beam.angles[place[0]])
    u, w = (math.sin(angle), math.cos(angle)), (math.cos(angle), -math.sin(angle))  # (y, x)
    across = float(beam.positions[place[-1]])
    if isinstance(beam, ParallelBeam):
        return [across * u[0], across * u[1]], [w[0], w[1]]
    source = [-beam.source_to_axis * w[0], -beam.source_to_axis * w[1]]
    along = beam.source_to_detector
    if isinstance(beam, FanBeam) and beam.curved:
        turn = across / beam.source_to_detector
        along, across = math.cos(turn), math.sin(turn)
    towards = [along * w[0] + across * u[0], along * w[1] + across * u[1]]
    if isinstance(beam, ConeBeam):
        source, towards = [0.0, *source], [float(beam.row_positions[place[1]]), *towards]
    length = math.sqrt(sum(part**2 for part in towards))
    return source, [part / length for part in towards]


def _interpolated(image: np.ndarray, crossing: list[float]) -> float:
    below = [math.floor(round(place, 9)) for place in crossing]
    total = 0.0
    for steps in itertools.product((0, 1), repeat=len(crossing)):
        pixel = [low + step for low, step in zip(below, steps, strict=True)]
        if all(0 <= index < count for index, count in zip(pixel, image.shape, strict=True)):
            weight = math.prod(1 - abs(place - index) for place, index in zip(crossing, pixel, strict=True))
            total += weight * float(image[tuple(pixel)])
    return total

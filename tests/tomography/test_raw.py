"""From a scanner's counts to line integrals."""

import numpy as np
import pytest
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.geometry import Grid, ParallelBeam, evenly
from transmodal.tomography.phantoms import Ellipse, line_integrals
from transmodal.tomography.raw import (
    RING_METHODS,
    RingMethod,
    find_bad_bins,
    interpolate_bad_bins,
    lifted_rays,
    open_beam,
    suppress_rings,
    to_line_integrals,
)

BEAM = ParallelBeam(evenly(120, 180), 128, 0.5)
BODY = [Ellipse(0.02, (2.0, -3.0), (20.0, 24.0)), Ellipse(0.01, (8.0, 5.0), (4.0, 3.0))]


@pytest.fixture(scope="module")
def integrals() -> NDArray[np.float32]:
    return line_integrals(BODY, BEAM)


def test_fields_and_logarithm_give_back_the_line_integrals(integrals: NDArray[np.float32]) -> None:
    generator = np.random.default_rng(0)
    dark = generator.uniform(90, 110, 128)
    beam = generator.uniform(8000, 12000, 128)
    counts = beam * np.exp(-integrals) + dark
    assert np.allclose(to_line_integrals(counts, beam + dark, dark), integrals, atol=1e-5)
    frames = np.stack([beam + dark - 30, beam + dark + 30])
    assert np.allclose(to_line_integrals(counts, frames, np.stack([dark, dark])), integrals, atol=1e-5)
    volume = np.stack([counts, counts], axis=1)
    made = to_line_integrals(volume, np.stack([beam + dark] * 2), 0.0)
    assert np.allclose(made[:, 0], -np.log(counts / (beam + dark)), atol=1e-5)


def test_integer_counts_and_numbers_as_fields_are_taken(integrals: NDArray[np.float32]) -> None:
    counts = np.rint(60000 * np.exp(-integrals)).astype(np.uint16)
    before = counts.copy()
    assert np.allclose(to_line_integrals(counts, 60000), integrals, atol=1e-3)
    assert np.array_equal(counts, before)


def test_bins_that_counted_nothing_are_lifted_to_the_floor() -> None:
    counts = np.array([[100.0, 0.0], [10.0, 5.0]])
    made = to_line_integrals(counts, 100.0, 0.0)
    assert made[0, 1] == pytest.approx(np.log(100 / 0.1), rel=1e-6)
    assert to_line_integrals(counts, 100.0, 5.0, floor=1.0)[1, 1] == pytest.approx(np.log(95), rel=1e-6)


def test_rays_at_the_floor_are_told_and_the_floor_of_normalised_intensities_may_be_low() -> None:
    intensities = np.array([[1.0, np.exp(-2.0), np.exp(-6.0)], [1.0, 0.0, np.exp(-6.0)]])
    assert to_line_integrals(intensities, 1.0)[0, 2] == pytest.approx(np.log(10))  # capped at the floor of counts
    assert lifted_rays(intensities, 1.0).tolist() == [[False, False, True], [False, True, True]]
    assert to_line_integrals(intensities, 1.0, floor=1e-5)[0, 2] == pytest.approx(6.0, rel=1e-4)
    assert lifted_rays(intensities, 1.0, floor=1e-5).tolist() == [[False] * 3, [False, True, False]]
    dead = lifted_rays(intensities, np.array([1.0, 0.0, 1.0]), floor=1e-5)
    assert not dead.any()  # a bin without open beam has no floor
    assert open_beam(np.array([900.0, 1000.0, 1100.0]), 100.0) == 900.0


def test_bad_bins_are_found_and_bridged(integrals: NDArray[np.float32]) -> None:
    generator = np.random.default_rng(1)
    flat, dark = generator.normal(10000, 100, 128), generator.normal(50, 2, 128)
    counts = generator.poisson(np.maximum(flat - dark, 0) * np.exp(-integrals)) + dark
    bad = [0, 40, 41, 90, 127]
    flat[[0, 40, 41]] = dark[[0, 40, 41]]
    counts[:, [0, 40, 41]] = dark[[0, 40, 41]]
    dark[90] = 5000
    flat[127] = 90000
    found = find_bad_bins(flat, dark)
    assert np.flatnonzero(found).tolist() == bad
    made = interpolate_bad_bins(to_line_integrals(counts, flat, dark), found)
    assert np.abs(made - integrals)[:, bad].max() < 0.1
    assert np.array_equal(made[:, ~found], to_line_integrals(counts, flat, dark)[:, ~found])


def test_bad_bins_of_a_flat_panel_are_bridged_along_rows_and_dead_rows_from_their_neighbours() -> None:
    rows, bins = np.meshgrid(np.arange(6.0), np.arange(9.0), indexing="ij")
    wanted = np.stack([2 * bins + 3 * rows, bins - rows]).astype(np.float32)
    bad = np.zeros((6, 9), dtype=bool)
    bad[1, 4:6] = bad[3] = bad[4, 2] = True
    broken = wanted.copy()
    broken[:, bad] = 77
    assert np.allclose(interpolate_bad_bins(broken, bad), wanted, atol=1e-5)
    bad[0] = True  # nothing on its other side
    broken[:, bad] = 77
    made = interpolate_bad_bins(broken, bad)
    assert np.allclose(made[:, 0], wanted[:, 1], atol=1e-5)
    assert (broken[:, bad] == 77).all()


@pytest.mark.parametrize("method", RING_METHODS)
def test_rings_are_weakened_and_the_image_stays(method: RingMethod, integrals: NDArray[np.float32]) -> None:
    generator = np.random.default_rng(2)
    clean = integrals + generator.normal(0, 0.005, integrals.shape).astype(np.float32)
    gains = np.zeros(128, np.float32)
    gains[generator.choice(128, 20, replace=False)] = generator.normal(0, 0.05, 20)
    grid = Grid((100, 100), (0.5, 0.5))
    truth = fbp(clean, grid, BEAM, "hann")

    def error(sinogram: NDArray[np.float32]) -> float:
        return float(np.sqrt(np.mean((fbp(sinogram, grid, BEAM, "hann") - truth)[15:85, 15:85] ** 2)))

    assert error(suppress_rings(clean + gains, method)) < error(clean + gains) * 0.55
    # A constant is not touched, and neither is what was given.
    assert np.array_equal(suppress_rings(np.full((5, 20), 3.0), method), np.full((5, 20), 3.0, np.float32))
    given = clean.copy()
    suppress_rings(given, method)
    assert np.array_equal(given, clean)


@pytest.mark.parametrize("method", RING_METHODS)
def test_rows_of_a_flat_panel_are_treated_one_by_one(method: RingMethod) -> None:
    panel = np.random.default_rng(3).normal(size=(6, 3, 20)).astype(np.float32)
    made = suppress_rings(panel, method, 5)
    for row in range(3):
        assert np.allclose(made[:, row], suppress_rings(panel[:, row], method, 5), atol=1e-6)


def test_wrong_input_is_refused_in_one_line() -> None:
    counts = np.full((4, 6), 50.0)
    with pytest.raises(UserError, match=r"flat field has shape \(5,\)"):
        to_line_integrals(counts, np.ones(5))
    with pytest.raises(UserError, match="are the two swapped"):
        to_line_integrals(counts, 10.0, 20.0)
    with pytest.raises(UserError, match="no bin counted a photon"):
        to_line_integrals(counts * 0, 100.0)
    with pytest.raises(UserError, match="floor"):
        to_line_integrals(counts, 100.0, floor=0)
    with pytest.raises(UserError, match="not finite"):
        to_line_integrals(counts * np.nan, 100.0)
    with pytest.raises(UserError, match="dark field holds values that are not finite"):
        to_line_integrals(counts, 100.0, np.full(6, np.nan))
    with pytest.raises(UserError, match="at least two axes"):
        to_line_integrals(counts[0], 100.0)
    with pytest.raises(UserError, match="mostly not above"):
        find_bad_bins(np.zeros(8), 3.0)
    with pytest.raises(UserError, match="every bin"):
        interpolate_bad_bins(counts, np.ones(6, dtype=bool))
    with pytest.raises(UserError, match="mask of bad bins"):
        interpolate_bad_bins(counts, np.ones(5, dtype=bool))
    with pytest.raises(UserError, match="unknown ring suppression"):
        suppress_rings(counts, "wavelet")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="odd number of bins"):
        suppress_rings(counts, width=4)
    with pytest.raises(UserError, match="views, bins"):
        suppress_rings(counts[0])

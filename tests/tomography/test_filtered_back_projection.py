"""Filtered back-projection against analytic phantoms, against scikit-image, and against its own other geometries."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import iradon

from transmodal.errors import UserError
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.filters import FILTERS
from transmodal.tomography.geometry import FanBeam, Grid, ParallelBeam, covering, evenly, micro_ct
from transmodal.tomography.phantoms import Ellipse, line_integrals, rasterise, shepp_logan
from transmodal.tomography.pixel_driven_parallel import back_project_parallel
from transmodal.tomography.truncation import looks_truncated


def disc(x: float, y: float, radius: float, value: float = 0.02) -> Ellipse:
    return Ellipse(value, (y, x), (radius, radius))


def difference(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the root of the mean squared difference over that of what is wanted."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


GRID = Grid((128, 128), (0.4, 0.4))
HEAD = shepp_logan(50.0, 0.02)


@pytest.mark.parametrize(
    ("views", "whole", "brain"),
    [(45, 0.33, 0.0135), (90, 0.16, 0.0076), (180, 0.132, 0.0066), (360, 0.131, 0.0065), (720, 0.131, 0.0065)],
)
def test_the_error_of_an_analytic_head_stays_within_bounds(views: int, whole: float, brain: float) -> None:
    # Over the whole image, relative to it, the skull's edges within one pixel count most. Inside it, relative to the
    # skull's attenuation: what is left at 180 views are the edges of the ventricles and tumours.
    beam = covering(GRID, views)
    made, truth = fbp(line_integrals(HEAD, beam), GRID, beam), rasterise(HEAD, GRID)
    y, x = np.meshgrid(GRID.positions(0), GRID.positions(1), indexing="ij")
    inside = np.hypot(x / (0.6 * 25), (y - 0.0184 * 25) / (0.8 * 25)) < 1
    assert difference(made, truth) < whole
    assert np.sqrt(np.mean((made - truth)[inside] ** 2)) / 0.02 < brain


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("side", [96, 97])
def test_it_equals_scikit_image(filter: Any, side: int) -> None:
    # There the axis is the pixel side // 2, and angles run the other way, since y runs up.
    half = 0.5 if side % 2 == 0 else 0.0
    angles = evenly(60, 180)
    beam = ParallelBeam(tuple(-angle for angle in angles), side, 1.0, -half)
    grid = Grid((side, side), (1.0, 1.0), (-half, -half))
    sinogram = line_integrals([disc(10, -12, 20), disc(-9, 3, 9, 0.01)], beam)
    sinogram += np.random.default_rng(0).normal(0, 0.01, sinogram.shape)
    theirs = iradon(sinogram.T, np.asarray(angles), filter_name=filter, circle=True)
    y, x = np.meshgrid(grid.positions(0), grid.positions(1), indexing="ij")
    inside = np.hypot(x, y) < side // 2 - 2
    assert difference(fbp(sinogram, grid, beam, filter)[inside], theirs[inside]) < 1e-3


def test_the_lattice_gives_what_plain_interpolation_gives() -> None:
    beam = ParallelBeam((0.0, 45.0, 90.0, 135.0, 20.0, 100.0, 181.0, -77.0), 40, 0.7, 1.1)
    grid = Grid((31, 24), (0.5, 0.8), (2.0, -3.0))
    views = np.random.default_rng(1).normal(size=(2, *beam.shape)).astype(np.float32)
    y, x = np.meshgrid(grid.positions(0), grid.positions(1), indexing="ij")
    wanted = np.zeros((2, *grid.shape))
    for number, angle in enumerate(np.deg2rad(beam.angles)):
        place = x * np.cos(angle) + y * np.sin(angle)
        for image in range(2):
            wanted[image] += np.interp(place, beam.positions, views[image, number], left=0, right=0)
    assert difference(back_project_parallel(views, grid, beam), wanted) < 0.01  # white noise: kinks at every bin


@pytest.mark.parametrize(
    "beam",
    [
        ParallelBeam(evenly(120, 180), 150, 0.5, 1.3),
        ParallelBeam(evenly(240, 360), 150, 0.5, 1.3),
        ParallelBeam(evenly(181, 270), 150, 0.5),
        ParallelBeam(evenly(120, 180), 300, 0.25),
        ParallelBeam(tuple(np.linspace(0, 180, 121)), 150, 0.5),
        FanBeam(evenly(240, 360), 220, 0.8, 100, 160, 2.0),
        FanBeam(evenly(240, 360), 220, 0.8, 100, 160, 2.0, curved=True),
        FanBeam(evenly(241, 360, 7.0), 220, 0.8, 100, 160),
        FanBeam(evenly(200, 180 + 65, 17.0), 220, 0.8, 100, 160, 2.0),
        FanBeam(evenly(200, 180 + 70, -40.0), 220, 0.8, 100, 160, 2.0, curved=True),
        FanBeam(evenly(240, 300, 17.0), 220, 0.8, 100, 160, 2.0),
        FanBeam(evenly(160, 200, 17.0), 220, 0.8, 100, 160, 2.0),
        FanBeam(tuple(-angle for angle in evenly(200, 180 + 65)), 220, 0.8, 100, 160, 2.0),
        FanBeam(evenly(240, 360), 150, 0.8, 100, 160, 36.0),
        FanBeam(evenly(240, 360), 150, 0.8, 100, 160, -36.0, curved=True),
        ParallelBeam(evenly(240, 360), 90, 0.5, 15.0),
    ],
    ids=lambda beam: f"{beam.kind}-{beam.angles[-1]:.0f}-{beam.pitch}-{beam.offset}-{getattr(beam, 'curved', '')}",
)
def test_a_disc_has_its_value_and_place_in_every_geometry(beam: ParallelBeam | FanBeam) -> None:
    grid = Grid((80, 72), (0.5, 0.6), (3.0, -2.0))
    shown = [disc(4, -5, 9), disc(-12, 8, 4, 0.01)]
    made = fbp(line_integrals(shown, beam), grid, beam)
    y, x = np.meshgrid(grid.positions(0), grid.positions(1), indexing="ij")
    large, small = np.hypot(x - 4, y + 5), np.hypot(x + 12, y - 8)
    assert made[large < 7].mean() == pytest.approx(0.02, rel=2e-3)
    assert made[small < 2.5].mean() == pytest.approx(0.01, rel=1e-2)
    assert made[large < 7].std() < 2e-4
    assert abs(made[(large > 11) & (small > 6)].mean()) < 5e-5
    weights = np.where(large < 12, np.maximum(made, 0), 0)
    assert (x * weights).sum() / weights.sum() == pytest.approx(4, abs=0.1)
    assert (y * weights).sum() / weights.sum() == pytest.approx(-5, abs=0.1)


def test_fan_and_parallel_beams_agree() -> None:
    grid = Grid((64, 64), (0.5, 0.5))
    shown = [disc(3, -2, 8), disc(-4, 5, 3, 0.01)]
    parallel = ParallelBeam(evenly(360, 180), 260, 0.2)
    fan = FanBeam(evenly(720, 360), 260, 0.4, 200, 400)
    wanted = fbp(line_integrals(shown, parallel), grid, parallel, "hann")
    for beam in (fan, replace(fan, curved=True)):
        assert difference(fbp(line_integrals(shown, beam), grid, beam, "hann"), wanted) < 0.02


def test_uneven_angles_count_by_the_arc_they_stand_for() -> None:
    # Every degree in one half of the turn, every third in the other: equal weights would be off by half.
    angles = (*np.arange(0, 90, 1.0), *np.arange(90, 180, 3.0))
    shuffled = tuple(np.random.default_rng(3).permutation(angles))
    grid = Grid((64, 64), (0.5, 0.5))
    y, x = np.meshgrid(grid.positions(0), grid.positions(1), indexing="ij")
    inside = np.hypot(x - 3, y + 2) < 6
    for order in (angles, shuffled):
        beam = ParallelBeam(order, 120, 0.5)
        made = fbp(line_integrals([disc(3, -2, 8)], beam), grid, beam)
        assert made[inside].mean() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("arc", [10, 90, 120, 170])
def test_limited_angles_are_reconstructed_without_blowing_up(arc: int) -> None:
    for beam in (ParallelBeam(evenly(arc, arc), 150, 0.5), FanBeam(evenly(arc, arc, 30), 220, 0.8, 100, 160)):
        made = fbp(line_integrals(HEAD, beam), GRID, beam)
        assert np.isfinite(made).all()
        assert np.abs(made).max() < 0.04


def test_slices_are_reconstructed_one_by_one() -> None:
    for beam in (ParallelBeam(evenly(30, 180), 90, 0.5), FanBeam(evenly(30, 360), 120, 0.8, 100, 160)):
        grid = Grid((40, 30), (0.5, 0.5))
        stack = np.stack([line_integrals([disc(0, 0, 6)], beam), line_integrals([disc(3, 4, 2)], beam)])
        made = fbp(stack, grid, beam)
        assert made.shape == (2, 40, 30) and made.dtype == np.float32
        for number in range(2):
            assert np.array_equal(made[number], fbp(stack[number], grid, beam))


def test_attenuation_is_per_mm_whatever_the_pitch_and_the_pixel() -> None:
    for pitch, pixel in ((0.1, 0.5), (0.5, 0.1), (1.0, 0.3)):
        beam = ParallelBeam(evenly(90, 180), int(40 / pitch), pitch)
        made = fbp(line_integrals([disc(0, 0, 12)], beam), Grid((10, 10), (pixel, pixel)), beam)
        assert made.mean() == pytest.approx(0.02, rel=5e-3)


@pytest.mark.parametrize("padding", ["edge", "water"])
def test_padding_takes_the_rim_off_truncated_projections(padding: Any) -> None:
    beam = ParallelBeam(evenly(120, 180), 80, 0.5)  # sees 20 mm to each side of the axis, the body 30
    shown = [disc(0, 0, 30, 0.0192), disc(5, 5, 3, 0.005)]
    grid = Grid((60, 60), (0.5, 0.5))
    sinogram = line_integrals(shown, beam)
    truth = rasterise(shown, grid)
    assert looks_truncated(sinogram)
    plain, padded = fbp(sinogram, grid, beam), fbp(sinogram, grid, beam, padding=padding)
    assert difference(padded, truth) < difference(plain, truth) / 3
    if padding == "water":
        assert difference(padded, truth) < 0.06


@pytest.mark.parametrize("kind", ["parallel", "fan", "curved fan"])
def test_padding_by_water_takes_the_attenuation_of_water_in_use(kind: str) -> None:
    beam: Any = ParallelBeam(evenly(60, 180), 80, 0.5)
    if kind != "parallel":
        beam = FanBeam(evenly(60, 360), 80, 1.0, 100, 200, curved=kind == "curved fan")
    grid = Grid((60, 60), (0.5, 0.5))
    sinogram, thrice = (line_integrals([disc(0, 0, 30, value)], beam) for value in (0.0192, 0.0576))
    plain = fbp(sinogram, grid, beam, padding="water")
    # Attenuation in another unit, or at another energy, makes no other picture.
    assert np.allclose(fbp(thrice, grid, beam, padding="water", water=0.0576), 3 * plain, atol=1e-5)
    error = difference(fbp(thrice, grid, beam, padding="water"), 3 * plain)
    assert error > 0.01
    for padding in (None, "edge"):  # nothing else looks at it
        assert np.array_equal(
            fbp(sinogram, grid, beam, padding=padding, water=0.0576),  # type: ignore[arg-type]
            fbp(sinogram, grid, beam, padding=padding),  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("water", [0.0, -0.02, np.nan])
def test_water_that_attenuates_nothing_pads_nothing(water: float) -> None:
    with pytest.raises(UserError, match="a number above 0"):
        fbp(np.ones((30, 30)), Grid((8, 8), (1, 1)), ParallelBeam(evenly(30, 180), 30, 1), padding="water", water=water)


def test_what_is_not_truncated_does_not_look_so_and_padding_leaves_it() -> None:
    beam = covering(GRID, 40)
    sinogram = line_integrals(HEAD, beam) + np.random.default_rng(0).normal(0, 0.01, beam.shape)
    assert not looks_truncated(sinogram)
    clean = line_integrals(HEAD, beam)
    plain = fbp(clean, GRID, beam)
    for padding in ("edge", "water"):
        assert difference(fbp(clean, GRID, beam, padding=padding), plain) < 1e-3  # type: ignore[arg-type]


def test_the_short_side_of_a_displaced_detector_is_no_truncation() -> None:
    beam = FanBeam(evenly(60, 360), 150, 0.8, 100, 160, 36.0)
    sinogram = line_integrals([disc(2, 1, 25)], beam)
    assert looks_truncated(sinogram) and not looks_truncated(sinogram, beam)
    cut = replace(beam, bins=90, offset=12.0)
    assert looks_truncated(line_integrals([disc(2, 1, 29)], cut), cut)


@pytest.mark.parametrize("cutoff", [1.0, 0.641, 0.3])
def test_a_lower_cutoff_lowers_noise_and_keeps_the_value(cutoff: float) -> None:
    beam = ParallelBeam(evenly(90, 180), 120, 0.5)
    grid = Grid((40, 40), (0.5, 0.5))
    noise = np.random.default_rng(0).normal(0, 0.02, beam.shape)
    rough = fbp(noise, grid, beam, "hann").std()
    made = fbp(noise, grid, beam, "hann", cutoff)
    assert made.std() <= rough * cutoff**1.2 * 1.05
    assert fbp(line_integrals([disc(0, 0, 20)], beam), grid, beam, "hann", cutoff).mean() == pytest.approx(
        0.02, rel=5e-3
    )


def test_wrong_input_is_refused_in_one_line() -> None:
    beam = ParallelBeam(evenly(30, 180), 50, 0.5)
    grid = Grid((20, 20), (0.5, 0.5))
    sinogram = np.zeros(beam.shape)
    with pytest.raises(UserError, match="axes look swapped"):
        fbp(sinogram.T, grid, beam)
    with pytest.raises(UserError, match="more axes"):
        fbp(sinogram[None, None], grid, beam)
    with pytest.raises(UserError, match="not finite"):
        fbp(np.where(np.arange(50) == 3, np.inf, sinogram), grid, beam)
    with pytest.raises(UserError, match="unknown filter 'sharp'"):
        fbp(sinogram, grid, beam, "sharp")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cutoff is a fraction"):
        fbp(sinogram, grid, beam, "hann", 64.1)
    with pytest.raises(UserError, match="unknown padding"):
        fbp(sinogram, grid, beam, padding="mirror")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="inside its circle"):
        fbp(sinogram, grid, FanBeam(evenly(30, 360), 50, 0.5, 6, 20))
    with pytest.raises(UserError, match="goes to fdk"):
        fbp(sinogram, grid, micro_ct(4))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"\(rows, columns\)"):
        fbp(sinogram, Grid((2, 20, 20), (1, 1, 1)), beam)

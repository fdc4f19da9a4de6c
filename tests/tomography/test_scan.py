import json

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.acquisition import Scan, acquire
from transmodal.tomography.degradations import (
    BeamHardening,
    FewerAngles,
    ImageNoise,
    LimitedAngle,
    LimitedField,
    Metal,
    PhotonNoise,
    Rings,
    Scatter,
    degradation_from,
)
from transmodal.tomography.degradations.degradation import stream
from transmodal.tomography.finer_projection import upsampled
from transmodal.tomography.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, covering, evenly, micro_ct
from transmodal.tomography.hounsfield import LODOPAB, HounsfieldScale
from transmodal.tomography.scan import DegradedScan, degrade

SPACING = (1.5, 1.5)
SLICE = (slice(28, 36), slice(28, 36))


def _phantom(size: int = 64) -> np.ndarray:
    down, right = np.mgrid[:size, :size] - (size - 1) / 2
    image = np.full((size, size), -1000.0, dtype=np.float32)
    image[np.hypot(down / 1.2, right) < 0.38 * size] = 0.0
    image[np.hypot(down - 10, right + 9) < 6] = 700.0
    image[np.hypot(down + 8, right - 10) < 5] = -800.0
    return image


def _scan(image: np.ndarray, seed: int) -> Scan:
    grid = Grid(image.shape, SPACING)
    scale = HounsfieldScale()
    return Scan(scale.to_attenuation(image)[None], grid, covering(grid, 60), scale, seed)


def _error(scan: DegradedScan, image: np.ndarray) -> float:
    return float(np.sqrt(np.mean((scan.image - image) ** 2)))


def _fan(views: int = 360, **settings: float) -> FanBeam:
    return FanBeam(evenly(views, 360.0), 200, 1.6, 300.0, 500.0, **settings)


@pytest.mark.parametrize("beam", [180, _fan()], ids=["parallel", "fan"])
def test_without_degradation_the_image_comes_back_in_hounsfield_units(beam: ParallelBeam | FanBeam | int) -> None:
    image = _phantom()
    made = degrade(image, SPACING, [], beam)
    assert made.image.shape == image.shape and made.image.dtype == np.float32
    assert abs(made.image[SLICE].mean()) < 4
    assert made.image[40:44, 20:24].mean() == pytest.approx(700, abs=25)
    assert made.image[2:8, 2:8].mean() == pytest.approx(-1000, abs=5)
    assert made.describe() == "Nothing was degraded."


@pytest.mark.parametrize("views", [45, 60, 90])
def test_fewer_angles_keep_the_scale(views: int) -> None:
    made = degrade(_phantom(), SPACING, [FewerAngles(angles=views)], beam=180)
    assert len(made.beam.angles) == views
    assert abs(made.image[SLICE].mean()) < 10
    fan = degrade(_phantom(), SPACING, [FewerAngles(angles=views)], beam=_fan())
    assert abs(fan.image[SLICE].mean()) < 10


def test_each_degradation_makes_the_image_worse() -> None:
    image = _phantom()
    clean = _error(degrade(image, SPACING, [], beam=180), image)
    for step in (
        FewerAngles(angles=20),
        LimitedAngle(degrees=120),
        LimitedField(diameter_mm=50),
        PhotonNoise(photons=2000),
        ImageNoise(sigma_hu=60),
        degradation_from({"kind": "detector-blur", "fwhm_mm": 6}),
        Rings(gain_sd=0.05),
        Scatter(ratio=0.3),
        BeamHardening(),
        Metal(),
        degradation_from({"kind": "rigid-motion", "shift_mm": [3, 0]}),
        degradation_from({"kind": "breathing", "amplitude_mm": 6, "period_s": 1}),
    ):
        assert _error(degrade(image, SPACING, [step], beam=180), image) > clean + 2, step.kind


def test_the_simulation_never_uses_the_grid_of_the_reconstruction() -> None:
    grid = Grid((64, 64), SPACING)
    for finer in (2, 3, 4):
        scan = Scan(np.zeros((1, 64, 64), np.float32), grid, covering(grid, 30), HounsfieldScale(), finer=finer)
        coarse, fine = grid.positions(0), scan.fine_grid.positions(0)
        assert len(fine) == 64 * finer
        assert np.abs(coarse[:, None] - fine[None]).min() > 0.1 * scan.fine_grid.spacing[0]
    with pytest.raises(UserError, match="at least 2 times finer"):
        degrade(_phantom(), SPACING, [], beam=30, finer=1)
    with pytest.raises(UserError, match="GiB are free: take a smaller --finer"):
        degrade(_phantom(), SPACING, [], beam=30, finer=10**6)
    with pytest.raises(UserError, match="GiB are free: take fewer --rays-per-bin"):
        degrade(_phantom(), SPACING, [], beam=30, rays_per_bin=10**9)


def test_interpolation_to_the_fine_grid_keeps_places_and_slopes() -> None:
    grid = Grid((20, 30), (2.0, 1.0), (3.0, -4.0))
    fine = Scan(np.zeros((1, 20, 30), np.float32), grid, covering(grid, 9), HounsfieldScale()).fine_grid
    ramp = 3 * grid.positions(0)[:, None] - 2 * grid.positions(1)[None]
    made = upsampled(ramp[None].astype(np.float32), grid, fine)[0]
    wanted = 3 * fine.positions(0)[:, None] - 2 * fine.positions(1)[None]
    assert made[1:-1, 1:-1] == pytest.approx(wanted[1:-1, 1:-1], abs=1e-3)


def test_a_simulated_sinogram_is_that_of_the_object() -> None:
    grid = Grid((64, 64), SPACING)
    image = np.full((64, 64), -1000.0, dtype=np.float32)
    down, right = np.mgrid[:64, :64] - 31.5
    image[np.hypot(down, right) < 20] = 0.0
    made = degrade(image, SPACING, [], beam=ParallelBeam(evenly(12, 180.0), 65, 1.5))
    chord = 2 * np.sqrt(np.clip((20 * 1.5) ** 2 - made.beam.positions**2, 0, None)) * 0.0192
    inside = np.abs(made.beam.positions) < 26
    assert made.sinogram[:, inside] == pytest.approx(np.broadcast_to(chord[inside], (12, inside.sum())), abs=0.03)
    assert made.grid == grid


def test_one_seed_gives_one_scan_whatever_else_is_listed() -> None:
    image = _phantom()
    noise, rings = PhotonNoise(photons=1e4), Rings()
    first = degrade(image, SPACING, [noise, rings], beam=60, seed=3)
    assert np.array_equal(first.image, degrade(image, SPACING, [rings, noise], beam=60, seed=3).image)
    assert not np.array_equal(first.image, degrade(image, SPACING, [noise, rings], beam=60, seed=4).image)
    alone = degrade(image, SPACING, [noise], beam=60, seed=3)
    stripes = first.sinogram - alone.sinogram
    assert np.ptp(stripes, axis=0).max() < 1e-4  # the photons were the same
    open_reading = acquire(_scan(image, seed=3), []).reading
    by_itself, _ = rings.read(open_reading, stream(3, "rings"))
    assert acquire(_scan(image, seed=3), [rings]).reading.transmission == pytest.approx(by_itself.transmission)


def test_a_stack_is_its_slices_in_turn() -> None:
    stack = np.stack([_phantom(), np.roll(_phantom(), 5, axis=1)])
    stack[1][30:40, 20:50] = 1500.0
    together = degrade(stack, SPACING, [FewerAngles(angles=30), Scatter(ratio=0.5)], beam=60)
    assert together.image.shape == stack.shape and together.sinogram.shape == (2, *together.beam.shape)
    for index, image in enumerate(stack):
        alone = degrade(image, SPACING, [FewerAngles(angles=30), Scatter(ratio=0.5)], beam=60)
        assert together.image[index] == pytest.approx(alone.image, abs=0.1)


def test_padding_becomes_air_and_is_told() -> None:
    image = _phantom()
    padded = image.copy()
    padded[:2] = -2000
    padded[-2:] = -2048
    made = degrade(padded, SPACING, [], beam=90, scale=LODOPAB)  # whose air is not nothing
    assert np.array_equal(made.image, degrade(image, SPACING, [], beam=90, scale=LODOPAB).image)
    assert np.array_equal(made.outside, padded <= -1500)
    assert made.record["padding"] == {"pixels": 4 * 64, "up_to_hu": -1500.0, "set_to_hu": -1000.0}


def test_the_record_is_json_and_repeats_the_scan() -> None:
    image = _phantom()
    steps = [FewerAngles(every=3), PhotonNoise(dose_divisor=25), Rings(dead_fraction=0.02), Metal(count=1)]
    made = degrade(image, SPACING, steps, beam=90, seed=11, scale=LODOPAB)
    record = json.loads(made.record_json())
    listed = [{key: entry[key] for key in entry if key not in ("sentence", "found")} for entry in record["steps"]]
    again = degrade(
        image, SPACING, [degradation_from(entry) for entry in listed], beam=90, seed=record["seed"], scale=LODOPAB
    )
    assert np.array_equal(made.image, again.image)
    found = {entry["kind"]: entry["found"] for entry in record["steps"]}
    assert len(found["metal"]["inserts"][0]) == 1 and len(found["rings"]["dead_bins"][0]) == 2
    assert "One view in 3" in made.describe() and "divided by 25" in made.describe()
    assert record["scale"] == {"water": 0.02, "air": 0.00002}
    assert len(record["beam"]["angles"]) == 30 and len(record["scanner"]["angles"]) == 90


def test_truncated_projections_are_mended_by_padding() -> None:
    image = _phantom()
    plain = degrade(image, SPACING, [LimitedField(diameter_mm=60)], beam=180)
    padded = degrade(image, SPACING, [LimitedField(diameter_mm=60)], beam=180, padding="water")
    assert plain.sinogram.shape[-1] == 40
    assert abs(padded.image[SLICE].mean()) < 0.5 * abs(plain.image[SLICE].mean())


def test_padding_by_water_knows_the_water_of_the_scale() -> None:
    steps = [LimitedField(diameter_mm=60)]
    usual, dense = (
        degrade(_phantom(), SPACING, steps, beam=90, padding="water", scale=HounsfieldScale(water)).image
        for water in (0.0192, 0.05)
    )
    assert np.allclose(usual, dense, atol=0.5)


def test_more_rays_a_bin_keep_the_light_of_the_bin() -> None:
    grid = Grid((64, 64), SPACING)
    attenuation = HounsfieldScale().to_attenuation(_phantom())[None]
    wide = Scan(attenuation, grid, ParallelBeam(evenly(8, 180.0), 50, 3.0), HounsfieldScale(), rays_per_bin=3)
    narrow = Scan(attenuation, grid, ParallelBeam(evenly(8, 180.0), 150, 1.0), HounsfieldScale())
    light = acquire(narrow, []).reading.transmission.reshape(1, 1, 8, 50, 3).mean(axis=-1)
    assert acquire(wide, []).reading.transmission == pytest.approx(light, rel=1e-5)


def test_a_mask_of_metal_takes_the_place_of_drawn_inserts() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[30:34, 40:44] = True
    made = degrade(_phantom(), SPACING, [Metal(material="titanium")], beam=90, metal=mask)
    assert made.metal is not None and np.array_equal(made.metal > 0, mask)
    assert made.image[31:33, 41:43].mean() > 3000
    assert made.trace is not None and made.trace.shape == made.sinogram.shape
    assert made.trace.sum(axis=1).min() >= 4 and made.trace.sum(axis=1).max() <= 12
    with pytest.raises(UserError, match="needs the degradation metal"):
        degrade(_phantom(), SPACING, [], beam=90, metal=mask)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros(5), "not shape"),
        (np.full((8, 8), np.nan), "64 values that are not finite"),
        (np.linspace(0, 1, 64).reshape(8, 8), "Hounsfield units are wanted"),
        (np.full((8, 8), -2048.0), "the CT image is all padding"),
    ],
)
def test_images_that_are_none_are_refused(image: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        degrade(image, (1, 1), [], beam=10)


def test_cone_beams_and_companions_of_another_shape_are_refused() -> None:
    cone: ConeBeam = micro_ct(10)
    with pytest.raises(UserError, match="parallel or fan"):
        degrade(_phantom(), SPACING, [], beam=cone)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="mask of metal has shape"):
        degrade(_phantom(), SPACING, [Metal()], beam=10, metal=np.zeros((3, 3)))
    with pytest.raises(UserError, match="agents one with a tube"):
        degrade(_phantom(), SPACING, [], beam=10, agents={"iodine": np.zeros((64, 64))})

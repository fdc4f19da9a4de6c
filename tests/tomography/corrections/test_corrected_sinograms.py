import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from transmodal.errors import UserError
from transmodal.tomography.corrections.beam_hardening import calibration, fit_water_correction, water_readings
from transmodal.tomography.corrections.metal import (
    interpolate_normalised,
    interpolate_trace,
    metal_in,
    metal_trace,
    prior_image,
    reduce_metal,
)
from transmodal.tomography.corrections.scatter import deconvolve_scatter, subtract_constant_scatter
from transmodal.tomography.degradations import BeamHardening, Insert, LimitedField, Metal, Rings, Scatter
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.geometry import Grid
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.polychromatic import Tissues
from transmodal.tomography.raw import suppress_rings
from transmodal.tomography.scan import DegradedScan, degrade

SPACING = (2.0, 2.0)


def _body(size: int = 96) -> np.ndarray:
    down, right = np.mgrid[:size, :size] - (size - 1) / 2
    image = np.full((size, size), -1000.0, dtype=np.float32)
    image[np.hypot(down, right / 1.2) < 0.36 * size] = 20.0
    image[np.hypot(down - 20, right) < 6] = 700.0
    image[np.hypot(down + 14, right - 8) < 7] = -850.0
    return image


def _error(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.clip(image, -1000, 2000) - truth)[where] ** 2)))


@pytest.mark.parametrize("detector", ["integrating", "counting"])
def test_the_cubic_makes_water_read_right_up_to_half_a_metre(detector: str) -> None:
    response, tissues = BeamHardening(detector=detector).response(), Tissues(HounsfieldScale())
    thickness = np.linspace(0, 500, 51)
    read = water_readings(response, tissues, thickness)
    right = thickness * 0.0192
    corrected = fit_water_correction(response, tissues).apply(read)
    assert np.abs(corrected - right).max() < 0.1 * np.abs(read * right[20] / read[20] - right).max()
    assert calibration(response, tissues, 200.0).apply(read)[20] == pytest.approx(right[20], rel=1e-5)


def test_a_correction_for_mice_is_better_for_mice() -> None:
    response, tissues = BeamHardening().response(), Tissues(HounsfieldScale())
    thickness = np.linspace(1, 50, 50)
    read = water_readings(response, tissues, thickness)
    errors = [
        np.abs(fit_water_correction(response, tissues, longest_mm=longest).apply(read) - 0.0192 * thickness).max()
        for longest in (50.0, 500.0)
    ]
    assert errors[0] < 0.2 * errors[1]
    with pytest.raises(UserError, match="degree 1 to 8"):
        fit_water_correction(response, tissues, degree=0)


def test_a_line_is_drawn_across_the_trace_alone() -> None:
    views = np.array([[0.0, 1.0, 9.0, 9.0, 4.0, 5.0], [3.0, 9.0, 2.0, 1.0, 9.0, 9.0], [7.0] * 6])
    trace = np.array([[0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1], [1] * 6], dtype=bool)
    assert interpolate_trace(views, trace).tolist() == [[0, 1, 2, 3, 4, 5], [3, 2.5, 2, 1, 1, 1], [7] * 6]
    with pytest.raises(UserError, match="trace of metal has shape"):
        interpolate_trace(views, trace[:2])


def test_normalised_interpolation_is_exact_for_a_perfect_prior() -> None:
    true = np.random.default_rng(0).uniform(1.0, 3.0, (5, 40)).astype(np.float32)
    trace = np.zeros((5, 40), dtype=bool)
    trace[:, 12:17] = True
    spoilt = np.where(trace, 20.0, true)
    assert interpolate_normalised(spoilt, trace, 1.1 * true) == pytest.approx(true, rel=1e-5)
    assert np.array_equal(interpolate_normalised(spoilt, trace, 1.1 * true)[~trace], spoilt[~trace])


def _with_metal() -> tuple[np.ndarray, DegradedScan]:
    inserts = (Insert(y=0, x=-36, radius=5), Insert(y=6, x=40, radius=6))
    return _body(), degrade(_body(), SPACING, [Metal(material="iron", inserts=inserts)], beam=180)


def test_metal_artefacts_fall_by_linear_and_more_by_normalised_interpolation() -> None:
    image, scan = _with_metal()
    clean = degrade(image, SPACING, [], beam=180).image
    assert scan.metal is not None and scan.trace is not None
    where = (scan.metal == 0) & (image > -900)
    spoilt = _error(scan.image, clean, where)
    linear, normalised = (
        _error(
            reduce_metal(scan.sinogram, scan.metal > 0, scan.grid, scan.beam, method=method, trace=scan.trace),
            clean,
            where,
        )
        for method in ("linear", "normalised")
    )
    assert linear < 0.5 * spoilt
    assert normalised < 0.8 * linear


def test_metal_is_found_by_its_value_and_its_trace_by_projection() -> None:
    _, scan = _with_metal()
    assert scan.metal is not None and scan.trace is not None
    found = metal_in(scan.image)
    metal = scan.metal > 0.5
    assert (found & metal).sum() > 0.9 * metal.sum()
    assert not (found & ~binary_dilation(metal, iterations=3)).any()  # it blooms, but nowhere else
    trace = metal_trace(scan.metal > 0, scan.grid, scan.beam)
    assert (trace & scan.trace).sum() > 0.9 * scan.trace.sum()
    with pytest.raises(UserError, match="'guess'"):
        reduce_metal(scan.sinogram, found, scan.grid, scan.beam, method="guess")


def test_a_slice_is_normalised_by_its_own_prior() -> None:
    generator = np.random.default_rng(0)
    sinograms = generator.uniform(0.0, 1.0, (2, 6, 40)).astype(np.float32)
    priors = np.stack([np.full((6, 40), 0.2), np.full((6, 40), 90.0)]).astype(np.float32)
    priors[0, :, 10:20] = 0.05
    trace = np.zeros((2, 6, 40), dtype=bool)
    trace[..., 12:17] = True
    together = interpolate_normalised(sinograms, trace, priors)
    for index in range(2):
        alone = interpolate_normalised(sinograms[index], trace[index], priors[index])
        assert np.array_equal(together[index], alone)


@pytest.mark.parametrize("method", ["linear", "normalised"])
def test_truncated_projections_are_padded_for_metal_too(method: str) -> None:
    made = degrade(_body(), SPACING, [Metal(material="iron"), LimitedField(diameter_mm=100)], beam=90)
    assert made.metal is not None
    metal = made.metal >= 0.5
    plain, padded = (
        reduce_metal(made.sinogram, metal, made.grid, made.beam, method=method, trace=made.trace, padding=padding)
        for padding in (None, "water")
    )
    seen = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 22
    body = _body()
    assert _error(padded, body, seen & ~metal) < 0.7 * _error(plain, body, seen & ~metal)


def test_a_prior_is_air_soft_tissue_or_bone() -> None:
    image = _body() + np.random.default_rng(0).normal(0, 40, (96, 96)).astype(np.float32)
    metal = np.zeros((96, 96), dtype=bool)
    metal[47:50, 20:23] = True
    prior = prior_image(image, Grid((96, 96), SPACING), metal, blur_mm=4.0)
    assert (prior[metal] == 0).all()
    assert prior[2, 2] == -1000 and prior[34, 56] == -1000 and prior[48, 60] == 0
    assert prior[66:70, 46:50] == pytest.approx(image[66:70, 46:50])


def test_scatter_of_a_known_kernel_is_taken_out() -> None:
    image = _body()
    clean = degrade(image, SPACING, [], beam=90)
    scan = degrade(image, SPACING, [Scatter(amplitude=0.2, fwhm_mm=80)], beam=90)
    mended = deconvolve_scatter(scan.sinogram, scan.beam, 0.2, 80, iterations=12)
    assert np.abs(mended - clean.sinogram).max() < 1e-3 < 0.05 < np.abs(scan.sinogram - clean.sinogram).max()
    with pytest.raises(UserError, match="between 0 and 1"):
        deconvolve_scatter(scan.sinogram, scan.beam, 1.5, 80)


def test_a_constant_takes_much_of_broad_scatter() -> None:
    image = _body()
    clean = degrade(image, SPACING, [], beam=90).sinogram
    scan = degrade(image, SPACING, [Scatter(shape="constant", ratio=0.3)], beam=90).sinogram
    mended = subtract_constant_scatter(scan, 0.6)
    assert np.abs(mended - clean).mean() < 0.5 * np.abs(scan - clean).mean()
    with pytest.raises(UserError, match="from 0 to 1"):
        subtract_constant_scatter(scan, 1.5)


def test_rings_are_suppressed_by_what_raw_data_get() -> None:
    image = _body()
    clean = degrade(image, SPACING, [], beam=180).image
    scan = degrade(image, SPACING, [Rings(gain_sd=0.05)], beam=180)
    mended = fbp(suppress_rings(scan.sinogram, "mean"), scan.grid, scan.beam, "hann")
    body = image > -900
    # Gains that differ from bin to bin at random leave their slow part behind: a quarter is gained, not all.
    assert _error(HounsfieldScale().to_hounsfield(mended), clean, body) < 0.85 * _error(scan.image, clean, body)

from collections.abc import Callable

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.tomography.degradations import BeamHardening, Insert, Metal, PhotonNoise, SpectralBins
from transmodal.tomography.degradations.degradation import stream
from transmodal.tomography.geometry import Grid
from transmodal.tomography.scan import degrade
from transmodal.tomography.spectrum import Tube

Discs = Callable[..., np.ndarray]


def _cup(image: np.ndarray) -> float:
    """Return by how many HU the rim of a centred disc of 40 pixels lies above its middle."""
    down, right = np.mgrid[: image.shape[0], : image.shape[1]] - (image.shape[0] - 1) / 2
    radius = np.hypot(down, right)
    return float(image[(radius > 32) & (radius < 37)].mean() - image[radius < 6].mean())


@pytest.mark.parametrize("kvp", [80, 140])
def test_water_cups_and_its_correction_removes_four_fifths(disc_hu: Discs, kvp: float) -> None:
    image = disc_hu(96, (0, 0, 40, 0))
    tube = Tube(kvp=kvp)
    before = _cup(degrade(image, (2.5, 2.5), [], beam=180).image)
    cupped = _cup(degrade(image, (2.5, 2.5), [BeamHardening(tube=tube)], beam=180).image)
    corrected = _cup(degrade(image, (2.5, 2.5), [BeamHardening(tube=tube, water_correction=True)], beam=180).image)
    assert abs(before) < 1
    assert cupped > 20
    assert abs(corrected) < 0.2 * cupped


def test_a_scanner_is_calibrated_on_its_water(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 0, 25, 0))
    for size, step in ((4.0, BeamHardening(calibration_mm=200)), (0.6, BeamHardening(calibration_mm=30))):
        made = degrade(image, (size, size), [step], beam=120).image
        assert abs(made[24:40, 24:40].mean()) < 30  # 50 pixels across: 200 mm and 30 mm
    mouse = degrade(image, (0.6, 0.6), [BeamHardening(calibration_mm=300)], beam=120).image
    assert mouse[24:40, 24:40].mean() > 50  # too soft a beam for that calibration


def test_bone_makes_dark_bands_that_water_correction_leaves(disc_hu: Discs) -> None:
    image = disc_hu(96, (0, 0, 40, 0), (0, -22, 7, 1500), (0, 22, 7, 1500))
    step = BeamHardening(water_correction=True)
    hardened = degrade(image, (2.5, 2.5), [step], beam=180).image - degrade(image, (2.5, 2.5), [], beam=180).image
    between, above = hardened[44:52, 40:56].mean(), hardened[20:28, 40:56].mean()
    assert between < above - 20


def test_metal_streaks_and_few_photons_make_it_worse(disc_hu: Discs) -> None:
    image = disc_hu(96, (0, 0, 40, 0))
    inserts = (Insert(y=0, x=-40, radius=6), Insert(y=0, x=40, radius=6))
    quiet = degrade(image, (2, 2), [Metal(material="iron", inserts=inserts)], beam=180)
    noisy = degrade(image, (2, 2), [Metal(material="iron", inserts=inserts), PhotonNoise(photons=2e4)], beam=180)
    between = (slice(46, 50), slice(36, 60))
    assert quiet.image[between].mean() < -150
    assert quiet.metal is not None and quiet.image[quiet.metal > 0.9].mean() > 5000
    noise = noisy.image - quiet.image
    assert noise[42:54, 36:60].std() > 2 * noise[14:26, 36:60].std()


def test_denser_metals_disturb_more(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 0, 27, 0))
    inserts = (Insert(y=0, x=-20, radius=5), Insert(y=0, x=20, radius=5))
    errors = []
    for material in ("titanium", "iron", "copper", "gold"):
        made = degrade(image, (2, 2), [Metal(material=material, inserts=inserts)], beam=90)
        assert made.metal is not None
        errors.append(float(np.abs(made.image - image)[(made.metal == 0) & (image > -500)].mean()))
    assert errors == sorted(errors) and errors[-1] > 3 * errors[0]


def test_edges_of_the_trace_are_divided() -> None:
    path = np.array([[0, 0, 8, 8, 8, 0, 8, 0]], dtype=np.float32)
    assert Metal(edge_divisor=4).edges_thinned(path).tolist() == [[0, 0, 2, 8, 2, 0, 2, 0]]
    assert Metal(edge_divisor=1).edges_thinned(path).tolist() == path.tolist()


def test_an_insert_has_its_area_and_place() -> None:
    grid = Grid((80, 80), (0.5, 0.5))
    filled = Insert(y=4, x=-6, radius=5, other_radius=2, degrees=90).fraction(grid)
    assert filled.sum() * 0.25 == pytest.approx(np.pi * 10, rel=0.02)
    rows, columns = np.nonzero(filled > 0.5)
    assert grid.positions(0)[rows].mean() == pytest.approx(4, abs=0.1)
    assert np.ptp(grid.positions(0)[rows]) == pytest.approx(10, abs=1)  # the long axis now points down
    assert np.ptp(grid.positions(1)[columns]) == pytest.approx(4, abs=1)


def test_drawn_inserts_lie_in_the_body_and_follow_the_seed(disc_hu: Discs) -> None:
    images = np.stack([disc_hu(64, (10, 5, 14, 40))] * 2)
    grid = Grid((64, 64), (2.0, 2.0))
    step = Metal(count=3, radius_mm=(3, 5))
    placed = step.place(images, grid, stream(5, "metal-places"))
    assert [len(row) for row in placed.notes["inserts"]] == [3, 3]
    assert (placed.fraction[images < -500] < 0.5).all()
    assert not np.array_equal(placed.fraction[0], placed.fraction[1])
    assert np.array_equal(placed.fraction, step.place(images, grid, stream(5, "metal-places")).fraction)
    with pytest.raises(UserError, match="no tissue"):
        step.place(np.full((1, 64, 64), -1000.0, dtype=np.float32), grid, stream(5, "metal-places"))


def test_metal_that_is_wider_than_the_image_is_refused_and_its_share_of_the_body_told(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 0, 20, 40))[None]
    grid = Grid((64, 64), (2.0, 2.0))
    for step in (Metal(radius_mm=(500, 600)), Metal(inserts=(Insert(y=0, x=0, radius=900, other_radius=65),))):
        with pytest.raises(UserError, match="wider than the image, 128 mm"):
            step.place(image, grid, stream(5, "metal-places"))
    shares = []
    for radius in (4.0, 60.0):
        placed = Metal(inserts=(Insert(y=0, x=0, radius=radius),)).place(image, grid, stream(5, "metal-places"))
        shares += placed.notes["share_of_body"]
    assert shares[0] == pytest.approx((4 / 40) ** 2, rel=0.1)
    assert shares[1] == 1.0


def test_windows_split_the_photons() -> None:
    step = SpectralBins(thresholds_kev=(20, 50, 80))
    response = step.response()
    assert step.windows() == ["20-50 keV", "50-80 keV", "80-120 keV"]
    assert response.weights.sum(axis=1) == pytest.approx([1, 1, 1])
    assert response.shares.sum() == pytest.approx(1)
    means = response.weights @ response.energies
    assert 20 < means[0] < 50 < means[1] < 80 < means[2] < 120


@pytest.mark.parametrize("method", ["maximum-likelihood", "polynomial"])
def test_decomposition_gives_the_densities_and_mono_energetic_images(disc_hu: Discs, method: str) -> None:
    image = disc_hu(96, (0, 0, 40, 0), (0, 22, 8, 1200), (-20, 0, 8, 50))
    step = SpectralBins(decomposition=method, mono_kev=(70.0, 45.0))
    made = degrade(image, (2.0, 2.0), [step], beam=180)
    middle, soft, bone = (slice(44, 52), slice(40, 52)), (slice(24, 32), slice(44, 52)), (slice(44, 52), slice(66, 74))
    assert made.images["water"][middle].mean() == pytest.approx(1.0, abs=0.01)
    assert made.images["cortical_bone"][middle].mean() == pytest.approx(0.0, abs=0.01)
    assert made.images["water"][soft].mean() == pytest.approx(1.05, abs=0.01)
    assert made.images["cortical_bone"][bone].mean() == pytest.approx(1.29, abs=0.03)
    assert made.images["mono 70 keV"][bone].mean() == pytest.approx(1200, abs=15)  # the reference: as it was
    assert made.images["mono 45 keV"][bone].mean() > 2000
    assert abs(made.images["mono 45 keV"][middle].mean()) < 5
    assert np.array_equal(made.image, made.images["mono 70 keV"])
    assert made.windows is not None and made.windows.shape == (2, *made.sinogram.shape)


def test_iodine_is_told_from_bone_by_its_edge(disc_hu: Discs) -> None:
    image = disc_hu(64, (0, 0, 28, 0), (0, 14, 6, 800))
    iodine = np.zeros((64, 64), dtype=np.float32)
    iodine[28:36, 14:24] = 0.01
    step = SpectralBins(thresholds_kev=(20.0, 33.2, 60.0), basis=("water", "cortical_bone", "iodine"))
    made = degrade(image, (1.5, 1.5), [step], beam=120, agents={"iodine": iodine})
    assert made.images["iodine"][30:34, 16:22].mean() == pytest.approx(0.01, rel=0.03)
    assert abs(made.images["iodine"][30:34, 44:48]).mean() < 3e-4  # the bone holds none
    assert abs(made.images["cortical_bone"][30:34, 16:22]).mean() < 5e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds_kev": (60, 40)}, "must rise"),
        ({"thresholds_kev": (20, 130)}, "below the tube's 120 kV"),
        ({"thresholds_kev": (20,)}, "2 materials need as many windows"),
        ({"basis": ("water", "cheese")}, "cheese"),
        ({"basis": ("water", "water")}, "twice"),
        ({"detector": "integrating"}, "counting detector"),
    ],
)
def test_impossible_windows_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectralBins(**settings)


def test_two_spectra_in_one_scan_are_refused(disc_hu: Discs) -> None:
    image = disc_hu(32, (0, 0, 12, 0))
    with pytest.raises(UserError, match="must have the same tube"):
        degrade(image, (2, 2), [BeamHardening(tube=Tube(kvp=80)), Metal()], beam=30)
    with pytest.raises(UserError, match="leave beam-hardening out"):
        degrade(image, (2, 2), [BeamHardening(), SpectralBins()], beam=30)
    assert degrade(image, (2, 2), [SpectralBins(), Metal(radius_mm=(2, 3))], beam=30).trace is not None

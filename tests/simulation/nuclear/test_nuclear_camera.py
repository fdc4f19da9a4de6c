"""Cameras over bodies that can be reckoned by hand, and over a mouse."""

import math
from dataclasses import replace

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.images.nuclear.isotopes import ISOTOPES
from transmodal.simulation.mouse import Acquisition, Animal
from transmodal.simulation.mouse.bed import Misalignment
from transmodal.simulation.mouse.body import pose_body
from transmodal.simulation.nuclear.camera import (
    CoincidenceCamera,
    GammaCamera,
    camera_for,
    device_transform,
    project,
)
from transmodal.simulation.nuclear.sources import PLACES, Sources, Tumour, find_sources, label_tumour

EDGES = np.arange(0.0, 31.0)
STEP = 0.2
SHAPE = (250, 500)
STRAIGHT = Misalignment()
CAMERAS = (GammaCamera, CoincidenceCamera)


def box(low, high, half=3.0, centre=(25.0, 50.0)):
    """Layers of a box from `low` to `high` mm, of `half` mm to each side of `centre` (y, x) mm."""
    y, x = (np.arange(SHAPE[0]) + 0.5) * STEP, (np.arange(SHAPE[1]) + 0.5) * STEP
    inside = (np.abs(y - centre[0]) < half)[:, None] & (np.abs(x - centre[1]) < half)[None, :]
    within = np.clip(np.minimum(EDGES[1:], high) - np.maximum(EDGES[:-1], low), 0, None)
    return (within[:, None, None] * inside).astype(np.float32)


def sources(top=20.0, **layers):
    body = np.full(SHAPE, top, np.float32)
    return Sources(layers, EDGES, body, body.copy(), STEP)


@pytest.fixture(scope="module")
def body():
    return pose_body(Animal.draw(4, "white"), Acquisition(pose=1), (250, 500), 2, finer=1)


@pytest.fixture(scope="module")
def mouse(body):
    return find_sources(body, PLACES, Tumour(6.0))


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("off", [STRAIGHT, Misalignment(4.0, (2.0, -3.0), 1.03)])
@pytest.mark.parametrize("pixel", [1.0, 0.5, 2.5])
def test_without_attenuation_every_becquerel_counts_with_the_sensitivity(kind, off, pixel):
    camera = kind(attenuation=0.0, off=off, pixel=pixel)
    seen = project(camera, sources(organ=box(4, 9), point=box(11, 12, half=0.15)))
    assert seen["organ"].shape == (round(50 / pixel), round(100 / pixel))
    for counts in seen.values():
        assert counts.sum() * 1e6 == pytest.approx(camera.sensitivity, rel=1e-3)


def test_a_slab_is_weakened_as_the_closed_form_says():
    mu, top, low, high = 0.0155, 18.0, 3.0, 11.0
    gamma = project(GammaCamera(attenuation=mu), sources(top, slab=box(low, high)))["slab"].sum()
    expected = (math.exp(-mu * (top - high)) - math.exp(-mu * (top - low))) / (mu * (high - low))
    assert gamma / 210e-6 == pytest.approx(expected, rel=1e-3)
    both = project(CoincidenceCamera(attenuation=mu, sensitivity=210.0), sources(top, slab=box(low, high)))["slab"]
    assert both.sum() / 210e-6 == pytest.approx(math.exp(-mu * top), rel=1e-3)


def test_depth_matters_to_one_head_and_not_to_two():
    two = sources(shallow=box(15, 17), deep=box(2, 4))
    gamma, pair = project(GammaCamera(), two), project(CoincidenceCamera(), two)
    assert gamma["shallow"].sum() > 1.15 * gamma["deep"].sum()
    assert pair["shallow"].sum() == pytest.approx(pair["deep"].sum(), rel=1e-3)


def deviation(image, pixel):
    """Standard deviation along the columns, mm."""
    profile = image.sum(axis=0) / image.sum()
    x = np.arange(len(profile)) * pixel
    return math.sqrt((profile * x**2).sum() - (profile * x).sum() ** 2)


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("height", [2.5, 17.5])
def test_the_image_of_a_point_is_as_wide_as_the_camera_says(kind, height):
    camera = kind(off=STRAIGHT, pixel=0.5)
    image = project(camera, sources(point=box(height - 0.5, height + 0.5, half=0.35)))["point"]
    square = (0.8**2 + 0.5**2) / 12  # the box, the camera's pixel
    fwhm = math.sqrt(8 * math.log(2) * (deviation(image, 0.5) ** 2 - square))
    assert fwhm == pytest.approx(camera.fwhm(height), rel=0.02)


def test_a_collimator_is_sharpest_at_its_face():
    camera = GammaCamera(face=25.0, slope=0.1)
    assert camera.fwhm(25.0) == pytest.approx(2.0)
    assert camera.fwhm(5.0) == pytest.approx(math.hypot(2.0, 2.0))
    assert CoincidenceCamera().fwhm(3.0) == CoincidenceCamera().fwhm(20.0)


@pytest.mark.parametrize("off", [STRAIGHT, Misalignment(0, (3.0, -2.0)), Misalignment(5.0, (1.0, 2.0), 1.05)])
@pytest.mark.parametrize("xray_pixel", [0.1, 0.78125])
def test_a_point_is_seen_where_the_transform_takes_it(off, xray_pixel):
    camera = GammaCamera(off=off, pixel=0.5, attenuation=0.0)
    image = project(camera, sources(point=box(9, 10, half=0.35, centre=(18.0, 30.0))))["point"]
    rows, columns = np.indices(image.shape)
    middle = np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum() * 0.5
    in_xray_world = np.array([30.0, 18.0]) - xray_pixel / 2
    assert device_transform(camera, xray_pixel).apply(middle) == pytest.approx(in_xray_world, abs=0.01)


def test_the_device_transform_turns_scales_and_shifts_about_the_middle():
    camera = GammaCamera(off=Misalignment(90.0, (1.0, 2.0), 2.0))
    transform = device_transform(camera, 1.0)
    middle = np.array([49.5, 24.5])
    assert transform.kind == "similarity"
    assert transform.apply(middle) == pytest.approx(np.array([50.5, 26.5]))
    assert transform.apply([52.5, 24.5]) == pytest.approx(np.array([50.5, 32.5]))


def test_a_mouse_has_all_places_within_its_body(mouse, body):
    assert set(mouse.layers) == set(PLACES)
    for place in PLACES:
        total = mouse.layers[place].sum(axis=0)
        outside = total[mouse.top <= 0].sum() / total.sum()
        assert outside < 0.02, place
    assert 400 < mouse.volume("liver") < 3000
    assert 20 < mouse.volume("bladder") < 150
    assert mouse.volume("tumour") == pytest.approx(math.pi / 6 * 6**3, rel=0.02)
    assert 0.5 * body.surface.body.thickness.sum() * STEP**2 < mouse.volume("soft tissue")


def test_what_lies_deep_in_a_mouse_is_seen_less(mouse):
    camera = GammaCamera(off=STRAIGHT)
    share = {place: image.sum() / 210e-6 for place, image in project(camera, mouse).items()}
    assert all(0.6 < value < 1.0 for value in share.values())
    assert share["kidneys"] > share["heart"]  # kidneys lie under the back, the heart behind the breastbone


def test_the_camera_follows_the_isotope():
    assert isinstance(camera_for(ISOTOPES["Tc-99m"]), GammaCamera)
    assert isinstance(camera_for(ISOTOPES["F-18"]), CoincidenceCamera)


def test_a_tumour_that_bulges_is_part_of_the_body_that_weakens(body):
    tumour = Tumour(9.0, left=-14.0)
    some = (slice(None, None, 5), slice(None, None, 5))
    z = np.arange(0.0, 30.0, 0.02)[:, None, None]
    parts = [(each.low[some], each.high[some]) for each in (body.surface.body, tumour.interval(body))]
    inside = np.any([(z > low) & (z < high) for low, high in parts], axis=0)
    seen = find_sources(body, ("heart",), tumour).thickness[some]
    np.testing.assert_allclose(seen, inside.sum(axis=0) * 0.02, atol=0.05)
    without = find_sources(body, ("heart",)).thickness[some]
    assert (seen > without + 1.0).sum() > 3  # it does bulge


def test_a_tumour_is_marked_on_the_organ_map(body):
    tumour = Tumour(6.0)
    labels = label_tumour(np.ones(body.shape, np.uint8), body, tumour)
    assert (labels == 12).sum() * STEP**2 == pytest.approx(math.pi * 3**2, rel=0.05)
    assert set(np.unique(labels)) == {1, 12}


def test_cameras_and_places_that_cannot_be_are_refused(body):
    for wrong in ({"sensitivity": 0.0}, {"attenuation": -1.0}, {"pixel": 0.0}, {"saturation": 0}):
        with pytest.raises(UserError):
            replace(GammaCamera(), **wrong)
    with pytest.raises(UserError, match="0 mm"):
        Tumour(0.0)
    with pytest.raises(ValueError, match="needs one"):
        find_sources(body, ["tumour"])
    with pytest.raises(ValueError, match="thyroid"):
        find_sources(body, ["thyroid"])
    with pytest.raises(UserError, match="no organ"):
        project(GammaCamera(), sources(organ=np.zeros((30, *SHAPE), np.float32)))

"""The posed body: the same one for every image of it."""

import numpy as np
import pytest

from transmodal.simulation.mouse import Acquisition, Animal, simulate_pair
from transmodal.simulation.mouse.body import pose_body
from transmodal.simulation.mouse.pair import image_body

PIXELS = [5101, 1278, 90, 21, 98, 44, 33, 119, 172, 3, 964, 269]
XRAY, PHOTO, THICKNESS = 41619.986, 135.9042, 3.882702


@pytest.fixture(scope="module")
def body():
    return pose_body(Animal.draw(21, "black"), Acquisition("plastic", "white", False, 2), (64, 128), 3)


def test_pairs_have_not_changed_since_they_were_published(body):
    # Measured before the body was taken out of the pair; bytes may differ between machines, these hardly.
    pair = image_body(body)
    assert np.bincount(pair.organs.ravel(), minlength=12).tolist() == PIXELS
    assert pair.xray.mean() == pytest.approx(XRAY, rel=1e-4)
    assert pair.photo.mean() == pytest.approx(PHOTO, rel=1e-4)
    assert pair.thickness.mean() == pytest.approx(THICKNESS, rel=1e-4)


def test_a_pair_is_the_image_of_a_body(body):
    pair, again = image_body(body), simulate_pair(body.animal, body.acquisition, size=(64, 128), seed=3)
    assert all(np.array_equal(getattr(pair, name), getattr(again, name)) for name in ("photo", "xray", "organs"))


def test_bone_in_layers_adds_up_to_the_bone_along_the_ray(body):
    skeleton, skull = body.bone_layers(np.linspace(0.0, 24.0, 25)).sum(axis=1)
    # A cavity takes bone away along its own chord, so single layers may go below zero and are cut there.
    assert skeleton.sum() == pytest.approx(np.maximum(body.bone_maps[1], 0).sum(), rel=0.06)
    assert skull.sum() == pytest.approx(np.maximum(body.bone_maps[2], 0).sum(), rel=0.06)
    assert np.corrcoef(skeleton.ravel(), body.bone_maps[1].ravel())[0, 1] > 0.99


def test_bone_lies_within_the_body(body):
    edges = np.linspace(0.0, 24.0, 25)
    layers = body.bone_layers(edges)[0]
    above = edges[:-1, None, None] > body.surface.top + 0.5
    assert layers[above].sum() < 0.005 * layers.sum()


def test_another_grid_holds_the_same_body(body):
    coarse = pose_body(body.animal, body.acquisition, (250, 500), 3, finer=1)
    assert coarse.shape == (250, 500) and coarse.fine == pytest.approx(0.2)
    for name in body.organs:
        volumes = [each.organs[name].thickness.sum() * each.fine**2 for each in (body, coarse)]
        assert volumes[1] == pytest.approx(volumes[0], rel=0.03), name

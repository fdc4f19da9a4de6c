"""One pair: repeatable, and both images of the same body."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.simulation.mouse import ORGANS, Acquisition, Animal, Misalignment, simulate_pair

SIZE = (256, 512)


@pytest.fixture(scope="module")
def animal():
    return Animal.draw(21, "black")


@pytest.fixture(scope="module")
def acquisition():
    return Acquisition("plastic", "white", False, 2)


@pytest.fixture(scope="module")
def pair(animal, acquisition):
    return simulate_pair(animal, acquisition, size=SIZE, seed=3)


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("photo", "xray", "organs"))


def test_the_same_arguments_give_the_same_bytes(animal, acquisition, pair):
    assert same(pair, simulate_pair(animal, acquisition, size=SIZE, seed=3))


def test_seed_pose_and_animal_each_change_the_pair(animal, acquisition, pair):
    assert not same(pair, simulate_pair(animal, acquisition, size=SIZE, seed=4))
    assert not same(pair, simulate_pair(animal, replace(acquisition, pose=3), size=SIZE, seed=3))
    assert not same(pair, simulate_pair(Animal.draw(22, "black"), acquisition, size=SIZE, seed=3))


def test_images_have_the_promised_types(pair):
    assert pair.photo.shape == (*SIZE, 3)
    assert pair.photo.dtype == np.uint8
    assert pair.xray.shape == pair.organs.shape == pair.thickness.shape == SIZE
    assert pair.xray.dtype == np.uint16
    assert set(np.unique(pair.organs)) == set(ORGANS)


def test_the_body_has_a_mouse_size(pair, animal):
    columns = np.flatnonzero((pair.thickness > 3).any(axis=0)) * 100.0 / SIZE[1]
    assert 70 < animal.length < 90
    assert np.ptp(columns) == pytest.approx(animal.length, abs=12.0)
    assert 12 < pair.thickness.max() < 24
    volume_cm3 = pair.thickness.sum() * (100.0 / SIZE[1]) ** 2 / 1000.0
    assert 15 < volume_cm3 < 45  # grams, nearly


def test_transmission_is_ordered_bone_soft_lung_background(pair):
    middle = {name: np.median(pair.xray[pair.organs == value]) for value, (name, _) in ORGANS.items()}
    assert middle["skull"] < middle["soft tissue"] < middle["background"]
    assert middle["liver"] < middle["lungs"] < middle["background"]
    assert middle["background"] > 0.85 * 60000


def test_bones_of_the_label_map_are_dark_against_what_lies_beside_them(pair):
    attenuation = -np.log(pair.xray / 60000.0)
    around = cv2.medianBlur((1e4 * attenuation).clip(0, 65535).astype(np.uint16), 5) / 1e4
    bone = pair.organs >= 10
    beside = cv2.dilate(bone.astype(np.uint8), np.ones((3, 3))).astype(bool) & ~bone & (pair.organs > 0)
    assert attenuation[bone].mean() > attenuation[beside].mean() + 0.08
    assert (attenuation - around)[bone].mean() > (attenuation - around)[beside].mean()


def test_photograph_and_xray_show_the_same_outline(animal, acquisition, pair):
    # A black animal on a white bed: darkness in the photograph against the body's shadow in the X-ray.
    dark = pair.photo.mean(axis=2) < 110
    shadow = pair.thickness > 1.0
    shadow &= np.arange(SIZE[1])[None, :] < 0.8 * SIZE[1]  # the tail is light
    dark &= np.arange(SIZE[1])[None, :] < 0.8 * SIZE[1]
    overlap = (dark & shadow).sum() / (dark | shadow).sum()
    assert overlap > 0.85
    flipped = (dark & shadow[::-1]).sum() / (dark | shadow[::-1]).sum()
    assert flipped < overlap - 0.03


def test_the_same_animal_keeps_its_body_in_every_pose(animal, acquisition):
    volumes = [
        simulate_pair(animal, replace(acquisition, pose=pose), size=(128, 256)).thickness[:, :200].sum()
        for pose in (1, 2, 3)
    ]
    assert np.std(volumes) / np.mean(volumes) < 0.04


def test_cover_and_acrylic_are_in_the_xray_too(animal):
    plain = simulate_pair(animal, Acquisition("plastic", "white", False, 1), size=SIZE)
    covered = simulate_pair(animal, Acquisition("plastic", "white", True, 1), size=SIZE)
    acrylic = simulate_pair(animal, Acquisition("acrylic", "clear", False, 1), size=SIZE)
    background = plain.organs == 0
    assert np.median(covered.xray[background]) < np.median(plain.xray[background])
    assert np.median(acrylic.xray[background]) < np.median(plain.xray[background])


def test_misalignment_moves_the_photograph_alone(animal, acquisition, pair):
    moved = simulate_pair(
        animal, replace(acquisition, misalignment=Misalignment(shift_mm=(2.0, 0.0))), size=SIZE, seed=3
    )
    assert np.array_equal(moved.xray, pair.xray)
    step = round(2.0 * SIZE[1] / 100.0)
    still = np.abs(moved.photo[:, step:].astype(int) - pair.photo[:, step:]).mean()
    back = np.abs(moved.photo[:, step:].astype(int) - pair.photo[:, :-step]).mean()
    assert back < 0.6 * still


def test_white_coats_are_brighter_than_black_ones():
    white, black = (
        simulate_pair(Animal.draw(4, coat), Acquisition("acrylic", "clear", False, 1), size=(128, 256))
        for coat in ("white", "black")
    )
    inside = (white.organs > 0) & (black.organs > 0)
    assert white.photo[inside].mean() > black.photo[inside].mean() + 80


@pytest.mark.parametrize("size", [(512, 512), (1024, 512), (4, 8)])
def test_a_size_that_does_not_fit_the_field_is_refused(animal, acquisition, size):
    with pytest.raises(UserError, match="1 to 2"):
        simulate_pair(animal, acquisition, size=size)


def centre(labels, name):
    """Mean row and column of a label."""
    value = next(value for value, (known, _) in ORGANS.items() if known == name)
    rows, columns = np.nonzero(labels == value)
    return rows.mean(), columns.mean()


def test_organs_follow_each_other_from_head_to_tail(pair):
    order = ["skull", "heart", "liver", "kidneys", "gut", "bladder"]
    columns = [centre(pair.organs, name)[1] for name in order]
    assert columns == sorted(columns)


def test_the_animals_left_side_points_down(pair):
    # It lies on its belly with its head left: stomach and spleen, which are left, come below heart and liver.
    liver, stomach, spleen = (centre(pair.organs, name)[0] for name in ("liver", "stomach", "spleen"))
    assert liver < stomach < spleen


def test_bones_lie_within_the_body(animal, acquisition):
    for pose in range(1, 5):
        pair = simulate_pair(animal, replace(acquisition, pose=pose), size=SIZE)
        bone = pair.organs >= 10
        assert (bone & (pair.thickness <= 0.0)).sum() < 0.005 * bone.sum()


@pytest.mark.parametrize("size", [(64, 128), (96, 192), (300, 600)])
def test_any_size_shows_the_same_field(animal, acquisition, pair, size):
    other = simulate_pair(animal, acquisition, size=size, seed=3)
    small = cv2.resize(pair.xray.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    if size[0] > SIZE[0]:
        other_small = cv2.resize(other.xray.astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_AREA)
        small, other_small = pair.xray.astype(np.float32), other_small
    else:
        other_small = other.xray.astype(np.float32)
    assert np.corrcoef(small.ravel(), other_small.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Acquisition(bed_material="wood"), "wood"),
        (lambda: Acquisition(bed_material="plastic", bed_colour="clear"), "clear"),
        (lambda: Acquisition(misalignment=Misalignment(scale=0.0)), "scale"),
        (lambda: Animal(seed=1, coat="brown"), "brown"),
        (lambda: Animal.draw(-1), "-1"),
    ],
)
def test_unknown_beds_coats_and_scales_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        wrong()

"""One visit: HU that agree with labels, organs where a mouse has them, tumours as asked, anatomy that stays."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.simulation.abdomen import subject
from transmodal.simulation.abdomen.subject import Wishes, grid_of, simulate_abdomen
from transmodal.simulation.abdomen.tissues import LABEL, LABELS

SIZE = (110, 110, 50)
SMALL = (107, 107, 28)  # no voxel is cut in the slice: these are the cheapest
PIXEL = (32 / 110) ** 2
VOXEL = PIXEL * 0.8


@pytest.fixture(scope="module")
def case():
    """An animal with one tumour of 60 mm² and no noise."""
    return simulate_abdomen(1, size=SIZE, wishes=Wishes(tumours=(1, 1), tumour_area=(60, 60), noise=0))


@pytest.fixture(scope="module")
def weeks():
    """Three visits of an animal, with tumours that appear."""
    wishes = Wishes(tumours=(2, 2), tumour_area=(12, 90), new_per_week=1.5, noise=0)
    return [simulate_abdomen(11, visit, visits=3, size=SIZE, wishes=wishes) for visit in (1, 2, 3)]


def where(case, name):
    return case.labels == LABEL[name]


def middle(case, name):
    """Mean position in mm: right, belly, head."""
    found = np.argwhere(where(case, name)).mean(axis=0)
    return case.affine[:3, :3] @ found + case.affine[:3, 3]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("liver", 50, 75),
        ("tumour", 15, 45),
        ("kidneys", 28, 60),
        ("spine", 350, 1300),
        ("ribs", 200, 900),
        ("lungs", -650, -350),
        ("heart", 38, 60),
        ("spleen", 40, 60),
        ("fat", -125, -60),
        ("other soft tissue", 0, 65),
        ("other bone", 300, 1100),
        ("gut", 20, 200),
    ],
)
def test_labels_agree_with_hounsfield_units(case, name, low, high):
    assert low <= np.median(case.ct[where(case, name)]) <= high


def test_air_is_outside_and_every_label_is_there(case):
    assert set(np.unique(case.labels)) == {0, *LABELS}
    outside = ndimage.binary_erosion(case.labels == 0, np.ones((3, 3, 3)))
    assert (case.ct[outside] == -1000).all()
    faces = [case.labels[0], case.labels[-1], case.labels[:, 0], case.labels[:, -1]]
    assert not any(face.any() for face in faces)
    assert case.ct.dtype == np.float32 and case.labels.dtype == np.uint8


def test_organs_lie_where_a_mouse_has_them(case):
    spine, liver, lungs, heart = (middle(case, name) for name in ("spine", "liver", "lungs", "heart"))
    assert spine[1] < liver[1] and abs(spine[0]) < 1.5
    assert lungs[2] > liver[2] + 5 and heart[2] > liver[2] + 5
    assert middle(case, "stomach")[0] < -2 and middle(case, "spleen")[0] < -6
    assert middle(case, "gut")[2] < liver[2] - 5
    kidneys, count = ndimage.label(where(case, "kidneys"))
    sizes = np.bincount(kidneys.ravel())[1:]
    two = np.argsort(sizes)[-2:] + 1
    assert count >= 2 and sizes[two - 1].min() > 0.6 * sizes.max()
    places = sorted(
        (case.affine[:3, :3] @ np.array(ndimage.center_of_mass(kidneys == n)) + case.affine[:3, 3]).tolist()
        for n in two
    )
    (left, _, low), (right, _, high) = places
    assert left < spine[0] - 3 and right > spine[0] + 3 and high > low + 1


def test_vertebrae_have_a_canal_and_ribs_stand_on_both_sides(case):
    spine, ribs = where(case, "spine"), where(case, "ribs")
    heights = case.affine[2, 3] + case.affine[2, 2] * np.arange(SIZE[2])
    closed = [
        (ndimage.binary_fill_holes(spine[:, :, k]) & ~spine[:, :, k]).sum() * PIXEL
        for k in np.flatnonzero((heights > -14) & (heights < 14))
    ]
    assert np.mean(np.array(closed) > 0.8) > 0.6  # mm²; between two arches it is open
    thorax = ribs[:, :, (heights > 3) & (heights < 15)]
    middle_column = SIZE[0] // 2
    assert (thorax[: middle_column - 11].any(axis=(0, 1))).all() and (
        thorax[middle_column + 11 :].any(axis=(0, 1))
    ).all()


def test_gas_lies_at_the_belly_of_the_stomach(case):
    stomach = where(case, "stomach")
    gas = stomach & (case.ct < -600)
    assert gas.any() and (stomach & (case.ct > 30)).any()
    assert np.argwhere(gas)[:, 1].mean() < np.argwhere(stomach)[:, 1].mean() - 1  # rows run to the back


def test_edges_are_soft(case):
    row = case.ct[SIZE[0] // 2, :, SIZE[2] // 2]
    steps = np.abs(np.diff(row))
    assert steps[: np.argmax(row > -500) + 1].max() < 950
    edge = ndimage.binary_dilation(case.labels == 0) & (case.labels > 0)
    assert np.mean(case.ct[edge] < -200) > 0.2


def test_tumours_lie_in_the_liver_and_are_as_large_as_asked(case):
    tumour = where(case, "tumour")
    around = ndimage.binary_dilation(tumour) & ~tumour
    assert np.mean(case.labels[around] == LABEL["liver"]) > 0.88
    assert ndimage.label(tumour, np.ones((3, 3, 3)))[1] == 1
    area, volume = tumour.sum(axis=(0, 1)).max() * PIXEL, tumour.sum() * VOXEL
    assert area == pytest.approx(60, rel=0.06)
    (entry,) = case.tumours
    assert entry["area_mm2"] == pytest.approx(area, abs=1e-3) and entry["volume_mm3"] == pytest.approx(volume, abs=1e-3)
    assert entry["model_area_mm2"] == pytest.approx(60, rel=0.01)
    assert volume == pytest.approx(entry["model_volume_mm3"], rel=0.06)
    assert entry["centre_mm"] == pytest.approx(middle(case, "tumour"), abs=0.01)


@pytest.mark.parametrize(("asked", "agent"), [(None, False), (None, True), (60.0, False)])
def test_the_contrast_is_the_one_asked_for(asked, agent):
    wishes = Wishes(tumours=(1, 1), tumour_area=(70, 70), tumour_contrast=asked, liver_agent=agent, noise=0)
    case = simulate_abdomen(1, size=SMALL, wishes=wishes)
    inner = [np.mean(case.ct[ndimage.binary_erosion(where(case, name))]) for name in ("tumour", "liver")]
    assert wishes.contrast == (asked or (-130 if agent else -30))
    assert inner[0] - inner[1] == pytest.approx(case.tumours[0]["contrast_hu"], rel=0.2, abs=3)
    assert case.tumours[0]["contrast_hu"] == pytest.approx(wishes.contrast, rel=0.17)
    assert (np.median(case.ct[where(case, "liver")]) > 140) == agent


def test_volumes_double_in_the_doubling_time_and_tumours_appear(weeks):
    numbers = [{entry["tumour"] for entry in case.tumours} for case in weeks]
    assert all(first <= second for first, second in pairwise(numbers)) and numbers[0] < numbers[2]
    for before, after in pairwise(weeks):
        later = {entry["tumour"]: entry for entry in after.tumours}
        for entry in before.tumours:
            grown = later[entry["tumour"]]
            factor = 2 ** (7 / entry["doubling_days"])
            assert grown["model_volume_mm3"] / entry["model_volume_mm3"] == pytest.approx(factor, rel=0.03)
            if entry["volume_mm3"] > 20:
                assert grown["volume_mm3"] / entry["volume_mm3"] == pytest.approx(factor, rel=0.12)


def test_every_tumour_of_a_visit_is_a_body_of_its_own(weeks):
    large = [entry for entry in weeks[2].tumours if entry["volume_mm3"] > 1]
    sizes = np.bincount(ndimage.label(where(weeks[2], "tumour"), np.ones((3, 3, 3)))[0].ravel())[1:] * VOXEL
    assert sorted(size for size in sizes if size > 1) == pytest.approx(
        sorted(entry["volume_mm3"] for entry in large), rel=1e-3
    )


@pytest.mark.parametrize(
    ("name", "within"), [("kidneys", 0.06), ("spine", 0.03), ("heart", 0.08), ("spleen", 0.08), ("lungs", 0.15)]
)
def test_an_animal_stays_itself_from_week_to_week(weeks, name, within):
    sizes = [case.meta["volumes_mm3"][name] for case in weeks]
    assert max(sizes) / min(sizes) < 1 + within
    assert (weeks[0].ct != weeks[1].ct).any()


def test_liver_with_tumours_gains_what_grows_beyond_it(weeks):
    for case in weeks:
        assert 900 < case.meta["volumes_mm3"]["liver"] + case.meta["volumes_mm3"]["tumour"] < 2200


def test_equal_arguments_give_equal_bits_in_slabs_of_any_size(monkeypatch):
    first = simulate_abdomen(2, size=SMALL)
    monkeypatch.setattr(subject, "_SLAB", 300_000)
    subject._plan.cache_clear()
    second = simulate_abdomen(2, size=SMALL)
    assert (first.ct == second.ct).all() and (first.labels == second.labels).all()
    assert first.meta == second.meta
    assert (simulate_abdomen(3, size=SMALL).labels != first.labels).mean() > 0.05


def test_the_anatomy_belongs_to_the_animal_and_not_to_the_grid(case):
    wishes = Wishes(tumours=(1, 1), tumour_area=(60, 60), noise=0)
    fine = simulate_abdomen(1, size=(160, 160, 64), wishes=wishes)
    for name in ("liver", "tumour", "kidneys", "heart", "lungs", "stomach", "gut"):
        assert fine.meta["volumes_mm3"][name] == pytest.approx(case.meta["volumes_mm3"][name], rel=0.05), name
    assert middle(fine, "tumour") == pytest.approx(middle(case, "tumour"), abs=0.15)


def test_noise_is_white_and_as_large_as_asked():
    quiet, noisy = (simulate_abdomen(4, size=SMALL, wishes=Wishes(noise=noise)) for noise in (0, 20))
    noise = noisy.ct - quiet.ct
    assert (
        noise.std() == pytest.approx(20, rel=0.02)
        and abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.02
    )
    assert (noisy.labels == quiet.labels).all()


def test_axes_run_to_the_left_the_back_and_the_head(case):
    step = 32 / 110
    low = 16 - step / 2
    wanted = [[-step, 0, 0, low], [0, -step, 0, low], [0, 0, 0.8, -19.6], [0, 0, 0, 1]]
    assert case.affine == pytest.approx(np.array(wanted))


@pytest.mark.parametrize(
    ("size", "spacing", "message"),
    [
        ((4, 64, 64), None, "out of range"),
        ((64, 64, 64), (0.2, 0.6), "does not suit"),
        ((64, 64, 64), (0.5, 1.0), "20 to 48 mm"),
        ((64, 64, 64), (3.0, 0.6), "spacing"),
    ],
)
def test_grids_that_do_not_suit_are_refused(size, spacing, message):
    with pytest.raises(UserError, match=message):
        grid_of(size, spacing)


def test_the_voxels_of_a_micro_ct_are_in_reach():
    assert grid_of((376, 376, 470), (0.085, 0.085)).spacing == 0.085


@pytest.mark.parametrize(
    "wrong",
    [
        {"tumours": (2, 1)},
        {"tumours": (-1, 1)},
        {"tumour_area": (10, 400)},
        {"tumour_area": (0, 40)},
        {"tumour_contrast": -900.0},
        {"tumour_contrast": float("nan")},
        {"doubling_days": 0.0},
        {"new_per_week": -1.0},
        {"noise": -1.0},
    ],
)
def test_wishes_that_no_animal_has_are_refused(wrong):
    with pytest.raises(UserError):
        simulate_abdomen(0, size=SMALL, wishes=Wishes(**wrong))


def test_healthy_livers_can_be_asked_for():
    case = simulate_abdomen(1, size=SMALL, wishes=Wishes(tumours=(0, 0)))
    assert case.tumours == [] and not where(case, "tumour").any()

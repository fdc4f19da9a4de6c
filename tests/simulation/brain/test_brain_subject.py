"""One subject: anatomy that differs, contrast that does not, labels inside the brain, exact background."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.simulation.brain import Anatomy, simulate_brain
from transmodal.simulation.brain.anatomy import Push, make_bodies, reference_coordinates
from transmodal.simulation.brain.signals import SEQUENCES, TYPICAL
from transmodal.simulation.brain.subject import _fill, _whole_head, grid_of
from transmodal.simulation.brain.tissues import TISSUES

SIZE = (96, 96, 62)  # 2.5 mm
HIGH_GRADE = 2


@pytest.fixture(scope="module")
def case():
    return simulate_brain(HIGH_GRADE, size=SIZE)


@pytest.fixture(scope="module")
def healthy():
    """Tissue fractions and the images of a healthy brain at 2.5 mm."""
    anatomy = Anatomy.draw(5)
    fractions, mask, (_, place), _ = _fill(anatomy, grid_of(SIZE), "none")
    whole = simulate_brain(5, size=SIZE, lesions="none")
    images = {modality: volume[place] for modality, volume in whole.images.items()}
    assert (whole.mask[place] == mask).all()
    return fractions, mask, images


def mean_of(healthy, modality, tissue):
    fractions, _, images = healthy
    return float(images[modality][fractions[TISSUES.index(tissue)] > 0.95].mean())


def test_all_volumes_share_one_grid_of_the_field_of_brats(case):
    assert tuple(case.images) == SEQUENCES
    assert all(volume.shape == SIZE and volume.dtype == np.float32 for volume in case.images.values())
    assert case.labels.shape == case.mask.shape == SIZE
    np.testing.assert_allclose(np.diag(case.affine), [-2.5, -2.5, 2.5, 1.0])
    assert case.affine[1, 3] == pytest.approx(2.5 * 95)


def test_outside_the_brain_all_is_exactly_zero_and_inside_nothing_is(case):
    for volume in case.images.values():
        assert ((volume != 0) == case.mask).all()
        assert (volume >= 0).all() and np.isfinite(volume).all()
    whole, parts = ndimage.label(case.mask)
    assert np.bincount(whole.ravel())[1:].max() > 0.999 * case.mask.sum(), parts
    assert not any(case.mask.take(end, axis).any() for axis in range(3) for end in (0, -1))


def test_the_tallest_head_stays_inside_the_field():
    tall = replace(Anatomy.draw(25), size=(1.05, 1.05, 1.08))
    mask = simulate_brain(25, size=SIZE, lesions="none", anatomy=tall).mask
    assert not any(mask.take(end, axis).any() for axis in range(3) for end in (0, -1))


def test_a_brain_has_the_volume_of_a_brain_and_its_tissues(healthy):
    fractions, mask, _ = healthy
    litres = mask.sum() * 2.5**3 / 1e6
    assert 1.1 < litres < 1.9
    share = {name: float(part.sum() / mask.sum()) for name, part in zip(TISSUES, fractions, strict=True)}
    assert 0.30 < share["grey"] < 0.55 and 0.2 < share["white"] < 0.45 and 0.1 < share["csf"] < 0.35
    np.testing.assert_allclose(fractions.sum(axis=0)[mask], 1, atol=1e-4)
    assert not fractions[:, ~mask].any()
    assert fractions.min() >= 0


def test_sequences_show_what_they_are_known_for(healthy):
    def of(modality, tissue):
        return mean_of(healthy, modality, tissue)

    assert of("T1", "white") > 1.1 * of("T1", "grey") > 1.3 * of("T1", "csf")
    assert of("T2", "csf") > 1.5 * of("T2", "grey") > 1.5 * 1.1 * of("T2", "white")
    assert of("FLAIR", "csf") < 0.3 * of("FLAIR", "white")
    assert of("FLAIR", "grey") > of("FLAIR", "white")


def test_the_rim_is_bright_after_contrast_only(case):
    rim = case.labels == 4
    assert case.meta["glioma"]["grade"] == "HGG" and rim.sum() > 50
    brain = case.mask & (case.labels == 0)
    ratio = {name: float(np.median(v[rim]) / np.median(v[brain])) for name, v in case.images.items()}
    assert ratio["T1ce"] > 1.4 and ratio["T1"] < 1.05


def test_oedema_is_bright_in_flair_and_t2_and_dark_in_t1(case):
    oedema, brain = case.labels == 2, case.mask & (case.labels == 0)
    ratio = {name: float(np.median(v[oedema]) / np.median(v[brain])) for name, v in case.images.items()}
    assert ratio["FLAIR"] > 1.2 and ratio["T2"] > 1.1
    white = np.percentile(case.images["T1"][brain], 85)  # about a quarter of the brain is white matter
    assert np.median(case.images["T1"][oedema]) < 0.97 * white


@pytest.mark.parametrize("seed", range(6))
def test_labels_lie_in_the_brain_and_are_those_of_brats(seed):
    made = simulate_brain(seed, size=(48, 48, 31))
    assert set(np.unique(made.labels)) <= {0, 1, 2, 4}
    assert (made.labels > 0).sum() > 0
    assert not made.labels[~made.mask].any()
    counts = np.bincount(made.labels.ravel(), minlength=5) * 5.0**3 / 1000
    assert made.meta["volumes_ml"] == {str(n): pytest.approx(counts[n], abs=2e-3) for n in (1, 2, 4)}


def test_plaques_are_small_and_lie_in_white_matter():
    made = simulate_brain(4, size=(120, 120, 78), lesions="ms")
    plain = simulate_brain(4, size=(120, 120, 78), lesions="none")
    assert set(np.unique(made.labels)) == {0, 1}
    _, count = ndimage.label(made.labels)
    assert count >= 3
    assert 0.05 < made.meta["volumes_ml"]["1"] < 80
    lesion = made.labels == 1
    assert not plain.labels.any()
    assert np.median(made.images["FLAIR"][lesion]) > 1.2 * np.median(plain.images["FLAIR"][lesion])


def test_equal_seeds_give_equal_bits_and_other_seeds_other_brains(case):
    again = simulate_brain(HIGH_GRADE, size=SIZE)
    assert all((case.images[name] == again.images[name]).all() for name in SEQUENCES)
    assert (case.labels == again.labels).all() and case.meta == again.meta
    other = simulate_brain(HIGH_GRADE + 1, size=SIZE)
    overlap = 2 * (case.mask & other.mask).sum() / (case.mask.sum() + other.mask.sum())
    assert 0.8 < overlap < 0.97
    inside = case.mask & other.mask
    assert np.corrcoef(case.images["T1"][inside], other.images["T1"][inside])[0, 1] < 0.6


def test_the_anatomy_is_the_same_on_another_grid(case):
    finer = simulate_brain(HIGH_GRADE, size=(192, 192, 124))
    share = finer.mask.reshape(96, 2, 96, 2, 62, 2).mean(axis=(1, 3, 5))
    assert ((share > 0.5) == case.mask).mean() > 0.995
    tumour = (finer.labels > 0).reshape(96, 2, 96, 2, 62, 2).mean(axis=(1, 3, 5)) > 0.5
    assert 2 * (tumour & (case.labels > 0)).sum() / (tumour.sum() + (case.labels > 0).sum()) > 0.8
    assert finer.meta["glioma"] == case.meta["glioma"]


def test_an_old_brain_has_wider_ventricles_and_sulci():
    def fluid(**changes):
        fractions, mask, _, _ = _fill(replace(Anatomy.draw(1), **changes), grid_of(SIZE), "none")
        return float(fractions[TISSUES.index("csf")].sum() / mask.sum())

    young = fluid(ventricles=0.7, atrophy=0.0)
    assert fluid(ventricles=1.4, atrophy=0.0) > young + 0.01
    assert fluid(ventricles=0.7, atrophy=0.9) > young + 0.03


def test_a_mass_pushes_the_brain_aside():
    anatomy, grid = Anatomy.draw(2), _whole_head()
    push = Push((30.0, -10.0, 20.0), 12.0, 4.0)
    still, moved = reference_coordinates(anatomy, grid), reference_coordinates(anatomy, grid, push)
    shift = np.sqrt(sum((a - b) ** 2 for a, b in zip(still, moved, strict=True)))
    assert 3.0 < shift.max() < 4.6
    assert shift[(grid.axes[0] < -40)].max() < 0.2
    calm, pushed = make_bodies(anatomy, grid), make_bodies(anatomy, grid, push)
    assert np.abs(calm.lateral_ventricles - pushed.lateral_ventricles).max() > 2


def test_own_constants_change_the_contrast():
    table = dict(TYPICAL[3.0])
    table["white"], table["grey"] = table["grey"], table["white"]
    swapped = simulate_brain(5, size=SIZE, lesions="none", field_strength=3.0, tissues=table)
    fractions, _, (_, place), _ = _fill(Anatomy.draw(5), grid_of(SIZE), "none")
    seen = swapped.images["T1"][place]
    white, grey = (seen[fractions[TISSUES.index(name)] > 0.95].mean() for name in ("white", "grey"))
    assert grey > white


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"lesions": "stroke"}, "tumour, ms, none"),
        ({"field_strength": 7.0}, "1.5 or 3"),
        ({"size": (100, 100, 100), "spacing": 1.0}, "does not fit"),
        ({"size": (20, 20, 13)}, r"fit into 20 x 20 x 13 voxels; give a larger size, at least 20 x 20 x 14$"),
        ({"size": (8, 8, 8)}, "give a larger size, at least"),
        ({"size": (1024, 1024, 1024)}, "give fewer, at most 800 x 800 x 516"),
        ({"size": (4, 100, 100)}, "out of range"),
        ({"size": (240, 240, 155), "spacing": 0.0}, "spacing"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(wrong, message):
    with pytest.raises(UserError, match=message) as caught:
        simulate_brain(**({"seed": 0} | wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(20, 20, 13), (8, 8, 8), (8, 240, 155), (240, 240, 10), (1024, 8, 8), (30, 8, 30)])
def test_the_size_that_is_advised_holds_a_brain(size):
    with pytest.raises(UserError, match="larger size") as caught:
        grid_of(size)
    advised = tuple(map(int, str(caught.value).split("at least ")[1].split(" x ")))
    assert all(more >= given for more, given in zip(advised, size, strict=True))
    assert grid_of(advised).shape == advised

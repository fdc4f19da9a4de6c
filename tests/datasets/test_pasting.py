"""Lesions of one subject in the image of another: the label goes where the pixels go, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.batch_keys import LABELS
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.pasting import PasteSettings, paste_lesion
from transmodal.datasets.sampling import Samples, SamplingSettings

HARD = PasteSettings(softness=0)


def sample(value: float, shape: tuple[int, ...] = (12, 14)) -> dict[str, np.ndarray]:
    """An even image without a label."""
    return {"ct": np.full((1, *shape), value, np.float32), LABELS: np.zeros((1, *shape), np.float32)}


def with_lesion(number: int = 2, value: float = 0.8, shape: tuple[int, ...] = (12, 14)) -> dict[str, np.ndarray]:
    made = sample(-0.5, shape)
    where = (0, *(slice(3, 6) for _ in shape))
    made["ct"][where], made[LABELS][where] = value, number
    return made


def pasted(
    settings: PasteSettings = HARD, seed: int = 0, lesions: tuple[int, ...] | None = None, host: float = -0.9
) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return paste_lesion(
        sample(host), with_lesion(), inputs=("ct",), lesions=lesions, settings=settings, generator=generator
    )


@given(seed=st.integers(0, 200))
def test_labels_lie_where_the_pixels_changed(seed: int) -> None:
    made = pasted(seed=seed)
    lesion = made[LABELS] > 0
    assert 1 <= lesion.sum() <= 9 and set(np.unique(made[LABELS])) == {0, 2}
    assert np.allclose(made["ct"][lesion], 0.8) and np.allclose(made["ct"][~lesion], -0.9)


def test_places_differ_and_all_of_the_image_is_used() -> None:
    seen = sum(pasted(seed=seed)[LABELS][0] > 0 for seed in range(600))
    assert seen.min() > 0
    assert np.array_equal(pasted(seed=3)["ct"], pasted(seed=3)["ct"]), "the same generator, the same place"


def test_edges_are_soft_and_opacity_lets_the_ground_shine_through() -> None:
    made = [pasted(PasteSettings(softness=0.8), seed=seed) for seed in range(40)]
    whole = next(each for each in made if (each[LABELS] > 0).sum() == 9)
    inside, outside = whole["ct"][whole[LABELS] > 0], whole["ct"][whole[LABELS] == 0]
    assert inside.max() > 0.3 and len(np.unique(inside.round(4))) > 1, "partial volumes"
    assert outside.max() > -0.9 and outside.max() <= inside.max()
    for seed in range(40):
        faint = pasted(PasteSettings(softness=0, opacity=(0.4, 0.6)), seed=seed)
        share = (faint["ct"][faint[LABELS] > 0] + 0.9) / 1.7
        assert np.all((share >= 0.4 - 1e-4) & (share <= 0.6 + 1e-4)) and np.ptp(share) < 1e-4


def test_what_cannot_be_seen_is_not_pasted() -> None:
    unseen = [pasted(seed=seed, host=0.7) for seed in range(20)]
    assert all(not each[LABELS].any() and np.all(each["ct"] == np.float32(0.7)) for each in unseen)
    anywhere = [pasted(PasteSettings(softness=0, contrast=0), seed=seed, host=0.7) for seed in range(20)]
    assert all(each[LABELS].any() for each in anywhere)


def test_half_of_a_lesion_may_hide_in_a_wall() -> None:
    host = sample(-0.9)
    host["ct"][:, :, :7] = 0.8
    over_wall = beyond = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        made = paste_lesion(host, with_lesion(), inputs=("ct",), lesions=None, settings=HARD, generator=generator)
        lesion = made[LABELS][0] > 0
        hidden = lesion[:, :7].sum() / max(1, lesion.sum())
        assert hidden <= 0.5
        over_wall, beyond = over_wall + (hidden > 0), beyond + (hidden == 0)
    assert over_wall > 10 and beyond > 10


def test_only_lesions_are_taken_and_other_labels_of_the_host_stay() -> None:
    assert not pasted(lesions=(1,))[LABELS].any()
    host, donor = sample(-0.9), with_lesion(number=2)
    host[LABELS][:] = 1
    donor[LABELS][0, 6:9, 3:6] = 1  # an organ beside it
    generator = np.random.default_rng(0)
    made = paste_lesion(host, donor, inputs=("ct",), lesions=(2,), settings=HARD, generator=generator)
    assert set(np.unique(made[LABELS])) == {1, 2} and (made[LABELS] == 2).sum() <= 9
    assert (host[LABELS] == 1).all() and (host["ct"] == np.float32(-0.9)).all(), "the host itself is not changed"


def test_volumes_and_donors_of_other_shapes() -> None:
    host, donor = sample(-0.9, (9, 9, 5)), with_lesion(shape=(20, 16, 12))
    generator = np.random.default_rng(1)
    made = paste_lesion(host, donor, inputs=("ct",), lesions=None, settings=HARD, generator=generator)
    assert made[LABELS].shape == (1, 9, 9, 5) and 0 < (made[LABELS] > 0).sum() <= 27


@pytest.mark.parametrize("wrong", [{"opacity": (0, 1)}, {"opacity": (0.9, 0.5)}, {"probability": 2}, {"softness": -1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PasteSettings.model_validate(wrong)


def prepared(folder: Path, subjects: tuple[str, ...], spacings: tuple[float, ...]) -> list[PreparedCase]:
    cases = []
    for number, (subject, spacing) in enumerate(zip(subjects, spacings, strict=True)):
        arrays = with_lesion(1) if number else sample(-0.9)
        files = {name: folder / f"{name.strip('#')}{number}.npy" for name in arrays}
        for name, array in arrays.items():
            np.save(files[name], array[None].astype(np.uint8 if name == LABELS else np.float32))
        case = CaseFiles(subject, str(number), files)
        cases.append(PreparedCase(case, files, np.ones(1, np.float32), spacing=(spacing, spacing)))
    return cases


def labelled(samples: Samples, epochs: int = 30) -> int:
    """How often the first sample, which has no lesion of its own, shows one."""
    return sum(bool(samples[epoch, 0][LABELS].any()) for epoch in range(epochs))


def test_samples_get_lesions_of_other_subjects_alone(tmp_path: Path) -> None:
    def made(subjects: tuple[str, ...], spacings: tuple[float, ...] = (1.0, 1.0), probability: float = 1.0) -> Samples:
        settings = SamplingSettings(paste=PasteSettings(probability=probability))
        cases = prepared(tmp_path, subjects, spacings)
        turning = AugmentationSettings(rotation_degrees=20)
        return Samples(
            cases, inputs=("ct",), targets=("seg",), settings=settings, augmentation=turning, makes_labels=True
        )

    assert labelled(made(("a", "b"))) == 30
    assert 5 < labelled(made(("a", "b"), probability=0.5)) < 25
    assert labelled(made(("a", "b"), probability=0.0)) == 0
    assert labelled(made(("a", "a"))) == 0, "of the same subject"
    assert labelled(made(("a", "b"), spacings=(1.0, 2.0))) == 0, "of another size in millimetres"
    first, again = made(("a", "b"))[3, 0], made(("a", "b"))[3, 0]
    assert all(bool((first[name] == again[name]).all()) for name in first), "drawn from seed, epoch and index"

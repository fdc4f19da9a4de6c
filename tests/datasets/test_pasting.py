"""Lesions of one subject in the image of another: the label goes where the pixels go, and nothing else changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from transmodal.errors import UserError

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
        sample(host),
        with_lesion(),
        inputs=("ct",),
        lesions=lesions,
        ground=None,
        settings=settings,
        generator=generator,
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
        made = paste_lesion(
            host, with_lesion(), inputs=("ct",), lesions=None, ground=None, settings=HARD, generator=generator
        )
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
    made = paste_lesion(host, donor, inputs=("ct",), lesions=(2,), ground=None, settings=HARD, generator=generator)
    assert set(np.unique(made[LABELS])) == {1, 2} and (made[LABELS] == 2).sum() <= 9
    assert (host[LABELS] == 1).all() and (host["ct"] == np.float32(-0.9)).all(), "the host itself is not changed"


def test_volumes_and_donors_of_other_shapes() -> None:
    host, donor = sample(-0.9, (9, 9, 5)), with_lesion(shape=(20, 16, 12))
    generator = np.random.default_rng(1)
    made = paste_lesion(host, donor, inputs=("ct",), lesions=None, ground=None, settings=HARD, generator=generator)
    assert made[LABELS].shape == (1, 9, 9, 5) and 0 < (made[LABELS] > 0).sum() <= 27


@pytest.mark.parametrize("wrong", [{"opacity": (0, 1)}, {"opacity": (0.9, 0.5)}, {"probability": 2}, {"softness": -1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PasteSettings.model_validate(wrong)


@given(seed=st.integers(0, 100))
def test_a_lesion_stays_on_the_ground_that_it_is_given(seed: int) -> None:
    host = sample(-0.9)
    host[LABELS][0, 2:9, 2:9] = 1
    organ = host[LABELS][0] == 1
    generator = np.random.default_rng(seed)
    made = paste_lesion(
        host, with_lesion(), inputs=("ct",), lesions=(2,), ground=(1,), settings=PasteSettings(), generator=generator
    )
    changed = (made["ct"][0] != host["ct"][0]) | (made[LABELS][0] != host[LABELS][0])
    assert (made[LABELS] == 2).any() and not changed[~organ].any()
    none = paste_lesion(
        host, with_lesion(), inputs=("ct",), lesions=(2,), ground=(3,), settings=HARD, generator=generator
    )
    assert np.array_equal(none[LABELS], host[LABELS])


def prepared(folder: Path, subjects: Sequence[str], spacings: Sequence[float] = (1.0, 1.0, 1.0)) -> list[PreparedCase]:
    """Cases of which only the first has no lesion."""
    cases = []
    for number, (subject, spacing) in enumerate(zip(subjects, spacings, strict=False)):
        arrays = with_lesion(1) if number else sample(-0.9)
        files = {name: folder / f"{name.strip('#')}{number}.npy" for name in arrays}
        for name, array in arrays.items():
            np.save(files[name], array[None].astype(np.uint8 if name == LABELS else np.float32))
        case = CaseFiles(subject, str(number), files)
        cases.append(PreparedCase(case, files, np.ones(1, np.float32), spacing=(spacing, spacing)))
    return cases


def make(cases: list[PreparedCase], **settings: Any) -> Samples:
    chosen = SamplingSettings.model_validate({"paste": {"probability": 1.0}} | settings)
    turning = AugmentationSettings(rotation_degrees=20)
    return Samples(cases, inputs=("ct",), targets=("seg",), settings=chosen, augmentation=turning, makes_labels=True)


def labelled(samples: Samples, epochs: int = 30) -> int:
    """How often the first sample, which has no lesion of its own, shows one."""
    return sum(bool(samples[epoch, 0][LABELS].any()) for epoch in range(epochs))


def test_samples_get_lesions_as_often_as_asked_and_of_other_subjects_alone(tmp_path: Path) -> None:
    assert labelled(make(prepared(tmp_path, "ab"))) == 30
    assert 5 < labelled(make(prepared(tmp_path, "ab"), paste={"probability": 0.5})) < 25
    assert labelled(make(prepared(tmp_path, "ab"), paste={"probability": 0.0})) == 0
    mostly_own = make(prepared(tmp_path, "aab"))
    assert labelled(mostly_own) == 30, "the own lesion is never drawn instead of the other's"
    assert {number for number, _ in mostly_own._donors_for(mostly_own.cases[0])} == {2}
    first, again = make(prepared(tmp_path, "ab"))[3, 0], make(prepared(tmp_path, "ab"))[3, 0]
    assert all(bool((first[name] == again[name]).all()) for name in first), "drawn from seed, epoch and index"


def test_millimetres_must_agree(tmp_path: Path) -> None:
    assert labelled(make(prepared(tmp_path, "ab", (1.0, 1.004)))) == 30
    mixed = make(prepared(tmp_path, "abc", (1.0, 2.0, 2.0)))
    assert labelled(mixed) == 0 and mixed[0, 1][LABELS].any()


@pytest.mark.parametrize(("subjects", "spacings"), [("aa", (1.0, 1.0)), ("ab", (1.0, 2.0))])
def test_where_nobody_can_give_it_is_said_at_the_start(
    tmp_path: Path, subjects: str, spacings: tuple[float, ...]
) -> None:
    with pytest.raises(UserError, match=r"no training subject has a lesion that another.*sampling\.paste=null"):
        make(prepared(tmp_path, subjects, spacings))


def test_patches_get_a_lesion_though_the_donors_patch_would_miss_it(tmp_path: Path) -> None:
    patches = make(prepared(tmp_path, "ab"), patch=(6, 6), patches_per_case=2, foreground=0.0)
    seen = [patches[epoch, 0] for epoch in range(30)]
    assert all(each[LABELS].shape == (1, 6, 6) and each[LABELS].any() for each in seen)


def test_neighbours_come_along(tmp_path: Path) -> None:
    cases = prepared(tmp_path, "ab")
    settings = SamplingSettings(paste=PasteSettings(probability=1.0))
    made = Samples(cases, inputs=("ct",), targets=("seg",), settings=settings, neighbours=1, makes_labels=True)
    assert made[0, 0]["ct"].shape == (3, 12, 14) and made[0, 0][LABELS].any()


def test_only_the_lesion_classes_are_given(tmp_path: Path) -> None:
    cases = prepared(tmp_path, "ab")
    chosen = SamplingSettings(paste=PasteSettings(probability=1.0))
    with pytest.raises(UserError, match="no training subject has a lesion"):
        Samples(cases, inputs=("ct",), targets=("seg",), settings=chosen, makes_labels=True, lesions=(2,))

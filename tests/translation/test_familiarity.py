"""Inputs unlike the training are noticed, other people are not; with one case, with many, with odd images."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from transmodal.simulation.brain import simulate_brain
from transmodal.translation.familiarity import FEATURES, Familiarity, describe_image, warnings_for

PEOPLE = 4


def prepared(pixels: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """As a map by the volume's own percentiles makes it, background at the lower end."""
    low, high = np.percentile(pixels[mask], (0.5, 99.5))
    values = np.clip((pixels - low) / (high - low), 0, 1) * 2 - 1
    return np.where(mask, values, -1).astype(np.float32)[None, None]


@cache
def brains() -> list[dict[str, npt.NDArray[np.float32]]]:
    found = []
    for seed in range(PEOPLE):
        case = simulate_brain(seed, size=(48, 48, 31))
        regions = case.mask[None, None]
        found.append({name: prepared(case.images[name], case.mask) for name in ("T1", "T2")} | {"region": regions})
    return found


def features(person: int, modality: str) -> npt.NDArray[np.float64]:
    return describe_image(brains()[person][modality], brains()[person]["region"])


def trained(modality: str, people: range) -> Familiarity:
    return Familiarity.fit([features(person, modality) for person in people], modality)


@pytest.mark.parametrize("cases", [1, 2, 3])
def test_the_other_sequence_is_caught_and_another_person_is_not(cases: int) -> None:
    for own, other in (("T1", "T2"), ("T2", "T1")):
        familiarity = trained(own, range(cases))
        for person in range(cases, PEOPLE):
            assert familiarity.judge(features(person, own)).warning is None
            verdict = familiarity.judge(features(person, other))
            assert verdict.score > verdict.threshold
            assert verdict.warning is not None and f"unlike the {own} images" in verdict.warning
            assert "\n" not in verdict.warning


def test_another_intensity_range_noise_and_blur_are_caught() -> None:
    familiarity = trained("T1", range(3))
    brain, region = brains()[3]["T1"], brains()[3]["region"]
    noise = np.random.default_rng(0).normal(0, 0.5, brain.shape).astype(np.float32)
    blurred = brain.copy()
    for axis in (2, 3, 4):
        blurred = sum(np.roll(blurred, step, axis) for step in (-2, -1, 0, 1, 2)) / 5
    for changed in (np.clip(brain * 3 + 1, -1, 1), np.clip(brain + noise, -1, 1), blurred, -brain, brain * 0.1 - 0.9):
        assert familiarity.judge(describe_image(changed, region)).warning is not None


def test_the_warning_names_what_is_off_and_which_sequence_it_looks_like() -> None:
    familiarities = {name: trained(name, range(3)) for name in ("T1", "T2")}
    assert warnings_for(familiarities, {name: features(3, name) for name in ("T1", "T2")}) == []
    (warning,) = warnings_for(familiarities, {"T1": features(3, "T2"), "PD": features(3, "T1")})
    assert warning.startswith("T1 looks unlike the T1 images of the training: the ") and "±" in warning
    assert warning.endswith("it looks like T2")


def test_what_is_stored_in_a_card_judges_the_same_and_is_checked() -> None:
    familiarity = trained("T1", range(3))
    again = Familiarity.model_validate_json(familiarity.model_dump_json())
    assert again == familiarity and again.score(features(3, "T2")) == familiarity.score(features(3, "T2"))
    broken = familiarity.model_dump() | {"mean": (0.0,)}
    with pytest.raises(ValidationError, match="numbers a side"):
        Familiarity.model_validate(broken)
    with pytest.raises(ValidationError, match="features"):
        Familiarity.model_validate(familiarity.model_dump() | {"names": ("x",)})


def test_few_cases_say_that_the_threshold_is_set_beforehand_and_many_rest_on_themselves() -> None:
    generator = np.random.default_rng(0)
    mean = features(0, "T1")
    rows = [mean + generator.normal(0, 0.02, len(mean)) for _ in range(12)]
    few, many = Familiarity.fit(rows[:2], "T1"), Familiarity.fit(rows, "T1")
    assert "beforehand" in few.describe() and "2 training cases cannot" in few.describe()
    assert "leaving out each of 12" in many.describe()
    assert many.threshold < few.threshold
    assert "1 training case cannot" in Familiarity.fit(rows[:1], "T1").describe()
    with pytest.raises(ValueError, match="one case"):
        Familiarity.fit([], "T1")


@pytest.mark.parametrize("shape", [(1, 3, 20, 30), (6, 1, 12, 9), (1, 1, 1, 1), (1, 1, 2, 3, 1), (1, 1, 5, 5, 5)])
@pytest.mark.parametrize("value", ["random", "constant", "background"])
def test_any_image_has_finite_features(shape: tuple[int, ...], value: str) -> None:
    stack = np.full(shape, {"constant": 0.3}.get(value, -1.0), np.float32)
    if value == "random":
        stack = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    for region in (None, np.zeros((shape[0], 1, *shape[2:]), np.uint8)):
        found = describe_image(stack, region)
        assert found.shape == (len(FEATURES),) and np.isfinite(found).all()
    Familiarity.fit([found], "photo").judge(found)


def test_saturation_size_and_places_are_what_they_say() -> None:
    stack = np.zeros((1, 1, 20, 20, 20), np.float32)
    stack[..., :5] = 1  # a quarter at the upper end
    stack[..., 18:] = -1  # a tenth at the lower end
    found = dict(zip(FEATURES, describe_image(stack, np.ones_like(stack)), strict=True))
    assert found["bright_share"] == pytest.approx(0.25**0.5) and found["dark_share"] == pytest.approx(0.1**0.5)
    assert found["intensity_50"] == 0 and found["region_share"] == pytest.approx(0, abs=1e-3)
    ball = sum((axis - 9.5) ** 2 for axis in np.indices((20, 20, 20)))
    inner = np.where(ball < 20, 0.5, -0.2).astype(np.float32)[None, None]
    found = dict(zip(FEATURES, describe_image(inner, (ball < 90)[None, None]), strict=True))
    assert found["middle"] > 0.3 and found["rim"] == pytest.approx(0, abs=1e-6)
    assert found["bright_edges"] > 0 > dict(zip(FEATURES, describe_image(-inner, None), strict=True))["bright_edges"]


def test_slices_are_described_like_the_volume_they_are_cut_from_but_within_themselves() -> None:
    volume, region = brains()[0]["T1"], brains()[0]["region"]
    slices, regions = np.moveaxis(volume[0], 3, 0), np.moveaxis(region[0], 3, 0)  # (S, 1, H, W)
    whole, sliced = describe_image(volume, region), describe_image(slices, regions)
    names = list(FEATURES)
    for name in ("intensity_50", "intensity_95", "region_share"):
        assert whole[names.index(name)] == pytest.approx(sliced[names.index(name)], abs=1e-6)
    shuffled = np.random.default_rng(0).permutation(len(slices))
    np.testing.assert_allclose(describe_image(slices[shuffled], regions[shuffled])[:-2], sliced[:-2], atol=1e-3)

"""Intensity maps for MRI: they undo the scanner's arbitrary unit, rise, and come back."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from transmodal.errors import UserError
from transmodal.images.formats import read
from transmodal.images.intensity import FittedMap
from transmodal.images.intensity_fitting import fit
from transmodal.images.intensity_maps import LinearMap, PiecewiseMap
from transmodal.images.intensity_settings import IntensitySettings
from transmodal.images.intensity_statistics import LANDMARK_PERCENTILES, white_matter_mode, white_stripe

Floats = npt.NDArray[np.float64]
SETTINGS: dict[str, dict[str, Any]] = {
    "z-score": {"map": "z-score"},
    "nyul": {"map": "nyul"},
    "white-stripe": {"map": "white-stripe", "contrast": "T1"},
}
KINDS = st.sampled_from(sorted(SETTINGS))
SEEDS = st.integers(0, 10**6)


def brain(seed: int, contrast: Literal["T1", "T2"] = "T1", size: int = 4000) -> Floats:
    """Values of fluid, grey and white matter, means 40, 80, 110 in T1 and 200, 110, 80 in T2."""
    rng = np.random.default_rng(seed)
    means = {"T1": (40, 80, 110), "T2": (200, 110, 80)}[contrast]
    parts = [rng.normal(mean, 6, int(share * size)) for mean, share in zip(means, (0.1, 0.35, 0.55), strict=True)]
    return np.concatenate(parts)


def fitted(kind: str, *images: Any, **more: Any) -> FittedMap:
    return fit(IntensitySettings.model_validate(SETTINGS[kind] | more), images or (brain(1), 3 * brain(2)), "T1")


@settings(deadline=None)  # the first white stripe imports scipy.signal
@given(kind=KINDS, seed=SEEDS, log_gain=st.floats(-3, 3), offset=st.floats(-1000, 1000))
def test_gain_and_offset_of_the_scanner_vanish(kind: str, seed: int, log_gain: float, offset: float) -> None:
    map_, image = fitted(kind), brain(seed)
    other = 10**log_gain * image + offset
    mapped = map_.for_image(image).apply(image)
    np.testing.assert_allclose(map_.for_image(other).apply(other), mapped, atol=1e-4)
    assert np.ptp(mapped) > 0.5


@settings(deadline=None)  # the first white stripe imports scipy.signal
@given(kind=KINDS, seed=SEEDS, scale=st.floats(0.01, 100))
def test_maps_rise_and_come_back(kind: str, seed: int, scale: float) -> None:
    image = scale * brain(seed)
    map_ = fitted(kind).for_image(image)
    values = np.linspace(map_.low, map_.high, 301)
    mapped = map_.apply(values)
    assert mapped.dtype == np.float32 and mapped[0] == -1 and mapped[-1] == 1
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(map_.invert(mapped), values, atol=2e-5 * (map_.high - map_.low))
    beyond = np.array([map_.low - scale, map_.high + scale])
    np.testing.assert_array_equal(map_.apply(beyond), [-1, 1])


@given(
    steps=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=12),
    start=st.floats(-1e3, 1e3),
    bottom=st.floats(-3, 0.5),
)
def test_piecewise_maps_through_any_points_rise_and_come_back(
    steps: list[tuple[float, float]], start: float, bottom: float
) -> None:
    x, y = np.cumsum([(start, bottom), *steps], axis=0).T
    try:
        map_ = PiecewiseMap.through(x, y)
    except ValueError:
        assert min(np.ptp(x), np.ptp(y)) < 2e-6 or not ((np.diff(x) > 0) & (np.diff(y) > 0)).all()
        return
    values = np.linspace(map_.low, map_.high, 50)
    mapped = map_.apply(values)
    assert (np.diff(mapped) >= 0).all() and mapped[0] == -1 and mapped[-1] == 1
    steepest = (np.diff(map_.knots) / np.diff(map_.levels)).max()
    np.testing.assert_allclose(map_.invert(mapped), values, atol=1e-6 * steepest + 1e-9 * np.abs(values).max())


def test_nyul_is_the_written_out_formula() -> None:
    training = [brain(1), 3 * brain(2) + 7, brain(3, size=999) ** 1.5]
    limits = (-20.0, 130.0)
    map_ = fitted("nyul", *training, limits=limits)
    standard = np.zeros(11)
    for image in training:
        landmarks = np.percentile(image, [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99])
        standard += np.interp(landmarks, landmarks[[0, -1]], [1, 100]) / len(training)
    np.testing.assert_allclose(map_.standard, standard)

    image = brain(4) ** 2
    own = np.percentile(image, LANDMARK_PERCENTILES)
    expected = np.interp(image, own, standard)
    low, high = image < own[0], image > own[-1]
    expected[low] = standard[0] + (image[low] - own[0]) * (standard[1] - standard[0]) / (own[1] - own[0])
    expected[high] = standard[-1] + (image[high] - own[-1]) * (standard[-1] - standard[-2]) / (own[-1] - own[-2])
    expected = np.clip(2 * (expected + 20) / 150 - 1, -1, 1)
    assert low.any() and high.any()
    np.testing.assert_allclose(map_.for_image(image).apply(image), expected, atol=1e-6)


def test_nyul_brings_images_of_other_contrast_together() -> None:
    darker, brighter = brain(1), brain(2) ** 3  # a gamma that no linear map undoes
    for kind, low, high in (("z-score", 0.1, 1), ("nyul", 0, 0.05)):
        map_ = fitted(kind, darker, brighter)
        apart = [np.percentile(map_.for_image(image).apply(image), [5, 50, 95]) for image in (darker, brighter)]
        assert low <= np.abs(apart[0] - apart[1]).max() < high


def test_nyul_limits_leave_room_for_what_lies_beyond_its_landmarks() -> None:
    image = brain(1)
    map_ = fitted("nyul", image)
    assert map_.limits is not None and map_.limits[0] < 1 and map_.limits[1] > 100
    mapped = map_.for_image(image).apply(image)
    assert 0.0005 < (np.abs(mapped) == 1).mean() < 0.005  # clips 0.1 % at each end


def test_limits_inside_the_landmarks_cut_them() -> None:
    map_ = fitted("nyul", brain(1), limits=(30, 60)).for_image(brain(1))
    assert (np.percentile(brain(1), 1) < map_.low) and (map_.high < np.percentile(brain(1), 99))


def test_z_score_puts_minus_three_and_five_deviations_at_the_ends() -> None:
    image = np.concatenate([np.zeros(5000), brain(1)])
    inside = image != 0
    mean, deviation = image[inside].mean(), image[inside].std()
    for map_ in (
        fitted("z-score", (image, inside)).for_image(image, inside),
        fitted("z-score", image, foreground=True).for_image(image),
    ):
        assert (map_.low, map_.high) == (pytest.approx(mean - 3 * deviation), pytest.approx(mean + 5 * deviation))
    other = fitted("z-score", (image, inside), limits=(-2, 2)).for_image(image, inside)
    assert other.high == pytest.approx(mean + 2 * deviation)


@pytest.mark.parametrize(("contrast", "white"), [("T1", 110), ("T2", 80)])
@pytest.mark.parametrize("as_integers", [False, True])
def test_white_stripe_finds_white_matter(contrast: Literal["T1", "T2"], white: float, as_integers: bool) -> None:
    image = np.concatenate([brain(3, contrast, 20_000), np.linspace(250, 700, 300)])  # a bright tail of vessels
    if as_integers:
        image = np.rint(image)
    mode = white_matter_mode(image, contrast)
    assert mode == pytest.approx(white, abs=1.5)
    found = white_stripe(image, contrast)
    assert found is not None and found[0] == pytest.approx(white, abs=1.5)
    assert 0.1 < found[1] < 6


def test_white_matter_of_t1_is_the_last_peak_and_of_flair_the_highest() -> None:
    rng = np.random.default_rng(0)
    image = np.concatenate([rng.normal(80, 9, 9000), rng.normal(120, 9, 5000)])
    assert white_matter_mode(image, "T1") == pytest.approx(120, abs=4)
    assert white_matter_mode(image, "FLAIR") == pytest.approx(80, abs=4)
    few_bright = np.concatenate([image, rng.normal(190, 2, 450)])  # less than the 4 % that are cut off
    assert white_matter_mode(few_bright, "T1") == pytest.approx(120, abs=4)


def test_white_matter_gets_one_value_in_all_images() -> None:
    more_fluid = np.concatenate([2 * brain(1), np.full(1500, 80.0) + np.linspace(0, 10, 1500)])
    maps = fitted("white-stripe", brain(1), more_fluid)
    places = [
        float(maps.for_image(image).apply(np.array([at]))[0]) for image, at in ((brain(1), 110), (more_fluid, 220))
    ]
    assert places[0] == pytest.approx(places[1], abs=0.04)


def test_tissues_of_two_real_brains_come_together(real_data: Path) -> None:
    files = sorted((real_data / "open_ms" / "mni").glob("patient*/T1_*.nii.gz"))
    brains = [pixels[pixels != 0] for pixels in (read(file).pixels for file in files)]

    def overlap(map_: FittedMap) -> float:
        """Of the two histograms in [-1, 1]."""
        shares = [np.histogram(map_.for_image(image).apply(image), 100, (-1, 1))[0] / image.size for image in brains]
        return float(np.minimum(*shares).sum())

    one_range = fit(IntensitySettings(map="training-percentiles", percentiles=(0.5, 99.5)), brains, "T1")
    assert overlap(one_range) < 0.6 < 0.75 < overlap(fitted("z-score", *brains)) < 0.9
    assert overlap(fitted("nyul", *brains)) > 0.9
    stripes = fitted("white-stripe", *brains)
    modes = [white_matter_mode(image, "T1") for image in brains]
    assert modes == [pytest.approx(360, abs=6), pytest.approx(221, abs=6)]  # read off the histograms
    places = [stripes.for_image(image).apply(np.array([mode]))[0] for image, mode in zip(brains, modes, strict=True)]
    assert places[0] == pytest.approx(places[1], abs=0.01)


def test_the_region_decides_and_foreground_only_without_one() -> None:
    image = np.concatenate([brain(1), np.full(500, 900.0), np.zeros(500)])
    region = np.zeros(image.shape, np.bool_)
    region[: len(brain(1))] = True
    for kind in SETTINGS:
        map_ = fitted(kind, foreground=True)
        inside, alone = map_.for_image(image, region), map_.for_image(brain(1))
        assert (inside.low, inside.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
        seen = map_.for_image(image[:-500])
        assert map_.for_image(image).high == pytest.approx(seen.high)
    percentiles = fit(IntensitySettings(map="image-percentiles"), [(image, region)], "T1")
    assert percentiles.high == brain(1).max() == percentiles.for_image(image, region).high
    with pytest.raises(UserError, match="does not fit"):
        percentiles.for_image(image, region[:-1])


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_way_back_is_the_typical_training_image(kind: str) -> None:
    image = brain(1)
    map_ = fitted(kind, image, 2 * image, 10 * image)
    back, typical = map_.inverse, map_.for_image(2 * image)
    values = np.linspace(-1, 1, 21)
    np.testing.assert_allclose(back.invert(values), typical.invert(values), rtol=1e-6)
    assert (map_.low, map_.high) == (pytest.approx(back.low), pytest.approx(back.high))
    assert map_.depends_on_image


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_card_keeps_the_map(kind: str) -> None:
    map_ = fitted(kind)
    again = FittedMap.model_validate_json(map_.model_dump_json())
    assert again == map_
    np.testing.assert_array_equal(again.for_image(brain(9)).apply(brain(9)), map_.for_image(brain(9)).apply(brain(9)))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("image", [np.zeros(0), np.zeros(50), np.full(50, 7.5), np.full(50, 0.1)])
def test_in_use_an_image_without_extent_takes_the_typical_map(kind: str, image: Floats) -> None:
    map_ = fitted(kind, foreground=True)
    assert map_.for_image(image) == map_.inverse
    assert map_.for_image(brain(1), np.zeros(brain(1).shape, np.bool_)) == map_.inverse
    assert np.isfinite(map_.inverse.apply(image)).all()


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "No training image of T1"),
        ([np.zeros(50)], "zero throughout"),
        ([brain(1), np.full(50, 7.5)], r"Training image 2 of T1 is constant \(7.5\)"),
        ([(brain(1), np.zeros(brain(1).shape, np.bool_))], "region of training image 1 of T1 is empty"),
        ([(brain(1), np.ones(3, np.bool_))], "does not fit"),
    ],
)
def test_what_cannot_be_fitted_is_named(kind: str, images: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(IntensitySettings.model_validate(SETTINGS[kind] | {"foreground": True}), images, "T1")


def test_empty_training_images_are_passed_over() -> None:
    for kind in SETTINGS:
        some = fitted(kind, np.zeros(50), brain(1), foreground=True)
        assert some.limits == fitted(kind, brain(1), foreground=True).limits


def test_a_stripe_of_one_single_value_is_refused_in_training() -> None:
    coarse = np.repeat([10.0, 20.0, 30.0], [100, 300, 900])
    with pytest.raises(UserError, match="one single value throughout its white stripe"):
        fitted("white-stripe", coarse)
    assert fitted("white-stripe").for_image(coarse) == fitted("white-stripe").inverse


def test_nyul_of_few_values_still_rises() -> None:
    coarse = np.repeat([10.0, 20.0, 30.0], [100, 300, 900])
    map_ = fitted("nyul").for_image(coarse)
    assert (np.diff(map_.apply(np.array([10.0, 20.0, 30.0]))) > 0).all()
    itself = fitted("nyul", coarse).for_image(coarse)
    np.testing.assert_allclose(itself.invert(itself.apply(coarse)), coarse, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"map": "white-stripe"},
        {"map": "z-score", "contrast": "T1"},
        {"map": "white-stripe", "contrast": "PD"},
        {"map": "nyul", "limits": (5, 5)},
        {"map": "nyul", "limits": (-1e9, 1e9)},
        {"map": "image-percentiles", "limits": (-3, 5)},
        {"map": "nyul", "percentiles": (1, 99)},
        {"map": "z-score", "anchor_zero": True},
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        IntensitySettings.model_validate(settings)


def test_cards_that_lack_what_their_kind_needs_are_refused() -> None:
    for lacking in (
        {"kind": "z-score"},
        {"kind": "nyul", "limits": (0, 1)},
        {"kind": "white-stripe", "limits": (0, 1)},
    ):
        with pytest.raises(ValidationError):
            FittedMap.model_validate(lacking | {"low": 0, "high": 1, "origin": "a test"})


def test_a_fixed_map_needs_no_region() -> None:
    fixed = FittedMap(kind="one-range", low=0, high=2, origin="a test")
    assert fixed.for_image(np.ones(4), np.ones(4, np.bool_)) == LinearMap(low=0, high=2)
    assert not fixed.depends_on_image

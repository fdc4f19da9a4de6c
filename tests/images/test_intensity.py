"""Intensity maps: what goes in comes out, and the range is learnt from nothing but the training images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from transmodal.datasets.preparation import to_dtype
from transmodal.errors import UserError
from transmodal.images.intensity import FittedMap
from transmodal.images.intensity_fitting import fit
from transmodal.images.intensity_maps import LinearMap
from transmodal.images.intensity_settings import IntensitySettings
from transmodal.images.intensity_statistics import percentile_range

FINITE = st.floats(-1e4, 1e4, width=32)


@given(
    pixels=arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=FINITE),
    low=st.floats(-1e4, 9e3),
    extent=st.floats(1, 1e4),
)
def test_inverse_undoes_all_but_clipping(pixels: np.ndarray, low: float, extent: float) -> None:
    map_ = LinearMap(low=low, high=low + extent)
    mapped = map_.apply(pixels)
    assert mapped.dtype == np.float32 and mapped.min() >= -1 and mapped.max() <= 1
    expected = np.clip(pixels.astype(np.float64), map_.low, map_.high)
    np.testing.assert_allclose(map_.invert(mapped), expected, atol=2e-7 * extent + 1e-3 * 2**-10 * abs(low) + 1e-6)


@given(low=st.floats(-1e6, 1e6), extent=st.floats(0.1, 1e6))
def test_ends_of_the_range_come_back(low: float, extent: float) -> None:
    map_ = LinearMap(low=low, high=low + extent)
    np.testing.assert_allclose(map_.invert(np.array([-1.0, 1.0])), [map_.low, map_.high], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_every_integer_value_survives_the_way_there_and_back(dtype: type) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)
    map_ = LinearMap(low=float(limits.min), high=float(limits.max))
    np.testing.assert_array_equal(to_dtype(map_.invert(map_.apply(values)), np.dtype(dtype)), values)


def test_small_differences_of_large_numbers_survive() -> None:
    values = 1e9 + np.arange(11.0)
    map_ = LinearMap(low=1e9, high=1e9 + 10)
    np.testing.assert_allclose(map_.invert(map_.apply(values)), values, rtol=0, atol=1e-5)


def test_integers_are_rounded_and_clipped_never_wrapped() -> None:
    pixels = np.array([-3.2, 0.49, 0.51, 254.6, 300.0])
    assert to_dtype(pixels, np.dtype(np.uint8)).tolist() == [0, 0, 1, 255, 255]
    assert to_dtype(pixels, np.dtype(bool)).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_range_without_extent_is_refused(low: float, high: float) -> None:
    for make in (
        lambda: LinearMap(low=low, high=high),
        lambda: IntensitySettings(map="fixed", low=low, high=high),
        lambda: FittedMap(kind="one-range", low=low, high=high, origin="test"),
    ):
        with pytest.raises(ValidationError):
            make()


@pytest.mark.parametrize(
    "settings",
    [
        {"map": "fixed"},
        {"map": "auto", "low": 0, "high": 1},
        {"map": "image-percentiles", "percentiles": (50, 50)},
        {"map": "image-percentiles", "percentiles": (-1, 50)},
    ],
)
def test_incomplete_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IntensitySettings.model_validate(settings)


def test_auto_takes_the_whole_range_of_8_bit_files_and_the_extremes_of_others() -> None:
    eight = fit(IntensitySettings(), [np.array([[3, 9]], np.uint8)], "photo")
    assert (eight.low, eight.high) == (0, 255)
    sixteen = fit(IntensitySettings(), [np.array([[30, 900]], np.uint16), np.array([[7, 800]], np.uint16)], "xray")
    assert (sixteen.low, sixteen.high) == (7, 900)


def test_image_percentiles_use_each_image_and_the_median_of_training_on_the_way_back() -> None:
    images = [np.linspace(0, top, 101) for top in (100.0, 200.0, 400.0)]
    fitted = fit(IntensitySettings(map="image-percentiles", percentiles=(10, 90)), images, "T1")
    assert (fitted.low, fitted.high) == (pytest.approx(20), pytest.approx(180))
    own = fitted.for_image(np.linspace(0, 1000, 101))
    assert (own.low, own.high) == (pytest.approx(100), pytest.approx(900))
    constant = fitted.for_image(np.full((4, 4), 7.0))
    assert np.isfinite(constant.apply(np.full((4, 4), 7.0))).all()


def test_foreground_leaves_zeros_and_empty_images_out() -> None:
    image = np.concatenate([np.zeros(1000), np.linspace(50, 150, 101)])
    settings = IntensitySettings(map="training-percentiles", percentiles=(0, 100), foreground=True)
    fitted = fit(settings, [image, np.zeros(10)], "T1")
    assert (fitted.low, fitted.high) == (50, 150)


def test_percentiles_of_a_large_picture_see_all_colours_and_columns() -> None:
    picture = np.zeros((512, 512, 3), np.uint8)  # 786 432 values: an even step of 3 would see red alone
    picture[..., 1], picture[..., 2] = 100, 200
    assert percentile_range(picture, (20, 90), foreground=False) == (0, 200)
    ramp = np.tile(np.arange(1000.0), (2000, 1))
    low, high = percentile_range(ramp, (1, 99), foreground=False)
    assert low == pytest.approx(10, abs=2) and high == pytest.approx(990, abs=2)


@pytest.mark.parametrize(
    ("settings", "images", "message"),
    [
        ({}, [], "No training image of photo"),
        ({}, [np.full((2, 2), 5, np.uint16)], "constant"),
        ({"map": "type-range"}, [np.zeros((2, 2), np.float32)], "no natural range"),
        ({"map": "type-range"}, [np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint16)], "several pixel types"),
        ({"map": "training-percentiles", "foreground": True}, [np.zeros((2, 2), np.uint16)], "zero throughout"),
    ],
)
def test_what_cannot_be_fitted_is_one_clear_line(settings: dict, images: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(IntensitySettings.model_validate(settings), images, "photo")


def test_a_given_range_tells_what_it_cuts_and_warns_of_more() -> None:
    window = IntensitySettings(map="fixed", low=-1024, high=1500)
    usual, padded = np.linspace(-1000, 1400, 1000), np.array([-2048.0] * 10 + [0.0] * 990)
    assert fit(window, [usual], "CT").cut == (0.0, 0.0) and fit(window, [usual], "CT").origin == "given in the recipe"
    fitted = fit(window, [usual, padded], "CT")
    assert fitted.cut == (0.005, 0.0) and "go from -2048 to 1400, 0.50% are below -1024" in fitted.origin
    assert fitted.cuts(usual) is None and fitted.cuts(padded[3:]) is None
    assert "1.00% of its values are below -1024 and cut to it (they reach -2048" in str(fitted.cuts(padded))
    metal = np.where(np.arange(1000) < 20, 8000, usual)
    assert fitted.cuts(metal) == (
        "2.00% of its values are above 1500 and cut to it (they reach 8000; in training it was 0.00%)"
    )
    assert fit(IntensitySettings(map="training-percentiles"), [usual], "CT").cuts(metal) is None
    assert FittedMap(kind="one-range", low=0, high=1, origin="an older card").cuts(metal) is None


def test_padding_of_ct_is_told_as_padding() -> None:
    usual = np.linspace(-1000, 1400, 1000)
    fitted = fit(IntensitySettings(map="fixed", low=-1024, high=1500), [usual], "CT")
    padded = np.where(np.arange(1000) < 200, -3024.0, usual)
    assert fitted.cuts(padded, padded <= -1500) == "20.00% of its values are padding (-3024), taken as air (-1024)"
    padded[300:310] = -1200
    assert fitted.cuts(padded, padded <= -1500) == (
        "20.00% of its values are padding (-3024), taken as air (-1024); 1.00% of its values are below -1024 "
        "and cut to it (they reach -1200; in training it was 0.00%)"
    )
    assert (
        fit(IntensitySettings(map="fixed", low=-1024, high=1500), [padded], "CT").cuts(padded, padded <= -1500) is None
    )

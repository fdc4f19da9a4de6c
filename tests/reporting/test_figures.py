"""Figures are PNG files that show what they should; looking at them is left to people."""

import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from transmodal.images import Image, Source, picture_affine
from transmodal.reporting.charts import Row, curves_chart, distribution_chart, group_chart
from transmodal.reporting.display import fullest_slice, luminance, panel
from transmodal.reporting.figures import case_figure, plain_number


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(PillowImage.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("shape", [(32, 64), (64, 32), (20, 20)])
@pytest.mark.parametrize("with_input", [True, False])
def test_a_case_is_drawn_for_any_shape_of_picture(shape: tuple[int, int], with_input: bool) -> None:
    truth = np.random.default_rng(0).uniform(0, 255, shape)
    colour = np.stack([truth.astype(np.uint8)] * 3, -1)
    given = Image(colour, picture_affine((0.1, 0.1)), channels=("red", "green", "blue")) if with_input else None
    affine = picture_affine((0.1, 0.1))
    png = case_figure(
        given,
        Image(truth * 0.9, affine),
        Image(truth, affine),
        value_range=(0, 255),
        title="$mouse_1$ <b> \\frac{",
        scores={"psnr": 20.0, "ssim": float("inf")},
        unit="$counts_{",
    )
    assert decoded(png).shape[1] > 1000


def test_prediction_and_truth_share_one_window() -> None:
    truth = np.zeros((20, 20))
    dark = decoded(case_figure(None, np.full((20, 20), 0.5), truth, value_range=(0, 1)))
    bright = decoded(case_figure(None, np.full((20, 20), 0.9), truth, value_range=(0, 1)))
    row = dark.shape[0] // 2
    assert dark[row, 180, 0] == pytest.approx(128, abs=2)
    assert bright[row, 180, 0] == pytest.approx(230, abs=2)


def test_a_volume_is_shown_where_it_varies_most_with_the_right_on_the_left() -> None:
    pixels = np.zeros((10, 12, 8), np.float32)
    pixels[1, :, 5] = 9.0  # i = 1 of 10; RAS+ axes: far to the patient's left
    volume = Image(pixels, np.eye(4), source=Source(format="nifti"))
    assert fullest_slice(volume) == 5
    shown = panel(volume)
    assert shown.pixels.shape == (12, 10)
    assert shown.pixels[0].argmax() == 8  # patient's left is at the right of the screen
    leftwards = panel(Image(pixels, np.diag([-1.0, 1, 1, 1]), source=Source(format="nifti")))
    assert leftwards.pixels[0].argmax() == 1


def test_stacks_without_a_patient_are_shown_as_stored() -> None:
    pixels = np.zeros((10, 12, 3), np.float32)
    pixels[2, 7, 1] = 1.0
    shown = panel(Image(pixels, np.diag([0.5, 0.25, 1, 1]), source=Source(format="tiff")))
    assert np.argwhere(shown.pixels).tolist() == [[2, 7]]
    assert shown.size == (5.0, 3.0)


def test_axes_count_pixels_without_a_physical_size() -> None:
    assert panel(np.zeros((4, 6))).unit == "px"
    assert panel(Image(np.zeros((4, 6)), picture_affine((2, 3)))).size == (8, 18)


def test_luminance_is_that_of_rec_709() -> None:
    assert luminance(np.array([[[100, 50, 200, 7]]])) == pytest.approx(0.2126 * 100 + 0.7152 * 50 + 0.0722 * 200)
    assert luminance(np.array([[[3.0, 9.0]]])) == pytest.approx(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (24.1234, "24.12"),
        (-0.04127, "−0.04127"),
        (12345.6, "12\u202f346"),
        (4.4077e7, "4.408×10⁷"),
        (-2.1e-5, "−2.100×10⁻⁵"),
        (float("inf"), "∞"),
        (float("nan"), "—"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert plain_number(value) == text


def test_charts_are_drawn_for_light_and_dark_pages_with_gaps_and_odd_names() -> None:
    values = np.array([1.0, np.inf, 3.0, 2.0])
    row = Row("$a_{ <i>", values, ["x", "x", "y", "z"], 2.0, np.nan, np.nan)
    empty = Row("none", np.array([np.inf]), ["x"], np.nan, np.nan, np.nan)
    for chart in (
        distribution_chart([row, empty], axis_label="PSNR ($dB_{)"),
        group_chart([row, empty], axis_label="PSNR", reference=2.0),
        curves_chart({"g_l1": [3.0, 2.0, float("nan")], "psnr$_{": [1.0, 2.0, 3.0]}, x=[1, 2, 3]),
    ):
        assert chart.light != chart.dark
        assert decoded(chart.light).size > 0

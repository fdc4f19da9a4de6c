"""Contours over slices and growth over visits: drawn for every arrangement, with nothing to draw too."""

import io

import numpy as np
import pytest
from PIL import Image as Picture

from transmodal.reporting.contours import ContourPanel, contour_figure
from transmodal.reporting.display import Panel
from transmodal.reporting.segmentation_charts import Growth, growth_chart

COLOURS = {"liver": "#00FF00", "tumour $": "#FF0000"}


def shown(size: tuple[int, int] = (40, 60), *, truth: bool = True, predicted: bool = True) -> ContourPanel:
    mask = np.zeros(size, bool)
    mask[5:30, 10:50] = True
    none = np.zeros(size, bool)
    image = Panel(np.zeros(size, np.float32), (size[0] * 0.5, size[1] * 0.5), "mm")
    return ContourPanel(
        image, {"liver": mask if truth else none}, {"liver": mask if predicted else none}, "ct, slice 3"
    )


def drawn(png: bytes) -> np.ndarray:
    """Pixels of the panels, without title and key."""
    return np.asarray(Picture.open(io.BytesIO(png)).convert("RGB")).astype(int)[80:-60]


def green(png: bytes) -> int:
    pixels = drawn(png)
    return int(((pixels[..., 1] > 150) & (pixels[..., 0] < 100)).sum())


def white(png: bytes) -> int:
    return int((drawn(png).min(axis=2) > 150).sum())


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_contours_are_drawn_beside_or_below_the_image(panels: int) -> None:
    png = contour_figure([shown()] * panels, colours=COLOURS, window=(-1, 1), title="best: m1 $x", scores={"Dice": 0.9})
    assert green(png) > 100 * panels


def test_true_contours_are_white_and_predicted_ones_dashed_in_their_classs_colour() -> None:
    true, predicted = (
        contour_figure([one], colours=COLOURS, window=(0, 1)) for one in (shown(predicted=False), shown(truth=False))
    )
    assert green(true) == 0 and white(predicted) == 0
    assert 0.4 * white(true) < green(predicted) < 0.9 * white(true)


def test_a_prediction_of_the_whole_picture_is_seen_as_one() -> None:
    full = ContourPanel(shown().image, {}, {"liver": np.ones((40, 60), bool)}, "")
    png = contour_figure([full], colours=COLOURS, window=(0, 1))
    pixels = drawn(png)
    tinted = (pixels[..., 1] > pixels[..., 0] + 20).mean()
    assert tinted > 0.3, "nearly all of the second panel"
    inner = ContourPanel(full.image, {}, {"liver": np.pad(np.ones((36, 56), bool), 2)}, "")
    sides = [
        int(((part[..., 1] > 150) & (part[..., 0] < 100)).sum())
        for part in (pixels[100:-100], drawn(contour_figure([inner], colours=COLOURS, window=(0, 1)))[100:-100])
    ]
    assert sides[0] > 0.85 * sides[1], "half of a line on the border would be clipped"


def test_the_key_tells_true_from_predicted_and_has_room_for_many_classes() -> None:
    few = Picture.open(io.BytesIO(contour_figure([shown()], colours=COLOURS, window=(0, 1))))
    key = np.asarray(few.convert("RGB")).astype(int)[-50:]
    assert ((key[..., 1] > 200) & (key[..., 0] < 60)).sum() > 40, "a piece of the predicted line"
    assert (key[:, :80].min(axis=2) > 240).sum() > 80, "a piece of the true line"
    many = contour_figure([shown()], colours={f"organ {n}": "#00FF00" for n in range(7)}, window=(0, 1))
    assert Picture.open(io.BytesIO(many)).size[1] > few.size[1] + 20


def test_nothing_to_draw_and_everything_to_draw_are_no_problem() -> None:
    nothing = contour_figure([shown(truth=False, predicted=False)], colours=COLOURS, window=(0, 1))
    assert green(nothing) == white(nothing) == 0
    full = shown()
    full = ContourPanel(full.image, {"liver": np.ones((40, 60), bool)}, {}, "")
    assert white(contour_figure([full], colours=COLOURS, window=(0, 1))) > 100


def test_growth_is_drawn_for_light_and_dark_pages() -> None:
    subjects = [Growth(f"m{number} $", ["w0", "w2"], [0, 2], [10, 20 + number], [12, 18]) for number in range(5)]
    chart = growth_chart(subjects, axis_label="volume of tumour (mm³)")
    for png in (chart.light, chart.dark):
        assert Picture.open(io.BytesIO(png)).size[0] > 900
    assert chart.light != chart.dark
    empty = growth_chart([Growth("m1", ["a", "b"], [0, 1], [0, 0], [0, 0])], axis_label="volume")
    assert empty.light

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


def green(png: bytes) -> int:
    pixels = np.asarray(Picture.open(io.BytesIO(png)).convert("RGB")).astype(int)[80:-60]
    return int(((pixels[..., 1] > 150) & (pixels[..., 0] < 100)).sum())


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_contours_are_drawn_beside_or_below_the_image(panels: int) -> None:
    png = contour_figure([shown()] * panels, colours=COLOURS, window=(-1, 1), title="best: m1 $x", scores={"Dice": 0.9})
    assert green(png) > 100 * panels


def test_true_contours_are_drawn_through_and_predicted_ones_dashed() -> None:
    panels = {"true": shown(predicted=False), "predicted": shown(truth=False)}
    both = {name: green(contour_figure([one], colours=COLOURS, window=(0, 1))) for name, one in panels.items()}
    assert 0.4 * both["true"] < both["predicted"] < 0.9 * both["true"]


def test_nothing_to_draw_and_everything_to_draw_are_no_problem() -> None:
    assert green(contour_figure([shown(truth=False, predicted=False)], colours=COLOURS, window=(0, 1))) == 0
    full = shown()
    full = ContourPanel(full.image, {"liver": np.ones((40, 60), bool)}, {}, "")
    assert green(contour_figure([full], colours=COLOURS, window=(0, 1))) > 100


def test_growth_is_drawn_for_light_and_dark_pages() -> None:
    subjects = [Growth(f"m{number} $", ["w0", "w2"], [0, 2], [10, 20 + number], [12, 18]) for number in range(5)]
    chart = growth_chart(subjects, axis_label="volume of tumour (mm³)")
    for png in (chart.light, chart.dark):
        assert Picture.open(io.BytesIO(png)).size[0] > 900
    assert chart.light != chart.dark
    empty = growth_chart([Growth("m1", ["a", "b"], [0, 1], [0, 0], [0, 0])], axis_label="volume")
    assert empty.light

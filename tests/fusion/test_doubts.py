"""Doubts beside the numbers: small regions, more than was injected, and counts that no region holds."""

from dataclasses import replace

import numpy as np
import pytest

from transmodal.fusion.answers import answer, fit_all
from transmodal.fusion.background import Background
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.doubts import covered_regions
from transmodal.fusion.region_files import LabelNames, Polygon, Polygons
from transmodal.fusion.regions import Regions, regions_from_labels, regions_from_polygons
from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import Injection, NuclearSeries
from transmodal.images.nuclear.isotopes import ISOTOPES

ANATOMY = Image(np.zeros((60, 80), np.uint8), picture_affine((0.5, 0.5)))
MINUTES = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
TC = ISOTOPES["Tc-99m"]
PER_PERCENT = 10e6 / 100 * 200e-6  # counts a second of one %ID


def box(name: str, x: float, y: float, side: float, role: str = "") -> Polygon:
    corners = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])
    return Polygon(name, corners, role)  # type: ignore[arg-type]


def drawn(*polygons: Polygon) -> Regions:
    tumour, muscle = box("tumour", 9.5, 9.5, 4, "target"), box("muscle", 24.5, 9.5, 5, "background")
    return regions_from_polygons(Polygons((tumour, muscle, *polygons)), ANATOMY)


def study(percent: float = 40.0, times: float = 60.0) -> NuclearSeries:
    """Five minutes of so many %ID in each of tumour and kidneys; `times` is what a minute is written as."""
    frames = np.full((5, 30, 40), 2.0)
    frames[:, 10:14, 10:14] += percent / 16 * PER_PERCENT * 60
    frames[:, 20:25, 10:15] += percent / 25 * PER_PERCENT * 60
    return NuclearSeries(
        frames,
        picture_affine((1.0, 1.0)),
        MINUTES * times,
        np.full(5, times),
        ISOTOPES["Tc-99m"],
        Injection(10e6),
        200.0,
    )


def curves_of(series: NuclearSeries, *polygons: Polygon) -> TimeActivity:
    return time_activity(series, drawn(*polygons).on(series), Background("region"))


KIDNEYS = box("kidneys", 9.5, 19.5, 5)


def test_a_sound_study_has_no_doubts() -> None:
    curves = curves_of(study(), KIDNEYS)
    assert not curves.doubts and curves.hottest == "the hottest pixel (row 10, column 10) lies in tumour (100 % of it)"
    assert curves.hottest in answer(curves, {}).answers[2].remark


def test_organs_behind_bone_in_a_label_map_are_said_to_be_covered() -> None:
    labels = np.zeros((120, 160), np.uint8)  # of half a millimetre
    labels[20:60, 20:80] = 1
    labels[20:60, 22:80:6] = labels[20:60, 23:80:6] = labels[20:60, 24:80:6] = 2  # ribs, 1.5 mm apart
    labels[70:110, 20:140] = 2  # and more bone elsewhere
    labels[20:50, 100:140] = 3
    names = LabelNames({1: "lungs", 2: "skeleton", 3: "liver"})
    series = replace(study(), frames=np.full((5, 60, 80), 20.0))
    found = regions_from_labels(Image(labels, picture_affine((0.5, 0.5)), quantity="label"), names)
    (line,) = covered_regions(found.on(series))
    assert line.startswith("Covered by other regions: lungs (49 %, most by skeleton).")
    assert "liver" not in line and line in time_activity(series, found.on(series)).doubts


def test_a_region_below_the_blur_of_the_camera_is_said() -> None:
    curves = curves_of(study(), box("bladder", 30.0, 20.0, 1.5))
    (line,) = curves.doubts
    assert "fewer than 10 nuclear pixels" in line and ": bladder (2.2)." in line and line in curves.said
    answers = answer(curves, {})
    assert answers.doubts == curves.doubts and answers.table()["remark"][0].startswith(line)


def test_times_in_minutes_are_noticed_by_more_than_was_injected() -> None:
    curves = curves_of(study(times=1.0))
    assert curves.percent_id is not None and curves.percent_id[0].max() > 2000
    (line,) = curves.doubts
    assert line.startswith("More than was injected: up to 2") and "Check that times are in seconds" in line
    negative = replace(study(times=1.0), starts=MINUTES - 60)
    assert not curves_of(negative).doubts  # of another injection


@pytest.mark.parametrize(("percent", "is_doubted"), [(45.0, False), (70.0, True)])
def test_regions_that_do_not_overlap_hold_no_more_than_all(percent: float, is_doubted: bool) -> None:
    both = box("both", 9.0, 9.0, 16)  # over tumour and kidneys: their counts are not taken twice
    doubts = curves_of(study(percent), KIDNEYS, box("again", 9.5, 19.5, 5)).doubts
    assert bool(doubts) == is_doubted
    if is_doubted:
        assert "%ID in tumour, kidneys together" in doubts[0].replace("muscle, ", "") and "again" not in doubts[0]
    assert bool(curves_of(study(percent), both).doubts) == is_doubted


def test_noise_alone_is_not_more_than_was_injected() -> None:
    rng = np.random.default_rng(3)
    whole = study(99.0)
    frames = rng.poisson(whole.frames / 100).astype(float)  # of a camera that is a hundred times weaker
    curves = curves_of(replace(whole.with_frames(frames), sensitivity=2.0), box("muscle 2", 24.5, 15.5, 5))
    assert curves.percent_id is not None and curves.percent_id.max() > 100 and not curves.doubts


def test_a_sensitivity_in_counts_a_minute_is_noticed_by_how_little_there_is() -> None:
    series = study()
    assert curves_of(series, KIDNEYS).facts["whole field"].startswith("all its counts are up to 82.71 %ID")
    [line] = curves_of(replace(series, sensitivity=60 * 200.0), KIDNEYS).doubts
    assert line.startswith("All counts of the nuclear field make up less than 1.392 %ID") and "(not a minute)" in line
    [line] = time_activity(replace(series, sensitivity=60 * 200.0), drawn().on(series), together=True).doubts
    assert "not a minute" in line
    none = replace(series, injection=None)
    assert not curves_of(none, KIDNEYS).doubts and "whole field" not in curves_of(none, KIDNEYS).facts


def test_a_background_drawn_over_the_target_is_said() -> None:
    over = (
        drawn()
        .without("muscle")
        .joined(regions_from_polygons(Polygons((box("back", 11.5, 8.5, 7, "background"),)), ANATOMY))
    )
    curves = time_activity(study(), over.on(study()), Background("region"))
    assert curves.doubts == (
        "Regions that lie in the background region back with a part of their area: tumour (50 %). What is taken off "
        "them is partly their own: draw the background beside them.",
    )
    assert not time_activity(study(), over.on(study())).doubts


def test_a_label_map_that_misses_the_counts_of_the_body_is_said() -> None:
    series = study()
    frames = np.zeros((5, 30, 40))
    frames[:, 5:25, 5:35] = 50.0
    body = replace(series, frames=frames)
    labels = np.zeros((60, 80), np.uint8)
    labels[10:50, 10:70], labels[20:30, 20:30] = 1, 2
    names = LabelNames({1: "soft tissue", 2: "tumour"})
    for shift, is_said in ((0, False), (20, True)):
        moved = Image(np.roll(labels, shift, axis=1), picture_affine((0.5, 0.5)), quantity="label")
        curves = time_activity(body, regions_from_labels(moved, names).on(body))
        line = (
            "% of all counts lie in no region, though soft tissue should hold the body: is the label map that of this"
        )
        assert any(line in each for each in curves.doubts) == is_said
        assert 30 * is_said <= float(curves.facts["in no region"].split(" %")[0]) < (35 if is_said else 3)


def test_counts_that_no_region_holds_are_said() -> None:
    series = study()
    frames = np.asarray(series.frames).copy()
    frames[:, 2, 30] = 5000
    curves = curves_of(series.with_frames(frames))
    (line,) = curves.doubts
    assert "hottest pixel of the nuclear image (row 2, column 30" in line and "lies in no region" in line
    held = curves_of(series.with_frames(frames), box("bladder", 28.0, 0.0, 4), box("gut", 32.0, 1.0, 5))
    assert "lies in bladder (100 % of it), within 2 pixels of gut" in held.hottest and not held.doubts


@pytest.mark.parametrize("how", ["region", "ring", "none"])
def test_counts_below_zero_are_kept_said_and_fitted(how: str) -> None:
    series = study()
    less = series.with_frames(np.asarray(series.frames) - 5.0)
    curves = time_activity(less, drawn(KIDNEYS).on(less), Background(how))  # type: ignore[arg-type]
    assert np.isfinite(curves.net_sd).all() and np.isfinite(curves.background_sd).all()
    assert curves.counts[curves.number("muscle")].max() < 0 and curves.net_sd[curves.number("muscle")].min() > 0
    line = next(each for each in curves.doubts if each.startswith("Counts below zero in "))
    assert "muscle" in line and "not Poisson" in line and line in curves.said
    assert set(fit_all(curves)) == {"tumour", "muscle", "kidneys"}
    assert answer(curves).doubts == curves.doubts

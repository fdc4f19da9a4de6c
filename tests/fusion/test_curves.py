"""Counts of regions over time: background, its variance, units, and everything that is missing or odd said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest

from transmodal.errors import UserError
from transmodal.fusion.activity import activity_of, chosen_frames
from transmodal.fusion.background import Background, ring_around
from transmodal.fusion.biodistribution import frames_of
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.region_files import Polygon, Polygons
from transmodal.fusion.regions import RegionWeights, regions_from_polygons
from transmodal.fusion.units import Attenuation
from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import Injection, NuclearSeries
from transmodal.images.nuclear.decay import mean_over
from transmodal.images.nuclear.isotopes import ISOTOPES

ANATOMY = Image(np.zeros((60, 80), np.uint8), picture_affine((0.5, 0.5)))
TC = ISOTOPES["Tc-99m"]
STARTS, DURATIONS = np.array([0.0, 60.0, 3600.0]), np.array([60.0, 600.0, 7200.0])


def box(name: str, x: float, y: float, width: float, height: float, role: str = "") -> Polygon:
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    return Polygon(name, corners, role)  # type: ignore[arg-type]


def regions(series: NuclearSeries, *more: Polygon) -> RegionWeights:
    tumour = box("tumour", 9.5, 9.5, 4, 3, "target")
    muscle = box("muscle", 24.5, 9.5, 6, 4, "background")
    return regions_from_polygons(Polygons((tumour, muscle, *more)), ANATOMY).on(series)


def series(frames: np.ndarray, **more: object) -> NuclearSeries:
    known: dict = {
        "starts": STARTS, "durations": DURATIONS, "isotope": TC, "sensitivity": 200.0,
        "injection": Injection(21e6, -600.0, 1e6, 300.0), "agent": "99mTc-test",
    }  # fmt: skip
    return NuclearSeries(frames, picture_affine((1.0, 1.0)), **{**known, **more})


def steady(percent: float = 5.0, background: float = 0.0) -> NuclearSeries:
    """%ID that stays in the tumour, spread evenly over its 12 pixels, and the same background everywhere."""
    empty = series(np.zeros((3, 30, 40)))
    injected = empty.injection.activity(TC)  # type: ignore[union-attr]
    mean = percent / 100 * injected * mean_over(TC.half_life, STARTS, DURATIONS)
    frames = np.full((3, 30, 40), background) * DURATIONS[:, None, None]
    frames[:, 10:13, 10:14] += (mean * 200e-6 * DURATIONS / 12)[:, None, None]
    return empty.with_frames(frames)


def test_what_stays_is_the_same_per_cent_in_every_frame() -> None:
    counted = steady()
    curves = time_activity(counted, regions(counted))
    assert curves.percent_id is not None and curves.activity is not None
    np.testing.assert_allclose(curves.percent_id[0], 5.0, rtol=1e-9)
    np.testing.assert_allclose(curves.percent_id[1], 0.0, atol=1e-12)
    assert curves.injected == pytest.approx(21e6 / 2 ** (600 / TC.half_life) - 1e6 * 2 ** (300 / TC.half_life))
    np.testing.assert_allclose(curves.activity[0], 0.05 * curves.injected * mean_over(TC.half_life, STARTS, DURATIONS))


@pytest.mark.parametrize("how", ["region", "ring", "constant"])
def test_an_even_background_is_taken_off(how: str) -> None:
    counted = steady(background=0.5)
    curves = time_activity(counted, regions(counted), Background(how, rate=0.5))  # type: ignore[arg-type]
    assert curves.percent_id is not None
    np.testing.assert_allclose(curves.percent_id[0], 5.0, rtol=1e-9)
    np.testing.assert_allclose(curves.background[0], 12 * 0.5 * DURATIONS)
    if how == "region":
        assert curves.target_to_background is not None
        np.testing.assert_allclose(curves.target_to_background[0], curves.counts[0] / curves.background[0])


def test_background_variance_is_that_of_poisson_counts() -> None:
    rng = np.random.default_rng(4)
    frames = np.full((4000, 30, 40), 2.0)
    frames[:, 10:13, 10:14] = 7.0
    noisy = series(rng.poisson(frames).astype(float), starts=None, durations=None)
    curves = time_activity(noisy, regions(noisy), Background("region"))
    # C + C_bg·(n / n_bg)² with 12 and 24 pixels.
    expected = np.sqrt(curves.counts[0] + noisy.frames[:, 10:14, 25:31].sum((1, 2)) * (12 / 24) ** 2)
    np.testing.assert_allclose(curves.net_sd[0], expected, rtol=1e-9)
    assert curves.net[0].std() == pytest.approx(curves.net_sd[0].mean(), rel=0.05)
    assert curves.net[0].mean() == pytest.approx(12 * 5.0, abs=0.6)
    assert curves.target_to_background is not None and curves.target_to_background_sd is not None


def test_partly_covered_pixels_have_the_variance_of_their_share() -> None:
    rng = np.random.default_rng(5)
    noisy = series(rng.poisson(np.full((4000, 30, 40), 3.0)).astype(float), starts=None, durations=None)
    half = regions_from_polygons(Polygons((box("a", 10.0, 10.0, 3, 3),)), ANATOMY).on(noisy)
    curves = time_activity(noisy, half)
    assert curves.net_sd[0].mean() == pytest.approx(curves.net[0].std(), rel=0.04)
    assert curves.count_variance[0] < 0.8


def test_a_ring_keeps_its_distance_and_leaves_others_out() -> None:
    counted = steady()
    near = box("kidney", 15.5, 9.5, 3, 3)
    weights = regions(counted, near)
    ring = ring_around(weights, 0, Background("ring", gap=1.0, width=2.0))
    assert ring[10:13, 10:14].sum() == 0 and ring[10:13, 9].max() == 0 and ring[11, 7] == 1
    assert (ring * weights.weights[2]).sum() == 0
    alone = ring_around(regions(counted), 0, Background("ring", gap=1.0, width=2.0))
    grown = [12 + 2 * r * 7 + np.pi * r**2 for r in (1.0, 3.0)]  # 4 × 3 mm grown by r, with round corners
    assert alone.sum() == pytest.approx(grown[1] - grown[0], rel=0.03)


def test_negative_net_counts_are_kept_and_said() -> None:
    frames = np.full((3, 30, 40), 5.0)
    frames[:, 10:13, 10:14] = 1.0
    curves = time_activity(series(frames), regions(series(frames)), Background("region"))
    assert (curves.net[0] == -48).all() and curves.percent_id is not None and (curves.percent_id[0] < 0).all()
    assert any("tumour (3 of 3 frames): net counts are negative" in line for line in curves.said)


def test_frames_out_of_order_are_sorted_and_said() -> None:
    right = steady()
    order = np.array([2, 0, 1])
    mixed = replace(right, frames=right.frames[order], starts=STARTS[order], durations=DURATIONS[order])
    curves = time_activity(mixed, regions(mixed))
    np.testing.assert_array_equal(curves.counts, time_activity(right, regions(right)).counts)
    assert any("not in the order of their times" in line for line in curves.said)


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ((0.0, 50.0, 600.0), "1 frame begins before the previous frame has ended"),
        ((0.0, 50.0, 60.0), "2 frames begin before the previous frame has ended"),
        ((-60.0, 0.0, 600.0), "1 frame lies before the injection"),
        ((-120.0, -60.0, 600.0), "2 frames lie before the injection"),
    ],
)
def test_one_frame_is_no_frames(starts: tuple[float, ...], expected: str) -> None:
    timed = replace(steady(), starts=np.array(starts), durations=np.full(3, 60.0))
    assert any(line.startswith(expected) for line in time_activity(timed, regions(timed)).said)


@pytest.mark.parametrize(
    ("missing", "word", "has"),
    [
        ({"isotope": None}, "the isotope", "activity"),
        ({"starts": None}, "when it was injected", "activity"),
        ({"injection": None}, "the injected activity", "activity"),
        ({"sensitivity": None}, "the sensitivity of the camera", "rate"),
        ({"durations": None}, "the durations of the frames", "counts"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_given(missing: dict, word: str, has: str) -> None:
    counted = replace(steady(), **missing)
    curves = time_activity(counted, regions(counted))
    assert curves.percent_id is None and getattr(curves, has) is not None
    assert any(line.startswith("Not known:") and word in line for line in curves.said)


@pytest.mark.parametrize(
    ("missing", "shown"),
    [
        ("injection", "a second, decay-corrected to the injection; the tables have counts and Bq, too. Half-times"),
        ("sensitivity", "values are net counts a second, decay-corrected to the injection. Half-times"),
        ("isotope", "values are net counts a second; the tables have counts and Bq, too."),
        ("durations", "values are counts."),
    ],
)
def test_what_is_shown_instead_of_the_per_cent_is_said(missing: str, shown: str) -> None:
    counted = replace(steady(), **{missing: None})
    (line,) = (each for each in time_activity(counted, regions(counted)).said if each.startswith("Not known:"))
    assert shown in line


def test_saturated_pixels_are_said_for_each_frame() -> None:
    frames = np.zeros((3, 30, 40))
    frames[1, 10, 10:12] = 255
    curves = time_activity(series(frames, saturation=255.0), regions(series(frames)))
    assert curves.saturated.tolist() == [[0, 2, 0], [0, 0, 0]]
    (line,) = (each for each in curves.doubts if "aturated" in each)
    assert line.startswith("Saturated pixels: tumour (2 in frame 2). ") and curves.said.count(line) == 1
    frames[:] = 255
    frames[2, 10, 10] = 0
    doubts = time_activity(series(frames, saturation=255.0), regions(series(frames))).doubts
    (line,) = (each for each in doubts if each.startswith("Saturated"))
    assert "tumour (up to 12 in 3 of 3 frames), muscle (up to 24 in 3 of 3 frames)" in line and len(line) < 250


def test_attenuation_is_a_factor_that_is_stated() -> None:
    counted = steady()
    curves = time_activity(counted, regions(counted), attenuation={"tumour": Attenuation(10.0, 0.015)})
    assert curves.percent_id is not None
    np.testing.assert_allclose(curves.percent_id[0], 5.0 * np.exp(0.15))
    assert curves.facts["attenuation"] == "tumour × 1.162: exp(µ·x) for 10 mm of tissue over it at 0.015 per mm"
    with pytest.raises(UserError, match=r"in 1/cm\? write 0\.015"):
        Attenuation(10.0, 0.15)
    with pytest.raises(UserError, match="there is no region 'heart'"):
        time_activity(counted, regions(counted), attenuation={"heart": Attenuation(1.0, 0.01)})


def test_coincidence_is_weakened_by_the_whole_body() -> None:
    thickness, depth, per_mm = 20.0, 4.0, 0.0096
    both = np.exp(-per_mm * depth) * np.exp(-per_mm * (thickness - depth))  # of the two photons, wherever they begin
    counted = replace(steady(), isotope=ISOTOPES["F-18"])
    weakened = counted.with_frames(counted.frames * both)
    rule = {"tumour": Attenuation(thickness, per_mm)}
    plain, curves = (
        time_activity(counted, regions(counted)),
        time_activity(weakened, regions(counted), attenuation=rule),
    )
    assert curves.percent_id is not None and plain.percent_id is not None
    np.testing.assert_allclose(curves.percent_id[0], plain.percent_id[0])
    assert "20 mm of tissue, the whole thickness of the body there" in curves.facts["attenuation"]
    unknown = time_activity(replace(weakened, isotope=None), regions(counted), attenuation=rule)
    assert "20 mm of tissue at 0.0096 per mm" in unknown.facts["attenuation"]


def test_frames_with_pauses_have_the_per_cent_of_what_stays_together() -> None:
    counted = steady(background=0.5)  # 49 minutes pass between the second frame and the third
    curves = time_activity(counted, regions(counted), Background("region"), together=True)
    assert curves.percent_id is not None and curves.percent_id.shape == (2, 1)
    assert curves.percent_id[0, 0] == pytest.approx(5.0, rel=1e-9)
    same = activity_of(steady(), "%ID")
    assert (same.values * regions(counted).weights[0]).sum() == pytest.approx(curves.percent_id[0, 0])
    each = time_activity(counted, regions(counted), Background("region"))
    assert curves.net_sd[0, 0] == pytest.approx(np.sqrt((each.net_sd[0] ** 2).sum()))
    assert curves.counts[0, 0] == pytest.approx(each.counts[0].sum())
    assert curves.durations is not None and curves.durations.tolist() == [DURATIONS.sum()]
    assert curves.target_to_background is not None and not any("no %ID" in line for line in curves.said)
    one = frames_of(counted, [1])
    together, alone = (time_activity(one, regions(one), together=flag).percent_id for flag in (True, False))
    np.testing.assert_allclose(together, alone)  # type: ignore[arg-type]


def test_frames_before_the_injection_are_no_part_of_what_is_added_up() -> None:
    counted = steady()
    empty = np.zeros((2, 30, 40))
    early = replace(
        counted,
        frames=np.concatenate([empty, counted.frames]),
        starts=np.concatenate([[-1200.0, -600.0], STARTS]),
        durations=np.concatenate([[600.0, 600.0], DURATIONS]),
    )
    curves = time_activity(early, regions(early), together=True)
    assert curves.percent_id is not None and curves.percent_id[0, 0] == pytest.approx(5.0)
    assert curves.after_injection.all() and "2 frames lie before the injection; they are left out." in curves.said
    shown = activity_of(early, "%ID")
    assert shown.frames == (2, 3, 4) and (shown.values * regions(early).weights[0]).sum() == pytest.approx(5.0)
    # More than was injected is noticed whatever lies before.
    assert (
        "More than was injected"
        in time_activity(replace(early, sensitivity=5.0), regions(early), together=True).doubts[0]
    )
    blank = frames_of(early, [0, 1])
    with pytest.raises(UserError, match=r"all frames of .* before the injection \(they begin -1200 to -600 s"):
        time_activity(blank, regions(blank), together=True)
    assert activity_of(early, "counts", (0, 1)).frames == (0, 1)


def test_a_mean_of_frames_weights_each_by_its_duration() -> None:
    falling = steady()
    falling = falling.with_frames(falling.frames * np.array([3.0, 2.0, 0.5])[:, None, None])
    each, mean = (time_activity(falling, regions(falling), together=flag) for flag in (False, True))
    assert each.percent_id is not None and each.percent_id_sd is not None
    assert mean.percent_id is not None and mean.percent_id_sd is not None
    share = DURATIONS / DURATIONS.sum()
    assert mean.percent_id[0, 0] == pytest.approx((each.percent_id[0] * share).sum())
    assert mean.percent_id_sd[0, 0] == pytest.approx(np.sqrt(((each.percent_id_sd[0] * share) ** 2).sum()))
    pixels = activity_of(falling, "%ID").values
    assert (pixels * regions(falling).weights[0]).sum() == pytest.approx(mean.percent_id[0, 0])
    raw = replace(falling, sensitivity=None)
    rates, rate = (time_activity(raw, regions(raw), together=flag).scale for flag in (False, True))
    assert rates is not None and rate is not None and rate.unit == "counts/s"
    assert rate.values[0, 0] == pytest.approx((rates.values[0] * share).sum())


def test_depth_is_corrected_in_whatever_is_shown_or_said_not_to_be() -> None:
    rule = {"tumour": Attenuation(10.0, 0.015)}
    for missing in ({"sensitivity": None}, {"injection": None}):
        known = replace(steady(), **missing)
        plain, deep = (time_activity(known, regions(known), attenuation=given) for given in (None, rule))
        assert plain.scale is not None and deep.scale is not None and "attenuation" in deep.facts
        np.testing.assert_allclose(deep.scale.values[0], plain.scale.values[0] * np.exp(0.15))
        np.testing.assert_allclose(deep.scale.of_count[0], plain.scale.of_count[0] * np.exp(0.15))
        np.testing.assert_allclose(deep.scale.values[1], plain.scale.values[1])
    bare = replace(steady(), sensitivity=None, isotope=None)
    curves = time_activity(bare, regions(bare), attenuation=rule)
    assert "tumour: not corrected for depth, for values are counts as they were counted." in curves.said
    assert "attenuation" not in curves.facts and deep.depth_factors == {"tumour": pytest.approx(np.exp(0.15))}


def test_an_earlier_time_comes_first() -> None:
    with pytest.raises(UserError, match="from 90 to 60 s is no time; give the earlier one first"):
        chosen_frames(steady(), None, (90.0, 60.0))


def test_what_makes_numbers_doubtful_stands_among_the_doubts() -> None:
    counted = steady()
    beyond = regions_from_polygons(Polygons((box("tumour", -2.5, 9.5, 4, 3, "target"),)), ANATOMY).on(counted)
    line = time_activity(counted, beyond).doubts[0]
    assert line == "tumour: only 50.0 % of it lies in the nuclear field and is counted."
    scaled = replace(counted, said=("frames were sorted", "no raw counts"), doubts=("no raw counts",))
    curves = time_activity(scaled, regions(scaled))
    assert curves.doubts == scaled.doubts and all(curves.said.count(line) == 1 for line in scaled.said)


def test_a_frame_that_is_saturated_is_said_where_all_are_added() -> None:
    frames = np.zeros((3, 30, 40))
    frames[:, 10, 10] = 200
    frames[1, 10, 11] = 255
    curves = time_activity(series(frames, saturation=255.0), regions(series(frames)), together=True)
    assert curves.saturated.tolist() == [[1], [0]]  # three frames of 200 together are not saturated


def test_a_half_life_in_the_wrong_unit_is_noticed() -> None:
    counted = replace(steady(), isotope=replace(TC, half_life=6.0067))
    with pytest.raises(UserError, match=r"with a half-life of 6\.0067 s nothing would be left"):
        time_activity(counted, regions(counted))


def test_what_has_no_ring_keeps_its_counts_and_says_so() -> None:
    counted = steady()
    alone = regions(counted)
    body = box("body", 1.0, 1.0, 38, 28)
    names = {"inside": ("body",), "gap": 1.0, "width": 2.0}
    curves = time_activity(counted, regions(counted, body), Background("ring", **names))  # type: ignore[arg-type]
    place = curves.number("body")
    assert list(curves.is_corrected) == [True, False, False]  # nor does the muscle, which surrounds too
    assert (curves.net[place] == curves.counts[place]).all() and (curves.background[place] == 0).all()
    walled = box("wall", 5.0, 4.0, 30, 20)  # all around, so that nothing is left of other rings
    curves = time_activity(counted, regions(counted, walled), Background("ring", gap=0.5, width=1.0))
    first = alone.names[0]
    assert not curves.is_corrected[0] and curves.is_corrected[curves.number("wall")]
    assert any(line.startswith(f"{first}") and "no background is taken off" in line for line in curves.said)


def test_bad_backgrounds_are_refused() -> None:
    counted = steady()
    none = replace(regions(counted), roles=("target", ""))
    with pytest.raises(UserError, match="no region has the role background"):
        time_activity(counted, none, Background("region"))
    with pytest.raises(UserError, match="there is no region 'fat'"):
        time_activity(counted, none, Background("region", "fat"))
    with pytest.raises(UserError, match="the frames have no durations"):
        time_activity(replace(counted, durations=None), none, Background("constant", rate=1.0))
    with pytest.raises(UserError, match="nothing is left of the background ring"):
        time_activity(counted, none, Background("ring", gap=100.0))
    with pytest.raises(UserError, match="give a gap from 0"):
        Background("ring", gap=-1.0)


def test_the_table_has_a_row_for_each_region_and_frame(tmp_path: Path) -> None:
    counted = steady(background=0.5)
    curves: TimeActivity = time_activity(counted, regions(counted), Background("region"))
    read = pandas.read_csv(curves.write_csv(tmp_path / "curves.csv"))
    assert len(read) == 6 and read["region"].tolist()[:4] == ["tumour"] * 3 + ["muscle"]
    np.testing.assert_allclose(read["percent_id"][:3], 5.0, rtol=1e-6)
    np.testing.assert_allclose(read["end_s"], read["start_s"] + read["duration_s"])
    assert {"counts", "background_counts", "net_sd", "activity_Bq", "target_to_background_sd"} <= set(read.columns)

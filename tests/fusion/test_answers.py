"""Answers and report: known studies give known answers, windows are where the closed form has them, pages are whole."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.fusion.answers import Answers, answer, fit_all
from transmodal.fusion.background import Background
from transmodal.fusion.biodistribution import fits_table, frames_of
from transmodal.fusion.curve_models import MODELS, OF_SEVERAL, frame_means
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.estimates import Estimate, written
from transmodal.fusion.kinetic_fit import KineticFit
from transmodal.fusion.region_files import Polygon, Polygons
from transmodal.fusion.regions import Regions, regions_from_polygons
from transmodal.fusion.report import LIMITS, Study, write_report
from transmodal.fusion.scan_times import between_text, counts_window, fit_background
from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import Injection, NuclearSeries
from transmodal.images.nuclear.isotopes import ISOTOPES
from transmodal.reporting.html import Picture

TC = ISOTOPES["Tc-99m"]
DURATIONS = np.array([30.0] * 4 + [120.0] * 4 + [600.0] * 6 + [600.0] * 2)
STARTS = np.concatenate([np.concatenate([[0.0], np.cumsum(DURATIONS[:-3])]), [7200.0, 14400.0]])
DECAY = float(np.log(2) / TC.half_life)
ANATOMY = Image(np.full((60, 80), 90, np.uint8), picture_affine((0.5, 0.5)))
PEAK, UPTAKE, CLEARANCE = 8.0, 480.0, 24000.0


def box(name: str, x: float, width: float, role: str = "") -> Polygon:
    corners = np.array([[x, 9.5], [x + width, 9.5], [x + width, 13.5], [x, 13.5]])
    return Polygon(name, corners, role)  # type: ignore[arg-type]


def regions() -> Regions:
    drawn = (box("kidneys", 4.5, 4), box("tumour <i>$x$", 14.5, 4, "target"), box("muscle", 26.5, 6, "background"))
    return regions_from_polygons(Polygons(drawn), ANATOMY)


def study_series(tumour: float = 10.0) -> NuclearSeries:
    means = {
        name: frame_means(MODELS[model], np.log(theta), STARTS, DURATIONS, DECAY)[0]
        for name, model, theta in (
            ("kidneys", "uptake and clearance", [30.0, np.log(2) / 900, np.log(2) / 90]),
            (
                "tumour",
                "uptake and clearance",
                [tumour, np.log(2) / CLEARANCE, np.log(2) / UPTAKE - np.log(2) / CLEARANCE],
            ),
            ("muscle", "clearance", [1.0, np.log(2) / 3000]),
        )
    }
    counts = 10e6 / 100 * 200e-6 * DURATIONS  # of one %ID
    expected = np.zeros((len(STARTS), 25, 40)) + (means["muscle"] * counts / 100)[:, None, None]
    for name, columns in (("kidneys", slice(5, 9)), ("tumour", slice(15, 19))):
        expected[:, 10:14, columns] += (means[name] * counts / 16)[:, None, None]
    frames = np.random.default_rng(1).poisson(expected).astype(np.uint16)
    return NuclearSeries(
        frames, picture_affine((1.0, 1.0)), STARTS, DURATIONS, TC, Injection(10e6), 200.0, "99mTc-test"
    )


@pytest.fixture(scope="module")
def study() -> tuple[TimeActivity, dict[str, KineticFit], Answers]:
    series = study_series()
    curves = time_activity(series, regions().on(series), Background("region"))
    fits = fit_all(curves)
    return curves, fits, answer(curves, fits)


def test_what_lies_below_its_background_has_no_curve_and_no_peak() -> None:
    series = background_of(30.0)
    frames = series.frames.astype(np.float64)
    frames[:, 10:14, 16:19] = 0
    air = series.with_frames(frames)
    curves = time_activity(air, regions().on(air), Background("region"))
    fits = fit_all(curves)
    target = curves.names[curves.roles.index("target")]
    assert not fits[target].model and fits[target].said[0].startswith("the background is higher than the region")
    told = answer(curves, fits)
    assert [each.answer for each in told.answers[3:]] == ["Not known."] * 3


def test_a_background_without_counts_is_doubted() -> None:
    series = study_series()
    place = regions().on(series)
    frames = series.frames.astype(np.float64)
    frames[:, place.weights[place.roles.index("background")] > 0] *= 1e-4
    dark = series.with_frames(frames)
    reached = answer(time_activity(dark, regions().on(dark), Background("region")), {}).answers[0]
    assert "more than 100 times its background: does that lie within the animal?" in reached.remark


def test_windows_of_no_length_are_moments() -> None:
    assert between_text(55.6, 55.61) == "at 55.6 s" and between_text(60.0, 3600.0).startswith("between ")


def test_the_six_questions_are_answered(study: tuple[TimeActivity, dict[str, KineticFit], Answers]) -> None:
    curves, fits, answers = study
    assert answers.target == "tumour <i>$x$"
    said = [each.answer for each in answers.answers]
    assert len(said) == 6 and said[0].startswith("Yes: ") and "times the background" in said[0]
    assert said[2].startswith("Highest first, at their peaks: kidneys")
    own = fits[answers.target]
    assert own.estimates["clearance_half_time"].holds(CLEARANCE) and own.estimates["uptake_half_time"].holds(UPTAKE)
    assert "Biological half-life" in said[3] and "effective half-life" in said[3]
    assert answers.organs["region"].tolist()[0] == "kidneys" and len(curves.said) <= 1
    table = answers.table()
    assert list(table.columns) == ["question", "answer", "remark"] and len(table) == 6


def test_the_window_is_where_the_curves_have_it(study: tuple[TimeActivity, dict[str, KineticFit], Answers]) -> None:
    _, fits, answers = study
    times = np.linspace(0, 15000, 3001)

    def counts(begin: float) -> float:
        return fits[answers.target].counted(begin, 600.0)

    values = np.array([counts(float(time)) for time in times])
    good = times[values >= 0.9 * values.max()]
    window = counts_window(fits[answers.target], 600.0)
    assert window is not None and not window.open_end
    np.testing.assert_allclose([window.begin, window.end], [good[0], good[-1]], atol=60)
    # Muscle clears and the tumour keeps: contrast is best at the end.
    assert answers.contrast is not None and answers.contrast.open_end and answers.contrast.from_fit
    assert "later may be better" in answers.answers[-1].remark
    assert answers.visible is not None and answers.visible.begin <= answers.visible.best <= answers.visible.end
    # The three windows do not all meet, so the one that weighs contrast against counts decides.
    assert answers.visible.text().split(" after")[0] in answers.answers[-1].answer


def test_no_time_before_the_first_frame_is_advised() -> None:
    series = frames_of(study_series(), range(9, 16))  # from 20 min on
    curves = time_activity(series, regions().on(series), Background("region"))
    answers = answer(curves, target="kidneys")  # which have cleared since long before
    assert curves.starts is not None and curves.starts[0] == 1200
    for window in (answers.contrast, answers.yielded, answers.visible):
        assert window is not None and window.from_fit and window.begin >= 1200 and window.open_begin
    assert "nothing was observed before the first frame" in answers.answers[5].remark
    whole = answer(time_activity(study_series(), regions().on(study_series()), Background("region")), target="kidneys")
    assert "before the first frame" not in whole.answers[5].remark


@pytest.mark.parametrize("model", OF_SEVERAL)
def test_a_half_life_of_a_sum_is_no_organs(
    study: tuple[TimeActivity, dict[str, KineticFit], Answers], tmp_path: Path, model: str
) -> None:
    curves, fits, answers = study
    assert answers.answers[3].answer.startswith("Biological half-life ") and model in MODELS
    left = Estimate(9000.0, 8000.0, 10000.0, "s", "profile likelihood")
    own = {**fits[answers.target].estimates, "half_left_time": left}
    theta = np.zeros(len(MODELS[model].parameters))
    sums = replace(fits[answers.target], model=model, theta=theta, estimates=own)
    fits = {**fits, answers.target: sums}
    none = replace(curves, half_life=None)
    for stays in (answer(curves, fits).answers[3], answer(none, fits).answers[3]):
        assert stays.answer.startswith("Half of the peak has left 2.5 h after") and "iological" not in stays.answer
        assert ". Slowest half-life of the sum in this region " in stays.answer
        assert [name for name, _ in stays.numbers][:2] == ["half of the peak has left", "slowest half-life of the sum"]
        assert "none of its half-lives is one organ's" in stays.remark
    page = write_report(Study(curves, {answers.target: sums}, answers), tmp_path / "report.html")
    headlines = page.read_text(encoding="utf-8").partition('<div class="headlines">')[2].partition("<table>")[0]
    assert "Slowest half-life of the sum" in headlines and "Biological" not in headlines


def test_very_many_standard_deviations_are_not_counted() -> None:
    series = study_series()
    bright = replace(series, frames=series.frames * 10_000)
    said = answer(time_activity(bright, regions().on(bright), Background("region")), {}).answers[0].answer
    assert "more than 100 standard deviations above background" in said


def test_a_target_without_activity_is_not_said_to_be_reached() -> None:
    series = study_series(tumour=1e-3)
    curves = time_activity(series, regions().on(series), Background("region"))
    answers = answer(curves)
    assert answers.answers[0].answer.startswith("Not shown: ")
    assert answers.answers[3].answer == "Not known." and "No net activity" in answers.answers[3].remark
    assert answers.answers[5].answer == "Not known." and "no activity above" in answers.answers[5].remark


@pytest.mark.parametrize(("brighter", "many"), [(1, r"[\d.]+"), (1000, "more than 100")])
def test_a_target_below_its_background_asks_for_another(brighter: int, many: str) -> None:
    series = background_of(30.0)
    frames = series.frames.astype(np.float64) * brighter
    frames[:, 10:14, 16:19] = 0  # of the target, three columns of four lie in air
    air = series.with_frames(frames)
    answers = answer(time_activity(air, regions().on(air), Background("region")))
    reached, amount, scan = (answers.answers[place] for place in (0, 1, 5))
    assert re.match(rf"Not shown: −[^,]+ net counts, {many} standard deviations below background", reached.answer)
    number = dict(reached.numbers)["standard deviations above background"]
    assert number.startswith("−" if brighter == 1 else "below −100")
    assert amount.answer == "Cannot be told: the background is higher than the target."
    assert scan.answer == "Not known." and answers.contrast is None
    for each in (reached, scan):
        assert "the background is higher than the region" in each.remark and "--background" in each.remark


def test_counts_alone_still_answer_what_they_can() -> None:
    series = replace(study_series(), isotope=None, starts=None)
    curves = time_activity(series, regions().on(series), Background("region"))
    answers = answer(curves, target="kidneys")
    assert answers.answers[0].answer.startswith("Yes: ") and answers.answers[3].answer == "Not known."
    assert answers.organs["unit"].unique().tolist() == ["counts"]


def background_of(means: float, frames: int = 6) -> NuclearSeries:
    """Counts of nothing but an even background, in frames of a minute, the first before the injection."""
    counts = np.random.default_rng(2).poisson(np.full((frames, 25, 40), means)).astype(np.uint16)
    starts = np.arange(frames) * 60.0 - 60.0
    return NuclearSeries(counts, picture_affine((1.0, 1.0)), starts, np.full(frames, 60.0), TC, Injection(10e6), 200.0)


def test_counts_without_a_background_reach_nothing() -> None:
    series = background_of(30.0)
    answers = answer(time_activity(series, regions().on(series)))
    reached = answers.answers[0]
    assert reached.answer.startswith("Cannot be told without a background: ") and "5 frames" in reached.answer
    assert "name a background" in reached.remark
    assert answers.organs["z"].isna().all() and "no background was taken off" in answers.answers[2].remark
    zero = answer(time_activity(series, regions().on(series), Background("constant", rate=0.0)))
    assert zero.answers[0].answer.startswith("Cannot be told")


def test_frames_before_the_injection_answer_nothing() -> None:
    series = background_of(30.0)
    frames = series.frames.copy()
    frames[0, 10:14, 15:19] += 4000  # of another study, or of the syringe
    before = replace(series, frames=frames, durations=np.array([60.0, 30, 30, 30, 30, 30]))
    curves = time_activity(before, regions().on(before), Background("region"))
    answers = answer(curves)
    assert answers.answers[0].answer.startswith("Not shown: ")
    own = answers.organs.set_index("region").loc[answers.target]
    assert own["peak_time_s"] >= 0 and own["net_counts"] < 1000 and answers.frame_length == 30.0
    early = replace(before, starts=before.starts - 3600.0)
    none = answer(time_activity(early, regions().on(early), Background("region")))
    assert none.answers[0].answer == "Cannot be told: no frame lies after the injection."
    assert none.answers[1].answer == "Not known."


def first_frames(count: int) -> NuclearSeries:
    series = study_series()
    return frames_of(series, range(10, 10 + count))


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_frames_say_how_much_though_no_curve(count: int) -> None:
    series = first_frames(count)
    curves = time_activity(series, regions().on(series), Background("region"))
    answers = answer(curves, fit_all(curves) if count > 1 else {})
    assert curves.percent_id is not None and curves.percent_id_sd is not None
    row = curves.percent_id[1]
    highest, sd = row.max(), curves.percent_id_sd[1][row.argmax()]
    said = [each.answer for each in answers.answers]
    assert said[1].startswith(f"{highest:.4g} %ID (95 %: {highest - 1.96 * sd:.4g} to ")
    assert said[3] == said[4] == "Not known."
    assert ("one frame is no curve" if count == 1 else "3 frames after the injection") in answers.answers[4].remark
    if count == 1:
        assert "in the one frame" in said[1] and answers.contrast is None and said[5] == "Not known."


def test_a_lone_region_says_what_it_holds() -> None:
    series = first_frames(1)
    alone = regions().without("kidneys").on(series)
    answers = answer(time_activity(series, alone, Background("region")), {})
    where = answers.answers[2].answer
    assert "Nowhere else" not in where and re.search(
        r"No other organ was counted; in tumour .* are [\d.]+ %ID \(", where
    )


def test_a_few_frames_of_nothing_give_the_most_there_can_be() -> None:
    series = frames_of(background_of(30.0), [1, 2])
    answers = answer(time_activity(series, regions().on(series), Background("region")))
    assert re.match(r"Not above background: less than [\d.]+ %ID on average", answers.answers[1].answer)


def test_a_target_without_a_count_holds_less_than_three() -> None:
    series = first_frames(3)
    none = series.with_frames(np.asarray(series.frames) * 0)
    curves = time_activity(none, regions().on(none))
    answers, scale = answer(curves, {}), curves.scale
    assert scale is not None
    most = written(-np.log(0.05) / (1 / scale.of_count[1]).sum(), "%ID")  # three counts in all frames together
    assert answers.answers[1].answer == f"Not one count: less than {most} on average of all frames (95 %)."
    assert (answers.organs["low"] == 0).all() and (answers.organs["high"] > 0).all()


def test_the_ratio_of_one_frame_is_the_same_in_curves_and_answers() -> None:
    series = first_frames(1)
    half = (box("tumour", 14.8, 3.5, "target"), box("muscle", 26.5, 6, "background"))  # pixels lie partly inside
    curves = time_activity(series, regions_from_polygons(Polygons(half), ANATOMY).on(series), Background("region"))
    assert curves.target_to_background is not None and curves.target_to_background_sd is not None
    value, sd = curves.target_to_background[0, 0], curves.target_to_background_sd[0, 0]
    own = dict(answer(curves, {}).answers[0].numbers)["target to background"]
    assert curves.count_variance[0] < 0.95 and own.startswith(f"{value:.4g} ({value - 1.96 * sd:.4g} to ")


def test_half_times_need_neither_sensitivity_nor_syringe(
    study: tuple[TimeActivity, dict[str, KineticFit], Answers], tmp_path: Path
) -> None:
    _, known, _ = study
    series = replace(study_series(), sensitivity=None, injection=None)
    curves = time_activity(series, regions().on(series), Background("region"))
    fits = fit_all(curves)
    answers = answer(curves, fits)
    own, other = fits[answers.target], known[answers.target]
    assert own.unit == own.estimates["peak"].unit == "counts/s" and own.model == other.model
    for name in ("uptake_half_time", "clearance_half_time", "peak_time"):
        values = [(each.value, each.low, each.high) for each in (own.estimates[name], other.estimates[name])]
        np.testing.assert_allclose(values[0], values[1], rtol=2e-3)
    of_one = 10e6 / 100 * 200e-6  # counts a second of one %ID
    assert own.estimates["peak"].value == pytest.approx(other.estimates["peak"].value * of_one, rel=1e-3)  # type: ignore[operator]
    assert own.area is not None and own.area.observed.unit == "counts/s·h"
    amount = answers.answers[1]
    assert "counts/s at the peak" in amount.answer
    assert "for %ID the sensitivity of the camera and the injected activity must be known" in amount.remark
    assert answers.organs["unit"].unique().tolist() == ["counts/s"] and answers.contrast is not None
    assert answers.visible is not None and "Biological half-life" in answers.answers[3].answer
    assert "decay_corrected_cps" in curves.table() and fits_table(fits)["unit"].tolist()[0] == "counts/s"
    assert any("do not need that" in line for line in curves.said)
    text = write_report(Study(curves, fits, answers), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "counts/s·h, decay-corrected" in text and "Net counts a second, decay-corrected to the injection" in text


def test_a_constant_background_is_not_fitted() -> None:
    series = study_series()
    curves = time_activity(series, regions().on(series), Background("constant", rate=0.01))
    assert fit_background(curves, "kidneys") is None
    answers = answer(curves)
    assert answers.contrast is not None and not answers.contrast.from_fit and answers.visible is None


@pytest.mark.parametrize("length", [0.0, -60.0, float("inf")])
def test_a_later_scan_lasts_some_time(
    study: tuple[TimeActivity, dict[str, KineticFit], Answers], length: float
) -> None:
    with pytest.raises(UserError, match=r"a later frame of .* s; give how long it counts, above 0 s"):
        answer(study[0], study[1], frame_length=length)


def test_a_muscle_is_around_organs_for_ring_and_answers_alike() -> None:
    series = study_series()
    plain = Polygons((box("muscle", 26.5, 6), box("tumour", 14.5, 4), box("kidneys", 4.5, 4)))
    curves = time_activity(series, regions_from_polygons(plain, ANATOMY).on(series), Background("ring"))
    assert "muscle not ranked" in answer(curves, {}).answers[2].remark


def test_a_study_without_target_asks_for_one() -> None:
    series = study_series()
    curves = time_activity(series, regions().without("tumour <i>$x$").on(series))
    with pytest.raises(UserError, match="no region is the target; name one of kidneys, muscle"):
        answer(curves)
    with pytest.raises(UserError, match="there is no region 'liver'"):
        answer(curves, target="liver")


def test_the_report_is_one_whole_page(
    study: tuple[TimeActivity, dict[str, KineticFit], Answers], tmp_path: Path
) -> None:
    curves, fits, answers = study
    shown = Study(
        curves, fits, answers, regions(), ANATOMY, [Picture(b"png", "overlay", "an overlay")], "Mouse 7",
        "fiducials, 0.31 mm", {"frames file": "a.tif"}, ["transmodal fuse curves"],
        "synthetic anatomy and activity, not for diagnosis",
    )  # fmt: skip
    text = write_report(shown, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<i>$x$" not in text and "tumour &lt;i&gt;$x$" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    for words in (
        "Mouse 7",
        "fiducials, 0.31 mm",
        "Synthetic anatomy and activity, not for diagnosis. Research only.",
        "6.0067 h",
        LIMITS[2],
        "an overlay",
    ):
        assert words in text
    assert text.count("<img") >= 3 and "made by a network" not in text


def test_a_report_without_times_is_still_made(tmp_path: Path) -> None:
    series = replace(study_series(), isotope=None, starts=None, durations=None)
    curves = time_activity(series, regions().on(series))
    text = write_report(Study(curves, fit_all(curves)), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not known: the durations of the frames" in text and "No curve was fitted." in text

"""Misfit stands beside the numbers, and beyond its limit they have no interval: in answers, tables and report."""

import math
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.fusion.test_answers import ANATOMY, box, regions, study_series

from transmodal.errors import UserError
from transmodal.fusion.answers import Answers, answer, fit_all
from transmodal.fusion.background import Background
from transmodal.fusion.biodistribution import fits_table, follow
from transmodal.fusion.curves import TimeActivity, time_activity
from transmodal.fusion.kinetic_fit import KineticFit, fit
from transmodal.fusion.misfit import held, misfit, misfit_note
from transmodal.fusion.organ_peaks import organs_by_peak
from transmodal.fusion.region_files import Polygons, write_polygons
from transmodal.fusion.region_sources import RegionSources, find_regions
from transmodal.fusion.regions import region_above, regions_from_polygons
from transmodal.fusion.registration import register
from transmodal.fusion.report import Study, write_report
from transmodal.images import Image

FIELD = Image(np.full((50, 80), 90, np.uint8), ANATOMY.affine)
NAME = "tumour <i>$x$"


@pytest.fixture(scope="module")
def study() -> tuple[TimeActivity, dict[str, KineticFit]]:
    series = study_series()
    curves = time_activity(series, regions().on(series), Background("region"))
    return curves, fit_all(curves)


def doubted(fits: dict[str, KineticFit], size: float) -> dict[str, KineticFit]:
    """The same fits, the target's with a χ² of so many times its degrees of freedom."""
    own = fits[NAME]
    return {**fits, NAME: replace(own, chi2=size * own.freedom, p=1e-9)}


def test_a_curve_that_follows_its_frames_keeps_its_intervals(study: tuple[TimeActivity, dict[str, KineticFit]]) -> None:
    curves, fits = study
    assert misfit(fits[NAME]) < 2 and not misfit_note(fits[NAME]) and held(fits[NAME]) is fits[NAME]
    answers = answer(curves, fits)
    assert "(95 %, counts alone: " in answers.answers[1].answer and "χ²" not in " ".join(answers.table()["answer"])
    assert "calibration, outlines and registration are in none" in answers.answers[1].remark


def test_a_misfit_is_said_beside_the_interval(study: tuple[TimeActivity, dict[str, KineticFit]]) -> None:
    curves, fits = study
    answers = answer(curves, doubted(fits, 5.0))
    for place in (1, 3, 4):
        said = answers.answers[place].answer
        assert (
            "95 %" in said and said.count("The curve misses its frames by more than counting explains (χ²/ν 5.0).") == 1
        )
    assert "These times are of a curve that misses its frames (χ²/ν 5)." in answers.answers[5].answer
    assert math.isnan(misfit(KineticFit()))


def test_a_model_that_does_not_hold_has_no_interval(
    study: tuple[TimeActivity, dict[str, KineticFit]], tmp_path: Path
) -> None:
    curves, fits = study
    raw = doubted(fits, 56.0)
    own = held(raw[NAME])
    answers = answer(curves, raw)
    for place in (1, 3, 4):
        said = answers.answers[place].answer
        assert "95 %" not in said and said.count("The model does not hold (χ²/ν 56): no interval.") == 1
        assert "does not hold" not in answers.answers[place].remark
    assert " %ID at the peak. " in answers.answers[1].answer and "The highest frame has " in answers.answers[1].answer
    scan = answers.answers[5]
    assert "of a curve that does not hold (χ²/ν 56): no windows." in scan.answer
    assert "etween" not in scan.answer and "etween" not in " ".join(value for _, value in scan.numbers)
    for name, each in own.estimates.items():
        assert each.value == raw[NAME].estimates[name].value and each.low is None and each.high is None
    assert own.area is not None and own.area.total.low is None and own.said[-1].endswith("no interval is given.")
    again = held(own)
    assert again.estimates == own.estimates and again.area == own.area and again.said == own.said
    row = organs_by_peak(curves, raw).set_index("region").loc[NAME]
    assert np.isnan(row["low"]) and row["misfit"] == pytest.approx(56.0)
    table = fits_table({NAME: own})
    assert table["low"].isna().all() and table["note"].str.endswith("no interval").all()
    page = write_report(Study(curves, {**fits, NAME: own}, answers), tmp_path / "report.html").read_text(
        encoding="utf-8"
    )
    headlines = page[page.index('<div class="headlines">') : page.index("<table>")]
    assert "95 %" not in headlines and headlines.count("the model does not hold (χ²/ν 56): no interval") == 3
    assert "Intervals are those of the counts alone" in page and "χ²/ν 56 (χ² " in page


def test_notes_of_numbers_stand_beneath_the_tables(
    study: tuple[TimeActivity, dict[str, KineticFit]], tmp_path: Path
) -> None:
    curves, fits = study
    plain = {region: without_notes(fitted) for region, fitted in fits.items()}
    own = plain[NAME]
    assert own.area is not None and own.estimates["effective_half_life"].interval()
    life = replace(own.estimates["effective_half_life"], note="11 h by four exponentials, as near by AIC")
    total = replace(own.area.decaying, note="no end is seen: from nothing to decay alone")
    noted = replace(
        own, estimates={**own.estimates, "effective_half_life": life}, area=replace(own.area, decaying=total)
    )
    page = write_report(Study(curves, {**plain, NAME: noted}), tmp_path / "noted.html").read_text(encoding="utf-8")
    block = page[page.index("<summary>Notes to the numbers") : page.index("<summary>How each model was chosen")]
    for words in (f"effective half-life: {life.note}", f"with decay: {total.note}"):
        assert block.count(f">{escape(NAME)}, {words}</p>") == 1
    assert block.count("</p>") == 2
    bare = write_report(Study(curves, plain), tmp_path / "bare.html").read_text(encoding="utf-8")
    assert "Notes to the numbers" not in bare


def without_notes(fitted: KineticFit) -> KineticFit:
    estimates = {name: replace(each, note="") for name, each in fitted.estimates.items()}
    area = fitted.area
    if area is not None:
        names = ("observed", "tail", "total", "decaying")
        area = replace(area, **{name: replace(getattr(area, name), note="") for name in names})
    return replace(fitted, estimates=estimates, area=area)


def test_bounds_of_a_model_that_does_not_hold_are_none() -> None:
    starts = np.arange(12) * 60.0
    flat = fit(starts, np.full(12, 60.0), np.ones(12), np.full(12, 0.01), half_life=21624.0)
    assert flat.estimates["clearance_half_time"].text().startswith("not determined: > ")
    own = held(replace(flat, chi2=1e4, p=0.0)).estimates["clearance_half_time"]
    assert own.text() == "not determined" and "longer than 10 times" in own.note and own.note.endswith("no interval")


@pytest.mark.parametrize(("life", "text"), [(150.0, "not determined"), (4000.0, "not determined: > 0.")])
def test_what_the_tail_is_at_least_is_only_said_where_it_says_something(life: float, text: str) -> None:
    starts = np.arange(8) * 300.0
    area = fit(
        starts, np.full(8, 300.0), 2 * np.exp(-starts / life), np.full(8, 0.4), half_life=21624.0, models=["clearance"]
    ).area
    assert area is not None and (area.tail.text() == text or (area.tail.text().startswith(text) and ">" in text))


def test_no_probability_is_nought(study: tuple[TimeActivity, dict[str, KineticFit]]) -> None:
    curves, fits = study
    assert dict(answer(curves, fits).answers[0].numbers)["standard deviations above background"].endswith(
        "(p < 0.0001)"
    )
    starts = np.arange(12) * 60.0
    bent = fit(starts, np.full(12, 60.0), 1 + np.sin(starts / 40), np.full(12, 0.01), half_life=21624.0)
    assert "p < 0.0001)" in " ".join(bent.said)


def hot() -> tuple[TimeActivity, Answers]:
    series = study_series()
    drawn = region_above(series, ANATOMY, name="hot").joined(regions().without(NAME))
    curves = time_activity(series, drawn.on(series), Background("region"))
    return curves, answer(curves)


def test_a_region_drawn_where_it_is_hot_is_not_asked_whether_it_is_reached() -> None:
    curves, answers = hot()
    assert curves.from_activity == {"hot"} and answers.target == "hot"
    reached = answers.answers[0]
    assert reached.answer.startswith("Cannot be told: hot was drawn where the activity is highest")
    assert "draw the target on the anatomy" in reached.remark and answers.answers[1].answer.endswith(".")
    assert not region_above(study_series(), ANATOMY, name="hot").joined(regions()).without("hot").from_activity


def test_a_target_on_the_anatomy_goes_before_what_is_hot(tmp_path: Path) -> None:
    series = study_series()
    file = write_polygons(tmp_path / "drawn.json", [box("tumour", 14.5, 4), box("muscle", 26.5, 6)])
    where = register(FIELD, series, None)
    both, _ = find_regions(
        RegionSources(polygons=file, above=0.4), FIELD, series, where, picture=tmp_path / "x.png", folder=tmp_path
    )
    assert both.roles == ("", "", "") and answer(time_activity(series, both.on(series)), {}).target == "tumour"
    alone, _ = find_regions(RegionSources(above=0.4), FIELD, series, where, picture=tmp_path / "x.png", folder=tmp_path)
    assert alone.roles == ("target",)


def test_target_and_background_that_are_asked_for_have_their_roles_in_every_table(tmp_path: Path) -> None:
    series = study_series()
    boxes = (box("kidneys", 4.5, 4), box("tumour", 14.5, 4), box("muscle", 26.5, 6))
    plain = regions_from_polygons(Polygons(boxes), FIELD)
    where = register(FIELD, series, None)
    found = follow(
        FIELD, series, where, plain, tmp_path, target="kidneys", background=Background("region", "muscle"),
        said=["The photograph is unlike those that the model has learnt from."],
    )  # fmt: skip
    assert found.curves.roles == ("target", "", "background")
    roles = pandas.read_csv(tmp_path / "organs.csv").set_index("region")["role"]
    assert roles["kidneys"] == "target" and roles["muscle"] == "background"
    page = found.files["report"].read_text(encoding="utf-8")
    assert (
        '<th scope="row">kidneys</th><td>target</td>' in page
        and '<th scope="row">muscle</th><td>background</td>' in page
    )
    assert "muscle not ranked" in found.answers.answers[2].remark  # type: ignore[union-attr]
    # What models warn of stands under the answers, too.
    assert pandas.read_csv(tmp_path / "answers.csv")["remark"][0].startswith("The photograph is unlike those")
    assert '<p class="warning">The photograph is unlike those' in page
    said = ["The photograph is unlike those."]
    follow(FIELD, series, where, plain.without("tumour"), tmp_path, said=said, overwrite=True)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2>Read first</h2><p class="warning">' in page
    assert '<p class="warning">The photograph is unlike those.</p>' in page
    with pytest.raises(UserError, match="muscle is the background and cannot be the target"):
        beside = Background("region", "muscle")
        follow(FIELD, series, where, plain, tmp_path / "other", target="muscle", background=beside)

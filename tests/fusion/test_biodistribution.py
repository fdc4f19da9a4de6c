"""A study in its folder: what is synthetic is marked in every picture, and nothing of an earlier run is left."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest

from transmodal import images
from transmodal.errors import UserError
from transmodal.fusion.biodistribution import counted_span, follow, frames_of, write_regions_picture
from transmodal.fusion.counting import count_regions
from transmodal.fusion.overlay import fuse
from transmodal.fusion.region_files import Polygon, Polygons
from transmodal.fusion.regions import Regions, regions_from_polygons
from transmodal.fusion.registration import Registration, register
from transmodal.fusion.report_pictures import anatomy_label
from transmodal.fusion.units import Attenuation, doubts_of_depth
from transmodal.images import Image
from transmodal.images.image import Source
from transmodal.images.note import NOTICE
from transmodal.images.nuclear import NuclearSeries
from transmodal.images.registration import Transform
from transmodal.images.synthetic import read_sidecar, sidecar_of

INK = np.array([0xFF, 0xB4, 0x54])


def synthetic(anatomy: Image) -> Image:
    return replace(anatomy, source=Source(derivation=f"{NOTICE} xray made by a test"))


def tumour(anatomy: Image) -> Regions:
    square = np.array([[18.0, 8.0], [24.0, 8.0], [24.0, 14.0], [18.0, 14.0]])
    return regions_from_polygons(Polygons((Polygon("tumour", square, "target"),)), anatomy)


def warned(path: Path) -> int:
    """Return how many pixels have the colour of the label."""
    return int((np.array(PIL.Image.open(path).convert("RGB")) == INK).all(axis=-1).sum())


def test_regions_over_a_synthetic_anatomy_say_so_on_them_and_in_them(xray: Image, tmp_path: Path) -> None:
    drawn = write_regions_picture(tumour(xray), synthetic(xray), tmp_path / "regions.png")
    assert warned(drawn) > 100
    assert images.read(drawn).source.derivation.startswith(NOTICE)
    assert "outlines of tumour drawn over it" in images.read(drawn).source.derivation
    assert read_sidecar(sidecar_of(drawn))["synthetic"] is True
    write_regions_picture(tumour(xray), xray, drawn)  # now over an acquired one
    assert not warned(drawn) and not images.read(drawn).source.derivation and not sidecar_of(drawn).exists()


@pytest.mark.parametrize(("ground", "ink"), [(255, "#ffffff"), (0, "#050505"), (235, "#f0f0e0"), (20, "#1a1030")])
def test_outlines_are_seen_on_any_ground(ground: int, ink: str, xray: Image, tmp_path: Path) -> None:
    pixels = np.full(xray.shape, ground, np.uint8)
    pixels[:4], pixels[-4:] = 0, 255  # so that the window is that of the file
    drawn = replace(tumour(xray), colours=(ink,))
    made = write_regions_picture(drawn, xray.with_pixels(pixels), tmp_path / "r.png")
    row = np.array(PIL.Image.open(made).convert("L")).astype(int)[290]  # through the tumour, above its name
    assert abs(row[100] - ground) < 12
    assert (np.abs(row - row[100]) > 100).sum() >= 4, "no rim beside the ink"


def test_regions_and_overlays_have_one_label(xray: Image, study: NuclearSeries) -> None:
    for anatomy in (xray, synthetic(xray)):
        overlay = fuse(anatomy, study, register(anatomy, study, None))
        assert anatomy_label(anatomy) == overlay.label


@pytest.mark.parametrize("of", ["anatomy", "activity"])
def test_the_report_says_which_of_both_is_synthetic(of: str, xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    anatomy = synthetic(xray) if of == "anatomy" else xray
    series = replace(study, source=Source(derivation=f"{NOTICE} simulated")) if of == "activity" else study
    found = follow(anatomy, series, register(anatomy, series, None), tumour(xray), tmp_path)
    page = found.files["report"].read_text(encoding="utf-8")
    assert f"Synthetic {of}, not for diagnosis. Research only." in page and "made by a network" not in page


def test_a_folder_that_holds_an_input_takes_no_study(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    image = images.write(xray, tmp_path / "mouse.tif")
    anatomy = replace(xray, source=Source(image))
    with pytest.raises(UserError, match="holds the input"):
        follow(anatomy, study, register(anatomy, study), tumour(xray), tmp_path, overwrite=True)


def test_more_tissue_than_an_animal_in_the_field_has_is_said(xray: Image, study: NuclearSeries) -> None:
    assert not doubts_of_depth({"tumour": Attenuation(9.0, 0.0155)}, xray)
    [line] = doubts_of_depth({"tumour": Attenuation(11.0, 0.0155), "liver": Attenuation(4.0, 0.0155)}, xray)
    assert line.startswith("tumour: 11 mm of tissue are more than half") and "20 mm" in line and "by 1.19" in line


def test_the_span_of_frames_names_its_gaps(study: NuclearSeries) -> None:
    assert counted_span(study) == "4 frames together, 0 to 600 s after the injection, 540 s of them counted"
    assert counted_span(frames_of(study, [0, 1])) == "2 frames together, 0 to 120 s after the injection"
    assert counted_span(replace(study, starts=None)) == ""


def test_a_region_outside_the_field_is_refused_with_what_is_doubted_of_the_registration(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    away = np.eye(3)
    away[0, 2] = 28.0
    mistaken = Registration(Transform("rigid", away), "points", said=("the point 'p3' seems mistaken",))
    with pytest.raises(UserError, match=r"tumour lies wholly outside .* Of the registration: the point 'p3' seems"):
        follow(xray, study, mistaken, tumour(xray), tmp_path)


def test_a_registration_far_off_stands_beside_the_answers(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    off = replace(register(xray, study, None), error_mm=9.0)
    found = follow(xray, study, off, tumour(xray), tmp_path)
    line = "The registration is 9 mm off, 4 nuclear pixels: regions hold counts of their neighbours."
    assert line in found.curves.doubts
    assert pandas.read_csv(tmp_path / "answers.csv")["remark"][0].count(line) == 1


def test_areas_are_in_the_table_of_fits(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    found = follow(xray, study, register(xray, study, None), tumour(xray), tmp_path)
    fits = pandas.read_csv(tmp_path / "fits.csv").set_index("quantity")
    area = found.fits["tumour"].area
    assert area is not None
    for name, own in (("observed", area.observed), ("tail", area.tail), ("decaying", area.decaying)):
        row = fits.loc[f"area_{name}"]
        assert row["unit"] == "%ID·h" and (own.value is None or row["value"] == pytest.approx(own.value))
    assert fits.loc["area_before", "value"] == pytest.approx(area.before) and "area_total" in fits.index


def test_counts_of_regions_say_in_their_folder_how_they_were_made(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    registration = register(xray, study, None)
    made = count_regions(
        synthetic(xray), study, registration, tumour(xray), tmp_path, said=["The photograph is unlike others."]
    )
    content = json.loads((tmp_path / "counted.json").read_text(encoding="utf-8"))
    assert content == made.content and content["synthetic"].startswith(NOTICE)
    assert content["roles"] == {"tumour": "target"} and content["facts"]["background"] == "no background was taken off"
    assert content["counted"].startswith("4 frames together, 0 to 600 s") and "unlike others" in content["said"][-1]
    assert content["regions"][0]["end_s"] == 600.0 and (tmp_path / "registration.json").is_file()
    table = pandas.read_csv(tmp_path / "regions.csv")
    assert table["percent_id"][0] == pytest.approx(content["regions"][0]["percent_id"])
    with pytest.raises(UserError, match=r"holds regions\.csv, counted\.json"):
        count_regions(xray, study, registration, tumour(xray), tmp_path)
    again = count_regions(xray, study, registration, tumour(xray), tmp_path, between=(0.0, 100.0), overwrite=True)
    assert again.content["counted"].startswith("2 frames") and again.content["synthetic"] == ""


def test_two_targets_and_frames_that_all_lie_before_the_injection_are_refused(
    xray: Image, study: NuclearSeries, tmp_path: Path
) -> None:
    both = tumour(xray).joined(replace(tumour(xray), names=("lesion",)))
    registration = register(xray, study, None)
    with pytest.raises(UserError, match="several regions have the role target: tumour, lesion; name one with --target"):
        follow(xray, study, registration, both, tmp_path)
    assert follow(xray, study, registration, both, tmp_path, target="lesion").answers.target == "lesion"  # type: ignore[union-attr]
    early = replace(study, starts=np.asarray(study.starts) - 30_000)
    with pytest.raises(UserError, match=r"all frames of .* lie before the injection"):
        follow(xray, early, registration, tumour(xray), tmp_path / "early")


def test_counts_of_frames_out_of_order_have_their_times(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    assert study.starts is not None and study.durations is not None
    order = [3, 1, 0, 2]
    mixed = replace(study, frames=study.frames[order], starts=study.starts[order], durations=study.durations[order])
    right, wrong = (
        count_regions(xray, each, register(xray, each, None), tumour(xray), tmp_path / name).content["counted"]
        for name, each in (("right", study), ("mixed", mixed))
    )
    assert right == wrong and "4 frames" in right


def test_nothing_of_an_earlier_run_is_left(xray: Image, study: NuclearSeries, tmp_path: Path) -> None:
    registration, regions = register(xray, study, None), tumour(xray)
    first = follow(xray, study, registration, regions, tmp_path)
    assert {"fits", "answers"} <= set(first.files) and (tmp_path / "fits.csv").is_file()
    single, liver = frames_of(study, [0]), replace(regions, names=("liver",), roles=("",))
    before = (tmp_path / "curves.csv").read_bytes()
    with pytest.raises(UserError, match=r"holds report.html.* already; .*overwrite=True"):
        follow(xray, single, registration, liver, tmp_path)
    assert (tmp_path / "curves.csv").read_bytes() == before
    again = follow(xray, single, registration, liver, tmp_path, overwrite=True)
    assert not {"fits", "answers"} & set(again.files)
    assert not (tmp_path / "fits.csv").exists() and not (tmp_path / "answers.csv").exists()

"""`transmodal fuse` on a simulated acquisition: overlays, counts in regions, curves, and what users get wrong."""

import json
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest
from tests.data.commands import run
from tests.data.translators import PHOTO, XRAY, make_translator
from tests.images.nuclear.acquisitions import nm_of_windows

from transmodal.errors import UserError
from transmodal.fusion.outputs import COUNTED, require_new_file, require_new_results
from transmodal.fusion.region_files import Polygon, write_polygons
from transmodal.images import Image, picture_affine, read, write
from transmodal.images.note import NOTICE
from transmodal.images.nuclear.reading import read_nuclear
from transmodal.images.nuclear.sidecar import sidecar_path
from transmodal.images.synthetic import sidecar_of
from transmodal.simulation.mouse import simulate_dataset as simulate_mice
from transmodal.simulation.nuclear.protocol import simulate_dataset
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.train import train


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One mouse with a tumour, an X-ray of 64 by 128 pixels, its counts, and the points marked in both."""
    folder = tmp_path_factory.mktemp("nuclear")
    simulate_dataset(
        folder, animals=1, agent="tumour", frames="6x60s,4x300s,2x1200s", size=(64, 128), seed=3, workers=1
    )
    return folder


@pytest.fixture
def here(mouse: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(mouse)
    return mouse


BOTH = ("xray/mouse001.png", "nuclear/mouse001.tif")
LABELS = ("--labels", "organs/mouse001.png", "--register", "fiducials.csv")


def test_two_images_and_a_place_make_an_overlay(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "over.png"
    status, said, _ = run(capsys, "fuse", *BOTH, "--register", "fiducials.csv", "-o", out)
    assert status == 0 and "mm off on average" in said and said.strip().endswith(f"Output: {out}")
    assert read(out).channels == ("red", "green", "blue")
    bare = tmp_path / "bare.tif"
    status, said, _ = run(
        capsys, "fuse", "overlay", *BOTH, "--register", "transform.json", "--bare", "-o", bare, "--json"
    )
    told = json.loads(said)
    assert status == 0 and told["frames"] == 12 and told["label"].endswith("not for diagnosis")
    assert read(bare).same_grid(read(here / BOTH[0]))


def test_a_gif_shows_every_frame(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "moving.gif"
    words = ("--register", "fiducials.csv", "--unit", "percent-id", "--seconds", 2, "-o", out, "--json")
    status, said, _ = run(capsys, "fuse", *BOTH, *words)
    assert status == 0 and out.read_bytes()[:3] == b"GIF"
    assert json.loads(said)["frames"] == 12 and json.loads(said)["unit"] == "%ID"


def test_counts_are_taken_in_organs_and_hot_spots(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "counted"
    words = ("--above", 0.5, "--leave-out", "soft tissue", "-o", out, "--json")
    status, said, _ = run(capsys, "fuse", "regions", *BOTH, *LABELS, *words)
    told = json.loads(said)
    by_name = {row["region"]: row for row in told["regions"]}
    assert status == 0 and "hot" in by_name and "liver" in by_name and "soft tissue" not in by_name
    total = int(read_nuclear(here / BOTH[1]).frames.sum())
    assert 0 < by_name["hot"]["counts"] < total and by_name["liver"]["percent_id"] > 0
    assert (out / "regions.png").is_file()
    assert set(pandas.read_csv(out / "regions.csv")["region"]) == set(by_name)


def test_curves_end_with_answers_and_a_report(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    words = ("--background", "ring", "--target", "tumour", "-o", out)
    status, said, errors = run(capsys, "fuse", "curves", *BOTH, *LABELS, *words)
    assert status == 0, errors
    assert "Does the compound reach the target (tumour)?" in said
    assert said.strip().endswith(f"Report: {out / 'report.html'}")
    assert "tumour (target)" in said and "  (planar: not corrected for what lies over" in said
    assert "\nwarning: Regions of fewer than 10 nuclear pixels, smaller than the camera's blur: " in said
    page = (out / "report.html").read_text()
    assert "not for diagnosis" in page and "a ring around each region" in page
    curves = pandas.read_csv(out / "curves.csv")
    assert set(curves["frame"]) == set(range(1, 13)) and {"percent_id", "target_to_background"} <= set(curves)
    fits = pandas.read_csv(out / "fits.csv")
    assert {"region", "model", "quantity", "value", "low", "high"} <= set(fits)
    assert (out / "overlay.png").is_file() and (out / "registration.json").is_file()


def test_drawn_regions_say_which_is_the_background(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "drawn.json"
    square = np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [0.0, 8.0]])
    polygons = (
        Polygon("chest", square + np.array([40.0, 20.0]), "target"),
        Polygon("leg", square + np.array([70.0, 15.0]), "background"),
    )
    write_polygons(drawn, polygons)
    words = (
        "--polygons",
        drawn,
        "--register",
        "fiducials.csv",
        "--background",
        "leg",
        "-o",
        tmp_path / "out",
        "--json",
    )
    status, said, _ = run(capsys, "fuse", "curves", *BOTH, *words)
    told = json.loads(said)
    assert status == 0 and told["facts"]["background"] == "the region leg"
    assert len(told["answers"]) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*BOTH, "-o", "over.jpg"), "end it with .png, .tif or .dcm"),
        (("xray/nobody.png", BOTH[1], "-o", "over.png"), "nobody.png"),
        ((*BOTH, "--unit", "sieverts", "-o", "over.png"), "--unit sieverts: take counts, bq, percent-id"),
        ((*BOTH, "--register", "photo/mouse001.png", "-o", "over.png"), "mouse001.png"),
        ((*BOTH, "--between", "90000", "99999", "-o", "over.png"), "frame"),
        (("regions", *BOTH, "-o", "out"), "no regions: give a model of organs"),
        (("regions", *BOTH, "--labels", "photo/mouse001.png", "-o", "out"), "photo/mouse001.png"),
        (("regions", *BOTH, *LABELS, "--leave-out", "wings", "-o", "out"), "no region 'wings'"),
        (("regions", *BOTH, *LABELS, "--background", "wings", "-o", "out"), "no region 'wings'"),
        (("curves", *BOTH, *LABELS, "--target", "wings", "-o", "out"), "no region 'wings'"),
        (("curves", *BOTH, *LABELS, "--depth", "liver=4", "-o", "out"), "REGION=MM,PER_MM"),
        (("curves", *BOTH, *LABELS, "--depth", "liver=4,0.155", "-o", "out"), "in 1/cm? write 0.0155"),
        (("curves", *BOTH, *LABELS, "-o", "manifest.csv"), "is a file; give a folder"),
        (("curves", *BOTH, "--organs", "nowhere", "-o", "out"), "nowhere"),
    ],
)
def test_mistakes_end_in_one_line(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    out = words[-1] if words[-1] == "manifest.csv" else str(tmp_path / words[-1])
    status, _, errors = run(capsys, "fuse", *words[:-1], out)
    lines = [line for line in errors.splitlines() if not line.startswith("note: ")]
    assert status == 2 and len(lines) == 1 and message in lines[0], errors
    assert "Traceback" not in errors and not (tmp_path / "over.png").exists()


def test_a_region_drawn_as_background_is_one(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chest = np.array([[40.0, 20.0], [48.0, 20.0], [48.0, 28.0], [40.0, 28.0]])
    drawn = tmp_path / "drawn.json"
    write_polygons(drawn, (Polygon("2", chest), Polygon("muscle", chest + np.array([30.0, -5.0]), "background")))
    words = ("--polygons", drawn, "--register", "fiducials.csv", "-o", tmp_path / "out", "--overwrite", "--json")
    for asked, expected in (
        ((), "the region muscle"),
        (("--background", "none"), "no background was taken off"),
        (("--background", "2"), "the region 2"),
        (("--background", "0.5"), "a constant 0.5 counts a second in each pixel, taken as exact"),
    ):
        status, said, _ = run(capsys, "fuse", "regions", *BOTH, *words, *asked)
        assert status == 0 and json.loads(said)["facts"]["background"] == expected


def test_a_label_map_without_a_size_lies_where_its_anatomy_lies(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.png"
    PIL.Image.fromarray(read(here / LABELS[1]).pixels).save(bare)
    assert not read(bare).has_physical_size
    counted = []
    for labels in (LABELS[1], bare):
        out = tmp_path / f"out{len(counted)}"
        words = ("--labels", labels, "--names", "organs.json", *LABELS[2:], "-o", out, "--json")
        status, said, errors = run(capsys, "fuse", "regions", *BOTH, *words)
        assert status == 0, errors
        counted.append({row["region"]: row["counts"] for row in json.loads(said)["regions"]})
    assert counted[0] == pytest.approx(counted[1])


def test_a_pixel_size_is_for_pictures_without_one(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, out = tmp_path / "bare.png", tmp_path / "over.png"
    PIL.Image.fromarray(read(here / BOTH[0]).pixels).save(bare)
    words = (BOTH[1], "--register", "fiducials.csv", "-o", out)
    assert run(capsys, "fuse", bare, *words)[0] == 2
    assert run(capsys, "fuse", bare, *words, "--spacing", 0.78125, 0.78125)[0] == 0
    status, _, errors = run(capsys, "fuse", BOTH[0], *words, "--spacing", 0.5, 0.5, "--overwrite")
    assert status == 2 and "says pixels of 0.78125×0.78125 mm; leave --spacing 0.5 0.5 out" in errors


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of X-rays, untrained, and one of organs, trained for seconds."""
    folder = tmp_path_factory.mktemp("models")
    mice = simulate_mice(folder / "mice", animals=3, poses=1, size=(64, 128), workers=1)
    table = pandas.read_csv(mice)
    table["split"] = ["validation" if subject == "mouse003" else "train" for subject in table["subject"]]
    table.to_csv(mice, index=False)
    recipe = load_recipe("xray-to-organs", scale="smoke", overrides=["preparation.grid.shrink=2"])
    train(recipe, mice, folder / "organs", cache=folder / "cache", quiet=True)
    return make_translator(folder / "xray", PHOTO, XRAY), folder / "organs"


def test_a_photograph_becomes_xray_organs_and_curves(
    here: Path, tmp_path: Path, models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    to_xray, to_organs = models
    out = tmp_path / "study"
    chain = ("--xray", to_xray, "--organs", to_organs, "--register", "fiducials.csv", "-o", out)
    status, _, errors = run(capsys, "fuse", "curves", "photo/mouse001.png", BOTH[1], *chain, "--json")
    assert status == 0, errors
    page = (out / "report.html").read_text()
    assert "synthetic anatomy" in page and str(to_organs) in page
    xray, organs = read(out / "xray.png"), read(out / "organs.png")
    photo = read(here / "photo" / "mouse001.png")
    assert xray.same_grid(photo) and organs.same_grid(photo) and NOTICE in xray.source.derivation
    assert sidecar_of(out / "organs.png").is_file()
    made = (out / "xray.png").stat().st_mtime_ns
    assert run(capsys, "fuse", "curves", "photo/mouse001.png", BOTH[1], *chain, "--overwrite")[0] == 0
    assert (out / "xray.png").stat().st_mtime_ns == made  # what is done is not made again
    status, _, errors = run(capsys, "fuse", "curves", *BOTH, *LABELS, "-o", out, "--overwrite")
    assert status == 0 and (out / "xray.png").is_file() and (out / "organs.png").is_file()
    assert errors.count("lies there from earlier results; those of now are not made of it") == 2
    chain = ("--xray", to_xray, "--labels", "organs/mouse001.png", "--register", "fiducials.csv", "-o", out)
    status, _, errors = run(capsys, "fuse", "curves", "photo/mouse001.png", BOTH[1], *chain, "--overwrite")
    assert status == 0 and f"{out / 'organs.png'} lies there" in errors and f"{out / 'xray.png'} lies" not in errors
    over = tmp_path / "over.png"
    words = ("--xray", to_xray, "--register", "fiducials.csv", "-o", over)
    assert run(capsys, "fuse", "photo/mouse001.png", BOTH[1], *words)[0] == 0
    assert NOTICE in read(over).source.derivation


def test_a_model_of_images_finds_no_organs(
    here: Path, tmp_path: Path, models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "photo/mouse001.png",
        BOTH[1],
        "--organs",
        models[0],
        "--register",
        "fiducials.csv",
        "-o",
        tmp_path / "out",
    )
    status, _, errors = run(capsys, "fuse", "regions", *words)
    assert status == 2 and "makes images and no label maps" in errors


def test_without_isotope_and_injection_curves_stay_in_counts_and_say_so(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "bare.tif"
    series.write_bytes((here / BOTH[1]).read_bytes())
    sidecar_path(series).write_text(json.dumps({"frames": {"duration_s": [60] * 12}}))
    words = (*LABELS, "--target", "tumour", "-o", tmp_path / "out")
    status, _, errors = run(capsys, "fuse", "curves", BOTH[0], series, *words)
    assert status == 0 and "Not known: when it was injected, the isotope" in errors
    assert (tmp_path / "out" / "report.html").is_file()


def test_help_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, "fuse", "--help")
    assert status == 0 and "overlay" in said and "regions" in said and "curves" in said
    assert "transmodal fuse IMAGE ACTIVITY -o OUT lays ACTIVITY over IMAGE" in " ".join(said.split())
    status, said, _ = run(capsys, "fuse", "curves", "--help")
    assert status == 0 and "Examples" in said


@pytest.mark.parametrize("command", ["regions", "curves"])
def test_results_and_inputs_are_not_written_over_unasked(
    command: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    words = ("fuse", command, *BOTH, *LABELS, "--leave-out", "soft tissue")
    assert run(capsys, *words, "-o", out)[0] == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    status, _, errors = run(capsys, *words, "-o", out)
    assert status == 2 and f"{out} holds" in errors and "--overwrite" in errors
    assert before == {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert run(capsys, *words, "-o", out, "--overwrite")[0] == 0
    for folder in (".", "xray", "organs", "nuclear"):
        status, _, errors = run(capsys, *words, "-o", folder, "--overwrite")
        assert status == 2 and f"{folder} holds the input" in errors
    assert not (here / "report.html").exists() and not (here / "xray" / "regions.png").exists()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "xray.png").symlink_to(here / BOTH[0])
    status, _, errors = run(capsys, "fuse", command, linked / "xray.png", BOTH[1], *LABELS, "-o", linked)
    assert status == 2 and f"{linked} holds the input" in errors


def test_an_overlay_is_not_written_over_unasked(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fuse", *BOTH, "--register", "fiducials.csv", "--bare", "-o")
    assert run(capsys, *words, tmp_path / "over.png")[0] == 0
    status, _, errors = run(capsys, *words, tmp_path / "over.png")
    assert status == 2 and "over.png exists" in errors and "--overwrite" in errors
    assert run(capsys, *words, tmp_path / "over.png", "--overwrite")[0] == 0
    status, _, errors = run(capsys, *words, tmp_path)
    assert status == 2 and "is a folder; name a file" in errors
    status, _, errors = run(capsys, *words, BOTH[0], "--overwrite")
    assert status == 2 and "is an input" in errors


def test_a_picture_that_no_model_made_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "xray.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"holds xray.png already"):
        require_new_results(tmp_path, COUNTED, [])
    with pytest.raises(UserError, match=r"xray.png exists"):
        require_new_file(tmp_path / "over.png", tmp_path / "xray.png")
    sidecar_of(tmp_path / "xray.png").write_text("{}")
    require_new_results(tmp_path, COUNTED, [])
    require_new_file(tmp_path / "over.png", tmp_path / "xray.png")


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("over.png", ("--seconds", 10), "over.png is one picture; leave --seconds out, or write a .gif or .mp4"),
        ("over.dcm", ("--own-scales",), "--own-scales: over.dcm is one picture; leave --own-scales out"),
        ("over.gif", ("--own-scales", "--upper", 50), "(--own-scales, own_scales=) and all the top 50 (--upper"),
        ("over.png", ("--upper", "inf"), "is inf; give a finite value above 0"),
        ("over.png", ("--between", -100, "nan"), "from -100 to nan s is no time; give two"),
    ],
)
def test_what_would_have_no_effect_or_no_meaning_is_refused(
    name: str, words: tuple[object, ...], told: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    status, _, errors = run(capsys, "fuse", *BOTH, "--register", "fiducials.csv", *words, "-o", out)
    assert status == 2 and told in " ".join(errors.split())
    assert not out.exists()


@pytest.mark.parametrize("command", ["overlay", "regions", "curves"])
def test_the_energy_window_with_the_photons_is_counted(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    activity = nm_of_windows(tmp_path / "two.dcm", ((90.0, 120.0),), ((126.0, 154.0),))
    write(Image(np.full((18, 32), 900, np.uint16), picture_affine((0.5, 0.5))), tmp_path / "xray.png")
    out = tmp_path / ("over.png" if command == "overlay" else "out")
    words = ("fuse", command, tmp_path / "xray.png", activity, *(() if command == "overlay" else ("--above", 0.5)))
    status, _, errors = run(capsys, *words, "-o", out)
    assert status == 0 and "energy window 2 (126 to 154 keV) was taken; there are 1 and 2" in errors
    status, _, errors = run(capsys, *words, "-o", out, "--overwrite", "--energy-window", 1)
    assert status == 0 and "energy window 1 (90 to 120 keV) was taken" in errors


@pytest.mark.parametrize("option", ["--energy-window", "--detector"])
def test_a_number_of_what_a_file_has_not_is_refused(
    option: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("fuse", *BOTH, "--register", "fiducials.csv", "-o", tmp_path / "over.png", option)
    status, _, errors = run(capsys, *words, 2)
    assert status == 2 and f"2; leave {option} out" in " ".join(errors.split())
    assert run(capsys, *words, 1)[0] == 0


def test_points_with_exchanged_columns_are_refused(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = pandas.read_csv("fiducials.csv", keep_default_na=False)
    points = points.rename(columns={"x_mm": "y_mm", "y_mm": "x_mm"})
    points.to_csv(tmp_path / "points.csv", index=False)
    words = ("--register", tmp_path / "points.csv", "-o", tmp_path / "over.png")
    status, _, errors = run(capsys, "fuse", *BOTH, *words)
    assert status == 2 and "x_mm and y_mm look exchanged in" in " ".join(errors.split())

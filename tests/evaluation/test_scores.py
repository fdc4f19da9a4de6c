"""Scores of many cases, of folders, of groups and of sets."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.evaluation.baselines import fit_baselines
from transmodal.evaluation.files import to_text, write_evaluation
from transmodal.evaluation.folders import score, score_folders
from transmodal.evaluation.groups import check_grouping, choose_groupings, group_table
from transmodal.evaluation.resources import open_extractor
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.scoring import CaseImages, CaseToScore, score_cases
from transmodal.evaluation.sets import SetFeatures, describe_set_score
from transmodal.images import Image, picture_affine, write
from transmodal.images.files import sha256_of
from transmodal.metrics.policy import Policy

POLICY = Policy(metrics=("psnr", "mae"), range=(0, 255))


def picture(seed: int, offset: float = 0.0, shape: tuple[int, int] = (24, 32)) -> Image:
    pixels = np.random.default_rng(seed).uniform(20, 200, shape) + offset
    return Image(pixels.astype(np.float32), picture_affine((0.5, 0.5)))


def cases(count: int = 12, **systems: float) -> Iterator[CaseToScore]:
    """Cases whose systems are off by a known amount, a little more in each case."""
    for number in range(count):

        def load(number: int = number) -> CaseImages:
            made = {name: picture(number, error + 0.1 * number) for name, error in systems.items()}
            return CaseImages(made, picture(number))

        subject = f"mouse{number // 2}"
        yield CaseToScore(f"{subject}_{number}", subject, load, {"coat": ("white", "black")[number // 2 % 2]})


def test_each_system_is_scored_on_each_case_and_differences_are_paired() -> None:
    scores = score_cases(cases(good=1.0, bad=5.0), POLICY, split="test")
    assert scores.systems == ["good", "bad"]
    assert len(scores.cases) == 12
    assert scores.subjects == 6
    assert scores.cases["mae"].tolist() == pytest.approx([1 + 0.1 * n for n in range(12)], abs=1e-4)
    difference = scores.difference("mae", "good", "bad")
    assert difference.mean == pytest.approx(-4, abs=1e-4)
    assert difference.ci95 == pytest.approx((-4, -4), abs=1e-4)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_order_of_cases_does_not_depend_on_threads(workers: int) -> None:
    scores = score_cases(cases(20, made=1.0), POLICY, workers=workers)
    assert scores.cases["case"].tolist() == [f"mouse{n // 2}_{n}" for n in range(20)]


def test_a_case_that_cannot_be_scored_is_named_and_in_no_average() -> None:
    def broken() -> CaseImages:
        raise UserError("x.png is cut off; copy it again")

    some = [*cases(6, made=1.0), CaseToScore("mouse9", "mouse9", broken)]
    scores = score_cases(some, POLICY)
    assert scores.failed == (("mouse9", "x.png is cut off; copy it again"),)
    assert scores.summary["mae"].cases == 6
    with pytest.raises(UserError, match="is cut off"):
        score_cases(some[-1:], POLICY)
    with pytest.raises(UserError, match="no case"):
        score_cases([], POLICY)


def test_the_json_has_the_promised_form_and_holds_no_infinity() -> None:
    perfect = CaseToScore("same", "mouse8", lambda: CaseImages({"made": picture(0)}, picture(0)))
    scores = score_cases([*cases(10, made=2.0), perfect], POLICY, split="test")
    content = json.loads(to_text(scores.to_json()), parse_constant=lambda name: pytest.fail(name))
    assert content["policy"]["range"] == [0, 255]
    assert {"case": "same", "psnr": "inf"}.items() <= content["cases"][-1].items()
    assert set(content["summary"]["psnr"]) == {"mean", "sd", "median", "ci95", "n"}
    assert content["summary"]["psnr"]["n"] == 5
    assert len(content["summary"]["psnr"]["ci95"]) == 2
    assert content["left_out_as_infinite"] == {"psnr": 1}
    assert content["left_out"] == {"psnr": 1, "mae": 0}
    assert (content["split"], content["number_of_cases"], content["number_of_subjects"]) == ("test", 11, 6)


def test_files_of_an_evaluation_open_as_tables_and_json(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    scores = score_cases(cases(made=1.0, other=2.0), POLICY)
    groups = group_table(scores, choose_groupings(scores))
    write_evaluation(tmp_path / "evaluation", {"xray": scores}, {"xray": groups}, {"run": "first"})
    table = pandas.read_csv(tmp_path / "evaluation" / "cases.csv")
    assert list(table.columns) == ["system", "case", "subject", "coat", "psnr", "mae"]
    assert len(table) == 24
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text())["run"] == "first"
    assert len(pandas.read_csv(tmp_path / "evaluation" / "groups.csv")) == 4
    assert not [path for path in (tmp_path / "evaluation").iterdir() if path.name.startswith(".")]


def test_groups_count_subjects_and_cases() -> None:
    scores = score_cases(cases(made=1.0), POLICY)
    assert choose_groupings(scores) == [("coat",)]
    table = group_table(scores, [("coat",)]).set_index("group")
    assert table["subjects"].to_dict() == {"black": 3, "white": 3}
    assert table["cases"].to_dict() == {"black": 6, "white": 6}
    assert table.loc["white", "mae"] == pytest.approx(1 + 0.1 * np.mean([0, 1, 4, 5, 8, 9]), abs=1e-4)
    with pytest.raises(UserError, match=r"no factor 'coad'.*coat"):
        check_grouping(scores.factors, ["coad"])


def test_baselines_know_the_mean_and_the_line() -> None:
    pairs = [(picture(n), Image(3000 - 10 * picture(n).pixels, picture(n).affine)) for n in range(5)]
    policy = Policy(range=(0, 3000)).resolved(unit="counts", dimension=2)
    baselines = fit_baselines(iter(pairs), policy)
    assert baselines.names == ("mean target", "input luminance", "intensity lookup")
    assert baselines.slope == pytest.approx(-10, rel=1e-3)
    assert baselines.intercept == pytest.approx(3000, rel=1e-3)
    made = baselines.predict(*pairs[0])
    assert made["mean target"].pixels == pytest.approx(np.mean([true.pixels for _, true in pairs], axis=0), rel=1e-5)
    assert made["input luminance"].pixels == pytest.approx(pairs[0][1].pixels, rel=1e-3)


def test_baselines_take_colour_as_luminance_and_other_grids_as_the_same_field() -> None:
    grey = picture(1, shape=(24, 32))
    colour = Image(np.repeat(grey.pixels[..., None], 3, -1), grey.affine, channels=("red", "green", "blue"))
    policy = Policy(range=(0, 255)).resolved(unit="counts", dimension=2)
    baselines = fit_baselines([(colour, grey), (colour, picture(1, shape=(12, 16)))], policy)
    large = picture(5, shape=(48, 64))
    made = baselines.predict(colour, large)
    assert {image.shape for image in made.values()} == {(48, 64)}
    with pytest.raises(UserError, match="no training pair"):
        fit_baselines([], policy)


def test_identity_stands_only_where_units_are_shared() -> None:
    volume = Image(np.random.default_rng(0).uniform(0, 100, (20, 20, 12)).astype(np.float32), quantity="HU")
    physical = Policy(range=(-1000, 1000)).resolved(unit="HU", dimension=3)
    assert "identity" in fit_baselines([(volume, volume)], physical).names
    plain = Image(volume.pixels)
    assert "identity" not in fit_baselines([(plain, plain)], physical).names
    percentile = Policy(scale="percentile").resolved(dimension=3)
    baselines = fit_baselines([(plain, plain)], percentile)
    assert "identity" in baselines.names
    assert baselines.predict(plain, plain)["identity"].pixels.max() == pytest.approx(1)


def gather(error: float, images: int = 18, side: int = 192) -> dict[str, dict[str, object]]:
    policy = POLICY.resolved(unit="x", dimension=2).model_copy(update={"sets": ("fnsd", "fid")})
    features = SetFeatures(policy)
    for number in range(images):
        truth = picture(number, shape=(side, side))
        pixels = truth.pixels + np.random.default_rng(number + 50).normal(0, error, truth.shape)
        features.add(CaseImages({"made": Image(pixels.astype(np.float32), truth.affine)}, truth), policy)
    return features.results()


def test_fnsd_grows_with_noise_and_fid_says_why_it_is_absent() -> None:
    small, large = gather(5.0), gather(80.0)
    assert small["made"]["fnsd"]["n"] == 18
    assert 0 <= small["made"]["fnsd"]["value"] < large["made"]["fnsd"]["value"]
    sentence = describe_set_score("fid", small["made"]["fid"])
    assert "not available" in sentence and "--fid-weights" in sentence
    assert "N = 18" in describe_set_score("fnsd", small["made"]["fnsd"])


@pytest.mark.parametrize(
    ("images", "side", "found"), [(9, 288, "9 images and 81 blocks"), (12, 96, "12 images and 12 blocks")]
)
def test_fnsd_of_few_images_or_blocks_is_chance_and_left_out(images: int, side: int, found: str) -> None:
    score = gather(5.0, images, side)["made"]["fnsd"]
    assert score["value"] is None
    assert describe_set_score("fnsd", score) == (
        f"FNSD not available: below 10 images or 72 textured blocks it is chance; here are {found}"
    )


def test_fid_is_taken_from_a_named_file_and_says_which(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from transmodal.metrics.inception import InceptionNetwork

    torch.manual_seed(0)
    torch.save(InceptionNetwork().state_dict(), tmp_path / "weights.pth")
    policy = POLICY.resolved(unit="x", dimension=2).model_copy(update={"sets": ("fid",)})
    features = SetFeatures(policy, open_extractor(tmp_path / "weights.pth"))
    for number in range(2):
        features.add(CaseImages({"made": picture(number, 50)}, picture(number)), policy)
    fid = features.results()["made"]["fid"]
    assert fid["value"] > 0
    assert fid["n"] == 2
    assert f"weights SHA-256 {sha256_of(tmp_path / 'weights.pth')}" in describe_set_score("fid", fid)
    with pytest.raises(UserError, match="There is no file"):
        open_extractor(tmp_path / "none.pth")


def test_fid_sees_values_beyond_the_range_as_its_ends() -> None:
    class Extractor:
        name, sha256 = "test", "0"

        def __call__(self, images: np.ndarray, *, limits: tuple[float, float]) -> np.ndarray:
            return np.array([[images.min(), images.max()]])

    policy = POLICY.resolved(unit="x", dimension=2).model_copy(update={"sets": ("fid",)})
    features = SetFeatures(policy, Extractor())
    for number in range(3):
        truth = picture(number)
        bright = truth.with_pixels(truth.pixels * 0 + np.linspace(-300, 900, 32, dtype=np.float32))
        whole = truth.with_pixels(np.clip(bright.pixels, 0, 255))
        features.add(CaseImages({"made": bright}, whole), policy)
    assert features.results()["made"]["fid"]["value"] == pytest.approx(0)


def test_fnsd_agrees_with_the_metric_itself() -> None:
    from transmodal.metrics.natural_scene import fnsd

    truths = [picture(number, shape=(192, 192)).pixels for number in range(18)]
    made = [
        (true + np.random.default_rng(n + 50).normal(0, 20.0, true.shape)).astype(np.float32)
        for n, true in enumerate(truths)
    ]
    assert gather(20.0)["made"]["fnsd"]["value"] == pytest.approx(fnsd(made, truths, data_range=255).value, rel=1e-6)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for number in range(5):
        true = (picture(number).pixels * 200).astype(np.uint16)
        write(Image(true, picture_affine((0.5, 0.5))), tmp_path / "truth" / f"mouse{number}.png")
        write(Image(true + 100, picture_affine((0.5, 0.5))), tmp_path / "made" / f"mouse{number}.tiff")
    return tmp_path / "made", tmp_path / "truth"


def test_folders_are_matched_by_stem_whatever_the_format(folders: tuple[Path, Path]) -> None:
    (folders[0] / "mouse0.synthetic.json").write_text("{}")
    scores = score_folders(*folders, Policy(metrics=("mae",), range=(0, 65535)), workers=2)
    assert scores.cases["case"].tolist() == [f"mouse{n}" for n in range(5)]
    assert scores.summary["mae"].mean == pytest.approx(100)
    assert not scores.failed


def test_files_called_by_their_uid_are_told_apart(tmp_path: Path) -> None:
    for folder in ("made", "true"):
        for number in (1, 2):
            whole = Image(np.rint(picture(number).pixels).astype(np.uint16), picture_affine((0.5, 0.5)))
            write(whole, tmp_path / folder / "slice.dcm").rename(tmp_path / folder / f"1.2.840.{number}")
    scores = score_folders(tmp_path / "made", tmp_path / "true", Policy(metrics=("mae",), range=(0, 65535)))
    assert list(scores.cases["case"]) == ["1.2.840.1", "1.2.840.2"] and not scores.failed


def test_what_has_no_partner_is_listed_on_both_sides(folders: tuple[Path, Path]) -> None:
    made, truth = folders
    (made / "mouse0.tiff").unlink()
    (truth / "mouse4.png").unlink()
    scores = score_folders(made, truth, Policy(metrics=("mae",), range=(0, 65535)))
    assert [case for case, _ in scores.failed] == ["mouse4", "mouse0"]
    assert len(scores.cases) == 3


def test_masks_are_matched_too_and_every_image_needs_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for number in range(4):
        inside = np.zeros((24, 32), np.uint8)
        inside[5:20, 5:20] = 1
        write(Image(inside, picture_affine((0.5, 0.5))), tmp_path / "masks" / f"mouse{number}.png")
    scores = score_folders(*folders, Policy(metrics=("mae",), range=(0, 65535)), mask=tmp_path / "masks")
    assert scores.policy.mask == "mask"
    assert [case for case, _ in scores.failed] == ["mouse4"]


def test_the_public_function_takes_images_files_and_folders(folders: tuple[Path, Path]) -> None:
    one = score(folders[0] / "mouse1.tiff", folders[1] / "mouse1.png", range=(0, 65535))
    assert one.summary["mae"].mean == pytest.approx(100)
    in_memory: Scores = score(picture(1, 3), picture(1), range=(0, 255))
    assert in_memory.summary["mae"].mean == pytest.approx(3, rel=1e-4)
    with pytest.raises(UserError, match="range"):
        score(picture(1, 3), picture(1))
    with pytest.raises(UserError, match="low before high"):
        score(picture(1, 3), picture(1), range=(5, 1))
    with pytest.raises(UserError, match="mixed"):
        score(picture(1), folders[1], range=(0, 1))


def test_equal_systems_are_called_equal_and_worse_ones_worse() -> None:
    from transmodal.evaluation.report import headlines

    remarks = [item.remark for item in headlines(score_cases(cases(one=1.0, twin=1.0), POLICY)).items]
    assert remarks == ["equal to twin"] * 2
    psnr, mae = headlines(score_cases(cases(one=5.0, better=1.0), POLICY)).items
    assert "worse than better" in psnr.remark and psnr.good is False
    assert mae.remark == "4 worse than better"


def test_a_difference_whose_interval_includes_0_is_not_called_certain() -> None:
    from transmodal.evaluation.report import headlines

    def noisy(number: int) -> CaseImages:
        truth = picture(number)
        error = 3.0 + np.random.default_rng(number).normal(0, 2)
        return CaseImages({"one": picture(number, 3.0), "other": picture(number, error)}, truth)

    some = [CaseToScore(str(n), str(n), lambda n=n: noisy(n)) for n in range(8)]
    psnr, _ = headlines(score_cases(some, POLICY)).items
    assert "includes 0" in psnr.remark and psnr.good is None


def test_a_group_is_summarised_by_its_own_rows() -> None:
    scores = score_cases(cases(made=1.0), POLICY)
    black = scores.cases["coat"] == "black"
    assert scores.summary_of("mae", rows=black).mean == pytest.approx(1 + 0.1 * np.mean([2, 3, 6, 7, 10, 11]), abs=1e-4)


def ct_pairs(subjects: int = 4) -> Scores:
    """Cases as `data degrade` leaves them: each subject at three numbers of angles, with seeds and words."""
    found = []
    for number in range(3 * subjects):
        subject, angles = number // 3, (120, 30, 60)[number % 3]
        cells = {
            "date": f"2019010{subject + 1}",
            "plane": ("axial", "coronal")[subject % 2],
            "angles": str(angles),
            "photons": "100000",
            "views": f"every {angles}th",
            "seed": str(subject % 2),
            "degradation": f"Of all views {angles} were kept.",
            "source": f"raw/{subject % 2}.tif",
            "site": "" if subject % 2 else "Bonn",
        }
        load = lambda number=number: CaseImages({"made": picture(number, 1.0)}, picture(number))  # noqa: E731
        found.append(CaseToScore(f"s{subject}_{angles}", f"s{subject}", load, cells))
    return score_cases(found, POLICY)


def test_only_what_groups_cases_makes_groups_and_what_was_varied_comes_first() -> None:
    scores = ct_pairs()
    # The date names the subject, photons are constant, views say what angles say, and site what the plane says.
    assert choose_groupings(scores) == [("angles",), ("plane",), ("angles", "plane")]
    groups = group_table(scores, choose_groupings(scores))
    assert groups[groups["group_by"] == "angles"]["group"].tolist() == ["30", "60", "120"]
    assert choose_groupings(ct_pairs(1)) == [], "one case a group"
    # One subject is no reason to have no groups at all.
    assert choose_groupings(score_cases([replace(case, subject="s") for case in cases(made=1.0)], POLICY)) == [
        ("coat",)
    ]


@pytest.mark.parametrize(
    ("column", "cells", "is_group"),
    [
        ("tracer", ("[18F]FDG", "[68Ga]PSMA"), True),
        ("dose", ("1", "1/0.25"), True),
        ("dose", ("0.5 mg/kg b.w", "2 mg/kg b.w"), True),
        ("scanner", ("Siemens/Force v.2", "GE/Revolution v.3"), True),
        ("degradation", ("mild", "severe"), True),
        ("degradation", ("One view in 2 was kept.", "One view in 4 was kept."), False),
        ("tube", ('{"kvp": 80}', '{"kvp": 120}'), False),
        ("voxels", ("[512, 512]", "[256, 256]"), False),
        ("raw", ("a/1.nii.gz", "b/1.nii.gz"), False),
        ("photo", ("one.JPG", "two.JPG"), False),
        ("series", ("/data/one", "/data/two"), False),
        ("series", ("C:\\one", "C:\\two"), False),
    ],
)
def test_names_group_and_files_and_settings_do_not(column: str, cells: tuple[str, str], is_group: bool) -> None:
    some = [replace(case, factors={column: cells[number // 2 % 2]}) for number, case in enumerate(cases(8, made=1.0))]
    assert choose_groupings(score_cases(some, POLICY)) == ([(column,)] if is_group else [])


def test_the_first_grouping_leads_the_report_and_one_subject_is_one() -> None:
    from transmodal.evaluation.report import group_blocks
    from transmodal.reporting.html import Report, Section, render

    scores = ct_pairs()
    page = render(
        Report("ct", [Section("groups", group_blocks(scores, group_table(scores, [("angles",), ("date",)])))])
    )
    assert "made by angles." in page
    assert "1 subject: no interval" in page and "1 subjects" not in page


def test_factors_may_have_any_name() -> None:
    from transmodal.evaluation.report import cases_table, group_blocks
    from transmodal.reporting.html import Report, Section, render

    odd = [
        CaseToScore(case.case, case.subject, case.load, {"psnr": "low", "a × b": case.factors["coat"], "x": ""})
        for case in cases(made=1.0)
    ]
    scores = score_cases(odd, POLICY)
    assert scores.factors == ("psnr (factor)", "a × b", "x")
    groups = group_table(scores, [("a × b",), ("a × b", "x")])
    page = render(Report("odd", [Section("groups", [*group_blocks(scores, groups), cases_table(scores)])]))
    assert "black × —" in page


def test_set_scores_say_each_thing_once_and_have_no_empty_column() -> None:
    from transmodal.evaluation.report import set_blocks
    from transmodal.reporting.html import Table, Text

    absent = {"value": None, "reason": "not available: no weights"}
    there = {"value": 4.0, "n": 12, "features": "750 and 750 blocks"}
    scores = score_cases(cases(made=1.0, other=2.0, third=3.0), POLICY)
    sets = {system: {"fnsd": there, "fid": absent, "kid": absent} for system in scores.systems}
    table, note = set_blocks(replace(scores, sets=sets))
    assert isinstance(table, Table) and isinstance(note, Text)
    assert table.columns == ["set-level", "FNSD"] and len(table.rows) == 3
    assert note.text == "FNSD: Fréchet distance of 750 and 750 blocks. FID and KID not available: no weights."
    sets["other"] = {**sets["other"], "fnsd": {**there, "features": "373 and 750 blocks"}, "kid": there}
    table, note = set_blocks(replace(scores, sets=sets))
    assert isinstance(table, Table) and isinstance(note, Text)
    assert table.columns == ["set-level", "FNSD", "KID"] and table.rows[0][2] == "not available"
    assert "FNSD of made, third: Fréchet distance of 750" in note.text and "KID of made, third not av" in note.text
    (only,) = set_blocks(replace(scores, sets={system: {"fid": absent} for system in scores.systems}))
    assert only == Text("FID not available: no weights.", "note")

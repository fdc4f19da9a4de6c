"""`transmodal score` from the command line: systems, groups, sets, conventions, labels, the report, and refusals."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.reporting.test_html import parse

from transmodal.cli import main
from transmodal.images import Image, picture_affine, read, write

RANGED = ("--range", 0, 65535)


def told(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as end:
        main(["score", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    assert end.value.code == status, captured.err
    return captured.out, captured.err


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight images of four subjects, by two systems, with a manifest; the working folder."""
    rows = ["subject,session,modality,path,coat,weight"]
    for number in range(8):
        subject, pose = divmod(number, 2)
        pixels = np.random.default_rng(number).integers(1000, 60000, (40, 44)).astype(np.uint16)
        for folder, offset in (("truth", 0), ("made", 50 + number), ("other", 400)):
            write(
                Image(pixels + np.uint16(offset), picture_affine((1, 1))), tmp_path / folder / f"m{subject}_{pose}.png"
            )
        coat, weight = ("white", "black")[subject % 2], 18 + 3 * subject
        rows.append(f"m{subject},{pose},xray,truth/m{subject}_{pose}.png,{coat},{weight}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_systems_groups_and_a_report_in_one_go(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["ours=made", "truth", "--against", "theirs=other", *RANGED, "--metrics", "mae,psnr,fnsd,fid"]
    asked += ["--groups", "manifest.csv:coat", "--groups", "manifest.csv:weight@20,25", "--out", "scored"]
    out, error = told(capsys, *asked)
    assert out.splitlines()[-1] == "Report: scored/report.html"
    for part in ("ours", "theirs", "black", "20 to 25", "0 to 65 535", "FNSD", "FID not available"):
        assert part in out, part
    assert error == ""
    table = pandas.read_csv(folders / "scored" / "cases.csv")
    assert len(table) == 16 and set(table["subject"]) == {"m0", "m1", "m2", "m3"}
    assert pandas.read_csv(folders / "scored" / "groups.csv")["group_by"].unique().tolist() == ["coat", "weight@20,25"]
    summary = json.loads((folders / "scored" / "summary.json").read_text())
    assert summary["differences"]["ours − theirs"]["mae"]["mean"] < -300
    assert summary["sets"]["ours"]["fid"]["value"] is None and "comparison" in summary and summary["groups"]
    assert summary["folders"] == {"predicted": {"ours": "made", "theirs": "other"}, "truth": "truth", "mask": None}
    page = parse((folders / "scored" / "report.html").read_text())
    assert "script" not in page.tags and summary["policy_in_words"] in page.text
    assert "transmodal score ours=made truth --against theirs=other --range 0.0 65535.0" in page.text
    assert "weight@20,25" in page.text


def test_every_system_has_its_set_scores_and_groups_told(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transmodal.evaluation.sets.FEWEST_IMAGES", 8)
    monkeypatch.setattr("transmodal.evaluation.sets.FEWEST_BLOCKS", 8)
    for path in (folders / "other").iterdir():
        pixels = read(path).pixels
        write(Image((pixels // 2) + (np.roll(pixels, 1, 0) // 2), picture_affine((1, 1))), path)
    asked = ["ours=made", "truth", "--against", "theirs=other", *RANGED, "--metrics", "mae,psnr,fnsd"]
    out, _ = told(capsys, *asked, "--groups", "manifest.csv:coat", "--out", "scored")
    lines = out.splitlines()
    for system in ("ours", "theirs"):
        assert sum(line.startswith(f"{system}: FNSD") for line in lines) == 1, out
    assert any(line.startswith("  each term is centred") for line in lines), out  # what WAEM notes
    assert "The same of theirs" in parse((folders / "scored" / "report.html").read_text()).text


def test_a_set_score_of_too_few_images_is_left_out_in_one_sentence(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["ours=made", "truth", "--against", "theirs=other", *RANGED, "--metrics", "mae,fnsd,fid,kid"]
    out, _ = told(capsys, *asked, "--groups", "manifest.csv")
    words = " ".join(out.split())
    assert words.count("FNSD not available: below 10 images or 72 textured blocks it is chance; here are 8 images") == 1
    assert words.count("FID and KID not available") == 1 and words.count("pt_inception") == 1


def test_files_without_subjects_are_told_once(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, error = told(capsys, "made", "truth", *RANGED, "--metrics", "mae", "--json")
    assert error.count("\n") == 1 and "subject of its own" in error
    out, error = told(capsys, "made", "truth", *RANGED, "--metrics", "mae", "--json", "--groups", "manifest.csv")
    assert error == "" and json.loads(out)["number_of_subjects"] == 4


def test_a_range_that_the_values_leave_is_doubted_once(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grouped = ("--groups", "manifest.csv")
    asked = ["ours=made", "truth", "--range", 0, 255, "--metrics", "mae,psnr", *grouped, "--out", "scored"]
    _, error = told(capsys, *asked)
    assert error.count("\n") == 1 and error.startswith("warning: more than 1% of the values lie outside"), error
    assert "0 to 255 (truth in 8 of 8 cases, ours in 8 of 8 cases; they reach from 10" in error
    assert json.loads((folders / "scored" / "summary.json").read_text())["warnings"] == [error[9:].strip()]
    assert "lie outside the range 0 to 255" in parse((folders / "scored" / "report.html").read_text()).text
    # Scores that never look at the range give no reason to doubt it.
    for metrics in (["--metrics", "mae"], ["--convention", "per-image-range"]):
        assert told(capsys, "made", "truth", "--range", 0, 255, *metrics, *grouped)[1] == ""


def test_a_prediction_of_another_integer_type_is_doubted(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 44)).astype(np.uint8)
        write(Image(pixels, picture_affine((1, 1))), folders / "eight" / f"m{number // 2}_{number % 2}.png")
    out, error = told(capsys, "eight", "truth", *RANGED, "--metrics", "mae", "--groups", "manifest.csv", "--json")
    doubt = "predicted is uint8 where the truth is uint16 in 8 of 8 cases; check that both have one scale"
    assert error == f"warning: {doubt}\n" and json.loads(out)["warnings"] == [doubt]


def test_a_convention_is_a_set_of_metrics_without_a_range(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = told(capsys, "made", "truth", "--convention", "per-image-range", "--json")
    content = json.loads(out)
    assert set(content["summary"]) == {"psnr@per-image-range", "ssim@per-image-range"}
    assert content["policy"]["range"] is None and "R = max − min of each truth" in content["policy_in_words"]


def test_label_maps_are_scored_label_by_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case in ("a", "b"):
        labels = np.zeros((20, 22, 6), np.uint8)
        labels[4:9, 4:9, 1:4], labels[12:16, 12:16, 1:4] = 1, 2
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        write(Image(labels, affine), tmp_path / "true" / f"{case}.nii.gz")
        write(Image(np.roll(labels, 1, 0), affine), tmp_path / "made" / f"{case}.nii.gz")
    asked = [tmp_path / "made", tmp_path / "true", "--metrics", "dice,hd95", "--labels", "1,2"]
    out, _ = told(capsys, *asked, "--out", tmp_path / "scored")
    assert "Dice of label 2" in out and "HD95 of label 1 (mm)" in out and "labels 1, 2" in out
    summary = json.loads((tmp_path / "scored" / "summary.json").read_text())["summary"]
    assert summary["dice[1]"]["mean"] == pytest.approx(0.8) and summary["hd95[2]"]["mean"] == pytest.approx(1)
    page = parse((tmp_path / "scored" / "report.html").read_text()).text
    assert "Dice of label 1" in page and "Compared as label maps" in page


def test_a_label_absent_everywhere_has_no_value_rather_than_an_infinite_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros((20, 22, 6), np.uint8)
    labels[4:9, 4:9, 1:4] = 1
    for folder in ("true", "made"):
        write(Image(labels), tmp_path / folder / "a.nii.gz")
    out, _ = told(capsys, tmp_path / "made", tmp_path / "true", "--metrics", "dice", "--labels", "1,2")
    assert "∞" not in next(line for line in out.splitlines() if "label 2" in line)
    assert "—" in next(line for line in out.splitlines() if "label 2" in line)


def test_volumes_by_slices_leave_their_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.random.default_rng(0).uniform(0, 900, (16, 18, 4)).astype(np.float32)
    write(Image(truth), tmp_path / "true" / "a.nii.gz")
    write(Image(truth + np.array([0, 1, 2, 3], np.float32)), tmp_path / "made" / "a.nii.gz")
    asked = [tmp_path / "made", tmp_path / "true", "--range", 0, 1000, "--metrics", "mae,psnr", "--dimension", 2]
    told(capsys, *asked, "--out", tmp_path / "scored")
    table = pandas.read_csv(tmp_path / "scored" / "slices.csv")
    assert table.loc[0, "mae_total"] == pytest.approx(6, rel=1e-4)
    assert table[["mae_slices", "psnr_slices"]].values.tolist() == [[4, 3]]
    assert "psnr_total" not in table and table["psnr_mean"].to_numpy(float)[0] > 50
    assert "1.5 × 4 slices" in parse((tmp_path / "scored" / "report.html").read_text()).text


def test_niqe_is_fitted_on_a_folder_and_named(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(1000, 60000, (128, 128)).astype(np.uint16)
        for folder in ("big-made", "big-truth", "sharp"):
            write(Image(pixels, picture_affine((1, 1))), folders / folder / f"s{number}.png")
    asked = ["big-made", "big-truth", *RANGED, "--metrics", "mae,niqe"]
    _, error = told(capsys, *asked, "--niqe-fit", "other", status=2)  # 40 × 44 pixels: one block each at most
    assert "37 blocks or more" in error and error.count("\n") == 1
    for number in range(4, 24):
        pixels = np.random.default_rng(number).integers(1000, 60000, (128, 128)).astype(np.uint16)
        write(Image(pixels, picture_affine((1, 1))), folders / "sharp" / f"s{number}.png")
    out, _ = told(capsys, *asked, "--niqe-fit", "sharp", "--json")
    content = json.loads(out)
    assert "sharp" in content["resources"]["niqe"]["name"] and content["resources"]["niqe"]["block"] == 64
    assert content["truth"]["niqe"]["mean"] == pytest.approx(content["summary"]["niqe"]["mean"])
    assert content["warnings"] == []
    out, error = told(capsys, "big-made", "sharp", *RANGED, "--metrics", "mae,niqe", "--niqe-fit", "sharp/", status=2)
    assert error.startswith("warning: NIQE's model is fitted on sharp, the truths"), error


def test_cases_that_fail_alike_share_a_line(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 8):
        (folders / "other" / f"m{number // 2}_{number % 2}.png").unlink()
    _, error = told(capsys, "other", "truth", *RANGED, "--metrics", "mae", status=2)
    lines = [line for line in error.splitlines() if line.startswith("not scored")]
    assert lines == [
        "not scored: 7 cases alike (m0_1, m1_0, m1_1 and 4 more); the first: truth/m0_1.png has no partner in other"
    ]
    for number in (3, 4, 5, 6, 7):  # two are few enough to be told one by one
        (folders / "truth" / f"m{number // 2}_{number % 2}.png").unlink()
    _, error = told(capsys, "other", "truth", *RANGED, "--metrics", "mae", status=2)
    lines = [line for line in error.splitlines() if line.startswith("not scored")]
    assert lines == [f"not scored: {case}: truth/{case}.png has no partner in other" for case in ("m0_1", "m1_0")]


def test_a_thin_volume_is_sent_to_its_slices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = np.random.default_rng(0).uniform(0, 900, (40, 44, 5)).astype(np.float32)
    for folder in ("true", "made"):
        write(Image(volume), tmp_path / folder / "a.nii.gz")
    for metric in ("ssim", "ms_ssim"):
        asked = [tmp_path / "made", tmp_path / "true", "--range", 0, 1000, "--metrics", metric]
        assert "--dimension 2" in told(capsys, *asked, status=2)[1]
    picture = np.zeros((5, 40), np.uint16)
    for folder in ("flat-true", "flat-made"):
        write(Image(picture, picture_affine((1, 1))), tmp_path / folder / "a.png")
    asked = [tmp_path / "flat-made", tmp_path / "flat-true", *RANGED, "--metrics", "ssim"]
    assert "--dimension" not in told(capsys, *asked, status=2)[1]


def test_a_wrong_call_is_told_in_one_line(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "few.csv").write_text("case,coat\nm0_0,white\n")
    (folders / "pairs.csv").write_text("predicted,truth\n../x.png,m0_0.png\n")
    for arguments, what in (
        (["made", "truth", *RANGED, "--metrics", "fnsd"], "score of whole sets"),
        (["made", "truth", "--metrics", "nmi,fnsd"], "fnsd needs the range"),
        (["made", "truth", *RANGED, "--metrics", "psnr,niqe"], "--niqe-model"),
        (["made", "truth", *RANGED, "--metrics", "lpips"], "--lpips-weights"),
        (["made", "truth", *RANGED, "--metrics", "psnr,fid", "--fid-weights", "none.pth"], "There is no file"),
        (["made", "truth", *RANGED, "--metrics", "psnr,dice"], "cannot be mixed"),
        (["made", "truth", "--convention", "lodopad"], "did you mean 'lodopab'"),
        (["made", "truth", "--metrics", "dice", "--labels", "1,b"], "--labels"),
        (["made", "truth", "--metrics", "dice", "--labels", "0,1"], "not 0"),
        (["made", "truth", *RANGED, "--nmae", "min"], "--nmae"),
        (["made", "truth", *RANGED, "--nmae", "min"], "see 'transmodal score --help'"),
        (["made", "truth", "--rnage", 0, 1], "see 'transmodal score --help'"),
        (["made", "truth", *RANGED, "--against", "truth=other"], "name of its own"),
        (["made", "truth", *RANGED, "--against", "a=other", "--against", "a=made"], "name of its own"),
        (["made", "truth", *RANGED, "--against", "a=nowhere"], "There is no nowhere"),
        (["made", "truth", *RANGED, "--groups", "manifest.csv:coad"], "coad"),
        (["made", "truth", *RANGED, "--groups", "few.csv:coad"], "did you mean 'coat'"),
        (["made", "truth", *RANGED, "--groups", "few.csv:coat"], "no row for"),
        (["made", "truth", *RANGED, "--groups", "manifest.csv:coat@2"], "no number to cut"),
        (["made", "truth", *RANGED, "--groups", "manifest.csv:weight@25,20"], "rising"),
        (["made", "truth", *RANGED, "--groups", "nowhere.csv:coat"], "There is no file nowhere.csv"),
        (["made", "truth", *RANGED, "--match", "pairs.csv"], "leaves"),
    ):
        _, error = told(capsys, *arguments, status=2)
        assert what in error, error
        assert [line for line in error.splitlines() if "subject of its own" not in line][1:] == [], error

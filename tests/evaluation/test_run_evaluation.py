"""A run is evaluated, reported and compared, from Python and from the command line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.data.pairs import make_pairs
from tests.reporting.test_html import parse

import transmodal
from transmodal.cli import main
from transmodal.datasets.sample_grid import SliceSettings
from transmodal.errors import UserError
from transmodal.evaluation.comparison import compare
from transmodal.evaluation.run import RunEvaluation, evaluate_run, policy_for_target
from transmodal.evaluation.run_report import repeat_blocks
from transmodal.images import Image, picture_affine, read, write
from transmodal.metrics.policy import Policy
from transmodal.reporting.html import Commands, Text
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.run import Run
from transmodal.training.train import train

TINY = {
    "preparation.grid.shrink": 1,
    "pix2pix.generator.filters": 4,
    "pix2pix.generator.downsamplings": 3,
    "pix2pix.discriminator.filters": 4,
    "pix2pix.discriminator.layers": 1,
    "train.epochs": 2,
    "train.batch_size": 4,
    "train.sample_every": 100,
}
EVIL = "<script>x"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A hardly trained run on six animals, one of which has a name that is markup."""
    folder = tmp_path_factory.mktemp("evaluated")
    manifest = make_pairs(folder / "pairs", animals=12)
    manifest.write_text(manifest.read_text().replace("mouse11,", f"{EVIL},"))
    recipe = load_recipe("photo-to-xray", scale="smoke", overrides=TINY)
    return train(recipe, manifest, folder / "run", cache=folder / "cache", quiet=True)


@pytest.fixture(scope="module")
def evaluation(run: Run) -> RunEvaluation:
    """The run's test split, evaluated."""
    return evaluate_run(run.folder, workers=2)


def test_a_run_is_scored_beside_its_baselines_in_physical_units(run: Run, evaluation: RunEvaluation) -> None:
    scores = evaluation.scores["xray"]
    assert scores.systems == ["translator", "mean target", "input luminance", "intensity lookup"]
    assert (len(scores.cases), scores.subjects, scores.split) == (4, 2, "test")
    case = next(case for case in run.manifest.cases(["photo", "xray"], split="test"))
    truth = np.asarray(read(case.files["xray"]), float)
    training = [read(each.files["xray"]).pixels for each in run.manifest.cases(["xray"], split="train")]
    baseline = scores.of("mean target").set_index("case").loc[case.id, "mae"]
    assert baseline == pytest.approx(np.abs(np.mean(training, axis=0) - truth).mean(), rel=1e-4)
    made = transmodal.load_translator(run.model)(read(case.files["photo"]))
    by_hand = np.abs(np.asarray(made, float) - truth).mean()
    assert scores.cases.set_index("case").loc[case.id, "mae"] == pytest.approx(by_hand, rel=1e-5)


def test_images_of_another_modality_are_a_baseline_beside_the_others(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    table = pandas.read_csv(tmp_path / "run" / "manifest.csv", dtype=str, keep_default_na=False)
    truths = table[(table["modality"] == "xray") & (table["split"] == "test")]
    rows = []
    for number, (_, row) in enumerate(truths.iloc[1:].iterrows()):  # the first case has none
        truth = read(Path(row["path"]))
        write(replace(truth, pixels=truth.pixels.astype(np.float32) + 3), tmp_path / f"{number}.tif")
        rows.append(row.to_dict() | {"modality": "other", "path": str(tmp_path / f"{number}.tif")})
    pandas.concat([table, pandas.DataFrame(rows)]).to_csv(tmp_path / "run" / "manifest.csv", index=False)
    out, error = told(capsys, "evaluate", tmp_path / "run", "--beside", "other", "--metrics", "mae", "--json")
    assert not error
    cases = pandas.read_csv(tmp_path / "run" / "evaluation" / "cases.csv")
    mine = cases[cases["system"] == "other images"]
    assert len(mine) == len(truths) - 1 and mine["mae"].to_numpy() == pytest.approx(3)
    assert json.loads(out)["systems"]["other images"]["mae"]["n"] == 2
    said = parse((tmp_path / "run" / "report.html").read_text()).text
    assert "--beside other" in said and "the case's own images of modality other" in said
    _, error = told(capsys, "evaluate", tmp_path / "run", "--beside", "TV", status=2)
    assert "No image of modality 'TV'" in error and "'transmodal data degrade --also tv'" in error
    _, error = told(capsys, "evaluate", tmp_path / "run", "--beside", "nosuch", status=2)
    assert "nosuch" in error and error.count("\n") == 1
    pandas.concat([table, pandas.DataFrame([rows[0] | {"modality": "TV"}])]).to_csv(
        tmp_path / "run" / "manifest.csv", index=False
    )
    _, error = told(capsys, "evaluate", tmp_path / "run", "--beside", "tv", status=2)
    assert "did you mean 'TV'?" in error and "degrade" not in error


def test_files_and_report_are_there_and_hold_together(run: Run, evaluation: RunEvaluation) -> None:
    summary = json.loads((run.evaluation / "summary.json").read_text())
    table = pandas.read_csv(run.evaluation / "cases.csv")
    mine = table[table["system"] == "translator"]
    assert summary["summary"]["psnr"]["mean"] == pytest.approx(mine.groupby("subject")["psnr"].mean().mean(), rel=1e-6)
    assert summary["policy"]["range"] and "range" in summary["policy_in_words"]
    page = run.report.read_text()
    reader = parse(page)
    assert "script" not in reader.tags
    assert EVIL in reader.text
    assert "http://" not in page and "https://" not in page
    for part in (summary["policy_in_words"], "Only 2 subjects", "not for diagnosis", "mean target", "transmodal train"):
        assert part in reader.text, part


def test_runs_are_compared_case_by_case(run: Run, evaluation: RunEvaluation, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "twin")
    evaluations = [evaluation, evaluate_run(tmp_path / "twin")]
    comparison = compare(evaluations, tmp_path / "compared")
    scores = comparison.scores["xray"]
    assert scores.systems == ["run", "twin", "mean target", "input luminance", "intensity lookup"]
    assert scores.difference("psnr", "run", "twin").mean == 0
    assert "run − twin" in parse(comparison.report.read_text()).text
    xray = evaluation.scores["xray"]
    other = replace(xray, policy=xray.policy.model_copy(update={"range": (0, 1)}))
    with pytest.raises(UserError, match="another policy"):
        compare([evaluation, replace(evaluations[1], scores={"xray": other})], tmp_path / "compared")


def test_comparing_runs_leaves_their_own_evaluations_as_they_are(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (Path(shutil.copytree(run.folder, tmp_path / name / "run")) for name in ("a", "b"))
    shutil.rmtree(first / "evaluation", ignore_errors=True)
    (first / "evaluation").mkdir()
    (first / "evaluation" / "downstream.csv").write_text("kept")
    (first / "report.html").write_text("kept")
    out, error = told(capsys, "evaluate", first, second, "--out", tmp_path / "compared", "--metrics", "psnr")
    assert out.splitlines()[-1] == f"Report: {tmp_path / 'compared' / 'comparison.html'}" and "taken away" not in error
    assert [file.name for file in (first / "evaluation").iterdir()] == ["downstream.csv"]
    assert (first / "report.html").read_text() == "kept"
    page = parse((tmp_path / "compared" / "comparison.html").read_text()).text
    for name in ("run", "run-2"):
        folder = tmp_path / "compared" / "runs" / name
        assert (folder / "evaluation" / "cases.csv").is_file() and str(folder / "report.html") in page
        assert "--metrics psnr" in parse((folder / "report.html").read_text()).text
    out, error = told(capsys, "evaluate", first)
    assert error.count("\n") == 1 and f"taken away from {first / 'evaluation'}" in error and "downstream.csv" in error
    assert not (first / "evaluation" / "downstream.csv").exists()
    _, error = told(capsys, "evaluate", first)
    assert error == ""


def test_the_target_map_fills_what_the_recipe_leaves_open(run: Run) -> None:
    part = transmodal.load_translator(run.model).card.preparation.modalities["xray"]
    policy = policy_for_target(Policy(), part)
    assert policy.range == (part.intensity.low, part.intensity.high)
    mri = part.model_copy(
        update={"intensity": part.intensity.model_copy(update={"kind": "image-percentiles", "foreground": True})}
    )
    policy = policy_for_target(Policy(), mri)
    assert (policy.scale, policy.mask, policy.range) == ("percentile", "foreground", None)
    assert policy_for_target(Policy(scale="physical", mask="none"), mri).range == (
        part.intensity.low,
        part.intensity.high,
    )


def test_slices_are_cut_as_the_recipe_cuts_them_unless_stated(run: Run) -> None:
    part = transmodal.load_translator(run.model).card.preparation.modalities["xray"]
    coronal = SliceSettings(axis="coronal")
    asked = [Policy(), Policy(slice_axis=1), Policy(slices="axial")]
    policies = [policy_for_target(policy, part, coronal).resolved(dimension=3) for policy in asked]
    assert [(policy.slices, policy.slice_axis) for policy in policies] == [
        ("coronal", None),
        (None, 1),
        ("axial", None),
    ]
    assert policy_for_target(policies[0], part, coronal) == policies[0]
    plain = policy_for_target(Policy(), part).resolved(dimension=3)
    assert (plain.slices, plain.slice_axis) == (None, 2)


def told(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == status, captured.err
    return captured.out, captured.err


def test_the_command_ends_with_the_report_and_prints_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = told(capsys, "evaluate", run.folder, "--group-by", "coat")
    assert out.splitlines()[-1] == f"Report: {run.report}"
    assert "range" in out and "FID and KID not available" in out
    out, _ = told(capsys, "evaluate", run.folder, "--json")
    assert json.loads(out)["number_of_cases"] == 4


def test_a_bad_first_image_is_listed_and_the_rest_is_scored(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    first = run.manifest.cases(["photo", "xray"], split="test")[0]
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(first.files["xray"].read_bytes()[:100])
    table = tmp_path / "run" / "manifest.csv"
    table.write_text(table.read_text().replace(str(first.files["xray"]), str(damaged)))
    out, error = told(capsys, "evaluate", tmp_path / "run", status=2)
    assert out.splitlines()[-1] == f"Report: {tmp_path / 'run' / 'report.html'}"
    assert error.startswith(f"not scored: {first.id}: {damaged}") and error.count("\n") == 1
    summary = json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text())
    assert summary["number_of_cases"] == 3 and summary["failed"][0]["case"] == first.id


def test_lost_training_images_are_left_out_of_the_baselines_and_named(
    run: Run, evaluation: RunEvaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    training = run.manifest.cases(["photo", "xray"], split="train")
    table = tmp_path / "run" / "manifest.csv"
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(training[1].files["xray"].read_bytes()[:100])
    moved = table.read_text().replace(str(training[0].files["photo"]), str(tmp_path / "gone.png"))
    table.write_text(moved.replace(str(training[1].files["xray"]), str(damaged)))
    _, error = told(capsys, "evaluate", tmp_path / "run")
    assert error.startswith(f"warning: The baselines do without 2 unusable training cases: {training[0].id} (")
    assert "gone.png" in error and "damaged.png" in error and error.count("\n") == 1
    report = parse((tmp_path / "run" / "report.html").read_text()).text
    assert error.strip().removeprefix("warning: ") in report
    summary = json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text())
    assert [each["case"] for each in summary["not_in_baselines"]] == [training[0].id, training[1].id]
    left = [read(case.files["xray"]).pixels for case in training[2:]]
    case = run.manifest.cases(["photo", "xray"], split="test")[0]
    mae = np.abs(np.mean(left, axis=0) - np.asarray(read(case.files["xray"]), float)).mean()
    cases = pandas.read_csv(tmp_path / "run" / "evaluation" / "cases.csv").set_index(["system", "case"])
    assert cases.loc[("mean target", case.id), "mae"] == pytest.approx(mae, rel=1e-4)

    for case in training:
        moved = moved.replace(str(case.files["photo"]), str(tmp_path / "gone.png"))
    table.write_text(moved)
    out, error = told(capsys, "evaluate", tmp_path / "run", "--json")
    assert error.startswith(f"warning: Baselines are not available: none of the {len(training)} training cases can")
    assert list(json.loads(out)["systems"]) == ["translator"]
    assert "Baselines are not available" in parse((tmp_path / "run" / "report.html").read_text()).text


def test_a_wrong_call_of_evaluate_is_told_in_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_text("no weights")
    for arguments, what in (
        (["evaluate", tmp_path], "is no run"),
        (["evaluate", run.folder, "--split", "tset"], "tset"),
        (["evaluate", run.folder, "--group-by", "coad"], "coad"),
        (["evaluate", run.folder, "--fid-weights", weights], "FID"),
        (["evaluate", run.folder, "--fid-weights", tmp_path / "none"], "There is no file"),
        (["evaluate", run.folder, "--metrics", "psnr,sism"], "--metrics: there is no per-image metric 'sism'; did you"),
        (["evaluate", run.folder, "--metrics", "foo"], "--metrics: there is no per-image metric 'foo'; known are mse"),
        (["evaluate", run.folder, "--metrics", "psnr,dice"], "--metrics: dice needs label maps"),
        (["evaluate", run.folder, "--metrics", "dice"], "--segment"),
        (["evaluate", run.folder, "--metrics", ""], "at least one metric"),
        (["evaluate", run.folder, "--lesions", "foreground"], "--lesions must be the name of a modality"),
        (["evaluate", run.folder, "--slice-pixels", "5"], "--slice-pixels counts pixels of the mask"),
        (["evaluate", run.folder, "--flips", "9"], "axes 0 to 1"),
        (["evaluate", run.folder, "--flips", "2"], "axes 0 to 1"),
    ):
        out, error = told(capsys, *arguments, status=2)
        assert what in error and error.count("\n") == 1, error
        assert "Traceback" not in error + out


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(1000, 60000, (20, 24)).astype(np.uint16)
        write(Image(pixels, picture_affine((1, 1))), tmp_path / "truth" / f"a{number}_1.png")
        write(Image(pixels + 50, picture_affine((1, 1))), tmp_path / "made" / f"a{number}_1.png")
    return tmp_path / "made", tmp_path / "truth"


def test_score_prints_a_table_or_json_for_folders_and_files(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = told(capsys, "score", *folders, "--range", 0, 65535, "--metrics", "mae,psnr")
    assert "MAE" in out and "50" in out and "0 to 65 535" in out
    out, _ = told(capsys, "score", *folders, "--range", 0, 65535, "--json", "--subject-pattern", "(?P<subject>.+)_")
    content = json.loads(out)
    assert content["summary"]["mae"]["mean"] == pytest.approx(50)
    assert [case["subject"] for case in content["cases"]] == ["a0", "a1", "a2", "a3"]
    one = [folder / "a1_1.png" for folder in folders]
    out, _ = told(capsys, "score", *one, "--range", 0, 65535, "--json")
    assert json.loads(out)["number_of_cases"] == 1


def test_a_wrong_call_of_score_is_told_in_one_line(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Image(np.zeros((20, 24), np.float32), picture_affine((1, 1))), tmp_path / "else" / "b.tiff")
    ranged = ["--range", 0, 65535]
    for arguments, what in (
        ([*folders], "--range 0 65535"),
        ([folders[0], tmp_path / "else", *ranged], "has a partner"),
        ([folders[0], tmp_path / "nowhere", *ranged], "There is no"),
        ([folders[0], folders[1] / "a1_1.png", *ranged], "two files or two folders"),
        ([*folders, "--range", 9, 1], "low before high"),
        ([*folders, *ranged, "--metrics", "psnr,sism"], "did you mean 'ssim'"),
        ([*folders, *ranged, "--scale", "phisical"], "--scale"),
        ([*folders, *ranged, "--subject-pattern", "(a"], "regular expression"),
        ([*folders, *ranged, "--subject-pattern", "a"], "?P<subject>"),
        ([*folders, *ranged, "--mask", folders[1], "--mask-foreground"], "two masks"),
    ):
        _, error = told(capsys, "score", *arguments, status=2)
        assert what in error and error.count("\n") == 1, error


def test_bad_images_are_listed_and_the_rest_is_scored(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = folders
    write(Image(np.zeros((9, 24), np.uint16), picture_affine((1, 1))), made / "a0_1.png")
    (made / "a1_1.png").unlink()
    write(Image(np.full((20, 24), np.nan, np.float32), picture_affine((1, 1))), made / "a1_1.tiff")
    out, error = told(capsys, "score", *folders, "--range", 0, 65535, "--json", status=2)
    content = json.loads(out)
    assert content["number_of_cases"] == 2
    assert [failure["case"] for failure in content["failed"]] == ["a0_1", "a1_1"]
    lines = error.splitlines()
    assert lines.pop(0).startswith("Every image counts as a subject of its own")
    assert len(lines) == 3
    assert "9×24" in lines[0] and "NaN" in lines[1] and "2 of 4" in lines[2]


def test_the_report_repeats_what_was_asked_and_says_what_cannot_be_repeated(
    evaluation: RunEvaluation, tmp_path: Path
) -> None:
    def repeat(of: RunEvaluation) -> tuple[list[str], str]:
        commands, note, *_ = repeat_blocks(of, transmodal.load_translator(of.run.model).card)
        assert isinstance(commands, Commands) and isinstance(note, Text)
        return list(commands.lines), note.text

    commands, note = repeat(evaluation)
    assert commands[1] == "transmodal evaluate NEW-RUN --split test" and "to the bit" not in note
    recipe = evaluation.run.recipe
    train = recipe.train.model_copy(update={"max_minutes": 2.5})
    limited = replace(evaluation.run, recipe=recipe.model_copy(update={"train": train}))
    asked = ("--group-by", "coat,bed", "--group-by", "sex", "--fid-weights", "my weights.pth")
    commands, note = repeat(replace(evaluation, run=limited, options=asked))
    assert commands[1].endswith("--split test --group-by coat,bed --group-by sex --fid-weights 'my weights.pth'")
    assert "limited to 2.5 minutes" in note and "cannot be repeated to the bit" in note
    shutil.copytree(evaluation.run.folder, tmp_path / "run")
    other = evaluation.run.recipe.evaluation.model_copy(update={"metrics": ("psnr", "nmae")})
    evaluate_run(tmp_path / "run", groupings=[["coat"]], policy=other)
    page = parse((tmp_path / "run" / "report.html").read_text()).text
    assert "--split test --metrics psnr,nmae --group-by coat" in page


def test_other_splits_are_marked_for_what_they_are(run: Run) -> None:
    evaluate_run(run.folder, split="validation")
    assert "the best checkpoint was chosen on them" in run.report.read_text()


def test_niqe_needs_enough_texture_in_the_training_truths_or_a_model(run: Run, tmp_path: Path) -> None:
    from transmodal.metrics.niqe import PristineModel

    shutil.copytree(run.folder, tmp_path / "run")
    policy = Policy(metrics=("psnr", "niqe"), sets=())
    with pytest.raises(UserError, match="cannot be fitted on xray of the training cases"):
        evaluate_run(tmp_path / "run", policy=policy)
    noise = np.random.default_rng(0).uniform(0, 255, (4, 96, 96))
    PristineModel.fit(noise, data_range=255, name="noise", block=16, sharpest=0.0).save(tmp_path / "model.json")
    scores = evaluate_run(tmp_path / "run", policy=policy, niqe_model=tmp_path / "model.json").scores["xray"]
    assert scores.resources["niqe"]["name"] == "noise" and scores.resources["niqe"]["sha256"]
    assert scores.truth_summary["niqe"].cases == len(scores.cases)
    page = parse((tmp_path / "run" / "report.html").read_text()).text
    assert "NIQE's pristine model: noise, blocks of 16 pixels" in page and "The truths themselves have NIQE" in page
    assert f"--niqe-model {tmp_path / 'model.json'}" in page
    with pytest.raises(UserError, match="--lpips-weights"):
        evaluate_run(tmp_path / "run", policy=Policy(metrics=("lpips",)))

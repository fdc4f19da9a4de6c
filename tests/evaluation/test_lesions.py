"""Lesions are scored apart: the error inside them and the contrast that is left of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.evaluation.test_run_evaluation import told

from transmodal.errors import UserError
from transmodal.evaluation.lesions import COLUMNS, lesion_places, lesion_values, summarise_lesions
from transmodal.evaluation.scoring import CaseImages, CaseToScore, score_cases
from transmodal.images import Image, write
from transmodal.metrics.policy import Policy

POLICY = Policy(metrics=("mae",), sets=(), mask="foreground", range=(0, 1), unit="units", lesions="lesions").resolved(
    dimension=3
)


def volume(values: np.ndarray, spacing: float = 1.0) -> Image:
    return Image(values.astype(np.float32), np.diag([spacing, spacing, spacing, 1.0]))


def scene(spacing: float = 1.0) -> tuple[Image, Image]:
    """A truth of 0.5 with a lesion of 0.65 in it, and the map of the lesion."""
    marked = np.zeros((24, 24, 24))
    marked[10:14, 10:14, 10:14] = 1
    return volume(0.5 + 0.15 * marked, spacing), volume(marked, spacing)


def test_contrast_that_is_left_is_told_against_the_truths() -> None:
    truth, lesions = scene()
    faint = replace(truth, pixels=(0.5 + 0.05 * lesions.pixels).astype(np.float32))
    found = lesion_values(faint, truth, lesion_places(truth, lesions, POLICY), POLICY)
    assert found["voxels"] == 64
    assert found["mae"] == pytest.approx(0.10, abs=1e-6)
    assert found["psnr"] == pytest.approx(20, abs=1e-4)
    assert (found["contrast"], found["contrast_truth"]) == pytest.approx((0.05, 0.15), abs=1e-6)
    assert found["share"] == pytest.approx(1 / 3, abs=1e-5)


@pytest.mark.parametrize("spacing", [1.0, 0.5, 2.0, 5.0])
def test_the_ring_lies_two_to_four_millimetres_around_and_inside_the_mask(spacing: float) -> None:
    truth, lesions = scene(spacing)
    truth.pixels[:, :11] = 0  # outside of the foreground
    places = lesion_places(truth, lesions, POLICY)
    grid = np.stack(np.indices(truth.shape), -1)
    lesion = grid[lesions.pixels != 0]
    distance = spacing * np.sqrt(((grid[..., None, :] - lesion) ** 2).sum(-1)).min(-1)
    expected = (distance >= 2) & (distance <= max(4, spacing)) & (truth.pixels > 0)
    assert expected.any() and np.array_equal(places.ring, expected)
    assert np.array_equal(places.inside, (lesions.pixels != 0) & (truth.pixels > 0))


def test_percentiles_of_the_truth_scale_both_contrasts() -> None:
    truth, lesions = scene()
    generator = np.random.default_rng(0)
    noisy = replace(truth, pixels=(100 * truth.pixels + generator.normal(0, 5, truth.shape)).astype(np.float32))
    policy = Policy(
        metrics=("mae",), sets=(), mask="foreground", scale="percentile", percentiles_of="truth", clip=False
    ).resolved(dimension=3)
    low, high = np.percentile(noisy.pixels, (0.5, 99.5))
    flat = replace(noisy, pixels=np.full_like(noisy.pixels, 50))
    found = lesion_values(flat, noisy, lesion_places(noisy, lesions, policy), policy)
    assert found["contrast"] == pytest.approx(0, abs=1e-6)
    inside, ring = (noisy.pixels[place].mean() for place in (lesions.pixels != 0, lesion_places(
        noisy, lesions, policy).ring))  # fmt: skip
    assert found["contrast_truth"] == pytest.approx((inside - ring) / (high - low), rel=1e-4)


def test_cases_without_a_lesion_are_counted_and_in_no_mean() -> None:
    truth, lesions = scene()
    healthy = replace(lesions, pixels=np.zeros_like(lesions.pixels))
    faint = replace(truth, pixels=(0.5 + 0.05 * lesions.pixels).astype(np.float32))
    cases = {f"s{number}": CaseImages({"made": faint}, truth, None, lesions) for number in range(5)}
    cases["healthy"] = CaseImages({"made": faint}, truth, None, healthy)
    cases["unknown"] = CaseImages({"made": faint}, truth)
    scores = score_cases([CaseToScore(name, name, lambda each=each: each) for name, each in cases.items()], POLICY)
    summary = scores.lesion_summary["made"]
    assert (summary.cases, summary.without) == (5, 1)
    assert summary.share == pytest.approx(1 / 3, abs=1e-5)
    assert summary.values["contrast"].ci95 == pytest.approx((0.05, 0.05), abs=1e-6)
    found = scores.to_json()["lesions"]
    assert found["systems"]["made"]["share_of_means"] == pytest.approx(1 / 3, abs=1e-5)
    assert [case["mae"] for case in found["cases"] if case["case"] == "healthy"] == [None]


def test_the_share_is_of_means_and_not_a_mean_of_shares() -> None:
    rows = [("made", f"s{n}", f"s{n}", 9.0, 0.1, 20.0, made, true, made / true) for n, (made, true) in enumerate(
        [(0.1, 0.2), (0.1, 0.2), (0.1, 0.001)])]  # fmt: skip
    summary = summarise_lesions(pandas.DataFrame(rows, columns=list(COLUMNS)))["made"]
    assert summary.share == pytest.approx(0.3 / 0.401)


def test_lesions_on_another_grid_or_in_colour_are_refused_in_one_line() -> None:
    truth, lesions = scene()
    with pytest.raises(UserError, match="one grid"):
        lesion_places(truth, volume(np.ones((4, 4, 4))), POLICY)
    colour = Image(np.ones((*truth.shape, 3), np.float32), truth.affine, channels=("r", "g", "b"))
    with pytest.raises(UserError, match="grey images only"):
        lesion_places(colour, lesions, POLICY)


def test_an_ordinary_image_is_no_map_of_lesions() -> None:
    image = volume(np.arange(8000).reshape(20, 20, 20))
    with pytest.raises(UserError, match=r"8000 values.*no map of lesions"):
        lesion_places(image, image, POLICY)


def test_folders_of_other_programs_are_scored_with_their_lesions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, lesions = scene()
    faint = replace(truth, pixels=(0.5 + 0.05 * lesions.pixels).astype(np.float32))
    for name in ("a", "b"):
        write(truth, tmp_path / "truth" / f"{name}.nii.gz")
        write(faint, tmp_path / "made" / f"{name}.nii.gz")
    write(lesions, tmp_path / "lesions" / "a.nii.gz")
    command = ["score", tmp_path / "made", tmp_path / "truth", "--range", 0, 1, "--metrics", "mae"]
    out, _ = told(capsys, *command, "--lesions", tmp_path / "lesions", "--out", tmp_path / "out")
    assert "contrast 0.05 of 0.15 (33 %)" in out and "1 case with a lesion, 1 without a map of lesions" in out
    table = pandas.read_csv(tmp_path / "out" / "cases.csv").set_index("case")
    assert table.loc["a", "lesion_contrast"] == pytest.approx(0.05, abs=1e-5) and np.isnan(table.loc["b", "lesion_mae"])
    out, _ = told(capsys, *command, "--lesions", tmp_path / "lesions", "--json")
    assert json.loads(out)["lesions"]["systems"]["predicted"]["cases"] == 1
    for folder, what in (("none", "There is no"), ("truth2", "has the name of a truth")):
        (tmp_path / "truth2").mkdir(exist_ok=True)
        _, error = told(capsys, *command, "--lesions", tmp_path / folder, status=2)
        assert what in error and error.count("\n") == 1

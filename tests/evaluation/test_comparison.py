"""Several systems are compared as numbers, on the page, in JSON, and from the command line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from tests.data.pairs import make_pairs
from tests.reporting.test_html import parse

from transmodal.cli import main
from transmodal.errors import UserError
from transmodal.evaluation.comparison_report import comparison_blocks
from transmodal.evaluation.files import to_text
from transmodal.evaluation.scores import Scores
from transmodal.evaluation.significance import holm
from transmodal.evaluation.system_comparison import compare_systems
from transmodal.evaluation.waem import Waem, equal_weights, terms_of
from transmodal.metrics.policy import Policy
from transmodal.reporting.html import Picture, Report, Section, render
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.train import train

METRICS = ("mse", "nrmse", "psnr", "ssim")
SHIFTS = {"sharp": 1.0, "smooth": 0.9, "broken": -1.0, "mean target": -0.5}


def scores_of(shifts: dict[str, float], subjects: int = 12, fnsd: bool = True) -> Scores:
    """Systems whose PSNR lies apart by known amounts, on subjects of very different difficulty."""
    generator = np.random.default_rng(0)
    base = generator.normal(22, 3, subjects)
    rows = []
    for system, shift in shifts.items():
        for number in range(2 * subjects):
            psnr = base[number // 2] + shift + generator.normal(0, 0.3)
            mse = 100 * 10 ** (-psnr / 10)
            values = {"mse": mse, "nrmse": np.sqrt(mse) / 4, "psnr": psnr, "ssim": 1 - np.sqrt(mse) / 10}
            rows.append({"system": system, "case": f"c{number}", "subject": f"s{number // 2}", **values})
    policy = Policy(metrics=METRICS, range=(0, 10), unit="HU", dimension=2).resolved()
    sets = {
        system: {"fnsd": {"value": 4.0 - shift, "n": 24, "features": "blocks"}, "fid": {"value": None, "reason": "no"}}
        for system, shift in shifts.items()
    }
    return Scores(policy, pandas.DataFrame(rows), sets=sets if fnsd else {}, split="test")


def page(scores: Scores, **options: object) -> str:
    return parse(render(Report("x", [Section("Comparison", comparison_blocks(scores, **options))]))).text  # type: ignore[arg-type]


def test_differences_are_tested_over_subjects_and_corrected_over_the_table() -> None:
    found = compare_systems(scores_of(SHIFTS))
    assert len(found.against_first) == 3 * 4
    assert len(found.all_pairs) == 6 * 4
    assert [each.p_holm for each in found.against_first] == holm([each.test.p for each in found.against_first])
    broken = next(each for each in found.against_first if (each.metric, each.second) == ("psnr", "broken"))
    assert broken.summary.mean == pytest.approx(2.0, abs=0.3)
    assert broken.test.n == 12
    assert broken.test.p == pytest.approx(2 / 2**12)
    lower = next(each for each in found.against_first if (each.metric, each.second) == ("mse", "broken"))
    assert broken.favour == lower.favour == 1.0
    assert lower.test.rank_biserial == -1.0


def test_ranks_waem_front_and_votes_agree_on_a_clear_order() -> None:
    found = compare_systems(scores_of({"sharp": 2.0, "smooth": 0.5, "broken": -1.0}))
    for ranking in (*found.rankings.values(), found.aggregate.ranking if found.aggregate else None, found.waem.ranking):
        assert ranking is not None
        assert ranking.line == "sharp > smooth > broken"
        assert ranking.same_order == 1.0
    assert found.aggregate is not None
    assert found.aggregate.metrics == (*METRICS, "fnsd")
    assert found.aggregate.kemeny == ("sharp", "smooth", "broken")
    assert (found.aggregate.condorcet, found.aggregate.pareto) == ("sharp", ("sharp",))
    assert found.aggregate.contradictions == (0, 15)


def test_a_baseline_is_scored_on_the_scale_of_the_others_unless_they_are_too_few() -> None:
    scores = scores_of(SHIFTS)
    waem = compare_systems(scores).waem
    assert waem.waem is not None and waem.waem.systems == ("sharp", "smooth", "broken")
    assert waem.waem.title == "WAEM with FNSD"
    assert set(waem.scores) == set(SHIFTS)
    few = compare_systems(scores_of({"sharp": 1.0, "broken": -1.0, "mean target": -0.5})).waem
    assert few.waem is not None and few.waem.systems == ("sharp", "broken", "mean target")
    assert any("baselines among them" in note for note in few.notes)
    far = compare_systems(scores_of({**SHIFTS, "mean target": 9.0})).waem
    assert any("mean target lies" in note and "rules its score" in note for note in far.notes)


def test_given_and_fitted_weights_replace_equal_ones_and_what_they_lack_is_refused() -> None:
    scores = scores_of(SHIFTS)
    raw = compare_systems(scores, waem=[0, 0, 1, 0, 0]).waem
    assert raw.scores == pytest.approx({name: scores.summary_of("psnr", name).mean for name in SHIFTS})
    assert raw.waem is not None and raw.waem.title == "WAEM"
    fitted = equal_weights(terms_of(scores)).model_copy(update={"fitted_on": "mean ratings of 4 systems"})
    assert "WAEM with FNSD (mean ratings of 4 systems)" in page(scores, waem=fitted)
    bare = scores_of(SHIFTS, fnsd=False)
    with pytest.raises(UserError, match="1/fnsd"):
        compare_systems(bare, waem=fitted)
    assert compare_systems(bare).waem.scores
    with pytest.raises(UserError, match="two systems"):
        compare_systems(scores_of({"sharp": 1.0}))
    assert comparison_blocks(scores_of({"sharp": 1.0})) == []


def test_a_translator_worse_than_a_baseline_is_told_in_one_line() -> None:
    verdicts = compare_systems(scores_of(SHIFTS)).verdicts
    assert verdicts == ("broken is worse than the baseline mean target in MSE, NRMSE, PSNR, SSIM.",)
    assert verdicts[0] in page(scores_of(SHIFTS))
    unsure = compare_systems(scores_of({"sharp": 0.0, "mean target": 0.01})).verdicts
    assert all("its interval includes 0" in verdict for verdict in unsure)


def test_the_comparison_is_json_without_infinity_even_for_perfect_images_and_one_subject() -> None:
    scores = scores_of(SHIFTS)
    table = scores.table.copy()
    table.loc[table["system"] == "sharp", list(METRICS)] = [0.0, 0.0, np.inf, 1.0]
    for part in (table, table[table["subject"] == "s1"]):
        found = compare_systems(Scores(scores.policy, part, sets=scores.sets))
        content = json.loads(to_text(found.to_json()), parse_constant=lambda name: pytest.fail(name))
        assert "psnr" not in content["rankings"]  # no case has a finite value in every system
        assert content["waem"]["scores"]["sharp"] > content["waem"]["scores"]["smooth"]
        assert any("floor" in note for note in content["waem"]["notes"])
        assert render(Report("x", [Section("x", comparison_blocks(Scores(scores.policy, part)))]))


def test_few_subjects_are_said_to_reach_no_small_p_and_no_stability() -> None:
    text = page(scores_of(SHIFTS, subjects=3))
    assert "cannot be below 0.25" in text
    assert "the smallest corrected p is 1.00" in text
    assert "not known below 4 subjects" in text
    assert "the smallest corrected p" not in page(scores_of({"a": 1.0, "b": 0.0}))


def test_the_page_shows_every_subject_in_both_themes_and_states_units_and_n() -> None:
    scores = scores_of(SHIFTS)
    pictures = [block for block in comparison_blocks(scores) if isinstance(block, Picture)]
    assert len(pictures) == 3
    assert all(block.png.light != block.png.dark for block in pictures)  # type: ignore[union-attr]
    text = page(scores)
    for part in (
        "Every subject (12)",
        "R = 10 HU",
        "N = 24",
        "euclidean",
        "No weights of WAEM are published",
        "100 dB",
    ):
        assert part in text, part


TINY = {
    "preparation.grid.shrink": 1,
    "pix2pix.generator.filters": 4,
    "pix2pix.generator.downsamplings": 3,
    "pix2pix.discriminator.filters": 4,
    "pix2pix.discriminator.layers": 1,
    "train.epochs": 1,
    "train.batch_size": 4,
    "train.sample_every": 100,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A hardly trained run and its copy."""
    folder = tmp_path_factory.mktemp("compared")
    recipe = load_recipe("photo-to-xray", scale="smoke", overrides=TINY)
    train(recipe, make_pairs(folder / "pairs", animals=12), folder / "first", cache=folder / "cache", quiet=True)
    shutil.copytree(folder / "first", folder / "second")
    return [folder / "first", folder / "second"]


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    out, error = capsys.readouterr()
    return int(stopped.value.code or 0), out, error


def test_evaluate_compares_runs_and_says_how_to_repeat_it(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = "0,1,2,30,0"
    options = ["--group-by", "coat", "--waem-weights", weights, "--out", tmp_path / "out"]
    status, out, error = told(capsys, "evaluate", *runs, *options)
    assert status == 0, error
    text = " ".join(out.split())
    for part in (
        "second 0 0 0",
        "p 1.00",
        "Ranking by PSNR:",
        "first = second",
        "WAEM (weights given",
        "worse than",
    ):
        assert part in text, part
    html = parse((tmp_path / "out" / "comparison.html").read_text()).text
    for part in (f"--waem-weights {weights}", "--group-by coat", f"--out {tmp_path / 'out'}"):
        assert part in html, part
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["comparison"]["waem"]["title"] == "WAEM"
    assert set(summary["sets"]) == {"first", "second", "mean target", "input luminance", "intensity lookup"}
    terms = terms_like(summary)
    waem = equal_weights(terms).save(tmp_path / "waem.json")
    status, out, _ = told(capsys, "evaluate", *runs, "--waem", waem, "--out", tmp_path / "out", "--json")
    assert status == 0
    assert json.loads(out)["comparison"]["waem"]["waem"]["weights"] == Waem.load(waem).weights


def terms_like(summary: dict[str, dict[str, dict[str, dict[str, dict[str, float]]]]]) -> pandas.DataFrame:
    return pandas.DataFrame.from_dict(summary["comparison"]["waem"]["terms"], orient="index")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--waem", "absent.json"], "no file absent.json"),
        (["--waem-weights", "1,2,x,4,5"], "five numbers"),
        (["--waem-weights", "1,2"], "2 were given"),
        (["--waem-weights", "1,1,1,1,1", "--waem", "x"], "give one of them"),
    ],
)
def test_wrong_weights_are_refused_in_one_line_before_anything_is_scored(
    options: list[str], message: str, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, error = told(capsys, "evaluate", *runs, *options)
    assert status == 2
    assert out == ""
    assert message in error and len(error.splitlines()) == 1


def test_weights_for_one_run_are_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = told(capsys, "evaluate", runs[0], "--waem-weights", "1,1,1,1,1")
    assert status == 2
    assert "two runs or more" in error


def test_a_metric_that_most_subjects_lack_is_not_ranked_and_hides_no_other_rank() -> None:
    scores = scores_of(SHIFTS)
    rows = scores.table["system"].eq("broken") & ~scores.table["subject"].isin(["s0", "s1"])
    table = scores.table.assign(ssim=scores.table["ssim"].mask(rows))
    found = compare_systems(replace(scores, table=table))
    assert "ssim" not in found.rankings and found.rankings["psnr"].probabilities is not None
    assert found.notes == ("SSIM is not ranked: all systems have a value together in 2 of 12 subjects only.",)
    assert found.notes[0] in page(replace(scores, table=table))

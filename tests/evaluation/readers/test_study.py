"""Making a study and reading it back: what the images give away, which items there are, how answers are joined."""

import re
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tests.data.pairs import make_pairs
from tests.data.readers import SYSTEMS, make_folders, make_small_study

from transmodal.errors import UserError
from transmodal.evaluation.readers.answers import COLUMNS, REAL, Kind
from transmodal.evaluation.readers.blinding import blinded, quantisation_step
from transmodal.evaluation.readers.making import StudySettings, choose_cases, make_study
from transmodal.evaluation.readers.materials import Material, from_folders, from_runs
from transmodal.evaluation.readers.study import Pictures, Study, read_answers
from transmodal.images import Image, picture_affine, read, write

KINDS: tuple[Kind, ...] = ("real-or-synthetic", "which-is-real", "preference", "rating")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("images"))


def pixels_of(study: Study, name: str) -> np.ndarray:
    sort = study.protocol.pictures
    return np.frombuffer(study.image_bytes(name), "<u2").reshape(sort.height, sort.width)


def answer_all(study: Study, reader: str, answers: list[str]) -> None:
    store = study.open_store()
    store.add_reader(reader)
    for trial, _ in enumerate(store.trials(reader)):
        chosen = {question: answers[trial % len(answers)] for question in study.questions()}
        store.record(reader, trial, chosen, seconds=trial)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_on_disk_but_the_key_tells_what_an_image_is(folders: Path, tmp_path: Path, kind: Kind) -> None:
    study = make_small_study(folders, tmp_path / "study", kind, reference=True)
    files = sorted((study.folder / "images").iterdir())
    assert {path.name for path in files} == {*study.key.images, *study.key.references.values()}
    assert all(len(path.name) == 24 and set(path.name) <= set("0123456789abcdef") for path in files)
    shown = [study.folder / "images" / name for name in study.key.images]
    assert len({path.stat().st_size for path in shown}) == 1
    assert len({path.stat().st_mtime_ns for path in files}) == 1
    assert len({path.stat().st_mode for path in files}) == 1
    assert stat.S_IMODE((study.folder / "key.json").stat().st_mode) == 0o600
    store = study.open_store()
    store.add_reader("ana")
    for open_to_readers in (study.folder / "study.json", store.path):
        content = open_to_readers.read_bytes()
        assert not [word for word in (*SYSTEMS, "quokka", "pose") if word.encode() in content]
    assert {path.name for path in study.folder.iterdir()} == {"study.json", "key.json", "images", "answers.sqlite"}


def test_real_and_synthetic_images_have_the_same_grey_levels(folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "rating")
    levels = study.protocol.pictures.levels
    assert levels == 250  # 8-bit truth, 0 to 249, against float images
    allowed = set(np.rint(np.arange(levels) * (65535 / (levels - 1))).astype(int))
    for name, known in study.key.images.items():
        assert set(np.unique(pixels_of(study, name))) <= allowed, known.system


def with_extreme_made_images(folder: Path) -> Path:
    """Return folders where both systems leave the true images' values, zebra on both sides."""
    folders = make_folders(folder)
    for system, slope in zip(SYSTEMS, (1.2, -3.0), strict=True):
        for path in (folders / system).iterdir():
            image = read(path)
            write(Image((image.pixels - 100) * slope + 100, picture_affine((0.5, 0.5))), path)
    return folders


def extremes_of(study: Study) -> dict[str, tuple[int, int]]:
    served: dict[str, list[np.ndarray]] = {}
    for name, known in study.key.images.items():
        served.setdefault(known.system, []).append(pixels_of(study, name))
    return {system: (int(np.min(pixels)), int(np.max(pixels))) for system, pixels in served.items()}


@pytest.mark.parametrize(
    "scale",
    [{}, {"limits": (-500.0, 900.0)}, {"limits": (20.0, 200.0)}, {"limits": (-500.0, 100.0)}, {"percentiles": (0, 90)}],
)
@pytest.mark.parametrize("kind", ["real-or-synthetic", "which-is-real", "rating"])
def test_no_made_image_is_darker_or_brighter_than_every_true_one(
    tmp_path: Path, kind: Kind, scale: dict[str, Any]
) -> None:
    study = make_small_study(with_extreme_made_images(tmp_path / "images"), tmp_path / "study", kind, **scale)
    extremes = extremes_of(study)
    for system in SYSTEMS:
        assert extremes[REAL][0] <= extremes[system][0] and extremes[system][1] <= extremes[REAL][1]
    if not scale:  # the true images fill the scale, and made ones have their greys
        assert extremes[REAL] == extremes["zebra"] == (0, 65535)
        greys = np.rint(np.arange(250) * (65535 / 249))
        assert all(np.isin(pixels_of(study, name), greys).all() for name in study.key.images)


@pytest.mark.parametrize("low", [-0.5, -0.3, 0.0])
def test_true_greys_stay_apart_where_the_range_begins_between_them(low: float) -> None:
    true = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sort = Pictures(width=16, height=16, channels=1, low=low, high=low + 256, unit="", levels=257)
    assert len(np.unique(blinded(true, sort))) == 256


def test_clipped_pixels_are_counted_for_each_system(tmp_path: Path) -> None:
    folders = with_extreme_made_images(tmp_path / "images")
    study = make_small_study(folders, tmp_path / "study", "rating")
    assert (study.protocol.pictures.low, study.protocol.pictures.high) == (0, 249)
    values = np.stack([read(path).pixels for path in (folders / "zebra").iterdir()])
    outside = int(((values < 0) | (values > 249)).sum())
    assert f"zebra {outside} of {values.size} pixels ({outside / values.size:.1%})" in study.key.about["clipped"]
    assert "real none" in study.key.about["clipped"] and "the true ones' 0 to 249" in study.key.about["clipped"]
    narrow = make_small_study(folders, tmp_path / "narrow", "rating", limits=(0, 200))
    assert re.search(r"real \d+ of 1440 pixels", narrow.key.about["clipped"])
    assert "the true ones' 0 to 200" in narrow.key.about["clipped"]


def test_without_true_images_the_scale_holds_all_values(tmp_path: Path) -> None:
    folders = with_extreme_made_images(tmp_path / "images")
    study = make_small_study(folders, tmp_path / "study", "preference")
    assert study.key.about["clipped"] == "wobbly none, zebra none"
    assert {extremes_of(study)["zebra"]} == {(0, 65535)}


def test_values_keep_their_meaning(folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "rating", limits=(10, 210))
    for name, known in study.key.images.items():
        suffix = "png" if known.system == REAL else "tiff"
        expected = np.clip(read(folders / known.system / f"{known.case}.{suffix}").pixels, 10, 210)
        assert np.abs(10 + pixels_of(study, name) * (200 / 65535) - expected).max() < 0.51


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, (5, 8)),
    hnp.arrays(np.float32, (5, 8), elements=st.floats(-1e4, 1e4, width=32)),
    st.integers(2, 65536),
)
def test_blinded_files_differ_in_nothing_but_content(true: np.ndarray, made: np.ndarray, levels: int) -> None:
    sort = Pictures(width=9, height=7, channels=1, low=0, high=255, unit="", levels=levels)
    files = [blinded(pixels, sort) for pixels in (true, made)]
    allowed = np.rint(np.arange(levels) * (65535 / (levels - 1)))
    for file in files:
        assert file.dtype == "<u2" and len(file.tobytes()) == sort.bytes
        assert np.isin(file, allowed).all()
    # Monotone: what was brighter is never darker.
    order = np.argsort(true, axis=None, kind="stable")
    assert (np.diff(files[0][1:6, 0:8].ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("pixels", "step"),
    [
        (np.arange(256).reshape(16, 16), 1.0),
        (np.arange(256).reshape(16, 16) * 257, 257.0),  # 8 bits spread over 16
        ((np.arange(64) * 0.1 - 3).astype(np.float32).reshape(8, 8), 0.1),  # integers with a slope
        (np.array([[0, 7], [7, 0]]), 0.0),  # too few values to tell
        (np.full((4, 4), 3.0), 0.0),
    ],
)
def test_the_quantisation_of_a_source_is_found(pixels: np.ndarray, step: float) -> None:
    assert quantisation_step(pixels) == pytest.approx(step, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_balanced(folders: Path, tmp_path: Path, kind: Kind) -> None:
    study = make_small_study(folders, tmp_path / "study", kind, repeats=0.0)
    told = [study.identify(trial) for trial in study.plan(0)]
    if kind == "preference":
        assert Counter(each["left"] for each in told) == {"wobbly": 3, "zebra": 3}
        assert {(each["first"], each["second"]) for each in told} == {SYSTEMS}
    elif kind == "which-is-real":  # each true image once: one that came twice would betray itself
        assert Counter(each["real_side"] for each in told) == {"left": 3, "right": 3}
        assert Counter(each["system"] for each in told) == {"wobbly": 3, "zebra": 3}
        assert len({each["case"] for each in told}) == 6
    elif kind == "rating":
        assert Counter(each["system"] for each in told) == {"wobbly": 6, "zebra": 6, REAL: 6}
    else:
        assert Counter(each["system"] for each in told) == {"wobbly": 3, "zebra": 3, REAL: 6}
    assert {each["subject"] for each in told} == {"quokka0", "quokka1", "quokka2"}


def test_readers_who_see_one_version_see_real_and_synthetic_equally(folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "real-or-synthetic", readers_see="one", repeats=0.0)
    plans = [[study.identify(trial) for trial in study.plan(reader)] for reader in range(4)]
    for told in plans:
        assert len({each["case"] for each in told}) == len(told) == 6
        assert Counter(each["system"] == REAL for each in told) == {True: 3, False: 3}
    seen = Counter((each["case"], each["system"]) for told in plans for each in told)
    assert all(seen[case, REAL] == 2 and seen[case, "zebra"] == 1 for case, _ in seen)


def test_a_seed_settles_choice_and_order_but_no_name(folders: Path, tmp_path: Path) -> None:
    studies = [make_small_study(folders, tmp_path / str(n), "rating", cases=3, seed=s) for n, s in enumerate([5, 5, 6])]
    told = [[study.identify(trial) for trial in study.plan(0)] for study in studies]
    assert told[0] == told[1] != told[2]
    assert len({each["subject"] for each in told[0]}) == 3  # spread over subjects
    assert not studies[0].key.images.keys() & studies[1].key.images.keys()
    assert studies[0].key.secret != studies[1].key.secret
    drawn = [make_small_study(folders, tmp_path / f"drawn{n}", "rating", seed=None) for n in range(2)]
    assert drawn[0].key.seed != drawn[1].key.seed


def test_cases_are_spread_over_subjects() -> None:
    cases = [Material(f"{subject}{pose}", subject, dict) for subject in "abcd" for pose in range(5)]
    chosen = [choose_cases(cases, 6, seed) for seed in range(10)]
    for each in chosen:
        assert sorted(Counter(case.subject for case in each).values()) == [1, 1, 2, 2]
        assert each == sorted(each, key=cases.index)
    assert len({tuple(case.case for case in each) for each in chosen}) > 1
    assert choose_cases(cases, None, 0) == cases


def test_percentiles_are_those_of_the_whole_volume(tmp_path: Path) -> None:
    volume = np.linspace(0, 1000, 9 * 9 * 5).astype(np.float32).reshape(9, 9, 5, order="F")
    for name in ("real", "made"):
        (tmp_path / name).mkdir()
        write(Image(volume * (1 if name == "real" else 3), np.eye(4)), tmp_path / name / "head.nii.gz")
    materials = from_folders({"made": tmp_path / "made"}, tmp_path / "real")
    study = make_study(tmp_path / "study", materials, StudySettings(kind="rating", percentiles=(0, 100), slices=(0, 4)))
    means = {(each.case, each.system): pixels_of(study, name).mean() for name, each in study.key.images.items()}
    assert means["head_slice000", REAL] == pytest.approx(0.1 * 65535, rel=0.02)
    assert means["head_slice004", REAL] == pytest.approx(0.9 * 65535, rel=0.02)
    assert means["head_slice004", "made"] == pytest.approx(means["head_slice004", REAL], rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("real-or-synthetic", ["real", "synthetic"]),
        ("which-is-real", ["left", "right"]),
        ("preference", ["left", "right", "tie"]),
        ("rating", ["1", "5"]),
    ],
)
def test_answers_are_joined_with_the_key(folders: Path, tmp_path: Path, kind: Kind, answers: list[str]) -> None:
    criteria = ("realism", "anatomy")
    study = make_small_study(
        folders, tmp_path / "study", kind, criteria=criteria, ties=kind == "preference", repeats=0.4
    )
    answer_all(study, "ana", answers)
    study.open_store().add_reader("robot", simulated=True)
    read = read_answers(study.folder)
    table, plan = read.table, study.plan(0)
    assert tuple(table.columns) == COLUMNS[kind]
    assert set(read.systems) == {*SYSTEMS, *([] if kind == "preference" else [REAL])}
    assert read.simulated == ("robot",) and read.unanswered == {"ana": 0, "robot": len(plan)}
    assert len(table) == len(plan) * (2 if kind == "rating" else 1)
    assert table["repeat"].sum() > 0 and table["seconds"].max() == len(plan) - 1
    row = table.iloc[0]
    assert row["case"] == study.key.images[plan[0].images[0]].case
    if kind == "preference":
        assert row["answer"] == row["left"] == study.key.images[plan[0].images[0]].system
        assert table.iloc[1]["answer"] == study.key.images[plan[1].images[1]].system
        assert table.iloc[2]["answer"] == "tie"
    elif kind == "rating":
        assert list(table["criterion"][:2]) == list(criteria) and list(table["answer"][:3]) == [1, 1, 5]
        assert (read.points, read.criteria) == (5, criteria)
    else:
        assert list(table["answer"][:2]) == answers
    if kind == "which-is-real":
        left = study.key.images[plan[0].images[0]].system
        assert (row["real_side"] == "left") == (left == REAL) and row["system"] in SYSTEMS


def test_answers_of_another_study_are_refused(folders: Path, tmp_path: Path) -> None:
    one, other = (make_small_study(folders, tmp_path / name, "rating") for name in "ab")
    answer_all(one, "ana", ["3"])
    (one.folder / "answers.sqlite").replace(other.folder / "answers.sqlite")
    with pytest.raises(UserError, match="put the two files of one study together"):
        read_answers(other.folder)


def test_images_of_one_case_must_share_a_grid(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "images", cases=2)
    other = Image(np.arange(130, dtype=np.float32).reshape(10, 13), picture_affine((0.5, 0.5)))
    write(other, folders / "zebra" / "quokka0_pose0.tiff")
    with pytest.raises(UserError, match=r"is 10×13 but .* is 12×20|is 12×20 but .* is 10×13"):
        make_small_study(folders, tmp_path / "study", "rating")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]  # nothing is left behind


def test_smaller_cases_lie_in_the_middle_of_the_common_field(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "images", cases=2)
    for name in ("real", *SYSTEMS):
        path = next((folders / name).glob("quokka0_pose1.*"))
        write(Image(read(path).pixels[:8, :10], picture_affine((0.5, 0.5))), path)
    study = make_small_study(folders, tmp_path / "study", "rating", limits=(-100, 300))
    assert (study.protocol.pictures.height, study.protocol.pictures.width) == (12, 20)
    small = [name for name, image in study.key.images.items() if image.case == "quokka0_pose1"]
    for name in small:
        pixels = pixels_of(study, name)
        assert pixels[2:10, 5:15].min() > 0 and pixels.astype(int).sum() == pixels[2:10, 5:15].astype(int).sum()


def test_volumes_give_one_case_a_slice(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("real", "made"):
        (tmp_path / name).mkdir()
        volume = generator.integers(0, 900, (9, 7, 5)).astype(np.int16)
        write(Image(volume, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / name / "head.nii.gz")
    materials = from_folders({"made": tmp_path / "made"}, tmp_path / "real")
    middle = make_study(tmp_path / "middle", materials, StudySettings(kind="which-is-real"))
    assert {image.case for image in middle.key.images.values()} == {"head_slice002"}
    assert (middle.protocol.pictures.height, middle.protocol.pictures.width) == (7, 9)  # radiological: x across
    assert middle.protocol.pictures.aspect == pytest.approx(2)
    several = make_study(tmp_path / "several", materials, StudySettings(kind="which-is-real", slices=(0, 4), axis=2))
    assert {(image.case, image.subject) for image in several.key.images.values()} == {
        ("head_slice000", "head"),
        ("head_slice004", "head"),
    }
    with pytest.raises(UserError, match="has slices 0 to 4 along axis 2, not 5"):
        make_study(tmp_path / "none", materials, StudySettings(kind="which-is-real", slices=(5,)))


def test_runs_bring_true_targets_and_translations(tmp_path: Path) -> None:
    from transmodal.training.recipe_loading import load_recipe
    from transmodal.training.train import train

    overrides = {
        "preparation.grid.shrink": 1,
        "pix2pix.generator.filters": 4,
        "pix2pix.generator.downsamplings": 3,
        "pix2pix.discriminator.filters": 4,
        "pix2pix.discriminator.layers": 1,
        "train.epochs": 1,
        "train.sample_every": 100,
    }
    recipe = load_recipe("photo-to-xray", scale="smoke", overrides=overrides)
    train(recipe, make_pairs(tmp_path / "data", poses=1), tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    materials = from_runs([tmp_path / "run"], with_real=True, with_input=True)
    study = make_study(tmp_path / "study", materials, StudySettings(kind="real-or-synthetic"))
    assert study.key.systems == ("run", REAL)
    assert study.protocol.reference is not None and study.protocol.reference.channels == 3
    assert {image.subject for image in study.key.images.values()} == {"mouse05"}
    with pytest.raises(UserError, match="Two systems are called 'run'"):
        from_runs([tmp_path / "run", tmp_path / "run"], with_real=True, with_input=False)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "guess"}, "no kind of study"),
        ({"repeats": 0.9}, "no share from 0 to 0.5"),
        ({"points": 10}, "keys 1 to 9"),
        ({"criteria": ("a", "a")}, "different names"),
        ({"cases": 7}, "more than the 6 cases"),
        ({"cases": 0}, "less than 1"),
        ({"limits": (1.0, 1.0)}, "lower value first"),
        ({"limits": (0.0, 1.0), "percentiles": (0.0, 99.0)}, "two maps"),
        ({"percentiles": (5.0, 101.0)}, "from 0 to 100"),
        ({"ties": True}, "no sense"),
    ],
)
def test_bad_settings_are_refused_in_one_line(
    folders: Path, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    materials = from_folders({"zebra": folders / "zebra"}, folders / "real")
    with pytest.raises(UserError, match=problem) as refused:
        make_study(tmp_path / "study", materials, replace(StudySettings(kind="rating"), **changes))
    assert "\n" not in str(refused.value) and not (tmp_path / "study").exists()


def test_bad_materials_are_refused_in_one_line(folders: Path, tmp_path: Path) -> None:
    real = folders / "real"
    for systems, problem in (
        ({"real": real}, "No system can be called"),
        ({"a": tmp_path / "absent"}, "not a folder"),
        ({"a": tmp_path}, "holds no image"),
    ):
        with pytest.raises(UserError, match=problem):
            from_folders(systems, None)
    alone = from_folders({"a": real}, None)
    for kind in ("preference", "which-is-real"):
        with pytest.raises(UserError, match="needs"):
            make_study(tmp_path / "study", alone, StudySettings(kind=kind))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UserError, match="is taken already"):
        make_study(tmp_path / "taken", alone, StudySettings(kind="rating"))
    with pytest.raises(UserError, match="is no reader study"):
        Study.open(tmp_path)


def test_unsuitable_pixels_are_refused(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "images", cases=2)
    path = folders / "zebra" / "quokka0_pose0.tiff"
    pixels = read(path).pixels.copy()
    pixels[0, 0] = np.nan
    write(Image(pixels, picture_affine((0.5, 0.5))), path)
    with pytest.raises(UserError, match="NaN"):
        make_small_study(folders, tmp_path / "study", "rating")
    write(Image(np.ones((12, 20), np.float32), picture_affine((0.5, 0.5))), path)
    with pytest.raises(UserError, match="constant between its percentiles"):
        make_small_study(folders, tmp_path / "study", "rating", percentiles=(1.0, 99.0))


def test_a_damaged_study_is_refused_in_one_line(folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "rating")
    key = study.folder / "key.json"
    whole = key.read_text()
    for content, problem in (("{", "cannot be read"), ('{"secret": 3}', "cannot be read")):
        key.write_text(content)
        with pytest.raises(UserError, match=problem):
            Study.open(study.folder)
    key.write_text(whole)
    (study.folder / "images" / next(iter(study.key.images))).unlink()
    with pytest.raises(UserError, match="copy the study again"):
        [study.image_bytes(name) for name in study.key.images]

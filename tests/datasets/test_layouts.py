"""Layouts: what a folder is taken for, and what becomes of its files."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transmodal.datasets.layouts import Options, index_folder
from transmodal.datasets.layouts.pattern import compile_pattern
from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, read, write


def put(folder: Path, *names: str, pixels: np.ndarray | None = None) -> Path:
    for number, name in enumerate(names):
        values = np.full((4, 6), number, np.uint8) if pixels is None else pixels
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(Image(values, picture_affine((0.5, 0.5)), ("r", "g", "b") if values.ndim == 3 else ()), folder / name)
    return folder


def keys(indexed: object) -> list[tuple[str, ...]]:
    return [tuple(row) for row in indexed.manifest.table[["subject", "session", "modality"]].values]  # type: ignore[attr-defined]


def test_two_folders_of_equal_stems_are_pairs_and_loners_are_listed(tmp_path: Path) -> None:
    put(tmp_path, "opt/a.png", "opt/b.png", "opt/c.png", "rx/a.png", "rx/b.tif", "stray.png")
    (tmp_path / "notes.txt").write_text("hello")
    indexed = index_folder(tmp_path, options=Options(modalities={"photo": "opt", "xray": "rx"}))
    assert indexed.layout == "pairs"
    assert keys(indexed) == [
        ("a", "", "photo"),
        ("a", "", "xray"),
        ("b", "", "photo"),
        ("b", "", "xray"),
        ("c", "", "photo"),
    ]
    assert indexed.manifest.incomplete(["photo", "xray"]) == [("c", ["xray"])]
    assert indexed.skipped == [("stray.png", "in no modality folder")]
    assert [path.name for path in indexed.others] == ["notes.txt"]


def test_the_modality_word_in_a_stem_does_not_part_partners(tmp_path: Path) -> None:
    put(tmp_path, "photo/m1_photo.png", "photo/m2_photo.png", "xray/m1_xray.png", "xray/m2_xray.png")
    indexed = index_folder(tmp_path, "pairs")
    assert indexed.manifest.incomplete(["photo", "xray"]) == []
    assert indexed.manifest.subjects == ["m1", "m2"]


def test_the_subject_pattern_gives_sessions_and_factors(tmp_path: Path) -> None:
    names = [f"{kind}/m{animal}_p{pose}_white.png" for kind in "ab" for animal in (1, 2) for pose in (1, 2)]
    put(tmp_path, *names, "a/other.png")
    pattern = r"(?P<subject>m\d)_(?P<session>p\d)_(?P<coat>\w+)"
    indexed = index_folder(tmp_path, options=Options(subject_pattern=pattern))
    assert indexed.manifest.subjects == ["m1", "m2"]
    assert [case.factors for case in indexed.manifest.cases()] == [{"coat": "white"}] * 4
    assert indexed.skipped == [("a/other.png", "does not match --subject-pattern")]


def test_numbered_images_of_one_subject_bring_a_hint_that_works(tmp_path: Path) -> None:
    put(tmp_path, *(f"{kind}/mouse{animal}_pose{pose}.png" for kind in "ab" for animal in (1, 2) for pose in (1, 2)))
    indexed = index_folder(tmp_path)
    assert len(indexed.manifest.subjects) == 4
    assert "2 subjects, not 4" in indexed.notes[0]
    advised = re.search(r"--subject-pattern '([^']+)'", indexed.notes[0])
    assert advised
    followed = index_folder(tmp_path, options=Options(subject_pattern=advised[1]))
    assert followed.manifest.subjects == ["mouse1", "mouse2"]
    assert not followed.notes


def test_equal_names_in_numbered_folders_are_a_tree(tmp_path: Path) -> None:
    names = ["T1_reg_brain.nii.gz", "T2_reg_brain.nii.gz", "GOLD_STANDARD_reg.nii.gz", "FLAIR_reg_brain.nii.gz"]
    put(tmp_path, *(f"rat{number:02}/{name}" for number in (7, 19) for name in names))
    indexed = index_folder(tmp_path)
    assert indexed.layout == "tree"
    assert indexed.manifest.modalities == ["FLAIR", "GOLD_STANDARD", "T1", "T2"]
    assert indexed.manifest.subjects == ["rat07", "rat19"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (  # a group above, the subject's name in every file
            [f"{grade}/S_{n}/S_{n}_{m}.nii.gz" for grade, n in (("HGG", "A"), ("LGG", "B")) for m in ("t1", "flair")],
            [(f"S_{n}", "", m) for n in "AB" for m in ("flair", "t1")],
        ),
        (  # sessions in the file names
            [f"p{s}/study{v}_{m}.nii.gz" for s in "12" for v in "12" for m in ("FLAIR", "T1W")],
            [(f"p{s}", f"study{v}", m) for s in "12" for v in "12" for m in ("FLAIR", "T1W")],
        ),
        (  # a folder a modality, one name everywhere
            [f"anna/{m}/image.nii.gz" for m in ("CT", "MR")] + [f"bert/{m}/image.nii.gz" for m in ("CT", "MR")],
            [(s, "", m) for s in ("anna", "bert") for m in ("CT", "MR")],
        ),
        (  # everything in one folder
            [f"{s}_{m}.png" for s in ("m1", "m2") for m in ("photo", "xray")],
            [(s, "", m) for s in ("m1", "m2") for m in ("photo", "xray")],
        ),
    ],
)
def test_known_trees_are_guessed(tmp_path: Path, names: list[str], expected: list[tuple[str, ...]]) -> None:
    put(tmp_path, *names)
    indexed = index_folder(tmp_path)
    assert indexed.layout == "tree"
    assert keys(indexed) == expected
    assert not indexed.skipped


def test_the_group_above_the_subject_is_a_factor(tmp_path: Path) -> None:
    put(tmp_path, *(f"{g}/P_{g}/P_{g}_{m}.nii.gz" for g in ("HGG", "LGG") for m in ("t1", "t2")))
    assert [case.factors for case in index_folder(tmp_path).manifest.cases()] == [{"group": "HGG"}, {"group": "LGG"}]


def test_a_pattern_names_every_part(tmp_path: Path) -> None:
    put(tmp_path, "siteA/s1/v1/x_ct.nii.gz", "siteA/s1/v1/x_mr.nii.gz", "siteB/s2/deep/v1/y_ct.nii.gz", "odd.png")
    options = Options(pattern="{site}/{subject}/**/{session}/*_{modality}.nii.gz", modalities={"CT": "ct", "MR": "mr"})
    indexed = index_folder(tmp_path, options=options)
    assert keys(indexed) == [("s1", "v1", "CT"), ("s1", "v1", "MR"), ("s2", "v1", "CT")]
    assert [case.factors["site"] for case in indexed.manifest.cases()] == ["siteA", "siteB"]
    assert indexed.skipped == [("odd.png", "does not fit the pattern")]


WORDS = st.text("abcXYZ019-.", min_size=1, max_size=6)


@given(subject=WORDS, session=WORDS, modality=WORDS)
def test_a_pattern_takes_a_path_apart_as_it_was_put_together(subject: str, session: str, modality: str) -> None:
    pattern = "{subject}/[raw] {session}/{subject}_{modality}.nii.gz"
    compiled = compile_pattern(pattern)
    path = pattern.format(subject=subject, session=session, modality=modality)
    match = compiled.fullmatch(path)
    assert match
    assert match.groupdict() == {"subject": subject, "session": session, "modality": modality}
    assert not compiled.fullmatch(path.replace("_", "x_", 1))


@given(st.text(max_size=20))
def test_any_pattern_compiles_or_is_refused(pattern: str) -> None:
    try:
        compile_pattern(pattern)
        compile_pattern("{subject}" + pattern)
    except UserError:
        pass


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(pattern="{modality}.png"), "where the subject stands"),
        (Options(pattern="{subject}.png"), "where the modality stands"),
        (Options(pattern="{subject}_{modality.png"), "open brace"),
        (Options(pattern="(?P<subject>[)"), "no regular expression"),
        (Options(pattern="x/{subject}/{modality}.png"), "fits"),
        (Options(subject_pattern="("), "no regular expression"),
        (Options(subject_pattern="(?P<subject>.)(?P<split>.)"), "'split'"),
        (Options(modalities={"x": "nowhere"}), "nowhere"),
    ],
)
def test_unfit_options_are_refused_in_one_line(tmp_path: Path, options: Options, expected: str) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "a/2.png", "b/2.png", "a/3.png", "b/3.png")
    with pytest.raises(UserError, match=re.escape(expected)):
        index_folder(tmp_path, options=options)


def test_folders_without_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        index_folder(tmp_path / "none")
    with pytest.raises(UserError, match="No image"):
        index_folder(tmp_path)
    put(tmp_path, "img1.png", "img2.png", "img3.png")
    with pytest.raises(UserError, match="Cannot guess"):
        index_folder(tmp_path)
    with pytest.raises(UserError, match=r"'pair'.*'pairs'"):
        index_folder(tmp_path, "pair")


def test_side_by_side_is_cut_without_loss(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 65536, (4, 12), dtype=np.uint16)
    colour = generator.integers(0, 256, (4, 12, 3), dtype=np.uint8)
    source, out = tmp_path / "joined", tmp_path / "cut"
    put(source, "m1.png", pixels=grey)
    put(source, "m2.png", pixels=colour)
    put(source, "odd.png", pixels=grey[:, :7])
    options = Options(modalities={"photo": "photo", "xray": "xray"}, out=out)
    indexed = index_folder(source, "side-by-side", options)
    assert keys(indexed) == [(name, "", part) for name in ("m1", "m2") for part in ("photo", "xray")]
    assert "7 columns" in indexed.skipped[0][1]
    left, right = read(out / "photo/m1.png"), read(out / "xray/m1.png")
    np.testing.assert_array_equal(left.pixels, grey[:, :6])
    np.testing.assert_array_equal(right.pixels, grey[:, 6:])
    assert right.pixels.dtype == np.uint16
    assert left.same_grid(right)
    assert right.spacing == pytest.approx((0.5, 0.5))
    np.testing.assert_array_equal(read(out / "xray/m2.png").pixels, colour[:, 6:])


def test_cutting_again_resumes_and_refuses_to_mix_settings(tmp_path: Path) -> None:
    source, out = tmp_path / "joined", tmp_path / "cut"
    put(source, "m1.png", "m2.png")
    options = Options(modalities={"a": "a", "b": "b"}, out=out)
    index_folder(source, "side-by-side", options)
    (out / "a/m2.png").unlink()
    kept = (out / "b/m1.png").stat().st_mtime_ns
    assert len(index_folder(source, "side-by-side", options).manifest.table) == 4
    assert (out / "a/m2.png").exists()
    assert (out / "b/m1.png").stat().st_mtime_ns == kept
    with pytest.raises(UserError, match="other settings"):
        index_folder(source, "side-by-side", Options(modalities={"b": "b", "a": "a"}, out=out))
    with pytest.raises(UserError, match="needs the names"):
        index_folder(source, "side-by-side", Options(out=tmp_path / "elsewhere"))


def test_published_train_and_test_folders_become_the_split(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "train/2.png", "val/1.png", pixels=np.zeros((4, 8), np.uint8))
    options = Options(modalities={"a": "a", "b": "b"}, out=tmp_path / "cut", direction="vertical")
    table = index_folder(tmp_path, "side-by-side", options).manifest.table
    assert set(zip(table["subject"], table["split"], strict=True)) == {
        ("train-1", "train"),
        ("train-2", "train"),
        ("val-1", "validation"),
    }
    again = index_folder(tmp_path, "side-by-side", options)  # the cut parts are not taken for sources
    assert again.manifest.table.equals(table)


def test_pairs_inside_train_and_test_folders_bring_their_split(tmp_path: Path) -> None:
    put(tmp_path, *(f"{split}/{kind}/{n}.png" for split in ("train", "test") for kind in "AB" for n in (1, 2)))
    indexed = index_folder(tmp_path)
    assert indexed.layout == "pairs"
    assert {case.id: case.split for case in indexed.manifest.cases(["A", "B"])} == {
        f"{split}-{n}": split for split in ("train", "test") for n in (1, 2)
    }


def test_one_subject_is_recognised_by_known_words(tmp_path: Path) -> None:
    put(tmp_path, *(f"TCGA-1/Other_{m}_bet.nii.gz" for m in ("t1", "t2", "fla")), "TCGA-1/seg/vote.nii.gz")
    indexed = index_folder(tmp_path)
    assert keys(indexed) == [("TCGA-1", "", m) for m in ("fla", "t1", "t2")]
    assert [path for path, _ in indexed.skipped] == ["TCGA-1/seg/vote.nii.gz"]


def test_a_link_that_leads_back_is_not_followed_for_ever(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "a/2.png", "b/2.png", "a/3.png", "b/3.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(index_folder(tmp_path).manifest.table) == 6


@pytest.mark.parametrize("place", ["", "joined"])
def test_parts_may_lie_beside_or_among_their_sources(tmp_path: Path, place: str) -> None:
    put(tmp_path / "joined", "m1.png", "more/m2.png")
    options = Options(modalities={"a": "a", "b": "b"}, out=tmp_path / place)
    for _ in range(2):
        indexed = index_folder(tmp_path / "joined", "side-by-side", options)
        assert keys(indexed) == [("m1", "", "a"), ("m1", "", "b"), ("m2", "", "a"), ("m2", "", "b")]

"""Splits: by subject, exact, even over strata, the same for any order of the rows."""

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.datasets.manifest import SPLITS, Manifest
from transmodal.datasets.splits import count_by_split, split_by_subject, subjects_by_stratum
from transmodal.errors import UserError


def manifest_of(coats: list[str], images: int = 2) -> Manifest:
    rows = [
        {
            "subject": f"m{number:03d}",
            "session": str(image),
            "modality": "ct",
            "path": f"{number}_{image}",
            "coat": coat,
        }
        for number, coat in enumerate(coats)
        for image in range(images)
    ]
    return Manifest(pandas.DataFrame(rows), "/data")


def sides(manifest: Manifest, column: str = "split") -> dict[str, str]:
    return dict(zip(manifest.table["subject"], manifest.table[column], strict=True))


@given(
    coats=st.lists(st.sampled_from(["white", "black", "agouti", ""]), min_size=3, max_size=60),
    weights=st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)),
    seed=st.integers(0, 1000),
    order=st.randoms(),
)
@settings(max_examples=60, deadline=None)
def test_a_split_keeps_subjects_whole_totals_exact_and_strata_even(
    coats: list[str], weights: tuple[int, int, int], seed: int, order: object
) -> None:
    manifest = manifest_of(coats)
    fractions = [weight / sum(weights) for weight in weights]
    divided = split_by_subject(manifest, fractions=fractions, seed=seed)
    divided.check_split()
    side_of = sides(divided)
    totals = [sum(side == name for side in side_of.values()) for name in SPLITS]
    assert sum(totals) == len(coats)
    for total, fraction in zip(totals, fractions, strict=True):
        assert (total > 0) == (fraction > 0)
        # Largest remainder, save that a small positive share is lifted to one subject at another's cost.
        assert abs(total - fraction * len(coats)) < 1 + sum(0 < share * len(coats) < 1 for share in fractions)
    for subjects in subjects_by_stratum(manifest, ["coat"]).values():
        for total, name in zip(totals, SPLITS, strict=True):
            share = len(subjects) * total / len(coats)
            assert abs(sum(side_of[subject] == name for subject in subjects) - share) < 1 + 1e-9
    shuffled = list(manifest.table.index)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    again = split_by_subject(Manifest(manifest.table.loc[shuffled], "/data"), fractions=fractions, seed=seed)
    assert sides(again) == side_of


def test_published_fractions_of_156_animals() -> None:
    divided = split_by_subject(manifest_of(["white", "black"] * 78), seed=1)
    counts = count_by_split(divided, ["coat"])
    assert counts["subjects"].tolist() == [109, 24, 23]
    assert (counts["coat: white"] - counts["coat: black"]).abs().max() <= 1
    assert counts["images"].sum() == 312


def test_another_seed_gives_another_split() -> None:
    manifest = manifest_of(["white"] * 40)
    assert sides(split_by_subject(manifest, seed=0)) != sides(split_by_subject(manifest, seed=1))


def test_small_strata_are_dealt_to_every_side() -> None:
    manifest = manifest_of([f"coat{number}" for number in range(6)])
    drawn = {sides(split_by_subject(manifest, fractions=(0.5, 0.5, 0), seed=seed))["m000"] for seed in range(12)}
    assert drawn == {"train", "validation"}


@given(coats=st.lists(st.sampled_from(["white", "black"]), min_size=8, max_size=40), folds=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_folds_are_even_and_every_round_uses_each_subject_once(coats: list[str], folds: int) -> None:
    divided = split_by_subject(manifest_of(coats), folds=folds, fractions=(0.8, 0, 0.2))
    fold_of = sides(divided, "fold")
    sizes = [sum(fold == str(number) for fold in fold_of.values()) for number in range(1, folds + 1)]
    assert max(sizes) - min(sizes) <= 1
    for number in range(1, folds + 1):
        round_sides = sides(divided.with_fold(number))
        assert {subject for subject, side in round_sides.items() if side == "validation"} == {
            subject for subject, fold in fold_of.items() if fold == str(number)
        }
        assert {subject for subject, side in round_sides.items() if side == "test"} == {
            subject for subject, fold in fold_of.items() if not fold
        }
    assert sides(divided) == sides(divided.with_fold(1))
    with pytest.raises(UserError, match=f"folds 1 to {folds}"):
        divided.with_fold(folds + 1)


def test_two_subjects_cannot_make_three_sides() -> None:
    manifest = manifest_of(["white", "black"])
    with pytest.raises(UserError, match=r"--fractions 0\.5 0\.5 0"):
        split_by_subject(manifest)
    assert sorted(sides(split_by_subject(manifest, fractions=(0.5, 0.5, 0))).values()) == ["train", "validation"]
    with pytest.raises(UserError, match="2 to 2 folds"):
        split_by_subject(manifest, folds=3, fractions=(1, 0, 0))


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.6, 0.1), (1.2, -0.2, 0), (float("nan"), 0.5, 0.5)])
def test_fractions_that_do_not_share_one_whole_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="give three that add to 1"):
        split_by_subject(manifest_of(["white"] * 10), fractions=fractions)


def test_subjects_by_name_stand_where_they_are_told() -> None:
    manifest = manifest_of(["white"] * 3)
    divided = split_by_subject(manifest, explicit={"train": ["m000"], "validation": ["m002"]})
    assert sides(divided) == {"m000": "train", "m001": "", "m002": "validation"}
    with pytest.raises(UserError, match=r"'m00'.*'m00"):
        split_by_subject(manifest, explicit={"train": ["m00"]})
    with pytest.raises(UserError, match="m000 is named for train and test"):
        split_by_subject(manifest, explicit={"train": ["m000"], "test": ["m000"]})


def test_a_subject_with_several_values_is_a_stratum_of_its_own() -> None:
    manifest = manifest_of(["white"] * 2)
    table = manifest.table.assign(bed=["a", "b", "a", "a"])
    strata = subjects_by_stratum(manifest.with_table(table), ["coat", "bed"])
    assert strata == {("white", "a"): ["m001"], ("white", "a+b"): ["m000"]}
    with pytest.raises(UserError, match=r"'beds'.*'bed'"):
        split_by_subject(manifest.with_table(table), stratify=["beds"])

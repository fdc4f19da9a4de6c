"""Samples: each once an epoch, shared out between processes, and the same again after a resume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.batch_keys import GIVEN, LABELS, REGION, WANTED
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.epochs import EpochSampler, make_loader
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.sampling import Samples, SamplingSettings


def indices(sampler: EpochSampler) -> list[list[int]]:
    return [[index for _, index in batch] for batch in sampler]


@given(batches=st.integers(1, 5), batch=st.integers(1, 4), processes=st.integers(1, 3), seed=st.integers(0, 99))
def test_each_sample_is_seen_once_an_epoch_by_one_process(batches: int, batch: int, processes: int, seed: int) -> None:
    samples = batches * batch * processes
    seen = [
        indices(EpochSampler(samples, batch, seed=seed, rank=rank, processes=processes)) for rank in range(processes)
    ]
    assert {len(share) for share in seen} == {batches}
    assert sorted(index for share in seen for each in share for index in each) == list(range(samples))


@given(samples=st.integers(1, 30), batch=st.integers(1, 9), processes=st.integers(1, 8))
def test_all_processes_get_as_many_full_batches(samples: int, batch: int, processes: int) -> None:
    shares = []
    for rank in range(processes):
        sampler = EpochSampler(samples, batch, seed=0, rank=rank, processes=processes)
        share = indices(sampler)
        assert len(share) == len(sampler) >= 1
        assert {len(each) for each in share} == {min(batch, samples)}
        shares += [index for each in share for index in each]
    assert set(shares) <= set(range(samples))
    if len(shares) <= samples:
        assert len(set(shares)) == len(shares)
    else:
        assert set(shares) == set(range(samples)), "fewer samples than processes need: all are used, some twice"


def test_a_resume_in_mid_epoch_sees_the_rest() -> None:
    whole, rest = EpochSampler(23, 3, seed=5), EpochSampler(23, 3, seed=5)
    whole.start(4)
    rest.start(4, first_batch=2)
    assert list(rest) == list(whole)[2:]
    rest.start(4, first_batch=len(rest))
    assert list(rest) == []


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        np.random.seed(epoch + 7)  # noqa: NPY002 - nothing global may matter
        torch.manual_seed(seed + 3)
        sampler = EpochSampler(20, 2, seed=seed)
        sampler.start(epoch)
        assert all(key[0] == epoch for batch in sampler for key in batch)
        return indices(sampler)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def samples(folder: Path, *, augmentation: AugmentationSettings | None, seed: int = 0, least: float = 0.0) -> Samples:
    cases = []
    for number in range(2):
        generator = np.random.default_rng(number)
        files = {}
        for modality in ("photo", "xray"):
            files[modality] = folder / f"{modality}{number}.npy"
            np.save(files[modality], generator.uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32))
        shares = np.array([0.0, 0.1, 0.9], np.float32)
        cases.append(PreparedCase(CaseFiles(f"s{number}", "", files), files, shares))
    return Samples(cases, inputs=("photo",), augmentation=augmentation, seed=seed, minimum_foreground=least)


AUGMENTATION = AugmentationSettings(flip_horizontal=0.5, rotation_degrees=20, noise=0.1)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_augmentation_is_drawn_from_seed_epoch_and_index(tmp_path: Path) -> None:
    one = samples(tmp_path, augmentation=AUGMENTATION)
    first = one[0, 2]
    _ = one[5, 1], np.random.default_rng().random()
    assert same(first, samples(tmp_path, augmentation=AUGMENTATION)[0, 2])
    assert not same(first, one[1, 2]), "another epoch"
    assert not same(first, samples(tmp_path, augmentation=AUGMENTATION, seed=1)[0, 2]), "another seed"


def test_without_augmentation_samples_are_the_stored_ones(tmp_path: Path) -> None:
    plain = samples(tmp_path, augmentation=None)
    assert len(plain) == 6
    for index in range(6):
        case, sample = divmod(index, 3)
        for modality, tensor in plain[0, index].items():
            assert torch.equal(tensor, torch.from_numpy(np.load(tmp_path / f"{modality}{case}.npy")[sample]))


def test_nothing_that_is_done_to_a_sample_reaches_the_cache(tmp_path: Path) -> None:
    plain = samples(tmp_path, augmentation=None)
    before = np.load(tmp_path / "photo0.npy")
    plain[0, 0]["photo"].fill_(9)
    samples(tmp_path, augmentation=AUGMENTATION)[0, 0]["photo"].fill_(9)
    np.testing.assert_array_equal(np.load(tmp_path / "photo0.npy"), before)


@pytest.mark.parametrize(("least", "left"), [(0.0, 6), (0.1, 4), (0.5, 2), (1.0, 0)])
def test_empty_slices_are_left_out(tmp_path: Path, least: float, left: int) -> None:
    assert len(samples(tmp_path, augmentation=None, least=np.float32(least))) == left


def test_worker_processes_give_the_same_batches(tmp_path: Path) -> None:
    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        augmented = samples(tmp_path, augmentation=AUGMENTATION)
        return list(make_loader(augmented, EpochSampler(len(augmented), 2, seed=3), workers=workers))

    for mine, theirs in zip(batches(0), batches(1), strict=True):
        assert mine["photo"].shape == (2, 1, 8, 8)
        assert same(mine, theirs)


def volume_case(folder: Path, *, without: tuple[str, ...] = ()) -> PreparedCase:
    """A case of six slices whose values say which slice they are of, with a region and labels."""
    folder.mkdir(exist_ok=True)
    files = {}
    numbers = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1) / 10
    for offset, name in ((0.0, "T1"), (-1.0, "T2"), (-0.5, "FLAIR")):
        if name not in without:
            files[name] = folder / f"{name}.npy"
            np.save(files[name], np.broadcast_to(numbers + np.float32(offset), (6, 1, 12, 14)).copy())
    region, labels = np.zeros((6, 1, 12, 14), np.uint8), np.zeros((6, 1, 12, 14), np.uint8)
    region[:, :, 3:9, 3:9], labels[2, 0, 5, 6] = 1, 2
    for name, array in ((REGION, region), (LABELS, labels)):
        files[name] = folder / f"{name[1:]}.npy"
        np.save(files[name], array)
    return PreparedCase(CaseFiles("s", "", {}), files, np.ones(6, np.float32), (1.0, 1.0))


def test_an_input_brings_its_neighbours_and_repeats_the_edge(tmp_path: Path) -> None:
    made = Samples([volume_case(tmp_path)], inputs=("T1",), targets=("T2",), neighbours=2)
    assert made[0, 3]["T1"][:, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert made[0, 0]["T1"][:, 0, 0].tolist() == pytest.approx([0, 0, 0, 0.1, 0.2])
    assert made[0, 3]["T2"].shape == (1, 12, 14) and made[0, 3]["T2"][0, 0, 0] == pytest.approx(-0.7)


def test_region_and_labels_go_along_with_the_geometry_and_keep_their_values(tmp_path: Path) -> None:
    turning = AugmentationSettings(rotation_degrees=40, flip_horizontal=0.5, noise=0.3, contrast=(0.5, 2.0))
    made = Samples([volume_case(tmp_path)], inputs=("T1",), targets=("T2",), augmentation=turning)
    seen = set()
    for epoch in range(8):
        sample = made[epoch, 2]
        assert set(sample[REGION].unique().tolist()) <= {0.0, 1.0} and sample[LABELS].dtype == torch.int64
        inside = sample[LABELS] > 0
        assert bool((sample[REGION][inside] == 1).all()), "the label lies in the region before and after"
        seen.add(tuple(sample[REGION].flatten().tolist()))
    assert len(seen) > 4


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_patches_lie_inside_and_around_labels_as_often_as_asked(tmp_path: Path, share: float) -> None:
    settings = SamplingSettings(patch=(4, 5), patches_per_case=10, foreground=share)
    made = Samples([volume_case(tmp_path)], inputs=("T1",), targets=("T2",), settings=settings)
    assert len(made) == 60
    of_slice = [made[epoch, 25] for epoch in range(40)]  # slice 2 holds the label
    assert all(sample["T1"].shape == (1, 4, 5) for sample in of_slice)
    with_label = sum(bool(sample[LABELS].any()) for sample in of_slice)
    assert with_label == 40 if share == 1 else with_label < 20
    of_another = [made[epoch, 35] for epoch in range(20)]  # no label there: the region counts
    assert share == 0 or all(bool(sample[REGION].any()) for sample in of_another)


def test_hidden_and_absent_inputs_are_said_and_something_is_always_wanted(tmp_path: Path) -> None:
    names = ("T1", "T2", "FLAIR")
    settings = SamplingSettings(missing_inputs=True, hide_inputs=1.0)
    cases = [volume_case(tmp_path / "all"), volume_case(tmp_path / "two", without=("T2",))]
    made = Samples(cases, inputs=names, targets=names, channels=dict.fromkeys(names, 1), settings=settings)
    given = [{made[epoch, index][GIVEN].numpy().tobytes() for epoch in range(40)} for index in (0, 6)]
    assert len(given[0]) == 6, "three alone and three pairs; all three would leave nothing to make"
    assert len(given[1]) == 2, "T1 or FLAIR"
    for epoch in range(10):
        for index in (0, 6):
            sample = made[epoch, index]
            assert sample[WANTED].any() and not (sample[GIVEN] * sample[WANTED]).any()
    absent = made[0, 6]
    assert bool((absent["T2"] == -1).all()) and not absent[GIVEN][1] and not absent[WANTED][1]


def test_what_is_wanted_keeps_its_tone_where_inputs_are_targets_too(tmp_path: Path) -> None:
    names = ("T1", "T2", "FLAIR")
    settings = SamplingSettings(missing_inputs=True, hide_inputs=1.0)
    tones = AugmentationSettings(contrast=(0.5, 0.6))
    case = volume_case(tmp_path)
    plain, toned = (
        Samples([case], inputs=names, targets=names, settings=settings, augmentation=augmentation)
        for augmentation in (None, tones)
    )
    for epoch in range(10):
        before, after = plain[epoch, 2], toned[epoch, 2]
        for name, is_given, is_wanted in zip(names, after[GIVEN], after[WANTED], strict=True):
            assert torch.equal(before[name], after[name]) == bool(is_wanted)
            assert is_given + is_wanted == 1


def test_marks_of_a_case_go_along_with_its_samples(tmp_path: Path) -> None:
    cases = [volume_case(tmp_path / "a"), volume_case(tmp_path / "b")]
    made = Samples(cases, inputs=("T1",), targets=("T2",), marks={"#dataset": [0, 3]})
    loader = make_loader(made, EpochSampler(len(made), 12, seed=0), workers=0)
    (batch,) = loader
    assert sorted(batch["#dataset"].tolist()) == [0] * 6 + [3] * 6


def test_a_patch_larger_than_the_image_is_filled_up_with_background(tmp_path: Path) -> None:
    settings = SamplingSettings(patch=(16, 10), patches_per_case=1)
    sample = Samples([volume_case(tmp_path)], inputs=("T1",), targets=("T2",), settings=settings)[0, 3]
    assert sample["T1"].shape == (1, 16, 10) and bool((sample["T1"][0, :2] == -1).all())
    assert bool((sample["T1"][0, 2:14] == 0.3).all()) and not sample[REGION][0, :2].any()


@given(own=st.integers(1, 40), extra=st.integers(0, 40), share=st.floats(0, 0.9), batch=st.integers(1, 7))
def test_further_samples_have_their_share_of_every_epoch(own: int, extra: int, share: float, batch: int) -> None:
    sampler = EpochSampler(own, batch, seed=3, extra=extra, extra_share=share)
    drawn = set()
    for epoch in (0, 1):
        sampler.start(epoch)
        keys = [index for keys in sampler for _, index in keys]
        assert len(set(keys)) == len(keys) and max(keys, default=0) < own + extra
        drawn.add(tuple(sorted(index for index in keys if index >= own)))
    if share and extra:
        wanted = min(extra, round(own * share / (1 - share)))
        assert sampler.samples == own + wanted and all(len(each) <= wanted for each in drawn)

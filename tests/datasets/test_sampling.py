"""Samples: each once an epoch, shared out between processes, and the same again after a resume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.sampling import EpochSampler, Samples, make_loader


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

"""Samples in a random order that depends on (seed, epoch) alone, so that a resumed training sees the same ones."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from transmodal.datasets.augmentation import Augmenter
from transmodal.datasets.cache import PreparedCase

Key = tuple[int, int]
"""(epoch, index of the sample): what augmentation is drawn from."""


class PairedSamples(Dataset[dict[str, torch.Tensor]]):
    """Samples of prepared cases: modality → float32 tensor (C, *spatial) in [-1, 1].

    Args:
        cases: prepared cases with all modalities.
        inputs: input modalities (only these are changed photometrically).
        augmenter: None leaves samples as they are.
        seed: with the epoch and the index, the source of all augmentation.
        minimum_foreground: samples with a smaller share of non-zero pixels are left out.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        *,
        inputs: Sequence[str],
        augmenter: Augmenter | None,
        seed: int,
        minimum_foreground: float = 0.0,
    ) -> None:
        self.cases, self.inputs, self.augmenter, self.seed = list(cases), tuple(inputs), augmenter, seed
        self.index = [
            (case, sample)
            for case, prepared in enumerate(self.cases)
            for sample, share in enumerate(prepared.foreground)
            if share >= minimum_foreground
        ]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Key) -> dict[str, torch.Tensor]:
        epoch, index = key
        case, sample = self.index[index]
        arrays = {modality: array[sample] for modality, array in self.cases[case].arrays().items()}
        if self.augmenter is not None:
            generator = np.random.default_rng([self.seed, epoch, index])
            arrays = self.augmenter(arrays, generator, inputs=self.inputs)
        else:
            arrays = {modality: np.array(array) for modality, array in arrays.items()}
        return {modality: torch.from_numpy(array) for modality, array in arrays.items()}


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys for one epoch; `start` at any batch of it.

    With several processes each takes every n-th batch of the same order, and all get the same number of batches.
    """

    def __init__(self, samples: int, batch_size: int, *, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.samples, self.seed = samples, seed
        self.batch_size = min(batch_size, samples)
        self.rank, self.processes = rank, processes
        self.epoch, self.first_batch = 0, 0

    def __len__(self) -> int:
        """Batches of a whole epoch in one process; an incomplete last batch is left out."""
        return max(1, self.samples // (self.batch_size * self.processes))

    def start(self, epoch: int, first_batch: int = 0) -> None:
        """Set what the next iteration yields."""
        self.epoch, self.first_batch = epoch, first_batch

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.samples)
        needed = len(self) * self.processes * self.batch_size
        order = np.resize(order, needed)  # repeats a few samples when there are fewer than processes
        for batch in range(self.first_batch, len(self)):
            start = (batch * self.processes + self.rank) * self.batch_size
            yield [(self.epoch, int(index)) for index in order[start : start + self.batch_size]]


def make_loader(samples: PairedSamples, sampler: EpochSampler, *, workers: int, pin_memory: bool = False) -> DataLoader:
    """Return a loader of batches; worker processes stay alive between epochs."""
    return DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )

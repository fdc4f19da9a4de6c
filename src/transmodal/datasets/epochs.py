"""The order of samples in an epoch, which depends on (seed, epoch) alone, shared out between processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset, Sampler

from transmodal.datasets.strata import stratified_order

Key = tuple[int, int]
"""(epoch, index of the sample): what augmentation is drawn from."""


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys for one epoch; `start` at any batch of it.

    With several processes each takes every n-th batch of the same order, and all get the same number of batches.

    Args:
        samples: how many an epoch passes once.
        batch_size: of a process.
        seed: with the epoch, the source of the order.
        rank, processes: which of how many.
        extra: further samples, with the indices after those, of which each epoch draws some.
        extra_share: of the samples of an epoch.
        strata: of each of the samples but the extra ones, to be drawn equally often; None passes all once.
        empty: share of samples without a lesion, see `stratified_order`.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        extra: int = 0,
        extra_share: float = 0.0,
        strata: npt.NDArray[np.intp] | None = None,
        empty: float | None = None,
    ) -> None:
        self.strata, self.empty = strata, empty
        self.own, self.extra, self.seed = samples, extra, seed
        self.drawn = min(extra, round(samples * extra_share / (1 - extra_share)))
        self.samples = samples + self.drawn
        self.batch_size = min(batch_size, self.samples)
        self.rank, self.processes = rank, processes
        self.epoch, self.first_batch = 0, 0

    def __len__(self) -> int:
        """Batches of a whole epoch in one process; an incomplete last batch is left out."""
        return max(1, self.samples // (self.batch_size * self.processes))

    def start(self, epoch: int, first_batch: int = 0) -> None:
        """Set what the next iteration yields."""
        self.epoch, self.first_batch = epoch, first_batch

    def __iter__(self) -> Iterator[list[Key]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        if self.strata is None:
            order = generator.permutation(self.own)
        else:
            order = stratified_order(self.strata, generator, self.empty)
        if self.drawn:
            further = self.own + generator.permutation(self.extra)[: self.drawn]
            order = generator.permutation(np.concatenate([order, further]))
        needed = len(self) * self.processes * self.batch_size
        order = np.resize(order, needed)  # repeats a few samples when there are fewer than processes
        for batch in range(self.first_batch, len(self)):
            start = (batch * self.processes + self.rank) * self.batch_size
            yield [(self.epoch, int(index)) for index in order[start : start + self.batch_size]]


def make_loader(samples: Dataset[Any], sampler: EpochSampler, *, workers: int, pin_memory: bool = False) -> DataLoader:
    """Return a loader of batches; worker processes stay alive between epochs."""
    return DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )

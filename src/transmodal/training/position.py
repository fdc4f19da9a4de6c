"""Where a training stands: what a checkpoint holds beside weights and optimisers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Position:
    """Where a training stands. Its attributes are what a checkpoint holds of it."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches finished of the epoch under way
    step: int = 0
    seconds: float = 0.0  # of training, over all its parts
    best_score: float | None = None
    best_epoch: float = 0.0
    validations_without_gain: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the losses over the epoch under way
    counts: dict[str, int] = field(default_factory=dict)
    waiting: float = 0.0  # seconds of the epoch under way in which a step waited for its samples
    working: float = 0.0  # seconds of its steps, waiting included
    minutes: float | None = None  # the time limit where another than the recipe's holds
    updated: list[str] = field(default_factory=list)  # the modules that some step has changed

    def progress(self, steps: int, max_minutes: float | None) -> float:
        """Return the share of the training that is over, of its steps or of its time, whichever is further.

        Args:
            steps: of the whole training.
            max_minutes: the recipe's time limit.
        """
        limit = self.minutes if self.minutes is not None else max_minutes
        return max(self.step / max(1, steps), self.seconds / (60 * limit) if limit else 0.0)

    def epochs_done(self, batches: int) -> float:
        """Return the epochs with a fraction for the one under way, which has so many batches."""
        return self.epoch + self.batch / batches * (self.batch < batches)

    @property
    def mean_losses(self) -> dict[str, float]:
        """Means over the epoch under way."""
        return {name: self.sums[name] / self.counts[name] for name in self.sums}

    @property
    def waiting_share(self) -> float | None:
        """Share of the epoch's time in which steps waited for their samples; None before the first step."""
        return self.waiting / self.working if self.working else None

    def add_step(self, losses: Mapping[str, float]) -> None:
        """Take in a batch that was learnt from."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.batch += 1
        self.step += 1

    def add_score(self, score: float, *, higher_is_better: bool) -> bool:
        """Take in the score of a validation; say whether it is the best so far."""
        sign = 1 if higher_is_better else -1
        if self.best_score is None or sign * score > sign * self.best_score:
            self.best_score, self.best_epoch, self.validations_without_gain = score, self.epoch, 0
            return True
        self.validations_without_gain += 1
        return False

    def begin_epoch(self) -> None:
        """Forget what is of the epoch before."""
        self.batch, self.sums, self.counts = 0, {}, {}
        self.waiting = self.working = 0.0

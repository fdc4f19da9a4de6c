"""One step of a training: all updates of one batch, by one process or by several in step."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric

from transmodal.errors import UserError
from transmodal.methods import Method, Update
from transmodal.training.optimisers import make_optimiser
from transmodal.training.position import Position
from transmodal.training.processes import any_of, leave
from transmodal.training.recipe import TrainSettings
from transmodal.training.schedule import rate_factor
from transmodal.training.weight_average import WeightAverage


class Optimisation:
    """The optimisers of a method, one a module, and the running mean of its weights where one is asked for.

    Args:
        method: on the device of `fabric`.
        settings: of the training.
        fabric: the processes.
        kept: the last checkpoint, which is named where a step fails.
    """

    def __init__(self, method: Method, settings: TrainSettings, fabric: Fabric, kept: Path) -> None:
        self.method, self.settings, self.fabric, self.kept = method, settings, fabric, kept
        self.optimisers = {
            name: make_optimiser(module.parameters(), method.optimiser_of(name))
            for name, module in method.trained_modules().items()
        }
        memory = settings.average_weights
        self.average = WeightAverage(method, memory) if memory is not None else None

    def step(self, batch: dict[str, torch.Tensor], position: Position, progress: float) -> dict[str, float]:
        """Run all updates of one batch; return its named losses.

        Args:
            batch: on the device.
            position: before the step; of it, `updated` is brought up to date.
            progress: share of the training that is over.

        Raises:
            UserError: a loss is not a finite number; the weights are those before this update.
        """
        seeds = np.random.SeedSequence([self.settings.seed, position.step, self.fabric.global_rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        losses: dict[str, float] = {}
        updates = self.method.updates(batch, position.step)
        while True:
            update = self._next(updates)
            name = self._agreed_optimiser(update)
            if name is None:
                break
            if update is not None:
                values = torch.stack([value.detach().float() for value in update.parts.values()]).tolist()
                losses |= dict(zip(update.parts, values, strict=True))
            self._refuse_nan(losses, position)
            self._apply(update, name, self.learning_rate(name, progress))
            if name not in position.updated:
                position.updated.append(name)
        if self.average is not None:
            self.average.update(self.method)
        return losses

    def learning_rate(self, name: str, progress: float) -> float:
        """Return the learning rate of a module at a share of the training."""
        return self.method.optimiser_of(name).learning_rate * rate_factor(progress, self.settings.constant_share)

    def averaged(self) -> AbstractContextManager[None]:
        """Put the mean of the weights into the method for a while, where there is one."""
        return self.average.used_in(self.method) if self.average is not None else nullcontext()

    def _next(self, updates: Iterator[Update]) -> Update | None:
        with self.fabric.autocast():
            return next(updates, None)

    def _apply(self, update: Update | None, name: str, learning_rate: float) -> None:
        """Move the weights of one module."""
        optimiser = self.optimisers[name]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        if update is not None:
            self.fabric.backward(update.loss)
        else:  # nothing to learn from in this process' share, but the others wait for its gradients
            for parameter in self.method.trained_modules()[name].parameters():
                parameter.grad = torch.zeros_like(parameter)
        self._average_gradients(name)
        if self.settings.gradient_clip:
            parameters = self.method.trained_modules()[name].parameters()
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)  # now, so that gradients and the next activations never coexist

    def _agreed_optimiser(self, update: Update | None) -> str | None:
        """Return what is stepped now, in all processes; None when none of them has anything left.

        A process whose samples teach a method nothing (no usable pair among them) yields fewer updates than others.
        """
        if self.fabric.world_size == 1:
            return update.optimiser if update is not None else None
        names = list(self.optimisers)
        own = torch.tensor(names.index(update.optimiser) if update is not None else -1)
        everyone = torch.as_tensor(self.fabric.all_gather(own)).reshape(-1)
        chosen = int(everyone.max())
        if chosen < 0:
            return None
        if bool(((everyone >= 0) & (everyone != chosen)).any()):
            leave(self.fabric)
            raise UserError("The processes of this training no longer step together; train on one device")
        return names[chosen]

    def _refuse_nan(self, losses: dict[str, float], position: Position) -> None:
        bad = [name for name, value in losses.items() if not np.isfinite(value)]
        if not any_of(self.fabric, bool(bad)):
            return
        leave(self.fabric)
        if not self.fabric.is_global_zero:
            raise SystemExit(2)  # the first process says what happened
        where = f"at step {position.step + 1} (epoch {position.epoch + 1}, batch {position.batch + 1})"
        good = f"the last good checkpoint is {self.kept}" if self.kept.exists() else "there was no checkpoint yet"
        raise UserError(
            f"The loss {bad[0] if bad else 'of another process'} is no longer a finite number {where}; {good}; "
            "lower the learning rate, clip gradients (train.gradient_clip) or use train.precision: fp32"
        )

    def _average_gradients(self, name: str) -> None:
        """Average the gradients of one module over the processes, in one message.

        Done by hand because a GAN runs a network several times before one backward, and differentiates it twice for a
        gradient penalty: both are outside what wrapping in DistributedDataParallel promises.
        """
        if self.fabric.world_size == 1:
            return
        parameters = [p for p in self.method.trained_modules()[name].parameters() if p.grad is not None]
        together = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        together = self.fabric.all_reduce(together, reduce_op="mean")
        offset = 0
        for parameter in parameters:
            size = parameter.numel()
            parameter.grad = together[offset : offset + size].view_as(parameter)
            offset += size

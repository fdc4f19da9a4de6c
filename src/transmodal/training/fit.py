"""Train a recipe on a manifest into a run folder, so that it can be killed at any moment and resumed to the bit.

What makes the resume exact: every random number is a function of (seed, epoch, sample) or (seed, step), never of what
ran before, and a checkpoint holds all that is left: weights, optimisers, position, running means and the best score.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from transmodal.datasets.augmentation import AugmentationSettings
from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.preparation import Preparation
from transmodal.datasets.sampling import EpochSampler, Samples, make_loader
from transmodal.errors import UserError
from transmodal.methods import Method, Ports, Update, make_method
from transmodal.training.cases import marks_of
from transmodal.training.checkpoint import all_finite, load_checkpoint, save_checkpoint
from transmodal.training.logbook import Logbook
from transmodal.training.monitor import Monitor
from transmodal.training.optimisers import make_optimiser
from transmodal.training.processes import any_of, leave
from transmodal.training.recipe import LAST
from transmodal.training.run import Run
from transmodal.training.schedule import rate_factor
from transmodal.training.segmentation_validation import (
    draw_segmentations,
    label_frequencies,
    score_names,
    validate_segmentation,
)
from transmodal.training.start import start_from
from transmodal.training.validation import HIGHER_IS_BETTER, IMAGE_SCORES, SMALLEST_FOR_SSIM, draw_samples, validate
from transmodal.training.weight_average import WeightAverage
from transmodal.translation.memory import is_out_of_memory
from transmodal.translation.volume_predictor import VolumePredictor, learnt_window

SECONDS_BETWEEN_SAVES = 10.0  # at the ends of short epochs, whose checkpoints would take longer than they do


@dataclass
class Position:
    """Where a training stands."""

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


class Trainer:
    """One training of one run in one process."""

    def __init__(
        self,
        run: Run,
        preparation: Preparation,
        training: list[PreparedCase],
        validation: list[PreparedCase],
        fabric: Fabric,
        monitor: Monitor,
        *,
        start: str | None = None,
        minutes: float | None = None,
        rehearsal: Sequence[PreparedCase] = (),
    ) -> None:
        self.run, self.preparation, self.fabric, self.monitor = run, preparation, fabric, monitor
        self.recipe, self.settings = run.recipe, run.recipe.train
        self.training, self.validation = training, validation
        self.position, self.stop_asked = Position(minutes=minutes), False
        self.saved_at: float | None = None  # on the monotonic clock
        self.told: set[str] = set()  # notices of the method
        slices = run.recipe.preparation.slices
        self.minimum_foreground = slices.minimum_foreground if slices else 0.0
        augmentation = run.recipe.augmentation
        augments = augmentation != AugmentationSettings()
        self.samples = Samples(
            [*training, *rehearsal],
            inputs=run.recipe.inputs,
            targets=run.recipe.targets,
            channels={name: part.channel_count for name, part in preparation.modalities.items()},
            settings=run.recipe.sampling,
            augmentation=augmentation if augments else None,
            spatial_dims=run.recipe.spatial_dims,
            seed=self.settings.seed,
            minimum_foreground=self.minimum_foreground,
            neighbours=run.recipe.neighbours,
            marks=marks_of([*training, *rehearsal], run.recipe),
            makes_labels=bool(run.recipe.label_maps),
        )
        own = sum(case < len(training) for case, _ in self.samples.index)
        if not own:
            raise UserError(
                "No training sample is left; lower preparation.slices.minimum_foreground, or check the images"
            )
        strata, empty = self.samples.strata(run.recipe.lesion_numbers), None
        if strata is not None and run.recipe.sampling.strata is not None:
            strata, empty = strata[:own], run.recipe.sampling.strata.empty
        self.sampler = EpochSampler(
            own,
            self.settings.batch_size,
            seed=self.settings.seed,
            rank=fabric.global_rank,
            processes=fabric.world_size,
            extra=len(self.samples) - own,
            extra_share=run.recipe.pretraining.rehearsal if run.recipe.pretraining is not None else 0.0,
            strata=strata,
            empty=empty,
        )
        self.shape = run.recipe.sampling.patch or sample_shape([*training, *rehearsal], self.settings.batch_size)
        if run.recipe.best == "ssim" and min(self.shape) < SMALLEST_FOR_SSIM:
            raise UserError(f"train.best: ssim needs images of {SMALLEST_FOR_SSIM} pixels a side; take psnr or mae")
        torch.manual_seed(self.settings.seed)
        self.method_ports = self.ports(preparation.modalities)
        self.method = self._make_method().to(fabric.device)
        start = start if start is not None else self.settings.start_from
        if start is not None:
            start_from(self.method, start)
        self.optimisers = {
            name: make_optimiser(module.parameters(), self.method.optimiser_of(name))
            for name, module in self.method.trained_modules().items()
        }
        memory = self.settings.average_weights
        patch = run.recipe.sampling.patch if run.recipe.spatial_dims == 3 else None
        # As in use, but with less overlap; and training on patches may leave no room for whole volumes.
        self.predict_volume = VolumePredictor(
            fabric.device,
            window=None if patch is None else learnt_window(self.method, patch),
            origin="as trained",
            overlap=0.25,
        )
        self.average = WeightAverage(self.method, memory) if memory is not None else None
        self.logbook = Logbook(run.log, run.folder / "tensorboard") if fabric.is_global_zero else None

    def _make_method(self) -> Method:
        recipe = self.recipe
        try:
            return make_method(recipe.method, recipe.method_settings, self.method_ports)
        except ValueError as error:
            raise UserError(f"{recipe.method}: {error}") from error

    @property
    def score_names(self) -> tuple[str, ...]:
        """The validation scores of this method."""
        for classes in self.recipe.label_maps.values():
            return score_names(classes)
        return tuple(IMAGE_SCORES)

    def ports(self, modalities: dict[str, Any]) -> Ports:
        """Return what goes into the method and what comes out."""
        recipe = self.recipe
        region = recipe.preparation.region
        return Ports(
            {name: modalities[name].channel_count for name in recipe.inputs},
            {name: modalities[name].channel_count for name in recipe.targets},
            recipe.spatial_dims,
            self.shape,
            neighbours=recipe.neighbours,
            region=region is not None and region.feed,
            depth=region is not None and region.depth is not None,
            missing=recipe.sampling.missing_inputs,
            classes=recipe.along.count if recipe.along is not None else 0,
            frequencies=self._frequencies(),
        )

    def _frequencies(self) -> tuple[float, ...]:
        """Return the shares of classes in training, where a method weighs them by these."""
        recipe = self.recipe
        if recipe.along is None or not recipe.label_maps or not isinstance(recipe.segmentation.class_weights, str):
            return ()
        return label_frequencies(self.training, recipe.along.count, self.minimum_foreground)

    # -- the loop ------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train from the present position to the end, or until a stop is asked."""
        loader = make_loader(
            self.samples,
            self.sampler,
            workers=self._loader_workers(),
            pin_memory=self.fabric.device.type == "cuda",
        )
        started = time.monotonic() - self.position.seconds
        with self._stop_on_signals(), self.monitor.training(self.settings.epochs, len(self.sampler)):
            while not self.is_over:
                with self._memory_told():
                    self._train_epoch(loader, started)
                if self.stop_asked and self.progress < 1:  # at the very end, the last epoch still counts
                    break
                self._finish_epoch()
        self.save()
        if self.logbook:
            self.logbook.close()

    def _loader_workers(self) -> int:
        """Return how many processes augment: on a GPU as many as keep it busy, on a CPU none takes cores from it."""
        wanted = self.settings.loader_workers
        if wanted != "auto":
            return wanted
        return (
            0 if self.fabric.device.type == "cpu" else max(1, min(8, (os.cpu_count() or 2) // self.fabric.world_size))
        )

    @contextmanager
    def _memory_told(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            batch, patch = self.settings.batch_size, self.recipe.sampling.patch
            smaller = f"train.batch_size (it is {batch}) or " if batch > 1 else ""
            sides = "×".join(map(str, self.shape))
            smaller += f"sampling.patch (it is {sides})" if patch else f"sampling.patch below the images' {sides}"
            raise UserError(
                f"Memory of {self.fabric.device} ran out at step {self.position.step + 1}; take a smaller {smaller}, "
                "or end other programs"
            ) from error

    @property
    def progress(self) -> float:
        """Share of the training that is over, of its epochs or of its time, whichever is further."""
        steps = self.position.step / max(1, self.settings.epochs * len(self.sampler))
        limit = self.position.minutes if self.position.minutes is not None else self.settings.max_minutes
        return max(steps, self.position.seconds / (60 * limit) if limit else 0.0)

    @property
    def is_over(self) -> bool:
        """All epochs done, time up, or no gain for `patience` validations."""
        patience = self.settings.patience
        out_of_patience = patience is not None and self.position.validations_without_gain >= patience
        return self.position.epoch >= self.settings.epochs or self.progress >= 1 or out_of_patience

    @property
    def untrained(self) -> list[str]:
        """The modules of a translator that no step of this training has changed; none before the first step."""
        if not self.position.step:
            return []
        needed = set(self.method.translation_modules) & set(self.optimisers)
        return sorted(needed - set(self.position.updated))

    def require_trained(self) -> None:
        """Refuse a training that ended, rather than was stopped, before what a translator needs had its turn.

        Raises:
            UserError: no step changed the generator.
        """
        if not self.untrained or not self.is_over:
            return
        leave(self.fabric)
        if not self.fabric.is_global_zero:
            raise SystemExit(2)  # the first process says what happened
        raise UserError(
            f"{self.run.folder} holds no translator: its {' and '.join(self.untrained)} had no turn in the "
            f"{self.position.step} steps of the training; train into a new --out for longer (train.epochs, "
            "train.max_minutes), or lower the method's critic_steps or pretraining_steps"
        )

    def _train_epoch(self, loader: Any, started: float) -> None:
        position, began = self.position, time.monotonic()
        self.sampler.start(position.epoch, position.batch)
        self.method.train()
        asked = time.monotonic()
        for batch in loader:
            position.waiting += time.monotonic() - asked
            on_device = {name: tensor.to(self.fabric.device, non_blocking=True) for name, tensor in batch.items()}
            parts = self.train_step(on_device)
            position.seconds, self.stop_asked = self._agree(time.monotonic() - started, self.stop_asked)
            for name, value in parts.items():
                position.sums[name] = position.sums.get(name, 0.0) + value
                position.counts[name] = position.counts.get(name, 0) + 1
            position.batch += 1
            position.step += 1
            self.monitor.step(position.epoch, position.batch, self.progress, parts)
            if self.stop_asked or self.progress >= 1:
                break
            if time.monotonic() - (self.saved_at or began) > 60 * self.settings.checkpoint_minutes:
                self.save()
            position.working += time.monotonic() - asked
            asked = time.monotonic()

    def train_step(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """Run all updates of one batch; return its named losses.

        Raises:
            UserError: a loss is not a finite number; the weights are those before this update.
        """
        position = self.position
        seeds = np.random.SeedSequence([self.settings.seed, position.step, self.fabric.global_rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        factor = rate_factor(self.progress, self.settings.constant_share)
        parts: dict[str, float] = {}
        self.method.progress = self.progress
        self._tell(self.method.notice(position.step))
        updates = self.method.updates(batch, position.step)
        while True:
            update = self._next(updates)
            name = self._agreed_optimiser(update)
            if name is None:
                break
            if update is not None:
                values = torch.stack([value.detach().float() for value in update.parts.values()]).tolist()
                parts |= dict(zip(update.parts, values, strict=True))
            self._refuse_nan(parts)
            optimiser = self.optimisers[name]
            for group in optimiser.param_groups:
                group["lr"] = self.method.optimiser_of(name).learning_rate * factor
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
            if name not in position.updated:
                position.updated.append(name)
            optimiser.zero_grad(set_to_none=True)  # now, so that gradients and the next activations never coexist
        if self.average is not None:
            self.average.update(self.method)
        return parts

    def _tell(self, notice: str) -> None:
        if notice and notice not in self.told:
            self.told.add(notice)
            self.monitor.say(notice)

    def _next(self, updates: Iterator[Update]) -> Update | None:
        with self.fabric.autocast():
            return next(updates, None)

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

    def _refuse_nan(self, parts: dict[str, float]) -> None:
        bad = [name for name, value in parts.items() if not np.isfinite(value)]
        if not any_of(self.fabric, bool(bad)):
            return
        leave(self.fabric)
        if not self.fabric.is_global_zero:
            raise SystemExit(2)  # the first process says what happened
        position, kept = self.position, self.run.last_checkpoint
        where = f"at step {position.step + 1} (epoch {position.epoch + 1}, batch {position.batch + 1})"
        good = f"the last good checkpoint is {kept}" if kept.exists() else "there was no checkpoint yet"
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

    # -- at the end of an epoch ----------------------------------------------------------------------------------

    def _finish_epoch(self) -> None:
        position, settings = self.position, self.settings
        whole = position.batch >= len(self.sampler)
        position.epoch += 1 if whole else 0
        at_end = self.is_over
        scores: dict[str, float] = {}
        best_before = position.best_score
        if position.epoch % settings.validate_every == 0 or at_end:
            scores = self._validate()
        losses = {name: position.sums[name] / position.counts[name] for name in position.sums}
        row = {
            "epoch": position.epoch if whole else position.epoch + position.batch / len(self.sampler),
            "step": position.step,
            "seconds": position.seconds,
            "learning_rate": self.method.optimiser_of(next(iter(self.optimisers))).learning_rate
            * rate_factor(self.progress, settings.constant_share),
            "waiting_share": position.waiting / position.working if position.working else None,
            **losses,
            **{f"validation_{name}": scores.get(name) for name in self.score_names},
        }
        if self.logbook:
            self.logbook.add(row)
            if position.epoch % settings.sample_every == 0 or at_end:
                self._draw()
        if whole:
            position.batch, position.sums, position.counts = 0, {}, {}
            position.waiting = position.working = 0.0
        self.monitor.epoch(row)
        lately = self.saved_at is not None and time.monotonic() - self.saved_at < SECONDS_BETWEEN_SAVES
        if not lately or position.best_score != best_before:  # the end and a stop are saved by `fit`
            self.save()

    def _validate(self) -> dict[str, float]:
        position = self.position
        if not self.validation:
            self._keep_best({})
            return {}
        scores: dict[str, float] = {}
        if self.fabric.is_global_zero:
            with self._averaged():
                scores = (validate_segmentation if self.recipe.label_maps else validate)(
                    self.method,
                    self.method_ports,
                    self.validation,
                    self.preparation,
                    self.fabric.device,
                    minimum_foreground=self.minimum_foreground,
                    slices=self.settings.validate_slices,
                    predict_volume=self.predict_volume,
                )
        if self.fabric.world_size > 1:  # all must agree on which epoch was best, and when patience ends
            scores = self.fabric.broadcast(scores)
        if self.recipe.best == LAST:
            self._keep_best(scores)
            return scores
        score = scores.get(self.recipe.best)
        # A generator that still waits for its turn may score well by chance: it must not become the best.
        if score is None or not np.isfinite(score) or self.untrained:
            return scores
        sign = 1 if HIGHER_IS_BETTER[self.recipe.best] else -1
        if position.best_score is None or sign * score > sign * position.best_score:
            position.best_score, position.best_epoch, position.validations_without_gain = score, position.epoch, 0
            self._keep_best(scores)
        else:
            position.validations_without_gain += 1
        return scores

    def _keep_best(self, scores: dict[str, float]) -> None:
        if self.fabric.is_global_zero and all_finite(self.method) and not self.untrained:
            with self._averaged():
                content = {"modules": self.method.state_dict(), "epoch": self.epochs_done, "scores": scores}
                save_checkpoint(self.run.best_checkpoint, content)

    def _averaged(self) -> AbstractContextManager[None]:
        return self.average.used_in(self.method) if self.average is not None else nullcontext()

    @property
    def epochs_done(self) -> float:
        """Epochs with a fraction for the one under way."""
        return self.position.epoch + self.position.batch / len(self.sampler) * (self.position.batch < len(self.sampler))

    def _draw(self) -> None:
        with self._averaged():
            (draw_segmentations if self.recipe.label_maps else draw_samples)(
                self.method,
                self.method_ports,
                self.validation or self.training,
                self.preparation,
                self.run.samples,
                f"epoch {self.position.epoch:04d}",
                self.fabric.device,
                predict_volume=self.predict_volume,
            )

    # -- stopping and resuming -----------------------------------------------------------------------------------

    def save(self) -> None:
        """Write last.ckpt, unless the weights are no longer finite: then the last good one stays."""
        if not self.fabric.is_global_zero or not all_finite(self.method):
            return
        content = {
            "modules": self.method.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "position": vars(self.position),
            **({"average": self.average.state()} if self.average is not None else {}),
        }
        save_checkpoint(self.run.last_checkpoint, content)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Take up the position of last.ckpt.

        Raises:
            UserError: there is no such checkpoint, or it is of another network.
        """
        content = load_checkpoint(self.run.last_checkpoint)
        try:
            self.method.load_state_dict(content["modules"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(content["optimisers"][name])
            if self.average is not None:
                self.average.load(content["average"])
            # A checkpoint that does not say which modules were changed is of a time when nobody asked.
            self.position = Position(**{"updated": list(self.optimisers), **content["position"]})
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.run.last_checkpoint} does not fit the recipe in {self.run.folder}; was it edited?"
            ) from error
        if self.logbook:
            self.logbook.resume(self.position.step)

    def _agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """Make all processes see the same time, and stop when one is asked to: else they would wait for each other."""
        if self.fabric.world_size == 1:
            return seconds, stop
        own = torch.tensor([seconds, float(stop)], dtype=torch.float64)
        everyone = torch.as_tensor(self.fabric.all_gather(own)).reshape(-1, 2)
        return float(everyone[:, 0].max()), bool(everyone[:, 1].any())

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """Turn Ctrl-C and a cluster's SIGTERM into a stop at the next step, with a checkpoint."""

        def ask(number: int, frame: Any) -> None:
            if self.stop_asked:  # asked twice: at once
                raise KeyboardInterrupt
            self.stop_asked = True

        try:
            earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: the caller handles signals
            earlier = {}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


def sample_shape(cases: list[PreparedCase], batch_size: int) -> tuple[int, ...]:
    """Return the spatial shape of the samples (the first case's; all must agree when they share batches).

    Raises:
        UserError: shapes differ and the batch size is above 1.
    """
    shapes: dict[tuple[int, ...], str] = {}
    for case in cases:
        shape = next(iter(case.arrays().values())).shape[2:]
        shapes.setdefault(tuple(shape), case.case.id)
    if len(shapes) > 1 and batch_size > 1:
        examples = ", ".join(f"{case} {'×'.join(map(str, shape))}" for shape, case in list(shapes.items())[:3])
        raise UserError(
            f"Prepared images differ in size ({examples}) and cannot share a batch; set preparation.grid.size, or "
            "train.batch_size=1"
        )
    return min(shapes, key=lambda shape: min(shape))

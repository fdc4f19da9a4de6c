"""Train a recipe on a manifest into a run folder, so that it can be killed at any moment and resumed to the bit.

What makes the resume exact: every random number is a function of (seed, epoch, sample) or (seed, step), never of what
ran before, and a checkpoint holds all that is left: weights, optimisers, position, running means and the best score.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from transmodal.datasets.cache import PreparedCase
from transmodal.datasets.epochs import make_loader
from transmodal.datasets.preparation import Preparation
from transmodal.errors import UserError
from transmodal.methods import Method, Ports, make_method
from transmodal.training.checkpoint import all_finite, load_checkpoint, save_checkpoint
from transmodal.training.image_validation import SMALLEST_FOR_SSIM, ImageValidator
from transmodal.training.logbook import Logbook
from transmodal.training.monitor import Monitor
from transmodal.training.optimisation import Optimisation
from transmodal.training.position import Position
from transmodal.training.processes import leave
from transmodal.training.recipe import LAST
from transmodal.training.run import Run
from transmodal.training.samples import make_sampler, make_samples, sample_shape
from transmodal.training.segmentation_validation import SegmentationValidator, label_frequencies
from transmodal.training.start import start_from
from transmodal.training.stopping import stop_signals_to
from transmodal.training.validation import HIGHER_IS_BETTER, Validator
from transmodal.translation.memory import is_out_of_memory
from transmodal.translation.volume_predictor import VolumePredictor, learnt_window

SECONDS_BETWEEN_SAVES = 10.0  # at the ends of short epochs, whose checkpoints would take longer than they do


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
        cases = [*training, *rehearsal]
        self.samples = make_samples(run.recipe, preparation, cases)
        self.sampler = make_sampler(run.recipe, self.samples, len(training), fabric)
        self.shape = self._shape(cases)
        torch.manual_seed(self.settings.seed)
        self.method_ports = self.ports(preparation.modalities)
        self.method = self._make_method().to(fabric.device)
        start = start if start is not None else self.settings.start_from
        if start is not None:
            start_from(self.method, start)
        self.optimisation = Optimisation(self.method, self.settings, fabric, run.last_checkpoint)
        self.validator = self._make_validator()
        self.logbook = Logbook(run.log, run.folder / "tensorboard") if fabric.is_global_zero else None

    def _shape(self, cases: list[PreparedCase]) -> tuple[int, ...]:
        """Return the spatial shape of what the method learns from."""
        shape = self.recipe.sampling.patch or sample_shape(cases, self.settings.batch_size)
        if self.recipe.best == "ssim" and min(shape) < SMALLEST_FOR_SSIM:
            raise UserError(f"train.best: ssim needs images of {SMALLEST_FOR_SSIM} pixels a side; take psnr or mae")
        return shape

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
        return label_frequencies(self.training, recipe.along.count, recipe.minimum_foreground)

    def _make_method(self) -> Method:
        recipe = self.recipe
        try:
            return make_method(recipe.method, recipe.method_settings, self.method_ports)
        except ValueError as error:
            raise UserError(f"{recipe.method}: {error}") from error

    def _make_validator(self) -> Validator:
        patch = self.recipe.sampling.patch if self.recipe.spatial_dims == 3 else None
        # As in use, but with less overlap; and training on patches may leave no room for whole volumes.
        predict_volume = VolumePredictor(
            self.fabric.device,
            window=None if patch is None else learnt_window(self.method, patch),
            origin="as trained",
            overlap=0.25,
        )
        return (SegmentationValidator if self.recipe.label_maps else ImageValidator)(
            self.method,
            self.method_ports,
            self.preparation,
            self.fabric.device,
            minimum_foreground=self.recipe.minimum_foreground,
            slices=self.settings.validate_slices,
            predict_volume=predict_volume,
        )

    @property
    def progress(self) -> float:
        """Share of the training that is over, of its epochs or of its time, whichever is further."""
        return self.position.progress(self.settings.epochs * len(self.sampler), self.settings.max_minutes)

    @property
    def epochs_done(self) -> float:
        """Epochs with a fraction for the one under way."""
        return self.position.epochs_done(len(self.sampler))

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
        needed = set(self.method.translation_modules) & set(self.optimisation.optimisers)
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
        with stop_signals_to(self._ask_to_stop), self.monitor.training(self.settings.epochs, len(self.sampler)):
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

    def _train_epoch(self, loader: Any, started: float) -> None:
        position, began = self.position, time.monotonic()
        self.sampler.start(position.epoch, position.batch)
        self.method.train()
        asked = time.monotonic()
        for batch in loader:
            position.waiting += time.monotonic() - asked
            on_device = {name: tensor.to(self.fabric.device, non_blocking=True) for name, tensor in batch.items()}
            losses = self.train_step(on_device)
            position.seconds, self.stop_asked = self._agree(time.monotonic() - started, self.stop_asked)
            position.add_step(losses)
            self.monitor.step(position.epoch, position.batch, self.progress, losses)
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
        self.method.progress = self.progress
        notice = self.method.notice(self.position.step)
        if notice and notice not in self.told:
            self.told.add(notice)
            self.monitor.say(notice)
        return self.optimisation.step(batch, self.position, self.progress)

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
        row = {
            "epoch": position.epoch if whole else position.epoch + position.batch / len(self.sampler),
            "step": position.step,
            "seconds": position.seconds,
            "learning_rate": self.optimisation.learning_rate(next(iter(self.optimisation.optimisers)), self.progress),
            "waiting_share": position.waiting_share,
            **position.mean_losses,
            **{f"validation_{name}": scores.get(name) for name in self.validator.score_names},
        }
        if self.logbook:
            self.logbook.add(row)
            if position.epoch % settings.sample_every == 0 or at_end:
                with self.optimisation.averaged():
                    cases = self.validation or self.training
                    self.validator.draw(cases, self.run.samples, f"epoch {position.epoch:04d}")
        if whole:
            position.begin_epoch()
        self.monitor.epoch(row)
        lately = self.saved_at is not None and time.monotonic() - self.saved_at < SECONDS_BETWEEN_SAVES
        if not lately or position.best_score != best_before:  # the end and a stop are saved by `fit`
            self.save()

    def _validate(self) -> dict[str, float]:
        if not self.validation:
            self._keep_best({})
            return {}
        scores: dict[str, float] = {}
        if self.fabric.is_global_zero:
            with self.optimisation.averaged():
                scores = self.validator.scores(self.validation)
        if self.fabric.world_size > 1:  # all must agree on which epoch was best, and when patience ends
            scores = self.fabric.broadcast(scores)
        if self.recipe.best == LAST:
            self._keep_best(scores)
            return scores
        score = scores.get(self.recipe.best)
        # A generator that still waits for its turn may score well by chance: it must not become the best.
        if score is None or not np.isfinite(score) or self.untrained:
            return scores
        if self.position.add_score(score, higher_is_better=HIGHER_IS_BETTER[self.recipe.best]):
            self._keep_best(scores)
        return scores

    def _keep_best(self, scores: dict[str, float]) -> None:
        if self.fabric.is_global_zero and all_finite(self.method) and not self.untrained:
            with self.optimisation.averaged():
                content = {"modules": self.method.state_dict(), "epoch": self.epochs_done, "scores": scores}
                save_checkpoint(self.run.best_checkpoint, content)

    # -- stopping and resuming -----------------------------------------------------------------------------------

    def save(self) -> None:
        """Write last.ckpt, unless the weights are no longer finite: then the last good one stays."""
        if not self.fabric.is_global_zero or not all_finite(self.method):
            return
        optimisers, average = self.optimisation.optimisers, self.optimisation.average
        content = {
            "modules": self.method.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
            "position": vars(self.position),
            **({"average": average.state()} if average is not None else {}),
        }
        save_checkpoint(self.run.last_checkpoint, content)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Take up the position of last.ckpt.

        Raises:
            UserError: there is no such checkpoint, or it is of another network.
        """
        content = load_checkpoint(self.run.last_checkpoint)
        optimisers, average = self.optimisation.optimisers, self.optimisation.average
        try:
            self.method.load_state_dict(content["modules"])
            for name, optimiser in optimisers.items():
                optimiser.load_state_dict(content["optimisers"][name])
            if average is not None:
                average.load(content["average"])
            # A checkpoint that does not say which modules were changed is of a time when nobody asked.
            self.position = Position(**{"updated": list(optimisers), **content["position"]})
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

    def _ask_to_stop(self) -> None:
        """Stop at the next step, with a checkpoint."""
        if self.stop_asked:  # asked twice: at once
            raise KeyboardInterrupt
        self.stop_asked = True

"""A segmenter of our own for the downstream test: a small U-Net that learns lesions on real slices of one modality.

It is trained on the real target of the run's training subjects, sees slices only (two dimensions), and is then shown
the real and the synthetic target of the test subjects. It is no rival of a segmenter that people tuned; the difference
of its two Dice values is what counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
import torch
from torch import Tensor
from torch.nn import functional

from transmodal.datasets.labels import LabelSettings
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import ModalityPreparation, Preparation
from transmodal.datasets.sample_grid import GridSettings, SliceSettings
from transmodal.errors import UserError
from transmodal.evaluation.asked import Progress
from transmodal.evaluation.downstream import (
    DownstreamCase,
    describe_downstream,
    downstream_dice,
    summarise_downstream,
)
from transmodal.evaluation.target import TRANSLATOR, TargetJob
from transmodal.images import Image, read, require_same_grid
from transmodal.images.intensity import FittedMap
from transmodal.losses.overlap import soft_dice_loss
from transmodal.networks.unet import UNet

STEPS = 400
LEARNING_RATE = 3e-3
FILTERS, LEVELS = 16, 4
_BATCH = 8  # half of it with a lesion
_MINIMUM_FOREGROUND = 0.05
_SLICES_AT_ONCE = 16
_PROBABILITY = "#probability"  # no modality may be called so


class Segmenter:
    """Finds lesions in images of one modality.

    Attributes:
        modality: of the images.
        labels: modality of the label maps that it learnt from; all that is not 0 is a lesion.
    """

    def __init__(
        self, preparation: Preparation, modality: str, labels: str, *, device: str = "cpu", mask: str | None = None
    ) -> None:
        """Begin with a preparation.

        Args:
            preparation: of the translator; its intensity map of the modality is used, its grid as far as it suits
                slices.
            modality, labels: of images and label maps.
            device: where the network works.
            mask: modality of masks, outside which what it learns from is set to the background, as in the images that
                it is tested on; a case without one stays whole.
        """
        self.modality, self.labels, self.device, self.mask = modality, labels, torch.device(device), mask
        fitted = FittedMap.model_validate({"kind": "one-range", "low": 0, "high": 1, "origin": "a probability"})
        probability = ModalityPreparation(
            channels=(), intensity=fitted, dtype="float32", quantity="probability", format="nifti"
        )
        own = preparation.modalities[modality]
        if own.channels:
            raise UserError(f"{modality} has channels; the segmenter takes grey volumes")
        grid = preparation.grid if preparation.slices is not None else GridSettings()
        self.preparation = preparation.model_copy(
            update={
                "spatial_dims": 2,
                "grid": grid,
                "slices": preparation.slices or SliceSettings(),
                "region": None,
                "modalities": {modality: own, _PROBABILITY: probability},
            }
        )
        self.network = UNet(1, 1, filters=FILTERS, levels=LEVELS)

    def fit(
        self,
        cases: Sequence[CaseFiles],
        *,
        steps: int = STEPS,
        seed: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        """Learn from the real images of cases that have a label map.

        Args:
            cases: of training subjects; slices with too little to see are left out.
            steps: of Adam, on batches of 8 slices, half of them with a lesion.
            seed: of weights, slices and flips.
            on_step: called with the number of steps done.

        Raises:
            UserError: no case has an image and a lesion.
        """
        images, labels = self._slices(cases)
        with_lesion = np.flatnonzero(labels.reshape(len(labels), -1).any(1))
        if not with_lesion.size:
            raise UserError(f"No training case has {self.modality} and a lesion in {self.labels}; the segmenter cannot "
                            "learn")  # fmt: skip
        generator = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = UNet(1, 1, filters=FILTERS, levels=LEVELS).to(self.device).train()
        optimiser = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / steps) ** 0.9  # nnU-Net's schedule
            chosen = np.concatenate(
                [generator.choice(with_lesion, _BATCH // 2), generator.integers(0, len(images), _BATCH // 2)]
            )
            loss = self._loss(images[chosen], labels[chosen], generator)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if on_step is not None:
                on_step(step + 1)
        self.network.eval()

    def __call__(self, image: Image) -> npt.NDArray[np.uint8]:
        """Return 1 where a lesion is found, of the image's shape."""
        stack = torch.from_numpy(self.preparation.prepare(image, self.modality))
        with torch.inference_mode():
            parts = stack.split(_SLICES_AT_ONCE)
            found = [self.network(part.to(self.device)).sigmoid().cpu().numpy() for part in parts]
        probability = self.preparation.restore(2 * np.concatenate(found) - 1, _PROBABILITY, image)
        return (probability.pixels >= 0.5).astype(np.uint8)

    def _slices(self, cases: Sequence[CaseFiles]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        images, labels = [], []
        settings = LabelSettings(modality=self.labels)
        for case in cases:
            if self.modality not in case.files or self.labels not in case.files:
                continue
            image = read(case.files[self.modality])
            if self.mask in case.files:
                inside = read(case.files[self.mask])
                require_same_grid(image, inside)
                pixels = image.pixels.copy()
                pixels[inside.pixels == 0] = self.preparation.modalities[self.modality].outside
                image = image.with_pixels(pixels)
            shares = self.preparation.sample_shares(image.pixels != 0, image)
            kept = shares >= _MINIMUM_FOREGROUND
            images.append(self.preparation.prepare(image, self.modality)[kept])
            labels.append(self.preparation.prepare_labels(read(case.files[self.labels]), settings)[kept])
        if not images:
            raise UserError(f"No training case has {self.modality} and {self.labels}; the segmenter cannot learn")
        shapes = {each.shape[1:] for each in images}
        if len(shapes) > 1:
            images, labels = (_framed(each, shapes) for each in (images, labels))
        return np.concatenate(images), np.concatenate(labels).astype(np.float32)

    def _loss(
        self, images: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], generator: np.random.Generator
    ) -> Tensor:
        """Soft Dice and cross-entropy of slices that are mirrored and changed in brightness at random."""
        if generator.random() < 0.5:
            images, labels = images[..., ::-1], labels[..., ::-1]
        gain, shift = generator.uniform(0.85, 1.15), generator.uniform(-0.1, 0.1)
        bright = np.clip((images + 1) * gain - 1 + shift, -1, 1)
        made = self.network(torch.from_numpy(np.ascontiguousarray(bright, np.float32)).to(self.device))
        truth = torch.from_numpy(np.ascontiguousarray(labels)).to(self.device)
        # Of all slices together: those without a lesion have no overlap of their own.
        overlap: Tensor = soft_dice_loss(made.sigmoid().reshape(1, -1), truth.reshape(1, -1))
        return overlap + functional.binary_cross_entropy_with_logits(made, truth)


def downstream_of(
    jobs: Sequence[TargetJob],
    labels: str,
    *,
    steps: int = STEPS,
    device: str = "cpu",
    on_progress: Progress = lambda what, done, total: None,
) -> pandas.DataFrame:
    """Compare what a segmenter finds in synthetic and in real images of one target.

    Args:
        jobs: of the target, of the run or of each fold; each fold has a segmenter of its own, which learns from the
            fold's training subjects.
        labels: modality of the label maps.
        steps: of each segmenter's training.
        device: where it works.
        on_progress: called with (what, done, of how many).

    Returns:
        The table of `downstream_dice`, of the cases that have a label map.

    Raises:
        UserError: there is nothing to learn from, or nothing to segment.
    """
    tables = []
    for job in jobs:
        what = f"{job.target}: segmenter" + (f" of {job.run.name}" if len(jobs) > 1 else "")
        job.run.manifest.require_modalities([labels])
        own = job.policy.own_mask if job.policy.looks_for_own_mask else None
        segmenter = Segmenter(job.translator.card.preparation, job.target, labels, device=device, mask=own)
        training = [case for case in job.run.manifest.cases(split="train") if labels in case.files]
        segmenter.fit(
            training,
            steps=steps,
            seed=job.run.recipe.train.seed,
            on_step=lambda done, what=what: on_progress(what, done, steps),  # type: ignore[misc]
        )
        tested = [case for case in job.cases if labels in case.files]
        if tested:
            tables.append(downstream_dice(segmenter, _cases(job, tested, labels, on_progress), labels=[1]))
    if not tables:
        raise UserError(f"No case of {jobs[0].asked.split} has {labels}; there is nothing to segment")
    return pandas.concat(tables, ignore_index=True)


def _cases(job: TargetJob, cases: Sequence[CaseFiles], labels: str, on_progress: Progress) -> Iterator[DownstreamCase]:
    for number, case in enumerate(cases, 1):
        images = job.load(case)
        true = read(case.files[labels])
        yield DownstreamCase(
            case.id, case.subject, images.predictions[TRANSLATOR], images.truth, (true.pixels != 0).astype(np.uint8)
        )
        on_progress(f"{job.target}: segmenting", number, len(cases))


def _framed(stacks: Sequence[npt.NDArray[Any]], shapes: set[tuple[int, ...]]) -> list[npt.NDArray[Any]]:
    """Return stacks of unequal slices in one frame: the background's value around each."""
    height, width = (max(shape[axis] for shape in shapes) for axis in (1, 2))
    framed = []
    for stack in stacks:
        top, left = (height - stack.shape[2]) // 2, (width - stack.shape[3]) // 2
        around = ((0, 0), (0, 0), (top, height - stack.shape[2] - top), (left, width - stack.shape[3] - left))
        value = -1 if stack.dtype.kind == "f" else 0
        framed.append(np.pad(stack, around, constant_values=value))
    return framed


def describe_tables(tables: Mapping[str, pandas.DataFrame]) -> list[str]:
    """Return a line a target: Dice on synthetic told against Dice on real images."""
    return [
        f"{target}, " + describe_downstream(summary).replace("label 1: ", "lesions found: ")
        for target, table in tables.items()
        for summary in summarise_downstream(table)
    ]

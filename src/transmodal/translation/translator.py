"""A trained model ready to use: Image in, Image out, same geometry."""

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from transmodal.datasets.batch_keys import DEPTH, REGION
from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.preparation import to_dtype
from transmodal.errors import UserError
from transmodal.images import Image, require_same_grid
from transmodal.methods import Method
from transmodal.networks.folding import fold_batch_norms
from transmodal.networks.layers import DROPOUT
from transmodal.translation.card import Card
from transmodal.translation.familiarity import describe_image, warnings_for
from transmodal.translation.forward import Inputs, translate_stacks
from transmodal.translation.memory import gigabytes
from transmodal.translation.options import Options
from transmodal.translation.uncertainty import spread_over
from transmodal.translation.volume_predictor import VolumePredictor, learnt_window, slices_that_fit
from transmodal.translation.windows import Predict

_log = logging.getLogger(__name__)
MOST_OFF_SIZE = 1.5  # times the pixel size of the training, along any axis, before it is worth a word


@dataclass(frozen=True)
class PreparedInputs:
    """A case on the network's grid.

    Attributes:
        stacks: input modality or REGION → (samples, C, *spatial).
        like: the first input, whose grid the outputs take.
        region: on the files' own grid.
        wanted: the targets to make.
        doubts: lines on what a given range cuts off more than it did in training, and on another pixel size.
    """

    stacks: dict[str, npt.NDArray[Any]]
    like: Image
    region: npt.NDArray[np.bool_] | None
    wanted: list[str]
    doubts: Sequence[str] = ()


class Translator:
    """Turns images of its input modalities into images of its target modalities.

    Attributes:
        card: what it is, what it was trained on, and its preparation.
        method: in evaluation mode, on `device`.
    """

    def __init__(self, method: Method, card: Card, device: str | torch.device = "cpu") -> None:
        self.method = method.to(device).eval()
        self.card = card
        self.device = torch.device(device)
        self._half: Method | None = None

    def __call__(
        self, image: Image | Mapping[str, Image], *, seed: int | None = None, mask: Image | None = None
    ) -> Image:
        """Translate one image to the first target modality that is not given.

        Args:
            image: the input image, or modality → image for several inputs on one grid.
            seed: draws the noise z of a stochastic method (dropout) from this seed; None leaves it out.
            mask: of the region (brain, body), where the translator has one; None finds it.

        Returns:
            An image on the input's own grid, in the target's unit and pixel type.

        Raises:
            UserError: a missing modality, other grids, other channels than in training, NaN, too little memory.
        """
        return next(iter(self.translate_case(image, seed=seed, mask=mask).values()))

    def translate_case(
        self,
        images: Image | Mapping[str, Image],
        *,
        seed: int | None = None,
        mask: Image | None = None,
        targets: Sequence[str] | None = None,
        options: Options | None = None,
    ) -> dict[str, Image]:
        """Translate to several target modalities; see `__call__`.

        Args:
            images, seed, mask: as for `__call__`. Where the translator may miss inputs, any of them will do.
            targets: which; None takes all that are not given.
            options: how the network is run.
        """
        options = options or Options()
        classes = {name: self.label_classes(name, options) for name in self.card.targets}
        case = self.prepare(images, mask, targets)
        outputs = self._run(case, seed, options)
        return {name: self._restored(outputs[name], name, case, classes[name]) for name in case.wanted}

    def label_maps_by(
        self,
        images: Image | Mapping[str, Image],
        target: str,
        ways: Sequence[LabelClasses],
        *,
        mask: Image | None = None,
        options: Options | None = None,
    ) -> list[Image]:
        """Return a label map for each of several ways to decide, of one pass through the network.

        Args:
            images, mask, options: as for `translate_case`.
            target: a label map.
            ways: its classes, each time with other thresholds or another tidying.

        Raises:
            UserError: as `translate_case`.
        """
        case = self.prepare(images, mask, [target])
        output = self._run(case, None, options or Options())[target]
        return [self._restored(output, target, case, classes) for classes in ways]

    def translate_with_spread(
        self,
        images: Image | Mapping[str, Image],
        *,
        passes: int,
        seed: int = 0,
        mask: Image | None = None,
        targets: Sequence[str] | None = None,
        options: Options | None = None,
        others: Sequence["Translator"] = (),
    ) -> dict[str, tuple[Image, Image]]:
        """Return target → mean and standard deviation over passes with other noise, or over an ensemble.

        Args:
            images, mask, targets, options: as for `translate_case`.
            passes: with dropout, at least 2; not looked at with `others`.
            seed: of the first pass.
            others: translators of the same modalities, trained with other seeds; each translates once, without noise.

        Returns:
            Of each target its image, and its standard deviation in the target's unit as float32; of a label map the
            one of the mean probabilities, and the largest standard deviation among those of its classes.

        Raises:
            UserError: as `translate_case`; a network without dropout has no noise to vary.
        """
        options = options or Options()
        case = self.prepare(images, mask, targets)
        if others:
            made = [self._exact(case, None, options)]
            made += [other._exact(other.prepare(images, mask, targets), None, options) for other in others]
            spread = spread_over(made)
        else:
            if not any(isinstance(layer, DROPOUT) and layer.p > 0 for layer in self.method.modules()):
                raise UserError(
                    f"{self.card.name} has no dropout, so nothing varies from pass to pass; train with dropout, or "
                    "give several models (an ensemble)"
                )
            spread = spread_over(self._exact(case, seed + number, options) for number in range(max(2, passes)))
        results = {}
        for name in case.wanted:
            if (classes := self.label_classes(name, options)) is not None:
                probabilities, doubt = spread.mean[name].numpy(), spread.sd[name].numpy().max(-1)
                results[name] = (
                    self.card.preparation.label_map(probabilities, name, case.like, case.region, classes=classes),
                    case.like.with_pixels(np.ascontiguousarray(doubt), quantity="probability"),
                )
                continue
            target = self.card.preparation.modalities[name]
            like = case.like.with_pixels(spread.sd[name].numpy(), channels=target.channels, quantity=target.quantity)
            mean = to_dtype(spread.mean[name].numpy(), np.dtype(target.dtype))
            results[name] = (like.with_pixels(mean, channels=target.channels, quantity=target.quantity), like)
        return results

    def filled_in(self, options: Options) -> Options:
        """Return how the network is run, with the flips of the card where the options leave them open."""
        return options if options.flips is not None else replace(options, flips=self.card.flips)

    def warnings(self, images: Image | Mapping[str, Image], mask: Image | None = None) -> list[str]:
        """Return one line for each input that looks unlike those of the training; see `familiarity`."""
        return self._unfamiliar(self.prepare(images, mask, None))

    def prepare(
        self, images: Image | Mapping[str, Image], mask: Image | None, targets: Sequence[str] | None
    ) -> "PreparedInputs":
        """Bring a case's images to the network's grid."""
        given = self._by_modality(images)
        wanted = self.targets_for(given, targets)
        preparation = self.card.preparation
        first = next(iter(given.values()))
        region = preparation.find_region(given, mask)
        looked_at = preparation.looked_at(region, has_mask=mask is not None)
        stacks: dict[str, npt.NDArray[Any]] = {
            modality: preparation.prepare(image, modality, looked_at) for modality, image in given.items()
        }
        if region is not None:
            stacks[REGION] = preparation.prepare_region(region, first)
            if self.card.ports.depth:
                stacks[DEPTH] = preparation.prepare_depth(region, first)
        return PreparedInputs(stacks, first, region, wanted, [*preparation.cuts(given), *self._other_pixel_size(first)])

    def _run(self, case: "PreparedInputs", seed: int | None, options: Options) -> dict[str, npt.NDArray[np.float32]]:
        if options.warn is not None:
            for line in self._unfamiliar(case):
                options.warn(line)
        try:
            return self._translate_stacks(case.stacks, seed, options)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            size = "×".join(map(str, case.like.shape))
            raise UserError(
                f"{case.like.name} ({size}) needs more memory than {self.device} has; crop it, or use another device"
            ) from error

    def _exact(self, case: "PreparedInputs", seed: int | None, options: Options) -> dict[str, npt.NDArray[np.float32]]:
        """Return the wanted targets in their unit, before they are rounded to the files' type."""
        preparation = self.card.preparation
        outputs = self._run(case, seed, options if seed in (None, 0) else replace(options, warn=None))
        return {
            name: preparation.restore(outputs[name], name, case.like, case.region, exact=True).pixels
            if preparation.modalities[name].labels is None
            else preparation.restore_probabilities(outputs[name], case.like)
            for name in case.wanted
        }

    def _restored(
        self, output: npt.NDArray[np.float32], name: str, case: "PreparedInputs", classes: LabelClasses | None
    ) -> Image:
        if classes is None:
            return self.card.preparation.restore(output, name, case.like, case.region)
        return self.card.preparation.restore_labels(output, name, case.like, case.region, classes=classes)

    def label_classes(self, target: str, options: Options | None = None) -> LabelClasses | None:
        """Return what the values of a target mean, tidied as asked; None where it is an image.

        Raises:
            UserError: a tidying is asked for of a class that is none, or of an image.
        """
        classes, options = self.card.preparation.modalities[target].labels, options or Options()
        if classes is None:
            if options.largest_component is not None or options.fill_holes is not None or options.thresholds:
                raise UserError(
                    f"{self.card.name} makes images; largest component, holes and thresholds are of label maps"
                )
            return None
        try:
            return classes.with_changes(options.largest_component, options.fill_holes, dict(options.thresholds))
        except ValueError as error:
            raise UserError(f"{self.card.name}: {error}") from error

    def _unfamiliar(self, case: "PreparedInputs") -> list[str]:
        dims = self.card.preparation.spatial_dims
        features = {
            name: describe_image(case.stacks[name], case.stacks.get(REGION), spatial_dims=dims)
            for name in self.card.familiar
            if name in case.stacks
        }
        return [*case.doubts, *warnings_for(self.card.familiar, features)]

    def _other_pixel_size(self, image: Image) -> list[str]:
        """Return a warning where the network sees pixels of quite another size than in training."""
        preparation, known = self.card.preparation, self.card.spacing
        if known is None or not image.has_physical_size or preparation.grid.spacing is not None:
            return []
        here = preparation.prepared_spacing(image)
        factors = [max(least / size, size / most) for size, (least, most) in zip(here, known, strict=True)]
        if max(factors) <= MOST_OFF_SIZE:
            return []
        trained = "×".join(f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}" for least, most in known)
        return [
            f"{image.name}: the network sees pixels of {'×'.join(f'{size:.3g}' for size in here)} mm and learnt from "
            f"{trained} mm, so it may do nothing of use; resample the image, or train on such images or with "
            "preparation.grid.spacing"
        ]

    def targets_for(self, given: Collection[str], targets: Sequence[str] | None = None) -> list[str]:
        """Return what is made of these inputs.

        Raises:
            UserError: a target is unknown or given, or nothing is left to make.
        """
        known = list(self.card.targets)
        for target in targets or ():
            if target not in known:
                raise UserError(f"{self.card.name} makes {', '.join(known)}, not {target!r}")
            if target in given:
                raise UserError(
                    f"{target} is given, and no image is made of itself; leave it out of the inputs, or of the targets"
                )
        wanted = list(targets) if targets else [name for name in known if name not in given]
        if not wanted:
            raise UserError(
                f"{self.card.name} makes {', '.join(known)}, and all are given; leave one out, or name with --targets "
                "what to make of the others"
            )
        return wanted

    def _by_modality(self, images: Image | Mapping[str, Image]) -> dict[str, Image]:
        known = list(self.card.inputs)
        if isinstance(images, Image):
            if len(known) > 1:
                say = "say which it is" if self.card.missing_inputs else "give all of them for each case"
                raise UserError(f"{self.card.name} needs {', '.join(known)}; {say}")
            images = {known[0]: images}
        missing = [modality for modality in known if modality not in images]
        if missing == known or (missing and not self.card.missing_inputs):
            raise UserError(f"{self.card.name} needs {', '.join(known)}; {', '.join(missing)} is missing")
        given = {modality: images[modality] for modality in known if modality in images}
        first = next(iter(given.values()))
        for image in given.values():
            require_same_grid(first, image)
        return given

    def _translate_stacks(
        self, stacks: dict[str, npt.NDArray[Any]], seed: int | None, options: Options
    ) -> dict[str, npt.NDArray[np.float32]]:
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            if seed is not None:
                torch.manual_seed(seed)
            predictor = self._predictor(options)
            outputs = translate_stacks(
                self._method_in(options.precision),
                Inputs(stacks, self.card.ports),
                self.device,
                stochastic=seed is not None,
                flips=self.filled_in(options).flips or (),
                predict_volume=predictor,
                slices_together=None if options.memory is None else self._slices_within(options.memory, options.say),
            )
        if predictor.peak:
            (options.say or _log.info)(f"peak memory of the volume {gigabytes(predictor.peak)}")
        return outputs

    def _slices_within(
        self, memory: float, say: Callable[[str], None] | None
    ) -> Callable[[Predict, int, tuple[int, ...], int], int]:
        return lambda predict, channels, shape, most: slices_that_fit(
            predict, channels, shape, memory, most, device=self.device, say=say
        )

    def _method_in(self, precision: Literal["fp32", "bf16"]) -> Method:
        """Return the method with weights of a precision; a copy, made once."""
        if precision == "fp32":
            return self.method
        if self._half is None:
            # Weights of that type are 1.05 to 1.7 times faster than automatic mixed precision, which copies them anew.
            folded = cast(Method, fold_batch_norms(copy.deepcopy(self.method)))
            self._half = folded.to(torch.bfloat16)
        return self._half

    def _predictor(self, options: Options) -> VolumePredictor:
        """Return what takes volumes through the network within the memory there is."""
        window, dims = options.window, self.card.preparation.spatial_dims
        if isinstance(window, tuple) and dims == 2:
            raise UserError(
                f"Windows are for translators of volumes, and {self.card.name} takes slices; leave --window out"
            )
        if isinstance(window, tuple) and len(window) != dims:
            raise UserError(
                f"A window of {'×'.join(map(str, window))} does not fit {self.card.name}, which takes volumes; give "
                "three sides, for example 96,96,96"
            )
        asked = window is not None
        if window is None and self.card.patches:
            window = learnt_window(self.method, self.card.shape)
        return VolumePredictor(
            self.device,
            limit=options.memory,
            window=None if window == "whole" else window,
            origin="as asked" if asked else "as trained",
            overlap=options.overlap,
            blend=options.blend,
            say=options.say,
        )

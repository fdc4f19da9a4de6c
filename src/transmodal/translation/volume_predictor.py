"""Volumes within the memory there is: in one pass where they fit, else in the windows that cost the least work.

What one pass needs is counted beforehand (see `memory.estimate`). An allocation that fails all the same leads to
smaller windows, not the end.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from transmodal.errors import UserError
from transmodal.networks.layers import BATCH_NORM
from transmodal.networks.unet import InstanceNorm
from transmodal.translation.allocator import freed_memory_given_back, freed_memory_kept, give_back_freed
from transmodal.translation.memory import (
    KEPT_BY_ALLOCATOR,
    PROBE,
    Need,
    estimate,
    gigabytes,
    is_out_of_memory,
    peak_memory,
    usable_memory,
)
from transmodal.translation.options import Blend
from transmodal.translation.windows import Predict, sliding_window, window_count

STEP = 16  # windows are multiples of it, or the whole axis
GOOD_SIDE, FAIR_SIDE = 64, 32  # pixels that a window should see along every axis

Origin = Literal["as asked", "as trained"]
"""Who set a window."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a volume goes through the network.

    Attributes:
        whole: in one pass.
        window: spatial shape of what passes at once; of the volume itself where `whole`.
        batch: windows that pass together.
        bytes: that this takes, estimated.
        why: one sentence for the log.
    """

    whole: bool
    window: tuple[int, ...]
    batch: int
    bytes: float
    why: str


def learnt_window(network: nn.Module, patch: Sequence[int]) -> tuple[int, ...] | None:
    """Return the window for volumes of a network that learnt on patches, where none is asked for.

    Args:
        network: that was trained.
        patch: spatial shape of what it was trained on.

    Returns:
        The patch where the network normalises by the statistics of what it sees, which in a whole volume are not those
        that it learnt with; else None, whatever memory allows.
    """
    kinds = (nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, InstanceNorm)
    by_what_it_sees = any(
        isinstance(layer, kinds)
        or (isinstance(layer, (*BATCH_NORM.values(),)) and not layer.track_running_stats)  # pix2pix as published
        for layer in network.modules()
    )
    return tuple(patch) if by_what_it_sees else None


class VolumePredictor:
    """Predicts volumes within the memory there is, and says how; `translate_stacks` takes it as `predict_volume`.

    Args:
        device: where the network lies.
        limit: bytes that may be used; None takes a share of the free memory (0.7 on a CPU, 0.9 on a GPU).
        window: a window to be used, such as the patches of the training, no larger than the volume along any axis,
            and made smaller than that only where a stated limit or an allocation that fails asks for it; one that
            holds all of the volume, and None, leave the choice to the memory.
        origin: of that window, for the log: "as asked", or "as trained" where nobody asked.
        overlap, blend: see `sliding_window`.
        batch: windows that may pass together; 1 for networks whose outputs depend on what shares their batch.
        say: called with each new sentence: the plan, a fallback; None puts it into the log.
        on_window: see `sliding_window`.

    Attributes:
        plan: of the last volume.
        peak: bytes that the last volume took beyond what was in use before.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        limit: float | None = None,
        window: Sequence[int] | None = None,
        origin: Origin = "as asked",
        overlap: float = 0.5,
        blend: Blend = "gaussian",
        batch: int = 1,
        say: Callable[[str], None] | None = None,
        on_window: Callable[[int, int], None] | None = None,
    ) -> None:
        self.device, self.limit = torch.device(device), limit
        self.window = None if window is None else tuple(window)
        self.origin: Origin = origin
        self.overlap, self.blend, self.batch = overlap, blend, batch
        self.on_window = on_window
        self.plan: Plan | None = None
        self.peak = 0
        self._say = say or _log.info
        self._said: set[str] = set()
        self._needs: dict[tuple[int, ...], Need] = {}

    def __call__(self, predict: Predict, volume: Tensor) -> dict[str, Tensor]:
        """Predict one volume.

        Args:
            predict: (N, C, *spatial) on the device → target → (N, C', *spatial).
            volume: (C, *spatial).

        Returns:
            Target → (C', *spatial) float32 where the volume lies.

        Raises:
            UserError: even the smallest windows need more memory than there is.
        """
        with torch.inference_mode(), peak_memory(self.device) as peak:
            plan = self._first_plan(predict, volume)
            while True:
                self._tell(plan.why)
                self.plan = plan
                outputs = self._try(predict, volume, plan)
                if outputs is not None:
                    break
                plan = self._smaller(plan, tuple(volume.shape[1:]))
        self.peak = peak.bytes
        return outputs

    def _first_plan(self, predict: Predict, volume: Tensor) -> Plan:
        spatial = tuple(volume.shape[1:])
        need = self._need(predict, volume.shape[0], spatial)
        limit = self.limit if self.limit is not None else usable_memory(self.device)
        if self.device.type == "cpu":
            limit -= need.kept_per_voxel * math.prod(spatial) + min(KEPT_BY_ALLOCATOR, 0.3 * limit)
        limit = max(0.0, limit)
        asked, bound = _within(self.window, spatial), self.limit is not None
        per_voxel = need.bytes_per_voxel
        if asked is not None and bound:  # networks pad windows to their own multiples: count them as they are
            per_voxel = self._need(predict, volume.shape[0], asked).bytes_per_voxel

        def chosen(per_voxel: float) -> Plan:
            return choose_plan(
                spatial,
                per_voxel,
                limit,
                window=asked,
                origin=self.origin,
                overlap=self.overlap,
                most_batched=self.batch,
                bound=bound,
            )

        plan = chosen(per_voxel)
        if not plan.whole and plan.window != asked:
            measured = self._need(predict, volume.shape[0], plan.window).bytes_per_voxel
            if measured > per_voxel:
                plan = chosen(measured)
        return plan

    def _need(self, predict: Predict, channels: int, spatial: tuple[int, ...]) -> Need:
        if self.device.type == "cuda":
            spatial = tuple(min(PROBE, size) for size in spatial)
        key = (channels, *spatial)
        if key not in self._needs:
            self._needs[key] = estimate(predict, channels, spatial, self.device)
        return self._needs[key]

    def _try(self, predict: Predict, volume: Tensor, plan: Plan) -> dict[str, Tensor] | None:
        """Return the outputs, or None where memory did not suffice: nothing of the failed pass is then held."""
        bounded = self.limit is not None
        if bounded:
            predict = _from_an_empty_heap(predict)
            heap: AbstractContextManager[None] = freed_memory_given_back()
        else:  # what is kept between others can raise the peak of one pass
            heap = nullcontext() if plan.whole else freed_memory_kept()
        try:
            with heap:
                if plan.whole:
                    made = predict(volume[None].to(self.device))
                    return {name: output[0].to(volume.device, torch.float32) for name, output in made.items()}
                return sliding_window(
                    predict,
                    volume,
                    window=plan.window,
                    overlap=self.overlap,
                    blend=self.blend,
                    batch=plan.batch,
                    device=self.device,
                    on_window=self.on_window,
                )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _smaller(self, plan: Plan, spatial: tuple[int, ...]) -> Plan:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if plan.batch > 1:
            why = f"memory ran out: once more with the same windows, one at a time instead of {plan.batch}"
            return Plan(False, plan.window, 1, plan.bytes / plan.batch, why)
        if all(side <= min(STEP, size) for side, size in zip(plan.window, spatial, strict=True)):
            raise UserError(
                f"A volume of {_shape(spatial)} needs more memory than {self.device} has, even in windows of "
                f"{_shape(plan.window)}; end other programs, use another device, or crop it"
            )
        voxels = math.prod(plan.window)
        smaller = choose_plan(spatial, 1.0, voxels / 2, overlap=self.overlap)
        count = window_count(spatial, smaller.window, self.overlap)
        per_voxel = plan.bytes / voxels
        sides = f"{_shape(smaller.window)} instead of {_shape(plan.window)}"
        why = f"memory ran out: once more with {count} windows of {sides}"
        return Plan(False, smaller.window, 1, per_voxel * math.prod(smaller.window), why)

    def _tell(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


def choose_plan(
    spatial: Sequence[int],
    bytes_per_voxel: float,
    limit: float,
    *,
    window: Sequence[int] | None = None,
    origin: Origin = "as asked",
    overlap: float = 0.5,
    most_batched: int = 1,
    bound: bool = False,
) -> Plan:
    """Choose between one pass and windows.

    Args:
        spatial: shape of the volume.
        bytes_per_voxel: of one pass, at its peak.
        limit: bytes that may be used.
        window: one that is set beforehand; where it is larger than the volume it is cut to it, and one that holds all
            of the volume sets nothing. Only the batch is then chosen, unless `bound`.
        origin: of that window, for the sentence.
        overlap: of the windows.
        most_batched: windows that may pass together.
        bound: the limit goes before the window that is set: one that does not fit becomes smaller.

    Returns:
        The whole volume where it fits. Else, of the windows of multiples of 16 pixels (or a whole axis) that fit, the
        ones that cost the least work, and at least 64 pixels wide if there are such, else 32, else whatever fits; where
        nothing fits, the smallest, which is then tried.
    """
    spatial = tuple(spatial)
    window = _within(window, spatial)
    whole = bytes_per_voxel * math.prod(spatial)
    if window is None and whole <= limit:
        why = f"whole volume in one pass: {_shape(spatial)} needs {gigabytes(whole)} of {gigabytes(limit)}"
        return Plan(True, spatial, 1, whole, why)
    side = window if window is not None else _cheapest_window(spatial, limit / bytes_per_voxel, overlap)
    asked = bytes_per_voxel * math.prod(side)
    shrunk = window is not None and bound and asked > limit
    if shrunk:
        side = _cheapest_window(side, limit / bytes_per_voxel, overlap)
    one = bytes_per_voxel * math.prod(side)
    count = window_count(spatial, side, overlap)
    batch = int(max(1, min(most_batched, count, limit // one)))
    reason = (
        f"those of {_shape(window)}, {origin}, need {gigabytes(asked)} and {gigabytes(limit)} may be used"
        if window is not None and shrunk
        else origin
        if window is not None
        else f"the whole volume needs {gigabytes(whole)} and {gigabytes(limit)} may be used"
    )
    if one > limit:
        smallest = window is None or bound
        reason += f", {'less than the smallest windows need' if smallest else f'though {gigabytes(limit)} are free'}"
    together = f", {batch} at a time" if batch > 1 else ""
    windows = "1 window" if count == 1 else f"{count} windows"
    why = f"{windows} of {_shape(side)}{together}, {gigabytes(one * batch)} each time: {reason}"
    return Plan(False, side, batch, one * batch, why)


def slices_that_fit(
    predict: Predict,
    channels: int,
    spatial: Sequence[int],
    limit: float,
    most: int,
    *,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] | None = None,
) -> int:
    """Return how many slices may go through the network together, 1 to `most`.

    Args:
        predict, channels, spatial, device: as for `estimate`; spatial is the shape of a slice.
        limit: bytes that may be used.
        most: where they all fit.
        say: called with a sentence where fewer fit, and where not even one does, which is then tried; None puts it
            into the log.
    """
    device = torch.device(device)
    one = estimate(predict, channels, spatial, device).bytes_per_voxel * math.prod(spatial)
    if device.type == "cpu":
        limit -= min(KEPT_BY_ALLOCATOR, 0.3 * limit)
    count = int(max(1, min(most, limit // one)))
    if count < most or one > limit:
        less = ", less than one slice needs" if one > limit else ""
        together = f"{count} slices at a time" if count > 1 else "one slice at a time"
        instead = f" instead of {most}" if count < most else ""
        (say or _log.info)(
            f"{together}{instead}: one of {_shape(spatial)} needs {gigabytes(one)} and {gigabytes(limit)} "
            f"may be used{less}"
        )
    return count


def _from_an_empty_heap(predict: Predict) -> Predict:
    """Return `predict` that gives free memory back first: glibc takes up any of it again, and more each time."""

    def predict_within_bound(pieces: Tensor) -> Mapping[str, Tensor]:
        give_back_freed()
        return predict(pieces)

    return predict_within_bound


def _within(window: Sequence[int] | None, spatial: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return a window cut to the volume; None for one that holds all of it: that is no window, memory decides."""
    if window is None:
        return None
    cut = tuple(min(side, size) for side, size in zip(window, spatial, strict=True))
    return None if cut == spatial else cut


def _cheapest_window(spatial: tuple[int, ...], voxels: float, overlap: float) -> tuple[int, ...]:
    """Return the window of at most so many voxels that costs the least work; see `choose_plan`."""
    step = STEP * max(1, round(max(spatial) / 256))  # large volumes: not every multiple, there would be many
    candidates = sorted({STEP, 2 * STEP, *range(step, max(spatial), step)})
    sides = [[*(side for side in candidates if side < size), size] for size in spatial]
    fitting = [window for window in product(*sides) if math.prod(window) <= voxels]
    if not fitting:
        return tuple(choices[0] for choices in sides)
    for least in (GOOD_SIDE, FAIR_SIDE, 1):
        wide = [
            window
            for window in fitting
            if all(side >= min(least, size) for side, size in zip(window, spatial, strict=True))
        ]
        if wide:
            break
    return min(wide, key=lambda window: (window_count(spatial, window, overlap) * math.prod(window), -min(window)))


def _shape(spatial: Sequence[int]) -> str:
    return "×".join(map(str, spatial))

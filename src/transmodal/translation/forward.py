"""From prepared stacks through a method to prepared stacks: slices in batches, volumes whole or by windows.

Validation and translators go the same way, so that what training saw is what use gets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transmodal.datasets.batch_keys import DEPTH, GIVEN, REGION
from transmodal.datasets.sampling import slices_around
from transmodal.methods import Method, Ports
from transmodal.translation.allocator import freed_memory_given_back, freed_memory_kept, give_back_freed
from transmodal.translation.uncertainty import with_flips
from transmodal.translation.windows import Predict

Stack = npt.NDArray[Any]
SLICES_A_BATCH = 8


@dataclass(frozen=True)
class Inputs:
    """The prepared inputs of one case.

    Attributes:
        stacks: input modality (or REGION) → (samples, C, *spatial); what the case lacks is absent.
        ports: of the method.
    """

    stacks: Mapping[str, Stack]
    ports: Ports

    @property
    def given(self) -> list[str]:
        """The inputs that are there."""
        return [name for name in self.ports.inputs if name in self.stacks]

    @property
    def _maps(self) -> list[str]:
        """The maps of the region that go along."""
        return [name for name in (REGION, DEPTH) if name in self.stacks]

    @property
    def samples(self) -> int:
        """How many samples the stacks hold."""
        return len(self.stacks[self.given[0]])

    def joined(self, sample: int) -> npt.NDArray[np.float32]:
        """Return one sample with all channels side by side: (C, *spatial) float32, for windows to be cut from."""
        parts = []
        for name in (*self.given, *self._maps):
            stack = self.stacks[name]
            with_neighbours = name not in self._maps and self.ports.neighbours
            part = slices_around(stack, sample, self.ports.neighbours) if with_neighbours else stack[sample]
            parts.append(np.asarray(part, np.float32))
        return np.concatenate(parts)

    def split(self, joined: Tensor) -> dict[str, Tensor]:
        """Return the batch of joined samples (N, C, *spatial); inputs that are not given hold -1."""
        batch: dict[str, Tensor] = {}
        start, wide = 0, 2 * self.ports.neighbours + 1
        for name in self.given:
            channels = self.ports.inputs[name] * wide
            batch[name] = joined[:, start : start + channels]
            start += channels
        for name, channels in self.ports.inputs.items():
            if name not in batch:
                batch[name] = joined.new_full((len(joined), channels * wide, *joined.shape[2:]), -1.0)
        for offset, name in enumerate(self._maps):
            batch[name] = joined[:, start + offset : start + offset + 1]
        if self.ports.missing:
            flags = [float(name in self.stacks) for name in self.ports.inputs]
            batch[GIVEN] = joined.new_tensor(flags).expand(len(joined), -1)
        return batch


def translate_stacks(
    method: Method,
    inputs: Inputs,
    device: torch.device,
    *,
    samples: Sequence[int] | None = None,
    stochastic: bool = False,
    flips: Sequence[int] = (),
    predict_volume: Callable[[Predict, Tensor], Mapping[str, Tensor]] | None = None,
    slices_together: Callable[[Predict, int, tuple[int, ...], int], int] | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Translate the samples of one case.

    Args:
        method: on `device`; put into evaluation mode for the call. The type of its weights is that of the computation.
        inputs: of the case.
        device: where the method lies.
        samples: which of the samples; None takes all.
        stochastic: draw the noise z from torch's global generator.
        flips: spatial axes along which mirrored inputs are translated too and averaged, in all combinations (test-time
            flips).
        predict_volume: how a joined volume (C, *spatial) goes through the network, given what predicts a batch; None
            takes it whole. Three dimensions only.
        slices_together: how many slices go through the network together, given what predicts a batch, the channels
            and shape of a slice, and the most; None takes the most. Two dimensions only.

    Returns:
        Target → (samples, C, *spatial) float32 in [-1, 1].
    """
    chosen = range(inputs.samples) if samples is None else samples
    outputs: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in inputs.ports.targets}

    dtype = torch.float32 if method.keeps_inputs else next(method.parameters()).dtype

    def once(joined: Tensor) -> dict[str, Tensor]:
        made = method.translate(inputs.split(joined.to(dtype)), stochastic=stochastic)
        return {name: output.float() for name, output in made.items()}

    predict = with_flips(once, flips) if flips else once
    was_training = method.training
    method.eval()
    try:
        with torch.inference_mode():
            if inputs.ports.spatial_dims == 3:
                for sample in chosen:
                    volume = torch.from_numpy(inputs.joined(sample))
                    whole: Mapping[str, Tensor]
                    if predict_volume is not None:
                        whole = predict_volume(predict, volume)
                    else:
                        whole = {name: output[0] for name, output in predict(volume[None].to(device)).items()}
                    for name, output in whole.items():
                        outputs[name].append(output.cpu().numpy()[None])
            else:
                size = SLICES_A_BATCH if method.takes_batches else 1
                if slices_together is not None and len(chosen):
                    channels, *shape = inputs.joined(chosen[0]).shape
                    size = slices_together(predict, channels, tuple(shape), min(size, len(chosen)))
                bounded = slices_together is not None
                with freed_memory_given_back() if bounded else freed_memory_kept():
                    for start in range(0, len(chosen), size):
                        if bounded:
                            give_back_freed()
                        joined = np.stack([inputs.joined(sample) for sample in chosen[start : start + size]])
                        for name, output in predict(torch.from_numpy(joined).to(device)).items():
                            outputs[name].append(output.cpu().numpy())
    finally:
        method.train(was_training)
    return {name: np.concatenate(parts) for name, parts in outputs.items()}

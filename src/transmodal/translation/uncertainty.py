"""How sure a translation is: mean and standard deviation over repeated passes; and test-time flips.

Dropout that stays on in use samples from an approximate posterior (Gal and Ghahramani, "Dropout as a Bayesian
Approximation", ICML 2016); an ensemble of trainings with other seeds is usually the better guess (Lakshminarayanan,
Pritzel and Blundell, NeurIPS 2017). Both measure what the model does not know, not the noise of the images, and neither
is calibrated: the standard deviation ranks voxels by doubt, it is no interval.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from transmodal.translation.windows import Predict

Outputs = Mapping[str, Tensor | npt.NDArray[Any]]


@dataclass(frozen=True)
class Spread:
    """Mean and spread of several translations of one input.

    Attributes:
        mean: target → float32, of the shape of one translation.
        sd: target → sample standard deviation (divided by passes - 1), in the same unit.
        passes: how many there were.
    """

    mean: dict[str, Tensor]
    sd: dict[str, Tensor]
    passes: int


def spread_over(outputs: Iterable[Outputs]) -> Spread:
    """Return mean and standard deviation of translations that come one after another; two are held at a time.

    Args:
        outputs: each target → values; all of the same targets and shapes. For an ensemble, the outputs of its members.

    Raises:
        ValueError: fewer than two translations, or other targets in some.
    """
    means: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    passes = 0
    for output in outputs:
        passes += 1
        if passes > 1 and set(output) != set(means):
            raise ValueError(f"translations of {', '.join(output)} and of {', '.join(means)} have no common spread")
        for name, values in output.items():
            one = torch.as_tensor(values).to(torch.float32)
            if passes == 1:
                means[name], squares[name] = one.clone(), torch.zeros_like(one)
                continue
            step = one - means[name]  # Welford: no difference of large sums
            means[name] += step / passes
            squares[name] += step * (one - means[name])
    if passes < 2:
        raise ValueError(f"a spread needs at least two translations, not {passes}")
    return Spread(means, {name: (total / (passes - 1)).sqrt() for name, total in squares.items()}, passes)


def spread_of_passes(translate: Callable[[], Outputs], passes: int, *, seed: int = 0) -> Spread:
    """Return mean and standard deviation over passes with other noise.

    Pass i draws its noise from `seed` + i, so that fewer passes are the first of more; torch's global generators are
    afterwards where they were.

    Args:
        translate: one pass with the noise on, such as `translate_stacks(…, stochastic=True)`.
        passes: at least 2.
        seed: of the first.

    Raises:
        ValueError: fewer than two passes.
    """

    def one(number: int) -> Outputs:
        devices = list(range(torch.cuda.device_count()))
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed + number)
            return translate()

    return spread_over(one(number) for number in range(passes))


def with_flips(predict: Predict, axes: Sequence[int]) -> Predict:
    """Return a prediction averaged over the input and its mirror images, each mirrored back.

    Args:
        predict: (N, C, *spatial) → target → (N, C', *spatial).
        axes: spatial axes, from 0; all combinations are taken, 2^axes passes. Mirror along what training mirrored.

    Raises:
        ValueError: an axis twice.
    """
    if len(set(axes)) < len(axes):
        raise ValueError(f"the axes to flip name one twice: {', '.join(map(str, axes))}")
    subsets = [
        tuple(axis + 2 for axis in chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)
    ]

    def averaged(pieces: Tensor) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for flipped in subsets:
            for name, output in predict(pieces.flip(flipped)).items():
                back = output.float().flip(flipped)  # a new tensor also where nothing is flipped
                sums[name] = sums[name].add_(back) if name in sums else back
        return {name: total / len(subsets) for name, total in sums.items()}

    return averaged

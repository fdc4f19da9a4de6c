"""LPIPS: how unlike two images look to a network that learnt to see, with weights from a file that the user names.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The unreasonable effectiveness of deep features as a perceptual
metric", CVPR 2018. RGB images in [-1, 1] are shifted and scaled by fixed constants and pass the convolutions of a
network for classification. At each of five (AlexNet, VGG16) or seven (SqueezeNet 1.1) layers the features are divided
by their length over the channels; their squared difference is weighted channel by channel with learnt weights and
averaged over the positions; the layers are summed. The grey value of our images is repeated into three equal channels.

Nothing is downloaded: a missing file is refused, with what to get. The network saw photographs only; what it notices in
a medical image is not what a radiologist would.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transmodal.metrics.pairs import checked_pair
from transmodal.metrics.weights import read_weights, refuse_other_names, sha256_of

SHIFT = (-0.030, -0.088, -0.188)  # of R, G, B in [-1, 1]
SCALE = (0.458, 0.448, 0.450)

_TINY = 1e-10  # keeps the features of a position without any from dividing by 0, as in the published code
_WHAT = "LPIPS weights"
_REMEDY = (
    "save lpips.LPIPS(net='alex').state_dict() of the public package lpips with torch.save, or name torchvision's "
    "alexnet weights and that package's weights/v0.1/alex.pth as linear"
)


@dataclass(frozen=True)
class _Convolution:
    """With bias, followed by ReLU; ``index`` is that of torchvision's ``features``."""

    index: int
    inputs: int
    outputs: int
    side: int = 3
    stride: int = 1
    padding: int = 1

    def shapes(self) -> dict[str, torch.Size]:
        kernel = torch.Size((self.outputs, self.inputs, self.side, self.side))
        return {
            f"features.{self.index}.weight": kernel,
            f"features.{self.index}.bias": torch.Size((self.outputs,)),
        }

    def __call__(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        name = f"features.{self.index}"
        return F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], self.stride, self.padding))


@dataclass(frozen=True)
class _Pool:
    """By maximum, stride 2."""

    side: int
    rounds_up: bool = False

    def shapes(self) -> dict[str, torch.Size]:
        return {}

    def __call__(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        return F.max_pool2d(x, self.side, 2, ceil_mode=self.rounds_up)


@dataclass(frozen=True)
class _Fire:
    """SqueezeNet's module: 1 x 1 to few channels, then 1 x 1 and 3 x 3 side by side."""

    index: int
    inputs: int
    squeezed: int
    expanded: int

    def shapes(self) -> dict[str, torch.Size]:
        shapes = {}
        for part, outputs, inputs, side in (
            ("squeeze", self.squeezed, self.inputs, 1),
            ("expand1x1", self.expanded, self.squeezed, 1),
            ("expand3x3", self.expanded, self.squeezed, 3),
        ):
            shapes[f"features.{self.index}.{part}.weight"] = torch.Size((outputs, inputs, side, side))
            shapes[f"features.{self.index}.{part}.bias"] = torch.Size((outputs,))
        return shapes

    def __call__(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        name = f"features.{self.index}"
        x = F.relu(F.conv2d(x, state[f"{name}.squeeze.weight"], state[f"{name}.squeeze.bias"]))
        one = F.conv2d(x, state[f"{name}.expand1x1.weight"], state[f"{name}.expand1x1.bias"])
        three = F.conv2d(x, state[f"{name}.expand3x3.weight"], state[f"{name}.expand3x3.bias"], padding=1)
        return F.relu(torch.cat([one, three], 1))


_Layer = _Convolution | _Pool | _Fire


@dataclass(frozen=True)
class _Architecture:
    """Layers between one comparison of features and the next, the channels compared, the smallest image."""

    name: str
    slices: tuple[tuple[_Layer, ...], ...]
    channels: tuple[int, ...]
    smallest_side: int


_ALEX = _Architecture(
    "AlexNet",
    (
        (_Convolution(0, 3, 64, 11, 4, 2),),
        (_Pool(3), _Convolution(3, 64, 192, 5, 1, 2)),
        (_Pool(3), _Convolution(6, 192, 384)),
        (_Convolution(8, 384, 256),),
        (_Convolution(10, 256, 256),),
    ),
    (64, 192, 384, 256, 256),
    31,
)
_VGG = _Architecture(
    "VGG16",
    (
        (_Convolution(0, 3, 64), _Convolution(2, 64, 64)),
        (_Pool(2), _Convolution(5, 64, 128), _Convolution(7, 128, 128)),
        (_Pool(2), _Convolution(10, 128, 256), _Convolution(12, 256, 256), _Convolution(14, 256, 256)),
        (_Pool(2), _Convolution(17, 256, 512), _Convolution(19, 512, 512), _Convolution(21, 512, 512)),
        (_Pool(2), _Convolution(24, 512, 512), _Convolution(26, 512, 512), _Convolution(28, 512, 512)),
    ),
    (64, 128, 256, 512, 512),
    16,
)
_SQUEEZE = _Architecture(
    "SqueezeNet 1.1",
    (
        (_Convolution(0, 3, 64, 3, 2, 0),),
        (_Pool(3, True), _Fire(3, 64, 16, 64), _Fire(4, 128, 16, 64)),
        (_Pool(3, True), _Fire(6, 128, 32, 128), _Fire(7, 256, 32, 128)),
        (_Pool(3, True), _Fire(9, 256, 48, 192)),
        (_Fire(10, 384, 48, 192),),
        (_Fire(11, 384, 64, 256),),
        (_Fire(12, 512, 64, 256),),
    ),
    (64, 128, 256, 384, 384, 512, 512),
    25,  # the last pool still covers three positions
)


class LpipsNetwork:
    """The network of LPIPS; which of AlexNet, VGG16 and SqueezeNet 1.1 it is, the names in the file tell.

    Args:
        weights: state dict as ``.safetensors`` or as a PyTorch file, read without executing anything from it: either
            that of the public package's ``LPIPS`` (``net.slice1.0.weight``, ``lin0.model.1.weight``, …), or that of
            torchvision's network (``features.0.weight``, …) with ``linear``.
        linear: file of the learnt weights of the channels, where ``weights`` has none.
        device: where the network runs.

    Attributes:
        name: of the network and of what is done to an image, printed beside every score.
        sha256: hexadecimal digest of ``weights``, and of ``linear`` after a plus sign.
        smallest_side: pixels that an image needs along each axis.

    Raises:
        ValueError: a file is missing, unreadable, or not of these networks; the line says what to get.
    """

    def __init__(self, weights: str | Path, *, linear: str | Path | None = None, device: str = "cpu") -> None:
        state = _plain_names(read_weights(weights, what=_WHAT, remedy=_REMEDY))
        self.sha256 = sha256_of(weights)
        if linear is not None:
            state |= _plain_names(read_weights(linear, what=_WHAT, remedy=_REMEDY))
            self.sha256 += f"+{sha256_of(linear)}"
        architecture = _architecture_of(state, weights)
        refuse_other_names(_shapes_of(architecture), state, path=weights, what=_WHAT, remedy=_REMEDY)
        self._architecture = architecture
        self._state = {name: value.to(device, torch.float32) for name, value in state.items()}
        self._device = device
        self.smallest_side = architecture.smallest_side
        self.name = f"LPIPS with {architecture.name}, grey as RGB"

    @torch.inference_mode()
    def distance(self, first: Tensor, second: Tensor) -> float:
        """LPIPS of two RGB images (1, 3, H, W) in [-1, 1]."""
        shift, scale = (torch.tensor(values, device=self._device).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
        ours, theirs = ((image.to(self._device) - shift) / scale for image in (first, second))
        total = 0.0
        for number, layers in enumerate(self._architecture.slices):
            for layer in layers:
                ours, theirs = layer(ours, self._state), layer(theirs, self._state)
            step = (_unit_length(ours) - _unit_length(theirs)) ** 2
            total += float(F.conv2d(step, self._state[f"lin{number}.model.1.weight"]).mean())
        return total


def lpips(predicted: Any, truth: Any, *, limits: tuple[float, float], network: LpipsNetwork) -> float:
    """Learned perceptual distance of two grey images: 0 for equal ones, lower is better.

    Args:
        predicted: real array (H, W), in the truth's units.
        truth: real array of the same shape, at least ``network.smallest_side`` pixels along both axes.
        limits: (low, high) of the values, mapped to -1 and 1. Values beyond are not clipped here.
        network: what compares; its name and digest belong beside the value.

    Raises:
        ValueError: shapes, types or limits do not fit, the images are too small, or a pixel is not finite.
    """
    first, second = checked_pair(predicted, truth)
    if not isinstance(network, LpipsNetwork):
        raise ValueError(f"lpips: network must be an LpipsNetwork, got {type(network).__name__}; {_REMEDY}")
    low, high = (float(limit) for limit in limits)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"limits must be two finite numbers, low before high, got {limits!r}")
    if first.ndim != 2:
        raise ValueError(f"lpips: images must have shape (H, W), got {first.shape}")
    if min(first.shape) < network.smallest_side:
        raise ValueError(
            f"lpips: an image of {first.shape} is too small for {network.name}, needs {network.smallest_side} pixels "
            f"along both axes"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("lpips: predicted or truth holds NaN or infinite pixels")
    # In float64, lest a window of 12 bits far from 0 lose digits before it is brought to [-1, 1].
    pair = [
        torch.from_numpy(((image.astype(np.float64) - low) * (2.0 / (high - low)) - 1.0).astype(np.float32))
        for image in (first, second)
    ]
    return network.distance(*(image.expand(1, 3, -1, -1) for image in pair))


def _plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the names of torchvision's convolutions and of the package's linear layers, and leave out what is not used.

    The package stores its linear layers twice, its constants too, and torchvision the classifier; torchmetrics numbers
    the slices of SqueezeNet otherwise.
    """
    plain = {re.sub(r"^net\.slices?\.?\d+\.", "features.", name): value for name, value in state.items()}
    return {
        name: value
        for name, value in plain.items()
        if not name.startswith(("lins.", "scaling_layer.", "classifier.")) and "num_batches_tracked" not in name
    }


def _architecture_of(state: dict[str, Tensor], path: str | Path) -> _Architecture:
    if "features.3.squeeze.weight" in state:
        return _SQUEEZE
    if "features.2.weight" in state and "features.28.weight" in state:
        return _VGG
    if "features.10.weight" in state and "features.3.weight" in state:
        return _ALEX
    raise ValueError(f"{_WHAT}: {path} holds none of AlexNet, VGG16 and SqueezeNet 1.1; {_REMEDY}")


def _shapes_of(architecture: _Architecture) -> dict[str, torch.Size]:
    shapes: dict[str, torch.Size] = {}
    for layers in architecture.slices:
        for layer in layers:
            shapes |= layer.shapes()
    for number, channels in enumerate(architecture.channels):
        shapes[f"lin{number}.model.1.weight"] = torch.Size((1, channels, 1, 1))
    return shapes


def _unit_length(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + _TINY)

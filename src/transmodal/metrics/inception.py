"""The Inception network of FID, and FID itself, with weights from a file that the user names.

FID (M. Heusel et al., NeurIPS 2017) is defined by one network: the Inception-v3 of C. Szegedy et al., "Rethinking the
Inception architecture for computer vision", CVPR 2016, as TensorFlow published it on 2015-12-05. It differs from
later ones: average pools do not count their padding, the last block pools by maximum, and there are 1008
classes. The names of layers here are those of the public PyTorch port of these weights
(``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid), so that its file loads. Other weights give other numbers.

Nothing is downloaded: a missing file is refused, with what to get.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from transmodal.metrics.frechet import FrechetScore, frechet_score
from transmodal.metrics.weights import read_weights, refuse_other_names, sha256_of

SIDE = 299  # pixels, the input of the network
DIMENSIONS = 2048  # features after the last pool ("pool3")


class InceptionFeatures:
    """Features (N, 2048) of grey images, for :func:`transmodal.metrics.frechet.frechet_score`.

    An image is mapped from its limits to [-1, 1], repeated into three equal channels and resized to 299 x 299 by
    bilinear interpolation without antialiasing (half-pixel centres), the filter of pytorch-fid.

    Args:
        weights: state dict as ``.safetensors`` or as a PyTorch file, read without executing anything from it.
        device: where the network runs.

    Raises:
        ValueError: the file is missing, unreadable, or not of this network; the line says what to get.
    """

    def __init__(self, weights: str | Path, *, device: str = "cpu") -> None:
        self._network = _loaded(Path(weights)).eval().requires_grad_(False).to(device)
        self._device = device
        self.sha256 = sha256_of(weights)
        self.name = "Inception-v3 (2015-12-05) pool3, 2048 features, grey as RGB, bilinear to 299 x 299"

    @torch.inference_mode()
    def __call__(self, images: NDArray[Any], *, limits: tuple[float, float]) -> NDArray[np.float32]:
        """Give features (N, 2048) of images (N, H, W) whose values lie between the two limits."""
        low, high = limits
        grey = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).to(self._device)
        grey = (grey[:, None] - low) * (2.0 / (high - low)) - 1.0
        # Resizing one channel and repeating it afterwards gives the same pixels for a third of the work.
        grey = F.interpolate(grey, (SIDE, SIDE), mode="bilinear", align_corners=False)
        features: Tensor = self._network(grey.expand(-1, 3, -1, -1))
        return features.cpu().numpy()


def fid(
    predicted: Iterable[Any],
    truth: Iterable[Any],
    *,
    weights: str | Path,
    limits: tuple[float, float],
    batch_size: int = 16,
    device: str = "cpu",
) -> FrechetScore:
    """Fréchet Inception distance of two sets of grey images (H, W).

    With fewer than 2049 images a covariance of 2048 features has not full rank and the value is biased upwards: print
    the numbers of images, which the score carries, and compare only at equal ones.

    Args:
        predicted: images, read once and not kept.
        truth: likewise.
        weights: file of the 2015-12-05 weights.
        limits: (low, high) of the values, mapped to -1 and 1; values beyond are clipped.
        batch_size: images in the network at once.
        device: where the network runs.

    Raises:
        ValueError: as in :class:`InceptionFeatures` and :func:`transmodal.metrics.frechet.frechet_score`.
    """
    extractor = InceptionFeatures(weights, device=device)
    return frechet_score(predicted, truth, extractor=extractor, limits=limits, batch_size=batch_size)


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int | tuple[int, int], stride: int = 1, padding: Any = 0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _averaged(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class BlockA(nn.Module):
    """35 x 35: 1 x 1, 5 x 5, double 3 x 3 and pool."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_averaged(x))], 1)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """17 x 17: 7 x 7 factorised once and twice."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        row: dict[str, Any] = {"size": (1, 7), "padding": (0, 3)}
        column: dict[str, Any] = {"size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, width, 1)
        self.branch7x7_2 = Convolution(width, width, **row)
        self.branch7x7_3 = Convolution(width, 192, **column)
        self.branch7x7dbl_1 = Convolution(inputs, width, 1)
        self.branch7x7dbl_2 = Convolution(width, width, **column)
        self.branch7x7dbl_3 = Convolution(width, width, **row)
        self.branch7x7dbl_4 = Convolution(width, width, **column)
        self.branch7x7dbl_5 = Convolution(width, 192, **row)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_averaged(x))], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], 1)


class BlockE(nn.Module):
    """8 x 8: 3 x 3 split into a row and a column side by side. FID's last block pools by maximum."""

    def __init__(self, inputs: int, *, pools_by_maximum: bool) -> None:
        super().__init__()
        self.pools_by_maximum = pools_by_maximum
        row: dict[str, Any] = {"size": (1, 3), "padding": (0, 1)}
        column: dict[str, Any] = {"size": (3, 1), "padding": (1, 0)}
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, **row)
        self.branch3x3_2b = Convolution(384, 384, **column)
        self.branch3x3dbl_1 = Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, **row)
        self.branch3x3dbl_3b = Convolution(384, 384, **column)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.pools_by_maximum else _averaged(x)
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(single),
                self.branch3x3_2b(single),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            1,
        )


class InceptionNetwork(nn.Module):
    """RGB images (N, 3, 299, 299) in [-1, 1] to the features (N, 2048) after the last average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, pools_by_maximum=False)
        self.Mixed_7c = BlockE(2048, pools_by_maximum=True)
        # The classifier is in the published file; the features do not pass it.
        self.fc = nn.Linear(DIMENSIONS, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # (N, 288, 35, 35)
        x = self.Mixed_6b(self.Mixed_6a(x))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(x)))  # (N, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (N, 2048, 8, 8)
        return x.mean(dim=(2, 3))


_REMEDY = "name the file of pytorch-fid's 2015-12-05 weights (pt_inception-2015-12-05-6726825d.pth)"


def _loaded(path: Path) -> InceptionNetwork:
    what = "Inception weights"
    state = read_weights(path, what=what, remedy=_REMEDY)
    network = InceptionNetwork()
    # Files made before batch norms counted their batches lack that count; the features do not use it.
    expected = {name: value.shape for name, value in network.state_dict().items() if "num_batches_tracked" not in name}
    state = {name: value for name, value in state.items() if "num_batches_tracked" not in name}
    refuse_other_names(expected, state, path=path, what=what, remedy=_REMEDY)
    network.load_state_dict(state, strict=False)
    return network

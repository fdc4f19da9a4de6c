"""MONAI's U-Net takes any size and corrects its input where MONAI is, and says how to get it where it is not."""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transmodal.networks.monai_unet import MonaiUNet

LIKE_MONAI: dict[str, Any] = {}


class Halving(nn.Module):
    """Stands for MONAI's network: it refuses what its strides do not divide, as that one does."""

    def __init__(self, *, in_channels: int, out_channels: int, strides: Sequence[int], **settings: Any) -> None:
        super().__init__()
        LIKE_MONAI.update(settings)
        self.divisor, self.mix = 2 ** len(strides), nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        assert all(size % self.divisor == 0 for size in images.shape[2:])
        return self.mix(images)


@pytest.fixture
def monai(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("monai.networks.nets.unet")
    module.UNet = Halving  # type: ignore[attr-defined]
    for name in ("monai", "monai.networks", "monai.networks.nets"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "monai.networks.nets.unet", module)


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize("shape", [(32, 32), (17, 31), (1, 50)])
def test_any_size_comes_back(shape: tuple[int, int]) -> None:
    output = MonaiUNet(2, 3, filters=2, levels=4)(torch.randn(2, 2, *shape))
    assert output.shape == (2, 3, *shape)


@pytest.mark.usefixtures("monai")
def test_monai_is_told_what_the_recipe_says() -> None:
    MonaiUNet(1, 1, filters=4, levels=3, norm="none", dropout=0.25)
    told = {name: LIKE_MONAI[name] for name in ("channels", "norm", "dropout", "num_res_units", "spatial_dims")}
    assert told == {"channels": [4, 8, 16], "norm": None, "dropout": 0.25, "num_res_units": 2, "spatial_dims": 2}


@pytest.mark.usefixtures("monai")
def test_a_correction_starts_from_its_input_and_can_be_learnt() -> None:
    images = torch.randn(2, 3, 17, 20)
    network = MonaiUNet(3, 2, filters=2, levels=3, add_input=(2, 0))
    assert torch.equal(network(images), images[:, [2, 0]])
    network(images).square().mean().backward()
    assert any(values.grad is not None and values.grad.abs().max() > 0 for values in network.head.parameters())


def test_without_monai_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.setitem(sys.modules, "monai.networks.nets.unet", None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'transmodal\[monai\]', or take residual-unet"):
        MonaiUNet(1, 1)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_the_real_network_does_the_same(norm: str) -> None:
    pytest.importorskip("monai", reason="MONAI is not installed (the extra 'monai')")
    torch.manual_seed(0)
    images = torch.randn(2, 2, 17, 31)
    assert torch.equal(MonaiUNet(2, 1, filters=4, levels=3, norm=norm, add_input=[1])(images), images[:, 1:])
    plain = MonaiUNet(2, 1, filters=4, levels=3, norm=norm)(images)
    assert plain.shape == (2, 1, 17, 31) and plain.std() > 0

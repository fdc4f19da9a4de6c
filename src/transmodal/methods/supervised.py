"""Supervised translation: one network, paired images, and a weighted sum of regression losses.

Networks: the FCN-8s that Avula et al., "Medical Image Translation Using Convolutional Neural Networks", use for T1→T2,
a U-Net (Ronneberger et al. 2015, nnU-Net's choices), and one with nnU-Net's residual encoder. The objective is
w₁·MAE + w₂·‖ŷ − y‖₂ + w₃·(1 − SSIM) of Avula et al. (their weights are not published; MAE alone by default), with
Charbonnier, MS-SSIM and gradient difference beside them; all inside the region only, where there is one.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from transmodal.losses.combined import TERMS, combined
from transmodal.losses.regression import pixel_weights
from transmodal.losses.structural import WINDOW
from transmodal.methods.method import LABELS, REGION, AdamSettings, Batch, Ports, Update, set_dropout
from transmodal.methods.one_network import OneNetwork
from transmodal.networks.fcn8s import FCN8s
from transmodal.networks.unet import UNet


class NetworkSettings(BaseModel):
    """The network; what only some kinds have says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["unet", "residual-unet", "fcn8s"] = "unet"
    filters: int = Field(32, ge=1, description="channels of the first level (fcn8s: 64 as published)")
    levels: int = Field(5, ge=1, le=9, description="resolutions, the full one included; not for fcn8s")
    convolutions: int = Field(
        2, ge=1, description="a level (residual-unet: of the decoder, 1 in nnU-Net); not for fcn8s"
    )
    blocks: tuple[int, ...] | None = Field(
        None, description="residual blocks of each level; null: 1, 3, 4, 6, 6, 6 …; residual-unet only"
    )
    norm: Literal["instance", "batch", "none"] = Field("instance", description="fcn8s: none as published")
    activation: Literal["leaky", "relu"] = Field("leaky", description="not for fcn8s")
    dropout: float = Field(0.0, ge=0, lt=1, description="in all levels but the outermost; fcn8s: 0.5 as published")
    upsampling: Literal["transposed", "resize"] = Field("transposed", description="not for fcn8s")
    score_filters: int | None = Field(
        None, ge=1, description="channels of the score maps; null: those of the target, as published; fcn8s only"
    )
    output: Literal["linear", "tanh"] = Field("linear", description="linear outputs are cut to the range in use only")
    add_input: bool = Field(
        False, description="learn a correction of the first input, for aligned modalities that look alike"
    )

    @model_validator(mode="after")
    def _kind_has_it(self) -> "NetworkSettings":
        lacking = {
            "fcn8s": ("levels", "convolutions", "blocks", "activation", "upsampling", "add_input"),
            "unet": ("blocks", "score_filters"),
            "residual-unet": ("score_filters",),
        }
        for name in lacking[self.kind]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is no setting of {self.kind}; leave it out")
        if self.add_input and self.output == "tanh":
            raise ValueError("a correction of the input (add_input) needs output: linear")
        if self.blocks is not None and (len(self.blocks) != self.levels or min(self.blocks) < 1):
            raise ValueError(f"blocks needs one number above 0 for each of {self.levels} levels")
        return self


class LossSettings(BaseModel):
    """Factors of the terms, and which pixels count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mae: float = Field(1.0, ge=0)
    euclidean: float = Field(0.0, ge=0)
    ssim: float = Field(0.0, ge=0, description="of 1 − SSIM")
    charbonnier: float = Field(0.0, ge=0)
    ms_ssim: float = Field(0.0, ge=0, description="of 1 − MS-SSIM; under 161 pixels a side of fewer than 5 scales")
    gradient_difference: float = Field(0.0, ge=0)
    euclidean_free_of_size: bool = Field(
        False, description="divide ‖ŷ − y‖₂ by the root of the number of pixels, so that its factor suits every size"
    )
    lesion_weight: float = Field(1.0, gt=0, description="how many times pixels of a class above 0 count")
    in_region: bool = Field(True, description="count pixels inside the region only, where the recipe has one")

    @model_validator(mode="after")
    def _has_a_term(self) -> "LossSettings":
        if not any(self.factors.values()):
            raise ValueError(f"at least one of {', '.join(TERMS)} must be above 0")
        return self

    @property
    def factors(self) -> dict[str, float]:
        """Term → factor."""
        return {name: getattr(self, name) for name in TERMS}


class SupervisedAdam(AdamSettings):
    """Adam with its own defaults: nothing adversarial here that would want less momentum."""

    betas: tuple[float, float] = (0.9, 0.999)


class SupervisedSettings(BaseModel):
    """All of supervised translation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: NetworkSettings = NetworkSettings()
    loss: LossSettings = LossSettings()
    adam: SupervisedAdam = SupervisedAdam()


class Supervised(OneNetwork):
    """One network from all inputs to all targets."""

    def __init__(self, settings: SupervisedSettings, ports: Ports) -> None:
        if ports.shape is not None:
            _refuse_small(settings, ports.shape)
        super().__init__(make_network(settings.network, ports), ports)
        self.settings, self.adam = settings, settings.adam

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        target, loss = self.ports.join_targets(batch), self.settings.loss
        predicted = self.generate(batch)  # (N, ΣC, *spatial)
        weights = pixel_weights(
            target,
            region=batch.get(REGION) if loss.in_region else None,
            labels=batch.get(LABELS),
            lesion_weight=loss.lesion_weight,
            wanted=self.ports.wanted(batch),
        )
        total, parts = combined(
            loss.factors, predicted, target, weights, euclidean_free_of_size=loss.euclidean_free_of_size
        )
        yield Update("generator", total, {"g_loss": total, **{f"g_{name}": part for name, part in parts.items()}})

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        set_dropout(self.generator, stochastic)
        return self.ports.split_targets(self.generate(inputs).float().clamp(-1, 1))


def _refuse_small(settings: SupervisedSettings, shape: tuple[int, ...]) -> None:
    network, size = settings.network, "×".join(map(str, shape))
    if (settings.loss.ssim or settings.loss.ms_ssim) and min(shape) < WINDOW:
        raise ValueError(
            f"images of {size} are too small for SSIM, which needs {WINDOW} pixels a side; set loss.ssim and "
            "loss.ms_ssim to 0"
        )
    if network.kind != "fcn8s" and network.norm == "batch" and max(shape) <= 2 ** (network.levels - 1):
        raise ValueError(
            f"{network.levels} levels leave one pixel of images of {size}, which batch norm cannot normalise; set "
            "network.levels lower or network.norm: instance"
        )


def make_network(settings: NetworkSettings, ports: Ports) -> nn.Module:
    """Build the network for these ports, with fresh weights.

    Raises:
        ValueError: a correction of the input is asked for, and the first input has other channels than a target.
    """
    if settings.kind == "fcn8s":
        return FCN8s(
            ports.in_channels,
            ports.out_channels,
            spatial_dims=ports.spatial_dims,
            filters=settings.filters,
            score_filters=settings.score_filters,
            norm=settings.norm,
            dropout=settings.dropout,
            output=settings.output,
        )
    return UNet(
        ports.in_channels,
        ports.out_channels,
        spatial_dims=ports.spatial_dims,
        filters=settings.filters,
        levels=settings.levels,
        convolutions=settings.convolutions,
        residual=settings.kind == "residual-unet",
        blocks=settings.blocks,
        norm=settings.norm,
        activation=settings.activation,
        dropout=settings.dropout,
        upsampling=settings.upsampling,
        output=settings.output,
        add_input=_first_input_for_each(ports) if settings.add_input else None,
    )


def _first_input_for_each(ports: Ports) -> tuple[int, ...]:
    """Return the channel of the first input's own slice that each channel of each target corrects."""
    first, channels = next(iter(ports.inputs.items()))
    others = [name for name, number in ports.targets.items() if number != channels]
    if others:
        raise ValueError(
            f"{others[0]} has other channels than {first}, so it can be no correction of it; set add_input: false"
        )
    middle = ports.neighbours * channels
    return tuple(range(middle, middle + channels)) * len(ports.targets)

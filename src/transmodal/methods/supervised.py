"""Supervised translation: one network, paired images, and a weighted sum of regression losses.

Networks: the FCN-8s that Avula et al., "Medical Image Translation Using Convolutional Neural Networks", use for T1→T2,
a U-Net (Ronneberger et al. 2015, nnU-Net's choices), one with nnU-Net's residual encoder, and those that restore CT:
Boursier's U-Net and autoencoder with tanh, FBPConvNet (Jin et al. 2017) and MONAI's U-Net. With `residual`, a network
makes what is added to the first input.

The objective is w₁·MAE + w₂·‖ŷ − y‖₂ + w₃·(1 − SSIM) of Avula et al. (their weights are not published; MAE alone by
default), with Charbonnier, MS-SSIM and gradient difference beside them; all inside the region only, where there is one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from transmodal.losses.combined import TERMS, combined
from transmodal.losses.regression import pixel_weights
from transmodal.losses.structural import WINDOW
from transmodal.methods.method import LABELS, REGION, AdamSettings, Batch, Ports, SgdSettings, Update, set_dropout
from transmodal.methods.one_network import OneNetwork
from transmodal.networks.fbpconvnet import FBPConvNet
from transmodal.networks.fcn8s import FCN8s
from transmodal.networks.monai_unet import MonaiUNet
from transmodal.networks.slide_unet import SlideUNet
from transmodal.networks.unet import UNet

Kind = Literal["unet", "residual-unet", "fcn8s", "slide-unet", "slide-autoencoder", "fbpconvnet", "monai-unet"]

_OF_UNETS = ("convolutions", "blocks", "activation", "upsampling", "score_filters")
_OF_THE_SLIDE = ("dense", "printed_dropout")
NOT_OF_KIND: dict[str, tuple[str, ...]] = {
    "unet": ("blocks", "score_filters", *_OF_THE_SLIDE),
    "residual-unet": ("score_filters", *_OF_THE_SLIDE),
    "fcn8s": ("levels", "convolutions", "blocks", "activation", "upsampling", "add_input", *_OF_THE_SLIDE),
    "slide-unet": (*_OF_UNETS, "norm", "dropout"),
    "slide-autoencoder": (*_OF_UNETS, "norm", "dropout"),
    "fbpconvnet": (*_OF_UNETS, "norm", "dropout", "output", *_OF_THE_SLIDE),
    "monai-unet": (*_OF_UNETS, "output", *_OF_THE_SLIDE),
}
"""The settings that a kind of network does not have."""


class NetworkSettings(BaseModel):
    """The network; what only some kinds have stands in `NOT_OF_KIND`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "unet"
    filters: int = Field(32, ge=1, description="channels of the first level (fcn8s, fbpconvnet: 64 as published)")
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
    output: Literal["linear", "tanh"] = Field(
        "linear", description="linear outputs are cut to the range in use only; slide-*: tanh as printed"
    )
    add_input: bool = Field(
        False, description="learn a correction of the first input, for aligned modalities that look alike"
    )
    dense: bool = Field(
        False, description="slide-* only: the dense bottleneck as printed, which ties the network to one image size"
    )
    printed_dropout: bool | None = Field(
        None,
        description="slide-* only: dropout as printed, of half the channels; null: on for slide-unet, off for "
        "slide-autoencoder, which is not to be trusted with it",
    )

    @model_validator(mode="before")
    @classmethod
    def _earlier_default(cls, entries: Any) -> Any:
        """Leave printed_dropout: true out, which earlier runs wrote for every kind, where the kind does not have it."""
        if not isinstance(entries, dict) or entries.get("printed_dropout") is not True:
            return entries
        lacks_it = "printed_dropout" in NOT_OF_KIND.get(str(entries.get("kind", "unet")), ())
        return {name: value for name, value in entries.items() if name != "printed_dropout" or not lacks_it}

    @model_validator(mode="after")
    def _kind_has_it(self) -> "NetworkSettings":
        for name in NOT_OF_KIND[self.kind]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is no setting of {self.kind}; leave it out")
        if self.add_input and self.output == "tanh":
            raise ValueError("a correction of the input (add_input) needs output: linear")
        if self.blocks is not None and (len(self.blocks) != self.levels or min(self.blocks) < 1):
            raise ValueError(f"blocks needs one number above 0 for each of {self.levels} levels")
        return self

    @property
    def drops_channels(self) -> bool:
        """Whether one of the slide's networks drops channels as printed."""
        return self.kind == "slide-unet" if self.printed_dropout is None else self.printed_dropout


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
    sgd: SgdSettings | None = Field(None, description="gradient descent with momentum instead of adam")
    residual: bool = Field(
        False,
        description="the network makes what is added to the first input, in the unit of both: they need one fixed map",
    )
    corrects: tuple[str, ...] | None = Field(
        None, description="with residual: the input that each target is a correction of; null: the first for all"
    )

    @model_validator(mode="after")
    def _can_be_residual(self) -> "SupervisedSettings":
        if self.residual and "add_input" in NOT_OF_KIND[self.network.kind]:
            raise ValueError(f"{self.network.kind} has no residual form; set residual: false or another network.kind")
        if self.residual and self.network.output != "linear":
            raise ValueError("residual learning needs network.output: linear")
        return self


class Supervised(OneNetwork):
    """One network from all inputs to all targets."""

    def __init__(self, settings: SupervisedSettings, ports: Ports) -> None:
        if ports.shape is not None:
            _refuse_small(settings, ports.shape)
        network = settings.network
        if settings.residual:
            network = network.model_copy(update={"add_input": True})
        corrects = settings.corrects if settings.residual else None
        super().__init__(make_network(network, ports, corrects or ()), ports)
        self.settings, self.adam = settings, settings.adam

    def optimiser_of(self, name: str) -> AdamSettings | SgdSettings:
        return self.settings.sgd or self.adam

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
    if (settings.loss.ssim or settings.loss.ms_ssim) and min(shape) < WINDOW:
        size = "×".join(map(str, shape))
        raise ValueError(
            f"images of {size} are too small for SSIM, which needs {WINDOW} pixels a side; set loss.ssim and "
            "loss.ms_ssim to 0"
        )
    refuse_single_pixels(settings.network, shape)


def refuse_single_pixels(network: NetworkSettings, shape: tuple[int, ...]) -> None:
    """Raise a ValueError where the innermost level of a network has one pixel and batch norm would divide by 0."""
    if _has_batch_norm(network) and max(shape) <= 2 ** (network.levels - 1):
        raise ValueError(
            f"{network.levels} levels leave one pixel of images of {'×'.join(map(str, shape))}, which batch norm "
            "cannot normalise; set network.levels lower or network.norm: instance"
        )


def _has_batch_norm(network: NetworkSettings) -> bool:
    return network.kind == "fbpconvnet" or (network.kind != "fcn8s" and network.norm == "batch")


def make_network(
    settings: NetworkSettings,
    ports: Ports,
    corrects: Sequence[str] = (),
    *,
    of_the_slide: Literal["tanh", "relu"] = "tanh",
) -> nn.Module:
    """Build the network for these ports, with fresh weights.

    Args:
        settings: of the network.
        ports: what goes in and what comes out.
        corrects: of a network that adds its inputs, that of each target; empty takes the first for all.
        of_the_slide: what its networks have in their body: tanh to restore, ReLU to segment.

    Raises:
        ValueError: a correction of the input is asked for, and the input has other channels than the target;
            MONAI's network is, and MONAI is not installed; settings that the network refuses.
    """
    channels = (ports.in_channels, ports.out_channels)
    size: dict[str, Any] = {"spatial_dims": ports.spatial_dims, "filters": settings.filters}
    if settings.kind == "fcn8s":
        return FCN8s(
            *channels,
            **size,
            score_filters=settings.score_filters,
            norm=settings.norm,
            dropout=settings.dropout,
            output=settings.output,
        )
    size |= {"levels": settings.levels, "add_input": None}
    if settings.add_input:
        size["add_input"] = ports.corrected_channels(corrects)
    if settings.kind in ("slide-unet", "slide-autoencoder"):
        return SlideUNet(
            *channels,
            **size,
            skips=settings.kind == "slide-unet",
            dense=settings.dense,
            shape=ports.shape,
            output=settings.output,
            activation=of_the_slide,
            dropout=settings.drops_channels,
        )
    if settings.kind == "fbpconvnet":
        return FBPConvNet(*channels, **size)
    if settings.kind == "monai-unet":
        return MonaiUNet(*channels, **size, norm=settings.norm, dropout=settings.dropout)
    return UNet(
        *channels,
        **size,
        convolutions=settings.convolutions,
        residual=settings.kind == "residual-unet",
        blocks=settings.blocks,
        norm=settings.norm,
        activation=settings.activation,
        dropout=settings.dropout,
        upsampling=settings.upsampling,
        output=settings.output,
    )

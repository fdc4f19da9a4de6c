"""pix2pix: a conditional GAN on paired images.

Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017. Applied to mouse
photographs and X-rays, with three adversarial losses, by Fysikopoulos et al., J Imaging 7(12):262, 2021.

The objective is  G* = arg min_G max_D  L_adversarial(G, D) + λ·‖y − G(x, z)‖₁. The noise z is the dropout in G.
"""

from collections.abc import Iterator
from math import floor, log2
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from transmodal.losses.adversarial import AdversarialLoss, discriminator_loss, generator_loss, gradient_penalty
from transmodal.methods.method import AdamSettings, Batch, Method, Ports, Update, mean_of_wanted, set_dropout
from transmodal.networks.layers import Norm
from transmodal.networks.patch_discriminator import PatchDiscriminator, smallest_side
from transmodal.networks.unet_generator import UNetGenerator


class GeneratorSettings(BaseModel):
    """The U-Net; the defaults are U-Net-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(64, ge=1)
    downsamplings: Annotated[int, Field(ge=1, le=10)] | Literal["auto"] = Field(
        "auto", description="halvings; auto: 8, or fewer where the shorter side of the training images is below 256"
    )
    norm: Norm = "batch"
    statistics: Literal["image", "running"] = Field(
        "image", description="batch norm in use: of the image itself, as published, or running averages"
    )
    dropout: float = Field(0.5, ge=0, lt=1)
    dropout_levels: int = Field(3, ge=0)
    dropout_skips_innermost: bool = False
    upsampling: Literal["transposed", "resize"] = "transposed"


class DiscriminatorSettings(BaseModel):
    """The PatchGAN; the default judges patches of 70×70 pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["patch", "pixel"] = "patch"
    layers: int = Field(3, ge=1, le=7)
    filters: int = Field(64, ge=1)
    norm: Norm | Literal["auto"] = Field("auto", description="auto: batch, and layer for wgan-gp")


class Pix2PixSettings(BaseModel):
    """All of pix2pix. Changing `adversarial` is how the published loss comparison is repeated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adversarial: AdversarialLoss = "cross-entropy"
    l1_weight: float = Field(100.0, ge=0)
    discriminator_weight: float = Field(
        0.5, gt=0, description="slows the discriminator (not used by the Wasserstein losses)"
    )
    gradient_penalty_weight: float = Field(10.0, ge=0, description="wgan-gp only")
    critic_steps: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="critic updates a generator update, Wasserstein losses only; auto: 5 for wgan-gp as in its paper, "
        "1 for wgan-noconstraint as in the code that it replicates",
    )
    generator: GeneratorSettings = GeneratorSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    adam: AdamSettings = AdamSettings()
    residual: bool = Field(
        False,
        description="the generator makes what is added to the first input, in the unit of both: they need one fixed "
        "map",
    )


class Pix2Pix(Method):
    """U-Net generator against PatchGAN discriminator, with an L1 term."""

    translation_modules = ("generator",)

    def __init__(self, settings: Pix2PixSettings, ports: Ports) -> None:
        super().__init__()
        self.settings, self.ports, self.adam = settings, ports, settings.adam
        in_channels, out_channels = ports.in_channels, ports.out_channels
        generator, discriminator = settings.generator, settings.discriminator
        self.takes_batches = generator.norm != "batch" or generator.statistics == "running"
        self.generator = UNetGenerator(
            in_channels,
            out_channels,
            spatial_dims=ports.spatial_dims,
            filters=generator.filters,
            downsamplings=_depth(generator.downsamplings, ports.shape),
            norm=generator.norm,
            dropout=generator.dropout,
            dropout_levels=generator.dropout_levels,
            dropout_skips_innermost=generator.dropout_skips_innermost,
            upsampling=generator.upsampling,
            running_statistics=generator.statistics == "running",
            add_input=ports.corrected_channels() if settings.residual else None,
        )
        norm = discriminator.norm
        if norm == "auto":
            norm = "layer" if settings.adversarial == "wgan-gp" else "batch"
        elif norm == "batch" and settings.adversarial == "wgan-gp":
            raise ValueError("a critic with a gradient penalty must not use batch norm; set discriminator.norm: layer")
        layers = discriminator.layers if discriminator.kind == "patch" else 0
        if ports.shape is not None and min(ports.shape) < smallest_side(layers):
            raise ValueError(
                f"images of {'×'.join(map(str, ports.shape))} are too small for a discriminator of {layers} layers, "
                f"which needs {smallest_side(layers)} pixels a side; set discriminator.layers lower or shrink less"
            )
        self.discriminator = PatchDiscriminator(
            in_channels + out_channels,
            spatial_dims=ports.spatial_dims,
            filters=discriminator.filters,
            layers=layers,
            norm=norm,
        )

    @property
    def is_wasserstein(self) -> bool:
        """The discriminator is a critic: its scores have no bounds."""
        return self.settings.adversarial.startswith("wgan")

    @property
    def critic_steps(self) -> int:
        """Discriminator updates a generator update."""
        if not self.is_wasserstein:
            return 1
        if self.settings.critic_steps != "auto":
            return self.settings.critic_steps
        return 5 if self.settings.adversarial == "wgan-gp" else 1

    def trained_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        settings, kind = self.settings, self.settings.adversarial
        source, target = self.ports.join_inputs(batch), self.ports.join_targets(batch)
        wanted = self.ports.wanted(batch)
        generator_turn = (step + 1) % self.critic_steps == 0

        with torch.set_grad_enabled(generator_turn):
            fake = self.generator(source)  # (N, C, *spatial) in [-1, 1]

        if wanted is not None:  # what is not known, or was given, is nothing to learn from: it stays as it is
            fake = torch.lerp(target, fake.to(target.dtype), wanted)
        self.discriminator.requires_grad_(True)
        real_scores = self.discriminator(torch.cat([source, target], 1))
        fake_scores = self.discriminator(torch.cat([source, fake.detach().to(source.dtype)], 1))
        loss, parts = discriminator_loss(kind, real_scores, fake_scores)
        if kind == "wgan-gp":
            parts["d_gp"] = self._penalty(source, target, fake.detach())
            loss = loss + settings.gradient_penalty_weight * parts["d_gp"]
        if not self.is_wasserstein:
            loss = settings.discriminator_weight * loss
        yield Update("discriminator", loss, {"d_loss": loss, **parts})

        if generator_turn:
            self.discriminator.requires_grad_(False)  # its weight gradients would be thrown away
            g_fake = generator_loss(kind, self.discriminator(torch.cat([source, fake.to(source.dtype)], 1)))
            g_l1 = mean_of_wanted((fake.float() - target).abs(), wanted)
            loss = g_fake + settings.l1_weight * g_l1
            yield Update("generator", loss, {"g_loss": loss, "g_fake": g_fake, "g_l1": g_l1})

    def _penalty(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        # A norm of gradients near 1 is lost in 16-bit precision: this part stays in float32.
        with torch.autocast(source.device.type, enabled=False):
            return gradient_penalty(lambda x: self.discriminator(torch.cat([source, x], 1)), target, fake.float())

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        set_dropout(self.generator, stochastic)
        made = self.generator(self.ports.join_inputs(inputs)).float()
        return self.ports.split_targets(made.clamp(-1, 1) if self.settings.residual else made)


def _depth(downsamplings: int | Literal["auto"], shape: tuple[int, ...] | None) -> int:
    if downsamplings != "auto":
        return downsamplings
    if shape is None:
        return 8
    return max(1, min(8, floor(log2(min(shape)))))

"""TC-MGAN: one generator makes all targets from the given source, and a segmentor watches over the tumour.

Xin, Hu, Zheng, Liao, "Multi-modality Generative Adversarial Networks with Tumor Consistency for Brain MR Image
Synthesis", ISBI 2020 (arXiv 2005.00925); losses, networks and steps as its public code has them. With D(y | x) the
patch scores of image y beside source x, t the target's label, m the mask of the whole tumour:

    d_loss = d_real + d_fake + λ_cls·d_cls + λ_gp·d_gp
             d_real = −mean Σ_patches D(y | x)        d_fake = mean Σ_patches D(G(x, t) | x)
             d_cls  = binary cross-entropy of t, summed over labels, of y     d_gp = (‖∇ Σ_patches D‖₂ − 1)²
    g_loss = g_fake + λ_cls·g_cls + λ_rec·g_rec + λ_seg·g_seg
             g_fake = −d_fake      g_cls as d_cls, of G(x, t)      g_rec = mean over images of Σ_pixels |y − G(x, t)|
             g_seg  = 1 − Dice(S(G(x, t), t), m)
    s_loss = 0.7·(1 − Dice(S(G(x, t), t), m)) + 0.3·(1 − Dice(S(y, t), m))
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from transmodal.datasets.batch_keys import LABELS, SEGMENTOR
from transmodal.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from transmodal.losses.classification import independent_label_loss
from transmodal.losses.overlap import soft_dice_loss
from transmodal.methods.class_conditional import (
    ClassDiscriminatorSettings,
    ConditionalUNetSettings,
    draw_one,
    one_hot,
    pick,
    shared_channels,
    with_label_maps,
)
from transmodal.methods.method import AdamSettings, Batch, Method, Ports, Update, set_dropout
from transmodal.networks.class_discriminator import deepest
from transmodal.networks.segmentor import Segmentor
from transmodal.networks.unet import start_as_he

PUBLISHED_LAYERS = 5
MOST_PRETRAINING = 0.25  # of a training; published: 30 of 130 epochs
FAKE_SHARE = 0.7  # of s_loss; the rest is of real images


class SegmentorSettings(BaseModel):
    """The segmentor S of the whole tumour (every label above 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(64, ge=1)
    levels: Annotated[int, Field(ge=1, le=6)] | Literal["auto"] = Field("auto", description="auto: 4, or fewer")
    pretraining_steps: int = Field(
        0,
        ge=0,
        description="first steps, in which only S is trained, on real images, up to a quarter of the training; "
        "published: 30 epochs before 100",
    )
    # Published: 1e-4 in the 30 epochs alone, the GAN's 2e-4 afterwards. One rate for both here, the careful one.
    adam: AdamSettings = AdamSettings(learning_rate=1e-4, betas=(0.9, 0.999))


class TcMganSettings(BaseModel):
    """All of TC-MGAN.

    The weights are not in its public code, which fails without them. The training log printed by Al Omari (2022) forces
    λ_rec = 1 and, within its rounding, agrees with λ_cls = 1, λ_gp = 10 and λ_seg between 81 and 98 (derived); 90 is
    the middle of that (unverified). A fork (RAGAN) has λ_cls = 20, λ_rec = 0.1, λ_gp = 100, which does not fit.

    `g_rec` and the scores are sums over an image, so that the weights hold for images of 128×128; an image with more
    pixels weighs reconstruction more against classes and segmentation, and `reconstruction_weight` may be lowered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classification_weight: float = Field(1.0, ge=0, description="λ_cls (derived)")
    gradient_penalty_weight: float = Field(10.0, ge=0, description="λ_gp (derived)")
    reconstruction_weight: float = Field(1.0, ge=0, description="λ_rec (derived)")
    segmentation_weight: float = Field(90.0, ge=0, description="λ_seg (unverified); without labels it is 0")
    critic_steps: int = Field(1, ge=1, description="discriminator updates a generator update; published: 1")
    targets_a_step: Literal["one", "all"] = Field(
        "one", description="of each case: one target drawn at random, as published, or all that it has"
    )
    generator: ConditionalUNetSettings = ConditionalUNetSettings()
    discriminator: ClassDiscriminatorSettings = ClassDiscriminatorSettings()
    segmentor: SegmentorSettings | None = Field(
        SegmentorSettings(), description="null, or a recipe without labels, trains without a segmentor"
    )
    adam: AdamSettings = AdamSettings(learning_rate=2e-4, betas=(0.9, 0.999))


class TcMgan(Method):
    """Fixed sources to any of the targets, by label; labels count as `Ports.targets` does.

    Where a batch has SEGMENTOR, the cases so marked train nothing but the segmentor, in its first steps alone, and the
    others train nothing but what comes after: the published three-way split of subjects (the third part is the test).
    Missing targets, and such as were given among the sources, take part in no loss.
    """

    translation_modules = ("generator",)

    def __init__(self, settings: TcMganSettings, ports: Ports) -> None:
        super().__init__()
        both = [name for name in ports.inputs if name in ports.targets]
        if both and not ports.missing:
            raise ValueError(
                f"{both[0]} is both input and target; tc-mgan takes that only with sampling.missing_inputs: true, or "
                "set unified.variant: dai"
            )
        self.settings, self.ports, self.adam = settings, ports, settings.adam
        self.classes, channels = len(ports.targets), shared_channels(ports, tuple(ports.targets))
        self.generator = settings.generator.make(ports.in_channels + self.classes, channels, ports)
        self.discriminator = settings.discriminator.make(
            channels + ports.in_channels, self.classes, ports, published_layers=PUBLISHED_LAYERS
        )
        start_as_he(self.discriminator)
        self.segmentor: Segmentor | None = None
        if settings.segmentor is not None and ports.classes:
            levels = settings.segmentor.levels
            self.segmentor = Segmentor(
                channels + self.classes,
                spatial_dims=ports.spatial_dims,
                filters=settings.segmentor.filters,
                # One halving less than would leave a single pixel, which batch norm cannot take.
                levels=max(1, deepest(ports.shape, 5) - 1) if levels == "auto" else levels,
            )

    def trained_modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        return modules if self.segmentor is None else modules | {"segmentor": self.segmentor}

    def adam_of(self, name: str) -> AdamSettings:
        settings = self.settings.segmentor
        return settings.adam if name == "segmentor" and settings is not None else self.adam

    @property
    def _pretraining_steps(self) -> int:
        settings = self.settings.segmentor
        return settings.pretraining_steps if settings is not None and self.segmentor is not None else 0

    def notice(self, step: int) -> str:
        if step >= self._pretraining_steps or self.progress < MOST_PRETRAINING:
            return ""
        return (
            f"unified.tc_mgan.segmentor.pretraining_steps: {self._pretraining_steps} is more than a quarter of this "
            "training; after that quarter the generator is trained"
        )

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        settings, pretraining = self.settings, self._pretraining_steps
        pretrains = step < pretraining and self.progress < MOST_PRETRAINING
        cases, which = self._draw(batch, for_segmentor=pretrains)
        if not len(cases):
            return
        label = one_hot(which, self.classes)
        real = self._real(batch, cases, which)
        mask = (batch[LABELS][cases] > 0) if self.segmentor is not None and LABELS in batch else None
        if pretrains:
            if mask is not None:
                loss = self._segmentation_loss(real, label, mask, trains=True)
                yield Update("segmentor", loss, {"s_loss": loss})
            return

        source = self.ports.join_inputs(batch)[cases]
        generator_turn = (step - pretraining + 1) % settings.critic_steps == 0
        with torch.set_grad_enabled(generator_turn):
            fake = self.generator(with_label_maps(source, label))  # (N, C, *spatial) in [-1, 1]
        seen = fake.detach().float()
        yield self._discriminator_update(source, real, seen, label)
        if not generator_turn:
            return
        yield self._generator_update(source, real, fake, label, mask)
        if mask is not None:  # of the fakes before the generator's step: the code makes them anew, for one pass more
            loss = FAKE_SHARE * self._segmentation_loss(seen, label, mask, trains=True)
            loss = loss + (1 - FAKE_SHARE) * self._segmentation_loss(real, label, mask, trains=True)
            yield Update("segmentor", loss, {"s_loss": loss})

    def _discriminator_update(self, source: Tensor, real: Tensor, fake: Tensor, label: Tensor) -> Update:
        settings = self.settings
        self.discriminator.requires_grad_(True)
        real_scores, classes = self.discriminator(torch.cat([real, source], 1))
        fake_scores, _ = self.discriminator(torch.cat([fake, source], 1))
        loss, parts = discriminator_loss("wgan-gp", _summed(real_scores), _summed(fake_scores))
        parts["d_cls"] = independent_label_loss(classes, label)
        # A norm of gradients near 1 is lost in 16-bit precision: this part stays in float32.
        with torch.autocast(source.device.type, enabled=False):
            parts["d_gp"] = gradient_penalty(lambda x: self.discriminator(torch.cat([x, source], 1))[0], real, fake)
        loss = loss + settings.classification_weight * parts["d_cls"]
        loss = loss + settings.gradient_penalty_weight * parts["d_gp"]
        return Update("discriminator", loss, {"d_loss": loss, **parts})

    def _generator_update(
        self, source: Tensor, real: Tensor, fake: Tensor, label: Tensor, mask: Tensor | None
    ) -> Update:
        settings = self.settings
        self.discriminator.requires_grad_(False)  # its weight gradients would be thrown away
        fake = fake.float()
        scores, classes = self.discriminator(torch.cat([fake, source], 1))
        parts = {
            "g_fake": generator_loss("wgan-gp", _summed(scores)),
            "g_cls": independent_label_loss(classes, label),
            "g_rec": (real - fake).abs().flatten(1).sum(1).mean(),
        }
        loss = parts["g_fake"] + settings.classification_weight * parts["g_cls"]
        loss = loss + settings.reconstruction_weight * parts["g_rec"]
        if mask is not None:
            parts["g_seg"] = self._segmentation_loss(fake, label, mask, trains=False)
            loss = loss + settings.segmentation_weight * parts["g_seg"]
        return Update("generator", loss, {"g_loss": loss, **parts})

    def _segmentation_loss(self, images: Tensor, label: Tensor, mask: Tensor, *, trains: bool) -> Tensor:
        assert self.segmentor is not None
        self.segmentor.requires_grad_(trains)
        return soft_dice_loss(self.segmentor(with_label_maps(images, label)), mask)

    def _draw(self, batch: Batch, *, for_segmentor: bool) -> tuple[Tensor, Tensor]:
        """Return the pairs of case and target that this step is about: (P,) and (P,) of int64."""
        wanted = self.ports.wanted(batch)
        some = next(iter(self.ports.targets))
        if wanted is None:
            known = torch.ones(len(batch[some]), self.classes, dtype=torch.bool, device=batch[some].device)
        else:
            known = wanted.flatten(1)[:, :: wanted.shape[1] // self.classes] > 0
        if SEGMENTOR in batch and self.segmentor is not None:
            known = known & (batch[SEGMENTOR].bool() == for_segmentor)[:, None]
        if self.settings.targets_a_step == "all":
            cases, which = known.nonzero(as_tuple=True)
            return cases, which
        cases = known.any(1).nonzero().flatten()
        return cases, draw_one(known[cases]) if len(cases) else cases

    def _real(self, batch: Batch, cases: Tensor, which: Tensor) -> Tensor:
        middles = {name: self.ports.middle(batch, name) for name in self.ports.targets}
        return pick(middles, tuple(self.ports.targets), cases, which)

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        set_dropout(self.generator, stochastic)
        source = self.ports.join_inputs(inputs)
        labels = torch.eye(self.classes, device=source.device)
        return {
            name: self.generator(with_label_maps(source, label.expand(len(source), -1))).float()
            for name, label in zip(self.ports.targets, labels, strict=True)
        }


def _summed(scores: Tensor) -> Tensor:
    """Sum the scores of all patches of an image, as the public code does."""
    return scores.float().flatten(1).sum(1)

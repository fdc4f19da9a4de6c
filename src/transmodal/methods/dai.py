"""Any modality to any other by one generator that is told the target: the multimodal GAN of Dai et al.

Dai, Lei, Fu, Curran, Liu, Mao, Yang, "Multimodal MRI synthesis using unified generative adversarial networks", Medical
Physics 47, 2020, as far as it is known here: one generator on image and label, one discriminator that judges real or
made and which modality; classification, synthetic consistency and cycle consistency; α = 2, β = 5, γ = 10, δ = 2,
μ = 0.1 (as printed by Al Omari, 2022). Which term each weight belongs to is our reading. With x_s the source, x_t the
aligned target, c the class scores of D:

    d_loss = d_real + d_fake + δ·d_cls + λ_gp·d_gp
             d_real = −mean D(x_t), d_fake = mean D(G(x_s, t))
    g_loss = g_fake + α·g_cls + β·g_syn + γ·g_cyc + μ·g_self
             g_fake = −d_fake      g_cls = cross-entropy of t by c(G(x_s, t))      g_syn = mean |G(x_s, t) − x_t|
             g_cyc  = mean |G(G(x_s, t), s) − x_s|                                 g_self = mean |G(x_s, s) − x_s|

"δ: adversarial and classification losses" is read as the weight of classification in D; "μ: cycle consistency", named
a second time, as that of the shortest cycle, from a modality to itself. Networks, optimiser, the adversarial loss and
its penalty are not known either; they are those of TC-MGAN and StarGAN.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from transmodal.datasets.batch_keys import REGION
from transmodal.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from transmodal.losses.classification import exclusive_label_loss
from transmodal.methods.class_conditional import (
    ClassDiscriminatorSettings,
    ConditionalUNetSettings,
    draw_one,
    one_hot,
    pick,
    presence,
    refuse_neighbours,
    shared_channels,
    with_label_maps,
)
from transmodal.methods.method import AdamSettings, Batch, Method, Ports, Update, set_dropout

MOST_LAYERS = 4


class DaiSettings(BaseModel):
    """All of it; α to μ are printed numbers in our reading, the rest is unverified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classification_weight: float = Field(2.0, ge=0, description="α, in the generator's loss")
    synthetic_weight: float = Field(5.0, ge=0, description="β, of the distance to the true target")
    cycle_weight: float = Field(10.0, ge=0, description="γ, of the way back to the source")
    discriminator_classification_weight: float = Field(2.0, ge=0, description="δ, in the discriminator's loss")
    self_weight: float = Field(0.1, ge=0, description="μ, of a modality made from itself; 0 spares that pass")
    gradient_penalty_weight: float = Field(10.0, ge=0)
    critic_steps: int = Field(1, ge=1, description="discriminator updates a generator update")
    combine: Literal["mean", "first"] = Field(
        "mean", description="several given inputs: the mean of what each of them yields, or the first given alone"
    )
    generator: ConditionalUNetSettings = ConditionalUNetSettings()
    discriminator: ClassDiscriminatorSettings = ClassDiscriminatorSettings()
    adam: AdamSettings = AdamSettings(learning_rate=1e-4)


class Dai(Method):
    """Any input to any target; labels count as `Ports.modalities` does.

    In training each case draws one of its pairs of source and target; a case with less than two modalities sits out.
    """

    translation_modules = ("generator",)

    def __init__(self, settings: DaiSettings, ports: Ports) -> None:
        super().__init__()
        refuse_neighbours(ports)
        self.settings, self.ports, self.adam = settings, ports, settings.adam
        self.modalities = ports.modalities
        if len(self.modalities) < 2:
            raise ValueError(f"there is nothing to translate {self.modalities[0]} to")
        channels, classes = shared_channels(ports, self.modalities), len(self.modalities)
        self.generator = settings.generator.make(channels + int(ports.region) + classes, channels, ports)
        self.discriminator = settings.discriminator.make(channels, classes, ports, published_layers=MOST_LAYERS)

    def trained_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        cases, source, target = self._draw(batch)
        if not len(cases):
            return
        given, real = (pick(batch, self.modalities, cases, which) for which in (source, target))
        region = batch[REGION][cases] if self.ports.region else None
        generator_turn = (step + 1) % self.settings.critic_steps == 0
        with torch.set_grad_enabled(generator_turn):
            fake = self._make(given, target, region)
        yield self._discriminator_update(real, fake.detach().float(), target)
        if generator_turn:
            yield self._generator_update(given, real, fake, source, target, region)

    def _draw(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return cases, and of each its source and its target, two modalities that it has: three of (P,) int64."""
        there = presence(self.ports, batch, self.modalities)
        sources = there & there.new_tensor([name in self.ports.inputs for name in self.modalities])
        targets = there & there.new_tensor([name in self.ports.targets for name in self.modalities])
        number = len(self.modalities)
        pairs = sources[:, :, None] & targets[:, None, :] & ~torch.eye(number, dtype=torch.bool, device=there.device)
        pairs = pairs.flatten(1)
        cases = pairs.any(1).nonzero().flatten()
        drawn = draw_one(pairs[cases]) if len(cases) else cases
        return cases, drawn // number, drawn % number

    def _make(self, images: Tensor, modality: Tensor, region: Tensor | None) -> Tensor:
        shown = images if region is None else torch.cat([images, region.to(images.dtype)], 1)
        made: Tensor = self.generator(with_label_maps(shown, one_hot(modality, len(self.modalities))))
        return made

    def _discriminator_update(self, real: Tensor, fake: Tensor, target: Tensor) -> Update:
        settings = self.settings
        self.discriminator.requires_grad_(True)
        real_scores, classes = self.discriminator(real)
        loss, parts = discriminator_loss("wgan-gp", real_scores, self.discriminator(fake)[0])
        parts["d_cls"] = exclusive_label_loss(classes, target)
        # A norm of gradients near 1 is lost in 16-bit precision: this part stays in float32.
        with torch.autocast(real.device.type, enabled=False):
            parts["d_gp"] = gradient_penalty(lambda x: self.discriminator(x)[0], real, fake)
        loss = loss + settings.discriminator_classification_weight * parts["d_cls"]
        loss = loss + settings.gradient_penalty_weight * parts["d_gp"]
        return Update("discriminator", loss, {"d_loss": loss, **parts})

    def _generator_update(
        self, given: Tensor, real: Tensor, fake: Tensor, source: Tensor, target: Tensor, region: Tensor | None
    ) -> Update:
        settings = self.settings
        self.discriminator.requires_grad_(False)  # its weight gradients would be thrown away
        scores, classes = self.discriminator(fake)
        parts = {
            "g_fake": generator_loss("wgan-gp", scores),
            "g_cls": exclusive_label_loss(classes, target),
            "g_syn": (fake.float() - real).abs().mean(),
        }
        loss = parts["g_fake"] + settings.classification_weight * parts["g_cls"]
        loss = loss + settings.synthetic_weight * parts["g_syn"]
        if settings.cycle_weight:
            parts["g_cyc"] = (self._make(fake, source, region).float() - given).abs().mean()
            loss = loss + settings.cycle_weight * parts["g_cyc"]
        if settings.self_weight:
            parts["g_self"] = (self._make(given, source, region).float() - given).abs().mean()
            loss = loss + settings.self_weight * parts["g_self"]
        return Update("generator", loss, {"g_loss": loss, **parts})

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        """Return all targets, each from the given inputs other than itself; from itself where nothing else is given.

        Raises:
            ValueError: a case without any input.
        """
        set_dropout(self.generator, stochastic)
        given = self.ports.given(inputs) > 0  # (N, inputs)
        if not given.any(1).all():
            raise ValueError("a case has none of the inputs that could be translated")
        region = inputs[REGION] if self.ports.region else None
        return {target: self._one_target(inputs, given, target, region) for target in self.ports.targets}

    def _one_target(self, inputs: Batch, given: Tensor, target: str, region: Tensor | None) -> Tensor:
        """Weigh what each source yields for one target; sources that no case has are not asked."""
        names = list(self.ports.inputs)
        others = given.clone()
        if target in names:
            others[:, names.index(target)] = False
            others = torch.where(others.any(1, keepdim=True), others, given)
        if self.settings.combine == "first":
            others &= others.cumsum(1) == 1
        weights = others / others.sum(1, keepdim=True)  # (N, inputs)
        first = inputs[names[0]]
        total = torch.zeros_like(first, dtype=torch.float32)
        label = torch.tensor(self.modalities.index(target), device=first.device)
        for place, name in enumerate(names):
            cases = others[:, place].nonzero().flatten()
            if len(cases):
                shown = None if region is None else region[cases]
                made = self._make(inputs[name][cases], label.expand(len(cases)), shown).float()
                share = weights[cases, place].view(-1, *(1,) * (made.ndim - 1))
                total = total.index_add(0, cases, made * share)
        return total

"""StarGAN: unpaired translation among many modalities by one generator and one discriminator, over several data sets.

Choi, Choi, Kim, Ha, Kim, Choo, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image
Translation", CVPR 2018, and its public code. With x an image of modality c₀, c the label aimed at:

    d_loss = d_real + d_fake + λ_cls·d_cls + λ_gp·d_gp
             d_real = −mean D(x)       d_fake = mean D(G(x, c))      d_cls = cross-entropy of c₀ by the classes of x
    g_loss = g_fake + λ_cls·g_cls + λ_rec·g_rec
             g_fake = −d_fake      g_cls = cross-entropy of c by the classes of G(x, c)
             g_rec  = mean |x − G(G(x, c), c₀)|

No pair enters: each case shows one of its modalities, drawn at random, and c is the batch's labels in another order.

Data sets with different modalities share the networks by c̃ = [c₁, c₂, …, m]: one block of labels a data set, zero
where a case belongs to another, and m, one-hot, which block is known. D predicts all blocks and is trained on the known
one. The public code feeds the data sets in turn; here a batch may mix them.
"""

from collections.abc import Iterator

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from transmodal.datasets.batch_keys import DATASET, REGION
from transmodal.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from transmodal.losses.classification import exclusive_label_loss
from transmodal.methods.class_conditional import (
    ClassDiscriminatorSettings,
    draw_one,
    one_hot,
    pick,
    presence,
    refuse_neighbours,
    shared_channels,
    with_label_maps,
)
from transmodal.methods.method import AdamSettings, Batch, Method, Ports, Update
from transmodal.networks.residual_generator import ResidualGenerator

PUBLISHED_LAYERS = 6


class ResidualGeneratorSettings(BaseModel):
    """The generator, as published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(64, ge=1)
    downsamplings: int = Field(2, ge=0, le=6)
    blocks: int = Field(6, ge=0)


class StarGanSettings(BaseModel):
    """All of StarGAN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classification_weight: float = Field(1.0, ge=0)
    reconstruction_weight: float = Field(10.0, ge=0)
    gradient_penalty_weight: float = Field(10.0, ge=0)
    critic_steps: int = Field(5, ge=1, description="discriminator updates a generator update")
    datasets: dict[str, tuple[str, ...]] | None = Field(
        None, description="data set: its modalities, in the order that the batch counts data sets; null: one for all"
    )
    generator: ResidualGeneratorSettings = ResidualGeneratorSettings()
    discriminator: ClassDiscriminatorSettings = ClassDiscriminatorSettings()
    adam: AdamSettings = AdamSettings(learning_rate=1e-4)


class StarGan(Method):
    """Any modality to any other, learnt without pairs."""

    translation_modules = ("generator",)
    label_of: Tensor  # (data sets, modalities) int64: the label, -1 where a data set lacks a modality
    block: Tensor  # (data sets, labels) of bool: the labels of a data set

    def __init__(self, settings: StarGanSettings, ports: Ports) -> None:
        super().__init__()
        refuse_neighbours(ports)
        self.settings, self.ports, self.adam = settings, ports, settings.adam
        self.modalities = ports.modalities
        channels = shared_channels(ports, self.modalities)
        self._count_labels(settings.datasets or {"all": self.modalities})
        datasets, labels = self.block.shape
        masks = datasets if settings.datasets else 0
        self.generator = ResidualGenerator(
            channels + int(ports.region) + labels + masks,
            channels,
            spatial_dims=ports.spatial_dims,
            filters=settings.generator.filters,
            downsamplings=settings.generator.downsamplings,
            blocks=settings.generator.blocks,
        )
        self.discriminator = settings.discriminator.make(channels, labels, ports, published_layers=PUBLISHED_LAYERS)

    def _count_labels(self, datasets: dict[str, tuple[str, ...]]) -> None:
        known = {name for names in datasets.values() for name in names}
        if known != set(self.modalities) or any(len(set(names)) < len(names) for names in datasets.values()):
            raise ValueError(
                f"datasets must name each of the modalities {', '.join(self.modalities)}, once a data set, and no "
                f"others; they name {', '.join(sorted(known))}"
            )
        label_of = torch.full((len(datasets), len(self.modalities)), -1)
        block = torch.zeros(len(datasets), sum(map(len, datasets.values())), dtype=torch.bool)
        label = 0
        for row, names in enumerate(datasets.values()):
            for name in names:
                label_of[row, self.modalities.index(name)] = label
                block[row, label] = True
                label += 1
        # They follow from the settings: moved with the weights, not stored with them.
        self.register_buffer("label_of", label_of, persistent=False)
        self.register_buffer("block", block, persistent=False)

    def trained_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        dataset = self._datasets(batch)
        there = presence(self.ports, batch, self.modalities) & (self.label_of[dataset] >= 0)
        cases = there.any(1).nonzero().flatten()
        if not len(cases):
            return
        dataset, which = dataset[cases], draw_one(there[cases])
        real = pick(batch, self.modalities, cases, which)
        region = batch[REGION][cases] if self.ports.region else None
        own = self.label_of[dataset, which]
        aim = self._permuted(own, dataset)

        generator_turn = (step + 1) % self.settings.critic_steps == 0
        with torch.set_grad_enabled(generator_turn):
            fake = self._make(real, aim, dataset, region)
        yield self._discriminator_update(real, fake.detach().float(), own, self.block[dataset])
        if generator_turn:
            back = self._make(fake, own, dataset, region)
            yield self._generator_update(real, fake, back, aim, self.block[dataset])

    def _datasets(self, batch: Batch) -> Tensor:
        """Return which data set each case is of: (N,) int64."""
        first = next(tensor for name, tensor in batch.items() if not name.startswith("#"))
        if len(self.block) == 1:
            return torch.zeros(len(first), dtype=torch.int64, device=first.device)
        if DATASET not in batch:
            raise ValueError("stargan.datasets is set, and the batch does not say of which data set its cases are")
        return batch[DATASET]

    def _permuted(self, own: Tensor, dataset: Tensor) -> Tensor:
        """Return the labels of the cases in another order, those of each data set among themselves.

        A case alone of its data set would keep its label and nothing would be learnt: it draws another one.
        """
        aim = own.clone()
        for number in range(len(self.block)):
            members = (dataset == number).nonzero().flatten()
            if len(members) > 1:
                aim[members] = own[members[torch.randperm(len(members), device=own.device)]]
            elif len(members) == 1 and int(self.block[number].sum()) > 1:
                others = self.block[number].clone()
                others[own[members]] = False
                aim[members] = draw_one(others[None])
        return aim

    def _make(self, images: Tensor, label: Tensor, dataset: Tensor, region: Tensor | None) -> Tensor:
        shown = images if region is None else torch.cat([images, region.to(images.dtype)], 1)
        labels = one_hot(label, self.block.shape[1])
        if self.settings.datasets:
            labels = torch.cat([labels, one_hot(dataset, len(self.block))], 1)
        made: Tensor = self.generator(with_label_maps(shown, labels))
        return made

    def _discriminator_update(self, real: Tensor, fake: Tensor, own: Tensor, known: Tensor) -> Update:
        settings = self.settings
        self.discriminator.requires_grad_(True)
        real_scores, classes = self.discriminator(real)
        loss, parts = discriminator_loss("wgan-gp", real_scores, self.discriminator(fake)[0])
        parts["d_cls"] = exclusive_label_loss(classes, own, known)
        # A norm of gradients near 1 is lost in 16-bit precision: this part stays in float32.
        with torch.autocast(real.device.type, enabled=False):
            parts["d_gp"] = gradient_penalty(lambda x: self.discriminator(x)[0], real, fake)
        loss = loss + settings.classification_weight * parts["d_cls"]
        loss = loss + settings.gradient_penalty_weight * parts["d_gp"]
        return Update("discriminator", loss, {"d_loss": loss, **parts})

    def _generator_update(self, real: Tensor, fake: Tensor, back: Tensor, aim: Tensor, known: Tensor) -> Update:
        settings = self.settings
        self.discriminator.requires_grad_(False)  # its weight gradients would be thrown away
        scores, classes = self.discriminator(fake)
        parts = {
            "g_fake": generator_loss("wgan-gp", scores),
            "g_cls": exclusive_label_loss(classes, aim, known),
            "g_rec": (real - back.float()).abs().mean(),
        }
        loss = parts["g_fake"] + settings.classification_weight * parts["g_cls"]
        loss = loss + settings.reconstruction_weight * parts["g_rec"]
        return Update("generator", loss, {"g_loss": loss, **parts})

    def translate(self, inputs: Batch, *, stochastic: bool = False) -> dict[str, Tensor]:
        """Return all targets, each from the first given input; there is no noise.

        The label of a target is that of the first data set that has it. Where the inputs hold DATASET, which no
        command gives them, a data set that has the target takes precedence with its own cases.

        Raises:
            ValueError: a case without any input.
        """
        names = tuple(self.ports.inputs)
        given = self.ports.given(inputs) > 0  # (N, inputs)
        if not given.any(1).all():
            raise ValueError("a case has none of the inputs that could be translated")
        cases = torch.arange(len(given), device=given.device)
        source = pick(inputs, names, cases, given.int().argmax(1))
        region = inputs[REGION] if self.ports.region else None
        outputs = {}
        for target in self.ports.targets:
            labels = self.label_of[:, self.modalities.index(target)]
            dataset = (labels >= 0).int().argmax().expand(len(source))
            if DATASET in inputs and len(self.block) > 1:
                dataset = torch.where(labels[inputs[DATASET]] >= 0, inputs[DATASET], dataset)
            outputs[target] = self._make(source, labels[dataset], dataset, region).float()
        return outputs

"""pix2pix: who is trained by what, what the noise does, and what is refused."""

import pytest
import torch
from pydantic import ValidationError

from transmodal.methods import METHODS, Batch, Method, Ports, make_method
from transmodal.methods.pix2pix import Pix2Pix, Pix2PixSettings

PORTS = Ports({"photo": 3}, {"xray": 1}, 2, (32, 32))
SMALL = {"generator": {"filters": 4, "downsamplings": 3}, "discriminator": {"filters": 4, "layers": 2}}


def make(ports: Ports = PORTS, **settings: object) -> Pix2Pix:
    torch.manual_seed(0)
    merged: dict = {**SMALL, **settings}
    return Pix2Pix(Pix2PixSettings.model_validate(merged), ports)


def batch(ports: Ports = PORTS, samples: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = ports.shape or (32, 32)
    channels = ports.inputs | ports.targets
    return {name: torch.rand(samples, n, *shape, generator=generator) * 2 - 1 for name, n in channels.items()}


def gradients(method: Method, name: str) -> list[torch.Tensor]:
    return [w.grad for w in method.trained_modules()[name].parameters() if w.grad is not None]


@pytest.mark.parametrize("kind", ["cross-entropy", "mean-squared-error", "wgan-gp", "wgan-noconstraint"])
def test_each_turn_moves_one_network(kind: str) -> None:
    method = make(adversarial=kind, critic_steps=1)
    turns = []
    for update in method.updates(batch(), 0):
        method.zero_grad(set_to_none=True)
        update.loss.backward()
        other = {"generator": "discriminator", "discriminator": "generator"}[update.optimiser]
        assert gradients(method, update.optimiser) and not gradients(method, other), update.optimiser
        turns.append(update.optimiser)
    assert turns == ["discriminator", "generator"]


def test_the_generator_meets_the_stepped_discriminator() -> None:
    method = make(l1_weight=0.0)
    turns = method.updates(batch(), 0)
    next(turns)
    before = [weights.clone() for weights in method.discriminator.parameters()]
    for weights in method.discriminator.parameters():
        weights.data.zero_()
    assert next(turns).parts["g_fake"].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert any(not torch.equal(a, b) for a, b in zip(before, method.discriminator.parameters(), strict=True))


def test_losses_are_the_ones_of_the_paper() -> None:
    method = make()
    method.generator.eval()  # no dropout: the same fake can be made again
    images = batch()
    fake = method.generator(images["photo"]).detach()
    first, second = list(method.updates(images, 0))
    cost = torch.nn.functional.binary_cross_entropy_with_logits
    real_scores = method.discriminator(torch.cat([images["photo"], images["xray"]], 1))
    fake_scores = method.discriminator(torch.cat([images["photo"], fake], 1))
    expected = 0.5 * (
        cost(real_scores, torch.ones_like(real_scores)) + cost(fake_scores, torch.zeros_like(fake_scores))
    )
    torch.testing.assert_close(first.loss, expected)
    l1 = (fake - images["xray"]).abs().mean()
    torch.testing.assert_close(second.loss, cost(fake_scores, torch.ones_like(fake_scores)) + 100 * l1)
    torch.testing.assert_close(second.parts["g_l1"], l1)


@pytest.mark.parametrize(("kind", "turns"), [("wgan-gp", [2, 5]), ("cross-entropy", [0, 1, 2, 3, 4, 5])])
def test_the_critic_is_trained_more_often_under_wasserstein_only(kind: str, turns: list[int]) -> None:
    method = make(adversarial=kind, critic_steps=3)
    images = batch()
    asked = [step for step in range(6) if "generator" in [update.optimiser for update in method.updates(images, step)]]
    assert asked == turns


@pytest.mark.parametrize(
    ("kind", "steps"), [("wgan-gp", 5), ("wgan-noconstraint", 1), ("cross-entropy", 1), ("mean-squared-error", 1)]
)
def test_each_loss_has_the_rhythm_of_the_code_it_stands_for(kind: str, steps: int) -> None:
    assert make(adversarial=kind).critic_steps == steps


def test_weights_scale_their_terms() -> None:
    images = batch()

    def first(**settings: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        update = next(iter(make(**settings).updates(images, 0)))
        return update.loss, update.parts

    loss, parts = first(discriminator_weight=0.25)
    torch.testing.assert_close(loss, 0.25 * (parts["d_real"] + parts["d_fake"]))
    loss, parts = first(adversarial="wgan-gp", gradient_penalty_weight=3.0)
    torch.testing.assert_close(loss, parts["d_real"] + parts["d_fake"] + 3 * parts["d_gp"])


def test_only_the_target_is_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images, seen = make(adversarial="wgan-gp"), batch(), []
    forward = method.discriminator.forward
    monkeypatch.setattr(method.discriminator, "forward", lambda x: seen.append(x.detach()) or forward(x))
    next(iter(method.updates(images, 0)))
    real, fake, between = seen
    torch.testing.assert_close(between[:, :3], images["photo"])
    assert not torch.equal(between[:, 3:], real[:, 3:]) and not torch.equal(between[:, 3:], fake[:, 3:])


def test_the_penalty_weighs_in() -> None:
    images = batch()
    torch.manual_seed(3)
    with_it = next(iter(make(adversarial="wgan-gp").updates(images, 0)))
    parts = with_it.parts
    torch.testing.assert_close(with_it.loss, parts["d_real"] + parts["d_fake"] + 10 * parts["d_gp"])
    without = next(iter(make(adversarial="wgan-noconstraint").updates(images, 0)))
    assert "d_gp" not in without.parts


def test_noise_acts_only_when_asked_and_follows_the_seed() -> None:
    method = make().eval()
    images = batch(samples=1)

    def translate(seed: int | None) -> torch.Tensor:
        if seed is not None:
            torch.manual_seed(seed)
        with torch.inference_mode():
            return method.translate(images, stochastic=seed is not None)["xray"]

    still = translate(None)
    assert torch.equal(still, translate(None))
    assert torch.equal(translate(1), translate(1))
    assert not torch.equal(translate(1), translate(2))
    assert not torch.equal(translate(1), still)
    assert torch.equal(still, translate(None)), "noise goes off again"


def test_several_modalities_keep_their_places() -> None:
    ports = Ports({"T1": 1, "T2": 1}, {"FLAIR": 1, "colour": 3}, 2, (32, 32))
    method = make(ports).eval()
    outputs = method.translate(batch(ports))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "FLAIR": (2, 1, 32, 32),
        "colour": (2, 3, 32, 32),
    }
    joined = ports.join_targets(batch(ports))
    for name, part in ports.split_targets(joined).items():
        assert torch.equal(part, batch(ports)[name])


def test_a_volume_trains_one_step() -> None:
    ports = Ports({"T1": 1}, {"T2": 1}, 3, (16, 16, 20))
    method = make(ports, discriminator={"filters": 2, "layers": 1}, generator={"filters": 2})
    assert method.generator.multiple == 16, "auto depth: halvings of the shortest side"
    optimisers = {name: torch.optim.Adam(part.parameters(), 1e-3) for name, part in method.trained_modules().items()}
    images = batch(ports, samples=1)
    losses = []
    for step in range(8):
        for update in method.updates(images, step):
            optimisers[update.optimiser].zero_grad()
            update.loss.backward()
            optimisers[update.optimiser].step()
        losses.append(float(update.parts["g_l1"].detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("shape", "multiple"), [((256, 256), 256), ((512, 1024), 256), ((32, 64), 32), ((100, 100), 64), (None, 256)]
)
def test_auto_depth_follows_the_shorter_side(shape: tuple[int, int] | None, multiple: int) -> None:
    with torch.device("meta"):
        method = make(Ports({"a": 1}, {"b": 1}, 2, shape), generator={"filters": 1})
    assert method.generator.multiple == multiple


def test_a_critic_with_a_penalty_and_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="must not use batch norm"):
        make(adversarial="wgan-gp", discriminator={"norm": "batch"})
    norms = [type(layer).__name__ for layer in make(adversarial="wgan-gp").discriminator.modules()]
    assert "GroupNorm" in norms and "BatchNorm2d" not in norms


def test_images_too_small_for_the_discriminator_are_refused() -> None:
    with pytest.raises(ValueError, match=r"too small for a discriminator of 3 layers, which needs 24 pixels"):
        make(Ports({"a": 1}, {"b": 1}, 2, (23, 64)), discriminator={"layers": 3})
    make(Ports({"a": 1}, {"b": 1}, 2, (23, 64)), discriminator={"kind": "pixel"})


@pytest.mark.parametrize("settings", [{"l1_weight": -1}, {"generator": {"downsamplings": 40}}, {"lamda": 1}])
def test_bad_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        make(**{**SMALL, **settings})


def test_the_table_names_the_method() -> None:
    _, settings = METHODS["pix2pix"]
    assert isinstance(make_method("pix2pix", settings.model_validate(SMALL), PORTS), Pix2Pix)

"""Supervised translation: what counts in its loss, what its networks are fed, what it learns and what is refused."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from transmodal.losses.regression import charbonnier, mean_absolute
from transmodal.losses.structural import one_minus_ssim
from transmodal.methods import GIVEN, LABELS, METHODS, REGION, WANTED, Batch, Ports, make_method
from transmodal.methods.supervised import Supervised, SupervisedSettings
from transmodal.networks.fcn8s import FCN8s
from transmodal.networks.unet import ResidualBlock

PORTS = Ports({"T1": 1}, {"T2": 1}, 2, (32, 32))
SMALL = {"filters": 4, "levels": 3}


def make(ports: Ports = PORTS, network: dict | None = None, **settings: object) -> Supervised:
    torch.manual_seed(0)
    return Supervised(SupervisedSettings.model_validate({"network": {**SMALL, **(network or {})}, **settings}), ports)


def batch(ports: Ports = PORTS, samples: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = ports.shape or (32, 32)
    images = {}
    for name in ports.modalities:
        channels = ports.inputs[name] * (2 * ports.neighbours + 1) if name in ports.inputs else ports.targets[name]
        images[name] = torch.rand(samples, channels, *shape, generator=generator) * 2 - 1
    return images


def disc() -> torch.Tensor:
    axis = torch.linspace(-1, 1, 32)
    return ((axis[:, None] ** 2 + axis**2) < 0.6).float().expand(2, 1, 32, 32)


def first(method: Supervised, images: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    (update,) = list(method.updates(images, 0))
    assert update.optimiser == "generator"
    return update.loss, update.parts


def test_the_default_is_mean_absolute_error_by_a_u_net() -> None:
    method, images = make(), batch()
    loss, parts = first(method, images)
    torch.testing.assert_close(loss, functional.l1_loss(method.generator(images["T1"]), images["T2"]))
    assert list(parts) == ["g_loss", "g_mae"]
    adam = SupervisedSettings.model_validate({"adam": {"learning_rate": 5e-4}}).adam
    assert (adam.learning_rate, adam.betas) == (5e-4, (0.9, 0.999))


def test_the_published_combination_is_summed_and_its_terms_are_logged() -> None:
    factors = {"mae": 1.0, "euclidean": 0.01, "ssim": 0.5, "charbonnier": 0.3, "ms_ssim": 0.2, "gradient_difference": 2}
    method, images = make(loss=factors), batch()
    loss, parts = first(method, images)
    assert list(parts) == ["g_loss", *(f"g_{name}" for name in factors)]
    torch.testing.assert_close(loss, sum(weight * parts[f"g_{name}"] for name, weight in factors.items()))
    predicted = method.generator(images["T1"])
    torch.testing.assert_close(parts["g_ssim"], one_minus_ssim(predicted, images["T2"]))
    torch.testing.assert_close(parts["g_charbonnier"], charbonnier(predicted, images["T2"]))


def test_only_the_region_counts_unless_told_otherwise() -> None:
    images, region = batch(), disc()
    far = torch.where(region > 0, images["T2"], -images["T2"])
    for in_region in (True, False):
        method = make(loss={"charbonnier": 1.0, "in_region": in_region})
        values = [first(method, images | {REGION: region, "T2": target})[0] for target in (images["T2"], far)]
        assert torch.equal(*values) is in_region


def test_lesions_count_as_often_as_told() -> None:
    images, labels = batch(), torch.zeros(2, 1, 32, 32, dtype=torch.int64)
    labels[..., 10:14, 10:14] = 2
    method = make(loss={"lesion_weight": 5.0})
    loss, _ = first(method, images | {LABELS: labels})
    weights = 1 + 4 * (labels > 0).float()
    torch.testing.assert_close(loss, mean_absolute(method.generator(images["T1"]), images["T2"], weights))
    assert not torch.equal(loss, first(method, images)[0])


def test_targets_that_are_not_wanted_teach_nothing() -> None:
    ports = Ports({"T1": 1}, {"T2": 1, "FLAIR": 1}, 2, (32, 32))
    method, images = make(ports, loss={"ssim": 1.0}), batch(ports)
    wanted = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    values = []
    for flair in (images["FLAIR"], -images["FLAIR"]):
        loss, _ = first(method, images | {"FLAIR": flair, WANTED: wanted})
        values.append(loss)
    assert torch.equal(*values)
    values[0].backward()
    head = method.generator.head
    assert (head.weight.grad[1] == 0).all() and (head.weight.grad[0] != 0).any()


def test_neighbours_region_and_missing_inputs_are_fed() -> None:
    ports = Ports({"T1": 1, "T2": 1}, {"FLAIR": 1}, 2, (32, 32), neighbours=1, region=True, missing=True)
    method = make(ports)
    images = batch(ports) | {REGION: disc(), GIVEN: torch.tensor([[1.0, 0.0], [1.0, 1.0]])}
    seen: list[torch.Tensor] = []
    method.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    outputs = method.translate(images)
    assert seen[0].shape == (2, 3 + 3 + 1 + 2, 32, 32) and outputs["FLAIR"].shape == (2, 1, 32, 32)
    assert (seen[0][0, 3:6] == -1).all() and (seen[0][0, 8] == 0).all() and (seen[0][1, 8] == 1).all()


def test_a_correction_starts_from_the_middle_slice_of_the_first_input() -> None:
    ports = Ports({"T1": 1, "PD": 1}, {"T2": 1, "FLAIR": 1}, 2, (32, 32), neighbours=2)
    method, images = make(ports, {"add_input": True}), batch(ports)
    for output in method.translate(images).values():
        assert torch.equal(output, images["T1"][:, 2:3])


def test_outputs_are_cut_to_the_range_in_use_only() -> None:
    method, images = make(), batch()
    with torch.no_grad():
        method.generator.head.bias.fill_(3.0)
    assert method.translate(images)["T2"].max() == 1
    assert first(method, images)[0] > 2, "in training an output beyond the range is pulled back"


@pytest.mark.parametrize(
    "network", [{}, {"kind": "residual-unet", "levels": 3, "convolutions": 1}, {"kind": "fcn8s", "filters": 4}]
)
def test_each_network_learns(network: dict) -> None:
    network = {"filters": 4, "levels": 3} | network if network.get("kind") != "fcn8s" else network
    torch.manual_seed(0)
    method = Supervised(SupervisedSettings.model_validate({"network": network, "loss": {"ssim": 0.2}}), PORTS)
    coarse = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(4)).clamp(-1, 1)
    source = functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    images, losses = {"T1": source, "T2": -0.8 * source}, []
    optimiser = torch.optim.Adam(method.generator.parameters(), 3e-3, fused=True)
    for step in range(60):
        for update in method.updates(images, step):
            update.loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(update.loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_each_kind_is_its_network() -> None:
    assert any(isinstance(layer, ResidualBlock) for layer in make(network={"kind": "residual-unet"}).modules())
    settings = SupervisedSettings.model_validate({"network": {"kind": "fcn8s", "filters": 2, "score_filters": 5}})
    network = Supervised(settings, PORTS).generator
    assert isinstance(network, FCN8s) and network.score.out_channels == 5


def test_volumes_train_in_16_bit() -> None:
    ports = Ports({"T1": 1}, {"T2": 1}, 3, (12, 16, 20))
    method, images = make(ports, loss={"ssim": 1.0}), batch(ports, samples=1)
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = first(method, images)
    loss.backward()
    assert loss.dtype == torch.float32 and all(part.dtype == torch.float32 for part in parts.values())
    assert all(torch.isfinite(weights.grad).all() for weights in method.generator.parameters())


def test_noise_acts_only_when_asked() -> None:
    method, images = make(network={"dropout": 0.5}).eval(), batch()
    with torch.inference_mode():
        still = method.translate(images)["T2"]
        assert torch.equal(still, method.translate(images)["T2"])
        assert not torch.equal(still, method.translate(images, stochastic=True)["T2"])
        assert torch.equal(still, method.translate(images)["T2"])


def test_loaded_weights_lie_channels_last_as_fresh_ones_do() -> None:
    trained = make()
    stored = {name: weights.contiguous() for name, weights in trained.state_dict().items()}
    with torch.device("meta"):
        loaded = make()
    loaded.load_state_dict(stored, assign=True)
    weight = loaded.generator.encoder[1][0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert torch.equal(loaded.translate(batch())["T2"], trained.translate(batch())["T2"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": {"mae": 0}}, "at least one of mae, euclidean"),
        ({"loss": {"l1": 1}}, "Extra inputs"),
        ({"network": {"kind": "fcn8s", "levels": 3}}, "levels is no setting of fcn8s"),
        ({"network": {"score_filters": 3}}, "score_filters is no setting of unet"),
        ({"network": {"kind": "residual-unet", "levels": 2, "blocks": [1]}}, "one number above 0 for each of 2 levels"),
        ({"network": {"add_input": True, "output": "tanh"}}, "needs output: linear"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SupervisedSettings.model_validate(settings)


def test_settings_survive_being_written_out() -> None:
    for network in ({"kind": "fcn8s", "filters": 8}, {"kind": "residual-unet", "blocks": [1, 1, 1, 1, 1]}):
        settings = SupervisedSettings.model_validate({"network": network})
        assert SupervisedSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_images_too_small_are_refused() -> None:
    small = Ports({"T1": 1}, {"T2": 1}, 2, (8, 16))
    with pytest.raises(ValueError, match=r"8×16 are too small for SSIM, which needs 11 pixels"):
        make(small, loss={"ssim": 1.0})
    with pytest.raises(ValueError, match="6 levels leave one pixel of images of 8×16"):
        make(small, {"norm": "batch", "levels": 6})
    with pytest.raises(ValueError, match="T2 has other channels than T1"):
        make(Ports({"T1": 3}, {"T2": 1}, 2, (32, 32)), {"add_input": True})


def test_the_table_names_the_method() -> None:
    _, settings = METHODS["supervised"]
    assert isinstance(make_method("supervised", settings.model_validate({"network": SMALL}), PORTS), Supervised)

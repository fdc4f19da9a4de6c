"""The networks that restore CT: each learns to clean images and starts from its input; what does not fit is refused."""

import pytest
import torch
from pydantic import ValidationError

from transmodal.methods import Batch, Method, Ports
from transmodal.methods.pix2pix import Pix2Pix, Pix2PixSettings
from transmodal.methods.supervised import NOT_OF_KIND, NetworkSettings, Supervised, SupervisedSettings
from transmodal.networks.slide_unet import SlideUNet
from transmodal.training.optimisers import make_optimiser

PORTS = Ports({"degraded": 1}, {"CT": 1}, 2, (32, 32))
RESTORERS = [
    {"kind": "unet", "norm": "none"},
    {"kind": "residual-unet", "norm": "batch", "blocks": [1, 1, 1]},
    {"kind": "slide-unet"},
    {"kind": "slide-unet", "dense": True},
    {"kind": "slide-autoencoder", "levels": 2},
    {"kind": "fbpconvnet"},
]
names = pytest.mark.parametrize("network", RESTORERS, ids=lambda network: " ".join(map(str, network.values())))


def make(network: dict, ports: Ports = PORTS, **settings: object) -> Supervised:
    torch.manual_seed(0)
    network = {"filters": 8, "levels": 3, **network}
    return Supervised(SupervisedSettings.model_validate({"network": network, **settings}), ports)


def noisy_squares(samples: int, seed: int) -> Batch:
    """Bright squares on a dark ground, and the same under noise."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.full((samples, 1, 32, 32), -0.5)
    for image in clean:
        for row, column, size in torch.randint(2, 18, (3, 3), generator=generator).tolist():
            image[0, row : row + size // 2 + 3, column : column + size // 2 + 3] = 0.5
    noise = torch.randn(clean.shape, generator=generator)
    return {"degraded": clean + 0.3 * noise, "CT": clean}


def train(method: Method, steps: int, rate: float | None = None) -> None:
    settings = {name: method.optimiser_of(name) for name in method.trained_modules()}
    if rate is not None:
        settings = {name: one.model_copy(update={"learning_rate": rate}) for name, one in settings.items()}
    optimisers = {n: make_optimiser(m.parameters(), settings[n]) for n, m in method.trained_modules().items()}
    method.train()
    for step in range(steps):
        for update in method.updates(noisy_squares(8, 100 + step), step):
            update.loss.backward()
            optimisers[update.optimiser].step()
            optimisers[update.optimiser].zero_grad()


def squared_error(method: Method, images: Batch) -> float:
    method.eval()
    with torch.inference_mode():
        return float((method.translate(images)["CT"] - images["CT"]).square().mean())


@names
def test_each_restorer_learns_to_clean_images(network: dict) -> None:
    # An autoencoder hands no noise past its bottleneck, from which its residual would have to take it off.
    method, images = make(network, residual=network["kind"] != "slide-autoencoder"), noisy_squares(16, 1)
    train(method, 60, 5e-3)
    assert squared_error(method, images) < 0.03, "the noise has a variance of 0.09, the squares one of 0.14"


@names
def test_a_fresh_residual_network_gives_its_input_back(network: dict) -> None:
    images = noisy_squares(2, 1)
    made = make(network, residual=True).eval().translate(images)["CT"]
    assert torch.equal(made, images["degraded"].clamp(-1, 1))


def test_residuals_are_of_the_first_input_and_of_its_middle_slice() -> None:
    ports = Ports({"li": 1, "metal": 1}, {"CT": 1}, 2, (32, 32), neighbours=1)
    images = {name: torch.rand(2, 3, 32, 32) for name in ports.inputs}
    made = make({"kind": "fbpconvnet"}, ports, residual=True).eval().translate(images)["CT"]
    assert torch.equal(made, images["li"][:, 1:2])


def test_pix2pix_learns_residuals_too() -> None:
    torch.manual_seed(0)
    settings = Pix2PixSettings.model_validate(
        {
            "generator": {"filters": 8, "downsamplings": 3, "norm": "instance", "dropout": 0},
            "discriminator": {"filters": 4, "layers": 1},
            "residual": True,
        }
    )
    method, images = Pix2Pix(settings, PORTS), noisy_squares(16, 1)
    with torch.inference_mode():
        assert torch.equal(method.translate(images)["CT"], images["degraded"].clamp(-1, 1))
    train(method, 60, 5e-3)
    assert squared_error(method, images) < 0.045


def test_whole_channels_are_dropped_only_when_noise_is_asked_for() -> None:
    method, images = make({"kind": "slide-unet"}).eval(), noisy_squares(2, 1)
    with torch.inference_mode():
        still = method.translate(images)["CT"]
        assert torch.equal(still, method.translate(images)["CT"])
        assert not torch.equal(still, method.translate(images, stochastic=True)["CT"])
        assert torch.equal(still, method.translate(images)["CT"])


def test_the_slides_network_is_as_printed_by_three_settings() -> None:
    ports = Ports({"degraded": 1}, {"CT": 1}, 2, (512, 512))
    settings = NetworkSettings.model_validate({"kind": "slide-unet", "dense": True, "output": "tanh"})
    with torch.device("meta"):
        network = Supervised(SupervisedSettings(network=settings), ports).generator
        printed = SlideUNet(1, 1, dense=True, shape=(512, 512))
    assert [w.shape for w in network.parameters()] == [w.shape for w in printed.parameters()]
    assert network.output == "tanh"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": {"kind": "slide-unet", "norm": "batch"}}, "norm is no setting of slide-unet"),
        ({"network": {"kind": "fbpconvnet", "dense": True}}, "dense is no setting of fbpconvnet"),
        ({"network": {"kind": "fbpconvnet", "output": "tanh"}}, "output is no setting of fbpconvnet"),
        ({"network": {"kind": "monai-unet", "blocks": [1]}}, "blocks is no setting of monai-unet"),
        ({"network": {"dense": True}}, "dense is no setting of unet"),
        ({"network": {"kind": "fcn8s"}, "residual": True}, "fcn8s has no residual form"),
        ({"network": {"output": "tanh"}, "residual": True}, "needs network.output: linear"),
        ({"sgd": {"momentum": 1}}, "less than 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SupervisedSettings.model_validate(settings)


def test_every_setting_that_a_kind_lacks_is_one() -> None:
    assert set(NOT_OF_KIND) == set(NetworkSettings.model_fields["kind"].annotation.__args__)
    assert {name for names in NOT_OF_KIND.values() for name in names} <= set(NetworkSettings.model_fields)


def test_the_printed_dropout_is_the_u_nets_unless_told_and_what_earlier_runs_wrote_is_read() -> None:
    def drops(**entries: object) -> bool:
        return NetworkSettings.model_validate(entries).drops_channels

    assert drops(kind="slide-unet") and not drops(kind="slide-autoencoder")
    assert drops(kind="slide-autoencoder", printed_dropout=True) and not drops(kind="slide-unet", printed_dropout=False)
    assert NetworkSettings.model_validate({"kind": "unet", "printed_dropout": True}) == NetworkSettings(kind="unet")
    with pytest.raises(ValidationError, match="printed_dropout is no setting of unet"):
        NetworkSettings.model_validate({"kind": "unet", "printed_dropout": False})
    method, images = make({"kind": "slide-autoencoder"}).eval(), noisy_squares(2, 1)
    with torch.inference_mode():
        assert torch.equal(method.translate(images)["CT"], method.translate(images, stochastic=True)["CT"])


def test_networks_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ValueError, match="CT has other channels than degraded"):
        make({"kind": "fbpconvnet"}, Ports({"degraded": 3}, {"CT": 1}, 2, (32, 32)), residual=True)
    with pytest.raises(ValueError, match="6 levels leave one pixel of images of 32×32"):
        make({"kind": "fbpconvnet", "levels": 6})

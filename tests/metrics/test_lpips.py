"""LPIPS with random weights: written-out networks of torch layers, both layouts of files, refusals. No weights ship."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torch import nn
from torchmetrics.functional.image import lpips as peer

from transmodal.metrics.lpips import LpipsNetwork, lpips


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def vgg() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def alex() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )


def squeeze() -> nn.Sequential:
    def pool() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    fires = [Fire(64, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), Fire(256, 32, 128)]
    last = [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), *fires[:2], pool(), *fires[2:], pool(), *last
    )  # fmt: skip


# Indices of `features` after which features are compared, with their channels; torchvision's numbering.
TAPS = {
    "alex": ((1, 64), (4, 192), (7, 384), (9, 256), (11, 256)),
    "vgg": ((3, 64), (8, 128), (15, 256), (22, 512), (29, 512)),
    "squeeze": ((1, 64), (4, 128), (7, 256), (9, 384), (10, 384), (11, 512), (12, 512)),
}
NETWORKS = {"alex": alex, "vgg": vgg, "squeeze": squeeze}


class Written:
    """One of the networks with random weights, its comparison written out, and its two kinds of files."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(0)
        self.taps = TAPS[kind]
        self.features = NETWORKS[kind]().eval()
        for name, value in self.features.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(value)
        self.linear = [torch.rand(channels) for _, channels in self.taps]

    def package(self) -> dict[str, torch.Tensor]:
        state = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
        ends = [index for index, _ in self.taps]
        for name, value in self.features.state_dict().items():
            number = 1 + sum(int(name.split(".")[0]) > end for end in ends)
            state[f"net.slice{number}.{name}"] = value
        for number, weights in enumerate(self.linear):
            state[f"lin{number}.model.1.weight"] = state[f"lins.{number}.model.1.weight"] = weights.view(1, -1, 1, 1)
        return {name: value.clone() for name, value in state.items()}

    def distance(self, predicted: np.ndarray, truth: np.ndarray) -> float:
        pair = []
        for image in (predicted, truth):  # of 0 to 1000
            rgb = torch.tensor(image / 500 - 1, dtype=torch.float64).expand(1, 3, -1, -1).clone()
            for channel, (shift, scale) in enumerate(((-0.030, 0.458), (-0.088, 0.448), (-0.188, 0.450))):
                rgb[:, channel] = (rgb[:, channel] - shift) / scale
            pair.append(rgb)
        taps = dict(self.taps)
        layers = self.features.double()
        total, number = 0.0, 0
        for index, layer in enumerate(layers):
            pair = [layer(image).detach() for image in pair]
            if index in taps:
                a, b = (image / image.norm(dim=1, keepdim=True).clamp_min(1e-12) for image in pair)
                total += float(((a - b) ** 2 * self.linear[number].view(1, -1, 1, 1)).sum(1).mean())
                number += 1
        self.features.float()
        return total


def pictures(size: tuple[int, int] = (65, 72)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = gaussian_filter(generator.normal(size=size), 2)
    truth = 1000 * (truth - truth.min()) / np.ptp(truth)
    return np.clip(truth + generator.normal(0, 60, size), 0, 1000), truth


@pytest.fixture(scope="module")
def written() -> Written:
    return Written("alex")


@pytest.fixture(scope="module")
def weights(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "alex.pth"
    torch.save(written.package(), path)
    return path


@pytest.mark.parametrize(("kind", "name"), [("alex", "AlexNet"), ("vgg", "VGG16"), ("squeeze", "SqueezeNet 1.1")])
def test_the_network_is_recognised_and_gives_the_written_out_distance(kind: str, name: str, tmp_path: Path) -> None:
    written = Written(kind)
    path = tmp_path / "weights.safetensors"
    save_file(written.package(), path)
    network = LpipsNetwork(path)
    assert name in network.name and "grey as RGB" in network.name
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    predicted, truth = pictures()
    expected = written.distance(predicted, truth)
    assert expected > 0.01
    assert lpips(predicted, truth, limits=(0, 1000), network=network) == pytest.approx(expected, rel=1e-4)
    side = network.smallest_side
    assert lpips(predicted[:side, :side], truth[:side, :side], limits=(0, 1000), network=network) > 0
    with pytest.raises(ValueError, match=f"too small for LPIPS with {name}.*needs {side} pixels"):
        lpips(predicted[: side - 1], truth[: side - 1], limits=(0, 1000), network=network)


@pytest.mark.parametrize("kind", ["alex", "vgg", "squeeze"])
def test_it_is_that_of_torchmetrics_with_the_published_linear_weights(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(kind)
    # Its convolutions come from torchvision, which is not here; its linear weights are the published ones.
    monkeypatch.setattr(peer, "_get_tv_model_features", lambda net, pretrained: written.features)
    theirs = peer._LPIPS(net=kind, pnet_rand=True)
    together, backbone = tmp_path / "together.pth", tmp_path / "backbone.safetensors"
    torch.save(theirs.state_dict(), together)
    save_file({f"features.{name}": value for name, value in written.features.state_dict().items()}, backbone)
    linear = Path(peer.__file__).parent / "lpips_models" / f"{kind}.pth"
    predicted, truth = pictures()
    pair = (torch.tensor(image / 500 - 1, dtype=torch.float32).expand(1, 3, -1, -1) for image in (predicted, truth))
    with torch.no_grad():
        expected = float(theirs(*pair))
    assert expected > 1e-3
    for network in (LpipsNetwork(together), LpipsNetwork(backbone, linear=linear)):
        assert lpips(predicted, truth, limits=(0, 1000), network=network) == pytest.approx(expected, rel=1e-4)


def test_equal_images_have_no_distance_and_worse_ones_more(weights: Path) -> None:
    network = LpipsNetwork(weights)
    predicted, truth = pictures()

    def distance(first: np.ndarray, second: np.ndarray) -> float:
        return lpips(first, second, limits=(0, 1000), network=network)

    assert distance(truth, truth) == 0.0
    near = distance(truth + 0.3 * (predicted - truth), truth)
    assert 0 < near < distance(predicted, truth)
    assert distance(predicted, truth) == pytest.approx(distance(truth, predicted), rel=1e-6)


def test_the_limits_say_what_a_value_means(weights: Path) -> None:
    network = LpipsNetwork(weights)
    predicted, truth = pictures()
    expected = lpips(predicted, truth, limits=(0, 1000), network=network)
    hounsfield = [image * 4 - 1024 for image in (predicted, truth)]
    assert lpips(*hounsfield, limits=(-1024, 2976), network=network) == pytest.approx(expected, rel=1e-4)
    assert lpips(predicted, truth, limits=(0, 4000), network=network) != pytest.approx(expected, rel=1e-2)


def test_the_two_files_of_torchvision_and_the_package_serve_too(
    written: Written, weights: Path, tmp_path: Path
) -> None:
    backbone, linear = tmp_path / "alexnet.pth", tmp_path / "alex.pth"
    state = {f"features.{name}": value for name, value in written.features.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(3, 3)}, backbone)
    torch.save({f"lin{k}.model.1.weight": value.view(1, -1, 1, 1) for k, value in enumerate(written.linear)}, linear)
    network = LpipsNetwork(backbone, linear=linear)
    predicted, truth = pictures()
    assert lpips(predicted, truth, limits=(0, 1000), network=network) == lpips(
        predicted, truth, limits=(0, 1000), network=LpipsNetwork(weights)
    )
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (backbone, linear)]
    assert network.sha256 == "+".join(digests)
    with pytest.raises(ValueError, match=r"lacks lin0\.model\.1\.weight \(and 4 more\); .*as linear"):
        LpipsNetwork(backbone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net.slice1.0.bias": None}, r"lacks features\.0\.bias"),
        ({"net.slice9.50.weight": torch.zeros(3)}, r"has besides features\.50\.weight"),
        ({"lin0.model.1.weight": torch.zeros(1, 32, 1, 1)}, r"another shape of lin0"),
        ({"lin4.model.1.weight": torch.full((1, 256, 1, 1), torch.nan)}, "NaN"),
        ({"net.slice5.10.weight": None}, "none of AlexNet, VGG16 and SqueezeNet"),
    ],
)
def test_another_network_is_refused_in_one_line(
    written: Written, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    path = tmp_path / "other.pth"
    torch.save({name: value for name, value in (written.package() | change).items() if value is not None}, path)
    with pytest.raises(ValueError, match=message) as refusal:
        LpipsNetwork(path)
    assert "\n" not in str(refusal.value)
    assert "package lpips" in str(refusal.value)


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"LPIPS weights: .* is not a file; save"):
        LpipsNetwork(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match=r"LPIPS weights: .* cannot be read"):
        LpipsNetwork(tmp_path / "text.pth")


@pytest.mark.parametrize(
    ("shape", "limits", "value", "message"),
    [
        ((3, 64, 64), (0, 1), 0.0, r"\(H, W\)"),
        ((64, 64), (1, 0), 0.0, "low before high"),
        ((64, 64), (0, np.inf), 0.0, "low before high"),
        ((64, 64), (0, 1), np.nan, "NaN"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(
    weights: Path, shape: tuple[int, ...], limits: tuple[float, float], value: float, message: str
) -> None:
    image = np.full(shape, value)
    with pytest.raises(ValueError, match=message):
        lpips(image, np.zeros(shape), limits=limits, network=LpipsNetwork(weights))

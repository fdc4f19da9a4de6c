"""The Inception network of FID with random weights: names, shapes, loading, refusals. Real weights are not shipped."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from transmodal.metrics.inception import BlockA, BlockE, InceptionFeatures, InceptionNetwork, fid


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    network = InceptionNetwork()
    for name, value in network.named_parameters():
        if name.endswith("conv.weight"):
            torch.nn.init.kaiming_normal_(value)  # the default lets the signal fade to nothing on its way
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [np.random.default_rng(seed).uniform(0, 4000, (40, 60)) for seed in range(3)]


def test_the_network_has_the_layers_of_the_public_port() -> None:
    state = InceptionNetwork().state_dict()
    # 23 834 568 of Inception-v3 without its auxiliary classifier, and 8 x 2049 for 1008 classes instead of 1000.
    assert sum(value.numel() for value in InceptionNetwork().parameters()) == 23_850_960
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch1x1.bn.running_mean": (64,),
        "Mixed_5c.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6c.branch7x7dbl_5.conv.weight": (192, 160, 1, 7),
        "Mixed_6e.branch7x7_3.conv.weight": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch_pool.conv.weight": (192, 1280, 1, 1),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "fc.weight": (1008, 2048),
        "fc.bias": (1008,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_pools_are_those_of_the_published_graph() -> None:
    torch.manual_seed(1)
    ones = torch.ones(1, 192, 6, 6)
    block = BlockA(192, 32).eval()
    pooled = block(ones)[:, -32:]
    torch.testing.assert_close(pooled, block.branch_pool(ones))  # padding that counted would darken the border
    x = torch.randn(1, 1280, 5, 5)
    for by_maximum in (True, False):
        last = BlockE(1280, pools_by_maximum=by_maximum).eval()
        counted = F.avg_pool2d(F.pad(torch.ones(1, 1, 5, 5), (1, 1, 1, 1)), 3, 1)
        mean = F.avg_pool2d(x, 3, 1, padding=1) / counted
        expected = last.branch_pool(F.max_pool2d(x, 3, 1, padding=1) if by_maximum else mean)
        torch.testing.assert_close(last(x)[:, -192:], expected)


def test_features_are_those_of_the_network_on_the_scaled_resized_image(weights: Path, images: list) -> None:
    extractor = InceptionFeatures(weights)
    assert extractor.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    network = InceptionNetwork().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    grey = torch.tensor(images[0] / 4000, dtype=torch.float32).expand(1, 3, -1, -1)
    with torch.inference_mode():
        expected = network(2 * F.interpolate(grey, (299, 299), mode="bilinear") - 1)
    features = extractor(images[0][None], limits=(0, 4000))
    assert features.shape == (1, 2048)
    assert expected.std() > 0.1
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_both_kinds_of_file_give_the_same_score(weights: Path, images: list, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    other = tmp_path / "weights.safetensors"
    save_file({name: value for name, value in state.items() if "num_batches_tracked" not in name}, other)
    extractor = InceptionFeatures(weights)
    score = fid(images, images[:2], weights=other, limits=(0, 4000))
    assert (score.predicted_images, score.truth_images) == (3, 2)
    assert "Inception" in score.features
    assert extractor.sha256 != score.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    # The distance of few images another way: the trace of the root is the nuclear norm of X1 X2^T for S = X^T X.
    first = extractor(np.stack(images), limits=(0, 4000)).astype(np.float64)
    second = first[:2]
    x1, x2 = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (first, second))
    step = first.mean(axis=0) - second.mean(axis=0)
    root = np.linalg.svd(x1 @ x2.T, compute_uv=False).sum()
    assert score.value == pytest.approx(step @ step + (x1**2).sum() + (x2**2).sum() - 2 * root, rel=1e-4)


def spoil(state: dict[str, torch.Tensor], how: str, path: Path) -> None:
    if how == "truncated":
        torch.save({"fc.bias": state["fc.bias"]}, path)
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "text":
        path.write_text("not weights")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "object":
        path.write_bytes(pickle.dumps(Path("somewhere")))
    elif how == "list":
        torch.save([state["fc.bias"]], path)
    elif how == "other network":
        torch.save({"conv1.weight": torch.zeros(3)}, path)
    elif how == "other classes":
        torch.save(state | {"fc.weight": torch.zeros(1000, 2048)}, path)
    elif how == "more":
        torch.save(state | {"AuxLogits.fc.weight": torch.zeros(3)}, path)
    elif how == "NaN":
        torch.save(state | {"fc.bias": torch.full((1008,), torch.nan)}, path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "is not a file"),
        ("truncated", "cannot be read"),
        ("text", "cannot be read"),
        ("empty", "cannot be read"),
        ("object", "cannot be read"),
        ("list", "not a table of tensors"),
        ("other network", "lacks Conv2d_1a_3x3.conv.weight"),
        ("other classes", "another shape of fc.weight"),
        ("more", "has besides AuxLogits.fc.weight"),
        ("NaN", "NaN or infinite weights"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(weights: Path, tmp_path: Path, how: str, message: str) -> None:
    path = tmp_path / "wrong.pth"
    spoil(torch.load(weights, weights_only=True), how, path)
    with pytest.raises(ValueError, match=message) as refusal:
        InceptionFeatures(path)
    assert "\n" not in str(refusal.value)
    assert "pt_inception-2015-12-05" in str(refusal.value)


def test_a_wrong_safetensors_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(b"\0" * 30)
    with pytest.raises(ValueError, match="cannot be read"):
        InceptionFeatures(path)

"""Segmentation: its loss, its outputs, class weights, and a known mapping learnt in seconds."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from transmodal.datasets.labels import LabelSettings
from transmodal.losses.overlap import class_cross_entropy, class_dice_loss
from transmodal.methods import LABELS, METHODS, REGION, Ports, make_method
from transmodal.methods.segmentation import Segmentation, SegmentationSettings

TWO = {"liver": 1, "tumour": 2}
SMALL = {"filters": 4, "levels": 3}


def make(settings: dict[str, Any] | None = None, **ports: Any) -> Segmentation:
    torch.manual_seed(0)
    chosen = SegmentationSettings.model_validate({"classes": TWO, "network": SMALL, **(settings or {})})
    count = len(chosen.classes) or 1
    method = make_method("segmentation", chosen, Ports(ports.pop("inputs", {"ct": 1}), {"organs": count}, **ports))
    assert isinstance(method, Segmentation)
    return method


def batch(shape: tuple[int, ...] = (16, 16), channels: int = 1) -> dict[str, torch.Tensor]:
    """An image whose brightness tells the class: 0 dark, 1 grey, 2 bright."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros(2, 1, *shape, dtype=torch.int64)
    labels[..., 3:12, 3:12] = 1
    labels[..., 5:9, 5:9] = 2
    noise = 0.05 * torch.randn(2, channels, *shape, generator=generator)
    return {"ct": (labels - 1) * 0.7 + noise, LABELS: labels}


def test_the_loss_is_dice_and_cross_entropy_of_the_classes() -> None:
    method, given = make(), batch()
    (update,) = list(method.updates(given, 0))
    logits = method.generate(given).float()
    truth = torch.cat([given[LABELS] == 1, given[LABELS] == 2], 1).float()
    assert logits.shape[1] == 3
    dice = class_dice_loss(logits.softmax(1)[:, 1:], truth)
    entropy = class_cross_entropy(logits, truth, exclusive=True)
    torch.testing.assert_close(update.loss, dice + entropy)
    assert list(update.parts) == ["g_loss", "g_dice", "g_cross_entropy"]


def test_nested_classes_get_a_sigmoid_each() -> None:
    method = make({"classes": {"liver": [1, 2], "tumour": 2}, "activation": "sigmoid"})
    given = batch()
    truth = method.truth_of(given[LABELS])
    assert torch.equal(truth[:, 0:1] > 0, given[LABELS] > 0) and torch.equal(truth[:, 1:] > 0, given[LABELS] == 2)
    assert method.generate(given).shape[1] == 2
    made = method.translate(given)["organs"]
    assert made.shape == (2, 2, 16, 16) and made.min() >= 0 and made.max() <= 1


def test_probabilities_of_a_softmax_leave_the_background_its_share() -> None:
    method = make().eval()
    made = method.translate(batch())["organs"]
    assert made.shape == (2, 2, 16, 16) and (made.sum(1) < 1).all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_known_mapping_is_learnt_in_seconds(dims: int, activation: str) -> None:
    shape = (16, 16) if dims == 2 else (8, 16, 16)
    method, given = make({"activation": activation, "network": SMALL | {"levels": 2}}, spatial_dims=dims), batch(shape)
    optimiser = torch.optim.Adam(method.parameters(), lr=0.02)
    for step in range(80):
        for update in method.updates(given, step):
            optimiser.zero_grad()
            update.loss.backward()
            optimiser.step()
    made = method.eval().translate(given)["organs"]
    found = torch.where(made[:, 1] > 0.5, 2, torch.where(made[:, 0] > 0.5, 1, 0))
    assert (found == given[LABELS][:, 0]).float().mean() > 0.98


@pytest.mark.parametrize("network", [{"kind": "slide-unet"}, {"kind": "slide-unet", "dense": True}, {"kind": "unet"}])
def test_the_body_is_rectified_whatever_the_network(network: dict[str, Any]) -> None:
    method = make({"network": {"filters": 4, "levels": 2} | network}, shape=(16, 16))
    assert not [layer for layer in method.modules() if isinstance(layer, torch.nn.Tanh)]
    assert [layer for layer in method.modules() if isinstance(layer, torch.nn.ReLU)]
    (update,) = method.updates(batch(), 0)
    update.loss.backward()
    assert all(weights.grad is not None for weights in method.parameters())


def test_more_values_than_bytes_can_tell_are_refused_by_name() -> None:
    many = {f"c{value}": value for value in range(1, 257)}
    with pytest.raises(ValidationError, match=r"classes name 256 values .* 255 can be told apart; .* such as 256"):
        SegmentationSettings.model_validate({"classes": many})
    del many["c7"]
    assert len(SegmentationSettings.model_validate({"classes": many}).label_classes("organs").atoms) == 255
    with pytest.raises(ValidationError, match="classes"):
        LabelSettings.model_validate({"modality": "seg", "classes": list(range(1, 257))})


def test_neighbours_and_several_inputs_are_fed() -> None:
    method = make(inputs={"ct": 1, "pet": 1}, neighbours=1)
    given = batch(channels=3)
    given["pet"] = given["ct"]
    assert method.translate(given)["organs"].shape == (2, 2, 16, 16)


def test_only_the_region_counts_unless_told_otherwise() -> None:
    given = batch()
    region = torch.zeros(2, 1, 16, 16)
    region[..., :8] = 1
    other = given[LABELS].clone()
    other[..., 8:] = 0
    for in_region in (True, False):
        method = make({"loss": {"in_region": in_region}}).eval()
        first, second = (
            next(method.updates(given | {REGION: region, LABELS: labels}, 0)).loss for labels in (given[LABELS], other)
        )
        assert torch.isclose(first, second).item() is in_region


def test_weights_follow_the_shares_of_the_training_pixels() -> None:
    shares = (0.9, 0.09, 0.01)
    inverse = make({"class_weights": "inverse"}, frequencies=shares).weights
    assert inverse is not None
    torch.testing.assert_close(inverse / inverse[0], torch.tensor([1.0, 10.0, 90.0]))
    assert inverse.mean().item() == pytest.approx(1)
    root = make({"class_weights": "square-root"}, frequencies=shares).weights
    assert root is not None
    torch.testing.assert_close(root / root[0], torch.tensor([1.0, 10.0, 90.0]).sqrt())
    nested = {"classes": {"liver": [1, 2], "tumour": 2}, "activation": "sigmoid", "class_weights": "inverse"}
    own = make(nested, frequencies=shares).weights
    assert own is not None
    torch.testing.assert_close(own / own[0], torch.tensor([1.0, 9.0, 90.0]))
    assert make({"class_weights": "inverse"}).weights is None  # in use there is nothing to weigh
    given = make({"class_weights": {"tumour": 4}}).weights
    assert given is not None
    torch.testing.assert_close(given, torch.tensor([1.0, 1.0, 4.0]) / 2)


def test_the_defaults_are_the_slides() -> None:
    settings = SegmentationSettings.model_validate({"network": {"filters": 8}})
    assert settings.network.activation == "relu" and settings.activation == "softmax"
    assert settings.label_classes("lesion").names == ("lesion",)
    assert SegmentationSettings.model_validate({"classes": TWO}).lesion_classes("organs") == ("tumour",)
    assert METHODS["segmentation"][0] is Segmentation


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"classes": {"liver": [1, 2], "tumour": 2}}, "set activation: sigmoid"),
        ({"classes": {"background": 1}}, "cannot be called background"),
        ({"classes": TWO, "lesions": ["kidney"]}, "lesions: there is no class 'kidney'"),
        ({"classes": TWO, "class_weights": {"tumor": 3}}, "class_weights: there is no class 'tumor'"),
        ({"classes": TWO, "largest_component": ["lung"]}, "largest_component: there is no class 'lung'"),
        ({"classes": TWO, "network": {"output": "tanh"}}, "its own activation"),
        ({"loss": {"dice": 0, "cross_entropy": 0}}, "one of dice and cross_entropy"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SegmentationSettings.model_validate(settings)

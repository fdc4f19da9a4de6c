"""StarGAN: the written losses, labels over several data sets, no pairs, and contrast that moves towards the target."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from transmodal.datasets.batch_keys import DATASET, GIVEN, REGION, WANTED
from transmodal.methods import METHODS, Method, Ports, make_method
from transmodal.methods.class_conditional import with_label_maps
from transmodal.methods.stargan import StarGan, StarGanSettings

SMALL: dict = {"generator": {"filters": 4, "blocks": 1}, "discriminator": {"filters": 4, "layers": 2}}
ANY = {"T1": 1, "T2": 1, "FLAIR": 1}
PORTS = Ports(ANY, ANY, 2, (16, 16))
TWO = {"clinic": ("T1", "T2"), "trial": ("FLAIR", "T1")}


def make(ports: Ports = PORTS, **settings: object) -> StarGan:
    torch.manual_seed(0)
    return StarGan(StarGanSettings.model_validate({**SMALL, **settings}), ports)


def batch(ports: Ports = PORTS, samples: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = ports.shape or (16, 16)
    images = {name: torch.rand(samples, n, *shape, generator=generator) * 2 - 1 for name, n in ports.inputs.items()}
    return images | ({REGION: torch.ones(samples, 1, *shape)} if ports.region else {})


def losses(method: Method, images: dict[str, Tensor], step: int = 0) -> dict[str, float]:
    torch.manual_seed(5)
    return {name: float(v.detach()) for update in method.updates(images, step) for name, v in update.parts.items()}


def test_each_turn_moves_one_network_and_five_critic_steps_come_to_one() -> None:
    method = make()
    turns = []
    for step in range(10):
        for update in method.updates(batch(), step):
            method.zero_grad(set_to_none=True)
            update.loss.backward()
            for name, part in method.trained_modules().items():
                moved = [weights for weights in part.parameters() if weights.grad is not None]
                assert bool(moved) is (name == update.optimiser)
            turns.append(update.optimiser[0])
    assert "".join(turns) == "dddddg" * 2


def test_losses_are_the_written_ones() -> None:
    method = make(Ports({"T1": 1, "T2": 1}, {"T1": 1, "T2": 1}, 2, (16, 16)), critic_steps=1)
    images = batch(method.ports, 2)
    # Each case has one modality, so that the draw is known: case 0 T1, case 1 T2.
    images[GIVEN] = images[WANTED] = torch.eye(2)
    real = torch.stack([images["T1"][0], images["T2"][1]])
    own, aim = torch.tensor([0, 1]), torch.tensor([1, 0])
    method._permuted = lambda own, dataset: aim  # type: ignore[method-assign]
    found = losses(method, images)
    with torch.no_grad():
        fake = method.generator(with_label_maps(real, torch.eye(2)[aim]))
        back = method.generator(with_label_maps(fake, torch.eye(2)[own]))
        (real_scores, real_classes), (fake_scores, classes) = map(method.discriminator, (real, fake))
        expected = {
            "d_real": -real_scores.mean(),
            "d_fake": fake_scores.mean(),
            "d_cls": functional.cross_entropy(real_classes, own),
            "g_fake": -fake_scores.mean(),
            "g_cls": functional.cross_entropy(classes, aim),
            "g_rec": (real - back).abs().mean(),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    assert found["d_loss"] == pytest.approx(
        found["d_real"] + found["d_fake"] + found["d_cls"] + 10 * found["d_gp"], rel=1e-5
    )
    assert found["g_loss"] == pytest.approx(found["g_fake"] + found["g_cls"] + 10 * found["g_rec"], rel=1e-5)


def test_labels_are_those_of_the_batch_in_another_order() -> None:
    method = make(datasets=TWO)
    own = torch.tensor([0, 1, 0, 1, 2, 3, 2, 3])
    dataset = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    torch.manual_seed(0)
    aims = torch.stack([method._permuted(own, dataset) for _ in range(20)])
    for part in (slice(0, 4), slice(4, 8)):
        assert torch.equal(aims[:, part].sort(1).values, own[part].sort().values.expand(20, -1))
    assert len(aims.unique(dim=0)) > 5
    alone = torch.stack([method._permuted(torch.tensor([0, 3]), torch.tensor([0, 1])) for _ in range(5)])
    assert torch.equal(alone, torch.tensor([[1, 2]]).expand(5, -1)), "one alone takes another label of its data set"


def test_the_label_vector_has_a_block_a_data_set_and_a_mask() -> None:
    method = make(datasets=TWO)
    assert method.label_of.tolist() == [[0, 1, -1], [3, -1, 2]]  # T1, T2, FLAIR
    seen: list[Tensor] = []
    method.generator.forward = lambda images: seen.append(images[:, 1:, 0, 0]) or images[:, :1]  # type: ignore
    method._make(torch.zeros(2, 1, 8, 8), torch.tensor([1, 3]), torch.tensor([0, 1]), None)
    # c₁ (T1, T2), c₂ (FLAIR, T1), m
    assert seen[0].tolist() == [[0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 1]]
    assert "label_of" not in method.state_dict()


def test_only_the_known_block_learns_classes() -> None:
    method = make(datasets=TWO)
    images = batch() | {DATASET: torch.tensor([1, 1, 1])}
    first = next(iter(method.updates(images, 0)))
    first.parts["d_cls"].backward()
    gradient = method.discriminator.class_head.weight.grad
    assert gradient is not None
    assert (gradient.flatten(1).abs().sum(1) > 0).tolist() == [False, False, True, True]


def test_modalities_outside_the_data_set_or_missing_enter_no_loss() -> None:
    method = make(datasets=TWO, critic_steps=1)
    images = batch() | {DATASET: torch.tensor([0, 1, 1])}
    images[GIVEN] = images[WANTED] = torch.tensor([[1.0, 0, 0], [1, 0, 1], [0, 1, 0]])
    expected = losses(method, images)
    images["T2"][:] = torch.nan  # lacking in the first, foreign to the second, all that the third has
    images["FLAIR"][0] = images["T1"][2] = torch.nan
    assert losses(method, images) == expected
    assert losses(method, {name: tensor[2:] for name, tensor in images.items()}) == {}


def test_all_modalities_are_drawn() -> None:
    method = make()
    images = {name: torch.full((8, 1, 16, 16), value) for name, value in zip(ANY, (-0.5, 0.0, 0.5), strict=True)}
    seen: list[Tensor] = []
    method.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, 0, 0, 0]))
    torch.manual_seed(0)
    next(iter(method.updates(images, 0)))
    assert set(seen[0].tolist()) == {-0.5, 0.0, 0.5}


def test_the_first_given_input_is_translated_to_all_targets() -> None:
    method = make(Ports(ANY, {"T2": 1, "FLAIR": 1}, 2, (16, 16))).eval()
    images = batch()
    outputs = method.translate(images | {GIVEN: torch.tensor([[1.0, 1, 1], [0, 1, 1], [0, 0, 1]])})
    source = torch.stack([images[name][case] for case, name in enumerate(ANY)])
    for place, name in ((1, "T2"), (2, "FLAIR")):
        expected = method.generator(with_label_maps(source, torch.eye(3)[place].expand(3, -1)))
        torch.testing.assert_close(outputs[name], expected)
    with pytest.raises(ValueError, match="none of the inputs"):
        method.translate(images | {GIVEN: torch.zeros(3, 3)})


def test_in_use_the_label_of_the_own_data_set_is_taken_where_it_has_the_target() -> None:
    method = make(datasets=TWO).eval()
    asked: list[tuple[list[int], list[int]]] = []

    def make_nothing(images: Tensor, label: Tensor, dataset: Tensor, region: Tensor | None) -> Tensor:
        asked.append((label.tolist(), dataset.tolist()))
        return images

    method._make = make_nothing  # type: ignore[method-assign]
    method.translate(batch(samples=2) | {DATASET: torch.tensor([0, 1])})
    assert asked == [([0, 3], [0, 1]), ([1, 1], [0, 0]), ([2, 2], [1, 1])]
    asked.clear()
    method.translate(batch(samples=1))
    assert asked == [([0], [0]), ([1], [0]), ([2], [1])]


def test_contrast_moves_towards_the_target_without_pairs() -> None:
    """Discs brighter than their ground in T1, darker in T2, on unlike grounds: what tells the modalities apart."""
    ports = Ports({"T1": 1, "T2": 1}, {"T1": 1, "T2": 1}, 2, (16, 16))
    axis = torch.linspace(-1, 1, 16)
    generator = torch.Generator().manual_seed(0)

    def subjects(number: int) -> dict[str, Tensor]:
        x, y = (torch.rand(2, number, 1, 1, 1, generator=generator) - 0.5).unbind(0)
        disc = ((axis.view(1, 1, 16, 1) - x).square() + (axis.view(1, 1, 1, 16) - y).square()).lt(0.16).float()
        return {"T1": disc - 0.6, "T2": 0.6 - disc}

    method = make(
        ports,
        generator={"filters": 8, "blocks": 1},
        discriminator={"filters": 16, "layers": 2},
        critic_steps=2,
        adam={"learning_rate": 1e-3},
    )
    optimisers = {
        name: torch.optim.Adam(part.parameters(), method.adam.learning_rate, method.adam.betas)
        for name, part in method.trained_modules().items()
    }
    for step in range(200):
        torch.manual_seed(step)
        # Never both modalities of a subject: each case has one.
        images = subjects(8)
        images[GIVEN] = images[WANTED] = torch.eye(2)[torch.arange(8) % 2]
        for update in method.updates(images, step):
            update.loss.backward()
            optimisers[update.optimiser].step()
            optimisers[update.optimiser].zero_grad()
    unseen = subjects(16)
    with torch.no_grad():
        made = method.eval().translate(unseen | {GIVEN: torch.tensor([[1.0, 0]]).expand(16, -1)})["T2"]
    error, baseline = ((image - unseen["T2"]).abs().mean() for image in (made, unseen["T1"]))
    assert error < 0.6 * baseline, (error, baseline)


def test_volumes_and_regions_train_and_translate() -> None:
    ports = Ports({"T1": 1, "T2": 1}, {"T1": 1, "T2": 1}, 3, (9, 12, 10), region=True)
    method = make(ports, critic_steps=1)
    images = batch(ports, 2)
    for update in method.updates(images, 0):
        update.loss.backward()
    assert method.eval().translate(images)["T2"].shape == (2, 1, 9, 12, 10)


@pytest.mark.parametrize(
    ("datasets", "match"),
    [
        ({"one": ("T1", "T2")}, "must name each of the modalities T1, T2, FLAIR"),
        ({"one": ("T1", "T2", "FLAIR", "PD")}, "no others; they name FLAIR, PD"),
        ({"one": ("T1", "T1", "T2", "FLAIR")}, "once a data set"),
    ],
)
def test_data_sets_that_do_not_fit_are_refused(datasets: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make(datasets=datasets)


def test_batches_that_hide_their_data_set_are_refused() -> None:
    with pytest.raises(ValueError, match="does not say of which data set"):
        losses(make(datasets=TWO), batch())
    assert losses(make(datasets={"one": tuple(ANY)}), batch()), "one data set needs no saying"


def test_the_table_names_the_method() -> None:
    _, settings = METHODS["stargan"]
    assert isinstance(make_method("stargan", settings.model_validate(SMALL), PORTS), StarGan)

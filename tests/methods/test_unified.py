"""TC-MGAN and Dai et al.: the written losses, who learns from what, missing modalities, and that they learn."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from transmodal.datasets.batch_keys import GIVEN, LABELS, REGION, SEGMENTOR, WANTED
from transmodal.methods import METHODS, Batch, Method, Ports, make_method
from transmodal.methods.class_conditional import draw_one, unet_depth, with_label_maps
from transmodal.methods.dai import Dai, DaiSettings
from transmodal.methods.tc_mgan import TcMgan, TcMganSettings
from transmodal.methods.unified import UnifiedSettings

NETWORKS: dict = {"generator": {"filters": 4}, "discriminator": {"filters": 4, "layers": 2}}
SEGMENTOR_NETWORK: dict = {"filters": 4, "levels": 2}
FROM_T2 = Ports({"T2": 1}, {"FLAIR": 1, "T1": 1}, 2, (16, 16), classes=3)
ANY = {"T1": 1, "T2": 1, "FLAIR": 1}
ANY_TO_ANY = Ports(ANY, ANY, 2, (16, 16))


def tc_mgan(ports: Ports = FROM_T2, **settings: object) -> TcMgan:
    torch.manual_seed(0)
    return TcMgan(TcMganSettings.model_validate({**NETWORKS, "segmentor": SEGMENTOR_NETWORK, **settings}), ports)


def dai(ports: Ports = ANY_TO_ANY, **settings: object) -> Dai:
    torch.manual_seed(0)
    return Dai(DaiSettings.model_validate({**NETWORKS, **settings}), ports)


def batch(ports: Ports, samples: int = 3, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = ports.shape or (16, 16)
    images = {
        name: torch.rand(samples, n, *shape, generator=generator) * 2 - 1
        for name, n in (ports.inputs | ports.targets).items()
    }
    if ports.classes:
        images[LABELS] = torch.randint(0, ports.classes, (samples, 1, *shape), generator=generator)
    if ports.region:
        images[REGION] = (torch.rand(samples, 1, *shape, generator=generator) > 0.3).float()
    return images


def losses(method: Method, images: Batch, step: int = 0, seed: int = 5) -> dict[str, float]:
    torch.manual_seed(seed)
    return {name: float(v.detach()) for update in method.updates(images, step) for name, v in update.parts.items()}


def train(method: Method, batches: list[dict[str, Tensor]], steps: int) -> list[dict[str, float]]:
    optimisers = {
        name: torch.optim.Adam(part.parameters(), method.adam_of(name).learning_rate, method.adam_of(name).betas)
        for name, part in method.trained_modules().items()
    }
    logged = []
    for step in range(steps):
        torch.manual_seed(step)
        parts: dict[str, float] = {}
        for update in method.updates(batches[step % len(batches)], step):
            update.loss.backward()
            optimisers[update.optimiser].step()
            optimisers[update.optimiser].zero_grad()
            parts |= {name: float(value.detach()) for name, value in update.parts.items()}
        logged.append(parts)
    return logged


def phantoms(samples: int, seed: int) -> dict[str, Tensor]:
    """Smooth maps of one tissue parameter, and what three sequences would show of it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(samples, 1, 4, 4, generator=generator) * 2 - 1
    tissue = functional.interpolate(coarse, size=(16, 16), mode="bicubic", align_corners=True).clamp(-1, 1)
    labels = (tissue > 0.5).long()
    return {"T2": tissue, "T1": -0.8 * tissue, "FLAIR": 1 - 2 * tissue.square(), LABELS: labels}


LOGGED = {"d_loss", "g_loss", "s_loss", "d_real", "d_fake", "d_cls", "d_gp", "g_fake", "g_cls", "g_rec", "g_seg"}


# -- TC-MGAN -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tc_mgan, dai])
def test_each_turn_moves_one_network(make: type) -> None:
    method = make()
    turns = []
    for update in method.updates(batch(method.ports), 0):
        method.zero_grad(set_to_none=True)
        update.loss.backward()
        for name, part in method.trained_modules().items():
            moved = [weights for weights in part.parameters() if weights.grad is not None]
            assert bool(moved) is (name == update.optimiser), (update.optimiser, name)
        turns.append(update.optimiser)
    assert turns == ["discriminator", "generator", *(["segmentor"] if make is tc_mgan else [])]


def test_tc_mgan_has_the_written_losses_under_the_logged_names() -> None:
    method = tc_mgan(targets_a_step="all").eval()  # the segmentor's batch norm then stays as it is
    images = batch(FROM_T2)
    found = losses(method, images)
    assert set(found) == LOGGED

    sums: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        sums[name] = sums.get(name, torch.tensor(0.0)) + value / 6  # a mean over three cases of two targets

    assert method.segmentor is not None
    with torch.no_grad():
        for case in range(3):
            source, mask = images["T2"][case : case + 1], (images[LABELS][case : case + 1] > 0).float()
            for place, name in enumerate(("FLAIR", "T1")):  # one-hot in the order of the targets
                label = torch.eye(2)[place : place + 1]
                real = images[name][case : case + 1]
                fake = method.generator(with_label_maps(source, label))
                bce = functional.binary_cross_entropy_with_logits
                scores, classes = method.discriminator(torch.cat([real, source], 1))
                add("d_real", -scores.sum())
                add("d_cls", bce(classes, label, reduction="sum"))
                scores, classes = method.discriminator(torch.cat([fake, source], 1))
                add("d_fake", scores.sum())
                add("g_fake", -scores.sum())
                add("g_cls", bce(classes, label, reduction="sum"))
                add("g_rec", (real - fake).abs().sum())
                for image, share in ((fake, 0.7), (real, 0.3)):
                    shown = method.segmentor(with_label_maps(image, label))
                    dice = (2 * (shown * mask).sum() + 1) / (shown.sum() + mask.sum() + 1)
                    add("s_loss", share * (1 - dice))
                    if image is fake:
                        add("g_seg", 1 - dice)
    for name, value in sums.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    assert found["d_loss"] == pytest.approx(
        found["d_real"] + found["d_fake"] + found["d_cls"] + 10 * found["d_gp"], rel=1e-5
    )
    assert found["g_loss"] == pytest.approx(
        found["g_fake"] + found["g_cls"] + found["g_rec"] + 90 * found["g_seg"], rel=1e-5
    )


def test_the_penalty_is_on_the_slope_of_the_summed_scores_towards_the_target_alone() -> None:
    method = tc_mgan(targets_a_step="all")

    class Linear(torch.nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            weights = torch.tensor([3.0, 100.0]).view(1, 2, 1, 1)  # target, source
            return (images * weights).sum(1, keepdim=True), images.flatten(1)[:, :2]

    method.discriminator = Linear()  # type: ignore[assignment]
    first = next(iter(method.updates(batch(FROM_T2), 0)))
    slope = 3.0 * 16  # 16 × 16 pixels of slope 3: ‖·‖₂ = 3 · √256
    assert float(first.parts["d_gp"]) == pytest.approx((slope - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "weight", "total", "part"),
    [
        ("classification_weight", 7.0, "d_loss", "d_cls"),
        ("gradient_penalty_weight", 7.0, "d_loss", "d_gp"),
        ("classification_weight", 7.0, "g_loss", "g_cls"),
        ("reconstruction_weight", 7.0, "g_loss", "g_rec"),
        ("segmentation_weight", 7.0, "g_loss", "g_seg"),
    ],
)
def test_tc_mgan_weights_scale_their_terms(setting: str, weight: float, total: str, part: str) -> None:
    images = batch(FROM_T2)
    without, with_it = (losses(tc_mgan(FROM_T2, **{setting: value}).eval(), images) for value in (0.0, weight))
    assert with_it[total] - without[total] == pytest.approx(weight * without[part], rel=1e-3, abs=1e-4)


def test_one_target_a_case_is_drawn_and_all_are_drawn_in_time() -> None:
    method = tc_mgan()
    torch.manual_seed(0)
    drawn = torch.stack([method._draw(batch(FROM_T2, 8), for_segmentor=False)[1] for _ in range(50)])
    assert drawn.shape == (50, 8)
    assert 0.4 < drawn.float().mean() < 0.6
    cases, which = tc_mgan(targets_a_step="all")._draw(batch(FROM_T2, 2), for_segmentor=False)
    assert cases.tolist() == [0, 0, 1, 1] and which.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("targets_a_step", ["one", "all"])
def test_targets_that_are_missing_or_given_enter_no_loss(targets_a_step: str) -> None:
    ports = Ports({"T1": 1, "T2": 1}, {"T1": 1, "FLAIR": 1}, 2, (16, 16), missing=True, classes=3)
    images = batch(ports, 2)
    images[GIVEN] = torch.tensor([[1.0, 1.0], [0.0, 1.0]])  # T1, T2
    images[WANTED] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # T1 (given in the first), FLAIR (lacking in the second)
    changed = {name: tensor.clone() for name, tensor in images.items()}
    changed["FLAIR"][1] = torch.nan
    expected = losses(tc_mgan(ports, targets_a_step=targets_a_step), images)
    assert losses(tc_mgan(ports, targets_a_step=targets_a_step), changed) == expected
    changed["T1"][1] = 0.5  # wanted: this one counts
    assert losses(tc_mgan(ports, targets_a_step=targets_a_step), changed) != expected
    images[WANTED][:] = 0
    assert losses(tc_mgan(ports), images) == {}


def test_the_segmentor_is_trained_first_and_alone() -> None:
    method = tc_mgan(segmentor={**SEGMENTOR_NETWORK, "pretraining_steps": 2})
    images = batch(FROM_T2)
    assert [[u.optimiser for u in method.updates(images, step)] for step in range(3)] == [
        ["segmentor"], ["segmentor"], ["discriminator", "generator", "segmentor"],
    ]  # fmt: skip
    assert method.adam_of("segmentor").learning_rate == 1e-4
    assert method.adam_of("generator").learning_rate == 2e-4
    faster: dict = {**SEGMENTOR_NETWORK, "pretraining_steps": 80, "adam": {"learning_rate": 5e-3}}
    logged = train(tc_mgan(segmentor=faster), [phantoms(8, 0)], 80)
    assert logged[-1]["s_loss"] < 0.5 * logged[0]["s_loss"]


def test_subjects_of_the_segmentor_never_reach_the_gan_nor_the_reverse() -> None:
    images = batch(FROM_T2, 4)
    images[SEGMENTOR] = torch.tensor([1.0, 0.0, 0.0, 1.0])

    def spoilt(cases: list[int]) -> dict[str, Tensor]:
        changed = {name: tensor.clone() for name, tensor in images.items()}
        for name in ("T2", "FLAIR", "T1"):
            changed[name][cases] = torch.nan
        return changed

    early: dict = {**SEGMENTOR_NETWORK, "pretraining_steps": 1}
    for step, others in ((0, [1, 2]), (1, [0, 3])):
        expected = losses(tc_mgan(segmentor=early), images, step)
        assert expected and losses(tc_mgan(segmentor=early), spoilt(others), step) == expected
    alone = {name: tensor[[0, 3]] for name, tensor in images.items()}
    assert losses(tc_mgan(segmentor=early), alone, 1) == {}


def test_without_labels_there_is_no_segmentor() -> None:
    unlabelled = Ports({"T2": 1}, {"FLAIR": 1, "T1": 1}, 2, (16, 16))
    for method in (tc_mgan(unlabelled), tc_mgan(segmentor=None)):
        assert set(method.trained_modules()) == {"generator", "discriminator"}
        assert not {"s_loss", "g_seg"} & set(losses(method, batch(method.ports)))
    images = batch(FROM_T2)
    del images[LABELS]
    assert not {"s_loss", "g_seg"} & set(losses(tc_mgan(), images))


def test_the_generator_waits_for_its_turn() -> None:
    method = tc_mgan(critic_steps=3)
    turns = [len(list(method.updates(batch(FROM_T2), step))) for step in range(6)]
    assert turns == [1, 1, 3, 1, 1, 3]


def test_tc_mgan_learns_all_targets_with_one_generator() -> None:
    ports = Ports({"T2": 1}, {"FLAIR": 1, "T1": 1}, 2, (16, 16), classes=2)
    method = tc_mgan(ports, generator={"filters": 8, "downsamplings": 3}, adam={"learning_rate": 2e-3})
    logged = train(method, [phantoms(8, seed) for seed in range(20)], 150)
    unseen = phantoms(16, 99)
    with torch.no_grad():
        outputs = method.eval().translate({"T2": unseen["T2"]})
    for name, output in outputs.items():
        error, baseline = ((image - unseen[name]).abs().mean() for image in (output, unseen["T2"]))
        assert error < 0.35 * baseline, (name, error, baseline)
    assert sum(step["g_rec"] for step in logged[-20:]) < 0.5 * sum(step["g_rec"] for step in logged[:20])


def test_tc_mgan_translates_by_the_order_of_the_targets() -> None:
    ports = Ports({"T2": 1}, {"FLAIR": 1, "T1": 1}, 2, (16, 16), region=True)
    method = tc_mgan(ports).eval()
    images = batch(ports)
    outputs = method.translate({name: images[name] for name in ("T2", REGION)})
    seen = torch.cat([images["T2"], images[REGION]], 1)
    for place, name in enumerate(("FLAIR", "T1")):
        label = torch.eye(2)[place].expand(3, -1)
        torch.testing.assert_close(outputs[name], method.generator(with_label_maps(seen, label)))
    assert not torch.allclose(outputs["FLAIR"], outputs["T1"], atol=1e-4)


def test_modalities_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="as many channels each, got FLAIR 1, colour 3"):
        tc_mgan(Ports({"T2": 1}, {"FLAIR": 1, "colour": 3}, 2, (16, 16)))
    with pytest.raises(ValueError, match="T1 is both input and target"):
        tc_mgan(ANY_TO_ANY)
    with pytest.raises(ValueError, match="neighbours: 0"):
        dai(Ports(ANY, ANY, 2, (16, 16), neighbours=1))
    with pytest.raises(ValueError, match="nothing to translate T1 to"):
        dai(Ports({"T1": 1}, {"T1": 1}, 2, (16, 16)))


# -- Dai et al. --------------------------------------------------------------------------------------------------------


def test_dai_has_the_written_losses() -> None:
    method = dai(Ports({"T1": 1}, {"T2": 1}, 2, (16, 16)))  # one pair: nothing is left to chance
    images = batch(method.ports)
    found = losses(method, images)
    t1, t2 = (torch.eye(2)[place].expand(3, -1) for place in (0, 1))
    target = torch.ones(3, dtype=torch.int64)

    def make(image: Tensor, label: Tensor) -> Tensor:
        return method.generator(with_label_maps(image, label))

    with torch.no_grad():
        fake = make(images["T1"], t2)
        (real_scores, real_classes), (fake_scores, fake_classes) = map(method.discriminator, (images["T2"], fake))
        expected = {
            "d_real": -real_scores.mean(),
            "d_fake": fake_scores.mean(),
            "d_cls": functional.cross_entropy(real_classes, target),
            "g_fake": -fake_scores.mean(),
            "g_cls": functional.cross_entropy(fake_classes, target),
            "g_syn": (fake - images["T2"]).abs().mean(),
            "g_cyc": (make(fake, t1) - images["T1"]).abs().mean(),
            "g_self": (make(images["T1"], t1) - images["T1"]).abs().mean(),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    assert found["d_loss"] == pytest.approx(
        found["d_real"] + found["d_fake"] + 2 * found["d_cls"] + 10 * found["d_gp"], rel=1e-5
    )
    assert found["g_loss"] == pytest.approx(
        found["g_fake"] + 2 * found["g_cls"] + 5 * found["g_syn"] + 10 * found["g_cyc"] + 0.1 * found["g_self"],
        rel=1e-5,
    )


def test_dai_draws_every_pair_and_only_of_what_is_there() -> None:
    images = batch(ANY_TO_ANY, 4)
    images[GIVEN] = images[WANTED] = torch.tensor([[1.0, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
    method = dai()
    torch.manual_seed(0)
    seen: dict[int, set[tuple[int, int]]] = {}
    for _ in range(60):
        for case, source, target in zip(*(part.tolist() for part in method._draw(images)), strict=True):
            seen.setdefault(case, set()).add((source, target))
    pairs = {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)}
    assert seen == {0: pairs, 1: {(0, 1), (1, 0)}, 2: {(1, 2), (2, 1)}}
    images["FLAIR"][1], images["T1"][2], images["T1"][3], images["FLAIR"][3] = (torch.nan,) * 4
    found = losses(method, images)
    assert found and all(value == value for value in found.values())
    assert losses(method, {name: tensor[3:] for name, tensor in images.items()}) == {}


def test_dai_combines_what_several_inputs_yield() -> None:
    images = batch(ANY_TO_ANY, 3)
    given = torch.tensor([[1.0, 1, 1], [0, 1, 0], [1, 0, 1]])
    names = list(ANY)
    for combine in ("mean", "first"):
        method = dai(combine=combine).eval()
        outputs = method.translate(images | {GIVEN: given})
        for target, name in enumerate(names):
            label = torch.eye(3)[target : target + 1]
            for case in range(3):
                usable = [k for k in range(3) if given[case, k] and k != target] or [target]
                usable = usable[:1] if combine == "first" else usable
                made = [method.generator(with_label_maps(images[names[k]][case : case + 1], label)) for k in usable]
                torch.testing.assert_close(outputs[name][case], torch.stack(made).mean(0)[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="none of the inputs"):
        dai().translate(images | {GIVEN: given * torch.tensor([[1.0], [0], [1]])})


def test_dai_learns_every_direction_that_can_be_learnt() -> None:
    ports = Ports(ANY, ANY, 2, (16, 16))
    method = dai(ports, generator={"filters": 8, "downsamplings": 3}, adam={"learning_rate": 1e-3})
    logged = train(method, [phantoms(8, seed) for seed in range(20)], 200)
    assert sum(step["g_syn"] for step in logged[-20:]) < 0.85 * sum(step["g_syn"] for step in logged[:20])
    unseen = phantoms(16, 99)
    method.eval()
    # Not back from FLAIR: there bright and dark tissue look the same, which keeps g_syn up.
    for source, target in (("T1", "T2"), ("T2", "T1"), ("T1", "FLAIR"), ("T2", "FLAIR")):
        only = torch.tensor([float(name == source) for name in ANY]).expand(16, -1)
        with torch.no_grad():
            output = method.translate(unseen | {GIVEN: only})[target]
        error, baseline = ((image - unseen[target]).abs().mean() for image in (output, unseen[source]))
        assert error < 0.7 * baseline, (source, target, error, baseline)


def test_a_region_goes_in_and_nothing_of_it_comes_out() -> None:
    ports = Ports(ANY, ANY, 2, (16, 16), region=True)
    method = dai(ports)
    images = batch(ports)
    assert set(losses(method, images)) >= {"d_loss", "g_loss", "g_cyc"}
    one = method.eval().translate(images)
    other = method.translate(images | {REGION: 1 - images[REGION]})
    assert one["T1"].shape == (3, 1, 16, 16) and not torch.equal(one["T1"], other["T1"])


# -- both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["tc-mgan", "dai"])
def test_volumes_train_and_translate(variant: str) -> None:
    ports = Ports({"T2": 1}, {"FLAIR": 1, "T1": 1}, 3, (12, 16, 17), classes=2)
    method = tc_mgan(ports) if variant == "tc-mgan" else dai(ports)
    logged = train(method, [batch(ports, 2)], 2)
    assert all(value == value for step in logged for value in step.values())
    outputs = method.eval().translate({"T2": batch(ports, 2)["T2"]})
    assert {name: tuple(image.shape) for name, image in outputs.items()} == {
        "FLAIR": (2, 1, 12, 16, 17),
        "T1": (2, 1, 12, 16, 17),
    }


@pytest.mark.parametrize("make", [tc_mgan, dai])
def test_16_bit_losses_are_near_those_in_32(make: type) -> None:
    ports = Ports({"T2": 1}, {"FLAIR": 1}, 2, (16, 16), classes=2)
    images = batch(ports)
    exact = losses(make(ports), images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = losses(make(ports), images)
    for name, value in exact.items():
        assert rough[name] == pytest.approx(value, rel=0.03, abs=0.05), name


@pytest.mark.parametrize(
    ("shape", "depth"), [((128, 128), 7), ((72, 72, 72), 3), ((240, 240), 7), ((182, 218), 6), ((16, 20), 3), (None, 7)]
)
def test_the_depth_of_the_u_net_follows_what_padding_costs(shape: tuple[int, ...] | None, depth: int) -> None:
    assert unet_depth(shape) == depth


def test_one_of_the_true_entries_is_drawn() -> None:
    torch.manual_seed(0)
    choices = torch.tensor([[False, True, False, True]]).expand(4000, -1)
    counts = torch.bincount(draw_one(choices), minlength=4)
    assert counts[0] == counts[2] == 0 and abs(int(counts[1]) - 2000) < 200


@pytest.mark.parametrize(("variant", "kind"), [("tc-mgan", TcMgan), ("dai", Dai)])
def test_the_table_makes_both_variants(variant: str, kind: type) -> None:
    make, settings = METHODS["unified"]
    ports = Ports({"T2": 1}, {"FLAIR": 1, "T1": 1}, 2, (16, 16))
    chosen = settings.model_validate({"variant": variant, "tc_mgan": NETWORKS, "dai": NETWORKS})
    method = make_method("unified", chosen, ports)
    assert make is not None and isinstance(method, kind) and method.translation_modules == ("generator",)
    with pytest.raises(ValidationError):
        UnifiedSettings.model_validate({"tc_mgan": {"lambda": 1}})

"""Baselines: what any function of a single pixel can do, fitted on training pairs alone."""

from dataclasses import replace

import numpy as np
import pytest
from nibabel import orientations

from transmodal.evaluation.baselines import fit_baselines
from transmodal.images import Image
from transmodal.metrics.policy import Policy

PHYSICAL = Policy(metrics=("mae",), sets=(), range=(0, 10), unit="units").resolved(dimension=3)


def pair(seed: int, gain: float = 1.0) -> tuple[Image, Image]:
    """A volume of brightness 1 to 9 in a background of 0, and a target that is its V-shaped function."""
    generator = np.random.default_rng(seed)
    source = np.zeros((16, 16, 16), np.float32)
    source[2:14, 2:14, 2:14] = generator.uniform(1, 9, (12, 12, 12))
    target = np.where(source > 0, 1 + np.abs(source - 5), 0)
    return (Image(source * np.float32(gain), np.eye(4)), Image(target.astype(np.float32), np.eye(4)))


def test_the_lookup_finds_a_function_that_no_line_fits() -> None:
    baselines = fit_baselines([pair(0), pair(1)], PHYSICAL, source_range=(0, 10))
    source, truth = pair(2)
    made = baselines.predict(source, truth)
    inside = truth.pixels > 0
    errors = {name: np.abs(image.pixels - truth.pixels)[inside].mean() for name, image in made.items()}
    assert errors["intensity lookup"] < 0.05 < 0.8 < errors["input luminance"]


def test_empty_bins_lie_between_their_neighbours_and_the_first_pair_gives_the_range() -> None:
    source = np.repeat(np.float32([0, 100]), 32).reshape(4, 4, 4)
    target = Image((source / 10).astype(np.float32), np.eye(4))
    baselines = fit_baselines([(Image(source, np.eye(4)), target)], PHYSICAL)
    asked = Image(np.full((4, 4, 4), 50, np.float32), np.eye(4))
    assert baselines.predict(asked, target)["intensity lookup"].pixels.mean() == pytest.approx(5, abs=0.1)


def test_a_mask_of_its_own_keeps_the_background_out_of_the_table() -> None:
    policy = PHYSICAL.model_copy(update={"mask": "brain"})
    pairs = [pair(0), pair(1)]
    bright = [(replace(source, pixels=np.where(source.pixels > 0, source.pixels, 5)), truth) for source, truth in pairs]
    masks = [truth.pixels > 0 for _, truth in pairs]
    spoilt = fit_baselines(bright, policy, source_range=(0, 10))
    sound = fit_baselines([(*each, mask) for each, mask in zip(bright, masks, strict=True)], policy,
                          source_range=(0, 10))  # fmt: skip
    source, truth = bright[0]
    at_five = (np.abs(source.pixels - 5) < 0.1) & masks[0]
    assert spoilt.predict(source, truth)["intensity lookup"].pixels[at_five].mean() < 0.3
    made = sound.predict(source, truth, masks[0])["intensity lookup"].pixels
    assert made[at_five].mean() == pytest.approx(1, abs=0.1)
    assert (made[~masks[0]] == 0).all()


def test_where_percentiles_are_the_truths_predictions_are_in_its_unit_whatever_the_gain() -> None:
    policy = Policy(metrics=("mae",), sets=(), mask="foreground", scale="percentile", percentiles_of="truth").resolved(
        dimension=3
    )
    baselines = fit_baselines([pair(0, 1.0), pair(1, 7.0)], policy)
    source, truth = pair(2, 30.0)
    louder = replace(truth, pixels=truth.pixels * 50)
    made = baselines.predict(source, louder)["intensity lookup"].pixels
    inside = truth.pixels > 0
    assert np.abs(made - louder.pixels)[inside].mean() < 0.02 * 50 * 5
    assert baselines.names[-1] == "identity"


def turned(image: Image, codes: str) -> Image:
    """The same volume in the same place, its array axes along other directions."""
    turn = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(codes))
    )
    affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
    return replace(image, pixels=orientations.apply_orientation(image.pixels, turn), affine=affine)


def test_the_mean_of_files_in_several_orientations_is_that_of_the_patients() -> None:
    def lopsided(seed: int) -> tuple[Image, Image]:
        pixels = np.random.default_rng(seed).uniform(0, 10, (4, 5, 6)).astype(np.float32)
        pixels[:2] = 0
        return Image(pixels, np.eye(4)), Image(pixels, np.eye(4))

    pairs = [lopsided(seed) for seed in range(3)]
    expected = np.mean([target.pixels for _, target in pairs], axis=0)
    codes = ["LAS", "RAS", "PSR"]
    mixed = [(turned(given, way), turned(target, way)) for (given, target), way in zip(pairs, codes, strict=True)]
    for fitted in (fit_baselines(mixed, PHYSICAL), fit_baselines(mixed[::-1], PHYSICAL)):
        for way in ("RAS", "LPI", "SRA"):
            like = turned(pairs[0][1], way)
            made = fitted.predict(turned(pairs[0][0], "PSR"), like)
            assert all(image.shape == like.shape for image in made.values())
            np.testing.assert_allclose(turned(made["mean target"], "RAS").pixels, expected, rtol=1e-5)
            np.testing.assert_allclose(made["input luminance"].pixels, like.pixels, atol=1e-3)

"""The region of a brain or body: zeros, specks, holes, air."""

import numpy as np
import pytest

from transmodal.images.region import find_region


def _ball(shape: tuple[int, ...], radius: float, centre: tuple[float, ...] | None = None) -> np.ndarray:
    middle = centre or tuple((length - 1) / 2 for length in shape)
    return sum((axis - at) ** 2 for axis, at in zip(np.indices(shape), middle, strict=True)) <= radius**2


def _stripped_brain(shape: tuple[int, ...] = (40, 44, 36)) -> tuple[np.ndarray, np.ndarray]:
    brain = _ball(shape, 14)
    pixels = np.where(brain, np.random.default_rng(0).normal(100, 10, shape), 0.0)
    return pixels.astype(np.float32), brain


def test_a_stripped_brain_is_what_is_not_zero() -> None:
    pixels, brain = _stripped_brain()
    assert np.array_equal(find_region(pixels), brain)


def test_small_negative_values_belong_and_holes_are_filled() -> None:
    pixels, brain = _stripped_brain()
    pixels[20, 22, 18:20], pixels[20, 23, 18] = 0.0, -0.02
    assert np.array_equal(find_region(pixels), brain)


def test_specks_outside_are_dropped_but_two_halves_stay() -> None:
    pixels, brain = _stripped_brain()
    halves = brain.copy()
    halves[19:21] = False
    pixels[19:21] = 0.0
    pixels[0, 0, 0], pixels[1:3, 40, 30] = 7.0, 7.0
    assert np.array_equal(find_region(pixels), halves)


def test_a_hole_that_opens_to_the_outside_is_no_hole() -> None:
    pixels, brain = _stripped_brain()
    tunnel = brain.copy()
    tunnel[20, 22, 18:] = False
    pixels[20, 22, 18:] = 0.0
    assert np.array_equal(find_region(pixels), tunnel)


def test_otsu_finds_a_dark_head_with_a_bright_brain_in_noisy_air_and_fills_its_sinus() -> None:
    shape = (48, 52, 30)
    head = _ball(shape, 13) | _ball(shape, 20, (23.5, 25.5, 14.5)) & (np.indices(shape)[2] > 6)
    brain, sinus = _ball(shape, 11), np.zeros(shape, dtype=bool)
    sinus[22:26, 10:13, 12:] = True  # open upwards: an enclosed hole only within a slice
    sinus &= head
    values = np.where(head, 60.0, 0.0) + np.where(brain, 240.0, 0.0)
    values[sinus] = 0.0
    noise = np.abs(np.random.default_rng(1).normal(0, 6, shape))
    found = find_region((values + noise).astype(np.int16), "otsu")
    assert not (found & ~head).any()
    enclosed = [level for level in range(12, 30) if (head[22:26, 9, level] & head[22:26, 13, level]).all()]
    assert len(enclosed) > 5
    for level in enclosed:
        assert np.array_equal(found[..., level], head[..., level])


def test_otsu_finds_a_body_in_ct_with_a_table_beside() -> None:
    body = _ball((64, 64), 22)
    pixels = np.where(body, 40.0, -1000.0)
    pixels[30:34, 30:34] = -900.0  # lung
    pixels[62:, :] = 200.0
    assert np.array_equal(find_region(pixels, "otsu"), body)


def test_auto_takes_the_zeros_where_the_background_is_zero_and_otsu_else() -> None:
    pixels, brain = _stripped_brain()
    assert np.array_equal(find_region(pixels, "auto"), brain)
    noisy = pixels + np.abs(np.random.default_rng(2).normal(0, 3, pixels.shape))
    assert (find_region(noisy, "auto") ^ brain).sum() < 0.01 * brain.sum()
    assert find_region(noisy, "nonzero").all()


@pytest.mark.parametrize("how", ["nonzero", "otsu", "auto"])
@pytest.mark.parametrize("value", [0, np.nan])
def test_nothing_gives_an_empty_region(how: str, value: float) -> None:
    for shape in ((5, 6), (4, 5, 6)):
        found = find_region(np.full(shape, value, dtype=np.float32), how)  # type: ignore[arg-type]
        assert found.shape == shape and found.dtype == bool and not found.any()


def test_not_a_number_is_outside() -> None:
    pixels, brain = _stripped_brain()
    pixels[0:3] = np.nan
    assert np.array_equal(find_region(pixels), brain)
    assert not find_region(pixels, "otsu")[0:3].any()


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(ValueError, match="nonzero, otsu"):
        find_region(np.ones((3, 3)), "brain")  # type: ignore[arg-type]

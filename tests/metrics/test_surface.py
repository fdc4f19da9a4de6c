"""HD95 against brute force over all pairs of surface voxels, and the properties of a distance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from transmodal.metrics.surface import hd95


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A label map of two labels, each a few random boxes."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for number in range(4):
        corner = [generator.integers(0, length - 1) for length in shape]
        size = [generator.integers(1, length // 2 + 1) for length in shape]
        labels[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = number % 2 + 1
    return labels


def brute_force(predicted: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> float:
    """All distances of all pairs of surface voxels."""
    points = []
    for region in (predicted, truth):
        surface = region & ~binary_erosion(region, border_value=0)
        points.append(np.argwhere(surface) * np.array(spacing))
    distances = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
    return max(float(np.percentile(distances.min(axis=axis), 95)) for axis in (0, 1))


@settings(max_examples=40, deadline=None)
@given(axes=st.integers(2, 3), seed=st.integers(0, 10_000), label=st.sampled_from([None, 1, 2]))
def test_it_is_the_larger_percentile_over_all_pairs_of_surface_voxels(axes: int, seed: int, label: int | None) -> None:
    shape, spacing = (11, 9, 7)[:axes], (0.7, 2.0, 3.1)[:axes]
    predicted, truth = blobs(shape, seed), blobs(shape, seed + 1)
    first, second = (labels == label if label else labels > 0 for labels in (predicted, truth))
    value = hd95(predicted, truth, label=label, spacing=spacing)
    if first.any() and second.any():
        assert value == pytest.approx(brute_force(first, second, spacing), rel=1e-12)
        assert hd95(truth, predicted, label=label, spacing=spacing) == value
        doubled = tuple(2 * step for step in spacing)
        assert hd95(predicted, truth, label=label, spacing=doubled) == pytest.approx(2 * value, rel=1e-12)
        padded = [np.pad(labels, 3) for labels in (predicted, truth)]
        assert hd95(*padded, label=label, spacing=spacing) == value
    assert hd95(predicted, predicted, spacing=spacing) == 0.0


@pytest.mark.parametrize(("axis", "step"), [(0, 0.5), (1, 1.25), (2, 3.0)])
def test_a_shift_by_k_voxels_is_k_times_the_spacing(axis: int, step: float) -> None:
    # A plate, thin along the shift: the nearest surface voxel is the plate's own, shifted.
    plate = np.zeros((20, 20, 20), bool)
    plate[tuple(slice(5, 6) if other == axis else slice(3, 17) for other in range(3))] = True
    for k in (1, 2, 7):
        assert hd95(np.roll(plate, k, axis), plate, spacing=(0.5, 1.25, 3.0)) == pytest.approx(k * step, rel=1e-12)


def test_a_far_speck_counts_only_beyond_a_twentieth_of_the_surface() -> None:
    truth = np.zeros((60, 60), int)
    truth[10:40, 10:40] = 1
    speck, patch = truth.copy(), truth.copy()
    speck[55, 55] = 1
    patch[50:58, 50:58] = 1
    assert hd95(speck, truth, spacing=(1, 1)) == 0.0
    assert hd95(patch, truth, spacing=(1, 1)) > 15


def test_a_region_that_is_absent_has_no_distance() -> None:
    empty, full = np.zeros((4, 4), int), np.ones((4, 4), int)
    assert math.isnan(hd95(empty, empty, spacing=(1, 1)))
    assert hd95(empty, full, spacing=(1, 1)) == hd95(full, empty, spacing=(1, 1)) == math.inf
    assert hd95(full, full, spacing=(1, 1)) == 0.0


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (1.0, np.nan), None, 1.0, "mm"])
def test_a_spacing_that_does_not_fit_is_refused(spacing: object) -> None:
    with pytest.raises(ValueError, match="spacing must be 2 positive numbers in mm"):
        hd95(np.ones((3, 3)), np.ones((3, 3)), spacing=spacing)


def test_maps_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="two or three axes"):
        hd95(np.ones(3), np.ones(3), spacing=(1,))
    with pytest.raises(ValueError, match="different shapes"):
        hd95(np.ones((3, 3)), np.ones((3, 4)), spacing=(1, 1))
    with pytest.raises(ValueError, match="fractions"):
        hd95(np.full((3, 3), 0.5), np.ones((3, 3)), spacing=(1, 1))

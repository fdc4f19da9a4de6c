"""Errors of volume: known values in mm³ and per cent, whatever the place of the regions."""

import math

import numpy as np
import pytest

from transmodal.metrics.volume import relative_volume_error, volume_error


def example() -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((6, 6, 4), np.uint8)
    truth[:2, :5, 0] = 1  # 10 voxels
    truth[5, 5, :3] = 2
    made = np.zeros_like(truth)
    made[3:5, :3, 1:3] = 1  # 12 voxels elsewhere
    return made, truth


def test_volumes_are_in_cubic_millimetres_and_too_small_counts_as_too_large() -> None:
    made, truth = example()
    spacing = (0.5, 2.0, 3.0)
    assert volume_error(made, truth, label=1, spacing=spacing) == pytest.approx(2 * 3.0)
    assert volume_error(truth, made, label=1, spacing=spacing) == pytest.approx(2 * 3.0)
    assert volume_error(made, truth, label=2, spacing=spacing) == pytest.approx(3 * 3.0)
    assert volume_error(made, truth, spacing=spacing) == pytest.approx(1 * 3.0)
    assert volume_error(made[..., 1], truth[..., 0], label=1, spacing=(0.5, 2)) == pytest.approx(4)


def test_relative_errors_are_per_cent_of_the_truth() -> None:
    made, truth = example()
    assert relative_volume_error(made, truth, label=1) == pytest.approx(20)
    assert relative_volume_error(made, truth, label=2) == 100
    assert relative_volume_error(made, truth, label=7) == 0
    assert relative_volume_error(truth, made, label=2) == math.inf


def test_what_cannot_be_measured_is_refused() -> None:
    made, truth = example()
    with pytest.raises(ValueError, match="spacing must be 3 positive numbers"):
        volume_error(made, truth, spacing=(1, 1))
    with pytest.raises(ValueError, match="different shapes"):
        volume_error(made[:3], truth, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="fractions"):
        relative_volume_error(made + 0.5, truth)

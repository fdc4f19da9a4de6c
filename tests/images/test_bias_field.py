"""A known shading is found and divided out."""

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.bias_field import correct_bias_field


def _shaded_brain() -> tuple[Image, np.ndarray, np.ndarray]:
    """Return a phantom of three tissues under a smooth field, its region and the field (mean 1 in the region)."""
    shape = (40, 44, 24)
    x, y, z = (axis / length - 0.5 for axis, length in zip(np.indices(shape, dtype=float), shape, strict=True))
    radius = np.sqrt(x**2 + y**2 + z**2)
    region = radius < 0.45
    tissue = np.select([radius < 0.2, radius < 0.33, region], [300.0, 200.0, 120.0], 0.0)
    field = np.exp(0.6 * x - 0.4 * y + 0.5 * z * x)
    field /= field[region].mean()
    noise = np.random.default_rng(0).normal(0, 3, shape) * region
    return Image((tissue * field + noise).astype(np.float32), np.diag([-4.0, 4.0, 6.0, 1.0])), region, field


def test_a_known_field_is_divided_out_and_the_unit_stays() -> None:
    image, region, field = _shaded_brain()
    corrected, found = correct_bias_field(image, region)
    assert field[region].std() > 0.1
    assert (found / field)[region].std() < 0.03
    assert found[region].mean() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(corrected.pixels * found, image.pixels, rtol=1e-5, atol=1e-3)
    assert corrected.pixels.dtype == np.float32 and corrected.same_grid(image)
    assert (corrected.pixels[~region] == 0).all()
    again, _ = correct_bias_field(image, region)
    np.testing.assert_array_equal(corrected.pixels, again.pixels)


def test_holes_of_zero_and_not_a_number_spoil_nothing() -> None:
    image, region, field = _shaded_brain()
    pixels = image.pixels.copy()
    pixels[20, 22, 12], pixels[21, 22, 12], pixels[22, 22, 12] = 0.0, -0.5, np.nan
    _, found = correct_bias_field(image.with_pixels(pixels), region)
    assert (found / field)[region].std() < 0.03


def test_what_has_no_field_is_refused_by_name() -> None:
    image, region, _ = _shaded_brain()
    with pytest.raises(UserError, match="too few"):
        correct_bias_field(image.with_pixels(-image.pixels), region)
    with pytest.raises(UserError, match="no single volume"):
        correct_bias_field(Image(np.ones((8, 8))), np.ones((8, 8), dtype=bool))

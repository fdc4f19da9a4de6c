"""Axes in another order or direction are turned; grids that differ otherwise are refused."""

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.reorientation import turned_onto


def test_labels_are_turned_onto_a_dicom_series() -> None:
    like = Image(
        np.zeros((4, 6, 3), np.int16), np.array([[0, -2, 0, 50], [-1, 0, 0, 20], [0, 0, 3, -7], [0, 0, 0, 1.0]])
    )
    values = np.arange(72, dtype=np.uint8).reshape(6, 4, 3)
    own = Image(values, np.array([[-2, 0, 0, 50], [0, 1, 0, 17], [0, 0, 3, -7], [0, 0, 0, 1.0]]), quantity="label")
    turned = turned_onto(own, like)
    assert turned.same_grid(like) and turned.quantity == "label"
    np.testing.assert_array_equal(turned.pixels, np.swapaxes(values, 0, 1)[::-1])
    assert turned_onto(turned, like) is turned


def test_other_grids_are_refused() -> None:
    like = Image(np.zeros((4, 4, 4)))
    with pytest.raises(UserError, match="bring them on one grid"):
        turned_onto(Image(np.zeros((4, 4, 4)), np.diag([1, 1, 2.0, 1])), like)
    with pytest.raises(UserError, match="bring the pair on one grid"):
        turned_onto(Image(np.zeros((4, 4, 5))), like)
    with pytest.raises(UserError):
        turned_onto(Image(np.zeros((4, 5))), Image(np.zeros((5, 4))))

"""Readings and phantoms that the tests of several families share."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from transmodal.tomography.degradations.degradation import Reading
from transmodal.tomography.geometry import ParallelBeam, evenly

Discs = tuple[tuple[float, float, float, float], ...]


@pytest.fixture
def reading() -> Callable[..., Reading]:
    """Make a reading of one channel: constant line integrals, or those given as (n, views, bins)."""

    def make(line_integrals: float | NDArray[np.floating] = 1.0, pitch: float = 1.0) -> Reading:
        values = np.broadcast_to(line_integrals, (2, 90, 64)) if np.isscalar(line_integrals) else line_integrals
        transmission = np.exp(-np.asarray(values, dtype=np.float32))[None]
        beam = ParallelBeam(evenly(transmission.shape[2], 180.0), transmission.shape[3], pitch)
        return Reading(transmission, beam, np.ones(1), np.full(1, 1e-9))

    return make


@pytest.fixture
def disc_hu() -> Callable[..., NDArray[np.float32]]:
    """Make an image of discs (y, x, radius in pixels, HU) in air; a disc covers those before it."""

    def make(size: int, *discs: tuple[float, float, float, float]) -> NDArray[np.float32]:
        down, right = np.mgrid[:size, :size] - (size - 1) / 2
        image = np.full((size, size), -1000.0, dtype=np.float32)
        for y, x, radius, hu in discs:
            image[np.hypot(down - y, right - x) < radius] = hu
        return image

    return make

"""A small X-ray and a small dynamic study of one field of 20×40 mm."""

import numpy as np
import pytest

from transmodal.images import Image, picture_affine
from transmodal.images.nuclear import Injection, NuclearSeries
from transmodal.images.nuclear.isotopes import ISOTOPES


@pytest.fixture
def xray() -> Image:
    """16 bits, (40, 80) pixels of 0.5 mm, brighter to the right."""
    pixels = np.repeat(np.linspace(1000, 61000, 80).astype(np.uint16)[None], 40, axis=0)
    return Image(pixels, picture_affine((0.5, 0.5)))


@pytest.fixture
def study() -> NuclearSeries:
    """Four frames of (10, 20) pixels of 2 mm: 5 counts, and a pixel at (5, 10) that begins at 800 and halves."""
    frames = np.full((4, 10, 20), 5, np.uint16)
    frames[:, 5, 10] = [800, 400, 200, 100]
    return NuclearSeries(
        frames,
        picture_affine((2.0, 2.0)),
        starts=np.array([0.0, 60.0, 120.0, 300.0]),
        durations=np.array([60.0, 60.0, 120.0, 300.0]),
        isotope=ISOTOPES["Tc-99m"],
        injection=Injection(10e6),
        sensitivity=200.0,
        agent="99mTc-MDP",
    )

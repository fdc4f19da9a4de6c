"""Where the real files are, and small images to write and read."""

import os
from pathlib import Path

import numpy as np
import pytest

from transmodal.images import Image, picture_affine


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of published files, or skip."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("TRANSMODAL_DATA", default)).resolve()
    if not (folder / "readers").is_dir():
        pytest.skip(f"no published files at {folder}; name their folder in TRANSMODAL_DATA")
    return folder


@pytest.fixture
def picture() -> Image:
    """Return a 16-bit picture that holds 0 and 65 535, with a pixel size that is no whole number per metre."""
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 5), dtype=np.uint16)
    pixels[0, 0], pixels[-1, -1] = 0, 65535
    return Image(pixels, picture_affine((0.097, 0.1)))


@pytest.fixture
def volume() -> Image:
    """Return a signed volume on an oblique grid."""
    pixels = np.random.default_rng(1).integers(-1024, 3072, (5, 4, 3), dtype=np.int16)
    angle = 0.3
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.7, 0.8, 2.5]
    affine[:3, 3] = [-90.25, 12.125, 33.0]
    return Image(pixels, affine, quantity="HU")

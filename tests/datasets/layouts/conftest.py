"""Small files of volumes for the layouts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transmodal.datasets.layouts import Indexed
from transmodal.images import Image, write


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write volumes of 2×3×4 voxels, values 0 and `highest`, under these names below one folder; return the folder."""

    def put(*names: str, highest: int = 1, shift: float = 0.0, folder: str = "data") -> Path:
        pixels = np.zeros((2, 3, 4), np.uint8)
        pixels[0, 0, 0] = highest
        affine = np.eye(4)
        affine[0, 3] = shift
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(Image(pixels, affine), path)
        return tmp_path / folder

    return put


@pytest.fixture
def keys() -> Callable[[Indexed], list[tuple[str, ...]]]:
    """Return (subject, session, modality) of every row."""
    return lambda indexed: [tuple(row) for row in indexed.manifest.table[["subject", "session", "modality"]].values]

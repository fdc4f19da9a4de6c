"""What all tests share."""

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("TRANSMODAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run side by side: each keeps to one core."""
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def real_data() -> Path:
    """The folder of real images; the test is skipped where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real images: {REAL_DATA} is absent (set TRANSMODAL_DATA)")
    return REAL_DATA

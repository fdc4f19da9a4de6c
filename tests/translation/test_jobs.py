"""What there is to translate is found by name."""

from pathlib import Path

import numpy as np
import pytest

from transmodal.errors import UserError
from transmodal.translation.jobs import find_jobs


def test_a_pattern_keeps_other_modalities_out(tmp_path: Path) -> None:
    for name in ("a_T1.npy", "a_T2.npy", "b_T1.npy"):
        np.save(tmp_path / name, np.zeros((4, 4), np.uint8))
    assert [job.name for job in find_jobs(tmp_path, ["T1"], pattern="*_T1.npy")] == ["a_T1", "b_T1"]
    with pytest.raises(UserError, match="named like"):
        find_jobs(tmp_path, ["T1"], pattern="*FLAIR*")

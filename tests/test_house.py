"""The rules of the house that no other tool holds."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import transmodal

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_torchvision_is_absent() -> None:
    assert importlib.util.find_spec("torchvision") is None


def test_torch_is_the_pinned_version() -> None:
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert importlib.metadata.version("torch").split("+")[0] == pinned[1]


@pytest.mark.parametrize("forbidden", ["torchvision", "astra", "piq", "pyiqa", "pickle.load"])
def test_nothing_that_is_kept_out_is_imported(forbidden: str) -> None:
    pattern = re.compile(rf"^\s*(import|from) {re.escape(forbidden)}\b|\b{re.escape(forbidden)}\(", re.M)
    assert not [file for file in SOURCES if pattern.search(file.read_text())]


def test_torch_loads_only_weights() -> None:
    calls = [line for file in SOURCES for line in file.read_text().splitlines() if "torch.load(" in line]
    assert calls and all("weights_only=True" in line for line in calls), calls


@pytest.mark.parametrize("module", ["transmodal", "transmodal.cli.application"])
def test_importing_stays_light(module: str) -> None:
    heavy = ["torch", "lightning", "matplotlib", "scipy", "SimpleITK", "pandas", "numba", "cv2", "pydicom", "nibabel"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_face_is_there() -> None:
    for name in transmodal.__all__:
        assert getattr(transmodal, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        transmodal.reed  # noqa: B018


def test_no_two_test_files_have_one_name() -> None:
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(set(names)) == names, "pytest imports them by name alone"

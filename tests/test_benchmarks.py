"""Scripts that nobody runs for months still find what they import."""

import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def imported_names(file: Path) -> list[tuple[str, str]]:
    """Return (module, name) of each `from transmodal… import …`, wherever in the file it stands."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [
        (node.module, name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("transmodal")
        for name in node.names
    ]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_a_benchmark_imports_what_is_there(file: Path) -> None:
    for module, name in imported_names(file):
        assert hasattr(importlib.import_module(module), name) or importlib.import_module(f"{module}.{name}")


def test_imports_are_found() -> None:
    assert len([pair for file in FOLDER.glob("*.py") for pair in imported_names(file)]) > 20

"""A run on disk: one recipe on one manifest with one seed, and everything that came of it, in plain files."""

import json
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

import transmodal
from transmodal.datasets.manifest import Manifest
from transmodal.errors import UserError
from transmodal.images.files import write_text
from transmodal.training.recipe import Recipe
from transmodal.training.recipe_loading import load_recipe


@dataclass(frozen=True)
class Run:
    """A run's folder and the names of what lies in it.

    Attributes:
        folder: of the run.
        recipe: resolved, every default written out.
        manifest: with its split column.
    """

    folder: Path
    recipe: Recipe
    manifest: Manifest

    @classmethod
    def create(cls, folder: str | Path, recipe: Recipe, manifest: Manifest) -> "Run":
        """Make a new run folder with environment, manifest and, last, the recipe that makes it a run.

        Raises:
            UserError: the folder holds a run already, holds something else, or cannot be written.
        """
        folder = Path(folder)
        if (folder / "recipe.yaml").exists():
            raise UserError(f"{folder} already holds a run; add --resume to go on with it, or choose another --out")
        if folder.is_file() or (folder.is_dir() and not _is_free(folder)):
            raise UserError(f"{folder} is not an empty folder; choose another --out")
        write_text(folder / "environment.json", json.dumps(describe_environment(), indent=2) + "\n")
        manifest.write(folder / "manifest.csv")
        write_text(folder / "recipe.yaml", recipe.to_yaml())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open an existing run.

        Raises:
            UserError: the folder is no run.
        """
        folder = Path(folder)
        if not (folder / "recipe.yaml").is_file():
            raise UserError(f"{folder} is no run: it has no recipe.yaml; make one with 'transmodal train'")
        recipe = load_recipe(folder / "recipe.yaml")
        return cls(folder, recipe, Manifest.read(folder / "manifest.csv"))

    def discard(self) -> None:
        """Take away a run that never began to train, so that the same command can be given again once mended."""
        if self.last_checkpoint.exists() or self.log.exists():
            return
        for name in ("recipe.yaml", "manifest.csv", "preparation.json", "environment.json"):
            (self.folder / name).unlink(missing_ok=True)
        for folder in (self.folder / "checkpoints", self.folder / "tensorboard", self.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def model(self) -> Path:
        """The folder of the translator."""
        return self.folder / "model"

    @property
    def log(self) -> Path:
        return self.folder / "log.csv"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, machine and date of the training."""
        content: dict[str, Any] = yaml.safe_load((self.folder / "environment.json").read_text(encoding="utf-8"))
        return content


def _is_free(folder: Path) -> bool:
    """Say whether nothing is in a folder but what a creation left that was killed half-way."""
    names = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    return not names or ("environment.json" in names and names <= {"environment.json", "manifest.csv"})


def describe_environment() -> dict[str, Any]:
    """Return versions and machine, for the record."""
    import numpy
    import torch

    return {
        "transmodal": transmodal.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()

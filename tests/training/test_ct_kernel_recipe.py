"""The recipe of reconstruction kernels learns one that is known, both ways."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.ndimage import gaussian_filter

import transmodal
from transmodal.images import Image, picture_affine, write
from transmodal.training.recipe_loading import load_recipe
from transmodal.training.train import train

SIZE = 48


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes with noise in HU, and the same smoothed; the last subject is tested."""
    folder, random, rows = tmp_path_factory.mktemp("kernels"), np.random.default_rng(0), []
    for number in range(5):
        sharp = np.full((SIZE, SIZE), -1000.0)
        for _ in range(6):
            row, column = random.integers(2, SIZE - 18, 2)
            sharp[row : row + random.integers(6, 16), column : column + random.integers(6, 16)] = random.uniform(
                -200, 900
            )
        sharp += random.normal(0, 40, sharp.shape)
        for name, pixels in (("bone", sharp), ("soft", gaussian_filter(sharp, 1.0))):
            path = folder / f"{name}{number}.tif"
            write(Image(pixels.astype(np.float32), picture_affine((1, 1)), quantity="HU"), path)
            split = "test" if number == 4 else "train"
            rows.append({"subject": f"s{number}", "session": "1", "modality": name, "path": path.name, "split": split})
    pandas.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.mark.parametrize(("source", "target"), [("bone", "soft"), ("soft", "bone")])
def test_a_kernel_is_learnt_both_ways(slices: Path, tmp_path: Path, source: str, target: str) -> None:
    changes = {
        "inputs": [source],
        "targets": [target],
        "preparation.grid.size": None,
        "supervised.network.filters": 8,
        "supervised.adam.learning_rate": 0.005,
        "train.epochs": 60,
        "train.validate_every": 60,
        "train.average_weights": 0.8,
    }
    recipe = load_recipe("ct-kernel", scale="smoke", overrides=changes)
    run = train(recipe, slices, tmp_path / "run", cache=tmp_path / "cache", quiet=True)
    seen, true = (transmodal.read(slices.parent / f"{name}4.tif") for name in (source, target))
    made = transmodal.load_translator(run.model)(seen)
    left = np.abs(np.asarray(made) - np.asarray(true)).mean()
    assert left < 0.6 * np.abs(np.asarray(seen) - np.asarray(true)).mean()

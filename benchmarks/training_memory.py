"""Peak memory of training pix2pix as published (U-Net with 8 halvings, 64 filters) at 512×1024, batch 1.

    python benchmarks/training_memory.py

Trains a few steps in a process of its own and prints the greatest resident memory that the operating system saw.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    from transmodal.datasets.manifest import Manifest
    from transmodal.datasets.splits import split_by_subject
    from transmodal.simulation.mouse import simulate_dataset

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = Manifest.read(simulate_dataset(root / "mice", animals=4, poses=1, workers=1))
        split_by_subject(manifest, fractions=(0.5, 0.25, 0.25)).write(root / "mice" / "split.csv")
        for precision in ("fp32", "bf16"):
            command = [
                sys.executable,
                __file__,
                "one",
                str(root / "mice" / "split.csv"),
                str(root / precision),
                precision,
            ]
            subprocess.run([*command, str(root / "cache")], check=True)


def one(manifest: str, out: str, precision: str, cache: str) -> None:
    from transmodal.training.recipe_loading import load_recipe
    from transmodal.training.train import train

    changes = {"train.precision": precision, "train.epochs": 2, "train.validate_every": 2, "train.sample_every": 2}
    recipe = load_recipe("photo-to-xray", scale="paper", overrides=changes)
    train(recipe, manifest, out, device="cpu", cache=Path(cache), quiet=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"training at 512×1024, batch 1, {precision}: peak {peak:.2f} GiB, with validation, pictures and checkpoints")


if __name__ == "__main__":
    one(*sys.argv[2:]) if sys.argv[1:2] == ["one"] else main()

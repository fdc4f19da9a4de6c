"""How long the pairs for a training take: 600 slices projected, made worse and reconstructed, as the command does it.

    python benchmarks/ct_pairs.py --size 256
    python benchmarks/ct_pairs.py --size 512

Wall time of the whole command on all cores, start and progress bar included, on simulated bodies; 720 views on a grid
twice as fine, 1e5 photons a ray, five numbers of views equally often. Making the bodies is not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transmodal.datasets.ct_sources import phantom_manifest


def main() -> None:
    """Make the bodies, time the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--size", type=int, default=256, help="pixels of an edge")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        phantom_manifest(Path(folder) / "phantoms", arguments.pairs, arguments.size, 0)
        words = ["data", "degrade", f"{folder}/phantoms/clean.csv", "-o", f"{folder}/pairs"]
        words += ["--step", "photon-noise photons=1e5", "--vary", "angles=30,60,90,120,150", "--mix"]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "transmodal", *words], check=True)
        seconds = time.perf_counter() - start
    print(
        f"{arguments.pairs} pairs of {arguments.size}²: {seconds:.0f} s on {os.cpu_count()} cores, "
        f"{1000 * seconds / arguments.pairs:.0f} ms a pair"
    )


if __name__ == "__main__":
    main()

"""Projection and its adjoint of a 512² slice over 180 angles, against scikit-image in one process, in turn.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 python benchmarks/ct_projection.py [--rounds 7] [--size 512] [--views 180]

Parallel rays, a head phantom, float32. The peer of the projection is `skimage.transform.radon`, once with circle=True
(as many bins as columns) and once with circle=False (bins over the diagonal); ours has the same bins each time. The
peer of the adjoint is `skimage.transform.iradon` without a filter, which interpolates between bins instead of pixels
and thus is nobody's adjoint, but the same amount of work. scikit-image runs on one thread, ours on NUMBA_NUM_THREADS.
The kernels are compiled before. Prints medians, the median of the ratios of each round with the smallest and largest,
and how far the values lie apart.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
from skimage.transform import iradon, radon

from transmodal.tomography.geometry import Grid, ParallelBeam, evenly
from transmodal.tomography.phantoms import rasterise, shepp_logan
from transmodal.tomography.projection import backproject, project
from transmodal.tomography.threads import threads


def compare(name: str, rounds: int, peer: Callable[[], np.ndarray], ours: Callable[[], np.ndarray]) -> None:
    """Run both in turn and print a line."""
    found, expected = ours(), peer()
    apart = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        start = time.perf_counter()
        peer()
        between = time.perf_counter()
        ours()
        times.append((between - start, time.perf_counter() - between))
    ratios = [theirs / own for theirs, own in times]
    theirs, own = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{name:28} scikit-image {theirs:7.1f} ms (1 thread)   ours {own:6.1f} ms ({threads()} threads)   "
        f"{statistics.median(ratios):5.1f}x ({min(ratios):.1f} to {max(ratios):.1f})   values apart {apart:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=180)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Radon transform: image must be zero")

    size, angles = options.size, np.array(evenly(options.views, 180.0))
    # scikit-image turns the other way, about pixel size // 2.
    beside = (size - 1) / 2 - size // 2
    grid = Grid((size, size), (1.0, 1.0), (beside, beside))
    image = rasterise(shepp_logan(float(size)), Grid((size, size), (1.0, 1.0)))
    for circle in (True, False):
        bins = len(radon(image, angles[:1], circle=circle))
        beam = ParallelBeam(tuple(-angles), bins, 1.0, (bins - 1) / 2 - bins // 2)
        sinogram = project(image, grid, beam)
        compare(
            f"projection, circle={circle}",
            options.rounds,
            lambda circle=circle: radon(image, angles, circle=circle),
            lambda beam=beam: project(image, grid, beam).T,
        )
        # iradon sums over views times π/2 over their number; its circle=True leaves the corners empty.
        compare(
            f"adjoint, {bins} bins",
            options.rounds,
            lambda sinogram=sinogram: iradon(
                sinogram.T, angles, output_size=size, filter_name=None, circle=False, interpolation="linear"
            ),
            lambda sinogram=sinogram, beam=beam: backproject(sinogram, grid, beam) * (np.pi / 2 / options.views),
        )


if __name__ == "__main__":
    main()

"""Filtered back-projection against scikit-image's `iradon`, in turn, and the seconds that FDK takes.

    python benchmarks/ct_reconstruction.py [--side 512] [--views 180] [--rounds 7]

Both reconstruct the same analytic head with the ramp filter and linear interpolation, on the same grid (scikit-image's
axis lies on pixel side // 2, which `offset` and `centre` say to ours). The ratio is that of wall times within a round;
beside it stands that of processor times, which a busy machine disturbs less but which counts both threads of ours. The
difference is relative, two pixels inside the circle that `iradon` fills. NUMBA_NUM_THREADS sets our threads;
scikit-image uses one.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from skimage.transform import iradon

from transmodal.tomography.fdk import fdk
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.geometry import FanBeam, Grid, ParallelBeam, evenly, micro_ct
from transmodal.tomography.phantoms import Sphere, line_integrals, shepp_logan
from transmodal.tomography.threads import threads


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result, and the seconds of wall and of all processors."""
    wall, processors = time.perf_counter(), time.process_time()
    made = work()
    return made, time.perf_counter() - wall, time.process_time() - processors


def against_peer(side: int, views: int, rounds: int) -> None:
    half = 0.5 if side % 2 == 0 else 0.0
    angles = evenly(views, 180)
    beam = ParallelBeam(tuple(-angle for angle in angles), side, 1.0, -half)
    grid = Grid((side, side), (1.0, 1.0), (-half, -half))
    sinogram = line_integrals(shepp_logan(side * 0.95), beam)
    columns = np.ascontiguousarray(sinogram.T)
    times = []
    fbp(sinogram, grid, beam)  # compiles
    for _ in range(rounds):
        theirs, *peer = timed(lambda: iradon(columns, np.asarray(angles), filter_name="ramp", circle=True))
        ours, *own = timed(lambda: fbp(sinogram, grid, beam))
        times.append((*peer, *own))
        print(f"  scikit-image {1e3 * peer[0]:7.1f} ms   ours {1e3 * own[0]:6.1f} ms   {peer[0] / own[0]:5.1f}×")
    y, x = np.meshgrid(grid.positions(0), grid.positions(1), indexing="ij")
    inside = np.hypot(x, y) < side // 2 - 2
    difference = np.linalg.norm((ours - theirs)[inside]) / np.linalg.norm(theirs[inside])
    wall = statistics.median(peer / own for peer, _, own, _ in times)
    processors = statistics.median(peer / own for _, peer, _, own in times)
    print(
        f"FBP {side}², {views} views: median ratio {wall:.1f}× of wall, {processors:.1f}× of processor time; "
        f"relative difference {difference:.1e}"
    )


def fan(side: int, views: int, rounds: int) -> None:
    grid = Grid((side, side), (0.1, 0.1))
    for curved in (False, True):
        beam = FanBeam(evenly(views, 360), int(side * 1.5), 0.2, 200, 400, curved=curved)
        sinogram = line_integrals(shepp_logan(side * 0.095), beam)
        fbp(sinogram, grid, beam)
        taken = [timed(lambda: fbp(sinogram, grid, beam))[1] for _ in range(rounds)]  # noqa: B023
        kind = "curved" if curved else "flat"
        print(f"FBP {side}², fan beam, {kind}, {views} views: {1e3 * statistics.median(taken):.1f} ms")


def cone(side: int, views: int, rounds: int) -> None:
    beam = micro_ct(views, rows=side, bins=side, pixel=0.6, voxel=0.4)
    grid = Grid((side,) * 3, (0.4,) * 3)
    ball = Sphere(0.02, (0.0, 4.0, -6.0), 0.1 * side)
    projections = line_integrals([ball], beam)
    fdk(projections, Grid((8, 8, 8), (1.0,) * 3), beam)
    taken = []
    for _ in range(rounds):
        made, wall, _ = timed(lambda: fdk(projections, grid, beam))
        taken.append(wall)
    places = np.meshgrid(*(grid.positions(axis) for axis in range(3)), indexing="ij", sparse=True)
    inside = sum((place - middle) ** 2 for place, middle in zip(places, ball.centre, strict=True)) < (0.07 * side) ** 2
    value = made[inside].mean()
    print(f"FDK {side}³, {views} views: {statistics.median(taken):.2f} s; a sphere of 0.02 / mm has {value:.5f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--views", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{threads()} threads")
    against_peer(arguments.side, arguments.views, arguments.rounds)
    fan(arguments.side, arguments.views, arguments.rounds)
    cone(arguments.side // 4, arguments.views, 3)

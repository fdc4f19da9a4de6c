"""CT on a GPU: projection, its adjoint, FBP and FDK in torch, checked against the compiled code of the CPU.

    python benchmarks/ct_gpu.py [--device cuda] [--rounds 7] [--side 512] [--views 180] [--volume 256]
                                [--cone-views 360]

A head phantom of `side`², parallel rays over 180°; a volume of `volume`³ with a box, a cone beam over 360°. What torch
works on lies on the device already; a second figure is with the way there and back. Prints the card's name, medians in
milliseconds of torch and of the compiled code, their ratio, the device's peak of memory, and how far the values lie
apart (norm of the difference over norm). Ends with status 1 if anything is further apart than 1e-4. --device cpu runs
the same by torch on the CPU.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from transmodal.errors import UserError
from transmodal.tomography import torch_projection, torch_reconstruction
from transmodal.tomography.devices import require_device
from transmodal.tomography.fdk import fdk
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.geometry import ConeBeam, Grid, covering, evenly
from transmodal.tomography.phantoms import rasterise, shepp_logan
from transmodal.tomography.projection import backproject, project
from transmodal.tomography.threads import threads

LIMIT = 1e-4


def milliseconds(work: Callable[[], object], device: str, rounds: int) -> float:
    """Return the median time of some work, which has been done before."""
    taken = []
    for _ in range(rounds):
        finish(device)
        start = time.perf_counter()
        work()
        finish(device)
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def finish(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def compare(
    name: str,
    given: np.ndarray,
    torchs: Callable[[torch.Tensor], torch.Tensor],
    compiled: Callable[[np.ndarray], np.ndarray],
    device: str,
    rounds: int,
) -> bool:
    """Run both, print a line, and say whether they agree."""
    lying = torch.tensor(given, device=device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    found, wanted = torchs(lying).cpu().numpy(), compiled(given)
    apart = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    there = milliseconds(lambda: torchs(lying), device, rounds)
    whole = milliseconds(lambda: torchs(torch.tensor(given, device=device)).cpu(), device, rounds)
    cpu = milliseconds(lambda: compiled(given), "cpu", min(rounds, 3))
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else float("nan")
    print(
        f"{name:28} torch {there:9.1f} ms, with the way there and back {whole:9.1f} ms   compiled {cpu:9.1f} ms   "
        f"{cpu / there:6.1f}x   peak {memory:6.0f} MiB   apart {apart:.1e}{'' if apart <= LIMIT else '   TOO FAR'}",
        flush=True,
    )
    return apart <= LIMIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--views", type=int, default=180)
    parser.add_argument("--volume", type=int, default=256)
    parser.add_argument("--cone-views", type=int, default=360)
    options = parser.parse_args()
    device, rounds = options.device, options.rounds
    try:
        require_device(device)
    except UserError as error:
        sys.exit(str(error))
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    print(f"{card}, torch {torch.__version__}; compiled code on {threads()} threads of the CPU")

    side, views = options.side, options.views
    grid = Grid((side, side), (0.8, 0.8))
    beam = covering(grid, views)
    image = rasterise(shepp_logan(0.8 * side, 0.02), grid)
    sinogram = project(image, grid, beam)
    size = f"{side}² × {views}"
    good = [
        compare(f"projection {size}", image, lambda values: torch_projection.project(values[None], grid, beam)[0],
                lambda values: project(values, grid, beam), device, rounds),
        compare(f"adjoint {size}", sinogram, lambda values: torch_projection.backproject(values[None], grid, beam)[0],
                lambda values: backproject(values, grid, beam), device, rounds),
        compare(f"FBP {size}", sinogram, lambda values: torch_reconstruction.fbp(values, grid, beam),
                lambda values: fbp(values, grid, beam), device, rounds),
    ]  # fmt: skip

    edge = options.volume
    room = Grid((edge, edge, edge), (0.085, 0.085, 0.085))
    bins = int(1.5 * edge)
    cone = ConeBeam(evenly(options.cone_views, 360.0), bins, bins, 0.13, 0.13, 200.0, 306.0)
    volume = np.zeros(room.shape, np.float32)
    volume[edge // 4 : -edge // 4, edge // 3 : -edge // 4, edge // 4 : -edge // 3] = 0.02
    projections = project(volume, room, cone)
    size = f"{edge}³ × {options.cone_views}"
    good += [
        compare(f"cone projection {size}", volume, lambda values: torch_projection.project(values[None], room, cone)[0],
                lambda values: project(values, room, cone), device, 1),
        compare(f"FDK {size}", projections, lambda values: torch_reconstruction.fdk(values, room, cone),
                lambda values: fdk(values, room, cone), device, min(rounds, 3)),
    ]  # fmt: skip
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()

"""Total-variation denoising against scikit-image: time by the clock and result, peer and ours in turn.

    python benchmarks/ct_total_variation.py [--rounds 7] [--iterations 100] [--volume]

Needs the extra ``dev``. A CT-like image with noise, float32. Both make the same number of iterations; the peer is
given `eps=0` so that it does not stop before. Ours runs with as many threads as numba may use (NUMBA_NUM_THREADS), the
peer has one; the processor time of all threads is therefore printed too, with its own ratio. Columns: medians of the
clock in milliseconds, the median of each round's ratio with the smallest and largest, the median ratio of processor
time, our target, and the relative distance of the results, ‖ours − peer‖ / ‖peer‖.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from skimage.restoration import denoise_tv_chambolle

from transmodal.tomography.threads import threads
from transmodal.tomography.total_variation import denoise_tv, total_variation

Image = np.ndarray


def body(shape: tuple[int, ...]) -> Image:
    """Return ellipses in units of water's attenuation with noise of a tenth of it."""
    generator = np.random.default_rng(0)
    places = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij", sparse=True)
    image = np.zeros(shape)
    for centre, radius, height in ((0.0, 0.8, 1.0), (0.3, 0.3, -0.7), (-0.35, 0.25, 0.1), (-0.1, 0.1, 0.8)):
        image += height * (sum(((place - centre) / radius) ** 2 for place in places) < 1)
    return (image + generator.normal(scale=0.1, size=shape)).astype(np.float32)


def timed(work: Callable[[], Image]) -> tuple[float, float]:
    start, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - processor


def compare(title: str, image: Image, weight: float, iterations: int, rounds: int, target: str) -> None:
    def peer() -> Image:
        return denoise_tv_chambolle(image, weight, eps=0, max_num_iter=iterations)

    def ours() -> Image:
        return denoise_tv(image, weight, iterations)

    theirs, own = peer(), ours()
    apart = float(np.linalg.norm(own - theirs) / np.linalg.norm(theirs))
    times = [(timed(peer), timed(ours)) for _ in range(rounds)]
    clock = [first[0] / second[0] for first, second in times]
    processor = [first[1] / second[1] for first, second in times]
    slow, fast = (1e3 * statistics.median(pair[index][0] for pair in times) for index in (0, 1))
    span = f"{min(clock):.1f} to {max(clock):.1f}"
    print(
        f"{title:<26} {slow:9.1f} {fast:8.1f} {statistics.median(clock):7.1f} {span:>14} "
        f"{statistics.median(processor):9.1f} {target:>7} {apart:9.1e}",
        flush=True,
    )


def compare_ascents(image: Image, weight: float) -> None:
    """Print how far Chambolle's and the accelerated ascent come, by the primal value over that of a long run."""

    def value(denoised: Image) -> float:
        apart = denoised.astype(np.float64) - image
        return 0.5 * float((apart**2).sum()) + weight * total_variation(denoised)

    reference = value(denoise_tv(image, weight, 2000, accelerated=True))
    for iterations in (10, 30, 100, 300):
        plain = value(denoise_tv(image, weight, iterations)) / reference - 1
        fast = value(denoise_tv(image, weight, iterations, accelerated=True)) / reference - 1
        print(
            f"{iterations:5d} iterations: Chambolle {plain:8.1e} above the minimum, accelerated {fast:8.1e}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--volume", action="store_true", help="also 96 x 128 x 128, a fifth of the iterations")
    arguments = parser.parse_args()
    print(f"{threads()} threads, {arguments.iterations} iterations")
    header = f"{'':<26} {'peer ms':>9} {'ours ms':>8} {'ratio':>7} {'':>14} {'processor':>9} {'target':>7} {'apart':>9}"
    print(header)
    compare("512x512 scikit-image", body((512, 512)), 0.1, arguments.iterations, arguments.rounds, ">= 12")
    compare("256x256 scikit-image", body((256, 256)), 0.1, arguments.iterations, arguments.rounds, "")
    if arguments.volume:
        shape = (96, 128, 128)
        compare("96x128x128 scikit-image", body(shape), 0.1, max(1, arguments.iterations // 5), arguments.rounds, "")
    compare_ascents(body((256, 256)), 0.1)


if __name__ == "__main__":
    main()

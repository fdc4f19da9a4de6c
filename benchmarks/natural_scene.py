"""Natural-scene features against the same definition in NumPy and SciPy: time and value, peer and ours in turn.

    OMP_NUM_THREADS=1 python benchmarks/natural_scene.py [--rounds 15] [--threads 2]

The peer is vectorised over the blocks: SciPy filters, one pass of NumPy an operation. Prints the medians of both, the
median of the ratios of each round with the smallest and largest, and how far the values lie apart; then how many
images a second go through one thread and through several. The kernels are compiled before.
"""

import argparse
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter

from transmodal.metrics.natural_scene import asymmetric_gaussian, natural_scene_features

WINDOW = np.exp(-0.5 * (np.arange(-3, 4) * 6 / 7) ** 2)
WINDOW /= WINDOW.sum()
DISTANCE = np.abs(np.arange(-3.5, 4)) / 2
KEYS = np.where(
    DISTANCE < 1,
    1.5 * DISTANCE**3 - 2.5 * DISTANCE**2 + 1,
    -0.5 * DISTANCE**3 + 2.5 * DISTANCE**2 - 4 * DISTANCE + 2,
)
KEYS /= KEYS.sum()


def peer(image: np.ndarray, data_range: float, block: int = 96) -> np.ndarray:
    """Features by whole-array operations."""
    height, width = (length // block * block for length in image.shape)
    grey = image[:height, :width].astype(np.float64) * (255 / data_range)
    grey -= grey.mean()
    scales = []
    for side in (block, block // 2):
        mean, power = (
            correlate1d(correlate1d(values, WINDOW, 0, mode="nearest"), WINDOW, 1, mode="nearest")
            for values in (grey, grey * grey)
        )
        normalised = (grey - mean) / (np.sqrt(np.clip(power - mean**2, 0, None)) + 1)
        rows, columns = grey.shape[0] // side, grey.shape[1] // side
        blocks = normalised.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, side, side)
        flat = (len(blocks), math.prod(blocks.shape[1:]))
        shape, _, left, right = asymmetric_gaussian(blocks.reshape(flat))
        features = [shape, (left + right) / 2]
        for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
            features.extend(asymmetric_gaussian((blocks * np.roll(blocks, step, (1, 2))).reshape(flat)))
        scales.append(np.stack(features, axis=1))
        for axis in (0, 1):
            grey = correlate1d(grey, KEYS, axis, mode="reflect", origin=-1)
            grey = grey[::2] if axis == 0 else grey[:, ::2]
    return np.concatenate(scales, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for shape in ((512, 1024), (240, 240)):
        image = 128 + 400 * gaussian_filter(np.random.default_rng(0).normal(size=shape), 1)
        apart = np.abs(peer(image, 255) - natural_scene_features(image, data_range=255)).max()
        times: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            peer(image, 255)
            between = time.perf_counter()
            natural_scene_features(image, data_range=255)
            times.append((between - start, time.perf_counter() - between))
        ratios = [theirs / own for theirs, own in times]
        theirs, own = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"natural-scene features {shape[0]}x{shape[1]:<5} NumPy {theirs:7.2f} ms   ours {own:6.2f} ms   "
            f"{statistics.median(ratios):5.1f}x ({min(ratios):.1f} to {max(ratios):.1f})   values apart {apart:.1e}"
        )
    image = 128 + 400 * gaussian_filter(np.random.default_rng(0).normal(size=(512, 1024)), 1)
    for name, function in (
        ("NumPy", lambda _: peer(image, 255)),
        ("ours", lambda _: natural_scene_features(image, data_range=255)),
    ):
        rates = []
        for threads in (1, options.threads):
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(function, range(40)))
                rates.append(40 / (time.perf_counter() - start))
        print(f"{name}: {rates[0]:.0f} images/s in one thread, {rates[1]:.0f} in {options.threads}")


if __name__ == "__main__":
    main()

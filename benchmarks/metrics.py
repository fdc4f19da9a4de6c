"""Metrics against scikit-image and torchmetrics: time and value, peer and ours in turn, one thread.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [--rounds 15] [--volume]

Needs the extra ``dev``. Prints for each work the medians of both, the median of the ratios of each round, the smallest
and largest ratio, and how far the two values lie apart. The kernels are compiled before the first round.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage import metrics as skimage_metrics
from torchmetrics.functional.image import structural_similarity_index_measure

from transmodal.metrics.pointwise import pointwise
from transmodal.metrics.ssim import ssim


def pair(shape: tuple[int, ...], kind: type, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image over the whole range and a noisy copy."""
    generator = np.random.default_rng(0)
    truth = gaussian_filter(generator.normal(size=shape), 3)
    truth = (truth - truth.min()) / np.ptp(truth)
    predicted = np.clip(truth + generator.normal(scale=0.05, size=shape), 0, 1)
    return (predicted * data_range).astype(kind), (truth * data_range).astype(kind)


def scikit_image_ssim(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    return skimage_metrics.structural_similarity(
        truth, predicted, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range
    )


def scikit_image_pointwise(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """All four errors; scikit-image has no MAE, which is written out."""
    skimage_metrics.mean_squared_error(truth, predicted)
    skimage_metrics.normalized_root_mse(truth, predicted)
    np.abs(truth.astype(np.float64) - predicted).mean()
    return skimage_metrics.peak_signal_noise_ratio(truth, predicted, data_range=data_range)


def compare(title: str, peer: Callable[[], float], ours: Callable[[], float], rounds: int) -> None:
    apart = abs(peer() - ours())
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
        f"{title:<58} peer {theirs:8.2f} ms   ours {own:7.2f} ms   {statistics.median(ratios):6.1f}x "
        f"({min(ratios):.1f} to {max(ratios):.1f})   values apart {apart:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--volume", action="store_true", help="also the volume of 240 x 240 x 155 (1.5 GB)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = (512, 1024)

    for kind, data_range in ((np.float32, 1.0), (np.float64, 1.0), (np.uint16, 65535.0)):
        images = *pair(shape, kind, data_range), data_range
        name = np.dtype(kind).name
        compare(
            f"SSIM 512x1024 {name}, scikit-image Gaussian",
            lambda images=images: scikit_image_ssim(*images),
            lambda images=images: ssim(images[0], images[1], data_range=images[2]),
            options.rounds,
        )
        compare(
            f"MSE+MAE+NRMSE+PSNR 512x1024 {name}, scikit-image",
            lambda images=images: scikit_image_pointwise(*images),
            lambda images=images: pointwise(images[0], images[1], data_range=images[2]).psnr,
            options.rounds,
        )

    predicted, truth = pair(shape, np.float32, 1.0)
    tensors = [torch.from_numpy(image)[None, None] for image in (predicted, truth)]
    compare(
        "SSIM 512x1024 float32, torchmetrics (its map is padded)",
        lambda: float(structural_similarity_index_measure(*tensors, data_range=1.0)),
        lambda: ssim(predicted, truth, data_range=1.0),
        max(2, options.rounds // 4),
    )
    if options.volume:
        volumes = pair((240, 240, 155), np.float32, 1.0)
        compare(
            "SSIM 3-D 240x240x155 float32, scikit-image Gaussian",
            lambda: scikit_image_ssim(*volumes, 1.0),
            lambda: ssim(*volumes, data_range=1.0, spatial_dims=3),
            max(2, options.rounds // 4),
        )


if __name__ == "__main__":
    main()

"""Metrics against their peers: processor time of one thread and value, peer and ours in turn.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py [--rounds 15] [--volume]

Needs the extra ``dev``. Prints a table: for each work the medians of both in milliseconds, the median of the ratios of
each round with the smallest and largest one, our target, and how far the two values lie apart. Processor time, not
that of the clock, so that other work on the machine counts less. The kernels are compiled before the first round.
Peers are scikit-image and torchmetrics where they have the score; MS-SSIM made of scikit-image's SSIM at each scale
(which lacks the contrast-structure factor apart, hence another value); VIF by SciPy's separable convolutions. With
``--volume`` also in three dimensions (1.5 GB). All takes about half a minute of processor time.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import correlate1d, gaussian_filter
from skimage import metrics as skimage_metrics
from torchmetrics.functional.image import structural_similarity_index_measure, visual_information_fidelity

from transmodal.metrics.ms_ssim import WEIGHTS, ms_ssim
from transmodal.metrics.mutual_information import nmi
from transmodal.metrics.pointwise import pointwise
from transmodal.metrics.ssim import ssim
from transmodal.metrics.uniform_ssim import uniform_ssim
from transmodal.metrics.vif import vif


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


def scikit_image_ms_ssim(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """SSIM at each of five scales; the sides must be multiples of 16."""
    score = 1.0
    for weight in WEIGHTS:
        score *= scikit_image_ssim(predicted, truth, data_range) ** weight
        predicted, truth = mean_of_pairs(predicted), mean_of_pairs(truth)
    return score


def mean_of_pairs(image: np.ndarray) -> np.ndarray:
    blocks = image.reshape([part for length in image.shape for part in (length // 2, 2)])
    return blocks.mean(axis=tuple(range(1, blocks.ndim, 2)))


def scikit_image_pointwise(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """All four errors; scikit-image has no MAE, which is written out."""
    skimage_metrics.mean_squared_error(truth, predicted)
    skimage_metrics.normalized_root_mse(truth, predicted)
    np.abs(truth.astype(np.float64) - predicted).mean()
    return skimage_metrics.peak_signal_noise_ratio(truth, predicted, data_range=data_range)


def scipy_vif(predicted: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """Pixel-domain VIF with every moment as a convolved picture of its own, in double precision."""
    p, t = (image.astype(np.float64) * (255 / data_range) for image in (predicted, truth))
    kept = available = 0.0
    for scale, taps in enumerate((17, 9, 5, 3)):
        half = taps // 2
        window = np.exp(-0.5 * (np.arange(-half, half + 1) * 5 / taps) ** 2)
        window /= window.sum()

        def blur(image: np.ndarray, window: np.ndarray = window, half: int = half) -> np.ndarray:
            return correlate1d(correlate1d(image, window, axis=0), window, axis=1)[half:-half, half:-half]

        if scale > 0:
            p, t = blur(p)[::2, ::2], blur(t)[::2, ::2]
        m_p, m_t = blur(p), blur(t)
        v_p, v_t, c = blur(p * p) - m_p**2, blur(t * t) - m_t**2, blur(p * t) - m_p * m_t
        g = np.maximum(c, 0) / v_t
        kept += np.log(1 + g * g * v_t / (np.maximum(v_p - g * c, 0) + 2)).sum()
        available += np.log(1 + v_t / 2).sum()
    return kept / available


def compare(
    title: str, peer: Callable[[], float], ours: Callable[[], float], rounds: int, target: float | None = None
) -> None:
    apart = abs(peer() - ours())
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        start = time.thread_time()
        peer()
        between = time.thread_time()
        ours()
        times.append((between - start, time.thread_time() - between))
    ratios = [theirs / own for theirs, own in times]
    theirs, own = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    wanted = "" if target is None else f">= {target:g}"
    print(
        f"{title:<58} {theirs:9.2f} {own:8.2f} {statistics.median(ratios):8.1f} "
        f"{f'{min(ratios):.1f} to {max(ratios):.1f}':>16} {wanted:>7} {apart:9.1e}",
        flush=True,
    )


def compare_slices(rounds: int) -> None:
    shape, size = (512, 1024), "512x1024"
    few = max(2, rounds // 4)
    for kind, data_range in ((np.float32, 1.0), (np.float64, 1.0), (np.uint16, 65535.0)):
        p, t = pair(shape, kind, data_range)
        images, whole = (p, t, data_range), {"data_range": data_range}
        name = f"{size} {np.dtype(kind).name}"
        compare(
            f"MSE+MAE+NRMSE+PSNR {name}, scikit-image",
            lambda images=images: scikit_image_pointwise(*images),
            lambda p=p, t=t, whole=whole: pointwise(p, t, **whole).psnr,
            rounds,
            1.5,
        )
        compare(
            f"SSIM {name}, scikit-image Gaussian",
            lambda images=images: scikit_image_ssim(*images),
            lambda p=p, t=t, whole=whole: ssim(p, t, **whole),
            rounds,
            12,
        )
        compare(
            f"SSIM uniform 7x7 {name}, scikit-image",
            lambda p=p, t=t, whole=whole: skimage_metrics.structural_similarity(t, p, **whole),
            lambda p=p, t=t, whole=whole: uniform_ssim(p, t, **whole),
            rounds,
        )
        compare(
            f"MS-SSIM {name}, scikit-image at five scales",
            lambda images=images: scikit_image_ms_ssim(*images),
            lambda p=p, t=t, whole=whole: ms_ssim(p, t, **whole),
            few,
            12,
        )
        compare(
            f"VIF {name}, SciPy separable",
            lambda images=images: scipy_vif(*images),
            lambda p=p, t=t, whole=whole: vif(p, t, **whole),
            few,
            4,
        )
        compare(
            f"NMI {name}, 64 bins, scikit-image",
            lambda p=p, t=t: skimage_metrics.normalized_mutual_information(p, t, bins=64),
            lambda p=p, t=t: nmi(p, t, bins=64),
            few,
        )


def compare_torchmetrics(rounds: int) -> None:
    predicted, truth = pair((512, 1024), np.float32, 255.0)
    tensors = [torch.from_numpy(image)[None, None] for image in (predicted, truth)]
    compare(
        "SSIM 512x1024 float32, torchmetrics (its map is padded)",
        lambda: float(structural_similarity_index_measure(*tensors, data_range=255.0)),
        lambda: ssim(predicted, truth, data_range=255.0),
        rounds,
    )
    compare(
        "VIF 512x1024 float32, torchmetrics conv2d",
        lambda: float(visual_information_fidelity(*tensors)),
        lambda: vif(predicted, truth, data_range=255.0),
        rounds,
        4,
    )


def compare_volumes(rounds: int) -> None:
    volumes = pair((240, 240, 155), np.float32, 1.0)
    compare(
        "SSIM 3-D 240x240x155 float32, scikit-image Gaussian",
        lambda: scikit_image_ssim(*volumes, 1.0),
        lambda: ssim(*volumes, data_range=1.0, spatial_dims=3),
        rounds,
        10,
    )
    compare(
        "SSIM 3-D uniform 7x7x7 240x240x155 float32, scikit-image",
        lambda: skimage_metrics.structural_similarity(volumes[1], volumes[0], data_range=1.0),
        lambda: uniform_ssim(*volumes, data_range=1.0, spatial_dims=3),
        rounds,
    )
    volumes = pair((192, 192, 192), np.float32, 1.0)
    compare(
        "MS-SSIM 3-D 192x192x192 float32, scikit-image at 5 scales",
        lambda: scikit_image_ms_ssim(*volumes, 1.0),
        lambda: ms_ssim(*volumes, data_range=1.0, spatial_dims=3),
        rounds,
        12,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--volume", action="store_true", help="also in three dimensions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':<58} {'peer ms':>9} {'ours ms':>8} {'ratio':>8} {'from to':>16} {'target':>7} {'apart':>9}")
    compare_slices(options.rounds)
    compare_torchmetrics(max(2, options.rounds // 4))
    if options.volume:
        compare_volumes(max(2, options.rounds // 4))


if __name__ == "__main__":
    main()

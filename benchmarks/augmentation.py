"""Pairs a second on one core: our augmentation against the same changes done one after the other by plain libraries.

A pair is a photograph of 3 channels and an X-ray of 1 channel, 512×1024, float32. Mirror, affine map, elastic field,
jitter crop, brightness, contrast and gamma; noise and blur are reported apart. The peers do one transform after the
other, as plain augmentation code does, with a resampling for each. Peer and ours run in turn; CPU time of one thread,
medians, and the median of the ratios.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py [--rounds 15] [--no-skimage]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import skimage.transform
from numpy.typing import NDArray

from transmodal.datasets.augmentation import AugmentationSettings, Augmenter

SHAPE = (512, 1024)
SETTINGS: dict[str, Any] = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "rotation_degrees": 10.0,
    "scale": (0.9, 1.1),
    "shear_degrees": 5.0,
    "translation": 0.05,
    "jitter": 286 / 256,
    "elastic_amplitude": 0.02,
    "brightness": 0.1,
    "contrast": (0.8, 1.25),
    "gamma": (0.7, 1.4),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "all but noise and blur": {},
    "without elastic": {"elastic_amplitude": 0.0},
    "with noise": {"noise": 0.05},
    "with blur up to 2 pixels": {"blur": 2.0},
    "border lowest": {"border": "lowest"},
}
Pair = dict[str, NDArray[np.float32]]


def make_pair() -> Pair:
    generator = np.random.default_rng(0)
    pair = {"photo": generator.uniform(-1, 1, (3, *SHAPE)), "xray": generator.uniform(-1, 1, (1, *SHAPE))}
    return {name: array.astype(np.float32) for name, array in pair.items()}


def chain(pair: Pair, generator: np.random.Generator, warp: Callable[..., Any], resize: Callable[..., Any]) -> Pair:
    """Do one transform after the other, each on the whole image, as separate calls."""
    height, width = SHAPE
    flip = generator.random() < 0.5
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), generator.uniform(-10, 10), generator.uniform(0.9, 1.1))
    matrix[0, 1] += np.tan(np.deg2rad(generator.uniform(-5, 5)))
    coarse = generator.uniform(-10, 10, (2, 9, 15)).astype(np.float32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows += cv2.resize(coarse[0], (width, height), interpolation=cv2.INTER_CUBIC)
    columns += cv2.resize(coarse[1], (width, height), interpolation=cv2.INTER_CUBIC)
    enlarged = (round(height * 286 / 256), round(width * 286 / 256))
    top, left = generator.integers(enlarged[0] - height), generator.integers(enlarged[1] - width)
    result = {}
    for name, array in pair.items():
        image = np.ascontiguousarray(array.transpose(1, 2, 0))
        image = image[:, ::-1] if flip else image
        image = resize(np.ascontiguousarray(image), enlarged)[top : top + height, left : left + width]
        image = warp(image, matrix, rows, columns).reshape(height, width, -1)
        if name == "photo":
            image = np.clip(image * generator.uniform(0.8, 1.25) + generator.uniform(-0.1, 0.1), -1, 1)
            image = 2 * ((image + 1) / 2) ** np.float32(generator.uniform(0.7, 1.4)) - 1
        result[name] = np.ascontiguousarray(image.transpose(2, 0, 1).astype(np.float32))
    return result


def opencv_warp(image: Any, matrix: Any, rows: Any, columns: Any) -> Any:
    size = (image.shape[1], image.shape[0])
    image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def opencv_resize(image: Any, shape: tuple[int, int]) -> Any:
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)


def skimage_warp(image: Any, matrix: Any, rows: Any, columns: Any) -> Any:
    affine = skimage.transform.AffineTransform(matrix=np.vstack([matrix, [0, 0, 1]]))
    image = skimage.transform.warp(image, affine.inverse, order=1, mode="reflect")
    channels = [
        skimage.transform.warp(image[..., channel], np.stack([rows, columns]), order=1, mode="reflect")
        for channel in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1)


def skimage_resize(image: Any, shape: tuple[int, int]) -> Any:
    return skimage.transform.resize(image, shape, order=1, mode="reflect", anti_aliasing=False)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(name: str, peer: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    peer(), ours()
    times = np.array([(seconds(peer), seconds(ours)) for _ in range(rounds)])
    first, second = 1 / np.median(times, axis=0)
    ratio = np.median(times[:, 0] / times[:, 1])
    print(f"{name:<28} peer {first:7.1f}/s   ours {second:7.1f}/s   ratio {ratio:6.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-skimage", action="store_true", help="leave out the slow peer")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    pair, generator = make_pair(), np.random.default_rng(1)
    augmenter = Augmenter(AugmentationSettings(**SETTINGS))

    def ours() -> Pair:
        return augmenter(pair, generator, inputs=("photo",))

    print(f"pairs a second, one core, {SHAPE[0]}×{SHAPE[1]}, 3 + 1 channels float32; {augmenter.settings.describe()}")
    opencv = (opencv_warp, opencv_resize)
    compare("OpenCV, one after the other", lambda: chain(pair, generator, *opencv), ours, arguments.rounds)
    if not arguments.no_skimage:
        slow = (skimage_warp, skimage_resize)
        compare(
            "scikit-image, the same way", lambda: chain(pair, generator, *slow), ours, max(arguments.rounds // 3, 3)
        )
    for name, changes in VARIANTS.items():
        variant = Augmenter(AugmentationSettings(**{**SETTINGS, **changes}))
        variant(pair, generator, inputs=("photo",))
        times = [seconds(lambda: variant(pair, generator, inputs=("photo",))) for _ in range(4 * arguments.rounds)]  # noqa: B023
        print(f"{name:<28} ours {1 / np.median(times):7.1f}/s")


if __name__ == "__main__":
    main()

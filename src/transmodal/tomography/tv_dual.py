"""The total variation of an image and its proximal map, by ascent in the dual.

L. Rudin, S. Osher, E. Fatemi, Physica D 60, 1992; A. Chambolle, "An algorithm for total variation minimization and
applications", J. Math. Imaging Vision 20, 2004; A. Beck, M. Teboulle, "Fast gradient-based algorithms for constrained
total variation image denoising and deblurring problems", IEEE Trans. Image Processing 18(11), 2009.

min_x ½ ‖x − f‖² + w Σ |∇x| has the dual max_u over |u| ≤ w, with x = f + div u. Several threads each take a strip of
planes with a few more on either side; after as many iterations as those suffice for, neighbours exchange them. The
result has the same bits for any number of threads.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.tomography import _total_variation_kernels as kernels
from transmodal.tomography.threads import share, threads

Floats = NDArray[np.float32]

_BLOCK = 16  # iterations between exchanges; a strip of 256 rows then computes one row in sixteen twice
_CACHED = 2**17  # pixels: planes of that many are not taken through several iterations while they stay in the cache
_WORTH_A_STRIP = 2_000_000  # pixels times iterations: about a millisecond


class TotalVariation:
    """Sizes and spacing of images in the order that the compiled steps want.

    Args:
        shape: of the images, with or without leading axes of images that are treated apart.
        spacing: mm, one each of the last 2 or 3 axes of `shape`.

    Attributes:
        axes: 2 or 3.
        layout: (images, planes, rows, columns); rows is 1 for slices, whose own rows are the planes.
        squares: 1/h² for planes, rows and columns.
        measure: mm² or mm³ of a pixel.
        squared_norm: a bound of ‖∇‖², 4 Σ 1/h²: 8/h² in two dimensions, 12/h² in three.
    """

    def __init__(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        self.axes = len(spacing)
        inside = shape[len(shape) - self.axes :]
        count = math.prod(shape[: len(shape) - self.axes])
        slow, fast = spacing[0], spacing[-1]
        self.layout = (count, inside[0], 1, inside[1]) if self.axes == 2 else (count, *inside)
        self.squares = np.array([slow**-2, spacing[1] ** -2, fast**-2], np.float32)
        self.measure = math.prod(spacing)
        self.squared_norm = 4 * sum(length**-2 for length in spacing)

    def dual(self) -> Floats:
        """Return a dual variable of zeros, (images, axes, planes, rows, columns)."""
        count, *rest = self.layout
        return np.zeros((count, self.axes, *rest), np.float32)

    def value(self, images: Floats) -> float:
        """Return ∫ |∇x|, the sum over all images."""
        laid = images.reshape(self.layout)
        return self.measure * sum(kernels.variation(image, self.axes, self.squares) for image in laid)


@dataclass(frozen=True)
class _Strip:
    """Planes start to stop of an image, of which low to high are held; its dual, and that without momentum."""

    image: int
    start: int
    stop: int
    low: int
    high: int
    dual: Floats
    earlier: Floats


class DualAscent:
    """TV denoising of images of one shape, whose dual is kept: the next, similar ones then need few iterations.

    Args:
        variation: of the images.
        accelerated: projected steps with momentum (Beck and Teboulle), which bounds of x go with; otherwise
            Chambolle's, without bounds.
    """

    def __init__(self, variation: TotalVariation, *, accelerated: bool) -> None:
        self._variation = variation
        self._accelerated = accelerated
        self._step = (1.0 if accelerated else 2.0) / variation.squared_norm
        count, planes, rows, columns = variation.layout
        self._depth = max(2, min(_BLOCK, _CACHED // (rows * columns)))
        parts = 1
        if count < threads():
            worth = planes * rows * columns * self._depth // _WORTH_A_STRIP
            parts = max(1, min(threads() // count, worth, planes // (2 * self._depth)))
        edges = [planes * part // parts for part in range(parts + 1)]
        self._strips = [self._strip(image, start, stop) for image in range(count) for start, stop in pairwise(edges)]

    def _strip(self, image: int, start: int, stop: int) -> _Strip:
        _, planes, rows, columns = self._variation.layout
        low, high = max(0, start - self._depth), min(planes, stop + self._depth)
        dual = np.zeros((self._variation.axes, high - low, rows, columns), np.float32)
        earlier = np.zeros(dual.shape if self._accelerated else (1, 1, 1, 1), np.float32)
        return _Strip(image, start, stop, low, high, dual, earlier)

    def denoise(self, images: Floats, weight: float, iterations: int, lowest: float = -math.inf) -> Floats:
        """Return the images denoised, going on from the dual of the last call.

        Args:
            images: f, contiguous and writable float32.
            weight: w, in the images' unit times mm.
            iterations: of the ascent.
            lowest: bound of x; −∞ for none, which Chambolle's steps need.
        """
        if weight <= 0:
            return np.maximum(images, np.float32(lowest))
        laid = images.reshape(self._variation.layout)
        momenta = _momenta(iterations)
        for begin in range(0, iterations, self._depth):
            self._ascend(laid, momenta[begin : begin + self._depth], weight, lowest, first=begin == 0)
            self._exchange()
        result = np.empty_like(laid)

        def finish(start: int, stop: int) -> None:
            for strip in self._strips[start:stop]:
                held = slice(strip.low, strip.high)
                inside = strip.start - strip.low, strip.stop - strip.low
                dual = strip.earlier if self._accelerated else strip.dual
                image, x = laid[strip.image, held], result[strip.image, held]
                kernels.primal(image, dual, *inside, np.float32(lowest), x)

        share(finish, len(self._strips), 1, images.size)
        return result.reshape(images.shape)

    def _ascend(self, laid: Floats, momenta: Floats, weight: float, lowest: float, first: bool) -> None:
        """Take all strips through a block of iterations."""
        squares = self._variation.squares
        steps = np.float32(self._step) * squares
        numbers = np.float32(weight), np.float32(self._step), np.float32(lowest)

        def work(start: int, stop: int) -> None:
            for strip in self._strips[start:stop]:
                if first and self._accelerated:
                    strip.dual[...] = strip.earlier
                image = laid[strip.image, strip.low : strip.high]
                kernels.ascend(image, strip.dual, strip.earlier, momenta, steps, squares, *numbers, self._accelerated)

        share(work, len(self._strips), 1, laid.size * momenta.size)

    def _exchange(self) -> None:
        """Give each strip what its neighbours have computed of the planes it holds beyond its own."""
        for upper, lower in pairwise(self._strips):
            if upper.image != lower.image:
                continue
            edge = upper.stop
            for one, other in ((upper.dual, lower.dual), (upper.earlier, lower.earlier))[: 1 + self._accelerated]:
                below, above = slice(edge, upper.high), slice(lower.low, edge)
                one[:, _moved(below, upper.low)] = other[:, _moved(below, lower.low)]
                other[:, _moved(above, lower.low)] = one[:, _moved(above, upper.low)]


def _moved(planes: slice, low: int) -> slice:
    return slice(planes.start - low, planes.stop - low)


def _momenta(iterations: int) -> Floats:
    """Return (t_k − 1) / t_(k+1) of Nesterov's sequence, one an iteration."""
    momenta = np.empty(iterations, np.float32)
    age = 1.0
    for iteration in range(iterations):
        following = (1 + math.sqrt(1 + 4 * age**2)) / 2
        momenta[iteration] = (age - 1) / following
        age = following
    return momenta


def contiguous(image: NDArray[Any]) -> Floats:
    """Return a copy that the compiled steps take: float32, contiguous, writable."""
    return np.array(image, dtype=np.float32, order="C")

"""What a translator must beat: predictions that need no learning worth the name.

- *mean target*: the mean of all training targets, the same for every input;
- *input luminance*: the input's brightness, put on the target's scale by the one line that fits best over all training
  pairs (least squares);
- *identity*: the input itself, where input and target share a unit or are both mapped by their own percentiles.

All are fitted on training subjects only and stream through the images: none is kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.evaluation.pairs import on_common_scale, own_region
from transmodal.images import Image
from transmodal.metrics.policy import Policy
from transmodal.reporting.display import luminance

Baseline = Literal["mean target", "input luminance", "identity"]
MEANING: dict[Baseline, str] = {
    "mean target": "the mean of the training targets, whatever the input",
    "input luminance": "the input's brightness on the line that fits the training pairs best",
    "identity": "the input itself",
}


@dataclass(frozen=True)
class Baselines:
    """The baselines of one run, ready to predict.

    Attributes:
        mean: the mean training target on the grid of the first one; float32 in the target's unit (between 0 and 1
            when the policy's scale is "percentile").
        slope, intercept: target ≈ slope · luminance + intercept.
        with_identity: whether the input may stand for the target as it is.
        pairs: how many training pairs they were fitted on.
        policy: under which they are scored.
    """

    mean: npt.NDArray[np.float32]
    slope: float
    intercept: float
    with_identity: bool
    pairs: int
    policy: Policy

    @property
    def names(self) -> tuple[Baseline, ...]:
        """Those that can be had here."""
        return ("mean target", "input luminance", "identity") if self.with_identity else (
            "mean target", "input luminance")  # fmt: skip

    def predict(self, input: Image, truth: Image) -> dict[str, Image]:
        """Return each baseline's prediction on the truth's grid.

        Args:
            input: what the translator sees; taken to the truth's grid where the shapes differ.
            truth: only its grid, unit and channels are looked at.
        """
        mean = resized(self.mean, truth.shape, len(truth.channels))
        grey = _brightness(input, truth.shape, self.policy)
        predictions = {
            "mean target": mean,
            "input luminance": _for_channels(self.slope * grey + self.intercept, truth),
        }
        if self.with_identity:
            predictions["identity"] = _for_channels(grey, truth)
        return {
            name: replace(truth, pixels=np.ascontiguousarray(pixels, np.float32))
            for name, pixels in predictions.items()
        }


def fit_baselines(
    training_pairs: Iterable[tuple[Image, Image]],
    policy: Policy,
    *,
    on_bad: Callable[[UserError], None] | None = None,
) -> Baselines:
    """Fit all baselines in one pass over the training pairs.

    Args:
        training_pairs: (input, target) of training subjects; read once, in order, none kept.
        policy: complete.
        on_bad: called with what is wrong with the last pair, which is then left out; None raises it.

    Raises:
        UserError: there is no training pair, or a "percentile" image is constant.
    """
    total: npt.NDArray[np.float64] | None = None
    sums = np.zeros(5)  # n, Σx, Σy, Σxx, Σxy
    pairs, shared_unit = 0, True
    for given, target in training_pairs:
        region = own_region(target.pixels, policy)
        try:
            pixels = on_common_scale(target.pixels, policy, region, target.name).astype(np.float32)
            grey = _brightness(given, target.shape, policy)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(error)
            continue
        if total is None:
            total = np.zeros(pixels.shape, np.float64)
            grid, channels = target.shape, len(target.channels)
        total += resized(pixels, grid, channels)
        brightness = pixels.mean(-1) if target.channels else pixels
        # Every third pixel an axis: two numbers are fitted. A background of zeros would fix the line on its own.
        every = (slice(None, None, 3),) * grey.ndim
        inside: Any = slice(None)
        if region is not None:
            inside = np.asarray(region.any(-1) if target.channels else region)[every].ravel()
        x = grey[every].ravel()[inside].astype(np.float64)
        y = brightness[every].ravel()[inside].astype(np.float64)
        sums += [x.size, x.sum(), y.sum(), x @ x, x @ y]
        shared_unit &= not given.channels and given.quantity == target.quantity and given.quantity != "intensity"
        pairs += 1
    if total is None:
        raise UserError("There is no training pair to fit the baselines on; check the split column of the manifest")
    n, x_sum, y_sum, xx, xy = sums
    spread = xx - x_sum**2 / n
    slope = float((xy - x_sum * y_sum / n) / spread) if spread > 1e-12 * max(xx, 1.0) else 0.0
    return Baselines(
        mean=(total / pairs).astype(np.float32),
        slope=slope,
        intercept=float((y_sum - slope * x_sum) / n),
        with_identity=bool(shared_unit or policy.scale == "percentile"),
        pairs=pairs,
        policy=policy,
    )


def resized(pixels: npt.NDArray[Any], shape: tuple[int, ...], channels: int = 0) -> npt.NDArray[np.float32]:
    """Return float32 pixels stretched linearly to a spatial shape; the same field of view is assumed.

    Args:
        pixels: spatial axes, then `channels` channels if not 0.
        shape: the spatial shape wanted.
        channels: length of the channel axis; 0 for none.
    """
    pixels = np.asarray(pixels, np.float32)
    old = pixels.shape[: len(shape)]
    if old == shape:
        return pixels
    if len(shape) == 2:
        smaller = shape[0] * shape[1] < old[0] * old[1]
        size = (shape[1], shape[0])
        result = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        return np.asarray(result, np.float32).reshape(shape + ((channels,) if channels else ()))
    factors = [new / length for new, length in zip(shape, old, strict=True)] + [1.0] * bool(channels)
    return np.asarray(ndimage.zoom(pixels, factors, order=1, mode="nearest", grid_mode=True), np.float32)


def _brightness(image: Image, shape: tuple[int, ...], policy: Policy) -> npt.NDArray[np.float32]:
    grey = luminance(image.pixels) if image.channels else image.pixels.astype(np.float32)
    if policy.scale == "percentile":
        grey = on_common_scale(grey, policy, own_region(grey, policy), image.name)
    return resized(grey, shape)


def _for_channels(grey: npt.NDArray[np.float32], truth: Image) -> npt.NDArray[np.float32]:
    return np.repeat(grey[..., None], len(truth.channels), -1) if truth.channels else grey

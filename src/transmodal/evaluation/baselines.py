"""What a translator must beat: predictions that need no learning worth the name.

- *mean target*: the mean of all training targets, the same for every input;
- *input luminance*: the input's brightness, put on the target's scale by the one line that fits best over all training
  pairs (least squares);
- *intensity lookup*: the mean target of each brightness of the input, over all training pairs: the conditional mean of
  their joint histogram, which is the best that any function of a single pixel can do;
- *identity*: the input itself, where input and target share a unit or are both mapped by their own percentiles.

Where another modality of the case is a known method's answer, such as a TV reconstruction, it can stand beside these.
All are fitted on training subjects only and stream through the images: none is kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from nibabel import orientations
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.evaluation.policy_application import on_common_scale, own_region, scale_of_truth
from transmodal.images import Image
from transmodal.metrics.policy import Policy
from transmodal.reporting.display import luminance

Baseline = Literal[
    "mean target", "input luminance", "intensity lookup", "identity", "intensity interval", "most frequent label",
    "empty map",
]  # fmt: skip
MEANING: dict[Baseline, str] = {
    "mean target": "the mean of the training targets, whatever the input",
    "input luminance": "the input's brightness on the line that fits the training pairs best",
    "intensity lookup": "the mean training target of each brightness of the input",
    "identity": "the input itself",
    # Of label maps, see `segmentation_baselines`.
    "intensity interval": "every pixel whose value lies in the interval that fits the class best in training",
    "most frequent label": "the class that a place has in most training label maps, whatever the input",
    "empty map": "no class anywhere",
}
BESIDE = " images"
BINS = 256
_SMOOTHING = 1.0  # bins; neighbouring bins of a sparse histogram lend each other pixels


def beside(modality: str) -> str:
    """Return the system's name of images of another modality that are scored beside the translator: 'TV images'."""
    return modality + BESIDE


def is_baseline(system: str) -> bool:
    """Say whether a system is no translator under test."""
    return system in MEANING or system.endswith(BESIDE)


def meaning_of(system: str) -> str:
    """Return what a baseline is, in words; nothing for a translator."""
    if system.endswith(BESIDE):
        return f"the case's own images of modality {system.removesuffix(BESIDE)}"
    return next((meaning for name, meaning in MEANING.items() if name == system), "")


Region = npt.NDArray[np.bool_] | None
Orientation = npt.NDArray[np.float64]


@dataclass
class LookupTable:
    """The conditional mean of a target given the brightness of its input, gathered pair by pair.

    Attributes:
        low, high: brightness of the lower edge of the first bin and the upper edge of the last; pixels beyond count in
            these bins.
        counts, sums: pixels inside, and the sum of their targets, of each bin.
        outside: (pixels, sum of their targets) outside the mask.
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    outside: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def add(self, brightness: npt.NDArray[Any], target: npt.NDArray[Any], inside: Region) -> None:
        """Take in a pair of one shape; `inside` is the mask, None for all pixels."""
        if inside is not None:
            beyond = target[~inside]
            self.outside += [beyond.size, beyond.sum(dtype=np.float64)]
            brightness, target = brightness[inside], target[inside]
        places = (brightness.ravel() - self.low) * (BINS / (self.high - self.low))
        bins = np.clip(places, 0, BINS - 1).astype(np.intp)
        self.counts += np.bincount(bins, minlength=BINS)
        self.sums += np.bincount(bins, target.ravel(), minlength=BINS)

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """The mean target of each bin, smoothed over a bin's width; empty bins lie on the line between neighbours."""
        counts, sums = (
            ndimage.gaussian_filter1d(of, _SMOOTHING, mode="constant", truncate=3) for of in (self.counts, self.sums)
        )
        filled = np.flatnonzero(counts > 1e-9)
        return np.interp(np.arange(BINS), filled, sums[filled] / counts[filled])

    def predict(self, brightness: npt.NDArray[Any], inside: Region) -> npt.NDArray[np.float32]:
        """Return the mean target of each pixel's brightness; outside the input's mask, the mean target outside."""
        centres = self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS
        made = np.interp(brightness, centres, self.means).astype(np.float32)
        if inside is not None and self.outside[0]:
            made[~inside] = self.outside[1] / self.outside[0]
        return made


@dataclass(frozen=True)
class Baselines:
    """The baselines of one run, ready to predict.

    Attributes:
        mean: the mean training target on the grid of the first one, volumes with their axes towards right, anterior and
            superior; float32 in the target's unit (between 0 and 1 when the policy's scale is "percentile").
        slope, intercept: target ≈ slope · luminance + intercept.
        lookup: target ≈ lookup of luminance.
        with_identity: whether the input may stand for the target as it is.
        pairs: how many training pairs they were fitted on.
        policy: under which they are scored.
    """

    mean: npt.NDArray[np.float32]
    slope: float
    intercept: float
    lookup: LookupTable
    with_identity: bool
    pairs: int
    policy: Policy

    @property
    def names(self) -> tuple[Baseline, ...]:
        """Those that can be had here."""
        names: tuple[Baseline, ...] = ("mean target", "input luminance", "intensity lookup")
        return (*names, "identity") if self.with_identity else names

    def predict(self, input: Image, truth: Image, region: Region = None) -> dict[str, Image]:
        """Return each baseline's prediction on the truth's grid.

        Args:
            input: what the translator sees; turned to the truth's orientation, and taken to its grid where the shapes
                differ.
            truth: only its grid, unit and channels are looked at, and its percentiles where the policy maps by them.
            region: the mask of the case, where it is an image of its own; None looks at each image's own foreground.
        """
        input = oriented_like(input, truth)
        own, back = orientations_of(truth)
        shape = turned(np.broadcast_to(np.uint8(0), truth.shape), own).shape
        mean = turned(resized(self.mean, shape, len(truth.channels)), back)
        grey, inside = _brightness(input, truth.shape, self.policy, region)
        predictions: dict[Baseline, npt.NDArray[Any]] = {
            "mean target": mean,
            "input luminance": _for_channels(self.slope * grey + self.intercept, truth),
            "intensity lookup": _for_channels(self.lookup.predict(grey, inside), truth),
        }
        if self.with_identity:
            predictions["identity"] = _for_channels(grey, truth)
        scale = scale_of_truth(truth.pixels, self.policy, self._where(truth, region), truth.name)
        if scale is not None:
            predictions = {name: scale[0] + made * (scale[1] - scale[0]) for name, made in predictions.items()}
        return {
            name: replace(truth, pixels=np.ascontiguousarray(pixels, np.float32))
            for name, pixels in predictions.items()
        }

    def _where(self, truth: Image, region: Region) -> Region:
        return own_region(truth.pixels, self.policy) if region is None else region


def fit_baselines(
    training_pairs: Iterable[tuple[Image, Image] | tuple[Image, Image, Region]],
    policy: Policy,
    *,
    source_range: tuple[float, float] | None = None,
    on_bad: Callable[[UserError], None] | None = None,
) -> Baselines:
    """Fit all baselines in one pass over the training pairs.

    Args:
        training_pairs: (input, target), or (input, target, mask) where the mask is an image of its own, of training
            subjects; read once, in order, none kept.
        policy: complete.
        source_range: the range of the input's brightness, for the bins of the lookup; with a "percentile" policy it is
            0 to 1. None takes the least and greatest of the first pair.
        on_bad: called with what is wrong with the last pair, which is then left out; None raises it.

    Raises:
        UserError: there is no training pair, or a "percentile" image is constant.
    """
    fitting = _Fitting(policy, (0.0, 1.0) if policy.scale == "percentile" else source_range)
    for given, target, *rest in training_pairs:
        try:
            fitting.add(given, target, rest[0] if rest else None)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(error)
    return fitting.result()


class _Fitting:
    """Sums over training pairs."""

    def __init__(self, policy: Policy, source_range: tuple[float, float] | None) -> None:
        self.policy, self.source_range = policy, source_range
        self.total: npt.NDArray[np.float64] | None = None
        self.lookup: LookupTable | None = None
        self.sums = np.zeros(5)  # n, Σx, Σy, Σxx, Σxy
        self.pairs, self.shared_unit = 0, True

    def add(self, given: Image, target: Image, mask: Region) -> None:
        region = own_region(target.pixels, self.policy) if mask is None else mask
        pixels = on_common_scale(target.pixels, self.policy, region, target.name).astype(np.float32)
        grey, _ = _brightness(oriented_like(given, target), target.shape, self.policy, mask)
        # Files of one study need not share an orientation: a mean by array index would lay left on right.
        placed = turned(pixels, orientations_of(target)[0])
        if self.total is None:
            self.total = np.zeros(placed.shape, np.float64)
            self.grid, self.channels = placed.shape[: target.spatial_dims], len(target.channels)
        self.total += resized(placed, self.grid, self.channels)
        brightness = pixels.mean(-1) if target.channels else pixels
        inside: Region = region
        if region is not None and region.ndim > grey.ndim:
            inside = np.asarray(region.any(-1))
        if self.lookup is None:
            low, high = self.source_range or (float(grey.min()), float(grey.max()))
            self.lookup = LookupTable(low, high if high > low else low + 1.0)
        self.lookup.add(grey, brightness, inside)
        # Every third pixel an axis: two numbers are fitted. A background of zeros would fix the line on its own.
        every = (slice(None, None, 3),) * grey.ndim
        chosen: Any = slice(None) if inside is None else np.asarray(inside)[every].ravel()
        x = grey[every].ravel()[chosen].astype(np.float64)
        y = brightness[every].ravel()[chosen].astype(np.float64)
        self.sums += [x.size, x.sum(), y.sum(), x @ x, x @ y]
        self.shared_unit &= not given.channels and given.quantity == target.quantity != "intensity"
        self.pairs += 1

    def result(self) -> Baselines:
        if self.total is None or self.lookup is None:
            raise UserError("There is no training pair to fit the baselines on; check the split column of the manifest")
        n, x_sum, y_sum, xx, xy = self.sums
        spread = xx - x_sum**2 / n
        slope = float((xy - x_sum * y_sum / n) / spread) if spread > 1e-12 * max(xx, 1.0) else 0.0
        return Baselines(
            mean=(self.total / self.pairs).astype(np.float32),
            slope=slope,
            intercept=float((y_sum - slope * x_sum) / n),
            lookup=self.lookup,
            with_identity=bool(self.shared_unit or self.policy.scale == "percentile"),
            pairs=self.pairs,
            policy=self.policy,
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


def oriented_like(image: Image, like: Image) -> Image:
    """Return a volume with its axes in the order and direction of another's; a picture as it is."""
    if image.spatial_dims != 3 or like.spatial_dims != 3:
        return image
    own, wanted = (orientations.io_orientation(each.affine) for each in (image, like))
    if np.array_equal(own, wanted):
        return image
    turn = orientations.ornt_transform(own, wanted)
    affine = image.affine @ orientations.inv_ornt_aff(turn, image.shape)
    return replace(image, pixels=orientations.apply_orientation(image.pixels, turn), affine=affine)


def orientations_of(image: Image) -> tuple[Orientation | None, Orientation | None]:
    """Return how a volume is turned to right, anterior, superior, and how back; None for a picture."""
    if image.spatial_dims != 3:
        return None, None
    own, wanted = orientations.io_orientation(image.affine), orientations.axcodes2ornt(("R", "A", "S"))
    return orientations.ornt_transform(own, wanted), orientations.ornt_transform(wanted, own)


def turned(pixels: npt.NDArray[Any], orientation: Orientation | None) -> npt.NDArray[Any]:
    """Return pixels turned as one of `orientations_of` says."""
    return pixels if orientation is None else np.asarray(orientations.apply_orientation(pixels, orientation))


def _brightness(
    image: Image, shape: tuple[int, ...], policy: Policy, mask: Region
) -> tuple[npt.NDArray[np.float32], Region]:
    """Return an input's brightness on the target's grid, and where its foreground is (None: everywhere)."""
    grey = luminance(image.pixels) if image.channels else image.pixels.astype(np.float32)
    region = mask if mask is not None and mask.shape == grey.shape else own_region(grey, policy)
    if policy.scale == "percentile":
        grey = on_common_scale(grey, policy, region, image.name)
    inside = region
    if region is not None and region.shape != shape:
        inside = np.asarray(resized(region, shape) >= 0.5)
    return resized(grey, shape), inside


def _for_channels(grey: npt.NDArray[np.float32], truth: Image) -> npt.NDArray[np.float32]:
    return np.repeat(grey[..., None], len(truth.channels), -1) if truth.channels else grey

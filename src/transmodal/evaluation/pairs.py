"""One predicted image against its truth, under a complete policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.evaluation.policy_application import on_common_scale, region_of, scale_of_truth, slice_axis_of
from transmodal.images import Image, require_same_grid
from transmodal.metrics import METRICS, Metric, metric_of
from transmodal.metrics.pointwise import pointwise
from transmodal.metrics.policy import Policy

if TYPE_CHECKING:
    from transmodal.evaluation.resources import Resources

POINTWISE = ("mse", "mae", "nrmse", "nmae", "psnr")
# Their luminance compares means by their ratio, so that 40 and 60 HU would differ more than 1040 and 1060.
_FROM_LOWER_LIMIT = ("ssim", "ms_ssim")


@dataclass(frozen=True)
class SliceSum:
    """What a volume's slices add up to in one metric.

    Attributes:
        slices: how many have a finite value, and are in `total` and in the mean.
        total: the sum over them.
        values: of every slice of the volume in order; NaN where one was left out.
    """

    slices: int
    total: float
    values: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False)


@dataclass(frozen=True)
class PairScores:
    """The scores of one image.

    Attributes:
        values: column of the policy → value.
        slices: column → sum over the slices of a volume that was scored by slices.
    """

    values: Mapping[str, float]
    slices: Mapping[str, SliceSum] = field(default_factory=dict)


def score_pair(
    predicted: Image,
    truth: Image,
    policy: Policy,
    mask: Image | npt.NDArray[np.bool_] | None = None,
    resources: "Resources | None" = None,
) -> dict[str, float]:
    """Score one image.

    Args:
        predicted: any pixel type, in the truth's unit and on its grid.
        truth: the reference. Channels are scored one by one; the value is their mean.
        policy: complete; see `Policy.resolved`.
        mask: where to compare, non-zero inside, when the policy's mask is a modality's name.
        resources: the models that NIQE and LPIPS need.

    Returns:
        Column of the policy → value; PSNR of equal images is +inf, Dice of a label absent in both is NaN. A volume
        that is scored by slices (with dimension 2, or by a metric of pictures) has the mean over the slices in which
        the value is finite (+inf when it is so in all); slices without a pixel in the mask, and those that a metric
        refuses (VIF of an empty one), are left out. A metric of a published convention gets the values as they are
        and the mask, in the convention's own dimension.

    Raises:
        UserError: the policy is incomplete, the grids or channels differ, pixels are NaN or infinite, the mask is
            missing or empty, or an image is too small for a metric.
    """
    return dict(score_in_full(predicted, truth, policy, mask, resources).values)


def score_in_full(
    predicted: Image,
    truth: Image,
    policy: Policy,
    mask: Image | npt.NDArray[np.bool_] | None = None,
    resources: "Resources | None" = None,
) -> PairScores:
    """Score one image and keep the sums over a volume's slices; arguments and refusals as in `score_pair`."""
    if not policy.is_complete:
        raise UserError(f"A score of {predicted.name} needs its range and mask stated; give the range, for example "
                        "--range 0 65535")  # fmt: skip
    require_same_grid(predicted, truth)
    if len(predicted.channels) != len(truth.channels):
        raise UserError(f"{predicted.name} has {len(predicted.channels) or 1} channels but {truth.name} has "
                        f"{len(truth.channels) or 1}; convert one of them")  # fmt: skip
    for image in (predicted, truth):
        require_finite_numbers(image)
    region = region_of(truth, policy, mask)
    if region is not None and METRICS[policy.metrics[0]].level == "labels":
        raise UserError("Dice, HD95 and volumes compare whole label maps; leave the mask out")
    if truth.spatial_dims == 3:
        policy = policy.model_copy(update={"slices": None, "slice_axis": slice_axis_of(truth, policy)})
    channels = range(len(truth.channels)) if truth.channels else (slice(None),)
    each = [
        _Channel(predicted.pixels[..., one], truth.pixels[..., one], region, policy, truth, resources).scores()
        for one in channels
    ]
    if len(each) == 1:
        return each[0]
    return PairScores({name: float(np.mean([one.values[name] for one in each])) for name in policy.columns})


def score_without_truth(image: Image, policy: Policy, resources: "Resources | None" = None) -> dict[str, float]:
    """Return the metrics of the policy that need no truth, of one image: what the truths themselves would get.

    Raises:
        UserError: as `score_pair`.
    """
    names = tuple(name for name in policy.metrics if not METRICS[name].needs_truth)
    if not names:
        return {}
    mask = "none" if policy.mask != "foreground" else "foreground"
    return score_pair(image, image, policy.model_copy(update={"metrics": names, "mask": mask}), None, resources)


def require_finite_numbers(image: Image) -> None:
    """Raise a UserError unless an image holds real, finite numbers."""
    if image.pixels.dtype.kind not in "buif":
        raise UserError(f"{image.name} holds {image.pixels.dtype} values; only real numbers can be scored")
    if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
        raise UserError(f"{image.name} holds NaN or infinite pixels; mend the image before it is scored")


class _Channel:
    """One channel of a predicted and a true image, on the policy's scale and as it is."""

    def __init__(
        self,
        predicted: npt.NDArray[Any],
        truth: npt.NDArray[Any],
        region: npt.NDArray[np.bool_] | None,
        policy: Policy,
        image: Image,
        resources: "Resources | None",
    ) -> None:
        self.raw, self.region, self.policy = (predicted, truth), region, policy
        self.name, self.spacing, self.resources = image.name, image.spacing, resources
        self.has_physical_size = image.has_physical_size
        self.scaled = self.raw
        if any(METRICS[name].level == "image" and not METRICS[name].convention for name in policy.metrics):
            scale = scale_of_truth(truth, policy, region, self.name)
            self.scaled = (
                on_common_scale(predicted, policy, region, f"the prediction for {self.name}", scale),
                on_common_scale(truth, policy, region, self.name),
            )

    def scores(self) -> PairScores:
        """Score every column, each in its own dimension.

        Raises:
            UserError: a metric refuses the image.
        """
        whole: list[str] = []
        by_slice: list[str] = []
        for column in self.policy.columns:
            (whole if self._takes_whole(metric_of(column)) else by_slice).append(column)
        try:
            values = self._of_arrays([*self.scaled, *self.raw], self.region, self.spacing, whole)
            slices: dict[str, SliceSum] = {}
            if by_slice:
                means, slices = self._over_slices(by_slice)
                values |= means
        except ValueError as error:
            raise UserError(f"{error}: {self.name}; leave the case or the metric out") from error
        return PairScores({column: values[column] for column in self.policy.columns}, slices)

    def _takes_whole(self, metric: Metric) -> bool:
        """Say whether a metric takes the array as it is: a picture, or a volume that is not cut into slices."""
        if self.raw[1].ndim == 2:
            if 2 not in metric.dimensions:
                raise UserError(
                    f"{metric.name} is defined for volumes only and {self.name} is a picture; leave the metric out"
                )
            return True
        if 3 not in metric.dimensions:
            return False
        return bool(metric.convention) or 2 not in metric.dimensions or self.policy.dimension == 3

    def _over_slices(self, columns: list[str]) -> tuple[dict[str, float], dict[str, SliceSum]]:
        axis = self.policy.slice_axis
        assert axis is not None
        # One transposition each: cutting along the last axis, slice by slice, would walk through all of memory.
        cut = {id(volume): np.ascontiguousarray(np.moveaxis(volume, axis, 0)) for volume in (*self.scaled, *self.raw)}
        volumes = [cut[id(volume)] for volume in (*self.scaled, *self.raw)]
        inside = None if self.region is None else np.ascontiguousarray(np.moveaxis(self.region, axis, 0))
        spacing = tuple(length for place, length in enumerate(self.spacing) if place != axis)
        # SSIM counts only pixels whose 11×11 window lies in the slice; a mask that ends before them has no SSIM.
        margin = 5 if any(column in ("ssim", "ms_ssim") for column in columns) else 0
        each: dict[str, dict[int, float]] = {column: {} for column in columns}
        refusal: ValueError | None = None
        for index in range(len(volumes[0])):
            mask = None if inside is None else inside[index]
            if mask is not None and not mask[margin : mask.shape[0] - margin, margin : mask.shape[1] - margin].any():
                continue
            if mask is not None and self.policy.slice_pixels and mask.sum() <= self.policy.slice_pixels:
                continue
            slices = [volume[index] for volume in volumes]
            try:
                found = self._of_arrays(slices, mask, spacing, columns)
            except ValueError as error:
                found, refusal = self._one_by_one(slices, mask, spacing, columns), refusal or error
            for column, value in found.items():
                each[column][index] = value
        if refusal is None and not all(each.values()):
            least = self.policy.slice_pixels
            if least:
                raise UserError(
                    f"No slice of {self.name} has more than {least} pixels of the mask on the file's own grid; score "
                    "all slices: evaluate with --slice-pixels 0, or train with --set evaluation.slice_pixels=0"
                )
            raise ValueError("no slice has a pixel of the mask away from its border")
        return _means(each, len(volumes[0]), refusal)

    def _one_by_one(
        self,
        slices: list[npt.NDArray[Any]],
        mask: npt.NDArray[np.bool_] | None,
        spacing: tuple[float, ...],
        columns: list[str],
    ) -> dict[str, float]:
        """Score a slice that some metric refuses (VIF of an empty slice) by those that do not."""
        found: dict[str, float] = {}
        for column in columns:
            try:
                found |= self._of_arrays(slices, mask, spacing, [column])
            except ValueError:
                continue
        return found

    def _of_arrays(
        self,
        arrays: Sequence[npt.NDArray[Any]],
        region: npt.NDArray[np.bool_] | None,
        spacing: tuple[float, ...],
        columns: list[str],
    ) -> dict[str, float]:
        predicted, truth, raw_predicted, raw_truth = arrays
        policy = self.policy
        scores = self._pointwise(predicted, truth, region, columns)
        options = self._options(region, truth.ndim, spacing)
        for column in columns:
            if column in scores:
                continue
            metric = metric_of(column)
            label = column[column.index("[") + 1 : -1] if "[" in column else None
            own_class = policy.classes.get(label) if label is not None else None
            options["label"] = None if label is None or own_class is not None else int(label)
            if "spacing" in metric.options and not self.has_physical_size:
                raise UserError(f"{metric.title} is in mm and {self.name} does not say its pixel size; add it to the "
                                "file or leave the metric out")  # fmt: skip
            made, true = (raw_predicted, raw_truth) if _is_raw(metric) else (predicted, truth)
            if metric.name in _FROM_LOWER_LIMIT:
                made, true = (_from_lower_limit(pixels, policy) for pixels in (made, true))
            if own_class is not None:
                made, true = (_in_class(labels, own_class) for labels in (made, true))
            given = (made, true) if metric.needs_truth else (made,)
            scores[column] = float(metric.function(*given, **{key: options[key] for key in metric.options}))
        return scores

    def _pointwise(
        self,
        predicted: npt.NDArray[Any],
        truth: npt.NDArray[Any],
        region: npt.NDArray[np.bool_] | None,
        columns: list[str],
    ) -> dict[str, float]:
        """Score the pointwise metrics among the columns in one pass."""
        if not any(column in POINTWISE for column in columns):
            return {}
        policy = self.policy
        errors = pointwise(
            predicted,
            truth,
            data_range=1.0 if policy.range is None else policy.data_range,  # only PSNR looks at it
            mask=region,
            normalisation=policy.nrmse,
            denominator=policy.nmae,
        )
        return {column: getattr(errors, column) for column in POINTWISE if column in columns}

    def _options(
        self, region: npt.NDArray[np.bool_] | None, spatial_dims: int, spacing: tuple[float, ...]
    ) -> dict[str, Any]:
        """Return all that metrics may ask for; each takes what it names."""
        options: dict[str, Any] = {"mask": region, "spatial_dims": spatial_dims, "bins": 64, "spacing": spacing}
        if self.policy.range is not None:
            options |= {"data_range": self.policy.data_range, "limits": self.policy.limits}
        if self.resources is not None:
            options |= {"model": self.resources.niqe_model, "network": self.resources.lpips_network}
        return options


def _in_class(labels: npt.NDArray[Any], values: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return where a label map holds a class: one of its values, or anything but 0 where it names none."""
    return np.asarray(np.isin(labels, values) if values else labels != 0)


def _from_lower_limit(pixels: npt.NDArray[Any], policy: Policy) -> npt.NDArray[Any]:
    """Return the values counted from the lower limit of the range, on which no similarity of two images may depend."""
    low = policy.limits[0]
    if low == 0:
        return pixels
    exact = pixels.dtype == np.float32 or (pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2)
    return np.subtract(pixels, low, dtype=np.float32 if exact else np.float64)


def _means(
    each: Mapping[str, Mapping[int, float]], slices: int, refusal: ValueError | None
) -> tuple[dict[str, float], dict[str, SliceSum]]:
    """Return the mean over the finite slices, and their sum, number and values, of each column."""
    means, sums = {}, {}
    for column, found in each.items():
        if not found and refusal is not None:
            raise refusal
        values = np.full(slices, np.nan)
        values[list(found)] = list(found.values())
        finite = values[np.isfinite(values)]
        means[column] = float(finite.mean()) if finite.size else float(next(iter(found.values())))
        sums[column] = SliceSum(int(finite.size), float(finite.sum()), values)
    return means, sums


def _is_raw(metric: Metric) -> bool:
    return bool(metric.convention) or metric.level == "labels"

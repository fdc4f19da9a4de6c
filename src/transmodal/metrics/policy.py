"""How a score was made: range, mask, clipping, dimension and aggregation in one object.

Two PSNR values are comparable only when these agree, and most published tables do not say them. Here no score exists
without a complete policy; it is printed beside every table and stored with every result. A recipe may leave a field
`None` ("take it from the target"); `Policy.resolved` fills it in before anything is scored.
"""

import difflib
import math
from itertools import groupby
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from transmodal.metrics import METRICS, Metric


class Policy(BaseModel):
    """The convention by which two images are compared and many comparisons become one number.

    Attributes:
        metrics: names of metrics of images, or of label maps, in the table `transmodal.metrics.METRICS`. One named
            after a published convention (`psnr@synthrad2023`) takes nothing else from this policy but the mask.
        sets: names of set-level metrics.
        labels: values of a label map that are scored apart (Dice, HD95); none takes all non-zero values as one.
        classes: instead of labels, name → values that belong together in predicted and true label maps (none: all that
            is not 0), as a segmentation's classes; an evaluation takes those of the run.
        areas: edges in mm² between sizes of lesions, by which the Dice of a segmentation's slices and the lesions that
            it finds are told apart: below 50, 50 to 100 with both, above 100.
        range: (low, high) in the unit of the images: the R of PSNR and SSIM is high − low. None takes the range of the
            target's intensity map.
        unit: the unit of the images, for tables and colour bars ("HU", "intensity"). None takes the truth's quantity.
        scale: "physical" compares the values as they are. "percentile" is for images without an absolute unit (MRI):
            volumes are mapped by `percentiles` inside the mask to [0, 1]; the range is then [0, 1]. None takes
            "percentile" where the target's intensity map works by each image's own values, else "physical".
        percentiles: the (lower, upper) percentiles that "percentile" maps to 0 and 1.
        percentiles_of: "each": the predicted and the true volume by its own. "truth": both by the truth's, as where a
            network's output is compared with the normalised truth; a prediction closer to the mean, which "each"
            would stretch, then stays as it is. In an evaluation the translator's output is first put into the truth's
            own unit, by the intensity map of the truth. None takes "truth" in an evaluation, else "each".
        clip: whether both images are clipped to the range before they are compared. None clips "percentile" images,
            for which it is part of the map, and leaves "physical" ones as they are.
        mask: "none"; "foreground", the pixels whose truth exceeds `foreground_above`; or the name of a modality of the
            case whose non-zero pixels are the mask. Pointwise metrics use the pixels inside; SSIM is the mean of the
            SSIM map inside. None takes "foreground" where the target's intensity map looks at the foreground only,
            else "none".
        own_mask: with the mask "foreground", the name of a modality whose non-zero pixels are the mask of a case that
            has it, as of a head whose brain alone is translated; "none" looks for none. In an evaluation truth and
            predictions are background outside it; None takes there the modality of the recipe's preparation.region.
            Elsewhere None is "none".
        foreground_above: the threshold of the mask "foreground", in the unit of the images. At 0, an image with many
            negative values on a background of 0 (z-scored files) has all that is not 0 as its foreground.
        dimension: 3 scores a volume as one; 2 scores each slice and takes the mean over the slices. None takes the
            dimension of the images.
        slices: which slices of the patient a volume is cut into, whatever the order of its array axes. None goes by
            `slice_axis`; in an evaluation where both are None, by the recipe's preparation.slices.
        slice_axis: instead, the array axis along which volumes are cut. None is 2, the last.
        slice_pixels: slices are scored that have more pixels of the mask than this, on the file's own grid.
        lesions: the name of a modality of the case whose non-zero pixels are lesions, which are scored apart as well
            (see `evaluation.lesions`); None scores none apart.
        nrmse: the denominator of NRMSE: "euclidean" √mean(truth²), "min-max" max − min, or "mean" of the truth.
        nmae: the denominator of NMAE: the truth's "max-min", "max", or "mean-magnitude" mean |truth|.
        aggregation: "subjects": the mean over subjects of the mean over each subject's cases; "cases": the mean over
            cases, whoever they belong to. Squared errors are never pooled over cases.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: tuple[str, ...] = ("mse", "mae", "nrmse", "psnr", "ssim")
    sets: tuple[str, ...] = ("fnsd", "fid", "kid")
    labels: tuple[int, ...] = ()
    classes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    areas: tuple[float, ...] = (50.0, 100.0)
    range: tuple[float, float] | None = None
    unit: str | None = None
    scale: Literal["physical", "percentile"] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    percentiles_of: Literal["each", "truth"] | None = None
    clip: bool | None = None
    mask: str | None = None
    own_mask: str | None = None
    foreground_above: float = 0.0
    dimension: Literal[2, 3] | None = None
    slices: Literal["axial", "coronal", "sagittal"] | None = None
    slice_axis: int | None = Field(default=None, ge=0, le=2)
    slice_pixels: int = Field(default=0, ge=0)
    lesions: str | None = None
    nrmse: Literal["euclidean", "min-max", "mean"] = "euclidean"
    nmae: Literal["max-min", "max", "mean-magnitude"] = "max-min"
    aggregation: Literal["subjects", "cases"] = "subjects"

    @field_validator("metrics")
    @classmethod
    def _metrics_are_known_and_distinct(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if not metrics:
            raise ValueError("name at least one metric, for example psnr")
        _refuse_unknown(metrics, "per-image", ("image", "labels"))
        levels = {METRICS[name].level for name in metrics}
        if len(levels) > 1:
            raise ValueError("metrics of images and of label maps cannot be mixed; score them in two runs")
        return metrics

    @field_validator("sets")
    @classmethod
    def _sets_are_known_and_distinct(cls, sets: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_unknown(sets, "set-level", ("set",))
        return sets

    @field_validator("labels")
    @classmethod
    def _labels_are_distinct(cls, labels: tuple[int, ...]) -> tuple[int, ...]:
        if 0 in labels or len(set(labels)) < len(labels):
            raise ValueError("labels must be distinct and not 0, which is the background")
        return labels

    @field_validator("areas")
    @classmethod
    def _areas_rise(cls, areas: tuple[float, ...]) -> tuple[float, ...]:
        if list(areas) != sorted(set(areas)) or (areas and not 0 < areas[0] <= areas[-1] < math.inf):
            raise ValueError(f"areas must rise and be above 0, not {list(areas)}")
        return areas

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> "Policy":
        if self.range is not None and not (
            all(math.isfinite(limit) for limit in self.range) and self.range[0] < self.range[1]
        ):
            raise ValueError(f"range must be two finite numbers, low before high, not {self.range}")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must be two numbers from 0 to 100, low before high, not {self.percentiles}")
        if self.scale == "percentile" and self.range not in (None, (0.0, 1.0)):
            raise ValueError("with scale 'percentile' the range is 0 to 1; leave range out")
        if self.slices is not None and self.slice_axis is not None:
            raise ValueError("give one of slices and slice_axis")
        if self.slice_pixels and self.mask == "none":
            raise ValueError("slice_pixels counts pixels of the mask, and there is none; set mask")
        if self.lesions is not None and self.lesions in ("", "none", "foreground"):
            raise ValueError("lesions must be the name of a modality with a mask of the lesions")
        if self.classes and self.labels:
            raise ValueError("give one of labels and classes")
        if self.own_mask in ("", "foreground"):
            raise ValueError("own_mask must be 'none' or the name of a modality")
        if self.mask == "":
            raise ValueError("mask must be 'none', 'foreground' or the name of a modality")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores of one case: each metric, or each metric of each label or class, as "dice[2]", "dice[liver]"."""
        apart: tuple[int | str, ...] = tuple(self.classes) or self.labels
        if not (apart and self._of_labels):
            return self.metrics
        return tuple(f"{name}[{label}]" for name in self.metrics for label in apart)

    @property
    def _of_labels(self) -> bool:
        return METRICS[self.metrics[0]].level == "labels"

    @property
    def looks_for_own_mask(self) -> bool:
        """Whether a case's own mask, where it has one, wins over the foreground of its truth."""
        return self.mask == "foreground" and self.own_mask not in (None, "none")

    @property
    def needs_range(self) -> bool:
        """Whether one of the metrics is meaningless without a stated range."""
        return any(METRICS[name].needs_range for name in self.metrics)

    @property
    def is_complete(self) -> bool:
        """Whether every field that a score depends on is set."""
        return None not in (self.unit, self.scale, self.clip, self.mask, self.dimension) and (
            self.range is not None or not self.needs_range
        )

    @property
    def limits(self) -> tuple[float, float]:
        """The range in which the compared images lie: `range`, which must be resolved.

        Raises:
            ValueError: the policy has no range yet.
        """
        if self.range is None:
            raise ValueError("this policy has no range yet; resolve it before scoring")
        return self.range

    @property
    def data_range(self) -> float:
        """R, the distance between the limits.

        Raises:
            ValueError: the policy has no range yet.
        """
        low, high = self.limits
        return high - low

    def resolved(
        self,
        *,
        range: tuple[float, float] | None = None,
        unit: str | None = None,
        dimension: int | None = None,
        scale: Literal["physical", "percentile"] = "physical",
        mask: str = "none",
    ) -> "Policy":
        """Return a complete policy: what this one leaves open is taken from the arguments.

        Args:
            range: (low, high) of the target's intensity map, in its unit.
            unit: the target's unit.
            dimension: the spatial dimension of the images, 2 or 3.
            scale: what suits the target's intensity map.
            mask: what suits the target's intensity map.

        Raises:
            ValueError: something is still open, with the name of what is missing.
        """
        own_scale = self.scale or scale
        percentile = own_scale == "percentile"
        filled: dict[str, Any] = {
            "scale": own_scale,
            "mask": mask if self.mask is None else self.mask,
            "range": (0.0, 1.0) if percentile else self.range or range,
            "unit": "percentile range" if percentile else self.unit or unit,
            "clip": percentile if self.clip is None else self.clip,
            "percentiles_of": self.percentiles_of or "each",
            "dimension": 2 if dimension == 2 else self.dimension or dimension,
        }
        if self.slices is None and self.slice_axis is None:
            filled["slice_axis"] = 2
        missing = [name for name, value in filled.items() if value is None and (name != "range" or self.needs_range)]
        if missing:
            raise ValueError(f"a score needs its {', '.join(missing)} stated")
        return Policy(**(self.model_dump() | filled))

    def describe(self) -> str:
        """Return the convention as one sentence for people, to stand beside every table."""
        mean = {
            "subjects": "the mean over subjects of the mean over each subject's cases",
            "cases": "the mean over cases",
        }[self.aggregation]
        summary = f"A summary is {mean} of the per-case value."
        facts = self._conventions_in_words()
        if all(METRICS[name].convention for name in self.metrics):
            # The range and scale of this policy are not theirs; only scores of whole sets look at them.
            of_sets = f" Scores of whole sets: {self._units()}." if self.sets and self._has_units else ""
            return f"Compared by published conventions alone. {facts}.{of_sets} {summary}"
        clipping = {True: "clipped to the range", False: "not clipped", None: "clipping not yet resolved"}[self.clip]
        clipping = "" if self._of_labels else f"{clipping}, "
        dimension = {
            2: f"in two dimensions (a volume by its {self._slices_in_words()}, mean over them)",
            3: "in three dimensions",
            None: "in the dimension of the images",
        }[self.dimension]
        remarks = "".join(f"; {remark}" for remark in self._remarks())
        apart = f" By published conventions instead, {facts}." if facts else ""
        return f"Compared {self._units()}, {clipping}{self._mask_in_words()}, {dimension}{remarks}.{apart} {summary}"

    def convention_facts(self) -> dict[str, str]:
        """Return metric → what its published convention fixes: range, clipping, window, mask, dimension.

        The mask is the one that these scores had, with a remark where the convention scores inside another. Metrics
        that this policy rules are not in it.
        """
        metrics = (METRICS[name] for name in self.metrics)
        return {metric.name: f"{metric.states}, {self._place_of(metric)}" for metric in metrics if metric.convention}

    def _conventions_in_words(self) -> str:
        """Return the facts of all conventions, mask and dimension once for neighbours that share them."""
        ruled = [METRICS[name] for name in self.metrics if METRICS[name].convention]
        parts = []
        for place, sharing in groupby(ruled, self._place_of):
            each = [f"{metric.title}: {metric.states}" for metric in sharing]
            parts.append(
                "; ".join(each)
                + (f", {place}" if len(each) == 1 else f"; {'both' if len(each) == 2 else 'all of these'} {place}")
            )
        return ". ".join(parts)

    def _place_of(self, metric: Metric) -> str:
        return f"{self._mask_of(metric)}, {self._dimension_of(metric)}"

    def _mask_of(self, metric: Metric) -> str:
        if "mask" not in metric.options:
            return "without a mask"
        if metric.expected_mask and self.mask == "none":
            return f"without a mask although the convention scores inside {metric.expected_mask}"
        if metric.expected_mask and self.mask == "foreground":
            return f"{self._mask_in_words()} instead of {metric.expected_mask}"
        return self._mask_in_words()

    def _dimension_of(self, metric: Metric) -> str:
        if 3 not in metric.dimensions:
            # Volumes lose the slices outside a mask for every metric, so that all are over the same ones.
            chosen = "" if self.mask == "none" else ", those outside the mask left out"
            return f"a volume by its {self._slices_in_words()}{chosen}, mean over them"
        return "volumes as one" if self.dimension == 3 or 2 not in metric.dimensions else "a volume as one"

    @property
    def _has_units(self) -> bool:
        return self.range is not None or self.scale == "percentile"

    def _units(self) -> str:
        if self._of_labels:
            return "as label maps"
        if self.scale == "percentile":
            low, high = self.percentiles
            if self.percentiles_of == "truth":
                return f"after both volumes were mapped by the truth's {low:g}th and {high:g}th percentiles to 0–1"
            return f"after each volume was mapped by its own {low:g}th and {high:g}th percentiles to 0–1"
        if self.range is None:
            if self.is_complete:
                return f"in units of {self.unit}, without a range"
            return "in the unit of the target, over the range of its intensity map"
        unit = f"units of {self.unit}" if self.unit else "the unit of the target"
        return f"in {unit}, range {_plain(self.range)}"

    def _mask_in_words(self) -> str:
        other = "" if self.foreground_above else ", or not 0 in images with negative values on a background of 0"
        own = f"the mask '{self.own_mask}' of a case that has one, else " if self.looks_for_own_mask else ""
        return {
            None: "inside the mask that suits the target",
            "none": "without a mask",
            "foreground": f"inside {own}the foreground (truth above {self.foreground_above:g}{other})",
        }.get(self.mask, f"inside the mask '{self.mask}'")

    def _remarks(self) -> list[str]:
        """Return what single metrics do otherwise than the sentence says of all."""
        metrics = [METRICS[name] for name in self.metrics]
        ruled = [metric for metric in metrics if not metric.convention]
        found = []
        if "nrmse" in self.metrics:
            found.append(f"NRMSE is divided by {_NRMSE[self.nrmse]}")
        if "nmae" in self.metrics:
            found.append(f"NMAE is divided by {_NMAE[self.nmae]}")
        if self.range is not None and self.range[0] != 0:
            counted = [METRICS[name].title for name in ("ssim", "ms_ssim", "affine_snr") if name in self.metrics]
            if counted:
                found.append(f"{' and '.join(counted)} of values counted from {_plain(self.range[:1])}")
        flat = [metric.title for metric in ruled if 3 not in metric.dimensions]
        if flat and self.dimension != 2:
            found.append(f"{' and '.join(flat)} of a volume by its {self._slices_in_words()}, mean over them")
        unmasked = [metric.title for metric in ruled if metric.level == "image" and "mask" not in metric.options]
        if unmasked and self.mask != "none":
            found.append(f"{' and '.join(unmasked)} of whole images, whatever the mask")
        if self._of_labels and self.classes:
            found.append(f"of {', '.join(self.classes)}, each apart")
        elif self._of_labels:
            labels = ", ".join(map(str, self.labels))
            found.append(f"of the label{'s' * (len(self.labels) > 1)} {labels}" if labels else "of all labels as one")
        return found

    def _slices_in_words(self) -> str:
        axis = 2 if self.slice_axis is None else self.slice_axis
        which = f"slices along array axis {axis}" if self.slices is None else f"{self.slices} slices"
        return which + (f" with more than {self.slice_pixels} pixels of the mask" if self.slice_pixels else "")


def _refuse_unknown(names: tuple[str, ...], kind: str, levels: tuple[str, ...]) -> None:
    known = [metric.name for metric in METRICS.values() if metric.level in levels]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"there is no {kind} metric {name!r}; {hint}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is named twice")


_NRMSE = {"euclidean": "√mean(truth²)", "min-max": "the truth's max − min", "mean": "the truth's mean"}
_NMAE = {"max-min": "the truth's max − min", "max": "the truth's max", "mean-magnitude": "mean |truth|"}


def _plain(limits: tuple[float, ...]) -> str:
    return " to ".join(f"{limit:,.6g}".replace(",", " ") if abs(limit) < 1e6 else f"{limit:g}" for limit in limits)

"""What a segmentation's scores per case do not say: by size of the lesion, lesion by lesion, and visit by visit.

- *Areas*: of every slice its true and predicted area of each lesion class and their Dice, in groups of the true area
  (Boursier 2021: below 50, 50 to 100, above 100 mm²). Slices without a lesion have no Dice; they are counted.
- *Lesions*: connected pieces (pixels that touch by a corner are connected, in volumes in three dimensions). A true
  lesion is found when at least a tenth of it is predicted, else missed; a predicted piece is false when less than a
  tenth of it is truly lesion. The size of a lesion is its area in the slice that shows most of it.
- *Volumes*: true and predicted volume of each class at each visit of each subject.
- *Images*: Dice over those that truly show a lesion. Over all, an image without one counts 0 where some was predicted,
  and not at all where none was, so that the mean also depends on how many such images a collection has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
from scipy import ndimage

from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.strata import EMPTY, size_names, stratum_of
from transmodal.evaluation.intervals import Summary, summarise
from transmodal.evaluation.policy_application import slice_axis_of
from transmodal.evaluation.scoring import CaseImages
from transmodal.metrics.overlap import dice
from transmodal.metrics.policy import Policy

FOUND_SHARE = 0.1
CRITERION = (
    f"A true lesion is found when at least {100 * FOUND_SHARE:.0f} % of it is predicted, else missed; a predicted "
    f"piece is false when less than {100 * FOUND_SHARE:.0f} % of it is truly lesion. Pixels that touch by a corner are "
    "connected; the size of a lesion is its area in the slice that shows most of it."
)
ALL, NONE = "all", "none"
WHOSE = ("system", "case", "subject", "session", "class")
SLICES = (*WHOSE, "slice", "area_true", "area_predicted", "dice")
LESIONS = (*WHOSE, "lesion", "outcome", "area", "volume", "share")
VOLUMES = (*WHOSE, "volume_true", "volume_predicted", "error", "error_percent", "dice")


@dataclass(frozen=True)
class SegmentedCase(CaseImages):
    """The label maps of one case, and whose they are."""

    case: str = ""
    subject: str = ""
    session: str = ""


@dataclass
class CaseDetails:
    """Rows of one case, small enough to be passed between processes."""

    slices: list[tuple[Any, ...]] = field(default_factory=list)
    lesions: list[tuple[Any, ...]] = field(default_factory=list)
    volumes: list[tuple[Any, ...]] = field(default_factory=list)
    unit: str = "mm"


class SegmentationDetails:
    """Gathers the rows of all cases while their images are in memory, and ends in tables."""

    def __init__(self, classes: LabelClasses, lesions: Sequence[str]) -> None:
        """Begin.

        Args:
            classes: of the target.
            lesions: names of those that are lesions.
        """
        self.classes, self.lesion_classes = classes, tuple(lesions)
        self.unit = "mm"
        self._slices: list[tuple[Any, ...]] = []
        self._lesions: list[tuple[Any, ...]] = []
        self._volumes: list[tuple[Any, ...]] = []

    def of_case(self, images: CaseImages, policy: Policy) -> CaseDetails:
        """Measure every system's label map of one case."""
        assert isinstance(images, SegmentedCase)
        truth = images.truth
        details = CaseDetails(unit="mm" if truth.has_physical_size else "pixels")
        axis = slice_axis_of(truth, policy) if truth.spatial_dims == 3 else 2
        spacing = truth.spacing if truth.has_physical_size else (1.0,) * truth.spatial_dims
        true = self.classes.masks_of(truth.pixels)
        for system, predicted in images.predictions.items():
            made = self.classes.masks_of(predicted.pixels)
            for each, one, other in zip(self.classes.classes, made, true, strict=True):
                whose = (system, images.case, images.subject, images.session, each.name)
                details.volumes.append((*whose, *volumes_of(one, other, spacing), dice(one, other)))
                if each.name in self.lesion_classes:
                    details.slices += [(*whose, *row) for row in slices_of(one, other, spacing, axis)]
                    details.lesions += [(*whose, *row) for row in lesions_of(one, other, spacing, axis)]
        return details

    def join(self, kept: CaseDetails) -> None:
        """Take in the rows of a case."""
        self._slices += kept.slices
        self._lesions += kept.lesions
        self._volumes += kept.volumes
        self.unit = kept.unit

    @property
    def systems(self) -> list[str]:
        """The systems that were measured, in their order."""
        return list(dict.fromkeys(row[0] for row in self._volumes))

    @property
    def slices(self) -> pandas.DataFrame:
        """One row a system, case, lesion class and slice that is or is predicted to be lesion; areas in unit²."""
        return pandas.DataFrame(self._slices, columns=list(SLICES))

    @property
    def lesions(self) -> pandas.DataFrame:
        """One row a system and true lesion (found, missed) or false piece; area in unit², volume in unit³."""
        return pandas.DataFrame(self._lesions, columns=list(LESIONS))

    @property
    def volumes(self) -> pandas.DataFrame:
        """One row a system, case and class; volumes in unit³, of pictures areas in unit²."""
        return pandas.DataFrame(self._volumes, columns=list(VOLUMES))

    def by_area(self, policy: Policy, seed: int = 0) -> pandas.DataFrame:
        """Return Dice and error of area by size of the true area, with intervals over subjects.

        Returns:
            One row a system, lesion class and size ("< 50", …, "all"; "none": slices without): slices, subjects, dice,
            dice_low, dice_high, dice_sd, dice_median; area_error, the mean of predicted − true, with _low and _high;
            for "none", slices are those that a lesion was predicted in.
        """
        names, slices, rows = size_names(policy.areas), self.slices, []
        for (system, name), part in slices.groupby(["system", "class"], sort=False):
            strata = np.array([stratum_of(area, policy.areas) for area in part["area_true"]], int)
            groups = {names[stratum]: strata == stratum for stratum in range(len(names))}
            for size, members in {**groups, ALL: strata != EMPTY, NONE: strata == EMPTY}.items():
                own = part[members]
                dice = _summary(own, "dice", policy, seed)
                errors = own.assign(area_error=own["area_predicted"] - own["area_true"])
                area = _summary(errors, "area_error", policy, seed)
                rows.append(
                    {"system": system, "class": name, "size": size, "slices": len(own)}
                    | {"subjects": own["subject"].nunique()}
                    | _spread("dice", dice if size != NONE else None)
                    | {"area_error": area.mean, "area_error_low": area.ci95[0], "area_error_high": area.ci95[1]}
                )
        return pandas.DataFrame(rows)

    def by_lesion(self, policy: Policy, seed: int = 0) -> pandas.DataFrame:
        """Return how many lesions were found, missed and invented, by size, with intervals over subjects.

        Returns:
            One row a system, lesion class and size: lesions, found, missed, found_share with _low and _high, false,
            and false_per_case.
        """
        names, lesions, rows = size_names(policy.areas), self.lesions, []
        cases = max(1, self.volumes["case"].nunique())
        for system in self.systems:
            for name in self.lesion_classes:
                part = lesions[(lesions["system"] == system) & (lesions["class"] == name)]
                strata = np.array([stratum_of(area, policy.areas) for area in part["area"]], int)
                groups = {names[stratum]: strata == stratum for stratum in range(len(names))}
                for size, members in {**groups, ALL: strata >= 0}.items():
                    own = part[members]
                    true, false = own[own["outcome"] != "false"], own[own["outcome"] == "false"]
                    shares = true.assign(found=(true["outcome"] == "found").astype(float))
                    share = _summary(shares, "found", policy.model_copy(update={"aggregation": "cases"}), seed)
                    rows.append(
                        {"system": system, "class": name, "size": size, "lesions": len(true)}
                        | {"found": int(shares["found"].sum()), "missed": int((1 - shares["found"]).sum())}
                        | {"found_share": share.mean, "found_share_low": share.ci95[0]}
                        | {"found_share_high": share.ci95[1], "false": len(false), "false_per_case": len(false) / cases}
                    )
        return pandas.DataFrame(rows)

    def by_image(self, policy: Policy, seed: int = 0) -> pandas.DataFrame:
        """Return the Dice over images that truly show a lesion, beside that over all, with intervals over subjects.

        Returns:
            One row a system and lesion class: images and subjects with a lesion; dice of these, with _low, _high, _sd
            and _median; without, the images without one, and predicted_without, those of them in which some was
            predicted; dice_of_all with _low and _high, in which these count 0 and the rest of them not at all.
        """
        rows = []
        lesions = self.volumes[self.volumes["class"].isin(self.lesion_classes)]
        for (system, name), part in lesions.groupby(["system", "class"], sort=False):
            own, without = part[part["volume_true"] > 0], part[part["volume_true"] == 0]
            everything = _summary(part, "dice", policy, seed)
            rows.append(
                {"system": system, "class": name, "images": len(own), "subjects": own["subject"].nunique()}
                | _spread("dice", _summary(own, "dice", policy, seed))
                | {"without": len(without), "predicted_without": int((without["volume_predicted"] > 0).sum())}
                | {"dice_of_all": everything.mean, "dice_of_all_low": everything.ci95[0]}
                | {"dice_of_all_high": everything.ci95[1]}
            )
        return pandas.DataFrame(rows)

    def by_volume(self, policy: Policy, seed: int = 0) -> pandas.DataFrame:
        """Return the mean error of volume of each system and class, with intervals over subjects.

        Returns:
            One row a system and class: cases, volume_true, error (predicted − true) and error_percent (of the cases
            that have the class), each with _low and _high.
        """
        rows = []
        for (system, name), part in self.volumes.groupby(["system", "class"], sort=False):
            row: dict[str, Any] = {"system": system, "class": name, "cases": len(part)}
            for column in ("volume_true", "error", "error_percent"):
                found = _summary(part, column, policy, seed)
                row |= {column: found.mean, f"{column}_low": found.ci95[0], f"{column}_high": found.ci95[1]}
            rows.append(row)
        return pandas.DataFrame(rows)

    def to_json(self, policy: Policy, seed: int = 0) -> dict[str, Any]:
        """Return what summary.json holds; NaN as it is, see `scores.for_json`."""
        return {
            "lesion_classes": list(self.lesion_classes),
            "area_edges": list(policy.areas),
            "area_unit": f"{self.unit}²" if self.unit == "mm" else self.unit,
            "criterion": CRITERION,
            "images": self.by_image(policy, seed).to_dict("records"),
            "areas": self.by_area(policy, seed).to_dict("records"),
            "lesions": self.by_lesion(policy, seed).to_dict("records"),
            "volumes": self.by_volume(policy, seed).to_dict("records"),
        }


def slices_of(
    predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], spacing: Sequence[float], axis: int
) -> list[tuple[int, float, float, float]]:
    """Return (index, true area, predicted area, Dice) of each slice that holds either; a picture is one slice, 0.

    Args:
        predicted, truth: of one class, two or three axes.
        spacing: mm along the axes.
        axis: along which a volume is cut.
    """
    if truth.ndim == 2:
        predicted, truth, axis, spacing = predicted[..., None], truth[..., None], 2, (*spacing, 1.0)
    others = tuple(other for other in range(3) if other != axis)
    pixel = spacing[others[0]] * spacing[others[1]]
    true, made, both = (region.sum(others) for region in (truth, predicted, truth & predicted))
    return [
        (int(index), float(true[index] * pixel), float(made[index] * pixel), float(2 * both[index] / total))
        for index in np.flatnonzero(true + made)
        for total in [true[index] + made[index]]
    ]


def lesions_of(
    predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], spacing: Sequence[float], axis: int
) -> list[tuple[int, str, float, float, float]]:
    """Return (number, outcome, area, volume, share) of each true lesion and of each false piece; see `CRITERION`.

    The share is that of a true lesion which is predicted, of a false piece which is truly lesion.
    """
    rows = []
    for region, other, kept in ((truth, predicted, ("found", "missed")), (predicted, truth, ("", "false"))):
        numbered, count = ndimage.label(region, ndimage.generate_binary_structure(region.ndim, region.ndim))
        if not count:
            continue
        voxels = np.bincount(numbered.ravel(), minlength=count + 1)
        covered = np.bincount(numbered[other], minlength=count + 1)
        areas = _largest_sections(numbered, count, spacing, axis)
        for number in range(1, count + 1):
            share = covered[number] / voxels[number]
            outcome = kept[int(share < FOUND_SHARE)]
            if outcome:
                volume = float(voxels[number] * np.prod(spacing))
                rows.append((number, outcome, float(areas[number]), volume, float(share)))
    return rows


def volumes_of(
    predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[float, float, float, float]:
    """Return true and predicted volume, predicted − true, and that in per cent of the true one (NaN of none)."""
    voxel = float(np.prod(spacing))
    true, made = int(truth.sum()), int(predicted.sum())
    return true * voxel, made * voxel, (made - true) * voxel, 100 * (made - true) / true if true else np.nan


def area_groups(details: SegmentationDetails, policy: Policy, columns: Sequence[str]) -> pandas.DataFrame:
    """Return `by_area` in the form of groups.csv: one row a size and system, the Dice of its class filled in.

    Args:
        details: of all cases.
        policy: complete.
        columns: of groups.csv.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    unit = f"{details.unit}²" if details.unit == "mm" else details.unit
    for found in details.by_area(policy).to_dict("records"):
        if found["size"] in (ALL, NONE):
            continue
        group_by = f"area of {found['class']} in a slice ({unit})"
        row = rows.setdefault(
            (f"{group_by} {found['size']}", found["system"]),
            {"group_by": group_by, "group": found["size"], "system": found["system"]}
            | {"subjects": found["subjects"], "cases": found["slices"]},
        )
        for end in ("", "_low", "_high"):
            row[f"dice[{found['class']}]{end}"] = found[f"dice{end}"]
    return pandas.DataFrame(list(rows.values()), columns=list(columns))


def _largest_sections(
    numbered: npt.NDArray[Any], count: int, spacing: Sequence[float], axis: int
) -> npt.NDArray[np.float64]:
    """Return the area of each numbered piece in the slice that shows most of it, (1 + count,)."""
    if numbered.ndim == 2:
        return np.asarray(np.bincount(numbered.ravel(), minlength=count + 1) * np.prod(spacing), np.float64)
    slices = np.moveaxis(numbered, axis, 0)
    sections = np.stack([np.bincount(each.ravel(), minlength=count + 1) for each in slices])
    pixel = np.prod([step for place, step in enumerate(spacing) if place != axis])
    return np.asarray(sections.max(0) * pixel, np.float64)


def _summary(table: pandas.DataFrame, column: str, policy: Policy, seed: int) -> Summary:
    return summarise(
        table[column].to_numpy(float), table["subject"].astype(str).tolist(), aggregation=policy.aggregation, seed=seed
    )


def _spread(name: str, summary: Summary | None) -> dict[str, Any]:
    if summary is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high", f"{name}_sd", f"{name}_median"))
    low, high = summary.ci95
    return {
        name: summary.mean, f"{name}_low": low, f"{name}_high": high, f"{name}_sd": summary.sd,
        f"{name}_median": summary.median,
    }  # fmt: skip

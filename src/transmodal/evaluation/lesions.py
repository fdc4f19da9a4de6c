"""How lesions fare in a translation: the error inside them, and whether they still stand out from their surroundings.

A lesion is a few thousandths of a brain: a translator that paints it over loses next to nothing in PSNR. Its contrast,
the mean inside minus the mean of a ring of tissue around it, says it at once; the prediction's is told against the
truth's, as "0.05 of 0.15".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.evaluation.intervals import Summary, summarise_columns
from transmodal.evaluation.policy_application import on_common_scale, region_of, scale_of_truth
from transmodal.images import Image, require_same_grid
from transmodal.metrics.policy import Policy

RING = (2.0, 4.0)  # mm from the lesion: beyond its blurred border, still the same tissue
MOST, LABELS = 0.1, 100  # what fills more than this share with more values than these is an image, not a map
VALUES = ("voxels", "mae", "psnr", "contrast", "contrast_truth", "share")
COLUMNS = ("system", "case", "subject", *VALUES)
_MEANT = ("mae", "psnr", "contrast", "contrast_truth", "share")


@dataclass(frozen=True)
class LesionPlaces:
    """Where the lesions of one case are; both masks of the truth's shape.

    Attributes:
        region: where the case is scored; None is everywhere.
        inside: in a lesion and in the region.
        ring: 2 to 4 mm from a lesion, in the region; in voxels of more than 4 mm, their next neighbours.
    """

    region: npt.NDArray[np.bool_] | None
    inside: npt.NDArray[np.bool_]
    ring: npt.NDArray[np.bool_]


def lesion_places(
    truth: Image, lesions: Image, policy: Policy, mask: Image | npt.NDArray[np.bool_] | None = None
) -> LesionPlaces:
    """Find a case's lesions and the tissue around them.

    Args:
        truth: of the case.
        lesions: not 0 in a lesion, on the truth's grid.
        policy: complete.
        mask: as for `score_pair`.

    Raises:
        UserError: the lesions lie on another grid or look like an ordinary image, the truth has channels, or the mask
            is missing or empty.
    """
    require_same_grid(lesions, truth)
    if truth.channels or lesions.channels:
        raise UserError(f"{truth.name} or its lesions have channels; lesions are scored in grey images only")
    region = region_of(truth, policy, mask)
    marked = lesions.pixels != 0
    if marked.mean() > MOST and (values := len(np.unique(lesions.pixels))) > LABELS:
        raise UserError(
            f"{lesions.name} has {values} values and is not 0 in {100 * marked.mean():.0f} % of its pixels: this is no "
            "map of lesions; name a map with --lesions"
        )
    ring = np.zeros(truth.shape, bool)
    spacing = truth.spacing[: truth.spatial_dims]
    outer = max(RING[1], *spacing)
    if marked.any():
        box = tuple(
            slice(max(0, int(where.min() - np.ceil(outer / step))), int(where.max() + np.ceil(outer / step)) + 1)
            for where, step in zip(np.nonzero(marked), spacing, strict=True)
        )
        distance = ndimage.distance_transform_edt(~marked[box], sampling=spacing)
        ring[box] = (distance >= RING[0]) & (distance <= outer)
    if region is not None:
        marked, ring = marked & region, ring & region
    return LesionPlaces(region, marked, ring)


def lesion_values(predicted: Image, truth: Image, places: LesionPlaces, policy: Policy) -> dict[str, float]:
    """Score the lesions of one prediction.

    Args:
        predicted: on the truth's grid.
        truth: of the case.
        places: of its lesions.
        policy: complete; gives scale, clipping and range.

    Returns:
        voxels in lesions; mae and psnr inside them, over all voxels of the case; contrast and contrast_truth, mean
        inside minus mean in the ring, of the prediction and of the truth; share, the first over the second. NaN where
        the case has no lesion, or the lesion no ring.
    """
    found = dict.fromkeys(VALUES, np.nan) | {"voxels": float(places.inside.sum())}
    if not found["voxels"]:
        return found
    scale = scale_of_truth(truth.pixels, policy, places.region, truth.name)
    made, true = (
        on_common_scale(image.pixels, policy, places.region, image.name, scale) for image in (predicted, truth)
    )
    error = made[places.inside].astype(np.float64) - true[places.inside]
    found["mae"] = float(np.abs(error).mean())
    squared = float((error**2).mean())
    if policy.range is not None:
        found["psnr"] = float(10 * np.log10(policy.data_range**2 / squared)) if squared else np.inf
    if places.ring.any():
        found["contrast"], found["contrast_truth"] = (
            float(pixels[places.inside].mean(dtype=np.float64) - pixels[places.ring].mean(dtype=np.float64))
            for pixels in (made, true)
        )
        found["share"] = found["contrast"] / found["contrast_truth"] if found["contrast_truth"] else np.nan
    return found


@dataclass(frozen=True)
class LesionSummary:
    """The lesions of all cases of one system.

    Attributes:
        values: "mae", "psnr", "contrast", "contrast_truth", "share" → summary over the cases with a lesion.
        share: mean contrast over mean contrast of the truth; steadier than the mean of each case's share, which a
            faint lesion makes anything. None where there is no lesion.
        cases: with a lesion.
        without: cases without one, in no mean.
    """

    values: Mapping[str, Summary]
    share: float | None
    cases: int
    without: int

    def to_json(self) -> dict[str, Any]:
        """Return what `summary.json` holds."""
        values = {name: summary.to_json() for name, summary in self.values.items()}
        return {**values, "share_of_means": self.share, "cases": self.cases, "cases_without": self.without}


def summarise_lesions(
    table: pandas.DataFrame, *, aggregation: Any = "subjects", seed: int = 0
) -> dict[str, LesionSummary]:
    """Summarise the lesions of each system, with intervals over subjects.

    Args:
        table: columns COLUMNS, one row a system and case.
        aggregation, seed: as for `intervals.summarise`.
    """
    found = {}
    for system, rows in table.groupby("system", sort=False):
        there = rows[rows["voxels"] > 0]
        values = summarise_columns(
            {name: there[name].to_numpy(np.float64) for name in _MEANT},
            there["subject"].astype(str).tolist(),
            aggregation=aggregation,
            seed=seed,
        )
        made, true = values["contrast"].mean, values["contrast_truth"].mean
        share = made / true if made is not None and true else None
        found[str(system)] = LesionSummary(values, share, len(there), len(rows) - len(there))
    return found

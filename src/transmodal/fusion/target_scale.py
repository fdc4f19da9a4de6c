"""An overlay in which a study's target is seen, though a hot spot elsewhere would set the colour scale."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.fusion.hot_spots import rounded_up
from transmodal.fusion.overlay import Overlay, fuse, hot_spot_of
from transmodal.fusion.regions import RegionWeights, target_of
from transmodal.reporting.figures import plain_number

_COLD = 0.05  # of the top: a colder target than this is not scaled for, all else would be white
_COVERED = 0.5  # of a pixel's area, from which it counts as the target's


def scaled_for_target(overlay: Overlay, weights: RegionWeights, target: str = "") -> tuple[Overlay, str]:
    """Return an overlay whose scale shows the target, and a sentence on it; the same and "" where that needs nothing.

    Args:
        overlay: as `fuse` makes it.
        weights: of all regions.
        target: the region asked about; "" for the one with that role or name, if any.

    Raises:
        UserError: there is no such region.
    """
    name = target_of(weights.names, weights.roles, target)
    anatomy, activity = overlay.backdrop.image, overlay.activity
    given = overlay.settings.upper is not None
    if not name or given or hot_spot_of(activity, overlay.series, anatomy, overlay.registration) is None:
        return overlay, ""
    upper = top_for(weights.weights[weights.number(name)], activity.values, overlay.upper)
    if upper is None:
        return overlay, ""
    scaled = fuse(anatomy, overlay.series, overlay.registration, replace(overlay.settings, upper=upper))
    top = f"{plain_number(upper)} {activity.unit} in a nuclear pixel"
    return scaled, f" Scaled for {name}: the top of the colours is {top}; hotter places look alike."


def top_for(target: npt.NDArray[np.floating[Any]], values: npt.NDArray[np.floating[Any]], top: float) -> float | None:
    """Return a top of the scale with which a target is seen; None where it is seen, or is too cold for any.

    Args:
        target: (H, W), the share of each nuclear pixel's area inside the target, 0 to 1.
        values: (H, W), their activity.
        top: the greatest of it.
    """
    own = values[target >= min(_COVERED, float(target.max(initial=0.0)))] if target.any() else values[:0]
    if not own.size:
        return None
    wanted = float(np.percentile(own, 95))
    return rounded_up(wanted) if _COLD * top < wanted < top / 2 else None

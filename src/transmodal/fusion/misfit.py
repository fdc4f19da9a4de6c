"""Where a curve does not follow its frames: that is said beside its numbers, and beyond a limit they have no interval.

χ² / ν, χ² by its degrees of freedom, is the mean square of what lies between frames and curve, in units of their
counting errors. Profiles are widened by its root, which is right where frames scatter independently of each other: a
dead time, an animal that moves a little. Beyond 10 the typical frame lies more than three of its own errors off the
curve. That is no scatter but another shape, neighbouring frames lie on the same side of it, and no width of an
interval about a quantity of the wrong curve holds the true one in 95 of 100 studies. So none is given.
"""

import math
from dataclasses import replace

from transmodal.fusion.estimates import Estimate
from transmodal.fusion.fit_areas import Area
from transmodal.fusion.kinetic_fit import WIDER, KineticFit

NOTED = 3.0
"""χ² / ν from which the misfit stands beside the numbers."""
WITHHELD = 10.0
"""χ² / ν from which numbers have no interval."""


def misfit(fitted: KineticFit) -> float:
    """Return χ² by its degrees of freedom; NaN without a fit."""
    return fitted.chi2 / fitted.freedom if fitted.model and fitted.freedom > 0 else math.nan


def misfit_note(fitted: KineticFit) -> str:
    """Return what stands beside a number of this fit, in lower case; "" where the curve follows its frames."""
    size = misfit(fitted)
    if size > WITHHELD:
        return f"the model does not hold (χ²/ν {size:.0f}): no interval"
    if size > NOTED:
        return f"the curve misses its frames by more than counting explains (χ²/ν {size:.1f})"
    return ""


def held(fitted: KineticFit) -> KineticFit:
    """Return the fit without intervals and bounds where its model does not hold; the same fit where it does."""
    if not misfit(fitted) > WITHHELD:
        return fitted
    note = misfit_note(fitted)
    area = fitted.area
    if area is not None:
        area = Area(
            _bare(area.observed, note), area.trapezoid, area.before, _bare(area.tail, note), _bare(area.total, note),
            area.tail_share, _bare(area.decaying, note),
        )  # fmt: skip
    said = [line for line in fitted.said if line != WIDER]
    line = f"{note[0].upper()}{note[1:]} is given."
    return replace(
        fitted,
        estimates={name: _bare(each, note) for name, each in fitted.estimates.items()},
        at={time: _bare(each, note) for time, each in fitted.at.items()},
        area=area,
        said=tuple(dict.fromkeys((*said, line))),
    )


def _bare(estimate: Estimate, note: str) -> Estimate:
    if estimate.note.endswith(note):
        return estimate
    own = "" if estimate.how == "delta method" else estimate.note  # which speaks of the interval
    return Estimate(estimate.value, None, None, estimate.unit, "", "; ".join(filter(None, (own, note))))

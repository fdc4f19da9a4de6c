"""Radioactive decay in closed form. Times in seconds, activities in any unit.

Textbook definitions: A(t) = A₀·exp(−λt), λ = ln 2 / T½; a frame of length Δt counts its mean activity, which is that at
its start times (1 − exp(−λΔt)) / (λΔt).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def decay_constant(half_life: float) -> float:
    """Return λ = ln 2 / T½ in 1/s."""
    return math.log(2.0) / half_life


def remaining(half_life: float, elapsed: npt.ArrayLike) -> Any:
    """Return the share of an activity that is left after `elapsed` seconds; above 1 before time 0."""
    return np.exp2(-np.asarray(elapsed, dtype=np.float64) / half_life)


def mean_over(half_life: float, starts: npt.ArrayLike, durations: npt.ArrayLike) -> Any:
    """Return the mean of exp(−λt) over each frame: from `starts`, for `durations` seconds (0 is a moment)."""
    rate = decay_constant(half_life)
    shrink = -np.expm1(-rate * np.asarray(durations, dtype=np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.where(shrink > 0, shrink / (rate * np.asarray(durations, dtype=np.float64)), 1.0)
    return remaining(half_life, starts) * within


def to_injection(half_life: float, starts: npt.ArrayLike, durations: npt.ArrayLike) -> Any:
    """Return the factors that bring the mean activity of frames back to time 0, the injection.

    For a substance that stays where it is this is exact: exp(λt)·λΔt / (1 − exp(−λΔt)).
    """
    return 1.0 / mean_over(half_life, starts, durations)


def effective_half_life(biological: float, physical: float) -> float:
    """Return T_eff from 1/T_eff = 1/T_bio + 1/T_phys; an infinite biological one gives the physical one."""
    return 1.0 / (1.0 / biological + 1.0 / physical)


def biological_half_life(effective: float, physical: float) -> float:
    """Return T_bio from 1/T_bio = 1/T_eff − 1/T_phys; infinity where nothing leaves, negative where more comes in."""
    difference = 1.0 / effective - 1.0 / physical
    return math.inf if difference == 0 else 1.0 / difference

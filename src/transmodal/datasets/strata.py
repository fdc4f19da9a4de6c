"""Strata of samples by the size of their lesions, drawn equally: small lesions as often as large ones.

In a data base as it comes, most slices show whatever size is commonest; a network then learns the others badly.
Boursier (2021) trains on a data base stratified by the area of the tumour, < 50, 50 to 100, > 100 mm², beside the
reference one. Those are the sizes everywhere: an edge belongs to the size above it, the last of several to the one
below.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

EDGES = (50.0, 100.0)
EMPTY = -1
_DECIMALS = 6  # of mm²: pixels of 0.1 × 0.1 mm add up to 99.99999999999999 or to 100, which must be one size


class StrataSettings(BaseModel):
    """How samples are stratified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[float, ...] = Field(EDGES, min_length=1, description="between the strata, in mm² of lesion in a slice")
    empty: float | None = Field(
        None, ge=0, lt=1, description="share of samples without a lesion; null: as many as the data have"
    )

    @field_validator("edges")
    @classmethod
    def _rise(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if list(edges) != sorted(set(edges)) or edges[0] <= 0:
            raise ValueError(f"edges must rise and be above 0, not {list(edges)}")
        return edges


def lesion_area(
    labels: npt.NDArray[np.integer], numbers: Collection[int] | None, spacing: Sequence[float] | None
) -> float:
    """Return the area of lesion in a sample, in mm²; of a volume that of the axial slice with the most.

    Args:
        labels: (rows, columns) or (i, j, k) with k from slice to slice, prepared numbers.
        numbers: of these that are lesions; None takes all above 0.
        spacing: mm along the axes; None counts pixels.
    """
    lesion = labels > 0 if numbers is None else np.isin(labels, list(numbers))
    pixels = lesion.sum() if labels.ndim == 2 else lesion.sum((0, 1)).max(initial=0)
    return float(pixels) * (float(np.prod(spacing[:2])) if spacing is not None else 1.0)


def stratum_of(area: float, edges: Sequence[float]) -> int:
    """Return which stratum an area is in, from 0; EMPTY without a lesion.

    Between edges of 50 and 100 both belong to the middle one; see `size_names`.
    """
    if not area > 0:
        return EMPTY
    size = round(area, _DECIMALS)
    if len(edges) < 2:
        return sum(size >= edge for edge in edges)
    return sum(size >= edge for edge in edges[:-1]) + (size > edges[-1])


def size_names(edges: Sequence[float]) -> list[str]:
    """Return the names of the strata that edges make: "< 50", "50 to 100", "> 100"; without edges there is one."""
    if not edges:
        return ["any size"]
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"< {edges[0]:g}", *between, f"{'>' if between else '≥'} {edges[-1]:g}"]


def stratified_order(
    strata: npt.NDArray[np.integer], generator: np.random.Generator, empty: float | None = None
) -> npt.NDArray[np.intp]:
    """Return an order of as many samples as there are, in which every stratum with samples comes equally often.

    A stratum with few samples gives each of them several times, one with many some of them; each epoch draws anew.

    Args:
        strata: of each sample, EMPTY without a lesion.
        generator: the only source of randomness.
        empty: share of samples without a lesion; None keeps that of the data.
    """
    samples = len(strata)
    present = [int(stratum) for stratum in np.unique(strata) if stratum != EMPTY]
    without = np.flatnonzero(strata == EMPTY)
    number = len(without) if empty is None else round(samples * empty) if len(without) else 0
    number = number if present else samples
    quotas = np.full(len(present), (samples - number) // max(1, len(present)))
    # What does not divide goes to strata drawn by lot, so that none is favoured over the epochs.
    quotas[generator.permutation(len(present))[: samples - number - int(quotas.sum())]] += 1
    parts = [_drawn(without, number, generator)]
    parts += [
        _drawn(np.flatnonzero(strata == stratum), int(quota), generator)
        for stratum, quota in zip(present, quotas, strict=True)
    ]
    return generator.permutation(np.concatenate(parts))


def _drawn(members: npt.NDArray[np.intp], number: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw members as equally often as can be: all of them, again and again, each time in another order."""
    if not number or not len(members):
        return members[:0]
    rounds = -(-number // len(members))
    return np.concatenate([generator.permutation(members) for _ in range(rounds)])[:number]

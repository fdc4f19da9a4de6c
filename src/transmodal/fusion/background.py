"""Background of a region's counts: from another region, from a ring around it, or a constant rate.

Net counts are C_region − C_background·n_region / n_background, with the Poisson variance C_region +
C_background·(n_region / n_background)². Pixels that are partly inside count by their share w; the variance of Σ w·c is
then Σ w²·c, which is the same where all shares are 0 or 1, and remains true where the two overlap. Counts below zero
are kept, but have no Poisson variance: their size |c| stands for it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from transmodal.errors import UserError
from transmodal.fusion.areas import cover
from transmodal.fusion.regions import RegionWeights, Weights

Array = npt.NDArray[np.float64]
_FINER = 4  # cells of a pixel, each way, in which distances are measured
BODY = ("soft tissue", "body", "whole body")
SURROUNDINGS = (*BODY, "background", "muscle")
"""Regions that surround others: a ring may lie in them, and they are no place where a compound goes."""


@dataclass(frozen=True)
class Background:
    """How background is found.

    Attributes:
        how: "none"; "region", see `region`; "ring" around each region; or "constant", see `rate`.
        region: the background region; "" for the one whose role it is.
        gap: from the region to its ring, mm; wide enough that the blur of the camera does not reach over it.
        width: of the ring, mm.
        inside: regions within which the ring stays, so that it does not reach into the air; empty: the whole field.
        rate: counts a second in each pixel.
    """

    how: Literal["none", "region", "ring", "constant"] = "none"
    region: str = ""
    gap: float = 2.0
    width: float = 2.0
    inside: tuple[str, ...] = ()
    rate: float = 0.0

    def __post_init__(self) -> None:
        if self.how not in ("none", "region", "ring", "constant"):
            raise UserError(f"background is none, region, ring or constant, not {self.how!r}")
        if not (self.gap >= 0 and 0 < self.width < np.inf and 0 <= self.rate < np.inf):
            raise UserError(
                f"background: a gap of {self.gap:g} mm, a width of {self.width:g} mm and a rate of {self.rate:g} "
                "counts a second; give a gap from 0, a width above 0, a rate from 0"
            )

    def describe(self, name: str = "") -> str:
        """Return the rule in words; `name` is that of the background region that was found."""
        return {
            "none": "no background was taken off",
            "region": f"the region {name or self.region or 'whose role is background'}",
            "ring": f"a ring around each region, from {self.gap:g} to {self.gap + self.width:g} mm away, without other "
            f"regions{' and within ' + ', '.join(self.inside) if self.inside else ''}",
            "constant": f"a constant {self.rate:g} counts a second in each pixel, taken as exact",
        }[self.how]


@dataclass(frozen=True, eq=False)
class Corrected:
    """Counts of one region in every frame, (F,) each.

    Attributes:
        counts: within the region.
        background: what lies over the same area beside it; 0 without background.
        background_sd: of that.
        net: the difference; negative values are kept.
        sd: of the net counts, Poisson.
        weight: variance of a count in the region, 1 where all pixels are wholly inside.
        is_corrected: whether there was a background to take off; a rate of 0 is none.
    """

    counts: Array
    background: Array
    background_sd: Array
    net: Array
    sd: Array
    weight: float
    is_corrected: bool


def background_name(rule: Background, regions: RegionWeights) -> str:
    """Return the region that serves as background; "" where none does.

    Raises:
        UserError: it is asked for and not there.
    """
    if rule.how != "region":
        return ""
    if rule.region:
        return regions.names[regions.number(rule.region)]
    named = [name for name, role in zip(regions.names, regions.roles, strict=False) if role == "background"]
    if not named:
        raise UserError("no region has the role background; name one, or take a ring or a constant")
    return named[0]


def fine_masks(regions: RegionWeights) -> list[npt.NDArray[np.bool_]]:
    """Return each region on quarter pixels, in which `ring_around` measures distances."""
    shape = regions.weights.shape[1:]
    finer = (shape[0] * _FINER, shape[1] * _FINER)
    return [cover(outline * _FINER, finer) >= 0.5 for outline in regions.outlines]


def ring_around(
    regions: RegionWeights, number: int, rule: Background, masks: list[npt.NDArray[np.bool_]] | None = None
) -> Weights:
    """Return the weights of a ring around one region, (H, W) in 0…1.

    Distances are measured on quarter pixels. Other regions are left out, but for those that surround and those whose
    role is background. `masks` are those of `fine_masks`, for many rings. It may be that nothing is left.
    """
    shape = regions.weights.shape[1:]
    masks = fine_masks(regions) if masks is None else masks
    own = masks[number]
    if not own.any():  # smaller than a quarter of a pixel
        own = regions.weights[number].repeat(_FINER, 0).repeat(_FINER, 1) > 0
    away = ndimage.distance_transform_edt(~own, sampling=[length / _FINER for length in regions.spacing])
    away -= sum(regions.spacing) / 4 / _FINER  # from the outline, not from the middle of its last cell
    ring = (away > rule.gap) & (away <= rule.gap + rule.width)
    surrounding = {
        place
        for place, name in enumerate(regions.names)
        if name in (*SURROUNDINGS, *rule.inside) or (regions.roles and regions.roles[place] == "background")
    }
    for place, mask in enumerate(masks):
        if place != number and place not in surrounding:
            ring &= ~mask
    if rule.inside:
        ring &= np.any([masks[regions.number(name)] for name in rule.inside], axis=0)
    return np.asarray(ring.reshape(shape[0], _FINER, shape[1], _FINER).mean(axis=(1, 3)), dtype=np.float64)


def taken_off(
    frames: npt.NDArray[np.float64], regions: RegionWeights, rule: Background, durations: Array | None = None
) -> tuple[list[Corrected], list[str]]:
    """Take the background off the counts of every region; return them with lines of what a user should know.

    The background region itself, and with a ring the regions that surround others, keep their counts as they are, as
    does a region around which nothing of its ring is left.

    Args:
        frames: (F, H, W) counts.
        regions: all.
        rule: how.
        durations: (F,) s, for a constant rate.

    Raises:
        UserError: as `background_name`; there is no ring around any region; a constant rate without durations.
    """
    beside_name = background_name(rule, regions)
    masks = fine_masks(regions) if rule.how == "ring" else []
    taken, empty, said = [], [], []
    for place, name in enumerate(regions.names):
        own, beside = rule if name != beside_name else Background(), None
        if rule.how == "ring":
            beside = None if name in (*SURROUNDINGS, *rule.inside) else ring_around(regions, place, rule, masks)
            if beside is not None and not beside.any():
                beside = None
                empty.append(name)
        elif rule.how == "region" and name != beside_name:
            beside = regions.weights[regions.number(beside_name)]
        taken.append(corrected(frames, regions.weights[place], own, beside, durations))
    if empty:
        where = f"the background ring {rule.gap:g} to {rule.gap + rule.width:g} mm away"
        remedy = "make it wider or nearer, or name a background region"
        if not any(each.is_corrected for each in taken):
            raise UserError(f"nothing is left of {where} around {', '.join(empty)}; {remedy}")
        said.append(f"{', '.join(empty)}: nothing is left of {where}, so no background is taken off; {remedy}.")
    return taken, said


def corrected(
    frames: npt.NDArray[np.float64],
    weights: Weights,
    rule: Background,
    beside: Weights | None = None,
    durations: Array | None = None,
) -> Corrected:
    """Take the background off the counts of one region.

    Args:
        frames: (F, H, W) counts.
        weights: of the region, (H, W).
        rule: how.
        beside: weights of the background region or ring; None with "none" and "constant".
        durations: (F,) s, for a constant rate.

    Raises:
        UserError: a constant rate is asked for and the frames have no durations.
    """
    pixels = frames.reshape(len(frames), -1)
    inside = weights.ravel()
    counts, sizes = pixels @ inside, np.abs(pixels)
    of_all = sizes.sum(0)
    weight = float(of_all @ inside**2 / (of_all @ inside)) if of_all @ inside > 0 else 1.0
    if beside is not None:
        scaled = beside.ravel() * (inside.sum() / beside.sum())
        background, spread = pixels @ scaled, np.sqrt(sizes @ scaled**2)
        variance = sizes @ (inside - scaled) ** 2
    else:
        background, spread = np.zeros(len(frames)), np.zeros(len(frames))
        if rule.how == "constant":
            if durations is None:
                raise UserError("a constant background is counts a second, but the frames have no durations; give them")
            background = rule.rate * durations * inside.sum()
        variance = sizes @ inside**2
    is_corrected = beside is not None or (rule.how == "constant" and rule.rate > 0)
    return Corrected(counts, background, spread, counts - background, np.sqrt(variance), weight, is_corrected)

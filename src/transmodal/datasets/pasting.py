"""Lesions of one subject pasted into the image of another: more places and surroundings than few subjects have.

As Yang et al. ("TumorCP", MICCAI 2021) do for tumours of the kidney: a lesion of another training sample, turned and
scaled by that sample's own augmentation, replaces what lies at a random place, in the images and in the label map.
Edges are soft, as the partial volumes of real ones. An opacity below 1 lets what was there shine through, as lesions of
ground glass do.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.ndimage import gaussian_filter

from transmodal.datasets.batch_keys import LABELS

Pixels = NDArray[np.float32]

TRIES = 8  # places, until one is found where the lesion can be seen
SEEN = 0.5  # share of the lesion's pixels that must differ from what was there


class PasteSettings(BaseModel):
    """How often lesions are pasted, and how they look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="that a lesion of another subject is tried, in samples without one too; where none of 8 places "
        "suits, the sample stays as it is",
    )
    opacity: tuple[float, float] = Field(
        (1.0, 1.0), description="between these is drawn what the lesion counts against what was there"
    )
    softness: float = Field(1.0, ge=0, description="of the edge: standard deviation of a Gaussian, pixels")
    contrast: float = Field(
        0.2,
        ge=0,
        le=2,
        description="in prepared units, of which an image has 2: by so much half of the lesion must differ from what "
        "was there, in one input at least; 0 pastes anywhere",
    )

    @field_validator("opacity")
    @classmethod
    def _is_a_range(cls, opacity: tuple[float, float]) -> tuple[float, float]:
        if not 0 < opacity[0] <= opacity[1] <= 1:
            raise ValueError(f"opacity must be a range in (0, 1], not {list(opacity)}")
        return opacity


def paste_lesion(
    arrays: Mapping[str, Pixels],
    donor: Mapping[str, Pixels],
    *,
    inputs: Sequence[str],
    lesions: Collection[int] | None,
    ground: Collection[int] | None,
    settings: PasteSettings,
    generator: np.random.Generator,
) -> dict[str, Pixels]:
    """Paste the lesions of one sample into another.

    Args:
        arrays: inputs as (channels, *spatial) float32 in [-1, 1], and LABELS as (1, *spatial) whole numbers; not
            changed. Other entries, such as a region, stay.
        donor: the same of another sample, of any spatial shape.
        inputs: modalities of both.
        lesions: numbers of LABELS that are lesions; None takes all above 0.
        ground: numbers of LABELS on which alone a lesion may lie, what reaches beyond being cut off; None is anywhere.
        settings: of the paste, its probability aside.
        generator: of place and opacity.

    Returns:
        New arrays; those given where the donor has no lesion, or none of 8 places lets it be seen.
    """
    labels = donor[LABELS][0]
    lesion = labels > 0 if lesions is None else np.isin(labels, list(lesions))
    if not lesion.any():
        return dict(arrays)
    allowed = None if ground is None else np.isin(arrays[LABELS][0], list(ground))
    margin = int(np.ceil(2 * settings.softness))
    box = _box(lesion, margin)
    lesion, weight = lesion[box], _soft(lesion[box], settings.softness, margin)
    weight *= np.float32(generator.uniform(*settings.opacity))
    for centre in _centres(arrays[LABELS].shape[1:], allowed, generator):
        inner, outer = _overlap(centre, lesion.shape, arrays[LABELS].shape[1:])
        covered, share = lesion[inner], weight[inner]
        if allowed is not None:
            covered, share = covered & allowed[outer], share * allowed[outer]
        if not covered.any():
            continue
        mixed, seen = {}, np.zeros(covered.shape, bool)
        for name in inputs:
            under, over = arrays[name][(slice(None), *outer)], donor[name][(slice(None), *box)][(slice(None), *inner)]
            mixed[name] = under * (1 - share) + over * share
            seen |= np.abs(mixed[name] - under).max(axis=0) >= settings.contrast
        if seen[covered].mean() < SEEN:
            continue
        pasted = {name: np.array(array) for name, array in arrays.items()}
        for name, part in mixed.items():
            pasted[name][(slice(None), *outer)] = part
        pasted[LABELS][0][outer][covered] = labels[box][inner][covered]
        return pasted
    return dict(arrays)


def _centres(
    shape: Sequence[int], allowed: NDArray[np.bool_] | None, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Draw places to be tried, of those that are allowed."""
    places = None if allowed is None else np.flatnonzero(allowed)
    if places is not None and not len(places):
        return
    for _ in range(TRIES):
        if places is None:
            yield [int(generator.integers(size)) for size in shape]
        else:
            place = int(places[int(generator.integers(len(places)))])
            yield [int(along) for along in np.unravel_index(place, tuple(shape))]


def _soft(lesion: NDArray[np.bool_], softness: float, margin: int) -> Pixels:
    """Return a mask with soft edges, as if there were background around it."""
    blurred: Pixels = gaussian_filter(np.pad(lesion.astype(np.float32), margin), softness)
    return np.array(blurred[tuple(slice(margin, margin + size) for size in lesion.shape)])


def _box(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """Return the box around a mask, with a margin where there is room."""
    places = np.nonzero(mask)
    return tuple(
        slice(max(0, int(along.min()) - margin), min(size, int(along.max()) + 1 + margin))
        for along, size in zip(places, mask.shape, strict=True)
    )


def _overlap(
    centre: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return what of a box lies in an image when its middle lies at `centre`: in the box, and in the image."""
    inner, outer = [], []
    for middle, length, whole in zip(centre, size, shape, strict=True):
        start = middle - length // 2
        low, high = max(0, start), min(whole, start + length)
        inner.append(slice(low - start, high - start))
        outer.append(slice(low, high))
    return tuple(inner), tuple(outer)

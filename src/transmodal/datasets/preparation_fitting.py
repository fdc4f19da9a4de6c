"""Fit a preparation on the training cases of a recipe: intensity maps, file types, what lies outside the region."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transmodal.datasets.label_classes import LabelClasses
from transmodal.datasets.labels import require_label_map
from transmodal.datasets.manifest import CaseFiles
from transmodal.datasets.preparation import ModalityPreparation, Preparation, PreparationSettings, told_channels
from transmodal.datasets.regions import CaseRegions
from transmodal.errors import UserError, nearest
from transmodal.images import Image, read
from transmodal.images.intensity import FittedMap
from transmodal.images.intensity_fitting import fit
from transmodal.images.intensity_settings import IntensitySettings

OWN_SCALE = ("image-percentiles", "z-score", "nyul", "white-stripe")  # maps by the image itself, whatever its type
MIXED_TYPES = (*OWN_SCALE, "fixed")  # a range in a unit (HU) holds whatever type the values have
_LOOKED_AT = 10  # training images tell what their background is


def fit_preparation(
    settings: PreparationSettings,
    cases: Sequence[CaseFiles],
    modalities: Sequence[str],
    spatial_dims: Literal[2, 3],
    *,
    inputs: Sequence[str] = (),
    labels: Mapping[str, LabelClasses] | None = None,
    on_case: Callable[[], None] = lambda: None,
) -> Preparation:
    """Fit a preparation on training cases.

    Args:
        settings: the recipe's.
        cases: training cases only; each modality is in at least one of them.
        modalities: inputs and targets.
        spatial_dims: of the network.
        inputs: where a region is looked for, as `prepare_cases` does; empty means all modalities.
        labels: which of the modalities are label maps, and what their values mean; they have no intensity map.
        on_case: called after each file, for a progress bar.

    Raises:
        UserError: no case, unknown modality in `settings.intensity`, files of one modality that differ in channels or
            type, NaN, constant images; with a region that is not "nonzero", images of a case on different grids.
    """
    if not cases:
        raise UserError("There is no training case to fit the preparation on; check the split column")
    label_maps = labels or {}
    _require_images(settings.intensity, modalities, label_maps)
    regions = None if settings.region is None else CaseRegions(settings.region, inputs or modalities)
    prepared = {
        modality: _label_map(cases, modality, label_maps[modality], on_case)
        if modality in label_maps
        else _image(cases, modality, settings.intensity.get(modality, IntensitySettings()), regions, on_case)
        for modality in modalities
    }
    return Preparation(
        spatial_dims=spatial_dims,
        grid=settings.grid,
        slices=settings.slices,
        region=settings.region,
        modalities=prepared,
    )


def _require_images(named: Iterable[str], modalities: Sequence[str], labels: Mapping[str, LabelClasses]) -> None:
    """Raise a UserError where a recipe names an intensity map for what is no image of it."""
    for modality in named:
        if modality in labels:
            raise UserError(f"preparation.intensity names {modality!r}, which is a label map here; leave it out")
        if modality not in modalities:
            raise UserError(
                f"preparation.intensity names {modality!r}, which is neither input nor target of the recipe; "
                f"{nearest(modality, modalities)}"
            )


def _image(
    cases: Sequence[CaseFiles],
    modality: str,
    chosen: IntensitySettings,
    regions: CaseRegions | None,
    on_case: Callable[[], None],
) -> ModalityPreparation:
    """Describe an image modality by the training files."""
    seen, types = list[Image](), set[str]()
    # Reads lazily: one image in memory at a time.
    pixels = _training_pixels(cases, modality, regions, seen, on_case, types, mixed=chosen.map in MIXED_TYPES)
    fitted = fit(chosen, pixels, modality)
    first = seen[0] if seen else read(next(case.files[modality] for case in cases if modality in case.files))
    return ModalityPreparation(
        channels=first.channels,
        intensity=fitted,
        dtype=first.pixels.dtype.name if len(types) < 2 else "float32",
        quantity=first.quantity,
        format=first.source.format,
        background=_background(cases, modality, fitted, regions),
    )


def _label_map(
    cases: Sequence[CaseFiles], modality: str, classes: LabelClasses, on_case: Callable[[], None]
) -> ModalityPreparation:
    """Describe a label map by the training files; a class that is in none of them cannot be learnt."""
    found: set[int] = set()
    formats: list[str] = []
    for case in cases:
        if modality not in case.files:
            continue
        image = read(case.files[modality])
        require_label_map(image)
        found |= {int(value) for value in np.unique(image.pixels)}
        formats.append(image.source.format)
        on_case()
    if not formats:
        raise UserError(f"No training case has {modality}; check the split column")
    for each in classes.classes:
        if not (found & set(each.values) if each.values else found - {0}):
            there = ", ".join(map(str, sorted(found)))
            raise UserError(
                f"No training label map of {modality} has {each.name} ({list(each.values)}); they hold {there}; mend "
                "segmentation.classes"
            )
    greatest = max(each.value for each in classes.classes)
    origin = f"a label map: {classes.describe()}"
    return ModalityPreparation(
        channels=(),
        intensity=FittedMap(kind="one-range", low=0.0, high=float(greatest), origin=origin),
        dtype="uint8" if greatest <= 255 else "uint16",
        quantity="label",
        format=formats[0],
        labels=classes,
    )


def _training_pixels(
    cases: Iterable[CaseFiles],
    modality: str,
    regions: CaseRegions | None,
    seen: list[Image],
    on_case: Callable[[], None],
    types: set[str],
    *,
    mixed: bool,
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
    """Yield a modality's training images; `types` gathers their pixel types, which must be one unless `mixed`."""
    for case in cases:
        if modality not in case.files:
            continue
        image = read(case.files[modality])
        if not seen:
            seen.append(image)
        first = seen[0]
        types.add(image.pixels.dtype.name)
        if image.channels != first.channels or (len(types) > 1 and not mixed):
            remedy = "leave one kind out"
            if image.channels == first.channels:
                remedy = f"where values have no unit (MRI), set preparation.intensity.{modality}.map: image-percentiles"
            raise UserError(
                f"{modality} images differ: {first.name} has {told_channels(first.channels)} of {first.pixels.dtype}, "
                f"{image.name} {told_channels(image.channels)} of {image.pixels.dtype}; {remedy}"
            )
        if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
            raise UserError(f"{image.name} has NaN or infinite pixels; replace them before training")
        # Where `prepare` will look, or a map would be fitted on other values than those it is applied to.
        looks = regions is not None and regions.settings.guides_maps(regions.settings.modality in case.files)
        region = regions.of(case, image, modality) if regions is not None and looks else None
        on_case()
        yield image.pixels, region


def _background(
    cases: Sequence[CaseFiles], modality: str, fitted: FittedMap, regions: CaseRegions | None
) -> float | None:
    """Return what the first training images have outside their regions; None where that does not matter."""
    ends = fitted.inverse
    if regions is None or not regions.settings.apply or ends.low >= 0:
        return None
    medians = []
    for case in [case for case in cases if modality in case.files][:_LOOKED_AT]:
        image = read(case.files[modality])
        outside = image.pixels[~regions.of(case, image, modality)]
        if outside.size:
            medians.append(np.median(outside))
    return float(np.clip(np.median(medians), ends.low, ends.high)) if medians else None

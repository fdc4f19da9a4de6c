"""Preparation: a file's image onto the network's grid and into [-1, 1], and all the way back.

The preparation is described in a recipe (`PreparationSettings`), fitted on training cases only (`fit_preparation`) and
then travels inside the translator's card, so that a translator undoes exactly what its training did.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from nibabel import orientations
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from scipy import ndimage

from transmodal.datasets.label_classes import LabelClasses, Masks
from transmodal.datasets.labels import LabelSettings
from transmodal.datasets.manifest import CaseFiles, nearest
from transmodal.datasets.regions import CaseRegions, RegionSettings, region_of_case
from transmodal.datasets.resizing import nearest_stack, resize_stack
from transmodal.errors import UserError
from transmodal.images import Image, read
from transmodal.images.intensity import FittedMap
from transmodal.images.intensity_fitting import fit
from transmodal.images.intensity_settings import IntensitySettings
from transmodal.images.tails import stretch_tails

Prepared = npt.NDArray[np.float32]
"""(samples, channels, *spatial): one sample for a picture, one a slice for a sliced volume."""

# Array axes of a slice stack (slice, row, column) in patient directions: shown upright, patient's right on the left.
SLICE_ORIENTATION = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
VOLUME_ORIENTATION = "RAS"
OWN_SCALE = ("image-percentiles", "z-score", "nyul", "white-stripe")  # maps by the image itself, whatever its type
_AT_ONCE = 16  # slices whose probabilities are in memory together
MIXED_TYPES = (*OWN_SCALE, "fixed")  # a range in a unit (HU) holds whatever type the values have
_LOOKED_AT = 10  # training images tell what their background is


class GridSettings(BaseModel):
    """The grid a network sees. At most one of the three; none keeps the files' own grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shrink: float | None = Field(None, gt=0, description="divide every side by this factor")
    spacing: float | None = Field(None, gt=0, description="pixel size in mm, the same along all axes")
    size: tuple[int, ...] | None = Field(None, description="(rows, columns) or (i, j, k) in pixels")

    @model_validator(mode="after")
    def _is_one_choice(self) -> "GridSettings":
        if sum(choice is not None for choice in (self.shrink, self.spacing, self.size)) > 1:
            raise ValueError("give one of shrink, spacing and size; set the others to null")
        if self.size is not None and (len(self.size) not in (2, 3) or min(self.size) < 1):
            raise ValueError("size must be two or three positive numbers of pixels")
        return self

    def shape_for(self, shape: tuple[int, ...], spacing: tuple[float, ...], has_physical_size: bool) -> tuple[int, ...]:
        """Return the prepared shape of an image of this shape and spacing (mm).

        Raises:
            UserError: a spacing is asked of images that have no physical size, or the size has other dimensions.
        """
        if self.size is not None:
            if len(self.size) != len(shape):
                raise UserError(f"preparation.grid.size has {len(self.size)} numbers for images of {len(shape)} axes")
            return self.size
        if self.spacing is not None:
            if not has_physical_size:
                raise UserError(
                    "preparation.grid.spacing needs images with a pixel size; give them one, or use grid.shrink"
                )
            return tuple(max(1, round(n * step / self.spacing)) for n, step in zip(shape, spacing, strict=True))
        if self.shrink is not None:
            return tuple(max(1, round(n / self.shrink)) for n in shape)
        return shape


class SliceSettings(BaseModel):
    """How a volume becomes slices for a two-dimensional network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    minimum_foreground: float = Field(
        0.05, ge=0, le=1, description="share of non-zero pixels in every modality for a slice to be trained on"
    )
    neighbours: int = Field(0, ge=0, le=8, description="slices on each side that an input brings along (2.5-D)")


class PreparationSettings(BaseModel):
    """How files are made ready for a network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: GridSettings = GridSettings()
    slices: SliceSettings | None = None
    region: RegionSettings | None = None
    intensity: dict[str, IntensitySettings] = Field(default_factory=dict, description="by modality; absent: map auto")


class ModalityPreparation(BaseModel):
    """What training learnt about one modality's files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[str, ...] = Field(description="names along the channel axis; empty for grey images")
    intensity: FittedMap
    dtype: str = Field(description="numpy type of the training files, which outputs take")
    quantity: str
    format: str = Field(description="file format of the training files")
    background: float | None = Field(
        None,
        description="what training files hold outside the region, within the map's range; None: not measured",
    )
    labels: LabelClasses | None = Field(None, description="of a label map: what its values mean; None: an image")

    @property
    def outside(self) -> float:
        """The value of outputs outside the region, within the map's range: -1000 HU of a CT, 0 of a stripped brain."""
        ends = self.intensity.inverse
        if self.background is not None:
            return self.background
        # An image's own map has no unit: there only a background of 0 is likely.
        return 0.0 if ends.low >= 0 or self.intensity.depends_on_image else ends.low

    @field_validator("dtype")
    @classmethod
    def _is_a_number_type(cls, name: str) -> str:
        try:
            kind = np.dtype(name).kind
        except TypeError as error:
            raise ValueError(f"{name!r} is no numpy type") from error
        if kind not in "buif":
            raise ValueError(f"pixels cannot be of type {name!r}")
        return name

    @property
    def channel_count(self) -> int:
        """Channels a network sees: 1 for grey images; of a label map, the classes that it makes."""
        return max(1, len(self.channels)) if self.labels is None else len(self.labels.names)


class Preparation(BaseModel):
    """A fitted preparation: applied to images on the way in, inverted on the way out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spatial_dims: Literal[2, 3]
    grid: GridSettings
    slices: SliceSettings | None
    region: RegionSettings | None = None
    modalities: dict[str, ModalityPreparation]

    def prepare(self, image: Image, modality: str, looked_at: npt.NDArray[np.bool_] | None = None) -> Prepared:
        """Return the image on the network's grid in [-1, 1]: float32 (samples, channels, *spatial).

        Args:
            image: of the modality.
            modality: one that the preparation was fitted on.
            looked_at: from `looked_at`: where intensity maps look; None: as their settings say.

        Raises:
            UserError: other channels than in training, another pixel type where the map belongs to one, NaN, or a
                dimension that does not fit.
        """
        expected = self.modalities[modality]
        if image.channels != expected.channels:
            raise UserError(
                f"{image.name} has {_channels(image.channels)} but {modality} was trained on "
                f"{_channels(expected.channels)}; convert it first, nothing is converted silently"
            )
        dtype, trained = image.pixels.dtype, expected.intensity.dtype
        if trained is not None and dtype.name != trained:
            raise UserError(
                f"{image.name} has {dtype.name} pixels but {modality} was trained on {trained}, whose values mean "
                f"something else; convert it to {trained} (0 to {np.iinfo(trained).max}) first"
            )
        if dtype.kind == "f" and not np.isfinite(image.pixels).all():
            raise UserError(f"{image.name} has NaN or infinite pixels; replace them before use")
        self._check_dimensions(image)
        mapped = expected.intensity.for_image(image.pixels, looked_at).apply(image.pixels)
        stack = self._to_stack(mapped if image.channels else mapped[..., None], image.affine)
        prepared = resize_stack(stack, self.prepared_shape(image))
        return np.clip(prepared, -1.0, 1.0, out=prepared)  # cubic interpolation overshoots

    def cuts(self, images: Mapping[str, Image]) -> list[str]:
        """Return one line for each image of which a given range (a window of HU) cuts more than it did in training."""
        told = {name: self.modalities[name].intensity.cuts(image.pixels) for name, image in images.items()}
        return [f"{images[name].name} ({name}): {line}" for name, line in told.items() if line is not None]

    def find_region(self, inputs: Mapping[str, Image], mask: Image | None = None) -> npt.NDArray[np.bool_] | None:
        """Return the region of a case on its own grid; None where the recipe has none.

        Args:
            inputs: the input images of the case that are there, on one grid.
            mask: the user's own, whose values other than 0 are the region; it wins.

        Raises:
            UserError: the mask lies on another grid, or nothing is found.
        """
        if self.region is None:
            return None
        return region_of_case(self.region, inputs, mask)

    def looked_at(self, region: npt.NDArray[np.bool_] | None, *, has_mask: bool) -> npt.NDArray[np.bool_] | None:
        """Return where the intensity maps of a case look: its region, or None where values other than 0 say as much.

        Args:
            region: from `find_region`.
            has_mask: whether it is the user's own.
        """
        return region if self.region is not None and self.region.guides_maps(has_mask) else None

    def prepare_region(self, region: npt.NDArray[np.bool_], like: Image) -> npt.NDArray[np.uint8]:
        """Return a region on the network's grid, 0 or 1: uint8 (samples, 1, *spatial)."""
        stack = self._to_stack(region[..., None], like.affine).astype(np.float32)
        return (resize_stack(stack, self.prepared_shape(like)) >= 0.5).astype(np.uint8)

    def prepare_depth(self, region: npt.NDArray[np.bool_], like: Image) -> Prepared:
        """Return the distance from the rim of a region on the network's grid: float32 (samples, 1, *spatial).

        -1 outside and at the rim, 1 at `region.depth` mm inside and deeper; in three dimensions where there are three.
        """
        assert self.region is not None and self.region.depth is not None
        whole = np.pad(region, 1)  # the end of the field is a rim, too
        spacing = like.spacing if like.has_physical_size else (1.0,) * region.ndim
        distance = ndimage.distance_transform_edt(whole, spacing)[(slice(1, -1),) * region.ndim]
        values = np.minimum(distance / self.region.depth, 1).astype(np.float32) * 2 - 1
        stack = self._to_stack(values[..., None], like.affine)
        return resize_stack(np.ascontiguousarray(stack, np.float32), self.prepared_shape(like))

    def prepare_labels(self, image: Image, settings: LabelSettings) -> npt.NDArray[np.uint8]:
        """Return a label map on the network's grid as classes: uint8 (samples, 1, *spatial), from the nearest pixel.

        Raises:
            UserError: no integers, or channels.
        """
        require_label_map(image)
        self._check_dimensions(image)
        classes = np.zeros(image.pixels.shape, np.uint8)
        if settings.classes is None:
            classes[image.pixels != 0] = 1
        else:
            for number, value in enumerate(settings.classes, 1):
                classes[image.pixels == value] = number
        stack = self._to_stack(classes[..., None], image.affine)
        return nearest_stack(stack, self.prepared_shape(image))

    def prepared_spacing(self, image: Image) -> tuple[float, ...]:
        """Return the pixel size in mm along the spatial axes of a sample."""
        shape, spacing = self._stack_geometry(image)
        prepared = self.prepared_shape(image)
        return tuple(step * old / new for step, old, new in zip(spacing, shape, prepared, strict=True))

    def restore(
        self,
        values: npt.NDArray[Any],
        modality: str,
        like: Image,
        region: npt.NDArray[np.bool_] | None = None,
        *,
        exact: bool = False,
    ) -> Image:
        """Return a network's output as an image in physical units on the grid of `like`.

        Args:
            values: (samples, channels, *spatial) in [-1, 1], as `prepare` lays them out.
            modality: whose intensity map is inverted.
            like: the image whose grid, position and source header the result takes.
            region: from `find_region`; outside, the result is the modality's background where the recipe says so.
            exact: float32, whatever the type of the training files.

        Returns:
            Pixels of the type of the modality's training files: integers rounded and clipped to their type.
        """
        target = self.modalities[modality]
        stack = resize_stack(np.asarray(values, np.float32), self._stack_shape(like))
        made = np.clip(self._from_stack(stack, like), -1.0, 1.0)
        if region is not None and target.intensity.tails is not None:
            made = stretch_tails(made, region, target.intensity.percentiles, target.intensity.tails)
        pixels = target.intensity.inverse.invert(made)
        if region is not None and self.region is not None and self.region.apply:
            pixels[~region] = target.outside
        if not target.channels:
            pixels = pixels[..., 0]
        dtype = np.dtype(np.float32 if exact else target.dtype)
        return like.with_pixels(to_dtype(pixels, dtype), channels=target.channels, quantity=target.quantity)

    def restore_labels(
        self,
        values: npt.NDArray[Any],
        modality: str,
        like: Image,
        region: npt.NDArray[np.bool_] | None = None,
        *,
        classes: LabelClasses | None = None,
    ) -> Image:
        """Return the probabilities that a network made of a label map's classes as a label map on the grid of `like`.

        They are taken to that grid as images are, and decided there, so that its edges are no staircase of the
        network's grid.

        Args:
            values: (samples, classes, *spatial) in [0, 1].
            modality: a label map.
            like: the image whose grid, position and source header the result takes.
            region: from `find_region`; outside, there is background where the recipe says so.
            classes: instead of the training's own, with another tidying.

        Returns:
            uint8 or uint16, one value a class, `quantity` "label".
        """
        chosen = classes or self.classes_of(modality)
        shape, values = self._stack_shape(like), np.asarray(values, np.float32)
        # Few samples at a time: probabilities of all classes on the files' own grid take many times a label map.
        parts = [
            np.moveaxis(chosen.decide(np.moveaxis(resize_stack(values[at : at + _AT_ONCE], shape), 1, 0)), 0, 1)
            for at in range(0, len(values), _AT_ONCE)
        ]
        return self._painted(np.moveaxis(self._from_stack(np.concatenate(parts), like), -1, 0), chosen, like, region)

    def restore_probabilities(self, values: npt.NDArray[Any], like: Image) -> npt.NDArray[np.float32]:
        """Return the probabilities of a label map's classes on the grid of `like`: (*spatial, classes)."""
        stack = resize_stack(np.asarray(values, np.float32), self._stack_shape(like))
        return np.ascontiguousarray(np.clip(self._from_stack(stack, like), 0.0, 1.0))

    def label_map(
        self,
        probabilities: npt.NDArray[np.float32],
        modality: str,
        like: Image,
        region: npt.NDArray[np.bool_] | None = None,
        *,
        classes: LabelClasses | None = None,
    ) -> Image:
        """Return what `restore_labels` does, of probabilities that are on the grid of `like` already."""
        chosen = classes or self.classes_of(modality)
        return self._painted(chosen.decide(np.moveaxis(probabilities, -1, 0)), chosen, like, region)

    def classes_of(self, modality: str) -> LabelClasses:
        """Return what the values of a label map mean."""
        classes = self.modalities[modality].labels
        assert classes is not None
        return classes

    def _painted(self, masks: Masks, classes: LabelClasses, like: Image, region: npt.NDArray[np.bool_] | None) -> Image:
        if region is not None and self.region is not None and self.region.apply:
            masks = masks & region
        return like.with_pixels(classes.paint(classes.tidied(masks)), quantity="label")

    def sample_shares(self, foreground: npt.NDArray[np.bool_], image: Image) -> npt.NDArray[np.float32]:
        """Return the share of True pixels in each sample that `prepare` makes of an image on this grid."""
        stack = self._to_stack(foreground[..., None], image.affine)
        return stack.reshape(len(stack), -1).mean(axis=1, dtype=np.float32)

    def _check_dimensions(self, image: Image) -> None:
        wanted = 3 if self.slices is not None or self.spatial_dims == 3 else 2
        if image.spatial_dims != wanted:
            what = "volumes" if wanted == 3 else "two-dimensional images"
            pictures = "for pictures leave preparation.slices out and set spatial_dims: 2"
            remedy = pictures if wanted == 3 else "for volumes give the recipe preparation.slices or spatial_dims: 3"
            raise UserError(f"{image.name} has {image.spatial_dims} spatial axes; this recipe takes {what}; {remedy}")

    def _orientation(self, affine: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        codes = SLICE_ORIENTATION[self.slices.axis] if self.slices is not None else VOLUME_ORIENTATION
        own, wanted = orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(codes))
        return orientations.ornt_transform(own, wanted), orientations.ornt_transform(wanted, own)

    def _to_stack(self, pixels: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """(*array axes, C) → (samples, C, *spatial) in the orientation the network knows."""
        if pixels.ndim == 4:
            pixels = orientations.apply_orientation(pixels, self._orientation(affine)[0])
            return np.moveaxis(pixels, -1, 1) if self.slices is not None else np.moveaxis(pixels, -1, 0)[None]
        return np.moveaxis(pixels, -1, 0)[None]

    def _from_stack(self, stack: npt.NDArray[Any], like: Image) -> npt.NDArray[Any]:
        if self.slices is None:
            pixels = np.moveaxis(stack[0], 0, -1)
        else:
            pixels = np.moveaxis(stack, 1, -1)
        if like.spatial_dims == 3:
            pixels = orientations.apply_orientation(pixels, self._orientation(like.affine)[1])
        return pixels

    def _stack_geometry(self, image: Image) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Spatial shape and spacing in the network's axis order, on the image's own grid."""
        if image.spatial_dims == 2:
            return image.shape, image.spacing
        codes = SLICE_ORIENTATION[self.slices.axis] if self.slices is not None else VOLUME_ORIENTATION
        own = orientations.io_orientation(image.affine)[:, 0].astype(int)
        order = [int(np.flatnonzero(own == world)[0]) for world in orientations.axcodes2ornt(tuple(codes))[:, 0]]
        if self.slices is not None:
            order = order[1:]
        return tuple(image.shape[axis] for axis in order), tuple(image.spacing[axis] for axis in order)

    def _stack_shape(self, image: Image) -> tuple[int, ...]:
        return self._stack_geometry(image)[0]

    def prepared_shape(self, image: Image) -> tuple[int, ...]:
        """Return the spatial shape of a sample that an image on this grid becomes."""
        shape, spacing = self._stack_geometry(image)
        return self.grid.shape_for(shape, spacing, image.has_physical_size)


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
    for modality in settings.intensity:
        if modality in (labels or {}):
            raise UserError(f"preparation.intensity names {modality!r}, which is a label map here; leave it out")
        if modality not in modalities:
            raise UserError(
                f"preparation.intensity names {modality!r}, which is neither input nor target of the recipe; "
                f"{nearest(modality, modalities)}"
            )
    regions = None if settings.region is None else CaseRegions(settings.region, inputs or modalities)
    prepared: dict[str, ModalityPreparation] = {}
    for modality in modalities:
        if labels is not None and modality in labels:
            prepared[modality] = _label_map(cases, modality, labels[modality], on_case)
            continue
        seen: list[Image] = []
        # Reads lazily: one image in memory at a time.
        chosen, types = settings.intensity.get(modality, IntensitySettings()), set[str]()
        pixels = _training_pixels(cases, modality, regions, seen, on_case, types, mixed=chosen.map in MIXED_TYPES)
        fitted = fit(chosen, pixels, modality)
        first = seen[0] if seen else read(next(case.files[modality] for case in cases if modality in case.files))
        prepared[modality] = ModalityPreparation(
            channels=first.channels,
            intensity=fitted,
            dtype=first.pixels.dtype.name if len(types) < 2 else "float32",
            quantity=first.quantity,
            format=first.source.format,
            background=_background(cases, modality, fitted, regions),
        )
    return Preparation(
        spatial_dims=spatial_dims,
        grid=settings.grid,
        slices=settings.slices,
        region=settings.region,
        modalities=prepared,
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


def require_label_map(image: Image) -> None:
    """Raise a UserError unless an image holds whole numbers and no channels."""
    if image.channels or (image.pixels.dtype.kind == "f" and (image.pixels % 1 != 0).any()):
        raise UserError(f"{image.name} is no label map: its values are not whole numbers; check the modality")


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
                f"{modality} images differ: {first.name} has {_channels(first.channels)} of {first.pixels.dtype}, "
                f"{image.name} {_channels(image.channels)} of {image.pixels.dtype}; {remedy}"
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


def to_dtype(pixels: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Cast to a file's type; integers are rounded and clipped to the type's range, never wrapped."""
    if dtype.kind == "b":
        pixels = pixels >= 0.5
    elif dtype.kind in "ui":
        limits = np.iinfo(dtype)
        pixels = np.clip(np.rint(pixels), limits.min, limits.max)
    return pixels.astype(dtype)


def _channels(names: tuple[str, ...]) -> str:
    return f"channels {', '.join(names)}" if names else "one channel"

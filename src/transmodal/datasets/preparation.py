"""Preparation: a file's image onto the network's grid and into [-1, 1], and all the way back.

The preparation is described in a recipe (`PreparationSettings`), fitted on training cases only (`fit_preparation` in
`transmodal.datasets.preparation_fitting`) and then travels inside the translator's card, so that a translator undoes
exactly what its training did.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy import ndimage

from transmodal.datasets.label_classes import LabelClasses, Masks
from transmodal.datasets.labels import LabelSettings, require_label_map
from transmodal.datasets.regions import RegionSettings, region_of_case
from transmodal.datasets.resizing import nearest_stack, resize_stack
from transmodal.datasets.sample_grid import GridSettings, SampleGrid, SliceSettings
from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.intensity import FittedMap
from transmodal.images.intensity_settings import IntensitySettings
from transmodal.images.padding import padding_of
from transmodal.images.tails import stretch_tails

Prepared = npt.NDArray[np.float32]
"""(samples, channels, *spatial): one sample for a picture, one a slice for a sliced volume."""

_AT_ONCE = 16  # slices whose probabilities are in memory together


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

    @property
    def _samples(self) -> SampleGrid:
        return SampleGrid(self.spatial_dims, self.grid, self.slices)

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
                f"{image.name} has {told_channels(image.channels)} but {modality} was trained on "
                f"{told_channels(expected.channels)}; convert it first, nothing is converted silently"
            )
        dtype, trained = image.pixels.dtype, expected.intensity.dtype
        if trained is not None and dtype.name != trained:
            raise UserError(
                f"{image.name} has {dtype.name} pixels but {modality} was trained on {trained}, whose values mean "
                f"something else; convert it to {trained} (0 to {np.iinfo(trained).max}) first"
            )
        if dtype.kind == "f" and not np.isfinite(image.pixels).all():
            raise UserError(f"{image.name} has NaN or infinite pixels; replace them before use")
        self._samples.require_dimensions(image)
        mapped = expected.intensity.for_image(image.pixels, looked_at).apply(image.pixels)
        stack = self._samples.to_stack(mapped if image.channels else mapped[..., None], image.affine)
        prepared = resize_stack(stack, self.prepared_shape(image))
        return np.clip(prepared, -1.0, 1.0, out=prepared)  # cubic interpolation overshoots

    def cuts(self, images: Mapping[str, Image]) -> list[str]:
        """Return one line for each image of which a given range (a window of HU) cuts more than it did in training."""
        told = {}
        for name, image in images.items():
            part = self.modalities[name]
            # A NIfTI does not say its unit: it is what the modality is trained in.
            known = replace(image, quantity=part.quantity) if image.quantity == "intensity" else image
            told[name] = part.intensity.cuts(image.pixels, padding_of(known))
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
        stack = self._samples.to_stack(region[..., None], like.affine).astype(np.float32)
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
        stack = self._samples.to_stack(values[..., None], like.affine)
        return resize_stack(np.ascontiguousarray(stack, np.float32), self.prepared_shape(like))

    def prepare_labels(self, image: Image, settings: LabelSettings) -> npt.NDArray[np.uint8]:
        """Return a label map on the network's grid as classes: uint8 (samples, 1, *spatial), from the nearest pixel.

        Raises:
            UserError: no integers, or channels.
        """
        require_label_map(image)
        self._samples.require_dimensions(image)
        classes = np.zeros(image.pixels.shape, np.uint8)
        if settings.classes is None:
            classes[image.pixels != 0] = 1
        else:
            for number, value in enumerate(settings.classes, 1):
                classes[image.pixels == value] = number
        stack = self._samples.to_stack(classes[..., None], image.affine)
        return nearest_stack(stack, self.prepared_shape(image))

    def prepared_spacing(self, image: Image) -> tuple[float, ...]:
        """Return the pixel size in mm along the spatial axes of a sample."""
        return self._samples.prepared_spacing(image)

    def prepared_shape(self, image: Image) -> tuple[int, ...]:
        """Return the spatial shape of a sample that an image on this grid becomes."""
        return self._samples.prepared_shape(image)

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
        stack = resize_stack(np.asarray(values, np.float32), self._samples.stack_shape(like))
        made = np.clip(self._samples.from_stack(stack, like), -1.0, 1.0)
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
        shape, values = self._samples.stack_shape(like), np.asarray(values, np.float32)
        # Few samples at a time: probabilities of all classes on the files' own grid take many times a label map.
        parts = [
            np.moveaxis(chosen.decide(np.moveaxis(resize_stack(values[at : at + _AT_ONCE], shape), 1, 0)), 0, 1)
            for at in range(0, len(values), _AT_ONCE)
        ]
        masks = self._samples.from_stack(np.concatenate(parts), like)
        return self._painted(np.moveaxis(masks, -1, 0), chosen, like, region)

    def restore_probabilities(self, values: npt.NDArray[Any], like: Image) -> npt.NDArray[np.float32]:
        """Return the probabilities of a label map's classes on the grid of `like`: (*spatial, classes)."""
        stack = resize_stack(np.asarray(values, np.float32), self._samples.stack_shape(like))
        return np.ascontiguousarray(np.clip(self._samples.from_stack(stack, like), 0.0, 1.0))

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
        stack = self._samples.to_stack(foreground[..., None], image.affine)
        return stack.reshape(len(stack), -1).mean(axis=1, dtype=np.float32)


def to_dtype(pixels: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Cast to a file's type; integers are rounded and clipped to the type's range, never wrapped."""
    if dtype.kind == "b":
        pixels = pixels >= 0.5
    elif dtype.kind in "ui":
        limits = np.iinfo(dtype)
        pixels = np.clip(np.rint(pixels), limits.min, limits.max)
    return pixels.astype(dtype)


def told_channels(names: tuple[str, ...]) -> str:
    """Return how messages call the channels of an image."""
    return f"channels {', '.join(names)}" if names else "one channel"

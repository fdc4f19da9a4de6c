"""Between image files, whose axes lie as they like, and what a scanner sees: slices of rows and columns in mm.

A volume becomes its axial slices, feet first, rows to the back and columns to the left of the patient, as radiologists
look at them; a two-dimensional image is one slice as it is. The way back gives the file's own axes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image
from transmodal.images.padding import air_for_padding
from transmodal.tomography.hounsfield import HounsfieldScale

Slices = NDArray[np.float32]

_AXIAL = "SPL"
_DENSEST = 100.0  # 1/mm: lead at 30 keV; what is above is no attenuation in 1/mm


@dataclass(frozen=True, eq=False)
class Place:
    """Where slices came from in an image, enough to put others back there.

    Attributes:
        shape: of the image's array.
        affine: (4, 4), of its indices to mm.
        quantity: what its values mean.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    quantity: str = "HU"

    @property
    def axis(self) -> int | None:
        """The array's axis along which the slices run; None of a single one."""
        if len(self.shape) == 2:
            return None
        return int(np.flatnonzero(orientations.io_orientation(self.affine)[:, 0] == 2)[0])

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "shape": list(self.shape),
            "affine": self.affine.tolist(),
            "axis": self.axis,
            "quantity": self.quantity,
        }

    @classmethod
    def from_json(cls, entries: Mapping[str, Any], name: str) -> "Place":
        """Return the place that `to_json` wrote.

        Raises:
            UserError: it is none.
        """
        try:
            shape = tuple(int(count) for count in entries["shape"])
            affine = np.asarray(entries["affine"], dtype=np.float64)
            quantity = str(entries.get("quantity", "HU"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{name}: the entry 'image' needs shape and affine of an image ({error!r})") from error
        if len(shape) not in (2, 3) or affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise UserError(f"{name}: the entry 'image' needs 2 or 3 axes and an affine of 4 by 4 numbers")
        return cls(shape, affine, quantity)

    def _to_stack(self) -> NDArray[Any]:
        return orientations.ornt_transform(
            orientations.io_orientation(self.affine), orientations.axcodes2ornt(tuple(_AXIAL))
        )

    def stack_affine(self) -> NDArray[np.float64]:
        """Return the affine of (slice, row, column), or of (row, column) for a single one."""
        if len(self.shape) == 2:
            return self.affine
        made: NDArray[np.float64] = self.affine @ orientations.inv_ornt_aff(self._to_stack(), self.shape)
        return made

    def stack(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return an array of the image as (slices, rows, columns)."""
        if len(self.shape) == 2:
            return pixels[None]
        made: NDArray[Any] = orientations.apply_orientation(pixels, self._to_stack())
        return np.ascontiguousarray(made)

    def image(self, stack: NDArray[Any], spacing: tuple[float, ...] | None = None, quantity: str = "") -> Image:
        """Return slices as an image with the axes of the one they came from.

        Args:
            stack: (slices, rows, columns); may have other numbers of them.
            spacing: mm of the last two axes or of all three, where it changed; the middle stays where it was.
            quantity: of the values; by default that of the image.
        """
        affine = self.stack_affine().copy()
        flat = len(self.shape) == 2
        axes = 2 if flat else 3
        shape = np.asarray(stack.shape[-axes:])
        old_shape = np.asarray(self.stacked_shape[-axes:])
        old = np.linalg.norm(affine[:3, :axes], axis=0)
        new = old.copy()
        if spacing is not None:
            new[-len(spacing) :] = spacing[-axes:]
        middle = affine[:3, :axes] @ ((old_shape - 1) / 2) + affine[:3, 3]
        affine[:3, :axes] *= new / old
        affine[:3, 3] = middle - affine[:3, :axes] @ ((shape - 1) / 2)
        said = quantity or self.quantity
        if flat:
            return Image(stack[0], affine, quantity=said)
        back = orientations.ornt_transform(
            orientations.axcodes2ornt(tuple(_AXIAL)), orientations.io_orientation(self.affine)
        )
        pixels = np.ascontiguousarray(orientations.apply_orientation(stack, back))
        return Image(pixels, affine @ orientations.inv_ornt_aff(back, stack.shape), quantity=said)

    @property
    def stacked_shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        if len(self.shape) == 2:
            return 1, self.shape[0], self.shape[1]
        order = np.argsort(self._to_stack()[:, 0])
        first, second, third = (self.shape[int(axis)] for axis in order)
        return first, second, third

    @property
    def spacing(self) -> tuple[float, ...]:
        """mm along rows and columns, of a volume before them from slice to slice."""
        axes = len(self.shape)
        return tuple(float(length) for length in np.linalg.norm(self.stack_affine()[:3, :axes], axis=0))


def place_of(image: Image) -> Place:
    """Return where the slices of an image lie.

    Raises:
        UserError: it has channels, or no pixel size.
    """
    if image.channels:
        raise UserError(f"{image.name} has the channels {', '.join(image.channels)}: a CT image has one value a pixel")
    if not image.has_physical_size:
        raise UserError(f"{image.name} says no pixel size; give it by --spacing, in mm")
    return Place(image.shape, image.affine, image.quantity)


def unknown_place(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Place:
    """Return a place for slices of which nobody knows where they lay: (slices, rows, columns), or rows and columns."""
    if len(shape) == 2:
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        affine[:2, :2] = [[0.0, spacing[1]], [spacing[0], 0.0]]
        return Place((shape[0], shape[1]), affine)
    between, down, right = spacing
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -down, -right, between, 1.0
    return Place((shape[1], shape[2], shape[0]), affine)


def hounsfield_slices(image: Image) -> tuple[Slices, int]:
    """Return the slices of a CT image in Hounsfield units, (slices, rows, columns), and how many pixels were padding.

    Padding outside the scanner's field of view (−2000, −2048, …) becomes air.

    Raises:
        UserError: values that are not finite or can be no Hounsfield units, nothing but padding.
    """
    values = _finite(image)
    if image.quantity not in ("HU", "intensity"):
        raise UserError(f"{image.name} holds {image.quantity}, no Hounsfield units; name a CT image")
    low, high = float(values.min()), float(values.max())
    if image.quantity != "HU" and low >= 0 and high > low:
        what = "attenuation in 1/mm? then say --unit attenuation" if high <= 1 else "rescale it, air is −1000"
        raise UserError(f"{image.name} holds values from {low:g} to {high:g}, no Hounsfield units: {what}")
    made, outside = air_for_padding(values, image.name)
    return made, int(outside.sum())


def attenuation_slices(image: Image, unit: str, scale: HounsfieldScale) -> Slices:
    """Return the slices of an image as attenuation in 1/mm, 0 or above.

    Args:
        image: in Hounsfield units, or in 1/mm.
        unit: "HU" or "attenuation".
        scale: of the Hounsfield units.

    Raises:
        UserError: values that cannot be in that unit.
    """
    if unit == "HU":
        return np.maximum(scale.to_attenuation(hounsfield_slices(image)[0]), 0)
    values = _finite(image)
    low, high = float(values.min()), float(values.max())
    if low < -0.1 * max(high, 0.0) - 1e-6 or high > _DENSEST:
        raise UserError(
            f"{image.name} holds values from {low:g} to {high:g}, no attenuation in 1/mm; Hounsfield units? then say "
            "--unit HU"
        )
    return np.maximum(values, 0)


def _finite(image: Image) -> Slices:
    """Return the slices as float32.

    Raises:
        UserError: values that are not finite.
    """
    values = place_of(image).stack(image.pixels).astype(np.float32)
    if not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise UserError(f"{image.name} holds {count} values that are not finite; replace them first")
    return values

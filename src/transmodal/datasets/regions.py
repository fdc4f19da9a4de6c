"""Where a case has anything to translate, found in its inputs: the same region in training as in use."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from transmodal.datasets.manifest import CaseFiles
from transmodal.errors import UserError
from transmodal.images import Image, read, require_same_grid
from transmodal.images.region import find_region

Region = npt.NDArray[np.bool_]


class RegionSettings(BaseModel):
    """Where a case has anything to translate: a brain, a body. Found in the inputs, so that use needs no target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    how: Literal["nonzero", "otsu"] = Field(
        "nonzero", description="nonzero: skull-stripped volumes on a background of 0; otsu: a head or body in air"
    )
    modality: str | None = Field(None, description="a mask that wins over what is found, where a case has one")
    feed: bool = Field(True, description="the network sees the region as one more channel")
    depth: float | None = Field(
        None, gt=0, description="the network also sees the distance from the rim, up to so many mm inside"
    )
    apply: bool = Field(True, description="outputs are the background outside, 0 for most")

    def guides_maps(self, has_mask: bool) -> bool:
        """Say whether intensity maps look at the region of a case, which may have a mask of its own.

        On a background of 0, values other than 0 say as much, and they are the same for inputs and targets.
        """
        return has_mask or self.how != "nonzero"


def region_of_case(settings: RegionSettings, inputs: Mapping[str, Image], mask: Image | None = None) -> Region:
    """Return the region of a case on its own grid: the mask, or the union of what is found in each input.

    Args:
        settings: the recipe's.
        inputs: the input images of the case that are there, on one grid.
        mask: the user's own, whose values other than 0 are the region; it wins.

    Raises:
        UserError: the mask lies on another grid, or nothing is found.
    """
    first = next(iter(inputs.values()))
    if mask is not None:
        require_same_grid(first, mask)
        found = mask.pixels != 0
    else:
        found = np.zeros(first.shape, bool)
        for image in inputs.values():
            require_same_grid(first, image)
            grey: npt.NDArray[Any] = image.pixels.max(-1) if image.channels else image.pixels
            found |= find_region(grey, settings.how)
    if not found.any():
        if mask is not None:
            raise UserError(
                f"The mask {mask.name} has an empty region: all of it is 0; give one that is 1 inside, or leave it out "
                "to have the region found"
            )
        raise UserError(f"{first.name} has an empty region (preparation.region); check the image, or give a mask")
    return found


class CaseRegions:
    """The regions of many cases, each found once and kept packed: a thousand brains in a gigabyte.

    Args:
        settings: the recipe's.
        inputs: where regions are looked for.
    """

    def __init__(self, settings: RegionSettings, inputs: Sequence[str]) -> None:
        self.settings, self.inputs = settings, inputs
        self._found: dict[int, tuple[Image, npt.NDArray[np.uint8]]] = {}

    def of(self, case: CaseFiles, image: Image, modality: str) -> Region:
        """Return the region of a case.

        Args:
            case: whose.
            image: one of its images, already read.
            modality: of the image.

        Raises:
            UserError: the images of the case lie on different grids, one cannot be read, or nothing is found.
        """
        if id(case) not in self._found:
            # As in the cache: a case without any input is looked at as a whole, here at what is being fitted.
            names = [name for name in self.inputs if name in case.files] or [modality]
            given = {name: image if name == modality else read(case.files[name]) for name in names}
            own = case.files.get(self.settings.modality) if self.settings.modality else None
            region = region_of_case(self.settings, given, None if own is None else read(own))
            # The grid stays known without the pixels.
            grid = next(iter(given.values())).with_pixels(np.broadcast_to(np.uint8(0), region.shape))
            self._found[id(case)] = grid, np.packbits(region)
        grid, packed = self._found[id(case)]
        require_same_grid(grid, image)
        return np.unpackbits(packed, count=int(np.prod(grid.shape))).reshape(grid.shape).astype(bool)

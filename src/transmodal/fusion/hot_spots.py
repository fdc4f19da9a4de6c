"""A small hot place, such as a full bladder, that sets the colour scale and leaves the rest too dark to be seen."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_SHOWN_FROM = 0.15  # of the top: the usual threshold, below which a spot leaves nothing to be seen
_SEEN = 0.25  # of the activity beside the spot, that should lie above it
_SMALL = 0.03  # of the field: larger places are no spots
_RIM = 2  # nuclear pixels around the spot that still belong to it
_STANDS_OUT = 3.0  # times the median of what is left: less is even, and hides nothing


@dataclass(frozen=True)
class HotSpot:
    """A hot place that sets the scale.

    Attributes:
        pixels: how many nuclear pixels it has from the usual threshold on.
        share: of the activity beside it that is shown, 0 to 1.
        beside: the greatest value beside it.
    """

    pixels: int
    share: float
    beside: float

    def note(self) -> str:
        """Return what a user should know, with the remedy."""
        remedy = f"set the top with 'transmodal fuse --upper {rounded_up(self.beside):g}'"
        return (
            f"a hot spot of {self.pixels} nuclear pixels sets the top of the colours, so that they show only "
            f"{self.share:.0%} of the other activity: {remedy}, "
            "or leave out frames with --between"
        )


def hot_spot(values: npt.NDArray[np.floating[Any]], inside: npt.NDArray[np.bool_]) -> HotSpot | None:
    """Return the hot place that sets a scale up to the greatest value; None where it hides nothing.

    Args:
        values: (H, W), the activity of nuclear pixels.
        inside: (H, W), those that lie in the anatomy.
    """
    kept = np.where(inside & np.isfinite(values), np.maximum(values, 0.0), 0.0)
    top = float(kept.max(initial=0.0))
    if top <= 0:
        return None
    shown = kept >= _SHOWN_FROM * top
    pieces, _ = ndimage.label(shown)
    piece = pieces == pieces.flat[int(kept.argmax())]
    if piece.sum() > _SMALL * inside.sum():
        return None
    beside = inside & ~ndimage.binary_dilation(piece, iterations=_RIM)
    left = kept[beside]
    total, greatest = float(left.sum()), float(left.max(initial=0.0))
    if greatest <= 0 or greatest <= _STANDS_OUT * float(np.median(left)):
        return None
    share = float(kept[beside & shown].sum()) / total
    return HotSpot(int(piece.sum()), share, greatest) if share < _SEEN else None


def rounded_up(value: float) -> float:
    """Return the next number of two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step * (1 - 1e-9)) * step:.6g}")

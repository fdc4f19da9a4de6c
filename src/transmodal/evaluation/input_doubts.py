"""What looks wrong about images that can be scored all the same: values beyond the range, and another integer type.

A PSNR of 16-bit images under a range of 0 to 255 is a number like any other. Nothing here stops a score; each doubt is
one line, told once for all cases.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from transmodal.evaluation.foreground import foreground_of
from transmodal.evaluation.scoring import CaseImages, Gatherer
from transmodal.images import Image
from transmodal.metrics import METRICS
from transmodal.metrics.policy import Policy

TRUTH = "truth"
_OUTSIDE = 0.01  # of the compared values; fewer are outliers, such as metal in CT
_OUTSIDE_WHEN_CLIPPED = 0.5  # whoever clips expects some
_LOOKED_AT = 1 << 16  # values of an image, evenly spaced; a fraction of 1 % needs no more


@dataclass(frozen=True)
class CaseDoubts:
    """What one case gave.

    Attributes:
        beyond: whose image has too many values outside the range → its lowest and highest value looked at.
        types: (system, its type, the truth's type) where they differ.
        kept: what the gatherer inside took.
    """

    beyond: dict[str, tuple[float, float]]
    types: tuple[tuple[str, str, str], ...]
    kept: Any


@dataclass
class InputDoubts:
    """Looks at a few values of every image while it is in memory; a `scores.Gatherer` that holds another one.

    Attributes:
        inner: takes more out of each case; None does without.
    """

    inner: Gatherer | None = None
    _cases: int = 0
    _beyond: Counter[str] = field(default_factory=Counter)
    _reach: tuple[float, float] = (float("inf"), float("-inf"))
    _types: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def of_case(self, images: CaseImages, policy: Policy) -> CaseDoubts:
        """Return the doubts about one case."""
        kept = None if self.inner is None else self.inner.of_case(images, policy)
        if METRICS[policy.metrics[0]].level == "labels":
            return CaseDoubts({}, (), kept)
        region = _region(images, policy)
        beyond = {}
        if _has_range(policy):
            for name, image in ((TRUTH, images.truth), *images.predictions.items()):
                reach = _reach_beyond(image, region, policy)
                if reach is not None:
                    beyond[name] = reach
        true = images.truth.pixels.dtype
        types = tuple(
            (name, str(image.pixels.dtype), str(true))
            for name, image in images.predictions.items()
            if _are_other_scales(image.pixels.dtype, true)
        )
        return CaseDoubts(beyond, types, kept)

    def join(self, kept: CaseDoubts) -> None:
        """Take in the doubts about one case."""
        if self.inner is not None:
            self.inner.join(kept.kept)
        self._cases += 1
        self._beyond.update(kept.beyond.keys())
        for low, high in kept.beyond.values():
            self._reach = min(self._reach[0], low), max(self._reach[1], high)
        self._types.update(kept.types)

    def in_words(self, policy: Policy) -> tuple[str, ...]:
        """Return one line for each kind of doubt; none where nothing looks wrong.

        Args:
            policy: under which the cases were scored.
        """
        found = []
        if self._beyond:
            low, high = policy.limits
            share = _OUTSIDE_WHEN_CLIPPED if policy.clip else _OUTSIDE
            who = ", ".join(f"{name} in {number} of {self._cases} cases" for name, number in self._beyond.items())
            found.append(
                f"more than {share:.0%} of the values lie outside the range {low:g} to {high:g} ({who}; they reach "
                f"from {self._reach[0]:g} to {self._reach[1]:g}); check the range"
            )
        for (name, made, true), number in self._types.items():
            found.append(
                f"{name} is {made} where the truth is {true} in {number} of {self._cases} cases; check that both have "
                "one scale"
            )
        return tuple(found)


def _has_range(policy: Policy) -> bool:
    """Say whether a score looks at the stated range."""
    return policy.scale == "physical" and policy.range is not None and (policy.needs_range or bool(policy.sets))


def _region(images: CaseImages, policy: Policy) -> npt.NDArray[np.bool_] | None:
    if policy.mask == "foreground" and (images.mask is None or not policy.looks_for_own_mask):
        region = foreground_of(images.truth.pixels, policy)
        return np.asarray(region.any(-1) if images.truth.channels else region)
    mask = images.mask
    if policy.mask == "none" or mask is None:
        return None
    if not isinstance(mask, Image):
        return mask
    return np.asarray((mask.pixels != 0).any(-1) if mask.channels else mask.pixels != 0)


def _reach_beyond(image: Image, region: npt.NDArray[np.bool_] | None, policy: Policy) -> tuple[float, float] | None:
    """Return the extent of an image's compared values when too many of them lie outside the range, else None."""
    step = max(1, int((np.prod(image.shape) / _LOOKED_AT) ** (1 / image.spatial_dims)))
    few = (slice(None, None, step),) * image.spatial_dims  # a view: nothing of a large volume is copied
    values = image.pixels[few] if region is None else image.pixels[few][region[few]]
    if not values.size:
        return None
    low, high = policy.limits
    share = np.count_nonzero((values < low) | (values > high)) / values.size
    if share <= (_OUTSIDE_WHEN_CLIPPED if policy.clip else _OUTSIDE):
        return None
    return float(values.min()), float(values.max())


def _are_other_scales(made: np.dtype[Any], true: np.dtype[Any]) -> bool:
    """Say whether two integer types are of images stored on other scales; int16 and int32 hold the same HU."""
    if made.kind not in "ui" or true.kind not in "ui" or made.itemsize == true.itemsize:
        return False
    return 1 in (made.itemsize, true.itemsize) or made.kind == true.kind == "u"

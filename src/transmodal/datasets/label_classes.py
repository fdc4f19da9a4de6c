"""What the values of a label map mean, and how probabilities become a label map again.

A class is a set of values of the true maps: `liver: [1, 2]` with `tumour: [2]` inside it (regions may be nested, as in
BraTS), or `kidneys: [2, 3]`, two values merged into one. Maps that are written hold one value a class.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import ndimage

from transmodal.datasets.labels import LabelSettings

Masks = npt.NDArray[np.bool_]
"""(classes, *spatial)."""

# Okabe and Ito, "Color Universal Design", 2008, in an order in which neighbours differ most.
COLOURS = ("#56B4E9", "#D55E00", "#009E73", "#F0E442", "#CC79A7", "#E69F00", "#0072B2")
THRESHOLD = 0.5
GREATEST = 65535  # that a written label map holds


class LabelClass(BaseModel):
    """One class of a label map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    values: tuple[int, ...] = Field(description="of the true maps; empty: all that is not 0")
    value: int = Field(ge=1, le=GREATEST, description="in maps that are written")
    colour: str = Field(pattern=r"^#[0-9A-Fa-f]{6}$")


class LabelClasses(BaseModel):
    """The classes of a label map in the order in which they are painted: later ones over earlier ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[LabelClass, ...] = Field(min_length=1)
    exclusive: bool = Field(description="probabilities of a pixel add up to 1 with the background's (softmax)")
    largest_component: tuple[str, ...] = Field((), description="classes of which one connected piece is kept")
    fill_holes: tuple[str, ...] = Field((), description="classes whose holes are filled")
    thresholds: dict[str, float] = Field({}, description="class → probability from which a pixel has it; others 0.5")

    @model_validator(mode="after")
    def _names_are_known(self) -> "LabelClasses":
        require_classes(self.names, self.largest_component, "largest_component")
        require_classes(self.names, self.fill_holes, "fill_holes")
        self._require_thresholds(self.thresholds)
        return self

    def _require_thresholds(self, thresholds: Mapping[str, float]) -> None:
        require_classes(self.names, tuple(thresholds), "thresholds")
        if thresholds and self.exclusive:
            raise ValueError("a softmax gives a pixel its most probable class; thresholds need activation: sigmoid")
        for name, threshold in thresholds.items():
            if not 0 < threshold < 1:
                raise ValueError(f"the threshold of {name}, {threshold:g}, is no probability between 0 and 1")

    @classmethod
    def named(
        cls, values: Mapping[str, Sequence[int]], *, colours: Mapping[str, str] | None = None, **more: Any
    ) -> "LabelClasses":
        """Return classes by name, each with a colour and the value that is written for it.

        Args:
            values: name → values of the true maps, in the order of painting; one class may have none, which stands for
                all that is not 0.
            colours: name → "#rrggbb", for some or all.
            more: other fields.

        Raises:
            ValueError: a value is not positive or stands twice in a class, a class without values stands beside others,
                a class lies wholly under those painted after it, or a colour is of no class.
        """
        require_classes(tuple(values), tuple(colours or ()), "colours")
        classes = []
        for place, (name, own) in enumerate(values.items()):
            if not own and len(values) > 1:
                raise ValueError(f"{name} has no values; name those of the label map that belong to it")
            if len(set(own)) < len(own) or any(not 1 <= value <= GREATEST for value in own):
                raise ValueError(f"{name} needs distinct values from 1 to {GREATEST}, not {list(own)}; 0 is background")
            later = {value for others in list(values.values())[place + 1 :] for value in others}
            visible = [value for value in own if value not in later] if own else [1]
            if not visible:
                raise ValueError(f"{name} lies wholly under the classes named after it; name it after them")
            colour = (colours or {}).get(name, COLOURS[place % len(COLOURS)])
            classes.append(LabelClass(name=name, values=tuple(own), value=visible[0], colour=colour))
        return cls(classes=tuple(classes), **more)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of painting."""
        return tuple(each.name for each in self.classes)

    @property
    def atoms(self) -> tuple[int, ...]:
        """The values that belong to some class, in their order; empty where all that is not 0 belongs to the one."""
        return tuple(sorted({value for each in self.classes for value in each.values}))

    @property
    def overlap(self) -> bool:
        """Whether classes share values: regions inside regions."""
        values = [value for each in self.classes for value in each.values]
        return len(set(values)) < len(values)

    def settings(self, modality: str) -> LabelSettings:
        """Return how a label map of a modality is prepared: class 1, 2, … for each of `atoms`."""
        return LabelSettings(modality=(modality,), classes=self.atoms or None, required=True)

    def membership(self) -> npt.NDArray[np.bool_]:
        """Return which classes the prepared numbers 0 (background), 1, 2, … belong to: (classes, 1 + atoms)."""
        if not self.atoms:
            return np.array([[False, True]])
        return np.array([[False, *(value in each.values for value in self.atoms)] for each in self.classes])

    def with_changes(
        self,
        largest_component: Sequence[str] | None = None,
        fill_holes: Sequence[str] | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> "LabelClasses":
        """Return the classes with another tidying, and other thresholds for some; None leaves as it is.

        Raises:
            ValueError: a class that is none, thresholds of exclusive classes, or one that is no probability.
        """
        changed: dict[str, Any] = {}
        for what, asked in (("largest_component", largest_component), ("fill_holes", fill_holes)):
            if asked is not None:
                require_classes(self.names, asked, what)
                changed[what] = tuple(asked)
        if thresholds:
            self._require_thresholds(thresholds)
            changed["thresholds"] = {**self.thresholds, **thresholds}
        return self.model_copy(update=changed)

    def decide(self, probabilities: npt.NDArray[np.floating]) -> Masks:
        """Return which pixels each class has, of probabilities (classes, *spatial) in [0, 1].

        Exclusive classes: the most probable, the background among them. Others that share no value: the one furthest
        above its threshold, as a multiple of it. Nested ones: each from its threshold on.
        """
        least = np.array([self.thresholds.get(name, THRESHOLD) for name in self.names], np.float32)
        least = least.reshape(-1, *[1] * (probabilities.ndim - 1))
        if self.overlap:
            return np.asarray(probabilities >= least)
        if self.exclusive:
            background = 1 - probabilities.sum(0)
        else:
            probabilities, background = probabilities / least, np.ones(probabilities.shape[1:])
        # A tie goes to the background.
        chosen = np.concatenate([background[None], probabilities]).argmax(0)
        return np.stack([chosen == number for number in range(1, len(self.classes) + 1)])

    def tidied(self, masks: Masks) -> Masks:
        """Return masks with one connected piece of some classes and without the holes of some, as asked.

        Pixels that touch by a corner are connected; a hole is what no path of faces leads out of. In volumes both are
        looked for in three dimensions. A hole that another class fills stays that class' own. A class inside another
        one counts as part of it, so that it goes with a piece of the outer that is left out.
        """
        tidy = masks.copy()
        inside = [self.inside(number) for number in range(len(self.classes))]
        for number, inner in enumerate(inside):
            tidy[number] |= masks[inner].any(0)
        for number, each in enumerate(self.classes):  # outer classes stand before those inside them
            for outer, inner in enumerate(inside):
                if number in inner:
                    tidy[number] &= tidy[outer]
            if each.name in self.largest_component:
                tidy[number] = largest_component(tidy[number])
            if each.name in self.fill_holes:
                filled = ndimage.binary_fill_holes(tidy[number])
                for other, beside in enumerate(self.classes):
                    if other != number and not set(beside.values) & set(each.values):
                        filled &= ~masks[other]
                tidy[number] |= filled
        for number, inner in enumerate(inside):  # the holes of an inner class may have been the outer's, too
            tidy[number] |= tidy[inner].any(0)
        return tidy

    def inside(self, outer: int) -> list[int]:
        """Return the numbers of the classes all of whose values an outer class, by its number, has, too."""
        own = set(self.classes[outer].values)
        return [number for number, each in enumerate(self.classes) if set(each.values) < own]

    def paint(self, masks: Masks) -> npt.NDArray[Any]:
        """Return the label map of masks: uint8, or uint16 where a value is above 255."""
        dtype = np.uint8 if max(each.value for each in self.classes) <= 255 else np.uint16
        labels = np.zeros(masks.shape[1:], dtype)
        for each, mask in zip(self.classes, masks, strict=True):
            labels[mask] = each.value
        return labels

    def masks_of(self, labels: npt.NDArray[Any]) -> Masks:
        """Return which pixels of a true or written label map belong to each class."""
        return np.stack([pixels_of(labels, each.values) for each in self.classes])

    def describe(self) -> str:
        """Return names and values: "liver 1 and 2, tumour 2"."""
        return ", ".join(
            f"{each.name} {' and '.join(map(str, each.values)) if each.values else 'all but 0'}"
            for each in self.classes
        )

    def legend(self) -> list[dict[str, Any]]:
        """Return value, name and colour of what written maps hold, background first, for sidecars."""
        entries: list[dict[str, Any]] = [{"value": 0, "name": "background", "colour": None}]
        return entries + [{"value": each.value, "name": each.name, "colour": each.colour} for each in self.classes]


def pixels_of(labels: npt.NDArray[Any], values: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Return where a label map holds one of some values; without values, anything but 0."""
    own = list(values)
    if not own:
        return np.asarray(labels != 0)
    return np.asarray(labels == own[0] if len(own) == 1 else np.isin(labels, own))


def largest_component(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the largest connected piece of a mask; pixels that touch by a corner are connected.

    Of several of one size, the first in the order of the array; of an empty mask, the mask.
    """
    numbered, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    if count < 2:
        return mask
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    return np.asarray(numbered == sizes.argmax())


def require_classes(names: Sequence[str], asked: Sequence[str], what: str) -> None:
    """Raise a ValueError that names what is no class."""
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ValueError(f"{what}: there is no class {unknown[0]!r}; the classes are {', '.join(names)}")

"""Where activity can lie in one posed mouse: the organs in horizontal layers, and a tumour on the flank."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.simulation.mouse.body import Body
from transmodal.simulation.mouse.organs import Organ
from transmodal.simulation.mouse.pair import ORGANS
from transmodal.simulation.mouse.shapes import ellipsoid

Map = npt.NDArray[np.float32]

LAYER = 1.0
"""Thickness of a layer, mm; over it the attenuation of soft tissue changes by about 1.5 %."""
_HIGHEST = 30.0

TUMOUR_LABEL = 12
LABELS: dict[int, tuple[str, str]] = ORGANS | {TUMOUR_LABEL: ("tumour", "#00c2a8")}
"""Label map values: those of the mouse, and the tumour before all of them."""

LABELS_OF: dict[str, tuple[int, ...]] = {
    **{name: (value,) for value, (name, _) in LABELS.items()},
    "brain": (11,),
}
"""Place to the values of the organ map under which it lies; the brain lies in the skull."""

_PARTS: dict[str, tuple[str, ...]] = {
    "lungs": ("left lung", "right lung"),
    "heart": ("heart",),
    "liver": ("liver",),
    "stomach": ("stomach",),
    "spleen": ("spleen",),
    "kidneys": ("left kidney", "right kidney"),
    "gut": ("gut",),
    "bladder": ("bladder",),
}
_DISPLACING = ("liver", "stomach", "spleen", "kidneys", "gut", "bladder", "heart")
_AIR_IN_LUNG = 0.7
_BRAIN = (((17.2, 0.0, 8.0), (5.3, 4.6, 3.4)), ((14.6, 0.0, 8.2), (4.2, 3.5, 3.0)))
PLACES = (*_PARTS, "brain", "soft tissue", "skeleton", "skull", "tumour")


@dataclass(frozen=True)
class Tumour:
    """A ball under the skin.

    Attributes:
        diameter: mm.
        along: from the nose along the axis, mm on the reference animal of 85 mm.
        left: to the animal's left, mm on the reference animal; negative is right.
        height: over the bed, mm on the reference animal.
    """

    diameter: float = 7.0
    along: float = 67.0
    left: float = -10.5
    height: float = 8.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.diameter <= 20.0:
            raise UserError(f"a tumour of {self.diameter:g} mm; give a diameter from 0.5 to 20 mm")

    def interval(self, body: Body) -> Organ:
        """Where rays enter and leave it, on the body's grid."""
        centre = body.bones.place([(self.along, self.left, self.height)])[0]
        return body.interval(ellipsoid(centre, np.eye(3), np.full(3, self.diameter / 2)))


@dataclass(frozen=True, eq=False)
class Sources:
    """The places of one posed animal, as the length of each ray in each layer.

    Attributes:
        layers: place to (L, H, W) mm, of bone in mm of dense bone; only what lies in the field.
        edges: (L + 1,) heights of the layers over the bed, mm.
        top: (H, W) height of the body's upper surface, mm, 0 beside it.
        thickness: (H, W) mm of body along the ray.
        step: pixel of these maps, mm; they cover the field of 50 x 100 mm.
    """

    layers: dict[str, Map]
    edges: npt.NDArray[np.float64]
    top: Map
    thickness: Map
    step: float

    def volume(self, place: str) -> float:
        """Volume of a place in the field, mm³ (of bone: as if it were dense)."""
        return float(self.layers[place].sum(dtype=np.float64)) * self.step**2


def find_sources(body: Body, places: Iterable[str], tumour: Tumour | None = None) -> Sources:
    """Lay out the places of an agent in a posed body.

    Arguments: `body`; `places`, of `PLACES`; `tumour`, or None for an animal without one.
    Intervals of neighbouring organs may overlap a little, as those of the X-ray do; activity is spread evenly over the
    whole of each. Soft tissue is what remains of the body, of the lungs 30 %. Raises ValueError for an unknown place.
    """
    edges = np.arange(0.0, _HIGHEST + LAYER / 2, LAYER)
    wanted = tuple(places)
    layers: dict[str, Map] = {}
    for place in wanted:
        if place in _PARTS:
            layers[place] = _of_intervals((body.organs[part] for part in _PARTS[place]), edges, body.shape)
        elif place == "tumour":
            if tumour is None:
                raise ValueError("an agent that goes into a tumour needs one")
            layers[place] = _in_layers(tumour.interval(body), edges)
        elif place == "brain":
            solids = np.concatenate([body.bones.ball_solid(centre, half) for centre, half in _BRAIN])
            layers[place] = _in_layers(body.interval(solids), edges)
        elif place not in ("soft tissue", "skeleton", "skull"):
            raise ValueError(f"{place!r} is no place of the simulated mouse; known are {', '.join(PLACES)}")
    if "skeleton" in wanted or "skull" in wanted:
        bone, skull = body.bone_layers(edges)
        layers |= {"skeleton": np.maximum(bone - skull, 0.0), "skull": skull}
    if "soft tissue" in wanted:
        layers["soft tissue"] = _soft_tissue(body, edges, layers.get("tumour"))
    skin = body.surface.body
    top, thickness = np.maximum(skin.high, 0.0), skin.thickness
    if tumour is not None:  # one that bulges has no tissue over it
        ball = tumour.interval(body)
        top = np.maximum(top, ball.high)
        thickness = thickness + ball.thickness - skin.overlap(ball)
    return Sources({place: layers[place] for place in wanted}, edges, top, thickness, body.fine)


def label_tumour(labels: npt.NDArray[np.uint8], body: Body, tumour: Tumour) -> npt.NDArray[np.uint8]:
    """Return the organ map of an image of the body with the tumour on it, where it is thicker than 0.4 mm."""
    middle = slice(body.finer // 2, None, body.finer)
    marked = labels.copy()
    marked[tumour.interval(body).thickness[middle, middle] > 0.4] = TUMOUR_LABEL
    return marked


def blurred(image: Map, fwhm: float, step: float) -> Map:
    """Blur by a Gaussian of `fwhm` mm; beside the field there is nothing."""
    deviation = fwhm / np.sqrt(8.0 * np.log(2.0)) / step
    reach = 2 * int(np.ceil(4.0 * deviation)) + 1
    return np.asarray(
        cv2.GaussianBlur(image, (reach, reach), deviation, borderType=cv2.BORDER_CONSTANT), dtype=np.float32
    )


def _in_layers(organ: Organ, edges: npt.NDArray[np.float64]) -> Map:
    low, high = edges[:-1, None, None].astype(np.float32), edges[1:, None, None].astype(np.float32)
    return np.maximum(np.minimum(organ.high, high) - np.maximum(organ.low, low), np.float32(0.0))


def _of_intervals(parts: Iterable[Organ], edges: npt.NDArray[np.float64], shape: tuple[int, int]) -> Map:
    total = np.zeros((len(edges) - 1, *shape), np.float32)
    for part in parts:
        total += _in_layers(part, edges)
    return total


def _soft_tissue(body: Body, edges: npt.NDArray[np.float64], tumour: Map | None) -> Map:
    rest = _in_layers(body.surface.body, edges)
    for place in _DISPLACING:
        rest -= _of_intervals((body.organs[part] for part in _PARTS[place]), edges, body.shape)
    rest -= np.float32(_AIR_IN_LUNG) * _of_intervals((body.organs[part] for part in _PARTS["lungs"]), edges, body.shape)
    if tumour is not None:
        rest -= tumour
    return np.maximum(rest, np.float32(0.0))

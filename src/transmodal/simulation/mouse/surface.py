"""The skin: heights of the body's upper and lower surface over the bed, and what covers it where.

The trunk and head are a loft along the axis: half width W(s), height Z(s). A squared-height field
E(s, v) = A(s)² (1 - |v / W(s)|^p) stands for it, and ellipsoidal swellings (haunches, shoulders, cheeks) are blended
into it by a smooth maximum before the square root, so that the outline has no creases. Limbs and tail are analytic
solids; ears are thin discs.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.limbs import LimbJoints, limb_skin
from transmodal.simulation.mouse.organs import Organ
from transmodal.simulation.mouse.pose import Pose, body_coordinates
from transmodal.simulation.mouse.shapes import Solids, hull, round_cones
from transmodal.simulation.mouse.skeleton import Bones, tail_height

Map = NDArray[np.float32]
Vector = NDArray[np.float64]

_WIDTH = (
    (0.0, 0.7), (0.4, 1.3), (1.4, 2.1), (3.5, 3.3), (6.5, 5.0), (10.0, 7.0), (13.5, 8.2), (17.0, 8.7), (21.0, 8.6),
    (25.0, 8.8), (30.0, 9.9), (37.0, 11.4), (45.0, 12.6), (54.0, 13.9), (62.0, 14.7), (69.0, 14.8), (75.0, 13.8),
    (80.0, 12.2), (83.5, 10.0), (86.2, 7.0), (88.2, 3.9), (91.0, 1.9),
)  # fmt: skip
_TOP = (
    (0.0, 5.6), (2.0, 6.9), (6.0, 9.0), (10.0, 11.2), (14.0, 12.9), (18.0, 13.6), (23.0, 13.4), (28.0, 13.8),
    (35.0, 15.5), (43.0, 17.0), (52.0, 18.2), (60.0, 18.6), (67.0, 17.6), (74.0, 15.2), (80.0, 11.8), (84.0, 8.6),
    (87.0, 6.0), (91.0, 4.2),
)  # fmt: skip


@dataclass(frozen=True)
class Ear:
    """One ear in the field, mm: centre (2,), unit direction to its tip (2,), half length, half width, height."""

    centre: NDArray[np.float64]
    direction: NDArray[np.float64]
    half_length: float
    half_width: float
    height: float


@dataclass(frozen=True)
class Surface:
    """The skin of one posed animal on the pixel grid; maps are (H, W).

    `top` and `bottom`: heights in mm, 0 outside. `fur`, `naked`, `tail`: heights of these parts alone, -1 outside.
    `s`, `v`: body coordinates in mm. `eyes`: (2, 3) places in the field, mm.
    """

    top: Map
    bottom: Map
    fur: Map
    naked: Map
    tail: Map
    s: Map
    v: Map
    half_width: Map
    ears: tuple[Ear, Ear]
    eyes: NDArray[np.float64]
    nose: NDArray[np.float64]
    tail_path: NDArray[np.float64]
    tail_radii: NDArray[np.float64]

    @property
    def body(self) -> Organ:
        """The whole body as one interval a ray."""
        outside = self.top <= 0
        return Organ(np.where(outside, np.float32(1e9), self.bottom), np.where(outside, np.float32(-1e9), self.top))


def _swelling(s: Map, v: Map, centre: tuple[float, float], half: tuple[float, float], rise: float) -> Map:
    distance = ((s - centre[0]) / half[0]) ** 2 + ((v - centre[1]) / half[1]) ** 2
    return np.asarray(rise**2 * (1.0 - distance), dtype=np.float32)


def _thick_segment(s: Map, v: Map, first: Vector, last: Vector, radii: tuple[float, float], rise: float) -> Map:
    """Squared-height field of a muscle along a segment of a limb, in plan."""
    along = (last - first)[:2]
    share = np.clip(((s - first[0]) * along[0] + (v - first[1]) * along[1]) / float(along @ along), 0.0, 1.0)
    distance = (s - first[0] - share * along[0]) ** 2 + (v - first[1] - share * along[1]) ** 2
    radius = radii[0] + share * (radii[1] - radii[0])
    high = rise * (1.0 - 0.42 * share)
    return np.asarray(high**2 * (1.0 - distance / radius**2), dtype=np.float32)


def _smooth_maximum(a: Map, b: Map, blend: float) -> Map:
    share = np.clip(0.5 + 0.5 * (a - b) / np.float32(blend), 0.0, 1.0)
    return np.asarray(b + (a - b) * share + np.float32(blend) * share * (1.0 - share), dtype=np.float32)


def _profile(table: tuple[tuple[float, float], ...], s: Map) -> Map:
    nodes = np.array(table)
    grid = np.arange(-2.0, 110.0, 0.05)
    values = PchipInterpolator(nodes[:, 0], nodes[:, 1])(np.clip(grid, nodes[0, 0], nodes[-1, 0]))
    return np.interp(s, grid, values).astype(np.float32)


def _trunk(animal: Animal, s: Map, v: Map, limbs: tuple[LimbJoints, LimbJoints]) -> tuple[Map, Map, Map]:
    """Upper and lower heights of head and trunk in mm, and the half width."""
    s = s / np.float32(animal.scale)
    fat = (animal.fatness - 0.5) * np.exp(-0.5 * ((s - 62.0) / 13.0) ** 2)
    sides = animal.scale * (0.35 + 0.65 * animal.width)
    width = _profile(_WIDTH, s) * (1.0 + np.float32(0.16) * fat)
    top = _profile(_TOP, s) * np.float32(animal.height)
    v = v / np.float32(sides)
    middle = np.float32(0.40) * top
    rise = top - middle
    u = np.abs(v) / width
    field = rise**2 * (1.0 - u**2.15)
    beyond = np.minimum(s + 0.2, 0.0) + np.minimum(91.5 - s, 0.0)
    field = np.where(beyond < 0.0, -(beyond**2) - u**2, field).astype(np.float32)
    for limb in limbs:
        thigh = _thick_segment(s, v, limb.hip, limb.knee, (7.8, 4.4), 8.0 * animal.height)
        field = _smooth_maximum(field, thigh, 62.0)
        arm = _thick_segment(s, v, limb.shoulder, limb.elbow, (4.8, 2.0), 4.8 * animal.height)
        field = _smooth_maximum(field, arm, 40.0)
        field = _smooth_maximum(field, _swelling(s, v, (12.5, limb.side * 4.6), (4.6, 3.4), 5.6), 8.0)
        field = _smooth_maximum(field, _swelling(s, v, (3.0, limb.side * 1.7), (2.3, 1.6), 3.0), 4.0)
    root = np.sqrt(np.maximum(field, 0.0))
    high = np.where(field > 0, middle + root, -1.0)
    low = middle * (1.0 - np.sqrt(np.clip(root / (0.75 * rise), 0.0, 1.0)))
    scale = np.float32(animal.scale)
    return (
        (high * scale).astype(np.float32),
        (low * scale).astype(np.float32),
        (width * np.float32(sides)).astype(np.float32),
    )


def _tops(solids: Solids, shape: tuple[int, int], pixel: float) -> tuple[Map, Map]:
    low, high = np.full(shape, 1e9, np.float32), np.full(shape, -1e9, np.float32)
    hull(solids, pixel, low, high)
    return np.maximum(low, 0.0), np.where(high > low, high, np.float32(-1.0))


def tail_chain(animal: Animal, pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre line (N, 3) in the field and radii (N,) of the tail, mm."""
    s = np.linspace(82.0 * animal.scale, animal.length + animal.tail, 70)
    share = np.clip((s - animal.length) / animal.tail, 0.0, 1.0)
    radii = (1.75 - 1.35 * share**0.8) * animal.scale + 1.2 * np.exp(-np.maximum(s - 84.0 * animal.scale, 0.0) / 2.6)
    z = np.maximum(tail_height(s / animal.scale) * animal.scale, radii)
    return pose.place(s, np.zeros_like(s), z, tail=True), radii


def make_surface(
    animal: Animal, pose: Pose, limbs: tuple[LimbJoints, LimbJoints], shape: tuple[int, int], pixel: float
) -> Surface:
    """The skin of one posed animal.

    Arguments: `animal`, `pose`; `limbs`, joints of the left and right side; `shape` (H, W); `pixel` in mm.
    """
    s, v = body_coordinates(pose, shape[0], shape[1], pixel)
    trunk, under, half_width = _trunk(animal, s, v, limbs)
    skins = [limb_skin(animal, pose, limb) for limb in limbs]
    furred_low, furred = _tops(np.concatenate([skin[0] for skin in skins]), shape, pixel)
    naked_low, naked = _tops(np.concatenate([skin[1] for skin in skins]), shape, pixel)
    path, radii = tail_chain(animal, pose)
    tail_low, tail = _tops(round_cones(path, radii), shape, pixel)
    fur = _smooth_maximum(trunk, furred, 1.2)
    fur = np.where((trunk > 0) | (furred > 0), np.maximum(np.maximum(trunk, furred), fur), np.float32(-1.0))
    fur = np.where(fur > 0, cv2.GaussianBlur(fur, (0, 0), 0.25 / pixel), fur)
    fur = np.where((trunk > 0) | (furred > 0), np.maximum(fur, 0.05), np.float32(-1.0)).astype(np.float32)
    top = np.maximum(np.maximum(fur, naked), np.maximum(tail, 0.0))
    bottom = np.full(shape, 1e9, np.float32)
    for low, high in ((under, trunk), (furred_low, furred), (naked_low, naked), (tail_low, tail)):
        bottom = np.where(high > 0, np.minimum(bottom, low), bottom)
    bottom = np.where(top > 0, np.minimum(bottom, top), np.float32(0.0)).astype(np.float32)
    bones = Bones(animal, pose)
    ears = tuple(_ear(animal, bones, side) for side in (1.0, -1.0))
    eyes = bones.place([(10.6, 5.9, 9.0), (10.6, -5.9, 9.0)])
    nose = bones.place([(0.2, 0.0, 5.0)])[0]
    return Surface(top, bottom, fur, naked, tail, s, v, half_width, (ears[0], ears[1]), eyes, nose, path, radii)


def _ear(animal: Animal, bones: Bones, side: float) -> Ear:
    root, tip = bones.place([(16.6, side * 5.6, 12.0), (21.6, side * 12.6, 12.0)])
    direction = (tip - root)[:2]
    direction /= np.hypot(*direction)
    size = animal.ear * animal.scale
    return Ear(root[:2] + direction * 4.1 * size, direction, 5.0 * size, 4.0 * size, float(root[2]))


def ear_distance(ear: Ear, shape: tuple[int, int], pixel: float) -> tuple[Map, Map, Map]:
    """Distance from the ear's centre in units of its outline (H, W), with the coordinates to tip and side."""
    rows = ((np.arange(shape[0]) + 0.5) * pixel - ear.centre[1])[:, None]
    columns = ((np.arange(shape[1]) + 0.5) * pixel - ear.centre[0])[None, :]
    along = (columns * ear.direction[0] + rows * ear.direction[1]) / ear.half_length
    across = (-columns * ear.direction[1] + rows * ear.direction[0]) / ear.half_width
    # Narrower towards the root, as an ear is.
    taper = 1.0 + 0.30 * np.clip(-along, 0.0, 1.2) ** 1.5
    distance = np.sqrt(along**2 + (across * taper) ** 2)
    return distance.astype(np.float32), along.astype(np.float32), across.astype(np.float32)

"""The reference body as signed distances (mm, negative inside): walls, cavities and organs of a mouse on its back.

Positions and sizes are typical ones of an adult mouse, rounded; they are meant to look right, not to be measured.
The animal's right is positive: stomach and spleen lie at negative x, the right kidney lies nearer to the head.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from transmodal.simulation.abdomen.anatomy import Site
from transmodal.simulation.brain.fields import Volume
from transmodal.simulation.brain.shapes import Coordinates, ellipsoid, intersection, tube, union

Lengths = NDArray[np.floating[Any]]

_STATIONS = (-26.0, -20.0, -14.0, -8.0, -2.0, 4.0, 9.0, 14.0, 19.0, 24.0, 28.0)
_FRAME = {  # of the muscles' surface, and the height of the vertebral bodies' centres
    "half width": (8.6, 9.8, 10.8, 11.3, 11.3, 10.9, 10.0, 8.9, 8.0, 7.2, 6.5),
    "back": (-6.8, -7.2, -7.6, -7.9, -8.0, -7.8, -7.2, -6.4, -5.5, -4.6, -4.0),
    "belly": (6.8, 7.4, 7.9, 8.3, 8.4, 8.2, 7.8, 7.5, 7.3, 7.0, 6.8),
    "spine": (-3.0, -3.4, -3.8, -4.2, -4.3, -4.1, -3.6, -2.8, -1.8, -0.8, 0.0),
}
SQUARENESS = 2.25
"""Exponent of the trunk's cross-section; 2 is an ellipse."""

DIAPHRAGM = 0.35  # mm thick


@cache
def _curve(name: str) -> PchipInterpolator:
    return PchipInterpolator(_STATIONS, _FRAME[name])


def profile(name: str, z: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """One of the frame's lengths at reference heights z, mm: "half width", "back", "belly" or "spine"."""
    return np.asarray(_curve(name)(np.clip(z, _STATIONS[0], _STATIONS[-1])))


@dataclass(frozen=True)
class Bodies:
    """Signed distances on a coarse grid, mm, negative inside; `vessel_one`, `vessel_two` and `fissure` are fields
    whose zeros are the sheets that cross in vessels, and the gaps between lobes of the liver."""

    body: Volume
    fat: Volume
    muscle: Volume
    abdomen: Volume
    thorax: Volume
    mesentery: Volume
    lung: Volume
    heart: Volume
    caecum: Volume
    spleen: Volume
    stomach: Volume
    liver: Volume
    bile: Volume
    kidneys: Volume
    vessel_one: Volume
    vessel_two: Volume
    fissure: Volume


def make_bodies(site: Site) -> Bodies:
    """Evaluate an animal at a visit on the site's grid."""
    animal, visit = site.animal, site.visit
    x, y, z = at = site.reference
    spine = profile("spine", z).astype(np.float32)
    muscle = _frame(at) + 0.2 * site.noise(101, 7.0)
    # Fat lies under the skin of flanks and groin, and a pad between the shoulder blades.
    flank = np.clip(np.abs(x) / 11, 0, 1) * np.clip((2 - z) / 14, 0.0, 1)
    pad = np.clip((z - 13) / 8, 0, 1) * np.clip((-1 - y) / 4, 0, 1)
    thickness = animal.fat * (0.5 + 0.9 * flank + 1.2 * pad) * (1 + 0.3 * site.noise(102, 9.0))
    fat = muscle - np.maximum(thickness, 0.08)
    back = _back(at, spine)
    wall = 0.85 + 0.8 * np.clip((z + 1) / 7, 0, 1)
    cavity = intersection(muscle + wall.astype(np.float32), -back, 1.2)
    floor = _diaphragm(at, animal.dome + visit.breath)
    thorax = intersection(cavity, floor, 0.8)
    abdomen = intersection(cavity, -floor + np.float32(DIAPHRAGM), 0.6)
    heart = ellipsoid(at, (-0.7, 2.3, 12.9), (3.6, 3.4, 4.5), turn=0.1, pitch=-0.35)
    heart = union(heart, ellipsoid(at, (0.5, 1.5, 16.0), (2.6, 2.2, 2.2)), 1.5)
    stomach = _stomach(at) - np.float32(visit.stomach)
    kidneys = _kidneys(at, animal.kidneys)
    liver, fissure = _liver(site, abdomen)
    liver = np.maximum(np.maximum(liver, -stomach + np.float32(0.12)), -kidneys + np.float32(0.3))
    caecum = union(
        ellipsoid(at, (2.2, 4.4, -12.6), (5.0, 2.7, 3.2), turn=0.25),
        ellipsoid(at, (5.0, 2.0, -15.0), (2.7, 3.0, 3.4), turn=0.5),
        1.5,
    )
    patches = site.noise(103, 2.6) + np.float32(1.5 * animal.belly_fat - 0.35)
    return Bodies(
        body=fat - np.float32(0.42),
        fat=fat,
        muscle=muscle,
        abdomen=abdomen,
        thorax=thorax,
        mesentery=np.maximum(abdomen + np.float32(0.4), 0.5 * patches),
        lung=np.maximum(thorax + np.float32(0.12), -_mediastinum(at, heart, spine)),
        heart=np.maximum(heart, thorax + np.float32(0.3)),
        caecum=np.maximum(caecum, abdomen + np.float32(0.2)),
        spleen=np.maximum(_spleen(at), abdomen + np.float32(0.15)),
        stomach=np.maximum(stomach, abdomen + np.float32(0.2)),
        liver=liver,
        bile=ellipsoid(at, (1.0, 5.0, 0.4), (1.25, 1.2, 1.7)),
        kidneys=kidneys,
        vessel_one=site.noise(104, 4.2),
        vessel_two=site.noise(105, 4.2),
        fissure=fissure,
    )


def _ellipse(x: Lengths, y: Lengths, a: float | Lengths, b: float | Lengths, power: float = 2.0) -> Volume:
    """First-order distance to a (super)ellipse in the plane."""
    u, v = np.abs(x) / a, np.abs(y) / b
    near = np.maximum((u**power + v**power) ** np.float32(1 / power), 1e-3)
    steep = np.hypot((u / near) ** np.float32(power - 1) / a, (v / near) ** np.float32(power - 1) / b)
    return np.asarray((near - 1) / np.maximum(steep, 1e-3), dtype=np.float32)


def _frame(at: Coordinates) -> Volume:
    x, y, z = at
    half = profile("half width", z).astype(np.float32)
    back, belly = profile("back", z).astype(np.float32), profile("belly", z).astype(np.float32)
    return _ellipse(x, y - (back + belly) / 2, half, (belly - back) / 2, SQUARENESS)


def _back(at: Coordinates, spine: Volume) -> Volume:
    """The muscles along the spine, and the psoas below the ribs."""
    x, y, z = at
    low = np.clip((3 - z) / 7, 0, 1)
    columns = _ellipse(x, y - spine + 1.6, 3.7 + 0.9 * low, 2.8 + 0.3 * low)
    body = _ellipse(x, y - spine, 1.75, 1.7)
    psoas = _ellipse(np.abs(x) - 1.7, y - spine - 0.5, 0.3 + 1.2 * low, 0.3 + 1.25 * low)
    return union(union(columns, body, 0.8), psoas, 0.6)


def _diaphragm(at: Coordinates, higher: float) -> Volume:
    """Distance to the dome, negative on the side of the head."""
    x, y, z = at
    side = np.exp(-(((np.abs(x) - 4.6) / 3.2) ** 2))  # two cupolas, the right one higher
    top = 8.2 + higher + 0.7 * side + np.where(x > 0, 0.35 * side, 0)
    steep = np.hypot(x * np.float32(2 * 7.6 / 9.6**2), (y - 1) * np.float32(2 * 7.6 / 8.2**2))
    height = top - 7.6 * ((x / 9.6) ** 2 + ((y - 1) / 8.2) ** 2)
    return np.asarray((height - z) / np.sqrt(1 + steep**2), dtype=np.float32)


def _mediastinum(at: Coordinates, heart: Volume, spine: Volume) -> Volume:
    x, y, z = at
    around_heart = heart - np.float32(0.35)
    sheet = np.maximum(np.abs(x + 0.2) - (0.45 + 0.25 * np.clip(z - 14, 0, 5)), -0.5 - y)
    thymus = ellipsoid(at, (0.0, 3.6, 19.5), (2.6, 2.0, 3.8))
    vessels = _ellipse(x + 0.1, y - spine - 2.2, 1.5, 1.1)
    return union(union(union(around_heart, thymus, 1.0), sheet.astype(np.float32), 0.8), vessels, 0.8)


def _stomach(at: Coordinates) -> Volume:
    fundus = ellipsoid(at, (-5.6, 0.2, -1.6), (3.9, 4.0, 3.3), turn=0.3)
    return union(fundus, ellipsoid(at, (-1.6, 2.2, -4.0), (3.6, 2.2, 2.0), turn=-0.35), 2.0)


def _spleen(at: Coordinates) -> Volume:
    points = [(-8.2, -3.4, -2.0, 0.8), (-9.4, -2.0, -4.6, 1.35), (-9.5, 0.2, -7.6, 1.45), (-8.8, 2.0, -10.4, 0.8)]
    return tube(at, points, join=1.5)


def _kidneys(at: Coordinates, larger: float) -> Volume:
    x, y, z = at
    made = None
    for side, height in ((1.0, -4.4), (-1.0, -8.0)):
        own: Coordinates = (np.asarray(side * x, dtype=np.float32), y, z)
        bean = ellipsoid(own, (5.5, -2.6, height), (2.75, 2.9, 5.0), turn=-0.35) - np.float32(larger)
        hilum = ellipsoid(own, (2.9, -1.8, height - 0.3), (1.5, 1.0, 1.3))
        bean = intersection(bean, -hilum, 0.5)
        made = bean if made is None else np.minimum(made, bean)
    assert made is not None
    return made


def _liver(site: Site, abdomen: Volume) -> tuple[Volume, Volume]:
    at = site.reference
    left = union(
        ellipsoid(at, (-6.4, 3.2, 1.8), (5.0, 5.2, 6.0)), ellipsoid(at, (-7.0, 1.0, 4.0), (4.0, 6.0, 4.0)), 2.0
    )
    middle = union(
        ellipsoid(at, (0.6, 3.0, 3.6), (7.0, 6.0, 6.4)), ellipsoid(at, (1.0, 5.4, -0.8), (5.6, 2.8, 4.4)), 2.0
    )
    right = union(
        ellipsoid(at, (6.8, 0.4, 1.2), (5.2, 6.6, 6.8)), ellipsoid(at, (3.4, -2.6, 2.4), (5.0, 3.6, 5.4)), 2.0
    )
    bumps = 0.45 * site.noise(106, 5.0) - np.float32(0.25 + site.animal.liver)
    whole = union(union(left, middle, 1.2), right, 1.2) + bumps
    gap = np.where(at[0] < 0.5, left - middle, right - middle) + 0.5 * site.noise(107, 6.0)
    return intersection(whole, abdomen + np.float32(0.12), 0.4), gap.astype(np.float32)

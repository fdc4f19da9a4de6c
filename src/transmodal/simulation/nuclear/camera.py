"""Planar cameras over the bed: which share of a place's activity is counted in which pixel.

A gamma camera with parallel holes sees from above: resolution falls with distance, FWHM² = intrinsic² + (slope d)²
(the usual approximation), sensitivity does not, and what lies at depth is weakened by exp(-µ depth). Two opposed heads
in coincidence blur everything alike and lose exp(-µ thickness), wherever on the line the decay is. The body weakens as
soft tissue throughout; scatter, dead time and random coincidences are left out.

Resolution of 2 mm at 0 mm and 210 cps/MBq are those of a small planar gamma camera (Georgiou et al., Mol Imaging Biol
2017, abstract). The other numbers are plausible settings, not those of a product; µ is approximately that of water.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from transmodal.errors import UserError
from transmodal.images.image import picture_affine
from transmodal.images.nuclear.isotopes import Isotope
from transmodal.images.transform import Transform
from transmodal.simulation.mouse.bed import Misalignment
from transmodal.simulation.mouse.pose import FIELD_HEIGHT, FIELD_WIDTH
from transmodal.simulation.nuclear.sources import Map, Sources, blurred

OFF_THE_XRAY = Misalignment(rotation_degrees=1.2, shift_mm=(1.4, -0.9), scale=1.012)
"""How far the nuclear field lies off the X-ray's, unless told otherwise."""


@dataclass(frozen=True)
class Camera:
    """What both kinds of camera have.

    Attributes:
        sensitivity: counts a second for each MBq in the field, without attenuation.
        attenuation: µ of soft tissue at the counted energy, 1/mm.
        energy_window: keV, (low, high).
        pixel: mm; the field is always 50 x 100 mm.
        background: counts a second and mm², evenly over the field.
        saturation: the greatest count that a pixel of a frame can hold.
        off: how the field lies off the X-ray's.
    """

    sensitivity: float
    attenuation: float
    energy_window: tuple[float, float]
    pixel: float = 1.0
    background: float = 0.002
    saturation: int = 65535
    off: Misalignment = field(default=OFF_THE_XRAY)

    def __post_init__(self) -> None:
        if not (self.sensitivity > 0 and self.attenuation >= 0 and self.background >= 0 and self.saturation > 0):
            raise UserError(
                f"a camera of {self.sensitivity:g} cps/MBq, µ {self.attenuation:g}/mm, background {self.background:g} "
                f"and saturation {self.saturation}; give sensitivity and saturation above 0, the others from 0"
            )
        if not 0.1 <= self.pixel <= 10.0:
            raise UserError(f"a nuclear pixel of {self.pixel:g} mm; give 0.1 to 10 mm")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) pixels of the field."""
        return round(FIELD_HEIGHT / self.pixel), round(FIELD_WIDTH / self.pixel)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """(row, column) to the nuclear world, mm."""
        return picture_affine((self.pixel, self.pixel))

    def transmitted(self, height: float, sources: Sources) -> Map:
        """Share of the emissions at `height` mm over the bed that the body lets through, (H, W)."""
        raise NotImplementedError

    def fwhm(self, height: float) -> float:
        """Resolution for what lies at `height` mm over the bed, mm."""
        raise NotImplementedError


@dataclass(frozen=True)
class GammaCamera(Camera):
    """One head with parallel holes, over the animal.

    Attributes:
        intrinsic: FWHM at the collimator's face, mm.
        slope: by which FWHM grows with distance, mm/mm.
        face: height of the collimator's face over the bed, mm.
    """

    sensitivity: float = 210.0
    attenuation: float = 0.0155
    energy_window: tuple[float, float] = (126.0, 154.0)
    intrinsic: float = 2.0
    slope: float = 0.06
    face: float = 30.0

    def transmitted(self, height: float, sources: Sources) -> Map:
        """exp(-µ depth)."""
        return np.exp(np.float32(-self.attenuation) * np.maximum(sources.top - np.float32(height), np.float32(0.0)))

    def fwhm(self, height: float) -> float:
        """FWHM² = intrinsic² + (slope distance)²."""
        return math.hypot(self.intrinsic, self.slope * max(self.face - height, 0.0))


@dataclass(frozen=True)
class CoincidenceCamera(Camera):
    """Two heads, over and under the animal.

    Attributes:
        blur: FWHM for every height, mm.
    """

    sensitivity: float = 350.0
    attenuation: float = 0.0096
    energy_window: tuple[float, float] = (350.0, 650.0)
    blur: float = 1.8

    def transmitted(self, height: float, sources: Sources) -> Map:
        """exp(-µ thickness), for both photons together."""
        return np.exp(np.float32(-self.attenuation) * sources.thickness)

    def fwhm(self, height: float) -> float:
        """The same at every height."""
        return self.blur


def camera_for(isotope: Isotope) -> Camera:
    """Return the camera with default settings that sees an isotope."""
    return CoincidenceCamera() if isotope.emission == "coincidence" else GammaCamera()


def device_transform(camera: Camera, xray_pixel: float) -> Transform:
    """Return the map from the nuclear image's world to the X-ray's, mm.

    Both worlds begin in the middle of their image's first pixel, so it depends on the X-ray's pixel, in mm. The
    nuclear field is scaled and turned about the middle of the field (x towards y), then shifted.
    """
    angle = math.radians(camera.off.rotation_degrees)
    linear = camera.off.scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([FIELD_WIDTH / 2, FIELD_HEIGHT / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    to_field = middle + np.array(camera.off.shift_mm) - linear @ (middle - camera.pixel / 2)
    matrix[:2, 2] = to_field - xray_pixel / 2
    return Transform("similarity", matrix)


def project(camera: Camera, sources: Sources) -> dict[str, npt.NDArray[np.float64]]:
    """Return for every place the counts a second of each pixel when 1 Bq lies evenly in it, (h, w).

    What an image would count of a place is this times its activity; its sum over pixels divided by the sensitivity is
    the share that attenuation and the field's border leave. Raises UserError for a place that has no volume in the
    field.
    """
    heights = (sources.edges[:-1] + sources.edges[1:]) / 2
    sums = {place: np.zeros(sources.top.shape, np.float32) for place in sources.layers}
    for layer, height in enumerate(heights):
        filled = [place for place, parts in sources.layers.items() if parts[layer].any()]
        if not filled:
            continue
        through = camera.transmitted(float(height), sources)
        for place in filled:
            seen = sources.layers[place][layer] * through
            sums[place] += blurred(seen, camera.fwhm(float(height)), sources.step)
    projected = {}
    for place, seen in sums.items():
        volume = sources.volume(place)
        if volume <= 0.0:
            raise UserError(f"no {place} lies in the field of the simulated mouse; choose another place or size")
        # cps of 1 Bq, spread over mm² of the body's plane
        projected[place] = _on_pixels(camera, seen, sources.step) * (camera.sensitivity * 1e-6 / volume)
    return projected


def _on_pixels(camera: Camera, image: Map, step: float) -> npt.NDArray[np.float64]:
    """Integrate a map of the field over the camera's pixels, (h, w): the map's unit times mm²."""
    across = max(2, math.ceil(camera.pixel / 0.2))
    height, width = camera.shape
    places = (np.arange(across) + 0.5) / across - 0.5  # of samples in a pixel, in pixels
    rows = (np.arange(height)[:, None] + places).ravel() * camera.pixel
    columns = (np.arange(width)[:, None] + places).ravel() * camera.pixel
    points = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1)
    field_points = device_transform(camera, 0.0).apply(points)
    columns_on_map, rows_on_map = np.moveaxis(field_points / step - 0.5, -1, 0)
    # Straight lines between the map's pixels would beat against the samples: some pixels would count 0.3 % more.
    sampled = map_coordinates(image, (rows_on_map, columns_on_map), np.float64, order=3, mode="constant")
    area = (camera.pixel * camera.off.scale / across) ** 2
    blocks = np.maximum(sampled, 0.0).reshape(height, across, width, across)
    return np.asarray(blocks.sum(axis=(1, 3)) * area)

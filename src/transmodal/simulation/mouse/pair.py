"""One pair: the same body, photographed and radiographed, with the map of its organs."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.bed import Acquisition, BedMaps
from transmodal.simulation.mouse.body import Body, pose_body
from transmodal.simulation.mouse.fur import smooth_noise
from transmodal.simulation.mouse.organs import Organ
from transmodal.simulation.mouse.photograph import photograph
from transmodal.simulation.mouse.surface import Surface, ear_distance
from transmodal.simulation.mouse.xray import expose, transmission

Map = NDArray[np.float32]

ORGANS: dict[int, tuple[str, str]] = {
    0: ("background", "#000000"),
    1: ("soft tissue", "#c9a27e"),
    2: ("lungs", "#7fc8f8"),
    3: ("heart", "#d7263d"),
    4: ("liver", "#8c3b2a"),
    5: ("stomach", "#f4a259"),
    6: ("spleen", "#7b2d8b"),
    7: ("kidneys", "#b5651d"),
    8: ("gut", "#e9d985"),
    9: ("bladder", "#f6e27f"),
    10: ("skeleton", "#f2f2f2"),
    11: ("skull", "#cfd8dc"),
}
"""Label map values: name and colour. A pixel has the label of the highest priority along its ray: skull, skeleton,
bladder, kidneys, heart, spleen, stomach, liver, lungs, gut, soft tissue, background."""

_PRIORITY: tuple[tuple[int, tuple[str, ...]], ...] = (
    (8, ("gut",)),
    (2, ("left lung", "right lung")),
    (4, ("liver",)),
    (5, ("stomach",)),
    (6, ("spleen",)),
    (3, ("heart",)),
    (7, ("left kidney", "right kidney")),
    (9, ("bladder",)),
)


@dataclass(frozen=True)
class MousePair:
    """One simulated acquisition; all images (H, W) show the same 50 x 100 mm.

    `photo`: (H, W, 3) uint8 sRGB. `xray`: (H, W) uint16, transmission with air at 60000. `organs`: (H, W) uint8, see
    `ORGANS`. `thickness`: (H, W) float32, mm of body along the ray. `meta`: how it was made.
    """

    photo: NDArray[np.uint8]
    xray: NDArray[np.uint16]
    organs: NDArray[np.uint8]
    thickness: Map
    meta: dict[str, Any] = field(default_factory=dict)


def simulate_pair(
    animal: Animal, acquisition: Acquisition, *, size: tuple[int, int] = (512, 1024), seed: int = 0
) -> MousePair:
    """Simulate one photograph and X-ray of an animal.

    Arguments: `animal`; `acquisition`, bed, cover, pose number; `size`, (height, width) in pixels as 1 to 2, the field
    stays 50 x 100 mm; `seed`, which with the animal's seed and the pose's number decides pose and noise.
    Returns the pair; on one machine equal arguments give equal bytes. Raises UserError for a size of another shape.
    """
    return image_body(pose_body(animal, acquisition, size, seed))


def image_body(body: Body) -> MousePair:
    """Photograph and radiograph a posed body."""
    animal, acquisition, surface, organs, finer = body.animal, body.acquisition, body.surface, body.organs, body.finer
    lengths = _lengths(animal, surface, organs, body.gas, body.bone_maps, body.bed, acquisition, body.fine)
    clean = _shrink(transmission(lengths), finer)
    xray = expose(clean, body.pixel, body.stream(2))
    photo = photograph(animal, acquisition, surface, body.bed, body.fine, finer, body.stream(3))
    labels = _labels(surface, organs, body.bone_maps)[finer // 2 :: finer, finer // 2 :: finer]
    thickness = _shrink(surface.top - surface.bottom, finer)
    meta = {
        "animal": animal.seed,
        "coat": animal.coat,
        "bed": acquisition.bed,
        "cover": acquisition.cover,
        "pose": acquisition.pose,
        "seed": body.seed,
        "pixel_mm": body.pixel,
        "synthetic": True,
    }
    return MousePair(photo, xray, np.ascontiguousarray(labels), thickness, meta)


def _shrink(image: Map, factor: int) -> Map:
    if factor == 1:
        return image
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _lengths(
    animal: Animal,
    surface: Surface,
    organs: dict[str, Organ],
    gas: Map,
    maps: Map,
    bed: BedMaps,
    acquisition: Acquisition,
    pixel: float,
) -> dict[str, Map]:
    """Millimetres of each material along every ray."""
    body = surface.body
    soft = body.thickness.copy()
    for ear in surface.ears:
        distance, _, _ = ear_distance(ear, soft.shape, pixel)
        soft += np.float32(0.42) * (distance < 1.0) + np.float32(0.18) * np.exp(-(((distance - 0.97) / 0.06) ** 2))
    lung = np.zeros_like(soft)
    for name in ("left lung", "right lung"):
        part = organs[name]
        chord = part.overlap(body)
        for other in ("heart", "liver"):
            chord -= organs[other].overlap(part)
        lung += np.maximum(chord, 0.0)
    gas = np.minimum(gas, 0.8 * soft) + np.float32(0.8) * organs["trachea"].overlap(body)
    # Fat: under the skin, and between the organs of the abdomen, more in a fat animal.
    cavity = organs["cavity"].overlap(body)
    filled = np.zeros_like(cavity)
    for name in ("liver", "stomach", "spleen", "left kidney", "right kidney", "gut", "bladder"):
        filled += organs[name].overlap(organs["cavity"])
    fat = np.float32(0.25 + 0.5 * animal.fatness) * np.maximum(cavity - filled, 0.0)
    fat += np.minimum(soft * np.float32(0.2), np.float32(0.5 + 1.1 * animal.fatness))
    # Denser organs as a little more soft tissue; food holds minerals.
    soft += np.float32(0.02) * (
        organs["liver"].thickness + organs["left kidney"].thickness + organs["right kidney"].thickness
    )
    soft += np.float32(0.03) * organs["heart"].thickness + np.float32(0.02) * organs["spleen"].thickness
    grain = _body_texture(animal, 5, surface, 0.8)
    food = organs["food"].thickness * np.clip(1.0 + 0.6 * grain, 0.0, 3.0)
    bone = np.maximum(maps[1], 0.0) * (1.0 + np.float32(0.05) * _body_texture(animal, 6, surface, 0.4))
    bone += np.float32(0.09) * np.maximum(maps[2], 0.0) * _body_texture(animal, 9, surface, 1.1)
    bone += np.float32(0.012) * food + np.float32(0.02) * organs["pellets"].thickness
    bone += np.float32(0.004) * organs["gut"].thickness * np.clip(0.5 + 0.9 * grain, 0.0, 3.0)
    gas += np.maximum(maps[3], 0.0)
    soft = soft + maps[0] - lung - gas - fat
    soft *= 1.0 + np.float32(0.012) * _body_texture(animal, 8, surface, 2.2) + np.float32(0.006) * grain
    lengths = {
        "soft": np.maximum(soft, 0.0),
        "adipose": np.maximum(fat, 0.0),
        "lung": lung,
        "bone": np.maximum(bone, 0.0),
        "acrylic": bed.cover + (bed.bed if acquisition.bed_material == "acrylic" else 0.0),
        "plastic": bed.bed if acquisition.bed_material == "plastic" else np.zeros_like(soft),
    }
    return {name: np.asarray(length, dtype=np.float32) for name, length in lengths.items()}


def _body_texture(animal: Animal, purpose: int, surface: Surface, grain: float) -> Map:
    """Noise of unit spread with features of `grain` mm that sticks to the body, equal in every pose; (H, W)."""
    step = min(grain / 3.0, 0.4)
    noise = smooth_noise(animal.stream(purpose), (int(60.0 / step), int(120.0 / step)), grain / step)
    columns, rows = (surface.s + np.float32(8.0)) / step, (surface.v + np.float32(30.0)) / step
    texture = cv2.remap(noise, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(texture, dtype=np.float32)


def _labels(surface: Surface, organs: dict[str, Organ], maps: Map) -> NDArray[np.uint8]:
    labels = (surface.top > 0).astype(np.uint8)
    for value, names in _PRIORITY:
        for name in names:
            labels[(organs[name].overlap(surface.body) > 0.4)] = value
    labels[maps[1] > 0.12] = 10
    labels[maps[2] > 0.12] = 11
    return labels

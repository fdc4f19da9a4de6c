"""The photograph: the lit fur and skin of the body on its bed, seen from above through a lens by a small camera.

All light is linear until the sensor. The camera looks straight down and its image lies exactly over the X-ray, unless
the acquisition says otherwise. Constants are chosen by eye.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.bed import Acquisition, BedMaps, Misalignment
from transmodal.simulation.mouse.fur import draw_fur, draw_tufts, smooth_noise
from transmodal.simulation.mouse.surface import Surface, ear_distance

Map = NDArray[np.float32]
_LIGHT = np.array([0.05, -0.42, 0.9]) / np.linalg.norm([0.05, -0.42, 0.9])


def photograph(
    animal: Animal,
    acquisition: Acquisition,
    surface: Surface,
    bed: BedMaps,
    pixel: float,
    shrink: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Photograph one posed animal.

    Arguments: `animal`; `acquisition`; `surface` and `bed` on the fine grid of `pixel` mm; `shrink`, fine pixels a
    side of one pixel of the result; `rng`, textures and noise. Returns (H, W, 3) uint8 sRGB.
    """
    scene = _bed(acquisition, bed, surface, pixel, rng)
    _skin(scene, animal, surface, pixel, rng)
    lit = _coat(scene, animal, surface, pixel, rng)
    _face(scene, animal, surface, pixel)
    _ears(scene, lit, animal, surface, pixel, rng)
    if acquisition.cover:
        _cover(scene, bed, pixel, rng)
    if acquisition.misalignment != Misalignment():
        scene = _move(scene, acquisition.misalignment, pixel)
    scene = cv2.GaussianBlur(scene, (0, 0), max(0.065 / pixel, 0.3))
    if shrink > 1:
        size = (scene.shape[1] // shrink, scene.shape[0] // shrink)
        scene = cv2.resize(scene, size, interpolation=cv2.INTER_AREA)
    return _sensor(scene, rng)


def _wide_blur(image: Map, sigma: float) -> Map:
    """Gaussian blur for large spreads, made on a coarse grid."""
    factor = max(1, int(sigma / 3.0))
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)
    size = (max(image.shape[1] // factor, 1), max(image.shape[0] // factor, 1))
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / factor)
    return np.asarray(
        cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )


def _normals(height: Map, pixel: float) -> tuple[Map, Map, Map]:
    """Unit normals of a height map in mm."""
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1.0 / (8.0 * pixel))
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1.0 / (8.0 * pixel))
    size = 1.0 / np.sqrt(1.0 + gx * gx + gy * gy)
    return -gx * size, -gy * size, size


def _diffuse(height: Map, pixel: float, floor: float = 0.30) -> Map:
    """Light on a surface: a soft lamp above the upper side of the field, a weaker one below, and all around."""
    nx, ny, nz = _normals(height, pixel)
    upper = np.clip(nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2], 0.0, 1.0)
    lower = np.clip(nx * _LIGHT[0] - ny * _LIGHT[1] + nz * _LIGHT[2], 0.0, 1.0)
    return np.asarray(floor + (1.0 - floor) * (0.55 * upper + 0.25 * lower + 0.20 * nz), dtype=np.float32)


def _bed(acquisition: Acquisition, bed: BedMaps, surface: Surface, pixel: float, rng: np.random.Generator) -> Map:
    shape = surface.top.shape
    grain = smooth_noise(rng, shape, 0.35 / pixel)
    patch = smooth_noise(rng, shape, 18.0 / pixel)
    if acquisition.bed_material == "acrylic":
        base, tint, texture, depth = 0.30, (0.94, 1.0, 1.0), 0.010, 0.48
    elif acquisition.bed_colour == "black":
        base, tint, texture, depth = 0.030, (1.0, 1.0, 1.06), 0.05, 0.75
    else:
        base, tint, texture, depth = 0.66, (1.0, 0.985, 0.955), 0.012, 0.92
    light: NDArray[Any] = 1.0 + texture * grain + 0.03 * patch
    # Shadow of the body: contact, near and wide; the lamp above throws it a little downwards.
    body = (surface.top > 0).astype(np.float32)
    tall = np.clip(surface.top / 12.0, 0.0, 1.0)
    shift = np.array([[1, 0, 0.2 / pixel], [0, 1, 1.4 / pixel]], dtype=np.float32)
    cast = cv2.warpAffine(tall, shift, (shape[1], shape[0]))
    shadow = (
        0.38 * _wide_blur(body, 0.7 / pixel)
        + 0.52 * _wide_blur(cast, 2.2 / pixel)
        + 0.28 * _wide_blur(tall, 6.0 / pixel)
    )
    light = light * (1.0 - depth * np.clip(shadow, 0.0, 0.94))
    # Rims: brighter top, dark inner foot, a thin highlight on the edge.
    off = bed.wall
    foot = np.exp(-np.clip(-off, 0.0, None) / 0.9) * (1.0 - bed.rim)
    edge = np.exp(-(((off - 0.25) / 0.16) ** 2))
    light = light * (1.0 - 0.32 * foot + 0.10 * bed.rim)
    scene = (base * light)[..., None] * np.array(tint, dtype=np.float32)
    gloss = {"white": 0.05, "black": 0.05}.get(acquisition.bed_colour, 0.10)
    if acquisition.bed_material == "acrylic":
        gloss = 0.30
        band = 0.5 + 0.5 * np.tanh((off - 0.9) / 0.3)
        scene *= (1.0 - 0.25 * band)[..., None]
    scene += (gloss * edge)[..., None]
    scene = scene + _marks(acquisition, shape, pixel, rng)[..., None]
    return np.ascontiguousarray(np.clip(scene, 0.0, None), dtype=np.float32)


def _marks(acquisition: Acquisition, shape: tuple[int, int], pixel: float, rng: np.random.Generator) -> Map:
    """Scratches and a soft reflection of the lamp."""
    marks = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(4, 14))):
        start = np.array([rng.uniform(0, 100), rng.uniform(0, 50)])
        turn, long = rng.uniform(0, np.pi), rng.uniform(2, 12)
        ends = np.array([start, start + long * np.array([np.cos(turn), np.sin(turn)])]) / pixel * 16
        a, b = (tuple(int(value) for value in end) for end in ends)
        cv2.line(marks, a, b, float(rng.uniform(-0.012, 0.016)), 1, cv2.LINE_AA, 4)
    strength = {"white": 0.02, "black": 0.018}.get(acquisition.bed_colour, 0.03)
    if acquisition.bed_material == "acrylic":
        strength = 0.06
    y = (np.arange(shape[0], dtype=np.float32)[:, None] + 0.5) * pixel
    x = (np.arange(shape[1], dtype=np.float32)[None, :] + 0.5) * pixel
    glow = np.exp(-(((y - rng.uniform(4, 9)) / 5.0) ** 2) - ((x - rng.uniform(30, 70)) / 42.0) ** 2)
    return np.asarray(marks + strength * glow, dtype=np.float32)


def _skin_colour(animal: Animal) -> NDArray[np.float32]:
    tone = animal.skin_tone
    if animal.coat == "white":
        return np.array([0.66 + 0.06 * tone, 0.36 + 0.06 * tone, 0.31 + 0.06 * tone], dtype=np.float32)
    return np.array([0.31 + 0.10 * tone, 0.195 + 0.06 * tone, 0.17 + 0.05 * tone], dtype=np.float32)


def _blend(scene: Map, colour: Map, alpha: Map) -> None:
    scene += alpha[..., None] * (colour - scene)


def _skin(scene: Map, animal: Animal, surface: Surface, pixel: float, rng: np.random.Generator) -> None:
    """Feet, hands and tail."""
    pink = _skin_colour(animal)
    height = np.maximum(surface.naked, 0.0)
    light = _diffuse(height, pixel, 0.38) * (1.0 + 0.04 * smooth_noise(rng, height.shape, 0.4 / pixel))
    cover = cv2.GaussianBlur((surface.naked > 0).astype(np.float32), (0, 0), 0.6)
    _blend(scene, light[..., None] * pink * np.float32(0.95), cover)
    tail = np.maximum(surface.tail, 0.0)
    hue = pink * (np.float32(0.92) if animal.coat == "white" else np.float32(0.62))
    if animal.coat == "black":
        hue = 0.55 * hue + 0.45 * np.float32(hue.mean())
    mask = surface.tail > 0
    rings = 1.0 + 0.055 * np.sin(_tail_position(surface, mask, pixel) * (2 * np.pi / 0.5))
    light = _diffuse(tail, pixel, 0.30) * rings
    _blend(scene, light[..., None] * hue, cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.6))


def _tail_position(surface: Surface, mask: NDArray[np.bool_], pixel: float) -> Map:
    """Distance along the tail, mm, where `mask` is set."""
    position = np.zeros(mask.shape, np.float32)
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return position
    path = surface.tail_path[:, :2]
    reach = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    fine = np.arange(0.0, reach[-1], 0.1)
    points = np.stack([np.interp(fine, reach, path[:, 0]), np.interp(fine, reach, path[:, 1])], axis=1)
    _, nearest = cKDTree(points).query(np.stack([(columns + 0.5) * pixel, (rows + 0.5) * pixel], axis=1))
    position[rows, columns] = fine[nearest]
    return position


def _coat(scene: Map, animal: Animal, surface: Surface, pixel: float, rng: np.random.Generator) -> Map:
    """Undercoat and hairs of head and trunk; returns the colour of lit fur (H, W, 3)."""
    shape = surface.fur.shape
    height = np.maximum(surface.fur, 0.0)
    soft = cv2.GaussianBlur(height, (0, 0), 0.45 / pixel)
    # Hollows and flanks get less of the sky.
    open_sky = np.clip(1.0 + 0.09 * (soft - _wide_blur(height, 3.0 / pixel)), 0.45, 1.12)
    open_sky *= 0.80 + 0.20 * np.clip(soft / 12.0, 0.0, 1.0)
    tone = animal.coat_tone
    patch = smooth_noise(rng, shape, 4.0 / pixel)
    own = animal.stream(7)
    if animal.coat == "white":
        light = _diffuse(soft, pixel, 0.16) * open_sky
        colour = np.array([0.84, 0.805 - 0.03 * tone, 0.745 - 0.07 * tone], dtype=np.float32) * np.float32(0.93)
        lit = (light * (1.0 + 0.012 * patch))[..., None] * colour
        warm = np.clip(1.0 - light, 0.0, 1.0)[..., None] * np.array([0.05, 0.015, 0.0], dtype=np.float32)
        lit = lit + warm
        contrast = 0.17
    else:
        nx, ny, nz = _normals(soft, pixel)
        light = _diffuse(soft, pixel, 0.22) * open_sky
        gleam = np.clip(nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2], 0.0, 1.0) ** 14
        gleam += 0.6 * np.clip(nx * _LIGHT[0] - ny * _LIGHT[1] + nz * _LIGHT[2], 0.0, 1.0) ** 18
        brown = 0.5 + 0.5 * float(own.random())
        colour = np.array([0.027 + 0.006 * brown, 0.0245 + 0.003 * brown, 0.0235], dtype=np.float32) * (
            0.8 + 0.5 * tone
        )
        lit = (light * (1.0 + 0.045 * patch))[..., None] * colour
        lit = lit + (0.016 * gleam)[..., None] * np.array([1.0, 0.97, 0.94], dtype=np.float32)
        contrast = 0.42
    # Nose and the skin around it shine through where hair is short.
    thin = np.clip(1.0 - surface.s / (2.4 * animal.scale), 0.0, 1.0)[..., None]
    thin = thin * np.float32(0.7 if animal.coat == "white" else 0.3)
    lit = (lit * (1 - thin) + thin * _skin_colour(animal) * light[..., None]).astype(np.float32)
    furred = cv2.GaussianBlur((surface.fur > np.maximum(surface.naked, 0.0)).astype(np.float32), (0, 0), 0.15 / pixel)
    _blend(scene, lit * np.float32(0.80), furred)
    bare = np.zeros(shape, bool)
    for x, y, _ in surface.eyes:
        cv2.circle(image := bare.astype(np.uint8), (int(x / pixel), int(y / pixel)), int(0.8 / pixel), 1, -1)
        bare |= image.astype(bool)
    bare |= surface.naked > surface.fur
    lit = np.ascontiguousarray(lit, dtype=np.float32)
    draw_fur(scene, lit, surface, bare, pixel, rng, contrast=contrast)
    return lit


def _disc(
    scene: Map, place: NDArray[np.float64], half: tuple[float, float], turn: float, pixel: float
) -> tuple[Map, Map, Map]:
    """Coordinates of an ellipse (radius, along, across) in units of its half axes, over the whole scene."""
    y = ((np.arange(scene.shape[0]) + 0.5) * pixel - place[1])[:, None]
    x = ((np.arange(scene.shape[1]) + 0.5) * pixel - place[0])[None, :]
    along = (x * np.cos(turn) + y * np.sin(turn)) / half[0]
    across = (-x * np.sin(turn) + y * np.cos(turn)) / half[1]
    return np.hypot(along, across).astype(np.float32), along.astype(np.float32), across.astype(np.float32)


def _face(scene: Map, animal: Animal, surface: Surface, pixel: float) -> None:
    """Eyes and nose."""
    centre = surface.eyes.mean(axis=0)
    axis = centre - surface.nose
    turn = float(np.arctan2(axis[1], axis[0]))
    for eye in surface.eyes:
        radius, _, _ = _disc(scene, eye, (1.18 * animal.scale, 0.85 * animal.scale), turn, pixel)
        lid = np.clip((1.32 - radius) / 0.25, 0.0, 1.0)
        _blend(
            scene, _skin_colour(animal) * np.float32(0.55 if animal.coat == "white" else 0.12) + 0 * scene, lid * 0.6
        )
        colour = np.array([0.125, 0.010, 0.016] if animal.coat == "white" else [0.006, 0.006, 0.007], dtype=np.float32)
        ball = np.clip((1.0 - radius) / 0.2, 0.0, 1.0)
        _blend(scene, colour * (1.0 + 0.8 * np.clip(1 - radius, 0, 1))[..., None], ball)
        spot, _, _ = _disc(scene, eye + np.array([0.15, -0.35, 0.0]), (0.26, 0.20), 0.0, pixel)
        _blend(scene, np.full_like(scene, 0.75), np.clip((1.0 - spot) / 0.5, 0.0, 1.0) * 0.85)
    radius, _, across = _disc(scene, surface.nose + axis / np.linalg.norm(axis) * 0.3, (0.62, 0.85), turn, pixel)
    nose = np.clip((1.0 - radius) / 0.35, 0.0, 1.0)
    tint = _skin_colour(animal) * np.float32(0.95 if animal.coat == "white" else 0.42)
    nostril = 1.0 - 0.6 * np.exp(-(((np.abs(across) - 0.5) / 0.2) ** 2)) * (radius < 0.8)
    _blend(scene, tint * nostril[..., None].astype(np.float32), nose * 0.85)


def _ears(scene: Map, lit: Map, animal: Animal, surface: Surface, pixel: float, rng: np.random.Generator) -> None:
    """Thin cups: a bright rolled rim, a dark hollow towards the root, light shining through, hair over the root."""
    pink = _skin_colour(animal)
    if animal.coat == "black":
        pink = np.float32(0.46) * (0.60 * pink + 0.40 * np.float32(pink.mean()))
    for ear in surface.ears:
        distance, along, across = ear_distance(ear, surface.top.shape, pixel)
        front = across * np.sign(ear.direction[1])  # -1 at the front edge, which stands up, +1 behind
        shadow = _wide_blur((distance < 1.0).astype(np.float32), 0.9 / pixel)
        scene *= (1.0 - 0.30 * shadow)[..., None]
        hollow = np.exp(-(((along + 0.42) / 0.55) ** 2) - ((front + 0.02) / 0.42) ** 2)
        fold = np.exp(-(((front + 0.62 - 0.18 * along) / 0.13) ** 2)) * (along < 0.45)
        ridge = np.exp(-(((front - 0.30 + 0.15 * along) / 0.10) ** 2)) * np.exp(-(((along + 0.25) / 0.4) ** 2))
        rim = np.exp(-(((distance - 0.95) / 0.05) ** 2))
        veins = smooth_noise(rng, distance.shape, 0.9 / pixel)
        light = 0.80 - 0.50 * hollow + 0.12 * fold + 0.10 * ridge + 0.16 * rim + 0.10 * along + 0.08 * front
        light *= 1.0 + 0.035 * veins
        colour = light[..., None] * pink
        colour *= 1.0 - hollow[..., None] * np.array([0.0, 0.22, 0.20], dtype=np.float32)
        alpha = np.clip((1.0 - distance) / 0.035, 0.0, 1.0)
        root = np.clip((along + 0.95) / 0.3, 0.0, 1.0)
        _blend(scene, colour.astype(np.float32), (alpha * root).astype(np.float32))
        count = 420
        turn = rng.normal(0.0, 0.42, count)
        reach = -ear.half_length * rng.uniform(0.86, 1.35, count)
        spread = ear.half_width * rng.uniform(-0.95, 0.95, count)
        axis = ear.direction
        side = np.array([-axis[1], axis[0]])
        places = ear.centre + reach[:, None] * axis + spread[:, None] * side
        heading = np.arctan2(axis[1], axis[0])
        back = np.sin(heading) * (np.pi / 2 - abs(heading))  # hairs lean backwards, along the body
        draw_tufts(scene, lit, places, heading - 0.5 * back + turn, 1.7, pixel, rng)


def _cover(scene: Map, bed: BedMaps, pixel: float, rng: np.random.Generator) -> None:
    """A clear half-tube: haze, long reflections of the lamps, and its edges."""
    shape = scene.shape[:2]
    y = (np.arange(shape[0], dtype=np.float32)[:, None] + 0.5) * pixel
    x = (np.arange(shape[1], dtype=np.float32)[None, :] + 0.5) * pixel
    inside = (bed.cover > 0).astype(np.float32)
    inside = cv2.GaussianBlur(inside, (0, 0), 0.1 / pixel)
    scene *= (1.0 - 0.07 * inside)[..., None]
    scene += (0.012 * inside)[..., None]
    inside = inside.astype(np.float32)
    for centre, strength, wide in (
        (rng.uniform(12, 16), rng.uniform(0.05, 0.16), 0.55),
        (rng.uniform(34, 38), 0.05, 0.9),
    ):
        bow = centre + 0.25 * np.sin(x / 31.0 + rng.uniform(0, 6)) + 0.01 * (x - 50) * rng.normal()
        fade = 0.35 + 0.65 * np.exp(-(((x - rng.uniform(25, 75)) / 30.0) ** 2))
        streak = np.exp(-(np.abs((y - bow) / wide) ** 1.6)) + 0.25 * np.exp(-(((y - bow) / (4 * wide)) ** 2))
        scene += (strength * fade * streak * inside)[..., None]
    edge = np.clip((bed.cover - 2.4) / 2.0, 0.0, 1.0)
    scene *= (1.0 - 0.30 * edge)[..., None]
    rim = cv2.GaussianBlur(
        np.abs(cv2.Sobel(inside, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(inside, cv2.CV_32F, 0, 1)), (0, 0), 1.0
    )
    scene += (0.10 * rim)[..., None]


def _move(scene: Map, off: Misalignment, pixel: float) -> Map:
    centre = (scene.shape[1] / 2 - 0.5, scene.shape[0] / 2 - 0.5)
    matrix = cv2.getRotationMatrix2D(centre, off.rotation_degrees, off.scale)
    matrix[:, 2] += np.array(off.shift_mm) / pixel
    size = (scene.shape[1], scene.shape[0])
    return np.asarray(cv2.warpAffine(scene, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def _sensor(scene: Map, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vignette, exposure, white balance, shot and read noise, sRGB."""
    height, width = scene.shape[:2]
    y = (np.arange(height)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width)[None, :] + 0.5) / width - 0.5
    vignette = (1.0 - 0.30 * x**2 - 0.22 * y**2).astype(np.float32)
    gain = np.float32(rng.normal(1.0, 0.03)) * (1.0 + rng.normal(0.0, 0.012, 3)).astype(np.float32)
    light = np.clip(scene, 0.0, None) * vignette[..., None] * gain
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light = light + noise * np.sqrt(light * np.float32(0.00022) + np.float32(4e-6))
    light = np.clip(light, 0.0, 1.0)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return np.rint(coded * 255.0).astype(np.uint8)

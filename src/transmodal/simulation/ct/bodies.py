"""Phantoms of a trunk in Hounsfield units: ellipses for fat, muscle, lungs or organs, spine, ribs, vessels, lesions.

Where no patient's CT is at hand. They are smooth and without texture: networks that learn from them learn edges.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images import Image, picture_affine, write
from transmodal.tomography.geometry import Grid
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.phantoms import Ellipse, rasterise

FIELD_MM = 400.0
NOTE = "Simulated by transmodal, no patient"


def draw_body(seed: int, size: int = 256) -> NDArray[np.float32]:
    """Return a slice through a simulated trunk in HU, (size, size) over 400 mm.

    Args:
        seed: of the anatomy.
        size: pixels along an edge.

    Raises:
        UserError: fewer than 16 pixels.
    """
    if size < 16:
        raise UserError(f"a phantom of {size} pixels shows nothing; give --size 16 or more")
    random = np.random.default_rng(seed)
    scale = HounsfieldScale()
    per_hu = (scale.water - scale.air) / 1000
    shapes: list[Ellipse] = []

    def add(hu: float, around: float, y: float, x: float, half_y: float, half_x: float, degrees: float = 0.0) -> None:
        """Lay an ellipse of a density into surroundings of another; mm from the middle."""
        shapes.append(Ellipse((hu - around) * per_hu, (y, x), (half_y, half_x), degrees))

    half_x, half_y = random.uniform(135, 180), random.uniform(85, 125)
    fat, muscle = random.uniform(-115, -90), random.uniform(40, 65)
    rim = random.uniform(6, 25)
    add(fat, -1000, 0, 0, half_y, half_x)
    inner_y, inner_x = half_y - rim, half_x - rim
    add(muscle, fat, 0, 0, inner_y, inner_x)
    spine_y = inner_y * random.uniform(0.5, 0.6)
    if random.uniform() < 0.5:
        lung = random.uniform(-880, -780)
        for side in (-1, 1):
            where = (random.uniform(-8, 4), side * inner_x * random.uniform(0.48, 0.54))
            lung_y, lung_x = inner_y * random.uniform(0.6, 0.72), inner_x * random.uniform(0.32, 0.38)
            add(lung, muscle, *where, lung_y, lung_x, side * random.uniform(0, 12))
            for _ in range(random.integers(4, 10)):  # vessels, and now and then a nodule
                angle, out = random.uniform(0, 2 * np.pi), random.uniform(0, 0.75)
                y, x = where[0] + out * lung_y * np.sin(angle), where[1] + out * lung_x * np.cos(angle)
                add(random.uniform(0, 60), lung, y, x, random.uniform(1.5, 6), random.uniform(1.5, 4), angle * 57)
        add(random.uniform(100, 300), muscle, -inner_y * 0.2, random.uniform(-8, 20), 28, 34, random.uniform(-30, 30))
    else:
        organ = random.uniform(80, 140)
        liver = (random.uniform(-15, 0), -inner_x * 0.45)
        add(organ, muscle, *liver, inner_y * 0.62, inner_x * 0.45, random.uniform(-15, 15))
        for _ in range(random.integers(0, 4)):  # tumours
            lesion = random.uniform(4, 14)
            y, x = liver[0] + random.uniform(-25, 25), liver[1] + random.uniform(-30, 30)
            add(organ - random.uniform(20, 70), organ, y, x, lesion, lesion * random.uniform(0.7, 1))
        add(random.uniform(-900, 30), muscle, -inner_y * 0.4, inner_x * 0.45, 20, 32, random.uniform(-30, 30))
        for side in (-1, 1):
            add(random.uniform(150, 220), muscle, spine_y * 0.9, side * inner_x * 0.62, 22, 14, side * 20)
    bone = random.uniform(350, 900)
    add(bone, muscle, spine_y, 0, 17, 21)
    add(bone * 0.4, bone, spine_y, 0, 14, 18)
    add(30, muscle, spine_y + 24, 0, 7, 8)
    for angle in np.linspace(0.15, 0.85, 6) * np.pi + random.uniform(-0.1, 0.1):
        for side in (-1, 1):
            y, x = -np.cos(angle) * inner_y * 0.93, side * np.sin(angle) * inner_x * 0.93
            add(bone, muscle, y, x, 3.5, 8, side * (90 - np.degrees(angle)))
    grid = Grid((size, size), (FIELD_MM / size,) * 2)
    return scale.to_hounsfield(rasterise(shapes, grid))


def write_bodies(
    folder: Path, count: int, size: int = 256, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[tuple[str, Path]]:
    """Write phantoms as int16 TIFF; those that are there stay.

    Args:
        folder: to fill.
        count: how many, each a subject.
        size: pixels along an edge.
        seed: of all of them.
        progress: called with (done, of how many).

    Returns:
        Subject and file of each.
    """
    if not 1 <= count <= 99999:
        raise UserError(f"--phantoms {count}: give a number from 1 to 99999")
    digits = max(3, len(str(count)))
    made = []
    for number in range(1, count + 1):
        subject = f"phantom{number:0{digits}d}"
        path = folder / f"{subject}.tif"
        if not path.is_file():
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            pixels = np.rint(draw_body(own, size)).astype(np.int16)
            folder.mkdir(parents=True, exist_ok=True)
            write(Image(pixels, picture_affine((FIELD_MM / size,) * 2), quantity="HU"), path, NOTE)
        made.append((subject, path))
        if progress is not None:
            progress(number, count)
    return made

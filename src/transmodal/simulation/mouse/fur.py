"""Fur as tens of thousands of drawn hairs that follow the body.

Every hair starts on the skin, runs backwards along the body's axis and a little outwards, bends at random, and is
drawn from the tail to the head, so that hairs overlap like tiles. Shade and hue come from a lit map at its root.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.mouse.surface import Surface

Map = NDArray[np.float32]


@numba.njit(cache=True, fastmath=True)
def _draw(image, lit, columns, rows, dx, dy, bend, length, tone, alpha):  # type: ignore[no-untyped-def]
    height, width = image.shape[0], image.shape[1]
    for hair in range(len(columns)):
        x, y, vx, vy = columns[hair], rows[hair], dx[hair], dy[hair]
        row, column = int(y), int(x)
        red, green, blue = lit[row, column, 0], lit[row, column, 1], lit[row, column, 2]
        steps = max(int(length[hair] / 0.8), 2)
        for step in range(steps):
            t = step / steps
            shade = tone[hair] * (0.72 + 0.42 * t)
            opacity = alpha * (1.0 - t * t)
            left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
            fx, fy = x - 0.5 - left, y - 0.5 - top
            for corner in range(4):
                px, py = left + (corner & 1), top + (corner >> 1)
                if px < 0 or py < 0 or px >= width or py >= height:
                    continue
                share = (fx if corner & 1 else 1.0 - fx) * (fy if corner >> 1 else 1.0 - fy) * opacity
                image[py, px, 0] += share * (red * shade - image[py, px, 0])
                image[py, px, 1] += share * (green * shade - image[py, px, 1])
                image[py, px, 2] += share * (blue * shade - image[py, px, 2])
            x += 0.8 * vx
            y += 0.8 * vy
            vx, vy = vx - bend[hair] * vy, vy + bend[hair] * vx


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Map:
    """Noise of unit spread whose features measure `grain` pixels; (H, W)."""
    small = (max(int(shape[0] / grain * 2), 4), max(int(shape[1] / grain * 2), 4))
    noise = cv2.GaussianBlur(rng.standard_normal(small, dtype=np.float32), (0, 0), 1.0)
    noise = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def draw_fur(
    image: Map,
    lit: Map,
    surface: Surface,
    bare: NDArray[np.bool_],
    pixel: float,
    rng: np.random.Generator,
    *,
    density: float = 34.0,
    contrast: float = 0.16,
) -> None:
    """Draw the coat into `image` (H, W, 3), linear light, in place.

    Arguments: `lit`, colour of lit fur at each pixel; `surface`; `bare`, where no hair grows; `pixel` mm; `rng`;
    `density`, hairs a mm²; `contrast`, spread of the hairs' shades.
    """
    shape = surface.fur.shape
    where = (surface.fur > 0) & ~bare
    chosen = np.flatnonzero(where & (rng.random(shape, dtype=np.float32) < density * pixel**2))
    rows, columns = np.divmod(chosen, shape[1])
    s, v = surface.s[rows, columns], surface.v[rows, columns]
    order = np.argsort(-s + rng.normal(0.0, 0.5, len(s)))
    rows, columns, s, v = rows[order], columns[order], s[order], v[order]
    clump = smooth_noise(rng, shape, 1.6 / pixel)[rows, columns]
    whirl = smooth_noise(rng, shape, 5.0 / pixel)[rows, columns]
    slope_x = cv2.Sobel(surface.s, cv2.CV_32F, 1, 0)[rows, columns]
    slope_y = cv2.Sobel(surface.s, cv2.CV_32F, 0, 1)[rows, columns]
    size = np.maximum(np.hypot(slope_x, slope_y), 1e-6)
    along = np.arctan2(slope_y / size, slope_x / size)
    u = np.clip(v / np.maximum(surface.half_width[rows, columns], 1.0), -1.3, 1.3)
    angle = along + 0.40 * u * np.abs(u) + 0.10 * whirl + 0.14 * clump + rng.normal(0.0, 0.13, len(s))
    length = np.interp(s, [-1.0, 2.0, 8.0, 16.0, 28.0, 60.0, 84.0, 88.0], [0.3, 0.5, 1.0, 1.9, 2.8, 3.3, 2.6, 1.4])
    length *= np.interp(np.abs(v) / np.maximum(surface.half_width[rows, columns], 1.0), [0.9, 1.2], [1.0, 0.7])
    length = length * rng.uniform(0.6, 1.15, len(s)) / pixel
    tone = 1.0 + contrast * (0.62 * rng.standard_normal(len(s)) + 0.34 * clump)
    _draw(
        image,
        lit,
        (columns + rng.random(len(s))).astype(np.float64),
        (rows + rng.random(len(s))).astype(np.float64),
        np.cos(angle),
        np.sin(angle),
        rng.normal(0.0, 0.012, len(s)),
        length,
        np.clip(tone, 0.3, 1.8),
        0.62,
    )


def draw_tufts(
    image: Map,
    lit: Map,
    places: NDArray[np.float64],
    directions: NDArray[np.float64],
    length: float,
    pixel: float,
    rng: np.random.Generator,
) -> None:
    """Draw single hairs into `image` (H, W, 3): roots `places` (N, 2) mm, `directions` (N,) radians, `length` mm."""
    columns, rows = places[:, 0] / pixel, places[:, 1] / pixel
    inside = (columns >= 0) & (rows >= 0) & (columns < image.shape[1]) & (rows < image.shape[0])
    count = int(inside.sum())
    angle = directions[inside] + rng.normal(0.0, 0.22, count)
    _draw(
        image,
        lit,
        columns[inside],
        rows[inside],
        np.cos(angle),
        np.sin(angle),
        rng.normal(0.0, 0.012, count),
        rng.uniform(0.45, 1.1, count) * length / pixel,
        np.clip(1.0 + 0.12 * rng.standard_normal(count), 0.5, 1.5),
        0.55,
    )

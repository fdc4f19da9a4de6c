"""How the animal lies: the bent axis, the roll and the angles of the limbs, and the way from body to field.

The axis is a plane curve C(s) with heading theta(s); a point (s, v, z) of the body lies at C(s) + v N(s), z. The
animal rolls about its axis by a small angle. The field is 100 x 50 mm, x right, y down, z up; the head lies left, so
that with its back up the animal's left side points down in the image.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.mouse.animal import Animal

FIELD_WIDTH = 100.0
"""Field of view along the animal, mm."""
FIELD_HEIGHT = 50.0
"""Field of view across the animal, mm."""

_STEP = 0.25
_BEFORE = 20.0  # mm of straight axis before the nose, so that rays beside the nose have coordinates too
_AFTER = 30.0
_ROLL_HEIGHT = 7.0


@dataclass(frozen=True)
class LimbAngles:
    """Angles of one side in radians: the plan directions of the segments.

    `femur` and `humerus` open from the axis to the side (0 is along the body, pi/2 square to it); `tibia`, `foot`,
    `forearm` and `hand` turn outwards from the backward or forward direction of the body.
    """

    femur: float
    tibia: float
    foot: float
    humerus: float
    forearm: float
    hand: float


@dataclass(frozen=True)
class Pose:
    """One way of lying: axis samples from `start` in steps of 0.25 mm, roll samples, limbs (left, right)."""

    start: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    heading: NDArray[np.float64]
    roll: NDArray[np.float64]
    limbs: tuple[LimbAngles, LimbAngles]
    tail_s: float

    def place(
        self, s: NDArray[np.float64], v: NDArray[np.float64], z: NDArray[np.float64], tail: bool = False
    ) -> NDArray[np.float64]:
        """Body points to field points: arrays (N,) in mm to (N, 3) in mm.

        Behind the root of the tail the axis runs straight on, as the legs need it; with `tail` it bends like the tail.
        """
        s = np.asarray(s, dtype=np.float64)
        beyond = np.zeros_like(s) if tail else np.maximum(s - self.tail_s, 0.0)
        index = (s - beyond - self.start) / _STEP
        grid = np.arange(len(self.x))
        theta = np.interp(index, grid, self.heading)
        roll = np.interp(index, grid, self.roll)
        across = v * np.cos(roll) + (z - _ROLL_HEIGHT) * np.sin(roll)
        up = _ROLL_HEIGHT + (z - _ROLL_HEIGHT) * np.cos(roll) - v * np.sin(roll)
        x = np.interp(index, grid, self.x) - across * np.sin(theta) + beyond * np.cos(theta)
        y = np.interp(index, grid, self.y) + across * np.cos(theta) + beyond * np.sin(theta)
        return np.stack([x, y, np.maximum(up, 0.2)], axis=1)

    def frame(self, s: float) -> NDArray[np.float64]:
        """Unit rows along, leftwards and up of the body at axis position `s`, in the field; (3, 3)."""
        index = (min(s, self.tail_s) - self.start) / _STEP
        grid = np.arange(len(self.x))
        theta = np.interp(index, grid, self.heading)
        roll = np.interp(index, grid, self.roll)
        along = np.array([np.cos(theta), np.sin(theta), 0.0])
        left = np.array([-np.sin(theta), np.cos(theta), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        return np.stack([along, left * np.cos(roll) - up * np.sin(roll), left * np.sin(roll) + up * np.cos(roll)])


def _limb(rng: np.random.Generator) -> LimbAngles:
    degrees = np.pi / 180.0
    forward = rng.random() < 0.8
    return LimbAngles(
        femur=rng.uniform(24.0, 56.0) * degrees,
        tibia=rng.uniform(-4.0, 24.0) * degrees,
        foot=rng.uniform(-22.0, 30.0) * degrees,
        humerus=rng.uniform(28.0, 60.0) * degrees,
        forearm=(rng.uniform(-10.0, 26.0) if forward else rng.uniform(26.0, 62.0)) * degrees,
        hand=rng.uniform(-25.0, 20.0) * degrees,
    )


def draw_pose(animal: Animal, rng: np.random.Generator) -> Pose:
    """Draw a prone pose of an anaesthetised animal that fits the field.

    Arguments: `animal`; `rng`, the random stream of this pose. Returns the pose; only the tail may leave the field.
    """
    length = animal.length
    total = length + animal.tail + 4.0
    s = np.arange(-_BEFORE, total + _AFTER, _STEP)
    u = np.clip(s / length, 0.0, 1.0)
    curvature = np.zeros_like(s)
    # A bend of the trunk, a turn of the neck, and a wandering tail; each a smooth bump of curvature.
    trunk, sway, neck = rng.normal(0.0, 0.20), rng.normal(0.0, 0.10), rng.normal(0.0, 0.20)

    def bump(centre: float, spread: float) -> NDArray[np.float64]:
        shape = np.exp(-0.5 * ((u - centre) / spread) ** 2) * (s > 0) * (s < length)
        return np.asarray(shape / (shape.sum() * _STEP))

    curvature += trunk * bump(0.68, 0.14) + sway * bump(0.50, 0.08) + neck * bump(0.33, 0.05)
    tail = np.clip((s - length) / animal.tail, 0.0, 1.0)
    on_tail = (s > length - 1.0) & (s < total)
    root, curl, wave = rng.normal(0.0, 0.55), rng.normal(0.0, 1.5), rng.normal(0.0, 0.5)
    curvature += on_tail * (
        root * np.exp(-0.5 * ((s - length - 4.0) / 3.5) ** 2) / (3.5 * np.sqrt(2 * np.pi))
        + curl * 2.0 * tail / animal.tail
        + wave * np.sin(2 * np.pi * tail + rng.uniform(0, 6.28)) * 4.0 / animal.tail
    )
    heading = np.cumsum(curvature) * _STEP
    x = np.cumsum(np.cos(heading)) * _STEP
    y = np.cumsum(np.sin(heading)) * _STEP
    body = (s >= 0) & (s <= length)
    # Lay the chord of the body along the field, then turn and shift a little.
    head, rump = np.flatnonzero(body)[[0, -1]]
    turn = -np.arctan2(y[rump] - y[head], x[rump] - x[head]) + rng.normal(0.0, 0.025)
    x, y, heading = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), heading + turn
    room = max(FIELD_WIDTH - length * 1.06 - 7.0, 0.5)
    x += 3.5 + rng.uniform(0.0, min(room, 7.0)) - x[body].min()
    y += FIELD_HEIGHT / 2 + np.clip(rng.normal(0.0, 0.9), -2.0, 2.0) - (y[body].min() + y[body].max()) / 2
    roll_trunk, roll_head = rng.normal(0.0, 0.09), rng.normal(0.0, 0.10)
    roll = roll_head + (roll_trunk - roll_head) * np.clip((s / length - 0.22) / 0.2, 0.0, 1.0)
    return Pose(float(s[0]), x, y, heading, roll, (_limb(rng), _limb(rng)), length)


@numba.njit(cache=True)
def _coordinates(x, y, heading, start, height, width, pixel, last):  # type: ignore[no-untyped-def]
    s_map = np.empty((height, width), np.float32)
    v_map = np.empty((height, width), np.float32)
    limit = last - start
    for column in range(width):
        guess = (column + 0.5) * pixel - x[0]
        for row in range(height):
            px, py = (column + 0.5) * pixel, (row + 0.5) * pixel
            along = min(max(guess, 0.0), limit)
            v = 0.0
            for _ in range(4):
                position = along / 0.25
                index = min(int(position), len(x) - 2)
                share = position - index
                cx = x[index] + share * (x[index + 1] - x[index])
                cy = y[index] + share * (y[index + 1] - y[index])
                theta = heading[index] + share * (heading[index + 1] - heading[index])
                c, s = np.cos(theta), np.sin(theta)
                step = (px - cx) * c + (py - cy) * s
                v = -(px - cx) * s + (py - cy) * c
                along = min(max(along + step, 0.0), limit)
                if abs(step) < 0.01:
                    break
            s_map[row, column] = along + start
            v_map[row, column] = v
            guess = along
    return s_map, v_map


def body_coordinates(
    pose: Pose, height: int, width: int, pixel: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Axis position s and sideways distance v of every pixel, mm; the foot of the perpendicular on the axis.

    Arguments: `pose`; `height`, `width` in pixels; `pixel` in mm. Returns two maps (H, W). The tail is not covered.
    """
    last = int((pose.tail_s - pose.start) / _STEP)
    more = np.arange(1, int(30.0 / _STEP)) * _STEP
    x = np.concatenate([pose.x[: last + 1], pose.x[last] + more * np.cos(pose.heading[last])])
    y = np.concatenate([pose.y[: last + 1], pose.y[last] + more * np.sin(pose.heading[last])])
    heading = np.concatenate([pose.heading[: last + 1], np.full(len(more), pose.heading[last])])
    s_map, v_map = _coordinates(x, y, heading, pose.start, height, width, pixel, pose.tail_s + 25.0)
    return s_map, v_map

"""The limbs: where the joints lie in a pose, the long bones, hands and feet, and the skin over them.

Numbers are mm on the reference animal: femur 15, tibia 17, foot 16, humerus 11, forearm 12.5, hand 7.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.pose import LimbAngles, Pose
from transmodal.simulation.mouse.shapes import Solids, round_cones
from transmodal.simulation.mouse.skeleton import Bones

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class LimbJoints:
    """Joints of one side in reference body coordinates (s, v, z), mm; digits are (5, 4, 3): root to tip."""

    side: float
    hip: Vector
    knee: Vector
    ankle: Vector
    heel: Vector
    toes: NDArray[np.float64]
    shoulder: Vector
    elbow: Vector
    wrist: Vector
    fingers: NDArray[np.float64]


def _direction(angle: float, side: float, backwards: bool) -> Vector:
    return np.array([np.cos(angle) * (1.0 if backwards else -1.0), side * np.sin(angle), 0.0])


def _digits(root: Vector, angle: float, side: float, backwards: bool, lengths: Vector, spread: float) -> Vector:
    """Five rays of three joints each, fanned about `angle`; the first is the thumb (towards the body)."""
    digits = np.zeros((5, 4, 3))
    for number in range(5):
        turn = angle + spread * (number - 2.1)
        along = _direction(turn, side, backwards)
        across = np.array([0.0, side, 0.0]) if abs(np.cos(angle)) > 0.3 else np.array([1.0, 0.0, 0.0])
        base = root + across * (number - 2.0) * 0.42
        long = lengths * (0.62, 0.94, 1.0, 0.97, 0.8)[number]
        reach = np.concatenate([[0.0], np.cumsum(long)])
        digits[number] = base + reach[:, None] * along
        digits[number, :, 2] = np.array([1.0, 0.9, 1.05, 0.45]) * root[2]
    return digits


def joints(angles: LimbAngles, side: float, limb: float) -> LimbJoints:
    """Joints of one side; `side` is +1 left, -1 right; `limb` the animal's limb factor."""
    hip = np.array([76.6, side * 4.3, 6.8])
    knee = hip + 12.4 * limb * _direction(angles.femur, side, False) + np.array([0.0, 0.0, -1.6])
    ankle = knee + 16.2 * limb * _direction(angles.tibia, side, True) + np.array([0.0, 0.0, -3.4])
    foot = _direction(angles.foot, side, True)
    heel = ankle - foot * 1.6 + np.array([0.0, 0.0, -0.2])
    toe_root = ankle + foot * 1.9 * limb
    toes = _digits(toe_root, angles.foot, side, True, np.array([6.6, 2.5, 1.9]) * limb, 0.075)
    shoulder = np.array([31.4, side * 6.5, 6.4])
    elbow = shoulder + 9.8 * limb * _direction(angles.humerus, side, True) + np.array([0.0, 0.0, -2.4])
    wrist = elbow + 11.6 * limb * _direction(angles.forearm, side, False) + np.array([0.0, 0.0, -2.5])
    reach = angles.forearm + angles.hand
    finger_root = wrist + _direction(reach, side, False) * 1.1
    fingers = _digits(finger_root, reach, side, False, np.array([2.2, 1.5, 1.2]) * limb, 0.20)
    return LimbJoints(side, hip, knee, ankle, heel, toes, shoulder, elbow, wrist, fingers)


def add_limb_bones(bones: Bones, limb: LimbJoints) -> None:
    """Femur, patella, tibia, fibula, tarsus, metatarsus, toes; humerus, ulna, radius, carpus, fingers."""
    side = np.array([0.0, limb.side, 0.0])
    _long_bone(bones, limb.hip + np.array([-0.5, limb.side * 0.6, 0.0]), limb.knee, (0.80, 0.68), (0.95, 1.2), 0.66)
    bones.tube([limb.hip, limb.hip + side * 0.5], [0.75, 0.6], density=0.45)
    trochanter = limb.hip * 0.93 + limb.knee * 0.07 + side * 1.1
    bones.tube([trochanter, limb.hip * 0.7 + limb.knee * 0.3 + side * 0.35], [0.5, 0.35], density=0.5)
    bones.tube(
        [limb.knee + np.array([-1.3, limb.side * 0.5, 0.8]), limb.knee + np.array([-1.2, limb.side * 0.8, 0.8])],
        0.42,
        density=0.8,
    )
    _long_bone(bones, limb.knee + np.array([0.7, 0.0, 0.0]), limb.ankle, (0.78, 0.52), (1.25, 0.74), 0.64)
    shin = limb.ankle - limb.knee
    fibula = [
        limb.knee + 0.05 * shin + side * 1.1,
        limb.knee + 0.3 * shin + side * 1.3,
        limb.knee + 0.62 * shin + side * 0.35,
    ]
    bones.tube(np.array(fibula), [0.36, 0.2, 0.2])
    bones.tube([limb.heel, limb.ankle], [0.5, 0.62], marrow=0.6, trabecular=0.4, density=0.9)
    for number in range(1, 4):
        root = limb.toes[number, 0]
        bones.tube([limb.ankle * 0.45 + root * 0.55, root], [0.42, 0.36], density=0.7)
    for number in range(5):
        _digit(bones, limb.toes[number], 0.31 if number not in (0, 4) else 0.25)
    _long_bone(bones, limb.shoulder, limb.elbow, (0.70, 0.54), (0.92, 0.8), 0.62)
    arm = limb.elbow - limb.shoulder
    crest = [
        limb.shoulder + 0.2 * arm + side * 0.5,
        limb.shoulder + 0.45 * arm + side * 0.75,
        limb.shoulder + 0.58 * arm,
    ]
    bones.tube(np.array(crest), [0.3, 0.42, 0.2], density=0.6)
    fore = limb.wrist - limb.elbow
    across = np.array([-fore[1], fore[0], 0.0]) / np.hypot(fore[0], fore[1]) * limb.side
    ulna = [limb.elbow - 0.15 * fore + across * 0.3, limb.elbow + across * 0.5, limb.wrist - 0.04 * fore + across * 0.5]
    bones.tube(np.array(ulna), [0.42, 0.42, 0.24], marrow=0.45, trabecular=0.2)
    bow = limb.elbow + 0.5 * fore - across * 0.55
    bones.tube(np.array([limb.elbow - across * 0.35, bow, limb.wrist - across * 0.25]), [0.42, 0.3, 0.4], marrow=0.45)
    for number in range(5):
        bones.tube([limb.wrist * 0.6 + limb.fingers[number, 0] * 0.4, limb.fingers[number, 0]], 0.3, density=0.6)
        _digit(bones, limb.fingers[number], 0.22)


def _long_bone(
    bones: Bones, first: Vector, last: Vector, shaft: tuple[float, float], ends: tuple[float, float], marrow: float
) -> None:
    """A shaft with a marrow cavity, two trabecular ends and, before them, the gaps of the growth plates."""
    along = last - first
    long = float(np.linalg.norm(along))
    near, far = min(1.6 / long, 0.2), min(1.9 / long, 0.22)
    share = np.array([0.03, near, 0.32, 0.64, 1.0 - far, 1.0 - 0.55 * far])
    path = first + share[:, None] * along
    radii = np.array([ends[0] * 0.88, ends[0] * 0.84, shaft[0], shaft[1], ends[1] * 0.80, ends[1] * 0.86])
    bones.tube(path, radii)
    size = radii * bones.animal.scale * bones.thick
    placed = bones.place(path)
    # One cavity from end to end; trabeculae come back at both ends.
    cavity = np.array([0.84, 0.82, marrow, marrow, 0.80, 0.84])
    bones.hollow(round_cones(placed, size * cavity), bones.animal.bone_density * 0.97, False)
    bones.tube(path[:2], radii[:2] * 0.84, density=0.20)
    bones.tube(path[-2:], radii[-2:] * 0.82, density=0.22)
    # The epiphysis of the far end beyond its growth plate.
    cap = np.array([last - along * (0.15 / long), last + along * (0.2 / long)])
    bones.tube(cap, ends[1], marrow=0.84, trabecular=0.25)


def _digit(bones: Bones, points: Vector, radius: float) -> None:
    """Metatarsal or metacarpal, two phalanges and the claw, each thicker at its ends."""
    for number in range(3):
        a, b = points[number], points[number + 1]
        size = radius * (1.0, 0.85, 0.7)[number]
        gap = (b - a) * min(0.18 / float(np.linalg.norm(b - a)), 0.1)
        bones.tube(np.array([a + gap, (a + b) / 2, b - gap]), [size, size * 0.68, size * (0.95 if number < 2 else 0.5)])


def limb_skin(animal: Animal, pose: Pose, limb: LimbJoints) -> tuple[Solids, Solids]:
    """Skin over one side's limbs: furred solids (forearm, shank) and naked ones (hand, foot), in the field."""
    bones = Bones(animal, pose)

    def chain(points: list[Vector], radii: list[float]) -> Solids:
        return round_cones(bones.place(np.array(points)), np.array(radii) * animal.scale)

    upper = np.array([0.0, 0.0, 0.6])
    furred = [
        chain([limb.knee, limb.ankle * 0.55 + limb.knee * 0.45, limb.ankle], [2.9, 2.0, 0.95]),
        chain([limb.shoulder, limb.elbow, limb.wrist], [2.9, 1.6, 0.95]),
    ]
    foot_middle = limb.toes[1:4, 1].mean(axis=0)
    sole = limb.toes[2, 0]
    naked = [
        chain([limb.heel + upper, limb.ankle + upper, sole, foot_middle], [1.15, 1.3, 1.15, 1.05]),
        chain([limb.ankle, limb.toes[1, 1]], [1.0, 0.8]),
        chain([limb.ankle, limb.toes[3, 1]], [1.0, 0.8]),
    ]
    palm = limb.fingers[1:4, 1].mean(axis=0)
    naked.append(chain([limb.wrist, palm], [1.1, 1.05]))
    naked.append(chain([limb.wrist, limb.fingers[1, 1]], [1.0, 0.7]))
    naked.append(chain([limb.wrist, limb.fingers[4, 1]], [1.0, 0.6]))
    for digits, size in ((limb.toes, 0.55), (limb.fingers, 0.45)):
        for number in range(5):
            points = digits[number]
            naked.append(chain([points[1], points[2], points[3]], [size, size * 0.85, size * 0.7]))
    return np.concatenate(furred), np.concatenate(naked)

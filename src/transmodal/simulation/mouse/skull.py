"""The skull as analytic shells: braincase, snout with turbinates, orbits, arches, bullae, jaws and teeth.

Numbers are mm on the reference animal (a skull of about 22 mm), in the body coordinates of `animal`.
"""

import numpy as np

from transmodal.simulation.mouse.shapes import round_cones
from transmodal.simulation.mouse.skeleton import Bones


def add_skull(bones: Bones) -> None:
    """Add cranium, mandible and teeth to `bones`."""
    bones.thick = bones.animal.skull
    _braincase(bones)
    _snout(bones)
    for side in (-1.0, 1.0):
        _side(bones, side)
        _jaw(bones, side)
    bones.thick = 1.0


def _braincase(bones: Bones) -> None:
    z = 8.0
    bones.ball((16.9, 0.0, z), (6.1, 4.95, 3.7), skull=True)
    _empty_ball(bones, (16.9, 0.0, z), (5.78, 4.66, 3.42), 0.0)
    # Frontal part, narrower between the orbits.
    bones.tube([(10.4, 0, z - 0.3), (13.4, 0, z - 0.2)], [2.3, 2.9], marrow=0.87, trabecular=0.0, skull=True)
    # Base of the skull: a strip along the middle, with its seams.
    for first, last, wide in ((13.0, 15.9, 0.55), (16.2, 18.7, 0.75), (19.0, 22.0, 1.0)):
        bones.tube([(first, 0, 4.6), (last, 0, 4.7)], [wide * 0.8, wide], density=0.5, skull=True)
    # Occiput and the lambdoid crest.
    angle = np.linspace(-1.35, 1.35, 11)
    crest = np.stack([21.6 + 1.0 * np.cos(angle) - 0.6, 4.5 * np.sin(angle), 6.9 + 2.4 * np.cos(angle)], axis=1)
    bones.tube(crest, 0.3, density=0.7, skull=True)
    seam = np.stack([18.6 + 0.9 * np.cos(angle), 3.9 * np.sin(angle), 10.4 - 0.0 * angle], axis=1)
    bones.tube(seam, 0.16, density=0.55, skull=True)
    for side in (-1.0, 1.0):
        bones.ball((23.0, side * 1.35, 5.9), (0.8, 0.6, 0.7), density=0.8, skull=True)  # occipital condyles
        # Temporal line and the side wall, where the ray runs along the bone.
        line = [(11.4, side * 2.2, 9.4), (13.6, side * 3.4, 9.9), (17.0, side * 4.3, 9.6), (20.3, side * 4.2, 9.0)]
        bones.tube(line, [0.2, 0.24, 0.24, 0.26], density=0.6, skull=True)


def _empty_ball(bones: Bones, centre: tuple[float, ...], semi_axes: tuple[float, ...], air: float) -> None:
    """Take the inside out of a ball of bone of unit density; brain or air is left."""
    before = len(bones.solids)
    bones.ball(centre, semi_axes, skull=True)
    solid = bones.solids[before]
    del bones.solids[before:], bones.weights[before:]
    bones.hollow(solid, bones.animal.bone_density, True, air)


def _snout(bones: Bones) -> None:
    path = [(2.2, 0, 5.6), (5.0, 0, 6.3), (8.5, 0, 7.1), (10.9, 0, 7.6)]
    radii = np.array([1.15, 1.55, 1.85, 2.2])
    bones.tube(path, radii, skull=True)
    inner = bones.place(path)
    size = (radii - 0.27) * bones.animal.scale * bones.thick
    bones.hollow(round_cones(inner, size), bones.animal.bone_density * 0.93, True, 0.45)
    bones.tube([(1.6, 0, 6.6), (11.5, 0, 9.4)], [0.18, 0.22], density=0.8, skull=True)  # seam of the nasal bones
    for side in (-1.0, 1.0):
        # Turbinates and the ethmoid plate.
        bones.tube([(4.4, side * 0.6, 6.4), (9.2, side * 0.8, 7.2)], [0.22, 0.4], density=0.3, skull=True)
        bones.tube([(9.0, side * 1.3, 7.0), (11.4, side * 1.5, 7.4)], [0.5, 0.55], density=0.25, skull=True)
        bones.tube([(2.0, side * 0.85, 6.2), (8.8, side * 1.75, 8.4)], [0.2, 0.25], density=0.6, skull=True)


def _side(bones: Bones, side: float) -> None:
    # Zygomatic arch: from the maxilla out around the orbit back to the temporal bone.
    arch = [
        (8.0, side * 1.9, 5.6),
        (8.9, side * 3.6, 5.3),
        (10.4, side * 4.9, 5.0),
        (12.6, side * 5.55, 4.8),
        (14.8, side * 5.85, 5.0),
        (16.6, side * 5.7, 5.6),
        (17.8, side * 4.8, 6.2),
    ]
    bones.tube(arch, [0.55, 0.52, 0.36, 0.28, 0.28, 0.36, 0.45], density=0.95, skull=True)
    bones.tube([(8.3, side * 2.0, 8.2), (9.4, side * 3.3, 7.0)], [0.3, 0.36], density=0.8, skull=True)
    # Tympanic bulla with its air, and the dense petrous bone and cochlea beside it.
    bones.ball((19.4, side * 3.45, 4.6), (2.1, 1.55, 1.5), skull=True, yaw=side * 0.5)
    before = len(bones.solids)
    bones.ball((19.4, side * 3.45, 4.6), (1.8, 1.27, 1.24), skull=True, yaw=side * 0.5)
    solid = bones.solids[before]
    del bones.solids[before:], bones.weights[before:]
    bones.hollow(solid, bones.animal.bone_density * 0.97, True, 0.85)
    bones.ball((19.6, side * 2.6, 5.8), (1.1, 0.75, 0.7), density=0.75, skull=True, yaw=-side * 0.4)
    ring = np.linspace(0.0, 2 * np.pi, 13)
    canal = np.stack([20.9 + 0.85 * np.cos(ring), side * (3.6 + 0.7 * np.sin(ring)), 6.6 + 0 * ring], axis=1)
    bones.tube(canal, 0.2, density=0.8, skull=True)
    # Upper cheek teeth and the palate beside them.
    for s, long, wide in ((10.35, 0.95, 0.55), (11.95, 0.62, 0.5), (13.0, 0.42, 0.38)):
        bones.ball((s, side * (1.62 + 0.03 * s), 4.2), (long, wide, 0.85), density=1.05, skull=True)
    bones.tube([(8.2, side * 0.9, 4.6), (14.2, side * 1.1, 4.7)], [0.35, 0.4], density=0.35, skull=True)
    # Upper incisor: a curved rod whose root ends in the maxilla.
    turn = np.linspace(0.0, 1.0, 7)
    upper = np.stack([1.7 + 4.6 * turn**1.2, side * (0.42 + 0.75 * turn), 2.7 + 3.4 * np.sin(turn * 2.0)], axis=1)
    bones.tube(upper, np.linspace(0.34, 0.6, 7), marrow=0.45, trabecular=0.6, density=1.2, skull=True)


def _jaw(bones: Bones, side: float) -> None:
    body = [(4.4, side * 0.55, 2.6), (7.4, side * 1.5, 2.6), (11.0, side * 2.7, 3.0), (14.4, side * 3.9, 3.4)]
    bones.tube(body, [0.6, 0.85, 0.95, 0.6], marrow=0.72, trabecular=0.25, skull=True)
    bones.tube(
        [(14.4, side * 3.9, 3.4), (16.4, side * 4.6, 4.8), (17.3, side * 4.5, 5.9)], [0.6, 0.42, 0.55], skull=True
    )
    bones.tube(
        [(14.2, side * 3.9, 3.0), (16.6, side * 4.9, 2.4), (18.3, side * 5.2, 2.6)], [0.5, 0.34, 0.24], skull=True
    )
    bones.tube([(13.4, side * 3.5, 3.4), (14.5, side * 4.1, 5.8)], [0.5, 0.22], density=0.7, skull=True)
    turn = np.linspace(0.0, 1.0, 8)
    lower = np.stack(
        [2.3 + 11.6 * turn, side * (0.3 + 3.1 * turn**1.15), 2.9 - 1.2 * np.sin(turn * np.pi) + 0.6 * turn], axis=1
    )
    bones.tube(lower, np.linspace(0.3, 0.42, 8), density=1.1, skull=True)
    for s, long, wide in ((9.9, 0.9, 0.48), (11.4, 0.62, 0.46), (12.5, 0.4, 0.36)):
        bones.ball((s, side * (0.9 + 0.155 * s), 3.6), (long, wide, 0.7), density=0.95, skull=True)

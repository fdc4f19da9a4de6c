"""The skull as analytic shells: braincase, snout with turbinates, orbits, arches, bullae, jaws and teeth.

Numbers are mm on the reference animal (a skull of about 22 mm), in the body coordinates of `animal`.
"""

import numpy as np

from transmodal.simulation.mouse.shapes import Solids, round_cones
from transmodal.simulation.mouse.skeleton import Bones


def add_skull(bones: Bones) -> None:
    """Add cranium, mandible and teeth to `bones`."""
    bones.thick, bones.wide = bones.animal.skull, 1.14
    _braincase(bones)
    _snout(bones)
    for side in (-1.0, 1.0):
        _side(bones, side)
        _jaw(bones, side)
    bones.thick = bones.wide = 1.0


_WALL = 0.24  # mm; the vault of a mouse is about a quarter of a millimetre thick


def _braincase(bones: Bones) -> None:
    """The closed shell of vault, frontal bones and snout: one outer hull less one inner hull, so no inner walls."""
    outer: list[Solids] = []
    inner: list[Solids] = []
    for centre, half in (((17.2, 0.0, 8.0), (5.7, 5.0, 3.7)), ((14.6, 0.0, 8.2), (4.6, 3.9, 3.3))):
        outer.append(bones.ball_solid(centre, half))
        inner.append(bones.ball_solid(centre, (half[0] - _WALL, half[1] - _WALL * 1.2, half[2] - _WALL)))
    path = bones.place([(2.3, 0, 5.6), (5.0, 0, 6.3), (8.5, 0, 7.1), (11.0, 0, 7.6), (13.5, 0, 7.9)])
    radii = np.array([1.2, 1.6, 1.95, 2.25, 2.9]) * bones.animal.scale * bones.thick
    outer.append(round_cones(path, radii))
    inner.append(round_cones(path, radii - _WALL * 0.9))
    density = bones.animal.bone_density * 0.85
    bones.add(np.concatenate(outer), 0.85 * bones.animal.bone_density, True)
    bones.hollow(np.concatenate(inner), density, True)
    bones.hollow(round_cones(path[:4], radii[:4] - _WALL * 1.2), 0.0, True, 0.38, replaces=True)  # air of the nose
    # Base of the skull: a strip along the middle, with its seams.
    for first, last, wide in ((13.0, 15.9, 0.55), (16.2, 18.7, 0.75), (19.0, 22.0, 1.0)):
        bones.tube([(first, 0, 4.6), (last, 0, 4.7)], [wide * 0.8, wide], density=0.5, skull=True)
    # Occiput and the lambdoid crest.
    angle = np.linspace(-1.35, 1.35, 11)
    crest = np.stack([21.6 + 1.0 * np.cos(angle) - 0.6, 4.5 * np.sin(angle), 6.9 + 2.4 * np.cos(angle)], axis=1)
    bones.tube(crest, 0.3, density=0.7, skull=True)
    seam = np.stack([18.6 + 0.9 * np.cos(angle), 3.9 * np.sin(angle), 10.4 - 0.0 * angle], axis=1)
    bones.tube(seam, 0.16, density=0.55, skull=True)
    _sutures(bones)
    for side in (-1.0, 1.0):
        bones.ball((23.0, side * 1.35, 5.9), (0.8, 0.6, 0.7), density=0.8, skull=True)  # occipital condyles
        # Temporal line and the side wall, where the ray runs along the bone.
        line = [(11.4, side * 2.2, 9.4), (13.6, side * 3.4, 9.9), (17.0, side * 4.3, 9.6), (20.3, side * 4.2, 9.0)]
        bones.tube(line, [0.2, 0.24, 0.24, 0.26], density=0.3, skull=True, curved=True)


def _sutures(bones: Bones) -> None:
    """Seams of the vault: thin lines where there is less bone."""
    u = np.linspace(-1.0, 1.0, 11)
    along = np.linspace(10.2, 20.0, 16)
    coronal = np.stack([13.9 + 0.9 * u**2 + 0.12 * np.sin(9 * u), 3.6 * u, 11.0 - 1.4 * u**2], axis=1)
    lambdoid = np.stack([20.0 - 0.9 * u**2 + 0.10 * np.sin(11 * u), 3.8 * u, 10.6 - 1.6 * u**2], axis=1)
    sagittal = np.stack([along, 0.07 * np.sin(4.1 * along), 11.2 + 0.0 * along], axis=1)
    for seam in (coronal, lambdoid, sagittal):
        solids = round_cones(bones.place(seam), np.full(len(seam), 0.17))
        bones.hollow(solids, 0.45 * bones.animal.bone_density, True)


def _snout(bones: Bones) -> None:
    bones.tube([(1.6, 0, 6.6), (11.5, 0, 9.4)], [0.18, 0.22], density=0.8, skull=True)  # seam of the nasal bones
    for side in (-1.0, 1.0):
        # Turbinates and the ethmoid plate.
        bones.tube([(4.4, side * 0.6, 6.4), (9.2, side * 0.8, 7.2)], [0.22, 0.4], density=0.3, skull=True)
        bones.tube([(9.0, side * 1.3, 7.0), (11.4, side * 1.5, 7.4)], [0.5, 0.55], density=0.25, skull=True)
        bones.tube([(2.0, side * 0.85, 6.2), (8.8, side * 1.75, 8.4)], [0.2, 0.25], density=0.6, skull=True)


def _side(bones: Bones, side: float) -> None:
    # Zygomatic arch: from the maxilla out around the orbit back to the temporal bone.
    arch = [
        (7.6, side * 1.9, 5.6),
        (8.4, side * 3.7, 5.3),
        (9.6, side * 5.0, 5.0),
        (11.6, side * 5.7, 4.8),
        (13.8, side * 6.1, 5.0),
        (15.8, side * 6.1, 5.6),
        (17.2, side * 5.4, 6.2),
        (18.4, side * 4.6, 6.6),
    ]
    bones.tube(arch, [0.55, 0.58, 0.44, 0.34, 0.32, 0.40, 0.45, 0.4], density=0.95, skull=True, curved=True)
    bones.tube([(8.3, side * 2.0, 8.2), (9.4, side * 3.3, 7.0)], [0.3, 0.36], density=0.8, skull=True)
    # Tympanic bulla with its air, and the dense petrous bone and cochlea beside it.
    bones.ball((19.4, side * 3.45, 4.6), (2.05, 1.5, 1.45), skull=True, yaw=side * 0.5, density=0.75)
    drum = bones.ball_solid((19.4, side * 3.45, 4.6), (1.85, 1.3, 1.27), yaw=side * 0.5)
    bones.hollow(drum, bones.animal.bone_density * 0.75, True, 0.8)
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
    bones.tube(body, [0.6, 0.85, 0.95, 0.6], marrow=0.78, trabecular=0.2, density=0.9, skull=True)
    bones.tube(
        [(14.4, side * 3.9, 3.4), (16.4, side * 4.6, 4.8), (17.3, side * 4.5, 5.9)],
        [0.6, 0.42, 0.55],
        density=0.6,
        skull=True,
    )
    bones.tube(
        [(14.2, side * 3.9, 3.0), (16.6, side * 4.9, 2.4), (18.3, side * 5.2, 2.6)],
        [0.5, 0.34, 0.24],
        density=0.6,
        skull=True,
    )
    bones.tube([(13.4, side * 3.5, 3.4), (14.5, side * 4.1, 5.8)], [0.5, 0.22], density=0.35, skull=True)
    turn = np.linspace(0.0, 1.0, 8)
    lower = np.stack(
        [2.3 + 11.6 * turn, side * (0.3 + 3.1 * turn**1.15), 2.9 - 1.2 * np.sin(turn * np.pi) + 0.6 * turn], axis=1
    )
    bones.tube(lower, np.linspace(0.3, 0.42, 8), density=1.1, skull=True)
    for s, long, wide in ((9.9, 0.9, 0.48), (11.4, 0.62, 0.46), (12.5, 0.4, 0.36)):
        bones.ball((s, side * (0.9 + 0.155 * s), 3.6), (long, wide, 0.7), density=0.95, skull=True)

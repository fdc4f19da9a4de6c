"""One posed body: the geometry that the photograph, the X-ray and the nuclear camera share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.bed import Acquisition, BedMaps, make_bed
from transmodal.simulation.mouse.limbs import add_limb_bones, joints
from transmodal.simulation.mouse.organs import Organ, gas_thickness, make_organs
from transmodal.simulation.mouse.pose import FIELD_HEIGHT, FIELD_WIDTH, draw_pose
from transmodal.simulation.mouse.shapes import Solids, add_groups, add_layers, hull
from transmodal.simulation.mouse.skeleton import Bones, add_girdles, add_ribs, add_spine
from transmodal.simulation.mouse.skull import add_skull
from transmodal.simulation.mouse.surface import Surface, make_surface

Map = NDArray[np.float32]

_FINEST = 0.125  # mm; coarser images are rendered finer and averaged, or thin bones would be missed
_POSE_DOMAIN = 0x706F7365


@dataclass(frozen=True, eq=False)
class Body:
    """One posed animal on its bed, on a grid of `shape` pixels of `fine` mm that covers the field of 50 x 100 mm.

    `pixel` in mm and `finer`: an image has a pixel for `finer` x `finer` of the grid's. `surface`: the skin. `organs`:
    intervals along the ray by name. `bones`: the solids of the skeleton. `bone_maps`: (4, H, W) mm of soft tissue that
    bones replace (negative), of bone, of bone of the skull, of air. `gas`: mm along the ray. `bed`: bed and cover.
    """

    animal: Animal
    acquisition: Acquisition
    seed: int
    pixel: float
    finer: int
    bones: Bones
    surface: Surface
    organs: dict[str, Organ]
    bone_maps: Map
    gas: Map
    bed: BedMaps

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the fine grid."""
        return self.surface.top.shape[0], self.surface.top.shape[1]

    @property
    def fine(self) -> float:
        """Pixel of the fine grid, mm."""
        return self.pixel / self.finer

    def stream(self, purpose: int) -> np.random.Generator:
        """A random stream of this animal in this pose under this seed; `purpose` keeps the uses apart."""
        return _stream(self.animal, self.acquisition, self.seed, purpose)

    def interval(self, solids: Solids) -> Organ:
        """Where rays enter and leave the hull of solids in the field, on the fine grid."""
        low, high = np.full(self.shape, 1e9, np.float32), np.full(self.shape, -1e9, np.float32)
        hull(solids, self.fine, low, high)
        return Organ(low, high)

    def bone_layers(self, edges: NDArray[np.float64]) -> Map:
        """Bone between heights, (2, L, H, W) mm of dense bone: the whole skeleton, and of it the skull.

        Arguments: `edges`, (L + 1,) heights over the bed in mm, rising evenly.
        """
        solids, starts, weights = self.bones.arrays()
        layers = np.zeros((2, len(edges) - 1, *self.shape), np.float32)
        scratch = np.zeros((2, *self.shape), np.float32)
        add_layers(solids, starts, weights[:, 1:3], self.fine, edges.astype(np.float64), scratch, layers)
        return np.maximum(layers, np.float32(0.0))


def check_size(size: tuple[int, int]) -> tuple[float, int]:
    """Pixel size in mm and the refinement that a (height, width) needs; UserError unless it is 1 to 2."""
    height, width = size
    if height < 16 or width < 32 or abs(width / height - FIELD_WIDTH / FIELD_HEIGHT) > 0.02:
        raise UserError(
            f"image size {height} x {width} does not fit the field of 50 x 100 mm: give height and width as 1 to 2, "
            "such as 512 x 1024"
        )
    pixel = FIELD_WIDTH / width
    return pixel, max(1, int(np.ceil(pixel / _FINEST)))


def pose_body(animal: Animal, acquisition: Acquisition, size: tuple[int, int], seed: int, *, finer: int = 0) -> Body:
    """Lay one animal on its bed.

    Arguments: `animal`; `acquisition`, bed, cover, pose number; `size`, (height, width) of the images in pixels as 1 to
    2; `seed`, which with the animal's seed and the pose's number decides the pose; `finer`, how many pixels of the
    body's grid stand along an image's pixel (0: as many as thin bones need).
    Returns the body; equal arguments but for the size give the same body. Raises UserError for a size of another shape.
    """
    pixel, needed = check_size(size)
    finer = finer or needed
    shape, fine = (size[0] * finer, size[1] * finer), pixel / finer
    pose = draw_pose(animal, _stream(animal, acquisition, seed, 0))
    limbs = (joints(pose.limbs[0], 1.0, animal.limb), joints(pose.limbs[1], -1.0, animal.limb))
    surface = make_surface(animal, pose, limbs, shape, fine)
    bones = Bones(animal, pose)
    maps = np.zeros((4, *shape), np.float32)
    add_spine(bones)
    add_ribs(bones)
    add_girdles(bones)
    add_skull(bones)
    for limb in limbs:
        add_limb_bones(bones, limb)
    solids, starts, weights = bones.arrays()
    add_groups(solids, starts, weights, fine, np.zeros(shape, np.float32), maps)
    organs = make_organs(bones, shape, fine)
    bed = make_bed(acquisition, shape, fine, _stream(animal, acquisition, seed, 1))
    gas = gas_thickness(bones, shape, fine)
    return Body(animal, acquisition, seed, pixel, finer, bones, surface, organs, maps, gas, bed)


def _stream(animal: Animal, acquisition: Acquisition, seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([_POSE_DOMAIN, seed, animal.seed, acquisition.pose, purpose])

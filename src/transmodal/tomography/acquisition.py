"""From a clean image to what the detector reads, degradation by degradation.

The object is projected on a grid of its own, finer than that of the reconstruction and shifted against it: projecting
and reconstructing on one grid would hide the errors of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from transmodal.errors import UserError
from transmodal.tomography.corrections.metal import widened_trace
from transmodal.tomography.degradations import in_order
from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam, Reading, stream
from transmodal.tomography.degradations.metal import Metal
from transmodal.tomography.degradations.motion import Motion, Pose
from transmodal.tomography.degradations.polychromatic import Polychromatic
from transmodal.tomography.degradations.spectral import SpectralBins
from transmodal.tomography.finer_projection import finer_grid, upsampled
from transmodal.tomography.geometry import Grid
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.materials import mass_attenuation
from transmodal.tomography.memory import require_memory
from transmodal.tomography.polychromatic import Response
from transmodal.tomography.projection import project
from transmodal.tomography.truncation import looks_truncated

_DARKEST = 1e-9  # least transmission that a logarithm takes where nothing else sets a floor
_METAL = 2  # its place among the materials, behind water and bone
_NOTHING = 1e-4  # mm of metal that still count as none
_SHARED = ("tube", "detector", "reference_kev", "water_hu", "bone_hu")


@dataclass(frozen=True, eq=False)
class Scan:
    """A clean object in a scanner.

    Attributes:
        attenuation: 1/mm, (n, rows, columns).
        grid: of its pixels, (rows, columns); that of the reconstruction too.
        beam: all views and bins that the scanner has.
        scale: of the Hounsfield units.
        seed: of everything drawn.
        finer: how many times finer the grid is on which it is projected, 2 at least.
        rays_per_bin: whose intensities a bin averages; more show how a bin is hit in part.
        metal: fraction of each pixel that metal fills, (n, rows, columns), if a `Metal` shall not draw its own.
        agents: g/cm³ of further materials by name, each (n, rows, columns): iodine in vessels, say. They add to the
            attenuation, and rays of many energies alone see them.
    """

    attenuation: NDArray[np.float32]
    grid: Grid
    beam: PlaneBeam
    scale: HounsfieldScale
    seed: int = 0
    finer: int = 2
    rays_per_bin: int = 1
    metal: NDArray[np.float32] | None = None
    agents: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def fine_grid(self) -> Grid:
        """The grid on which the object is projected."""
        return finer_grid(self.grid, self.finer)


@dataclass(frozen=True, eq=False)
class Acquired:
    """What a scan has measured.

    Attributes:
        reading: before the logarithm.
        line_integrals: after it, (channels, n, views, bins), uncorrected.
        source: the degradation that speaks for the rays' energies, if there are many.
        response: of the detector to them.
        metal: fraction of each pixel that is metal, (n, rows, columns).
        trace: bins that see metal, (n, views, bins).
        notes: by kind, what each degradation has found, fit for JSON.
        truncated: the object reaches beyond the detector: judged before noise and scatter, which look like it.
    """

    reading: Reading
    line_integrals: NDArray[np.float32]
    source: Polychromatic | None
    response: Response | None
    metal: NDArray[np.float32] | None
    trace: NDArray[np.bool_] | None
    notes: dict[str, dict[str, Any]]
    truncated: bool


def acquire(scan: Scan, steps: Sequence[Degradation]) -> Acquired:
    """Run a scan.

    Args:
        scan: the object and the scanner.
        steps: degradations, in any order.

    Raises:
        UserError: degradations that exclude each other or the scan, a grid that is not finer.
    """
    if scan.finer < 2 or scan.rays_per_bin < 1:
        raise UserError(
            f"simulate on a grid at least 2 times finer than the reconstruction's and with a ray per bin or more, not "
            f"{scan.finer} and {scan.rays_per_bin}"
        )
    _check_size(scan)
    ordered = in_order(steps)
    beam = scan.beam
    for step in ordered:
        beam = step.acquire(beam)
    source = _source(ordered)
    metal = next((step for step in ordered if isinstance(step, Metal)), None)
    if (scan.metal is not None and metal is None) or (scan.agents and source is None):
        raise UserError("a mask of metal needs the degradation metal, agents one with a tube (beam-hardening, …)")
    notes: dict[str, dict[str, Any]] = {}
    placed = _placed_metal(scan, metal, notes)
    motion = next((step for step in ordered if isinstance(step, Motion)), None)
    reading, response, trace = _open_reading(scan, beam, source, metal, placed, motion)
    truncated = looks_truncated(-np.log(np.maximum(reading.transmission[0], _DARKEST)), beam)
    for step in ordered:
        reading, found = step.read(reading, stream(scan.seed, step.kind))
        if found:
            notes.setdefault(step.kind, {}).update(found)
    lowest = reading.floor.astype(np.float32)[:, None, None, None]
    line_integrals = -np.log(np.maximum(reading.transmission, lowest))
    return Acquired(reading, line_integrals, source, response, placed, trace, notes, truncated)


def _check_size(scan: Scan) -> None:
    """Refuse a simulation that does not fit into memory.

    Raises:
        UserError: with the setting that makes it so large.
    """
    count = len(scan.attenuation)
    fine = (count, *scan.fine_grid.shape)
    require_memory(fine, "the finer grid of the simulation", "take a smaller --finer, or smaller images", copies=2)
    rays = (count, len(scan.beam.angles), scan.beam.bins * scan.rays_per_bin)
    require_memory(rays, "a sinogram of these rays", "take fewer --rays-per-bin, bins or views", copies=4)


def _open_reading(
    scan: Scan,
    beam: PlaneBeam,
    source: Polychromatic | None,
    metal: Metal | None,
    placed: NDArray[np.float32] | None,
    motion: Motion | None,
) -> tuple[Reading, Response | None, NDArray[np.bool_] | None]:
    """Return what a perfect detector would read, how it answers, and which bins see metal."""
    images = _materials(scan, source, placed)
    paths = _project(images, scan, _denser(beam, scan.rays_per_bin), motion)
    trace = None
    if metal is not None:
        seen = paths[_METAL] > _NOTHING
        trace = widened_trace(seen.reshape(*seen.shape[:-1], beam.bins, -1).any(axis=-1), 1)
        paths[_METAL] = metal.edges_thinned(np.where(seen, paths[_METAL], np.float32(0)))
    response = source.response() if source else None
    if source is None or response is None:
        transmission: NDArray[np.float32] = np.exp(-paths)
        shares = np.ones(1)
    else:
        transmission = response.transmissions(paths, _coefficients(scan, source, metal, response))
        shares = response.shares
    averaged = transmission.reshape(*transmission.shape[:-1], beam.bins, -1).mean(axis=-1)
    return Reading(averaged, beam, shares, np.full(len(shares), _DARKEST)), response, trace


def _source(steps: Sequence[Degradation]) -> Polychromatic | None:
    """Return the degradation that speaks for the spectrum: spectral bins, else beam hardening, else metal.

    Raises:
        UserError: two of them that do not share tube, detector or tissue, or both of the first two.
    """
    found = [step for step in steps if isinstance(step, Polychromatic)]
    if not found:
        return None
    kinds = {step.kind for step in found}
    if {"spectral-bins", "beam-hardening"} <= kinds:
        raise UserError("spectral-bins brings its own spectrum: leave beam-hardening out")
    first = next((step for step in found if not isinstance(step, Metal)), found[0])
    for other in found:
        for name in _SHARED:
            if name == "detector" and isinstance(first, SpectralBins):
                continue
            if getattr(other, name) != getattr(first, name):
                raise UserError(f"{other.kind} and {first.kind} of one scan must have the same {name}")
    return first


def _placed_metal(scan: Scan, metal: Metal | None, notes: dict[str, dict[str, Any]]) -> NDArray[np.float32] | None:
    """Return how much of each pixel of the scan's own grid is metal."""
    if metal is None:
        return None
    if scan.metal is not None:
        notes["metal"] = {"inserts": "a mask given"}
        return scan.metal
    placed = metal.place(scan.scale.to_hounsfield(scan.attenuation), scan.grid, stream(scan.seed, "metal-places"))
    notes["metal"] = placed.notes
    return placed.fraction


def _materials(scan: Scan, source: Polychromatic | None, metal: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return what is to be projected on the fine grid, (materials, n, rows, columns).

    Without a source that is the attenuation; with one the fractions of water and bone, metal, and the agents in g/cm³.
    """
    fine = scan.fine_grid
    attenuation = upsampled(scan.attenuation, scan.grid, fine)
    if source is None:
        return attenuation[None]
    images = list(source.tissues(scan.scale).fractions(attenuation))
    if metal is not None:
        filled = np.clip(upsampled(metal, scan.grid, fine), 0.0, 1.0)
        images = [*(image * (1 - filled) for image in images), filled]
    images += [upsampled(density, scan.grid, fine) for density in scan.agents.values()]
    return np.stack(images)


def _coefficients(scan: Scan, source: Polychromatic, metal: Metal | None, response: Response) -> NDArray[np.float64]:
    """Return attenuation in the order of `_materials`, (materials, energies)."""
    tissues = source.tissues(scan.scale)
    rows = [tissues.coefficients(name, response.energies) for name in ("water", "cortical_bone")]
    if metal is not None:
        rows.append(metal.coefficients(response.energies))
    rows += [mass_attenuation(name, response.energies) * 0.1 for name in scan.agents]  # of g/cm³ · mm
    return np.stack(rows)


def _denser(beam: PlaneBeam, rays: int) -> PlaneBeam:
    """Return a beam with so many rays for each bin."""
    return replace(beam, bins=beam.bins * rays, pitch=beam.pitch / rays)


def _project(images: NDArray[np.float32], scan: Scan, beam: PlaneBeam, motion: Motion | None) -> NDArray[np.float32]:
    """Project (materials, n, rows, columns) into (materials, n, views, bins)."""
    if motion is None:
        paths = project(images.reshape(-1, *scan.fine_grid.shape), scan.fine_grid, beam)
        return paths.reshape(*images.shape[:2], *beam.shape)
    # Each slice moves by itself: its front and its back are its own.
    moving = [
        _project_moving(images[:, index], tissue, scan, beam, motion)
        for index, tissue in enumerate(scan.attenuation > scan.scale.water / 2)
    ]
    return np.stack(moving, axis=1)


def _project_moving(
    materials: NDArray[np.float32], tissue: NDArray[np.bool_], scan: Scan, beam: PlaneBeam, motion: Motion
) -> NDArray[np.float32]:
    """Project the materials of one slice, (materials, rows, columns), pose by pose into (materials, views, bins)."""
    grid = scan.fine_grid
    with_tissue = tissue.any(axis=1)
    rows = scan.grid.positions(0)[with_tissue] if with_tissue.any() else scan.grid.positions(0)
    paths = np.empty((len(materials), *beam.shape), dtype=np.float32)
    for pose in motion.poses(len(beam.angles), float(rows[0]), float(rows[-1])):
        moved = materials if pose.at_rest else np.stack([_moved(image, grid, pose) for image in materials])
        paths[:, pose.views] = project(moved, grid, beam.at(np.asarray(beam.angles)[pose.views]))
    return paths


def _moved(image: NDArray[np.float32], grid: Grid, pose: Pose) -> NDArray[np.float32]:
    """Return an image as it looks in a pose: each pixel asks where its point was at rest."""
    back = np.linalg.inv(pose.matrix)
    spacing = np.asarray(grid.spacing)
    first = np.array([grid.positions(axis)[0] for axis in (0, 1)])
    matrix = back * spacing[None, :] / spacing[:, None]
    offset = (back @ (first - pose.shift) - first) / spacing
    moved: NDArray[np.float32] = affine_transform(image, matrix, offset, order=1, mode="constant", cval=0.0)
    return moved

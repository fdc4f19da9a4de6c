"""Degrade the slices of a CT image one by one: each is a scan of its own, with random numbers of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.simulation.ct.companions import Companion, check_companions, companions_of, noise_of
from transmodal.simulation.ct.steps import Level
from transmodal.tomography.degradations import Metal
from transmodal.tomography.filters import Filter
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.scan import DegradedScan, degrade
from transmodal.tomography.scanners import Scanner
from transmodal.tomography.truncation import Padding

Slices = NDArray[np.float32]

_TISSUE_HU = -300.0  # what metal is put into


@dataclass(frozen=True)
class Process:
    """How every slice is scanned and reconstructed, whatever degrades it.

    Attributes:
        scanner: before views are left out.
        filter, cutoff, padding: of the filtered back-projection.
        finer: how many times finer the grid of the simulation is.
        rays_per_bin: whose intensities a bin averages.
    """

    scanner: Scanner = field(default_factory=Scanner)
    filter: Filter = "hann"
    cutoff: float = 1.0
    padding: Padding | None = None
    finer: int = 2
    rays_per_bin: int = 1

    def __post_init__(self) -> None:
        if self.scanner.kind == "cone" or isinstance(self.scanner.beam, ConeBeam):
            raise UserError("slices are degraded under a parallel or fan beam: say --beam parallel or fan")

    def scan(self, slice_hu: Slices, spacing: tuple[float, float], level: Level, seed: int) -> DegradedScan:
        """Scan one slice, (rows, columns) in HU."""
        beam = self.scanner.beam_for(Grid(slice_hu.shape, spacing))
        assert not isinstance(beam, ConeBeam)
        settings = {name: getattr(self, name) for name in ("filter", "cutoff", "padding", "finer", "rays_per_bin")}
        return degrade(slice_hu, spacing, level.steps, beam, seed, **settings)


@dataclass(frozen=True, eq=False)
class DegradedSlices:
    """What became of the slices of an image.

    Attributes:
        image: HU, (slices, rows, columns).
        companions: by modality, each as `image`.
        quantities: what the values of companions mean where it is not HU.
        sinogram: line integrals behind `image`, (slices, views, bins); None where nobody wanted it.
        beam: of the sinogram.
        grid: of a slice.
        photons: of the open beam, None without noise.
        record: settings once, and what was found in each slice, fit for JSON.
        truncated: slices in which the object reaches beyond the detector, and no padding goes on past it.
    """

    image: Slices
    companions: dict[str, Slices]
    quantities: dict[str, str]
    sinogram: Slices | None
    beam: Beam
    grid: Grid
    photons: float | None
    record: dict[str, Any] = field(default_factory=dict)
    truncated: int = 0

    @property
    def views(self) -> int:
        """How many the image was made of."""
        return len(self.beam.angles)


def seed_of_slice(seed: int, index: int, count: int) -> int:
    """Return the seed of one slice of several; a single slice has the image's own."""
    return seed if count == 1 else int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def degrade_slices(
    slices_hu: Slices,
    spacing: tuple[float, float],
    level: Level,
    process: Process | None = None,
    seed: int = 0,
    *,
    companions: Sequence[Companion] = (),
    keep_sinogram: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DegradedSlices:
    """Degrade an image.

    Args:
        slices_hu: (slices, rows, columns), without padding.
        spacing: mm, of rows and columns.
        level: what degrades it.
        process: scanner and reconstruction.
        seed: of everything drawn.
        companions: further images of the same data.
        keep_sinogram: return the line integrals too.
        progress: called with (slices done, of how many).

    Raises:
        UserError: whatever the degradations refuse. Metal in a slice without tissue is left out if other slices have
            some.
    """
    chosen = process or Process()
    check_companions(companions, level)
    count = len(slices_hu)
    if seed < 0:
        raise UserError(f"a seed is 0 or above, not {seed}")
    image = np.empty(slices_hu.shape, np.float32)
    made: dict[str, Slices] = {}
    quantities: dict[str, str] = {}
    sinograms, found = [], []
    truncated = 0
    scan: DegradedScan | None = None
    for index, slice_hu in enumerate(slices_hu):
        own = level
        if count > 1 and not (slice_hu > _TISSUE_HU).any():
            own = replace(level, steps=tuple(step for step in level.steps if not isinstance(step, Metal)))
        scan = chosen.scan(slice_hu, spacing, own, seed_of_slice(seed, index, count))
        image[index] = scan.image
        for name, (pixels, quantity) in companions_of(scan, own, slice_hu, companions, chosen).items():
            made.setdefault(name, np.zeros(slices_hu.shape, np.float32))[index] = pixels
            quantities[name] = quantity
        truncated += chosen.padding is None and scan.truncated
        if keep_sinogram:
            sinograms.append(scan.sinogram)
        found.append({step["kind"]: step["found"] for step in scan.record["steps"]})
        if progress is not None:
            progress(index + 1, count)
    assert scan is not None
    record = {**scan.record, "seed": seed, "steps": [], "slices": found}
    record["steps"] = [
        {**settings, "sentence": step.describe()} for settings, step in zip(level.to_json(), level.steps, strict=True)
    ]
    record["reconstruction"] = scan.record["reconstruction"]
    del record["padding"]
    noise = noise_of(level)
    photons = None if noise is None else noise.photons / noise.dose_divisor
    sinogram = np.stack(sinograms) if keep_sinogram else None
    return DegradedSlices(image, made, quantities, sinogram, scan.beam, scan.grid, photons, record, truncated)

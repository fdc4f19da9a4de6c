"""A clean CT image in, a degraded one out: the whole scanner, from attenuation to Hounsfield units.

scan = degrade(image_hu, (0.8, 0.8), [FewerAngles(angles=60), PhotonNoise(photons=1e5)], beam=720)
scan.image      in HU on the grid that was given; scan.sinogram, scan.beam for other reconstructions
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.images.padding import AIR_HU, PADDING_HU, air_for_padding
from transmodal.tomography.acquisition import Acquired, Scan, acquire
from transmodal.tomography.corrections.beam_hardening import WaterCorrection, calibration, fit_water_correction
from transmodal.tomography.degradations import in_order
from transmodal.tomography.degradations.degradation import Degradation, PlaneBeam, stream
from transmodal.tomography.degradations.metal import Metal
from transmodal.tomography.degradations.spectral import SpectralBins
from transmodal.tomography.filtered_back_projection import fbp
from transmodal.tomography.filters import Filter
from transmodal.tomography.geometry import FanBeam, Grid, ParallelBeam, covering
from transmodal.tomography.hounsfield import HounsfieldScale
from transmodal.tomography.material_decomposition import decompose_by_likelihood, decompose_by_polynomials
from transmodal.tomography.materials import DENSITIES
from transmodal.tomography.polychromatic import Response
from transmodal.tomography.truncation import Padding


@dataclass(frozen=True, eq=False)
class DegradedScan:
    """What `degrade` made.

    Attributes:
        image: HU, in the shape given. Of a spectral scan the first virtual mono-energetic image, or without
            decomposition that of the first window.
        sinogram: line integrals behind `image`, corrected for water if that was asked, (views, bins) or (n, views,
            bins).
        beam: of the sinogram.
        grid: of the image.
        scale: of the Hounsfield units.
        outside: where the image given held padding, in its shape.
        record: all settings, seeds and findings, fit for JSON.
        metal: fraction of each pixel that is metal, in the shape of the image; None without metal.
        trace: bins that see metal, in the shape of the sinogram; None without metal.
        images: further images of a spectral scan in the shape of `image`: "window 20-65 keV" and "mono 70 keV" in HU,
            "water", "cortical_bone" in g/cm³. Noise added to the image is not on them.
        windows: line integrals of each window of a spectral scan, not corrected, (windows, …) and then as `sinogram`.
        truncated: the object reaches beyond the detector.
    """

    image: NDArray[np.float32]
    sinogram: NDArray[np.float32]
    beam: PlaneBeam
    grid: Grid
    scale: HounsfieldScale
    outside: NDArray[np.bool_]
    record: dict[str, Any]
    metal: NDArray[np.float32] | None = None
    trace: NDArray[np.bool_] | None = None
    images: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    windows: NDArray[np.float32] | None = None
    truncated: bool = False

    def record_json(self) -> str:
        """Return the record as a file's text."""
        return json.dumps(self.record, indent=2, ensure_ascii=False) + "\n"

    def describe(self) -> str:
        """Say in a few sentences what was done."""
        return " ".join(step["sentence"] for step in self.record["steps"]) or "Nothing was degraded."


@dataclass(frozen=True)
class _Reconstruction:
    """How an image is made of line integrals."""

    grid: Grid
    beam: PlaneBeam
    filter: Filter
    cutoff: float
    padding: Padding | None
    water: float

    def __call__(self, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
        return fbp(sinogram, self.grid, self.beam, self.filter, self.cutoff, self.padding, self.water)


def degrade(
    image_hu: NDArray[Any],
    spacing: tuple[float, float],
    steps: Sequence[Degradation],
    beam: PlaneBeam | int = 720,
    seed: int = 0,
    *,
    filter: Filter = "hann",
    cutoff: float = 1.0,
    padding: Padding | None = None,
    scale: HounsfieldScale | None = None,
    finer: int = 2,
    rays_per_bin: int = 1,
    metal: NDArray[Any] | None = None,
    agents: Mapping[str, NDArray[Any]] | None = None,
) -> DegradedScan:
    """Scan a clean image with all that makes scans worse, and reconstruct it by filtered back-projection.

    Args:
        image_hu: HU, (rows, columns) or (n, rows, columns); padding outside the field of view counts as air. A stack
            is held on the finer grid at once: give large volumes in parts, each with a seed of its own.
        spacing: mm, of rows and columns.
        steps: degradations in any order; they act in that of physics.
        beam: the scanner before any views are left out, or how many views of a parallel beam over 180° whose bins are
            as wide as a pixel.
        seed: of everything drawn. Each degradation draws from a stream of its own.
        filter, cutoff, padding: see `fbp`.
        scale: of the Hounsfield units; by default water 0.0192 per mm, air 0.
        finer: how many times finer the grid of the simulation is than the image's, 2 at least.
        rays_per_bin: whose intensities a bin averages.
        metal: where metal shall be, True or a fraction, in the shape of the image; only with `Metal`.
        agents: g/cm³ of further materials by name, in the shape of the image; only with rays of many energies.

    Returns:
        The degraded image on the grid of the one given, with sinogram, beam and record.

    Raises:
        UserError: an image that is none or not in HU, settings that exclude each other, a cone beam.
    """
    units = scale or HounsfieldScale()
    clean, outside = _checked(image_hu)
    grid = Grid(clean.shape[-2:], spacing)
    scanner = covering(grid, beam) if isinstance(beam, int | np.integer) else beam
    if not isinstance(scanner, ParallelBeam | FanBeam):
        raise UserError("slices are degraded under a parallel or fan beam; a cone beam needs its volume as a whole")
    scan = Scan(
        attenuation=np.maximum(units.to_attenuation(clean), 0.0).reshape(-1, *grid.shape),
        grid=grid,
        beam=scanner,
        scale=units,
        seed=int(seed),
        finer=finer,
        rays_per_bin=rays_per_bin,
        metal=None if metal is None else _alike(metal, clean.shape, "the mask of metal"),
        agents={name: _alike(map_, clean.shape, f"the map of {name}") for name, map_ in (agents or {}).items()},
    )
    ordered = in_order(steps)
    acquired = acquire(scan, ordered)
    reconstruct = _Reconstruction(grid, acquired.reading.beam, filter, cutoff, padding, units.water)
    sinogram, image, images = _reconstructed(acquired, scan, reconstruct)
    for step in ordered:
        image = step.finish(image, stream(scan.seed, step.kind))
    views = (*clean.shape[:-2], *acquired.reading.beam.shape)
    return DegradedScan(
        image=image.reshape(clean.shape),
        sinogram=sinogram.reshape(views),
        beam=acquired.reading.beam,
        grid=grid,
        scale=units,
        outside=outside,
        record=_record(scan, ordered, acquired, reconstruct, int(outside.sum())),
        metal=None if acquired.metal is None else acquired.metal.reshape(clean.shape),
        trace=None if acquired.trace is None else acquired.trace.reshape(views),
        images={name: made.reshape(clean.shape) for name, made in images.items()},
        windows=acquired.line_integrals.reshape(-1, *views) if isinstance(acquired.source, SpectralBins) else None,
        truncated=acquired.truncated,
    )


def _checked(image_hu: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the image as float32 with air for padding, and where that was.

    Raises:
        UserError: not two or three axes, values that are not finite, or apparently no HU.
    """
    given = np.asarray(image_hu)
    if given.ndim not in (2, 3) or 0 in given.shape:
        raise UserError(f"a CT image has (rows, columns) or (n, rows, columns), not shape {given.shape}")
    values = given.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"the CT image holds {int(np.count_nonzero(~np.isfinite(values)))} values that are not finite")
    if 0 <= values.min() < values.max() <= 1:
        raise UserError(
            f"the CT image lies between {values.min():g} and {values.max():g}: Hounsfield units are wanted, "
            "with air at −1000; convert attenuation by HounsfieldScale.to_hounsfield"
        )
    return air_for_padding(values, "the CT image")


def _alike(values: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    """Return a companion of the image as (n, rows, columns)."""
    given = np.asarray(values, dtype=np.float32)
    if given.shape != shape:
        raise UserError(f"{name} has shape {given.shape}, the image {shape}")
    if not (np.isfinite(given).all() and given.min() >= 0):
        raise UserError(f"{name} must hold finite numbers from 0 on")
    return given.reshape(-1, *shape[-2:])


def _reconstructed(
    acquired: Acquired, scan: Scan, reconstruct: _Reconstruction
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Return the main sinogram, its image in HU, and the further images of a spectral scan."""
    source, response = acquired.source, acquired.response
    if source is None or response is None:
        sinogram = acquired.line_integrals[0]
        return sinogram, scan.scale.to_hounsfield(reconstruct(sinogram)), {}
    tissues = source.tissues(scan.scale)
    corrected = []
    for channel, read in enumerate(acquired.line_integrals):
        correction: WaterCorrection = (
            fit_water_correction(response, tissues, channel=channel)
            if source.water_correction
            else calibration(response, tissues, source.calibration_mm, channel)
        )
        corrected.append(correction.apply(read))
    if not isinstance(source, SpectralBins):
        return corrected[0], scan.scale.to_hounsfield(reconstruct(corrected[0])), {}
    images = {
        f"window {window}": scan.scale.to_hounsfield(reconstruct(sinogram))
        for window, sinogram in zip(source.windows(), corrected, strict=True)
    }
    if source.decomposition == "none":
        return corrected[0], images[f"window {source.windows()[0]}"], images
    lengths = _decomposed(acquired, source, response, scan)
    for name, path in zip(source.basis, lengths, strict=True):
        images[name] = reconstruct(path) * np.float32(DENSITIES[name])
    main = None
    for energy in source.mono_kev:
        at = np.asarray([energy])
        water = float(tissues.coefficients("water", at)[0])
        factors = [float(tissues.coefficients(name, at)[0]) * scan.scale.water / water for name in source.basis]
        mono = np.einsum("k,k...->...", np.asarray(factors, dtype=np.float32), lengths)
        images[f"mono {energy:g} keV"] = scan.scale.to_hounsfield(reconstruct(mono))
        main = mono if main is None else main
    assert main is not None  # mono_kev holds one energy at least
    return main, images[f"mono {source.mono_kev[0]:g} keV"], images


def _decomposed(acquired: Acquired, source: SpectralBins, response: Response, scan: Scan) -> NDArray[np.float32]:
    """Return mm of each basis material, (materials, n, views, bins)."""
    tissues = source.tissues(scan.scale)
    coefficients = np.stack([tissues.coefficients(name, response.energies) for name in source.basis])
    transmission = np.exp(-acquired.line_integrals.astype(np.float64))
    if source.decomposition == "maximum-likelihood":
        return decompose_by_likelihood(transmission, response, coefficients)
    diagonal = math.hypot(*scan.grid.extent)
    longest = tuple(diagonal if name in ("water", "soft_tissue") else diagonal / 8 for name in source.basis)
    return decompose_by_polynomials(transmission, response, coefficients, longest)


def _record(
    scan: Scan, steps: Sequence[Degradation], acquired: Acquired, reconstruct: _Reconstruction, outside: int
) -> dict[str, Any]:
    """Return all that is needed to do it again, and what was found."""

    def sentence(step: Degradation) -> str:
        return step.describe_mask() if isinstance(step, Metal) and scan.metal is not None else step.describe()

    return {
        "steps": [
            {**step.model_dump(mode="json"), "sentence": sentence(step), "found": acquired.notes.get(step.kind, {})}
            for step in steps
        ],
        "seed": scan.seed,
        "scale": asdict(scan.scale),
        "grid": asdict(scan.grid),
        "simulation": {"grid": asdict(scan.fine_grid), "interpolation": "linear", "rays_per_bin": scan.rays_per_bin},
        "agents": sorted(scan.agents),
        "scanner": asdict(scan.beam),
        "beam": asdict(acquired.reading.beam),
        "reconstruction": {
            "method": "fbp",
            "filter": reconstruct.filter,
            "cutoff": reconstruct.cutoff,
            "padding": reconstruct.padding,
        },
        "padding": {"pixels": outside, "up_to_hu": PADDING_HU, "set_to_hu": AIR_HU},
    }

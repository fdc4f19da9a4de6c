"""One table of the ways from projections to an image, with the settings that each of them takes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from transmodal.errors import UserError
from transmodal.tomography.asd_pocs import asd_pocs
from transmodal.tomography.devices import require_device
from transmodal.tomography.fdk import fdk
from transmodal.tomography.filtered_back_projection import checked_projections, fbp
from transmodal.tomography.filters import FILTERS, Filter
from transmodal.tomography.geometry import Beam, ConeBeam, Grid
from transmodal.tomography.iterative import Reconstruction, sart, sirt
from transmodal.tomography.operator import Projector
from transmodal.tomography.total_variation import poisson_weights, tv_fista, tv_pdhg
from transmodal.tomography.truncation import PADDINGS, WATER, Padding

Method = Literal["fbp", "fdk", "sirt", "sart", "tv", "tv-fista", "asd-pocs"]
METHODS: tuple[Method, ...] = get_args(Method)
Progress = Callable[[int, int], None]

_ANALYTIC = ("filter", "cutoff", "padding")
_ITERATIVE = ("iterations", "non_negative", "tolerance")
_TAKES: dict[str, tuple[str, ...]] = {
    "fbp": _ANALYTIC,
    "fdk": _ANALYTIC,
    "sirt": (*_ITERATIVE, "relaxation", "discrepancy"),
    "sart": (*_ITERATIVE, "relaxation", "discrepancy", "subsets"),
    "tv": (*_ITERATIVE, "weight", "photons", "electronic_noise"),
    "tv-fista": (*_ITERATIVE, "weight", "photons", "electronic_noise"),
    "asd-pocs": ("iterations", "relaxation", "discrepancy", "subsets"),
}
ITERATIONS = {"sirt": 100, "sart": 10, "tv": 500, "tv-fista": 100, "asd-pocs": 30}
_SMOOTH: tuple[Filter, float] = ("hann", 0.25)
_SAID = {
    "iterations": "after all iterations",
    "tolerance": "because too little changed",
    "discrepancy": "because the residual had come down to the noise",
    "no descent": "because rounding left nothing to gain",
}


@dataclass(frozen=True)
class Settings:
    """How to reconstruct; None leaves a setting to the method.

    Attributes:
        method: of `METHODS`; None is fbp, of a cone beam fdk.
        filter, cutoff, padding: of fbp and fdk.
        weight: λ of total variation.
        photons: of the open beam, by which total variation weighs the rays.
        electronic_noise: standard deviation of the detector's own noise in photons, beside `photons`.
        iterations, non_negative, tolerance, relaxation, subsets, discrepancy: of the iterative ones.
    """

    method: Method | None = None
    filter: Filter | None = None
    cutoff: float | None = None
    padding: Padding | None = None
    weight: float | None = None
    photons: float | None = None
    electronic_noise: float | None = None
    iterations: int | None = None
    non_negative: bool | None = None
    tolerance: float | None = None
    relaxation: float | None = None
    subsets: int | None = None
    discrepancy: float | None = None

    def method_for(self, beam: Beam) -> Method:
        """Return the method for a beam.

        Raises:
            UserError: it does not go with the beam, a setting is not one of its own, total variation has no weight.
        """
        is_cone = isinstance(beam, ConeBeam)
        method: Method = self.method or ("fdk" if is_cone else "fbp")
        if method not in METHODS:
            raise UserError(f"unknown method {method!r}: one of {', '.join(METHODS)}")
        if is_cone and method == "fbp":
            raise UserError("fbp reconstructs slices of a parallel or fan beam; a cone beam goes to --method fdk")
        if not is_cone and method == "fdk":
            raise UserError(f"fdk reconstructs volumes of a cone beam; a {beam.kind} beam goes to --method fbp")
        taken = _TAKES[method]
        for entry in fields(self):
            if entry.name != "method" and getattr(self, entry.name) is not None and entry.name not in taken:
                others = [name for name in METHODS if entry.name in _TAKES[name]]
                raise UserError(
                    f"--{entry.name.replace('_', '-')} means nothing to {method}; leave it out, or take --method "
                    f"{' or '.join(others)}"
                )
        if "weight" in taken and self.weight is None:
            raise UserError(
                f"--method {method} needs --weight, of total variation against the rays: try 0.1, and ten times more "
                "or less; 'data degrade --also tv' finds the best on training cases"
            )
        if method == "asd-pocs" and self.discrepancy is None:
            raise UserError(
                "--method asd-pocs needs --discrepancy, the root mean square of the rays' residuals: the noise of the "
                "line integrals, such as 0.01"
            )
        if self.electronic_noise is not None and self.photons is None:
            raise UserError("--electronic-noise goes with --photons, those of the open beam; add them")
        if self.filter is not None and self.filter not in FILTERS:
            raise UserError(f"unknown filter {self.filter!r}: one of {', '.join(FILTERS)}")
        if self.padding is not None and self.padding not in PADDINGS:
            raise UserError(f"unknown padding {self.padding!r}: none, or one of {', '.join(PADDINGS)}")
        return method


@dataclass
class Reconstructed:
    """An image and how it was reached.

    Attributes:
        image: attenuation in 1/mm, (slices, rows, columns).
        method: that made it.
        stops: iterations and why they stopped, of each slice; of a cone beam one; empty of fbp and fdk.
    """

    image: NDArray[np.float32]
    method: str
    stops: list[tuple[int, str]] = field(default_factory=list)

    def describe(self) -> str:
        """Say why iterations stopped; empty where there were none."""
        if not self.stops:
            return ""
        said = []
        for reason, count in Counter(reason for _, reason in self.stops).most_common():
            numbers = [iterations for iterations, why in self.stops if why == reason]
            span = f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
            where = f" ({count} of {len(self.stops)} slices)" if len(self.stops) > 1 else ""
            said.append(f"{span} iterations, stopped {_SAID.get(reason, reason)}{where}")
        return "; ".join(said)


def reconstruct(
    projections: NDArray[Any],
    grid: Grid,
    beam: Beam,
    settings: Settings | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    water: float = WATER,
) -> Reconstructed:
    """Reconstruct slices one by one, or the volume of a cone beam.

    Args:
        projections: line integrals, (slices, views, bins), of a cone beam (views, rows, bins).
        grid: of a slice, of a cone beam of the volume.
        beam: where the rays ran.
        settings: the method and its settings.
        progress: called with (done, of how many): iterations of all slices, or slices.
        device: "cpu" is compiled code; on any other, such as "cuda", torch projects and filters, to the same results
            within rounding. Total variation itself stays on the CPU.
        water: what it attenuates, in 1/mm: that of the Hounsfield scale; only the padding "water" looks at it.

    Raises:
        UserError: settings that do not go together, whatever the method refuses, a device that is not there.
    """
    chosen = settings or Settings()
    method = chosen.method_for(beam)
    require_device(device)
    if isinstance(beam, ConeBeam):
        if len(grid.shape) != 3:
            raise UserError(f"a cone beam needs a grid of (slices, rows, columns), not of shape {grid.shape}")
        if method == "fdk":
            return Reconstructed(_analytic(projections, grid, beam, _windowed(chosen, water), device), method)
        found = _iterate(projections, projector_on(device, grid, beam), method, chosen, progress, 0, 1, device)
        return Reconstructed(found.image, method, [(found.iterations, found.stopped)])
    plane = Grid(grid.shape[-2:], grid.spacing[-2:], grid.centre[-2:])
    image = np.empty((len(projections), *plane.shape), np.float32)
    stops: list[tuple[int, str]] = []
    projector = None if method == "fbp" else projector_on(device, plane, beam)
    for index, sinogram in enumerate(projections):
        if projector is None:
            image[index] = _analytic(sinogram, plane, beam, _windowed(chosen, water), device)
            if progress is not None:
                progress(index + 1, len(projections))
            continue
        found = _iterate(sinogram, projector, method, chosen, progress, index, len(projections), device)
        image[index] = found.image
        stops.append((found.iterations, found.stopped))
    return Reconstructed(image, method, stops)


def projector_on(device: str, grid: Grid, beam: Beam) -> Projector:
    """Return the projector of a scan for a device."""
    if device == "cpu":
        return Projector(grid, beam)
    from transmodal.tomography.torch_operator import TorchProjector

    return TorchProjector(grid, beam, device)


def smooth_start(projections: NDArray[Any], grid: Grid, beam: Beam, device: str = "cpu") -> NDArray[np.float32]:
    """Return a very smooth analytic reconstruction without negative values, 1/mm.

    Where few photons came through, the data hardly pull the image anywhere: what it begins with must hold no noise, and
    large shapes, which take most iterations, had better be there.
    """
    return np.maximum(_analytic(projections, grid, beam, (*_SMOOTH, None, WATER), device), 0)


def _analytic(
    projections: NDArray[Any],
    grid: Grid,
    beam: Beam,
    windowed: tuple[Filter, float, Padding | None, float],
    device: str,
) -> NDArray[np.float32]:
    """Reconstruct by fbp, from a cone beam by fdk."""
    if device == "cpu":
        if isinstance(beam, ConeBeam):
            return fdk(projections, grid, beam, *windowed)
        return fbp(projections, grid, beam, *windowed)
    import torch

    from transmodal.tomography import torch_reconstruction

    views = torch.tensor(checked_projections(projections, beam, 0 if isinstance(beam, ConeBeam) else 1), device=device)
    if isinstance(beam, ConeBeam):
        made = torch_reconstruction.fdk(views, grid, beam, *windowed)
    else:
        made = torch_reconstruction.fbp(views, grid, beam, *windowed)
    image: NDArray[np.float32] = made.cpu().numpy()
    return image


def _windowed(chosen: Settings, water: float) -> tuple[Filter, float, Padding | None, float]:
    cutoff = 1.0 if chosen.cutoff is None else chosen.cutoff
    return chosen.filter or "ramp", cutoff, chosen.padding, water


def _iterate(
    projections: NDArray[Any],
    projector: Projector,
    method: str,
    chosen: Settings,
    progress: Progress | None,
    index: int,
    count: int,
    device: str,
) -> Reconstruction:
    iterations = chosen.iterations or ITERATIONS[method]
    told: dict[str, Any] = {"iterations": iterations}
    for name in ("non_negative", "tolerance", "relaxation", "subsets", "discrepancy"):
        if getattr(chosen, name) is not None:
            told[name] = getattr(chosen, name)
    if progress is not None:
        told["progress"] = lambda done, total, _: progress(index * total + done, count * total)
    if method in ("sirt", "sart"):
        return (sirt if method == "sirt" else sart)(projections, projector, **told)
    if method == "asd-pocs":
        return asd_pocs(projections, projector, **told)
    assert chosen.weight is not None
    if chosen.photons is not None:
        told["ray_weights"] = poisson_weights(projections, chosen.photons, chosen.electronic_noise or 0.0)
    told["start"] = smooth_start(projections, projector.grid, projector.beam, device)
    return (tv_pdhg if method == "tv" else tv_fista)(projections, projector, chosen.weight, **told)

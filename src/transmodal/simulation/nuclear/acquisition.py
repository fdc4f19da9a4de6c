"""One simulated acquisition: photograph, X-ray, organ map and nuclear frames of one posed mouse, with the truth."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from transmodal.errors import UserError
from transmodal.images.nuclear.series import NuclearSeries
from transmodal.images.transform import Transform
from transmodal.simulation.mouse.animal import Animal
from transmodal.simulation.mouse.bed import Acquisition
from transmodal.simulation.mouse.body import pose_body
from transmodal.simulation.mouse.pair import MousePair, image_body
from transmodal.simulation.nuclear.agents import Agent
from transmodal.simulation.nuclear.camera import Camera, camera_for, device_transform, project
from transmodal.simulation.nuclear.frames import Scan, Schedule, draw_injection
from transmodal.simulation.nuclear.sources import Tumour, find_sources, label_tumour

_DOMAIN = 0x6E75636C
_CAMERA_GRID = (250, 500)
"""Pixels of 0.2 mm on which the camera sees the body, whatever the X-ray's size: so counts do not depend on it."""


@dataclass(frozen=True, eq=False)
class NuclearMouse:
    """One simulated acquisition.

    Attributes:
        pair: photograph, X-ray and the mouse's organ map.
        labels: (H, W) the organ map with the tumour, see `sources.LABELS`.
        agent: as it behaves in this animal.
        tumour: or None.
        scan: the acquisition without noise; `scan.contribution(place)` is what one place adds to each pixel.
        series: the noisy frames.
        transform: from the nuclear image's world to the X-ray's, mm.
    """

    pair: MousePair
    labels: npt.NDArray[np.uint8]
    agent: Agent
    tumour: Tumour | None
    scan: Scan
    series: NuclearSeries
    transform: Transform


def simulate_scan(
    animal: Animal,
    acquisition: Acquisition,
    agent: Agent,
    *,
    schedule: Schedule | None = None,
    activity: float | None = None,
    camera: Camera | None = None,
    tumour: Tumour | None = None,
    seed: int = 0,
) -> Scan:
    """Simulate the counts to expect, without images and noise.

    Arguments: `animal`; `acquisition`, bed, cover and pose; `agent`, taken as it is (see `Agent.drawn`); `schedule`,
    `activity` in Bq at the injection, `camera`: None for what is usual of the agent; `tumour`, needed by a tumour
    agent, and cold in others; `seed` of pose and syringe.
    Returns the scan; `scan.count(rng)` gives as many noisy repeats as wanted. Raises UserError for an activity out of
    range and for a tumour agent without a tumour.
    """
    activity = agent.activity if activity is None else activity
    if not 1e3 <= activity <= 1e10:
        raise UserError(f"an injected activity of {activity:g} Bq; give 1e3 to 1e10 Bq (0.001 to 10000 MBq)")
    if agent.needs_tumour and tumour is None:
        raise UserError(f"{agent.name} goes into a tumour; give one")
    camera = camera or camera_for(agent.isotope)
    body = pose_body(animal, acquisition, _CAMERA_GRID, seed, finer=1)
    sources = find_sources(body, agent.places, tumour)
    curves = agent.curves()
    injection = draw_injection(activity, agent.isotope, _stream(animal, acquisition, seed, 0))
    return Scan(
        agent.name,
        agent.isotope,
        activity,
        injection,
        {place: curves[place] for place in agent.places},
        project(camera, sources),
        camera,
        schedule or Schedule.parse(agent.schedule),
    )


def simulate_acquisition(
    animal: Animal,
    acquisition: Acquisition,
    agent: Agent,
    *,
    schedule: Schedule | None = None,
    activity: float | None = None,
    camera: Camera | None = None,
    tumour: Tumour | None = None,
    size: tuple[int, int] = (512, 1024),
    seed: int = 0,
) -> NuclearMouse:
    """Simulate photograph, X-ray, organ map and noisy nuclear frames of one animal.

    Arguments as `simulate_scan`, and `size`, (height, width) of the X-ray in pixels as 1 to 2. The nuclear frames do
    not depend on it. On one machine equal arguments give equal bytes. Raises UserError as `simulate_scan`, and for a
    size of another shape.
    """
    body = pose_body(animal, acquisition, size, seed)
    pair = image_body(body)
    scan = simulate_scan(
        animal,
        acquisition,
        agent,
        schedule=schedule,
        activity=activity,
        camera=camera,
        tumour=tumour,
        seed=seed,
    )
    labels = pair.organs if tumour is None else label_tumour(pair.organs, body, tumour)
    series = scan.count(_stream(animal, acquisition, seed, 1))
    return NuclearMouse(pair, labels, agent, tumour, scan, series, device_transform(scan.camera, pair.meta["pixel_mm"]))


def draw_tumour(diameter: float, seed: int) -> Tumour:
    """Return a tumour on one flank, at a place that varies a little from animal to animal."""
    rng = np.random.default_rng([_DOMAIN, seed, 9])
    plain = Tumour(diameter)
    side = 1.0 if rng.random() < 0.5 else -1.0
    return replace(
        plain,
        along=plain.along + float(rng.normal(0.0, 1.5)),
        left=side * abs(plain.left) + float(rng.normal(0.0, 0.4)),
    )


def _stream(animal: Animal, acquisition: Acquisition, seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([_DOMAIN, seed, animal.seed, acquisition.pose, purpose])

"""Simulated nuclear acquisitions of the simulated mouse: agents, cameras, frames, and the truth of every organ.

`simulate_acquisition` makes one, `simulate_scan` its expected counts alone, `simulate_dataset` a folder.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.simulation.nuclear.acquisition import NuclearMouse, simulate_acquisition, simulate_scan
    from transmodal.simulation.nuclear.agents import AGENTS, Agent, agent_named
    from transmodal.simulation.nuclear.camera import CoincidenceCamera, GammaCamera
    from transmodal.simulation.nuclear.frames import Scan, Schedule
    from transmodal.simulation.nuclear.kinetics import Curve, Organ
    from transmodal.simulation.nuclear.protocol import simulate_dataset
    from transmodal.simulation.nuclear.sources import LABELS, Tumour

_PLACES = {
    "AGENTS": "agents",
    "Agent": "agents",
    "CoincidenceCamera": "camera",
    "Curve": "kinetics",
    "GammaCamera": "camera",
    "LABELS": "sources",
    "NuclearMouse": "acquisition",
    "Organ": "kinetics",
    "Scan": "frames",
    "Schedule": "frames",
    "Tumour": "sources",
    "agent_named": "agents",
    "simulate_acquisition": "acquisition",
    "simulate_dataset": "protocol",
    "simulate_scan": "acquisition",
}

__all__ = [
    "AGENTS",
    "LABELS",
    "Agent",
    "CoincidenceCamera",
    "Curve",
    "GammaCamera",
    "NuclearMouse",
    "Organ",
    "Scan",
    "Schedule",
    "Tumour",
    "agent_named",
    "simulate_acquisition",
    "simulate_dataset",
    "simulate_scan",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

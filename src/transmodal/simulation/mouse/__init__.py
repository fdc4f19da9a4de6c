"""Simulated mice: one three-dimensional body an animal gives both a photograph and an X-ray, with its organs.

`simulate_pair` makes one acquisition, `simulate_dataset` the published protocol with a manifest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.simulation.mouse.animal import Animal
    from transmodal.simulation.mouse.bed import Acquisition, Misalignment
    from transmodal.simulation.mouse.pair import ORGANS, MousePair, simulate_pair
    from transmodal.simulation.mouse.protocol import simulate_dataset

_PLACES = {
    "Animal": "animal",
    "Acquisition": "bed",
    "Misalignment": "bed",
    "MousePair": "pair",
    "ORGANS": "pair",
    "simulate_pair": "pair",
    "simulate_dataset": "protocol",
}

__all__ = ["ORGANS", "Acquisition", "Animal", "Misalignment", "MousePair", "simulate_dataset", "simulate_pair"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

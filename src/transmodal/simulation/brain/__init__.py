"""Simulated brains: label phantoms with their own anatomy and lesions, seen by T1, T1ce, T2 and FLAIR.

`simulate_brain` makes one subject, `simulate_dataset` a folder with BraTS names and a manifest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.simulation.brain.anatomy import Anatomy
    from transmodal.simulation.brain.protocol import simulate_dataset
    from transmodal.simulation.brain.signals import Sequence, Tissue
    from transmodal.simulation.brain.subject import BrainCase, simulate_brain

_PLACES = {
    "Anatomy": "anatomy",
    "BrainCase": "subject",
    "Sequence": "signals",
    "Tissue": "signals",
    "simulate_brain": "subject",
    "simulate_dataset": "protocol",
}

__all__ = ["Anatomy", "BrainCase", "Sequence", "Tissue", "simulate_brain", "simulate_dataset"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

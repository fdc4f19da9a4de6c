"""Simulated abdomens: mouse-like bodies with liver tumours that grow from visit to visit, seen by CT in HU.

`simulate_abdomen` makes one visit of one animal, `simulate_dataset` a folder with NIfTI files, a table of tumours and a
manifest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transmodal.simulation.abdomen.anatomy import Animal, Visit
    from transmodal.simulation.abdomen.protocol import simulate_dataset
    from transmodal.simulation.abdomen.subject import AbdomenCase, Wishes, simulate_abdomen
    from transmodal.simulation.abdomen.tissues import LABELS

_PLACES = {
    "AbdomenCase": "subject",
    "Animal": "anatomy",
    "LABELS": "tissues",
    "Visit": "anatomy",
    "Wishes": "subject",
    "simulate_abdomen": "subject",
    "simulate_dataset": "protocol",
}

__all__ = ["LABELS", "AbdomenCase", "Animal", "Visit", "Wishes", "simulate_abdomen", "simulate_dataset"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

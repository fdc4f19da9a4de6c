"""How a translator learns: one file a method, one line in the table below."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from transmodal.methods.method import GIVEN, LABELS, REGION, WANTED, AdamSettings, Batch, Method, Ports, Update
from transmodal.methods.pix2pix import Pix2Pix, Pix2PixSettings
from transmodal.methods.segmentation import Segmentation, SegmentationSettings
from transmodal.methods.stargan import StarGan, StarGanSettings
from transmodal.methods.supervised import Supervised, SupervisedSettings
from transmodal.methods.unified import UnifiedSettings, make_unified

METHODS: dict[str, tuple[Callable[[Any, Ports], Method], type[BaseModel]]] = {
    "pix2pix": (Pix2Pix, Pix2PixSettings),
    "supervised": (Supervised, SupervisedSettings),
    "unified": (make_unified, UnifiedSettings),
    "stargan": (StarGan, StarGanSettings),
    "segmentation": (Segmentation, SegmentationSettings),
}


def make_method(name: str, settings: BaseModel, ports: Ports) -> Method:
    """Build a method with fresh weights from torch's global generator.

    Args:
        name: a key of `METHODS`.
        settings: of the method's own settings class.
        ports: modalities, channels and dimensions.

    Raises:
        ValueError: settings that exclude each other.
    """
    method, _ = METHODS[name]
    return method(settings, ports)


__all__ = [
    "GIVEN",
    "LABELS",
    "METHODS",
    "REGION",
    "WANTED",
    "AdamSettings",
    "Batch",
    "Method",
    "Ports",
    "Update",
    "make_method",
]

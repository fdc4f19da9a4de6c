"""Unified translation: one conditional generator and one discriminator with a class head for all targets.

`tc-mgan` makes any target from the given sources (see `tc_mgan.py`), `dai` any modality from any other (`dai.py`).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from transmodal.methods.dai import Dai, DaiSettings
from transmodal.methods.method import Method, Ports
from transmodal.methods.tc_mgan import TcMgan, TcMganSettings


class UnifiedSettings(BaseModel):
    """Which variant, and the settings of each, published defaults where they are published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Literal["tc-mgan", "dai"] = "tc-mgan"
    tc_mgan: TcMganSettings = TcMganSettings()
    dai: DaiSettings = DaiSettings()


def make_unified(settings: UnifiedSettings, ports: Ports) -> Method:
    """Return the chosen variant with fresh weights.

    Raises:
        ValueError: its settings and the modalities do not fit.
    """
    return TcMgan(settings.tc_mgan, ports) if settings.variant == "tc-mgan" else Dai(settings.dai, ports)
